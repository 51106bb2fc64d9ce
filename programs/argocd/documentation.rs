//! The manifests and commands of docs/argocd.md.

use std::path::Path;

use crate::Failure;

const PAGE: &str = "docs/argocd.md";

/// The text of the page.
pub(crate) struct Documentation {
    text: String,
}

impl Documentation {
    /// Reads the page.
    pub(crate) fn read(project: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(project.join(PAGE))?;
        Ok(Self { text })
    }

    /// The manifest of a kind.
    pub(crate) fn manifest(&self, kind: &str) -> Result<&str, Failure> {
        let blocks = self.text.split("```yaml\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let wanted = format!("\nkind: {kind}\n");
        let mut manifests = blocks.flat_map(|block| block.split("---\n"));
        let found = manifests.find(|manifest| manifest.contains(&wanted));
        found.ok_or_else(|| format!("{PAGE} prints no {kind}").into())
    }

    /// The command that starts with this.
    pub(crate) fn command(&self, start: &str) -> Result<&str, Failure> {
        let mut lines = self.text.lines().filter_map(|line| line.strip_prefix("$ "));
        let found = lines.find(|line| line.starts_with(start));
        found.ok_or_else(|| format!("{PAGE} prints no command {start} …").into())
    }
}

/// A manifest with a word replaced, which it must contain.
pub(crate) fn replaced(manifest: &str, from: &str, to: &str) -> Result<String, Failure> {
    if manifest.contains(from) {
        Ok(manifest.replace(from, to))
    } else {
        Err(format!("there is no {from:?} in\n{manifest}").into())
    }
}

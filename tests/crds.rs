//! The CRDs in `crds/`, and the chart's, are those that the operator prints.

use std::path::{Path, PathBuf};

use vpn_core::api::crds;

/// `UPDATE_CRDS=1 cargo test --test crds` regenerates them.
#[test]
fn crd_files_match_the_output_of_the_crd_command() {
    // Helm reads no file outside the chart.
    for folder in ["crds", "charts/vpn-operator/files/crds"] {
        prints_the_files_in(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder));
    }
}

fn prints_the_files_in(folder: &Path) {
    let crds = crds().expect("the rules fit the schemas");
    for crd in &crds {
        let name = crd.metadata.name.as_deref().expect("a CRD has a name");
        let file = folder.join(format!("{name}.yaml"));
        let text = serde_saphyr::to_string(crd).expect("a CRD is plain data");
        if std::env::var_os("UPDATE_CRDS").is_some() {
            std::fs::create_dir_all(folder).expect("crds/ can be made");
            std::fs::write(&file, &text).expect("crds/ can be written");
        }
        let on_disk = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            on_disk == text,
            "{} is out of date: UPDATE_CRDS=1 cargo test --test crds",
            file.display()
        );
    }
    let files = std::fs::read_dir(folder).expect("crds/ is there").count();
    assert_eq!(files, crds.len(), "crds/ holds a file that no kind stands for");
}

/// Long texts are folded when written; Helm and kubectl must read them back unchanged.
#[test]
fn printed_crds_parse_to_the_same_value() {
    for crd in crds().expect("the rules fit the schemas") {
        let text = serde_saphyr::to_string(&crd).expect("a CRD is plain data");
        let back: serde_json::Value = serde_saphyr::from_str(&text).expect("it is YAML");
        assert_eq!(back, serde_json::to_value(&crd).expect("a CRD is plain data"));
    }
}

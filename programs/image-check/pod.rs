//! The specification of a Deployment's only container, as the kubelet reads it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tempfile::TempDir;

use crate::Failure;
use crate::cluster::Cluster;

/// The container of a Deployment's pod.
pub(crate) struct Pod {
    /// The command, if not that of the image.
    pub command: Vec<String>,
    pub arguments: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// The memory limit in bytes.
    pub memory_limit: u64,
    pub user: u64,
    /// Its `ServiceAccount`, if its token is mounted.
    pub account: Option<String>,
    /// The Secrets of a volume, as files, with the mount path.
    pub mount: Option<(TempDir, String)>,
}

impl Pod {
    /// Reads the Deployment.
    ///
    /// # Errors
    /// If it does not exist, or does not confine its container as this check expects.
    pub(crate) async fn of(cluster: &Cluster, deployment: &str) -> Result<Self, Failure> {
        let deployment = cluster.get("deployment", deployment).await?;
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let mut variables = Vec::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            if let Some(value) = value(cluster, variable).await? {
                variables.push((text(&variable["name"])?, value));
            }
        }
        let security = &container["securityContext"];
        let is_locked_up = security["readOnlyRootFilesystem"] == true
            && security["allowPrivilegeEscalation"] == false
            && security["capabilities"]["drop"][0] == "ALL"
            && pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault";
        if !is_locked_up {
            return Err(format!("the Deployment does not confine its container: {security}").into());
        }
        let is_lent_a_token = pod["automountServiceAccountToken"] != false;
        Ok(Self {
            command: words(&container["command"], &variables)?,
            arguments: words(&container["args"], &variables)?,
            variables,
            memory_limit: mebibytes(&container["resources"]["limits"]["memory"])?,
            user: pod["securityContext"]["runAsUser"].as_u64().ok_or("no user")?,
            account: is_lent_a_token.then(|| text(&pod["serviceAccountName"])).transpose()?,
            mount: mount(cluster, pod).await?,
        })
    }
}

/// The only supported volume: Secrets.
async fn mount(cluster: &Cluster, pod: &Value) -> Result<Option<(TempDir, String)>, Failure> {
    let mut volumes = pod["volumes"].as_array().into_iter().flatten();
    let Some(sources) = volumes.find_map(|volume| volume["projected"]["sources"].as_array()) else {
        return Ok(None);
    };
    let folder = tempfile::tempdir()?;
    // The user of the container differs from that of this process.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    for secret in sources.iter().map(|source| &source["secret"]) {
        for item in secret["items"].as_array().into_iter().flatten() {
            let value = cluster
                .secret_value(&text(&secret["name"])?, &text(&item["key"])?)
                .await?;
            match value {
                Some(value) => std::fs::write(folder.path().join(text(&item["path"])?), value)?,
                None if secret["optional"] == true => {}
                None => return Err(format!("no value for {}", item["key"]).into()),
            }
        }
    }
    let place = text(&pod["containers"][0]["volumeMounts"][0]["mountPath"])?;
    Ok(Some((folder, place)))
}

/// A list of words, with `$(NAME)` replaced.
fn words(list: &Value, variables: &[(String, String)]) -> Result<Vec<String>, Failure> {
    let list = list.as_array().into_iter().flatten();
    list.map(|word| {
        let replace = |word: String, (name, value): &(String, String)| word.replace(&format!("$({name})"), value);
        Ok(variables.iter().fold(text(word)?, replace))
    })
    .collect()
}

async fn value(cluster: &Cluster, variable: &Value) -> Result<Option<String>, Failure> {
    if let Some(value) = variable["value"].as_str() {
        return Ok(Some(value.to_owned()));
    }
    let from = &variable["valueFrom"];
    match from["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.namespace") => return Ok(Some(cluster.namespace().to_owned())),
        Some("metadata.name") => return Ok(Some("image-check-0".to_owned())),
        Some(other) => return Err(format!("unsupported field: {other}").into()),
        None => {}
    }
    let reference = &from["secretKeyRef"];
    let value = cluster
        .secret_value(&text(&reference["name"])?, &text(&reference["key"])?)
        .await?;
    if value.is_none() && reference["optional"] != true {
        return Err(format!("no value for {}", variable["name"]).into());
    }
    Ok(value)
}

fn text(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or_else(|| format!("{value} is no text"))?.to_owned())
}

fn mebibytes(value: &Value) -> Result<u64, Failure> {
    let text = text(value)?;
    let number = text.strip_suffix("Mi").ok_or_else(|| format!("{text} is not in Mi"))?;
    Ok(number.parse::<u64>()? << 20)
}

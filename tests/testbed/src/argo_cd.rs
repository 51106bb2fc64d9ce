//! Argo CD itself, beside a control plane: its application controller and repository server as processes, with an empty
//! configuration, as after its installation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::assets::{ArgoCdParts, Part, Tool};
use crate::control_plane::{ControlPlane, free_port};
use crate::error::{Error, Result};
use crate::process::{Launch, Process};

const START_DEADLINE: Duration = Duration::from_secs(60);
/// Its namespace, as in its documentation.
const NAMESPACE: &str = "argocd";

/// The objects of its installation that the two parts read. They have cluster-admin permissions, as in an installation
/// for a whole cluster.
const CONFIGURATION: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
stringData: {server.secretkey: of-no-server}
---
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  sourceRepos: ['*']
  destinations: [{namespace: '*', server: '*'}]
  clusterResourceWhitelist: [{group: '*', kind: '*'}]
";

/// A running Argo CD. Dropping it ends its processes.
#[derive(Debug)]
pub struct ArgoCd {
    controller: Process,
    repo_server: Process,
    redis: Process,
}

impl ArgoCd {
    /// Installs its CRDs and configuration, and starts it. The first time on a machine it is built from source.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let parts = ArgoCdParts::find(plane.guardian()).await?;
        plane.kubectl(["create", "namespace", NAMESPACE]).await?.success()?;
        plane.apply_crds(&parts.crds()).await?;
        let apply = ["apply", "--filename", "-"];
        plane.kubectl_with_input(apply, CONFIGURATION).await?.success()?;

        let redis_address = address()?;
        let redis = Launch::new("argocd-redis", parts.path(Part::Redis)).args([&redis_address]);
        let redis = plane.guardian().spawn(redis)?;

        let repo_address = address()?;
        let (host, port) = split(&repo_address);
        let folder = plane.guardian().folder().join("argocd");
        for name in ["ssh", "tls", "tmp"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(Error::io(format!("cannot make {}", path.display())))?;
        }
        let repo_server = Launch::new("argocd-repo-server", parts.path(Part::RepoServer))
            .args(["--address", host, "--port", port, "--redis", &redis_address])
            .args(["--metrics-address", host, "--metrics-port", split(&address()?).1])
            .args(["--logformat", "text"])
            .envs(environment(plane, &folder))
            .envs([("PATH", path(plane, &parts).await?)]);
        let repo_server = plane.guardian().spawn(repo_server)?;
        repo_server
            .wait_for_log("argocd-repo-server is listening", START_DEADLINE)
            .await?;

        let controller = Launch::new("argocd-application-controller", parts.path(Part::ApplicationController))
            .args(["--namespace", NAMESPACE, "--redis", &redis_address])
            .args(["--repo-server", &repo_address, "--metrics-port", split(&address()?).1])
            // Stores the health of each object in the Application, and not only in Redis.
            .args(["--logformat", "text", "--persist-resource-health"])
            .envs(environment(plane, &folder));
        let controller = plane.guardian().spawn(controller)?;
        Ok(Self {
            controller,
            repo_server,
            redis,
        })
    }

    /// Its processes, for the diagnosis of failures.
    pub fn processes(&self) -> [&Process; 3] {
        [&self.controller, &self.repo_server, &self.redis]
    }
}

/// Uses this kubeconfig for the cluster that Argo CD runs in.
fn environment(plane: &ControlPlane, folder: &Path) -> [(&'static str, PathBuf); 6] {
    [
        ("ARGOCD_FAKE_IN_CLUSTER", "true".into()),
        // Commits are not signed here.
        ("ARGOCD_GPG_ENABLED", "false".into()),
        ("KUBECONFIG", plane.kubeconfig().to_owned()),
        ("ARGOCD_SSH_DATA_PATH", folder.join("ssh")),
        ("ARGOCD_TLS_DATA_PATH", folder.join("tls")),
        // It clones repositories there, and does not delete them.
        ("TMPDIR", folder.join("tmp")),
    ]
}

/// The repository server runs git, Helm, and the askpass program of git.
async fn path(plane: &ControlPlane, parts: &ArgoCdParts) -> Result<std::ffi::OsString> {
    let helm = plane.tool(Tool::Helm).await?;
    let mut path = parts.folder().as_os_str().to_owned();
    for folder in helm
        .parent()
        .map(Path::as_os_str)
        .into_iter()
        .chain(std::env::var_os("PATH").as_deref())
    {
        path.push(":");
        path.push(folder);
    }
    Ok(path)
}

fn address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

fn split(address: &str) -> (&str, &str) {
    address.split_once(':').unwrap_or((address, ""))
}

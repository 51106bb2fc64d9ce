//! Simulates the kubelet, since no node runs here: starts the program of a Deployment, or of one of its pods, with
//! exactly its command, arguments, environment and the token of its `ServiceAccount`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Secret, SecretKeySelector, SecretProjection};
use kube::Api;
use tempfile::TempDir;

use crate::binaries::Binaries;
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::simulator::Simulator;

/// Simulates the kubelet in a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Kubelet<'a> {
    /// The control plane that has the Deployments.
    pub plane: &'a ControlPlane,
    /// Their namespace.
    pub namespace: &'a str,
    /// The programs in the image.
    pub binaries: &'a Binaries,
}

/// Name of the pod of a Deployment where no controller creates pods.
const ONLY_POD: &str = "pod-0";

/// Where the token of a `ServiceAccount` is mounted.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The program of a pod.
struct Program {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    account: String,
    mounts: Vec<Mount>,
}

/// Secrets mounted as one folder.
#[derive(Debug)]
pub(crate) struct Mount {
    secrets: Vec<SecretProjection>,
    folder: TempDir,
}

impl Kubelet<'_> {
    /// Starts the operator of a Deployment. `services` maps the names of Services to their addresses on this machine,
    /// as a cluster's DNS would. The pod's own network, where any port is free, is replaced by a free port of loopback.
    pub async fn start_operator(&self, deployment: &str, services: &[(String, String)]) -> Result<Operator> {
        let pod = self.template(deployment).await?;
        self.run_operator(ONLY_POD, &pod, services).await
    }

    /// Starts the operator of a pod that the controllers created from its Deployment; `services` as above.
    pub async fn start_pod(&self, pod: &Pod, services: &[(String, String)]) -> Result<Operator> {
        let mut spec = pod.spec.clone().unwrap_or_default();
        // The apiserver adds a mount for the ServiceAccount's token, which the program gets in another way here.
        for mounts in spec
            .containers
            .iter_mut()
            .filter_map(|container| container.volume_mounts.as_mut())
        {
            mounts.retain(|mount| mount.mount_path != TOKEN);
        }
        let name = pod.metadata.name.as_deref().unwrap_or(ONLY_POD);
        self.run_operator(name, &spec, services).await
    }

    async fn run_operator(&self, name: &str, pod: &PodSpec, services: &[(String, String)]) -> Result<Operator> {
        let program = self.program(name, pod, &[], services).await?;
        let kubeconfig = self
            .plane
            .service_account_kubeconfig(self.namespace, &program.account)
            .await?;
        let operator = Operator::start(
            self.plane.guardian(),
            &self.binaries.operator,
            &kubeconfig,
            program.arguments,
            program.environment,
        )?;
        Ok(operator.with_mounts(program.mounts))
    }

    /// Updates the Secrets in the folders of a running operator, as the kubelet does within a minute or two.
    pub async fn refresh(&self, operator: &Operator) -> Result<()> {
        for mount in operator.mounts() {
            self.fill(mount).await?;
        }
        Ok(())
    }

    /// Starts the simulator of a Deployment.
    pub async fn start_simulator(&self, deployment: &str) -> Result<Simulator> {
        let pod = self.template(deployment).await?;
        let program = self.program(ONLY_POD, &pod, &["/vpn-simulator"], &[]).await?;
        // It reads no variables: the arguments contain those of the Deployment.
        let arguments = program.arguments.into_iter().filter(|argument| !is_address(argument));
        Simulator::start(self.plane.guardian(), &self.binaries.simulator, arguments).await
    }

    /// Returns the pod spec of a Deployment.
    async fn template(&self, deployment: &str) -> Result<PodSpec> {
        let deployments = Api::<Deployment>::namespaced(self.plane.client().await?, self.namespace);
        let template = deployments.get(deployment).await?.spec.unwrap_or_default().template;
        Ok(template.spec.unwrap_or_default())
    }

    async fn program(
        &self,
        name: &str,
        pod: &PodSpec,
        command: &[&str],
        services: &[(String, String)],
    ) -> Result<Program> {
        let container = only_container(pod)?;
        // Without a command, the pod runs the one of the image, which is the operator.
        let declared = container.command.clone().unwrap_or_default();
        if declared != command {
            return Err(Error::Pod(format!("{name} runs {declared:?} instead of {command:?}")));
        }
        if container.env_from.iter().flatten().count() > 0 {
            return Err(Error::Pod(format!("{name} wants envFrom")));
        }
        let mut environment = self.environment(name, container).await?;
        let mut mounts = Vec::new();
        for wanted in container.volume_mounts.iter().flatten() {
            let mount = Mount {
                secrets: projected_secrets(name, pod, &wanted.name)?,
                folder: tempfile::tempdir().map_err(Error::io("a folder for Secrets"))?,
            };
            self.fill(&mount).await?;
            // The folder on this machine replaces the mount path; arguments contain no folder of a Secret.
            let folder = mount.folder.path().display().to_string();
            for value in environment.values_mut().filter(|value| **value == wanted.mount_path) {
                value.clone_from(&folder);
            }
            mounts.push(mount);
        }
        let on_this_machine = |argument: &String| {
            let mut argument = expanded(argument, &environment);
            if is_address(&argument) {
                "--bind-address=127.0.0.1:0".clone_into(&mut argument);
            }
            for (name, address) in services {
                argument = argument.replace(name.as_str(), address);
            }
            argument
        };
        let arguments = container.args.iter().flatten().map(on_this_machine).collect();
        Ok(Program {
            arguments,
            environment,
            account: pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            mounts,
        })
    }

    /// Changes all files at once, as the kubelet does: `..data` links to the current version.
    async fn fill(&self, mount: &Mount) -> Result<()> {
        let folder = mount.folder.path();
        let version = tempfile::Builder::new().prefix("..").tempdir_in(folder);
        let version = version.map_err(Error::io("a folder for Secrets"))?.keep();
        let failed = || Error::io("a file of a Secret");
        for secret in &mount.secrets {
            for item in secret.items.iter().flatten() {
                let selector = SecretKeySelector {
                    name: secret.name.clone(),
                    key: item.key.clone(),
                    optional: secret.optional,
                };
                let link = folder.join(&item.path);
                if !link.is_symlink() {
                    symlink(Path::new("..data").join(&item.path), link).map_err(failed())?;
                }
                if let Some(value) = self.secret(&selector).await? {
                    std::fs::write(version.join(&item.path), value).map_err(failed())?;
                }
            }
        }
        symlink(&version, folder.join("..next")).map_err(failed())?;
        std::fs::rename(folder.join("..next"), folder.join("..data")).map_err(failed())
    }

    async fn environment(&self, pod: &str, container: &Container) -> Result<BTreeMap<String, String>> {
        let mut environment = BTreeMap::new();
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(pod, variable).await? {
                environment.insert(variable.name.clone(), value);
            }
        }
        Ok(environment)
    }

    async fn value(&self, pod: &str, variable: &EnvVar) -> Result<Option<String>> {
        if let Some(value) = &variable.value {
            return Ok(Some(value.clone()));
        }
        let from = variable.value_from.clone().unwrap_or_default();
        if let Some(selector) = &from.secret_key_ref {
            return self.secret(selector).await;
        }
        match from.field_ref.map(|field| field.field_path).as_deref() {
            Some("metadata.namespace") => Ok(Some(self.namespace.to_owned())),
            Some("metadata.name") => Ok(Some(pod.to_owned())),
            _ => Err(Error::Pod(format!("{}: nothing here knows its value", variable.name))),
        }
    }

    async fn secret(&self, selector: &SecretKeySelector) -> Result<Option<String>> {
        let secrets = Api::<Secret>::namespaced(self.plane.client().await?, self.namespace);
        let found = secrets.get_opt(&selector.name).await?;
        let data = found.and_then(|secret| secret.data).unwrap_or_default();
        match data.get(&selector.key) {
            Some(bytes) => Ok(Some(String::from_utf8_lossy(&bytes.0).into_owned())),
            None if selector.optional == Some(true) => Ok(None),
            None => Err(Error::NoSecret {
                name: selector.name.clone(),
                key: selector.key.clone(),
            }),
        }
    }
}

/// Returns the Secrets that a volume projects.
fn projected_secrets(name: &str, pod: &PodSpec, volume: &str) -> Result<Vec<SecretProjection>> {
    let volumes = pod.volumes.iter().flatten();
    let projected = volumes
        .filter(|it| it.name == volume)
        .filter_map(|it| it.projected.as_ref());
    let sources: Vec<_> = projected.flat_map(|it| it.sources.iter().flatten()).collect();
    let secrets: Vec<_> = sources.iter().filter_map(|source| source.secret.clone()).collect();
    if secrets.is_empty() || secrets.len() < sources.len() {
        return Err(Error::Pod(format!(
            "{name} wants a volume that is not made of Secrets: {volume}"
        )));
    }
    Ok(secrets)
}

fn only_container(pod: &PodSpec) -> Result<&Container> {
    match pod.containers.as_slice() {
        [container] => Ok(container),
        others => Err(Error::Pod(format!("{} containers instead of one", others.len()))),
    }
}

fn is_address(argument: &str) -> bool {
    argument.starts_with("--bind-address=")
}

/// Replaces `$(NAME)` of each variable, as Kubernetes does.
fn expanded(argument: &str, environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(argument.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_arguments_are_expanded() {
        let environment = [("A", "one"), ("B", "two")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = BTreeMap::from(environment);
        assert_eq!(expanded("--credential=$(A)=$(B)", &environment), "--credential=one=two");
        assert_eq!(expanded("$(C) $A", &environment), "$(C) $A");
    }
}

//! Waits for the CRDs, so that the process is not restarted again and again until they exist.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::error_chain::one_line;
use crate::kubernetes::crd_skew::UPDATE;
use crate::web::{Readiness, ReadinessCheck};

const FIRST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The timeout of a discovery request.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(10);

/// Why the served resources are not known.
#[derive(Debug, Error)]
enum DiscoveryError {
    #[error(transparent)]
    Request(#[from] kube::Error),
    #[error("no answer within {}", humantime::format_duration(DISCOVERY_LIMIT))]
    Timeout,
}

/// The resources that must be served before anything else can work, each with its readiness check.
pub struct AwaitedCrds(Vec<Awaited>);

struct Awaited {
    group: String,
    /// The storage version, which is the version that this operator uses.
    version: String,
    plural: String,
    check: ReadinessCheck,
}

impl AwaitedCrds {
    /// Adds a pending readiness check for each of `crds`.
    pub fn new(crds: &[CustomResourceDefinition], readiness: &Readiness) -> Self {
        let awaited = crds.iter().filter_map(|crd| {
            let version = crd.spec.versions.iter().find(|version| version.storage)?;
            let plural = crd.spec.names.plural.clone();
            let check = readiness.check(format!("crd {plural}"), "not checked yet");
            Some(Awaited {
                group: crd.spec.group.clone(),
                version: version.name.clone(),
                plural,
                check,
            })
        });
        Self(awaited.collect())
    }

    /// Completes once all are served, and logs once what is missing. Every account may use discovery, and every
    /// resource that it lists can be watched: an installed CRD that is not served yet does not count.
    pub async fn served(&self, client: &Client) {
        let mut pause = FIRST_PAUSE;
        let mut last_reported = String::new();
        while let Some(line) = self.poll(client).await {
            if line != last_reported {
                warn!("{line}");
                last_reported = line;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if !last_reported.is_empty() {
            info!("the apiserver serves all CustomResourceDefinitions");
        }
    }

    /// Returns a log message about what is missing.
    async fn poll(&self, client: &Client) -> Option<String> {
        let mut missing = Vec::new();
        for Awaited {
            group,
            version,
            plural,
            check,
        } in &self.0
        {
            match served_plurals(client, &format!("{group}/{version}")).await {
                Ok(plurals) if plurals.contains(plural) => check.ok(),
                Ok(_) => {
                    check.pending(format!(
                        "{plural}.{group} is not installed, or not in version {version}"
                    ));
                    missing.push(format!("{plural}.{group} ({version})"));
                }
                Err(error) => {
                    let line = format!("waiting for the apiserver: {}", one_line(&error));
                    check.pending(line.clone());
                    return Some(line);
                }
            }
        }
        (!missing.is_empty()).then(|| {
            format!(
                "waiting for CustomResourceDefinitions: {}; install them with: {UPDATE}",
                missing.join(", ")
            )
        })
    }
}

async fn served_plurals(client: &Client, group_version: &str) -> Result<BTreeSet<String>, DiscoveryError> {
    match timeout(DISCOVERY_LIMIT, client.list_api_group_resources(group_version)).await {
        Ok(Ok(list)) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(BTreeSet::new()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(DiscoveryError::Timeout),
    }
}

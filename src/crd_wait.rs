//! Waiting for the CRDs, instead of ending and being started again and again until they are there.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::{
    crd_age::UPDATE,
    plain_error::one_line,
    web::{Check, Readiness},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the apiserver may take to say what it serves.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(10);

/// The resources that must be served before anything else makes sense, each with its check of readiness.
pub struct AwaitedCrds(Vec<Awaited>);

struct Awaited {
    group: String,
    /// The one that is stored, which is the one that this version of the operator speaks.
    version: String,
    plural: String,
    check: Check,
}

impl AwaitedCrds {
    /// Enters a pending check for each of `crds`.
    pub fn new(crds: &[CustomResourceDefinition], readiness: &Readiness) -> Self {
        let awaited = crds.iter().filter_map(|crd| {
            let version = crd.spec.versions.iter().find(|version| version.storage)?;
            let plural = crd.spec.names.plural.clone();
            let check = readiness.check(format!("crd {plural}"), "not looked for yet");
            Some(Awaited {
                group: crd.spec.group.clone(),
                version: version.name.clone(),
                plural,
                check,
            })
        });
        Self(awaited.collect())
    }

    /// Completes once all are served, and says once what is missing. Discovery is open to every account, and what it
    /// lists can be watched: an installed CRD that is not served yet does not count.
    pub async fn served(&self, client: &Client) {
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        while let Some(line) = self.look(client).await {
            if line != told {
                warn!("{line}");
                told = line;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if !told.is_empty() {
            info!("everything that was waited for is there");
        }
    }

    /// What is missing, for a person.
    async fn look(&self, client: &Client) -> Option<String> {
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
                    let line = format!("waiting for the apiserver: {error}");
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

async fn served_plurals(client: &Client, group_version: &str) -> Result<BTreeSet<String>, String> {
    match timeout(DISCOVERY_LIMIT, client.list_api_group_resources(group_version)).await {
        Ok(Ok(list)) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(BTreeSet::new()),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(_) => Err(format!(
            "no answer within {}",
            humantime::format_duration(DISCOVERY_LIMIT)
        )),
    }
}

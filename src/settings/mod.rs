//! What the process was asked to do: [`Cli`] is what people type, [`Settings`] is what was checked.

mod cli;
mod reference;
mod selector;
mod validate;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

pub use cli::{Cli, Command, LogFormat, ProbeArgs, RunArgs};
pub use reference::{flag_reference, probe_reference};
pub use selector::{SelectorError, check_label_selector};
pub use validate::{FlagError, validate};

use crate::{
    api::DeletionPolicy,
    cloud::{Cloud, endpoints::EndpointAliases},
};

/// Checked settings of `vpn-operator run`. No secret among them: credentials have their own room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub cloud: Cloud,
    /// `None`: only credentials that name a region of their own, or explicit endpoint and project, can work.
    pub region: Option<String>,
    /// `None`: looked up by region.
    pub project_id: Option<String>,
    /// `None`: the template of `cloud` and `region`. All endpoints are in the one spelling of `cloud::endpoints`.
    pub vpn_endpoint: Option<String>,
    /// `None`: the template of `cloud` and `region`.
    pub iam_endpoint: Option<String>,
    /// Plain `http://` is taken, from credentials Secrets as well.
    pub allow_insecure_endpoints: bool,
    /// What a credentials Secret may name besides the operator's own endpoints.
    pub allowed_endpoints: Vec<String>,
    /// Other names of endpoints under which objects were recorded.
    pub endpoint_aliases: EndpointAliases,
    pub own_credentials_namespaces: Namespaces,
    pub watch_namespaces: Namespaces,
    /// A label selector in kubectl's syntax, as it is sent to the apiserver.
    pub watch_selector: Option<String>,
    pub cluster_name: Option<String>,
    pub owner_tag_key: String,
    pub default_deletion_policy: DeletionPolicy,
    pub mass_deletion_guard: bool,
    pub read_only: bool,
    pub ca_bundle: Option<CaBundle>,
    /// `None`: never.
    pub resync_period: Option<Duration>,
    pub settle_time: Duration,
    pub max_requests_per_second: NonZeroU32,
    pub request_timeout: Duration,
    /// `None`: `--leader-elect=false`.
    pub leader_election: Option<LeaderElection>,
    /// Where the operator keeps what is its own (the digest key); the Lease stands beside it. `None`: nobody said,
    /// which is an error only with leader election.
    pub home_namespace: Option<String>,
    /// Name of the Lease, and the stem of the names beside it.
    pub home_name: String,
    pub listen: SocketAddr,
    pub log: LogSettings,
}

/// A set of namespaces, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    All,
    /// Sorted, without repetition, never empty.
    Only(Vec<String>),
}

impl Namespaces {
    /// Whether `namespace` is one of them.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// What a watch of each is limited to; one without limits for all of them.
    pub fn watches(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// Which Lease is fought for, and how long a term is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    pub namespace: String,
    pub name: String,
    /// Whole seconds.
    pub lease_duration: Duration,
}

/// More roots for the cloud's TLS: at least one certificate, and each of them can be a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    pub path: PathBuf,
    pub pem: Vec<u8>,
}

/// How the log looks and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// In EnvFilter's syntax, checked.
    pub filter: String,
}

impl Settings {
    /// What a person should hear at start although it is no error. Each line names the flag.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.region.is_none() && (self.vpn_endpoint.is_none() || self.project_id.is_none()) {
            warnings.push(
                "no --region, nor both --vpn-endpoint and --project-id: the operator's own credentials cannot be used; \
                 only objects whose credentialsRef names a Secret with a region will work",
            );
        }
        if self.cluster_name.is_none() {
            warnings.push(
                "no --cluster-name: an object that is made anew (after a restore, or in a rebuilt cluster) will not \
                 take its gateway back; set a name that is unique per cloud project",
            );
        }
        if self.allow_insecure_endpoints {
            warnings
                .push("--allow-insecure-endpoints is set: requests may travel unencrypted; meant for the simulator");
        }
        if self.leader_election.is_none() {
            warnings.push("--leader-elect=false: make sure that no second operator runs for the same objects");
        }
        if !self.mass_deletion_guard {
            warnings.push("--mass-deletion-guard=false: objects that vanish all at once are recreated unasked");
        }
        warnings
    }
}

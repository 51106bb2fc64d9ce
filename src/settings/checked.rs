//! The checked settings of `vpn-operator run`.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use vpn_cloud::Cloud;
use vpn_cloud::regions::endpoints::EndpointAliases;
use vpn_core::api::DeletionPolicy;

use crate::settings::cli::LogFormat;

/// Checked settings of `vpn-operator run`. They contain no secret: credentials have their own module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorSettings {
    /// Determines endpoints and supported kinds.
    pub cloud: Cloud,
    /// `None`: only credentials that name a region of their own, or explicit endpoint and project, can work.
    pub region: Option<String>,
    /// `None`: looked up by region.
    pub project_id: Option<String>,
    /// `None`: the template of `cloud` and `region`. All endpoints are in the normalized form of `cloud::endpoints`.
    pub vpn_endpoint: Option<String>,
    /// `None`: the template of `cloud` and `region`.
    pub iam_endpoint: Option<String>,
    /// Plain `http://` is accepted, from credentials Secrets as well.
    pub allow_insecure_endpoints: bool,
    /// Endpoints that a credentials Secret may name besides the operator's own.
    pub allowed_endpoints: Vec<String>,
    /// Other names of endpoints under which objects were recorded.
    pub endpoint_aliases: EndpointAliases,
    /// Objects in these namespaces may use the default credentials.
    pub default_credentials_namespaces: Namespaces,
    /// The operator manages only objects in these namespaces.
    pub watch_namespaces: Namespaces,
    /// A label selector in kubectl's syntax, as it is sent to the apiserver.
    pub watch_selector: Option<String>,
    /// Part of the owner tag, so that a rebuilt cluster recognizes its resources. `None`: not recognized.
    pub cluster_name: Option<String>,
    /// The key of the tag that names the owner of a cloud resource.
    pub owner_tag_key: String,
    /// Applies to objects without `spec.deletionPolicy`.
    pub default_deletion_policy: DeletionPolicy,
    /// If many resources of a credential are missing at once, none is recreated without approval.
    pub mass_deletion_guard: bool,
    /// No request changes anything in the cloud.
    pub read_only: bool,
    /// `None`: only the root certificates of the system.
    pub ca_bundle: Option<CaBundle>,
    /// `None`: no drift checks.
    pub resync_period: Option<Duration>,
    /// How long a creation is observed before it counts as confirmed.
    pub confirmation_period: Duration,
    /// Per access key.
    pub max_requests_per_second: NonZeroU32,
    /// Of one request to the cloud.
    pub request_timeout: Duration,
    /// `None`: `--leader-elect=false`.
    pub leader_election: Option<LeaderElection>,
    /// The namespace of the operator's own data (the digest key) and of the Lease. `None`: unset, which is an error
    /// only with leader election.
    pub operator_namespace: Option<String>,
    /// Name of the Lease, and prefix of the names beside it.
    pub lease_name: String,
    /// Where the HTTP endpoints listen.
    pub bind_address: SocketAddr,
    /// Format and filter of the log.
    pub log: LogSettings,
}

/// A set of namespaces, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Every namespace.
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

    /// Returns the namespace that each watch is limited to; one `None` for all namespaces.
    pub fn watches(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// The Lease of the leader election, and its duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// Of the Lease.
    pub namespace: String,
    /// Of the Lease.
    pub name: String,
    /// Whole seconds.
    pub lease_duration: Duration,
}

/// Additional root certificates for the cloud's TLS: at least one, and each can be a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    /// The file that it comes from.
    pub path: PathBuf,
    /// The content of that file at the start of the process.
    pub pem: Vec<u8>,
}

/// The format and the filter of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Text for people, or JSON.
    pub format: LogFormat,
    /// In `EnvFilter`'s syntax, checked.
    pub filter: String,
}

impl OperatorSettings {
    /// Returns the warnings that are logged at start. Each line names the flag.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.region.is_none() && (self.vpn_endpoint.is_none() || self.project_id.is_none()) {
            warnings.push(
                "no --region, nor both --vpn-endpoint and --project-id: the default credentials cannot be used; \
                 only objects whose credentialsRef names a Secret with a region will work",
            );
        }
        if self.cluster_name.is_none() {
            warnings.push(
                "no --cluster-name: an object that is recreated (by a restore, or in a rebuilt cluster) will not \
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
            warnings
                .push("--mass-deletion-guard=false: objects that disappear all at once are recreated without approval");
        }
        warnings
    }
}

//! The command line as people see it: sub-commands, flags, their environment names, defaults and help.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{ArgAction, BoolishValueParser, PossibleValue, PossibleValuesParser, TypedValueParser},
};
use url::Url;

use super::validate::{
    parse_cluster_name, parse_duration, parse_listen, parse_log_filter, parse_namespace, parse_object_name,
    parse_owner_tag_key, parse_probe_url, parse_project_id, parse_region, parse_selector,
};
use crate::{
    api::{DEFAULT_OWNER_TAG_KEY, DeletionPolicy},
    cloud::Cloud,
};

const AFTER_HELP: &str = "\
The operator's own credentials:
  HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and, for temporary ones, HUAWEICLOUD_SDK_SECURITY_TOKEN in the environment,
  else the file that HUAWEICLOUD_SDK_CREDENTIALS_FILE names (section [basic]). Without any, objects with a
  credentialsRef work and the others say so in their status.

Access to Kubernetes:
  KUBECONFIG or ~/.kube/config, else the pod's service account.

Durations are written as 30s, 5m, 1h.";

/// Kubernetes operator for customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud.
#[derive(Debug, Parser)]
#[command(name = "vpn-operator", version, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until it is told to stop (SIGTERM, Ctrl-C).
    #[command(after_help = AFTER_HELP, args_override_self = true)]
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply --server-side -f -`.
    Crd,
    /// Ask whether an operator is ready, and say what is missing otherwise: status 0 if one is, 1 if none is.
    #[command(args_override_self = true)]
    Probe(ProbeArgs),
}

fn cloud_parser() -> impl TypedValueParser<Value = Cloud> {
    let known = [
        PossibleValue::new("huawei").help("Huawei Cloud"),
        PossibleValue::new("otc").help("Open Telekom Cloud"),
    ];
    PossibleValuesParser::new(known).try_map(|name| name.to_lowercase().parse::<Cloud>())
}

fn deletion_policy_parser() -> impl TypedValueParser<Value = DeletionPolicy> {
    let known = [
        PossibleValue::new("Delete").help("the cloud object goes too"),
        PossibleValue::new("Retain").help("the cloud object stays, without our tag"),
    ];
    PossibleValuesParser::new(known).map(|name| match name.eq_ignore_ascii_case("Retain") {
        true => DeletionPolicy::Retain,
        false => DeletionPolicy::Delete,
    })
}

/// The flags of `run`, as typed: each parsed by itself, not yet checked against one another.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Which cloud: decides how endpoints are made from the region, and what is offered.
    #[arg(long, env = "VPN_OPERATOR_CLOUD", value_name = "CLOUD", value_parser = cloud_parser())]
    #[arg(ignore_case = true, default_value = "huawei", help_heading = "Cloud")]
    pub cloud: Cloud,

    /// Region of the operator's own credentials, e.g. `eu-west-101`. May be left out with an explicit
    /// --vpn-endpoint and --project-id, or when every object names credentials with a region.
    #[arg(long, env = "VPN_OPERATOR_REGION", value_name = "REGION", value_parser = parse_region)]
    #[arg(help_heading = "Cloud")]
    pub region: Option<String>,

    /// Project of the operator's own credentials; left out: asked from IAM, by region.
    #[arg(long, env = "HUAWEICLOUD_SDK_PROJECT_ID", value_name = "ID", value_parser = parse_project_id)]
    #[arg(help_heading = "Cloud")]
    pub project_id: Option<String>,

    /// Base URL of the VPN service; left out: made from cloud and region.
    #[arg(long, env = "VPN_OPERATOR_VPN_ENDPOINT", value_name = "URL", help_heading = "Cloud")]
    pub vpn_endpoint: Option<String>,

    /// Base URL of IAM; left out: made from cloud and region.
    #[arg(
        long,
        env = "HUAWEICLOUD_SDK_IAM_ENDPOINT",
        value_name = "URL",
        help_heading = "Cloud"
    )]
    pub iam_endpoint: Option<String>,

    /// The VPN endpoint OLD, as status.scope records it, is served as NEW now: objects recorded under OLD go on there, and
    /// new ones are recorded under OLD as well. Repeatable; commas in the environment.
    #[arg(
        long = "endpoint-alias",
        env = "VPN_OPERATOR_ENDPOINT_ALIASES",
        value_name = "OLD=NEW"
    )]
    #[arg(value_delimiter = ',', help_heading = "Cloud")]
    pub endpoint_aliases: Vec<String>,

    /// Accept `http://` endpoints. Meant for the simulator: requests travel unencrypted.
    #[arg(
        long,
        env = "VPN_OPERATOR_ALLOW_INSECURE_ENDPOINTS",
        default_value = "false",
        help_heading = "Cloud"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub allow_insecure_endpoints: bool,

    /// PEM file with more root certificates for the cloud's TLS; a change of it counts from the next request on. HTTPS_PROXY and NO_PROXY are honoured as well.
    #[arg(long, env = "VPN_OPERATOR_CA_FILE", value_name = "FILE", help_heading = "Cloud")]
    pub ca_file: Option<PathBuf>,

    /// An endpoint that a credentials Secret may name, besides the operator's own; anything else is refused, or
    /// whoever may write a Secret could aim the operator at any host. Repeatable; commas in the environment.
    #[arg(
        long = "allowed-endpoint",
        env = "VPN_OPERATOR_ALLOWED_ENDPOINTS",
        value_name = "URL"
    )]
    #[arg(value_delimiter = ',', help_heading = "Tenants")]
    pub allowed_endpoints: Vec<String>,

    /// A namespace whose objects may use the operator's own credentials, and so adopt or delete what these reach;
    /// elsewhere a credentialsRef is required. Left out: every namespace. Repeatable; commas in the environment.
    #[arg(long = "own-credentials-namespace", env = "VPN_OPERATOR_OWN_CREDENTIALS_NAMESPACES")]
    #[arg(value_name = "NAMESPACE", value_delimiter = ',', value_parser = parse_namespace, help_heading = "Tenants")]
    pub own_credentials_namespaces: Vec<String>,

    /// A namespace to look after. Left out: every namespace. Repeatable; commas in the environment.
    #[arg(
        long = "watch-namespace",
        env = "VPN_OPERATOR_WATCH_NAMESPACES",
        value_name = "NAMESPACE"
    )]
    #[arg(value_delimiter = ',', value_parser = parse_namespace, help_heading = "Tenants")]
    pub watch_namespaces: Vec<String>,

    /// Label selector of the objects to look after, in kubectl's syntax: several releases can share one cluster,
    /// one shard each. Left out: every object.
    #[arg(long, env = "VPN_OPERATOR_WATCH_SELECTOR", value_name = "SELECTOR", value_parser = parse_selector)]
    #[arg(help_heading = "Tenants")]
    pub watch_selector: Option<String>,

    /// Name of this cluster in ownership tags, unique per cloud project: at most 32 of a-z, 0-9 and `-`. Left out:
    /// an object that was made anew does not take its gateway back.
    #[arg(long, env = "VPN_OPERATOR_CLUSTER_NAME", value_name = "NAME", value_parser = parse_cluster_name)]
    #[arg(help_heading = "Ownership and deletion")]
    pub cluster_name: Option<String>,

    /// Key of the tag that says whose a gateway is, for clouds whose tag policies forbid the usual one.
    #[arg(long, env = "VPN_OPERATOR_OWNER_TAG_KEY", value_name = "KEY", value_parser = parse_owner_tag_key)]
    #[arg(default_value = DEFAULT_OWNER_TAG_KEY, help_heading = "Ownership and deletion")]
    pub owner_tag_key: String,

    /// What happens to the cloud object when an object without deletionPolicy is deleted.
    #[arg(long, env = "VPN_OPERATOR_DEFAULT_DELETION_POLICY", value_name = "POLICY")]
    #[arg(value_parser = deletion_policy_parser(), ignore_case = true)]
    #[arg(default_value = "Delete", help_heading = "Ownership and deletion")]
    pub default_deletion_policy: DeletionPolicy,

    /// Recreate nothing while suspiciously many objects are missing in the cloud at once, until a person approves.
    #[arg(long, env = "VPN_OPERATOR_MASS_DELETION_GUARD", default_value = "true")]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    #[arg(help_heading = "Ownership and deletion")]
    pub mass_deletion_guard: bool,

    /// Write nothing to the cloud, whatever the objects say; what would be done is told in their conditions.
    #[arg(
        long,
        env = "VPN_OPERATOR_READ_ONLY",
        default_value = "false",
        help_heading = "Ownership and deletion"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub read_only: bool,

    /// How often the cloud is looked at for drift; `0` = never, then even late duplicates are found only on a change.
    #[arg(long, env = "VPN_OPERATOR_RESYNC_PERIOD", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "5m", help_heading = "Pace")]
    pub resync_period: Duration,

    /// How long after its creation a VPN user must still be there to count as made.
    #[arg(long, env = "VPN_OPERATOR_SETTLE_TIME", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "30s", help_heading = "Pace")]
    pub settle_time: Duration,

    /// Requests to the cloud per second and credential, at most.
    #[arg(
        long,
        env = "VPN_OPERATOR_MAX_REQUESTS_PER_SECOND",
        value_name = "NUMBER",
        default_value = "50"
    )]
    #[arg(help_heading = "Pace")]
    pub max_requests_per_second: NonZeroU32,

    /// How long one request to the cloud may take; with leader election at most half of --lease-duration.
    #[arg(long, env = "VPN_OPERATOR_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "10s", help_heading = "Pace")]
    pub request_timeout: Duration,

    /// Hold a Lease while working, so that of several replicas one works and the others stand by.
    #[arg(
        long,
        env = "VPN_OPERATOR_LEADER_ELECT",
        default_value = "true",
        help_heading = "Leader election"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub leader_elect: bool,

    /// Namespace of the Lease, and of the Secret with the digest key: the pod's own namespace.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", value_parser = parse_namespace)]
    #[arg(help_heading = "Leader election")]
    pub leader_elect_namespace: Option<String>,

    /// Name of the Lease; the Secret with the digest key is called NAME-digest-key.
    #[arg(long, value_name = "NAME", default_value = "vpn-operator", value_parser = parse_object_name)]
    #[arg(help_heading = "Leader election")]
    pub leader_elect_name: String,

    /// How long the Lease lasts without being renewed: whole seconds, at least 5s. Renewed every sixth of it.
    #[arg(long, env = "VPN_OPERATOR_LEASE_DURATION", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "30s", help_heading = "Leader election")]
    pub lease_duration: Duration,

    /// Where `/livez`, `/readyz` and `/metrics` are served; port 0 takes a free one and logs it. Where the machine
    /// has no IPv6, `[::]` becomes `0.0.0.0`.
    #[arg(
        long,
        env = "VPN_OPERATOR_LISTEN",
        value_name = "ADDRESS",
        default_value = "[::]:8080"
    )]
    #[arg(value_parser = parse_listen, help_heading = "Process")]
    pub listen: SocketAddr,

    /// How log lines look.
    #[arg(
        long,
        env = "VPN_OPERATOR_LOG_FORMAT",
        value_enum,
        ignore_case = true,
        default_value = "text"
    )]
    #[arg(help_heading = "Process")]
    pub log_format: LogFormat,

    /// What is logged, in the syntax of tracing's EnvFilter: `debug`, or `info,vpn_operator=trace`. Libraries that
    /// could print secrets stay quieter than asked.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info", value_parser = parse_log_filter)]
    #[arg(help_heading = "Process")]
    pub log_level: String,
}

/// What `probe` is told.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// Where operators answer, e.g. `http://vpn-operator-metrics.vpn-operator.svc:8080/readyz`. Of several behind one
    /// name each is asked, and one that is ready is enough.
    #[arg(value_name = "URL", value_parser = parse_probe_url)]
    pub url: Url,

    /// How long to go on asking until one is ready.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// for people
    Text,
    /// one JSON object per line
    Json,
}

impl Cli {
    /// The command as clap knows it, with empty environment variables counting as unset: manifests often carry
    /// `value: ""` for what was not filled in.
    pub fn command_ignoring_empty_environment() -> clap::Command {
        fn ignore_empty(command: clap::Command) -> clap::Command {
            command.mut_args(|arg| {
                let empty = arg
                    .get_env()
                    .and_then(std::env::var_os)
                    .is_some_and(|value| value.is_empty());
                if empty {
                    arg.env(clap::builder::Resettable::Reset)
                } else {
                    arg
                }
            })
        }
        <Self as clap::CommandFactory>::command().mut_subcommands(ignore_empty)
    }
}

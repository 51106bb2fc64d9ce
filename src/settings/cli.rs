//! The command line as people see it: sub-commands, flags, their environment names, defaults and help.

use std::{ffi::OsStr, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{
        ArgAction, BoolishValueParser, IntoResettable, PossibleValue, PossibleValuesParser, Resettable,
        TypedValueParser,
    },
};
use url::Url;
use vpn_cloud::Cloud;
use vpn_core::api::{DEFAULT_OWNER_TAG_KEY, DeletionPolicy};

use crate::settings::values::{
    parse_bind_address, parse_cluster_name, parse_duration, parse_log_filter, parse_namespace, parse_object_name,
    parse_owner_tag_key, parse_probe_url, parse_project_id, parse_region, parse_selector,
};

/// Environment variable of `--log-level`.
const LOG_LEVEL: &str = "VPN_OPERATOR_LOG_LEVEL";

/// Used where [`LOG_LEVEL`] is not set, since users of Rust programs know it.
const RUST_LOG: &str = "RUST_LOG";

const AFTER_HELP: &str = "\
Default credentials, for objects without a credentialsRef:
  HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and, for temporary credentials, HUAWEICLOUD_SDK_SECURITY_TOKEN in the \
environment, else the file that HUAWEICLOUD_SDK_CREDENTIALS_FILE names (section [basic]). Without default \
credentials, objects need a credentialsRef; the others report that in their status.

Access to Kubernetes:
  KUBECONFIG or ~/.kube/config, else the pod's service account.

Durations: 30s, 5m, 1h.";

/// Kubernetes operator for customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud.
#[derive(Debug, Parser)]
#[command(name = "vpn-operator", version, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    /// The subcommand, with its flags.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until SIGTERM or Ctrl-C.
    #[command(after_help = AFTER_HELP, args_override_self = true)]
    Run(Box<RunArgs>),
    #[expect(clippy::doc_markdown, reason = "the text of --help")]
    /// Print the CustomResourceDefinitions as YAML, for `kubectl apply --server-side -f -`.
    Crd,
    /// Check whether an operator is ready. Exit status 0: ready; 1: not ready, with the failed checks.
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
        PossibleValue::new("Delete").help("delete the cloud resource too"),
        PossibleValue::new("Retain").help("keep the cloud resource, without the owner tag"),
    ];
    PossibleValuesParser::new(known).map(|name| match name.eq_ignore_ascii_case("Retain") {
        true => DeletionPolicy::Retain,
        false => DeletionPolicy::Delete,
    })
}

/// The flags of `run`. Each is parsed by itself; `validate` checks them against each other.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The cloud; determines the endpoints of a region and the supported kinds.
    #[arg(long, env = "VPN_OPERATOR_CLOUD", value_name = "CLOUD", value_parser = cloud_parser())]
    #[arg(ignore_case = true, default_value = "huawei", help_heading = "Cloud")]
    pub cloud: Cloud,

    /// Region of the default credentials, such as `eu-west-101`. Optional with --vpn-endpoint and --project-id, or if
    /// every object's credentials Secret has a region.
    #[arg(long, env = "VPN_OPERATOR_REGION", value_name = "REGION", value_parser = parse_region)]
    #[arg(help_heading = "Cloud")]
    pub region: Option<String>,

    /// Project id of the default credentials. Defaults to the project that IAM lists for the region.
    #[arg(long, env = "HUAWEICLOUD_SDK_PROJECT_ID", value_name = "ID", value_parser = parse_project_id)]
    #[arg(help_heading = "Cloud")]
    pub project_id: Option<String>,

    /// Base URL of the VPN service. Defaults to the one of the cloud and the region.
    #[arg(long, env = "VPN_OPERATOR_VPN_ENDPOINT", value_name = "URL", help_heading = "Cloud")]
    pub vpn_endpoint: Option<String>,

    /// Base URL of IAM. Defaults to the one of the cloud and the region.
    #[arg(
        long,
        env = "HUAWEICLOUD_SDK_IAM_ENDPOINT",
        value_name = "URL",
        help_heading = "Cloud"
    )]
    pub iam_endpoint: Option<String>,

    /// Reach the VPN endpoint OLD, as status.scope records it, at NEW. Objects with OLD in status keep working, and new
    /// objects record OLD as well. Repeatable; separate with commas in the environment.
    #[arg(
        long = "endpoint-alias",
        env = "VPN_OPERATOR_ENDPOINT_ALIASES",
        value_name = "OLD=NEW"
    )]
    #[arg(value_delimiter = ',', help_heading = "Cloud")]
    pub endpoint_aliases: Vec<String>,

    /// Accept `http://` endpoints. For the simulator only: requests are not encrypted.
    #[arg(
        long,
        env = "VPN_OPERATOR_ALLOW_INSECURE_ENDPOINTS",
        default_value = "false",
        help_heading = "Cloud"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub allow_insecure_endpoints: bool,

    #[expect(clippy::doc_markdown, reason = "the text of --help")]
    /// PEM file with additional root certificates for the cloud's TLS, read again when it changes. HTTPS_PROXY and
    /// NO_PROXY are supported.
    #[arg(long, env = "VPN_OPERATOR_CA_FILE", value_name = "FILE", help_heading = "Cloud")]
    pub ca_file: Option<PathBuf>,

    /// Endpoint that credentials Secrets may use, in addition to the operator's. All others are refused: otherwise a user
    /// who may write Secrets could direct the operator to any host. Repeatable; separate with commas in the environment.
    #[arg(
        long = "allowed-endpoint",
        env = "VPN_OPERATOR_ALLOWED_ENDPOINTS",
        value_name = "URL"
    )]
    #[arg(value_delimiter = ',', help_heading = "Namespaces and tenants")]
    pub allowed_endpoints: Vec<String>,

    /// Namespace whose objects may use the default credentials, and so adopt or delete their resources. Objects elsewhere
    /// need a credentialsRef. Defaults to all namespaces. Repeatable; separate with commas in the environment.
    #[arg(
        long = "default-credentials-namespace",
        env = "VPN_OPERATOR_DEFAULT_CREDENTIALS_NAMESPACES"
    )]
    #[arg(value_name = "NAMESPACE", value_delimiter = ',', value_parser = parse_namespace, help_heading = "Namespaces and tenants")]
    pub default_credentials_namespaces: Vec<String>,

    /// Namespace to watch. Defaults to all namespaces. Repeatable; separate with commas in the environment.
    #[arg(
        long = "watch-namespace",
        env = "VPN_OPERATOR_WATCH_NAMESPACES",
        value_name = "NAMESPACE"
    )]
    #[arg(value_delimiter = ',', value_parser = parse_namespace, help_heading = "Namespaces and tenants")]
    pub watch_namespaces: Vec<String>,

    /// Label selector of the objects to reconcile, in kubectl's syntax, so that each release reconciles one shard.
    /// Defaults to all objects.
    #[arg(long, env = "VPN_OPERATOR_WATCH_SELECTOR", value_name = "SELECTOR", value_parser = parse_selector)]
    #[arg(help_heading = "Namespaces and tenants")]
    pub watch_selector: Option<String>,

    /// Name of this cluster in owner tags, unique per cloud project: at most 32 of a-z, 0-9 and `-`. Without it, a
    /// recreated object does not take over its former gateway.
    #[arg(long, env = "VPN_OPERATOR_CLUSTER_NAME", value_name = "NAME", value_parser = parse_cluster_name)]
    #[arg(help_heading = "Ownership and deletion")]
    pub cluster_name: Option<String>,

    /// Key of the owner tag on gateways, for projects whose tag policies forbid the default key.
    #[arg(long, env = "VPN_OPERATOR_OWNER_TAG_KEY", value_name = "KEY", value_parser = parse_owner_tag_key)]
    #[arg(default_value = DEFAULT_OWNER_TAG_KEY, help_heading = "Ownership and deletion")]
    pub owner_tag_key: String,

    /// Deletion policy of objects without deletionPolicy.
    #[arg(long, env = "VPN_OPERATOR_DEFAULT_DELETION_POLICY", value_name = "POLICY")]
    #[arg(value_parser = deletion_policy_parser(), ignore_case = true)]
    #[arg(default_value = "Delete", help_heading = "Ownership and deletion")]
    pub default_deletion_policy: DeletionPolicy,

    /// Suspend automatic recreation while many resources are missing in the cloud at once, until a user approves it.
    #[arg(long, env = "VPN_OPERATOR_MASS_DELETION_GUARD", default_value = "true")]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    #[arg(help_heading = "Ownership and deletion")]
    pub mass_deletion_guard: bool,

    /// Send no changes to the cloud. Conditions report what the operator would do.
    #[arg(
        long,
        env = "VPN_OPERATOR_READ_ONLY",
        default_value = "false",
        help_heading = "Ownership and deletion"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub read_only: bool,

    /// Interval between drift checks. `0` disables them.
    #[arg(long, env = "VPN_OPERATOR_RESYNC_PERIOD", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "5m", help_heading = "Timing")]
    pub resync_period: Duration,

    /// How long a new VPN user must exist to count as created.
    #[arg(long, env = "VPN_OPERATOR_CREATION_CONFIRMATION_PERIOD", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "30s", help_heading = "Timing")]
    pub creation_confirmation_period: Duration,

    /// Maximum requests to the cloud per second and access key.
    #[arg(
        long,
        env = "VPN_OPERATOR_MAX_REQUESTS_PER_SECOND",
        value_name = "NUMBER",
        default_value = "50"
    )]
    #[arg(help_heading = "Timing")]
    pub max_requests_per_second: NonZeroU32,

    /// Timeout of a request to the cloud; with leader election at most half of --leader-elect-lease-duration.
    #[arg(long, env = "VPN_OPERATOR_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "10s", help_heading = "Timing")]
    pub request_timeout: Duration,

    /// Use leader election: one replica holds the Lease and works, the others are on standby.
    #[arg(
        long,
        env = "VPN_OPERATOR_LEADER_ELECT",
        default_value = "true",
        help_heading = "Leader election"
    )]
    #[arg(value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub leader_elect: bool,

    /// Namespace of the Lease and of the Secret with the digest key; normally the pod's.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", value_parser = parse_namespace)]
    #[arg(help_heading = "Leader election")]
    pub leader_elect_resource_namespace: Option<String>,

    /// Name of the Lease. The name of the Secret with the digest key is NAME-digest-key.
    #[arg(long, value_name = "NAME", default_value = "vpn-operator", value_parser = parse_object_name)]
    #[arg(help_heading = "Leader election")]
    pub leader_elect_resource_name: String,

    /// Duration of the Lease without renewal: whole seconds, at least 5s. It is renewed every sixth of that time.
    #[arg(long, env = "VPN_OPERATOR_LEADER_ELECT_LEASE_DURATION", value_name = "DURATION", value_parser = parse_duration)]
    #[arg(default_value = "30s", help_heading = "Leader election")]
    pub leader_elect_lease_duration: Duration,

    /// Address of the HTTP endpoints `/livez`, `/readyz`, `/healthz` (same as `/livez`) and `/metrics`. Port 0 selects a
    /// free port and logs it. Without IPv6, `[::]` means `0.0.0.0`.
    #[arg(
        long,
        env = "VPN_OPERATOR_BIND_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8080"
    )]
    #[arg(value_parser = parse_bind_address, help_heading = "Process")]
    pub bind_address: SocketAddr,

    /// Format of log lines.
    #[arg(
        long,
        env = "VPN_OPERATOR_LOG_FORMAT",
        value_enum,
        ignore_case = true,
        default_value = "text"
    )]
    #[arg(help_heading = "Process")]
    pub log_format: LogFormat,

    #[expect(clippy::doc_markdown, reason = "the text of --help")]
    /// Log filter in the syntax of tracing's EnvFilter, such as `debug` or `info,vpn_operator=trace`. Libraries that could
    /// log secrets never log below their own limit. Without the flag and its variable, RUST_LOG counts.
    #[arg(long, env = LOG_LEVEL, value_name = "FILTER", default_value = "info", value_parser = parse_log_filter)]
    #[arg(help_heading = "Process")]
    pub log_level: String,
}

/// The arguments of `probe`.
#[derive(Clone, Debug, Args)]
pub struct ProbeArgs {
    /// URL of the operators, such as `http://vpn-operator-metrics.vpn-operator.svc:8080/readyz`. If the name has several
    /// addresses, all are checked, and one that is ready is enough.
    #[arg(value_name = "URL", value_parser = parse_probe_url)]
    pub url: Url,

    /// How long to wait until one is ready.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// for humans
    Text,
    /// one JSON object per line
    Json,
}

impl Cli {
    /// Returns the command for clap. Empty environment variables count as unset: manifests often contain `value: ""`.
    /// Help names every variable, and shows no value: it may be confidential.
    pub fn command_ignoring_empty_environment() -> clap::Command {
        fn is_set(name: &OsStr) -> bool {
            std::env::var_os(name).is_some_and(|value| !value.is_empty())
        }
        /// clap reads a variable when it is declared, so an empty one is not declared. Its name is added to the help.
        fn replace(arg: clap::Arg, name: &OsStr, by: impl IntoResettable<clap::builder::OsStr>) -> clap::Arg {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{help} [env: {}]", name.display()))
                .hide_env(true)
                .env(by)
        }
        fn ignore_empty(command: clap::Command) -> clap::Command {
            command.mut_args(|arg| match arg.get_env().map(OsStr::to_owned) {
                Some(name) if name == LOG_LEVEL && !is_set(&name) && is_set(RUST_LOG.as_ref()) => {
                    replace(arg, &name, RUST_LOG)
                }
                Some(name) if std::env::var_os(&name).is_some_and(|value| value.is_empty()) => {
                    replace(arg, &name, Resettable::Reset)
                }
                _ => arg.hide_env_values(true),
            })
        }
        <Self as clap::CommandFactory>::command().mut_subcommands(ignore_empty)
    }
}

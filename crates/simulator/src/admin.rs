//! The requests and answers of the admin API under `/_simulator/`, for clients that control the simulator.
//! `docs/contributing/simulator.md` documents every endpoint.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::p2c::admin::{VpnGroupDump, VpnServerDump, VpnUserDump};
use crate::secret_fields::{conceal, conceal_optional, expose, expose_optional};

/// `GET /_simulator/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Always true: a simulator that answers is ready.
    pub ready: bool,
}

/// Any refusal of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    /// What is wrong with the request, in a sentence.
    pub error: String,
}

/// Positions of switches by name: the body of `PUT` and `PATCH /_simulator/switches`.
pub type SwitchPositions = BTreeMap<String, String>;

/// One switch of `GET /_simulator/switches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchDescription {
    /// Such as `list-order`.
    pub name: String,
    /// The present position.
    pub value: String,
    /// The position after a reset.
    pub default: String,
    /// All positions, the default first.
    pub allowed: Vec<String>,
    /// What the switch decides, in a sentence or two.
    pub meaning: String,
}

/// `GET /_simulator/switches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchList {
    /// In the order of the documentation.
    pub switches: Vec<SwitchDescription>,
}

macro_rules! fault_names {
    ($($(#[doc = $doc:literal])+ $name:ident $text:literal,)+) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum FaultName {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl FaultName {
            /// All faults.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name on the wire.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What it does, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

fault_names! {
    /// The request (with `commit`: its answer) is delayed by `ms`. Can be combined with one other fault.
    Latency "latency",
    /// 429 APIGW.0308, from the gateway before the service.
    ThrottledByGateway "throttled-by-gateway",
    /// 429 VPN.0429, from the service.
    ThrottledByService "throttled-by-service",
    /// 400 VPN.0030: the service's queue is full.
    QueueFull "queue-full",
    /// Any answer: `status`, `code`, `message`.
    Error "error",
    /// The connection is closed without an answer.
    LostAnswer "lost-answer",
    /// The connection is reset (TCP RST) without an answer.
    ConnectionReset "connection-reset",
    /// There is never an answer; the connection stays open until the client gives up.
    Timeout "timeout",
    /// 502 with an HTML page.
    HtmlBadGateway "html-502",
    /// 504 with an HTML page.
    HtmlGatewayTimeout "html-504",
    /// 200 with an HTML page, as from a captive portal.
    HtmlOk "html-200",
    /// The true answer, with its body cut off half way.
    TruncatedBody "truncated-body",
    /// 200 with an endless body of `bytes` bytes.
    HugeBody "huge-body",
    /// The connection is closed at once; the request takes effect after `ms`, or without it once it is released.
    LateCommit "late-commit",
    /// The request is held before (with `commit`: after) it takes effect, until it is released.
    Hold "hold",
    /// A creation is answered normally, but its result is deleted at once.
    VanishAfterCreate "vanish-after-create",
    /// A creation is answered normally, but its result is deleted once it has settled.
    VanishWhenSettled "vanish-when-settled",
}

/// A fault to come: `POST /_simulator/faults`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// What goes wrong.
    pub fault: FaultName,
    /// Only requests of this operation, by its name or its IAM action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only requests that claim this access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// Only requests whose path and query contain this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// How many requests it lets pass before it hits one.
    #[serde(default)]
    pub skip: u64,
    /// How many requests it hits; 0 = until it is removed.
    #[serde(default = "once")]
    pub times: u64,
    /// Whether the request takes effect despite the fault.
    #[serde(default)]
    pub commit: bool,
    /// For `latency` and `late-commit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// For `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For `error`: the whole code, such as `VPN.0002`; if omitted, there is no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For `huge-body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// For `error`, `queue-full` and the throttling faults: the value of a `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
}

impl FaultRequest {
    /// A fault for the next request of any kind.
    pub fn once(fault: FaultName) -> Self {
        Self {
            fault,
            operation: None,
            access_key: None,
            path_contains: None,
            skip: 0,
            times: 1,
            commit: false,
            ms: None,
            status: None,
            code: None,
            message: None,
            bytes: None,
            retry_after: None,
        }
    }
}

fn once() -> u64 {
    1
}

/// A fault as `GET /_simulator/faults` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEntry {
    /// Counts from 1; a reset does not restart it.
    pub id: u64,
    /// How many requests it has hit.
    pub hits: u64,
    /// The fault as it was requested; `skip` counts down.
    #[serde(flatten)]
    pub request: FaultRequest,
}

/// `GET /_simulator/faults`: those that have hits left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultList {
    /// Oldest first.
    pub faults: Vec<FaultEntry>,
}

/// A request that waits to be released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRequest {
    /// Counts from 1; a reset does not restart it.
    pub id: u64,
    /// Its number in the log.
    pub sequence: u64,
    /// `None` if no such operation is published.
    pub operation: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The access key that the request claims.
    pub access_key: Option<String>,
    /// Whether it has taken effect already.
    pub after_commit: bool,
}

/// `GET /_simulator/held`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldList {
    /// Whether the requested number is held; false after a timeout.
    pub enough: bool,
    /// In the order of arrival.
    pub held: Vec<HeldRequest>,
}

/// `POST /_simulator/release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Only this one; if omitted, all held requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Closes the connection without an answer; a request that has not taken effect yet never does.
    #[serde(default)]
    pub drop: bool,
}

/// The answer to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// How many requests were released.
    pub released: usize,
}

/// A request in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Counts from 1; a reset does not restart it.
    pub sequence: u64,
    /// When it came, by the simulated cloud's clock.
    pub at: String,
    /// HTTP method.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    #[serde(default)]
    pub query: Option<String>,
    /// `None` if no such operation is published.
    #[serde(default)]
    pub operation: Option<String>,
    /// The access key that the request claims.
    #[serde(default)]
    pub access_key: Option<String>,
    /// The user of the token, if it came with one.
    #[serde(default)]
    pub user: Option<String>,
    /// The `X-Client-Token`, if it came with one.
    #[serde(default)]
    pub client_token: Option<String>,
    /// As in the `X-Request-Id` header of the answer.
    pub request_id: String,
    /// `None` while it is in progress, and if it was never answered.
    #[serde(default)]
    pub status: Option<u16>,
    /// The code in the body of a refusal.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Whether it changed something.
    #[serde(default)]
    pub committed: bool,
    /// The faults that hit it.
    #[serde(default)]
    pub faults: Vec<FaultName>,
    /// Whether it has no further effect or answer.
    #[serde(default)]
    pub finished: bool,
}

/// `GET /_simulator/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// Whether the requested number was reached; false after a timeout.
    pub enough: bool,
    /// The number of the latest request of all: `since` of the next call.
    pub last_sequence: u64,
    /// The matching requests, oldest first.
    pub requests: Vec<LogEntry>,
}

/// `GET /_simulator/counts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that match the query.
    pub total: u64,
    /// The number of the latest request of all.
    pub last_sequence: u64,
    /// Received requests; only operations that were called.
    pub by_operation: BTreeMap<String, u64>,
    /// The same by HTTP method.
    pub by_method: BTreeMap<String, u64>,
    /// Refusals by error code.
    pub by_error_code: BTreeMap<String, u64>,
}

/// A gateway as the admin API shows it: everything, regardless of the switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayDump {
    /// The project that it belongs to.
    pub project_id: String,
    /// A random UUID, unless it was seeded.
    pub id: String,
    /// As last set by the API or the admin API.
    pub name: String,
    /// `ip` or `fqdn`.
    pub id_type: String,
    /// An IPv4 address or a domain name, by `id_type`.
    pub id_value: String,
    /// `None`: it has none.
    #[serde(default)]
    pub bgp_asn: Option<i64>,
    /// The id of its CA certificate.
    #[serde(default)]
    pub ca_certificate_id: Option<String>,
    /// Values by key.
    pub tags: BTreeMap<String, String>,
    /// RFC 3339, with full precision.
    pub created_at: String,
    /// RFC 3339, with full precision.
    pub updated_at: String,
    /// The connection that prevents its deletion.
    #[serde(default)]
    pub connection: Option<String>,
    /// Whether it is being deleted slowly.
    #[serde(default)]
    pub deleting: bool,
}

/// A gateway that is added without the VPN API: `POST /_simulator/gateways` takes one or a list. Nothing is validated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySeed {
    /// If omitted, the first project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// If omitted, a random UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// If omitted, `cgw-` and four random hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// If omitted, `ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_type: Option<String>,
    /// An IPv4 address or a domain name, by `id_type`.
    pub id_value: String,
    /// If omitted, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_asn: Option<i64>,
    /// Values by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

/// An edit without the VPN API: `PATCH /_simulator/gateways/{id}`. Omitted fields stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ip` or `fqdn`; the value is not converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_type: Option<String>,
    /// An IPv4 address or a domain name, by `id_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_value: Option<String>,
    /// 0 removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_asn: Option<i64>,
    /// All tags: they replace the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Tags to add or change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_tags: BTreeMap<String, String>,
    /// Keys of tags to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<String>,
    /// RFC 3339; for ties at a page border.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Attaches a connection under this name; empty detaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Removes the CA certificate.
    #[serde(default)]
    pub remove_ca_certificate: bool,
    /// Fields that answers have in place of the true ones, of any type; empty removes them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_instead: Option<Map<String, Value>>,
}

/// `GET` and `POST /_simulator/gateways`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayList {
    /// Oldest first; after `POST`, those that were added.
    pub gateways: Vec<GatewayDump>,
}

/// `POST /_simulator/finish-deletions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedDeletions {
    /// How many gateways, users and groups were deleted.
    pub finished: usize,
}

/// A project: `PUT /_simulator/projects/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// The region, or `region_suffix` of a sub-project.
    pub name: String,
    /// A disabled project answers 403 APIGW.0310.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many gateways it may have.
    #[serde(default = "default_quota")]
    pub gateway_quota: u64,
}

impl ProjectSpec {
    /// An enabled project with the default quota.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            gateway_quota: default_quota(),
        }
    }
}

fn yes() -> bool {
    true
}

fn default_quota() -> u64 {
    100
}

/// What a credential or a user may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// IAM actions; `*` at the end matches anything. If omitted, all.
    #[serde(default = "all_actions")]
    pub allowed_actions: BTreeSet<String>,
    /// Exceptions from the allowed actions.
    #[serde(default)]
    pub denied_actions: BTreeSet<String>,
    /// Ids of projects; if omitted, all that exist.
    #[serde(default)]
    pub projects: Option<BTreeSet<String>>,
}

impl Default for Permissions {
    fn default() -> Self {
        Self {
            allowed_actions: all_actions(),
            denied_actions: BTreeSet::new(),
            projects: None,
        }
    }
}

fn all_actions() -> BTreeSet<String> {
    BTreeSet::from(["*".to_owned()])
}

/// An access key: `PUT /_simulator/credentials/{access key}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSpec {
    /// With this, requests are signed.
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub secret_key: SecretString,
    /// Makes it a temporary credential.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "expose_optional",
        deserialize_with = "conceal_optional"
    )]
    pub security_token: Option<SecretString>,
    /// RFC 3339, for a temporary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// All actions in all projects, if omitted.
    #[serde(default)]
    pub permissions: Permissions,
}

/// An access key as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialDump {
    /// The key in clear text.
    pub access_key: String,
    /// Whether it has a security token.
    pub temporary: bool,
    /// RFC 3339; `None`: never.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// What requests with it may do.
    pub permissions: Permissions,
    /// Bad signatures in a row.
    pub failures: u32,
    /// Until when it is locked.
    #[serde(default)]
    pub locked_until: Option<String>,
}

/// `GET /_simulator/credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialList {
    /// In the order of the keys.
    pub credentials: Vec<CredentialDump>,
}

/// The lock of an access key: `PUT /_simulator/credentials/{access key}/lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// True locks it for five minutes, false unlocks it.
    pub locked: bool,
}

/// A user who may fetch tokens: `PUT /_simulator/users/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// The name of the domain, as in a login.
    pub domain: String,
    /// For the login.
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub password: SecretString,
    /// All actions in all projects, if omitted.
    #[serde(default)]
    pub permissions: Permissions,
}

/// The cloud's clock: `PUT /_simulator/clock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockSetting {
    /// How much it is ahead of the true time, in milliseconds; negative: behind.
    pub skew_ms: i64,
}

/// `GET /_simulator/clock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// How much it is ahead of the true time, in milliseconds; negative: behind.
    pub skew_ms: i64,
    /// The present time of the simulated cloud, in RFC 3339.
    pub now: String,
}

/// The duration of slow operations: `GET` and `PUT /_simulator/pace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// In milliseconds, for operations that begin from now on.
    pub slow_ms: u32,
}

/// The limit of requests per access key: `GET` and `PUT /_simulator/rate-limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSpec {
    /// May be a fraction; if omitted, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// How many requests may come at once; if omitted, a tenth of `per_second`, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// `GET /_simulator/state`: everything but secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateDump {
    /// The present time of the simulated cloud, in RFC 3339.
    pub now: String,
    /// How much that is ahead of the true time, in milliseconds; negative: behind.
    pub skew_ms: i64,
    /// Projects by id.
    pub projects: BTreeMap<String, ProjectSpec>,
    /// Access keys without their secrets.
    pub credentials: Vec<CredentialDump>,
    /// Names of the users who may fetch tokens.
    pub users: Vec<String>,
    /// Every switch, also those in their default position.
    pub switches: SwitchPositions,
    /// Empty: there is none.
    #[serde(default)]
    pub rate_limit: RateLimitSpec,
    /// Those that have hits left.
    pub faults: Vec<FaultEntry>,
    /// Requests that wait to be released.
    pub held: Vec<HeldRequest>,
    /// Of all projects, oldest first.
    pub gateways: Vec<GatewayDump>,
    /// Of all projects, oldest first.
    pub vpn_servers: Vec<VpnServerDump>,
    /// Of all servers, oldest first.
    pub vpn_users: Vec<VpnUserDump>,
    /// Of all servers, oldest first.
    pub vpn_groups: Vec<VpnGroupDump>,
}

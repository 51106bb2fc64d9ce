//! What the API's documents leave open, as named switches: what the simulator chooses unless told
//! otherwise, and what else a real cloud may do.

use std::collections::BTreeMap;

use serde::Serialize;

/// A switch as the admin API lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchInfo {
    pub name: &'static str,
    pub value: &'static str,
    pub default: &'static str,
    pub allowed: &'static [&'static str],
    pub meaning: &'static str,
}

/// Why a setting of switches was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    #[error("there is no switch \"{name}\"; the switches are {}", names.join(", "))]
    UnknownSwitch { name: String, names: Vec<&'static str> },
    #[error("\"{value}\" is no value of the switch \"{name}\"; allowed are {}", allowed.join(", "))]
    UnknownValue {
        name: &'static str,
        value: String,
        allowed: &'static [&'static str],
    },
}

macro_rules! switches {
    ($($(#[doc = $meaning:literal])+ $field:ident: $kind:ident = $name:literal {
        $first:ident $first_text:literal $(, $other:ident $other_text:literal)+
    })+) => {
        $(
            $(#[doc = $meaning])+
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub enum $kind {
                #[default]
                #[doc = concat!("`", $first_text, "`, the default.")]
                $first,
                $(#[doc = concat!("`", $other_text, "`.")] $other,)+
            }

            impl $kind {
                const ALLOWED: &'static [&'static str] = &[$first_text $(, $other_text)+];

                fn text(self) -> &'static str {
                    match self {
                        Self::$first => $first_text,
                        $(Self::$other => $other_text,)+
                    }
                }

                fn parse(text: &str) -> Option<Self> {
                    match text {
                        $first_text => Some(Self::$first),
                        $($other_text => Some(Self::$other),)+
                        _ => None,
                    }
                }
            }
        )+

        /// The position of every switch.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Switches {
            $($(#[doc = $meaning])+ pub $field: $kind,)+
        }

        impl Switches {
            /// Every switch with its position, its default and what it may be set to.
            pub fn list(&self) -> Vec<SwitchInfo> {
                vec![$(SwitchInfo {
                    name: $name,
                    value: self.$field.text(),
                    default: $kind::default().text(),
                    allowed: $kind::ALLOWED,
                    meaning: concat!($($meaning),+).trim_ascii(),
                }),+]
            }

            fn set(&mut self, name: &str, value: &str) -> Result<(), SwitchError> {
                match name {
                    $($name => {
                        self.$field = $kind::parse(value).ok_or(SwitchError::UnknownValue {
                            name: $name,
                            value: value.to_owned(),
                            allowed: $kind::ALLOWED,
                        })?;
                    })+
                    _ => return Err(SwitchError::UnknownSwitch { name: name.to_owned(), names: vec![$($name),+] }),
                }
                Ok(())
            }
        }
    };
}

impl Switches {
    /// These switches with some changed; all or none.
    pub fn with(mut self, changes: &BTreeMap<String, String>) -> Result<Self, SwitchError> {
        for (name, value) in changes {
            self.set(name, value)?;
        }
        Ok(self)
    }
}

switches! {
    /// HTTP status when a gateway that has a connection is to be deleted (code VPN.0001, text `has connection`).
    has_connection: HasConnection = "has-connection-status" { Status400 "400", Status409 "409" }
    /// A gateway with the name of another one.
    duplicate_name: DuplicateName = "duplicate-name" { Allowed "allowed", Vpn0012 "VPN.0012", Vpn0001 "VPN.0001" }
    /// A gateway with the identifier of another one.
    duplicate_id_value: DuplicateIdValue = "duplicate-id-value" {
        Allowed "allowed", Vpn0012 "VPN.0012", Vpn0001 "VPN.0001"
    }
    /// HTTP status when the quota of gateways is used up (429 comes with VPN.0429, the others with VPN.0001).
    quota_exceeded: QuotaExceeded = "quota-exceeded-status" {
        Status400 "400", Status403 "403", Status409 "409", Status429 "429"
    }
    /// The order of lists, by creation time.
    list_order: ListOrder = "list-order" { NewestFirst "newest-first", OldestFirst "oldest-first" }
    /// A list with `limit=0`.
    limit_zero: LimitZero = "limit-zero" { EmptyPage "empty-page", Default "default", Refused "refused" }
    /// A list with a limit above 200.
    limit_too_large: LimitTooLarge = "limit-too-large" { Refused "refused", Clamped "clamped" }
    /// `next_marker` on the last page.
    last_marker: LastMarker = "last-page-marker" {
        Present "present", Null "null", Absent "absent", Empty "empty"
    }
    /// Items that share the creation time at a page border: the next page leaves them out, or brings them again.
    border_ties: BorderTies = "border-ties" { Skipped "skipped", Repeated "repeated" }
    /// A marker without a limit.
    marker_without_limit: MarkerWithoutLimit = "marker-without-limit" { Accepted "accepted", Refused "refused" }
    /// Adding a tag whose key the gateway has already.
    tag_exists: TagExists = "tag-add-existing-key" { Overwritten "overwritten", Refused "refused" }
    /// Removing a tag whose key the gateway does not have, or with another value than it has.
    tag_unmatched: TagUnmatched = "tag-remove-unmatched" { Ignored "ignored", Status400 "400", Status404 "404" }
    /// An update that names fields which cannot change: VPN.0013, or an answer as if they were not there.
    immutable_fields: ImmutableFields = "update-immutable-fields" { Refused "refused", Ignored "ignored" }
    /// An id that does not exist: 404 VPN.0004, or 400 VPN.0001 with either wording.
    unknown_id: UnknownId = "unknown-id" {
        Status404 "404", NotFound "400-not-found", NotExist "400-not-exist"
    }
    /// An id in the path that is not 36 characters of letters, digits and dashes.
    malformed_id: MalformedId = "malformed-id" { Status400 "400", Status404 "404" }
    /// Deletion of a gateway: gone at once, gone after three seconds, or gone once
    /// `POST /_simulator/finish-deletions` is called. Until then it is seen, and its name refused to a new one.
    deletion: Deletion = "gateway-deletion" { Immediate "immediate", Slow "slow", Held "held" }
    /// The `Retry-After` header (one second) on answers with 429.
    retry_after: RetryAfter = "retry-after" { Absent "absent", Present "present" }
    /// Gateways identified by FQDN: `refused` is how Open Telekom Cloud answers.
    fqdn: Fqdn = "fqdn" { Accepted "accepted", Refused "refused" }
    /// The `ca_certificate` of gateways: `refused` (VPN.0013) is how Open Telekom Cloud may answer.
    ca_certificate: CaCertificates = "ca-certificate" { Accepted "accepted", Refused "refused" }
    /// Whether `ca_certificate.is_updatable` is true, and an update with another certificate taken.
    certificate_updatable: CertificateUpdatable = "ca-certificate-updatable" { Yes "yes", No "no" }
    /// Content of a CA certificate that the project has already: `refused` answers VPN.0077.
    certificate_duplicate: CertificateDuplicate = "ca-certificate-duplicate" {
        Allowed "allowed", Refused "refused"
    }
    /// Whether the items of a list carry `tags`.
    list_tags: ListTags = "list-tags" { Present "present", Absent "absent", Null "null" }
    /// Whether the items of a list carry `id_type`.
    list_id_type: ListIdType = "list-id-type" { Present "present", Absent "absent" }
    /// Whether the items of a list carry `bgp_asn`.
    list_bgp_asn: ListBgpAsn = "list-bgp-asn" { Present "present", Absent "absent" }
    /// Whether the answer to a creation carries `tags`, even when tags were sent.
    create_tags: CreateTags = "create-answer-tags" { Present "present", Absent "absent" }
    /// `tags` of a gateway that has none.
    empty_tags: EmptyTags = "empty-tags" { List "empty-list", Absent "absent", Null "null" }
    /// Other fields without a value (`bgp_asn`, `ca_certificate`).
    unset_fields: UnsetFields = "unset-fields" { Absent "absent", Null "null" }
    /// The deprecated fields `ip` and `route_mode`, which Open Telekom Cloud still answers on get and list.
    deprecated_fields: DeprecatedFields = "deprecated-fields" { Absent "absent", Present "present" }
    /// Digits of the times in the answer to a creation.
    create_times: CreateTimes = "create-answer-times" { Nanos "nanos", Micros "micros", Millis "millis" }
    /// Form of the times in every other answer: three digits, trailing zeros cut, six digits, or `+08:00`.
    read_times: ReadTimes = "read-times" {
        Millis "millis", Trimmed "trimmed", Micros "micros", Offset "offset"
    }
    /// Whether new gateways get distinct creation times (at the millisecond), or all the same one.
    creation_times: CreationTimes = "creation-times" { Distinct "distinct", Tied "tied" }
    /// Whether a change of tags moves `updated_at`.
    tags_move_updated_at: TagsMoveUpdatedAt = "tags-move-updated-at" { No "no", Yes "yes" }
    /// Whether the value of a tag may hold `/`, where the documents disagree.
    tag_value_slash: TagValueSlash = "tag-value-slash" { Accepted "accepted", Refused "refused" }
    /// How a filter compares `resource_name`.
    filter_name: FilterName = "filter-name-match" { Exact "exact", Fuzzy "fuzzy" }
    /// Names of the fields in the errors of the VPN service.
    error_shape: ErrorShape = "error-shape" {
        ErrorCode "error_code", Code "code", CamelCase "errorCode"
    }
    /// Errors of IAM: nested with a number as code, or `IAM.…` codes at the top.
    iam_error_shape: IamErrorShape = "iam-error-shape" { Nested "nested", ErrorCode "error_code" }
    /// Prefix of the codes of the gateway before the service.
    gateway_prefix: GatewayPrefix = "gateway-code-prefix" { Apigw "APIGW", Apig "APIG" }
    /// Request ids: a UUID with dashes, or 32 hex digits.
    request_ids: RequestIds = "request-id-format" { Dashed "dashed", Hex "hex" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_switch_takes_each_of_its_values_and_says_so() {
        for switch in Switches::default().list() {
            assert!(switch.allowed.contains(&switch.default), "{}", switch.name);
            for value in switch.allowed {
                let set = Switches::default().with(&changes(switch.name, value)).unwrap();
                let shown = set.list().into_iter().find(|shown| shown.name == switch.name).unwrap();
                assert_eq!(shown.value, *value);
            }
        }
    }

    #[test]
    fn an_unknown_switch_or_value_is_refused_naming_what_is_allowed() {
        let error = Switches::default()
            .with(&changes("weather", "fine"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"weather\"") && error.contains("list-order"), "{error}");
        let error = Switches::default()
            .with(&changes("list-order", "random"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("newest-first, oldest-first"), "{error}");
    }
}

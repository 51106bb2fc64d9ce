//! Named switches for what the API's documents leave open: the simulator's default, and what else a real cloud may do.

use std::collections::BTreeMap;

use serde::Serialize;

/// A switch as the admin API lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchInfo {
    /// Such as `list-order`.
    pub name: &'static str,
    /// The present position.
    pub value: &'static str,
    /// The position after a reset.
    pub default: &'static str,
    /// All positions, the default first.
    pub allowed: &'static [&'static str],
    /// What the switch decides, in a sentence or two.
    pub meaning: &'static str,
}

/// Why a setting of switches was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// No switch has this name.
    #[error("there is no switch \"{name}\"; the switches are {}", names.join(", "))]
    UnknownSwitch {
        /// The name in the request.
        name: String,
        /// The names of all switches.
        names: Vec<&'static str>,
    },
    /// The switch has no such position.
    #[error("\"{value}\" is no value of the switch \"{name}\"; allowed are {}", allowed.join(", "))]
    UnknownValue {
        /// The name of the switch.
        name: &'static str,
        /// The position in the request.
        value: String,
        /// All positions of the switch.
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

        /// The value of every switch.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Switches {
            $($(#[doc = $meaning])+ pub $field: $kind,)+
        }

        impl Switches {
            /// Every switch with its value, its default and the allowed values.
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
    /// Returns these switches with all of the changes, or an error and none of them.
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
    /// Items that share the creation time at a page boundary: the next page skips or repeats them.
    border_ties: BorderTies = "border-ties" { Skipped "skipped", Repeated "repeated" }
    /// A marker without a limit. `refused` breaks the Terraform provider, which sends no limit from the second page on.
    marker_without_limit: MarkerWithoutLimit = "marker-without-limit" { Accepted "accepted", Refused "refused" }
    /// Adding a tag whose key the gateway has already.
    tag_exists: TagExists = "tag-add-existing-key" { Overwritten "overwritten", Refused "refused" }
    /// Removing a tag whose key the gateway does not have, or with another value than it has.
    tag_unmatched: TagUnmatched = "tag-remove-unmatched" { Ignored "ignored", Status400 "400", Status404 "404" }
    /// An update with immutable fields: VPN.0013, or an answer as if the request did not have them.
    immutable_fields: ImmutableFields = "update-immutable-fields" { Refused "refused", Ignored "ignored" }
    /// An id that does not exist: 404 VPN.0004, or 400 VPN.0001 with either wording.
    unknown_id: UnknownId = "unknown-id" {
        Status404 "404", NotFound "400-not-found", NotExist "400-not-exist"
    }
    /// An id in the path that is not 36 characters of letters, digits and dashes.
    malformed_id: MalformedId = "malformed-id" { Status400 "400", Status404 "404" }
    /// Deletion of a gateway: immediate, after three seconds (`PUT /_simulator/pace`), or when
    /// `POST /_simulator/finish-deletions` is called. Until then it is visible, and its name is refused to a new one.
    deletion: GatewayDeletion = "gateway-deletion" { Immediate "immediate", Slow "slow", Held "held" }
    /// Whether answers are compressed for clients that accept it.
    encoding: AnswerEncoding = "answer-encoding" { Gzip "gzip", Identity "identity" }
    /// The `Retry-After` header (one second) on answers with 429.
    retry_after: RetryAfter = "retry-after" { Absent "absent", Present "present" }
    /// Gateways identified by FQDN: `refused` is how Open Telekom Cloud answers.
    fqdn: Fqdn = "fqdn" { Accepted "accepted", Refused "refused" }
    /// The `ca_certificate` of gateways: `refused` (VPN.0013) is how Open Telekom Cloud may answer.
    ca_certificate: CaCertificates = "ca-certificate" { Accepted "accepted", Refused "refused" }
    /// Whether `ca_certificate.is_updatable` is true, and an update with another certificate is accepted.
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
    /// The deprecated fields `ip` and `route_mode` on get and list. An acceptance test of the Terraform provider fails
    /// without them.
    deprecated_fields: DeprecatedFields = "deprecated-fields" { Present "present", Absent "absent" }
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
    /// A tag without a value in a creation: taken as one with an empty value, or refused. Terraform sends such tags.
    tag_without_value: TagWithoutValue = "create-tag-without-value" { Accepted "accepted", Refused "refused" }
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
    /// Prefix of the error codes of the API gateway in front of the service.
    gateway_prefix: GatewayPrefix = "gateway-code-prefix" { Apigw "APIGW", Apig "APIG" }
    /// Request ids: a UUID with dashes, or 32 hex digits.
    request_ids: RequestIds = "request-id-format" { Dashed "dashed", Hex "hex" }
    /// The same for users, groups and VPN servers, whose documents show the other form.
    p2c_request_ids: P2cRequestIds = "p2c-request-id-format" { Hex "hex", Dashed "dashed" }
    /// Whether there are users, groups and VPN servers at all. Open Telekom Cloud documents none: 404 with 0101 of the
    /// API gateway, or 403 with 0302.
    p2c: P2cPublished = "p2c" { Published "published", NotFound "404", Forbidden "403" }
    /// `next_marker` on the last page of users, groups, members and VPN servers. `empty` breaks the Terraform provider,
    /// which then reads the members of a group forever.
    p2c_last_marker: P2cLastMarker = "p2c-last-page-marker" {
        Null "null", Absent "absent", Present "present", Empty "empty"
    }
    /// The most items of a page of users, groups, members and VPN servers, whose range is not documented.
    p2c_page_limit: P2cPageLimit = "p2c-page-limit" { L200 "200", L50 "50" }
    /// Error codes that only users and groups have: numbers chosen by the simulator in the block that is known to
    /// exist, VPN.0001 as for all else, or unknown numbers.
    p2c_codes: P2cCodes = "p2c-codes" { Chosen "VPN.13xx", Catchall "VPN.0001", Unheard "VPN.93xx" }
    /// A VPN server that does not exist: 404 VPN.0004, or 400 VPN.0001 with either wording.
    unknown_server: UnknownServer = "unknown-server" {
        Status404 "404", NotFound "400-not-found", NotExist "400-not-exist"
    }
    /// A change of users or groups on a VPN server that is not `ACTIVE` or not of `LOCAL_PASSWORD`: 400 with a code
    /// of `p2c-codes`, 409 VPN.0016, or 403 VPN.0003. The text has `is not ready` in it.
    server_not_ready: ServerNotReady = "server-not-ready" { Status400 "400", Status409 "409", Status403 "403" }
    /// Whether the list of all VPN servers comes in pages with a `total_count`; early editions had neither.
    server_pages: ServerPages = "server-pages" { Present "present", Absent "absent" }
    /// How long a creation of a user or group takes to settle: no time, three seconds (`PUT /_simulator/pace`), or
    /// until `POST /_simulator/settle` is called.
    settling: Settling = "user-settling" { Immediate "immediate", Slow "slow", Held "held" }
    /// Whether a user or group that has not settled is visible already. Its name is taken in any case.
    unsettled: Unsettled = "unsettled-users" { Visible "visible", Invisible "invisible" }
    /// A creation with the `X-Client-Token` and body of an earlier one: its answer again, VPN.0031, or as if there
    /// were no such header.
    token_replay: TokenReplay = "client-token-replay" {
        SameAnswer "same-id", Vpn0031 "VPN.0031", Ignored "ignored"
    }
    /// A creation with the `X-Client-Token` of an earlier one, and another body.
    token_other_body: TokenOtherBody = "client-token-other-body" { Vpn0031 "VPN.0031", NewObject "new-user" }
    /// HTTP status of a duplicate user name (text `Duplicate user name.`).
    duplicate_user: DuplicateUser = "duplicate-user-name" { Status400 "400", Status409 "409" }
    /// Whether user names that differ only in case count as the same.
    user_name_case: UserNameCase = "user-name-case" { Insensitive "insensitive", Sensitive "sensitive" }
    /// The group of a user that is created without one.
    user_without_group: UserWithoutGroup = "user-without-group" { None "none", Default "default-group" }
    /// `user_group_id` and `user_group_name` of a user in no group.
    unset_group: UnsetGroup = "unset-group" { Absent "absent", Empty "empty", Null "null" }
    /// `description` of a user or group without one.
    unset_description: UnsetDescription = "unset-description" { Empty "empty", Absent "absent", Null "null" }
    /// `static_ip` of a user without one.
    unset_static_ip: UnsetStaticIp = "unset-static-ip" { Disable "disable", Absent "absent", Empty "empty" }
    /// Fields that an update of a user omits: `cleared` clears description and static_ip, `all-cleared` also removes
    /// the user from the group.
    omitted_fields: OmittedFields = "update-omitted-fields" {
        Kept "kept", Cleared "cleared", AllCleared "all-cleared"
    }
    /// An update of a user with an empty `user_group_id`.
    empty_group: EmptyGroup = "update-empty-group" { Refused "refused", Leaves "leaves" }
    /// Adding to a group a user who is in another one.
    add_member: AddMember = "add-users-of-other-group" { Moves "moves", Refused "refused" }
    /// Removing from a group a user who is not in it.
    remove_non_member: RemoveNonMember = "remove-users-not-in-group" { Ignored "ignored", Refused "refused" }
    /// Deletion of a group that has members.
    group_with_members: GroupWithMembers = "delete-group-with-members" { Leave "members-leave", Refused "refused" }
    /// A password that is one of the latest five of the user.
    recent_password: RecentPassword = "recent-password" { Refused "refused", Accepted "accepted" }
    /// Deletion of a user or group: immediate, after three seconds (`PUT /_simulator/pace`), or when
    /// `POST /_simulator/finish-deletions` is called. Until then it is visible, and its name is taken.
    user_deletion: UserDeletion = "user-deletion" { Immediate "immediate", Slow "slow", Held "held" }
    /// A new user with the name of one that is being deleted: an error of its own (VPN.0001), or a duplicate like any
    /// other.
    deleted_name: DeletedName = "name-being-deleted" { Message "message", Duplicate "duplicate" }
    /// Ids that do not exist in a batch deletion.
    batch_unknown: BatchUnknown = "batch-delete-unknown" { Ignored "ignored", Refused "refused" }
    /// Most users in a batch.
    batch_limit: BatchLimit = "batch-limit" { Hundred "100", Unlimited "unlimited" }
    /// How many changes on one VPN server may be in progress at the same time; one more is refused with VPN.0030.
    write_queue: WriteQueueLimit = "write-queue" { Twenty "20", One "1", Unlimited "unlimited" }
    /// When a change leaves that queue: with its answer, or after a second in which no other one leaves.
    queue_pace: QueuePace = "write-queue-pace" { AtOnce "at-once", OneASecond "one-a-second" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_switch_accepts_and_shows_each_of_its_values() {
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
    fn an_unknown_switch_or_value_is_refused_with_the_allowed_values() {
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

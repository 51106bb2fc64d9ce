//! The only table from HTTP status, code and words of a refusal to its kind, and from a kind to its retry,
//! backoff and requeue.

use std::time::Duration;

use crate::error::operation::{Operation, Target};

/// What a failure means, independent of its HTTP status and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 429 of the gateway or of the service.
    Throttled,
    /// VPN.0030: the service's own queue is full. The backoff starts at 10 s.
    QueueFull,
    /// 5xx, network failure, timeout, unreadable response.
    CloudFault,
    /// Another resource must be ready or deleted first (`has connection`, `is not ready`).
    Dependency,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// The API is not published at this endpoint: 404 with a gateway code, or a response that is not the API's.
    NotAvailable,
    /// The project or the server has as many resources as its quota allows.
    QuotaExceeded,
    /// A definite "exists already".
    Duplicate,
    /// The resource does not exist. After a call about tags, only a tag may be missing: read the resource.
    Gone,
    /// VPN.0031: the cloud saw the same request before; read, then try again. The outcome of the earlier request stays
    /// unknown: a replay may get this response whether or not the first create took effect.
    Repeated,
    /// The password is one of the latest five, including the current one.
    RecentPassword,
    /// The password violates another rule of the cloud.
    BadPassword,
    /// Any other definite refusal.
    Rejected,
}

/// How to handle a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Try again with backoff.
    Again,
    /// Wait for a condition that may resolve by itself.
    Wait,
    /// Requires user action.
    UserAction,
    /// The resource does not exist.
    Gone,
}

/// How long to wait before the next try: doubling from `first` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// The cloud set the wait: retry neither earlier nor much later.
    pub is_exact: bool,
}

impl Backoff {
    const fn seconds(first: u64, cap: u64) -> Self {
        Self {
            first: Duration::from_secs(first),
            cap: Duration::from_secs(cap),
            is_exact: false,
        }
    }

    /// A single wait that the cloud set.
    pub const fn exactly(wait: Duration) -> Self {
        Self {
            first: wait,
            cap: wait,
            is_exact: true,
        }
    }

    /// Returns the wait after the given number of failures in a row, counted from 1.
    pub fn delay(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }
}

impl ErrorKind {
    /// Returns how to handle this kind.
    pub fn retry(self) -> Retry {
        match self {
            Self::Throttled | Self::QueueFull | Self::CloudFault | Self::Repeated => Retry::Again,
            Self::Dependency => Retry::Wait,
            Self::Unauthorized
            | Self::Forbidden
            | Self::NotAvailable
            | Self::QuotaExceeded
            | Self::Duplicate
            | Self::RecentPassword
            | Self::BadPassword
            | Self::Rejected => Retry::UserAction,
            Self::Gone => Retry::Gone,
        }
    }

    /// Returns the backoff before the next try.
    pub fn backoff(self) -> Backoff {
        match (self, self.retry()) {
            (Self::QueueFull, _) => Backoff::seconds(10, 300),
            (_, Retry::Again | Retry::Gone) => Backoff::seconds(1, 300),
            (_, Retry::Wait) => Backoff::seconds(5, 60),
            (_, Retry::UserAction) => Backoff::seconds(600, 600),
        }
    }

    /// Returns the kind of a response outside 2xx. `code` and `text` are those of the error body, if it was one.
    pub fn of(operation: Operation, status: u16, code: Option<&str>, text: &str) -> Self {
        let answer = RefusedResponse {
            operation,
            status,
            code: code.map(normalized),
            text: text.to_lowercase(),
        };
        // The last row matches everything.
        RULES
            .iter()
            .find(|rule| rule.fits(&answer))
            .map_or(Self::Rejected, |rule| rule.kind)
    }
}

struct RefusedResponse {
    operation: Operation,
    status: u16,
    code: Option<String>,
    text: String,
}

/// Some regions write `APIG.` for `APIGW.`, with the same numbers.
fn normalized(code: &str) -> String {
    let code = code.to_ascii_uppercase();
    code.strip_prefix("APIG.")
        .map_or(code.clone(), |number| format!("APIGW.{number}"))
}

enum Codes {
    /// Any code, or none.
    Any,
    /// One of these.
    Of(&'static [&'static str]),
    /// Any of this family.
    Family(&'static str),
    /// Any code in the form of the service (letters, a dot, digits), except those of the gateway and of IAM.
    Service,
}

enum Statuses {
    Any,
    Of(&'static [u16]),
    Between(u16, u16),
}

enum RuleScope {
    Anything,
    /// About a resource or a part of it.
    Object,
    /// About a resource, and names nothing else that could be missing.
    OnlyItsObject,
    /// About a collection inside another resource, such as the users of a server.
    CollectionOfAnother,
    /// About users or groups.
    Users,
    /// One of these.
    By(&'static [Operation]),
}

struct Rule {
    statuses: Statuses,
    codes: Codes,
    /// The text contains one of these; empty: any text.
    words: &'static [&'static str],
    /// It also contains one of these; empty: any text.
    more_words: &'static [&'static str],
    asked: RuleScope,
    kind: ErrorKind,
}

impl Rule {
    fn fits(&self, answer: &RefusedResponse) -> bool {
        let status = match self.statuses {
            Statuses::Any => true,
            Statuses::Of(statuses) => statuses.contains(&answer.status),
            Statuses::Between(from, to) => (from..=to).contains(&answer.status),
        };
        let code = match (&self.codes, answer.code.as_deref()) {
            (Codes::Any, _) => true,
            (_, None) => false,
            (Codes::Of(codes), Some(code)) => codes.contains(&code),
            (Codes::Family(family), Some(code)) => code.starts_with(family),
            (Codes::Service, Some(code)) => code.split_once('.').is_some_and(|(family, number)| {
                let number_ok = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                let family_ok = !family.is_empty() && family.bytes().all(|byte| byte.is_ascii_alphabetic());
                family_ok && number_ok && !matches!(family, "APIGW" | "IAM")
            }),
        };
        let asked = match self.asked {
            RuleScope::Anything => true,
            RuleScope::Object => answer.operation.target() != Target::Collection,
            RuleScope::OnlyItsObject => answer.operation.can_miss_only_its_object(),
            RuleScope::CollectionOfAnother => answer.operation.target() == Target::CollectionOfAnother,
            RuleScope::Users => answer.operation.is_about_users(),
            RuleScope::By(operations) => operations.contains(&answer.operation),
        };
        let contains_any =
            |words: &[&str]| words.is_empty() || words.iter().any(|word| contains_word(&answer.text, word));
        status && code && asked && contains_any(self.words) && contains_any(self.more_words)
    }
}

/// Returns every code that the table names, some more than once. For other codes, status and words decide.
pub fn known_codes() -> impl Iterator<Item = &'static str> {
    RULES.iter().flat_map(|rule| match rule.codes {
        Codes::Of(codes) => codes.iter().copied(),
        Codes::Any | Codes::Family(_) | Codes::Service => [].iter().copied(),
    })
}

/// Whether the parent of the requested collection no longer exists, such as the server whose users are listed.
/// `status`, `code` and `text` are those of an error of this kind.
pub(crate) fn is_without_its_owner(
    kind: ErrorKind,
    operation: Operation,
    status: Option<u16>,
    code: Option<&str>,
    text: &str,
) -> bool {
    let text = text.to_lowercase();
    let is_missing = match status {
        Some(404) => true,
        Some(400) => code == Some("VPN.0004") || MISSING.iter().any(|word| contains_word(&text, word)),
        _ => false,
    };
    let is_there = NOT_YET.iter().any(|word| contains_word(&text, word));
    kind == ErrorKind::Dependency && operation.target() == Target::CollectionOfAnother && is_missing && !is_there
}

/// Whether the text contains the word outside an IAM action such as `vpn:quota:list`.
fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let around = |part: &char| part.is_alphanumeric() || *part == ':';
        let before = text[..at].chars().rev().take_while(around);
        let after = text[at + word.len()..].chars().take_while(around);
        let colons = before.chain(after).filter(|part| *part == ':').count();
        colons < 2
    })
}

const QUOTA: &[&str] = &["quota"];

const MANY: &[&str] = &["too many requests"];

const EXISTS: &[&str] = &["duplicate", "already exist"];

const NOT_READY: &[&str] = &["not ready"];

const CONNECTION: &[&str] = &["has connection"];

const MISSING: &[&str] = &["not found", "not exist", "n't exist", "not be found"];

const BUSY: &[&str] = &["try again later", "busy"];

/// For a server that accepts no users, or none yet, and for a name whose user is being deleted.
const NOT_YET: &[&str] = &[
    "not ready",
    "not active",
    "local_password",
    "local password",
    "being deleted",
];

const TOO_MANY_USERS: &[&str] = &["quota", "number of users", "number of vpn users", "too many users"];

#[rustfmt::skip] // Words for one thing stay side by side.
const NAME_IS_TAKEN: &[&str] = &[
    "duplicate user", "duplicate name", "duplicated user", "duplicated name", "user already exist", "name already",
    "user name exist", "username exist", "name is already", "name has already", "name is used", "name has been used",
    "name is in use", "name is occupied", "name is taken", "name conflict",
];

const STATIC_IP: &[&str] = &[
    "static_ip",
    "static ip",
    "staticip",
    "ip address",
    "client_cidr",
    "client cidr",
];

const GROUP: &[&str] = &["group"];

const PASSWORD: &[&str] = &["password", "passwd"];

/// With these, "same as" is not about former passwords.
#[rustfmt::skip]
const USER_NAME: &[&str] = &[
    "as the user", "as user", "as its user", "equal to the user", "be the user", "the user name or", "the username or",
    "revers",
];

#[rustfmt::skip]
const HISTORY: &[&str] = &[
    "latest five", "latest 5", "last five", "last 5", "recent five", "recent 5", "recently used", "used recently",
    "been used", "used before", "previously used", "recent password", "previous password", "historical", "history",
    "same as", "reused",
];

const CREATE_USER: RuleScope = RuleScope::By(&[Operation::CreateVpnUser]);

const UPDATE_USER: RuleScope = RuleScope::By(&[Operation::UpdateVpnUser]);

const ONE_USER: RuleScope = RuleScope::By(&[
    Operation::GetVpnUser,
    Operation::UpdateVpnUser,
    Operation::DeleteVpnUser,
    Operation::ResetVpnUserPassword,
]);

const SEND_STATIC_IP: RuleScope = RuleScope::By(&[Operation::CreateVpnUser, Operation::UpdateVpnUser]);

const SEND_PASSWORD: RuleScope = RuleScope::By(&[Operation::CreateVpnUser, Operation::ResetVpnUserPassword]);

const RESET: RuleScope = RuleScope::By(&[Operation::ResetVpnUserPassword]);

const fn codes(codes: &'static [&'static str], kind: ErrorKind) -> Rule {
    Rule {
        statuses: Statuses::Any,
        codes: Codes::Of(codes),
        words: &[],
        more_words: &[],
        asked: RuleScope::Anything,
        kind,
    }
}

const fn at(statuses: &'static [u16], kind: ErrorKind) -> Rule {
    Rule {
        statuses: Statuses::Of(statuses),
        codes: Codes::Any,
        words: &[],
        more_words: &[],
        asked: RuleScope::Anything,
        kind,
    }
}

const fn between(from: u16, to: u16, kind: ErrorKind) -> Rule {
    Rule {
        statuses: Statuses::Between(from, to),
        codes: Codes::Any,
        words: &[],
        more_words: &[],
        asked: RuleScope::Anything,
        kind,
    }
}

impl Rule {
    const fn when(mut self, statuses: &'static [u16]) -> Self {
        self.statuses = Statuses::Of(statuses);
        self
    }

    const fn of_family(mut self, family: &'static str) -> Self {
        self.codes = Codes::Family(family);
        self
    }

    const fn of_the_service(mut self) -> Self {
        self.codes = Codes::Service;
        self
    }

    const fn containing(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    const fn and(mut self, words: &'static [&'static str]) -> Self {
        self.more_words = words;
        self
    }

    const fn asked(mut self, asked: RuleScope) -> Self {
        self.asked = asked;
        self
    }
}

/// The first row that matches decides: known codes, then words, then the status alone.
#[rustfmt::skip] // One row, one line: it is a table.
const RULES: &[Rule] = &[
    // The gateway in front of every service. Its 404 is about the API, never about a resource.
    codes(&["APIGW.0301", "APIGW.0303", "APIGW.0305", "APIGW.0307"], ErrorKind::Unauthorized),
    codes(&["APIGW.0302", "APIGW.0304", "APIGW.0306", "APIGW.0310", "APIGW.0802"], ErrorKind::Forbidden),
    codes(&["APIGW.0308"], ErrorKind::Throttled),
    codes(&["APIGW.0103"], ErrorKind::CloudFault),
    codes(&["APIGW.0101"], ErrorKind::NotAvailable),
    at(&[404], ErrorKind::NotAvailable).of_family("APIGW."),
    codes(&["APIGW.0201"], ErrorKind::Rejected).when(&[400, 413, 414, 494]),
    codes(&["APIGW.0201", "APIGW.0202", "APIGW.0203", "APIGW.0601", "APIGW.0610", "APIGW.0613"], ErrorKind::CloudFault),
    // IAM.
    codes(&["IAM.0001"], ErrorKind::Unauthorized),
    codes(&["IAM.0003"], ErrorKind::Forbidden),
    codes(&["IAM.0004", "IAM.0007", "IAM.0011", "IAM.0072", "IAM.0073"], ErrorKind::Rejected),
    codes(&["IAM.0006"], ErrorKind::CloudFault),
    at(&[404], ErrorKind::Rejected).of_family("IAM."),
    // The service.
    codes(&["VPN.0007"], ErrorKind::Forbidden),
    codes(&["VPN.0002", "VPN.0005", "VPN.0006", "VPN.0014", "VPN.0306"], ErrorKind::CloudFault),
    codes(&["VPN.0009", "VPN.0016", "VPN.0017", "VPN.0506", "VPN.0507", "VPN.0508", "VPN.0509"], ErrorKind::Dependency),
    codes(&["VPN.0010"], ErrorKind::Unauthorized),
    codes(&["VPN.0012"], ErrorKind::Rejected).asked(SEND_STATIC_IP),
    codes(&["VPN.0012"], ErrorKind::Duplicate),
    codes(&["VPN.0013", "VPN.0015", "VPN.0018"], ErrorKind::Rejected),
    codes(&["VPN.0030"], ErrorKind::QueueFull),
    codes(&["VPN.0031"], ErrorKind::Repeated),
    codes(&["VPN.0429"], ErrorKind::Throttled).containing(MANY),
    codes(&["VPN.0429"], ErrorKind::QuotaExceeded).containing(QUOTA),
    codes(&["VPN.0429"], ErrorKind::Throttled),
    // Certificates and addresses: their "duplicate" and "exist" are not about the resource.
    codes(&["VPN.0070", "VPN.0071", "VPN.0072", "VPN.0073", "VPN.0074", "VPN.0075", "VPN.0076", "VPN.0077", "VPN.0078"], ErrorKind::Rejected),
    codes(&["VPN.0101", "VPN.0102", "VPN.0103", "VPN.0104", "VPN.0105", "VPN.0106", "VPN.0107", "VPN.0108", "VPN.0109", "VPN.0110", "VPN.0111", "VPN.0112"], ErrorKind::Rejected),
    codes(&["VPN.0203", "VPN.0204", "VPN.0218", "VPN.0219", "VPN.0220", "VPN.0285"], ErrorKind::Rejected),
    codes(&["VPN.0304", "VPN.0305", "VPN.0381", "VPN.0516", "VPN.0517", "VPN.0518", "VPN.0559"], ErrorKind::Rejected),
    codes(&["VPN.0800", "VPN.0801", "VPN.0802", "VPN.0803"], ErrorKind::Rejected),
    codes(&["VPN.0560"], ErrorKind::QuotaExceeded),
    // Users, groups and access policies: most of their code numbers are unknown, so words decide.
    codes(&["VPN.1313"], ErrorKind::Dependency),
    codes(&["VPN.1318", "VPN.1401"], ErrorKind::Rejected),
    at(&[400, 403, 409, 425], ErrorKind::Dependency).containing(NOT_YET).asked(RuleScope::Users),
    at(&[400, 403, 409], ErrorKind::QuotaExceeded).containing(TOO_MANY_USERS).asked(CREATE_USER),
    at(&[400, 409], ErrorKind::Duplicate).containing(NAME_IS_TAKEN).asked(CREATE_USER),
    // Another user has the address, not the name, so there is nothing to adopt.
    at(&[400, 409], ErrorKind::Rejected).containing(STATIC_IP).asked(SEND_STATIC_IP),
    // The server or a group is missing, unless the call names only a user.
    at(&[400, 404], ErrorKind::Dependency).of_the_service().containing(MISSING).and(GROUP).asked(UPDATE_USER),
    at(&[400], ErrorKind::Gone).of_the_service().containing(MISSING).asked(ONE_USER),
    at(&[400], ErrorKind::Dependency).of_the_service().containing(MISSING).asked(RuleScope::CollectionOfAnother),
    codes(&["VPN.0004"], ErrorKind::Dependency).when(&[400]).asked(RuleScope::CollectionOfAnother),
    at(&[404], ErrorKind::Dependency).of_the_service().asked(RuleScope::CollectionOfAnother),
    // Passwords. An unclear text does not prove that one was set before.
    at(&[400, 409, 422], ErrorKind::BadPassword).containing(PASSWORD).and(USER_NAME).asked(SEND_PASSWORD),
    at(&[400, 409, 422], ErrorKind::RecentPassword).containing(HISTORY).asked(RESET),
    at(&[400, 409, 422], ErrorKind::CloudFault).containing(BUSY).asked(SEND_PASSWORD),
    at(&[400, 409, 422], ErrorKind::BadPassword).containing(PASSWORD).asked(SEND_PASSWORD),
    codes(&["VPN.0004"], ErrorKind::Gone).when(&[400, 404]).asked(RuleScope::Object),
    codes(&["VPN.0004"], ErrorKind::Rejected).when(&[400, 404]),
    // VPN.0001 and VPN.0003 mean many things, so their words decide.
    codes(&["VPN.0001", "VPN.0003"], ErrorKind::Dependency).containing(CONNECTION),
    codes(&["VPN.0001", "VPN.0003"], ErrorKind::Dependency).containing(NOT_READY),
    codes(&["VPN.0001", "VPN.0003"], ErrorKind::QuotaExceeded).containing(QUOTA),
    codes(&["VPN.0001"], ErrorKind::Duplicate).containing(EXISTS),
    codes(&["VPN.0001"], ErrorKind::Gone).containing(MISSING).asked(RuleScope::OnlyItsObject),
    codes(&["VPN.0001"], ErrorKind::CloudFault).containing(BUSY),
    codes(&["VPN.0001"], ErrorKind::Rejected).when(&[400]),
    codes(&["VPN.0003"], ErrorKind::Forbidden),
    // Unknown codes, by status and words.
    at(&[401], ErrorKind::Unauthorized),
    at(&[400, 403, 409, 425], ErrorKind::Dependency).containing(CONNECTION),
    at(&[400, 403, 409, 425], ErrorKind::Dependency).containing(NOT_READY),
    at(&[400, 403, 409, 429], ErrorKind::QuotaExceeded).containing(QUOTA),
    at(&[400, 409], ErrorKind::Duplicate).containing(EXISTS),
    at(&[400], ErrorKind::Gone).of_the_service().containing(MISSING).asked(RuleScope::OnlyItsObject),
    at(&[400], ErrorKind::CloudFault).containing(BUSY),
    at(&[403], ErrorKind::Forbidden),
    at(&[404], ErrorKind::Gone).of_the_service().asked(RuleScope::Object),
    at(&[404], ErrorKind::Rejected).of_the_service(),
    // No error body of the cloud: this is not the VPN API. A redirect, which is not followed, means the same.
    at(&[404], ErrorKind::NotAvailable),
    between(300, 399, ErrorKind::NotAvailable),
    at(&[408], ErrorKind::CloudFault),
    at(&[409, 425], ErrorKind::Dependency),
    at(&[429], ErrorKind::Throttled),
    between(500, 599, ErrorKind::CloudFault),
    between(0, u16::MAX, ErrorKind::Rejected),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::cloud_error::CloudError;
    use crate::error::error_body;
    use proptest::prelude::*;
    use serde_json::json;

    const CREATE: Operation = Operation::CreateCustomerGateway;
    const GET: Operation = Operation::GetCustomerGateway;
    const LIST: Operation = Operation::ListCustomerGateways;
    const UPDATE: Operation = Operation::UpdateCustomerGateway;
    const DELETE: Operation = Operation::DeleteCustomerGateway;
    const REMOVE_TAGS: Operation = Operation::RemoveCustomerGatewayTags;
    const LOOK_UP: Operation = Operation::LookUpProject;
    const CREATE_USER: Operation = Operation::CreateVpnUser;
    const GET_USER: Operation = Operation::GetVpnUser;
    const LIST_USERS: Operation = Operation::ListVpnUsers;
    const UPDATE_USER: Operation = Operation::UpdateVpnUser;
    const DELETE_USER: Operation = Operation::DeleteVpnUser;
    const RESET: Operation = Operation::ResetVpnUserPassword;
    const LIST_GROUPS: Operation = Operation::ListVpnUserGroups;
    const LIST_MEMBERS: Operation = Operation::ListVpnUsersInGroup;
    const ADD_USERS: Operation = Operation::AddVpnUsersToGroup;
    const REMOVE_USERS: Operation = Operation::RemoveVpnUsersFromGroup;
    const LIST_SERVERS: Operation = Operation::ListVpnServers;
    /// The calls about users and groups.
    const USERS: [Operation; 10] = [
        CREATE_USER,
        GET_USER,
        LIST_USERS,
        UPDATE_USER,
        DELETE_USER,
        RESET,
        LIST_GROUPS,
        LIST_MEMBERS,
        ADD_USERS,
        REMOVE_USERS,
    ];
    /// The service's catch-all code, and stand-ins for codes with unknown numbers.
    const VAGUE: [&str; 3] = ["VPN.0001", "VPN.1305", "VPN.1399"];

    /// Returns the kind of an error body, in each flat shape; they must agree.
    fn kind(operation: Operation, status: u16, code: &str, text: &str) -> ErrorKind {
        let bodies = [
            json!({"error_code": code, "error_msg": text, "request_id": "r"}),
            json!({"code": code, "message": text}),
            json!({"errorCode": code, "errorMsg": text}),
        ];
        let meanings = bodies.map(|body| {
            let body = error_body::parse(body.to_string().as_bytes()).expect("one of the shapes");
            ErrorKind::of(operation, status, Some(&body.code), &body.text)
        });
        assert!(meanings.iter().all(|kind| *kind == meanings[0]), "{code}: {meanings:?}");
        meanings[0]
    }

    #[track_caller]
    fn all_are(status: u16, codes: &[&str], text: &str, expected: ErrorKind) {
        for code in codes {
            let spellings = match code.strip_prefix("APIGW.") {
                Some(number) => vec![(*code).to_owned(), format!("APIG.{number}")],
                None => vec![(*code).to_owned()],
            };
            for (spelling, operation) in spellings
                .iter()
                .flat_map(|code| Operation::ALL.map(|each| (code, each)))
            {
                let found = kind(operation, status, spelling, text);
                assert_eq!(found, expected, "{operation:?} {status} {spelling} {text:?}");
            }
        }
    }

    #[test]
    fn api_gateway_codes_are_classified() {
        for text in [
            "Incorrect IAM authentication information: verify aksk signature fail",
            "Incorrect IAM authentication information: Get secretKey failed, ak not exist",
            "Incorrect IAM authentication information: decrypt token fail",
            "AK access failed to reach the limit,forbidden",
        ] {
            all_are(401, &["APIGW.0301"], text, ErrorKind::Unauthorized);
        }
        all_are(
            401,
            &["APIGW.0303", "APIGW.0305", "APIGW.0307"],
            "The token must be updated",
            ErrorKind::Unauthorized,
        );
        let forbidden = ["APIGW.0302", "APIGW.0304", "APIGW.0306", "APIGW.0802", "APIGW.0310"];
        all_are(403, &forbidden, "The project is unavailable", ErrorKind::Forbidden);
        all_are(
            404,
            &["APIGW.0101"],
            "The API does not exist or has not been published",
            ErrorKind::NotAvailable,
        );
        all_are(
            404,
            &["APIGW.0103"],
            "The backend does not exist",
            ErrorKind::CloudFault,
        );
        all_are(404, &["APIGW.0106", "APIGW.9999"], "not found", ErrorKind::NotAvailable);
        all_are(
            429,
            &["APIGW.0308"],
            "The throttling threshold (request quota) has been reached",
            ErrorKind::Throttled,
        );
        for status in [400, 413, 414, 494] {
            all_are(status, &["APIGW.0201"], "Request entity too large", ErrorKind::Rejected);
        }
        for status in [502, 504] {
            let codes = ["APIGW.0201", "APIGW.0202", "APIGW.0203", "APIGW.0610"];
            all_are(status, &codes, "Backend timeout", ErrorKind::CloudFault);
        }
        for status in [500, 503] {
            all_are(
                status,
                &["APIGW.0601", "APIGW.0613"],
                "Internal server error",
                ErrorKind::CloudFault,
            );
        }
    }

    #[test]
    fn iam_codes_are_classified() {
        all_are(
            400,
            &["IAM.0007", "IAM.0011", "IAM.0072", "IAM.0073"],
            "Request parameter invalid",
            ErrorKind::Rejected,
        );
        all_are(
            401,
            &["IAM.0001", "401"],
            "The user name or password is wrong",
            ErrorKind::Unauthorized,
        );
        all_are(
            403,
            &["IAM.0003", "403"],
            "Policy doesn't allow vpn:quota:list to be performed",
            ErrorKind::Forbidden,
        );
        all_are(
            404,
            &["IAM.0004", "IAM.0099"],
            "Could not find project",
            ErrorKind::Rejected,
        );
        all_are(500, &["IAM.0006"], "Internal error", ErrorKind::CloudFault);
    }

    #[test]
    fn vpn_service_codes_are_classified() {
        all_are(
            500,
            &["VPN.0002", "VPN.0005", "VPN.0006"],
            "server error",
            ErrorKind::CloudFault,
        );
        all_are(403, &["VPN.0003"], "Authentication failed", ErrorKind::Forbidden);
        let not_ready = "resource (type=GATEWAY, ID=1) is not ready, currently CREATING";
        all_are(403, &["VPN.0003"], not_ready, ErrorKind::Dependency);
        all_are(
            403,
            &["VPN.0007"],
            "not authorized to perform vpn:quota:list",
            ErrorKind::Forbidden,
        );
        all_are(425, &["VPN.0009"], "Connection 1 is deleting", ErrorKind::Dependency);
        all_are(
            401,
            &["VPN.0010"],
            "token authentication failed",
            ErrorKind::Unauthorized,
        );
        for operation in Operation::ALL {
            // A user's address does not identify the user.
            let expected = match operation {
                CREATE_USER | UPDATE_USER => ErrorKind::Rejected,
                _ => ErrorKind::Duplicate,
            };
            assert_eq!(kind(operation, 400, "VPN.0012", "IP address occupied"), expected);
        }
        all_are(400, &["VPN.0013"], "Unsupported attribute", ErrorKind::Rejected);
        all_are(504, &["VPN.0014"], "The system is busy", ErrorKind::CloudFault);
        all_are(400, &["VPN.0015"], "tag policy", ErrorKind::Rejected);
        all_are(
            409,
            &["VPN.0016", "VPN.0017"],
            "gateway not ready",
            ErrorKind::Dependency,
        );
        all_are(
            400,
            &["VPN.0030"],
            "The system is busy, try again later",
            ErrorKind::QueueFull,
        );
        all_are(
            400,
            &["VPN.0031"],
            "Repeated operation, try again later",
            ErrorKind::Repeated,
        );
        all_are(
            400,
            &["VPN.0108", "VPN.0203", "VPN.0204"],
            "invalid IP",
            ErrorKind::Rejected,
        );
        all_are(429, &["VPN.0429"], "too many requests, quota", ErrorKind::Throttled);
        all_are(429, &["VPN.0429"], "wait a moment", ErrorKind::Throttled);
        let used_up = "invalid request: the quota of customer gateways is exceeded";
        all_are(429, &["VPN.0429"], used_up, ErrorKind::QuotaExceeded);
        all_are(
            400,
            &["VPN.0506", "VPN.0507", "VPN.0508"],
            "the gateway is being changed",
            ErrorKind::Dependency,
        );
        all_are(404, &["VPN.0509"], "the gateway does not exist", ErrorKind::Dependency);
        all_are(400, &["VPN.0306"], "try", ErrorKind::CloudFault);
        let rest = (101..=112)
            .chain(218..=220)
            .chain(304..=305)
            .chain(516..=518)
            .chain(800..=803)
            .chain([18, 285, 381]);
        for number in rest {
            all_are(
                400,
                &[&format!("VPN.{number:04}")],
                "a connection does not exist already",
                ErrorKind::Rejected,
            );
        }
    }

    #[test]
    fn codes_of_users_groups_and_certificates_are_classified() {
        for number in 70..=78 {
            let code = format!("VPN.{number:04}");
            all_are(
                400,
                &[&code],
                "the certificate is a duplicate, already exists",
                ErrorKind::Rejected,
            );
        }
        all_are(400, &["VPN.0559"], "EIP parameters conflict", ErrorKind::Rejected);
        all_are(400, &["VPN.0560"], "EIP", ErrorKind::QuotaExceeded);
        all_are(
            400,
            &["VPN.1313"],
            "delete the access policy first",
            ErrorKind::Dependency,
        );
        all_are(400, &["VPN.1318"], "the user list is empty", ErrorKind::Rejected);
        all_are(
            400,
            &["VPN.1400"],
            "the number of access policies exceeds 100",
            ErrorKind::Rejected,
        );
        all_are(
            400,
            &["VPN.1401"],
            "the access policy does not exist",
            ErrorKind::Rejected,
        );
        // For codes of this block with unknown numbers, the words decide.
        all_are(400, &["VPN.1399"], "Duplicate user name.", ErrorKind::Duplicate);
        all_are(400, &["VPN.1399"], "user quota exceeded", ErrorKind::QuotaExceeded);
        all_are(400, &["VPN.1399"], "the server is not ready", ErrorKind::Dependency);
        assert_eq!(kind(GET, 400, "VPN.1399", "user not found"), ErrorKind::Gone);
    }

    /// Asserts the kind of each text under vague codes.
    #[track_caller]
    fn users_are(statuses: &[u16], operations: &[Operation], texts: &[&str], expected: ErrorKind) {
        for (status, code) in statuses.iter().flat_map(|status| VAGUE.map(|code| (*status, code))) {
            for (operation, text) in operations
                .iter()
                .flat_map(|it| texts.iter().map(move |text| (*it, text)))
            {
                let found = kind(operation, status, code, text);
                assert_eq!(found, expected, "{operation:?} {status} {code} {text:?}");
            }
        }
    }

    #[test]
    fn a_server_that_is_not_ready_is_a_dependency_error() {
        let words = [
            "The VPN server is not ready.",
            "resource (type=VPN_SERVER, ID=1) is not ready, currently PENDING_UPDATE",
            "The VPN server is not ACTIVE",
            "The client_auth_type of the VPN server is not LOCAL_PASSWORD",
            "VPN user alice is being deleted, try again later",
        ];
        users_are(&[400, 403, 409], &USERS, &words, ErrorKind::Dependency);
        for operation in USERS {
            assert_eq!(kind(operation, 403, "VPN.0003", words[1]), ErrorKind::Dependency);
        }
    }

    #[test]
    fn a_list_error_of_a_deleted_server_differs_from_an_unready_one() {
        let is_without_server = |operation, status, code: &str, text: &str| {
            let mut error = CloudError::new(operation, kind(operation, status, code, text), text);
            error.status = Some(status);
            error.code = Some(code.to_owned());
            error.is_without_its_owner()
        };
        for (status, code, text) in [
            (404, "VPN.0004", "resource not found"),
            (400, "VPN.0001", "Invalid request: VPN server 1 not found"),
            (400, "VPN.0001", "VPN server 1 does not exist"),
        ] {
            assert!(is_without_server(LIST_USERS, status, code, text), "{status} {text}");
            assert!(
                !is_without_server(GET_USER, status, code, text),
                "one user that is missing says nothing of the server"
            );
        }
        for (status, code, text) in [
            (400, "VPN.0001", "VPN server 1 is not ready"),
            (403, "VPN.0003", "VPN server 1 is not ready"),
            (404, "APIGW.0101", "the API does not exist"),
            (500, "VPN.0002", "not found"),
            (400, "VPN.0030", "not found"),
        ] {
            assert!(!is_without_server(LIST_USERS, status, code, text), "{status} {text}");
        }
    }

    #[test]
    fn a_missing_server_or_group_is_a_dependency_and_a_missing_user_is_absent() {
        let within = [
            CREATE_USER,
            LIST_USERS,
            LIST_GROUPS,
            LIST_MEMBERS,
            ADD_USERS,
            REMOVE_USERS,
        ];
        let missing = [
            "resource not found",
            "VPN server 1 does not exist",
            "user_group_id: the user group doesn't exist",
        ];
        users_are(&[400, 404], &within, &missing, ErrorKind::Dependency);
        for operation in within {
            for status in [400, 404] {
                assert_eq!(
                    kind(operation, status, "VPN.0004", "resource not found"),
                    ErrorKind::Dependency
                );
            }
        }
        let user = ["The user does not exist.", "resource not found"];
        let one = [GET_USER, UPDATE_USER, DELETE_USER, RESET];
        users_are(&[400, 404], &one, &user, ErrorKind::Gone);
        for operation in one {
            assert_eq!(kind(operation, 404, "VPN.0004", user[0]), ErrorKind::Gone);
            assert_eq!(kind(operation, 404, "VPN.1305", "whatever"), ErrorKind::Gone);
        }
        let group = ["user group 1 does not exist", "user_group_id 1 was not found"];
        users_are(&[400, 404], &[UPDATE_USER], &group, ErrorKind::Dependency);
        assert_eq!(kind(UPDATE_USER, 404, "VPN.0004", group[0]), ErrorKind::Dependency);
        assert_eq!(
            kind(RESET, 400, "VPN.1305", "Failed to reset the password: user not found"),
            ErrorKind::Gone
        );
        assert_eq!(
            kind(LIST_SERVERS, 404, "VPN.0004", "resource not found"),
            ErrorKind::Rejected
        );
    }

    #[test]
    fn an_unpublished_user_api_never_means_a_deleted_user() {
        for operation in USERS.into_iter().chain([LIST_SERVERS]) {
            for code in ["APIGW.0101", "APIG.0101"] {
                let text = "The API does not exist or has not been published in the environment";
                assert_eq!(kind(operation, 404, code, text), ErrorKind::NotAvailable);
            }
            assert_eq!(ErrorKind::of(operation, 404, None, ""), ErrorKind::NotAvailable);
            assert_eq!(
                ErrorKind::of(operation, 400, Some("APIGW.0106"), "not found"),
                ErrorKind::Rejected
            );
        }
    }

    #[test]
    fn duplicate_names_and_addresses_are_distinguished() {
        let name = [
            "Duplicate user name.",
            "Duplicated user name: alice",
            "The user already exists.",
            "user name already exists",
            "The name is already used.",
            "invalid request: alice already exists",
        ];
        users_are(&[400, 409], &[CREATE_USER], &name, ErrorKind::Duplicate);
        let address = [
            "static_ip 192.168.10.5 already exists",
            "Duplicate static IP.",
            "static_ip: the address is in use by another user",
            "The IP address is not in client_cidr 192.168.10.0/24",
        ];
        users_are(&[400, 409], &[CREATE_USER, UPDATE_USER], &address, ErrorKind::Rejected);
        // An unexplained conflict may resolve by itself.
        assert_eq!(kind(CREATE_USER, 409, "VPN.1399", "conflict"), ErrorKind::Dependency);
    }

    #[test]
    fn too_many_users_is_a_quota_error() {
        let words = [
            "user quota exceeded",
            "quota: 500",
            "The number of users of the gateway exceeds the upper limit 500.",
            "too many users",
        ];
        users_are(&[400, 403, 409], &[CREATE_USER], &words, ErrorKind::QuotaExceeded);
        let action = "Policy doesn't allow vpn:quota:list to be performed";
        assert_eq!(kind(CREATE_USER, 403, "VPN.0007", action), ErrorKind::Forbidden);
        assert_eq!(kind(CREATE_USER, 403, "VPN.1399", action), ErrorKind::Forbidden);
    }

    #[test]
    fn recently_used_and_invalid_passwords_are_distinguished() {
        let recent = [
            "The new password cannot be one of the latest five passwords.",
            "The password was recently used.",
            "password history check failed",
            "The new password is the same as the old password.",
            "It has been used before.",
        ];
        users_are(&[400, 409], &[RESET], &recent, ErrorKind::RecentPassword);
        let bad = [
            "Password length invalid.",
            "password: too weak",
            "invalid request: the password must hold two kinds of characters",
            "The password cannot be the same as the username or its reverse.",
            "The password cannot be the username or the username spelled backwards, nor one of the latest five",
            "new_password is invalid",
        ];
        users_are(&[400, 409], &[CREATE_USER, RESET], &bad, ErrorKind::BadPassword);
        // A new user has no password history.
        users_are(&[400], &[CREATE_USER], &recent[..4], ErrorKind::BadPassword);
        users_are(&[400], &[RESET], &["the new value is invalid"], ErrorKind::Rejected);
        users_are(&[400], &[UPDATE_USER, GET_USER], &["old_password"], ErrorKind::Rejected);
        for (operation, expected) in [
            (CREATE_USER, ErrorKind::BadPassword),
            (RESET, ErrorKind::BadPassword),
            (UPDATE_USER, ErrorKind::Rejected),
            (CREATE, ErrorKind::Rejected),
        ] {
            assert_eq!(kind(operation, 400, "VPN.1312", "enter the correct password"), expected);
        }
        for operation in [CREATE_USER, RESET] {
            let text = "vpn:p2cVpnUser:resetPassword is not allowed";
            assert_eq!(kind(operation, 400, "VPN.1399", text), ErrorKind::Rejected);
            assert_eq!(
                kind(operation, 500, "VPN.0002", "password service down"),
                ErrorKind::CloudFault
            );
            let busy = "The password cannot be set now, try again later";
            assert_eq!(kind(operation, 400, "VPN.1399", busy), ErrorKind::CloudFault);
        }
    }

    #[test]
    fn queue_full_and_repeated_are_classified_by_code_only() {
        for operation in USERS {
            for text in ["System busy. Try again later.", "Duplicate user name, password"] {
                assert_eq!(kind(operation, 400, "VPN.0030", text), ErrorKind::QueueFull);
                assert_eq!(kind(operation, 400, "VPN.0031", text), ErrorKind::Repeated);
            }
        }
    }

    #[test]
    fn the_generic_code_is_classified_by_its_message() {
        let invalid = |words: &str| format!("invalid request: {words}");
        all_are(
            400,
            &["VPN.0001"],
            &invalid("customer gateway 1 has connection"),
            ErrorKind::Dependency,
        );
        all_are(400, &["VPN.0001"], &invalid("Quota exceeded"), ErrorKind::QuotaExceeded);
        all_are(400, &["VPN.0001"], &invalid("duplicate name"), ErrorKind::Duplicate);
        all_are(
            400,
            &["VPN.0001"],
            &invalid("the name already exists"),
            ErrorKind::Duplicate,
        );
        all_are(
            400,
            &["VPN.0001"],
            &invalid("please try again later"),
            ErrorKind::CloudFault,
        );
        all_are(400, &["VPN.0001"], &invalid("id_value"), ErrorKind::Rejected);
        all_are(
            409,
            &["VPN.0001"],
            &invalid("customer gateway 1 has connection"),
            ErrorKind::Dependency,
        );
        all_are(409, &["VPN.0001"], &invalid("in use"), ErrorKind::Dependency);
        all_are(403, &["VPN.0001"], &invalid("quota"), ErrorKind::QuotaExceeded);
        all_are(500, &["VPN.0001"], &invalid("oops"), ErrorKind::CloudFault);
        for words in ["customer gateway not found", "customer gateway 1 does not exist"] {
            for (operation, expected) in [
                (GET, ErrorKind::Gone),
                (DELETE, ErrorKind::Gone),
                (CREATE, ErrorKind::Rejected),
                (UPDATE, ErrorKind::Rejected),
                (LIST, ErrorKind::Rejected),
                (REMOVE_TAGS, ErrorKind::Rejected),
            ] {
                assert_eq!(
                    kind(operation, 400, "VPN.0001", &invalid(words)),
                    expected,
                    "{operation:?} {words}"
                );
            }
        }
    }

    #[test]
    fn only_a_404_of_the_service_about_an_object_proves_its_absence() {
        for (operation, code, expected) in [
            (GET, Some("VPN.0004"), ErrorKind::Gone),
            (UPDATE, Some("VPN.0004"), ErrorKind::Gone),
            (DELETE, Some("VPN.0004"), ErrorKind::Gone),
            (REMOVE_TAGS, Some("VPN.0004"), ErrorKind::Gone),
            (DELETE, Some("VPN.9999"), ErrorKind::Gone),
            (CREATE, Some("VPN.0004"), ErrorKind::Rejected),
            (LIST, Some("VPN.0004"), ErrorKind::Rejected),
            (LOOK_UP, Some("VPN.0004"), ErrorKind::Rejected),
            (CREATE, Some("VPN.9999"), ErrorKind::Rejected),
            (DELETE, Some("APIGW.0101"), ErrorKind::NotAvailable),
            (DELETE, Some("APIG.0101"), ErrorKind::NotAvailable),
            (DELETE, Some("APIGW.4711"), ErrorKind::NotAvailable),
            (DELETE, Some("404"), ErrorKind::NotAvailable),
            (DELETE, Some("NotFound"), ErrorKind::NotAvailable),
            (DELETE, None, ErrorKind::NotAvailable),
            (GET, None, ErrorKind::NotAvailable),
        ] {
            assert_eq!(
                ErrorKind::of(operation, 404, code, "not found"),
                expected,
                "{operation:?} {code:?}"
            );
        }
    }

    #[test]
    fn unknown_codes_are_classified_by_status_and_message() {
        for (status, text, expected) in [
            (400, "whatever", ErrorKind::Rejected),
            (400, "the system is busy", ErrorKind::CloudFault),
            (400, "is not ready", ErrorKind::Dependency),
            (401, "quota not ready", ErrorKind::Unauthorized),
            (403, "no", ErrorKind::Forbidden),
            (403, "is not ready", ErrorKind::Dependency),
            (403, "the quota is used up", ErrorKind::QuotaExceeded),
            (403, "policy doesn't allow vpn:quota:list", ErrorKind::Forbidden),
            (405, "no", ErrorKind::Rejected),
            (408, "too slow", ErrorKind::CloudFault),
            (409, "conflict", ErrorKind::Dependency),
            (409, "it already exists", ErrorKind::Duplicate),
            (409, "quota exceeded", ErrorKind::QuotaExceeded),
            (413, "too large", ErrorKind::Rejected),
            (425, "too early", ErrorKind::Dependency),
            (429, "slow down", ErrorKind::Throttled),
            (429, "the gateway quota is used up", ErrorKind::QuotaExceeded),
            (301, "", ErrorKind::NotAvailable),
            (307, "", ErrorKind::NotAvailable),
            (500, "quota not found, has connection", ErrorKind::CloudFault),
            (502, "", ErrorKind::CloudFault),
            (503, "", ErrorKind::CloudFault),
            (599, "", ErrorKind::CloudFault),
            (600, "", ErrorKind::Rejected),
        ] {
            for code in [None, Some("XYZ.0815"), Some("VPN.9999")] {
                assert_eq!(
                    ErrorKind::of(CREATE, status, code, text),
                    expected,
                    "{status} {code:?} {text}"
                );
            }
        }
    }

    #[test]
    fn each_error_kind_has_its_retry_and_backoff() {
        for (kind, retry, first, cap) in [
            (ErrorKind::Throttled, Retry::Again, 1, 300),
            (ErrorKind::QueueFull, Retry::Again, 10, 300),
            (ErrorKind::CloudFault, Retry::Again, 1, 300),
            (ErrorKind::Repeated, Retry::Again, 1, 300),
            (ErrorKind::Dependency, Retry::Wait, 5, 60),
            (ErrorKind::Unauthorized, Retry::UserAction, 600, 600),
            (ErrorKind::Forbidden, Retry::UserAction, 600, 600),
            (ErrorKind::NotAvailable, Retry::UserAction, 600, 600),
            (ErrorKind::QuotaExceeded, Retry::UserAction, 600, 600),
            (ErrorKind::Duplicate, Retry::UserAction, 600, 600),
            (ErrorKind::RecentPassword, Retry::UserAction, 600, 600),
            (ErrorKind::BadPassword, Retry::UserAction, 600, 600),
            (ErrorKind::Rejected, Retry::UserAction, 600, 600),
            (ErrorKind::Gone, Retry::Gone, 1, 300),
        ] {
            assert_eq!(kind.retry(), retry, "{kind:?}");
            assert_eq!(kind.backoff(), Backoff::seconds(first, cap), "{kind:?}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let seconds = |backoff: Backoff, failures: &[u32]| -> Vec<u64> {
            failures
                .iter()
                .map(|failures| backoff.delay(*failures).as_secs())
                .collect()
        };
        assert_eq!(
            seconds(Backoff::seconds(1, 300), &[0, 1, 2, 3, 9, 10, 1000, u32::MAX]),
            [1, 1, 2, 4, 256, 300, 300, 300]
        );
        assert_eq!(seconds(Backoff::seconds(5, 60), &[1, 2, 3, 4, 5]), [5, 10, 20, 40, 60]);
        assert_eq!(seconds(Backoff::seconds(600, 600), &[1, 9]), [600, 600]);
    }

    proptest! {
        // Taking a refusal for "gone" creates a duplicate or loses a resource, so only a "not found" may mean it.
        #[test]
        fn only_a_404_or_a_400_with_not_found_proves_absence(
            status in 100_u16..600,
            code in prop::option::of("(VPN|APIGW|APIG|IAM|XYZ)\\.[0-9]{4}|[0-9]{3}"),
            text in prop_oneof!["[a-z ]{0,30}", Just("it was not found".to_owned())],
            operation in prop::sample::select(Operation::ALL.to_vec()),
        ) {
            let found = ErrorKind::of(operation, status, code.as_deref(), &text);
            if found == ErrorKind::Gone {
                let own = code.as_deref().is_some_and(|code| code.starts_with("VPN.") || code.starts_with("XYZ."));
                let is_missing = code.as_deref() == Some("VPN.0004") || text.contains("not found");
                prop_assert!(own && (status == 404 || status == 400 && is_missing));
            }
        }
    }
}

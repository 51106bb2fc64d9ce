//! What a refusal means: the one table from HTTP status, code and words to a meaning, and from a meaning to what
//! to do and how long to wait.

use std::time::Duration;

use super::error::CloudError;
use super::operation::{Operation, Target};

/// What a failure means, whatever its HTTP status and code were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// 429 of the gateway or of the service.
    Throttled,
    /// VPN.0030: the service's own queue is full; comes again slowly, from 10 s.
    QueueFull,
    /// 5xx, network, timeout, an answer that cannot be read.
    CloudFault,
    /// Something else must be ready or gone first (`has connection`, `is not ready`).
    Dependency,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// The API is not published at this endpoint: 404 with a gateway code, or an answer that is not the API's.
    NotAvailable,
    QuotaExceeded,
    /// A definite "exists already".
    Duplicate,
    /// The object is not there. From a call about tags it may be a tag that is missing: read the object.
    Gone,
    /// VPN.0031: the same request was seen before; read, then try again. It says nothing about what became of the one
    /// before: a repeated creation with the same token may be answered so whether or not the first was done.
    Repeated,
    /// The password is one of the latest five, the present one among them.
    RecentPassword,
    /// The password breaks another rule of the cloud's.
    BadPassword,
    /// Any other definite refusal.
    Rejected,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Try again with backoff.
    Again,
    /// Wait for something that may come by itself.
    Wait,
    /// A person must act.
    Person,
    /// The object is not there.
    Gone,
}

/// How long to wait before the next try: doubling from `first` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub first: Duration,
    pub cap: Duration,
}

impl Pace {
    const fn seconds(first: u64, cap: u64) -> Self {
        Self {
            first: Duration::from_secs(first),
            cap: Duration::from_secs(cap),
        }
    }

    /// The wait after the given number of failures in a row, the first being 1.
    pub fn delay(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }
}

impl Meaning {
    /// What to do.
    pub fn class(self) -> Class {
        match self {
            Self::Throttled | Self::QueueFull | Self::CloudFault | Self::Repeated => Class::Again,
            Self::Dependency => Class::Wait,
            Self::Unauthorized
            | Self::Forbidden
            | Self::NotAvailable
            | Self::QuotaExceeded
            | Self::Duplicate
            | Self::RecentPassword
            | Self::BadPassword
            | Self::Rejected => Class::Person,
            Self::Gone => Class::Gone,
        }
    }

    /// How fast to come again.
    pub fn pace(self) -> Pace {
        match (self, self.class()) {
            (Self::QueueFull, _) => Pace::seconds(10, 300),
            (_, Class::Again | Class::Gone) => Pace::seconds(1, 300),
            (_, Class::Wait) => Pace::seconds(5, 60),
            (_, Class::Person) => Pace::seconds(600, 600),
        }
    }

    /// What an answer outside of 2xx means. `code` and `text` are those of an error body, if it was one.
    pub(super) fn of(operation: Operation, status: u16, code: Option<&str>, text: &str) -> Self {
        let answer = Refusal {
            operation,
            status,
            code: code.map(normalised),
            text: text.to_lowercase(),
        };
        // The last row takes whatever is left.
        RULES
            .iter()
            .find(|rule| rule.fits(&answer))
            .map_or(Self::Rejected, |rule| rule.meaning)
    }
}

struct Refusal {
    operation: Operation,
    status: u16,
    code: Option<String>,
    text: String,
}

/// Some regions write `APIG.` for `APIGW.`, with the same numbers.
fn normalised(code: &str) -> String {
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
    /// Any that has the form of the service's own: letters, a dot, digits, but not those of the gateway or of IAM.
    Service,
}

enum Statuses {
    Any,
    Of(&'static [u16]),
    Between(u16, u16),
}

enum Asked {
    Anything,
    /// About an object or a part of it.
    Object,
    /// About an object, and naming nothing else that could be missing.
    OnlyItsObject,
    /// About a collection of another object, such as the users of a server.
    CollectionOfAnother,
    /// About users or groups.
    Users,
    /// One of these.
    By(&'static [Operation]),
}

struct Rule {
    statuses: Statuses,
    codes: Codes,
    /// One of these is in the text; empty: any text.
    words: &'static [&'static str],
    /// And one of these; empty: any text.
    more_words: &'static [&'static str],
    asked: Asked,
    meaning: Meaning,
}

impl Rule {
    fn fits(&self, answer: &Refusal) -> bool {
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
            Asked::Anything => true,
            Asked::Object => answer.operation.target() != Target::Collection,
            Asked::OnlyItsObject => answer.operation.can_miss_only_its_object(),
            Asked::CollectionOfAnother => answer.operation.target() == Target::CollectionOfAnother,
            Asked::Users => answer.operation.is_about_users(),
            Asked::By(operations) => operations.contains(&answer.operation),
        };
        let said = |words: &[&str]| words.is_empty() || words.iter().any(|word| says(&answer.text, word));
        status && code && asked && said(self.words) && said(self.more_words)
    }
}

/// Every code that the table knows by name, some more than once; the others go by status and words.
pub fn known_codes() -> impl Iterator<Item = &'static str> {
    RULES.iter().flat_map(|rule| match rule.codes {
        Codes::Of(codes) => codes.iter().copied(),
        Codes::Any | Codes::Family(_) | Codes::Service => [].iter().copied(),
    })
}

/// Whether the error says that what its collection belongs to is no more, such as the server whose users are asked for.
pub(super) fn is_without_its_owner(error: &CloudError) -> bool {
    let text = error.text.to_lowercase();
    let is_missing = match error.status {
        Some(404) => true,
        Some(400) => error.code.as_deref() == Some("VPN.0004") || MISSING.iter().any(|word| says(&text, word)),
        _ => false,
    };
    let is_there = NOT_YET.iter().any(|word| says(&text, word));
    error.meaning == Meaning::Dependency
        && error.operation.target() == Target::CollectionOfAnother
        && is_missing
        && !is_there
}

/// Whether the text has the word, but not as a part of an IAM action such as `vpn:quota:list`.
fn says(text: &str, word: &str) -> bool {
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
/// Of a server that takes no users, or none yet, and of a name whose user is on its way out.
const NOT_YET: &[&str] = &[
    "not ready",
    "not active",
    "local_password",
    "local password",
    "being deleted",
];
const TOO_MANY_USERS: &[&str] = &["quota", "number of users", "number of vpn users", "too many users"];
#[rustfmt::skip] // Words of one thing side by side.
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

const CREATE_USER: Asked = Asked::By(&[Operation::CreateVpnUser]);
const UPDATE_USER: Asked = Asked::By(&[Operation::UpdateVpnUser]);
const ONE_USER: Asked = Asked::By(&[
    Operation::GetVpnUser,
    Operation::UpdateVpnUser,
    Operation::DeleteVpnUser,
    Operation::ResetVpnUserPassword,
]);
const SEND_STATIC_IP: Asked = Asked::By(&[Operation::CreateVpnUser, Operation::UpdateVpnUser]);
const SEND_PASSWORD: Asked = Asked::By(&[Operation::CreateVpnUser, Operation::ResetVpnUserPassword]);
const RESET: Asked = Asked::By(&[Operation::ResetVpnUserPassword]);

const fn codes(codes: &'static [&'static str], meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Any,
        codes: Codes::Of(codes),
        words: &[],
        more_words: &[],
        asked: Asked::Anything,
        meaning,
    }
}

const fn at(statuses: &'static [u16], meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Of(statuses),
        codes: Codes::Any,
        words: &[],
        more_words: &[],
        asked: Asked::Anything,
        meaning,
    }
}

const fn between(from: u16, to: u16, meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Between(from, to),
        codes: Codes::Any,
        words: &[],
        more_words: &[],
        asked: Asked::Anything,
        meaning,
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

    const fn saying(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    const fn and(mut self, words: &'static [&'static str]) -> Self {
        self.more_words = words;
        self
    }

    const fn asked(mut self, asked: Asked) -> Self {
        self.asked = asked;
        self
    }
}

/// The first row that fits decides: known codes, then words, then the status alone.
#[rustfmt::skip] // One row, one line: it is a table.
const RULES: &[Rule] = &[
    // The gateway in front of every service. Its 404 speaks of the API, never of an object.
    codes(&["APIGW.0301", "APIGW.0303", "APIGW.0305", "APIGW.0307"], Meaning::Unauthorized),
    codes(&["APIGW.0302", "APIGW.0304", "APIGW.0306", "APIGW.0310", "APIGW.0802"], Meaning::Forbidden),
    codes(&["APIGW.0308"], Meaning::Throttled),
    codes(&["APIGW.0103"], Meaning::CloudFault),
    codes(&["APIGW.0101"], Meaning::NotAvailable),
    at(&[404], Meaning::NotAvailable).of_family("APIGW."),
    codes(&["APIGW.0201"], Meaning::Rejected).when(&[400, 413, 414, 494]),
    codes(&["APIGW.0201", "APIGW.0202", "APIGW.0203", "APIGW.0601", "APIGW.0610", "APIGW.0613"], Meaning::CloudFault),
    // IAM.
    codes(&["IAM.0001"], Meaning::Unauthorized),
    codes(&["IAM.0003"], Meaning::Forbidden),
    codes(&["IAM.0004", "IAM.0007", "IAM.0011", "IAM.0072", "IAM.0073"], Meaning::Rejected),
    codes(&["IAM.0006"], Meaning::CloudFault),
    at(&[404], Meaning::Rejected).of_family("IAM."),
    // The service.
    codes(&["VPN.0007"], Meaning::Forbidden),
    codes(&["VPN.0002", "VPN.0005", "VPN.0006", "VPN.0014", "VPN.0306"], Meaning::CloudFault),
    codes(&["VPN.0009", "VPN.0016", "VPN.0017", "VPN.0506", "VPN.0507", "VPN.0508", "VPN.0509"], Meaning::Dependency),
    codes(&["VPN.0010"], Meaning::Unauthorized),
    codes(&["VPN.0012"], Meaning::Rejected).asked(SEND_STATIC_IP),
    codes(&["VPN.0012"], Meaning::Duplicate),
    codes(&["VPN.0013", "VPN.0015", "VPN.0018"], Meaning::Rejected),
    codes(&["VPN.0030"], Meaning::QueueFull),
    codes(&["VPN.0031"], Meaning::Repeated),
    codes(&["VPN.0429"], Meaning::Throttled).saying(MANY),
    codes(&["VPN.0429"], Meaning::QuotaExceeded).saying(QUOTA),
    codes(&["VPN.0429"], Meaning::Throttled),
    // Certificates and addresses: their "duplicate" and "exist" are not about the object.
    codes(&["VPN.0070", "VPN.0071", "VPN.0072", "VPN.0073", "VPN.0074", "VPN.0075", "VPN.0076", "VPN.0077", "VPN.0078"], Meaning::Rejected),
    codes(&["VPN.0101", "VPN.0102", "VPN.0103", "VPN.0104", "VPN.0105", "VPN.0106", "VPN.0107", "VPN.0108", "VPN.0109", "VPN.0110", "VPN.0111", "VPN.0112"], Meaning::Rejected),
    codes(&["VPN.0203", "VPN.0204", "VPN.0218", "VPN.0219", "VPN.0220", "VPN.0285"], Meaning::Rejected),
    codes(&["VPN.0304", "VPN.0305", "VPN.0381", "VPN.0516", "VPN.0517", "VPN.0518", "VPN.0559"], Meaning::Rejected),
    codes(&["VPN.0800", "VPN.0801", "VPN.0802", "VPN.0803"], Meaning::Rejected),
    codes(&["VPN.0560"], Meaning::QuotaExceeded),
    // Users, groups and access policies: the numbers of most of their codes are not known, so words decide.
    codes(&["VPN.1313"], Meaning::Dependency),
    codes(&["VPN.1318", "VPN.1401"], Meaning::Rejected),
    at(&[400, 403, 409, 425], Meaning::Dependency).saying(NOT_YET).asked(Asked::Users),
    at(&[400, 403, 409], Meaning::QuotaExceeded).saying(TOO_MANY_USERS).asked(CREATE_USER),
    at(&[400, 409], Meaning::Duplicate).saying(NAME_IS_TAKEN).asked(CREATE_USER),
    // Another user has the address, not the name: nothing that could be adopted.
    at(&[400, 409], Meaning::Rejected).saying(STATIC_IP).asked(SEND_STATIC_IP),
    // What is missing is the server or a group, unless the call names a user and nothing else.
    at(&[400, 404], Meaning::Dependency).of_the_service().saying(MISSING).and(GROUP).asked(UPDATE_USER),
    at(&[400], Meaning::Gone).of_the_service().saying(MISSING).asked(ONE_USER),
    at(&[400], Meaning::Dependency).of_the_service().saying(MISSING).asked(Asked::CollectionOfAnother),
    codes(&["VPN.0004"], Meaning::Dependency).when(&[400]).asked(Asked::CollectionOfAnother),
    at(&[404], Meaning::Dependency).of_the_service().asked(Asked::CollectionOfAnother),
    // Passwords. Doubt is no proof that one was set before.
    at(&[400, 409, 422], Meaning::BadPassword).saying(PASSWORD).and(USER_NAME).asked(SEND_PASSWORD),
    at(&[400, 409, 422], Meaning::RecentPassword).saying(HISTORY).asked(RESET),
    at(&[400, 409, 422], Meaning::CloudFault).saying(BUSY).asked(SEND_PASSWORD),
    at(&[400, 409, 422], Meaning::BadPassword).saying(PASSWORD).asked(SEND_PASSWORD),
    codes(&["VPN.0004"], Meaning::Gone).when(&[400, 404]).asked(Asked::Object),
    codes(&["VPN.0004"], Meaning::Rejected).when(&[400, 404]),
    // VPN.0001 and VPN.0003 mean many things, their words decide.
    codes(&["VPN.0001", "VPN.0003"], Meaning::Dependency).saying(CONNECTION),
    codes(&["VPN.0001", "VPN.0003"], Meaning::Dependency).saying(NOT_READY),
    codes(&["VPN.0001", "VPN.0003"], Meaning::QuotaExceeded).saying(QUOTA),
    codes(&["VPN.0001"], Meaning::Duplicate).saying(EXISTS),
    codes(&["VPN.0001"], Meaning::Gone).saying(MISSING).asked(Asked::OnlyItsObject),
    codes(&["VPN.0001"], Meaning::CloudFault).saying(BUSY),
    codes(&["VPN.0001"], Meaning::Rejected).when(&[400]),
    codes(&["VPN.0003"], Meaning::Forbidden),
    // Unknown codes, by status and words.
    at(&[401], Meaning::Unauthorized),
    at(&[400, 403, 409, 425], Meaning::Dependency).saying(CONNECTION),
    at(&[400, 403, 409, 425], Meaning::Dependency).saying(NOT_READY),
    at(&[400, 403, 409, 429], Meaning::QuotaExceeded).saying(QUOTA),
    at(&[400, 409], Meaning::Duplicate).saying(EXISTS),
    at(&[400], Meaning::Gone).of_the_service().saying(MISSING).asked(Asked::OnlyItsObject),
    at(&[400], Meaning::CloudFault).saying(BUSY),
    at(&[403], Meaning::Forbidden),
    at(&[404], Meaning::Gone).of_the_service().asked(Asked::Object),
    at(&[404], Meaning::Rejected).of_the_service(),
    // No body of the cloud's: this is not the VPN API. A redirect is not followed, and says the same.
    at(&[404], Meaning::NotAvailable),
    between(300, 399, Meaning::NotAvailable),
    at(&[408], Meaning::CloudFault),
    at(&[409, 425], Meaning::Dependency),
    at(&[429], Meaning::Throttled),
    between(500, 599, Meaning::CloudFault),
    between(0, u16::MAX, Meaning::Rejected),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::error_body;
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
    /// Where the service may put what it does not number apart, and codes whose numbers nobody knows.
    const VAGUE: [&str; 3] = ["VPN.0001", "VPN.1305", "VPN.1399"];

    /// As it comes out of a body, in both flat shapes; they must agree.
    fn meaning(operation: Operation, status: u16, code: &str, text: &str) -> Meaning {
        let bodies = [
            json!({"error_code": code, "error_msg": text, "request_id": "r"}),
            json!({"code": code, "message": text}),
            json!({"errorCode": code, "errorMsg": text}),
        ];
        let meanings = bodies.map(|body| {
            let body = error_body::parse(body.to_string().as_bytes()).expect("one of the shapes");
            Meaning::of(operation, status, Some(&body.code), &body.text)
        });
        assert!(
            meanings.iter().all(|meaning| *meaning == meanings[0]),
            "{code}: {meanings:?}"
        );
        meanings[0]
    }

    #[track_caller]
    fn all_are(status: u16, codes: &[&str], text: &str, expected: Meaning) {
        for code in codes {
            let spellings = match code.strip_prefix("APIGW.") {
                Some(number) => vec![(*code).to_owned(), format!("APIG.{number}")],
                None => vec![(*code).to_owned()],
            };
            for (spelling, operation) in spellings
                .iter()
                .flat_map(|code| Operation::ALL.map(|each| (code, each)))
            {
                let found = meaning(operation, status, spelling, text);
                assert_eq!(found, expected, "{operation:?} {status} {spelling} {text:?}");
            }
        }
    }

    #[test]
    fn every_code_of_the_gateway() {
        for text in [
            "Incorrect IAM authentication information: verify aksk signature fail",
            "Incorrect IAM authentication information: Get secretKey failed, ak not exist",
            "Incorrect IAM authentication information: decrypt token fail",
            "AK access failed to reach the limit,forbidden",
        ] {
            all_are(401, &["APIGW.0301"], text, Meaning::Unauthorized);
        }
        all_are(
            401,
            &["APIGW.0303", "APIGW.0305", "APIGW.0307"],
            "The token must be updated",
            Meaning::Unauthorized,
        );
        let forbidden = ["APIGW.0302", "APIGW.0304", "APIGW.0306", "APIGW.0802", "APIGW.0310"];
        all_are(403, &forbidden, "The project is unavailable", Meaning::Forbidden);
        all_are(
            404,
            &["APIGW.0101"],
            "The API does not exist or has not been published",
            Meaning::NotAvailable,
        );
        all_are(404, &["APIGW.0103"], "The backend does not exist", Meaning::CloudFault);
        all_are(404, &["APIGW.0106", "APIGW.9999"], "not found", Meaning::NotAvailable);
        all_are(
            429,
            &["APIGW.0308"],
            "The throttling threshold (request quota) has been reached",
            Meaning::Throttled,
        );
        for status in [400, 413, 414, 494] {
            all_are(status, &["APIGW.0201"], "Request entity too large", Meaning::Rejected);
        }
        for status in [502, 504] {
            let codes = ["APIGW.0201", "APIGW.0202", "APIGW.0203", "APIGW.0610"];
            all_are(status, &codes, "Backend timeout", Meaning::CloudFault);
        }
        for status in [500, 503] {
            all_are(
                status,
                &["APIGW.0601", "APIGW.0613"],
                "Internal server error",
                Meaning::CloudFault,
            );
        }
    }

    #[test]
    fn every_code_of_iam() {
        all_are(
            400,
            &["IAM.0007", "IAM.0011", "IAM.0072", "IAM.0073"],
            "Request parameter invalid",
            Meaning::Rejected,
        );
        all_are(
            401,
            &["IAM.0001", "401"],
            "The user name or password is wrong",
            Meaning::Unauthorized,
        );
        all_are(
            403,
            &["IAM.0003", "403"],
            "Policy doesn't allow vpn:quota:list to be performed",
            Meaning::Forbidden,
        );
        all_are(
            404,
            &["IAM.0004", "IAM.0099"],
            "Could not find project",
            Meaning::Rejected,
        );
        all_are(500, &["IAM.0006"], "Internal error", Meaning::CloudFault);
    }

    #[test]
    fn every_code_of_the_service() {
        all_are(
            500,
            &["VPN.0002", "VPN.0005", "VPN.0006"],
            "server error",
            Meaning::CloudFault,
        );
        all_are(403, &["VPN.0003"], "Authentication failed", Meaning::Forbidden);
        let not_ready = "resource (type=GATEWAY, ID=1) is not ready, currently CREATING";
        all_are(403, &["VPN.0003"], not_ready, Meaning::Dependency);
        all_are(
            403,
            &["VPN.0007"],
            "not authorized to perform vpn:quota:list",
            Meaning::Forbidden,
        );
        all_are(425, &["VPN.0009"], "Connection 1 is deleting", Meaning::Dependency);
        all_are(401, &["VPN.0010"], "token authentication failed", Meaning::Unauthorized);
        for operation in Operation::ALL {
            // The address of a user is no name of it.
            let expected = match operation {
                CREATE_USER | UPDATE_USER => Meaning::Rejected,
                _ => Meaning::Duplicate,
            };
            assert_eq!(meaning(operation, 400, "VPN.0012", "IP address occupied"), expected);
        }
        all_are(400, &["VPN.0013"], "Unsupported attribute", Meaning::Rejected);
        all_are(504, &["VPN.0014"], "The system is busy", Meaning::CloudFault);
        all_are(400, &["VPN.0015"], "tag policy", Meaning::Rejected);
        all_are(409, &["VPN.0016", "VPN.0017"], "gateway not ready", Meaning::Dependency);
        all_are(
            400,
            &["VPN.0030"],
            "The system is busy, try again later",
            Meaning::QueueFull,
        );
        all_are(
            400,
            &["VPN.0031"],
            "Repeated operation, try again later",
            Meaning::Repeated,
        );
        all_are(
            400,
            &["VPN.0108", "VPN.0203", "VPN.0204"],
            "invalid IP",
            Meaning::Rejected,
        );
        all_are(429, &["VPN.0429"], "too many requests, quota", Meaning::Throttled);
        all_are(429, &["VPN.0429"], "wait a moment", Meaning::Throttled);
        let used_up = "invalid request: the quota of customer gateways is exceeded";
        all_are(429, &["VPN.0429"], used_up, Meaning::QuotaExceeded);
        all_are(
            400,
            &["VPN.0506", "VPN.0507", "VPN.0508"],
            "the gateway is being changed",
            Meaning::Dependency,
        );
        all_are(404, &["VPN.0509"], "the gateway does not exist", Meaning::Dependency);
        all_are(400, &["VPN.0306"], "try", Meaning::CloudFault);
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
                Meaning::Rejected,
            );
        }
    }

    #[test]
    fn every_known_code_of_users_groups_and_certificates() {
        for number in 70..=78 {
            let code = format!("VPN.{number:04}");
            all_are(
                400,
                &[&code],
                "the certificate is a duplicate, already exists",
                Meaning::Rejected,
            );
        }
        all_are(400, &["VPN.0559"], "EIP parameters conflict", Meaning::Rejected);
        all_are(400, &["VPN.0560"], "EIP", Meaning::QuotaExceeded);
        all_are(
            400,
            &["VPN.1313"],
            "delete the access policy first",
            Meaning::Dependency,
        );
        all_are(400, &["VPN.1318"], "the user list is empty", Meaning::Rejected);
        all_are(
            400,
            &["VPN.1400"],
            "the number of access policies exceeds 100",
            Meaning::Rejected,
        );
        all_are(
            400,
            &["VPN.1401"],
            "the access policy does not exist",
            Meaning::Rejected,
        );
        // Codes of this block whose numbers nobody knows go by their words.
        all_are(400, &["VPN.1399"], "Duplicate user name.", Meaning::Duplicate);
        all_are(400, &["VPN.1399"], "user quota exceeded", Meaning::QuotaExceeded);
        all_are(400, &["VPN.1399"], "the server is not ready", Meaning::Dependency);
        assert_eq!(meaning(GET, 400, "VPN.1399", "user not found"), Meaning::Gone);
    }

    /// What calls are told with words under vague codes.
    #[track_caller]
    fn users_are(statuses: &[u16], operations: &[Operation], texts: &[&str], expected: Meaning) {
        for (status, code) in statuses.iter().flat_map(|status| VAGUE.map(|code| (*status, code))) {
            for (operation, text) in operations
                .iter()
                .flat_map(|it| texts.iter().map(move |text| (*it, text)))
            {
                let found = meaning(operation, status, code, text);
                assert_eq!(found, expected, "{operation:?} {status} {code} {text:?}");
            }
        }
    }

    #[test]
    fn a_server_that_takes_no_users_yet_is_waited_for() {
        let words = [
            "The VPN server is not ready.",
            "resource (type=VPN_SERVER, ID=1) is not ready, currently PENDING_UPDATE",
            "The VPN server is not ACTIVE",
            "The client_auth_type of the VPN server is not LOCAL_PASSWORD",
            "VPN user alice is being deleted, try again later",
        ];
        users_are(&[400, 403, 409], &USERS, &words, Meaning::Dependency);
        for operation in USERS {
            assert_eq!(meaning(operation, 403, "VPN.0003", words[1]), Meaning::Dependency);
        }
    }

    #[test]
    fn a_list_of_a_server_that_is_no_more_is_told_from_one_that_is_not_ready() {
        let says = |operation, status, code: &str, text: &str| {
            let mut error = CloudError::new(operation, meaning(operation, status, code, text), text);
            error.status = Some(status);
            error.code = Some(code.to_owned());
            error.is_without_its_owner()
        };
        for (status, code, text) in [
            (404, "VPN.0004", "resource not found"),
            (400, "VPN.0001", "Invalid request: VPN server 1 not found"),
            (400, "VPN.0001", "VPN server 1 does not exist"),
        ] {
            assert!(says(LIST_USERS, status, code, text), "{status} {text}");
            assert!(
                !says(GET_USER, status, code, text),
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
            assert!(!says(LIST_USERS, status, code, text), "{status} {text}");
        }
    }

    #[test]
    fn a_missing_server_or_group_is_waited_for_and_a_missing_user_is_gone() {
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
        users_are(&[400, 404], &within, &missing, Meaning::Dependency);
        for operation in within {
            for status in [400, 404] {
                assert_eq!(
                    meaning(operation, status, "VPN.0004", "resource not found"),
                    Meaning::Dependency
                );
            }
        }
        let user = ["The user does not exist.", "resource not found"];
        let one = [GET_USER, UPDATE_USER, DELETE_USER, RESET];
        users_are(&[400, 404], &one, &user, Meaning::Gone);
        for operation in one {
            assert_eq!(meaning(operation, 404, "VPN.0004", user[0]), Meaning::Gone);
            assert_eq!(meaning(operation, 404, "VPN.1305", "whatever"), Meaning::Gone);
        }
        let group = ["user group 1 does not exist", "user_group_id 1 was not found"];
        users_are(&[400, 404], &[UPDATE_USER], &group, Meaning::Dependency);
        assert_eq!(meaning(UPDATE_USER, 404, "VPN.0004", group[0]), Meaning::Dependency);
        assert_eq!(
            meaning(RESET, 400, "VPN.1305", "Failed to reset the password: user not found"),
            Meaning::Gone
        );
        assert_eq!(
            meaning(LIST_SERVERS, 404, "VPN.0004", "resource not found"),
            Meaning::Rejected
        );
    }

    #[test]
    fn users_that_are_not_served_at_all_are_never_gone() {
        for operation in USERS.into_iter().chain([LIST_SERVERS]) {
            for code in ["APIGW.0101", "APIG.0101"] {
                let text = "The API does not exist or has not been published in the environment";
                assert_eq!(meaning(operation, 404, code, text), Meaning::NotAvailable);
            }
            assert_eq!(Meaning::of(operation, 404, None, ""), Meaning::NotAvailable);
            assert_eq!(
                Meaning::of(operation, 400, Some("APIGW.0106"), "not found"),
                Meaning::Rejected
            );
        }
    }

    #[test]
    fn a_taken_name_is_told_from_a_taken_address() {
        let name = [
            "Duplicate user name.",
            "Duplicated user name: alice",
            "The user already exists.",
            "user name already exists",
            "The name is already used.",
            "invalid request: alice already exists",
        ];
        users_are(&[400, 409], &[CREATE_USER], &name, Meaning::Duplicate);
        let address = [
            "static_ip 192.168.10.5 already exists",
            "Duplicate static IP.",
            "static_ip: the address is in use by another user",
            "The IP address is not in client_cidr 192.168.10.0/24",
        ];
        users_are(&[400, 409], &[CREATE_USER, UPDATE_USER], &address, Meaning::Rejected);
        // A conflict that nobody explains may pass.
        assert_eq!(meaning(CREATE_USER, 409, "VPN.1399", "conflict"), Meaning::Dependency);
    }

    #[test]
    fn too_many_users_are_a_quota() {
        let words = [
            "user quota exceeded",
            "quota: 500",
            "The number of users of the gateway exceeds the upper limit 500.",
            "too many users",
        ];
        users_are(&[400, 403, 409], &[CREATE_USER], &words, Meaning::QuotaExceeded);
        let action = "Policy doesn't allow vpn:quota:list to be performed";
        assert_eq!(meaning(CREATE_USER, 403, "VPN.0007", action), Meaning::Forbidden);
        assert_eq!(meaning(CREATE_USER, 403, "VPN.1399", action), Meaning::Forbidden);
    }

    #[test]
    fn a_recent_password_is_told_from_a_bad_one() {
        let recent = [
            "The new password cannot be one of the latest five passwords.",
            "The password was recently used.",
            "password history check failed",
            "The new password is the same as the old password.",
            "It has been used before.",
        ];
        users_are(&[400, 409], &[RESET], &recent, Meaning::RecentPassword);
        let bad = [
            "Password length invalid.",
            "password: too weak",
            "invalid request: the password must hold two kinds of characters",
            "The password cannot be the same as the username or its reverse.",
            "The password cannot be the username or the username spelled backwards, nor one of the latest five",
            "new_password is invalid",
        ];
        users_are(&[400, 409], &[CREATE_USER, RESET], &bad, Meaning::BadPassword);
        // A new user has no history.
        users_are(&[400], &[CREATE_USER], &recent[..4], Meaning::BadPassword);
        users_are(&[400], &[RESET], &["the new value is invalid"], Meaning::Rejected);
        users_are(&[400], &[UPDATE_USER, GET_USER], &["old_password"], Meaning::Rejected);
        for (operation, expected) in [
            (CREATE_USER, Meaning::BadPassword),
            (RESET, Meaning::BadPassword),
            (UPDATE_USER, Meaning::Rejected),
            (CREATE, Meaning::Rejected),
        ] {
            assert_eq!(
                meaning(operation, 400, "VPN.1312", "enter the correct password"),
                expected
            );
        }
        for operation in [CREATE_USER, RESET] {
            let text = "vpn:p2cVpnUser:resetPassword is not allowed";
            assert_eq!(meaning(operation, 400, "VPN.1399", text), Meaning::Rejected);
            assert_eq!(
                meaning(operation, 500, "VPN.0002", "password service down"),
                Meaning::CloudFault
            );
            let busy = "The password cannot be set now, try again later";
            assert_eq!(meaning(operation, 400, "VPN.1399", busy), Meaning::CloudFault);
        }
    }

    #[test]
    fn the_queue_of_users_and_repeated_requests_go_by_their_codes_whatever_they_say() {
        for operation in USERS {
            for text in ["System busy. Try again later.", "Duplicate user name, password"] {
                assert_eq!(meaning(operation, 400, "VPN.0030", text), Meaning::QueueFull);
                assert_eq!(meaning(operation, 400, "VPN.0031", text), Meaning::Repeated);
            }
        }
    }

    #[test]
    fn the_catch_all_code_goes_by_its_words() {
        let invalid = |words: &str| format!("invalid request: {words}");
        all_are(
            400,
            &["VPN.0001"],
            &invalid("customer gateway 1 has connection"),
            Meaning::Dependency,
        );
        all_are(400, &["VPN.0001"], &invalid("Quota exceeded"), Meaning::QuotaExceeded);
        all_are(400, &["VPN.0001"], &invalid("duplicate name"), Meaning::Duplicate);
        all_are(
            400,
            &["VPN.0001"],
            &invalid("the name already exists"),
            Meaning::Duplicate,
        );
        all_are(
            400,
            &["VPN.0001"],
            &invalid("please try again later"),
            Meaning::CloudFault,
        );
        all_are(400, &["VPN.0001"], &invalid("id_value"), Meaning::Rejected);
        all_are(
            409,
            &["VPN.0001"],
            &invalid("customer gateway 1 has connection"),
            Meaning::Dependency,
        );
        all_are(409, &["VPN.0001"], &invalid("in use"), Meaning::Dependency);
        all_are(403, &["VPN.0001"], &invalid("quota"), Meaning::QuotaExceeded);
        all_are(500, &["VPN.0001"], &invalid("oops"), Meaning::CloudFault);
        for words in ["customer gateway not found", "customer gateway 1 does not exist"] {
            for (operation, expected) in [
                (GET, Meaning::Gone),
                (DELETE, Meaning::Gone),
                (CREATE, Meaning::Rejected),
                (UPDATE, Meaning::Rejected),
                (LIST, Meaning::Rejected),
                (REMOVE_TAGS, Meaning::Rejected),
            ] {
                assert_eq!(
                    meaning(operation, 400, "VPN.0001", &invalid(words)),
                    expected,
                    "{operation:?} {words}"
                );
            }
        }
    }

    #[test]
    fn only_the_services_own_404_about_an_object_means_that_it_is_gone() {
        for (operation, code, expected) in [
            (GET, Some("VPN.0004"), Meaning::Gone),
            (UPDATE, Some("VPN.0004"), Meaning::Gone),
            (DELETE, Some("VPN.0004"), Meaning::Gone),
            (REMOVE_TAGS, Some("VPN.0004"), Meaning::Gone),
            (DELETE, Some("VPN.9999"), Meaning::Gone),
            (CREATE, Some("VPN.0004"), Meaning::Rejected),
            (LIST, Some("VPN.0004"), Meaning::Rejected),
            (LOOK_UP, Some("VPN.0004"), Meaning::Rejected),
            (CREATE, Some("VPN.9999"), Meaning::Rejected),
            (DELETE, Some("APIGW.0101"), Meaning::NotAvailable),
            (DELETE, Some("APIG.0101"), Meaning::NotAvailable),
            (DELETE, Some("APIGW.4711"), Meaning::NotAvailable),
            (DELETE, Some("404"), Meaning::NotAvailable),
            (DELETE, Some("NotFound"), Meaning::NotAvailable),
            (DELETE, None, Meaning::NotAvailable),
            (GET, None, Meaning::NotAvailable),
        ] {
            assert_eq!(
                Meaning::of(operation, 404, code, "not found"),
                expected,
                "{operation:?} {code:?}"
            );
        }
    }

    #[test]
    fn unknown_codes_go_by_status_and_words() {
        for (status, text, expected) in [
            (400, "whatever", Meaning::Rejected),
            (400, "the system is busy", Meaning::CloudFault),
            (400, "is not ready", Meaning::Dependency),
            (401, "quota not ready", Meaning::Unauthorized),
            (403, "no", Meaning::Forbidden),
            (403, "is not ready", Meaning::Dependency),
            (403, "the quota is used up", Meaning::QuotaExceeded),
            (403, "policy doesn't allow vpn:quota:list", Meaning::Forbidden),
            (405, "no", Meaning::Rejected),
            (408, "too slow", Meaning::CloudFault),
            (409, "conflict", Meaning::Dependency),
            (409, "it already exists", Meaning::Duplicate),
            (409, "quota exceeded", Meaning::QuotaExceeded),
            (413, "too large", Meaning::Rejected),
            (425, "too early", Meaning::Dependency),
            (429, "slow down", Meaning::Throttled),
            (429, "the gateway quota is used up", Meaning::QuotaExceeded),
            (301, "", Meaning::NotAvailable),
            (307, "", Meaning::NotAvailable),
            (500, "quota not found, has connection", Meaning::CloudFault),
            (502, "", Meaning::CloudFault),
            (503, "", Meaning::CloudFault),
            (599, "", Meaning::CloudFault),
            (600, "", Meaning::Rejected),
        ] {
            for code in [None, Some("XYZ.0815"), Some("VPN.9999")] {
                assert_eq!(
                    Meaning::of(CREATE, status, code, text),
                    expected,
                    "{status} {code:?} {text}"
                );
            }
        }
    }

    #[test]
    fn each_meaning_has_its_class_and_pace() {
        for (meaning, class, first, cap) in [
            (Meaning::Throttled, Class::Again, 1, 300),
            (Meaning::QueueFull, Class::Again, 10, 300),
            (Meaning::CloudFault, Class::Again, 1, 300),
            (Meaning::Repeated, Class::Again, 1, 300),
            (Meaning::Dependency, Class::Wait, 5, 60),
            (Meaning::Unauthorized, Class::Person, 600, 600),
            (Meaning::Forbidden, Class::Person, 600, 600),
            (Meaning::NotAvailable, Class::Person, 600, 600),
            (Meaning::QuotaExceeded, Class::Person, 600, 600),
            (Meaning::Duplicate, Class::Person, 600, 600),
            (Meaning::RecentPassword, Class::Person, 600, 600),
            (Meaning::BadPassword, Class::Person, 600, 600),
            (Meaning::Rejected, Class::Person, 600, 600),
            (Meaning::Gone, Class::Gone, 1, 300),
        ] {
            assert_eq!(meaning.class(), class, "{meaning:?}");
            assert_eq!(meaning.pace(), Pace::seconds(first, cap), "{meaning:?}");
        }
    }

    #[test]
    fn waits_double_up_to_their_cap() {
        let seconds = |pace: Pace, failures: &[u32]| -> Vec<u64> {
            failures
                .iter()
                .map(|failures| pace.delay(*failures).as_secs())
                .collect()
        };
        assert_eq!(
            seconds(Pace::seconds(1, 300), &[0, 1, 2, 3, 9, 10, 1000, u32::MAX]),
            [1, 1, 2, 4, 256, 300, 300, 300]
        );
        assert_eq!(seconds(Pace::seconds(5, 60), &[1, 2, 3, 4, 5]), [5, 10, 20, 40, 60]);
        assert_eq!(seconds(Pace::seconds(600, 600), &[1, 9]), [600, 600]);
    }

    proptest! {
        // Taking a refusal for "gone" makes a second object or forgets one: only a "not found" may do that.
        #[test]
        fn nothing_but_a_404_or_a_400_that_says_so_means_gone(
            status in 100_u16..600,
            code in prop::option::of("(VPN|APIGW|APIG|IAM|XYZ)\\.[0-9]{4}|[0-9]{3}"),
            text in prop_oneof!["[a-z ]{0,30}", Just("it was not found".to_owned())],
            operation in prop::sample::select(Operation::ALL.to_vec()),
        ) {
            let found = Meaning::of(operation, status, code.as_deref(), &text);
            if found == Meaning::Gone {
                let own = code.as_deref().is_some_and(|code| code.starts_with("VPN.") || code.starts_with("XYZ."));
                let said = code.as_deref() == Some("VPN.0004") || text.contains("not found");
                prop_assert!(own && (status == 404 || status == 400 && said));
            }
        }
    }
}

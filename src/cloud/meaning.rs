//! What a refusal means: the one table from HTTP status, code and words to a meaning, and from a meaning to what
//! to do and how long to wait.

use std::time::Duration;

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
    /// VPN.0031: the same request was seen before; read, then try again.
    Repeated,
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
    /// Any that has the form of the cloud's own: letters, a dot, digits.
    Cloud,
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
    /// A read or a deletion of an object itself.
    ReadOrDelete,
}

struct Rule {
    statuses: Statuses,
    codes: Codes,
    /// One of these is in the text; empty: any text.
    words: &'static [&'static str],
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
            (Codes::Cloud, Some(code)) => code.split_once('.').is_some_and(|(family, number)| {
                let number_ok = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                !family.is_empty() && family.bytes().all(|byte| byte.is_ascii_alphabetic()) && number_ok
            }),
        };
        let asked = match self.asked {
            Asked::Anything => true,
            Asked::Object => answer.operation.target() != Target::Collection,
            Asked::ReadOrDelete => answer.operation.target() == Target::Object && answer.operation.is_read_or_delete(),
        };
        status && code && asked && (self.words.is_empty() || self.words.iter().any(|word| says(&answer.text, word)))
    }
}

/// Whether the text has the word, but not as a part of an IAM action such as `vpn:quota:list`.
fn says(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(':') && !text[at + word.len()..].starts_with(':'))
}

const QUOTA: &[&str] = &["quota"];
const EXISTS: &[&str] = &["duplicate", "already exist"];
const NOT_READY: &[&str] = &["not ready"];
const CONNECTION: &[&str] = &["has connection"];
const MISSING: &[&str] = &["not found", "not exist", "n't exist", "not be found"];
const BUSY: &[&str] = &["try again later", "busy"];

const fn codes(codes: &'static [&'static str], meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Any,
        codes: Codes::Of(codes),
        words: &[],
        asked: Asked::Anything,
        meaning,
    }
}

const fn at(statuses: &'static [u16], meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Of(statuses),
        codes: Codes::Any,
        words: &[],
        asked: Asked::Anything,
        meaning,
    }
}

const fn between(from: u16, to: u16, meaning: Meaning) -> Rule {
    Rule {
        statuses: Statuses::Between(from, to),
        codes: Codes::Any,
        words: &[],
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

    const fn of_the_cloud(mut self) -> Self {
        self.codes = Codes::Cloud;
        self
    }

    const fn saying(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
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
    // The service: VPN.0001 and VPN.0003 mean many things, their words decide.
    codes(&["VPN.0001", "VPN.0003"], Meaning::Dependency).saying(CONNECTION),
    codes(&["VPN.0001", "VPN.0003"], Meaning::Dependency).saying(NOT_READY),
    codes(&["VPN.0001", "VPN.0003"], Meaning::QuotaExceeded).saying(QUOTA),
    codes(&["VPN.0001"], Meaning::Duplicate).saying(EXISTS),
    codes(&["VPN.0001"], Meaning::Gone).saying(MISSING).asked(Asked::ReadOrDelete),
    codes(&["VPN.0001"], Meaning::CloudFault).saying(BUSY),
    codes(&["VPN.0001"], Meaning::Rejected).when(&[400]),
    codes(&["VPN.0003", "VPN.0007"], Meaning::Forbidden),
    codes(&["VPN.0002", "VPN.0005", "VPN.0006", "VPN.0014", "VPN.0306"], Meaning::CloudFault),
    codes(&["VPN.0004"], Meaning::Gone).asked(Asked::Object),
    codes(&["VPN.0004"], Meaning::Rejected),
    codes(&["VPN.0009", "VPN.0016", "VPN.0017", "VPN.0506", "VPN.0507", "VPN.0508", "VPN.0509"], Meaning::Dependency),
    codes(&["VPN.0010"], Meaning::Unauthorized),
    codes(&["VPN.0012"], Meaning::Duplicate),
    codes(&["VPN.0013", "VPN.0015", "VPN.0018"], Meaning::Rejected),
    codes(&["VPN.0030"], Meaning::QueueFull),
    codes(&["VPN.0031"], Meaning::Repeated),
    codes(&["VPN.0429"], Meaning::Throttled),
    // Certificates and addresses: their "duplicate" and "exist" are not about the object.
    codes(&["VPN.0070", "VPN.0071", "VPN.0072", "VPN.0073", "VPN.0074", "VPN.0075", "VPN.0076", "VPN.0077", "VPN.0078"], Meaning::Rejected),
    codes(&["VPN.0101", "VPN.0102", "VPN.0103", "VPN.0104", "VPN.0105", "VPN.0106", "VPN.0107", "VPN.0108", "VPN.0109", "VPN.0110", "VPN.0111", "VPN.0112"], Meaning::Rejected),
    codes(&["VPN.0203", "VPN.0204", "VPN.0218", "VPN.0219", "VPN.0220", "VPN.0285"], Meaning::Rejected),
    codes(&["VPN.0304", "VPN.0305", "VPN.0381", "VPN.0516", "VPN.0517", "VPN.0518", "VPN.0559"], Meaning::Rejected),
    codes(&["VPN.0800", "VPN.0801", "VPN.0802", "VPN.0803"], Meaning::Rejected),
    codes(&["VPN.0560"], Meaning::QuotaExceeded),
    // Users, groups and access policies.
    codes(&["VPN.1313"], Meaning::Dependency),
    codes(&["VPN.1318", "VPN.1401"], Meaning::Rejected),
    // Unknown codes, by status and words.
    at(&[401], Meaning::Unauthorized),
    at(&[400, 403, 409, 425], Meaning::Dependency).saying(CONNECTION),
    at(&[400, 403, 409, 425], Meaning::Dependency).saying(NOT_READY),
    at(&[400, 403, 409, 429], Meaning::QuotaExceeded).saying(QUOTA),
    at(&[400, 409], Meaning::Duplicate).saying(EXISTS),
    at(&[400], Meaning::Gone).of_the_cloud().saying(MISSING).asked(Asked::ReadOrDelete),
    at(&[400], Meaning::CloudFault).saying(BUSY),
    at(&[403], Meaning::Forbidden),
    at(&[404], Meaning::Gone).of_the_cloud().asked(Asked::Object),
    at(&[404], Meaning::Rejected).of_the_cloud(),
    // No body of the cloud's: this is not the VPN API. A redirect is not followed, and says the same.
    at(&[404], Meaning::NotAvailable),
    between(300, 399, Meaning::NotAvailable),
    at(&[408], Meaning::CloudFault),
    at(&[409, 425], Meaning::Dependency),
    at(&[429], Meaning::Throttled),
    between(500, 599, Meaning::CloudFault),
    between(0, u16::MAX, Meaning::Rejected),
];

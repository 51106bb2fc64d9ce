//! The error table as data: every refusal of the cloud, the operations it can occur at, and the condition that follows.

use vpn_cloud::error::cloud_error::{ErrorKind, Operation, Retry};

/// What the operator does with an object after a refusal, and how soon it retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Tried again after a second, then after two.
    Again,
    /// Tried again after five seconds.
    Waits,
    /// Tried again after ten seconds.
    Slowly,
    /// Not tried again before a user requests it.
    UserAction,
    /// Not tried again before the credentials change.
    Credentials,
    /// There is nothing to delete.
    Gone,
}

/// One refusal, and the condition that follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub status: u16,
    /// Empty: the text is the whole body.
    pub code: &'static str,
    pub text: &'static str,
    pub at: &'static [Operation],
    pub reason: &'static str,
    pub then: Then,
}

impl Row {
    /// Returns what follows at this operation, where it may differ from the row.
    pub(super) fn expected(&self, at: Operation) -> (&'static str, Then) {
        use Operation::{CreateVpnUser, UpdateVpnUser};
        match (self.code, at) {
            // The address is taken, not the name.
            ("VPN.0012", CreateVpnUser | UpdateVpnUser) => ("Rejected", Then::UserAction),
            // The operator finds no user with this name, so it tries again.
            (_, CreateVpnUser) if self.reason == "NameConflict" => (self.reason, Then::Again),
            _ => (self.reason, self.then),
        }
    }
}

use Operation as O;

/// Every call about gateways.
pub(super) const GATEWAY: &[Operation] = &[
    O::ListCustomerGateways,
    O::ListCustomerGatewayTags,
    O::CreateCustomerGateway,
    O::GetCustomerGateway,
    O::UpdateCustomerGateway,
    O::AddCustomerGatewayTags,
    O::RemoveCustomerGatewayTags,
    O::DeleteCustomerGateway,
];
/// Every call about users.
pub(super) const USER: &[Operation] = &[
    O::ListVpnUsers,
    O::CreateVpnUser,
    O::GetVpnUser,
    O::UpdateVpnUser,
    O::ResetVpnUserPassword,
    O::ListVpnUserGroups,
    O::RemoveVpnUsersFromGroup,
    O::DeleteVpnUser,
];
/// Calls that no ordinary life needs: the operator does not send them, or only if the cloud's lists omit tags or a VPN
/// server no longer exists.
pub(crate) const NEVER: &[Operation] = &[
    O::ListVpnUsersInGroup,
    O::AddVpnUsersToGroup,
    O::ListVpnServers,
    O::FilterCustomerGateways,
];

const ALL: &[Operation] = &[
    O::LookUpProject,
    O::ListCustomerGateways,
    O::ListCustomerGatewayTags,
    O::CreateCustomerGateway,
    O::GetCustomerGateway,
    O::UpdateCustomerGateway,
    O::AddCustomerGatewayTags,
    O::RemoveCustomerGatewayTags,
    O::DeleteCustomerGateway,
    O::ListVpnUsers,
    O::CreateVpnUser,
    O::GetVpnUser,
    O::UpdateVpnUser,
    O::ResetVpnUserPassword,
    O::ListVpnUserGroups,
    O::RemoveVpnUsersFromGroup,
    O::DeleteVpnUser,
];
const SERVICE: &[Operation] = ALL.split_at(1).1;
const IAM: &[Operation] = &[O::LookUpProject];
const MAKE: &[Operation] = &[O::CreateCustomerGateway, O::CreateVpnUser];
const MAKE_GATEWAY: &[Operation] = &[O::CreateCustomerGateway];
const CERTIFICATE: &[Operation] = &[O::CreateCustomerGateway, O::UpdateCustomerGateway];
const CHANGE: &[Operation] = &[
    O::CreateCustomerGateway,
    O::UpdateCustomerGateway,
    O::DeleteCustomerGateway,
    O::CreateVpnUser,
    O::UpdateVpnUser,
    O::ResetVpnUserPassword,
    O::DeleteVpnUser,
];
const CHANGE_GATEWAY: &[Operation] = &[
    O::CreateCustomerGateway,
    O::UpdateCustomerGateway,
    O::DeleteCustomerGateway,
];
const CHANGE_USER: &[Operation] = &[
    O::CreateVpnUser,
    O::UpdateVpnUser,
    O::ResetVpnUserPassword,
    O::RemoveVpnUsersFromGroup,
    O::DeleteVpnUser,
];
const TAGS: &[Operation] = &[O::AddCustomerGatewayTags, O::RemoveCustomerGatewayTags];
const TAGGED: &[Operation] = &[O::CreateCustomerGateway, O::AddCustomerGatewayTags];
const PASSWORD: &[Operation] = &[O::CreateVpnUser, O::ResetVpnUserPassword];
const RESET: &[Operation] = &[O::ResetVpnUserPassword];
const ADDRESS: &[Operation] = &[O::CreateCustomerGateway, O::CreateVpnUser, O::UpdateVpnUser];
const STATIC_IP: &[Operation] = &[O::CreateVpnUser, O::UpdateVpnUser];
const UPDATE_USER: &[Operation] = &[O::UpdateVpnUser];
const MAKE_USER: &[Operation] = &[O::CreateVpnUser];
const DELETE: &[Operation] = &[O::DeleteCustomerGateway, O::DeleteVpnUser];
const DELETE_GATEWAY: &[Operation] = &[O::DeleteCustomerGateway];
const GROUP: &[Operation] = &[O::RemoveVpnUsersFromGroup];
/// Calls on an object that exists, although the refusal denies it.
const MISSED: &[Operation] = &[
    O::UpdateCustomerGateway,
    O::AddCustomerGatewayTags,
    O::RemoveCustomerGatewayTags,
    O::UpdateVpnUser,
    O::ResetVpnUserPassword,
];

const fn row(
    status: u16,
    code: &'static str,
    text: &'static str,
    at: &'static [Operation],
    reason: &'static str,
    then: Then,
) -> Row {
    Row {
        status,
        code,
        text,
        at,
        reason,
        then,
    }
}

const fn again(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "CloudError", Then::Again)
}

const fn throttled(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "Throttled", Then::Again)
}

const fn waits(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "DependencyNotReady", Then::Waits)
}

const fn credentials(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "Unauthorized", Then::Credentials)
}

const fn forbidden(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "Forbidden", Then::UserAction)
}

const fn unavailable(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "NotAvailable", Then::UserAction)
}

const fn rejected(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "Rejected", Then::UserAction)
}

const fn quota(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "QuotaExceeded", Then::UserAction)
}

const fn conflict(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "NameConflict", Then::UserAction)
}

const fn password(status: u16, code: &'static str, text: &'static str, at: &'static [Operation]) -> Row {
    row(status, code, text, at, "InvalidPassword", Then::UserAction)
}

const fn not_found(status: u16, code: &'static str, text: &'static str) -> Row {
    row(status, code, text, DELETE, "Deleted", Then::Gone)
}

#[rustfmt::skip] // One row, one line: it is a table.
pub(super) const ROWS: &[Row] = &[
    // The gateway in front of every service.
    credentials(401, "APIGW.0301", "Incorrect IAM authentication information: verify aksk signature fail", ALL),
    credentials(401, "APIG.0301", "Incorrect IAM authentication information: Get secretKey failed, ak not exist", ALL),
    credentials(401, "APIGW.0301", "Incorrect IAM authentication information: decrypt token fail", ALL),
    credentials(401, "APIGW.0301", "AK access failed to reach the limit,forbidden", ALL),
    credentials(401, "APIGW.0303", "Incorrect app authentication information", ALL),
    credentials(401, "APIGW.0305", "Incorrect authentication information", ALL),
    credentials(401, "APIGW.0307", "The token must be updated", ALL),
    forbidden(403, "APIGW.0302", "The IAM user is not allowed to access the API", ALL),
    forbidden(403, "APIGW.0304", "The app is not allowed to access the API", ALL),
    forbidden(403, "APIGW.0306", "API access denied", ALL),
    forbidden(403, "APIGW.0802", "The IAM user is forbidden in the current region", ALL),
    forbidden(403, "APIGW.0310", "The project is unavailable", ALL),
    unavailable(404, "APIGW.0101", "The API does not exist or has not been published in the environment", ALL),
    unavailable(404, "APIG.0101", "The API does not exist or has not been published in the environment", ALL),
    again(404, "APIGW.0103", "The backend does not exist", ALL),
    throttled(429, "APIGW.0308", "The throttling threshold has been reached", ALL),
    rejected(400, "APIGW.0201", "Bad request", ALL),
    rejected(413, "APIGW.0201", "Request entity too large", ALL),
    rejected(414, "APIGW.0201", "Request URI too large", ALL),
    rejected(494, "APIGW.0201", "Request headers too large", ALL),
    again(502, "APIGW.0201", "Backend unavailable", ALL),
    again(502, "APIGW.0202", "Backend unavailable", ALL),
    again(504, "APIGW.0203", "Backend timeout", ALL),
    again(504, "APIGW.0610", "Backend timeout", ALL),
    again(500, "APIGW.0601", "Internal server error", ALL),
    again(503, "APIGW.0613", "IAM is unavailable", ALL),
    // IAM.
    rejected(400, "IAM.0007", "Request parameter invalid", IAM),
    rejected(400, "IAM.0011", "Request body invalid", IAM),
    rejected(400, "IAM.0072", "The field is required", IAM),
    rejected(400, "IAM.0073", "The request is invalid", IAM),
    credentials(401, "IAM.0001", "Authentication failed", IAM),
    credentials(401, "", r#"{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}"#, IAM),
    forbidden(403, "IAM.0003", "Policy doesn't allow it to be performed", IAM),
    forbidden(403, "", r#"{"error":{"code":403,"message":"You are not authorized to perform the requested action.","title":"Forbidden"}}"#, IAM),
    rejected(404, "IAM.0004", "Could not find project", IAM),
    again(500, "IAM.0006", "Internal error", IAM),
    // The service.
    rejected(400, "VPN.0001", "invalid request: the value is invalid", CHANGE),
    waits(400, "VPN.0001", "invalid request: customer gateway 1 has connection", DELETE_GATEWAY),
    waits(409, "VPN.0001", "invalid request: customer gateway 1 has connection", DELETE_GATEWAY),
    quota(400, "VPN.0001", "invalid request: the quota is used up", MAKE),
    conflict(400, "VPN.0001", "invalid request: duplicate name", MAKE),
    not_found(400, "VPN.0001", "invalid request: it was not found"),
    again(500, "VPN.0002", "server error", SERVICE),
    forbidden(403, "VPN.0003", "Authentication failed", SERVICE),
    waits(403, "VPN.0003", "resource (type=GATEWAY, ID=1) is not ready, currently CREATING", CHANGE),
    again(404, "VPN.0004", "resource not found", MISSED),
    waits(404, "VPN.0004", "resource not found", MAKE_USER),
    waits(404, "VPN.0004", "resource not found", GROUP),
    not_found(404, "VPN.0004", "resource not found"),
    again(500, "VPN.0005", "service authentication failure", SERVICE),
    again(500, "VPN.0006", "IAM is unavailable", SERVICE),
    forbidden(403, "VPN.0007", "You are not authorised to perform it", SERVICE),
    waits(425, "VPN.0009", "Connection 1 is deleting", CHANGE),
    credentials(401, "VPN.0010", "token authentication failed", SERVICE),
    conflict(400, "VPN.0012", "IP address occupied", ADDRESS),
    rejected(400, "VPN.0013", "Unsupported attribute", CHANGE),
    again(504, "VPN.0014", "The system is busy", SERVICE),
    rejected(400, "VPN.0015", "It does not comply with the tag policy", TAGGED),
    waits(409, "VPN.0016", "The gateway is not ready", CHANGE),
    waits(409, "VPN.0017", "The logic instance is not ready", CHANGE),
    row(400, "VPN.0030", "The system is busy, try again later", CHANGE, "Throttled", Then::Slowly),
    again(400, "VPN.0031", "Repeated operation, try again later", CHANGE),
    rejected(400, "VPN.0108", "The IP address is invalid", MAKE_GATEWAY),
    rejected(400, "VPN.0203", "The IP address is invalid", MAKE_GATEWAY),
    rejected(400, "VPN.0204", "The class of the IP address is not supported", MAKE_GATEWAY),
    throttled(429, "VPN.0429", "Too many requests", SERVICE),
    quota(429, "VPN.0429", "The quota of customer gateways is used up", MAKE_GATEWAY),
    waits(400, "VPN.0506", "The gateway is being created", CHANGE),
    waits(400, "VPN.0507", "The gateway is being updated", CHANGE),
    waits(400, "VPN.0508", "The gateway is being deleted", CHANGE),
    waits(404, "VPN.0509", "The gateway does not exist", CHANGE),
    rejected(400, "VPN.0018", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0101", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0102", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0103", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0104", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0105", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0106", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0107", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0109", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0110", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0111", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0112", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0218", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0219", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0220", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0285", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0304", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0305", "A matter of connections", CHANGE_GATEWAY),
    again(400, "VPN.0306", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0381", "A matter of connections", CHANGE_GATEWAY),
    rejected(400, "VPN.0516", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0517", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0518", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0800", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0801", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0802", "A matter of gateways", CHANGE_GATEWAY),
    rejected(400, "VPN.0803", "A matter of gateways", CHANGE_GATEWAY),
    // Certificates.
    rejected(400, "VPN.0070", "The key algorithm of the certificate is not supported", CERTIFICATE),
    rejected(400, "VPN.0071", "The signature algorithm of the certificate is not supported", CERTIFICATE),
    rejected(400, "VPN.0072", "The certificate has expired", CERTIFICATE),
    rejected(400, "VPN.0073", "The certificate is not valid yet", CERTIFICATE),
    rejected(400, "VPN.0074", "The format of the certificate is wrong", CERTIFICATE),
    rejected(400, "VPN.0075", "The content of the certificate is wrong", CERTIFICATE),
    rejected(400, "VPN.0076", "The certificate is no CA's", CERTIFICATE),
    rejected(400, "VPN.0077", "The certificate exists already", CERTIFICATE),
    rejected(400, "VPN.0078", "The CRL is wrong", CERTIFICATE),
    // Users, groups, addresses.
    rejected(400, "VPN.0559", "The EIP parameters conflict", CHANGE_GATEWAY),
    quota(400, "VPN.0560", "The EIPs are used up", MAKE_GATEWAY),
    waits(400, "VPN.1313", "The group has an access policy", GROUP),
    rejected(400, "VPN.1318", "User list is empty.", GROUP),
    rejected(400, "VPN.1401", "The access policy does not exist", CHANGE_USER),
    password(400, "VPN.1312", "enter the correct password", PASSWORD),
    conflict(400, "VPN.1399", "Duplicate user name.", MAKE_USER),
    conflict(409, "VPN.9301", "The user already exists.", MAKE_USER),
    quota(400, "VPN.1399", "The number of users exceeds the upper limit.", MAKE_USER),
    password(400, "VPN.1399", "Password length invalid.", PASSWORD),
    password(400, "VPN.1399", "The new password cannot be one of the latest five passwords.", RESET),
    rejected(400, "VPN.1399", "static_ip: the address is in use by another user", STATIC_IP),
    waits(400, "VPN.1399", "The VPN server is not ready", CHANGE_USER),
    waits(404, "VPN.1399", "The user group does not exist", UPDATE_USER),
    waits(400, "VPN.1399", "The user group does not exist", MAKE_USER),
    // Unknown codes are classified by status and text.
    rejected(400, "VPN.9999", "whatever", CHANGE),
    again(400, "VPN.9999", "busy, try again later", CHANGE),
    waits(400, "VPN.9999", "it is not ready", CHANGE),
    waits(403, "VPN.9999", "it is not ready", CHANGE),
    quota(403, "VPN.9999", "the quota is used up", MAKE),
    credentials(401, "VPN.9999", "no", ALL),
    forbidden(403, "VPN.9999", "no", ALL),
    not_found(404, "VPN.9999", "nothing there"),
    unavailable(404, "APIGW.9999", "no such thing", ALL),
    unavailable(404, "", "page not found", ALL),
    rejected(405, "VPN.9999", "no", ALL),
    again(408, "VPN.9999", "too slow", ALL),
    waits(409, "VPN.9999", "conflict", TAGS),
    waits(409, "VPN.9999", "conflict", CHANGE),
    waits(425, "VPN.9999", "too early", CHANGE),
    throttled(429, "VPN.9999", "slow down", ALL),
    throttled(429, "", "slow down", ALL),
    again(500, "VPN.9999", "oops", ALL),
    again(501, "XYZ.0815", "oops", ALL),
    again(502, "", "<html>Bad Gateway</html>", ALL),
    again(503, "", "<html>Service Unavailable</html>", ALL),
    again(504, "", "<html>Gateway Timeout</html>", ALL),
    unavailable(302, "", "elsewhere", ALL),
];

/// Every code of the operator's own table has a row, and every operation but those of `NEVER` is in one.
#[test]
fn the_rows_cover_every_known_error_code_and_operation() {
    let known: std::collections::BTreeSet<&str> = vpn_cloud::error::cloud_error::known_codes().collect();
    let written = ROWS
        .iter()
        .map(|row| row.code)
        .collect::<std::collections::BTreeSet<_>>();
    let forgotten: Vec<_> = known.difference(&written).collect();
    assert!(
        forgotten.is_empty(),
        "codes of the operator's table without a row: {forgotten:?}"
    );
    for operation in Operation::ALL {
        let is_met = ROWS.iter().any(|row| row.at.contains(&operation));
        assert_ne!(is_met, NEVER.contains(&operation), "{operation:?}");
    }
}

/// The rows expect the backoff of the operator's error kinds.
#[test]
fn expected_backoffs_match_the_error_kinds() {
    let first = |kind: ErrorKind| kind.backoff().first.as_secs();
    assert_eq!(first(ErrorKind::CloudFault), Then::Again.seconds());
    assert_eq!(first(ErrorKind::Throttled), Then::Again.seconds());
    assert_eq!(first(ErrorKind::Dependency), Then::Waits.seconds());
    assert_eq!(first(ErrorKind::QueueFull), Then::Slowly.seconds());
    assert_eq!(first(ErrorKind::Rejected), Then::UserAction.seconds());
    assert_eq!(ErrorKind::Rejected.retry(), Retry::UserAction);
}

impl Then {
    /// Returns the time until the next try, plus or minus a fifth.
    pub(super) fn seconds(self) -> u64 {
        match self {
            Self::Again => 1,
            Self::Waits => 5,
            Self::Slowly => 10,
            Self::UserAction | Self::Credentials => 600,
            Self::Gone => 0,
        }
    }
}

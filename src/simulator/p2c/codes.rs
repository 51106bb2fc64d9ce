//! Codes of refusals that only users and groups know. Of their block little more than its existence is
//! documented, so the numbers are the simulator's choice, but those marked as documented.

use axum::http::StatusCode;

use crate::simulator::{
    refusal::Refusal,
    switches::{P2cCodes, Switches},
};

/// Why users or groups refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P2cCode {
    DuplicateUser = 1301,
    UserMissing = 1302,
    GroupMissing = 1303,
    DuplicateGroup = 1304,
    QuotaExceeded = 1305,
    UserName = 1306,
    PasswordRule = 1307,
    RecentPassword = 1308,
    StaticIpRule = 1309,
    StaticIpTaken = 1310,
    ServerNotReady = 1311,
    WrongPassword = 1312,
    /// Documented.
    HasAccessPolicy = 1313,
    DefaultGroup = 1314,
    GroupHasMembers = 1315,
    InOtherGroup = 1316,
    NotInGroup = 1317,
    /// Documented.
    NoUsers = 1318,
    TooManyUsers = 1319,
}

/// 400 with that code.
pub fn refuse(code: P2cCode, message: impl Into<String>, switches: &Switches) -> Refusal {
    let is_documented = matches!(code, P2cCode::HasAccessPolicy | P2cCode::NoUsers);
    let number = code as u16;
    let code = match switches.p2c_codes {
        P2cCodes::Catchall if !is_documented => "VPN.0001".to_owned(),
        P2cCodes::Unheard if !is_documented => format!("VPN.{}", number + 8000),
        _ => format!("VPN.{number}"),
    };
    Refusal::service(StatusCode::BAD_REQUEST, &code, message)
}

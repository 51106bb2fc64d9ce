//! Error codes that only users and groups use. Their block is hardly documented, so most numbers are the simulator's
//! choice, and can be changed.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use crate::p2c::admin::CodeDump;
use crate::refusal::ApiRefusal;
use crate::switches::{P2cCodes, Switches};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident $number:literal,)+) => {
        /// Why a request about users or groups is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum P2cCode {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl P2cCode {
            /// Every code, with its meaning.
            const ALL: &'static [(&'static str, &'static str)] =
                &[$((concat!("VPN.", $number), concat!($($doc),+).trim_ascii()),)+];
        }
    };
}

codes! {
    /// The name is taken by another user.
    DuplicateUser 1301,
    /// A user that the body names does not exist.
    UserMissing 1302,
    /// A group that the body names does not exist.
    GroupMissing 1303,
    /// The name is taken by another group.
    DuplicateGroup 1304,
    /// The server has as many users as it may have.
    QuotaExceeded 1305,
    /// The name of a user breaks a rule.
    UserName 1306,
    /// A password breaks a rule.
    PasswordRule 1307,
    /// A password is one of the latest five.
    RecentPassword 1308,
    /// A static ip breaks a rule.
    StaticIpRule 1309,
    /// A static ip is another user's.
    StaticIpTaken 1310,
    /// The VPN server takes no changes.
    ServerNotReady 1311,
    /// The old password is wrong.
    WrongPassword 1312,
    /// The group has an access policy; documented.
    HasAccessPolicy 1313,
    /// The default group stays as it is.
    DefaultGroup 1314,
    /// The group has members.
    GroupHasMembers 1315,
    /// The user is in another group.
    InOtherGroup 1316,
    /// The user is not in the group.
    NotInGroup 1317,
    /// The list of users is empty; documented.
    NoUsers 1318,
    /// A batch has too many users.
    TooManyUsers 1319,
}

/// The codes that replace others in responses.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeTable(BTreeMap<String, String>);

impl CodeTable {
    /// Creates the table from these replacements; codes that are not named stay as they are.
    pub(crate) fn new(texts: BTreeMap<String, String>) -> Result<Self, String> {
        match texts
            .keys()
            .find(|code| P2cCode::ALL.iter().all(|(known, _)| known != code))
        {
            None => Ok(Self(texts)),
            Some(code) => {
                let known: Vec<_> = P2cCode::ALL.iter().map(|(known, _)| *known).collect();
                Err(format!("there is no code {code:?}; the codes are {}", known.join(", ")))
            }
        }
    }

    pub(crate) fn apply(&self, refusal: &mut ApiRefusal) {
        if let Some(texts) = self.0.get(&refusal.code) {
            refusal.code.clone_from(texts);
        }
    }

    pub(crate) fn dump(&self) -> Vec<CodeDump> {
        let dump = |(code, meaning): &(&str, &str)| CodeDump {
            code: (*code).to_owned(),
            meaning: (*meaning).to_owned(),
            shown: self.0.get(*code).map_or(*code, String::as_str).to_owned(),
        };
        P2cCode::ALL.iter().map(dump).collect()
    }
}

/// Returns a 400 with that code.
pub(crate) fn refuse(code: P2cCode, message: impl Into<String>, switches: &Switches) -> ApiRefusal {
    let is_documented = matches!(code, P2cCode::HasAccessPolicy | P2cCode::NoUsers);
    let number = code as u16;
    let code = match switches.p2c_codes {
        P2cCodes::Catchall if !is_documented => "VPN.0001".to_owned(),
        P2cCodes::Unheard if !is_documented => format!("VPN.{}", number + 8000),
        _ => format!("VPN.{number}"),
    };
    ApiRefusal::service(StatusCode::BAD_REQUEST, &code, message)
}

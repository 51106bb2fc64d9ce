//! The two calls that change the password of a user.

use crate::calls::{CallAnswer, ServiceCall};
use crate::p2c::codes::{P2cCode, refuse};
use crate::p2c::stores::passwords::Passwords;
use crate::p2c::user_rules;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{RecentPassword, Switches};

/// PUT …/password, by the user.
pub(crate) fn change(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let fields = call.object()?;
    let missing = |name: &str| ApiRefusal::invalid(format!("{name} is required"));
    let old = fields.text("old_password")?.ok_or_else(|| missing("old_password"))?;
    let new = fields.text("new_password")?.ok_or_else(|| missing("new_password"))?;
    let user = state.p2c.users.find(call, &switches)?;
    if !user.passwords.is_current(old) {
        let text = "The old password is wrong. Enter the correct password.";
        return Err(refuse(P2cCode::WrongPassword, text, &switches));
    }
    check(&user.name, &user.passwords, new, &switches)?;
    user.passwords.set(new);
    user.passwords.changes += 1;
    user.updated_at = state.clock.tick();
    Ok(CallAnswer::updated(serde_json::Map::new()))
}

/// POST …/reset-password, by an administrator.
pub(crate) fn reset(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let fields = call.object()?;
    let new = fields
        .text("new_password")?
        .ok_or_else(|| ApiRefusal::invalid("new_password is required"))?;
    let user = state.p2c.users.find(call, &switches)?;
    check(&user.name, &user.passwords, new, &switches)?;
    user.passwords.set(new);
    user.passwords.resets += 1;
    user.updated_at = state.clock.tick();
    Ok(CallAnswer::updated(serde_json::Map::new()))
}

fn check(user_name: &str, before: &Passwords, new: &str, switches: &Switches) -> Result<(), ApiRefusal> {
    user_rules::check_password(new, user_name).map_err(|text| refuse(P2cCode::PasswordRule, text, switches))?;
    match switches.recent_password {
        RecentPassword::Refused if before.is_recent(new) => {
            let text = "The new password cannot be the same as the latest five passwords.";
            Err(refuse(P2cCode::RecentPassword, text, switches))
        }
        _ => Ok(()),
    }
}

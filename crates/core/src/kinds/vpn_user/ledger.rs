//! What status records.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::limits::clock::later;
use vpn_cloud::resources::users::{NO_STATIC_IP, NewUser};
use vpn_cloud::text::one_line;
use vpn_cloud::{CloudError, ErrorKind};

use super::password::Recent;
use super::{
    NO_ADDRESS, UserChange, UserCreation, Users, ambiguous, given_up, is_made_by_us, password, sent, static_ip,
};
use crate::api::conditions::Reason;
use crate::api::{Intent, VpnUserStatus};
use crate::kind::{Ledger, RecordContext, Refused, Shape};
use crate::terms::failure::failure_of;

/// The longest text that is only shown.
const LONGEST_SHOWN: usize = 1024;

/// The most ids of lost users that are remembered.
const MAX_DISAPPEARED: usize = 4;

impl Ledger for Users {
    fn record_creation(status: &mut Self::Status, parent: &Self::Parent, new: &Self::New, intent: &Intent) {
        status.name = Some(new.user.name.clone());
        status.record.vpn_server_id = Some(parent.clone());
        status.record.sent = Some(sent(new));
        // The earliest time. Recording it now reveals a CRD that drops it, before anything is sent.
        status.record.confirmed_at = Some(intent.deadline.clone());
    }

    fn recorded_creation(status: &Self::Status, dereferenced: &Self::Dereferenced) -> Option<Self::New> {
        // Independent of the present spec; only the password must still be in the Secret.
        let sent = status.record.sent.clone()?;
        let known = dereferenced.password.as_ref()?;
        password::is_same(&sent.password, &known.record).then(|| UserCreation {
            user: NewUser {
                name: sent.name,
                password: known.value.clone(),
                description: sent.description,
                user_group_id: sent.user_group_id,
                static_ip: sent.static_ip,
            },
            password: sent.password,
            requested_at: known.requested_at.clone(),
        })
    }

    fn expected(status: &mut Self::Status, spec: &Self::Spec, object_name: &str) {
        if status.object.id.is_none() && status.object.intent.is_none() {
            // The name of a user that is still to be adopted is unknown.
            let is_ours = spec.lifecycle.external_id.is_none();
            status.name = is_ours.then(|| Self::cloud_name(spec, status, object_name));
        }
    }

    fn created(status: &mut Self::Status, _: &Self::New, _: &Self::Remote, record: &RecordContext<'_>) {
        was_created(status, record.cloud_now, record);
    }

    fn creation_refused(status: &mut Self::Status, new: &Self::New, error: &CloudError) {
        if error.kind == ErrorKind::BadPassword {
            password::refuse(&mut status.record, new.asked(), failure_of(error).condition.message);
        }
        status.record.confirmed_at = None;
        // It identifies users of earlier creations that may still appear.
        if given_up(status).next().is_none() {
            status.record.sent = None;
        }
    }

    fn standing_refusal(status: &Self::Status, new: &Self::New) -> Option<(Reason, String)> {
        let message = password::standing_refusal(&status.record, new.asked())?;
        Some((Reason::InvalidPassword, message.to_owned()))
    }

    fn forget_earlier(status: &mut Self::Status) {
        status.record.sent = None;
        status.record.disappeared_ids.clear();
    }

    fn found(
        status: &mut Self::Status,
        parent: Option<&Self::Parent>,
        remote: &Self::Remote,
        intent: Option<&Intent>,
        record: &RecordContext<'_>,
    ) {
        if remote.name.is_some() && remote.name == status.name && !status.record.disappeared_ids.contains(&remote.id) {
            // The lost users had this name, so they no longer exist.
            status.record.disappeared_ids.clear();
        }
        status.name = remote.name.as_deref().map(shown).or(status.name.take());
        status.record.vpn_server_id = parent.cloned().or(status.record.vpn_server_id.take());
        if is_made_by_us(status, intent, remote, record.policy.confirmation_period) {
            let created = Self::times(remote).0.unwrap_or(record.cloud_now);
            was_created(status, created, record);
        } else {
            status.record.confirmed_at = None;
        }
    }

    fn lost(status: &mut Self::Status) {
        // Another user, created or adopted, has had none of these passwords.
        let record = &mut status.record;
        record.password = None;
        record.password_reset = None;
        record.password_refused = None;
        record.former_passwords.clear();
        status.password_set_at = None;
    }

    fn disappeared(status: &mut Self::Status, id: &str) {
        Self::lost(status);
        let record = &mut status.record;
        record.confirmed_at = None;
        record.disappeared_ids.retain(|other| other != id);
        record.disappeared_ids.push(id.to_owned());
        if record.disappeared_ids.len() > MAX_DISAPPEARED {
            record.disappeared_ids.remove(0);
        }
    }

    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        dereferenced: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    ) {
        status.name = remote.name.as_deref().map(shown).or(status.name.take());
        status.user_group_id.clone_from(&remote.user_group_id);
        let wanted_name = spec.and_then(|spec| spec.user_group_name.clone());
        let is_wanted = dereferenced.is_some_and(|dereferenced| {
            dereferenced.group_id.is_some() && dereferenced.group_id == remote.user_group_id
        });
        status.user_group_name = remote
            .user_group_name
            .as_deref()
            .map(shown)
            .or_else(|| wanted_name.filter(|_| is_wanted));
        status.static_ip = Some(in_spec(static_ip(remote)).to_owned());
        let record = &mut status.record;
        record.confirmed_at = None;
        // The same value from another version of the Secret, or with another digest key.
        let wanted = dereferenced.and_then(|dereferenced| dereferenced.password.as_ref());
        if let (Some(known), Some(wanted)) = (&mut record.password, wanted)
            && password::is_same(known, &wanted.record)
        {
            known.clone_from(&wanted.record);
        }
    }

    fn record_change(status: &mut Self::Status, change: &Self::Change, deadline: Timestamp) {
        if let UserChange::ResetPassword(password) = change {
            password::record_reset(&mut status.record, &password.record, deadline);
        }
    }

    fn remembered_after(change: &UserChange) -> &'static [&'static str] {
        match change {
            // Otherwise a refused password would be sent again and again.
            UserChange::ResetPassword(_) => &["status.formerPasswords", "status.passwordRefused"],
            UserChange::Update(_) | UserChange::LeaveGroup(_) => &[],
        }
    }

    fn changed(status: &mut Self::Status, change: &Self::Change, _: Option<&Self::Remote>, record: &RecordContext<'_>) {
        if let UserChange::ResetPassword(password) = change {
            password::set(&mut status.record, &password.record);
            status.password_set_at = Some(Time(vpn_cloud::limits::clock::whole_seconds(record.cloud_now)));
        }
    }

    fn refused(
        status: &mut Self::Status,
        change: &Self::Change,
        error: &CloudError,
        record: &RecordContext<'_>,
    ) -> Refused {
        let UserChange::ResetPassword(sent) = change else {
            return Refused::AsReported;
        };
        if error.kind != ErrorKind::RecentPassword {
            password::refused(&mut status.record);
            if error.kind == ErrorKind::BadPassword {
                password::refuse(&mut status.record, sent.asked(), failure_of(error).condition.message);
            }
            return Refused::AsReported;
        }
        match password::refused_as_recent(&mut status.record) {
            Recent::Former => {
                password::refuse(&mut status.record, sent.asked(), failure_of(error).condition.message);
                Refused::AsReported
            }
            Recent::Ambiguous => {
                password::refuse(&mut status.record, sent.asked(), ambiguous());
                Refused::Because(Reason::InvalidPassword, ambiguous())
            }
            Recent::InForce => {
                status.password_set_at = Some(Time(vpn_cloud::limits::clock::whole_seconds(record.cloud_now)));
                Refused::InForce
            }
        }
    }
}

fn shown(foreign: &str) -> String {
    one_line(foreign, LONGEST_SHOWN)
}

/// Converts a static address of the cloud to the form of `spec.staticIP`.
fn in_spec(static_ip: &str) -> &str {
    if static_ip == NO_STATIC_IP {
        NO_ADDRESS
    } else {
        static_ip
    }
}

/// Records that we created the user: its password is set, and it is confirmed later.
fn was_created(status: &mut VpnUserStatus, at: Timestamp, record: &RecordContext<'_>) {
    if let Some(sent) = &status.record.sent {
        let sent = sent.password.clone();
        password::set(&mut status.record, &sent);
        // Passwords that were set before belong to another user.
        status.record.former_passwords.clear();
    }
    status.password_set_at = Some(Time(vpn_cloud::limits::clock::whole_seconds(at)));
    status.record.confirmed_at = Some(Time(confirmation_time(at, record.policy.confirmation_period)));
}

/// When a creation is confirmed, in whole seconds. Creations of about the same time share the value, so that one LIST
/// confirms all.
pub(super) fn confirmation_time(created: Timestamp, confirmation_period: Duration) -> Timestamp {
    let step = i64::try_from(confirmation_period.as_secs() / 10).unwrap_or(1).max(1);
    let seconds = later(created, confirmation_period).as_second().saturating_add(step);
    Timestamp::from_second(seconds - seconds.rem_euclid(step)).unwrap_or(Timestamp::MAX)
}

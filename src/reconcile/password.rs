//! Passwords exactly once: from what was sent, what may have been sent and what the Secret holds, whether to send. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::user_record::{PasswordRecord, PasswordReset, UserRecord};

/// What to do about a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is in force.
    InForce,
    /// Send it.
    Send,
    /// Another one may still be on its way until then.
    Wait(Timestamp),
    /// It may be in force, or the one that was on its way after it: the cloud would refuse it in either case.
    Ambiguous,
}

/// Judges the password that the Secret holds.
pub fn judge(record: &UserRecord, wanted: &PasswordRecord, cloud_now: Timestamp) -> Judgement {
    let is_recorded = record
        .password
        .as_ref()
        .is_some_and(|password| is_same(password, wanted));
    match &record.password_reset {
        None if is_recorded => Judgement::InForce,
        None => Judgement::Send,
        Some(reset) if is_same(&reset.password, wanted) => Judgement::Send,
        Some(_) if is_recorded => Judgement::Ambiguous,
        Some(reset) if cloud_now <= reset.deadline.0 => Judgement::Wait(reset.deadline.0),
        Some(_) => Judgement::Send,
    }
}

/// Puts a password on record that is about to be sent.
pub fn announce(record: &mut UserRecord, wanted: &PasswordRecord, deadline: Timestamp) {
    let earlier = record.password_reset.take();
    let (repeated, after_another) = match &earlier {
        Some(reset) if is_same(&reset.password, wanted) => (true, reset.after_another),
        Some(_) => (false, true),
        None => (false, false),
    };
    record.password_reset = Some(PasswordReset {
        password: wanted.clone(),
        deadline: Time(deadline),
        repeated,
        after_another,
    });
}

/// The cloud took it.
pub fn set(record: &mut UserRecord, wanted: &PasswordRecord) {
    record.password = Some(wanted.clone());
    record.password_reset = None;
}

/// What it means that the cloud refuses a password as used recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    /// It is in force: our own earlier request set it, or nobody knows what was set before.
    InForce,
    /// It was in force once, and is not now.
    Former,
    /// That cannot be told.
    Ambiguous,
}

/// Takes the cloud's refusal of the announced password as used recently.
pub fn refused_as_recent(record: &mut UserRecord) -> Recent {
    let Some(reset) = record.password_reset.clone() else {
        return Recent::Former;
    };
    if reset.after_another {
        return Recent::Ambiguous;
    }
    let another_is_known = record
        .password
        .as_ref()
        .is_some_and(|password| password.key_id == reset.password.key_id);
    if reset.repeated || !another_is_known {
        set(record, &reset.password);
        return Recent::InForce;
    }
    record.password_reset = None;
    Recent::Former
}

/// The cloud refused the announced password for another reason: this request set nothing, an earlier one may have.
pub fn refused(record: &mut UserRecord) {
    let is_settled = |reset: &PasswordReset| !reset.repeated && !reset.after_another;
    if record.password_reset.as_ref().is_some_and(is_settled) {
        record.password_reset = None;
    }
}

/// By value; where the key of the digests was lost, by the Secret's version.
pub fn is_same(one: &PasswordRecord, other: &PasswordRecord) -> bool {
    if one.key_id == other.key_id {
        one.digest == other.digest
    } else {
        one.secret_uid == other.secret_uid && one.secret_resource_version == other.secret_resource_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    /// A password under a key, from a version of its Secret.
    fn password(value: &str, key: &str, version: &str) -> PasswordRecord {
        PasswordRecord {
            digest: format!("{key}/{value}"),
            key_id: key.to_owned(),
            secret_uid: "s".to_owned(),
            secret_resource_version: version.to_owned(),
        }
    }

    fn p(value: &str) -> PasswordRecord {
        password(value, "k", value)
    }

    fn with(set: Option<&str>) -> UserRecord {
        UserRecord {
            password: set.map(p),
            ..UserRecord::default()
        }
    }

    fn judged(record: &UserRecord, value: &str) -> Judgement {
        judge(record, &p(value), at(NOW))
    }

    #[test]
    fn a_value_is_sent_once() {
        let mut record = with(None);
        assert_eq!(judged(&record, "1"), Judgement::Send);
        announce(&mut record, &p("1"), at(NOW + 12));
        set(&mut record, &p("1"));
        assert_eq!(judged(&record, "1"), Judgement::InForce);
        assert_eq!(
            judge(&record, &password("1", "k", "99"), at(NOW)),
            Judgement::InForce,
            "only a label changed"
        );
        assert_eq!(judged(&record, "2"), Judgement::Send);
    }

    #[test]
    fn a_lost_key_leaves_values_alone_until_their_secret_moves() {
        let record = with(Some("1"));
        assert_eq!(judge(&record, &password("1", "new", "1"), at(NOW)), Judgement::InForce);
        assert_eq!(judge(&record, &password("1", "new", "2"), at(NOW)), Judgement::Send);
        let mut record = record;
        announce(&mut record, &password("1", "new", "2"), at(NOW));
        assert_eq!(
            refused_as_recent(&mut record),
            Recent::InForce,
            "nothing says that another one is"
        );
    }

    #[test]
    fn a_refusal_as_recent_proves_only_what_may_have_been_sent() {
        let mut record = with(Some("2"));
        announce(&mut record, &p("1"), at(NOW));
        let fresh = record.clone();
        assert_eq!(refused_as_recent(&mut record), Recent::Former);
        assert_eq!(record, with(Some("2")), "nothing has changed");

        let mut record = fresh;
        announce(&mut record, &p("1"), at(NOW));
        assert_eq!(refused_as_recent(&mut record), Recent::InForce, "sent before, and lost");
        assert_eq!(record, with(Some("1")));

        let mut adopted = with(None);
        announce(&mut adopted, &p("1"), at(NOW));
        assert_eq!(refused_as_recent(&mut adopted), Recent::InForce);
    }

    #[test]
    fn there_and_back_while_the_outcome_is_unknown_needs_a_new_value() {
        let mut record = with(Some("1"));
        announce(&mut record, &p("2"), at(NOW + 12));
        assert_eq!(judged(&record, "1"), Judgement::Ambiguous);
        assert_eq!(judged(&record, "2"), Judgement::Send);
        assert_eq!(
            judged(&record, "3"),
            Judgement::Wait(at(NOW + 12)),
            "what is on its way must not come after"
        );
        assert_eq!(judge(&record, &p("3"), at(NOW + 13)), Judgement::Send);
        announce(&mut record, &p("3"), at(NOW + 25));
        let unknown = record.clone();
        set(&mut record, &p("3"));
        assert_eq!(record, with(Some("3")), "settled");

        let mut record = unknown;
        assert_eq!(refused_as_recent(&mut record), Recent::Ambiguous);
        announce(&mut record, &p("3"), at(NOW + 25));
        assert_eq!(
            refused_as_recent(&mut record),
            Recent::Ambiguous,
            "the second value may have come in between"
        );
    }

    #[test]
    fn a_definite_refusal_forgets_only_what_was_not_sent_before() {
        let mut record = with(Some("1"));
        announce(&mut record, &p("2"), at(NOW));
        refused(&mut record);
        assert_eq!(record, with(Some("1")));
        announce(&mut record, &p("2"), at(NOW));
        announce(&mut record, &p("2"), at(NOW));
        refused(&mut record);
        assert!(
            record.password_reset.is_some_and(|reset| reset.repeated),
            "the first one may have been taken"
        );
    }
}

//! Sends each password exactly once: decides by what was sent, what may have been sent and what the Secret holds. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::limits::clock::later;

use crate::api::user_record::{FormerPassword, PasswordRecord, PasswordRefused, PasswordReset, UserRecord};

/// How many former passwords are kept: the cloud refuses the latest five, and may not count the current one.
const MAX_FORMER: usize = 5;

/// The password in the Secret, and the user's request to reconcile.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedPassword<'a> {
    pub password: &'a PasswordRecord,
    /// The annotation that requests a reconcile.
    pub requested_at: Option<&'a str>,
}

/// What to do with a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is in force.
    InForce,
    /// Send it.
    Send,
    /// Another password may still take effect until then.
    Wait(Timestamp),
    /// Either it or the password sent after it is in force: the cloud would refuse it in both cases.
    Ambiguous,
    /// The cloud refuses it, for this reason.
    Refused(String),
}

/// Judges the password that the Secret holds. `confirmation_period`: how much later than its deadline a request may take effect.
pub(super) fn judge(
    record: &UserRecord,
    asked: WantedPassword<'_>,
    cloud_now: Timestamp,
    confirmation_period: Duration,
) -> Judgement {
    let wanted = asked.password;
    let is_recorded = record
        .password
        .as_ref()
        .is_some_and(|password| is_same(password, wanted));
    if let Some(message) = standing_refusal(record, asked)
        && !is_recorded
    {
        return Judgement::Refused(message.to_owned());
    }
    let over_at = |reset: &PasswordReset| later(reset.deadline.0, confirmation_period);
    match &record.password_reset {
        None if is_recorded => Judgement::InForce,
        Some(reset) if !is_same(&reset.password, wanted) && is_recorded => Judgement::Ambiguous,
        Some(reset) if !is_same(&reset.password, wanted) && cloud_now <= over_at(reset) => {
            Judgement::Wait(over_at(reset))
        }
        None | Some(_) => Judgement::Send,
    }
}

/// Returns why the cloud refused this password, unless the user has requested another try since.
pub(super) fn standing_refusal<'a>(record: &'a UserRecord, asked: WantedPassword<'_>) -> Option<&'a str> {
    let refused = record.password_refused.as_ref()?;
    let is_meant = is_same(&refused.password, asked.password);
    let is_asked_again = asked.requested_at.is_some() && asked.requested_at != refused.requested_at.as_deref();
    (is_meant && !is_asked_again).then_some(refused.message.as_str())
}

/// Records that the cloud refuses the password.
pub(super) fn refuse(record: &mut UserRecord, asked: WantedPassword<'_>, message: String) {
    record.password_refused = Some(PasswordRefused {
        password: asked.password.clone(),
        message,
        requested_at: asked.requested_at.map(str::to_owned),
    });
}

/// Records a password that is about to be sent.
pub(super) fn record_reset(record: &mut UserRecord, wanted: &PasswordRecord, deadline: Timestamp) {
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

/// Records that the cloud accepted the password.
pub(super) fn set(record: &mut UserRecord, wanted: &PasswordRecord) {
    let former = record.password.replace(wanted.clone()).map(|before| FormerPassword {
        digest: before.digest,
        key_id: before.key_id,
    });
    record.former_passwords.extend(former);
    record.former_passwords.retain(|former| !is_former(former, wanted));
    let too_many = record.former_passwords.len().saturating_sub(MAX_FORMER);
    record.former_passwords.drain(..too_many);
    record.password_reset = None;
    record.password_refused = None;
}

fn is_former(former: &FormerPassword, password: &PasswordRecord) -> bool {
    former.key_id == password.key_id && former.digest == password.digest
}

/// What a refusal as recently used means for the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recent {
    /// It is in force: our own earlier request set it, or the password before it is unknown.
    InForce,
    /// It was in force earlier, but is not now.
    Former,
    /// It may be either.
    Ambiguous,
}

/// Records that the cloud refused the password just sent as recently used.
pub(super) fn refused_as_recent(record: &mut UserRecord) -> Recent {
    let Some(reset) = record.password_reset.clone() else {
        return Recent::Former;
    };
    let was_in_force = |former: &FormerPassword| is_former(former, &reset.password);
    // The cloud refuses a former password, whether or not it refused the earlier request, whose response was lost.
    if reset.after_another || (reset.repeated && record.former_passwords.iter().any(was_in_force)) {
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

/// Records that the cloud refused the password just sent for another reason. An earlier request may have set it.
pub(super) fn refused(record: &mut UserRecord) {
    let is_resolved = |reset: &PasswordReset| !reset.repeated && !reset.after_another;
    if record.password_reset.as_ref().is_some_and(is_resolved) {
        record.password_reset = None;
    }
}

/// Compares by value, or by the Secret's version if the key of the digests was lost.
pub(super) fn is_same(one: &PasswordRecord, other: &PasswordRecord) -> bool {
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

    const CONFIRMATION_PERIOD: Duration = Duration::from_secs(30);

    fn judged_at(record: &UserRecord, password: &PasswordRecord, now: i64) -> Judgement {
        let asked = WantedPassword {
            password,
            requested_at: None,
        };
        judge(record, asked, at(now), CONFIRMATION_PERIOD)
    }

    fn judged(record: &UserRecord, value: &str) -> Judgement {
        judged_at(record, &p(value), NOW)
    }

    /// Returns the record after these passwords were in force, one after the other.
    fn after(values: &[&str]) -> UserRecord {
        let mut record = UserRecord::default();
        for value in values {
            set(&mut record, &p(value));
        }
        record
    }

    #[test]
    fn a_password_is_sent_once() {
        let mut record = with(None);
        assert_eq!(judged(&record, "1"), Judgement::Send);
        record_reset(&mut record, &p("1"), at(NOW + 12));
        set(&mut record, &p("1"));
        assert_eq!(judged(&record, "1"), Judgement::InForce);
        assert_eq!(
            judged_at(&record, &password("1", "k", "99"), NOW),
            Judgement::InForce,
            "only a label changed"
        );
        assert_eq!(judged(&record, "2"), Judgement::Send);
    }

    #[test]
    fn a_lost_digest_key_resends_no_password_until_its_secret_changes() {
        let record = with(Some("1"));
        assert_eq!(judged_at(&record, &password("1", "new", "1"), NOW), Judgement::InForce);
        assert_eq!(judged_at(&record, &password("1", "new", "2"), NOW), Judgement::Send);
        let mut record = record;
        record_reset(&mut record, &password("1", "new", "2"), at(NOW));
        assert_eq!(
            refused_as_recent(&mut record),
            Recent::InForce,
            "nothing says that another one is"
        );
    }

    #[test]
    fn a_recently_used_error_confirms_only_a_possibly_sent_password() {
        let mut record = with(Some("2"));
        record_reset(&mut record, &p("1"), at(NOW));
        let fresh = record.clone();
        assert_eq!(refused_as_recent(&mut record), Recent::Former);
        assert_eq!(record, with(Some("2")), "nothing has changed");

        let mut record = fresh;
        record_reset(&mut record, &p("1"), at(NOW));
        assert_eq!(refused_as_recent(&mut record), Recent::InForce, "sent before, and lost");
        assert_eq!(record, after(&["2", "1"]));

        let mut adopted = with(None);
        record_reset(&mut adopted, &p("1"), at(NOW));
        assert_eq!(refused_as_recent(&mut adopted), Recent::InForce);
    }

    #[test]
    fn a_password_reverted_during_an_unknown_outcome_needs_a_new_value() {
        let mut record = with(Some("1"));
        record_reset(&mut record, &p("2"), at(NOW + 12));
        assert_eq!(judged(&record, "1"), Judgement::Ambiguous);
        assert_eq!(judged(&record, "2"), Judgement::Send);
        assert_eq!(
            judged(&record, "3"),
            Judgement::Wait(at(NOW + 42)),
            "what is on its way must not come after, and may be as late as a creation"
        );
        assert_eq!(judged_at(&record, &p("3"), NOW + 42), Judgement::Wait(at(NOW + 42)));
        assert_eq!(judged_at(&record, &p("3"), NOW + 43), Judgement::Send);
        record_reset(&mut record, &p("3"), at(NOW + 55));
        let unknown = record.clone();
        set(&mut record, &p("3"));
        assert_eq!(record, after(&["1", "3"]), "settled");

        let mut record = unknown;
        assert_eq!(refused_as_recent(&mut record), Recent::Ambiguous);
        record_reset(&mut record, &p("3"), at(NOW + 25));
        assert_eq!(
            refused_as_recent(&mut record),
            Recent::Ambiguous,
            "the second value may have come in between"
        );
    }

    #[test]
    fn a_refused_password_is_resent_only_on_request_or_after_another() {
        let mut record = with(Some("2"));
        let refused = p("1");
        let asked = |requested_at| WantedPassword {
            password: &refused,
            requested_at,
        };
        let judged_when =
            |record: &UserRecord, requested_at| judge(record, asked(requested_at), at(NOW), CONFIRMATION_PERIOD);
        refuse(&mut record, asked(Some("monday")), "no".to_owned());
        let no = Judgement::Refused("no".to_owned());
        for (requested_at, expected) in [
            (Some("monday"), &no),
            (Some("tuesday"), &Judgement::Send),
            // A removed annotation requests nothing.
            (None, &no),
        ] {
            assert_eq!(&judged_when(&record, requested_at), expected, "{requested_at:?}");
        }
        assert_eq!(
            judged_at(&record, &password("1", "k", "99"), NOW),
            no,
            "only a label changed"
        );
        assert_eq!(judged(&record, "3"), Judgement::Send);
        assert_eq!(judged(&record, "2"), Judgement::InForce);
        assert_eq!(judged(&record, "1"), no, "and back");
        set(&mut record, &p("3"));
        assert_eq!(
            judged(&record, "1"),
            Judgement::Send,
            "the cloud may have forgotten it by now"
        );
    }

    #[test]
    fn a_refused_former_password_sent_twice_confirms_nothing() {
        let mut record = after(&["1", "2"]);
        record_reset(&mut record, &p("1"), at(NOW));
        record_reset(&mut record, &p("1"), at(NOW));
        assert_eq!(refused_as_recent(&mut record), Recent::Ambiguous);
        assert_eq!(
            judged(&record, "2"),
            Judgement::Ambiguous,
            "it may be in force, or the first"
        );
        set(&mut record, &p("3"));
        assert_eq!(record, after(&["1", "2", "3"]), "a new one settles it");

        let all = ["1", "2", "3", "4", "5", "6", "7"];
        let digests = |record: &UserRecord| -> Vec<String> {
            let former = record.former_passwords.iter();
            former.map(|former| former.digest.clone()).collect()
        };
        let mut record = after(&all);
        assert_eq!(digests(&record), ["k/2", "k/3", "k/4", "k/5", "k/6"], "not forever");
        set(&mut record, &p("4"));
        assert_eq!(digests(&record), ["k/2", "k/3", "k/5", "k/6", "k/7"]);
    }

    #[test]
    fn a_definite_refusal_clears_only_a_first_attempt() {
        let mut record = with(Some("1"));
        record_reset(&mut record, &p("2"), at(NOW));
        refused(&mut record);
        assert_eq!(record, with(Some("1")));
        record_reset(&mut record, &p("2"), at(NOW));
        record_reset(&mut record, &p("2"), at(NOW));
        refused(&mut record);
        assert!(
            record.password_reset.is_some_and(|reset| reset.repeated),
            "the first one may have been taken"
        );
    }
}

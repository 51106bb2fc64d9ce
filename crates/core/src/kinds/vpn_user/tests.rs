//! Tests of what is particular to VPN users.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use vpn_cloud::error::cloud_error::{CloudError, Operation};
use vpn_cloud::error::error_kind::ErrorKind;

use super::ledger::confirmation_time;
use super::*;
use crate::api::PastIntent;
use crate::kind::compare::{Correction, DesiredState, Difference};
use crate::kind::ledger::RecordContext;
use crate::kind::{Compare, Ledger, Ownership};
use crate::terms::policy::Policy;

const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";
const RECORDED: i64 = 1000;
const DEADLINE: i64 = 1012;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

fn policy() -> Policy {
    Policy::of_tests("")
}

/// After a creation of `alice` in the group `g` with an unknown outcome.
fn unresolved() -> VpnUserStatus {
    let mut status = VpnUserStatus::default();
    status.record.sent = Some(SentUser {
        name: "alice".to_owned(),
        user_group_id: Some("g".to_owned()),
        ..SentUser::default()
    });
    status.object.past_intents = vec![PastIntent {
        recorded_at: Time(at(RECORDED)),
        deadline: Time(at(DEADLINE)),
        given_up: true,
    }];
    status
}

fn user(created: i64) -> User {
    User {
        id: "u".to_owned(),
        name: Some("alice".to_owned()),
        user_group_id: Some("g".to_owned()),
        created_at: Some(at(created).to_string()),
        ..User::default()
    }
}

#[test]
fn a_user_is_owned_if_it_matches_the_request_and_its_window() {
    let is_ours = |status: &VpnUserStatus, user: &User| Users::is_of_record(status, user, &policy());
    let status = unresolved();
    for (created, expected) in [
        (RECORDED - 6, false),
        (RECORDED - 5, true),
        (DEADLINE + 35, true),
        (DEADLINE + 36, false),
    ] {
        assert_eq!(is_ours(&status, &user(created)), expected, "{created}");
    }
    let inside = user(RECORDED + 1);
    for unmanaged in [
        User {
            name: Some("Alice".to_owned()),
            ..inside.clone()
        },
        User {
            user_group_id: None,
            ..inside.clone()
        },
        User {
            description: Some("theirs".to_owned()),
            ..inside.clone()
        },
        User {
            static_ip: Some("192.168.10.5".to_owned()),
            ..inside.clone()
        },
        User {
            created_at: None,
            ..inside.clone()
        },
    ] {
        assert!(!is_ours(&status, &unmanaged), "{unmanaged:?}");
    }
    let mut resolved = status.clone();
    resolved.object.past_intents[0].given_up = false;
    assert!(!is_ours(&resolved, &inside), "that creation has made another");
    let mut disappeared = VpnUserStatus::default();
    disappeared.record.disappeared_ids.push("u".to_owned());
    assert!(is_ours(&disappeared, &user(1)), "the cloud gave us its id");
}

#[test]
fn an_unsent_field_matches_any_empty_form() {
    for (description, static_ip) in [("", "disable"), ("", "")] {
        let same = User {
            description: Some(description.to_owned()),
            static_ip: Some(static_ip.to_owned()),
            ..user(RECORDED)
        };
        assert!(Users::is_of_record(&unresolved(), &same, &policy()), "{same:?}");
    }
}

#[test]
fn an_adopted_user_has_the_sent_password_only_if_we_created_it() {
    let record = RecordContext {
        policy: &policy(),
        uid: "uid",
        cloud_now: at(2000),
    };
    for (created, made_by_us) in [(RECORDED + 1, true), (1, false)] {
        let mut status = unresolved();
        status.record.confirmed_at = Some(Time(at(DEADLINE)));
        Users::found(&mut status, None, &user(created), None, &record);
        assert_eq!(status.record.password.is_some(), made_by_us);
        assert_eq!(status.record.confirmed_at.is_some(), made_by_us);
    }
}

#[test]
fn a_lost_user_clears_its_password_records() {
    let set = |digest: &str| PasswordRecord {
        digest: digest.to_owned(),
        ..PasswordRecord::default()
    };
    let mut status = VpnUserStatus::default();
    for digest in ["one", "two"] {
        password::set(&mut status.record, &set(digest));
    }
    let refused = set("one");
    let asked = WantedPassword {
        password: &refused,
        requested_at: None,
    };
    password::refuse(&mut status.record, asked, "used recently".to_owned());
    Users::lost(&mut status);
    assert_eq!(status, VpnUserStatus::default());
}

#[test]
fn a_refused_creation_leaves_no_record_for_an_unmanaged_user() {
    let mut status = unresolved();
    status.object.past_intents.clear();
    let user = NewUser {
        name: "alice".to_owned(),
        password: Password::new("Bad pass-1".to_owned()),
        description: None,
        user_group_id: None,
        static_ip: None,
    };
    let new = UserCreation {
        user,
        password: PasswordRecord::default(),
        requested_at: None,
    };
    let mut refuse = |kind| {
        let error = CloudError::new(Operation::CreateVpnUser, kind, "no");
        Users::creation_refused(&mut status, &new, &error);
        (status.record.sent.clone(), status.record.password_refused.is_some())
    };
    assert_eq!(refuse(ErrorKind::Duplicate), (None, false));
    assert_eq!(refuse(ErrorKind::BadPassword), (None, true), "it is not sent again");
}

#[test]
fn creations_close_in_time_are_confirmed_together() {
    let confirmation_period = Duration::from_secs(30);
    let times: std::collections::BTreeSet<_> = (0..30)
        .map(|second| confirmation_time(at(1000 + second), confirmation_period))
        .collect();
    assert!(times.len() <= 11, "{times:?}");
    for second in 0..30 {
        let left = confirmation_time(at(1000 + second), confirmation_period).duration_since(at(1000 + second));
        assert!((30..=34).contains(&left.as_secs()), "{left}");
    }
    assert!(confirmation_time(at(1000), Duration::ZERO) > at(1000));
}

/// Applies an update as a cloud may: what an omitted group means is not documented.
fn apply(remote: &mut User, call: &UserChange, drops_group: bool) {
    match call {
        UserChange::Update(update) => {
            remote.description = Some(update.description.clone());
            remote.static_ip.clone_from(&update.static_ip);
            if update.user_group_id.is_some() || drops_group {
                remote.user_group_id.clone_from(&update.user_group_id);
            }
        }
        other => Users::apply_change(other, remote),
    }
}

proptest! {
    #[test]
    fn a_correction_takes_one_call_per_kind_and_keeps_unmanaged_fields(
        description in proptest::option::of("[ab]?"),
        static_ip in proptest::option::of(prop_oneof!["192.168.10.5", "192.168.10.9", "Disabled"]),
        group in proptest::option::of(prop_oneof!["None", "g1", "g2"]),
        has_description in proptest::option::of("[ab]?"),
        has_static_ip in proptest::option::of(prop_oneof!["192.168.10.5", "disable", ""]),
        has_group in proptest::option::of("g[12]"),
        drops_group in any::<bool>(),
    ) {
        let spec = VpnUserSpec {
            vpn_server_id: SERVER.to_owned(),
            description: description.clone(),
            static_ip: static_ip.clone(),
            user_group_id: group.clone(),
            ..VpnUserSpec::default()
        };
        let before = User {
            description: has_description,
            static_ip: has_static_ip,
            user_group_id: has_group,
            ..user(RECORDED)
        };
        let mut remote = before.clone();
        let (status, dereferenced) = (VpnUserStatus::default(), UserDereferenced::default());
        let wanted = DesiredState {
            spec: &spec,
            status: &status,
            dereferenced: &dereferenced,
            policy: &policy(),
            overwrites_tags: true,
            cloud_now: at(0),
        };
        let mut kinds = Vec::new();
        while let Some(Difference { fields, correction: Correction::Call(call) }) = Users::difference(&wanted, &remote) {
            prop_assert!(!fields.is_empty());
            kinds.push(std::mem::discriminant(&call));
            apply(&mut remote, &call, drops_group);
            prop_assert!(kinds.len() <= 2);
        }
        kinds.dedup();
        let described = |user: &User| user.description.clone().unwrap_or_default();
        prop_assert_eq!(described(&remote), description.unwrap_or(described(&before)));
        let address = super::static_ip(&remote).to_owned();
        let expected = static_ip.as_deref().map_or(super::static_ip(&before), super::in_cloud);
        prop_assert_eq!(&address, expected);
        let expected_group = match group.as_deref() {
            Some("None") => None,
            Some(id) => Some(id.to_owned()),
            None => before.user_group_id,
        };
        prop_assert_eq!(remote.user_group_id, expected_group);
    }
}

//! Decision table for users: no tags, creations with a confirmation period, unique names, and passwords.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::resources::users::User;
use vpn_cloud::values::password::Password;

use crate::api::conditions::ReadyCondition;
use crate::api::lifecycle::{DeletionPolicy, Lifecycle};
use crate::api::status::ObjectStatus;
use crate::api::user_record::{PasswordRecord, PasswordRefused, PasswordReset, SentUser, UserRecord};
use crate::api::vpn_user::PasswordRef;
use crate::api::{AdoptionPolicy, Intent, PastIntent, Scope, VpnUserSpec, VpnUserStatus, conditions};
use crate::cache::{LastList, MassDeletion, Observed, Query};
use crate::decide::*;
use crate::kind::{Ledger, Ownership, Shape};
use crate::kinds::vpn_user::{KnownPassword, UserChange, UserDereferenced, Users};
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::{Failure, USER_ACTION};
use crate::terms::observation::{Observation, Unlisted};
use crate::terms::policy::Policy;
use crate::terms::sent_delete::SentDelete;

const ID: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";

const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

const GROUP: &str = "cccccccc-cccc-4ccc-8ccc-cccccccccccc";

/// The intent of these cases: recorded at 1000, deadline at 1012; the creation is confirmed at 1050.
const RECORDED: i64 = 1000;

const DEADLINE: i64 = 1012;

const CONFIRMED_AT: i64 = 1050;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

fn scope() -> Scope {
    Scope {
        endpoint: "https://vpn.example".to_owned(),
        project_id: "p".to_owned(),
    }
}

fn user(id: &str) -> User {
    User {
        id: id.to_owned(),
        name: Some("alice".to_owned()),
        created_at: Some(at(RECORDED + 1).to_string()),
        ..User::default()
    }
}

fn seen(remote: User, full: bool) -> Observed<User> {
    Observed::Seen {
        remote,
        fresh: true,
        full,
    }
}

fn password(value: &str) -> PasswordRecord {
    PasswordRecord {
        digest: format!("digest of {value}"),
        key_id: "key".to_owned(),
        secret_uid: "uid".to_owned(),
        secret_resource_version: value.to_owned(),
    }
}

fn known(value: &str) -> KnownPassword {
    KnownPassword {
        value: Password::new(value.to_owned()),
        record: password(value),
        requested_at: None,
    }
}

fn reset(value: &str) -> PasswordReset {
    PasswordReset {
        password: password(value),
        deadline: Time(at(DEADLINE)),
        repeated: false,
        after_another: false,
    }
}

#[derive(Clone)]
struct UserCase {
    policy: Policy,
    deleting_since: Option<Time>,
    spec: Result<VpnUserSpec, String>,
    lifecycle: Lifecycle,
    status: VpnUserStatus,
    cloud_now: i64,
    dereferenced: Dereferencing<UserDereferenced>,
    has_parent: bool,
    observation: Observation<User>,
    triggered: bool,
    sent_delete: Option<SentDelete>,
    undeleted: Vec<String>,
    accepted: Option<UserChange>,
    replayed: bool,
}

impl UserCase {
    /// A new object, and a cache that has listed a server without users.
    fn new() -> Self {
        Self {
            policy: Policy::of_tests("vpn-operator-owner"),
            deleting_since: None,
            spec: Ok(VpnUserSpec {
                vpn_server_id: SERVER.to_owned(),
                name: Some("alice".to_owned()),
                password_secret_ref: Some(PasswordRef {
                    name: "alice".to_owned(),
                    key: None,
                }),
                ..VpnUserSpec::default()
            }),
            lifecycle: Lifecycle::default(),
            status: VpnUserStatus::default(),
            cloud_now: DEADLINE + 1,
            dereferenced: Dereferencing::Read(UserDereferenced {
                password: Some(known("one")),
                group_id: None,
            }),
            has_parent: true,
            observation: Observation {
                listed: Some(LastList {
                    fresh: false,
                    started: at(900),
                    complete: true,
                }),
                ..Observation::blank()
            },
            triggered: true,
            sent_delete: None,
            undeleted: Vec::new(),
            accepted: None,
            replayed: false,
        }
    }

    /// A creation that was answered and is not confirmed.
    fn created() -> Self {
        Self::new().with(|case| {
            let status = &mut case.status;
            status.object.id = Some(ID.to_owned());
            status.object.scope = Some(scope());
            status.record.vpn_server_id = Some(SERVER.to_owned());
            status.record.confirmed_at = Some(Time(at(CONFIRMED_AT)));
            status.record.password = Some(password("one"));
            status.object.past_intents = vec![PastIntent {
                recorded_at: Time(at(RECORDED)),
                deadline: Time(at(DEADLINE)),
                given_up: false,
            }];
        })
    }

    /// A confirmed object whose user in the cloud matches the spec.
    fn ready() -> Self {
        Self::created().with(|case| {
            case.cloud_now = CONFIRMED_AT + 100;
            case.status.record.confirmed_at = None;
            case.status.object.past_intents.clear();
            case.status.object.observed_generation = Some(1);
            let condition = ReadyCondition::new(Reason::Available, "");
            conditions::apply(
                &mut case.status.object.conditions,
                &condition,
                Some(1),
                &Time(at(CONFIRMED_AT)),
            );
            case.observation.known = seen(user(ID), true);
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn deleting(self) -> Self {
        self.with(|case| case.deleting_since = Some(Time(at(2000))))
    }

    fn listed_now(self) -> Self {
        self.with(|case| {
            case.observation.listed = Some(LastList {
                fresh: true,
                started: at(case.cloud_now),
                complete: true,
            });
        })
    }

    fn spec(self, change: impl FnOnce(&mut VpnUserSpec)) -> Self {
        self.with(|case| {
            if let Ok(spec) = &mut case.spec {
                change(spec);
            }
        })
    }

    fn decide(&self) -> Step<Users> {
        decide(&Inputs {
            policy: &self.policy,
            uid: "uid",
            namespace: "team",
            name: "alice",
            generation: Some(1),
            deleting_since: self.deleting_since.as_ref(),
            has_finalizer: true,
            paused: false,
            recreation_approved_at: None,
            spec: &self.spec,
            lifecycle: &self.lifecycle,
            status: &self.status,
            crd_deleting_since: None,
            access: Ok(Access {
                scope: scope(),
                cloud_now: Some(at(self.cloud_now)),
            }),
            dereferenced: self.dereferenced.clone(),
            has_parent: self.has_parent,
            observation: self.observation.clone(),
            failed_query: None,
            triggered: self.triggered,
            sent_delete: self.sent_delete,
            undeleted: self.undeleted.clone(),
            accepted: self.accepted.clone(),
            replayed: self.replayed,
            overwrites_tags: true,
        })
    }

    fn stops_for(&self, reason: Reason, words: &str) {
        match self.decide() {
            Step::Rest(Rest::Failed(failure)) if failure.condition.reason == reason => {
                assert!(
                    failure.condition.message.contains(words),
                    "{}",
                    failure.condition.message
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

fn query(step: &Step<Users>) -> Option<&Query> {
    match step {
        Step::Query { query, .. } => Some(query),
        _ => None,
    }
}

#[test]
fn a_first_creation_uses_the_cached_list() {
    assert!(matches!(UserCase::new().decide(), Step::Create(_)));
}

#[test]
fn creation_and_adoption_wait_for_an_unlisted_namespace() {
    let unlisted = |case: &mut UserCase| {
        case.observation.unlisted = Some(Unlisted {
            namespace: Some("team-b".to_owned()),
            cause: "operator cannot list resource \"vpnusers\"".to_owned(),
        });
    };
    let words = "VpnUsers of the namespace team-b cannot be listed, so one of them may have this VPN user or its \
                 name: operator cannot list resource \"vpnusers\"; grant list and watch on \
                 vpnusers.vpn.huaweicloud.com there";
    UserCase::new()
        .with(unlisted)
        .stops_for(Reason::DependencyNotReady, words);
    let named = UserCase::new().with(|case| {
        case.lifecycle.external_id = Some(ID.to_owned());
        case.observation.known = seen(user(ID), true);
    });
    assert!(matches!(named.decide(), Step::Note(Note::Found { .. })));
    named.with(unlisted).stops_for(Reason::DependencyNotReady, words);
    let by_name = UserCase::new().listed_now().with(|case| {
        case.lifecycle.adoption_policy = Some(AdoptionPolicy::IfExists);
        case.observation.candidates = vec![user(ID)];
    });
    assert!(matches!(by_name.decide(), Step::Note(Note::Found { .. })));
    by_name.with(unlisted).stops_for(Reason::DependencyNotReady, words);
    // A recorded user is still managed, and an object with managementPolicy Observe takes nothing over.
    let recorded = UserCase::ready().with(unlisted).decide();
    assert!(matches!(recorded, Step::Rest(Rest::Confirmed { .. })), "{recorded:?}");
    let observer = UserCase::new().with(unlisted).with(|case| {
        case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
        case.lifecycle.external_id = Some(ID.to_owned());
        case.observation.known = seen(user(ID), true);
    });
    assert!(matches!(observer.decide(), Step::Note(Note::Found { .. })));
}

#[test]
fn an_invalid_password_is_reported_before_any_read() {
    let case = UserCase::new().with(|case| {
        case.observation.listed = None;
        case.dereferenced = Dereferencing::Lacking(Failure {
            condition: ReadyCondition::new(Reason::InvalidPassword, "too short"),
            backoff: USER_ACTION,
        });
    });
    case.stops_for(Reason::InvalidPassword, "too short");
}

#[test]
fn a_creation_is_confirmed_after_the_confirmation_period() {
    let unconfirmed = UserCase::created().with(|case| case.observation.known = seen(user(ID), true));
    for known in [
        unconfirmed.observation.known.clone(),
        Observed::Unknown,
        Observed::Missing,
        Observed::Absent,
    ] {
        let case = unconfirmed.clone().with(|case| case.observation.known = known);
        match case.decide() {
            Step::Rest(Rest::Until(Some(condition), left)) => {
                assert_eq!(condition.reason, Reason::Creating);
                assert_eq!(left, Duration::from_secs(38), "and one second more");
            }
            other => panic!("{other:?}"),
        }
    }
    let after_period = unconfirmed.with(|case| case.cloud_now = CONFIRMED_AT);
    assert!(matches!(after_period.decide(), Step::Rest(Rest::Confirmed { .. })));
    let stale = Observed::Seen {
        remote: user(ID),
        fresh: false,
        full: true,
    };
    for known in [stale, Observed::Unknown, Observed::Missing] {
        let case = after_period.clone().with(|case| {
            case.observation.known = known;
            case.observation.mass_deletion = Some(MassDeletion { missing: 50, of: 50 });
            case.triggered = false;
        });
        assert_eq!(
            query(&case.decide()),
            Some(&Query::Object(ID.to_owned())),
            "no creation is a loss"
        );
    }
    let absent = after_period.with(|case| case.observation.known = Observed::Absent);
    assert_eq!(absent.decide(), Step::Note(Note::Disappeared));
}

#[test]
fn a_name_collision_is_a_conflict_only_in_a_fresh_list() {
    let unmanaged = UserCase::new().with(|case| case.observation.name_collision = Some(user("unmanaged")));
    assert_eq!(query(&unmanaged.decide()), Some(&Query::Collection));
    unmanaged
        .listed_now()
        .stops_for(Reason::NameConflict, "spec.externalID to unmanaged");

    let refused = UserCase::new().with(|case| {
        let condition = ReadyCondition::new(Reason::NameConflict, "");
        let conditions = &mut case.status.object.conditions;
        conditions::apply(conditions, &condition, Some(1), &Time(at(0)));
    });
    assert_eq!(query(&refused.decide()), Some(&Query::Collection));
    assert!(matches!(refused.listed_now().decide(), Step::Create(_)));
}

#[test]
fn a_name_of_another_object_is_a_conflict_until_its_deletion() {
    let holder = |deleting| CompetingClaim {
        namespace: "team".to_owned(),
        name: "other".to_owned(),
        deleting,
    };
    let held = |deleting| UserCase::new().with(|case| case.observation.name_holder = Some(holder(deleting)));
    held(false).stops_for(Reason::NameConflict, "VpnUser team/other");
    held(true).stops_for(Reason::DependencyNotReady, "VpnUser team/other");
}

#[test]
fn an_unresolved_creation_is_resolved_before_another_request() {
    let unresolved = UserCase::new().with(|case| {
        case.status.object.intent = Some(Intent {
            token: "token".to_owned(),
            recorded_at: Time(at(RECORDED)),
            deadline: Time(at(DEADLINE)),
            name: "alice".to_owned(),
        });
        case.status.object.scope = Some(scope());
    });
    let found = unresolved.clone().with(|case| case.observation.owned = vec![user(ID)]);
    assert!(matches!(found.decide(), Step::Note(Note::Found { .. })));
    // An unmanaged user is never ours. The creation is given up only when it can no longer take effect.
    let unmanaged = unresolved.with(|case| case.observation.name_collision = Some(user("unmanaged")));
    assert_eq!(query(&unmanaged.decide()), Some(&Query::Collection));
    assert!(matches!(
        unmanaged.clone().listed_now().decide(),
        Step::Rest(Rest::Until(Some(_), _))
    ));
    // A replay resolves the outcome if the recorded body is still known; it is sent once.
    let replayable = unmanaged.clone().listed_now().with(|case| {
        case.status.record.sent = Some(SentUser {
            name: "alice".to_owned(),
            password: password("one"),
            ..SentUser::default()
        });
    });
    let edited = replayable
        .clone()
        .spec(|spec| spec.description = Some("other".to_owned()));
    for case in [&replayable, &edited] {
        match case.decide() {
            Step::Replay(new) => assert_eq!(new.user.description, None, "as it was sent"),
            other => panic!("{other:?}"),
        }
    }
    let another = replayable.clone().with(|case| {
        case.dereferenced = Dereferencing::Read(UserDereferenced {
            password: Some(known("two")),
            group_id: None,
        });
    });
    let replayed = replayable.with(|case| case.replayed = true);
    for case in [another, replayed] {
        assert!(matches!(case.decide(), Step::Rest(Rest::Until(Some(_), _))));
    }
    let later = unmanaged.with(|case| case.cloud_now = DEADLINE + 31).listed_now();
    assert_eq!(later.decide(), Step::Note(Note::GivenUp));
}

/// Otherwise a misspelled field would never be reported as missing.
#[test]
fn status_fields_required_for_a_password_reset_are_in_the_crd() {
    let crds = crate::api::crds().unwrap();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == Users::KIND).unwrap();
    let crd = serde_json::to_value(crd).unwrap();
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    let fields = Users::remembered_after(&UserChange::ResetPassword(known("one")));
    assert_eq!(fields.len(), 2);
    for field in fields {
        let name = field.strip_prefix("status.").unwrap();
        assert!(status[name].is_object(), "{field}");
    }
}

#[test]
fn only_a_changed_password_is_recorded_and_sent() {
    assert!(matches!(UserCase::ready().decide(), Step::Rest(Rest::Confirmed { .. })));
    let changed = UserCase::ready().with(|case| {
        case.dereferenced = Dereferencing::Read(UserDereferenced {
            password: Some(known("two")),
            group_id: None,
        });
    });
    let Step::Change { call, .. } = changed.decide() else {
        panic!("{:?}", changed.decide());
    };
    assert_eq!(call, UserChange::ResetPassword(known("two")));
    let accepted = changed.clone().with(|case| case.accepted = Some(call));
    accepted.stops_for(Reason::Updating, "accepted the change of passwordSecretRef");

    let back = UserCase::ready().with(|case| case.status.record.password_reset = Some(reset("two")));
    back.stops_for(Reason::InvalidPassword, "put a new password into the Secret");
    let third = changed.with(|case| {
        case.status.record.password_reset = Some(reset("three"));
        case.cloud_now = DEADLINE + 30;
    });
    assert!(matches!(third.decide(), Step::Rest(Rest::Until(Some(_), _))));
    let after_period = third.with(|case| case.cloud_now = DEADLINE + 31);
    assert!(matches!(after_period.decide(), Step::Change { .. }));

    let refused = PasswordRefused {
        password: password("one"),
        message: "used recently".to_owned(),
        requested_at: None,
    };
    let former = UserCase::ready().with(|case| {
        case.status.record.password = Some(password("two"));
        case.status.record.password_refused = Some(refused.clone());
    });
    former.stops_for(Reason::InvalidPassword, "used recently");
    let created = UserCase::new().with(|case| case.status.record.password_refused = Some(refused));
    created.stops_for(Reason::InvalidPassword, "used recently");
    // Other differences do not wait for the user action.
    let description = back.spec(|spec| spec.description = Some("ops".to_owned()));
    assert!(matches!(
        description.decide(),
        Step::Change {
            call: UserChange::Update(_),
            ..
        }
    ));
}

#[test]
fn an_update_includes_unchanged_fields_and_reads_the_whole_user() {
    let has = User {
        description: Some("old".to_owned()),
        static_ip: Some("192.168.10.5".to_owned()),
        user_group_id: Some(GROUP.to_owned()),
        ..user(ID)
    };
    let edited = UserCase::ready().spec(|spec| spec.description = Some("new".to_owned()));
    let listed = edited
        .clone()
        .with(|case| case.observation.known = seen(has.clone(), false));
    assert_eq!(query(&listed.decide()), Some(&Query::Whole(ID.to_owned())));
    let whole = edited.with(|case| case.observation.known = seen(has.clone(), true));
    match whole.decide() {
        Step::Change {
            call: UserChange::Update(update),
            ..
        } => {
            assert_eq!(update.description, "new");
            assert_eq!(update.static_ip, has.static_ip);
            assert_eq!(update.user_group_id, has.user_group_id);
        }
        other => panic!("{other:?}"),
    }
    let leaves = UserCase::ready()
        .spec(|spec| spec.user_group_id = Some("None".to_owned()))
        .with(|case| case.observation.known = seen(has, true));
    match leaves.decide() {
        Step::Change { call, .. } => assert_eq!(call, UserChange::LeaveGroup(GROUP.to_owned())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deletion_waits_for_a_creation_that_may_still_appear() {
    let early = UserCase::created()
        .deleting()
        .with(|case| case.observation.known = Observed::Absent);
    assert!(matches!(early.decide(), Step::Rest(Rest::Until(Some(_), _))));
    let shown = early.clone().with(|case| case.observation.known = seen(user(ID), true));
    assert!(matches!(shown.decide(), Step::Delete { duplicate: false, .. }));
    let late = early.with(|case| case.cloud_now = CONFIRMED_AT);
    assert!(
        matches!(late.decide(), Step::Delete { duplicate: false, .. }),
        "reads may be stale"
    );
    let answered = late.with(|case| case.sent_delete = Some(SentDelete::ANSWERED));
    assert_eq!(answered.decide(), Step::Release(None));
}

#[test]
fn a_deletion_sends_one_delete_for_each_recorded_lost_user() {
    let (first, second) = ("lost-1", "lost-2");
    let lost = UserCase::new().listed_now().deleting().with(|case| {
        case.status.object.scope = Some(scope());
        case.status.record.disappeared_ids = vec![first.to_owned(), second.to_owned()];
        case.undeleted = case.status.record.disappeared_ids.clone();
    });
    let deletes = |id: &str| Step::<Users>::Delete {
        id: id.to_owned(),
        duplicate: false,
    };
    assert_eq!(lost.decide(), deletes(first));
    let one_sent = lost.clone().with(|case| case.undeleted = vec![second.to_owned()]);
    assert_eq!(one_sent.decide(), deletes(second));
    // The user that was created later is deleted first.
    let recreated = lost.clone().with(|case| {
        case.status.object.id = Some(ID.to_owned());
        case.observation.known = seen(user(ID), true);
    });
    assert_eq!(recreated.decide(), deletes(ID));
    let recreated_absent = recreated.with(|case| {
        case.observation.known = Observed::Absent;
        case.sent_delete = Some(SentDelete::ANSWERED);
    });
    assert_eq!(recreated_absent.decide(), deletes(first));
    for case in [
        lost.clone().with(|case| case.undeleted.clear()),
        lost.clone()
            .with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain)),
        lost.with(|case| case.policy.read_only = true),
    ] {
        assert_eq!(case.decide(), Step::Release(None));
    }
}

#[test]
fn an_adopted_user_of_another_name_keeps_open_creation_records() {
    let stamp = crate::ledger::record::Stamp {
        generation: Some(1),
        now: at(2000),
    };
    let open = VpnUserStatus {
        object: ObjectStatus {
            past_intents: vec![PastIntent {
                recorded_at: Time(at(1000)),
                deadline: Time(at(1012)),
                given_up: true,
            }],
            ..ObjectStatus::default()
        },
        record: UserRecord {
            sent: Some(SentUser {
                name: "alice".to_owned(),
                ..SentUser::default()
            }),
            disappeared_ids: vec!["lost".to_owned()],
            ..UserRecord::default()
        },
        ..VpnUserStatus::default()
    };
    let confirmation_period = Duration::from_secs(30);
    let confirmed_with = |sent: Option<SentUser>, now: i64, id: &str, name: &str| {
        let mut status = open.clone();
        status.record.sent = sent;
        let remote = User {
            id: id.to_owned(),
            name: Some(name.to_owned()),
            ..User::default()
        };
        crate::ledger::record::resolved::<Users>(&mut status, &remote, at(now), confirmation_period);
        crate::ledger::record::confirmed::<Users>(&mut status, None, None, &remote, Vec::new(), &[], stamp);
        let UserRecord {
            sent, disappeared_ids, ..
        } = status.record;
        (status.object.past_intents.len(), sent.is_some(), disappeared_ids.len())
    };
    let confirmed_at = |now, id: &str, name: &str| confirmed_with(open.record.sent.clone(), now, id, name);
    assert_eq!(confirmed_at(2000, ID, "bob"), (1, true, 1));
    assert_eq!(confirmed_at(2000, ID, "alice"), (0, false, 0));
    // A user that was adopted under another name, was lost, and exists again proves nothing about the request.
    assert_eq!(confirmed_at(2000, "lost", "bob"), (1, true, 1));
    assert_eq!(confirmed_with(None, 2000, "lost", "bob"), (0, false, 0));
    assert_eq!(confirmed_with(None, 2000, ID, "bob"), (1, false, 1));
    // Deleting the user with this name may free the name for a request that is still in progress.
    assert_eq!(confirmed_at(1042, ID, "alice"), (1, true, 1));
    assert_eq!(confirmed_at(1043, ID, "alice"), (0, false, 0));
}

#[test]
fn only_a_user_created_in_its_window_resolves_a_creation() {
    let case = UserCase::new();
    let record = crate::kind::RecordContext {
        policy: &case.policy,
        uid: "uid",
        cloud_now: at(DEADLINE),
    };
    let intent = Intent {
        token: "t".to_owned(),
        recorded_at: Time(at(RECORDED)),
        deadline: Time(at(DEADLINE)),
        name: "alice".to_owned(),
    };
    let called = |name: &str, second: i64| User {
        name: Some(name.to_owned()),
        created_at: Some(at(second).to_string()),
        ..user(ID)
    };
    let untimed = User {
        created_at: None,
        ..user(ID)
    };
    for (found, resolves_intent) in [
        (called("alice", RECORDED + 1), true),
        (called("alice", RECORDED - 600), false),
        (called("alice", DEADLINE + 36), false),
        (called("bob", RECORDED + 1), false),
        (untimed, false),
    ] {
        assert_eq!(
            Users::resolves_intent(&intent, &found, &record),
            resolves_intent,
            "{found:?}"
        );
    }
}

#[test]
fn a_user_found_under_the_recorded_name_clears_the_lost_ids() {
    let case = UserCase::new();
    let record = crate::kind::RecordContext {
        policy: &case.policy,
        uid: "uid",
        cloud_now: at(5000),
    };
    for (id, name, left) in [(ID, "alice", 0), (ID, "bob", 1), ("lost", "alice", 1)] {
        let mut status = VpnUserStatus {
            name: Some("alice".to_owned()),
            ..VpnUserStatus::default()
        };
        status.record.disappeared_ids = vec!["lost".to_owned()];
        let remote = User {
            name: Some(name.to_owned()),
            ..user(id)
        };
        Users::found(&mut status, None, &remote, None, &record);
        assert_eq!(status.record.disappeared_ids.len(), left, "{name}");
    }
}

#[test]
fn a_deletion_with_other_credentials_keeps_records_of_the_former_scope() {
    let given_up = PastIntent {
        recorded_at: Time(at(1000)),
        deadline: Time(at(1012)),
        given_up: true,
    };
    let elsewhere = UserCase::new().listed_now().with(|case| {
        case.status.object.scope = Some(Scope {
            project_id: "former".to_owned(),
            ..scope()
        });
    });
    let lost = elsewhere
        .clone()
        .with(|case| case.status.record.disappeared_ids = vec!["lost".to_owned()]);
    let unresolved = elsewhere
        .clone()
        .with(|case| case.status.object.past_intents = vec![given_up]);
    for case in [lost, unresolved] {
        let deleting = case.clone().deleting();
        deleting.stops_for(Reason::ScopeChanged, "is in project former");
        deleting.stops_for(Reason::ScopeChanged, "deletionPolicy: Retain releases this object");
        let retained = deleting.with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain));
        assert!(matches!(retained.decide(), Step::Release(Some(_))));
        assert!(matches!(case.decide(), Step::Create(_)), "a living object moves");
    }
    assert_eq!(elsewhere.deleting().decide(), Step::Release(None));
}

#[test]
fn a_deletion_works_with_an_unreadable_spec_and_retain_keeps_the_user() {
    let broken = UserCase::ready()
        .deleting()
        .with(|case| case.spec = Err("broken".to_owned()));
    assert!(matches!(broken.decide(), Step::Delete { .. }));
    let sent = broken.clone().with(|case| case.sent_delete = Some(SentDelete::PENDING));
    sent.stops_for(Reason::Deleting, "waiting until it no longer exists in the cloud");
    let kept = broken.with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain));
    assert!(matches!(kept.decide(), Step::Release(Some(_))));

    let unknown_parent = UserCase::new().deleting().with(|case| {
        case.spec = Err("broken".to_owned());
        case.has_parent = false;
    });
    assert_eq!(
        unknown_parent.decide(),
        Step::Release(None),
        "no creation was ever recorded"
    );
    let lost = unknown_parent.with(|case| case.status.object.id = Some(ID.to_owned()));
    lost.stops_for(Reason::InvalidSpec, "correct spec");
}

#[test]
fn implausible_recorded_times_of_a_user_are_corrected() {
    let now = CONFIRMED_AT;
    let year_later = || Time(at(now + 365 * 24 * 3600));
    let intends = UserCase::new().with(|case| {
        case.status.object.intent = Some(Intent {
            token: "token".to_owned(),
            recorded_at: Time(at(RECORDED)),
            deadline: year_later(),
            name: "alice".to_owned(),
        });
    });
    let confirms = UserCase::created().with(|case| case.status.record.confirmed_at = Some(year_later()));
    let resets = UserCase::ready().with(|case| {
        case.status.record.password_reset = Some(PasswordReset {
            deadline: year_later(),
            ..reset("two")
        });
    });
    for case in [intends, confirms, resets].map(|case| case.with(|case| case.cloud_now = now)) {
        for case in [case.clone(), case.clone().deleting()] {
            assert_eq!(case.decide(), Step::Note(Note::Unbelievable), "{:?}", case.status);
            let record = crate::kind::RecordContext {
                policy: &case.policy,
                uid: "uid",
                cloud_now: at(now),
            };
            let mut corrected = case.clone();
            let status = &mut corrected.status;
            crate::ledger::record::noted::<Users>(status, &Note::Unbelievable, &scope(), None, &record);
            assert_ne!(
                corrected.decide(),
                Step::Note(Note::Unbelievable),
                "{:?}",
                corrected.status
            );
        }
        let unknown_parent = case.with(|case| case.has_parent = false);
        assert_ne!(
            unknown_parent.decide(),
            Step::Note(Note::Unbelievable),
            "nothing can be recorded"
        );
    }
}

#[test]
fn a_long_confirmation_period_counts_as_plausible() {
    let case = UserCase::created().with(|case| {
        case.policy.confirmation_period = std::time::Duration::from_secs(3600);
        case.status.record.confirmed_at = Some(Time(at(case.cloud_now + 3605)));
    });
    assert_ne!(case.decide(), Step::Note(Note::Unbelievable));
}

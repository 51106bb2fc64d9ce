//! The table of decisions for users: what is different without tags, with creations that settle, names and passwords.

use super::*;
use crate::api::user_record::{PasswordRecord, PasswordRefused, PasswordReset, SentUser};
use crate::api::vpn_user::PasswordRef;
use crate::api::{AdoptionPolicy, Intent, PastIntent, VpnUserSpec, VpnUserStatus};
use crate::cloud::password::Password;
use crate::cloud::users::User;
use crate::reconcile::vpn_user::{KnownPassword, UserChange, UserExtras, Users};

const ID: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";
const GROUP: &str = "cccccccc-cccc-4ccc-8ccc-cccccccccccc";
/// The intent of these cases: announced at 1000, over at 1012; settled 30 s later.
const ANNOUNCED: i64 = 1000;
const DEADLINE: i64 = 1012;
const SETTLED: i64 = 1050;

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
        created_at: Some(at(ANNOUNCED + 1).to_string()),
        ..User::default()
    }
}

fn seen(remote: User, full: bool) -> Sighting<User> {
    Sighting::Seen {
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
struct Case {
    policy: Policy,
    deleting_since: Option<Time>,
    spec: Result<VpnUserSpec, String>,
    lifecycle: Lifecycle,
    status: VpnUserStatus,
    cloud_now: i64,
    extras: Extras<UserExtras>,
    has_home: bool,
    view: View<User>,
    triggered: bool,
    delete_sent: bool,
    accepted: Option<UserChange>,
    replayed: bool,
}

impl Case {
    /// A new object, and a mirror that has listed a server without users.
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
            extras: Extras::Read(UserExtras {
                password: Some(known("one")),
                group_id: None,
            }),
            has_home: true,
            view: View {
                listed: Some(Listed {
                    fresh: false,
                    started: at(900),
                    complete: true,
                }),
                ..View::blank()
            },
            triggered: true,
            delete_sent: false,
            accepted: None,
            replayed: false,
        }
    }

    /// A creation that was answered and has not settled.
    fn created() -> Self {
        Self::new().with(|case| {
            let status = &mut case.status;
            status.object.id = Some(ID.to_owned());
            status.object.scope = Some(scope());
            status.record.vpn_server_id = Some(SERVER.to_owned());
            status.record.settles_at = Some(Time(at(SETTLED)));
            status.record.password = Some(password("one"));
            status.object.past_intents = vec![PastIntent {
                recorded_at: Time(at(ANNOUNCED)),
                deadline: Time(at(DEADLINE)),
                given_up: false,
            }];
        })
    }

    /// An object that was confirmed, and is seen in the cloud as it should be.
    fn ready() -> Self {
        Self::created().with(|case| {
            case.cloud_now = SETTLED + 100;
            case.status.record.settles_at = None;
            case.status.object.past_intents.clear();
            case.status.object.observed_generation = Some(1);
            let verdict = Verdict::new(Reason::Available, "");
            conditions::apply(&mut case.status.object.conditions, &verdict, Some(1), Time(at(SETTLED)));
            case.view.known = seen(user(ID), true);
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
            case.view.listed = Some(Listed {
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
            extras: self.extras.clone(),
            has_home: self.has_home,
            view: self.view.clone(),
            failed_look: None,
            triggered: self.triggered,
            delete_sent: self.delete_sent.then_some(ID),
            accepted: self.accepted.clone(),
            replayed: self.replayed,
            overwrites_tags: true,
        })
    }

    fn stops_for(&self, reason: Reason, words: &str) {
        match self.decide() {
            Step::Rest(Rest::Troubled(trouble)) if trouble.verdict.reason == reason => {
                assert!(trouble.verdict.message.contains(words), "{}", trouble.verdict.message);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn look(step: &Step<Users>) -> Option<&Look> {
    match step {
        Step::Look { look, .. } => Some(look),
        _ => None,
    }
}

#[test]
fn a_first_creation_rests_on_what_the_mirror_knows() {
    assert!(matches!(Case::new().decide(), Step::Create(_)));
}

#[test]
fn a_creation_and_an_adoption_wait_for_a_namespace_that_cannot_be_listed_and_name_it() {
    let unlisted = |case: &mut Case| {
        case.view.unlisted = Some(Unlisted {
            namespace: Some("team-b".to_owned()),
            cause: "operator cannot list resource \"vpnusers\"".to_owned(),
        });
    };
    let words = "VpnUsers of the namespace team-b cannot be listed, so that one of them may have this VPN user or its name: \
                 operator cannot list resource \"vpnusers\"; grant list and watch on vpnusers.vpn.huaweicloud.com there";
    Case::new().with(unlisted).stops_for(Reason::DependencyNotReady, words);
    let named = Case::new().with(|case| {
        case.lifecycle.external_id = Some(ID.to_owned());
        case.view.known = seen(user(ID), true);
    });
    assert!(matches!(named.decide(), Step::Note(Note::Found { .. })));
    named.with(unlisted).stops_for(Reason::DependencyNotReady, words);
    let by_name = Case::new().listed_now().with(|case| {
        case.lifecycle.adoption_policy = Some(AdoptionPolicy::IfExists);
        case.view.candidates = vec![user(ID)];
    });
    assert!(matches!(by_name.decide(), Step::Note(Note::Found { .. })));
    by_name.with(unlisted).stops_for(Reason::DependencyNotReady, words);
    // What is on record is kept up, and an observer takes nothing.
    let recorded = Case::ready().with(unlisted).decide();
    assert!(matches!(recorded, Step::Rest(Rest::Confirmed { .. })), "{recorded:?}");
    let observer = Case::new().with(unlisted).with(|case| {
        case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
        case.lifecycle.external_id = Some(ID.to_owned());
        case.view.known = seen(user(ID), true);
    });
    assert!(matches!(observer.decide(), Step::Note(Note::Found { .. })));
}

#[test]
fn what_is_wrong_with_the_password_is_told_before_anything_is_asked() {
    let case = Case::new().with(|case| {
        case.view.listed = None;
        case.extras = Extras::Lacking(Trouble {
            verdict: Verdict::new(Reason::InvalidPassword, "too short"),
            pace: PERSON,
        });
    });
    case.stops_for(Reason::InvalidPassword, "too short");
}

#[test]
fn a_creation_is_confirmed_when_it_is_still_there_after_the_settle_time() {
    let unsettled = Case::created().with(|case| case.view.known = seen(user(ID), true));
    for known in [
        unsettled.view.known.clone(),
        Sighting::Unknown,
        Sighting::Missing,
        Sighting::Gone,
    ] {
        let case = unsettled.clone().with(|case| case.view.known = known);
        match case.decide() {
            Step::Rest(Rest::Until(Some(verdict), left)) => {
                assert_eq!(verdict.reason, Reason::Creating);
                assert_eq!(left, Duration::from_secs(38), "and one second more");
            }
            other => panic!("{other:?}"),
        }
    }
    let settled = unsettled.with(|case| case.cloud_now = SETTLED);
    assert!(matches!(settled.decide(), Step::Rest(Rest::Confirmed { .. })));
    let stale = Sighting::Seen {
        remote: user(ID),
        fresh: false,
        full: true,
    };
    for known in [stale, Sighting::Unknown, Sighting::Missing] {
        let case = settled.clone().with(|case| {
            case.view.known = known;
            case.view.mass_deletion = Some(MassDeletion { missing: 50, of: 50 });
            case.triggered = false;
        });
        assert_eq!(
            look(&case.decide()),
            Some(&Look::Object(ID.to_owned())),
            "no creation is a loss"
        );
    }
    let gone = settled.with(|case| case.view.known = Sighting::Gone);
    assert_eq!(gone.decide(), Step::Note(Note::Vanished));
}

#[test]
fn a_namesake_of_now_is_a_conflict_and_one_of_before_is_looked_at_again() {
    let stranger = Case::new().with(|case| case.view.namesake = Some(user("stranger")));
    assert_eq!(look(&stranger.decide()), Some(&Look::Collection));
    stranger
        .listed_now()
        .stops_for(Reason::NameConflict, "spec.externalID to stranger");

    let refused = Case::new().with(|case| {
        let verdict = Verdict::new(Reason::NameConflict, "");
        let conditions = &mut case.status.object.conditions;
        conditions::apply(conditions, &verdict, Some(1), Time(at(0)));
    });
    assert_eq!(look(&refused.decide()), Some(&Look::Collection));
    assert!(matches!(refused.listed_now().decide(), Step::Create(_)));
}

#[test]
fn another_objects_name_is_a_conflict_until_that_one_goes() {
    let holder = |deleting| Rival {
        namespace: "team".to_owned(),
        name: "other".to_owned(),
        deleting,
    };
    let held = |deleting| Case::new().with(|case| case.view.name_holder = Some(holder(deleting)));
    held(false).stops_for(Reason::NameConflict, "VpnUser team/other");
    held(true).stops_for(Reason::DependencyNotReady, "VpnUser team/other");
}

#[test]
fn what_an_unresolved_creation_made_is_ours_and_nothing_is_sent_before_that_is_known() {
    let unresolved = Case::new().with(|case| {
        case.status.object.intent = Some(Intent {
            token: "token".to_owned(),
            recorded_at: Time(at(ANNOUNCED)),
            deadline: Time(at(DEADLINE)),
            name: "alice".to_owned(),
        });
        case.status.object.scope = Some(scope());
    });
    let found = unresolved.clone().with(|case| case.view.owned = vec![user(ID)]);
    assert!(matches!(found.decide(), Step::Note(Note::Found { .. })));
    // A stranger's is not, however long one waits; the creation is given up only when nothing can come of it any more.
    let stranger = unresolved.with(|case| case.view.namesake = Some(user("stranger")));
    assert_eq!(look(&stranger.decide()), Some(&Look::Collection));
    assert!(matches!(
        stranger.clone().listed_now().decide(),
        Step::Rest(Rest::Until(Some(_), _))
    ));
    // The token tells, if the body that was announced is still known; it is asked once.
    let replayable = stranger.clone().listed_now().with(|case| {
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
        case.extras = Extras::Read(UserExtras {
            password: Some(known("two")),
            group_id: None,
        });
    });
    let replayed = replayable.with(|case| case.replayed = true);
    for case in [another, replayed] {
        assert!(matches!(case.decide(), Step::Rest(Rest::Until(Some(_), _))));
    }
    let later = stranger.with(|case| case.cloud_now = DEADLINE + 31).listed_now();
    assert_eq!(later.decide(), Step::Note(Note::GivenUp));
}

/// Otherwise a misspelt one would never be missed.
#[test]
fn the_fields_without_which_no_password_is_sent_are_in_the_crd() {
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
fn a_new_password_is_sent_and_put_on_record_before_and_one_in_force_is_not() {
    assert!(matches!(Case::ready().decide(), Step::Rest(Rest::Confirmed { .. })));
    let changed = Case::ready().with(|case| {
        case.extras = Extras::Read(UserExtras {
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

    let back = Case::ready().with(|case| case.status.record.password_reset = Some(reset("two")));
    back.stops_for(Reason::InvalidPassword, "put a new password into the Secret");
    let third = changed.with(|case| {
        case.status.record.password_reset = Some(reset("three"));
        case.cloud_now = DEADLINE + 30;
    });
    assert!(matches!(third.decide(), Step::Rest(Rest::Until(Some(_), _))));
    let settled = third.with(|case| case.cloud_now = DEADLINE + 31);
    assert!(matches!(settled.decide(), Step::Change { .. }));

    let refused = PasswordRefused {
        password: password("one"),
        message: "used recently".to_owned(),
        requested_at: None,
    };
    let former = Case::ready().with(|case| {
        case.status.record.password = Some(password("two"));
        case.status.record.password_refused = Some(refused.clone());
    });
    former.stops_for(Reason::InvalidPassword, "used recently");
    let created = Case::new().with(|case| case.status.record.password_refused = Some(refused));
    created.stops_for(Reason::InvalidPassword, "used recently");
    // What else differs does not wait for a person.
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
fn a_change_carries_what_it_leaves_alone_and_so_needs_the_whole_user() {
    let has = User {
        description: Some("old".to_owned()),
        static_ip: Some("192.168.10.5".to_owned()),
        user_group_id: Some(GROUP.to_owned()),
        ..user(ID)
    };
    let edited = Case::ready().spec(|spec| spec.description = Some("new".to_owned()));
    let listed = edited.clone().with(|case| case.view.known = seen(has.clone(), false));
    assert_eq!(look(&listed.decide()), Some(&Look::Whole(ID.to_owned())));
    let whole = edited.with(|case| case.view.known = seen(has.clone(), true));
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
    let leaves = Case::ready()
        .spec(|spec| spec.user_group_id = Some("none".to_owned()))
        .with(|case| case.view.known = seen(has, true));
    match leaves.decide() {
        Step::Change { call, .. } => assert_eq!(call, UserChange::LeaveGroup(GROUP.to_owned())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deletion_waits_for_a_creation_that_may_still_show_up() {
    let early = Case::created().deleting().with(|case| case.view.known = Sighting::Gone);
    assert!(matches!(early.decide(), Step::Rest(Rest::Until(Some(_), _))));
    let shown = early.clone().with(|case| case.view.known = seen(user(ID), true));
    assert!(matches!(shown.decide(), Step::Delete { twin: false, .. }));
    let late = early.with(|case| case.cloud_now = SETTLED);
    assert_eq!(late.decide(), Step::Release(None));
}

#[test]
fn a_deletion_needs_no_readable_spec_and_retain_leaves_the_user() {
    let broken = Case::ready()
        .deleting()
        .with(|case| case.spec = Err("broken".to_owned()));
    assert!(matches!(broken.decide(), Step::Delete { .. }));
    let sent = broken.clone().with(|case| case.delete_sent = true);
    sent.stops_for(Reason::Deleting, "waiting until the cloud has it no more");
    let kept = broken.with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain));
    assert!(matches!(kept.decide(), Step::Release(Some(_))));

    let homeless = Case::new().deleting().with(|case| {
        case.spec = Err("broken".to_owned());
        case.has_home = false;
    });
    assert_eq!(homeless.decide(), Step::Release(None), "no creation was ever announced");
    let lost = homeless.with(|case| case.status.object.id = Some(ID.to_owned()));
    lost.stops_for(Reason::InvalidSpec, "correct spec");
}

//! The decisions for customer gateways, for every state that a crash, another client of the cloud or a user can cause.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vpn_cloud::resources::customer_gateways::CustomerGateway;

use crate::api::conditions::ReadyCondition;
use crate::api::lifecycle::{CredentialsRef, DeletionPolicy, Lifecycle};
use crate::api::{
    AdoptionPolicy, CustomerGatewaySpec, CustomerGatewayStatus, Intent, PastIntent, RECREATE_APPROVED_ANNOTATION,
    Scope, conditions,
};
use crate::cache::{LastList, MassDeletion, Observed, Query};
use crate::decide::step::Why;
use crate::decide::*;
use crate::kinds::customer_gateway::{GatewayChange, GatewayDereferenced, Gateways};
use crate::owner_tag::Owner;
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::dereferenced::Dereferencing;
use crate::terms::failure::{Failure, RETRY, USER_ACTION};
use crate::terms::observation::{Observation, Unlisted};
use crate::terms::policy::Policy;
use crate::terms::sent_delete::{DeleteOutcome, SentDelete};

const UID: &str = "11111111-1111-4111-8111-111111111111";

const OTHER_UID: &str = "22222222-2222-4222-8222-222222222222";

const ID: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";

const DUPLICATE: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

const KEY: &str = "vpn-operator-owner";

/// The intent of these cases: recorded at 1000, deadline at 1012; the confirmation period ends 30 s later.
const RECORDED: i64 = 1000;

const DEADLINE: i64 = 1012;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

/// A case: all inputs of a decision, to be changed by each test.
#[derive(Clone)]
struct GatewayCase {
    policy: Policy,
    generation: i64,
    deleting_since: Option<Time>,
    has_finalizer: bool,
    paused: bool,
    approved: Option<&'static str>,
    spec: Result<CustomerGatewaySpec, String>,
    lifecycle: Lifecycle,
    status: CustomerGatewayStatus,
    crd_deleting_since: Option<Time>,
    access: Result<Access, Failure>,
    dereferenced: Dereferencing<GatewayDereferenced>,
    observation: Observation<CustomerGateway>,
    failed_query: Option<Failure>,
    triggered: bool,
    sent_delete: Option<SentDelete>,
    undeleted: Vec<String>,
    accepted: Option<GatewayChange>,
    overwrites_tags: bool,
}

fn scope(project: &str) -> Scope {
    Scope {
        endpoint: "https://vpn.example".to_owned(),
        project_id: project.to_owned(),
    }
}

fn owner_tag(uid: &str, cluster: &str) -> String {
    Owner::new(uid, Some(cluster), "team", "office").to_string()
}

fn remote(id: &str, owner: Option<&str>) -> CustomerGateway {
    let tags = owner
        .map(|owner| (KEY.to_owned(), owner.to_owned()))
        .into_iter()
        .collect();
    CustomerGateway {
        id: id.to_owned(),
        name: Some("office".to_owned()),
        id_type: Some("ip".to_owned()),
        id_value: Some("203.0.113.7".to_owned()),
        created_at: Some(at(RECORDED + 1).to_string()),
        updated_at: Some(at(RECORDED + 1).to_string()),
        tags: Some(tags),
        ..CustomerGateway::default()
    }
}

fn mine(id: &str) -> CustomerGateway {
    remote(id, Some(&owner_tag(UID, "test")))
}

fn seen(remote: CustomerGateway) -> Observed<CustomerGateway> {
    Observed::Seen {
        remote,
        fresh: true,
        full: true,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the field that the tests set")]
fn listed(second: i64) -> Option<LastList> {
    Some(LastList {
        fresh: true,
        started: at(second),
        complete: true,
    })
}

fn intent() -> Intent {
    Intent {
        token: "token".to_owned(),
        recorded_at: Time(at(RECORDED)),
        deadline: Time(at(DEADLINE)),
        name: "office".to_owned(),
    }
}

impl GatewayCase {
    /// A new object: nothing recorded, and a cache that has listed an empty cloud.
    fn new() -> Self {
        Self {
            policy: Policy {
                cluster_name: Some("test".to_owned()),
                ..Policy::of_tests(KEY)
            },
            generation: 1,
            deleting_since: None,
            has_finalizer: true,
            paused: false,
            approved: None,
            spec: Ok(CustomerGatewaySpec {
                name: Some("office".to_owned()),
                id_value: Some("203.0.113.7".to_owned()),
                ..CustomerGatewaySpec::default()
            }),
            lifecycle: Lifecycle::default(),
            status: CustomerGatewayStatus::default(),
            crd_deleting_since: None,
            access: Ok(Access {
                scope: scope("p"),
                cloud_now: Some(at(DEADLINE + 1)),
            }),
            dereferenced: Dereferencing::Read(GatewayDereferenced::default()),
            observation: Observation {
                listed: listed(900),
                ..Observation::blank()
            },
            failed_query: None,
            triggered: true,
            sent_delete: None,
            undeleted: Vec::new(),
            accepted: None,
            overwrites_tags: true,
        }
    }

    /// An object that was created and confirmed, and that the cloud matches.
    fn ready() -> Self {
        let mut case = Self::new();
        let object = &mut case.status.object;
        object.id = Some(ID.to_owned());
        object.scope = Some(scope("p"));
        object.observed_generation = Some(1);
        object.past_intents = vec![PastIntent {
            recorded_at: Time(at(RECORDED)),
            deadline: Time(at(DEADLINE)),
            given_up: false,
        }];
        let condition = ReadyCondition::new(Reason::Available, "");
        conditions::apply(&mut object.conditions, &condition, Some(1), &Time(at(RECORDED)));
        case.observation.known = seen(mine(ID));
        case.observation.owned = vec![mine(ID)];
        case.triggered = false;
        case
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn deleting(self) -> Self {
        self.with(|case| {
            case.deleting_since = Some(Time(at(2000)));
            case.triggered = true;
        })
    }

    fn decide(&self) -> Step<Gateways> {
        decide(&Inputs {
            policy: &self.policy,
            uid: UID,
            namespace: "team",
            name: "office",
            generation: Some(self.generation),
            deleting_since: self.deleting_since.as_ref(),
            has_finalizer: self.has_finalizer,
            paused: self.paused,
            recreation_approved_at: self.approved.and_then(|text| text.parse().ok()),
            spec: &self.spec,
            lifecycle: &self.lifecycle,
            status: &self.status,
            crd_deleting_since: self.crd_deleting_since.as_ref(),
            access: self.access.clone(),
            dereferenced: self.dereferenced.clone(),
            has_parent: true,
            observation: self.observation.clone(),
            failed_query: self.failed_query.clone(),
            triggered: self.triggered,
            sent_delete: self.sent_delete,
            undeleted: self.undeleted.clone(),
            accepted: self.accepted.clone(),
            replayed: false,
            overwrites_tags: self.overwrites_tags,
        })
    }

    /// The reason and the message with which the decision ends in a rest.
    fn rests(&self) -> (Reason, String) {
        match self.decide() {
            Step::Rest(Rest::Failed(failure)) => (failure.condition.reason, failure.condition.message),
            other => panic!("no rest with a reason: {other:?}"),
        }
    }
}

fn reads_object(id: &str) -> Step<Gateways> {
    Step::Query {
        query: Query::Object(id.to_owned()),
        fresh: false,
    }
}

fn failure(reason: Reason) -> Failure {
    Failure {
        condition: ReadyCondition::new(reason, "because"),
        backoff: RETRY,
    }
}

// --- creation -------------------------------------------------------------------------------------------------------

#[test]
fn a_gateway_creation_does_not_wait_for_unlisted_namespaces() {
    let unlisted = GatewayCase::new().with(|case| {
        case.observation.unlisted = Some(Unlisted {
            namespace: Some("team-b".to_owned()),
            cause: "forbidden".to_owned(),
        });
    });
    assert!(matches!(unlisted.decide(), Step::Create(_)));
}

#[test]
fn a_first_creation_requires_cache_and_finalizer_but_no_extra_read() {
    let unprimed = GatewayCase::new().with(|case| case.observation.listed = None);
    assert_eq!(
        unprimed.decide(),
        Step::Query {
            query: Query::Collection,
            fresh: false
        }
    );
    let bare = GatewayCase::new().with(|case| case.has_finalizer = false);
    assert_eq!(bare.decide(), Step::AddFinalizer);
    let Step::Create(new) = GatewayCase::new().decide() else {
        panic!("it creates")
    };
    assert_eq!(new.tags, BTreeMap::from([(KEY.to_owned(), owner_tag(UID, "test"))]));
    assert_eq!(
        (new.name.as_str(), new.id_type.as_str(), new.id_value.as_str()),
        ("office", "ip", "203.0.113.7")
    );
}

#[test]
fn an_unresolved_intent_prevents_a_creation_without_a_new_list() {
    let case = |started: i64, now: i64, fresh: bool, complete: bool| {
        GatewayCase::new().with(|case| {
            case.status.object.intent = Some(intent());
            case.status.object.scope = Some(scope("p"));
            case.observation.listed = Some(LastList {
                fresh,
                started: at(started),
                complete,
            });
            case.access = Ok(Access {
                scope: scope("p"),
                cloud_now: Some(at(now)),
            });
        })
    };
    let fresh = Step::Query {
        query: Query::Collection,
        fresh: true,
    };
    // The answer was just lost: list at once.
    assert_eq!(case(900, DEADLINE, false, true).decide(), fresh);
    // Not found yet: wait for the deadline and the confirmation period.
    assert!(matches!(
        case(DEADLINE, DEADLINE, true, true).decide(),
        Step::Rest(Rest::Until(Some(_), _))
    ));
    assert!(matches!(
        case(DEADLINE, DEADLINE + 30, true, true).decide(),
        Step::Rest(Rest::Until(Some(_), _))
    ));
    // Then list again: the last LIST was too early to prove anything.
    assert_eq!(case(DEADLINE, DEADLINE + 31, true, true).decide(), fresh);
    assert_eq!(case(DEADLINE + 30, DEADLINE + 31, true, true).decide(), fresh);
    // Only a complete LIST after that proves that nothing was created.
    assert_eq!(
        case(DEADLINE + 31, DEADLINE + 32, true, true).decide(),
        Step::Note(Note::GivenUp)
    );
    assert_eq!(
        case(DEADLINE + 31, DEADLINE + 32, true, false).rests().0,
        Reason::CloudError
    );
    // In no state of the clock and the cache is it created again.
    for started in [900, DEADLINE, DEADLINE + 30, DEADLINE + 31, 5000] {
        for now in [RECORDED, DEADLINE, DEADLINE + 30, DEADLINE + 31, 6000] {
            for flags in [(true, true), (true, false), (false, true), (false, false)] {
                let step = case(started, now, flags.0, flags.1).decide();
                assert!(!matches!(step, Step::Create(_)), "{started} {now} {flags:?}");
            }
        }
    }
}

#[test]
fn a_found_gateway_resolves_its_intent() {
    let case = GatewayCase::new().with(|case| {
        case.status.object.intent = Some(intent());
        case.observation.owned = vec![mine(ID), mine(DUPLICATE)];
    });
    let Step::Note(Note::Found {
        remote,
        event: Some((reason, _)),
    }) = case.decide()
    else {
        panic!("found")
    };
    assert_eq!((remote.id.as_str(), reason), (ID, "Created"));
}

#[test]
fn unknown_tags_are_read_before_any_decision() {
    for with_intent in [false, true] {
        let case = GatewayCase::new().with(|case| {
            case.status.object.intent = with_intent.then(intent);
            case.observation.tags_unknown = vec![ID.to_owned()];
            case.observation.listed = listed(5000);
        });
        assert_eq!(
            case.decide(),
            Step::Query {
                query: Query::Tags(ID.to_owned()),
                fresh: false
            }
        );
    }
}

#[test]
fn a_former_owner_is_readopted_only_with_a_cluster_name() {
    let case = GatewayCase::new()
        .with(|case| case.observation.former_owners = vec![remote(ID, Some(&owner_tag(OTHER_UID, "test")))]);
    let Step::Note(Note::Found {
        event: Some((reason, _)),
        ..
    }) = case.decide()
    else {
        panic!("taken back")
    };
    assert_eq!(reason, "Readopted");
    let nameless = case.with(|case| {
        case.policy.cluster_name = None;
        case.observation.former_owners = vec![remote(ID, Some(&owner_tag(OTHER_UID, "")))];
    });
    let (reason, message) = nameless.rests();
    assert_eq!(reason, Reason::AlreadyManaged);
    assert!(message.contains("--cluster-name"), "{message}");
}

#[test]
fn a_gateway_adopted_by_another_object_is_left_to_it() {
    let taken = |external_id: Option<&str>| {
        GatewayCase::ready().with(|case| {
            case.lifecycle.external_id = external_id.map(str::to_owned);
            case.status.object.owner_uid = Some(UID.to_owned());
            case.observation.known = seen(remote(ID, Some(&owner_tag(OTHER_UID, "test"))));
            case.observation.owned.clear();
        })
    };
    for external_id in [None, Some(ID)] {
        let (reason, message) = taken(external_id).rests();
        assert_eq!(reason, Reason::AlreadyManaged, "{external_id:?}");
        let contains = |words: &str| message.contains(words);
        assert!(
            contains("--cluster-name") && contains("remove that tag in the cloud"),
            "{message}"
        );
        let step = taken(external_id).deleting().decide();
        assert!(matches!(step, Step::Release(Some(_))), "{step:?}");
    }
    // A status that was restored under another uid has the owner uid of its former object.
    let restored = taken(None).with(|case| case.status.object.owner_uid = Some(OTHER_UID.to_owned()));
    let step = restored.decide();
    assert!(matches!(step, Step::Change { why: Why::Mark, .. }), "{step:?}");
    let released = taken(None).with(|case| case.observation.known = seen(remote(ID, None)));
    let step = released.decide();
    assert!(matches!(step, Step::Change { why: Why::Mark, .. }), "{step:?}");
}

#[test]
fn an_orphan_of_another_object_name_is_not_duplicated() {
    let dead = Owner::new(OTHER_UID, Some("test"), "team", "former-name").to_string();
    let case = |fresh: bool| {
        GatewayCase::new().with(|case| {
            case.observation.orphan = Some(remote(ID, Some(&dead)));
            case.observation.listed = case.observation.listed.map(|listed| LastList { fresh, ..listed });
        })
    };
    let (reason, message) = case(true).rests();
    assert_eq!(reason, Reason::AlreadyManaged);
    let contains = |words: &str| message.contains(words);
    assert!(
        contains(&format!("set spec.externalID to {ID}")) && contains(&dead),
        "{message}"
    );
    let query = Step::Query {
        query: Query::Collection,
        fresh: false,
    };
    assert_eq!(case(false).decide(), query);
}

#[test]
fn only_a_single_candidate_is_adopted_and_several_prevent_creation() {
    let case = |policy: Option<AdoptionPolicy>, candidates: &[&str]| {
        GatewayCase::new().with(|case| {
            case.lifecycle.adoption_policy = policy;
            case.observation.candidates = candidates.iter().map(|id| remote(id, None)).collect();
        })
    };
    let adopt = Some(AdoptionPolicy::IfExists);
    assert!(matches!(case(adopt, &[ID]).decide(), Step::Note(Note::Found { .. })));
    assert!(matches!(case(adopt, &[]).decide(), Step::Create(_)));
    assert!(matches!(case(None, &[ID]).decide(), Step::Create(_)));
    for adopt in [AdoptionPolicy::IfExists, AdoptionPolicy::Required] {
        let (reason, message) = case(Some(adopt), &[ID, DUPLICATE]).rests();
        assert_eq!(reason, Reason::NameConflict);
        let contains = |text: &str| assert!(message.contains(text), "{message}");
        contains(&format!("{ID}, {DUPLICATE}"));
        contains("set spec.externalID");
    }
}

#[test]
fn a_candidate_with_immutable_differences_blocks_adoption_and_creation() {
    let candidate = CustomerGateway {
        bgp_asn: Some(65099),
        ..remote(ID, None)
    };
    let case = |asn: Option<i64>| {
        GatewayCase::new().with(|case| {
            case.lifecycle.adoption_policy = Some(AdoptionPolicy::IfExists);
            case.spec.as_mut().expect("readable").bgp_asn = asn;
            case.observation.candidates = vec![candidate.clone()];
        })
    };
    let (reason, message) = case(Some(65001)).rests();
    assert_eq!(reason, Reason::NameConflict);
    assert!(
        message.contains(&format!("{ID} (which differs in bgpASN)")),
        "{message}"
    );
    // What the spec omits is not compared.
    for asn in [None, Some(65099)] {
        assert!(matches!(case(asn).decide(), Step::Note(Note::Found { .. })), "{asn:?}");
    }
}

#[test]
fn an_incomplete_list_does_not_prove_that_no_candidate_exists() {
    for adopt in [AdoptionPolicy::IfExists, AdoptionPolicy::Required] {
        let case = GatewayCase::new().with(|case| {
            case.lifecycle.adoption_policy = Some(adopt);
            case.observation.listed = listed(900).map(|listed| LastList {
                complete: false,
                ..listed
            });
        });
        assert_eq!(case.rests().0, Reason::CloudError);
    }
}

#[test]
fn required_adopts_and_never_creates() {
    let case = |candidates: Vec<CustomerGateway>| {
        GatewayCase::new().with(|case| {
            case.lifecycle.adoption_policy = Some(AdoptionPolicy::Required);
            case.observation.candidates = candidates;
        })
    };
    assert_eq!(case(Vec::new()).rests().0, Reason::NotFound);
    assert!(matches!(
        case(vec![remote(ID, None)]).decide(),
        Step::Note(Note::Found {
            event: Some(("Adopted", _)),
            ..
        })
    ));
    // Nor once the adopted gateway is deleted in the cloud.
    let deleted = GatewayCase::ready().with(|case| {
        case.lifecycle.adoption_policy = Some(AdoptionPolicy::Required);
        case.observation.known = Observed::Absent;
    });
    assert_eq!(deleted.rests().0, Reason::NotFound);
    // An object that only observes adds neither finalizer nor tag.
    let observing = |candidates: Vec<CustomerGateway>| {
        case(candidates).with(|case| {
            case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
            case.has_finalizer = false;
        })
    };
    assert_eq!(observing(Vec::new()).rests().0, Reason::NotFound);
    assert!(matches!(
        observing(vec![mine(ID)]).decide(),
        Step::Note(Note::Found { event: None, .. })
    ));
    let unnamed = observing(vec![mine(ID)]).with(|case| case.lifecycle.adoption_policy = None);
    assert_eq!(unnamed.rests().0, Reason::InvalidSpec, "it is not created either");
}

#[test]
fn fields_omitted_by_lists_are_read_before_any_decision() {
    let whole = |id: &str| Step::Query {
        query: Query::Whole(id.to_owned()),
        fresh: false,
    };
    let adopts = GatewayCase::new().with(|case| {
        case.lifecycle.adoption_policy = Some(AdoptionPolicy::IfExists);
        case.observation.unread = vec![ID.to_owned()];
    });
    assert_eq!(adopts.decide(), whole(ID));
    let observes = adopts.with(|case| {
        case.lifecycle.adoption_policy = Some(AdoptionPolicy::Required);
        case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
    });
    assert_eq!(observes.decide(), whole(ID));
    let duplicates = GatewayCase::ready().with(|case| {
        case.observation.owned = vec![mine(ID), mine(DUPLICATE)];
        case.observation.unread = vec![DUPLICATE.to_owned()];
    });
    assert_eq!(duplicates.decide(), whole(DUPLICATE));
}

fn competing_claim(deleting: bool) -> CompetingClaim {
    CompetingClaim {
        namespace: "team".to_owned(),
        name: "first".to_owned(),
        deleting,
    }
}

#[test]
fn an_observed_gateway_is_adopted_before_it_is_managed() {
    let turned = GatewayCase::ready().with(|case| {
        case.status.object.observe_only = true;
        case.observation.known = seen(remote(ID, None));
    });
    assert!(matches!(
        turned.clone().decide(),
        Step::Note(Note::Found {
            event: Some(("Adopted", _)),
            ..
        })
    ));
    let without_finalizer = turned.clone().with(|case| case.has_finalizer = false);
    assert_eq!(without_finalizer.decide(), Step::AddFinalizer);
    for (deleting, expected) in [(false, Reason::AlreadyManaged), (true, Reason::DependencyNotReady)] {
        let (reason, message) = turned
            .clone()
            .with(|case| case.observation.competing_claim = Some(competing_claim(deleting)))
            .rests();
        assert_eq!(reason, expected);
        assert!(message.contains("team/first"), "{message}");
    }
    let absent = turned.clone().with(|case| case.observation.known = Observed::Absent);
    assert_eq!(absent.rests().0, Reason::NotFound);
    // Deleted before adoption, the object leaves the cloud unchanged.
    let reported = "left the customer gateway in the cloud, where it was only observed";
    assert_eq!(turned.deleting().decide(), Step::Release(Some(reported.to_owned())));
}

#[test]
fn a_gateway_held_by_another_object_is_neither_changed_nor_deleted() {
    let second = GatewayCase::ready().with(|case| case.observation.competing_claim = Some(competing_claim(false)));
    let (reason, message) = second.clone().rests();
    assert_eq!(reason, Reason::AlreadyManaged);
    assert!(message.contains("team/first"), "{message}");
    let Step::Release(Some(note)) = second.deleting().decide() else {
        panic!("the finalizer is removed and nothing is deleted");
    };
    assert!(note.contains("team/first"), "{note}");
}

#[test]
fn a_gateway_in_creation_by_another_object_is_not_adopted() {
    let case = |lifecycle: Lifecycle| {
        GatewayCase::new().with(|case| {
            case.lifecycle = lifecycle;
            case.observation.candidates = vec![remote(ID, None)];
            case.observation.known = seen(remote(ID, None));
            case.observation.name_holder = Some(competing_claim(false));
        })
    };
    for lifecycle in [
        Lifecycle {
            external_id: Some(ID.to_owned()),
            ..Lifecycle::default()
        },
        Lifecycle {
            adoption_policy: Some(AdoptionPolicy::IfExists),
            ..Lifecycle::default()
        },
        Lifecycle {
            adoption_policy: Some(AdoptionPolicy::Required),
            ..Lifecycle::default()
        },
    ] {
        let (reason, message) = case(lifecycle).rests();
        assert_eq!(reason, Reason::NameConflict);
        assert!(message.contains("team/first"), "{message}");
    }
}

#[test]
fn without_cluster_names_a_deleted_owner_cannot_be_recognized() {
    for place in ["other", "office"] {
        let dead = Owner::new(OTHER_UID, None, "team", place).to_string();
        let (reason, message) = naming(remote(ID, Some(&dead)))
            .with(|case| case.policy.cluster_name = None)
            .rests();
        assert_eq!(reason, Reason::AlreadyManaged);
        assert!(message.contains("--cluster-name"), "{message}");
        assert!(message.contains("remov"), "{message}");
    }
}

#[test]
fn read_only_mode_creates_changes_and_deletes_nothing() {
    let read_only = |case: GatewayCase| case.with(|case| case.policy.read_only = true);
    assert_eq!(read_only(GatewayCase::new()).rests().0, Reason::Creating);
    let renamed = GatewayCase::ready().with(|case| {
        let gateway = CustomerGateway {
            name: Some("else".to_owned()),
            ..mine(ID)
        };
        case.observation.known = seen(gateway);
    });
    let (reason, message) = read_only(renamed).rests();
    assert_eq!(reason, Reason::Updating);
    assert!(message.contains("name"), "{message}");
    assert_eq!(read_only(GatewayCase::ready().deleting()).rests().0, Reason::Deleting);
    let absent = GatewayCase::ready().with(|case| case.observation.known = Observed::Absent);
    assert_eq!(read_only(absent).rests().0, Reason::Creating);
}

// --- recorded objects -----------------------------------------------------------------------------------------------

#[test]
fn a_gateway_without_differences_is_confirmed() {
    let Step::Rest(Rest::Confirmed { drifted, .. }) = GatewayCase::ready().decide() else {
        panic!("confirmed")
    };
    assert_eq!(drifted, Vec::<String>::new());
}

#[test]
fn an_edit_requires_a_read_made_after_it() {
    let case = GatewayCase::ready().with(|case| {
        case.triggered = true;
        case.observation.known = Observed::Seen {
            remote: mine(ID),
            fresh: false,
            full: true,
        };
    });
    assert_eq!(case.decide(), reads_object(ID));
}

/// A read was answered with "no such object"; the LIST that has to confirm it is outstanding or incomplete.
fn unconfirmed(list_incomplete: bool) -> GatewayCase {
    GatewayCase::ready().with(|case| {
        case.observation.known = Observed::Unconfirmed { list_incomplete };
        case.observation.owned = Vec::new();
        case.triggered = true;
    })
}

#[test]
fn a_404_is_confirmed_by_a_list_before_any_decision() {
    let lists = Step::Query {
        query: Query::Collection,
        fresh: false,
    };
    let named = unconfirmed(false).with(|case| {
        case.status = CustomerGatewayStatus::default();
        case.lifecycle.external_id = Some(ID.to_owned());
    });
    for case in [unconfirmed(false), unconfirmed(false).deleting(), named] {
        assert_eq!(case.decide(), lists);
        let failed = case
            .clone()
            .with(|case| case.failed_query = Some(failure(Reason::Throttled)));
        assert_eq!(failed.rests().0, Reason::Throttled);
        let incomplete = case.with(|case| case.observation.known = Observed::Unconfirmed { list_incomplete: true });
        let (reason, message) = incomplete.rests();
        assert_eq!(reason, Reason::CloudError);
        assert!(message.contains("incomplete"), "{message}");
    }
    // At rest it is not reported: it is read again.
    let resting = unconfirmed(true).with(|case| case.triggered = false);
    assert!(matches!(resting.decide(), Step::Rest(Rest::Quiet(_))));
}

#[test]
fn absence_from_a_list_is_checked_by_a_get() {
    let missing = GatewayCase::ready().with(|case| case.observation.known = Observed::Missing);
    assert_eq!(missing.decide(), reads_object(ID));
    let unknown = GatewayCase::ready().with(|case| case.observation.known = Observed::Unknown);
    assert_eq!(unknown.decide(), reads_object(ID));
    let absent = GatewayCase::ready().with(|case| case.observation.known = Observed::Absent);
    assert_eq!(absent.decide(), Step::Note(Note::Lost));
}

#[test]
fn adopted_reported_and_observed_gateways_are_not_recreated() {
    let absent = GatewayCase::ready().with(|case| case.observation.known = Observed::Absent);
    let external = absent
        .clone()
        .with(|case| case.lifecycle.external_id = Some(ID.to_owned()));
    assert_eq!(external.rests().0, Reason::NotFound);
    for policy in [ManagementPolicy::ReportDrift, ManagementPolicy::Observe] {
        let reporting = absent
            .clone()
            .with(|case| case.lifecycle.management_policy = Some(policy));
        assert_eq!(reporting.rests().0, Reason::NotFound, "{policy:?}");
    }
}

#[test]
fn a_mass_deletion_suspends_recreation_until_approval() {
    let suspected = Some(MassDeletion { missing: 11, of: 20 });
    for known in [Observed::Missing, Observed::Absent] {
        let case = GatewayCase::ready().with(|case| {
            case.observation.known = known.clone();
            case.observation.mass_deletion = suspected;
        });
        let (reason, message) = case.rests();
        assert_eq!(reason, Reason::MassDeletionSuspected);
        assert!(message.contains(RECREATE_APPROVED_ANNOTATION), "{message}");
        let unguarded = case.clone().with(|case| case.policy.mass_deletion_guard = false);
        assert!(!matches!(unguarded.decide(), Step::Rest(_)));
        // Suspected since second 3000: an older approval was for something else, whatever the condition is by now.
        let reported = case.with(|case| {
            case.status.object.mass_deletion_suspected_at = Some(Time(at(3000)));
            let condition = ReadyCondition::new(Reason::CloudError, "");
            conditions::apply(&mut case.status.object.conditions, &condition, Some(1), &Time(at(1000)));
        });
        for (approved, goes_on) in [
            ("1970-01-01T00:49:59Z", false),
            ("1970-01-01T00:50:00Z", true),
            ("yes", false),
        ] {
            let mut case = reported.clone().with(|case| case.approved = Some(approved));
            assert_eq!(!matches!(case.decide(), Step::Rest(_)), goes_on, "{approved}");
            if !goes_on && approved != "yes" {
                let (_, message) = case.rests();
                assert!(
                    message.contains(approved) && message.contains("set it again"),
                    "{message}"
                );
                // Repeated decisions do not repeat the hint.
                let condition = ReadyCondition::new(Reason::MassDeletionSuspected, message.clone());
                conditions::apply(&mut case.status.object.conditions, &condition, Some(1), &Time(at(3000)));
                assert_eq!(case.rests().1, message);
                case.approved = None;
                assert!(!case.rests().1.contains("set it again"));
            }
        }
    }
}

#[test]
fn a_suspected_mass_deletion_keeps_its_first_counts() {
    let began = GatewayCase::ready().with(|case| {
        case.observation.known = Observed::Absent;
        case.observation.mass_deletion = Some(MassDeletion { missing: 12, of: 12 });
    });
    let (reason, message) = began.rests();
    let mut status = began.status.clone();
    let stamp = crate::ledger::record::Stamp {
        generation: Some(1),
        now: at(3000),
    };
    let condition = ReadyCondition::new(reason, message.clone());
    crate::ledger::record::condition::<Gateways>(&mut status, &condition, stamp);
    assert_eq!(status.object.mass_deletion_suspected_at, Some(Time(at(3000))));
    let suspected = began.with(|case| case.status = status.clone());
    for others in [None, Some(MassDeletion { missing: 11, of: 12 })] {
        for known in [Observed::Missing, Observed::Absent] {
            let recounted = suspected.clone().with(|case| {
                case.observation.known = known;
                case.observation.mass_deletion = others;
                case.triggered = false;
            });
            assert_eq!(recounted.rests(), (Reason::MassDeletionSuspected, message.clone()));
        }
    }
    // Later reports of the same suspicion do not change when it began.
    let later = crate::ledger::record::Stamp { now: at(4000), ..stamp };
    crate::ledger::record::condition::<Gateways>(&mut status, &condition, later);
    assert_eq!(status.object.mass_deletion_suspected_at, Some(Time(at(3000))));
    // It ends with the object's return, and with its recreation.
    let returned = suspected.with(|case| case.observation.known = seen(mine(ID)));
    assert_eq!(returned.decide(), Step::Note(Note::Returned));
    for note in [Note::Returned, Note::Lost] {
        let mut status = status.clone();
        let record = crate::kind::RecordContext {
            policy: &Policy::of_tests(KEY),
            uid: "uid",
            cloud_now: at(3000),
        };
        crate::ledger::record::noted::<Gateways>(&mut status, &note, &scope("p"), None, &record);
        assert_eq!(status.object.mass_deletion_suspected_at, None, "{note:?}");
    }
}

#[test]
fn no_loss_is_recorded_before_missing_resources_are_counted() {
    let absent = GatewayCase::ready().with(|case| case.observation.known = Observed::Absent);
    assert!(matches!(absent.decide(), Step::Note(Note::Lost)));
    let uncounted = absent.with(|case| case.observation.counted = false);
    assert!(matches!(uncounted.decide(), Step::Rest(Rest::Until(None, _))));
    let unguarded = uncounted.clone().with(|case| case.policy.mass_deletion_guard = false);
    assert!(matches!(unguarded.decide(), Step::Note(Note::Lost)));
    let suspected = uncounted.with(|case| case.observation.mass_deletion = Some(MassDeletion { missing: 11, of: 20 }));
    assert_eq!(suspected.rests().0, Reason::MassDeletionSuspected);
}

#[test]
fn a_missing_owner_tag_is_restored_and_another_owner_stops_changes() {
    let untagged = GatewayCase::ready().with(|case| case.observation.known = seen(remote(ID, None)));
    let tag = BTreeMap::from([(KEY.to_owned(), owner_tag(UID, "test"))]);
    let mark = Step::Change {
        id: ID.to_owned(),
        call: GatewayChange::AddTags(tag),
        why: Why::Mark,
    };
    assert_eq!(untagged.decide(), mark);
    let theirs = owner_tag(OTHER_UID, "elsewhere");
    let stolen = GatewayCase::ready().with(|case| case.observation.known = seen(remote(ID, Some(&theirs))));
    let (reason, message) = stolen.rests();
    assert_eq!(reason, Reason::AlreadyManaged);
    assert!(message.contains(&theirs), "{message}");
    // On deletion, the finalizer is removed without a DELETE.
    assert!(matches!(stolen.deleting().decide(), Step::Release(Some(_))));
}

#[test]
fn where_tags_cannot_be_overwritten_the_old_tag_is_removed_first() {
    let former = owner_tag(OTHER_UID, "test");
    let case = GatewayCase::ready().with(|case| {
        case.observation.known = seen(remote(ID, Some(&former)));
        case.overwrites_tags = false;
    });
    let old = BTreeMap::from([(KEY.to_owned(), former)]);
    let expected = Step::Change {
        id: ID.to_owned(),
        call: GatewayChange::RemoveTags(old),
        why: Why::Mark,
    };
    assert_eq!(case.decide(), expected);
}

#[test]
fn only_a_duplicate_from_a_recorded_creation_is_deleted() {
    let duplicate = |created: i64, address: &str| CustomerGateway {
        created_at: Some(at(created).to_string()),
        id_value: Some(address.to_owned()),
        ..mine(DUPLICATE)
    };
    let case =
        |other: CustomerGateway| GatewayCase::ready().with(|case| case.observation.owned = vec![mine(ID), other]);
    let delete = Step::Delete {
        id: DUPLICATE.to_owned(),
        duplicate: true,
    };
    // The creation window, from the intent to the end of the confirmation period, with the clock margin on both sides.
    for (created, goes) in [(994, false), (995, true), (DEADLINE + 35, true), (DEADLINE + 36, false)] {
        assert_eq!(
            case(duplicate(created, "203.0.113.7")).decide() == delete,
            goes,
            "{created}"
        );
    }
    let Step::Rest(Rest::Confirmed {
        unexplained_duplicates, ..
    }) = case(duplicate(RECORDED, "203.0.113.8")).decide()
    else {
        panic!("left alone, and reported")
    };
    assert_eq!(unexplained_duplicates, [DUPLICATE]);
    let reporting = case(duplicate(RECORDED, "203.0.113.7"))
        .with(|case| case.lifecycle.management_policy = Some(ManagementPolicy::ReportDrift));
    assert_ne!(reporting.decide(), delete);
}

#[test]
fn drift_is_corrected_or_reported() {
    let renamed = GatewayCase::ready().with(|case| {
        let gateway = CustomerGateway {
            name: Some("else".to_owned()),
            ..mine(ID)
        };
        case.observation.known = seen(gateway);
    });
    let Step::Change { why, .. } = renamed.decide() else {
        panic!("corrected")
    };
    assert_eq!(why, Why::Differs(vec!["name".to_owned()]));
    for policy in [ManagementPolicy::ReportDrift, ManagementPolicy::Observe] {
        let reporting = renamed
            .clone()
            .with(|case| case.lifecycle.management_policy = Some(policy));
        let Step::Rest(Rest::Confirmed { drifted, .. }) = reporting.decide() else {
            panic!("reported")
        };
        assert_eq!(drifted, ["name"]);
    }
}

#[test]
fn an_immutable_difference_is_reported_and_nothing_is_changed() {
    let case = GatewayCase::ready().with(|case| {
        if let Ok(spec) = &mut case.spec {
            spec.bgp_asn = Some(65010);
            spec.name = Some("renamed as well".to_owned());
        }
    });
    let (reason, message) = case.rests();
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.starts_with("bgpASN"), "{message}");
    // A list may omit the ASN: that is no difference yet.
    let listed = case.with(|case| {
        case.observation.known = Observed::Seen {
            remote: mine(ID),
            fresh: true,
            full: false,
        };
    });
    assert_eq!(
        listed.decide(),
        Step::Query {
            query: Query::Whole(ID.to_owned()),
            fresh: false
        }
    );
}

/// Otherwise a GET that fails while the list shows the object would be sent again and again.
#[test]
fn a_failed_read_of_the_whole_object_is_reported() {
    let refused = Failure {
        condition: ReadyCondition::new(Reason::Forbidden, "getting the gateway failed"),
        backoff: USER_ACTION,
    };
    let mut case = GatewayCase::ready();
    case.triggered = true;
    if let Ok(spec) = &mut case.spec {
        spec.bgp_asn = Some(65010);
    }
    case.observation.known = Observed::Seen {
        remote: mine(ID),
        fresh: true,
        full: false,
    };
    case.failed_query = Some(refused.clone());
    assert_eq!(case.decide(), Step::Rest(Rest::Failed(refused)));
}

#[test]
fn credentials_of_another_project_stop_all_changes() {
    for case in [
        GatewayCase::ready(),
        GatewayCase::ready().deleting(),
        GatewayCase::new().with(|case| {
            case.status.object.intent = Some(intent());
            case.status.object.scope = Some(scope("p"));
        }),
    ] {
        for known in [Observed::Absent, Observed::Unknown, seen(mine(ID))] {
            let elsewhere = case.clone().with(|case| {
                case.access = Ok(Access {
                    scope: scope("q"),
                    cloud_now: Some(at(9000)),
                });
                case.observation.known = known.clone();
            });
            assert_eq!(elsewhere.rests().0, Reason::ScopeChanged);
        }
    }
}

#[test]
fn a_read_failure_is_shown_only_with_pending_work() {
    let failed = |case: GatewayCase| {
        case.with(|case| {
            case.observation.known = Observed::Unknown;
            case.failed_query = Some(failure(Reason::CloudError));
        })
    };
    assert!(matches!(
        failed(GatewayCase::ready()).decide(),
        Step::Rest(Rest::Quiet(_))
    ));
    assert_eq!(
        failed(GatewayCase::ready().with(|case| case.triggered = true))
            .rests()
            .0,
        Reason::CloudError
    );
    assert_eq!(
        failed(GatewayCase::ready().with(|case| case.generation = 2)).rests().0,
        Reason::CloudError
    );
    assert_eq!(failed(GatewayCase::ready().deleting()).rests().0, Reason::CloudError);
    let no_access = |case: GatewayCase| case.with(|case| case.access = Err(failure(Reason::Unauthorized)));
    assert!(matches!(
        no_access(GatewayCase::ready()).decide(),
        Step::Rest(Rest::Quiet(_))
    ));
    assert_eq!(no_access(GatewayCase::new()).rests().0, Reason::Unauthorized);
}

// --- adoption by id -------------------------------------------------------------------------------------------------

fn naming(remote: CustomerGateway) -> GatewayCase {
    GatewayCase::new().with(|case| {
        case.lifecycle.external_id = Some(ID.to_owned());
        case.observation.known = seen(remote);
    })
}

#[test]
fn an_external_id_without_another_owner_is_adopted() {
    for owner in [None, Some(owner_tag(UID, "test")), Some(owner_tag(OTHER_UID, "test"))] {
        let case = naming(remote(ID, owner.as_deref()));
        assert!(
            matches!(
                case.decide(),
                Step::Note(Note::Found {
                    event: Some(("Adopted", _)),
                    ..
                })
            ),
            "{owner:?}"
        );
    }
    let dead = Owner::new(OTHER_UID, Some("test"), "other", "name").to_string();
    let case = naming(remote(ID, Some(&dead)));
    assert!(matches!(case.decide(), Step::Note(Note::Found { .. })));
    assert_eq!(
        case.with(|case| case.observation.owner_exists = true).rests().0,
        Reason::AlreadyManaged
    );
    let elsewhere = owner_tag(OTHER_UID, "elsewhere");
    assert_eq!(naming(remote(ID, Some(&elsewhere))).rests().0, Reason::AlreadyManaged);
    let (reason, message) = naming(remote(ID, None))
        .with(|case| case.observation.competing_claim = Some(competing_claim(false)))
        .rests();
    assert_eq!(reason, Reason::AlreadyManaged);
    assert!(message.contains("team/first"), "{message}");
}

#[test]
fn an_external_id_that_does_not_match_the_spec_is_not_changed() {
    assert_eq!(
        naming(mine(ID))
            .with(|case| case.observation.known = Observed::Absent)
            .rests()
            .0,
        Reason::NotFound
    );
    let other_address = CustomerGateway {
        id_value: Some("203.0.113.99".to_owned()),
        ..remote(ID, None)
    };
    let (reason, message) = naming(other_address).rests();
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.contains("idValue"), "{message}");
    let tags: BTreeMap<_, _> = (0..20).map(|number| (format!("key-{number}"), String::new())).collect();
    let full = CustomerGateway {
        tags: Some(tags),
        ..remote(ID, None)
    };
    assert_eq!(naming(full).rests().0, Reason::InvalidSpec);
}

#[test]
fn observing_requires_no_finalizer_and_no_claim() {
    let case = naming(remote(ID, Some(&owner_tag(OTHER_UID, "elsewhere")))).with(|case| {
        case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
        case.has_finalizer = false;
    });
    assert!(matches!(case.decide(), Step::Note(Note::Found { event: None, .. })));
    let recorded = case.with(|case| case.status.object.id = Some(ID.to_owned()));
    assert!(matches!(recorded.decide(), Step::Rest(Rest::Confirmed { .. })));
    let released = recorded.deleting().with(|case| case.has_finalizer = true);
    let reported = "left the customer gateway in the cloud, where it was only observed";
    assert_eq!(released.decide(), Step::Release(Some(reported.to_owned())));
}

// --- deletion -------------------------------------------------------------------------------------------------------

#[test]
fn a_deletion_reads_deletes_waits_and_removes_the_finalizer() {
    let unseen = GatewayCase::ready().deleting().with(|case| {
        case.observation.known = Observed::Seen {
            remote: mine(ID),
            fresh: false,
            full: true,
        };
    });
    assert_eq!(unseen.decide(), reads_object(ID));
    let present = GatewayCase::ready().deleting();
    assert_eq!(
        present.decide(),
        Step::Delete {
            id: ID.to_owned(),
            duplicate: false
        }
    );
    assert_eq!(
        present
            .clone()
            .with(|case| case.sent_delete = Some(SentDelete::PENDING))
            .rests()
            .0,
        Reason::Deleting
    );
    let absent = present.with(|case| {
        case.observation.known = Observed::Absent;
        case.observation.owned = Vec::new();
    });
    assert_eq!(absent.decide(), Step::Release(None));
}

#[test]
fn a_sent_deletion_is_followed_but_not_repeated_if_another_object_claims_the_gateway() {
    let claimed = GatewayCase::ready()
        .deleting()
        .with(|case| case.observation.competing_claim = Some(competing_claim(false)));
    let is_left = |step: Step<Gateways>| matches!(step, Step::Release(Some(left)) if left.contains("team/first"));
    assert!(is_left(claimed.decide()), "nothing was sent");
    let unconfirmed = claimed.clone().with(|case| {
        case.sent_delete = Some(SentDelete::PENDING);
        case.observation.known = Observed::Unconfirmed { list_incomplete: false };
        case.observation.owned = Vec::new();
    });
    assert!(matches!(
        unconfirmed.decide(),
        Step::Query {
            query: Query::Collection,
            ..
        }
    ));
    // Its answer was lost, and the gateway is still there.
    let lost = SentDelete {
        outcome: DeleteOutcome::Lost,
        is_pending: false,
    };
    assert!(is_left(claimed.with(|case| case.sent_delete = Some(lost)).decide()));
}

#[test]
fn a_deletion_deletes_every_owned_gateway() {
    let case = GatewayCase::ready().deleting().with(|case| {
        case.observation.known = Observed::Absent;
        case.observation.owned = vec![mine(DUPLICATE)];
    });
    assert_eq!(
        case.decide(),
        Step::Note(Note::Found {
            remote: mine(DUPLICATE),
            event: None
        })
    );
    // A creation that was given up may still have taken effect: only a new LIST shows it.
    let doubtful = GatewayCase::ready().deleting().with(|case| {
        case.observation.known = Observed::Absent;
        case.observation.owned = Vec::new();
        case.status.object.past_intents[0].given_up = true;
        case.observation.listed = Some(LastList {
            fresh: false,
            started: at(900),
            complete: true,
        });
    });
    let query = |fresh| Step::Query {
        query: Query::Collection,
        fresh,
    };
    assert_eq!(
        doubtful.decide(),
        query(true),
        "that list was too early to prove anything"
    );
    let late = doubtful.with(|case| {
        let listed = case.observation.listed.as_mut().expect("listed");
        listed.started = at(DEADLINE + 31);
        case.access = Ok(Access {
            scope: scope("p"),
            cloud_now: Some(at(DEADLINE + 40)),
        });
    });
    assert_eq!(late.decide(), query(false), "it was before the deletion");
}

#[test]
fn a_deletion_without_a_recorded_id_lists_first() {
    let case = GatewayCase::new().deleting();
    let stale = case.clone().with(|case| {
        case.observation.listed = Some(LastList {
            fresh: false,
            started: at(1),
            complete: true,
        });
    });
    assert_eq!(
        stale.decide(),
        Step::Query {
            query: Query::Collection,
            fresh: false
        }
    );
    assert_eq!(case.decide(), Step::Release(None));
    let incomplete = case.clone().with(|case| {
        case.observation.listed = Some(LastList {
            fresh: true,
            started: at(1),
            complete: false,
        });
    });
    assert_eq!(incomplete.rests().0, Reason::CloudError);
    let found = case.clone().with(|case| case.observation.owned = vec![mine(ID)]);
    assert_eq!(
        found.decide(),
        Step::Note(Note::Found {
            remote: mine(ID),
            event: None
        })
    );
    // The deletion waits for the end of an unresolved creation.
    let intended = case.with(|case| {
        case.status.object.intent = Some(intent());
        case.status.object.scope = Some(scope("p"));
        case.observation.listed = listed(DEADLINE);
    });
    assert!(matches!(intended.decide(), Step::Rest(Rest::Until(Some(_), _))));
    let waited_out = intended.with(|case| {
        case.observation.listed = listed(DEADLINE + 31);
        case.access = Ok(Access {
            scope: scope("p"),
            cloud_now: Some(at(DEADLINE + 32)),
        });
    });
    assert_eq!(waited_out.decide(), Step::Release(None));
}

#[test]
fn retain_removes_only_the_owner_tag() {
    let retain = |case: GatewayCase| case.with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain));
    let tag = BTreeMap::from([(KEY.to_owned(), owner_tag(UID, "test"))]);
    let untag = Step::Change {
        id: ID.to_owned(),
        call: GatewayChange::RemoveTags(tag),
        why: Why::RemoveTag,
    };
    assert_eq!(retain(GatewayCase::ready().deleting()).decide(), untag);
    let untagged = retain(GatewayCase::ready().deleting()).with(|case| case.observation.known = seen(remote(ID, None)));
    assert!(matches!(untagged.decide(), Step::Release(Some(_))));
    // Without credentials, or with others, the tag has to stay.
    let blind = retain(GatewayCase::ready().deleting()).with(|case| case.access = Err(failure(Reason::SecretNotFound)));
    let Step::Release(Some(note)) = blind.decide() else {
        panic!("the finalizer is removed")
    };
    assert!(note.contains("tag stays"), "{note}");
    let by_default = GatewayCase::ready()
        .deleting()
        .with(|case| case.policy.default_deletion = DeletionPolicy::Retain);
    assert_eq!(by_default.decide(), untag);
}

#[test]
fn a_deletion_without_credentials_waits_and_suggests_retain() {
    let (reason, message) = GatewayCase::ready()
        .deleting()
        .with(|case| case.access = Err(failure(Reason::SecretNotFound)))
        .rests();
    assert_eq!(reason, Reason::SecretNotFound);
    assert!(message.contains("deletionPolicy: Retain"), "{message}");
}

#[test]
fn a_crd_deletion_deletes_nothing_in_the_cloud() {
    let since = |second: i64| Some(Time(at(second)));
    let case = GatewayCase::ready()
        .deleting()
        .with(|case| case.crd_deleting_since = since(2000));
    assert_eq!(case.rests().0, Reason::CrdDeleting);
    // A deletion of the object itself, requested earlier, is intended.
    let before = case.clone().with(|case| case.crd_deleting_since = since(2001));
    assert!(matches!(before.decide(), Step::Delete { .. }));
    let retain = case.with(|case| case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain));
    assert!(matches!(
        retain.decide(),
        Step::Change {
            why: Why::RemoveTag,
            ..
        }
    ));
}

#[test]
fn an_unreadable_spec_is_reported_and_can_be_deleted() {
    let broken = |case: GatewayCase| case.with(|case| case.spec = Err("unknown variant `PIGEON`".to_owned()));
    let (reason, message) = broken(GatewayCase::ready()).rests();
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.contains("PIGEON"), "{message}");
    assert_eq!(
        broken(GatewayCase::ready().deleting()).decide(),
        Step::Delete {
            id: ID.to_owned(),
            duplicate: false
        }
    );
}

#[test]
fn nothing_is_done_while_paused_or_after_finalizer_removal() {
    let paused = |case: GatewayCase| case.with(|case| case.paused = true).decide();
    assert_eq!(paused(GatewayCase::new()), Step::Rest(Rest::Paused));
    assert_eq!(paused(GatewayCase::ready().deleting()), Step::Rest(Rest::Paused));
    let released = GatewayCase::ready().deleting().with(|case| case.has_finalizer = false);
    assert_eq!(released.decide(), Step::Rest(Rest::Done));
}

#[test]
fn an_invalid_spec_not_covered_by_admission_is_reported() {
    let otc = GatewayCase::new().with(|case| {
        case.policy.is_otc = true;
        if let Ok(spec) = &mut case.spec {
            spec.ca_certificate_secret_ref = Some(crate::api::customer_gateway::CertificateRef {
                name: "ca".to_owned(),
                key: None,
            });
        }
    });
    assert_eq!(otc.rests().0, Reason::InvalidSpec);
    let own_key = GatewayCase::new().with(|case| {
        case.policy.owner_tag_key = "other-key".to_owned();
        if let Ok(spec) = &mut case.spec {
            spec.tags = Some(BTreeMap::from([(
                "other-key".to_owned(),
                crate::api::customer_gateway::TagValue::default(),
            )]));
        }
        case.lifecycle.credentials_ref = Some(CredentialsRef {
            name: "keys".to_owned(),
        });
    });
    let (reason, message) = own_key.rests();
    assert_eq!(reason, Reason::InvalidSpec);
    assert!(message.contains("other-key"), "{message}");
}

#[test]
fn a_wait_for_the_outcome_of_a_creation_replaces_a_stale_read_failure() {
    let mut waiting = GatewayCase::new().with(|case| {
        case.status.object.intent = Some(intent());
        case.status.object.scope = Some(scope("p"));
        case.observation.listed = listed(DEADLINE);
        case.access = Ok(Access {
            scope: scope("p"),
            cloud_now: Some(at(DEADLINE)),
        });
    });
    let deleted = waiting.clone().deleting();
    for (case, reason) in [(&waiting, Reason::Creating), (&deleted, Reason::Deleting)] {
        match case.decide() {
            Step::Rest(Rest::Until(Some(condition), _)) => {
                assert_eq!(condition.reason, reason);
                assert!(
                    condition.message.contains(&at(DEADLINE + 30).to_string()),
                    "{condition:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let condition = ReadyCondition::new(Reason::Creating, "waits");
    let stamp = crate::ledger::record::Stamp {
        generation: Some(1),
        now: at(0),
    };
    for (operation, is_replaced) in [
        (vpn_cloud::Operation::ListCustomerGateways, true),
        (vpn_cloud::Operation::CreateCustomerGateway, false),
    ] {
        let failed = ReadyCondition::new(Reason::CloudError, format!("{} failed: no answer", operation.what()));
        crate::ledger::record::condition::<Gateways>(&mut waiting.status, &failed, stamp);
        crate::ledger::record::in_progress::<Gateways>(&mut waiting.status, &condition, stamp);
        let reason = conditions::ready_reason(&waiting.status.object.conditions);
        assert_eq!(reason == Some("Creating"), is_replaced, "{operation:?}");
    }
}

#[test]
fn an_implausible_deadline_is_corrected_even_during_deletion() {
    let year = 365 * 24 * 3600;
    let now = DEADLINE + 100;
    let absurd = GatewayCase::new().with(|case| {
        case.status.object.intent = Some(Intent {
            recorded_at: Time(at(RECORDED + year)),
            deadline: Time(at(DEADLINE + year)),
            ..intent()
        });
        case.status.object.scope = Some(scope("p"));
        case.observation.listed = listed(now);
        case.access = Ok(Access {
            scope: scope("p"),
            cloud_now: Some(at(now)),
        });
    });
    for case in [absurd.clone(), absurd.clone().deleting()] {
        assert_eq!(case.decide(), Step::Note(Note::Unbelievable));
        let record = crate::kind::RecordContext {
            policy: &case.policy,
            uid: "uid",
            cloud_now: at(now),
        };
        let mut status = case.status.clone();
        crate::ledger::record::noted::<Gateways>(&mut status, &Note::Unbelievable, &scope("p"), None, &record);
        let corrected = status.object.intent.clone().expect("kept");
        assert_eq!(corrected.recorded_at.0, at(now));
        assert!(corrected.deadline.0 > at(now + 300) && corrected.deadline.0 < at(now + 3600));
        let waits = case.with(|case| case.status = status);
        assert!(matches!(waits.decide(), Step::Rest(Rest::Until(Some(_), _))));
    }
    let usual = absurd.with(|case| {
        case.status.object.intent = Some(Intent {
            deadline: Time(at(now + 338)),
            ..intent()
        });
    });
    assert!(matches!(usual.decide(), Step::Rest(Rest::Until(Some(_), _))));
}

#[test]
fn a_list_dated_in_the_future_does_not_resolve_an_intent() {
    let case = GatewayCase::new().with(|case| {
        case.status.object.intent = Some(intent());
        case.status.object.scope = Some(scope("p"));
        case.observation.listed = listed(DEADLINE + 3600);
        case.access = Ok(Access {
            scope: scope("p"),
            cloud_now: Some(at(DEADLINE)),
        });
    });
    assert!(matches!(case.decide(), Step::Rest(Rest::Until(Some(_), _))));
}

#[test]
fn a_deletion_sends_one_delete_even_if_reads_return_404() {
    let lacking = |known: Observed<CustomerGateway>| {
        GatewayCase::ready().deleting().with(|case| {
            case.observation.known = known;
            case.observation.owned = Vec::new();
            case.status.object.owner_uid = Some(UID.to_owned());
        })
    };
    let unconfirmed = lacking(Observed::Unconfirmed { list_incomplete: false });
    // A list may still show it, with the tag of another owner.
    for case in [
        unconfirmed.clone(),
        unconfirmed.with(|case| case.sent_delete = Some(SentDelete::ANSWERED)),
    ] {
        let query = Query::Collection;
        assert_eq!(case.decide(), Step::Query { query, fresh: false });
    }
    let absent = lacking(Observed::Absent);
    let delete = Step::Delete {
        id: ID.to_owned(),
        duplicate: false,
    };
    assert_eq!(absent.decide(), delete);
    let retained = absent.clone().with(|case| {
        case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain);
    });
    let read_only = absent.clone().with(|case| case.policy.read_only = true);
    // After a restore, or an adoption without the tag yet, the gateway may have another owner by now.
    let unmarked = absent.clone().with(|case| case.status.object.owner_uid = None);
    let restored = absent
        .clone()
        .with(|case| case.status.object.owner_uid = Some(OTHER_UID.to_owned()));
    let answered = absent.with(|case| case.sent_delete = Some(SentDelete::ANSWERED));
    for case in [retained, read_only, unmarked, restored, answered] {
        assert_eq!(case.decide(), Step::Release(None));
    }
}

/// The status after this gateway was found while the creation of `intent` was unresolved.
fn found_during_creation(found: CustomerGateway) -> CustomerGatewayStatus {
    let case = GatewayCase::new();
    let record = crate::kind::RecordContext {
        policy: &case.policy,
        uid: UID,
        cloud_now: at(DEADLINE),
    };
    let mut status = CustomerGatewayStatus::default();
    status.object.intent = Some(intent());
    let note = Note::Found {
        remote: found,
        event: None,
    };
    crate::ledger::record::noted::<Gateways>(&mut status, &note, &scope("p"), None, &record);
    status
}

#[test]
fn only_a_gateway_created_in_its_window_resolves_a_creation() {
    let created = |second: i64| CustomerGateway {
        created_at: Some(at(second).to_string()),
        ..mine(ID)
    };
    let untimed = CustomerGateway {
        created_at: None,
        ..mine(ID)
    };
    for (found, stays_open) in [
        (created(RECORDED + 1), false),
        (created(DEADLINE + 30), false),
        (created(DEADLINE + 36), true),
        // An older one that reads did not return for a while.
        (created(RECORDED - 600), true),
        (untimed, true),
        // Named by externalID.
        (remote(ID, None), true),
        (remote(ID, Some(&owner_tag(OTHER_UID, "test"))), true),
    ] {
        let status = found_during_creation(found.clone());
        let past: Vec<_> = status.object.past_intents.iter().map(|past| past.given_up).collect();
        assert_eq!((past, status.object.intent), (vec![stays_open], None), "{found:?}");
    }
}

#[test]
fn a_deletion_waits_for_a_pending_creation_beside_an_adopted_gateway() {
    let deleting = GatewayCase::ready().deleting().with(|case| {
        case.status = found_during_creation(remote(ID, None));
        case.observation.known = Observed::Absent;
        case.observation.owned = Vec::new();
        case.sent_delete = Some(SentDelete::ANSWERED);
    });
    let at_time = |case: &GatewayCase, started: i64, now: i64| {
        case.clone().with(|case| {
            case.observation.listed = listed(started);
            case.access = Ok(Access {
                scope: scope("p"),
                cloud_now: Some(at(now)),
            });
        })
    };
    let taken = deleting.clone().with(|case| {
        let another = Owner::new(OTHER_UID, Some("test"), "team", "another").to_string();
        case.observation.known = seen(remote(ID, Some(&another)));
    });
    let held = deleting.clone().with(|case| {
        case.observation.competing_claim = Some(CompetingClaim {
            namespace: "team".to_owned(),
            name: "other".to_owned(),
            deleting: false,
        });
    });
    for case in [deleting.clone(), taken, held] {
        match at_time(&case, DEADLINE, DEADLINE).decide() {
            Step::Rest(Rest::Until(Some(condition), _)) => {
                assert_eq!(condition.reason, Reason::Deleting);
                let words = "whether another customer gateway by an earlier creation was created is not known";
                assert!(condition.message.contains(words), "{}", condition.message);
            }
            other => panic!("{other:?}"),
        }
        let fresh = Step::Query {
            query: Query::Collection,
            fresh: true,
        };
        assert_eq!(at_time(&case, DEADLINE, DEADLINE + 31).decide(), fresh);
        let after_period = at_time(&case, DEADLINE + 31, DEADLINE + 32);
        assert!(matches!(after_period.decide(), Step::Release(_)));
        let late = after_period.with(|case| case.observation.owned = vec![mine(DUPLICATE)]);
        assert!(matches!(late.decide(), Step::Note(Note::Found { remote, .. }) if remote.id == DUPLICATE));
    }
    // A list that omits tags does not show the owner of a gateway.
    let tags_unknown = at_time(&deleting, DEADLINE + 31, DEADLINE + 32)
        .with(|case| case.observation.tags_unknown = vec![DUPLICATE.to_owned()]);
    assert!(matches!(tags_unknown.decide(), Step::Query { query: Query::Tags(id), .. } if id == DUPLICATE));
    // With Retain, the deletion does not wait for a gateway that may still be created.
    let retained = at_time(&deleting, DEADLINE, DEADLINE).with(|case| {
        case.lifecycle.deletion_policy = Some(DeletionPolicy::Retain);
    });
    assert_eq!(retained.decide(), Step::Release(None));
    // An object that only observes writes nothing and waits for nothing.
    let observed = deleting.clone().with(|case| {
        case.lifecycle.management_policy = Some(ManagementPolicy::Observe);
    });
    let Step::Release(Some(note)) = observed.decide() else {
        panic!("released")
    };
    assert!(note.contains("the outcome of a creation by this object at"), "{note}");
    // A deadline from a wrong clock does not block the deletion forever.
    let absurd = deleting.with(|case| {
        case.status.object.past_intents[0].deadline = Time(at(DEADLINE + 1_000_000));
    });
    assert_eq!(absurd.decide(), Step::Note(Note::Unbelievable));
}

#[test]
fn a_reappeared_lost_gateway_is_reported_and_not_deleted() {
    let created = |id: &str, second| CustomerGateway {
        // The cloud's times have fractions of a second, those in status do not.
        created_at: Some(at(second).to_string().replace('Z', ".424970804Z")),
        ..mine(id)
    };
    let beside = |second: i64| {
        GatewayCase::ready().with(|case| {
            case.status.object.lost_created_at = Some(Time(at(RECORDED + 5)));
            case.observation.owned = vec![mine(ID), created(DUPLICATE, second)];
        })
    };
    match beside(RECORDED + 5).decide() {
        Step::Rest(Rest::Confirmed {
            unexplained_duplicates, ..
        }) => assert_eq!(unexplained_duplicates, [DUPLICATE]),
        other => panic!("{other:?}"),
    }
    let deleting = beside(RECORDED + 5).deleting().with(|case| {
        case.observation.known = Observed::Absent;
        case.sent_delete = Some(SentDelete::ANSWERED);
        case.observation.owned.remove(0);
    });
    assert_eq!(deleting.decide(), Step::Release(None));
    let later = beside(RECORDED + 6);
    assert_eq!(
        later.decide(),
        Step::Delete {
            id: DUPLICATE.to_owned(),
            duplicate: true
        }
    );
}

#[test]
fn a_loss_records_the_newest_creation_time_of_lost_gateways() {
    let record = crate::kind::RecordContext {
        policy: &GatewayCase::ready().policy,
        uid: "uid",
        cloud_now: at(900),
    };
    let mut status = GatewayCase::ready().status;
    for (created, kept) in [(Some(100), 100), (Some(50), 100), (None, 900), (Some(950), 950)] {
        status.object.created_at = created.map(|second| Time(at(second)));
        crate::ledger::record::noted::<Gateways>(&mut status, &Note::Lost, &scope("p"), None, &record);
        assert_eq!(status.object.lost_created_at, Some(Time(at(kept))));
        assert_eq!(status.object.created_at, None);
    }
}

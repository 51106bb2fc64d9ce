//! Checks that the model's cloud answers as the simulator does, by random sequences of calls to both.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use vpn_cloud::resources::customer_gateways::{CustomerGateway, CustomerGatewayUpdate, NewCustomerGateway};
use vpn_cloud::resources::users::{NO_STATIC_IP, NewUser, User, UserUpdate};
use vpn_cloud::{ErrorKind, Operation};
use vpn_operator_testbed::figures::{self, Effort};
use vpn_simulator::desk::{Desk, DeskReply};
use vpn_simulator::tryout::VPN_SERVER_ID;

use crate::cache::Remote;
use crate::kinds::customer_gateway::{GatewayChange, Gateways};
use crate::kinds::vpn_user::{UserChange, UserCreation, Users};
use crate::model::cloud::{Manners, ModelCloud, OtherBody, Replay, WriteCall, WriteReply};
use crate::model::kinds::{Modelled, Secret, known, password};

/// The most calls of one sequence.
const LONGEST: usize = 12;

/// How a kind's calls are sent to the simulator, and its answers read.
trait Comparable: Modelled {
    const WRAPPER: &'static str;
    const COLLECTION: &'static str;
    fn path() -> String;
    /// A random creation.
    fn creation(random: &mut StdRng) -> (Self::New, Value);
    /// A random change: the call, and how it is sent to an object at that path.
    fn change(random: &mut StdRng, path: &str) -> (Self::Change, Operation, &'static str, String, Value);
    const CREATES: Operation;
    const GETS: Operation;
    const DELETES: Operation;
    fn read(value: Value) -> Self::Remote;
    /// What both clouds must agree on.
    fn reported(remote: &Self::Remote) -> Self::Remote;
}

fn tags(random: &mut StdRng) -> BTreeMap<String, String> {
    let keys = ["owner", "team", "use"].iter().filter(|_| random.random_bool(0.5));
    let keys: Vec<_> = keys.collect();
    let tagged = keys
        .into_iter()
        .map(|key| ((*key).to_owned(), random.random_range(1..=2).to_string()));
    tagged.collect()
}

fn tag_list(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

fn some<'a>(random: &mut StdRng, all: &[&'a str]) -> &'a str {
    all.choose(random).expect("there are some")
}

impl Comparable for Gateways {
    const WRAPPER: &'static str = "customer_gateway";
    const COLLECTION: &'static str = "customer_gateways";
    const CREATES: Operation = Operation::CreateCustomerGateway;
    const GETS: Operation = Operation::GetCustomerGateway;
    const DELETES: Operation = Operation::DeleteCustomerGateway;

    fn path() -> String {
        "customer-gateways".to_owned()
    }

    fn creation(random: &mut StdRng) -> (NewCustomerGateway, Value) {
        let new = NewCustomerGateway {
            name: some(random, &["a", "b"]).to_owned(),
            id_type: "ip".to_owned(),
            id_value: some(random, &["203.0.113.7", "203.0.113.8"]).to_owned(),
            bgp_asn: random.random_bool(0.5).then_some(65010),
            ca_certificate: None,
            tags: tags(random),
        };
        let body = serde_json::to_value(&new).expect("plain data");
        (new, body)
    }

    fn change(random: &mut StdRng, path: &str) -> (GatewayChange, Operation, &'static str, String, Value) {
        let of_tags = path.replace("customer-gateways", "customer-gateway");
        match random.random_range(0..3) {
            0 => {
                let change = CustomerGatewayUpdate {
                    name: Some(some(random, &["a", "b", "c"]).to_owned()),
                    ca_certificate: None,
                };
                let body = json!({"customer_gateway": &change});
                let call = GatewayChange::Update(change);
                (call, Operation::UpdateCustomerGateway, "PUT", path.to_owned(), body)
            }
            1 => {
                let mut added = tags(random);
                added.insert("new".to_owned(), "1".to_owned());
                let body = json!({"tags": tag_list(&added)});
                let path = format!("{of_tags}/tags/create");
                (
                    GatewayChange::AddTags(added),
                    Operation::AddCustomerGatewayTags,
                    "POST",
                    path,
                    body,
                )
            }
            _ => {
                let mut removed = tags(random);
                removed.insert("new".to_owned(), "1".to_owned());
                let body = json!({"tags": tag_list(&removed)});
                let path = format!("{of_tags}/tags/delete");
                let call = GatewayChange::RemoveTags(removed);
                (call, Operation::RemoveCustomerGatewayTags, "POST", path, body)
            }
        }
    }

    fn read(value: Value) -> CustomerGateway {
        serde_json::from_value(value).expect("a gateway")
    }

    fn reported(remote: &CustomerGateway) -> CustomerGateway {
        assert!(remote.created_at.is_some(), "{remote:?}");
        CustomerGateway {
            created_at: None,
            updated_at: None,
            ..remote.clone()
        }
    }
}

impl Comparable for Users {
    const WRAPPER: &'static str = "user";
    const COLLECTION: &'static str = "users";
    const CREATES: Operation = Operation::CreateVpnUser;
    const GETS: Operation = Operation::GetVpnUser;
    const DELETES: Operation = Operation::DeleteVpnUser;

    fn path() -> String {
        format!("p2c-vpn-gateways/vpn-servers/{VPN_SERVER_ID}/users")
    }

    fn creation(random: &mut StdRng) -> (UserCreation, Value) {
        let secret = Secret {
            value: random.random_range(1..=2),
            version: 1,
        };
        let new = UserCreation {
            user: NewUser {
                name: some(random, &["anna", "Anna", "berta"]).to_owned(),
                password: password(secret.value),
                description: random.random_bool(0.5).then(|| some(random, &["x", "y"]).to_owned()),
                user_group_id: None,
                static_ip: None,
            },
            password: known(secret).record,
            requested_at: None,
        };
        let mut body = json!({"name": new.user.name, "password": new.user.password.expose()});
        if let Some(description) = &new.user.description {
            body["description"] = json!(description);
        }
        (new, body)
    }

    fn change(random: &mut StdRng, path: &str) -> (UserChange, Operation, &'static str, String, Value) {
        if random.random_bool(0.4) {
            let update = UserUpdate {
                description: some(random, &["", "x", "y"]).to_owned(),
                static_ip: Some(NO_STATIC_IP.to_owned()),
                user_group_id: None,
            };
            let body = json!({"user": &update});
            let call = UserChange::Update(update);
            return (call, Operation::UpdateVpnUser, "PUT", path.to_owned(), body);
        }
        let value = known(Secret {
            value: random.random_range(1..=8),
            version: 1,
        });
        let body = json!({"new_password": value.value.expose()});
        let path = format!("{path}/reset-password");
        let call = UserChange::ResetPassword(value);
        (call, Operation::ResetVpnUserPassword, "POST", path, body)
    }

    fn read(value: Value) -> User {
        serde_json::from_value(value).expect("a user")
    }

    fn reported(remote: &User) -> User {
        assert!(remote.created_at.is_some(), "{remote:?}");
        User {
            created_at: None,
            updated_at: None,
            ..remote.clone()
        }
    }
}

/// The two clouds, and the mapping of their ids.
struct Both<K: Comparable> {
    model: ModelCloud<K>,
    simulator: Desk,
    manners: Manners,
    /// The simulator's ids by the model's ids. Objects that never existed have none.
    ids: BTreeMap<String, String>,
    now: u16,
}

impl<K: Comparable> Both<K> {
    /// The object's id in the simulator.
    fn other(&self, id: &str) -> String {
        let unknown = || "00000000-0000-4000-8000-000000000000".to_owned();
        self.ids.get(id).cloned().unwrap_or_else(unknown)
    }

    fn path(&self, id: &str) -> String {
        format!("{}/{}", K::path(), self.other(id))
    }

    /// The simulator's object, with the model's id.
    fn translated(&self, value: &Value) -> K::Remote {
        let mut value = value.clone();
        let known = self.ids.iter().find(|(_, other)| json!(other) == value["id"]);
        if let Some((id, _)) = known {
            value["id"] = json!(id);
        }
        K::reported(&K::read(value))
    }

    fn kind(operation: Operation, reported: &DeskReply) -> Option<ErrorKind> {
        let (code, text) = reported.refused.as_ref()?;
        Some(ErrorKind::of(operation, reported.status, Some(code), text))
    }

    fn write(&mut self, call: &WriteCall<K>, operation: Operation, method: &str, path: &str, body: Option<&Value>) {
        let token = match call {
            WriteCall::Create { token, .. } => Some(format!("00000000-0000-4000-8000-0000000000{token}")),
            WriteCall::Change { .. } | WriteCall::Delete { .. } => None,
        };
        let seen = self.simulator.ask(method, path, body, token.as_deref());
        let before = self.model.things.len();
        let reply = self.model.perform(call, None, self.now, self.manners);
        match (&reply, Self::kind(operation, &seen)) {
            (WriteReply::Refused(ours), Some(theirs)) => assert_eq!(*ours, theirs, "{call:?}: {seen:?}"),
            (WriteReply::Created(remote), None) => {
                let other = seen.body[K::WRAPPER]["id"].as_str().expect("an id").to_owned();
                if self.model.things.len() > before {
                    self.ids.insert(remote.id().to_owned(), other);
                } else {
                    assert_eq!(self.ids.get(remote.id()), Some(&other), "the one of before");
                }
            }
            (WriteReply::Changed(Some(remote)), None) => {
                assert_eq!(K::reported(remote), self.translated(&seen.body[K::WRAPPER]), "{call:?}");
            }
            (WriteReply::Changed(None) | WriteReply::Deleted, None) => {}
            (ours, theirs) => panic!("{call:?}: the model answers {ours:?}, the simulator {theirs:?} ({seen:?})"),
        }
    }

    fn get(&mut self, id: &str) {
        let reported = self.simulator.ask("GET", &self.path(id), None, None);
        match (self.model.get(id), Self::kind(K::GETS, &reported)) {
            (None, Some(kind)) => assert_eq!(kind, ErrorKind::Gone),
            (Some(remote), None) => assert_eq!(K::reported(&remote), self.translated(&reported.body[K::WRAPPER])),
            (ours, theirs) => panic!("{id}: the model has {ours:?}, the simulator answers {theirs:?}"),
        }
    }

    fn list(&mut self) {
        let reported = self.simulator.ask("GET", &K::path(), None, None);
        let mut theirs: Vec<K::Remote> = reported.body[K::COLLECTION]
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| self.translated(item))
            .collect();
        let listing = self.model.list(self.manners, None);
        let mut ours: Vec<K::Remote> = listing.items.iter().map(K::reported).collect();
        theirs.sort_by_key(|remote| remote.id().to_owned());
        ours.sort_by_key(|remote| remote.id().to_owned());
        assert_eq!(ours, theirs);
        assert_eq!(
            reported.body["total_count"],
            json!(ours.len()),
            "which shows that it is complete"
        );
        assert!(listing.complete);
    }

    fn step(&mut self, random: &mut StdRng) {
        self.now += 1;
        // An id that exists, existed, or never existed.
        let id = format!("c{}", random.random_range(1..=4));
        match random.random_range(0..10) {
            0..3 => {
                let (new, body) = K::creation(random);
                let call = WriteCall::Create {
                    new,
                    token: random.random_range(10..=13).to_string(),
                    replay: false,
                };
                let body = json!({ K::WRAPPER: body });
                self.write(&call, K::CREATES, "POST", &K::path(), Some(&body));
            }
            3..6 => {
                let (call, operation, method, path, body) = <K as Comparable>::change(random, &self.path(&id));
                self.write(&WriteCall::Change { id, call }, operation, method, &path, Some(&body));
            }
            6 => {
                let path = self.path(&id);
                self.write(
                    &WriteCall::Delete { id, duplicate: false },
                    K::DELETES,
                    "DELETE",
                    &path,
                    None,
                );
            }
            7 => self.get(&id),
            8 => {
                // Settles, or is deleted outside the API.
                if random.random_bool(0.5) {
                    self.simulator.complete_creations();
                    for thing in &mut self.model.things {
                        thing.hidden = false;
                    }
                } else {
                    self.simulator.remove(&self.other(&id));
                    self.model.things.retain(|thing| thing.remote.id() != id);
                }
            }
            _ => self.list(),
        }
    }
}

/// Sends the same calls to both clouds. Returns their number.
fn compare<K: Comparable>(seed: u64, manners: Manners, switches: &[(&str, &str)]) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut both = Both::<K> {
        model: ModelCloud::default(),
        simulator: Desk::open(switches),
        manners,
        ids: BTreeMap::new(),
        now: 0,
    };
    let length = random.random_range(1..=LONGEST);
    for _ in 0..length {
        both.step(&mut random);
    }
    both.list();
    u64::try_from(length + 1).expect("a small number")
}

#[test]
fn the_models_cloud_matches_the_simulator() {
    let sequences = match figures::effort() {
        Effort::Quick => 10_000,
        Effort::Full => 200_000,
    };
    let mut calls = 0;
    for seed in 0..sequences {
        calls += if seed % 2 == 0 {
            compare::<Gateways>(seed, Manners::default(), &[])
        } else {
            let (replay, of_replay) = [
                (Replay::SameId, "same-id"),
                (Replay::Repeated, "VPN.0031"),
                (Replay::Ignored, "ignored"),
            ][(seed / 2 % 3) as usize];
            let (hides, of_hiding) = [(false, "visible"), (true, "invisible")][(seed / 6 % 2) as usize];
            let (other_body, of_body) =
                [(OtherBody::Refused, "VPN.0031"), (OtherBody::New, "new-user")][(seed / 12 % 2) as usize];
            let manners = Manners {
                replay,
                other_body,
                hides,
                ..Manners::default()
            };
            let switches = [
                ("client-token-replay", of_replay),
                ("unsettled-users", of_hiding),
                ("client-token-other-body", of_body),
                ("user-settling", "held"),
            ];
            compare::<Users>(seed, manners, &switches)
        };
    }
    figures::report(
        "model check",
        &[
            (
                "call sequences that the model and the simulator answer alike",
                sequences,
            ),
            ("calls in these sequences", calls),
        ],
    );
}

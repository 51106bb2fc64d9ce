//! Which object of a kind holds, intends or wants which cloud object and which name. An index over all objects that
//! this process knows, of any namespace and credentials. Every adoption, write and deletion checks it first. Objects
//! that only observe claim nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::api::{ManagementPolicy, Scope};
use crate::cache::Remote;
use crate::compact_set::CompactSet;
use crate::kind::Kind;
use crate::object::Object;
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::key::ObjectKey;

/// How strong a claim to an id is; the stronger comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Title {
    /// The id is recorded in status, or is about to be.
    Held,
    /// The object held it, the cloud no longer had it, and no other id is confirmed since: it may reappear.
    Lost,
    /// The spec names it, or status has it from the time when it was only observed.
    Wanted,
}

/// How strong a claim to a name is; the stronger comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// An object of this name is held, or a creation under it is not resolved.
    Taken,
    /// An object of this name was lost, or a creation under it was given up: either may still appear.
    Lost,
}

/// Of two claims of equal strength, the one of the object that was created first counts.
type Age = (Option<Timestamp>, Arc<str>);

/// A name in one parent of one project, in a form that is equal for names that the cloud treats as equal. It has no
/// endpoint: one project may have several, and project ids are unique without it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlacedName {
    project_id: String,
    parent: String,
    name: String,
}

impl PlacedName {
    /// The name that `spec` asks for, or that is about to be created.
    pub fn new<K: Kind>(scope: &Scope, parent: &K::Parent, spec: Option<&K::Spec>, name: &str) -> Self {
        Self::placed::<K>(scope, parent, K::claimed_name(spec, name))
    }

    /// The name that a cloud object has.
    pub(crate) fn of_remote<K: Kind>(scope: &Scope, parent: &K::Parent, remote: &K::Remote) -> Option<Self> {
        K::claimed_name_of(remote).map(|name| Self::placed::<K>(scope, parent, name))
    }

    fn placed<K: Kind>(scope: &Scope, parent: &K::Parent, name: String) -> Self {
        Self {
            project_id: folded(&scope.project_id),
            parent: folded(K::write_queue(parent).unwrap_or_default()),
            name,
        }
    }
}

/// The write queue of an object, for writes that must not overlap; not all kinds have one. It does not depend on the
/// endpoint.
pub fn write_queue<K: Kind>(scope: &Scope, parent: &K::Parent) -> Option<String> {
    let write_queue = K::write_queue(parent)?;
    Some(format!("{} {}", folded(&scope.project_id), folded(write_queue)))
}

/// It is not documented whether ids are case-sensitive.
fn folded(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// What one object claims.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The version of the state that this was read from.
    version: Option<u64>,
    /// The object is being deleted.
    deleting: bool,
    /// Ends with the uid.
    age: Age,
    /// The spec names the id itself, so this object neither created nor found the cloud object.
    by_external_id: bool,
    /// A few at most, as many as status remembers.
    ids: Vec<(Arc<str>, Title)>,
    names: Vec<(PlacedName, Use)>,
}

impl Claim {
    /// What an object claims in this state.
    pub fn of<K: Kind>(object: &Object<K>) -> Self {
        let created_at = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let claims_nothing = object.is_released() || object.lifecycle.management() == ManagementPolicy::Observe;
        Self {
            version: object.resource_version().parse().ok(),
            deleting: object.deleting_since().is_some(),
            age: (created_at, object.uid().into()),
            by_external_id: object.lifecycle.external_id.is_some(),
            ids: if claims_nothing { Vec::new() } else { ids_of(object) },
            names: if claims_nothing { Vec::new() } else { names_of(object) },
        }
    }

    fn uid(&self) -> &str {
        &self.age.1
    }

    /// What another object learns of this one.
    fn competing(&self, key: &ObjectKey) -> CompetingClaim {
        CompetingClaim {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            deleting: self.deleting,
        }
    }
}

/// Whether the recorded id is the object's own: one that was recorded while it only observed is not.
pub fn holds<K: Kind>(object: &Object<K>) -> bool {
    let recorded = K::object(&object.status);
    recorded.id.is_some() && !recorded.observe_only && object.lifecycle.management() != ManagementPolicy::Observe
}

fn ids_of<K: Kind>(object: &Object<K>) -> Vec<(Arc<str>, Title)> {
    let recorded = K::object(&object.status);
    let main = if holds(object) {
        recorded.id.as_ref().map(|id| (id, Title::Held))
    } else {
        // An object that is being deleted adopts nothing.
        let wanted = recorded.id.as_ref().or(object.lifecycle.external_id.as_ref());
        wanted
            .filter(|_| object.deleting_since().is_none())
            .map(|id| (id, Title::Wanted))
    };
    let lost = K::lost_ids(&object.status).iter().map(|id| (id, Title::Lost));
    main.into_iter()
        .chain(lost)
        .map(|(id, title)| (id.as_str().into(), title))
        .collect()
}

fn names_of<K: Kind>(object: &Object<K>) -> Vec<(PlacedName, Use)> {
    let recorded = K::object(&object.status);
    let Some(scope) = &recorded.scope else {
        return Vec::new();
    };
    let has_lost = K::UNIQUE_NAMES && !K::lost_ids(&object.status).is_empty();
    let strength = if recorded.intent.is_some() || (K::UNIQUE_NAMES && holds(object)) {
        Use::Taken
    } else if has_lost || (K::UNIQUE_NAMES && recorded.unresolved_creations().next().is_some()) {
        Use::Lost
    } else {
        return Vec::new();
    };
    let spec = object.spec.as_ref().ok();
    let placed = |spec: Option<&K::Spec>, name: String, strength| {
        let parent = K::parent(spec, &object.status)?;
        Some((PlacedName::new::<K>(scope, &parent, spec, &name), strength))
    };
    let recorded_name = || K::recorded_name(&object.status).map(str::to_owned);
    let intended = recorded.intent.as_ref().map(|intent| intent.name.clone());
    let wanted = intended
        .or_else(|| spec.map(|spec| K::cloud_name(spec, &object.status, object.name())))
        .or_else(recorded_name);
    let wanted = wanted.and_then(|name| placed(spec, name, strength));
    // A lost cloud object keeps the name that it had, even if the spec has changed since.
    let had = recorded_name().filter(|_| has_lost);
    let had = had.and_then(|name| placed(None, name, Use::Lost));
    wanted.into_iter().chain(had).collect()
}

/// What is about to be recorded in an object's status.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reserved {
    id: Option<Arc<str>>,
    name: Option<PlacedName>,
}

struct ClaimEntry {
    claim: Claim,
    /// `None` for nearly all objects.
    reserved: Option<Box<Reserved>>,
    /// Our finalizer is removed: what the watch still delivers is older.
    is_released: bool,
}

/// See the module. Pure.
#[derive(Default)]
pub struct Index {
    /// Boxed: a table has room for up to twice its entries.
    entries: HashMap<ObjectKey, Box<ClaimEntry>>,
    by_id: HashMap<Arc<str>, CompactSet<ObjectKey>>,
    by_name: HashMap<PlacedName, CompactSet<ObjectKey>>,
}

impl ClaimEntry {
    fn reserved_id(&self) -> Option<&Arc<str>> {
        self.reserved.as_ref()?.id.as_ref()
    }

    fn reserved_name(&self) -> Option<&PlacedName> {
        self.reserved.as_ref()?.name.as_ref()
    }
}

impl Index {
    /// Records the state of an object, unless a newer one is known.
    pub fn observe(&mut self, key: &ObjectKey, claim: Claim) {
        let mut reserved = None;
        if let Some(entry) = self.entries.get(key) {
            let is_newer = match (claim.version, entry.claim.version) {
                (Some(new), Some(known)) => new > known,
                _ => true,
            };
            if !is_newer || (entry.is_released && entry.claim.uid() == claim.uid()) {
                return;
            }
            if entry.claim.uid() == claim.uid() {
                reserved.clone_from(&entry.reserved);
            }
        }
        self.put(key, claim, reserved, false);
    }

    /// A new reconcile of an object begins. Drops its earlier reservations: they are recorded by now, or never will be.
    pub fn begin(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.entries.get(key)
            && entry.reserved.is_some()
        {
            let (claim, is_released) = (entry.claim.clone(), entry.is_released);
            self.put(key, claim, None, is_released);
        }
    }

    /// The object no longer has anything in the cloud, though the watch may still deliver earlier states of it.
    pub fn finalizer_removed(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.entries.get(key) {
            let claim = Claim {
                ids: Vec::new(),
                names: Vec::new(),
                ..entry.claim.clone()
            };
            self.put(key, claim, None, true);
        }
    }

    /// The object no longer exists.
    pub fn forget(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.remove(key) else { return };
        for id in entry.claim.ids.iter().map(|(id, _)| id).chain(entry.reserved_id()) {
            CompactSet::remove_from(&mut self.by_id, &**id, key);
        }
        let names = entry.claim.names.iter().map(|(name, _)| name);
        for name in names.chain(entry.reserved_name()) {
            CompactSet::remove_from(&mut self.by_name, name, key);
        }
    }

    /// Returns another object with a better claim to a cloud object.
    pub fn holder(&self, key: &ObjectKey, id: &str) -> Option<CompetingClaim> {
        let own = self.entries.get(key).and_then(|entry| rank(entry, id));
        let age = self.entries.get(key).map(|entry| entry.claim.age.clone());
        // An object that is about to adopt it without naming it wants it as well.
        let own = own.or_else(|| Some((Title::Wanted, false, age?)));
        let others = self.by_id.get(id)?.iter().filter(|other| *other != key);
        let ranked = others.filter_map(|other| {
            let entry = self.entries.get(other)?;
            Some((rank(entry, id)?, (other, &entry.claim)))
        });
        let (best, competing_claim) = ranked.min_by(|(one, _), (other, _)| one.cmp(other))?;
        let (other, claim) = competing_claim;
        own.is_none_or(|own| best < own).then(|| claim.competing(other))
    }

    /// Returns another object that holds the name, or is about to create it.
    pub(crate) fn name_holder(&self, key: &ObjectKey, name: &PlacedName) -> Option<CompetingClaim> {
        let own = self.entries.get(key).map(|entry| {
            let strength = use_of(entry, name);
            (
                strength.unwrap_or(Use::Lost),
                entry.claim.age.clone(),
                strength.is_some(),
            )
        });
        let others = self.by_name.get(name)?.iter().filter(|other| *other != key);
        let ranked = others.filter_map(|other| {
            let entry = self.entries.get(other)?;
            Some((use_of(entry, name)?, entry.claim.age.clone(), (other, &entry.claim)))
        });
        let (strength, age, competing_claim) = ranked.min_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)))?;
        let is_better = match (&own, strength) {
            (_, Use::Taken) | (None, _) => true,
            // Two creations of one name were given up: the older object tries first.
            (Some((Use::Taken, ..)), Use::Lost) => false,
            (Some((Use::Lost, own, has_claim)), Use::Lost) => !has_claim || age < *own,
        };
        let (other, claim) = competing_claim;
        is_better.then(|| claim.competing(other))
    }

    /// Reserves a cloud object until it is recorded. Returns the competing claim if another object has it or its name.
    pub fn take(&mut self, key: &ObjectKey, id: &str, name: Option<&PlacedName>) -> Result<(), CompetingClaim> {
        let named = name.and_then(|name| self.name_holder(key, name));
        if let Some(competing_claim) = self.holder(key, id).or(named) {
            return Err(competing_claim);
        }
        self.reserve(key, |reserved| reserved.id = Some(id.into()));
        Ok(())
    }

    /// Reserves what a creation of the object has made, until its id is recorded.
    pub fn made(&mut self, key: &ObjectKey, id: &str) {
        self.reserve(key, |reserved| reserved.id = Some(id.into()));
    }

    /// Reserves a name for a creation until its intent is recorded. Returns the competing claim if another object has
    /// it.
    pub fn intend(&mut self, key: &ObjectKey, name: &PlacedName) -> Result<(), CompetingClaim> {
        if let Some(competing_claim) = self.name_holder(key, name) {
            return Err(competing_claim);
        }
        self.reserve(key, |reserved| reserved.name = Some(name.clone()));
        Ok(())
    }

    fn reserve(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Reserved)) {
        let Some(entry) = self.entries.get(key) else { return };
        let (claim, mut reserved, is_released) = (entry.claim.clone(), entry.reserved.clone(), entry.is_released);
        change(reserved.get_or_insert_default());
        self.put(key, claim, reserved, is_released);
    }

    fn put(&mut self, key: &ObjectKey, claim: Claim, reserved: Option<Box<Reserved>>, is_released: bool) {
        // One copy of the key serves all indexes.
        let known = self.entries.get_key_value(key).map(|(key, _)| key.clone());
        let key = &known.unwrap_or_else(|| key.clone());
        self.forget(key);
        let entry = ClaimEntry {
            claim,
            reserved,
            is_released,
        };
        for id in entry.claim.ids.iter().map(|(id, _)| id).chain(entry.reserved_id()) {
            CompactSet::insert_into(&mut self.by_id, Arc::clone(id), key);
        }
        let names = entry.claim.names.iter().map(|(name, _)| name);
        for name in names.chain(entry.reserved_name()) {
            CompactSet::insert_into(&mut self.by_name, name.clone(), key);
        }
        self.entries.insert(key.clone(), Box::new(entry));
    }
}

/// The rank of an object's claim to an id; smaller is better.
fn rank(entry: &ClaimEntry, id: &str) -> Option<(Title, bool, Age)> {
    let age = entry.claim.age.clone();
    let claimed = entry.claim.ids.iter().filter(|(claimed, _)| **claimed == *id);
    let title = if entry.reserved_id().is_some_and(|reserved| **reserved == *id) {
        Title::Held
    } else {
        claimed.map(|(_, title)| *title).min()?
    };
    // An earlier version could leave two holders: the one that created the cloud object keeps it.
    let is_second = title == Title::Held && entry.claim.by_external_id;
    Some((title, is_second, age))
}

fn use_of(entry: &ClaimEntry, name: &PlacedName) -> Option<Use> {
    if entry.reserved_name() == Some(name) {
        return Some(Use::Taken);
    }
    let claimed = entry.claim.names.iter().filter(|(claimed, _)| claimed == name);
    claimed.map(|(_, strength)| *strength).min()
}

/// The index of one kind, shared by all readers and writers. Clones share one index.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<Index>>);

impl Claims {
    /// Nothing is awaited while this lock is held.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the state of an object, unless a newer one is known or the object is no longer watched.
    pub fn update<K: Kind>(&self, object: &Object<K>) {
        let (key, claim) = (object.key(), Claim::of(object));
        let mut index = self.index();
        if index
            .entries
            .get(&key)
            .is_some_and(|entry| entry.claim.uid() == claim.uid())
        {
            index.observe(&key, claim);
        }
    }
}

/// The objects of one watch, whose claims end with it.
#[must_use = "the claims end when this is dropped"]
pub struct Claimants {
    claims: Claims,
    of: HashSet<ObjectKey>,
}

impl Drop for Claimants {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

impl Claimants {
    /// Starts without objects.
    pub fn new(claims: &Claims) -> Self {
        Self {
            claims: claims.clone(),
            of: HashSet::new(),
        }
    }

    /// The watch delivered the object with this key in this state.
    pub fn observe<K: Kind>(&mut self, key: &ObjectKey, object: &Object<K>) {
        if !self.of.contains(key) {
            self.of.insert(key.clone());
        }
        self.claims.index().observe(key, Claim::of(object));
    }

    /// The watch delivered its deletion.
    pub fn remove(&mut self, key: &ObjectKey) {
        if self.of.remove(key) {
            self.claims.index().forget(key);
        }
    }

    /// The watch has listed all existing objects; the others were deleted meanwhile.
    pub fn retain(&mut self, exists: impl Fn(&ObjectKey) -> bool) {
        let mut index = self.claims.index();
        for key in self.of.extract_if(|key| !exists(key)) {
            index.forget(&key);
        }
    }
}

/// The name of a cloud object, if it counts for an object that adopts it.
pub fn name_to_take<K: Kind>(
    scope: &Scope,
    parent: &K::Parent,
    owner_tag_key: &str,
    remote: &K::Remote,
) -> Option<PlacedName> {
    // An owner tag proves more than a name.
    let is_tagged = remote.tags().is_some_and(|tags| tags.contains_key(owner_tag_key));
    PlacedName::of_remote::<K>(scope, parent, remote).filter(|_| !is_tagged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::customer_gateway::Gateways;
    use crate::kinds::vpn_user::Users;
    use vpn_cloud::resources::customer_gateways::CustomerGateway;

    const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

    /// A user object, by namespace and name, the second of its creation, its resource version, spec and status.
    fn user(
        name: &str,
        created: u8,
        version: u32,
        mut spec: serde_json::Value,
        status: serde_json::Value,
    ) -> Object<Users> {
        spec["vpnServerID"] = SERVER.into();
        let mut object = serde_json::json!({
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"),
                "resourceVersion": version.to_string(),
                "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
        });
        object["spec"] = spec;
        object["status"] = status;
        serde_json::from_value(object).expect("readable")
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("VpnUser", "n", name)
    }

    fn index(objects: &[Object<Users>]) -> Index {
        let mut index = Index::default();
        for object in objects {
            index.observe(&object.key(), Claim::of(object));
        }
        index
    }

    fn held_by(index: &Index, asks: &str, id: &str) -> Option<String> {
        index.holder(&key(asks), id).map(|competing_claim| competing_claim.name)
    }

    fn scope() -> serde_json::Value {
        serde_json::json!({"endpoint": "https://cloud", "projectID": "p"})
    }

    fn placed(name: &str) -> PlacedName {
        let scope = serde_json::from_value(scope()).expect("a scope");
        PlacedName::new::<Users>(&scope, &SERVER.to_owned(), None, name)
    }

    fn intent(name: &str) -> serde_json::Value {
        serde_json::json!({"token": "t", "recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z",
            "name": name})
    }

    #[test]
    fn an_id_in_status_has_precedence_over_older_external_ids() {
        let pending = user(
            "thief",
            1,
            1,
            serde_json::json!({"externalID": "x"}),
            serde_json::json!({}),
        );
        let holds = user("alice", 2, 1, serde_json::json!({}), serde_json::json!({"id": "x"}));
        let index = index(&[pending, holds]);
        assert_eq!(held_by(&index, "thief", "x").as_deref(), Some("alice"));
        assert_eq!(held_by(&index, "alice", "x"), None);
        // An object that would adopt it without naming it.
        assert_eq!(held_by(&index, "other", "x").as_deref(), Some("alice"));
        assert_eq!(held_by(&index, "thief", "y"), None);
    }

    #[test]
    fn an_observer_claims_an_id_only_when_it_manages_it() {
        let observes = serde_json::json!({"externalID": "x", "managementPolicy": "Observe"});
        let was_observed = serde_json::json!({"id": "x", "observeOnly": true});
        let observer = user("thief", 1, 1, observes.clone(), was_observed.clone());
        let alice = user("alice", 2, 1, serde_json::json!({}), serde_json::json!({"id": "x"}));
        let mut index = index(&[observer, alice]);
        assert_eq!(held_by(&index, "alice", "x"), None);
        for policy in ["Manage", "ReportDrift"] {
            let turned = user(
                "thief",
                1,
                2,
                serde_json::json!({"externalID": "x", "managementPolicy": policy}),
                was_observed.clone(),
            );
            index.observe(&key("thief"), Claim::of(&turned));
            assert_eq!(held_by(&index, "thief", "x").as_deref(), Some("alice"), "{policy}");
            assert_eq!(held_by(&index, "alice", "x"), None, "{policy}");
        }
        // What it recorded as an observer does not become its own when the spec stops naming it.
        let unnamed = user("thief", 1, 3, serde_json::json!({}), was_observed);
        index.observe(&key("thief"), Claim::of(&unnamed));
        assert_eq!(held_by(&index, "thief", "x").as_deref(), Some("alice"));
        assert_eq!(held_by(&index, "alice", "x"), None);
        // A status without the mark, as after the policy was changed back and forth: it observes, so it holds nothing.
        let unmarked = user("thief", 1, 4, observes, serde_json::json!({"id": "x"}));
        index.observe(&key("thief"), Claim::of(&unmarked));
        assert_eq!(held_by(&index, "alice", "x"), None);
    }

    #[test]
    fn the_creator_or_else_the_older_of_two_holders_keeps_the_id() {
        let held = serde_json::json!({"id": "x"});
        let adopted = user("first", 1, 1, serde_json::json!({"externalID": "x"}), held.clone());
        let created = user("second", 2, 1, serde_json::json!({}), held.clone());
        let index_of_both = index(&[adopted.clone(), created]);
        assert_eq!(held_by(&index_of_both, "first", "x").as_deref(), Some("second"));
        assert_eq!(held_by(&index_of_both, "second", "x"), None);
        let younger = user("second", 2, 1, serde_json::json!({"externalID": "x"}), held);
        let index_of_both = index(&[younger, adopted]);
        assert_eq!(held_by(&index_of_both, "second", "x").as_deref(), Some("first"));
        assert_eq!(held_by(&index_of_both, "first", "x"), None);
    }

    #[test]
    fn unresolved_intents_and_abandoned_creations_claim_the_name() {
        let past = serde_json::json!([{"recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z",
            "givenUp": true}]);
        for status in [
            serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "intent": intent("Dave")}),
            serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "id": "x"}),
            serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "pastIntents": past}),
        ] {
            let dave = user("dave", 2, 1, serde_json::json!({"name": "Dave"}), status.clone());
            let thief = user(
                "thief",
                1,
                1,
                serde_json::json!({"name": "dave"}),
                serde_json::json!({}),
            );
            let mut index = index(&[dave, thief]);
            let holder = index.name_holder(&key("thief"), &placed("dAVE"));
            assert_eq!(
                holder.map(|competing_claim| competing_claim.name).as_deref(),
                Some("dave"),
                "{status}"
            );
            assert_eq!(index.name_holder(&key("dave"), &placed("dave")), None, "{status}");
            assert!(
                index.take(&key("thief"), "y", Some(&placed("dave"))).is_err(),
                "{status}"
            );
            assert!(index.intend(&key("thief"), &placed("dave")).is_err(), "{status}");
            assert_eq!(index.name_holder(&key("thief"), &placed("other")), None, "{status}");
        }
    }

    #[test]
    fn a_name_claim_ignores_endpoint_alias_and_spelling_of_the_server() {
        let status = serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "intent": intent("dave")});
        let dave = user("dave", 1, 1, serde_json::json!({"name": "dave"}), status);
        let thief = user(
            "thief",
            2,
            1,
            serde_json::json!({"name": "dave"}),
            serde_json::json!({}),
        );
        let mut index = index(&[dave, thief]);
        let at = |endpoint: &str, project_id: &str| Scope {
            endpoint: endpoint.to_owned(),
            project_id: project_id.to_owned(),
        };
        let server = SERVER.to_owned();
        for (scope, server) in [
            (at("https://private", "p"), server.clone()),
            (at("https://cloud", "P"), server.clone()),
            (at("https://cloud", "p"), server.to_ascii_uppercase()),
        ] {
            let name = PlacedName::new::<Users>(&scope, &server, None, "dave");
            let holder = index.name_holder(&key("thief"), &name);
            assert_eq!(
                holder.map(|competing_claim| competing_claim.name).as_deref(),
                Some("dave"),
                "{scope:?} {server}"
            );
            assert!(index.intend(&key("thief"), &name).is_err(), "{scope:?} {server}");
            assert_eq!(
                write_queue::<Users>(&scope, &server),
                write_queue::<Users>(&at("https://cloud", "p"), &SERVER.to_owned()),
            );
        }
        let elsewhere = at("https://cloud", "other");
        let name = PlacedName::new::<Users>(&elsewhere, &server, None, "dave");
        assert_eq!(index.name_holder(&key("thief"), &name), None);
        assert_ne!(
            write_queue::<Users>(&elsewhere, &server),
            write_queue::<Users>(&at("https://cloud", "p"), &server)
        );
    }

    #[test]
    fn a_partially_unreadable_status_keeps_its_claims() {
        let broken = |mut status: serde_json::Value| {
            status["conditions"] = serde_json::json!([{"type": "Ready"}]);
            status["vpnServerID"] = SERVER.into();
            status["scope"] = scope();
            status
        };
        let holds = user(
            "alice",
            2,
            1,
            serde_json::json!({}),
            broken(serde_json::json!({"id": "x", "name": "alice"})),
        );
        let intends = user(
            "dave",
            2,
            1,
            serde_json::json!({}),
            broken(serde_json::json!({"intent": intent("dave")})),
        );
        assert!(holds.broken_status.is_some() && intends.broken_status.is_some());
        let index = index(&[holds, intends]);
        assert_eq!(held_by(&index, "evil", "x").as_deref(), Some("alice"));
        for name in ["alice", "dave"] {
            let holder = index.name_holder(&key("evil"), &placed(name));
            assert_eq!(
                holder.map(|competing_claim| competing_claim.name).as_deref(),
                Some(name)
            );
        }
    }

    #[test]
    fn the_older_of_two_abandoned_creations_claims_the_name() {
        let past = serde_json::json!([{"recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z",
            "givenUp": true}]);
        let status = serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "pastIntents": past});
        let older = user("older", 1, 1, serde_json::json!({"name": "dave"}), status.clone());
        let younger = user("younger", 2, 1, serde_json::json!({"name": "dave"}), status);
        let index = index(&[younger, older]);
        assert!(index.name_holder(&key("younger"), &placed("dave")).is_some());
        assert_eq!(index.name_holder(&key("older"), &placed("dave")), None);
    }

    #[test]
    fn a_reservation_lasts_until_the_next_reconcile() {
        let both =
            ["one", "two"].map(|name| user(name, 1, 1, serde_json::json!({"name": "dave"}), serde_json::json!({})));
        let mut index = index(&both);
        assert!(index.take(&key("two"), "x", None).is_ok());
        assert!(index.take(&key("one"), "x", None).is_err());
        assert!(index.take(&key("two"), "x", None).is_ok(), "its own reservation");
        // An event of the watch does not release the reservation.
        let edited = user("two", 1, 2, serde_json::json!({"name": "dave"}), serde_json::json!({}));
        index.observe(&key("two"), Claim::of(&edited));
        assert!(index.take(&key("one"), "x", None).is_err());
        index.begin(&key("two"));
        assert!(index.take(&key("one"), "x", None).is_ok());
        assert!(index.intend(&key("one"), &placed("dave")).is_ok());
        assert!(index.intend(&key("two"), &placed("dave")).is_err());
        index.begin(&key("one"));
        assert!(index.intend(&key("two"), &placed("dave")).is_ok());
    }

    #[test]
    fn older_states_and_released_objects_claim_nothing() {
        let mut index = Index::default();
        let state = |version, status| user("alice", 1, version, serde_json::json!({}), status);
        let held = serde_json::json!({"id": "x"});
        index.observe(&key("alice"), Claim::of(&state(5, held.clone())));
        index.observe(&key("alice"), Claim::of(&state(4, serde_json::json!({}))));
        assert!(held_by(&index, "other", "x").is_some(), "an older state");
        index.finalizer_removed(&key("alice"));
        index.observe(&key("alice"), Claim::of(&state(6, held.clone())));
        assert_eq!(held_by(&index, "other", "x"), None, "finalizer removed");
        index.forget(&key("alice"));
        assert!(index.by_id.is_empty() && index.by_name.is_empty());
        // Another object of that name.
        index.observe(&key("alice"), Claim::of(&state(7, held)));
        assert!(held_by(&index, "other", "x").is_some());
    }

    #[test]
    fn a_created_id_is_held_until_it_is_recorded() {
        let mut index = Index::default();
        let state = |version, status| user("alice", 1, version, serde_json::json!({}), status);
        index.observe(&key("alice"), Claim::of(&state(1, serde_json::json!({}))));
        assert_eq!(held_by(&index, "other", "x"), None);
        index.made(&key("alice"), "x");
        assert!(held_by(&index, "other", "x").is_some(), "not recorded yet");
        index.observe(&key("alice"), Claim::of(&state(2, serde_json::json!({"id": "x"}))));
        index.begin(&key("alice"));
        assert!(held_by(&index, "other", "x").is_some(), "recorded");
    }

    #[test]
    fn a_claim_ends_with_its_watch_and_a_late_reconcile_cannot_restore_it() {
        let claims = Claims::default();
        let state = |name, version| user(name, 1, version, serde_json::json!({}), serde_json::json!({"id": name}));
        let is_held = |id| held_by(&claims.index(), "other", id).is_some();
        let mut claimants = Claimants::new(&claims);
        for name in ["alice", "bob", "carol"] {
            let object = state(name, 1);
            claimants.observe(&object.key(), &object);
        }
        claims.update(&state("alice", 2));
        assert!(is_held("alice") && is_held("bob") && is_held("carol"));
        claimants.remove(&key("alice"));
        // The answer of a write that was in progress.
        claims.update(&state("alice", 3));
        assert!(!is_held("alice") && is_held("bob"));
        claimants.retain(|existing| *existing == key("carol"));
        assert!(!is_held("bob") && is_held("carol"));
        let alice = state("alice", 4);
        claimants.observe(&alice.key(), &alice);
        assert!(is_held("alice"), "another one of that name");
        let mut former = state("alice", 5);
        (former.metadata.uid, former.status) = (Some("former".to_owned()), crate::api::VpnUserStatus::default());
        claims.update(&former);
        assert!(is_held("alice"), "the response is about its predecessor");
        drop(claimants);
        claims.update(&state("carol", 2));
        let index = claims.index();
        assert!(index.entries.is_empty() && index.by_id.is_empty() && index.by_name.is_empty());
    }

    /// A status with lost users, with or without a recorded user.
    fn with_lost(id: Option<&str>, lost: &[&str]) -> serde_json::Value {
        serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "name": "alice", "id": id, "vanishedIDs": lost})
    }

    #[test]
    fn lost_users_and_their_name_stay_claimed_until_another_id_is_confirmed() {
        let broken = |mut status: serde_json::Value| {
            status["conditions"] = serde_json::json!([{"type": "Ready"}]);
            status
        };
        let lost = ["u", "v", "w"];
        for (status, claimed) in [
            (with_lost(None, &lost), &lost[..]),
            (with_lost(Some("x"), &lost), &["u", "v", "w", "x"]),
            (broken(with_lost(None, &lost)), &lost),
        ] {
            // The newcomers are older, and one of them names the id.
            let names_it = serde_json::json!({"externalID": "u", "name": "alice"});
            let evil = user("evil", 1, 1, names_it, serde_json::json!({}));
            let finds = user(
                "finder",
                1,
                1,
                serde_json::json!({"name": "alice"}),
                serde_json::json!({}),
            );
            let alice = user("alice", 2, 1, serde_json::json!({}), status.clone());
            let mut index = index(&[evil, finds, alice]);
            for id in claimed {
                for newcomer in ["evil", "finder", "unknown"] {
                    assert_eq!(held_by(&index, newcomer, id).as_deref(), Some("alice"), "{id} {status}");
                }
                assert!(index.take(&key("evil"), id, None).is_err(), "{id} {status}");
                assert_eq!(held_by(&index, "alice", id), None, "{id} {status}");
            }
            assert!(
                index.name_holder(&key("finder"), &placed("ALICE")).is_some(),
                "{status}"
            );
            assert!(index.intend(&key("finder"), &placed("alice")).is_err(), "{status}");
            assert!(
                index.take(&key("evil"), "y", Some(&placed("alice"))).is_err(),
                "{status}"
            );
            // The owner takes it back, or creates another one.
            assert!(
                index.take(&key("alice"), "v", Some(&placed("alice"))).is_ok(),
                "{status}"
            );
            assert!(index.intend(&key("alice"), &placed("alice")).is_ok(), "{status}");
            // Its reservations end; what it lost stays its own.
            index.begin(&key("alice"));
            assert!(held_by(&index, "evil", "u").is_some(), "{status}");
            let confirmed = user("alice", 2, 2, serde_json::json!({}), with_lost(Some("x"), &[]));
            index.observe(&key("alice"), Claim::of(&confirmed));
            assert_eq!(held_by(&index, "evil", "u"), None, "{status}");
            assert_eq!(held_by(&index, "finder", "v"), None, "{status}");
            for end in [Index::finalizer_removed, Index::forget] {
                index.observe(
                    &key("evil"),
                    Claim::of(&user("evil", 1, 2, serde_json::json!({}), status.clone())),
                );
                end(&mut index, &key("evil"));
                assert!(
                    ["u", "v", "w"].iter().all(|id| !index.by_id.contains_key(*id)),
                    "{status}"
                );
            }
        }
    }

    #[test]
    fn a_renamed_lost_user_claims_its_old_and_new_name() {
        let renamed = user(
            "alice",
            2,
            1,
            serde_json::json!({"name": "carol"}),
            with_lost(None, &["u"]),
        );
        let index = index(&[renamed]);
        for name in ["alice", "carol"] {
            let holder = index.name_holder(&key("evil"), &placed(name));
            assert_eq!(
                holder.map(|competing_claim| competing_claim.name).as_deref(),
                Some("alice"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_holder_has_precedence_over_objects_that_lost_the_user() {
        let lost = |name, created| user(name, created, 1, serde_json::json!({}), with_lost(None, &["u"]));
        let holds = user("bob", 3, 1, serde_json::json!({}), serde_json::json!({"id": "u"}));
        let of_both = index(&[lost("alice", 1), holds]);
        assert_eq!(held_by(&of_both, "alice", "u").as_deref(), Some("bob"));
        let copied = index(&[lost("alice", 1), lost("copy", 2)]);
        assert_eq!(held_by(&copied, "copy", "u").as_deref(), Some("alice"));
        assert_eq!(held_by(&copied, "alice", "u"), None);
    }

    #[test]
    fn a_deleting_object_claims_a_lost_user_and_an_observer_does_not() {
        let mut deleted = user("alice", 1, 1, serde_json::json!({}), with_lost(None, &["u"]));
        let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
        deleted.metadata.deletion_timestamp = Some(since);
        deleted.metadata.finalizers = Some(vec![crate::api::FINALIZER.to_owned()]);
        let observes = serde_json::json!({"externalID": "v", "managementPolicy": "Observe"});
        let observer = user("observer", 1, 1, observes, with_lost(None, &["v"]));
        let index = index(&[deleted, observer]);
        assert!(
            index
                .holder(&key("evil"), "u")
                .is_some_and(|competing_claim| competing_claim.deleting)
        );
        assert_eq!(held_by(&index, "evil", "v"), None);
    }

    #[test]
    fn a_deleting_object_keeps_held_ids_and_claims_no_other() {
        let deleted = |name: &str, spec, status| {
            let mut object = user(name, 1, 1, spec, status);
            let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
            object.metadata.deletion_timestamp = Some(since);
            object.metadata.finalizers = Some(vec![crate::api::FINALIZER.to_owned()]);
            object
        };
        let holds = deleted("alice", serde_json::json!({}), serde_json::json!({"id": "x"}));
        let pending = deleted("bob", serde_json::json!({"externalID": "y"}), serde_json::json!({}));
        let index = index(&[holds, pending]);
        assert!(
            index
                .holder(&key("other"), "x")
                .is_some_and(|competing_claim| competing_claim.deleting)
        );
        assert_eq!(held_by(&index, "other", "y"), None);
    }

    #[test]
    fn an_observer_does_not_block_a_younger_object_with_the_same_id() {
        let observes = serde_json::json!({"externalID": "x", "managementPolicy": "Observe"});
        let observer = user("observer", 1, 1, observes, serde_json::json!({}));
        let manages = user(
            "manager",
            2,
            1,
            serde_json::json!({"externalID": "x"}),
            serde_json::json!({}),
        );
        let index = index(&[observer, manages]);
        assert_eq!(held_by(&index, "manager", "x"), None);
        assert_eq!(held_by(&index, "other", "x").as_deref(), Some("manager"));
    }

    #[test]
    fn the_older_object_gets_an_id_that_a_younger_one_names() {
        let finds = user("older", 1, 1, serde_json::json!({}), serde_json::json!({}));
        let names = user(
            "younger",
            2,
            1,
            serde_json::json!({"externalID": "x"}),
            serde_json::json!({}),
        );
        let index = index(&[finds, names]);
        assert_eq!(held_by(&index, "older", "x"), None);
        assert_eq!(held_by(&index, "unknown", "x").as_deref(), Some("younger"));
    }

    #[test]
    fn an_abandoned_creation_does_not_claim_a_name_in_use() {
        let past = |given_up: bool| {
            serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "pastIntents": [
                {"recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z", "givenUp": given_up}]})
        };
        let spec = || serde_json::json!({"name": "dave"});
        let holds = serde_json::json!({"scope": scope(), "vpnServerID": SERVER, "id": "x"});
        let gave_up = user("older", 1, 1, spec(), past(true));
        let index_of_both = index(&[gave_up, user("younger", 2, 1, spec(), holds)]);
        assert_eq!(index_of_both.name_holder(&key("younger"), &placed("dave")), None);
        assert!(index_of_both.name_holder(&key("older"), &placed("dave")).is_some());
        // A creation whose outcome is known cannot appear later.
        let resolved = index(&[user("older", 1, 1, spec(), past(false))]);
        assert_eq!(resolved.name_holder(&key("other"), &placed("dave")), None);
    }

    #[test]
    fn a_deleted_object_without_our_finalizer_claims_nothing() {
        let mut object = user("alice", 1, 1, serde_json::json!({}), serde_json::json!({"id": "x"}));
        let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
        object.metadata.deletion_timestamp = Some(since);
        object.metadata.finalizers = Some(vec!["example.com/other".to_owned()]);
        assert_eq!(held_by(&index(&[object]), "other", "x"), None);
    }

    #[test]
    fn reservations_end_with_the_object_and_are_not_inherited() {
        let object = user("one", 1, 1, serde_json::json!({}), serde_json::json!({}));
        let mut index = index(std::slice::from_ref(&object));
        let reserve = |index: &mut Index| {
            assert!(index.take(&key("one"), "x", None).is_ok());
            assert!(index.intend(&key("one"), &placed("dave")).is_ok());
        };
        reserve(&mut index);
        let mut successor = object;
        successor.metadata.uid = Some("another".to_owned());
        successor.metadata.resource_version = Some("2".to_owned());
        index.observe(&key("one"), Claim::of(&successor));
        assert_eq!(held_by(&index, "other", "x"), None);
        assert_eq!(index.name_holder(&key("other"), &placed("dave")), None);
        reserve(&mut index);
        index.forget(&key("one"));
        assert!(index.by_id.is_empty() && index.by_name.is_empty());
    }

    /// Customer gateways may share a name.
    #[test]
    fn a_gateway_claims_its_name_only_until_its_creation_is_resolved() {
        let past = serde_json::json!([{"recordedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:12Z",
            "givenUp": true}]);
        for (status, is_claimed) in [
            (serde_json::json!({"scope": scope(), "intent": intent("office")}), true),
            (serde_json::json!({"scope": scope(), "id": "x"}), false),
            (serde_json::json!({"scope": scope(), "pastIntents": past}), false),
        ] {
            let object: Object<Gateways> = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "office", "namespace": "n", "uid": "u", "resourceVersion": "1"},
                "spec": {"name": "office", "idValue": "203.0.113.7"},
                "status": status.clone(),
            }))
            .expect("readable");
            assert_eq!(!Claim::of(&object).names.is_empty(), is_claimed, "{status}");
        }
    }

    #[test]
    fn a_gateway_name_is_claimed_on_adoption_unless_it_has_an_owner_tag() {
        let scope = serde_json::from_value(scope()).expect("a scope");
        let name_with = |tags: &[&str]| {
            let tags = tags.iter().map(|key| ((*key).to_owned(), "value".to_owned()));
            let remote = CustomerGateway {
                name: Some("office".to_owned()),
                id_value: Some("203.0.113.7".to_owned()),
                tags: Some(tags.collect()),
                ..CustomerGateway::default()
            };
            name_to_take::<Gateways>(&scope, &Default::default(), "owner", &remote)
        };
        assert!(name_with(&["owner"]).is_none());
        assert!(name_with(&["other"]).is_some());
    }
}

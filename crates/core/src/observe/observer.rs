//! What the cache knows, from the point of view of one object: cloud objects and their owners, which of them could be
//! its own, and competing claims. Pure: it reads the cache and registers the id to watch.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vpn_cloud::limits::clock::{CLOCK_MARGIN, later};

use crate::api::conditions::Reason;
use crate::api::{AdoptionPolicy, ManagementPolicy, Scope, conditions};
use crate::cache::{CacheContents, IfMissing, MassDeletion, Observed, Remote};
use crate::kind::{Immutable, Kind};
use crate::object::Object;
use crate::observe::claims;
use crate::observe::claims::{Claims, PlacedName};
use crate::owner_tag::Owner;
use crate::terms::competing_claim::CompetingClaim;
use crate::terms::key::ObjectKey;
use crate::terms::observation::Observation;
use crate::terms::owner::owner_of;
use crate::terms::policy::Policy;
use crate::terms::sent_delete::SentDelete;

/// An object that observes the cache, with its circumstances.
pub struct Observer<'a, K: Kind> {
    /// The operator's settings.
    pub policy: &'a Policy,
    /// The claims of all objects.
    pub claims: &'a Claims,
    /// Identifies the object.
    pub key: &'a ObjectKey,
    /// The newest known state of the object.
    pub object: &'a Object<K>,
    /// The endpoint and project of its credentials.
    pub scope: &'a Scope,
    /// Only reads that were started at this time or later are fresh.
    pub since: Option<Instant>,
}

impl<K: Kind> Observer<'_, K> {
    /// Registers in the cache which cloud object this object holds.
    pub fn hold(&self, known: &mut CacheContents<K::Remote, ObjectKey>) {
        let object = self.object;
        // This cache covers only the endpoint and project of the credentials.
        let recorded = K::object(&object.status);
        let is_here = recorded.scope.as_ref().is_none_or(|scope| scope == self.scope);
        // An object that only observes holds nothing. Of two objects with the same recorded id, one holds it.
        let holds = |id: &&str| is_here && claims::holds(object) && self.competing_claim(known, id).is_none();
        let id = recorded.id.as_deref().filter(holds);
        known.hold(self.key, object.uid(), id);
        if let Some(id) = id {
            known.if_missing(id, if_missing(object));
        }
    }

    /// Returns what is known for this object. Only the apiserver knows whether an owner that a tag names still exists.
    pub fn observation(
        &self,
        known: &mut CacheContents<K::Remote, ObjectKey>,
        mass_deletion: Option<MassDeletion>,
    ) -> Observation<K::Remote> {
        let Self {
            policy,
            key,
            object,
            since,
            ..
        } = *self;
        let recorded = K::object(&object.status);
        let external = object.lifecycle.external_id.as_deref();
        let known_id = recorded.id.as_deref().or(external);
        let mine = self.owner();
        let mut observation = Observation::blank();
        observation.listed = known.listed(since);
        observation.known = known_id.map_or(Observed::Unknown, |id| known.sighting(id, since));
        observation.owned = if K::Remote::TAGGED {
            known.owned_by(object.uid())
        } else {
            let of_record = known.find(|remote| K::is_of_record(&object.status, remote, policy));
            let is_reported = |remote: &K::Remote| !remote.is_partial() && self.is_free(remote);
            of_record.into_iter().filter(is_reported).collect()
        };
        observation
            .owned
            .sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        observation.mass_deletion = mass_deletion;
        observation.competing_claim = known_id.and_then(|id| self.competing_claim(known, id));
        observation.name_holder = self.name_holder(&observation.known);
        if recorded.id.is_none() || object.deleting_since().is_some() {
            observation.tags_unknown = self.tags_unknown(known);
        }
        if recorded.id.is_none() {
            if K::UNIQUE_NAMES {
                observation.name_collision = self.name_collision(known, &observation.owned);
            }
            let is_another =
                |remote: &K::Remote| owner_of(remote, &policy.owner_tag_key).is_some_and(|it| it.uid != mine.uid);
            observation.former_owners = known.at_place_of(&mine).into_iter().filter(is_another).collect();
            if let Ok(spec) = &object.spec {
                let name = K::cloud_name(spec, &object.status, object.name());
                observation.candidates = self.candidates(known, spec, &name);
            }
        }
        observation.unread = self.unread(known, &observation);
        // Not recorded yet, but named by externalID or a name collision: its presence and owner may change at any time.
        let followed = external.or(observation.name_collision.as_ref().map(Remote::id));
        let followed = if claims::holds(object) && observation.competing_claim.is_none() {
            None
        } else {
            known_id.or(followed)
        };
        known.watch(key, followed);
        observation
    }

    /// Ids of cloud objects with unknown tags that could be this object's own. If an id is recorded: those that an
    /// earlier create request of this object may have created.
    fn tags_unknown(&self, known: &CacheContents<K::Remote, ObjectKey>) -> Vec<String> {
        let object = self.object;
        let recorded = K::object(&object.status);
        if let Some(id) = &recorded.id {
            let unresolved = recorded.unresolved_creations();
            let Some(since) = unresolved.map(|past| past.recorded_at.0).min() else {
                return Vec::new();
            };
            let is_older = |remote: &K::Remote| K::times(remote).0.is_some_and(|at| later(at, CLOCK_MARGIN) < since);
            return known.tags_unknown(|remote| remote.id() != id && !is_older(remote));
        }
        let Ok(spec) = &object.spec else {
            return Vec::new();
        };
        let name = K::cloud_name(spec, &object.status, object.name());
        let could_be = |remote: &K::Remote| K::is_candidate(spec, &name, remote) || K::is_same_peer(spec, remote);
        // If the list omitted the name, it may be this one.
        let is_nameless = |remote: &K::Remote| remote.is_partial() && K::remote_name(remote).is_none();
        known.tags_unknown(|remote| could_be(remote) || is_nameless(remote))
    }

    /// Ids that are recorded as lost, without a better claim of another object and without an answered DELETE.
    pub fn undeleted(
        &self,
        known: &CacheContents<K::Remote, ObjectKey>,
        sent_delete: impl Fn(&str) -> Option<SentDelete>,
    ) -> Vec<String> {
        let is_answered = |id: &str| sent_delete(id).is_some_and(SentDelete::is_answered);
        let is_due = |id: &&String| !is_answered(id) && self.competing_claim(known, id).is_none();
        K::lost_ids(&self.object.status)
            .iter()
            .filter(is_due)
            .cloned()
            .collect()
    }

    /// Another object with a better claim to a cloud object than this one.
    fn competing_claim(&self, known: &CacheContents<K::Remote, ObjectKey>, id: &str) -> Option<CompetingClaim> {
        competing_claim(self.claims, known, self.policy, self.key, self.object, id)
    }

    /// Whether no other object has a better claim to a cloud object.
    fn is_free(&self, remote: &K::Remote) -> bool {
        self.claims.index().holder(self.key, remote.id()).is_none()
    }

    /// Another object that holds the name that this one would create or adopt, or is about to create it.
    fn name_holder(&self, known: &Observed<K::Remote>) -> Option<CompetingClaim> {
        let object = self.object;
        if claims::holds(object) || observes(object) {
            return None;
        }
        let parent = K::parent(object.spec.as_ref().ok(), &object.status)?;
        let name = match known {
            // A cloud object that is adopted by its id may have another name.
            Observed::Seen { remote, .. } => {
                claims::name_to_take::<K>(self.scope, &parent, &self.policy.owner_tag_key, remote)
            }
            _ => wanted_name(object, self.scope),
        }?;
        self.claims.index().name_holder(self.key, &name)
    }

    /// What the spec could adopt: not owned by another object, with the name and the identifier of the spec.
    fn candidates(&self, known: &CacheContents<K::Remote, ObjectKey>, spec: &K::Spec, name: &str) -> Vec<K::Remote> {
        let lifecycle = &self.object.lifecycle;
        if lifecycle.external_id.is_some() || lifecycle.adoption() == AdoptionPolicy::Never {
            return Vec::new();
        }
        let fits = |remote: &K::Remote| K::is_candidate(spec, name, remote);
        let mut candidates = if observes(self.object) {
            // Any number of objects may observe the same one.
            known.find(fits)
        } else {
            let mut unowned = known.unowned(fits);
            // Its holder may use other credentials, or may not have been reconciled yet.
            unowned.retain(|remote| self.is_free(remote));
            unowned
        };
        candidates.sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        candidates
    }

    /// Ids to GET before any decision, since the list may have omitted fields that the decision depends on.
    fn unread(&self, known: &CacheContents<K::Remote, ObjectKey>, observation: &Observation<K::Remote>) -> Vec<String> {
        let is_full = |id: &str| matches!(known.sighting(id, None), Observed::Seen { full: true, .. });
        let mut unread: Vec<String> = Vec::new();
        if let Ok(spec) = &self.object.spec {
            let peers = self.possible_peers(known);
            let all = observation.candidates.iter().chain(peers.iter().map(|(peer, _)| peer));
            let tags_unknown = all.filter(|remote| K::immutable_difference(spec, remote, false) == Immutable::Unknown);
            unread.extend(tags_unknown.map(|remote| remote.id().to_owned()));
        }
        // They may be duplicates from one creation.
        if observation.owned.len() > 1 {
            let tags_unknown = observation.owned.iter().filter(|remote| !K::is_identified(remote));
            unread.extend(tags_unknown.map(|remote| remote.id().to_owned()));
        }
        unread.retain(|id| !is_full(id));
        unread
    }

    /// An unmanaged object that has the name that this one would create.
    fn name_collision(&self, known: &CacheContents<K::Remote, ObjectKey>, owned: &[K::Remote]) -> Option<K::Remote> {
        let object = self.object;
        let spec = object.spec.as_ref().ok()?;
        let name = K::cloud_name(spec, &object.status, object.name());
        let is_taken = |remote: &K::Remote| {
            let theirs = K::remote_name(remote);
            // Case sensitivity is not documented: after a refusal by the cloud, names are compared without case.
            let refused = was_refused::<K>(&object.status);
            theirs.is_some_and(|theirs| theirs == name || (refused && theirs.eq_ignore_ascii_case(&name)))
        };
        known
            .find(is_taken)
            .into_iter()
            .find(|remote| !owned.iter().any(|own| own.id() == remote.id()) && self.is_free(remote))
    }

    /// The owner that the tag of the cloud object to adopt names, if it is another object of this cluster.
    pub fn named_owner(&self, observation: &Observation<K::Remote>) -> Option<Owner> {
        let Observed::Seen { remote, .. } = &observation.known else {
            return None;
        };
        let is_named = self.object.lifecycle.external_id.as_deref() == Some(remote.id());
        let mine = self.owner();
        owner_of(remote, &self.policy.owner_tag_key)
            .filter(|owner| is_named && owner.uid != mine.uid && owner.cluster == mine.cluster)
    }

    /// Cloud objects like the one that this spec would create, tagged by other objects of this cluster. If an owner no
    /// longer exists, its cloud object is an orphan: only the apiserver knows.
    pub fn peers(&self, known: &CacheContents<K::Remote, ObjectKey>) -> Vec<(K::Remote, Owner)> {
        let mut peers = self.possible_peers(known);
        let is_full = |id: &str| matches!(known.sighting(id, None), Observed::Seen { full: true, .. });
        if let Ok(spec) = &self.object.spec {
            peers.retain(|(peer, _)| K::immutable_difference(spec, peer, is_full(peer.id())) == Immutable::Same);
        }
        peers
    }

    /// The same; some may differ once all their fields are read.
    fn possible_peers(&self, known: &CacheContents<K::Remote, ObjectKey>) -> Vec<(K::Remote, Owner)> {
        let is_recorded = K::object(&self.object.status).id.is_some();
        let is_deleted = self.object.deleting_since().is_some();
        let Ok(spec) = &self.object.spec else {
            return Vec::new();
        };
        let is_sought = !is_recorded && !is_deleted && self.object.lifecycle.external_id.is_none();
        if !K::Remote::TAGGED || !is_sought || observes(self.object) {
            return Vec::new();
        }
        let mine = self.owner();
        let is_peer = |remote: &K::Remote| K::is_same_peer(spec, remote);
        let mut peers = match K::identifier(spec) {
            Some(identifier) => known.find_identified(&identifier, is_peer),
            None => known.find(is_peer),
        };
        peers.sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        let owned = peers.into_iter().filter_map(|peer| {
            let owner = owner_of(&peer, &self.policy.owner_tag_key)?;
            Some((peer, owner))
        });
        owned
            .filter(|(_, owner)| owner.cluster == mine.cluster && !owner.same_place(&mine) && owner.uid != mine.uid)
            .collect()
    }

    fn owner(&self) -> Owner {
        Owner::new(
            self.object.uid(),
            self.policy.cluster_name.as_deref(),
            self.object.namespace(),
            self.object.name(),
        )
    }
}

/// Returns the time from which on reads are fresh: the later one of the last trigger and the end of an unconfirmed
/// creation's confirmation period. The latter needs the cloud's time.
pub fn since<K: Kind>(
    object: &Object<K>,
    triggered_at: Option<Instant>,
    now: Instant,
    cloud_now: Option<Timestamp>,
) -> Option<Instant> {
    let confirmed_at = K::confirmed_at(&object.status).and_then(|at| {
        let passed = Duration::try_from(cloud_now?.duration_since(at.0)).ok()?;
        now.checked_sub(passed)
    });
    triggered_at.max(confirmed_at)
}

/// What it means if the object's cloud object is missing.
pub fn if_missing<K: Kind>(object: &Object<K>) -> IfMissing {
    let reason = conditions::ready_reason(&K::object(&object.status).conditions);
    if object.deleting_since().is_some() || K::confirmed_at(&object.status).is_some() {
        IfMissing::Expected
    } else if reason == Some(Reason::NotFound.as_str()) {
        IfMissing::Reported
    } else {
        IfMissing::Lost
    }
}

fn observes<K: Kind>(object: &Object<K>) -> bool {
    object.lifecycle.management() == ManagementPolicy::Observe
}

/// Another object with a better claim to a cloud object. There is none if the owner tag names this object: a status can
/// be a copy, as after a restore.
pub fn competing_claim<K: Kind>(
    claims: &Claims,
    known: &CacheContents<K::Remote, ObjectKey>,
    policy: &Policy,
    key: &ObjectKey,
    object: &Object<K>,
    id: &str,
) -> Option<CompetingClaim> {
    let competing_claim = claims.index().holder(key, id)?;
    let is_named = match known.sighting(id, None) {
        Observed::Seen { remote, .. } => is_named(policy, object, &remote),
        Observed::Unknown | Observed::Missing | Observed::Unconfirmed { .. } | Observed::Absent => false,
    };
    (!is_named).then_some(competing_claim)
}

/// Whether a cloud object's tag names this object, or this object before it was recreated.
pub fn is_named<K: Kind>(policy: &Policy, object: &Object<K>, remote: &K::Remote) -> bool {
    let cluster = policy.cluster_name.as_deref();
    let mine = Owner::new(object.uid(), cluster, object.namespace(), object.name());
    owner_of(remote, &policy.owner_tag_key)
        .is_some_and(|owner| owner.uid == mine.uid || (cluster.is_some() && owner.same_place(&mine)))
}

/// The name that an object would create, with its place.
pub fn wanted_name<K: Kind>(object: &Object<K>, scope: &Scope) -> Option<PlacedName> {
    let spec = object.spec.as_ref().ok()?;
    let parent = K::parent(Some(spec), &object.status)?;
    let name = K::cloud_name(spec, &object.status, object.name());
    Some(PlacedName::new::<K>(scope, &parent, Some(spec), &name))
}

fn was_refused<K: Kind>(status: &K::Status) -> bool {
    conditions::ready_reason(&K::object(status).conditions) == Some(Reason::NameConflict.as_str())
}

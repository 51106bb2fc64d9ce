//! What the mirror knows, seen from one object: whose objects there are, which of them could be its own, and who else
//! claims them. Pure: it reads what is known, and says which object is to be followed.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::claims::{self, Claims, PlacedName};
use super::decide::{Policy, Rival, View};
use super::key::Key;
use super::kind::{Immutable, Kind};
use super::managed::Managed;
use crate::api::conditions::{self, Reason};
use crate::api::{AdoptionPolicy, ManagementPolicy, Scope};
use crate::mirror::{IfMissing, Known, MassDeletion, Remote, Sighting};
use crate::ownership::Owner;

/// From where an object looks.
pub struct Viewpoint<'a, K: Kind> {
    pub policy: &'a Policy,
    /// Who claims what.
    pub claims: &'a Claims,
    pub key: &'a Key,
    pub object: &'a Managed<K>,
    /// Where its credentials lead.
    pub scope: &'a Scope,
    /// From when on an observation counts.
    pub since: Option<Instant>,
}

impl<K: Kind> Viewpoint<'_, K> {
    /// Tells the mirror which object this one holds.
    pub fn hold(&self, known: &mut Known<K::Remote, Key>) {
        let object = self.object;
        // Only what lives where the credentials lead is this mirror's business.
        let recorded = K::object(&object.status);
        let is_here = recorded.scope.as_ref().is_none_or(|scope| scope == self.scope);
        // Who only observes holds nothing, and of two that have one id recorded one holds it.
        let holds = |id: &&str| is_here && claims::holds(object) && self.rival(known, id).is_none();
        let id = recorded.id.as_deref().filter(holds);
        known.hold(self.key, object.uid(), id);
        if let Some(id) = id {
            known.if_missing(id, if_missing(object));
        }
    }

    /// What is known, seen from here. Whether an owner lives that another's tag names is for the apiserver to say.
    pub fn view(&self, known: &mut Known<K::Remote, Key>, mass_deletion: Option<MassDeletion>) -> View<K::Remote> {
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
        let mut view = View::blank();
        view.listed = known.listed(since);
        view.known = known_id.map_or(Sighting::Unknown, |id| known.sighting(id, since));
        view.owned = if K::Remote::TAGGED {
            known.owned_by(object.uid())
        } else {
            let of_record = known.find(|remote| K::is_of_record(&object.status, remote, policy));
            let is_told = |remote: &K::Remote| !remote.is_partial() && self.is_free(remote);
            of_record.into_iter().filter(is_told).collect()
        };
        view.owned
            .sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        view.mass_deletion = mass_deletion;
        view.rival = known_id.and_then(|id| self.rival(known, id));
        view.name_holder = self.name_holder(&view.known);
        if recorded.id.is_none() {
            if K::UNIQUE_NAMES {
                view.namesake = self.namesake(known, &view.owned);
            }
            let is_another =
                |remote: &K::Remote| owner_of(remote, &policy.owner_tag_key).is_some_and(|it| it.uid != mine.uid);
            view.predecessors = known.at_place_of(&mine).into_iter().filter(is_another).collect();
            if let Ok(spec) = &object.spec {
                let name = K::cloud_name(spec, &object.status, object.name());
                let could_be = |remote: &K::Remote| K::looks_like(spec, &name, remote) || K::is_same_peer(spec, remote);
                // Where a list has not told the name, it may be this one.
                let is_nameless = |remote: &K::Remote| remote.is_partial() && K::remote_name(remote).is_none();
                view.untold = known.untold(|remote| could_be(remote) || is_nameless(remote));
                view.candidates = self.candidates(known, spec, &name);
            }
        }
        view.unread = self.unread(known, &view);
        // Not on record yet, but named, or in the way: whether it is there, or free, may change at any time.
        let followed = external.or(view.namesake.as_ref().map(Remote::id));
        let followed = if claims::holds(object) && view.rival.is_none() {
            None
        } else {
            known_id.or(followed)
        };
        known.watch(key, followed);
        view
    }

    fn rival(&self, known: &Known<K::Remote, Key>, id: &str) -> Option<Rival> {
        rival(self.claims, known, self.policy, self.key, self.object, id)
    }

    /// Whether no other object has a better claim to a cloud object.
    fn is_free(&self, remote: &K::Remote) -> bool {
        self.claims.index().holder(self.key, remote.id()).is_none()
    }

    /// Another object that holds the name that this one would create or adopt, or is about to create it.
    fn name_holder(&self, known: &Sighting<K::Remote>) -> Option<Rival> {
        let object = self.object;
        if claims::holds(object) || observes(object) {
            return None;
        }
        let home = K::home(object.spec.as_ref().ok(), &object.status)?;
        let name = match known {
            // What is adopted by its id may be called otherwise.
            Sighting::Seen { remote, .. } => {
                claims::name_to_take::<K>(self.scope, &home, &self.policy.owner_tag_key, remote)
            }
            _ => wanted_name(object, self.scope),
        }?;
        self.claims.index().name_holder(self.key, &name)
    }

    /// What the spec could adopt: not owned by another, and with the name and the identifier that the spec asks for.
    fn candidates(&self, known: &Known<K::Remote, Key>, spec: &K::Spec, name: &str) -> Vec<K::Remote> {
        let lifecycle = &self.object.lifecycle;
        if lifecycle.external_id.is_some() || lifecycle.adoption() == AdoptionPolicy::Never {
            return Vec::new();
        }
        let fits = |remote: &K::Remote| K::looks_like(spec, name, remote);
        let mut candidates = if observes(self.object) {
            // Any number of objects may look at one.
            known.find(fits)
        } else {
            let mut unowned = known.unowned(fits);
            // Who holds it may read with other credentials, or not have been reconciled yet.
            unowned.retain(|remote| self.is_free(remote));
            unowned
        };
        candidates.sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        candidates
    }

    /// What must be read by itself before anything is concluded, since the list may have omitted what tells it apart.
    fn unread(&self, known: &Known<K::Remote, Key>, view: &View<K::Remote>) -> Vec<String> {
        let is_full = |id: &str| matches!(known.sighting(id, None), Sighting::Seen { full: true, .. });
        let mut unread: Vec<String> = Vec::new();
        if let Ok(spec) = &self.object.spec {
            let peers = self.possible_peers(known);
            let all = view.candidates.iter().chain(peers.iter().map(|(peer, _)| peer));
            let untold = all.filter(|remote| K::immutable_difference(spec, remote, false) == Immutable::Untold);
            unread.extend(untold.map(|remote| remote.id().to_owned()));
        }
        // Whether they are two of one creation.
        if view.owned.len() > 1 {
            let untold = view.owned.iter().filter(|remote| !K::is_identified(remote));
            unread.extend(untold.map(|remote| remote.id().to_owned()));
        }
        unread.retain(|id| !is_full(id));
        unread
    }

    /// An unmanaged object that has the name that this one would create.
    fn namesake(&self, known: &Known<K::Remote, Key>, owned: &[K::Remote]) -> Option<K::Remote> {
        let object = self.object;
        let spec = object.spec.as_ref().ok()?;
        let name = K::cloud_name(spec, &object.status, object.name());
        let is_taken = |remote: &K::Remote| {
            let theirs = K::remote_name(remote);
            // Whether upper and lower case count is not documented: what the cloud has refused, it compares without.
            let refused = was_refused::<K>(&object.status);
            theirs.is_some_and(|theirs| theirs == name || (refused && theirs.eq_ignore_ascii_case(&name)))
        };
        known
            .find(is_taken)
            .into_iter()
            .find(|remote| !owned.iter().any(|own| own.id() == remote.id()) && self.is_free(remote))
    }

    /// The CR of this cluster that the tag of the object to adopt names, if it is another one.
    pub fn named_owner(&self, view: &View<K::Remote>) -> Option<Owner> {
        let Sighting::Seen { remote, .. } = &view.known else {
            return None;
        };
        let is_named = self.object.lifecycle.external_id.as_deref() == Some(remote.id());
        let mine = self.owner();
        owner_of(remote, &self.policy.owner_tag_key)
            .filter(|owner| is_named && owner.uid != mine.uid && owner.cluster == mine.cluster)
    }

    /// Objects like the one that this spec would create, that other CRs of this cluster have or had. If one of these is no
    /// more, it left its object behind: that is for the apiserver to say.
    pub fn peers(&self, known: &Known<K::Remote, Key>) -> Vec<(K::Remote, Owner)> {
        let mut peers = self.possible_peers(known);
        let is_full = |id: &str| matches!(known.sighting(id, None), Sighting::Seen { full: true, .. });
        if let Ok(spec) = &self.object.spec {
            peers.retain(|(peer, _)| K::immutable_difference(spec, peer, is_full(peer.id())) == Immutable::Same);
        }
        peers
    }

    /// The same, some of which may turn out to differ once they are read.
    fn possible_peers(&self, known: &Known<K::Remote, Key>) -> Vec<(K::Remote, Owner)> {
        let is_on_record = K::object(&self.object.status).id.is_some();
        let is_deleted = self.object.deleting_since().is_some();
        let Ok(spec) = &self.object.spec else {
            return Vec::new();
        };
        let is_sought = !is_on_record && !is_deleted && self.object.lifecycle.external_id.is_none();
        if !K::Remote::TAGGED || !is_sought || observes(self.object) {
            return Vec::new();
        }
        let mine = self.owner();
        let mut peers = known.find(|remote| K::is_same_peer(spec, remote));
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

/// From when on an observation counts: what triggered the object, and the end of an unconfirmed creation's time, once the
/// cloud's time is known.
pub fn since<K: Kind>(
    object: &Managed<K>,
    triggered_at: Option<Instant>,
    now: Instant,
    cloud_now: Option<Timestamp>,
) -> Option<Instant> {
    let settled = K::settles_at(&object.status).and_then(|at| {
        let gone = Duration::try_from(cloud_now?.duration_since(at.0)).ok()?;
        now.checked_sub(gone)
    });
    triggered_at.max(settled)
}

/// What it means if the object's cloud object is missing.
pub fn if_missing<K: Kind>(object: &Managed<K>) -> IfMissing {
    let reason = conditions::ready_reason(&K::object(&object.status).conditions);
    if object.deleting_since().is_some() || K::settles_at(&object.status).is_some() {
        IfMissing::Expected
    } else if reason == Some(Reason::NotFound.as_str()) {
        IfMissing::Reported
    } else {
        IfMissing::Lost
    }
}

fn observes<K: Kind>(object: &Managed<K>) -> bool {
    object.lifecycle.management() == ManagementPolicy::Observe
}

/// Another object with a better claim to a cloud object. Where the object's tag names this one, that settles it: statuses
/// can be copied, as by a restore.
pub fn rival<K: Kind>(
    claims: &Claims,
    known: &Known<K::Remote, Key>,
    policy: &Policy,
    key: &Key,
    object: &Managed<K>,
    id: &str,
) -> Option<Rival> {
    let rival = claims.index().holder(key, id)?;
    let is_named = match known.sighting(id, None) {
        Sighting::Seen { remote, .. } => is_named(policy, object, &remote),
        Sighting::Unknown | Sighting::Missing | Sighting::Unconfirmed { .. } | Sighting::Gone => false,
    };
    (!is_named).then_some(rival)
}

/// Whether a cloud object's tag names this object, or what it was before it was recreated.
pub fn is_named<K: Kind>(policy: &Policy, object: &Managed<K>, remote: &K::Remote) -> bool {
    let cluster = policy.cluster_name.as_deref();
    let mine = Owner::new(object.uid(), cluster, object.namespace(), object.name());
    owner_of(remote, &policy.owner_tag_key)
        .is_some_and(|owner| owner.uid == mine.uid || (cluster.is_some() && owner.same_place(&mine)))
}

/// The name that an object would create, where it would.
pub fn wanted_name<K: Kind>(object: &Managed<K>, scope: &Scope) -> Option<PlacedName> {
    let spec = object.spec.as_ref().ok()?;
    let home = K::home(Some(spec), &object.status)?;
    let name = K::cloud_name(spec, &object.status, object.name());
    Some(PlacedName::new::<K>(scope, &home, Some(spec), &name))
}

fn was_refused<K: Kind>(status: &K::Status) -> bool {
    conditions::ready_reason(&K::object(status).conditions) == Some(Reason::NameConflict.as_str())
}

fn owner_of<R: Remote>(remote: &R, key: &str) -> Option<Owner> {
    remote.tags()?.get(key).and_then(|value| Owner::parse(value))
}

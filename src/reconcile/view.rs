//! What the mirror knows, seen from one object: whose objects there are, which of them could be its own, and who else
//! claims them. Pure: it reads what is known, and says which object is to be followed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::decide::{Policy, Rival, View};
use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use crate::api::conditions::{self, Reason};
use crate::api::{AdoptionPolicy, ManagementPolicy, Scope};
use crate::mirror::{Known, MassDeletion, Remote, Sighting};
use crate::ownership::Owner;

/// Every CR of a kind that this process knows, as it knows it.
pub trait Fellows<K: Kind>: Sync {
    /// Those that fit.
    fn find(&self, fits: &dyn Fn(&Managed<K>) -> bool) -> Vec<Arc<Managed<K>>>;
}

/// From where an object looks.
pub struct Viewpoint<'a, K: Kind> {
    pub policy: &'a Policy,
    pub fellows: &'a dyn Fellows<K>,
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
        // Who only observes holds nothing: several may look at what one manages.
        let id = recorded.id.as_deref().filter(|_| is_here && !observes(object));
        known.hold(self.key, object.uid(), id);
        if let Some(id) = id {
            known.confirm(id, K::settles_at(&object.status).is_none());
        }
    }

    /// What is known, seen from here. Whether an owner lives that another's tag names is for the apiserver to say.
    pub fn view(&self, known: &mut Known<K::Remote, Key>, mass_deletion: Option<MassDeletion>) -> View<K::Remote> {
        let Self {
            policy,
            fellows,
            key,
            object,
            scope,
            since,
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
            let is_free = |remote: &K::Remote| {
                !known.is_held_by_another(key, remote.id()) && !is_on_record(fellows, object, remote.id())
            };
            let of_record = known.find(|remote| K::is_of_record(&object.status, remote, policy));
            of_record.into_iter().filter(is_free).collect()
        };
        view.owned
            .sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
        view.mass_deletion = mass_deletion;
        if recorded.id.is_none() {
            if K::UNIQUE_NAMES {
                view.namesake = namesake(object, known, key, &view.owned);
                view.name_holder = name_holder(fellows, object, scope);
            }
            let is_another =
                |remote: &K::Remote| owner_of(remote, &policy.owner_tag_key).is_some_and(|it| it.uid != mine.uid);
            view.predecessors = known.at_place_of(&mine).into_iter().filter(is_another).collect();
            if let Ok(spec) = &object.spec {
                let name = K::cloud_name(spec, &object.status, object.name());
                view.untold =
                    known.untold(|remote| K::looks_like(spec, &name, remote) || K::is_same_peer(spec, remote));
                if object.lifecycle.adoption() == AdoptionPolicy::IfExists {
                    view.lookalikes = known.unowned(|remote| K::looks_like(spec, &name, remote));
                    // Who holds it may read with other credentials, or not have been reconciled yet.
                    view.lookalikes
                        .retain(|remote| !is_on_record(fellows, object, remote.id()));
                }
            }
        }
        // Not on record yet, but named, or in the way: whether it is there, or free, may change at any time.
        let followed = external.or(view.namesake.as_ref().map(Remote::id));
        let followed = if observes(object) {
            known_id
        } else {
            followed.filter(|_| recorded.id.is_none())
        };
        known.watch(key, followed);
        if let (None, Some(id)) = (&recorded.id, external) {
            view.rival = rival(fellows, object, id);
        }
        view
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
        let is_on_record = K::object(&self.object.status).id.is_some();
        let is_deleted = self.object.deleting_since().is_some();
        let Ok(spec) = &self.object.spec else {
            return Vec::new();
        };
        if !K::Remote::TAGGED || is_on_record || is_deleted || self.object.lifecycle.external_id.is_some() {
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

/// From when on an observation counts: what triggered the object, and the end of an unconfirmed creation's time.
pub fn since<K: Kind>(
    object: &Managed<K>,
    triggered_at: Option<Instant>,
    now: Instant,
    cloud_now: Timestamp,
) -> Option<Instant> {
    let settled = K::settles_at(&object.status).and_then(|at| {
        let gone = Duration::try_from(cloud_now.duration_since(at.0)).ok()?;
        now.checked_sub(gone)
    });
    triggered_at.max(settled)
}

fn observes<K: Kind>(object: &Managed<K>) -> bool {
    object.lifecycle.management() == ManagementPolicy::Observe
}

/// A stranger's object that has the name that this one would create.
fn namesake<K: Kind>(
    object: &Managed<K>,
    known: &Known<K::Remote, Key>,
    key: &Key,
    owned: &[K::Remote],
) -> Option<K::Remote> {
    let spec = object.spec.as_ref().ok()?;
    let name = K::cloud_name(spec, &object.status, object.name());
    let is_taken = |remote: &K::Remote| {
        let theirs = K::remote_name(remote);
        // Whether upper and lower case count is the cloud's secret: what it has refused, it compares without.
        let refused = was_refused::<K>(&object.status);
        theirs.is_some_and(|theirs| theirs == name || (refused && theirs.eq_ignore_ascii_case(&name)))
    };
    known
        .find(is_taken)
        .into_iter()
        .find(|remote| !owned.iter().any(|own| own.id() == remote.id()) && !known.is_held_by_another(key, remote.id()))
}

/// Another CR that has the name that this one would create, or is about to create it.
pub fn name_holder<K: Kind>(fellows: &dyn Fellows<K>, object: &Managed<K>, scope: &Scope) -> Option<Rival> {
    let spec = object.spec.as_ref().ok()?;
    let name = K::cloud_name(spec, &object.status, object.name());
    let home = K::home(Some(spec), &object.status);
    let holders = fellows.find(&|other| {
        let theirs = K::object(&other.status);
        let is_other =
            other.uid() != object.uid() && (theirs.id.is_some() || theirs.intent.is_some()) && !observes(other);
        is_other
            && theirs.scope.as_ref() == Some(scope)
            && K::home(other.spec.as_ref().ok(), &other.status) == home
            && held_name(other).is_some_and(|held| held.eq_ignore_ascii_case(&name))
    });
    holders.first().map(|holder| rival_of(holder))
}

/// Whether another CR has this cloud object on record.
fn is_on_record<K: Kind>(fellows: &dyn Fellows<K>, object: &Managed<K>, id: &str) -> bool {
    let others = fellows.find(&|other| {
        other.uid() != object.uid() && !observes(other) && K::object(&other.status).id.as_deref() == Some(id)
    });
    !others.is_empty()
}

fn was_refused<K: Kind>(status: &K::Status) -> bool {
    conditions::ready_reason(&K::object(status).conditions) == Some(Reason::NameConflict.as_str())
}

/// The name that a CR has in the cloud, or is about to have.
fn held_name<K: Kind>(object: &Managed<K>) -> Option<String> {
    let announced = K::object(&object.status)
        .intent
        .as_ref()
        .map(|intent| intent.name.clone());
    let spec = object.spec.as_ref().ok();
    announced.or_else(|| spec.map(|spec| K::cloud_name(spec, &object.status, object.name())))
}

fn rival_of<K: Kind>(other: &Managed<K>) -> Rival {
    Rival {
        namespace: other.namespace().to_owned(),
        name: other.name().to_owned(),
        deleting: other.deleting_since().is_some(),
    }
}

fn owner_of<R: Remote>(remote: &R, key: &str) -> Option<Owner> {
    remote.tags()?.get(key).and_then(|value| Owner::parse(value))
}

/// Another CR with a better claim to this id: it has it on record, or claims it as well and is older.
fn rival<K: Kind>(fellows: &dyn Fellows<K>, object: &Managed<K>, id: &str) -> Option<Rival> {
    let age = |object: &Managed<K>| {
        (
            object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            object.uid().to_owned(),
        )
    };
    let own_age = age(object);
    let has_it = |other: &Managed<K>| K::object(&other.status).id.as_deref() == Some(id);
    let rivals = fellows.find(&|other| {
        if other.uid() == object.uid() || observes(other) {
            return false;
        }
        let claims_it = other.lifecycle.external_id.as_deref() == Some(id) && K::object(&other.status).id.is_none();
        has_it(other) || (claims_it && age(other) < own_age)
    });
    // Who has it is told, not another one that would like to.
    let holder = rivals.iter().find(|rival| has_it(rival)).or(rivals.first());
    holder.map(|rival| rival_of(rival))
}

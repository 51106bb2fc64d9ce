//! Gather: everything that a decision rests on, from the apiserver, the Secrets and the mirror.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PartialObjectMeta;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::access::{self, Credential, person};
use super::context::KindContext;
use super::decide::{Access, Extras, Inputs, Rival, Trouble, View};
use super::key::Key;
use super::kind::Kind;
use super::managed::{Managed, crd_name};
use super::secrets::{Found, SecretName};
use super::sources::{Lack, Sources, impossible_secret, missing_secret};
use super::tenant::{Open, Tenant, trouble};
use crate::api::conditions::{self, Reason};
use crate::api::{AdoptionPolicy, ManagementPolicy, Scope};
use crate::mirror::{Mirror, Remote, Sighting};
use crate::ownership::Owner;

/// What was gathered for one pass.
pub struct Gathered<K: Kind> {
    pub tenant: Option<Arc<Tenant>>,
    pub mirror: Option<Arc<Mirror<K::Remote, Key>>>,
    pub access: Result<Access, Trouble>,
    pub extras: Extras<K::Extras>,
    pub home: Option<K::Home>,
    pub view: View<K::Remote>,
    pub failed_look: Option<Trouble>,
    pub crd_deleting_since: Option<Time>,
    pub triggered_at: Option<Instant>,
    /// From when on an observation counts.
    pub since: Option<Instant>,
    pub delete_sent: Option<String>,
    pub accepted: Option<K::Change>,
    pub replayed: bool,
    pub overwrites_tags: bool,
}

impl<K: Kind> Gathered<K> {
    /// The inputs of the decision about `object`.
    pub fn inputs<'a>(&'a self, object: &'a Managed<K>, context: &'a KindContext<K>) -> Inputs<'a, K> {
        Inputs {
            policy: &context.shared.policy,
            uid: object.uid(),
            namespace: object.namespace(),
            name: object.name(),
            generation: object.metadata.generation,
            deleting_since: object.deleting_since(),
            has_finalizer: object.has_finalizer(),
            paused: object.is_paused(),
            recreate_approved: object.annotation(crate::api::RECREATE_APPROVED_ANNOTATION),
            spec: &object.spec,
            lifecycle: &object.lifecycle,
            status: &object.status,
            crd_deleting_since: self.crd_deleting_since.as_ref(),
            access: self.access.clone(),
            extras: self.extras.clone(),
            has_home: self.home.is_some(),
            view: self.view.clone(),
            failed_look: self.failed_look.clone(),
            triggered: self.triggered_at.is_some(),
            delete_sent: self.delete_sent.as_deref(),
            accepted: self.accepted.clone(),
            replayed: self.replayed,
            overwrites_tags: self.overwrites_tags,
        }
    }
}

/// Gathers for one pass over an object.
pub async fn gather<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: &Managed<K>,
) -> Result<Gathered<K>, kube::Error> {
    let shared = &context.shared;
    let deleting = object.deleting_since().is_some();
    let crd_deleting_since = if deleting {
        crd_deletion::<K>(context).await?
    } else {
        None
    };
    follow_secrets(context, key, object);
    let credential = credential(context, key, object).await?;
    let triggered_at = context.memory.triggered_at(key);
    let home = K::home(object.spec.as_ref().ok(), &object.status);
    let mut gathered = Gathered {
        tenant: None,
        mirror: None,
        access: Err(person(Reason::Unauthorized, "there are no credentials")),
        extras: Extras::Waiting,
        home,
        view: View::blank(),
        failed_look: None,
        crd_deleting_since,
        triggered_at,
        since: triggered_at,
        delete_sent: context.memory.delete_sent(key),
        accepted: context.memory.take_accepted(key),
        replayed: recorded_token(object).is_some_and(|token| context.memory.has_replayed(key, token)),
        overwrites_tags: true,
    };
    let tenant = match credential {
        Ok(credential) => shared.tenants.assign(key, credential),
        Err(trouble) => {
            shared.tenants.release(key);
            gathered.access = Err(trouble);
            return Ok(gathered);
        }
    };
    gathered.overwrites_tags = tenant.overwrites_tags();
    match tenant.open(triggered_at).await {
        Ok(open) => {
            let access = tenant.access(open);
            gathered.since = since(object, triggered_at, access.cloud_now);
            gathered.access = Ok(access);
            if let Some(home) = &gathered.home {
                let mirror = K::mirror(open, home, key);
                hold(&mirror, key, object, open);
                gathered.failed_look = mirror.take_failure(key).map(|error| trouble(&error));
                gathered.view = view(context, object, &mirror, open, key, gathered.since).await?;
                gathered.mirror = Some(mirror);
            }
            if !deleting {
                gathered.extras = extras(context, key, object, open, triggered_at).await?;
            }
        }
        Err(trouble) => gathered.access = Err(trouble),
    }
    gathered.tenant = Some(tenant);
    Ok(gathered)
}

fn observes<K: Kind>(object: &Managed<K>) -> bool {
    object.lifecycle.management() == ManagementPolicy::Observe
}

fn recorded_token<K: Kind>(object: &Managed<K>) -> Option<&str> {
    let intent = K::object(&object.status).intent.as_ref();
    intent.map(|intent| intent.token.as_str())
}

/// Tells the mirror which object this one holds.
fn hold<K: Kind>(mirror: &Mirror<K::Remote, Key>, key: &Key, object: &Managed<K>, open: &Open) {
    // Only what lives where the credentials lead is this mirror's business.
    let recorded = K::object(&object.status);
    let is_here = recorded.scope.as_ref().is_none_or(|scope| *scope == open.scope);
    // Who only observes holds nothing: several may look at what one manages.
    let id = recorded.id.as_deref().filter(|_| is_here && !observes(object));
    mirror.hold(key, object.uid(), id);
    if let Some(id) = id {
        mirror.confirm(id, K::settles_at(&object.status).is_none());
    }
}

/// A quorum read just before anything is deleted: `kubectl delete crd` must not take the VPN down.
async fn crd_deletion<K: Kind>(context: &KindContext<K>) -> Result<Option<Time>, kube::Error> {
    let crds = Api::<CustomResourceDefinition>::all(context.shared.client.clone());
    let found = crds.get_metadata_opt(crd_name::<K>()).await?;
    Ok(found.and_then(|crd| crd.metadata.deletion_timestamp))
}

async fn credential<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: &Managed<K>,
) -> Result<Result<Credential, Trouble>, kube::Error> {
    let shared = &context.shared;
    let Some(reference) = &object.lifecycle.credentials_ref else {
        return Ok(access::own(
            &shared.settings,
            &key.namespace,
            shared.own_credentials.read(),
        ));
    };
    if let Some(trouble) = impossible_secret(&reference.name, "credentialsRef") {
        return Ok(Err(trouble));
    }
    let secret: SecretName = (key.namespace.clone(), reference.name.clone());
    let name = format!("{}/{}", secret.0, secret.1);
    let deleting = object.deleting_since().is_some();
    Ok(match shared.secrets.read(&secret, key).await? {
        Found::Present(content) => access::from_secret(&shared.settings, &name, &content.data),
        // A namespace that is deleted loses its Secrets first.
        Found::Remembered(content) if deleting => access::from_secret(&shared.settings, &name, &content.data),
        Found::Remembered(_) | Found::Absent => Err(missing_secret(&name, "spec.credentialsRef", "")),
    })
}

async fn extras<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: &Managed<K>,
    open: &Open,
    since: Option<Instant>,
) -> Result<Extras<K::Extras>, kube::Error> {
    let Ok(spec) = &object.spec else {
        return Ok(Extras::Read(K::Extras::default()));
    };
    let sources = Sources {
        context: &context.shared,
        key,
        open,
        since,
    };
    match K::extras(spec, &sources).await {
        Ok(extras) => Ok(Extras::Read(extras)),
        Err(Lack::Waiting) => Ok(Extras::Waiting),
        Err(Lack::Trouble(trouble)) => Ok(Extras::Lacking(*trouble)),
        Err(Lack::Absent(trouble)) => Ok(Extras::Absent(*trouble)),
        Err(Lack::Kube(error)) => Err(error),
    }
}

/// Has the watch follow the Secrets that the spec names, and no others.
fn follow_secrets<K: Kind>(context: &KindContext<K>, key: &Key, object: &Managed<K>) {
    let Ok(spec) = &object.spec else { return };
    let credentials = object
        .lifecycle
        .credentials_ref
        .iter()
        .map(|reference| reference.name.clone());
    let named = K::secret_refs(spec)
        .into_iter()
        .map(|reference| reference.name)
        .chain(credentials);
    let named: Vec<SecretName> = named.map(|secret| (key.namespace.clone(), secret)).collect();
    context.shared.secrets.names_only(key, &named);
}

/// From when on an observation counts: what triggered the object, and the end of an unconfirmed creation's time.
fn since<K: Kind>(object: &Managed<K>, triggered_at: Option<Instant>, cloud_now: Timestamp) -> Option<Instant> {
    let settled = K::settles_at(&object.status).and_then(|at| {
        let gone = Duration::try_from(cloud_now.duration_since(at.0)).ok()?;
        Instant::now().checked_sub(gone)
    });
    triggered_at.max(settled)
}

async fn view<K: Kind>(
    context: &KindContext<K>,
    object: &Managed<K>,
    mirror: &Mirror<K::Remote, Key>,
    open: &Open,
    key: &Key,
    since: Option<Instant>,
) -> Result<View<K::Remote>, kube::Error> {
    let policy = &context.shared.policy;
    let recorded = K::object(&object.status);
    let external = object.lifecycle.external_id.as_deref();
    let known_id = recorded.id.as_deref().or(external);
    let mine = Owner::new(
        object.uid(),
        policy.cluster_name.as_deref(),
        object.namespace(),
        object.name(),
    );
    let mut view = View::blank();
    view.listed = mirror.listed(since);
    view.known = known_id.map_or(Sighting::Unknown, |id| mirror.sighting(id, since));
    view.owned = if K::Remote::TAGGED {
        mirror.owned_by(object.uid())
    } else {
        let is_free = |remote: &K::Remote| {
            !mirror.is_held_by_another(key, remote.id()) && !is_on_record(context, object, remote.id())
        };
        let of_record = mirror.find(|remote| K::is_of_record(&object.status, remote, policy));
        of_record.into_iter().filter(is_free).collect()
    };
    view.owned
        .sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
    view.mass_deletion = open.mass_deletion();
    if recorded.id.is_none() {
        if K::UNIQUE_NAMES {
            view.namesake = namesake(object, mirror, key, &view.owned);
            view.name_holder = name_holder(context, object, &open.scope);
        }
        let is_another =
            |remote: &K::Remote| owner_of(remote, &policy.owner_tag_key).is_some_and(|it| it.uid != mine.uid);
        view.predecessors = mirror.at_place_of(&mine).into_iter().filter(is_another).collect();
        if let Ok(spec) = &object.spec {
            let name = K::cloud_name(spec, &object.status, object.name());
            view.untold = mirror.untold(|remote| K::looks_like(spec, &name, remote) || K::is_same_peer(spec, remote));
            if external.is_none() {
                view.orphan = orphan(context, spec, mirror, &mine).await?;
            }
            if object.lifecycle.adoption() == AdoptionPolicy::IfExists {
                view.lookalikes = mirror.unowned(|remote| K::looks_like(spec, &name, remote));
                // Who holds it may read with other credentials, or not have been reconciled yet.
                view.lookalikes
                    .retain(|remote| !is_on_record(context, object, remote.id()));
            }
        }
    }
    // Not on record yet, but named, or in the way: whether it is there, or free, may change at any time.
    let in_the_way = view.namesake.as_ref().or(view.orphan.as_ref());
    let followed = external.or(in_the_way.map(Remote::id));
    let followed = if observes(object) {
        known_id
    } else {
        followed.filter(|_| recorded.id.is_none())
    };
    mirror.watch(key, followed);
    if let (None, Some(id)) = (&recorded.id, external) {
        view.rival = rival(context, object, id);
    }
    if let Sighting::Seen { remote, .. } = &view.known
        && external == Some(remote.id())
        && let Some(owner) = owner_of(remote, &policy.owner_tag_key)
        && owner.uid != mine.uid
        && owner.cluster == mine.cluster
    {
        view.owner_lives = lives::<K>(context, &owner).await?;
    }
    Ok(view)
}

/// An object like the one that this spec would create, which a CR of this cluster left behind when it went.
async fn orphan<K: Kind>(
    context: &KindContext<K>,
    spec: &K::Spec,
    mirror: &Mirror<K::Remote, Key>,
    mine: &Owner,
) -> Result<Option<K::Remote>, kube::Error> {
    if !K::Remote::TAGGED {
        return Ok(None);
    }
    let key = &context.shared.policy.owner_tag_key;
    let mut peers = mirror.find(|remote| K::is_same_peer(spec, remote));
    peers.sort_by_key(|remote| (K::times(remote).0, remote.id().to_owned()));
    for peer in peers {
        let Some(owner) = owner_of(&peer, key) else { continue };
        let is_elsewhere = owner.cluster != mine.cluster || owner.same_place(mine) || owner.uid == mine.uid;
        if !is_elsewhere && !lives::<K>(context, &owner).await? {
            return Ok(Some(peer));
        }
    }
    Ok(None)
}

/// A stranger's object that has the name that this one would create.
fn namesake<K: Kind>(
    object: &Managed<K>,
    mirror: &Mirror<K::Remote, Key>,
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
    mirror
        .find(is_taken)
        .into_iter()
        .find(|remote| !owned.iter().any(|own| own.id() == remote.id()) && !mirror.is_held_by_another(key, remote.id()))
}

/// Another CR that has the name that this one would create, or is about to create it.
pub fn name_holder<K: Kind>(context: &KindContext<K>, object: &Managed<K>, scope: &Scope) -> Option<Rival> {
    let spec = object.spec.as_ref().ok()?;
    let name = K::cloud_name(spec, &object.status, object.name());
    let home = K::home(Some(spec), &object.status);
    let holders = context.find(|other| {
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
fn is_on_record<K: Kind>(context: &KindContext<K>, object: &Managed<K>, id: &str) -> bool {
    let others = context.find(|other| {
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

/// Asks the apiserver, since the CR may be outside of what this process watches.
async fn lives<K: Kind>(context: &KindContext<K>, owner: &Owner) -> Result<bool, kube::Error> {
    let api = Api::<PartialObjectMeta<Managed<K>>>::namespaced(context.shared.client.clone(), &owner.namespace);
    match api.get_metadata_opt(&owner.name).await {
        Ok(found) => Ok(found.is_some_and(|found| found.uid().as_deref() == Some(owner.uid.as_str()))),
        // Where nothing may be read, nothing may be taken either.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
        Err(error) => Err(error),
    }
}

/// Another CR with a better claim to this id: it has it on record, or claims it as well and is older.
fn rival<K: Kind>(context: &KindContext<K>, object: &Managed<K>, id: &str) -> Option<Rival> {
    let age = |object: &Managed<K>| {
        (
            object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            object.uid().to_owned(),
        )
    };
    let own_age = age(object);
    let rivals = context.find(|other| {
        if other.uid() == object.uid() || observes(other) {
            return false;
        }
        let has_it = K::object(&other.status).id.as_deref() == Some(id);
        let claims_it = other.lifecycle.external_id.as_deref() == Some(id) && K::object(&other.status).id.is_none();
        has_it || (claims_it && age(other) < own_age)
    });
    rivals.first().map(|rival| rival_of(rival))
}

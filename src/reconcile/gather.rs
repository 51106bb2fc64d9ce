//! Gather: everything that a decision rests on, from the apiserver, the Secrets and the mirror.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PartialObjectMeta;
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::access::{self, Credential, person};
use super::context::KindContext;
use super::decide::{Access, Inputs, Rival, Trouble, View, WAIT};
use super::key::Key;
use super::kind::Kind;
use super::managed::{Managed, crd_name};
use super::secrets::{Found, SecretName};
use super::tenant::{Tenant, trouble};
use crate::api::conditions::{Reason, Verdict};
use crate::api::{AdoptionPolicy, ManagementPolicy};
use crate::mirror::{Mirror, Remote, Sighting};
use crate::ownership::Owner;

/// What was gathered for one pass.
pub struct Gathered<K: Kind> {
    pub tenant: Option<Arc<Tenant>>,
    pub mirror: Option<Arc<Mirror<K::Remote, Key>>>,
    pub access: Result<Access, Trouble>,
    pub extras: Result<K::Extras, Trouble>,
    pub view: View<K::Remote>,
    pub failed_look: Option<Trouble>,
    pub crd_deleting_since: Option<Time>,
    pub triggered_at: Option<Instant>,
    pub delete_sent: Option<String>,
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
            view: self.view.clone(),
            failed_look: self.failed_look.clone(),
            triggered: self.triggered_at.is_some(),
            delete_sent: self.delete_sent.as_deref(),
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
    let credential = credential(context, key, object).await?;
    let extras = extras(context, key, object).await?;
    let triggered_at = context.memory.triggered_at(key);
    let mut gathered = Gathered {
        tenant: None,
        mirror: None,
        access: Err(person(Reason::Unauthorized, "there are no credentials")),
        extras,
        view: View::blank(),
        failed_look: None,
        crd_deleting_since,
        triggered_at,
        delete_sent: context.memory.delete_sent(key),
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
            let mirror = K::mirror(open);
            gathered.access = Ok(tenant.access(open));
            gathered.failed_look = mirror.take_failure(key).map(|error| trouble(&error));
            // Only what lives where the credentials lead is this mirror's business.
            let recorded = K::object(&object.status);
            let is_here = recorded.scope.as_ref().is_none_or(|scope| *scope == open.scope);
            mirror.hold(key, object.uid(), recorded.id.as_deref().filter(|_| is_here));
            // Not on record yet, but named: whether it is free, or there, may change at any time.
            let named = object
                .lifecycle
                .external_id
                .as_deref()
                .filter(|_| recorded.id.is_none());
            mirror.watch(key, named);
            gathered.view = view(context, object, mirror, triggered_at).await?;
            gathered.mirror = Some(Arc::clone(mirror));
        }
        Err(trouble) => gathered.access = Err(trouble),
    }
    gathered.tenant = Some(tenant);
    Ok(gathered)
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
) -> Result<Result<K::Extras, Trouble>, kube::Error> {
    let Ok(spec) = &object.spec else {
        return Ok(Ok(K::Extras::default()));
    };
    let references = K::secret_refs(spec);
    let credentials = object
        .lifecycle
        .credentials_ref
        .iter()
        .map(|reference| reference.name.clone());
    let named = references
        .iter()
        .map(|reference| reference.name.clone())
        .chain(credentials);
    let named: Vec<SecretName> = named.map(|secret| (key.namespace.clone(), secret)).collect();
    context.shared.secrets.names_only(key, &named);
    let mut contents = Vec::new();
    for reference in references {
        let field = format!("spec.{}", reference.field);
        if let Some(trouble) = impossible_secret(&reference.name, &field) {
            return Ok(Err(trouble));
        }
        let secret: SecretName = (key.namespace.clone(), reference.name);
        let name = format!("{}/{}", secret.0, secret.1);
        let content = match context.shared.secrets.read(&secret, key).await? {
            Found::Present(content) => content.data.get(&reference.key).cloned(),
            Found::Remembered(_) | Found::Absent => return Ok(Err(missing_secret(&name, &field, ""))),
        };
        match content {
            Some(content) => contents.push(content),
            None => return Ok(Err(missing_secret(&name, &field, &reference.key))),
        }
    }
    Ok(K::extras(spec, contents).map_err(|message| person(Reason::InvalidSpec, message)))
}

/// A name that an older CRD let through and that no Secret can have must not become part of a request's path.
fn impossible_secret(name: &str, field: &str) -> Option<Trouble> {
    let is_inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let is_possible = !name.is_empty() && name.chars().all(is_inner) && !name.starts_with('.') && !name.contains("..");
    (!is_possible).then(|| {
        let message = format!("{field} names the Secret {name:?}, but no Secret can have that name: correct it");
        person(Reason::InvalidSpec, message)
    })
}

fn missing_secret(name: &str, field: &str, key: &str) -> Trouble {
    let message = if key.is_empty() {
        format!("the Secret {name}, which {field} names, does not exist: create it; it is picked up at once")
    } else {
        format!("the Secret {name} has no key {key}, which {field} names: add it; it is picked up at once")
    };
    Trouble {
        verdict: Verdict::new(Reason::SecretNotFound, message),
        pace: WAIT,
    }
}

async fn view<K: Kind>(
    context: &KindContext<K>,
    object: &Managed<K>,
    mirror: &Mirror<K::Remote, Key>,
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
    view.owned = mirror.owned_by(object.uid());
    view.owned
        .sort_by_key(|remote| (K::created_at(remote), remote.id().to_owned()));
    view.mass_deletion = mirror.mass_deletion();
    if recorded.id.is_none() {
        let is_another =
            |remote: &K::Remote| owner_of(remote, &policy.owner_tag_key).is_some_and(|it| it.uid != mine.uid);
        view.predecessors = mirror.at_place_of(&mine).into_iter().filter(is_another).collect();
        if let Ok(spec) = &object.spec {
            view.untold = mirror.untold(|remote| K::looks_like(spec, object.name(), remote));
            if object.lifecycle.adoption() == AdoptionPolicy::IfExists {
                view.lookalikes = mirror.unowned(|remote| K::looks_like(spec, object.name(), remote));
            }
        }
    }
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
    let rivals = context.memory.find(|other| {
        if other.uid() == object.uid() || other.lifecycle.management() == ManagementPolicy::Observe {
            return false;
        }
        let has_it = K::object(&other.status).id.as_deref() == Some(id);
        let claims_it = other.lifecycle.external_id.as_deref() == Some(id) && K::object(&other.status).id.is_none();
        has_it || (claims_it && age(other) < own_age)
    });
    rivals.into_iter().next().map(|key| Rival {
        namespace: key.namespace,
        name: key.name,
    })
}

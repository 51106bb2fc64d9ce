//! Gather: everything that a decision rests on, from the apiserver, the Secrets and the mirror.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::access::{self, Credential, person};
use super::context::KindContext;
use super::credential_health::{CredentialName, Failure};
use super::decide::{Access, Extras, Inputs, Trouble, View};
use super::key::Key;
use super::kind::Kind;
use super::managed::{Managed, crd_name};
use super::pipeline::Visit;
use super::registrations::Registrations;
use super::report::stamp;
use super::secrets::{Found, SecretName};
use super::sources::{Lack, Sources, forbidden, impossible_secret, missing_secret, reading_a_secret};
use super::tenant::{Open, Tenant, trouble};
use super::view::{self, Viewpoint};
use crate::api::DeletionPolicy;
use crate::api::conditions::Reason;
use crate::cloud::credentials::OwnCredentialsError;
use crate::mirror::{MassDeletion, Mirror, Remote, Sighting};
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
            recreation_approved_at: object.recreation_approved_at(stamp(object).now),
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

impl<K: Kind> Gathered<K> {
    /// Takes what is told once: when nothing can fail any more before the decision, or nobody would hear of it.
    pub fn take_what_is_told_once(&mut self, context: &KindContext<K>, key: &Key) {
        let failure = self.mirror.as_ref().and_then(|mirror| mirror.take_failure(key));
        self.failed_look = failure.map(|error| trouble(&error));
        self.accepted = context.memory.take_accepted(key);
    }
}

/// Gathers for one pass over an object.
pub async fn gather<K: Kind>(
    visit: &Visit<'_, K>,
    object: &Managed<K>,
    registrations: &Registrations,
) -> Result<Gathered<K>, kube::Error> {
    let Visit { context, key, slot, .. } = *visit;
    let shared = &context.shared;
    let deleting = object.deleting_since().is_some();
    let (crd_deleting_since, crd_unread) = if deleting {
        crd_deletion::<K>(context).await?
    } else {
        (None, None)
    };
    follow_secrets(key, object, registrations);
    let credential = credential(context, key, object, registrations).await?;
    // An object that leaves its cloud object in place deletes nothing, so it does not matter whether the CRD stays.
    let retains = object.lifecycle.deletion(shared.policy.default_deletion) == DeletionPolicy::Retain;
    let credential = match crd_unread {
        Some(trouble) if !retains => Err(trouble),
        _ => credential,
    };
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
        delete_sent: context
            .memory
            .pending_delete(key, shared.policy.settle_time, Instant::now()),
        accepted: None,
        replayed: recorded_token(object).is_some_and(|token| context.memory.has_replayed(key, token)),
        overwrites_tags: true,
    };
    let tenant = match credential {
        Ok(credential) => registrations.tenant.assign(credential),
        Err(trouble) => {
            registrations.tenant.release();
            gathered.access = Err(trouble);
            return Ok(gathered);
        }
    };
    gathered.overwrites_tags = tenant.overwrites_tags();
    let opened = match tenant.client() {
        Some(_) => tenant.open(triggered_at).await,
        None => slot.yielded(tenant.open(triggered_at)).await,
    };
    // A deletion may go on with what is remembered of a Secret, which says nothing of the Secret itself.
    if !deleting {
        let finding = tenant.finding();
        registrations.credential.leads_to(tenant.fingerprint(), finding);
    }
    match opened {
        Ok(open) => {
            let access = tenant.access(open);
            // Only what is seen from then on tells the cloud's time as well.
            let timeless_since = access
                .cloud_now
                .is_none()
                .then(|| tenant.time_unknown_since())
                .flatten();
            gathered.since = view::since(object, triggered_at, Instant::now(), access.cloud_now).max(timeless_since);
            gathered.access = Ok(access);
            if let Some(home) = &gathered.home {
                let mirror = K::mirror(open, home, key);
                let viewpoint = Viewpoint {
                    policy: &shared.policy,
                    claims: &context.claims,
                    key,
                    object,
                    scope: &open.scope,
                    since: gathered.since,
                };
                look_around(&viewpoint, &mirror, open, &mut gathered);
                gathered.view.unlisted = context.unlisted();
                if gathered.view.known == Sighting::Gone {
                    // First whether all is counted, then the count.
                    gathered.view.counted = shared.census.is_complete() && open.is_counted();
                    gathered.view.mass_deletion = mass_deletion(&viewpoint, &mirror, open);
                }
                if let Some(owner) = viewpoint.named_owner(&gathered.view) {
                    gathered.view.owner_lives = lives::<K>(context, &owner).await?;
                }
                let peers = viewpoint.peers(&mirror.known());
                for (peer, owner) in peers {
                    if !lives::<K>(context, &owner).await? {
                        mirror.known().watch(key, Some(peer.id()));
                        gathered.view.orphan = Some(peer);
                        break;
                    }
                }
                gathered.mirror = Some(mirror);
            }
            if !deleting {
                let may_ask_cloud = is_looked_at(object, &gathered.view);
                gathered.extras =
                    extras(context, key, object, open, registrations, triggered_at, may_ask_cloud).await?;
            }
        }
        Err(trouble) => gathered.access = Err(trouble),
    }
    gathered.tenant = Some(tenant);
    Ok(gathered)
}

fn look_around<K: Kind>(
    viewpoint: &Viewpoint<'_, K>,
    mirror: &Mirror<K::Remote, Key>,
    open: &Open,
    gathered: &mut Gathered<K>,
) {
    viewpoint.hold(&mut mirror.known());
    let mass_deletion = mass_deletion(viewpoint, mirror, open);
    let mut known = mirror.known();
    gathered.view = viewpoint.view(&mut known, mass_deletion);
}

/// Whether many of the credential's objects were lost at once, this one among them. Asks every mirror of the credential, so
/// none may be held.
fn mass_deletion<K: Kind>(
    viewpoint: &Viewpoint<'_, K>,
    mirror: &Mirror<K::Remote, Key>,
    open: &Open,
) -> Option<MassDeletion> {
    let id = K::object(&viewpoint.object.status).id.as_deref()?;
    let lost_at = mirror.known().lost_at(id)?;
    open.mass_deletion(lost_at)
}

fn recorded_token<K: Kind>(object: &Managed<K>) -> Option<&str> {
    let intent = K::object(&object.status).intent.as_ref();
    intent.map(|intent| intent.token.as_str())
}

/// A quorum read just before anything is deleted: `kubectl delete crd` must not take the VPN down. With what forbids it, if
/// it may not be read.
async fn crd_deletion<K: Kind>(context: &KindContext<K>) -> Result<(Option<Time>, Option<Trouble>), kube::Error> {
    let crds = Api::<CustomResourceDefinition>::all(context.shared.client.clone());
    let crd = crd_name::<K>();
    match crds.get_metadata_opt(crd).await {
        Ok(found) => Ok((found.and_then(|crd| crd.metadata.deletion_timestamp), None)),
        Err(error) => {
            let may = format!(
                "read the CRD {crd}, and deletes nothing in the cloud while that may be going: have get of \
                 customresourcedefinitions granted to its service account"
            );
            Ok((None, Some(forbidden(error, &may)?)))
        }
    }
}

async fn credential<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: &Managed<K>,
    registrations: &Registrations,
) -> Result<Result<Credential, Trouble>, kube::Error> {
    let shared = &context.shared;
    let used = &registrations.credential;
    let Some(reference) = &object.lifecycle.credentials_ref else {
        let read = shared.own_credentials.read();
        let is_allowed = shared.settings.own_credentials_namespaces.contains(&key.namespace);
        let are_configured = !matches!(read, Err(OwnCredentialsError::NotConfigured));
        // An object that never had a cloud object shows it as `Ready`, and says nothing about credentials that are not there.
        let needs_them = K::object(&object.status).id.is_some();
        used.uses(match (is_allowed, are_configured || needs_them) {
            (true, true) => Some(CredentialName::Default),
            (false, _) if needs_them => Some(CredentialName::DefaultRefused(key.namespace.clone())),
            _ => None,
        });
        let credential = access::own(&shared.settings, &key.namespace, read);
        if let Err(trouble) = &credential {
            used.cannot_be_used(Failure::of(trouble.verdict.clone()));
        }
        return Ok(credential);
    };
    if let Some(trouble) = impossible_secret(&reference.name, "credentialsRef") {
        used.uses(None);
        return Ok(Err(trouble));
    }
    let secret: SecretName = (key.namespace.clone(), reference.name.clone());
    let name = format!("{}/{}", secret.0, secret.1);
    used.uses(Some(CredentialName::Secret(secret.clone())));
    let deleting = object.deleting_since().is_some();
    let read = match registrations.secrets.read(&secret, &access::SECRET_KEYS).await {
        Ok(read) => read,
        Err(error) => {
            let trouble = forbidden(error, &reading_a_secret(&secret, "spec.credentialsRef"))?;
            // A namespace that is deleted may lose the operator's permission on its Secrets before anything else.
            match shared.secrets.remembered(&secret).filter(|_| deleting) {
                Some(found) => found,
                None => {
                    used.cannot_be_used(Failure::of(trouble.verdict.clone()));
                    return Ok(Err(trouble));
                }
            }
        }
    };
    let (credential, is_secret_absent) = match read {
        Found::Present(content) => (access::from_secret(&shared.settings, &name, &content.data), false),
        // A namespace that is deleted loses its Secrets first.
        Found::Remembered(content) if deleting => {
            return Ok(access::from_secret(&shared.settings, &name, &content.data));
        }
        Found::Remembered(_) | Found::Absent => (Err(missing_secret(&name, "spec.credentialsRef", "")), true),
    };
    if let Err(trouble) = &credential {
        used.cannot_be_used(Failure {
            is_secret_absent,
            ..Failure::of(trouble.verdict.clone())
        });
    }
    Ok(credential)
}

/// Whether the object itself has been looked at. What it refers to is asked for after that: of two looks that are under
/// way at once, the end of one would begin the other anew, however it had ended.
fn is_looked_at<K: Kind>(object: &Managed<K>, view: &View<K::Remote>) -> bool {
    match K::object(&object.status).id {
        Some(_) => matches!(view.known, Sighting::Seen { fresh: true, .. }),
        None => view.listed.is_some(),
    }
}

async fn extras<K: Kind>(
    context: &KindContext<K>,
    key: &Key,
    object: &Managed<K>,
    open: &Open,
    registrations: &Registrations,
    since: Option<Instant>,
    may_ask_cloud: bool,
) -> Result<Extras<K::Extras>, kube::Error> {
    let Ok(spec) = &object.spec else {
        return Ok(Extras::Read(K::Extras::default()));
    };
    let sources = Sources {
        context: &context.shared,
        key,
        secrets: &registrations.secrets,
        requested_at: object.annotation(crate::api::RECONCILE_REQUESTED_ANNOTATION),
        open,
        since,
        waits: context.memory.waits(key),
        may_ask_cloud,
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
fn follow_secrets<K: Kind>(key: &Key, object: &Managed<K>, registrations: &Registrations) {
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
    registrations.secrets.names_only(&named);
}

/// Whether a tag's owner lives. The watches are asked first: what they have needs no request. Only the apiserver can say
/// that an object is no more, since it may be outside of what this process watches, or too new for it.
async fn lives<K: Kind>(context: &KindContext<K>, owner: &Owner) -> Result<bool, kube::Error> {
    // Whoever may write tags in the cloud has no say in what is asked of the apiserver: the names go into a path.
    if !owner.can_exist() {
        return Ok(true);
    }
    let key = Key {
        kind: K::KIND,
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
    };
    let place = (!owner.may_be_cut()).then_some(&key);
    if context.has_uid(place, &owner.uid) || context.living.has(&owner.uid, Instant::now()) {
        return Ok(true);
    }
    let api = Api::<PartialObjectMeta<Managed<K>>>::namespaced(context.shared.client.clone(), &owner.namespace);
    let has_uid = |uid: Option<String>| uid.as_deref() == Some(owner.uid.as_str());
    let asked_at = Instant::now();
    let lives = if owner.may_be_cut() {
        // The name is not all there, so only the uid tells.
        let all = api.list_metadata(&ListParams::default()).await;
        all.map(|all| all.items.into_iter().any(|found| has_uid(found.uid())))
    } else {
        let found = api.get_metadata_opt(&owner.name).await;
        found.map(|found| found.is_some_and(|found| has_uid(found.uid())))
    };
    let lives = match lives {
        Ok(lives) => lives,
        // Where nothing may be read, nothing may be taken either.
        Err(kube::Error::Api(status)) if status.code == 403 => true,
        Err(error) => return Err(error),
    };
    if lives {
        context.living.lives(&owner.uid, asked_at);
    }
    Ok(lives)
}

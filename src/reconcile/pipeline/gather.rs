//! Gather: reads the inputs of a decision from the apiserver, the Secrets and the cache.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt};
use tokio::time::Instant;
use vpn_cloud::credentials::keys::DefaultCredentialsError;
use vpn_core::api::DeletionPolicy;
use vpn_core::api::conditions::Reason;
use vpn_core::cache::{Cache, MassDeletion, Observed, Remote, Urgency};
use vpn_core::decide::inputs::Inputs;
use vpn_core::object::{Object, crd_name};
use vpn_core::observe::observer;
use vpn_core::observe::observer::Observer;
use vpn_core::owner_tag::Owner;
use vpn_core::terms::access::Access;
use vpn_core::terms::dereferenced::Dereferencing;
use vpn_core::terms::failure::{Failure, failure_of, user_action};
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::observation::Observation;
use vpn_core::terms::reference::Reference;
use vpn_core::terms::secret::SecretName;
use vpn_core::terms::sent_delete::SentDelete;

use crate::reconcile::k8s::report::stamp;
use crate::reconcile::k8s::secrets::FoundSecret;
use crate::reconcile::pipeline::context::KindContext;
use crate::reconcile::pipeline::visit::Visit;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::provider::dereferencer::{
    DereferenceError, Dereferencer, forbidden, impossible_secret, missing_secret, reading_a_secret,
};
use crate::reconcile::session::credential as resolve;
use crate::reconcile::session::credential::ResolvedCredential;
use crate::reconcile::session::credential_health::{CredentialFailure, CredentialName};
use crate::reconcile::session::project::Project;
use crate::reconcile::session::sessions::Session;
use crate::reconcile::state::registrations::Registrations;

/// The inputs gathered for one reconciliation.
pub(crate) struct Gathered<K: CloudKind> {
    pub session: Option<Arc<Session>>,
    pub cache: Option<Arc<Cache<K::Remote, ObjectKey>>>,
    pub access: Result<Access, Failure>,
    pub dereferenced: Dereferencing<K::Dereferenced>,
    pub parent: Option<K::Parent>,
    pub observation: Observation<K::Remote>,
    pub failed_query: Option<Failure>,
    pub crd_deleting_since: Option<Time>,
    pub triggered_at: Option<Instant>,
    /// Observations count from this time on.
    pub since: Option<Instant>,
    /// Of the queries for this object.
    pub urgency: Urgency,
    pub sent_delete: Option<SentDelete>,
    pub undeleted: Vec<String>,
    pub accepted: Option<K::Change>,
    pub replayed: bool,
    pub overwrites_tags: bool,
}

impl<K: CloudKind> Gathered<K> {
    /// The inputs of the decision about `object`.
    pub(crate) fn inputs<'a>(&'a self, object: &'a Object<K>, context: &'a KindContext<K>) -> Inputs<'a, K> {
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
            dereferenced: self.dereferenced.clone(),
            has_parent: self.parent.is_some(),
            observation: self.observation.clone(),
            failed_query: self.failed_query.clone(),
            triggered: self.triggered_at.is_some(),
            sent_delete: self.sent_delete,
            undeleted: self.undeleted.clone(),
            accepted: self.accepted.clone(),
            replayed: self.replayed,
            overwrites_tags: self.overwrites_tags,
        }
    }
}

impl<K: CloudKind> Gathered<K> {
    /// Takes what can be read only once, when nothing can fail any more before the decision: else it would be lost.
    pub(crate) fn take_one_time_reports(&mut self, context: &KindContext<K>, key: &ObjectKey) {
        let failure = self.cache.as_ref().and_then(|cache| cache.take_failure(key));
        self.failed_query = failure.map(|error| failure_of(&error));
        self.accepted = context.states.take_accepted(key);
    }
}

/// Whether queries for the object go before the writes for others. New objects and deletions come in bulk, so theirs do not.
fn urgency<K: CloudKind>(context: &KindContext<K>, key: &ObjectKey, object: &Object<K>) -> Urgency {
    match object.is_edited() && context.states.is_edited(key) {
        true => Urgency::Edit,
        false => Urgency::Reader,
    }
}

/// Gathers the inputs for one reconciliation of an object.
pub(crate) async fn gather<K: CloudKind>(
    visit: &Visit<'_, K>,
    object: &Object<K>,
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
    follow_references(key, object, registrations);
    let credential = credential(context, key, object, registrations).await?;
    // With deletionPolicy Retain nothing is deleted in the cloud, so it does not matter whether the CRD is deleted.
    let retains = object.lifecycle.deletion(shared.policy.default_deletion) == DeletionPolicy::Retain;
    let credential = match crd_unread {
        Some(failure) if !retains => Err(failure),
        _ => credential,
    };
    let triggered_at = context.states.triggered_at(key);
    let parent = K::parent(object.spec.as_ref().ok(), &object.status);
    let mut gathered = Gathered {
        session: None,
        cache: None,
        access: Err(user_action(Reason::Unauthorized, "there are no credentials")),
        dereferenced: Dereferencing::Waiting,
        parent,
        observation: Observation::blank(),
        failed_query: None,
        crd_deleting_since,
        triggered_at,
        since: triggered_at,
        urgency: urgency(context, key, object),
        sent_delete: recorded_id(object).and_then(|id| sent_delete(context, key, id)),
        undeleted: Vec::new(),
        accepted: None,
        replayed: recorded_token(object).is_some_and(|token| context.states.has_replayed(key, token)),
        overwrites_tags: true,
    };
    let session = match credential {
        Ok(credential) => registrations.session.assign(credential),
        Err(failure) => {
            registrations.session.release();
            gathered.access = Err(failure);
            return Ok(gathered);
        }
    };
    gathered.overwrites_tags = session.overwrites_tags();
    let opened = match session.client() {
        Some(_) => session.open(triggered_at).await,
        None => slot.yielded(session.open(triggered_at)).await,
    };
    // A deletion may use what is remembered of a Secret. That proves nothing about the Secret itself.
    if !deleting {
        let finding = session.finding();
        registrations.credential.leads_to(session.fingerprint(), finding);
    }
    match opened {
        Ok(open) => gather_in_project(visit, object, registrations, &session, open, &mut gathered).await?,
        Err(failure) => gathered.access = Err(failure),
    }
    gathered.session = Some(session);
    Ok(gathered)
}

/// Gathers what the project of the credentials shows.
async fn gather_in_project<K: CloudKind>(
    visit: &Visit<'_, K>,
    object: &Object<K>,
    registrations: &Registrations,
    session: &Session,
    open: &Project,
    gathered: &mut Gathered<K>,
) -> Result<(), kube::Error> {
    let Visit { context, key, .. } = *visit;
    let access = session.access(open);
    // Only reads that start from then on also give the cloud's time.
    let timeless_since = access
        .cloud_now
        .is_none()
        .then(|| session.time_unknown_since())
        .flatten();
    let triggered_at = gathered.triggered_at;
    gathered.since = observer::since(object, triggered_at, Instant::now(), access.cloud_now).max(timeless_since);
    gathered.access = Ok(access);
    if let Some(parent) = &gathered.parent {
        let cache = K::cache(open, parent, key);
        gather_from_cache(context, key, object, open, &cache, gathered).await?;
        gathered.cache = Some(cache);
    }
    if object.deleting_since().is_none() {
        let may_ask_cloud = is_read(object, &gathered.observation);
        gathered.dereferenced =
            dereferenced(context, key, object, open, registrations, triggered_at, may_ask_cloud).await?;
    }
    Ok(())
}

/// Gathers what the cache of the object's collection shows. Which owners still exist is asked of the apiserver.
async fn gather_from_cache<K: CloudKind>(
    context: &KindContext<K>,
    key: &ObjectKey,
    object: &Object<K>,
    open: &Project,
    cache: &Arc<Cache<K::Remote, ObjectKey>>,
    gathered: &mut Gathered<K>,
) -> Result<(), kube::Error> {
    let shared = &context.shared;
    let observer = Observer {
        policy: &shared.policy,
        claims: &context.claims,
        key,
        object,
        scope: &open.scope,
        since: gathered.since,
    };
    read_cache(&observer, cache, open, gathered);
    gathered.undeleted = observer.undeleted(&cache.known(), |id| sent_delete(context, key, id));
    gathered.observation.unlisted = context.unlisted();
    if gathered.observation.known == Observed::Absent {
        // First whether all is counted, then the count.
        gathered.observation.counted = shared.initial_sync.is_complete() && open.is_counted();
        gathered.observation.mass_deletion = mass_deletion(&observer, cache, open);
    }
    if let Some(owner) = observer.named_owner(&gathered.observation) {
        gathered.observation.owner_exists = owner_exists::<K>(context, &owner).await?;
    }
    let peers = observer.peers(&cache.known());
    for (peer, owner) in peers {
        if !owner_exists::<K>(context, &owner).await? {
            cache.known().watch(key, Some(peer.id()));
            gathered.observation.orphan = Some(peer);
            break;
        }
    }
    Ok(())
}

/// The DELETE of this id that this process sent.
fn sent_delete<K: CloudKind>(context: &KindContext<K>, key: &ObjectKey, id: &str) -> Option<SentDelete> {
    let period = context.shared.policy.confirmation_period;
    context.states.sent_delete(key, id, period, Instant::now())
}

fn read_cache<K: CloudKind>(
    observer: &Observer<'_, K>,
    cache: &Cache<K::Remote, ObjectKey>,
    open: &Project,
    gathered: &mut Gathered<K>,
) {
    observer.hold(&mut cache.known());
    let mass_deletion = mass_deletion(observer, cache, open);
    let mut known = cache.known();
    gathered.observation = observer.observation(&mut known, mass_deletion);
}

/// Whether many resources of the credential were lost at once, this object's among them. Locks every cache of the
/// credential, so the caller must hold none.
fn mass_deletion<K: CloudKind>(
    observer: &Observer<'_, K>,
    cache: &Cache<K::Remote, ObjectKey>,
    open: &Project,
) -> Option<MassDeletion> {
    let id = K::object(&observer.object.status).id.as_deref()?;
    let lost_at = cache.known().lost_at(id)?;
    open.mass_deletion(lost_at)
}

fn recorded_id<K: CloudKind>(object: &Object<K>) -> Option<&str> {
    K::object(&object.status).id.as_deref()
}

fn recorded_token<K: CloudKind>(object: &Object<K>) -> Option<&str> {
    let intent = K::object(&object.status).intent.as_ref();
    intent.map(|intent| intent.token.as_str())
}

/// Reads the CRD just before a deletion, with a quorum: `kubectl delete crd` must not take the VPN down. Returns a
/// failure as well if the read is forbidden.
async fn crd_deletion<K: CloudKind>(context: &KindContext<K>) -> Result<(Option<Time>, Option<Failure>), kube::Error> {
    let crds = Api::<CustomResourceDefinition>::all(context.shared.client.clone());
    let crd = crd_name::<K>();
    match crds.get_metadata_opt(crd).await {
        Ok(found) => Ok((found.and_then(|crd| crd.metadata.deletion_timestamp), None)),
        Err(error) => {
            let may = format!(
                "read the CRD {crd}, and deletes nothing in the cloud while the CRD may be being deleted: grant get \
                 on customresourcedefinitions to its service account"
            );
            Ok((None, Some(forbidden(error, &may)?)))
        }
    }
}

async fn credential<K: CloudKind>(
    context: &KindContext<K>,
    key: &ObjectKey,
    object: &Object<K>,
    registrations: &Registrations,
) -> Result<Result<ResolvedCredential, Failure>, kube::Error> {
    let shared = &context.shared;
    let used = &registrations.credential;
    let Some(reference) = &object.lifecycle.credentials_ref else {
        let read = shared.default_credentials.read();
        let is_allowed = shared.settings.default_credentials_namespaces.contains(&key.namespace);
        let are_configured = !matches!(read, Err(DefaultCredentialsError::NotConfigured));
        // Without a cloud resource, missing credentials show in `Ready` only, not in the credential health.
        let needs_them = K::object(&object.status).id.is_some();
        used.uses(match (is_allowed, are_configured || needs_them) {
            (true, true) => Some(CredentialName::Default),
            (false, _) if needs_them => Some(CredentialName::DefaultRefused(key.namespace.clone())),
            _ => None,
        });
        let credential = resolve::own(&shared.settings, &key.namespace, read);
        if let Err(failure) = &credential {
            used.cannot_be_used(CredentialFailure::of(failure.condition.clone()));
        }
        return Ok(credential);
    };
    if let Some(failure) = impossible_secret(&reference.name, "credentialsRef") {
        used.uses(None);
        return Ok(Err(failure));
    }
    let secret: SecretName = (key.namespace.clone(), reference.name.clone());
    let name = format!("{}/{}", secret.0, secret.1);
    used.uses(Some(CredentialName::Secret(secret.clone())));
    let deleting = object.deleting_since().is_some();
    let read = match registrations.secrets.read(&secret, &resolve::SECRET_KEYS).await {
        Ok(read) => read,
        Err(error) => {
            let failure = forbidden(error, &reading_a_secret(&secret, "spec.credentialsRef"))?;
            // A namespace that is deleted may lose the operator's permission on its Secrets before anything else.
            let Some(found) = shared.secrets.remembered(&secret).filter(|_| deleting) else {
                used.cannot_be_used(CredentialFailure::of(failure.condition.clone()));
                return Ok(Err(failure));
            };
            found
        }
    };
    let (credential, is_secret_absent) = match read {
        FoundSecret::Present(content) => (resolve::from_secret(&shared.settings, &name, &content.data), false),
        // A namespace that is deleted loses its Secrets first.
        FoundSecret::Remembered(content) if deleting => {
            return Ok(resolve::from_secret(&shared.settings, &name, &content.data));
        }
        FoundSecret::Remembered(_) | FoundSecret::Absent => {
            (Err(missing_secret(&name, "spec.credentialsRef", "")), true)
        }
    };
    if let Err(failure) = &credential {
        used.cannot_be_used(CredentialFailure {
            is_secret_absent,
            ..CredentialFailure::of(failure.condition.clone())
        });
    }
    Ok(credential)
}

/// Whether the object's own resource has been read. Its references are read after that: of two reads in progress, the
/// end of one would start the other again, whatever the result.
fn is_read<K: CloudKind>(object: &Object<K>, observation: &Observation<K::Remote>) -> bool {
    match K::object(&object.status).id {
        Some(_) => matches!(observation.known, Observed::Seen { fresh: true, .. }),
        None => observation.listed.is_some(),
    }
}

async fn dereferenced<K: CloudKind>(
    context: &KindContext<K>,
    key: &ObjectKey,
    object: &Object<K>,
    open: &Project,
    registrations: &Registrations,
    since: Option<Instant>,
    may_ask_cloud: bool,
) -> Result<Dereferencing<K::Dereferenced>, kube::Error> {
    let Ok(spec) = &object.spec else {
        return Ok(Dereferencing::Read(K::Dereferenced::default()));
    };
    let dereferencer = Dereferencer {
        key,
        digest_keys: &context.shared.digest_keys,
        started: context.shared.started,
        secrets: &registrations.secrets,
        references: &registrations.references,
        recorded: recorded_references(object),
        requested_at: object.annotation(vpn_core::api::RECONCILE_REQUESTED_ANNOTATION),
        open,
        since,
        waits: context.states.waits(key),
        urgency: urgency(context, key, object),
        may_ask_cloud,
    };
    match K::dereferenced(spec, &dereferencer).await {
        Ok(dereferenced) => Ok(Dereferencing::Read(dereferenced)),
        Err(DereferenceError::Waiting) => Ok(Dereferencing::Waiting),
        Err(DereferenceError::Failure(failure)) => Ok(Dereferencing::Lacking(*failure)),
        Err(DereferenceError::Absent(failure)) => Ok(Dereferencing::Absent(*failure)),
        Err(DereferenceError::Kube(error)) => Err(error),
    }
}

/// The IDs that status has for the references of a resource that exists. A creation uses none of them.
fn recorded_references<K: CloudKind>(object: &Object<K>) -> Vec<(Reference, String)> {
    let (Ok(spec), Some(_)) = (&object.spec, recorded_id(object)) else {
        return Vec::new();
    };
    let named = K::references(spec).into_iter();
    let recorded = named.filter_map(|reference| {
        let id = K::recorded_reference(&object.status, &reference)?.to_owned();
        Some((reference, id))
    });
    recorded.collect()
}

/// Makes the watch follow the Secrets that the spec names, and no others.
fn follow_secrets<K: CloudKind>(key: &ObjectKey, object: &Object<K>, registrations: &Registrations) {
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

/// Follows the objects that the spec names, and no others.
fn follow_references<K: CloudKind>(key: &ObjectKey, object: &Object<K>, registrations: &Registrations) {
    let Ok(spec) = &object.spec else { return };
    let named = K::references(spec).into_iter();
    let targets: Vec<ObjectKey> = named.filter_map(|named| named.target.key(&key.namespace)).collect();
    registrations.references.names_only(&targets);
}

/// Whether the owner in a tag exists. The watches are checked first, without a request. Only the apiserver can prove
/// that an object does not exist: it may be outside the watches of this process, or too new for them.
async fn owner_exists<K: CloudKind>(context: &KindContext<K>, owner: &Owner) -> Result<bool, kube::Error> {
    // Authors of tags in the cloud must not control requests to the apiserver: names become part of a path.
    if !owner.can_exist() {
        return Ok(true);
    }
    let key = ObjectKey::new(K::KIND, &owner.namespace, &owner.name);
    let place = (!owner.may_be_cut()).then_some(&key);
    if context.has_uid(place, &owner.uid) || context.owner_existence.has(&owner.uid, Instant::now()) {
        return Ok(true);
    }
    let api = Api::<PartialObjectMeta<Object<K>>>::namespaced(context.shared.client.clone(), &owner.namespace);
    let has_uid = |uid: Option<String>| uid.as_deref() == Some(owner.uid.as_str());
    let asked_at = Instant::now();
    let owner_exists = if owner.may_be_cut() {
        // The name is truncated, so only the uid identifies the owner.
        let all = api.list_metadata(&ListParams::default()).await;
        all.map(|all| all.items.into_iter().any(|found| has_uid(found.uid())))
    } else {
        let found = api.get_metadata_opt(&owner.name).await;
        found.map(|found| found.is_some_and(|found| has_uid(found.uid())))
    };
    let owner_exists = match owner_exists {
        Ok(owner_exists) => owner_exists,
        // Without permission to read, nothing may be taken over.
        Err(kube::Error::Api(status)) if status.code == 403 => true,
        Err(error) => return Err(error),
    };
    if owner_exists {
        context.owner_existence.record(&owner.uid, asked_at);
    }
    Ok(owner_exists)
}

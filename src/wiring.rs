//! The kinds that this operator manages: their CRDs and controllers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::ObjectReference;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use vpn_cloud::credentials::keys::DefaultCredentialsSource;
use vpn_cloud::http::transport::{RequestObserver, Transport, TransportError, TransportOptions};
use vpn_cloud::{Cloud, Operation};
use vpn_core::api::conditions::Reason;
use vpn_core::api::crd::CrdError;
use vpn_core::api::crds;
use vpn_core::kinds::customer_gateway::Gateways;
use vpn_core::kinds::vpn_user::Users;
use vpn_core::observe::claims::Claims;
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::policy::Policy;
use vpn_core::terms::reference::Resolution;

use crate::kubernetes::crd_skew::{CrdSkew, SkewFindings};
use crate::metrics::Metrics;
use crate::operator::Dependencies;
use crate::reconcile::k8s::digest_key::DigestKeys;
use crate::reconcile::k8s::events::{EventType, Recorder};
use crate::reconcile::k8s::owner_existence::OwnerExistence;
use crate::reconcile::k8s::report::Reporter;
use crate::reconcile::k8s::secret_watch::{Followed, watch_secrets};
use crate::reconcile::k8s::secrets::Secrets;
use crate::reconcile::pipeline::context::{Context, KindContext};
use crate::reconcile::pipeline::controller::{KindController, secret_changed};
use crate::reconcile::pipeline::slots::Slots;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::session::credential_health::{CredentialHealth, CredentialName, Report, watch_default};
use crate::reconcile::session::resources::SessionResources;
use crate::reconcile::session::sessions::Sessions;
use crate::reconcile::state::initial_sync::{InitialSync, OfKind};
use crate::reconcile::state::object_states::ObjectStates;
use crate::reconcile::state::queue::WorkQueue;
use crate::reconcile::state::references::{References, Resolver};
use crate::reconcile::state::wake_queues::WakeQueues;
use crate::settings::OperatorSettings;
use crate::web::Readiness;

/// Why the CRDs cannot be printed.
#[derive(Debug, Error)]
pub enum CrdsError {
    /// A schema cannot be built.
    #[error(transparent)]
    Schema(#[from] CrdError),
    /// The YAML writer failed.
    #[error("a CRD cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Every CRD that belongs to this version, as YAML documents.
pub fn crd_yaml() -> Result<String, CrdsError> {
    crds()?.iter().try_fold(String::new(), |text, crd| {
        let document = serde_saphyr::to_string(crd)?;
        Ok(format!("{text}---\n{document}"))
    })
}

/// A kind as the controllers start it, whatever its types are.
#[derive(Clone, Copy)]
pub(crate) struct WiredKind {
    name: &'static str,
    prepare: fn(&Dependencies, &Arc<Context>, Arc<WorkQueue>, &Slots) -> PreparedKind,
}

impl WiredKind {
    pub(crate) const fn of<K: CloudKind>() -> Self {
        Self {
            name: K::KIND,
            prepare: prepare::<K>,
        }
    }
}

/// The kinds that this operator manages.
pub(crate) const KINDS: [WiredKind; 2] = [WiredKind::of::<Gateways>(), WiredKind::of::<Users>()];

/// Runs the controllers of all kinds until shutdown.
pub async fn controllers(dependencies: Dependencies) -> Result<(), TransportError> {
    controllers_of(&KINDS, dependencies).await
}

/// Runs the controllers of these kinds until shutdown.
pub(crate) async fn controllers_of(kinds: &[WiredKind], dependencies: Dependencies) -> Result<(), TransportError> {
    let options = TransportOptions {
        ca_file: dependencies
            .settings
            .ca_bundle
            .as_ref()
            .map(|bundle| bundle.path.clone()),
        request_timeout: dependencies.settings.request_timeout,
    };
    let observer = Arc::new(MetricsObserver(dependencies.metrics.clone()));
    let transport = Transport::new(&options, observer)?;

    let mut wake_queues = WakeQueues::default();
    let queues: Vec<_> = kinds.iter().map(|kind| wake_queues.queue(kind.name)).collect();
    let wake_queues = Arc::new(wake_queues);
    let context = Arc::new(context(&dependencies, transport, Arc::clone(&wake_queues)));

    let slots = Slots::default();
    let mut kinds: Vec<PreparedKind> = kinds
        .iter()
        .zip(queues)
        .map(|(kind, queue)| (kind.prepare)(&dependencies, &context, queue, &slots))
        .collect();
    // Pruned fields must be known before the first status is written.
    join_all(
        kinds
            .iter_mut()
            .filter_map(|kind| kind.skew.as_mut())
            .map(CrdSkew::refresh),
    )
    .await;
    let mut running: Vec<BoxFuture<'static, ()>> = Vec::new();
    let (mut have_been_read, mut by_secret, mut resolvers) = (Vec::new(), Vec::new(), HashMap::new());
    for kind in kinds {
        have_been_read.push(kind.has_been_read);
        by_secret.push(kind.on_secret);
        resolvers.insert(kind.name, kind.resolver);
        running.push((kind.run)(
            dependencies.readiness.clone(),
            dependencies.shutdown.clone(),
        ));
        let shutdown = dependencies.shutdown.clone();
        running.extend(kind.skew.map(|skew| skew.watch(shutdown).boxed()));
    }
    // They keep the kinds until everything has ended: other kinds resolve references to them.
    let by_secret: Arc<Vec<OnSecret>> = Arc::new(by_secret);
    let _kinds = Arc::clone(&by_secret);
    context.initial_sync.of(have_been_read);
    context.references.of(resolvers);
    let followed = Followed {
        client: context.client.clone(),
        secrets: Arc::clone(&context.secrets),
        namespaces: context.settings.watch_namespaces.watches(),
        resync_period: context.settings.resync_period,
    };
    let secrets = watch_secrets(
        followed,
        move |key| {
            for change in by_secret.iter() {
                change(&key);
            }
            wake_queues.enqueue(key);
        },
        dependencies.readiness.clone(),
        dependencies.shutdown.clone(),
    );
    running.extend([
        watch_credentials(Arc::clone(&context), dependencies.shutdown.clone()).boxed(),
        secrets.boxed(),
        make_digest_key(Arc::clone(&context), dependencies.shutdown.clone()).boxed(),
    ]);
    join_all(running).await;
    Ok(())
}

/// Enqueues objects when the health of their credentials changes, and when the default credentials change.
async fn watch_credentials(context: Arc<Context>, shutdown: CancellationToken) {
    let health = &context.credential_health;
    let enqueue = |key| context.wake_queues.enqueue(key);
    let watch = async {
        tokio::join!(
            health.enqueue(enqueue),
            watch_default(health, &context.default_credentials, enqueue),
        );
    };
    tokio::select! {
        () = watch => {}
        () = shutdown.cancelled() => {}
    }
}

/// Creates the digest key at the first start, so that a missing permission shows before a password waits for the key.
async fn make_digest_key(context: Arc<Context>, shutdown: CancellationToken) {
    let make = async {
        context.leader.leading().await;
        if let Err(error) = context.digest_keys.get().await {
            let (namespace, secret) = context.digest_keys.secret();
            warn!(
                namespace,
                secret,
                %error,
                "the digest key cannot be read or created; VPN users with passwords wait for it"
            );
        }
    };
    tokio::select! {
        () = make => {}
        () = shutdown.cancelled() => {}
    }
}

/// Handles a change of an object's Secret.
type OnSecret = Box<dyn Fn(&ObjectKey) + Send + Sync>;

/// What one kind adds to the process.
pub(crate) struct PreparedKind {
    name: &'static str,
    /// `None` if the dependencies do not include its CRD.
    skew: Option<CrdSkew>,
    has_been_read: OfKind,
    on_secret: OnSecret,
    resolver: Resolver,
    run: Box<dyn FnOnce(Readiness, CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

fn prepare<K: CloudKind>(
    dependencies: &Dependencies,
    context: &Arc<Context>,
    queue: Arc<WorkQueue>,
    slots: &Slots,
) -> PreparedKind {
    let plural = <K::Resource as kube::Resource>::plural(&());
    let crd_check = dependencies
        .readiness
        .check(format!("fields of crd {plural}"), "not written yet");
    // Ok until the first write of a status shows otherwise.
    crd_check.ok();
    let own = dependencies.crds.iter().find(|crd| crd.spec.names.kind == K::KIND);
    let skew = own.map(|own| CrdSkew {
        kind: K::KIND,
        own: own.clone(),
        client: dependencies.client.clone(),
        readiness: dependencies.readiness.clone(),
        check: crd_check.clone(),
        metrics: dependencies.metrics.clone(),
        found: SkewFindings::default(),
    });
    let pruned_fields = skew.as_ref().map(CrdSkew::pruned_fields).unwrap_or_default();
    let context = Arc::new(KindContext::<K> {
        shared: Arc::clone(context),
        states: ObjectStates::default(),
        claims: Claims::default(),
        owner_existence: OwnerExistence::default(),
        heard: dependencies.heard.clone(),
        watches: Mutex::default(),
        crd_check,
        pruned_fields,
    });
    // The shared context owns these closures: a strong reference would be a cycle.
    let weak = Arc::downgrade(&context);
    let resolver = Box::new(move |key: &ObjectKey| {
        let context = weak.upgrade();
        context.map_or(Resolution::Unknown, |context| context.resolution(key))
    });
    let weak = Arc::downgrade(&context);
    let has_been_read = Box::new(move || weak.upgrade().is_some_and(|context| context.all_have_been_read()));
    PreparedKind {
        name: K::KIND,
        skew,
        has_been_read,
        on_secret: on_secret(&context),
        resolver,
        run: {
            let slots = slots.clone();
            let controller = KindController { context, queue, slots };
            Box::new(move |readiness, shutdown| controller.run(readiness, shutdown).boxed())
        },
    }
}

fn on_secret<K: CloudKind>(context: &Arc<KindContext<K>>) -> OnSecret {
    let context = Arc::clone(context);
    Box::new(move |key| {
        if key.kind == K::KIND {
            secret_changed(&context, key);
        }
    })
}

fn context(dependencies: &Dependencies, transport: Transport, wake_queues: Arc<WakeQueues>) -> Context {
    let settings = Arc::clone(&dependencies.settings);
    let recorder = Arc::new(Recorder::new(
        dependencies.client.clone(),
        std::env::var("POD_NAME").ok(),
    ));
    let report = credential_reporter(dependencies.metrics.clone(), Arc::clone(&recorder));
    let credential_health = CredentialHealth::new(settings.resync_period, dependencies.metrics.clone(), report);
    let resources = SessionResources {
        transport,
        max_requests_per_second: f64::from(settings.max_requests_per_second.get()),
        request_timeout: settings.request_timeout,
        resync_period: settings.resync_period,
        owner_tag_key: settings.owner_tag_key.clone(),
        enqueue: {
            let wake_queues = Arc::clone(&wake_queues);
            Box::new(move |key| wake_queues.enqueue(key))
        },
        permit: {
            let wake_queues = Arc::clone(&wake_queues);
            Box::new(move |key| wake_queues.permit(key))
        },
        health: Arc::clone(&credential_health),
        listed: {
            let metrics = dependencies.metrics.clone();
            Box::new(move |collection, ok| metrics.cache_listed(collection, if ok { "ok" } else { "error" }))
        },
        unreadable: {
            let metrics = dependencies.metrics.clone();
            Box::new(move |collection, count| metrics.read_unreadable_items(collection, count))
        },
        endpoint_aliases: settings.endpoint_aliases.clone(),
    };
    Context {
        policy: policy(&settings),
        client: dependencies.client.clone(),
        reporter: Reporter::new(dependencies.client.clone(), recorder),
        secrets: Secrets::new(dependencies.client.clone()),
        digest_keys: digest_keys(dependencies),
        sessions: Sessions::new(resources),
        credential_health,
        default_credentials: DefaultCredentialsSource::new(|name| std::env::var(name).ok()),
        leader: dependencies.leader.clone(),
        metrics: dependencies.metrics.clone(),
        references: References::new(Arc::clone(&wake_queues)),
        wake_queues,
        initial_sync: InitialSync::default(),
        jitter: || rand::random_range(0.8..=1.2),
        started: Instant::now(),
        settings,
        #[cfg(test)]
        tripwires: dependencies.tripwires.clone(),
    }
}

/// Stores the digest key in the namespace of the Lease or, without one, in that of the process itself.
fn digest_keys(dependencies: &Dependencies) -> DigestKeys {
    let namespace = dependencies.settings.operator_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| dependencies.client.default_namespace().to_owned());
    DigestKeys::new(
        dependencies.client.clone(),
        namespace,
        dependencies.settings.lease_name.clone(),
    )
}

fn policy(settings: &OperatorSettings) -> Policy {
    Policy {
        cluster_name: settings.cluster_name.clone(),
        owner_tag_key: settings.owner_tag_key.clone(),
        default_deletion: settings.default_deletion_policy,
        mass_deletion_guard: settings.mass_deletion_guard,
        read_only: settings.read_only,
        confirmation_period: settings.confirmation_period,
        is_otc: settings.cloud == Cloud::Otc,
    }
}

/// Reports each credential that fails, or works again: in the log, in a metric and by an Event about its Secret.
fn credential_reporter(metrics: Metrics, recorder: Arc<Recorder>) -> Report {
    Box::new(move |credential, failure| {
        let Some(failure) = failure else {
            info!(%credential, "the credentials work again");
            return;
        };
        let condition = failure.condition.clone();
        let (reason, message) = (condition.reason.as_str(), &condition.message);
        if condition.reason == Reason::Throttled {
            warn!(%credential, reason, message, "the cloud throttles the credentials");
        } else {
            warn!(%credential, reason, message, "the credentials fail");
        }
        metrics.credential_failed(condition.reason.as_str());
        let CredentialName::Secret((namespace, name)) = credential.clone() else {
            return;
        };
        if failure.is_secret_absent {
            return;
        }
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            namespace: Some(namespace),
            name: Some(name),
            ..ObjectReference::default()
        };
        let recorder = Arc::clone(&recorder);
        tokio::spawn(async move {
            crate::reconcile::k8s::report::publish(
                &recorder,
                &about,
                EventType::Warning,
                condition.reason.as_str(),
                &condition.message,
            )
            .await;
        });
    })
}

struct MetricsObserver(Metrics);

impl RequestObserver for MetricsObserver {
    fn finished(&self, operation: Operation, outcome: &'static str, elapsed: std::time::Duration) {
        self.0.cloud_request(operation.name(), outcome, elapsed);
    }
}

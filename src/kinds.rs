//! The kinds that this operator looks after: their CRDs, and the controllers behind them.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::ObjectReference;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::crd::CrdError;
use crate::api::crds;
use crate::cloud::credentials::OwnCredentialsSource;
use crate::cloud::transport::{Observer, Transport, TransportOptions};
use crate::cloud::{Cloud, Operation};
use crate::crd_age::{CrdAge, Found};
use crate::metrics::Metrics;
use crate::operator::Rooms;
use crate::reconcile::census::{Census, OfKind};
use crate::reconcile::claims::Claims;
use crate::reconcile::context::{Context, KindContext};
use crate::reconcile::controller::{KindController, secret_changed};
use crate::reconcile::credential_health::{CredentialHealth, CredentialName, Report, watch_default};
use crate::reconcile::customer_gateway::Gateways;
use crate::reconcile::decide::Policy;
use crate::reconcile::digest_key::DigestKeys;
use crate::reconcile::events::{EventType, Recorder};
use crate::reconcile::key::{Key, Wakes};
use crate::reconcile::kind::Kind;
use crate::reconcile::living::Living;
use crate::reconcile::memory::Memory;
use crate::reconcile::queue::WorkQueue;
use crate::reconcile::report::Reporter;
use crate::reconcile::secret_watch::watch_secrets;
use crate::reconcile::secrets::Secrets;
use crate::reconcile::tenant::{Shared, Tenants};
use crate::reconcile::vpn_user::Users;
use crate::reconcile::workers::Slots;
use crate::settings::Settings;

/// Why the CRDs cannot be told.
#[derive(Debug, Error)]
pub enum CrdsError {
    #[error(transparent)]
    Schema(#[from] CrdError),
    #[error("a CRD cannot be written as YAML: {0}")]
    Yaml(String),
}

/// Every CRD that belongs to this version, as YAML documents.
pub fn crd_yaml() -> Result<String, CrdsError> {
    crds()?.iter().try_fold(String::new(), |text, crd| {
        let document = serde_saphyr::to_string(crd).map_err(|error| CrdsError::Yaml(error.to_string()))?;
        Ok(format!("{text}---\n{document}"))
    })
}

/// Runs the controllers of all kinds until they are told to stop.
pub async fn controllers(rooms: Rooms) -> Result<(), String> {
    let options = TransportOptions {
        ca_file: rooms.settings.ca_bundle.as_ref().map(|bundle| bundle.path.clone()),
        request_timeout: rooms.settings.request_timeout,
    };
    let observer = Arc::new(MetricsObserver(rooms.metrics.clone()));
    let transport = Transport::new(&options, observer).map_err(|error| error.to_string())?;

    let mut wakes = Wakes::default();
    let gateways = wakes.queue(Gateways::KIND);
    let users = wakes.queue(Users::KIND);
    let wakes = Arc::new(wakes);
    let context = Arc::new(context(&rooms, transport, Arc::clone(&wakes)));

    let mut ages = Vec::new();
    let slots = Slots::default();
    let gateways = kind_controller::<Gateways>(&rooms, &context, gateways, &slots, &mut ages);
    let users = kind_controller::<Users>(&rooms, &context, users, &slots, &mut ages);
    // What gets lost must be known before the first record.
    join_all(ages.iter_mut().map(CrdAge::look)).await;
    context.census.of(vec![was_looked_at(&gateways), was_looked_at(&users)]);
    let by_secret: Vec<OnSecret> = vec![on_secret(&gateways), on_secret(&users)];
    let secrets = watch_secrets(
        Arc::clone(&context),
        move |key| {
            by_secret.iter().for_each(|change| change(&key));
            wakes.wake(key);
        },
        rooms.readiness.clone(),
        rooms.shutdown.clone(),
    );
    let health = Arc::clone(&context.credential_health);
    let credentials = {
        let (enqueued, changed) = (Arc::clone(&context.wakes), Arc::clone(&context.wakes));
        let context = Arc::clone(&context);
        async move {
            tokio::join!(
                health.enqueue(|key| enqueued.wake(key)),
                watch_default(&health, &context.own_credentials, |key| changed.wake(key)),
            );
        }
    };
    let shutdown = rooms.shutdown.clone();
    let credentials = async move {
        tokio::select! {
            () = credentials => {}
            () = shutdown.cancelled() => {}
        }
    };
    let mut running: Vec<BoxFuture<'static, ()>> = vec![
        Box::pin(credentials),
        Box::pin(secrets),
        Box::pin(make_digest_key(Arc::clone(&context), rooms.shutdown.clone())),
        Box::pin(gateways.run(rooms.readiness.clone(), rooms.shutdown.clone())),
        Box::pin(users.run(rooms.readiness.clone(), rooms.shutdown.clone())),
    ];
    running.extend(ages.into_iter().map(|age| age.watch(rooms.shutdown.clone()).boxed()));
    join_all(running).await;
    Ok(())
}

/// Makes the digest key at the first start, so that a missing right shows before a password is waiting.
async fn make_digest_key(context: Arc<Context>, shutdown: CancellationToken) {
    let make = async {
        context.leader.leading().await;
        if let Err(error) = context.digest_keys.get().await {
            let (namespace, secret) = context.digest_keys.secret();
            warn!(namespace, secret, %error, "the digest key cannot be read or made; VPN users with passwords wait for it");
        }
    };
    tokio::select! {
        () = make => {}
        () = shutdown.cancelled() => {}
    }
}

/// Hears that a Secret of an object has changed.
type OnSecret = Box<dyn Fn(&Key) + Send + Sync>;

fn kind_controller<K: Kind>(
    rooms: &Rooms,
    context: &Arc<Context>,
    queue: Arc<WorkQueue>,
    slots: &Slots,
    ages: &mut Vec<CrdAge>,
) -> KindController<K> {
    let plural = <K::Resource as kube::Resource>::plural(&());
    let crd_check = rooms
        .readiness
        .check(format!("fields of crd {plural}"), "not written yet");
    // Until the first record shows otherwise.
    crd_check.ok();
    let own = rooms.crds.iter().find(|crd| crd.spec.names.kind == K::KIND);
    let age = own.map(|own| CrdAge {
        kind: K::KIND,
        own: own.clone(),
        client: rooms.client.clone(),
        readiness: rooms.readiness.clone(),
        check: crd_check.clone(),
        metrics: rooms.metrics.clone(),
        found: Found::default(),
    });
    let unkept = age.as_ref().map(CrdAge::unkept).unwrap_or_default();
    ages.extend(age);
    let context = KindContext {
        shared: Arc::clone(context),
        memory: Memory::default(),
        claims: Claims::default(),
        living: Living::default(),
        heard: rooms.heard.clone(),
        watches: Mutex::default(),
        crd_check,
        unkept,
    };
    KindController {
        context: Arc::new(context),
        queue,
        slots: slots.clone(),
    }
}

fn on_secret<K: Kind>(controller: &KindController<K>) -> OnSecret {
    let context = Arc::clone(&controller.context);
    Box::new(move |key| {
        if key.kind == K::KIND {
            secret_changed(&context, key);
        }
    })
}

fn was_looked_at<K: Kind>(controller: &KindController<K>) -> OfKind {
    // The context has the census: it must not own itself.
    let context = Arc::downgrade(&controller.context);
    Box::new(move || context.upgrade().is_some_and(|context| context.all_are_looked_at()))
}

fn context(rooms: &Rooms, transport: Transport, wakes: Arc<Wakes>) -> Context {
    let settings = Arc::clone(&rooms.settings);
    let recorder = Arc::new(Recorder::new(rooms.client.clone(), std::env::var("POD_NAME").ok()));
    let report = credential_reporter(rooms.metrics.clone(), Arc::clone(&recorder));
    let credential_health = CredentialHealth::new(settings.resync_period, rooms.metrics.clone(), report);
    let shared = Shared {
        transport,
        max_requests_per_second: f64::from(settings.max_requests_per_second.get()),
        request_timeout: settings.request_timeout,
        resync_period: settings.resync_period,
        owner_tag_key: settings.owner_tag_key.clone(),
        wake: {
            let wakes = Arc::clone(&wakes);
            Box::new(move |key| wakes.wake(key))
        },
        grant: {
            let wakes = Arc::clone(&wakes);
            Box::new(move |key| wakes.grant(key))
        },
        health: Arc::clone(&credential_health),
        listed: {
            let metrics = rooms.metrics.clone();
            Box::new(move |collection, ok| metrics.mirror_listed(collection, if ok { "ok" } else { "error" }))
        },
        unreadable: {
            let metrics = rooms.metrics.clone();
            Box::new(move |collection, count| metrics.read_unreadable_items(collection, count))
        },
        endpoint_aliases: settings.endpoint_aliases.clone(),
    };
    Context {
        policy: policy(&settings),
        client: rooms.client.clone(),
        reporter: Reporter::new(rooms.client.clone(), recorder),
        secrets: Secrets::new(rooms.client.clone()),
        digest_keys: digest_keys(rooms),
        tenants: Tenants::new(shared),
        credential_health,
        own_credentials: OwnCredentialsSource::new(|name| std::env::var(name).ok()),
        leader: rooms.leader.clone(),
        metrics: rooms.metrics.clone(),
        wakes,
        census: Census::default(),
        started: Instant::now(),
        settings,
        #[cfg(test)]
        tripwires: rooms.tripwires.clone(),
    }
}

/// The digest key lives beside the Lease; without a Lease's namespace, where the process itself is at home.
fn digest_keys(rooms: &Rooms) -> DigestKeys {
    let namespace = rooms.settings.home_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| rooms.client.default_namespace().to_owned());
    DigestKeys::new(rooms.client.clone(), namespace, rooms.settings.home_name.clone())
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        cluster_name: settings.cluster_name.clone(),
        owner_tag_key: settings.owner_tag_key.clone(),
        default_deletion: settings.default_deletion_policy,
        mass_deletion_guard: settings.mass_deletion_guard,
        read_only: settings.read_only,
        settle_time: settings.settle_time,
        is_otc: settings.cloud == Cloud::Otc,
        #[cfg(test)]
        without: None,
    }
}

/// Reports each credential that fails, or works again: in the log, in a metric and by an Event about its Secret.
fn credential_reporter(metrics: Metrics, recorder: Arc<Recorder>) -> Report {
    Box::new(move |credential, failure| {
        let Some(failure) = failure else {
            info!(%credential, "the credentials work again");
            return;
        };
        let verdict = failure.verdict.clone();
        warn!(%credential, reason = verdict.reason.as_str(), message = verdict.message, "the credentials fail");
        metrics.credential_failed(verdict.reason.as_str());
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
            crate::reconcile::report::publish(
                &recorder,
                &about,
                EventType::Warning,
                verdict.reason.as_str(),
                &verdict.message,
            )
            .await;
        });
    })
}

struct MetricsObserver(Metrics);

impl Observer for MetricsObserver {
    fn finished(&self, operation: Operation, outcome: &'static str, elapsed: std::time::Duration) {
        self.0.cloud_request(operation.name(), outcome, elapsed);
    }
}

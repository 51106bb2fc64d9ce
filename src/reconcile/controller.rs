//! The controllers: watches in, reconciles out. One per kind and watched namespace.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use kube::Api;
use kube::runtime::controller::{self, Controller};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::context::{KindContext, Watched};
use super::initial_list::InitialList;
use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use super::pipeline::{on_error, reconcile};
use super::watch_health::{WatchChecks, WatchHealth};
use crate::api::conditions::{self, Reason};
use crate::web::Readiness;

/// Objects of one page of a list; few enough that a list of ten thousand is never whole in memory twice.
const PAGE_SIZE: u32 = 200;
/// A write, its outcome's record and some margin for the apiserver.
const LONGEST_RECONCILE: Duration = Duration::from_secs(120);

/// A kind's controllers, ready to be run.
pub struct KindController<K: Kind> {
    pub context: Arc<KindContext<K>>,
    /// The wakes of this kind, for each of its namespaces.
    pub wakes: broadcast::Sender<Key>,
}

impl<K: Kind> KindController<K> {
    /// Runs until shutdown, then finishes what is in flight.
    pub async fn run(self, readiness: Readiness, shutdown: CancellationToken) {
        let plural = <Managed<K> as kube::Resource>::plural(&()).into_owned();
        let namespaces = self.context.shared.settings.watch_namespaces.watches();
        // One of several that cannot be listed does not make the others' operator unready.
        let any_listed = (namespaces.len() > 1)
            .then(|| readiness.check(format!("watch {plural}"), "none of the watched namespaces is listed"));
        let controllers = namespaces.into_iter().map(|namespace| {
            let place = namespace
                .as_ref()
                .map_or(String::new(), |namespace| format!(" in {namespace}"));
            let check = readiness.check(format!("watch {plural}{place}"), "not begun");
            let checks = WatchChecks {
                own: check,
                any: any_listed.clone(),
            };
            self.run_one(namespace, checks, shutdown.clone())
        });
        futures::future::join_all(controllers.collect::<Vec<_>>()).await;
    }

    fn run_one(
        &self,
        namespace: Option<String>,
        checks: WatchChecks,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let context = Arc::clone(&self.context);
        let client = context.shared.client.clone();
        let api: Api<Managed<K>> = match &namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let mut config = watcher::Config::default().page_size(PAGE_SIZE);
        if let Some(selector) = &context.shared.settings.watch_selector {
            config = config.labels(selector);
        }
        let (reader, writer) = reflector::store::<Managed<K>>();
        let list = InitialList::default();
        context.watched_by(Watched {
            namespace: namespace.clone(),
            store: reader.clone(),
            listed: list.subscribe(),
        });
        let gone = Arc::clone(&context);
        let store = reader.clone();
        let in_namespace = namespace.clone();
        let metrics = context.shared.metrics.clone();
        let health = WatchHealth::new(K::KIND, namespace.clone(), checks, metrics, api.clone());
        let objects = watcher(api, config)
            .default_backoff()
            .reflect(writer)
            .inspect(move |event| match event {
                Ok(watcher::Event::Delete(object)) => {
                    health.is_up();
                    gone.forget(&Key::of(object));
                }
                Ok(watcher::Event::InitDone) => {
                    health.is_up();
                    forget_unseen(&gone, &store, in_namespace.as_deref());
                    if list.complete() {
                        wake_dependents(&gone);
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    health.is_up();
                    gone.claims.observe(object);
                }
                Ok(watcher::Event::InitApply(object)) => gone.claims.observe(object),
                Ok(watcher::Event::Init) => {}
                Err(error) => {
                    health.failed(error);
                    list.failed(error, Instant::now());
                }
            })
            .touched_objects();
        let wakes = stream::unfold(self.wakes.subscribe(), |mut wakes| async {
            loop {
                match wakes.recv().await {
                    Ok(key) => return Some((key, wakes)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        warn!(missed, "wakes were missed; the next retry or resync makes up for them");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        let is_ours = move |key: &Key| namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace);
        let kicked = Arc::clone(&context);
        let wakes = wakes
            .filter(move |key| futures::future::ready(is_ours(key)))
            .map(move |key| {
                // Whoever wakes an object has news for it: it need not wait its backoff out.
                kicked.memory.kick(&key);
                key.object_ref::<K>()
            });
        let leader = context.shared.leader.clone();
        let leading = stream::once(async move { leader.leading().await });
        async move {
            Controller::for_stream(objects, reader)
                .with_config(controller::Config::default())
                .reconcile_on(wakes)
                .reconcile_all_on(leading)
                .graceful_shutdown_on(async move { shutdown.cancelled().await })
                .run(bounded::<K>, on_error::<K>, context)
                .for_each(|result| async move {
                    if let Err(error) = result {
                        debug!(kind = K::KIND, %error, "a reconcile ended with an error");
                    }
                })
                .await;
        }
        .boxed()
    }
}

/// Every reconcile has an end, even if an answer of the apiserver never comes.
async fn bounded<K: Kind>(
    object: Arc<Managed<K>>,
    context: Arc<KindContext<K>>,
) -> Result<controller::Action, super::pipeline::ReconcileError> {
    let key = Key::of(&*object);
    match tokio::time::timeout(LONGEST_RECONCILE, reconcile(object, context)).await {
        Ok(result) => result,
        Err(_) => {
            warn!(object = %key, "a reconcile took too long and was cut off; it is begun anew");
            Ok(controller::Action::requeue(Duration::from_secs(1)))
        }
    }
}

/// A namespace that could not be listed is listed now.
fn wake_dependents<K: Kind>(context: &KindContext<K>) {
    let waits = |object: &Managed<K>| {
        let conditions = &K::object(&object.status).conditions;
        conditions::ready_reason(conditions) == Some(Reason::DependencyNotReady.as_str())
    };
    for object in context.memory.find(waits) {
        context.shared.wakes.wake(Key::of(&*object));
    }
}

/// Objects that went away while the watch was down.
fn forget_unseen<K: Kind>(context: &KindContext<K>, store: &reflector::Store<Managed<K>>, namespace: Option<&str>) {
    let claiming: Vec<Key> = context.claims.index().keys().cloned().collect();
    for key in context.memory.keys().into_iter().chain(claiming) {
        let is_here = namespace.is_none_or(|namespace| namespace == key.namespace);
        if is_here && store.get(&key.object_ref::<K>()).is_none() {
            context.forget(&key);
        }
    }
}

/// A Secret that an object names has changed.
pub fn secret_changed<K: Kind>(context: &KindContext<K>, key: &Key) {
    // Only what the spec itself refers to is a change of what is wanted; other credentials are only another way there.
    let refers = !context
        .memory
        .find(|object| {
            Key::of(object) == *key && object.spec.as_ref().is_ok_and(|spec| !K::secret_refs(spec).is_empty())
        })
        .is_empty();
    if refers {
        context.memory.trigger(key, Instant::now());
    } else {
        context.memory.kick(key);
    }
}

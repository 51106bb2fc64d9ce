//! The controllers: watches in, reconciles out. One per kind, with a watch for each watched namespace.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use kube::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{KindContext, Watched};
use super::initial_list::InitialList;
use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use super::queue::WorkQueue;
use super::watch_health::{WatchChecks, WatchHealth};
use super::workers::{Slots, work};
use crate::api::conditions::{self, Reason};
use crate::kube_client::{Heard, REQUEST_LIMIT, WATCH_IDLE_LIMIT};
use crate::web::Readiness;

/// Objects of one page of a list; few enough that a list of ten thousand is never whole in memory twice.
const PAGE_SIZE: u32 = 200;
/// A silent watch is begun again by then.
const LONGEST_SILENCE: Duration = WATCH_IDLE_LIMIT.saturating_add(REQUEST_LIMIT);

/// A kind's watches and workers, ready to be run.
pub struct KindController<K: Kind> {
    pub context: Arc<KindContext<K>>,
    pub queue: Arc<WorkQueue>,
    /// Shared by all kinds.
    pub slots: Slots,
}

impl<K: Kind> KindController<K> {
    /// Runs until shutdown, then finishes what is in flight.
    pub async fn run(self, readiness: Readiness, shutdown: CancellationToken) {
        let plural = <Managed<K> as kube::Resource>::plural(&()).into_owned();
        let namespaces = self.context.shared.settings.watch_namespaces.watches();
        // One of several that cannot be listed does not make the others' operator unready.
        let any_listed = (namespaces.len() > 1)
            .then(|| readiness.check(format!("watch {plural}"), "none of the watched namespaces is listed"));
        let watches = namespaces.into_iter().map(|namespace| {
            let place = namespace
                .as_ref()
                .map_or(String::new(), |namespace| format!(" in {namespace}"));
            let check = readiness.check(format!("watch {plural}{place}"), "not begun");
            let checks = WatchChecks {
                own: check,
                any: any_listed.clone(),
            };
            Self::watch(Arc::clone(&self.context), Arc::clone(&self.queue), namespace, checks)
        });
        let watches = join_all(watches.collect::<Vec<_>>());
        let work = work(self.context, self.queue, self.slots, shutdown);
        tokio::select! {
            // Begun first, so that the workers know for which of them to wait.
            biased;
            // They have no end of their own.
            _ = watches => {}
            () = work => {}
        }
    }

    /// Keeps the store of one watch up to date and enqueues what it delivers. A watch that fails is begun again after a
    /// pause, which nobody else notices. One that was begun as a follower is begun again with a list once this process
    /// leads: it may have gone silent before the former leader recorded its last intents.
    async fn watch(
        context: Arc<KindContext<K>>,
        queue: Arc<WorkQueue>,
        namespace: Option<String>,
        checks: WatchChecks,
    ) {
        let client = context.shared.client.clone();
        let api: Api<Managed<K>> = match &namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let mut config = watcher::Config::default().page_size(PAGE_SIZE);
        if let Some(selector) = &context.shared.settings.watch_selector {
            config = config.labels(selector);
        }
        let (store, mut writer) = reflector::store::<Managed<K>>();
        let list = InitialList::default();
        context.watched_by(Watched {
            namespace: namespace.clone(),
            store: store.clone(),
            listed: list.subscribe(),
        });
        checks.own.goes_stale(is_silent(&context.heard, api.resource_url()));
        let metrics = context.shared.metrics.clone();
        let health = WatchHealth::new(K::KIND, namespace.clone(), checks, metrics, api.clone());
        let begin = || watcher(api.clone(), config.clone()).default_backoff();
        let leader = &context.shared.leader;
        // Whoever leads from the start need not list twice.
        leader.decided().await;
        let mut is_leaders = leader.is_leader();
        let mut events = Box::pin(begin());
        loop {
            let event = tokio::select! {
                biased;
                () = leader.leading(), if !is_leaders => {
                    is_leaders = true;
                    events = Box::pin(begin());
                    continue;
                }
                event = events.next() => event,
            };
            let Some(event) = event else { return };
            if let Ok(event) = &event {
                writer.apply_watcher_event(event);
            }
            match event {
                Ok(watcher::Event::Apply(object)) => {
                    health.is_up();
                    context.claims.observe(&object);
                    queue.enqueue(Key::of(&object));
                }
                Ok(watcher::Event::Delete(object)) => {
                    health.is_up();
                    let key = Key::of(&object);
                    context.forget(&key);
                    queue.forget(&key);
                }
                Ok(watcher::Event::InitDone) => {
                    health.is_up();
                    forget_unseen(&context, &store, namespace.as_deref());
                    if is_leaders && list.complete() {
                        wake_dependents(&context);
                    }
                    store
                        .state()
                        .iter()
                        .for_each(|object| queue.enqueue(Key::of(&**object)));
                }
                Ok(watcher::Event::InitApply(object)) => context.claims.observe(&object),
                Ok(watcher::Event::Init) => {}
                Err(error) => {
                    health.failed(&error);
                    if is_leaders {
                        list.failed(&error, Instant::now());
                    }
                }
            }
        }
    }
}

/// Why a watch that is up in all else is not believed: of one that is well, something is heard every few minutes.
fn is_silent(heard: &Heard, path: &str) -> impl Fn() -> Option<String> + Send + Sync + 'static {
    let (heard, path) = (heard.clone(), path.to_owned());
    move || {
        let age = heard.age(&path)?;
        let age = Duration::from_secs(age.as_secs());
        (age > LONGEST_SILENCE).then(|| {
            let age = humantime::format_duration(age);
            format!("nothing was heard from the apiserver for {age}")
        })
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
    let latest = context.memory.latest(key);
    let spec = latest.as_ref().and_then(|object| object.spec.as_ref().ok());
    if spec.is_some_and(|spec| !K::secret_refs(spec).is_empty()) {
        context.memory.trigger(key, Instant::now());
    } else {
        context.memory.kick(key);
    }
}

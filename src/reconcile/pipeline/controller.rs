//! The controllers: watches in, reconciles out. One per kind, with a watch for each watched namespace.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vpn_core::api::conditions::Reason;
use vpn_core::object::Object;
use vpn_core::observe::claims::Claimants;
use vpn_core::terms::key::ObjectKey;

use crate::kubernetes::client::{REQUEST_LIMIT, WATCH_IDLE_LIMIT, WatchActivity};
use crate::reconcile::k8s::initial_list::InitialList;
use crate::reconcile::k8s::watch_health::{WatchChecks, WatchHealth};
use crate::reconcile::pipeline::context::{KindContext, Watched};
use crate::reconcile::pipeline::slots::Slots;
use crate::reconcile::pipeline::workers::work;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::WorkQueue;
use crate::reconcile::state::watched_objects::WatchedObjects;
use crate::web::{Readiness, ReadinessCheck};

/// Objects per page of a list; few enough that a list of ten thousand is never whole in memory twice.
const PAGE_SIZE: u32 = 200;

/// A silent watch is restarted within this time.
const LONGEST_SILENCE: Duration = WATCH_IDLE_LIMIT.saturating_add(REQUEST_LIMIT);

/// A kind's watches and workers, ready to be run.
pub(crate) struct KindController<K: CloudKind> {
    pub context: Arc<KindContext<K>>,
    pub queue: Arc<WorkQueue>,
    /// Shared by all kinds.
    pub slots: Slots,
}

impl<K: CloudKind> KindController<K> {
    /// Runs until shutdown, then finishes the reconciles in progress.
    pub(crate) async fn run(self, readiness: Readiness, shutdown: CancellationToken) {
        let plural = <Object<K> as kube::Resource>::plural(&()).into_owned();
        let namespaces = self.context.shared.settings.watch_namespaces.watches();
        // One of several namespaces that cannot be listed does not make the operator unready for the others.
        let any_listed = (namespaces.len() > 1)
            .then(|| readiness.check(format!("watch {plural}"), "none of the watched namespaces is listed"));
        let watches = namespaces.into_iter().map(|namespace| {
            let place = namespace
                .as_ref()
                .map_or(String::new(), |namespace| format!(" in {namespace}"));
            let name = format!("watch {plural}{place}");
            let path = Self::api(&self.context, namespace.as_deref()).resource_url().to_owned();
            let check = watch_check(&readiness, name, &self.context.heard, path);
            let checks = WatchChecks {
                own: check,
                any: any_listed.clone(),
            };
            Self::watch(Arc::clone(&self.context), Arc::clone(&self.queue), namespace, checks)
        });
        let watches = join_all(watches.collect::<Vec<_>>());
        let work = work(self.context, self.queue, self.slots, shutdown);
        tokio::select! {
            // Started first, so that the workers know which watches to wait for.
            biased;
            // They never end by themselves.
            _ = watches => {}
            () = work => {}
        }
    }

    fn api(context: &KindContext<K>, namespace: Option<&str>) -> Api<Object<K>> {
        let client = context.shared.client.clone();
        match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    /// Keeps the store of one watch up to date and enqueues its objects. Restarts a failed watch after a pause, without
    /// effect on others. A watch that a follower started is restarted with a list once this process leads: it may have
    /// fallen silent before the former leader recorded its last intents.
    async fn watch(
        context: Arc<KindContext<K>>,
        queue: Arc<WorkQueue>,
        namespace: Option<String>,
        checks: WatchChecks,
    ) {
        let api = Self::api(&context, namespace.as_deref());
        let mut config = watcher::Config::default().page_size(PAGE_SIZE);
        if let Some(selector) = &context.shared.settings.watch_selector {
            config = config.labels(selector);
        }
        let objects = Arc::new(WatchedObjects::default());
        let list = InitialList::default();
        context.watched_by(Watched {
            namespace: namespace.clone(),
            objects: Arc::clone(&objects),
            listed: list.subscribe(),
        });
        let metrics = context.shared.metrics.clone();
        let health = WatchHealth::new(K::KIND, namespace.clone(), checks, metrics, api.clone());
        let mut delivery = Delivery {
            claimants: Claimants::new(&context.claims),
            context: &context,
            queue,
            namespace,
            objects,
            listed: HashSet::new(),
        };
        let begin = || watcher(api.clone(), config.clone()).default_backoff();
        let leader = &context.shared.leader;
        // A process that leads from the start lists once.
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
            match event {
                None => return,
                Some(Ok(event)) => {
                    if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                        health.is_up();
                    }
                    let is_listed = matches!(event, watcher::Event::InitDone);
                    delivery.take(event);
                    if is_listed {
                        if is_leaders && list.complete() {
                            enqueue_dependents(&context);
                        }
                        delivery.enqueue_all();
                    }
                }
                Some(Err(error)) => {
                    health.failed(&error);
                    if is_leaders {
                        list.failed(&error, Instant::now());
                        let namespace = delivery.namespace.as_deref();
                        context.shared.references.all_changed(K::KIND, namespace);
                    }
                }
            }
        }
    }
}

/// Hands what one watch delivers to the stores, the claims and the queue.
struct Delivery<'a, K: CloudKind> {
    context: &'a KindContext<K>,
    queue: Arc<WorkQueue>,
    claimants: Claimants,
    namespace: Option<String>,
    objects: Arc<WatchedObjects<K>>,
    /// What the list in progress has delivered.
    listed: HashSet<ObjectKey>,
}

impl<K: CloudKind> Delivery<'_, K> {
    fn take(&mut self, event: watcher::Event<Object<K>>) {
        match event {
            watcher::Event::Apply(object) => {
                let is_edit = object.is_edited();
                let key = self.insert(object);
                match self.context.is_echo(&key) {
                    true => {}
                    false if is_edit => self.queue.edited(key),
                    false => self.queue.delivered(key),
                }
            }
            watcher::Event::Delete(object) => {
                let key = object.key();
                self.objects.remove(&key);
                self.claimants.remove(&key);
                forget(self.context, &self.queue, &key);
            }
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => {
                let key = self.insert(object);
                self.listed.insert(key);
            }
            watcher::Event::InitDone => {
                self.objects.retain(&std::mem::take(&mut self.listed));
                let exists = |key: &ObjectKey| self.objects.contains(key);
                self.claimants.retain(exists);
                forget_unseen(self.context, &self.queue, exists, self.namespace.as_deref());
            }
        }
    }

    fn insert(&mut self, object: Object<K>) -> ObjectKey {
        let object = Arc::new(object);
        let key = self.objects.insert(&object);
        self.claimants.observe(&key, &object);
        key
    }

    /// Enqueues all objects after a list, and those that refer to them.
    fn enqueue_all(&self) {
        let namespace = self.namespace.as_deref();
        self.context.shared.references.all_changed(K::KIND, namespace);
        for key in self.objects.keys() {
            self.queue.enqueue_without_news(key);
        }
    }
}

/// Creates the check of `/readyz` for the watch of a path. A healthy watch receives something every few minutes, so a
/// longer silence counts as down, whatever the watch reported last.
fn watch_check(readiness: &Readiness, name: String, heard: &WatchActivity, path: String) -> ReadinessCheck {
    let check = readiness.check(name, "not begun");
    let heard = heard.clone();
    check.goes_stale(move || {
        let age = heard.age(&path)?;
        let age = Duration::from_secs(age.as_secs());
        (age > LONGEST_SILENCE).then(|| {
            let age = humantime::format_duration(age);
            format!("nothing was heard from the apiserver for {age}")
        })
    });
    check
}

/// Enqueues the objects that wait for a dependency, once a namespace that could not be listed is listed.
fn enqueue_dependents<K: CloudKind>(context: &KindContext<K>) {
    for key in context.states.keys_waiting(Reason::DependencyNotReady) {
        context.shared.wake_queues.enqueue(key);
    }
}

/// Forgets an object that was deleted. Those that refer to it are enqueued.
fn forget<K: CloudKind>(context: &KindContext<K>, queue: &WorkQueue, key: &ObjectKey) {
    context.states.forget(key);
    queue.forget(key);
    context.shared.references.changed(key);
}

/// Forgets objects that were deleted while the watch was down.
fn forget_unseen<K: CloudKind>(
    context: &KindContext<K>,
    queue: &WorkQueue,
    exists: impl Fn(&ObjectKey) -> bool,
    namespace: Option<&str>,
) {
    for key in context.states.keys() {
        let is_here = namespace.is_none_or(|namespace| namespace == key.namespace);
        if is_here && !exists(&key) {
            queue.forget(&key);
            context.states.forget(&key);
        }
    }
}

/// Handles the change of a Secret that an object references.
pub(crate) fn secret_changed<K: CloudKind>(context: &KindContext<K>, key: &ObjectKey) {
    // Only what the spec itself references changes the desired state; credentials change only the access to the cloud.
    let latest = context.states.latest(key);
    let spec = latest.as_ref().and_then(|object| object.spec.as_ref().ok());
    if spec.is_some_and(|spec| !K::secret_refs(spec).is_empty()) {
        context.states.mark_dirty(key, Instant::now());
    } else {
        context.states.begin_afresh(key);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ListParams;
    use kube::client::Body as KubeBody;
    use tokio::time::advance;
    use tower::{Layer, service_fn};

    use super::*;
    use crate::kubernetes::client::Limits;

    #[tokio::test(start_paused = true)]
    async fn a_watch_silent_for_too_long_makes_the_operator_unready() {
        let heard = WatchActivity::default();
        let list = service_fn(|_: axum::http::Request<KubeBody>| async {
            let list = r#"{"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}"#;
            Ok::<_, Infallible>(Response::new(Body::from(list)))
        });
        let client = kube::Client::new(Limits::new(heard.clone()).layer(list), "team");
        let api = Api::<ConfigMap>::namespaced(client, "team");
        let readiness = Readiness::default();
        let watch = |name: &str, path: &str| watch_check(&readiness, name.to_owned(), &heard, path.to_owned());
        let check = watch("watch configmaps in team", api.resource_url());
        watch("watch others", "/others").ok();
        assert!(!readiness.is_ready());
        api.list(&ListParams::default().limit(1)).await.unwrap();
        check.ok();
        advance(LONGEST_SILENCE).await;
        assert!(readiness.is_ready(), "{}", readiness.report().1);
        advance(Duration::from_secs(1)).await;
        assert!(!readiness.is_ready());
        let report = readiness.report().1;
        let line = "[-] watch configmaps in team: pending: nothing was heard from the apiserver for 3m 1s";
        assert!(report.lines().any(|shown| shown == line), "{report}");
        assert!(report.contains("[+] watch others: ok"), "{report}");
        api.list(&ListParams::default().limit(1)).await.unwrap();
        assert!(readiness.is_ready(), "{}", readiness.report().1);
    }
}

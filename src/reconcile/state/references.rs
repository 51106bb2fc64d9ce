//! Which objects refer to which: a referring object is enqueued when what it refers to becomes ready, changes its
//! resource, is deleted or appears. Only targets that something refers to are kept, so each change of any object costs
//! one look-up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::reference::Resolution;

use crate::reconcile::state::wake_queues::WakeQueues;

/// Resolves the objects of one kind, from what its watches and the own writes show now.
pub(crate) type Resolver = Box<dyn Fn(&ObjectKey) -> Resolution + Send + Sync>;

/// See the module.
pub(crate) struct References {
    resolvers: OnceLock<HashMap<&'static str, Resolver>>,
    index: Mutex<ReferenceIndex>,
    wake_queues: Arc<WakeQueues>,
}

#[derive(Default)]
struct ReferenceIndex {
    by_target: HashMap<ObjectKey, ReferredTarget>,
    by_referrer: HashMap<ObjectKey, Vec<ObjectKey>>,
}

struct ReferredTarget {
    referrers: BTreeSet<ObjectKey>,
    /// What every referrer has seen, or is enqueued for; `None`: none has looked yet.
    seen: Option<Resolution>,
}

/// The references of one object, which end when this is dropped.
pub(crate) struct ReferenceUser {
    references: Arc<References>,
    referrer: ObjectKey,
}

impl ReferenceUser {
    /// Follows these objects from now on, and no others.
    pub(crate) fn names_only(&self, targets: &[ObjectKey]) {
        self.references.lock().follow(&self.referrer, targets);
    }

    /// What a followed object leads to now. The referrer is enqueued once that changes.
    pub(crate) fn resolve(&self, target: &ObjectKey) -> Resolution {
        self.references.resolve(&self.referrer, target)
    }
}

impl Drop for ReferenceUser {
    fn drop(&mut self) {
        self.names_only(&[]);
    }
}

impl References {
    pub(crate) fn new(wake_queues: Arc<WakeQueues>) -> Arc<Self> {
        Arc::new(Self {
            resolvers: OnceLock::new(),
            index: Mutex::default(),
            wake_queues,
        })
    }

    /// Sets how the objects of each kind are resolved; called once, when the controllers are created.
    pub(crate) fn of(&self, resolvers: HashMap<&'static str, Resolver>) {
        // An earlier call has set the same.
        let _ = self.resolvers.set(resolvers);
    }

    /// Returns the references of one object, to be kept for as long as the object is watched.
    pub(crate) fn user(self: &Arc<Self>, referrer: &ObjectKey) -> ReferenceUser {
        ReferenceUser {
            references: Arc::clone(self),
            referrer: referrer.clone(),
        }
    }

    /// The object may lead to something else than before: enqueues those that refer to it if it does.
    pub(crate) fn changed(&self, target: &ObjectKey) {
        let mut index = self.lock();
        let Some(referred) = index.by_target.get_mut(target) else {
            return;
        };
        let now = self.look_up(target);
        if referred.seen.as_ref() == Some(&now) {
            return;
        }
        referred.seen = Some(now.clone());
        let referrers = referred.referrers.clone();
        drop(index);
        self.enqueue(referrers, &now);
    }

    /// The same for every object of a kind after a list: of this namespace, or of all.
    pub(crate) fn all_changed(&self, kind: &str, namespace: Option<&str>) {
        let is_listed =
            |target: &ObjectKey| target.kind == kind && namespace.is_none_or(|namespace| namespace == target.namespace);
        let targets: Vec<ObjectKey> = {
            let index = self.lock();
            let listed = index.by_target.keys().filter(|target| is_listed(target));
            listed.cloned().collect()
        };
        for target in targets {
            self.changed(&target);
        }
    }

    fn resolve(&self, referrer: &ObjectKey, target: &ObjectKey) -> Resolution {
        let mut index = self.lock();
        // Looked up under the lock: a change after that finds what this call has seen.
        let now = self.look_up(target);
        let Some(referred) = index.by_target.get_mut(target) else {
            return now;
        };
        let before = referred.seen.replace(now.clone());
        // The others have seen what was there before. Their change is reported here, as nothing differs afterwards.
        let others = match before {
            Some(before) if before != now => referred.referrers.clone(),
            _ => BTreeSet::new(),
        };
        drop(index);
        self.enqueue(others.into_iter().filter(|other| other != referrer), &now);
        now
    }

    fn look_up(&self, target: &ObjectKey) -> Resolution {
        let resolver = self.resolvers.get().and_then(|resolvers| resolvers.get(target.kind));
        resolver.map_or(Resolution::Unknown, |resolve| resolve(target))
    }

    fn enqueue(&self, referrers: impl IntoIterator<Item = ObjectKey>, now: &Resolution) {
        // These do not unblock a referrer, so its backoff stays.
        let is_news = !matches!(now, Resolution::NotReady { .. } | Resolution::Deleting { .. });
        for referrer in referrers {
            if is_news {
                self.wake_queues.enqueue(referrer);
            } else {
                self.wake_queues.enqueue_without_news(referrer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReferenceIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReferenceIndex {
    fn follow(&mut self, referrer: &ObjectKey, targets: &[ObjectKey]) {
        let before = match targets {
            [] => self.by_referrer.remove(referrer),
            targets if self.by_referrer.get(referrer).is_some_and(|before| before == targets) => return,
            targets => self.by_referrer.insert(referrer.clone(), targets.to_vec()),
        };
        for former in before.into_iter().flatten().filter(|former| !targets.contains(former)) {
            if let Some(referred) = self.by_target.get_mut(&former) {
                referred.referrers.remove(referrer);
                if referred.referrers.is_empty() {
                    self.by_target.remove(&former);
                }
            }
        }
        for target in targets {
            let referred = self.by_target.entry(target.clone()).or_insert_with(|| ReferredTarget {
                referrers: BTreeSet::new(),
                seen: None,
            });
            referred.referrers.insert(referrer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use vpn_core::api::Scope;

    use super::*;
    use crate::reconcile::state::queue::WorkQueue;

    /// The references between two kinds, and what each target leads to.
    struct Links {
        references: Arc<References>,
        targets: Arc<Mutex<HashMap<ObjectKey, Resolution>>>,
        queue: Arc<WorkQueue>,
    }

    impl Links {
        fn new() -> Self {
            let mut wake_queues = WakeQueues::default();
            let queue = wake_queues.queue("Link");
            let references = References::new(Arc::new(wake_queues));
            let targets: Arc<Mutex<HashMap<ObjectKey, Resolution>>> = Arc::default();
            let known = Arc::clone(&targets);
            let resolver: Resolver =
                Box::new(move |key| known.lock().unwrap().get(key).cloned().unwrap_or(Resolution::Absent));
            references.of(HashMap::from([("Gateway", resolver)]));
            Self {
                references,
                targets,
                queue,
            }
        }

        /// A referrer that follows these gateways.
        fn link(&self, name: &str, gateways: &[&str]) -> ReferenceUser {
            let user = self.references.user(&key("Link", name));
            let targets: Vec<_> = gateways.iter().map(|gateway| key("Gateway", gateway)).collect();
            user.names_only(&targets);
            user
        }

        fn becomes(&self, name: &str, resolution: Resolution) {
            self.targets.lock().unwrap().insert(key("Gateway", name), resolution);
        }

        fn changed(&self, name: &str) {
            self.references.changed(&key("Gateway", name));
        }

        /// The referrers that were enqueued since the last call, by name.
        fn enqueued(&self) -> Vec<String> {
            let mut names = Vec::new();
            while let Some(due) = self.queue.take() {
                self.queue.done(&due.key, None, || false, || false);
                names.push(if due.enqueued {
                    due.key.name.clone()
                } else {
                    format!("{} (no news)", due.key.name)
                });
            }
            names.sort();
            names
        }

        fn count(&self) -> (usize, usize) {
            let index = self.references.lock();
            (index.by_target.len(), index.by_referrer.len())
        }
    }

    fn key(kind: &'static str, name: &str) -> ObjectKey {
        ObjectKey::new(kind, "n", name)
    }

    fn ready(id: &str) -> Resolution {
        Resolution::Ready {
            id: id.to_owned(),
            scope: Scope {
                endpoint: "e".to_owned(),
                project_id: "p".to_owned(),
            },
        }
    }

    #[test]
    fn referrers_are_enqueued_when_a_target_becomes_ready_moves_to_another_id_or_is_deleted() {
        let links = Links::new();
        let (first, second, other) = (
            links.link("first", &["gateway"]),
            links.link("second", &["gateway"]),
            links.link("other", &["another"]),
        );
        let gateway = key("Gateway", "gateway");
        for user in [&first, &second] {
            assert_eq!(user.resolve(&gateway), Resolution::Absent);
        }
        assert_eq!(other.resolve(&key("Gateway", "another")), Resolution::Absent);
        for state in [
            Resolution::NotReady { id: None },
            ready("1"),
            ready("2"),
            Resolution::Deleting { id: None },
            Resolution::Absent,
        ] {
            links.becomes("gateway", state.clone());
            assert_eq!(links.enqueued(), [""; 0], "it is not reported yet");
            links.changed("gateway");
            let expected = match state {
                Resolution::NotReady { .. } | Resolution::Deleting { .. } => ["first (no news)", "second (no news)"],
                _ => ["first", "second"],
            };
            assert_eq!(links.enqueued(), expected, "{state:?}");
            links.changed("gateway");
            assert_eq!(links.enqueued(), [""; 0], "nothing has changed: {state:?}");
            assert_eq!(first.resolve(&gateway), state);
        }
    }

    /// The second reader sees the change before it is reported, so the report finds nothing new.
    #[test]
    fn a_change_that_one_referrer_reads_first_is_not_lost_for_the_others() {
        let links = Links::new();
        let (first, second) = (links.link("first", &["gateway"]), links.link("second", &["gateway"]));
        let gateway = key("Gateway", "gateway");
        assert_eq!(first.resolve(&gateway), Resolution::Absent);
        links.becomes("gateway", ready("1"));
        assert_eq!(second.resolve(&gateway), ready("1"));
        links.changed("gateway");
        assert_eq!(links.enqueued(), ["first"]);
    }

    #[test]
    fn a_list_of_a_kind_enqueues_the_referrers_of_what_it_changed() {
        let links = Links::new();
        let user = links.link("first", &["gateway", "another"]);
        for target in ["gateway", "another"] {
            user.resolve(&key("Gateway", target));
        }
        links.becomes("another", ready("1"));
        links.references.all_changed("Link", None);
        links.references.all_changed("Gateway", Some("elsewhere"));
        assert_eq!(links.enqueued(), [""; 0]);
        links.references.all_changed("Gateway", Some("n"));
        assert_eq!(links.enqueued(), ["first"]);
    }

    #[test]
    fn references_end_with_the_spec_that_names_them_or_with_the_object() {
        let links = Links::new();
        let first = links.link("first", &["gateway", "another"]);
        let second = links.link("second", &["gateway"]);
        assert_eq!(links.count(), (2, 2));
        let gateway = key("Gateway", "gateway");
        second.resolve(&gateway);
        first.names_only(&[key("Gateway", "another")]);
        links.becomes("gateway", ready("1"));
        links.changed("gateway");
        assert_eq!(links.enqueued(), ["second"]);
        assert_eq!(
            first.resolve(&gateway),
            ready("1"),
            "what is not followed can still be resolved"
        );
        drop(second);
        assert_eq!(links.count(), (1, 1));
        drop(first);
        assert_eq!(links.count(), (0, 0));
        links.becomes("gateway", Resolution::Absent);
        links.changed("gateway");
        assert_eq!(links.enqueued(), [""; 0]);
    }

    #[test]
    fn nothing_is_known_of_a_kind_without_a_resolver() {
        let links = Links::new();
        let user = links.link("first", &[]);
        assert_eq!(user.resolve(&key("Server", "any")), Resolution::Unknown);
    }
}

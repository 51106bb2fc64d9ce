//! Records all versions of objects that a watch shows, so that tests can wait for many at once and miss no version.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::operator::objects::Objects;
use crate::operator::world::{DEADLINE, World, condition};

/// How long to wait for one object while the operator handles many others.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_mul(3);

/// By name, all versions of an object that the watch showed; `null` for its deletion.
type Shown = HashMap<String, Vec<Value>>;

fn entry_of(object: DynamicObject) -> (String, Value) {
    let name = object.metadata.name.clone().unwrap_or_default();
    (name, serde_json::to_value(object).expect("an object is JSON"))
}

/// See the module. No two kinds may share a name.
pub(crate) struct Seen {
    shown: watch::Receiver<()>,
    all: std::sync::Arc<Mutex<Shown>>,
    _watches: Vec<AbortOnDropHandle<()>>,
}

impl Seen {
    /// Watches gateways and users from now on.
    pub(crate) fn start(world: &World) -> Self {
        let (notifier, shown) = watch::channel(());
        let all = std::sync::Arc::new(Mutex::new(Shown::new()));
        let watches = [world.gateway_objects(), world.users()].map(|objects: Objects<'_>| {
            let (notifier, all) = (notifier.clone(), std::sync::Arc::clone(&all));
            let events = watcher(objects.api(), watcher::Config::default());
            let mut events = events.default_backoff().boxed();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
                while let Some(event) = events.next().await {
                    let mut entries: Vec<(String, Value)> = Vec::new();
                    match event {
                        Ok(Event::Apply(object)) => entries.push(entry_of(object)),
                        Ok(Event::Delete(object)) => entries.push((entry_of(object).0, Value::Null)),
                        // After an error the watch restarts and lists all objects.
                        Ok(Event::Init) => listed.clear(),
                        Ok(Event::InitApply(object)) => {
                            entries.push(entry_of(object));
                            listed.extend(entries.iter().map(|(name, _)| name.clone()));
                        }
                        Ok(Event::InitDone) => {
                            let deleted: BTreeSet<&String> = known.difference(&listed).collect();
                            entries.extend(deleted.into_iter().map(|name| (name.clone(), Value::Null)));
                        }
                        Err(_) => {}
                    }
                    for (name, object) in entries {
                        if object.is_null() {
                            known.remove(&name);
                        } else {
                            known.insert(name.clone());
                        }
                        all.lock().expect("sound").entry(name).or_default().push(object);
                    }
                    notifier.send_replace(());
                }
            }))
        });
        Self {
            shown,
            all,
            _watches: watches.into(),
        }
    }

    /// Returns how many versions of an object were shown.
    pub(crate) fn times(&self, name: &str) -> usize {
        self.all.lock().expect("sound").get(name).map_or(0, Vec::len)
    }

    /// Returns all versions of an object that were shown.
    pub(crate) fn shown(&self, name: &str) -> Vec<Value> {
        self.all.lock().expect("sound").get(name).cloned().unwrap_or_default()
    }

    /// Waits for a version that fits, after the first `after` ones. Returns the number of versions up to it, and the
    /// version.
    pub(crate) async fn wait_for(
        &self,
        name: &str,
        after: usize,
        awaited: &str,
        deadline: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> (usize, Value) {
        let mut shown = self.shown.clone();
        let found = async {
            loop {
                shown.borrow_and_update();
                let found = {
                    let all = self.all.lock().expect("sound");
                    let since = all.get(name).into_iter().flatten().enumerate().skip(after);
                    since
                        .into_iter()
                        .find(|(_, object)| fits(object))
                        .map(|(place, object)| (place + 1, object.clone()))
                };
                if let Some(found) = found {
                    return found;
                }
                shown.changed().await.expect("the watch continues");
            }
        };
        if let Ok(found) = tokio::time::timeout(deadline, found).await {
            return found;
        }
        let all = self.all.lock().expect("sound");
        let shown: Vec<Value> = all.get(name).into_iter().flatten().cloned().collect();
        let seen: Vec<Value> = shown[after..].iter().map(|object| condition(object, "Ready")).collect();
        panic!(
            "{name}: {awaited} was not seen, but {seen:#?}; it looks so: {:#?}",
            shown.last()
        );
    }
}

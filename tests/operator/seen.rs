//! What a watch has shown of many objects, so that many can be waited for at once and nothing that passed is missed.

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

use crate::objects::Objects;
use crate::world::{DEADLINE, World, condition};

/// For one thing that is waited for while many others go on.
pub const PATIENCE: Duration = DEADLINE.saturating_mul(3);

/// How one object looked, each time that it was shown; `null` when it was gone.
type Shown = HashMap<String, Vec<Value>>;

fn look(object: DynamicObject) -> (String, Value) {
    let name = object.metadata.name.clone().unwrap_or_default();
    (name, serde_json::to_value(object).expect("an object is JSON"))
}

/// See the module. Names are of one kind each.
pub struct Seen {
    shown: watch::Receiver<()>,
    all: std::sync::Arc<Mutex<Shown>>,
    _watches: Vec<AbortOnDropHandle<()>>,
}

impl Seen {
    /// Watches gateways and users from now on.
    pub fn start(world: &World) -> Self {
        let (tell, shown) = watch::channel(());
        let all = std::sync::Arc::new(Mutex::new(Shown::new()));
        let watches = [world.gateway_objects(), world.users()].map(|objects: Objects<'_>| {
            let (tell, all) = (tell.clone(), std::sync::Arc::clone(&all));
            let events = watcher(objects.api(), watcher::Config::default());
            let mut events = events.default_backoff().boxed();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
                while let Some(event) = events.next().await {
                    let mut looks: Vec<(String, Value)> = Vec::new();
                    match event {
                        Ok(Event::Apply(object)) => looks.push(look(object)),
                        Ok(Event::Delete(object)) => looks.push((look(object).0, Value::Null)),
                        // After an error it begins anew, with everything as it is.
                        Ok(Event::Init) => listed.clear(),
                        Ok(Event::InitApply(object)) => {
                            looks.push(look(object));
                            listed.extend(looks.iter().map(|(name, _)| name.clone()));
                        }
                        Ok(Event::InitDone) => {
                            let gone: BTreeSet<&String> = known.difference(&listed).collect();
                            looks.extend(gone.into_iter().map(|name| (name.clone(), Value::Null)));
                        }
                        Err(_) => {}
                    }
                    for (name, object) in looks {
                        if object.is_null() {
                            known.remove(&name);
                        } else {
                            known.insert(name.clone());
                        }
                        all.lock().expect("sound").entry(name).or_default().push(object);
                    }
                    tell.send_replace(());
                }
            }))
        });
        Self {
            shown,
            all,
            _watches: watches.into(),
        }
    }

    /// How often an object was shown.
    pub fn times(&self, name: &str) -> usize {
        self.all.lock().expect("sound").get(name).map_or(0, Vec::len)
    }

    /// How an object looked, each time that it was shown.
    pub fn shown(&self, name: &str) -> Vec<Value> {
        self.all.lock().expect("sound").get(name).cloned().unwrap_or_default()
    }

    /// Waits until an object was shown, after so many times, in a way that fits; how, and after how many times.
    pub async fn wait_for(
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
                shown.changed().await.expect("the watch goes on");
            }
        };
        match tokio::time::timeout(deadline, found).await {
            Ok(found) => found,
            Err(_) => {
                let all = self.all.lock().expect("sound");
                let shown: Vec<Value> = all.get(name).into_iter().flatten().cloned().collect();
                let seen: Vec<Value> = shown[after..].iter().map(|object| condition(object, "Ready")).collect();
                panic!(
                    "{name}: {awaited} was not seen, but {seen:#?}; it looks so: {:#?}",
                    shown.last()
                );
            }
        }
    }
}

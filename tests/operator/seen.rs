//! What a watch has shown of many objects, so that many can be waited for at once and nothing that passed is missed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
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
            let mut events = watcher(objects.api(), watcher::Config::default()).boxed();
            AbortOnDropHandle::new(tokio::spawn(async move {
                while let Ok(Some(event)) = events.try_next().await {
                    let (object, is_gone) = match event {
                        Event::Apply(object) | Event::InitApply(object) => (object, false),
                        Event::Delete(object) => (object, true),
                        Event::Init | Event::InitDone => continue,
                    };
                    let name = object.metadata.name.clone().unwrap_or_default();
                    let looks = match is_gone {
                        true => Value::Null,
                        false => serde_json::to_value(object).unwrap_or_default(),
                    };
                    all.lock().expect("sound").entry(name).or_default().push(looks);
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
                let since = all.get(name).into_iter().flatten().skip(after);
                let seen: Vec<Value> = since.map(|object| condition(object, "Ready")).collect();
                panic!("{name}: {awaited} was not seen, but {seen:#?}");
            }
        }
    }
}

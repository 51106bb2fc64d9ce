//! Changes of reason that a watch shows, and lines of the log about an object: there are not more of these than of those.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::operator::follow::follow;
use crate::operator::world::{World, condition};

/// Kind and name of an object.
type Name = (String, String);

/// How often the reason of `Ready` changed, by object.
#[derive(Clone, Default)]
pub(super) struct Reasons(Arc<Mutex<BTreeMap<Name, (String, u64)>>>);

impl Reasons {
    /// Follows both kinds of a world from now on, in which there is no object yet.
    pub(super) async fn follow(world: &World) -> Self {
        let reasons = Self::default();
        for objects in [world.gateway_objects(), world.users()] {
            let changes = Arc::clone(&reasons.0);
            follow(objects.api(), "", move |object| {
                note(&changes, &serde_json::to_value(object).unwrap());
            })
            .await;
        }
        reasons
    }

    /// How many there were.
    pub(super) fn of(&self, kind: &str, name: &str) -> u64 {
        let changes = self.0.lock().unwrap();
        let of_object = changes.get(&(kind.to_owned(), name.to_owned()));
        of_object.map_or(0, |(_, changes)| *changes)
    }

    /// The reason that was seen last.
    pub(super) fn last(&self, kind: &str, name: &str) -> Option<String> {
        let changes = self.0.lock().unwrap();
        let of_object = changes.get(&(kind.to_owned(), name.to_owned()));
        of_object.map(|(reason, _)| reason.clone())
    }
}

fn note(changes: &Mutex<BTreeMap<Name, (String, u64)>>, object: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reason = text(&condition(object, "Ready")["reason"]);
    let name = (text(&object["kind"]), text(&object["metadata"]["name"]));
    let mut changes = changes.lock().unwrap();
    let (last, count) = changes.entry(name).or_default();
    if *last != reason {
        *last = reason;
        *count += 1;
    }
}

/// The lines about each object in a log that is JSON, of which none is below info.
pub(super) fn lines(log: &str) -> BTreeMap<Name, Vec<Value>> {
    let mut of_objects: BTreeMap<Name, Vec<Value>> = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let (Some(kind), Some(name)) = (line["kind"].as_str(), line["name"].as_str()) {
            of_objects
                .entry((kind.to_owned(), name.to_owned()))
                .or_default()
                .push(line);
        }
    }
    of_objects
}

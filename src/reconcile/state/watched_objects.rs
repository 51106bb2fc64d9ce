//! What the watch of a kind has delivered, object by object, in as little memory as possible.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vpn_core::kind::Kind;
use vpn_core::object::Object;
use vpn_core::object::stored_object::StoredObject;
use vpn_core::terms::key::ObjectKey;

/// See the module.
pub(crate) struct WatchedObjects<K: Kind> {
    objects: Mutex<HashMap<ObjectKey, WatchedObject<K>>>,
}

struct WatchedObject<K: Kind> {
    object: StoredObject<K>,
    /// Whether its status has the ID of a cloud resource.
    has_id: bool,
}

impl<K: Kind> Default for WatchedObjects<K> {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
        }
    }
}

impl<K: Kind> WatchedObjects<K> {
    /// Records an object that the watch delivered.
    pub(crate) fn insert(&self, object: &Arc<Object<K>>) {
        let watched = WatchedObject {
            object: StoredObject::compact(object),
            has_id: K::object(&object.status).id.is_some(),
        };
        self.lock().insert(object.key(), watched);
    }

    /// Records that the watch delivered the deletion of an object.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    /// Records that a list is complete: what it did not deliver was deleted before.
    pub(crate) fn retain(&self, listed: &HashSet<ObjectKey>) {
        let mut objects = self.lock();
        objects.retain(|key, _| listed.contains(key));
        objects.shrink_to_fit();
    }

    /// The object as delivered last.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<StoredObject<K>> {
        Some(self.lock().get(key)?.object.clone())
    }

    /// Whether the object is there.
    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        self.lock().contains_key(key)
    }

    /// Whether any object has this uid.
    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        let objects = self.lock();
        let mut candidates = objects.values().filter(|watched| watched.object.may_contain(uid));
        candidates.any(|watched| watched.object.get().uid() == uid)
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.lock().keys().cloned().collect()
    }

    /// Whether this holds for each object with the ID of a cloud resource.
    pub(crate) fn all_with_id(&self, holds: impl Fn(&ObjectKey) -> bool) -> bool {
        let objects = self.lock();
        objects
            .iter()
            .filter(|(_, watched)| watched.has_id)
            .all(|(key, _)| holds(key))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, WatchedObject<K>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vpn_core::kinds::customer_gateway::Gateways;

    use super::*;

    fn object(name: &str, id: Option<&str>) -> Arc<Object<Gateways>> {
        let object = json!({
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-of-{name}"), "resourceVersion": "1"},
            "spec": {"idValue": "203.0.113.7"}, "status": {"id": id},
        });
        Arc::new(serde_json::from_value(object).expect("readable"))
    }

    #[test]
    fn objects_are_found_by_key_and_uid_until_they_are_deleted() {
        let watched = WatchedObjects::default();
        let (one, two) = (object("one", Some("x")), object("two", None));
        watched.insert(&one);
        watched.insert(&two);
        let found = watched.get(&one.key()).expect("it was delivered").get();
        assert_eq!(
            (found.uid(), found.status.object.id.as_deref()),
            ("uid-of-one", Some("x"))
        );
        assert!(watched.has_uid("uid-of-two") && !watched.has_uid("uid-of-three") && !watched.has_uid("uid-of-t"));
        assert!(watched.all_with_id(|key| *key == one.key()), "two has none");
        assert!(!watched.all_with_id(|_| false));
        watched.remove(&one.key());
        assert!(watched.get(&one.key()).is_none() && !watched.contains(&one.key()));
        assert!(!watched.has_uid("uid-of-one") && watched.all_with_id(|_| false));
    }

    #[test]
    fn a_complete_list_drops_what_it_lacks() {
        let watched = WatchedObjects::default();
        let (one, two) = (object("one", None), object("two", None));
        watched.insert(&one);
        watched.insert(&two);
        watched.retain(&[two.key()].into());
        assert_eq!(watched.keys(), [two.key()]);
    }
}

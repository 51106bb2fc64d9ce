//! What the watch of a kind has delivered, object by object, in as little memory as possible.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vpn_core::compact_json::Dictionary;
use vpn_core::kind::Kind;
use vpn_core::object::Object;
use vpn_core::object::stored_object::StoredObject;
use vpn_core::terms::key::ObjectKey;

/// See the module.
pub(crate) struct WatchedObjects<K: Kind> {
    contents: Mutex<WatchedContents<K>>,
}

struct WatchedContents<K: Kind> {
    dictionary: Dictionary,
    objects: HashMap<ObjectKey, WatchedObject<K>>,
    /// By the hash of a uid: an object with such a uid, and how many there are.
    by_uid: HashMap<u64, (ObjectKey, u32)>,
    hasher: RandomState,
}

struct WatchedObject<K: Kind> {
    object: StoredObject<K>,
    /// The hash of its uid.
    uid: u64,
    /// Whether its status has the ID of a cloud resource.
    has_id: bool,
}

impl<K: Kind> Default for WatchedObjects<K> {
    fn default() -> Self {
        let contents = WatchedContents {
            dictionary: Dictionary::default(),
            objects: HashMap::new(),
            by_uid: HashMap::new(),
            hasher: RandomState::new(),
        };
        Self {
            contents: Mutex::new(contents),
        }
    }
}

impl<K: Kind> WatchedContents<K> {
    fn insert(&mut self, object: &Arc<Object<K>>) -> ObjectKey {
        let watched = WatchedObject {
            object: StoredObject::compact(object, &self.dictionary),
            uid: self.hasher.hash_one(object.uid()),
            has_id: K::object(&object.status).id.is_some(),
        };
        let key = object.key();
        let known = self.objects.get_key_value(&key).map(|(key, _)| key.clone());
        let key = known.unwrap_or(key);
        let (_, count) = self.by_uid.entry(watched.uid).or_insert_with(|| (key.clone(), 0));
        *count += 1;
        if let Some(former) = self.objects.insert(key.clone(), watched) {
            self.forget_uid(former.uid);
        }
        key
    }

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(former) = self.objects.remove(key) {
            self.forget_uid(former.uid);
        }
    }

    fn forget_uid(&mut self, uid: u64) {
        if let Some((_, count)) = self.by_uid.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.by_uid.remove(&uid);
            }
        }
    }

    fn has_uid(&self, uid: &str) -> bool {
        let is_it = |watched: &WatchedObject<K>| watched.object.get().uid() == uid;
        let hash = self.hasher.hash_one(uid);
        match self.by_uid.get(&hash) {
            None => false,
            Some((key, _)) if self.objects.get(key).is_some_and(is_it) => true,
            // Two uids with one hash, or one that the object of this key had before.
            Some(_) => self
                .objects
                .values()
                .any(|watched| watched.uid == hash && is_it(watched)),
        }
    }
}

impl<K: Kind> WatchedObjects<K> {
    /// Records an object that the watch delivered. Returns its key: one copy serves all indexes.
    pub(crate) fn insert(&self, object: &Arc<Object<K>>) -> ObjectKey {
        self.lock().insert(object)
    }

    /// Records that the watch delivered the deletion of an object.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    /// Records that a list is complete: what it did not deliver was deleted before.
    pub(crate) fn retain(&self, listed: &HashSet<ObjectKey>) {
        let mut contents = self.lock();
        let deleted: Vec<ObjectKey> = contents
            .objects
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in deleted {
            contents.remove(&key);
        }
        contents.objects.shrink_to_fit();
        contents.by_uid.shrink_to_fit();
    }

    /// The object as delivered last.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<StoredObject<K>> {
        Some(self.lock().objects.get(key)?.object.clone())
    }

    /// Whether the object is there.
    pub(crate) fn contains(&self, key: &ObjectKey) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// Whether any object has this uid.
    pub(crate) fn has_uid(&self, uid: &str) -> bool {
        self.lock().has_uid(uid)
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Whether this holds for each object with the ID of a cloud resource.
    pub(crate) fn all_with_id(&self, holds: impl Fn(&ObjectKey) -> bool) -> bool {
        let contents = self.lock();
        contents
            .objects
            .iter()
            .filter(|(_, watched)| watched.has_id)
            .all(|(key, _)| holds(key))
    }

    fn lock(&self) -> MutexGuard<'_, WatchedContents<K>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_recreated_object_has_its_new_uid_only() {
        let watched = WatchedObjects::default();
        watched.insert(&object("one", None));
        watched.insert(&object("one", Some("x")));
        let mut recreated = Object::clone(&object("one", None));
        recreated.metadata.uid = Some("another".to_owned());
        watched.insert(&Arc::new(recreated));
        assert!(watched.has_uid("another") && !watched.has_uid("uid-of-one"));
        watched.retain(&HashSet::new());
        assert!(!watched.has_uid("another") && watched.lock().by_uid.is_empty());
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

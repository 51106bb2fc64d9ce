//! An object as it is kept while nothing happens to it. As JSON, compressed, it takes a tenth of the memory of the parsed
//! form, whose texts are allocated one by one.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::compact_json::{CompactJson, Dictionary};
use crate::kind::Kind;
use crate::object::Object;

/// See the module. Clones share the memory.
pub enum StoredObject<K: Kind> {
    /// Parsed.
    Whole(Arc<Object<K>>),
    /// As JSON that gives back the same object.
    Json(CompactJson),
}

impl<K: Kind> Clone for StoredObject<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(object) => Self::Whole(Arc::clone(object)),
            Self::Json(json) => Self::Json(json.clone()),
        }
    }
}

#[derive(Serialize)]
struct Parts<'a, S: Serialize, T: Serialize> {
    metadata: &'a ObjectMeta,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<T>,
}

/// A part of an object that fits its type, or not.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a, T> {
    Typed(&'a T),
    Broken(&'a serde_json::Value),
}

impl<K: Kind> StoredObject<K> {
    /// Keeps the object as JSON. One that its JSON would not give back is kept whole.
    pub fn compact(object: &Arc<Object<K>>, dictionary: &Dictionary) -> Self {
        if let Some(json) = object.json.get() {
            return Self::Json(json.clone());
        }
        let json = to_json(object).filter(|json| {
            let read = serde_json::from_slice::<Object<K>>(json);
            read.is_ok_and(|read| read.metadata == object.metadata && read.has_same_content_as(object))
        });
        match json {
            Some(json) => Self::Json(object.json.get_or_init(|| dictionary.compress(&json)).clone()),
            None => Self::Whole(Arc::clone(object)),
        }
    }

    /// The parsed object.
    pub fn get(&self) -> Arc<Object<K>> {
        match self {
            Self::Whole(object) => Arc::clone(object),
            Self::Json(json) => {
                // It was read once when it was written, so this is no error that can occur.
                let object = serde_json::from_slice(&json.text()).unwrap_or_else(|error| Object::unreadable(&error));
                let _ = object.json.set(json.clone());
                Arc::new(object)
            }
        }
    }

    /// Whether the object can have this text in any field. Cheaper than to parse each of many objects.
    pub fn may_contain(&self, text: &str) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Json(json) => {
                // UIDs and names have no character that JSON escapes.
                let text = text.as_bytes();
                text.is_empty() || json.text().windows(text.len()).any(|part| part == text)
            }
        }
    }

    /// Whether both are the same memory.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Arc::ptr_eq(one, other),
            (Self::Json(one), Self::Json(other)) => one.is_same_as(other),
            _ => false,
        }
    }
}

fn to_json<K: Kind>(object: &Object<K>) -> Option<Vec<u8>> {
    let spec = match (&object.spec, &object.broken_spec) {
        (Ok(spec), _) => Some(Part::Typed(spec)),
        (Err(_), broken) => broken.as_ref().map(Part::Broken),
    };
    let status = match &object.broken_status {
        Some(broken) => Part::Broken(broken),
        None => Part::Typed(&object.status),
    };
    let parts = Parts {
        metadata: &object.metadata,
        spec,
        status: Some(status),
    };
    serde_json::to_vec(&parts).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::customer_gateway::Gateways;
    use crate::kinds::vpn_user::Users;

    fn is_given_back<K: Kind>(object: Value) {
        let object: Arc<Object<K>> = Arc::new(serde_json::from_value(object).expect("readable"));
        let dictionary = Dictionary::default();
        let stored = StoredObject::compact(&object, &dictionary);
        assert!(matches!(stored, StoredObject::Json(_)), "{:?}", object.spec);
        let read = stored.get();
        assert_eq!(read.metadata, object.metadata);
        assert_eq!((&read.spec, &read.status), (&object.spec, &object.status));
        assert_eq!(read.lifecycle, object.lifecycle);
        assert_eq!(
            (&read.broken_spec, &read.broken_status),
            (&object.broken_spec, &object.broken_status)
        );
        assert!(
            StoredObject::compact(&read, &dictionary).is_same_as(&stored),
            "no second copy"
        );
        let mut changed = Object::clone(&read);
        changed.metadata.resource_version = Some("8".to_owned());
        let changed = StoredObject::compact(&Arc::new(changed), &dictionary).get();
        assert_eq!(changed.resource_version(), "8");
    }

    #[test]
    fn a_stored_object_is_given_back_as_it_was() {
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
            "annotations": {"vpn.huaweicloud.com/paused": "true"}, "finalizers": ["x"],
            "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let ready = json!({"type": "Ready", "status": "True", "reason": "Available", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"id": "x", "observedGeneration": 2, "conditions": [ready]});
        for spec in [
            json!({"idValue": "203.0.113.7", "tags": {"a": "b"}, "deletionPolicy": "Retain"}),
            json!({"idValue": 7, "deletionPolicy": "Keep", "credentialsRef": {"name": "keys"}}),
            json!({}),
            json!("broken"),
        ] {
            for status in [
                status.clone(),
                json!({"id": "x", "conditions": [7]}),
                json!("broken"),
                Value::Null,
            ] {
                let object = json!({"metadata": metadata, "spec": spec, "status": status});
                is_given_back::<Gateways>(object.clone());
                is_given_back::<Users>(object);
            }
        }
    }
}

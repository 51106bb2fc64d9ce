//! A CR in the apiserver: its states, and what changes them.

use std::hash::Hash;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::api::conditions::Reason;
use crate::api::{FINALIZER, ManagementPolicy, conditions};
use crate::model::cloud::at;
use crate::model::kept::Kept;
use crate::model::kinds::{Modelled, Secret};
use crate::model::scope::ModelScope;
use crate::object::Object;

/// A CR in the apiserver.
pub(crate) struct Cr<K: Modelled> {
    pub uid: String,
    /// Its name in the cloud.
    pub name: String,
    /// `None` once it no longer exists.
    pub object: Option<Kept<Object<K>>>,
    /// Its states before the last writes, which a watch cache may still deliver to a process that starts.
    pub older: Vec<Kept<Object<K>>>,
    pub secret: Secret,
    /// The password that is in force by the record: it must not be sent again.
    pub in_force: Option<u8>,
    /// The password that was refused last by the record: it must not be sent again either.
    pub refused: Option<u8>,
}

impl<K: Modelled> Cr<K> {
    /// Writes the CR; the version before may still be delivered for a while.
    pub(crate) fn write(&mut self, remembers: usize, change: impl FnOnce(&mut Object<K>)) {
        let Some(before) = self.object.take() else { return };
        let mut object = Object::clone(&before);
        object.metadata.resource_version = Some((version(&object) + 1).to_string());
        change(&mut object);
        self.older.insert(0, before);
        self.older.truncate(remembers);
        let goes = object.deleting_since().is_some() && object.metadata.finalizers.is_none();
        self.object = (!goes).then(|| kept(object));
        if goes {
            self.older.clear();
        }
    }

    /// Edits the spec: switches between the first spec and an edited one.
    pub(crate) fn edit(&mut self, remembers: usize) {
        let name = self.name.clone();
        self.write(remembers, |object| {
            let generation = object.metadata.generation.unwrap_or_default() + 1;
            object.metadata.generation = Some(generation);
            object.spec = Ok(K::wish(generation % 2 == 0, &name));
        });
    }

    /// Changes `managementPolicy` from `Observe` to `Manage`.
    pub(crate) fn permit(&mut self, remembers: usize) {
        self.write(remembers, |object| {
            object.metadata.generation = object.metadata.generation.map(|generation| generation + 2);
            object.lifecycle.management_policy = None;
        });
    }

    /// `kubectl delete`.
    pub(crate) fn delete(&mut self, remembers: usize) {
        self.write(remembers, |object| {
            object.metadata.generation = object.metadata.generation.map(|generation| generation + 1);
            object.metadata.deletion_timestamp = Some(Time(at(0)));
        });
    }

    /// Whether it only observes, or did so until now.
    pub(crate) fn observes(&self) -> bool {
        let object = self.object.as_ref();
        object.is_some_and(|object| {
            let was_observing = K::object(&object.status).observe_only;
            was_observing || object.lifecycle.management() == ManagementPolicy::Observe
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        let object = self.object.as_ref();
        let reason = object.and_then(|object| conditions::ready_reason(&K::object(&object.status).conditions));
        reason == Some(Reason::Available.as_str())
    }

    /// The recorded id.
    pub(crate) fn recorded_id(&self) -> Option<&str> {
        self.object
            .as_ref()
            .and_then(|object| K::object(&object.status).id.as_deref())
    }

    /// Whether the record has this id, as its own or as a lost one.
    pub(crate) fn has_record_of(&self, id: &str) -> bool {
        let lost = |object: &Kept<Object<K>>| K::lost_ids(&object.status).iter().any(|lost| lost == id);
        self.recorded_id() == Some(id) || self.object.as_ref().is_some_and(lost)
    }

    /// Adds or removes the finalizer.
    pub(crate) fn set_finalizer(object: &mut Object<K>, on: bool) {
        object.metadata.finalizers = on.then(|| vec![FINALIZER.to_owned()]);
    }
}

/// The CR of a number, as it is created.
pub(crate) fn first<K: Modelled>(scope: &ModelScope, index: usize) -> Cr<K> {
    let name = if scope.one_name {
        "shared".to_owned()
    } else {
        format!("own{index}")
    };
    let uid = format!("u{index}");
    let spec = K::wish(false, &name);
    let metadata = ObjectMeta {
        name: Some(format!("cr{index}")),
        namespace: Some("n".to_owned()),
        uid: Some(uid.clone()),
        resource_version: Some("1".to_owned()),
        finalizers: scope.sparse.then(|| vec![FINALIZER.to_owned()]),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    let lifecycle = scope.roles.get(index).copied().unwrap_or_default().lifecycle();
    let object = Object::new(metadata, spec, lifecycle);
    Cr {
        uid,
        name,
        object: Some(kept(object)),
        older: Vec::new(),
        secret: Secret { value: 1, version: 1 },
        in_force: None,
        refused: None,
    }
}

/// The version of a CR. Each write increments it.
pub(crate) fn version<K: Modelled>(object: &Object<K>) -> u32 {
    object.resource_version().parse().unwrap_or_default()
}

/// A CR with its hash. The hash omits the version, which counts only in comparisons.
pub(crate) fn kept<K: Modelled>(object: Object<K>) -> Kept<Object<K>> {
    Kept::new(object, |object, hasher| {
        (object.uid(), object.metadata.generation, object.has_finalizer()).hash(hasher);
        (object.lifecycle.management() == ManagementPolicy::Observe).hash(hasher);
        object.deleting_since().is_some().hash(hasher);
        serde_json::to_vec(&object.status).expect("plain data").hash(hasher);
    })
}

impl<K: Modelled> Clone for Cr<K> {
    fn clone(&self) -> Self {
        Self {
            uid: self.uid.clone(),
            name: self.name.clone(),
            object: self.object.clone(),
            older: self.older.clone(),
            secret: self.secret,
            in_force: self.in_force,
            refused: self.refused,
        }
    }
}

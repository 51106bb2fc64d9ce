//! The objects of one kind in one test's world: read, changed and waited for.

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, World, condition};

/// See the module.
pub(crate) struct Objects<'a> {
    world: &'a World,
    kind: ApiResource,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(world: &'a World, kind: ApiResource) -> Self {
        Self { world, kind }
    }

    pub(crate) fn api(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.client.clone(), &self.world.namespace, &self.kind)
    }

    /// Creates an object.
    pub(crate) async fn create(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Requests the deletion of an object.
    pub(crate) async fn delete(&self, name: &str) {
        self.api().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Returns the object as it is now; null if it does not exist.
    pub(crate) async fn get_or_null(&self, name: &str) -> Value {
        serde_json::to_value(self.api().get_opt(name).await.unwrap()).unwrap()
    }

    /// See [`World::log_tail`].
    pub(crate) fn log_tail(&self) -> String {
        self.world.log_tail()
    }

    /// Merges into an object.
    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        self.try_patch(name, patch).await.unwrap();
    }

    pub(crate) async fn try_patch(&self, name: &str, patch: Value) -> Result<(), kube::Error> {
        self.api()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(|_| ())
    }

    pub(crate) async fn get(&self, name: &str) -> Value {
        serde_json::to_value(self.api().get(name).await.unwrap()).unwrap()
    }

    pub(crate) async fn list(&self) -> Vec<Value> {
        let list = self.api().list(&ListParams::default()).await.unwrap();
        list.items
            .into_iter()
            .map(|item| serde_json::to_value(item).unwrap())
            .collect()
    }

    /// Waits until `Ready` has this reason, for the present generation.
    pub(crate) async fn wait_for_reason(&self, name: &str, reason: &str) -> Value {
        self.wait_for(name, &format!("Ready is {reason}"), |object| {
            let ready = condition(object, "Ready");
            ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
        })
        .await
    }

    /// Waits until an object is as expected.
    pub(crate) async fn wait_for(&self, name: &str, awaited: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let result = eventually(&format!("{name}: {awaited}"), DEADLINE, async || {
            let object = self.api().get_opt(name).await.map_err(|error| error.to_string())?;
            let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
            if fits(&object) {
                Ok(object)
            } else {
                Err(object["status"].to_string())
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }

    /// Waits until an object no longer exists in the cluster.
    pub(crate) async fn wait_until_deleted(&self, name: &str) {
        let result = eventually(&format!("{name} is deleted"), DEADLINE, async || {
            match self.api().get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(object)) => Err(serde_json::to_string(&object.data).unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()));
    }

    /// Waits until every object of the kind in the namespace is Ready.
    pub(crate) async fn wait_until_all_ready(&self, count: usize) -> Vec<Value> {
        let result = eventually(&format!("{count} are Ready"), DEADLINE * 2, async || {
            let objects = self.list().await;
            let ready = objects
                .iter()
                .filter(|object| condition(object, "Ready")["status"] == "True")
                .count();
            if ready == count && objects.len() == count {
                Ok(objects)
            } else {
                Err(format!("{ready} are"))
            }
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }

    /// The Events about an object.
    pub(crate) async fn events(&self, name: &str) -> Vec<Value> {
        let events = self.world.events(name).await;
        let of_kind = |event: &Value| event["regarding"]["kind"] == *self.kind.kind;
        events.into_iter().filter(of_kind).collect()
    }

    /// Waits for an Event about an object. Returns its note.
    pub(crate) async fn wait_for_event(&self, name: &str, reason: &str) -> String {
        let result = eventually(&format!("an Event {reason} about {name}"), DEADLINE, async || {
            let events = self.events(name).await;
            let found = events.iter().find(|event| event["reason"] == reason);
            found
                .map(|event| event["note"].as_str().unwrap_or_default().to_owned())
                .ok_or_else(|| {
                    format!(
                        "{:?}",
                        events.iter().map(|event| event["reason"].clone()).collect::<Vec<_>>()
                    )
                })
        })
        .await;
        result.unwrap_or_else(|error| panic!("{error}\n{}", self.world.log_tail()))
    }
}

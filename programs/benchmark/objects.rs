//! Objects of our kinds in the apiserver: created, changed and deleted many at once.

use futures::{TryStreamExt, stream};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::Value;
use vpn_operator_testbed::eventually;

use crate::bed::Bed;
use crate::{AT_ONCE, DEADLINE, Failure};

/// The API of a kind in the run's namespace.
pub(crate) fn api(bed: &Bed, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "vpn.huaweicloud.com".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "vpn.huaweicloud.com/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(bed.client.clone(), &bed.namespace, &resource)
}

/// Creates an object for each manifest.
pub(crate) async fn create_all(
    api: &Api<DynamicObject>,
    manifests: impl Iterator<Item = Value>,
) -> Result<(), Failure> {
    let create = async |manifest| {
        api.create(&PostParams::default(), &serde_json::from_value(manifest)?)
            .await?;
        Ok(())
    };
    stream::iter(manifests.map(Ok))
        .try_for_each_concurrent(AT_ONCE, create)
        .await
}

/// Sends a merge patch for each name.
pub(crate) async fn patch_all(
    api: &Api<DynamicObject>,
    patches: impl Iterator<Item = (String, Value)>,
) -> Result<(), Failure> {
    let patch = async |(name, patch): (String, Value)| {
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    };
    stream::iter(patches.map(Ok))
        .try_for_each_concurrent(AT_ONCE, patch)
        .await
}

/// Deletes all objects, and waits until none is left.
pub(crate) async fn delete_all(api: &Api<DynamicObject>) -> Result<(), Failure> {
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let deleted = eventually("every object is deleted", DEADLINE, async || {
        let left = api.list(&ListParams::default().limit(1)).await;
        let left = left.map_err(|error| error.to_string())?;
        let more = left.metadata.remaining_item_count.unwrap_or_default();
        if left.items.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are left", more + 1))
        }
    });
    Ok(deleted.await?)
}

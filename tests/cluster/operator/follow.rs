//! Reports every change of a kind's objects, each once and in order, as long as a test lasts. The apiserver ends a
//! watch after some minutes; later changes must be seen as well.

use std::fmt::Debug;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Between two attempts to watch again.
const PAUSE: Duration = Duration::from_millis(100);

/// Calls `seen` with each object that is created, changed or deleted from now on.
pub(crate) async fn follow<K>(api: Api<K>, fields: &str, mut seen: impl FnMut(K) + Send + 'static)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let listed = api.list(&ListParams::default().fields(fields)).await.unwrap();
    let mut version = listed.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().fields(fields);
    let mut events = api.watch(&params, &version).await.unwrap().boxed();
    tokio::spawn(async move {
        loop {
            while let Ok(Some(event)) = events.try_next().await {
                let object = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => object,
                    WatchEvent::Bookmark(mark) => {
                        version = mark.metadata.resource_version;
                        continue;
                    }
                    // Missed changes cannot be recovered: the test that waits for them fails.
                    WatchEvent::Error(error) => panic!("the watch has lost its place: {error:?}"),
                };
                version = object.resource_version().unwrap_or_default();
                seen(object);
            }
            // Ended by an apiserver, which may be unavailable for a moment.
            events = loop {
                match api.watch(&params, &version).await {
                    Ok(events) => break events.boxed(),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            };
        }
    });
}

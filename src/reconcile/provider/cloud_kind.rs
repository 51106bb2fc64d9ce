//! Effects of a kind: its cache, what its spec refers to, and its calls.

use std::sync::Arc;

use futures::future::BoxFuture;
use vpn_cloud::{Client, CloudError, CloudResponse, Operation};
use vpn_core::cache::Cache;
use vpn_core::kind::Kind;
use vpn_core::terms::key::ObjectKey;

use super::dereferencer::{DereferenceError, Dereferencer};
use crate::reconcile::session::project::Project;

/// A kind with its effects.
pub(crate) trait CloudKind: Kind {
    /// The operation of [`Self::create`].
    const CREATE: Operation;
    /// The operation of [`Self::delete`].
    const DELETE: Operation;

    /// The operation of [`Self::change`].
    fn operation(change: &Self::Change) -> Operation;
    /// The cache of the parent's collection, for an object that reads from it from now on.
    fn cache(open: &Project, parent: &Self::Parent, reader: &ObjectKey) -> Arc<Cache<Self::Remote, ObjectKey>>;
    /// Reads what the spec refers to outside of itself.
    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>>;
    fn create<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        new: &'a Self::New,
        token: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<Self::Remote>, CloudError>>;
    /// `None` if the response does not contain the resource.
    fn change<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<CloudResponse<Option<Self::Remote>>, CloudError>>;
    fn delete<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<()>, CloudError>>;
}

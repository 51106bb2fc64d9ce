//! The cache, the reference and the calls.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use vpn_cloud::{Client, CloudError, CloudResponse, Operation};
use vpn_core::cache::Cache;
use vpn_core::kind::Shape;
use vpn_core::kinds::customer_gateway::Gateways;
use vpn_core::terms::key::ObjectKey;

use super::{LinkDereferenced, Links, RecordedGateway};
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::provider::dereferencer::{DereferenceError, Dereferencer};
use crate::reconcile::session::project::Project;

impl CloudKind for Links {
    const CREATE: Operation = Gateways::CREATE;
    const DELETE: Operation = Gateways::DELETE;

    fn operation(change: &Self::Change) -> Operation {
        Gateways::operation(change)
    }

    fn cache(open: &Project, (): &Self::Parent, reader: &ObjectKey) -> Arc<Cache<Self::Remote, ObjectKey>> {
        Gateways::cache(open, &(), reader)
    }

    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>> {
        async move {
            let mut dereferenced = LinkDereferenced::default();
            for reference in Self::references(spec) {
                dereferenced.gateway = Some(RecordedGateway {
                    name: spec.gateway_ref.name.clone(),
                    id: dereferencer.reference(&reference)?,
                });
            }
            Ok(dereferenced)
        }
        .boxed()
    }

    fn create<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        new: &'a Self::New,
        token: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<Self::Remote>, CloudError>> {
        Gateways::create(client, parent, new, token)
    }

    fn change<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<CloudResponse<Option<Self::Remote>>, CloudError>> {
        Gateways::change(client, parent, id, change)
    }

    fn delete<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<()>, CloudError>> {
        Gateways::delete(client, parent, id)
    }
}

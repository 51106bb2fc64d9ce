//! Customer gateways: their cache, their certificate, and their calls.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use vpn_cloud::{Client, CloudError, CloudResponse, Operation};
use vpn_core::api::conditions::Reason;
use vpn_core::cache::Cache;
use vpn_core::kind::Shape;
use vpn_core::kinds::customer_gateway::{GatewayChange, GatewayDereferenced, Gateways, certificate};
use vpn_core::terms::dereferenced::SecretRef;
use vpn_core::terms::failure::user_action;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::provider::dereferencer::{DereferenceError, Dereferencer};
use crate::reconcile::session::project::Project;

impl CloudKind for Gateways {
    const CREATE: Operation = Operation::CreateCustomerGateway;
    const DELETE: Operation = Operation::DeleteCustomerGateway;

    fn operation(change: &Self::Change) -> Operation {
        match change {
            GatewayChange::Update(_) => Operation::UpdateCustomerGateway,
            GatewayChange::AddTags(_) => Operation::AddCustomerGatewayTags,
            GatewayChange::RemoveTags(_) => Operation::RemoveCustomerGatewayTags,
        }
    }

    fn cache(open: &Project, (): &Self::Parent, _: &ObjectKey) -> Arc<Cache<Self::Remote, ObjectKey>> {
        Arc::clone(&open.gateways)
    }

    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>> {
        async move {
            let Some(reference) = Self::secret_refs(spec).into_iter().next() else {
                return Ok(GatewayDereferenced::default());
            };
            let content = dereferencer.secret(&reference).await?.bytes;
            let certificate = certificate(content).map_err(|problem| {
                let SecretRef { field, name, key } = &reference;
                user_action(
                    Reason::InvalidSpec,
                    format!(
                        "{field}: the key {key} of the Secret {name} {problem}; the operator notices it immediately"
                    ),
                )
            })?;
            Ok(GatewayDereferenced {
                certificate: Some(certificate),
            })
        }
        .boxed()
    }

    fn create<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        new: &'a Self::New,
        _: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<Self::Remote>, CloudError>> {
        client
            .create_customer_gateway(new)
            .map_ok(|mut answer| {
                // The response may omit the tags although they were sent and accepted.
                answer.value.tags.get_or_insert_with(|| new.tags.clone());
                answer
            })
            .boxed()
    }

    fn change<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<CloudResponse<Option<Self::Remote>>, CloudError>> {
        match change {
            GatewayChange::Update(update) => client
                .update_customer_gateway(id, update)
                .map_ok(|answer| answer.map(Some))
                .boxed(),
            GatewayChange::AddTags(tags) => client
                .add_customer_gateway_tags(id, tags)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
            GatewayChange::RemoveTags(tags) => client
                .remove_customer_gateway_tags(id, tags)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
        }
    }

    fn delete<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<()>, CloudError>> {
        client.delete_customer_gateway(id).boxed()
    }
}

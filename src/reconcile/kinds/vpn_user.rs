//! VPN users: their cache, group and password, and their calls.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use secrecy::SecretString;
use vpn_cloud::resources::users::User;
use vpn_cloud::text::one_line;
use vpn_cloud::values::password_rules;
use vpn_cloud::{Client, CloudError, CloudResponse, Operation};
use vpn_core::api::conditions::Reason;
use vpn_core::api::user_record::PasswordRecord;
use vpn_core::api::{ManagementPolicy, VpnUserSpec};
use vpn_core::cache::Cache;
use vpn_core::kind::Shape;
use vpn_core::kinds::vpn_user::{KnownPassword, UserChange, UserDereferenced, Users};
use vpn_core::terms::dereferenced::SecretRef;
use vpn_core::terms::failure::user_action;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::provider::dereferencer::{DereferenceError, Dereferencer};
use crate::reconcile::session::project::Project;

/// The longest stored value of the request annotation, which is compared with later ones.
const LONGEST_REQUEST: usize = 64;

impl CloudKind for Users {
    const CREATE: Operation = Operation::CreateVpnUser;
    const DELETE: Operation = Operation::DeleteVpnUser;

    fn operation(change: &Self::Change) -> Operation {
        match change {
            UserChange::Update(_) => Operation::UpdateVpnUser,
            UserChange::LeaveGroup(_) => Operation::RemoveVpnUsersFromGroup,
            UserChange::ResetPassword(_) => Operation::ResetVpnUserPassword,
        }
    }

    fn cache(open: &Project, parent: &Self::Parent, reader: &ObjectKey) -> Arc<Cache<Self::Remote, ObjectKey>> {
        Arc::clone(&open.server(parent, reader).users)
    }

    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>> {
        async move {
            let mut dereferenced = UserDereferenced::default();
            if spec.lifecycle.management() == ManagementPolicy::Observe {
                return Ok(dereferenced);
            }
            // The password first: its problems are reported before any request to the cloud.
            if let Some(reference) = Self::secret_refs(spec).into_iter().next() {
                dereferenced.password = Some(read_password(spec, &reference, dereferencer).await?);
            }
            if let Some(reference) = Self::references(spec).into_iter().next() {
                dereferenced.group_id = Some(dereferencer.reference(&reference)?);
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
        let user = &new.user;
        client
            .create_user(parent, user, token)
            .map_ok(|answer| {
                answer.map(|created| User {
                    id: created.id,
                    name: Some(user.name.clone()),
                    description: user.description.clone(),
                    user_group_id: user.user_group_id.clone(),
                    static_ip: user.static_ip.clone(),
                    ..User::default()
                })
            })
            .boxed()
    }

    fn change<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<CloudResponse<Option<Self::Remote>>, CloudError>> {
        match change {
            UserChange::Update(update) => client
                .update_user(parent, id, update)
                .map_ok(|answer| answer.map(Some))
                .boxed(),
            UserChange::LeaveGroup(group) => async move {
                let answer = client.remove_users_from_group(parent, group, &[id]).await?;
                Ok(answer.map(|()| None))
            }
            .boxed(),
            UserChange::ResetPassword(password) => client
                .reset_user_password(parent, id, &password.value)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
        }
    }

    fn delete<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<CloudResponse<()>, CloudError>> {
        client.delete_user(parent, id).boxed()
    }
}

async fn read_password(
    spec: &VpnUserSpec,
    reference: &SecretRef,
    dereferencer: &Dereferencer<'_>,
) -> Result<KnownPassword, DereferenceError> {
    let secret = dereferencer.secret(reference).await?;
    let invalid = |problem: &dyn std::fmt::Display| {
        let (SecretRef { field, name, key }, namespace) = (reference, &dereferencer.key.namespace);
        let message = format!(
            "spec.{field}: the key {key} of the Secret {namespace}/{name}: {problem}; the operator notices a \
             change immediately"
        );
        user_action(Reason::InvalidPassword, message)
    };
    let value = password_rules::read(&secret.bytes).map_err(|problem| invalid(&problem))?;
    // The name of an adopted user is unknown here; the cloud checks that as well.
    let is_adopted = spec.lifecycle.external_id.is_some();
    let default_name = if is_adopted { "" } else { dereferencer.object_name() };
    let user_name = spec.name.as_deref().unwrap_or(default_name);
    password_rules::check(value.expose(), user_name).map_err(|problem| invalid(&problem))?;
    let key = dereferencer.digest_key().await?;
    let context = format!("{}/{}", dereferencer.key.namespace, dereferencer.key.name);
    let record = PasswordRecord {
        digest: key.digest(&context, &SecretString::from(value.expose())),
        key_id: key.id(&context),
        secret_uid: secret.uid,
        secret_resource_version: secret.resource_version,
    };
    let requested_at = dereferencer.requested_at.map(|text| one_line(text, LONGEST_REQUEST));
    Ok(KnownPassword {
        value,
        record,
        requested_at,
    })
}

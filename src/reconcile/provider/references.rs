//! Resolves what a spec names: objects of the same namespace, and user groups of the cloud.

use std::time::Duration;

use vpn_cloud::resources::user_groups::UserGroup;
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::cache::Query;
use vpn_core::terms::failure::{Failure, POLL, RETRY, failure_of};
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::reference::{Reference, ReferenceError, ReferenceTarget};

use crate::reconcile::provider::dereferencer::{DereferenceError, Dereferencer};

/// How long objects that wait for a group share one list of groups.
const SHARED_FOR: Duration = POLL.first;

impl From<ReferenceError> for DereferenceError {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Waiting => Self::Waiting,
            ReferenceError::Absent(failure) => Self::Absent(Box::new(failure)),
            ReferenceError::Failure(failure) => Self::Failure(Box::new(failure)),
        }
    }
}

impl Dereferencer<'_> {
    /// Returns the ID that a reference stands for. The object is enqueued when that changes.
    pub(crate) fn reference(&self, reference: &Reference) -> Result<String, DereferenceError> {
        match &reference.target {
            ReferenceTarget::UserGroup { server, name } => {
                let group = self.group(reference.field, server, name)?;
                let absent = || DereferenceError::Absent(Box::new(missing_group(reference.field, server, name)));
                Ok(group.ok_or_else(absent)?.id)
            }
            ReferenceTarget::Object { kind, name } => {
                let target = ObjectKey::new(kind, &self.key.namespace, name);
                let recorded = self.recorded.iter().find(|(recorded, _)| recorded == reference);
                let recorded = recorded.map(|(_, id)| id.as_str());
                let resolution = self.references.resolve(&target);
                Ok(reference.id(resolution, recorded, &self.open.scope)?)
            }
        }
    }

    /// Returns the group of that name on a server from a recent enough list, and watches it from now on.
    fn group(&self, field: &str, server: &str, name: &str) -> Result<Option<UserGroup>, DereferenceError> {
        if !self.may_ask_cloud {
            return Err(DereferenceError::Waiting);
        }
        let server = self.open.server(server, self.key);
        let groups = server.groups();
        if let Some(error) = groups.take_failure(self.key) {
            return Err(failure_of(&error).into());
        }
        let since = self.since.unwrap_or(self.started);
        // Many objects may wait for one group: a list that one of them requested is recent enough for all.
        let since = if self.waits {
            since.checked_sub(SHARED_FOR).unwrap_or(since)
        } else {
            since
        };
        let listed = groups.known().listed(Some(since)).filter(|listed| listed.fresh);
        let Some(listed) = listed else {
            groups.request(self.key.clone(), Query::Collection, since, self.urgency);
            return Err(DereferenceError::Waiting);
        };
        let mut known = groups.known();
        let found = known
            .find(|group| group.name.as_deref() == Some(name))
            .into_iter()
            .next();
        known.watch(self.key, found.as_ref().map(|group| group.id.as_str()));
        let is_any_nameless = || !known.find(|group| group.name.is_none()).is_empty();
        if found.is_none() && (!listed.complete || is_any_nameless()) {
            return Err(unknown_group(field, name).into());
        }
        Ok(found)
    }
}

/// An incomplete list does not prove that no group has the name.
fn unknown_group(field: &str, name: &str) -> Failure {
    let message = format!(
        "spec.{field}: whether there is a user group {name} is not known: the cloud's list of groups is \
         incomplete, or has one whose name cannot be read; it is read again"
    );
    Failure {
        condition: ReadyCondition::new(Reason::CloudError, message),
        backoff: RETRY,
    }
}

fn missing_group(field: &str, server: &str, name: &str) -> Failure {
    let message = format!(
        "spec.{field}: there is no user group {name} on the VPN server {server}: create it there, or correct the name; \
         the groups are read again regularly"
    );
    Failure {
        condition: ReadyCondition::new(Reason::DependencyNotReady, message),
        backoff: POLL,
    }
}

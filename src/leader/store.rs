//! The Lease at the apiserver. Every write replaces the whole object under the resourceVersion that was read, so of two
//! writers one is refused.

use std::{future::Future, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    core::Status,
};
use thiserror::Error;

use crate::error_chain::one_line;
use crate::leader::record::LeaseRecord;

/// A Lease as it was read or written. [`LeaseStore::replace`] requires it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What the election uses of it.
    pub record: LeaseRecord,
    lease: Lease,
}

impl Stored {
    /// Reads the record of `lease`, and keeps `lease` to replace it later.
    pub fn new(lease: Lease) -> Self {
        Self {
            record: LeaseRecord::of(&lease),
            lease,
        }
    }

    /// Returns the object to send: this Lease with another record.
    pub fn with(&self, record: &LeaseRecord) -> Lease {
        let mut lease = self.lease.clone();
        record.write_into(&mut lease);
        lease
    }
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another client updated, created or deleted the Lease first.
    #[error("the lease was changed by another client")]
    Conflict,
    /// RBAC denies it.
    #[error("not allowed to get, create and update leases: {}", .0.message)]
    Forbidden(Box<Status>),
    /// The apiserver refuses it for another reason.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// There is no answer, or none that is valid; the message has all causes.
    #[error("{}", one_line(.0))]
    Request(#[source] kube::Error),
    /// There is no answer in this time.
    #[error("no answer from the apiserver within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
}

/// The store of the Lease.
pub trait LeaseStore: Send + Sync + 'static {
    /// Reads the current Lease, not from a cache.
    fn get(&self) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;
    /// Creates the Lease; returns [`StoreError::Conflict`] if it exists.
    fn create(&self, record: &LeaseRecord) -> impl Future<Output = Result<Stored, StoreError>> + Send;
    /// Replaces exactly the version that was read.
    fn replace(&self, stored: &Stored, record: &LeaseRecord)
    -> impl Future<Output = Result<Stored, StoreError>> + Send;
}

/// The Lease at the apiserver.
#[derive(Clone)]
pub struct KubeLeases {
    api: Api<Lease>,
    name: String,
}

impl KubeLeases {
    /// The Lease `name` of `namespace`.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
        }
    }
}

impl LeaseStore for KubeLeases {
    async fn get(&self) -> Result<Option<Stored>, StoreError> {
        Ok(self.api.get_opt(&self.name).await?.map(Stored::new))
    }

    async fn create(&self, record: &LeaseRecord) -> Result<Stored, StoreError> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let mut lease = Lease {
            metadata,
            ..Lease::default()
        };
        record.write_into(&mut lease);
        Ok(Stored::new(self.api.create(&PostParams::default(), &lease).await?))
    }

    async fn replace(&self, stored: &Stored, record: &LeaseRecord) -> Result<Stored, StoreError> {
        let lease = stored.with(record);
        Ok(Stored::new(
            self.api.replace(&self.name, &PostParams::default(), &lease).await?,
        ))
    }
}

impl From<kube::Error> for StoreError {
    fn from(error: kube::Error) -> Self {
        match error {
            // A missing namespace is 404 as well, and the message names it; the next read finds a missing Lease.
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => Self::Conflict,
            kube::Error::Api(status) if status.is_forbidden() => Self::Forbidden(status),
            kube::Error::Api(status) => Self::Refused(status),
            error => Self::Request(error),
        }
    }
}

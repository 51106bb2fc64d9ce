//! Tenants: each has a credentials Secret in the cluster, and an access key and a project in the cloud.

use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::{AT_ONCE, Failure};

/// A tenant by its number.
#[derive(Clone, Copy)]
pub(crate) struct Tenant(pub usize);

impl Tenant {
    /// The name of its Secret.
    pub(crate) fn secret(self) -> String {
        format!("tenant-{:05}", self.0)
    }

    pub(crate) fn access_key(self) -> String {
        format!("TENANTACCESSKEY{:05}", self.0)
    }

    fn secret_key(self) -> String {
        format!("TenantSecretKeyOfTheSimulator{:05}", self.0)
    }

    /// The ID of its project.
    pub(crate) fn project(self) -> String {
        format!("7e4a47{:026x}", self.0)
    }

    /// Adds the access key and the project to the cloud, and the Secret to the cluster.
    async fn add(self, bed: &Bed) -> Result<(), Failure> {
        bed.add_project(&self.project(), &self.secret()).await?;
        self.accept(bed, &self.access_key()).await?;
        let secret = json!({
            "metadata": {"name": self.secret()}, "stringData": self.data(&self.access_key()),
        });
        let secret: Secret = serde_json::from_value(secret)?;
        secrets(bed).create(&PostParams::default(), &secret).await?;
        Ok(())
    }

    fn data(self, access_key: &str) -> Value {
        json!({"accessKey": access_key, "secretKey": self.secret_key(), "projectID": self.project()})
    }

    /// Lets the cloud accept an access key in the project.
    async fn accept(self, bed: &Bed, access_key: &str) -> Result<(), Failure> {
        let key = json!({"secret_key": self.secret_key(), "permissions": {"projects": [self.project()]}});
        let path = format!("credentials/{access_key}");
        bed.simulator.put::<Value>(&path, &key).await?;
        Ok(())
    }

    /// Writes a new access key into the Secret. Returns the key.
    pub(crate) async fn rotate(self, bed: &Bed) -> Result<String, Failure> {
        let rotated = format!("ROTATEDACCESSKEY{:05}", self.0);
        self.accept(bed, &rotated).await?;
        let patch = Patch::Merge(json!({"stringData": self.data(&rotated)}));
        secrets(bed)
            .patch(&self.secret(), &PatchParams::default(), &patch)
            .await?;
        Ok(rotated)
    }

    /// Lets the cloud refuse the access key.
    pub(crate) async fn refuse(self, bed: &Bed) -> Result<(), Failure> {
        let other = json!({"secret_key": "another secret key"});
        let path = format!("credentials/{}", self.access_key());
        bed.simulator.put::<Value>(&path, &other).await?;
        Ok(())
    }

    /// Lets the cloud answer no request of the access key.
    pub(crate) async fn silence(self, bed: &Bed) -> Result<(), Failure> {
        let fault = json!({"fault": "timeout", "access_key": self.access_key(), "times": 0});
        Ok(bed.simulator.add_fault(&fault).await?)
    }
}

/// Adds tenants.
pub(crate) async fn add(bed: &Bed, tenants: usize) -> Result<(), Failure> {
    stream::iter((0..tenants).map(Ok))
        .try_for_each_concurrent(AT_ONCE, |number| Tenant(number).add(bed))
        .await
}

fn secrets(bed: &Bed) -> Api<Secret> {
    Api::namespaced(bed.client.clone(), &bed.namespace)
}

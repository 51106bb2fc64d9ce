//! The Application: what Argo CD says of it, and the requests that people make by its buttons.

use std::time::Duration;

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::Failure;

/// How long a busy machine may take for anything that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// The Application of the documentation.
#[derive(Clone, Copy)]
pub struct Application<'a> {
    /// Where it is.
    pub plane: &'a ControlPlane,
}

impl Application<'_> {
    /// All of it.
    pub async fn get(&self) -> Result<Value, Failure> {
        let get = ["get", "application", "vpn", "--namespace", "argocd", "--output", "json"];
        Ok(serde_json::from_str(&self.plane.kubectl(get).await?.success()?)?)
    }

    /// Has Argo CD look at Git and at the cluster again, and returns what it then says.
    pub async fn refresh(&self, kind: &str) -> Result<Value, Failure> {
        let request = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}}).to_string();
        let patch = [
            "patch",
            "application",
            "vpn",
            "--namespace",
            "argocd",
            "--type=merge",
            "--patch",
            &request,
        ];
        self.plane.kubectl(patch).await?.success()?;
        let seen = eventually("Argo CD has compared again", DEADLINE, async || {
            let application = self.get().await.map_err(|failure| failure.to_string())?;
            // It takes the request away once it has done so.
            if application["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_string() {
                Err(summary(&application))
            } else {
                Ok(application)
            }
        });
        Ok(seen.await?)
    }

    /// Waits until Argo CD says so, and returns what it said. It is asked to look at Git first.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
        self.refresh("normal").await?;
        let seen = eventually(what, DEADLINE, async || {
            let application = self.get().await.map_err(|failure| failure.to_string())?;
            if holds(&application) {
                Ok(application)
            } else {
                Err(summary(&application))
            }
        });
        Ok(seen.await?)
    }
}

/// Everything is as Git says, and well.
pub fn is_well(application: &Value) -> bool {
    let status = &application["status"];
    status["sync"]["status"] == "Synced"
        && status["health"]["status"] == "Healthy"
        && status["operationState"]["phase"] == "Succeeded"
        && application["operation"].is_null()
}

/// The health of an object of ours, as the application's tree shows it.
pub fn health<'a>(application: &'a Value, name: &str) -> &'a Value {
    let resources = application["status"]["resources"].as_array();
    let ours = resources
        .into_iter()
        .flatten()
        .find(|resource| resource["group"] == "vpn.huaweicloud.com" && resource["name"] == name);
    ours.map_or(&Value::Null, |resource| &resource["health"])
}

/// How many syncs there were.
pub fn syncs(application: &Value) -> usize {
    application["status"]["history"].as_array().map_or(0, Vec::len)
}

/// What people see first, for an error.
pub fn summary(application: &Value) -> String {
    let status = &application["status"];
    format!(
        "{} {}; {}: {}; {}",
        status["sync"]["status"],
        status["health"],
        status["operationState"]["phase"],
        status["operationState"]["message"],
        status["conditions"]
    )
}

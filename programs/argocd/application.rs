//! The Application: its state in Argo CD, and the requests behind the buttons.

use std::time::Duration;

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, eventually};

use crate::Failure;

/// For every wait, on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The Application of the documentation.
#[derive(Clone, Copy)]
pub(crate) struct Application<'a> {
    /// Its control plane.
    pub plane: &'a ControlPlane,
}

impl Application<'_> {
    /// The whole object.
    pub(crate) async fn get(&self) -> Result<Value, Failure> {
        let get = [
            "get",
            "application",
            "vpn-operator",
            "--namespace",
            "argocd",
            "--output",
            "json",
        ];
        Ok(serde_json::from_str(&self.plane.kubectl(get).await?.success()?)?)
    }

    /// Refreshes the application, and returns its new state.
    pub(crate) async fn refresh(&self, kind: &str) -> Result<Value, Failure> {
        let request = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}}).to_string();
        let patch = [
            "patch",
            "application",
            "vpn-operator",
            "--namespace",
            "argocd",
            "--type=merge",
            "--patch",
            &request,
        ];
        self.plane.kubectl(patch).await?.success()?;
        let seen = eventually("Argo CD has compared again", DEADLINE, async || {
            let application = self.get().await.map_err(|failure| failure.to_string())?;
            // Argo CD removes the annotation when it is done.
            if application["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_string() {
                Err(summary(&application))
            } else {
                Ok(application)
            }
        });
        Ok(seen.await?)
    }

    /// Refreshes the application until it has this state, and returns it.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, Failure> {
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

/// Whether everything is Synced and Healthy.
pub(crate) fn is_well(application: &Value) -> bool {
    let status = &application["status"];
    status["sync"]["status"] == "Synced"
        && status["health"]["status"] == "Healthy"
        && status["operationState"]["phase"] == "Succeeded"
        && application["operation"].is_null()
}

/// The health of one of our objects in the application's tree.
pub(crate) fn health<'a>(application: &'a Value, name: &str) -> &'a Value {
    let resources = application["status"]["resources"].as_array();
    let ours = resources
        .into_iter()
        .flatten()
        .find(|resource| resource["group"] == "vpn.huaweicloud.com" && resource["name"] == name);
    ours.map_or(&Value::Null, |resource| &resource["health"])
}

/// The number of syncs.
pub(crate) fn syncs(application: &Value) -> usize {
    application["status"]["history"].as_array().map_or(0, Vec::len)
}

/// A summary for errors.
pub(crate) fn summary(application: &Value) -> String {
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

//! The steps after everything is Ready: out-of-band changes, and a new password.

use std::time::Instant;

use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Simulator, eventually};

use crate::Failure;
use crate::objects::Objects;
use crate::script::DEADLINE;

/// The name in the simulator's log.
const RESET: &str = "ResetVpnUserPassword";

/// An out-of-band change that the operator must correct.
pub(crate) struct Tampering {
    /// Shown to people.
    pub noun: &'static str,
    /// Used with kubectl.
    pub resource: &'static str,
    /// The name of the object in the cluster.
    pub object: &'static str,
    /// The collection in the simulator.
    pub collection: &'static str,
    pub field: &'static str,
    pub value: &'static str,
}

/// A new password of a user, in the Secret of the same name.
pub(crate) struct Rotation {
    pub user: &'static str,
    pub key: &'static str,
    pub value: &'static str,
}

/// What the steps work with.
pub(crate) struct Scenes<'a> {
    pub simulator: &'a Simulator,
    pub control_plane: &'a ControlPlane,
    pub objects: &'a Objects,
}

impl Scenes<'_> {
    /// Changes a resource through the simulator's admin API, and waits until the operator has corrected it and recorded
    /// an Event.
    pub(crate) async fn show_correction(&self, tampering: &Tampering) -> Result<(), Failure> {
        let Tampering {
            noun,
            resource,
            object,
            collection,
            field,
            value,
        } = tampering;
        let id = self.cloud_id(resource, object).await?;
        let page = format!("{collection}/{id}");
        let before = self.simulator.admin_get::<Value>(&page).await?[field].clone();
        self.simulator
            .admin_patch::<Value>(&page, &json!({ *field: value }))
            .await?;
        let changed = Instant::now();
        println!("in the cloud, the {field} of the {noun} {id} is now \"{value}\"");
        eventually("the operator corrects it", DEADLINE, async || {
            let now = self.simulator.admin_get::<Value>(&page).await;
            let now = now.map_err(|error| error.to_string())?;
            if now[field] == before {
                Ok(())
            } else {
                Err(now[field].to_string())
            }
        })
        .await?;
        println!("it is {before} again, after {:.1} s", changed.elapsed().as_secs_f32());
        self.show_event(object, "DriftCorrected").await
    }

    /// Changes the password in the Secret, and waits until one reset has set it in the cloud.
    pub(crate) async fn show_rotation(&self, rotation: &Rotation) -> Result<(), Failure> {
        let Rotation { user, key, value } = rotation;
        let before = self.simulator.last_sequence().await?;
        let patch = json!({ "stringData": { *key: value } }).to_string();
        self.kubectl(&["patch", "secret", user, "--type=merge", "--patch", &patch])
            .await?;
        let id = self.cloud_id("vpnu", user).await?;
        eventually("the cloud has the new password", DEADLINE, async || {
            match self.simulator.is_password(&id, value).await {
                Ok(true) => Ok(()),
                Ok(false) => Err("it has the old one".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        println!("in the cloud, the new password of {user} is set");
        self.show_event(user, "PasswordSet").await?;
        self.wait_until_considered(user).await?;
        self.expect_resets_since(before, 1).await
    }

    /// Changes the Secret without its password, and waits until the operator has read it.
    pub(crate) async fn show_no_rotation(&self, rotation: &Rotation) -> Result<(), Failure> {
        let before = self.simulator.last_sequence().await?;
        self.kubectl(&["label", "secret", rotation.user, "demo=labeled"])
            .await?;
        self.wait_until_considered(rotation.user).await?;
        println!(
            "the operator has read that version of the Secret, and {} is Ready",
            rotation.user
        );
        self.expect_resets_since(before, 0).await
    }

    async fn cloud_id(&self, resource: &str, object: &str) -> Result<String, Failure> {
        self.kubectl(&["get", resource, object, "--output=jsonpath={.status.id}"])
            .await
    }

    /// Waits until status records the current version of the Secret, when the decision about it is made.
    async fn wait_until_considered(&self, user: &str) -> Result<(), Failure> {
        let version = self
            .kubectl(&["get", "secret", user, "--output=jsonpath={.metadata.resourceVersion}"])
            .await?;
        eventually("the operator reads the Secret", DEADLINE, async || {
            let object = self.objects.user(user).await.map_err(|error| error.to_string())?;
            let status = &object.data["status"];
            let seen = &status["password"]["secretResourceVersion"];
            let conditions = status["conditions"].as_array().into_iter().flatten();
            let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            if *seen == *version && conditions.into_iter().any(is_ready) {
                Ok(())
            } else {
                Err(format!("version {seen} of {version}, {}", status["conditions"]))
            }
        })
        .await?;
        Ok(())
    }

    async fn expect_resets_since(&self, sequence: u64, expected: u64) -> Result<(), Failure> {
        let calls = self.simulator.calls_since(sequence).await?;
        let resets = calls.get(RESET).copied().unwrap_or_default();
        println!("calls of {RESET} since then: {resets}");
        if resets == expected {
            Ok(())
        } else {
            Err(format!("{expected} expected").into())
        }
    }

    async fn show_event(&self, object: &str, reason: &str) -> Result<(), Failure> {
        let selector = format!("--field-selector=reason={reason},involvedObject.name={object}");
        let arguments = ["get", "events", &selector, "--no-headers"];
        let events = eventually(&format!("an Event {reason}"), DEADLINE, async || {
            let events = self.kubectl(&arguments).await.map_err(|error| error.to_string())?;
            if events.is_empty() {
                Err("none yet".to_owned())
            } else {
                Ok(events)
            }
        })
        .await?;
        print!("kubectl get events: {events}");
        Ok(())
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String, Failure> {
        Ok(self.control_plane.kubectl(arguments.iter().copied()).await?.success()?)
    }
}

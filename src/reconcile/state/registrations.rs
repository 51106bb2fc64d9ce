//! The registrations of a watched object in other modules. Each one ends when its guard is dropped, so no explicit
//! cleanup is needed.

use std::sync::{Mutex, PoisonError};

use crate::metrics::Metrics;
use crate::reconcile::k8s::secrets::SecretReader;
use crate::reconcile::session::credential_health::CredentialUser;
use crate::reconcile::session::sessions::SessionUser;
use crate::reconcile::state::references::ReferenceUser;

/// All registrations of one object. Its state holds them, and so does each running reconciliation. When the object is
/// no longer watched and its last reconciliation has ended, everything is unregistered.
pub(crate) struct Registrations {
    pub secrets: SecretReader,
    pub session: SessionUser,
    pub credential: CredentialUser,
    pub references: ReferenceUser,
    pub counted: Counted,
}

/// How metrics count an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// By the reason of its Ready condition.
    pub reason: Option<&'static str>,
    /// Among the objects whose drift is only reported.
    pub drifted: bool,
}

/// An object's part in the metrics, which ends when this is dropped.
pub(crate) struct Counted {
    metrics: Metrics,
    kind: &'static str,
    reported: Mutex<Reported>,
}

impl Counted {
    pub(crate) fn new(metrics: Metrics, kind: &'static str) -> Self {
        Self {
            metrics,
            kind,
            reported: Mutex::default(),
        }
    }

    /// Counts the object so from now on.
    pub(crate) fn set(&self, now: Reported) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *reported, now);
        self.metrics.object_moved(self.kind, before.reason, now.reason);
        self.metrics.object_drifted(self.kind, before.drifted, now.drifted);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(Reported::default());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;
    use tokio::time::Instant;

    use super::*;
    use crate::metrics::encode;
    use crate::reconcile::k8s::secrets::Secrets;
    use crate::reconcile::session::credential_health::{CredentialHealth, CredentialName, Finding};
    use crate::reconcile::session::sessions::tests::{credential, sessions};
    use crate::reconcile::state::object_states::ObjectStates;
    use crate::reconcile::state::references::References;
    use vpn_core::kinds::customer_gateway::Gateways;
    use vpn_core::object::Object;

    #[tokio::test]
    async fn registrations_end_with_the_watch_and_the_last_reconcile() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let secrets = Secrets::new(kube::Client::try_from(nowhere).unwrap());
        let sessions = sessions();
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let shows = |line: &str| encode(&registry).unwrap().lines().any(|shown| shown == line);

        let object: Object<Gateways> = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"},
            "spec": {"idValue": "203.0.113.7"},
        }))
        .unwrap();
        let key = object.key();
        let states = ObjectStates::<Gateways>::default();
        states.observe(&key, Arc::new(object), Instant::now());
        let references = References::new(Arc::default());
        let health = CredentialHealth::new(None, metrics.clone(), Box::new(|_, _| {}));
        let begin = || Registrations {
            secrets: secrets.reader(&key),
            session: sessions.user(&key),
            credential: health.user(&key),
            references: references.user(&key),
            counted: Counted::new(metrics.clone(), "CustomerGateway"),
        };
        let of_pass = states.registrations(&key, begin).unwrap();
        // The watch sees the deletion of the object during a reconciliation, which registers more.
        states.forget(&key);
        assert!(states.registrations(&key, begin).is_none());
        let secret = ("n".to_owned(), "keys".to_owned());
        assert!(of_pass.secrets.read(&secret, &["accessKey"]).await.is_err());
        of_pass.session.assign(credential("AK"));
        of_pass.credential.uses(Some(CredentialName::Default));
        of_pass.credential.leads_to([0; 32], Some(Finding::Works));
        of_pass.counted.set(Reported {
            reason: Some("Available"),
            drifted: true,
        });
        assert_eq!((secrets.count(), sessions.count()), (1, 1));
        assert!(shows(
            r#"vpn_operator_objects{kind="CustomerGateway",reason="Available"} 1"#
        ));
        drop(of_pass);
        assert_eq!((secrets.count(), sessions.count()), (0, 0));
        assert!(shows(
            r#"vpn_operator_objects{kind="CustomerGateway",reason="Available"} 0"#
        ));
        assert!(shows(r#"vpn_operator_drifted_objects{kind="CustomerGateway"} 0"#));
    }
}

//! The registrations of a watched object in other modules. Each one ends when its guard is dropped, so no explicit
//! cleanup is needed.

use std::sync::{Mutex, PoisonError};

use super::context::Context;
use super::credential_health::CredentialUser;
use super::key::Key;
use super::secrets::SecretReader;
use super::session::SessionUser;
use crate::metrics::Metrics;

/// All registrations of one object. Its state holds them, and so does each running reconciliation. When the object is
/// no longer watched and its last reconciliation has ended, everything is unregistered.
pub struct Registrations {
    pub secrets: SecretReader,
    pub session: SessionUser,
    pub credential: CredentialUser,
    pub counted: Counted,
}

impl Registrations {
    pub fn new(context: &Context, key: &Key) -> Self {
        Self {
            secrets: context.secrets.reader(key),
            session: context.sessions.user(key),
            credential: context.credential_health.user(key),
            counted: Counted::new(context.metrics.clone(), key.kind),
        }
    }
}

/// How metrics count an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// By the reason of its Ready condition.
    pub reason: Option<&'static str>,
    /// Among the objects whose drift is only reported.
    pub drifted: bool,
}

/// An object's part in the metrics, which ends when this is dropped.
pub struct Counted {
    metrics: Metrics,
    kind: &'static str,
    reported: Mutex<Reported>,
}

impl Counted {
    pub fn new(metrics: Metrics, kind: &'static str) -> Self {
        Self {
            metrics,
            kind,
            reported: Mutex::default(),
        }
    }

    /// Counts the object so from now on.
    pub fn set(&self, now: Reported) {
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
    use crate::reconcile::credential_health::{CredentialHealth, CredentialName, Finding};
    use crate::reconcile::customer_gateway::Gateways;
    use crate::reconcile::object::Object;
    use crate::reconcile::object_states::ObjectStates;
    use crate::reconcile::secrets::Secrets;
    use crate::reconcile::session::tests::{credential, sessions};

    #[tokio::test]
    async fn what_an_object_registered_ends_when_it_is_no_longer_watched_and_its_pass_is_over() {
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
        let key = Key::of(&object);
        let states = ObjectStates::<Gateways>::default();
        states.observe(&key, Arc::new(object), Instant::now());
        let health = CredentialHealth::new(None, metrics.clone(), Box::new(|_, _| {}));
        let begin = || Registrations {
            secrets: secrets.reader(&key),
            session: sessions.user(&key),
            credential: health.user(&key),
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

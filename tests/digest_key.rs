//! The digest key against a real kube-apiserver: created once, found again, recreated only when it is lost.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use secrecy::SecretString;
use serde_json::json;
use vpn_operator::reconcile::k8s::digest_key::{DigestKey, DigestKeys};
use vpn_operator_testbed::ControlPlane;

const LEASE: &str = "vpn-operator";
const SECRET: &str = "vpn-operator-digest-key";
/// The annotation of a Secret that a key was written to.
const WRITTEN: &str = "vpn.huaweicloud.com/digest-key-written";

struct Fixture {
    client: Client,
    namespace: String,
}

impl Fixture {
    async fn new() -> Self {
        let plane = ControlPlane::shared().await.unwrap();
        let namespace = plane.create_namespace("digest").await.unwrap();
        Self {
            client: plane.client().await.unwrap(),
            namespace,
        }
    }

    /// The digest keys of a new process.
    fn process(&self) -> DigestKeys {
        DigestKeys::new(self.client.clone(), self.namespace.clone(), LEASE.to_owned())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn secret(&self) -> Secret {
        self.secrets().get(SECRET).await.unwrap()
    }
}

fn fingerprint(key: &DigestKey) -> (String, String) {
    (key.id("anna"), key.digest("anna", &SecretString::from("a password")))
}

#[tokio::test]
async fn the_key_is_created_on_first_use_and_reused_by_the_next_process() {
    let fixture = Fixture::new().await;
    let first = fixture.process();
    assert!(fixture.secrets().get_opt(SECRET).await.unwrap().is_none(), "not before");
    let made = fingerprint(&first.get().await.unwrap());
    let secret = fixture.secret().await;
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let data = secret.data.unwrap();
    assert_eq!(
        data.iter()
            .map(|(name, key)| (&**name, key.0.len()))
            .collect::<Vec<_>>(),
        [("key", 32)]
    );
    let labels = secret.metadata.labels.unwrap();
    for label in ["app.kubernetes.io/name", "app.kubernetes.io/managed-by"] {
        assert_eq!(labels.get(label).map(String::as_str), Some("vpn-operator"), "{label}");
    }
    let annotations = secret.metadata.annotations.unwrap();
    assert!(
        annotations
            .values()
            .any(|text| text.contains("Without it no password is lost")),
        "{annotations:?}"
    );
    assert_eq!(annotations.get(WRITTEN).map(String::as_str), Some("true"));
    assert_eq!(fingerprint(&fixture.process().get().await.unwrap()), made);
    assert_eq!(
        fixture.secret().await.metadata.resource_version,
        secret.metadata.resource_version,
        "written once"
    );
}

#[tokio::test]
async fn a_process_keeps_its_key_when_the_secret_is_deleted() {
    let fixture = Fixture::new().await;
    let process = fixture.process();
    let before = fingerprint(&process.get().await.unwrap());
    fixture
        .secrets()
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(fingerprint(&process.get().await.unwrap()), before);
    assert_ne!(fingerprint(&fixture.process().get().await.unwrap()), before);
}

#[tokio::test]
async fn concurrent_replicas_and_callers_get_the_same_key() {
    for _ in 0..10 {
        let fixture = Fixture::new().await;
        let processes: Vec<DigestKeys> = (0..4).map(|_| fixture.process()).collect();
        let calls = processes.iter().chain(&processes).map(DigestKeys::get);
        let keys = futures::future::try_join_all(calls).await.unwrap();
        let first = fingerprint(&keys[0]);
        assert!(keys.iter().all(|key| fingerprint(key) == first));
        assert_eq!(fingerprint(&fixture.process().get().await.unwrap()), first);
    }
}

#[tokio::test]
async fn a_missing_or_invalid_key_is_replaced_and_other_data_is_kept() {
    let key = |bytes: &[u8]| ("key".to_owned(), ByteString(bytes.to_vec()));
    let other = || ("other".to_owned(), ByteString(b"someone's".to_vec()));
    for data in [
        None,
        Some(BTreeMap::from([other()])),
        Some(BTreeMap::from([key(b""), other()])),
        Some(BTreeMap::from([key(&[7; 31]), other()])),
    ] {
        let fixture = Fixture::new().await;
        let had_other = data.as_ref().is_some_and(|data| data.contains_key("other"));
        let broken = Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                labels: Some(BTreeMap::from([("team".to_owned(), "net".to_owned())])),
                ..ObjectMeta::default()
            },
            data,
            ..Secret::default()
        };
        fixture.secrets().create(&PostParams::default(), &broken).await.unwrap();
        let processes = [fixture.process(), fixture.process()];
        let keys = futures::future::try_join_all(processes.iter().map(DigestKeys::get))
            .await
            .unwrap();
        assert_eq!(fingerprint(&keys[0]), fingerprint(&keys[1]));
        let secret = fixture.secret().await;
        let data = secret.data.unwrap();
        assert_eq!(data["key"].0.len(), 32);
        assert_eq!(data.get("other"), had_other.then(|| other().1).as_ref());
        assert_eq!(secret.metadata.labels, broken.metadata.labels);
        // The annotation shows that a key is lost if the Secret is emptied later.
        assert!(secret.metadata.annotations.unwrap().contains_key(WRITTEN));
        assert_eq!(
            fingerprint(&fixture.process().get().await.unwrap()),
            fingerprint(&keys[0])
        );
    }
}

#[tokio::test]
async fn a_failed_write_of_the_key_is_an_error_and_is_retried() {
    let fixture = Fixture::new().await;
    let nowhere = DigestKeys::new(
        fixture.client.clone(),
        format!("{}-not", fixture.namespace),
        LEASE.to_owned(),
    );
    for _ in 0..2 {
        let error = nowhere.get().await.unwrap_err();
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 404),
            "{error}"
        );
    }
    let frozen = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        ..Secret::default()
    };
    fixture.secrets().create(&PostParams::default(), &frozen).await.unwrap();
    let process = fixture.process();
    let error = process.get().await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 422),
        "{error}"
    );
    fixture
        .secrets()
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    let made = fingerprint(&process.get().await.unwrap());
    let label = json!({ "metadata": { "labels": { "team": "net" } } });
    fixture
        .secrets()
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    assert_eq!(fingerprint(&fixture.process().get().await.unwrap()), made);
}

//! Plays a drafted lifecycle against the apiserver, like a user with kubectl.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use vpn_operator_testbed::eventually;

use super::AT_ONCE;
use super::draft::{Kind, Mark, Step, Subject};
use super::{gateways, users};
use crate::operator::objects::Objects;
use crate::operator::world::{DEADLINE, World, condition};

/// Creates what the specs refer to: servers with groups, certificates, and sufficient quotas.
pub(super) async fn furnish(world: &mut World) {
    world.sentinels.add(users::SENTINEL);
    world.make_room().await;
    let post = async |page: &str, seed: Value| world.simulator.admin_post::<Value>(page, &seed).await.unwrap();
    for server in 0..users::SERVERS {
        let id = users::server(server);
        post(
            "vpn-servers",
            json!({"id": id, "client_cidr": "10.0.0.0/8", "user_quota": 10_000}),
        )
        .await;
        for (number, name) in users::GROUPS.into_iter().enumerate() {
            let group = users::group(server, number);
            post("vpn-groups", json!({"server_id": id, "id": group, "name": name})).await;
        }
    }
    for name in gateways::CERTIFICATES {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        world
            .apply_secret(name, &BTreeMap::from([("ca.crt", pem.as_str())]))
            .await;
    }
}

/// The objects of a subject's kind.
pub(super) fn objects<'a>(world: &'a World, subject: &Subject) -> Objects<'a> {
    match subject.kind {
        Kind::Gateway => world.gateway_objects(),
        Kind::User => world.users(),
    }
}

/// Takes every step.
pub(super) async fn play(world: &World, subject: &Subject, sequence: &[Step]) {
    for step in sequence {
        match step {
            Step::WaitUntilReady => wait_until_ready(world, subject, sequence).await,
            Step::Apply { paused, spec } => {
                let manifest = subject.manifest(*paused, spec);
                if let Err(error) = put(world, subject, &manifest).await {
                    panic!("{error}\n{manifest}\n{}", story(sequence));
                }
            }
            Step::Password { secret, key, value } => {
                write_secret(world, secret, key, value).await;
            }
            Step::Delete => {
                let objects = objects(world, subject);
                let name = subject.name();
                delete(&objects, &name).await;
            }
        }
    }
}

/// Sends a request to the apiserver again if its connection broke: a busy machine closes some that are idle.
async fn surely<T>(call: impl AsyncFn() -> Result<T, kube::Error>) -> Result<T, kube::Error> {
    for _ in 0..5 {
        match call().await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => {}
            answered => return answered,
        }
    }
    call().await
}

async fn write_secret(world: &World, name: &str, key: &str, value: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value},
    });
    let (apply, patch) = (PatchParams::apply("random-specs").force(), Patch::Apply(&secret));
    surely(async || secrets.patch(name, &apply, &patch).await)
        .await
        .unwrap();
}

async fn delete(objects: &Objects<'_>, name: &str) {
    match surely(async || objects.api().delete(name, &DeleteParams::default()).await).await {
        // The first of two requests has deleted it.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        deleted => drop(deleted.unwrap()),
    }
    objects.wait_until_deleted(name).await;
}

/// The steps, to be read and played again.
pub(super) fn story(sequence: &[Step]) -> String {
    serde_saphyr::to_string(&sequence).expect("steps are plain data")
}

/// Creates the object, or replaces its whole spec and annotations: an omitted field is removed.
async fn put(world: &World, subject: &Subject, manifest: &Value) -> Result<(), kube::Error> {
    let api = objects(world, subject).api();
    let (annotations, spec) = (&manifest["metadata"]["annotations"], &manifest["spec"]);
    let replace = json!([
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "replace", "path": "/spec", "value": spec},
    ]);
    let replace = Patch::<()>::Json(serde_json::from_value(replace).expect("a patch"));
    let name = subject.name();
    match surely(async || api.patch(&name, &PatchParams::default(), &replace).await).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let object = serde_json::from_value(manifest.clone()).expect("an object");
            match surely(async || api.create(&PostParams::default(), &object).await).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
                created => created.map(|_| ()),
            }
        }
        replaced => replaced.map(|_| ()),
    }
}

/// Applies a twin, with Secrets of its own.
pub(super) async fn apply(world: &World, duplicate: &Subject) {
    assert_eq!(duplicate.mark, Mark::Duplicate);
    let spec = duplicate.spec.as_ref().expect("it was applied");
    if let Some(secret) = spec["passwordSecretRef"]["name"].as_str() {
        let key = spec["passwordSecretRef"]["key"].as_str().unwrap_or("password");
        write_secret(world, secret, key, &duplicate.password).await;
    }
    let manifest = duplicate.manifest(false, spec);
    put(world, duplicate, &manifest)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{manifest}"));
}

fn is_ready(object: &Value) -> bool {
    let ready = condition(object, "Ready");
    ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"]
}

async fn wait_until_ready(world: &World, subject: &Subject, sequence: &[Step]) {
    let objects = objects(world, subject);
    let name = subject.name();
    let result = eventually(&format!("{name} is Ready"), DEADLINE * 2, async || {
        let object = objects.api().get(&name).await.map_err(|error| error.to_string())?;
        let object = serde_json::to_value(object).expect("an object is plain data");
        if is_ready(&object) {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}\n{}", story(sequence), log_of(world, &name)));
}

/// The lines of the operator's log on one object.
fn log_of(world: &World, name: &str) -> String {
    let log = world.running().log();
    let about = log.lines().filter(|line| line.contains(name));
    about.collect::<Vec<_>>().join("\n")
}

/// Waits until an object is Ready; for a user, also until the last password is in force.
pub(super) async fn wait_until_reconciled(world: &World, subject: &Subject) {
    wait_until_ready(world, subject, &[]).await;
    if subject.kind == Kind::Gateway {
        return;
    }
    // A change of a Secret does not change the generation.
    let name = subject.name();
    let result = eventually(&format!("the password of {name}"), DEADLINE, async || {
        let object = world
            .users()
            .api()
            .get(&name)
            .await
            .map_err(|error| error.to_string())?;
        let object = serde_json::to_value(object).expect("an object is plain data");
        let id = object["status"]["id"].as_str().unwrap_or_default().to_owned();
        let has_it = world.simulator.is_password(&id, &subject.password).await;
        let has_it = has_it.map_err(|error| error.to_string())?;
        if has_it && is_ready(&object) && object["status"]["passwordReset"].is_null() {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", log_of(world, &name)));
}

/// Deletes objects, in the cloud as well, and waits until they no longer exist.
pub(super) async fn remove(world: &World, duplicates: &[Subject]) {
    let remove = |duplicate: &Subject| {
        let (objects, name) = (objects(world, duplicate), duplicate.name());
        async move {
            objects
                .patch(&name, json!({"spec": {"deletionPolicy": "Delete"}}))
                .await;
            delete(&objects, &name).await;
        }
    };
    stream::iter(duplicates).for_each_concurrent(AT_ONCE, remove).await;
}

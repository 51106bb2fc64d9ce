//! Many gateways and users for the disaster tests, and checks that the cloud is not affected.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, eventually, figures};

use crate::operator::console::{OWNER, message};
use crate::operator::objects::Objects;
use crate::operator::world::{DEADLINE, Options, World, condition, gateway, shared_plane, user};

/// `RELIABILITY=full`, read at compile time, since the numbers are constants.
const IS_FULL: bool = match option_env!("RELIABILITY") {
    Some(effort) => matches!(effort.as_bytes(), b"full"),
    None => false,
};
/// Half of either is enough to trigger the mass-deletion guard.
pub(super) const GATEWAYS: usize = if IS_FULL { 100 } else { 40 };
pub(super) const USERS: usize = if IS_FULL { 50 } else { 24 };

/// Concurrent requests to the apiserver.
const AT_ONCE: usize = 8;
/// Prefix of every password here: it must never show.
const SENTINEL: &str = "SENTINEL+pw/";

/// Options of the operators in these worlds: frequent drift checks, and no delay by their own rate limiter.
pub(super) fn options() -> Options {
    Options::with([
        "--resync-period=1s",
        "--max-requests-per-second=500",
        // A machine that is busy with the start of a control plane must not lose the lease.
        "--leader-elect-lease-duration=60s",
        // Held lists must not time out before their release.
        "--request-timeout=10s",
        "--log-level=info,vpn_operator=trace",
    ])
}

/// Objects are named `PREFIXgw-NNN` and `PREFIXuser-NNN`. In the cloud they have the same names without the prefix.
/// `more` is the rest of every spec, in flow style.
pub(super) struct Manifests<'a> {
    pub prefix: &'a str,
    pub more: &'a str,
    pub finalizers: bool,
}

impl Manifests<'_> {
    /// As they were first applied.
    pub(super) const PLAIN: Self = Self {
        prefix: "",
        more: "",
        finalizers: false,
    };

    /// The manifest of a gateway.
    pub(super) fn gateway(&self, number: usize) -> String {
        // A prefix must not change the name of the gateway in the cloud.
        let name = format!("name: {}", gateway_name(number));
        let given = if self.prefix.is_empty() { "" } else { name.as_str() };
        let spec = match number % 4 {
            0 => format!("{{idValue: 203.0.113.{number}, {given}"),
            1 => format!("{{{name}, idValue: 198.51.100.{number}, bgpASN: {}", 65000 + number),
            2 => format!("{{idType: FQDN, idValue: branch-{number}.example.com, tags: {{team: net}}, {given}"),
            _ => format!("{{idValue: 192.0.2.{number}, tags: {{site: s-{number}, floor: '2'}}, {given}"),
        };
        let object = format!("{}{}", self.prefix, gateway_name(number));
        self.finish(&gateway(&object, &close(&spec, self.more)))
    }

    /// The manifest of a user.
    pub(super) fn user(&self, number: usize) -> String {
        let name = user_name(number);
        let mut spec = format!("{{passwordSecretRef: {{name: pw-{number:03}}}");
        if number.is_multiple_of(2) || !self.prefix.is_empty() {
            spec += ", name: ";
            spec += &name;
        }
        let more = match number % 4 {
            0 => format!(", staticIP: 192.168.10.{}", 4 * number + 1),
            1 => ", userGroupName: default".to_owned(),
            2 => format!(", description: person {number}"),
            _ => String::new(),
        };
        spec.push_str(&more);
        let object = format!("{}{name}", self.prefix);
        self.finish(&user(&object, &close(&spec, self.more)))
    }

    /// `kubectl apply` of all of them.
    pub(super) async fn apply(&self, world: &World) {
        let gateways = (1..=GATEWAYS).map(|number| self.gateway(number));
        let users = (1..=USERS).map(|number| self.user(number));
        let all: Vec<String> = gateways.chain(users).collect();
        world.apply(&all.join("---\n")).await;
    }

    fn finish(&self, manifest: &str) -> String {
        if !self.finalizers {
            return manifest.to_owned();
        }
        let finalizers = "finalizers: [vpn.huaweicloud.com/cleanup]";
        manifest.replacen("metadata: {", &format!("metadata: {{{finalizers}, "), 1)
    }
}

fn close(spec: &str, more: &str) -> String {
    let spec = spec.trim_end_matches([',', ' ']);
    let comma = if more.is_empty() { "" } else { ", " };
    format!("{spec}{comma}{more}}}")
}

fn gateway_name(number: usize) -> String {
    format!("gw-{number:03}")
}

fn user_name(number: usize) -> String {
    format!("user-{number:03}")
}

/// Applies the Secrets with the users' passwords.
pub(super) async fn apply_passwords(world: &mut World) {
    world.sentinels.add(SENTINEL);
    let world = &*world;
    let apply = |number: usize| async move {
        let password = format!("{SENTINEL}{number:03}");
        let data = BTreeMap::from([("password", password.as_str())]);
        world.apply_secret(&format!("pw-{number:03}"), &data).await;
    };
    stream::iter(1..=USERS).for_each_concurrent(AT_ONCE, apply).await;
}

/// Creates a world in which all of them are Ready.
pub(super) async fn found() -> World {
    found_on(shared_plane().await).await
}

/// The same on a control plane that has the CRDs.
pub(super) async fn found_on(plane: &'static ControlPlane) -> World {
    let mut world = World::on(plane, options()).await;
    world.make_room().await;
    apply_passwords(&mut world).await;
    Manifests::PLAIN.apply(&world).await;
    all_are_ready(&world).await;
    assert_eq!(world.cloud_gateways().await.len(), GATEWAYS);
    assert_eq!(world.cloud_users().await.len(), USERS);
    world
}

/// Waits until there are `count` objects of a kind, all with this reason. Each message must contain its words.
pub(super) async fn wait_until_all_have(
    objects: &Objects<'_>,
    count: usize,
    reason: &str,
    words: impl Fn(&Value) -> Vec<String>,
) -> Vec<Value> {
    let result = eventually(&format!("{count} say {reason}"), DEADLINE * 5, async || {
        let all = objects.list().await;
        let is_reported = |object: &&Value| {
            let ready = condition(object, "Ready");
            ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
        };
        let fitting = all.iter().filter(is_reported).count();
        if fitting == count && all.len() == count {
            return Ok(all);
        }
        let other = all.iter().find(|object| !is_reported(object));
        let other = other.map(|object| condition(object, "Ready").to_string());
        Err(format!("{fitting} of {} do, another says {other:?}", all.len()))
    })
    .await;
    let all = result.unwrap_or_else(|error| panic!("{error}\n{}", objects.log_tail()));
    for object in &all {
        let shown = message(object);
        for word in words(object) {
            assert!(shown.contains(&word), "{word:?} is not in {shown:?}");
        }
    }
    all
}

/// Waits until all gateways and users are Ready.
pub(super) async fn all_are_ready(world: &World) {
    wait_until_all_have(&world.gateway_objects(), GATEWAYS, "Available", |_| Vec::new()).await;
    wait_until_all_have(&world.users(), USERS, "Available", |_| Vec::new()).await;
}

/// The same words for each object.
pub(super) fn words<const N: usize>(words: [&str; N]) -> impl Fn(&Value) -> Vec<String> {
    let words = words.map(str::to_owned).to_vec();
    move |_| words.clone()
}

/// Runs `does` for every object of a kind.
pub(super) async fn each<F: Future<Output = ()>>(all: &[Value], does: impl Fn(String, Value) -> F) {
    let all = all
        .iter()
        .map(|object| (text(&object["metadata"]["name"]), object.clone()));
    stream::iter(all.collect::<Vec<_>>())
        .for_each_concurrent(AT_ONCE, |(name, object)| does(name, object))
        .await;
}

/// Merges the same patch into every object of a kind.
pub(super) async fn patch_all(objects: &Objects<'_>, patch: &Value) {
    let all = objects.list().await;
    each(&all, |name, _| async move { objects.patch(&name, patch.clone()).await }).await;
}

/// Follows the message: sets `externalID` to the id that it names.
pub(super) async fn set_external_id_from_message(objects: &Objects<'_>) {
    let all = objects.list().await;
    each(&all, |name, object| async move {
        let shown = message(&object);
        let (_, after) = shown
            .split_once("set spec.externalID to ")
            .expect("the message contains the id");
        let id: String = after.chars().take(36).collect();
        objects.patch(&name, json!({"spec": {"externalID": id}})).await;
    })
    .await;
}

/// Simulates the loss of the cluster: all objects of a kind are deleted without any cleanup. No operator may run.
pub(super) async fn lose(objects: &Objects<'_>) {
    let all = objects.list().await;
    each(&all, |name, _| async move {
        objects.patch(&name, json!({"metadata": {"finalizers": null}})).await;
        objects.api().delete(&name, &DeleteParams::default()).await.unwrap();
    })
    .await;
    none_are_left(objects).await;
}

/// Waits until the last object of a kind is deleted.
pub(super) async fn none_are_left(objects: &Objects<'_>) {
    let result = eventually("all are deleted", DEADLINE * 5, async || {
        let left = objects.list().await;
        if left.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} are left, one says {}",
            left.len(),
            condition(&left[0], "Ready")
        ))
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", objects.log_tail()));
}

/// Restores status from a backup, by name and prefix.
pub(super) async fn restore_status(objects: &Objects<'_>, backup: &[Value], prefix: &str) {
    each(backup, |name, object| async move {
        let name = format!("{prefix}{name}");
        let status = json!({"status": object["status"]});
        let (api, merge) = (objects.api(), Patch::Merge(&status));
        api.patch_status(&name, &PatchParams::default(), &merge).await.unwrap();
    })
    .await;
}

/// Removes the status of every object.
pub(super) async fn wipe_status(objects: &Objects<'_>) {
    let all = objects.list().await;
    each(&all, |name, _| async move {
        let wipe = serde_json::from_value(json!([{"op": "remove", "path": "/status"}])).expect("a patch");
        let (api, patch) = (objects.api(), Patch::<()>::Json(wipe));
        api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
    })
    .await;
}

/// Changes in the cloud that the disasters caused and no user requested.
#[derive(Default)]
pub(super) struct Tally {
    disasters: u64,
    posts: u64,
    deletes: u64,
    resets: u64,
}

impl Tally {
    /// Reports the figures of a group of disasters.
    pub(super) fn report(&self, group: &str) {
        let counted = [
            ("disasters", self.disasters),
            ("objects per disaster", (GATEWAYS + USERS) as u64),
            ("extra POSTs", self.posts),
            ("unrequested DELETEs", self.deletes),
            ("passwords reset", self.resets),
        ];
        for (what, count) in counted {
            figures::report("disasters", &[(&format!("{group}: {what}"), count)]);
        }
        assert_eq!((self.posts, self.deletes, self.resets), (0, 0, 0));
    }
}

/// The cloud before a disaster.
pub(super) struct Before {
    mark: u64,
    gateways: BTreeMap<String, Value>,
    users: BTreeMap<String, Value>,
}

impl Before {
    pub(super) async fn of(world: &World) -> Self {
        Self {
            mark: world.mark().await,
            gateways: gateways(world).await,
            users: users(world).await,
        }
    }

    /// Checks after the disaster that only these calls changed anything, and that nothing differs except owner tags and
    /// what `asked` contains.
    pub(super) async fn only(&self, world: &World, tally: &mut Tally, expected: BTreeMap<String, u64>, asked: Asked) {
        let calls = world.writes_since(self.mark).await;
        let (gateways, users) = (gateways(world).await, users(world).await);
        let count = |verb: &str| -> u64 {
            let of_verb = calls.iter().filter(|(name, _)| name.starts_with(verb));
            of_verb.map(|(_, count)| count).sum()
        };
        let resets = |users: &BTreeMap<String, Value>| -> u64 {
            users.values().filter_map(|user| user["password_resets"].as_u64()).sum()
        };
        tally.disasters += 1;
        tally.posts += count("Create").saturating_sub(asked.posts);
        tally.deletes += count("Delete").saturating_sub(asked.deletes);
        tally.resets += resets(&users).saturating_sub(resets(&self.users));
        assert_eq!(calls, expected);
        for (before, after) in [(&self.gateways, &gateways), (&self.users, &users)] {
            for (id, object) in before {
                assert_eq!(after.get(id), Some(object), "{id}");
            }
        }
        let more = gateways.len() + users.len() - self.gateways.len() - self.users.len();
        assert_eq!(more as u64, asked.posts - asked.deletes);
    }
}

/// Creations and deletions that users requested.
#[derive(Default)]
pub(super) struct Asked {
    pub posts: u64,
    pub deletes: u64,
}

/// By id, without what a change of the owner tag affects.
async fn gateways(world: &World) -> BTreeMap<String, Value> {
    let mut all = world.cloud_gateways().await;
    for gateway in &mut all {
        if let Some(tags) = gateway["tags"].as_object_mut() {
            tags.remove(OWNER);
        }
        forget(gateway, "updated_at");
    }
    by_id(all)
}

async fn users(world: &World) -> BTreeMap<String, Value> {
    by_id(world.cloud_users().await)
}

fn forget(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

fn by_id(all: Vec<Value>) -> BTreeMap<String, Value> {
    all.into_iter().map(|object| (text(&object["id"]), object)).collect()
}

/// The text of a JSON string.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

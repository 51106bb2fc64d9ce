//! The policies of docs/iam.md: the actions of each policy are enough for its purpose, each of them is needed, and
//! messages name a missing one.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vpn_cloud::Operation;
use vpn_operator_testbed::eventually;

use crate::operator::errors::NEVER;
use crate::operator::failures::add_tenant;
use crate::operator::users::steps;
use crate::operator::world::{DEADLINE, Options, World, condition, repository};

const READ_ONLY: &str = "Read only";
const LOOK_UP: &str = "Project lookup";
const FIRST_PASSWORD: &str = "Sentinel Pass-1";
const SECOND_PASSWORD: &str = "Sentinel Pass-2";
/// The number of lives at the same time.
const SIDE_BY_SIDE: usize = 6;

/// What a policy is for.
#[derive(Clone, Copy)]
enum Life {
    Gateway,
    User,
    Both,
    Observed,
    Retained,
}

const POLICIES: [(&str, Life); 5] = [
    ("All features", Life::Both),
    ("Gateways only", Life::Gateway),
    ("Users only", Life::User),
    ("Observe only", Life::Observed),
    ("No deletion", Life::Retained),
];

/// A tenant: the name of its Secret and objects, its access key, and its part of the addresses.
struct Tenant {
    name: String,
    access_key: String,
    octet: usize,
}

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/iam.md")).unwrap()
}

/// The actions of each policy of the page, by its heading.
fn policies() -> BTreeMap<String, BTreeSet<String>> {
    let page = page();
    let sections = page.split("\n### ").skip(1);
    let of_section = |section: &str| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let (_, block) = rest.split_once("```json\n").unwrap();
        let policy: Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
        let actions: Vec<String> = serde_json::from_value(policy["Statement"][0]["Action"].clone()).unwrap();
        let whole = json!({"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": actions}]});
        assert_eq!(policy, whole, "{heading}");
        let distinct: BTreeSet<String> = actions.iter().cloned().collect();
        assert_eq!(distinct.len(), actions.len(), "{heading}: an action stands there twice");
        (heading.to_owned(), distinct)
    };
    sections.map(of_section).collect()
}

/// The actions that the page's table grants.
fn documented_actions() -> BTreeSet<String> {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.map(str::to_owned).collect()
}

#[test]
fn the_documented_policies_contain_every_required_action() {
    let policies = policies();
    let named: Vec<&str> = POLICIES
        .iter()
        .map(|(name, _)| *name)
        .chain([READ_ONLY, LOOK_UP])
        .collect();
    let there: BTreeSet<&str> = policies.keys().map(String::as_str).collect();
    assert_eq!(there, named.into_iter().collect());
    let called = Operation::ALL
        .into_iter()
        .filter(|operation| !NEVER.contains(operation));
    let known: BTreeSet<String> = called.map(|operation| operation.iam_action().to_owned()).collect();
    let everything: BTreeSet<String> = policies["All features"].union(&policies[LOOK_UP]).cloned().collect();
    assert_eq!(everything, known);
    assert_eq!(documented_actions(), known, "the table");
    // Actions of a global service, which no policy of a project can grant.
    let (global, project): (BTreeSet<String>, BTreeSet<String>) =
        known.into_iter().partition(|action| action.starts_with("iam:"));
    assert_eq!(global, policies[LOOK_UP]);
    assert_eq!(project, policies["All features"]);
}

#[tokio::test]
async fn each_policy_allows_exactly_the_actions_that_are_used() {
    let mut world = start(&[]).await;
    let policies = policies();
    let mut tenants = Vec::new();
    for (number, (policy, life)) in POLICIES.into_iter().enumerate() {
        let tenant = tenant(&mut world, &format!("policy-{number}"), number).await;
        let allowed: BTreeSet<&String> = policies[policy].union(&policies[LOOK_UP]).collect();
        let permissions = json!({"allowed_actions": allowed});
        set_permissions(&world, &tenant, &permissions).await;
        tenants.push((tenant, policy, life));
    }
    let lives = tenants.iter().map(|(tenant, policy, chosen)| {
        let (world, policies) = (&world, &policies);
        async move {
            live(world, tenant, *chosen).await;
            let used = used(world, tenant).await;
            let allowed: BTreeSet<String> = policies[*policy].union(&policies[LOOK_UP]).cloned().collect();
            assert_eq!(used, allowed, "{policy}");
        }
    });
    stream::iter(lives)
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<Vec<()>>()
        .await;
    world.finish().await;
}

#[tokio::test]
async fn the_read_only_policy_suffices_for_read_only_mode() {
    let mut world = start(&["--read-only"]).await;
    let tenant = tenant(&mut world, "read-only", 0).await;
    let policies = policies();
    let allowed: BTreeSet<String> = policies[READ_ONLY].union(&policies[LOOK_UP]).cloned().collect();
    set_permissions(&world, &tenant, &json!({"allowed_actions": allowed})).await;
    let Tenant { name, octet, .. } = &tenant;
    let server = steps::server_id(octet - 1);
    let own = format!("credentialsRef: {{name: {name}}}");
    let by_hand = seed_gateway(&world, &tenant).await;
    world
        .apply_gateway(name, &format!("{{{own}, name: {name}, idValue: 203.0.113.{octet}}}"))
        .await;
    let adopted = format!("{{{own}, externalID: {by_hand}, idValue: 203.0.113.{octet}}}");
    world.apply_gateway("adopted", &adopted).await;
    set_password(&world, "password", FIRST_PASSWORD).await;
    let user = format!("{own}, vpnServerID: {server}, passwordSecretRef: {{name: password}}");
    world
        .apply_user(name, &format!("{{{user}, userGroupName: default}}"))
        .await;
    let theirs = steps::unmanaged_user(&world, &server, "theirs", json!({})).await;
    let id = theirs["id"].as_str().unwrap();
    world
        .apply_user("adopted", &format!("{{{user}, externalID: {id}}}"))
        .await;
    for kind in [world.gateway_objects(), world.users()] {
        for (name, shown) in [(name.as_str(), "would create"), ("adopted", "would adopt")] {
            let is_reported = |object: &Value| {
                let message = condition(object, "Ready")["message"].clone();
                message.as_str().is_some_and(|message| message.contains(shown))
            };
            kind.wait_for(name, shown, is_reported).await;
        }
    }
    assert_eq!(used(&world, &tenant).await, allowed);
    world.finish().await;
}

#[tokio::test]
async fn each_missing_action_is_named_and_granting_it_resumes_work() {
    let mut world = start(&[]).await;
    let mut tenants = Vec::new();
    for (number, action) in documented_actions().into_iter().enumerate() {
        let tenant = tenant(&mut world, &format!("lacks-{number}"), number).await;
        set_permissions(&world, &tenant, &json!({"denied_actions": [action]})).await;
        tenants.push((tenant, action));
    }
    let lives = tenants.iter().map(|(tenant, action)| {
        let world = &world;
        async move {
            tokio::select! {
                () = is_named(world, tenant, action) => {
                    set_permissions(world, tenant, &json!({})).await;
                    clean_up(world, tenant).await;
                }
                () = live(world, tenant, Life::Both) => panic!("no request fails without {action}"),
            }
        }
    });
    stream::iter(lives)
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<Vec<()>>()
        .await;
    world.finish().await;
}

async fn start(more: &[&str]) -> World {
    let flags = ["--resync-period=0", "--creation-confirmation-period=1s"]
        .iter()
        .chain(more);
    let arguments = flags.map(|flag| (*flag).to_owned()).collect();
    let mut world = World::with(Options {
        arguments,
        ..Options::default()
    })
    .await;
    for password in [FIRST_PASSWORD, SECOND_PASSWORD] {
        world.sentinels.add(password);
    }
    // So that the operator reads tags by separate requests.
    let switches = json!({"list-tags": "absent"});
    world.simulator.set_switches(&switches).await.unwrap();
    world
}

async fn tenant(world: &mut World, name: &str, number: usize) -> Tenant {
    let access_key = add_tenant(world, name, json!({})).await;
    steps::add_server(world, number).await;
    Tenant {
        name: name.to_owned(),
        access_key,
        octet: number + 1,
    }
}

async fn set_permissions(world: &World, tenant: &Tenant, permissions: &Value) {
    let path = format!("credentials/{}/permissions", tenant.access_key);
    world.simulator.put::<Value>(&path, permissions).await.unwrap();
}

/// The actions of the calls that a tenant's key has made.
async fn used(world: &World, tenant: &Tenant) -> BTreeSet<String> {
    let path = format!("log?access_key={}", tenant.access_key);
    let page: Value = world.simulator.get(&path).await.unwrap();
    let called: BTreeSet<&str> = page["requests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|request| request["operation"].as_str())
        .collect();
    let is_meant = |it: &Operation| called.contains(it.name()) && !NEVER.contains(it);
    let operations = Operation::ALL.into_iter().filter(is_meant);
    operations.map(|it| it.iam_action().to_owned()).collect()
}

async fn live(world: &World, tenant: &Tenant, life: Life) {
    match life {
        Life::Gateway => gateway_lives(world, tenant, "Delete").await,
        Life::User => user_lives(world, tenant, "Delete").await,
        Life::Both => both_live(world, tenant, "Delete").await,
        Life::Retained => both_live(world, tenant, "Retain").await,
        Life::Observed => both_are_observed(world, tenant).await,
    }
}

async fn both_live(world: &World, tenant: &Tenant, deletion_policy: &str) {
    gateway_lives(world, tenant, deletion_policy).await;
    user_lives(world, tenant, deletion_policy).await;
}

async fn gateway_lives(world: &World, tenant: &Tenant, deletion_policy: &str) {
    let Tenant { name, octet, .. } = tenant;
    // It equals the gateway to be created, and only its tags show that it is unmanaged.
    seed_gateway(world, tenant).await;
    let spec = format!(
        "{{name: {name}, idValue: 203.0.113.{octet}, tags: {{site: oslo, team: net}}, \
         deletionPolicy: {deletion_policy}, credentialsRef: {{name: {name}}}}}"
    );
    world.apply_gateway(name, &spec).await;
    world.wait_for_reason(name, "Available").await;
    let edit = json!({"spec": {"name": format!("{name}-2"), "tags": {"site": "paris", "team": null}}});
    world.patch(name, edit).await;
    world.wait_for_reason(name, "Available").await;
    world.gateway_objects().delete(name).await;
    world.wait_until_deleted(name).await;
}

async fn user_lives(world: &World, tenant: &Tenant, deletion_policy: &str) {
    let Tenant { name, octet, .. } = tenant;
    let users = world.users();
    let password = format!("{name}-password");
    set_password(world, &password, FIRST_PASSWORD).await;
    let spec = format!(
        "{{vpnServerID: {}, passwordSecretRef: {{name: {password}}}, userGroupName: default, \
         deletionPolicy: {deletion_policy}, credentialsRef: {{name: {name}}}}}",
        steps::server_id(octet - 1)
    );
    world.apply_user(name, &spec).await;
    users.wait_for_reason(name, "Available").await;
    let edit = json!({"spec": {"description": "net", "userGroupName": null, "userGroupID": "None"}});
    users.patch(name, edit).await;
    users.wait_for_reason(name, "Available").await;
    set_password(world, &password, SECOND_PASSWORD).await;
    users.wait_for_event(name, "PasswordSet").await;
    let edit = json!({"spec": {"userGroupID": null, "userGroupName": "default"}});
    users.patch(name, edit).await;
    users.wait_for_reason(name, "Available").await;
    users.delete(name).await;
    users.wait_until_deleted(name).await;
}

async fn both_are_observed(world: &World, tenant: &Tenant) {
    let Tenant { name, octet, .. } = tenant;
    let gateway = seed_gateway(world, tenant).await;
    let observed = format!("managementPolicy: Observe, credentialsRef: {{name: {name}}}");
    let spec = format!("{{{observed}, externalID: {gateway}, idValue: 203.0.113.{octet}, tags: {{by: hand}}}}");
    world.apply_gateway(name, &spec).await;
    let server = steps::server_id(octet - 1);
    let user = steps::unmanaged_user(world, &server, name, json!({})).await;
    let id = user["id"].as_str().unwrap();
    let spec = format!("{{{observed}, vpnServerID: {server}, externalID: {id}, userGroupName: default}}");
    world.apply_user(name, &spec).await;
    world.wait_for_reason(name, "Available").await;
    world.users().wait_for_reason(name, "Available").await;
    // Deleted in the cloud: an object that a list lacks is read by its id.
    world.simulator.remove_gateway(&gateway).await.unwrap();
    world.simulator.remove_user(id).await.unwrap();
    let now = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "now"}}});
    world.patch(name, now.clone()).await;
    world.users().patch(name, now).await;
    world.wait_for_reason(name, "NotFound").await;
    world.users().wait_for_reason(name, "NotFound").await;
}

async fn seed_gateway(world: &World, tenant: &Tenant) -> String {
    let id_value = format!("203.0.113.{}", tenant.octet);
    let gateway = json!({"name": tenant.name, "id_value": id_value, "tags": {"by": "hand"}});
    let seeded: Vec<Value> = world.simulator.seed_gateways(&gateway).await.unwrap();
    seeded[0]["id"].as_str().unwrap().to_owned()
}

async fn set_password(world: &World, name: &str, password: &str) {
    world
        .apply_secret(name, &BTreeMap::from([("password", password)]))
        .await;
}

/// Waits until an object of the tenant is `Forbidden` and its message names the action.
async fn is_named(world: &World, tenant: &Tenant, action: &str) {
    let objects = [world.gateway_objects(), world.users()];
    let awaited = format!("{action} is named");
    let named = eventually(&awaited, DEADLINE * 4, async || {
        let mut shown = Vec::new();
        for kind in &objects {
            let ready = condition(&kind.get_or_null(&tenant.name).await, "Ready");
            let message = ready["message"].as_str().unwrap_or_default();
            if ready["reason"] == "Forbidden" && message.contains(action) {
                return Ok(());
            }
            shown.push(ready.to_string());
        }
        Err(shown.join("\n"))
    });
    named.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Deletes both objects, wherever life was interrupted. This works now that no permission is missing.
async fn clean_up(world: &World, tenant: &Tenant) {
    let now = json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": "granted"}}});
    for kind in [world.gateway_objects(), world.users()] {
        let object = kind.get_or_null(&tenant.name).await;
        if object.is_null() {
            continue;
        }
        kind.patch(&tenant.name, now.clone()).await;
        if object["metadata"]["deletionTimestamp"].is_null() {
            kind.wait_for_reason(&tenant.name, "Available").await;
            kind.delete(&tenant.name).await;
        }
        kind.wait_until_deleted(&tenant.name).await;
    }
}

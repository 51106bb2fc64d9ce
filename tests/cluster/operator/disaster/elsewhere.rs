//! The operator sees a false state of the cloud: another project, lists that lack half, objects missing for long.

use serde_json::{Value, json};

use super::estate::{
    Asked, Before, GATEWAYS, Tally, USERS, all_are_ready, found, patch_all, text, wait_until_all_have, words,
};
use crate::operator::console::{counts, message};
use crate::operator::world::{PROJECT, REGION, World, alone, condition};
use vpn_operator_testbed::eventually;

/// How many objects of each kind are missing in these disasters.
const HALF_OF_THE_GATEWAYS: usize = GATEWAYS / 2;
const HALF_OF_THE_USERS: usize = USERS / 2;
/// The lists of the two collections.
const LISTS: [&str; 2] = ["ListCustomerGateways", "ListVpnUsers"];

/// Half of what the cloud has, with what is needed to restore it.
struct Half {
    gateways: Vec<Value>,
    users: Vec<Value>,
}

impl Half {
    async fn of(world: &World) -> Self {
        let gateways = world.cloud_gateways().await.into_iter().take(HALF_OF_THE_GATEWAYS);
        let users = world.cloud_users().await.into_iter().take(HALF_OF_THE_USERS);
        Self {
            gateways: gateways.map(|gateway| only(&gateway, &GATEWAY_FIELDS)).collect(),
            users: users.map(|user| only(&user, &USER_FIELDS)).collect(),
        }
    }

    async fn take_away(&self, world: &World) {
        for gateway in &self.gateways {
            world.simulator.remove_gateway(&text(&gateway["id"])).await.unwrap();
        }
        for user in &self.users {
            world.simulator.remove_user(&text(&user["id"])).await.unwrap();
        }
    }

    async fn restore(&self, world: &World) {
        world.simulator.seed_gateways::<Value>(&self.gateways).await.unwrap();
        world.simulator.seed_users::<Value>(&self.users).await.unwrap();
    }
}

const GATEWAY_FIELDS: [&str; 7] = ["id", "name", "id_type", "id_value", "bgp_asn", "tags", "created_at"];
const USER_FIELDS: [&str; 7] = [
    "server_id",
    "id",
    "name",
    "description",
    "user_group_id",
    "static_ip",
    "created_at",
];

/// These fields of an object, as far as it has them.
fn only(object: &Value, fields: &[&str]) -> Value {
    let kept = fields.iter().filter(|field| !object[**field].is_null());
    kept.map(|field| ((*field).to_owned(), object[*field].clone()))
        .collect()
}

async fn hold(world: &World, commit: bool) {
    for operation in LISTS {
        let hold = json!({"fault": "hold", "operation": operation, "commit": commit});
        world.simulator.add_fault(&hold).await.unwrap();
    }
}

async fn release(world: &World) {
    world.simulator.release(&json!({})).await.unwrap();
}

/// Waits until this number of objects of both kinds are suspected to be missing; returns their messages.
async fn suspected(world: &World, count: usize) -> Vec<String> {
    let result = eventually(
        &format!("{count} are suspected"),
        crate::operator::world::DEADLINE * 5,
        async || {
            let all = [world.list().await, world.users().list().await].concat();
            let is_reported = |object: &&Value| condition(object, "Ready")["reason"] == "MassDeletionSuspected";
            let shown: Vec<String> = all.iter().filter(is_reported).map(message).collect();
            if shown.len() == count {
                Ok(shown)
            } else {
                Err(format!("{} are", shown.len()))
            }
        },
    )
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()))
}

#[tokio::test]
async fn resources_out_of_view_are_neither_recreated_nor_released() {
    let _alone = alone().await;
    let mut world = found().await;
    let mut tally = Tally::default();

    // The credentials lead to another project, and back.
    let before = Before::of(&world).await;
    let elsewhere = "f".repeat(32);
    let project = json!({"name": format!("{REGION}_b")});
    let page = format!("projects/{elsewhere}");
    world.simulator.put::<Value>(&page, &project).await.unwrap();
    world.set_argument(&format!("--project-id={elsewhere}"));
    world.restart_operator().await;
    let way_out = words([elsewhere.as_str(), PROJECT, "restore credentials for the old project"]);
    wait_until_all_have(&world.gateway_objects(), GATEWAYS, "ScopeChanged", &way_out).await;
    wait_until_all_have(&world.users(), USERS, "ScopeChanged", &way_out).await;
    // An edit does not change that.
    patch_all(&world.users(), &json!({"spec": {"adoptionPolicy": "IfExists"}})).await;
    wait_until_all_have(&world.users(), USERS, "ScopeChanged", &way_out).await;
    world.set_argument(&format!("--project-id={PROJECT}"));
    world.restart_operator().await;
    all_are_ready(&world).await;
    before.only(&world, &mut tally, counts([]), Asked::default()).await;

    // Half of everything is missing from one answer of each list, but any other request finds it.
    let before = Before::of(&world).await;
    let half = Half::of(&world).await;
    hold(&world, true).await;
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    hold(&world, true).await;
    half.take_away(&world).await;
    release(&world).await;
    // The answers that are held now were made without that half.
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    half.restore(&world).await;
    release(&world).await;
    for list in LISTS {
        world.wait_for_calls(list, 2).await;
    }
    all_are_ready(&world).await;
    before.only(&world, &mut tally, counts([]), Asked::default()).await;

    // Half of everything is missing for long, including a restart.
    let before = Before::of(&world).await;
    let half = Half::of(&world).await;
    hold(&world, false).await;
    world.simulator.wait_for_held::<Value>(2).await.unwrap();
    half.take_away(&world).await;
    release(&world).await;
    let missing = HALF_OF_THE_GATEWAYS + HALF_OF_THE_USERS;
    for _ in 0..2 {
        for shown in suspected(&world, missing).await {
            assert!(shown.contains("vpn.huaweicloud.com/recreate-approved-at"), "{shown}");
            assert!(
                shown.contains("automatic recreation is suspended: check the project"),
                "{shown}"
            );
        }
        world.restart_operator().await;
        for list in LISTS {
            world.wait_for_calls(list, 2).await;
        }
    }
    suspected(&world, missing).await;
    half.restore(&world).await;
    all_are_ready(&world).await;
    before.only(&world, &mut tally, counts([]), Asked::default()).await;
    tally.report("resources out of view");
    world.finish().await;
}

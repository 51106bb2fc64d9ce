//! Quota that a deletion in the cloud frees, and which waiting objects it requeues.

use serde_json::json;

use crate::shell_tests::address;
use crate::shell_tests::world::{ShellWorld, gateway};

/// Whether `Ready` of a gateway has this reason.
fn has_reason(world: &ShellWorld, name: &str, reason: &str) -> bool {
    world.ready(&gateway(name)).0 == reason
}

#[tokio::test]
async fn freed_quota_requeues_the_same_number_of_waiting_objects() {
    let mut world = ShellWorld::new(&[]).await;
    let project = format!("projects/{}", vpn_simulator::tryout::PROJECT_ID);
    let quota = json!({"name": vpn_simulator::tryout::REGION, "gateway_quota": 5});
    world.simulator(reqwest::Method::PUT, &project, quota).await;
    for number in 0..30 {
        world.put_gateway(&format!("gw-{number}"), address(number));
    }
    world.start();
    let of_reason = |world: &ShellWorld, reason: &str| {
        let names = (0..30).map(|number| gateway(&format!("gw-{number}")));
        names.filter(|path| world.ready(path).0 == reason).collect::<Vec<_>>()
    };
    world
        .until("five have a place and the others wait", |world| {
            of_reason(world, "Available").len() == 5 && of_reason(world, "QuotaExceeded").len() == 25
        })
        .await;
    let before = world.calls("CreateCustomerGateway").await;
    for (deleted, path) in of_reason(&world, "Available").into_iter().take(2).enumerate() {
        world.apiserver.delete(&path);
        world
            .until("another has its place", |world| {
                world.apiserver.get(&path).is_null()
                    && of_reason(world, "Available").len() == 5
                    && of_reason(world, "QuotaExceeded").len() == 24 - deleted
            })
            .await;
    }
    assert_eq!(world.calls("CreateCustomerGateway").await, before + 2);
    world.stop().await;
}

#[tokio::test]
async fn freed_quota_is_offered_only_within_credentials_and_project() {
    use vpn_simulator::tryout::{ACCESS_KEY, PROJECT_ID, REGION, SECRET_KEY};
    const ELSEWHERE: &str = "fedcba9876543210fedcba9876543210";
    let mut world = ShellWorld::new(&[]).await;
    for (project, name, quota) in [(PROJECT_ID, REGION, 1), (ELSEWHERE, "elsewhere", 0)] {
        let quota = json!({"name": name, "gateway_quota": quota});
        let path = format!("projects/{project}");
        world.simulator(reqwest::Method::PUT, &path, quota).await;
    }
    let keys = [
        ("accessKey", ACCESS_KEY),
        ("secretKey", SECRET_KEY),
        ("projectID", ELSEWHERE),
    ];
    world.put_secret("elsewhere", &keys);
    let mut elsewhere = address(0);
    elsewhere["credentialsRef"] = json!({"name": "elsewhere"});
    world.put_gateway("elsewhere", elsewhere);
    world.put_gateway("first", address(1));
    world.start();
    world
        .until("the place is taken, and there is none elsewhere", |world| {
            has_reason(world, "first", "Available") && has_reason(world, "elsewhere", "QuotaExceeded")
        })
        .await;
    world.put_gateway("second", address(2));
    world
        .until("the second waits", |world| has_reason(world, "second", "QuotaExceeded"))
        .await;
    world.apiserver.delete(&gateway("first"));
    world
        .until("the second has the place", |world| {
            has_reason(world, "second", "Available")
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn only_a_deletion_in_the_cloud_frees_quota() {
    let mut world = ShellWorld::new(&[]).await;
    let project = format!("projects/{}", vpn_simulator::tryout::PROJECT_ID);
    let quota = json!({"name": vpn_simulator::tryout::REGION, "gateway_quota": 2});
    world.simulator(reqwest::Method::PUT, &project, quota).await;
    let mut retained = address(0);
    retained["deletionPolicy"] = json!("Retain");
    world.put_gateway("retained", retained);
    world.put_gateway("deleted", address(1));
    world.start();
    world
        .until("both places are taken", |world| {
            ["retained", "deleted"]
                .iter()
                .all(|name| has_reason(world, name, "Available"))
        })
        .await;
    let waiting = ["waits-1", "waits-2", "waits-3"];
    for (number, name) in waiting.iter().enumerate() {
        world.put_gateway(name, address(10 + number));
    }
    world
        .until("the others wait", |world| {
            waiting.iter().all(|name| has_reason(world, name, "QuotaExceeded"))
        })
        .await;
    let before = world.calls("CreateCustomerGateway").await;
    for name in ["waits-3", "retained", "deleted"] {
        world.apiserver.delete(&gateway(name));
        world
            .until("it is deleted", |world| world.apiserver.get(&gateway(name)).is_null())
            .await;
    }
    world
        .until("another has its place", |world| {
            waiting.iter().any(|name| has_reason(world, name, "Available"))
        })
        .await;
    assert_eq!(world.calls("CreateCustomerGateway").await, before + 1);
    world.stop().await;
}

//! A kind that refers to an object of another kind, and whose resource is in progress for a while.

use reqwest::Method;
use serde_json::{Value, json};

use crate::shell_tests::address;
use crate::shell_tests::link::{Links, PEER, STATE};
use crate::shell_tests::world::{DEADLINE, ShellWorld, gateway, link};
use crate::wiring::{KINDS, WiredKind};

async fn world() -> ShellWorld {
    let mut world = ShellWorld::new(&[]).await;
    world.kinds = KINDS.into_iter().chain([WiredKind::of::<Links>()]).collect();
    world
}

/// Starts the operator with a link whose resource was created, and that the cloud still works on. Returns its path.
async fn created_in(mut world: ShellWorld) -> (ShellWorld, String) {
    world.put_gateway("office", address(0));
    put_link(&world, "tunnel", 1, "office");
    world.start();
    let tunnel = link("tunnel");
    world
        .until("the cloud works on it", |world| {
            has_reason(world, &tunnel, "Creating") && !status(world, &tunnel)["id"].is_null()
        })
        .await;
    (world, tunnel)
}

fn put_link(world: &ShellWorld, name: &str, number: usize, refers_to: &str) {
    let mut spec = address(number);
    spec["gatewayRef"] = json!({"name": refers_to});
    world.put_link(name, spec);
}

fn status(world: &ShellWorld, path: &str) -> Value {
    world.apiserver.get(path)["status"].clone()
}

/// Whether `Ready` has this reason.
fn has_reason(world: &ShellWorld, path: &str, reason: &str) -> bool {
    world.ready(path).0 == reason
}

fn message(world: &ShellWorld, path: &str) -> String {
    let conditions = status(world, path)["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    ready.map_or(String::new(), |ready| {
        ready["message"].as_str().unwrap_or_default().to_owned()
    })
}

fn name_gateway(world: &ShellWorld, path: &str, gateway: &str) {
    world.apiserver.change(path, |object| {
        object["spec"]["gatewayRef"]["name"] = json!(gateway);
        object["metadata"]["generation"] = json!(2);
    });
}

fn request_reconcile(world: &ShellWorld, path: &str) {
    world.apiserver.change(path, |object| {
        object["metadata"]["annotations"]["vpn.huaweicloud.com/reconcile-requested-at"] =
            json!(uuid::Uuid::new_v4().to_string());
    });
}

/// Sets the state of a link in the cloud.
async fn set_state(world: &ShellWorld, path: &str, state: &str) {
    set_tag(world, path, STATE, state).await;
}

fn id(world: &ShellWorld, path: &str) -> String {
    status(world, path)["id"].as_str().unwrap().to_owned()
}

/// The tags of a link in the cloud.
async fn tags(world: &ShellWorld, path: &str) -> Value {
    let path = format!("gateways/{}", id(world, path));
    world.simulator(Method::GET, &path, json!({})).await["tags"].clone()
}

async fn set_tag(world: &ShellWorld, path: &str, tag: &str, value: &str) {
    let mut tags = tags(world, path).await;
    tags[tag] = json!(value);
    let path = format!("gateways/{}", id(world, path));
    world.simulator(Method::PATCH, &path, json!({"tags": tags})).await;
}

async fn peer(world: &ShellWorld, path: &str) -> String {
    tags(world, path).await[PEER].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_waits_for_its_gateway_and_is_created_with_the_gateways_id() {
    let mut world = world().await;
    put_link(&world, "tunnel", 1, "office");
    world.start();
    let tunnel = link("tunnel");
    world
        .until("it misses the gateway", |world| {
            has_reason(world, &tunnel, "DependencyNotReady")
        })
        .await;
    let missing = message(&world, &tunnel);
    assert!(
        missing.starts_with("spec.gatewayRef: there is no CustomerGateway office"),
        "{missing}"
    );
    assert_eq!(world.calls("CreateCustomerGateway").await, 0);
    // The creation of the gateway is held: the object exists, and its resource does not.
    world.hold_cloud("CreateCustomerGateway", 1).await;
    world.put_gateway("office", address(0));
    world.cloud_holds(1).await;
    world
        .until("it sees that the gateway is not ready", |world| {
            message(world, &tunnel).starts_with("spec.gatewayRef: the CustomerGateway office is not Ready")
        })
        .await;
    world.release_cloud(false).await;
    world
        .until("it is created", |world| !status(world, &tunnel)["id"].is_null())
        .await;
    let office = id(&world, &gateway("office"));
    assert_eq!(peer(&world, &tunnel).await, office);
    assert_eq!(world.calls("CreateCustomerGateway").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn a_link_in_progress_is_not_changed_and_shares_lists_until_it_is_ready() {
    const LINKS: usize = 12;
    let mut world = world().await;
    world.put_gateway("office", address(0));
    for number in 0..LINKS {
        put_link(&world, &format!("tunnel-{number}"), 1 + number, "office");
    }
    world.start();
    let tunnels: Vec<_> = (0..LINKS).map(|number| link(&format!("tunnel-{number}"))).collect();
    world
        .until("the cloud works on them", |world| {
            tunnels.iter().all(|tunnel| {
                has_reason(world, tunnel, "Creating")
                    && message(world, tunnel).starts_with("the cloud is still working on the link")
            })
        })
        .await;
    let writes = world.writes().await;
    let (lists, gets) = (
        world.calls("ListCustomerGateways").await,
        world.calls("GetCustomerGateway").await,
    );
    // A difference, which must not be corrected yet.
    set_tag(&world, &tunnels[0], PEER, "another").await;
    // At a common time a few read alone, until a list pays for all others.
    world.until_called("ListCustomerGateways", lists + 3).await;
    let rounds = world.calls("ListCustomerGateways").await - lists;
    let reads = world.calls("GetCustomerGateway").await - gets;
    assert!(
        reads <= rounds * 5,
        "{reads} GETs beside {rounds} lists for {LINKS} links"
    );
    assert_eq!(
        world.writes().await,
        writes,
        "nothing is written while it is in progress"
    );
    for tunnel in &tunnels {
        assert!(!world.ready(tunnel).1);
        set_state(&world, tunnel, "active").await;
    }
    world
        .until("all are Ready", |world| {
            tunnels.iter().all(|tunnel| world.ready(tunnel).1)
        })
        .await;
    assert_eq!(peer(&world, &tunnels[0]).await, id(&world, &gateway("office")));
    world.stop().await;
}

/// Waits until the link refers to that gateway in the cloud.
async fn until_peer(world: &ShellWorld, path: &str, gateway: &str) {
    let refers = async {
        while peer(world, path).await != gateway {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, refers).await;
    assert!(in_time.is_ok(), "{}", world.apiserver.summary());
}

#[tokio::test]
async fn a_ready_link_outlives_the_deletion_of_its_gateway_and_follows_the_next_one() {
    let (world, tunnel) = created_in(world().await).await;
    set_state(&world, &tunnel, "active").await;
    world.until("it is Ready", |world| world.ready(&tunnel).1).await;
    let first = id(&world, &gateway("office"));
    let created = id(&world, &tunnel);

    // A deletion that is paused: the link keeps the recorded ID.
    world.apiserver.change(&gateway("office"), |office| {
        office["metadata"]["annotations"]["vpn.huaweicloud.com/paused"] = json!("true");
    });
    world.apiserver.delete(&gateway("office"));
    // The first may have begun before the deletion.
    for _ in 0..2 {
        let before = world.reconciles("Link");
        request_reconcile(&world, &tunnel);
        world
            .until("it is reconciled", |world| world.reconciles("Link") > before)
            .await;
    }
    assert!(world.ready(&tunnel).1, "{}", message(&world, &tunnel));
    assert!(!world.apiserver.get(&gateway("office")).is_null());
    world.apiserver.change(&gateway("office"), |office| {
        office["metadata"]["annotations"] = json!({});
    });
    world
        .until("the gateway is missing", |world| {
            has_reason(world, &tunnel, "DependencyNotReady")
        })
        .await;

    world.put_gateway("office", address(0));
    world
        .until("it follows the new one", |world| {
            world.ready(&tunnel).1 && status(world, &tunnel)["gateway"]["id"] != json!(first)
        })
        .await;
    assert_eq!(id(&world, &tunnel), created, "it is changed, not recreated");
    assert_eq!(peer(&world, &tunnel).await, id(&world, &gateway("office")));

    // Its own deletion needs no gateway.
    world.apiserver.delete(&gateway("office"));
    world
        .until("the gateway is deleted", |world| {
            world.apiserver.get(&gateway("office")).is_null()
        })
        .await;
    world.apiserver.delete(&tunnel);
    world
        .until("it is deleted", |world| world.apiserver.get(&tunnel).is_null())
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_degraded_link_is_ready_and_reports_why_and_a_failed_one_is_not() {
    let (world, tunnel) = created_in(world().await).await;
    set_state(&world, &tunnel, "degraded").await;
    world.until("it is Ready", |world| world.ready(&tunnel).1).await;
    let text = message(&world, &tunnel);
    assert!(text.ends_with("degraded: one of two addresses answers"), "{text}");
    set_state(&world, &tunnel, "failed").await;
    request_reconcile(&world, &tunnel);
    world
        .until("its failure is reported", |world| {
            has_reason(world, &tunnel, "CloudError")
        })
        .await;
    let text = message(&world, &tunnel);
    assert!(text.ends_with("has failed: no address is left"), "{text}");
    // A drift check or a request finds that it has recovered.
    set_state(&world, &tunnel, "active").await;
    request_reconcile(&world, &tunnel);
    world.until("it is Ready again", |world| world.ready(&tunnel).1).await;
    world.stop().await;
}

#[tokio::test]
async fn a_link_in_another_project_than_its_gateway_is_an_invalid_spec() {
    use vpn_simulator::tryout::{ACCESS_KEY, SECRET_KEY};
    const ELSEWHERE: &str = "fedcba9876543210fedcba9876543210";
    let mut world = world().await;
    let project = json!({"name": "elsewhere"});
    world
        .simulator(Method::PUT, &format!("projects/{ELSEWHERE}"), project)
        .await;
    let keys = [
        ("accessKey", ACCESS_KEY),
        ("secretKey", SECRET_KEY),
        ("projectID", ELSEWHERE),
    ];
    world.put_secret("elsewhere", &keys);
    world.put_gateway("office", address(0));
    let mut spec = address(1);
    spec["gatewayRef"] = json!({"name": "office"});
    spec["credentialsRef"] = json!({"name": "elsewhere"});
    world.put_link("tunnel", spec);
    world.start();
    let tunnel = link("tunnel");
    world
        .until("it is refused", |world| has_reason(world, &tunnel, "InvalidSpec"))
        .await;
    let text = message(&world, &tunnel);
    assert!(
        text.contains(ELSEWHERE) && text.contains("both must be in one project"),
        "{text}"
    );
    assert_eq!(world.calls("CreateCustomerGateway").await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_ready_link_that_names_another_gateway_waits_for_that_one() {
    let (world, tunnel) = created_in(world().await).await;
    set_state(&world, &tunnel, "active").await;
    world.until("it is Ready", |world| world.ready(&tunnel).1).await;

    world.hold_cloud("CreateCustomerGateway", 1).await;
    world.put_gateway("branch", address(2));
    world.cloud_holds(1).await;
    name_gateway(&world, &tunnel, "branch");
    world
        .until("it waits", |world| has_reason(world, &tunnel, "DependencyNotReady"))
        .await;
    assert_eq!(peer(&world, &tunnel).await, id(&world, &gateway("office")));
    world.release_cloud(false).await;
    world.until("it is Ready again", |world| world.ready(&tunnel).1).await;
    assert_eq!(peer(&world, &tunnel).await, id(&world, &gateway("branch")));
    world.stop().await;
}

#[tokio::test]
async fn a_failed_link_is_still_corrected_and_one_in_progress_is_deleted_later() {
    let world = world().await;
    world.put_gateway("branch", address(2));
    let (world, tunnel) = created_in(world).await;
    set_state(&world, &tunnel, "failed").await;
    world
        .until("its failure is reported", |world| {
            has_reason(world, &tunnel, "CloudError")
        })
        .await;
    world
        .until("the other gateway is Ready", |world| world.ready(&gateway("branch")).1)
        .await;
    name_gateway(&world, &tunnel, "branch");
    until_peer(&world, &tunnel, &id(&world, &gateway("branch"))).await;

    set_state(&world, &tunnel, "in progress").await;
    world.apiserver.delete(&tunnel);
    world
        .until("its deletion waits", |world| {
            message(world, &tunnel).ends_with("it is deleted, or released, after that")
        })
        .await;
    assert_eq!(world.calls("DeleteCustomerGateway").await, 0);
    set_state(&world, &tunnel, "active").await;
    world
        .until("it is deleted", |world| world.apiserver.get(&tunnel).is_null())
        .await;
    world.stop().await;
}

//! A follower becomes the leader: what the former leader recorded last is known before anything is reconciled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use reqwest::Method as CloudMethod;
use serde_json::json;

use crate::leader::LeaderHandle;
use crate::shell_tests::world::{ShellWorld, user};

/// Counts the lists and the watches of users from now on.
fn count_of_users(world: &ShellWorld) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let counts = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (lists, watches) = (Arc::clone(&counts.0), Arc::clone(&counts.1));
    world.apiserver.fail(move |asked| {
        if asked.method == Method::GET && asked.path.ends_with("/vpnusers") {
            let count = if asked.watch { &watches } else { &lists };
            count.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    counts
}

#[tokio::test]
async fn a_new_leader_lists_again_and_sees_the_former_leaders_last_intent() {
    let mut world = ShellWorld::new(&[]).await;
    let (leader, elect) = LeaderHandle::standing_by();
    world.leader = leader;
    let (lists, watches) = count_of_users(&world);
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    let password = json!({"name": "login"});
    let thief = json!({"name": "dave", "adoptionPolicy": "IfExists", "passwordSecretRef": password});
    world.put_user("thief", thief);
    world.start();
    world
        .until("the follower watches", |_| watches.load(Ordering::SeqCst) == 1)
        .await;
    world.apiserver.silence_watches();

    // The former leader recorded this, created the user, and its node died before it could record the id.
    world.put_user("dave", json!({"passwordSecretRef": password}));
    world.apiserver.change(&user("dave"), |dave| {
        let in_an_hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let seconds = |time: jiff::Timestamp| time.strftime("%FT%TZ").to_string();
        dave["status"] = json!({
            "intent": {"token": "t", "name": "dave", "recordedAt": seconds(jiff::Timestamp::now()),
                "deadline": seconds(in_an_hour)},
            "scope": {"endpoint": "https://another.name", "projectID": vpn_simulator::tryout::PROJECT_ID},
            "vpnServerID": vpn_simulator::tryout::VPN_SERVER_ID,
        });
    });
    let made = json!([{"name": "dave", "password": "Sentinel First-1"}]);
    world.simulator(CloudMethod::POST, "vpn-users", made).await;

    elect.now();
    world
        .until("the other object reports the name conflict", |world| {
            world.ready(&user("thief")).0 == "NameConflict"
        })
        .await;
    assert!(world.apiserver.get(&user("thief"))["status"]["id"].is_null());
    assert_eq!(world.calls("ResetVpnUserPassword").await, 0);
    assert_eq!(lists.load(Ordering::SeqCst), 2, "one as a follower, one as the leader");
    world.stop().await;
}

#[tokio::test]
async fn a_leader_from_the_start_lists_once() {
    let mut world = ShellWorld::new(&[]).await;
    let (lists, _) = count_of_users(&world);
    world.put_secret("login", &[("password", "Sentinel First-1")]);
    world.put_user("dave", json!({"passwordSecretRef": {"name": "login"}}));
    world.start();
    world.until("dave is Ready", |world| world.ready(&user("dave")).1).await;
    assert_eq!(lists.load(Ordering::SeqCst), 1);
    world.stop().await;
}

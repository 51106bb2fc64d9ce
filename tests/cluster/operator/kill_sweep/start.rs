//! The first start of an operator, killed at what it writes for itself: the key of the digests of passwords.

use vpn_operator_testbed::{ApiProxy, ApiRequest, Moment, eventually, figures};

use super::story::FIRST_PASSWORD;
use crate::operator::world::{DEADLINE, Options, World};

/// For the operator itself, that is: there are no objects yet.
fn is_own_write(request: &ApiRequest) -> bool {
    request.is_write() && !request.is_lease()
}

async fn stopped_world() -> (World, ApiProxy) {
    let mut options = Options::with(["--resync-period=0", "--leader-elect=false"]);
    options.stopped = true;
    let mut world = World::with(options).await;
    let proxy = world.proxy();
    proxy.kubeconfig().clone_into(&mut world.kubeconfig);
    (world, proxy)
}

#[tokio::test]
async fn the_first_start_survives_a_kill_at_each_write() {
    let (mut world, proxy) = stopped_world().await;
    world.start_operator().await;
    let made = eventually("the key is created", DEADLINE, async || {
        let written: Vec<ApiRequest> = proxy.requests_since(0).into_iter().filter(is_own_write).collect();
        if written.is_empty() {
            Err("no write")
        } else {
            Ok(written)
        }
    });
    let boundaries = made.await.unwrap().len();
    world.finish().await;

    let (mut kills, mut resets) = (0, 0);
    for nth in 0..boundaries {
        for moment in [Moment::Before, Moment::After] {
            let (mut world, proxy) = stopped_world().await;
            let hold = proxy.hold(moment, nth, is_own_write);
            world.start_operator().await;
            hold.reached(DEADLINE).await.unwrap();
            world.kill_operator();
            kills += 1;
            drop(hold);
            world.start_operator().await;
            // What it remembers of a password must not change with the next process.
            world.apply_password("alice", FIRST_PASSWORD).await;
            world.apply_user("alice", "{passwordSecretRef: {name: alice}}").await;
            let before = world.users().wait_for_reason("alice", "Available").await;
            world.restart_operator().await;
            world
                .wait_for_metric("vpn_operator_objects{kind=\"VpnUser\",reason=\"Available\"} 1")
                .await;
            let mark = world.mark().await;
            world.users().patch("alice", super::cell::request("again")).await;
            eventually("alice is read", DEADLINE, async || {
                let calls = world.calls_since(mark).await;
                if calls.contains_key("GetVpnUser") {
                    Ok(())
                } else {
                    Err(format!("{calls:?}"))
                }
            })
            .await
            .unwrap();
            let after = world.users().get("alice").await;
            assert_eq!(after["status"], before["status"]);
            let users = world.cloud_users().await;
            assert_eq!(users.len(), 1);
            resets += users[0]["password_resets"].as_u64().unwrap();
            world.finish().await;
        }
    }
    figures::report(
        "kill sweep",
        &[
            ("boundaries tested, first start", boundaries as u64 * 2),
            ("operators killed, first start", kills),
            ("passwords set twice, first start", resets),
        ],
    );
    assert_eq!(kills, boundaries as u64 * 2);
    assert_eq!(resets, 0);
}

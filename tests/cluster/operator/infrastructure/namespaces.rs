//! The list of one namespace is late: whatever is in the others waits for it.

use vpn_operator_testbed::{ApiRequest, Moment, Verb, eventually};

use super::check_totals;
use crate::operator::world::{DEADLINE, Options, World};

#[tokio::test]
async fn objects_waiting_for_a_namespace_list_continue_after_it() {
    let mut world = World::with(Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    })
    .await;
    let late = world.plane.create_namespace("late").await.unwrap();
    let namespaces = format!("--watch-namespace={},{late}", world.namespace);
    world.set_argument(&namespaces);
    let count = 5;
    for number in 1..=count {
        let spec = format!("{{idValue: 203.0.113.{number}}}");
        world.apply_gateway(&format!("gw-{number}"), &spec).await;
    }

    let proxy = world.proxy();
    world.kubeconfig = proxy.kubeconfig().to_owned();
    let is_late = move |request: &ApiRequest| {
        request.verb == Verb::List
            && request.resource == "customergateways"
            && request.namespace.as_deref() == Some(late.as_str())
    };
    let hold = proxy.hold(Moment::Before, 0, is_late);
    world.launch_operator();
    hold.reached(DEADLINE).await.unwrap();
    let both_kinds_wait = eventually("both kinds wait", DEADLINE, async || {
        let log = world.running().log();
        let waiting = log
            .lines()
            .filter(|line| line.contains("until every watched namespace is listed"));
        // Each kind waits, and not each object: one line for each namespace that is not listed yet, which on a slow machine
        // are both.
        match waiting.count() {
            2..=4 => Ok(()),
            waiting => Err(format!("{waiting} do")),
        }
    });
    both_kinds_wait.await.unwrap();
    assert_eq!(world.cloud_gateways().await.len(), 0);
    hold.release();
    world.wait_until_all_ready(count).await;
    check_totals(&world, 1).await;
    world.finish().await;
}

//! Every failure of the cloud, at every call: the right reason, and one resource in the end. Every fault has its own
//! credentials, so that the test waits for all at once.

use serde_json::{Value, json};

use super::{add_tenant, ask_again, expect_failure, expect_recovered, owned_gateways};
use crate::operator::world::World;

struct Fault {
    name: &'static str,
    body: Value,
    reason: &'static str,
    words: &'static [&'static str],
}

fn faults() -> Vec<Fault> {
    let fault = |name, body, reason, words| Fault {
        name,
        body,
        reason,
        words,
    };
    let error = |status: u16, code: &str| json!({"fault": "error", "status": status, "code": code, "message": "no"});
    vec![
        fault(
            "gateway-limit",
            json!({"fault": "throttled-by-gateway"}),
            "Throttled",
            &["APIGW.0308", "request id", "more slowly"],
        ),
        fault(
            "service-limit",
            json!({"fault": "throttled-by-service", "retry_after": "1"}),
            "Throttled",
            &["VPN.0429", "request id", "more slowly"],
        ),
        fault(
            "queue-full",
            json!({"fault": "queue-full"}),
            "Throttled",
            &["VPN.0030", "request id", "more slowly"],
        ),
        fault(
            "failed",
            error(500, "VPN.0002"),
            "CloudError",
            &["VPN.0002", "request id", "again"],
        ),
        fault(
            "bad-gateway",
            json!({"fault": "html-502"}),
            "CloudError",
            &["HTTP 502", "again"],
        ),
        fault(
            "unavailable",
            error(503, "APIGW.0201"),
            "CloudError",
            &["APIGW.0201", "request id", "again"],
        ),
        fault(
            "late",
            json!({"fault": "html-504"}),
            "CloudError",
            &["HTTP 504", "again"],
        ),
        fault(
            "busy",
            error(504, "VPN.0014"),
            "CloudError",
            &["VPN.0014", "request id", "again"],
        ),
        fault(
            "page",
            json!({"fault": "html-200"}),
            "CloudError",
            &["did not answer as the VPN API", "again"],
        ),
        fault(
            "huge",
            json!({"fault": "huge-body", "bytes": 5_000_000}),
            "CloudError",
            &["more than", "bytes", "again"],
        ),
        fault(
            "lost",
            json!({"fault": "lost-answer"}),
            "CloudError",
            &["the connection to", "failed", "again"],
        ),
    ]
}

/// Adds every fault for one operation, each for its own credentials.
async fn begin(world: &World, faults: &[Fault], keys: &[String], operation: &str) {
    for (fault, access_key) in faults.iter().zip(keys) {
        let mut body = fault.body.clone();
        body["operation"] = json!(operation);
        body["access_key"] = json!(access_key);
        body["times"] = json!(0);
        world.simulator.add_fault(&body).await.unwrap();
    }
}

/// Removes the faults of one operation. The next faults must be set already, or a retry would succeed in between.
async fn end(world: &World, operation: &str) {
    let list: Value = world.simulator.get("faults").await.unwrap();
    for fault in list["faults"].as_array().into_iter().flatten() {
        if fault["operation"] == operation {
            let path = format!("faults/{}", fault["id"]);
            world.simulator.delete::<Value>(&path).await.unwrap();
        }
    }
}

async fn all_fail(world: &World, faults: &[Fault], what: &str) {
    for Fault {
        name, reason, words, ..
    } in faults
    {
        let words: Vec<&str> = words.iter().copied().chain([what]).collect();
        world
            .wait_for(name, &format!("{what} fails"), |object| {
                let ready = crate::operator::world::condition(object, "Ready");
                ready["message"].as_str().is_some_and(|message| message.contains(what))
            })
            .await;
        expect_failure(world, name, reason, &words).await;
    }
}

#[tokio::test]
async fn every_failure_of_every_call_is_reported_and_leaves_one_gateway() {
    let mut world = World::start().await;
    let faults = faults();
    let mut keys = Vec::new();
    for fault in &faults {
        keys.push(add_tenant(&mut world, fault.name, json!({})).await);
    }
    begin(&world, &faults, &keys, "ListCustomerGateways").await;
    for (number, Fault { name, .. }) in faults.iter().enumerate() {
        let spec = format!("{{name: {name}, idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
    }
    all_fail(&world, &faults, "listing the customer gateways").await;
    assert_eq!(world.cloud_gateways().await.len(), 0);

    begin(&world, &faults, &keys, "CreateCustomerGateway").await;
    end(&world, "ListCustomerGateways").await;
    for fault in &faults {
        ask_again(&world, fault.name).await;
    }
    all_fail(&world, &faults, "creating the customer gateway").await;
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.simulator.clear_faults().await.unwrap();
    for fault in &faults {
        ask_again(&world, fault.name).await;
        expect_recovered(&world, fault.name).await;
    }

    begin(&world, &faults, &keys, "GetCustomerGateway").await;
    for fault in &faults {
        let renamed = json!({"spec": {"name": format!("{}-2", fault.name)}});
        world.patch(fault.name, renamed).await;
    }
    all_fail(&world, &faults, "reading the customer gateway").await;
    begin(&world, &faults, &keys, "UpdateCustomerGateway").await;
    end(&world, "GetCustomerGateway").await;
    for fault in &faults {
        ask_again(&world, fault.name).await;
    }
    all_fail(&world, &faults, "updating the customer gateway").await;
    // From here on it recovers without a request.
    world.simulator.clear_faults().await.unwrap();
    for Fault { name, .. } in &faults {
        let object = expect_recovered(&world, name).await;
        let cloud = owned_gateways(&world, &object).await;
        assert_eq!(cloud[0]["name"], format!("{name}-2"));
    }

    begin(&world, &faults, &keys, "DeleteCustomerGateway").await;
    world
        .kubectl(["delete", "customergateway", "--all", "--wait=false"])
        .await;
    all_fail(&world, &faults, "deleting the customer gateway").await;
    assert_eq!(world.cloud_gateways().await.len(), faults.len());
    world.simulator.clear_faults().await.unwrap();
    for fault in &faults {
        world.wait_until_deleted(fault.name).await;
    }
    assert_eq!(world.cloud_gateways().await.len(), 0);
    world.finish().await;
}

/// After an unusable response, the next read shows what was done, and it is not repeated. Only a DELETE is sent again.
#[tokio::test]
async fn a_lost_response_costs_a_read_and_no_second_write() {
    let world = World::start().await;
    let unusable = [
        json!({"fault": "truncated-body"}),
        json!({"fault": "huge-body", "bytes": 5_000_000, "commit": true}),
        json!({"fault": "html-200", "commit": true}),
        json!({"fault": "html-502", "commit": true}),
        json!({"fault": "lost-answer", "commit": true}),
        json!({"fault": "error", "status": 500, "code": "VPN.0002", "message": "no", "commit": true}),
    ];
    for (number, fault) in unusable.into_iter().enumerate() {
        let name = format!("office-{number}");
        let once = |operation: &str| {
            let mut fault = fault.clone();
            fault["operation"] = json!(operation);
            fault
        };
        let mark = world.mark().await;
        world.simulator.add_fault(&once("CreateCustomerGateway")).await.unwrap();
        let spec = format!("{{name: {name}, idValue: 203.0.113.{number}}}");
        world.apply_gateway(&name, &spec).await;
        let object = expect_recovered(&world, &name).await;

        world.simulator.add_fault(&once("UpdateCustomerGateway")).await.unwrap();
        world.patch(&name, json!({"spec": {"name": format!("{name}-2")}})).await;
        expect_recovered(&world, &name).await;
        assert_eq!(owned_gateways(&world, &object).await[0]["name"], format!("{name}-2"));

        world.simulator.add_fault(&once("DeleteCustomerGateway")).await.unwrap();
        world.kubectl(["delete", "customergateway", &name]).await;
        assert_eq!(world.cloud_gateways().await.len(), 0, "{fault}");
        for (write, expected) in [
            ("CreateCustomerGateway", 1..=1),
            ("UpdateCustomerGateway", 1..=1),
            // Reads that lack it may be stale: after a lost response, only another DELETE proves the deletion.
            ("DeleteCustomerGateway", 1..=2),
        ] {
            let sent = super::count(&world, mark, &[write]).await;
            assert!(expected.contains(&sent), "{sent} times {write} with {fault}");
        }
        world.simulator.clear_faults().await.unwrap();
    }
    world.finish().await;
}

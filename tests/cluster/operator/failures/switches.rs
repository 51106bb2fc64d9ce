//! Behavior that the API's documents leave open makes no difference: a simple life cycle ends the same in each position
//! of the simulator's switches.

use serde_json::{Value, json};

use super::{add_tenant, count, expect_recovered, owned_gateways};
use crate::operator::world::{PROJECT, World};

/// More than one page of unmanaged gateways.
const UNMANAGED: usize = 205;

#[tokio::test]
async fn the_lifecycle_ends_the_same_with_every_undocumented_behavior() {
    let mut world = World::start().await;
    let project = json!({"name": "eu-west-101", "gateway_quota": 1000});
    let path = format!("projects/{PROJECT}");
    world.simulator.put::<Value>(&path, &project).await.unwrap();
    let unmanaged: Vec<Value> = (0..UNMANAGED)
        .map(|number| {
            let address = format!("198.51.{}.{}", number / 200, number % 200 + 1);
            json!({"name": "unmanaged", "id_value": address})
        })
        .collect();
    world.simulator.seed_gateways::<Value>(&unmanaged).await.unwrap();
    let positions = [
        json!({}),
        json!({
            "list-tags": "absent", "list-id-type": "absent", "list-bgp-asn": "absent",
            "create-answer-tags": "absent", "empty-tags": "absent",
        }),
        json!({
            "list-tags": "null", "empty-tags": "null", "unset-fields": "null", "deprecated-fields": "present",
            "list-order": "oldest-first", "last-page-marker": "null",
        }),
        json!({
            "last-page-marker": "absent", "tag-add-existing-key": "refused", "tag-remove-unmatched": "404",
            "unknown-id": "400-not-found", "error-shape": "code", "gateway-code-prefix": "APIG",
            "request-id-format": "hex",
        }),
        json!({
            "last-page-marker": "empty", "list-order": "oldest-first", "tag-remove-unmatched": "400",
            "tag-add-existing-key": "refused", "unknown-id": "400-not-exist", "error-shape": "errorCode",
            "iam-error-shape": "error_code", "gateway-deletion": "slow", "update-immutable-fields": "ignored",
        }),
        json!({
            "border-ties": "repeated", "creation-times": "tied", "marker-without-limit": "refused",
            "limit-too-large": "clamped", "limit-zero": "default", "create-answer-times": "micros",
            "read-times": "micros", "tags-move-updated-at": "yes", "malformed-id": "404",
        }),
        json!({"border-ties": "skipped", "creation-times": "tied", "create-answer-times": "millis", "read-times": "trimmed"}),
        json!({"limit-zero": "refused", "read-times": "offset", "retry-after": "present", "list-tags": "absent"}),
    ];
    for (number, position) in positions.into_iter().enumerate() {
        world.simulator.set_switches(&position).await.unwrap();
        live(&mut world, number, &position).await;
        assert_eq!(world.cloud_gateways().await.len(), UNMANAGED, "{position}");
    }
    world.finish().await;
}

/// Creates a gateway, edits it, changes its credentials, deletes it. Also adopts and deletes another one.
async fn live(world: &mut World, number: usize, position: &Value) {
    let (one, other) = (format!("one-{number}"), format!("other-{number}"));
    add_tenant(world, &one, json!({})).await;
    add_tenant(world, &other, json!({})).await;
    let name = format!("office-{number}");
    let mark = world.mark().await;
    let spec = format!(
        "{{name: {name}, idValue: 203.0.113.7, bgpASN: 65010, tags: {{team: net, old: please-go}}, \
         credentialsRef: {{name: {one}}}}}"
    );
    world.apply_gateway(&name, &spec).await;
    let created = expect_recovered(world, &name).await;

    let renamed = format!("{name}-renamed");
    let edit = json!({"spec": {"name": renamed, "tags": {"team": "core", "old": null, "site": "paris"}}});
    world.patch(&name, edit).await;
    // Nothing was read with these credentials yet: fields that lists omit must not matter.
    world
        .patch(&name, json!({"spec": {"credentialsRef": {"name": other}}}))
        .await;
    let edited = expect_recovered(world, &name).await;
    assert_eq!(edited["status"]["id"], created["status"]["id"], "{position}");
    let mut cloud = owned_gateways(world, &edited).await.remove(0);
    cloud["tags"]["vpn-operator-owner"] = json!("ours");
    assert_eq!(cloud["name"], renamed.as_str(), "{position}");
    assert_eq!(cloud["bgp_asn"], 65010, "{position}");
    let tags = json!({"team": "core", "site": "paris", "vpn-operator-owner": "ours"});
    assert_eq!(cloud["tags"], tags, "{position}");

    let seed = json!({"name": "by-hand", "id_value": "192.0.2.7", "tags": {"theirs": "yes"}});
    let seeded: Vec<Value> = world.simulator.seed_gateways(&seed).await.unwrap();
    let id = seeded[0]["id"].as_str().expect("an id");
    let adopting = format!("{{idValue: 192.0.2.7, externalID: {id}, credentialsRef: {{name: {one}}}}}");
    let adopted_name = format!("adopted-{number}");
    world.apply_gateway(&adopted_name, &adopting).await;
    let adopted = expect_recovered(world, &adopted_name).await;
    let cloud = owned_gateways(world, &adopted).await;
    assert_eq!(
        (&cloud[0]["id"], &cloud[0]["tags"]["theirs"]),
        (&json!(id), &json!("yes")),
        "{position}"
    );

    world
        .kubectl(["delete", "customergateway", &name, &adopted_name, "--wait=false"])
        .await;
    world.wait_until_deleted(&name).await;
    world.wait_until_deleted(&adopted_name).await;
    assert_eq!(count(world, mark, &["CreateCustomerGateway"]).await, 1, "{position}");
    let deletions = count(world, mark, &["DeleteCustomerGateway"]).await;
    // A deletion that outlasts the confirmation period, which is a second here, is requested again with backoff.
    let is_repeated = position["gateway-deletion"] == "slow" && (3..=6).contains(&deletions);
    assert!(deletions == 2 || is_repeated, "{deletions} with {position}");
}

//! Tags of gateways.

use serde_json::{Value, json};

use crate::client::{Cloud, UNKNOWN_ID};

async fn tagged(cloud: &Cloud, name: &str, tags: Value) -> String {
    let answer = cloud
        .create(json!({"name": name, "id_value": "10.0.0.1", "tags": tags}))
        .await
        .expect(201);
    answer["customer_gateway"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tags_are_added_removed_and_listed() {
    let cloud = Cloud::start().await;
    let id = tagged(&cloud, "a", json!([{"key": "env", "value": "test"}])).await;
    let tags = format!("customer-gateway/{id}/tags");
    let add = json!({"tags": [{"key": "team", "value": "net"}, {"key": "empty"}]});
    let answer = cloud.post(&format!("{tags}/create"), add).await;
    assert_eq!(answer.expect(204), Value::Null);
    assert!(answer.header("x-request-id").is_some());
    let remove = json!({"tags": [{"key": "env"}, {"key": "empty", "value": ""}]});
    cloud.post(&format!("{tags}/delete"), remove).await.expect(204);
    assert_eq!(
        cloud.get(&tags).await.expect(200),
        json!({"tags": [{"key": "team", "value": "net"}]})
    );
    let gateway = cloud.gateway(&id).await.expect(200);
    assert_eq!(
        gateway["customer_gateway"]["tags"],
        json!([{"key": "team", "value": "net"}])
    );
}

#[tokio::test]
async fn more_than_twenty_tags_are_refused() {
    let cloud = Cloud::start().await;
    let some = |from: usize, to: usize| -> Value {
        (from..to)
            .map(|n| json!({"key": format!("k{n}"), "value": ""}))
            .collect()
    };
    let id = tagged(&cloud, "a", some(0, 15)).await;
    let path = format!("customer-gateway/{id}/tags/create");
    cloud
        .post(&path, json!({"tags": some(15, 21)}))
        .await
        .assert_error(400, "VPN.0001");
    cloud.post(&path, json!({"tags": some(10, 20)})).await.expect(204);
    cloud
        .post(&path, json!({"tags": some(20, 21)}))
        .await
        .assert_error(400, "VPN.0001");
}

#[tokio::test]
async fn tag_requests_are_validated() {
    let cloud = Cloud::start().await;
    let id = cloud.created("a").await;
    for verb in ["create", "delete"] {
        for body in [json!({}), json!({"tags": []}), json!({"tags": [{"value": "v"}]})] {
            cloud
                .post(&format!("customer-gateway/{id}/tags/{verb}"), body)
                .await
                .assert_error(400, "VPN.0001");
        }
        let path = format!("customer-gateway/{UNKNOWN_ID}/tags/{verb}");
        cloud
            .post(&path, json!({"tags": [{"key": "k"}]}))
            .await
            .assert_error(404, "VPN.0004");
    }
}

#[tokio::test]
async fn gateways_are_found_by_their_tags() {
    let cloud = Cloud::start().await;
    let a = tagged(
        &cloud,
        "a",
        json!([{"key": "env", "value": "test"}, {"key": "team", "value": "net"}]),
    )
    .await;
    let b = tagged(&cloud, "b", json!([{"key": "env", "value": "live"}])).await;
    let c = tagged(&cloud, "c", json!([])).await;
    assert_eq!(
        cloud.get("customer-gateway/tags").await.expect(200),
        json!({"tags": [{"key": "env", "values": ["live", "test"]}, {"key": "team", "values": ["net"]}]})
    );
    let all = [a.as_str(), b.as_str(), c.as_str()];
    for (body, found) in [
        (json!({}), &all[..]),
        (json!({"tags": [{"key": "env", "values": []}]}), &all[..2]),
        (json!({"tags": [{"key": "env", "values": ["test", "live"]}]}), &all[..2]),
        (json!({"tags": [{"key": "env", "values": ["test"]}]}), &all[..1]),
        (
            json!({"tags": [{"key": "env", "values": []}, {"key": "team", "values": ["net"]}]}),
            &all[..1],
        ),
        (json!({"tags": [{"key": "env", "values": ["other"]}]}), &[]),
        (json!({"without_any_tag": true}), &all[2..]),
        (json!({"without_any_tag": "true"}), &all[2..]),
        (json!({"without_any_tag": "false"}), &all[..]),
        (json!({"matches": [{"key": "resource_name", "value": "b"}]}), &all[1..2]),
    ] {
        let answer = cloud
            .post("customer-gateway/resource-instances/filter", body.clone())
            .await
            .expect(200);
        let ids: Vec<_> = answer["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["resource_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, found, "{body}");
        assert_eq!(answer["total_count"], found.len());
        let count = cloud
            .post("customer-gateway/resource-instances/count", body.clone())
            .await
            .expect(200);
        assert_eq!(count, json!({"total_count": found.len()}));
    }
    let answer = cloud
        .post("customer-gateway/resource-instances/filter?limit=1&offset=1", json!({}))
        .await
        .expect(200);
    assert_eq!(answer["total_count"], 3);
    assert_eq!(
        answer["resources"],
        json!([{"resource_id": b, "resource_name": "b", "resource_detail": {}, "tags": [{"key": "env", "value": "live"}]}])
    );
}

#[tokio::test]
async fn invalid_filters_are_refused() {
    let cloud = Cloud::start().await;
    let filter = "customer-gateway/resource-instances/filter";
    let many: Value = (0..21).map(|n| json!({"key": format!("k{n}"), "values": []})).collect();
    let values: Vec<String> = (0..21).map(|n| n.to_string()).collect();
    for body in [
        json!({"tags": [{"values": []}]}),
        json!({"tags": [{"key": "k", "values": "v"}]}),
        json!({"tags": many}),
        json!({"tags": [{"key": "k", "values": values}]}),
        json!({"without_any_tag": "maybe"}),
        json!({"matches": [{"key": "color", "value": "red"}]}),
    ] {
        cloud.post(filter, body).await.assert_error(400, "VPN.0001");
    }
    for query in ["limit=0", "limit=1001", "offset=-1", "limit=x"] {
        cloud
            .post(&format!("{filter}?{query}"), json!({}))
            .await
            .assert_error(400, "VPN.0001");
    }
}

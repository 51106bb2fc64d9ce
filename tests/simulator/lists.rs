//! Paged lists.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Cloud, UNKNOWN_ID};

/// The content of a page: names, next marker, total.
async fn page(cloud: &Cloud, query: &str) -> (Vec<String>, Value, u64) {
    let body = cloud.get(&format!("customer-gateways?{query}")).await.expect(200);
    let names: Vec<_> = body["customer_gateways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gateway| gateway["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(body["page_info"]["current_count"], names.len());
    (
        names,
        body["page_info"]["next_marker"].clone(),
        body["total_count"].as_u64().unwrap(),
    )
}

fn encoded(marker: &Value) -> String {
    vpn_cloud::credentials::signing::escape(marker.as_str().unwrap())
}

#[tokio::test]
async fn pages_contain_every_gateway_once() {
    let cloud = Cloud::start().await;
    let seeds: Value = (0..450)
        .map(|n| json!({"name": format!("g{n:03}"), "id_value": "10.0.0.1"}))
        .collect();
    cloud.admin(Method::POST, "gateways", seeds).await.expect(201);
    let (first, marker, total) = page(&cloud, "").await;
    assert_eq!((first.len(), total), (200, 450));
    assert_eq!(first[0], "g449", "newest first");
    let (second, marker, _) = page(&cloud, &format!("limit=200&marker={}", encoded(&marker))).await;
    // Terraform sends the marker alone.
    let (third, marker, _) = page(&cloud, &format!("marker={}", encoded(&marker))).await;
    let (nothing, end, total) = page(&cloud, &format!("limit=200&marker={}", encoded(&marker))).await;
    assert_eq!((nothing.len(), end, total), (0, Value::Null, 450));
    assert_eq!((second.len(), third.len()), (200, 50));
    let all: BTreeSet<_> = first.into_iter().chain(second).chain(third).collect();
    assert_eq!(all.len(), 450);
}

#[tokio::test]
async fn equal_creation_times_at_a_page_border_lose_or_repeat_items() {
    let cloud = Cloud::start().await;
    cloud.switch("list-order", "oldest-first").await;
    cloud.created("a").await;
    cloud.switch("creation-times", "tied").await;
    cloud.created("b").await;
    cloud.created("c").await;
    cloud.switch("creation-times", "distinct").await;
    cloud.created("d").await;
    let (first, marker, total) = page(&cloud, "limit=2").await;
    assert_eq!(total, 4);
    assert_eq!(first[0], "a");
    let next = format!("limit=200&marker={}", encoded(&marker));
    assert_eq!(page(&cloud, &next).await.0, ["d"], "b or c is on no page");
    cloud.switch("border-ties", "repeated").await;
    let repeated = page(&cloud, &next).await.0;
    assert_eq!(repeated.len(), 3, "{repeated:?}");
    assert!(repeated.contains(&first[1]), "{repeated:?}");
}

#[tokio::test]
async fn invalid_list_parameters_are_refused() {
    let cloud = Cloud::start().await;
    for query in ["limit=201", "limit=-1", "limit=x", "limit=2&marker=yesterday"] {
        cloud
            .get(&format!("customer-gateways?{query}"))
            .await
            .assert_error(400, "VPN.0001");
    }
    let (all, ..) = page(&cloud, "limit=200&marker=").await;
    assert!(all.is_empty());
}

#[tokio::test]
async fn a_list_can_be_filtered_by_id() {
    let cloud = Cloud::start().await;
    let id = cloud.created("a").await;
    cloud.created("b").await;
    assert_eq!(page(&cloud, &format!("cgw_id={id}")).await.0, ["a"]);
    assert!(page(&cloud, &format!("cgw_id={UNKNOWN_ID}")).await.0.is_empty());
}

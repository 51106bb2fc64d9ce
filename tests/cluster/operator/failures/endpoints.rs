//! Endpoints that are not the cloud's.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{WRITES, ask_again, count, expect_failure, expect_recovered};
use crate::operator::world::{Options, World};

/// Answers every request with a page; ends with the test's runtime.
async fn html_server(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let _ = connection.read(&mut request).await;
                let page = "<html><title>Sign in to the network</title></html>";
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_wrong_endpoint_is_reported_until_the_secret_is_corrected() {
    // The listener is closed at once, so nothing listens at this address.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let page = html_server("200 OK").await;
    let missing_page = html_server("404 Not Found").await;
    let broken_page = html_server("502 Bad Gateway").await;
    let redirect = html_server("302 Found").await;
    let allowed = [closed, page, missing_page, broken_page, redirect].map(|address| format!("http://{address}"));
    let flag = format!("--allowed-endpoint={}", allowed.join(","));
    let mut world = World::with(Options::with(["--resync-period=0", &flag])).await;
    let [closed, page, missing_page, broken_page, redirect] = allowed;

    let cases: [(&str, &str, &str, &[&str]); 7] = [
        ("closed", &closed, "CloudError", &["no connection to", "tried again"]),
        (
            "page",
            &page,
            "CloudError",
            &["did not answer as the VPN API", "Sign in to the network"],
        ),
        (
            "missing-page",
            &missing_page,
            "NotAvailable",
            &["HTTP 404", "check the endpoint"],
        ),
        ("broken-page", &broken_page, "CloudError", &["HTTP 502", "Sign in"]),
        (
            "redirect",
            &redirect,
            "NotAvailable",
            &["redirects", "HTTP 302", "check the endpoint"],
        ),
        (
            "not-allowed",
            "http://127.0.0.1:9",
            "Forbidden",
            &["endpoint", "http://127.0.0.1:9", "--allowed-endpoint"],
        ),
        ("no-url", "vpn.example.com", "InvalidSpec", &["endpoint", "/no-url"]),
    ];
    let (access_key, secret_key) = (world.access_key.clone(), world.secret_key.clone());
    let mark = world.mark().await;
    for (number, (name, endpoint, reason, words)) in cases.into_iter().enumerate() {
        let more: &[(&str, &str)] = &[("endpoint", endpoint)];
        world.apply_credentials(name, &access_key, &secret_key, more).await;
        let spec = format!("{{idValue: 203.0.113.{number}, credentialsRef: {{name: {name}}}}}");
        world.apply_gateway(name, &spec).await;
        expect_failure(&world, name, reason, words).await;
    }
    assert_eq!(count(&world, mark, &WRITES).await, 0);
    let right = world.simulator.url().to_owned();
    for (name, ..) in cases {
        let more: &[(&str, &str)] = &[("endpoint", &right)];
        world.apply_credentials(name, &access_key, &secret_key, more).await;
        expect_recovered(&world, name).await;
    }
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 7);
    world.finish().await;
}

#[tokio::test]
async fn an_unpublished_api_never_marks_a_gateway_as_deleted() {
    let world = World::start().await;
    world.simulator.add_fault(&unpublished("LookUpProject")).await.unwrap();
    let mark = world.mark().await;
    world
        .apply_gateway("office", "{name: office, idValue: 203.0.113.1}")
        .await;
    let words = [
        "looking up the project",
        "APIGW.0101",
        "request id",
        "check the endpoint",
    ];
    expect_failure(&world, "office", "NotAvailable", &words).await;
    world.simulator.clear_faults().await.unwrap();
    world
        .simulator
        .add_fault(&unpublished("ListCustomerGateways"))
        .await
        .unwrap();
    ask_again(&world, "office").await;
    let listing = ["listing the customer gateways", "APIGW.0101"];
    world
        .wait_for("office", "it is the list that fails", |object| {
            let conditions = object["status"]["conditions"].to_string();
            listing.iter().all(|word| conditions.contains(word))
        })
        .await;
    world.simulator.clear_faults().await.unwrap();
    ask_again(&world, "office").await;
    let created = expect_recovered(&world, "office").await;

    world
        .simulator
        .add_fault(&unpublished("GetCustomerGateway"))
        .await
        .unwrap();
    world.patch("office", json!({"spec": {"name": "office-2"}})).await;
    let words = [
        "reading the customer gateway",
        "APIGW.0101",
        "request id",
        "check the endpoint",
    ];
    expect_failure(&world, "office", "NotAvailable", &words).await;
    world.simulator.clear_faults().await.unwrap();
    ask_again(&world, "office").await;
    let recovered = expect_recovered(&world, "office").await;
    assert_eq!(recovered["status"]["id"], created["status"]["id"]);

    // Nor does it mean that a deletion is complete.
    world
        .simulator
        .add_fault(&unpublished("DeleteCustomerGateway"))
        .await
        .unwrap();
    world
        .kubectl(["delete", "customergateway", "office", "--wait=false"])
        .await;
    expect_failure(
        &world,
        "office",
        "NotAvailable",
        &["deleting the customer gateway", "APIGW.0101"],
    )
    .await;
    world.simulator.clear_faults().await.unwrap();
    ask_again(&world, "office").await;
    world.wait_until_deleted("office").await;
    assert_eq!(world.cloud_gateways().await.len(), 0);
    assert_eq!(count(&world, mark, &["CreateCustomerGateway"]).await, 1);
    world.finish().await;
}

fn unpublished(operation: &str) -> serde_json::Value {
    json!({
        "fault": "error", "operation": operation, "times": 0, "status": 404, "code": "APIGW.0101",
        "message": "The API does not exist or has not been published in the environment",
    })
}

//! The operator's own client against the simulator.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use vpn_cloud::lists::paging::LIMIT;
use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGatewayUpdate, NewCustomerGateway};
use vpn_cloud::resources::iam;
use vpn_cloud::{
    Client, Credentials, ErrorKind, Operation, ProjectScope, RequestObserver, Transport, TransportOptions,
};
use vpn_simulator::tryout;

use crate::{
    client::{Cloud, UNKNOWN_ID},
    gateways::good_certificate,
};

struct Deaf;

impl RequestObserver for Deaf {
    fn finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

fn transport() -> Transport {
    let options = TransportOptions {
        ca_file: None,
        request_timeout: Duration::from_secs(30),
    };
    Transport::new(&options, Arc::new(Deaf)).unwrap()
}

fn credentials() -> Credentials {
    Credentials::new(tryout::ACCESS_KEY.to_owned(), tryout::SECRET_KEY.into(), None).unwrap()
}

pub(crate) fn client(cloud: &Cloud) -> Client {
    let scope = ProjectScope {
        endpoint: cloud.simulator.base_url(),
        project_id: tryout::PROJECT_ID.to_owned(),
    };
    Client::new(transport(), Arc::new(credentials()), scope)
}

fn gateway(name: &str) -> NewCustomerGateway {
    NewCustomerGateway {
        name: name.to_owned(),
        id_type: "ip".to_owned(),
        id_value: "203.0.113.7".to_owned(),
        bgp_asn: Some(4_294_967_295),
        ca_certificate: Some(CertificateContent {
            content: good_certificate(),
        }),
        tags: BTreeMap::from([("owner".to_owned(), "uid:cluster:ns:name".to_owned())]),
    }
}

#[tokio::test]
async fn the_client_creates_reads_updates_and_deletes_a_gateway() {
    let cloud = Cloud::start().await;
    let project = iam::look_up_project(
        &transport(),
        &credentials(),
        &cloud.simulator.base_url(),
        tryout::REGION,
    )
    .await;
    assert_eq!(project.unwrap().value, tryout::PROJECT_ID);
    let client = client(&cloud);
    let made = client.create_customer_gateway(&gateway("office")).await.unwrap();
    assert!(made.request_id.is_some() && made.date.is_some());
    let id = made.value.id;
    let seen = client.get_customer_gateway(&id).await.unwrap().value;
    assert_eq!(
        (seen.name.as_deref(), seen.bgp_asn),
        (Some("office"), Some(4_294_967_295))
    );
    assert_eq!(seen.ca_certificate.unwrap().subject.as_deref(), Some("CN=Office CA"));
    let page = client.list_customer_gateways_page(LIMIT, None).await.unwrap().value;
    assert_eq!(
        (page.items.len(), page.total_count, page.current_count),
        (1, Some(1), Some(1))
    );
    let change = CustomerGatewayUpdate {
        name: Some("lab".to_owned()),
        ca_certificate: None,
    };
    let changed = client.update_customer_gateway(&id, &change).await.unwrap().value;
    assert_eq!(changed.name.as_deref(), Some("lab"));
    let tags = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    client.add_customer_gateway_tags(&id, &tags).await.unwrap();
    assert_eq!(client.customer_gateway_tags(&id).await.unwrap().value.len(), 2);
    client.remove_customer_gateway_tags(&id, &tags).await.unwrap();
    assert_eq!(
        client.customer_gateway_tags(&id).await.unwrap().value["owner"],
        "uid:cluster:ns:name"
    );
    client.delete_customer_gateway(&id).await.unwrap();
    let deleted = client.get_customer_gateway(&id).await.unwrap_err();
    assert_eq!(
        (deleted.kind, deleted.code.as_deref()),
        (ErrorKind::Gone, Some("VPN.0004"))
    );
}

#[tokio::test]
async fn errors_are_classified_as_expected() {
    let cloud = Cloud::start().await;
    let client = client(&cloud);
    let id = client
        .create_customer_gateway(&gateway("office"))
        .await
        .unwrap()
        .value
        .id;
    cloud.patch(&id, json!({"connection": "vpn-1"})).await;
    let error = client.delete_customer_gateway(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Dependency);
    let error = client.get_customer_gateway(UNKNOWN_ID).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Gone);
    for (fault, meaning) in [
        ("throttled-by-gateway", ErrorKind::Throttled),
        ("throttled-by-service", ErrorKind::Throttled),
        ("queue-full", ErrorKind::QueueFull),
        ("html-502", ErrorKind::CloudFault),
        ("html-200", ErrorKind::CloudFault),
        ("truncated-body", ErrorKind::CloudFault),
        ("lost-answer", ErrorKind::CloudFault),
    ] {
        cloud.fault(json!({"fault": fault})).await;
        let error = client.get_customer_gateway(&id).await.unwrap_err();
        assert_eq!(error.kind, meaning, "{fault}");
    }
    let permissions = format!("credentials/{}/permissions", tryout::ACCESS_KEY);
    cloud
        .admin(
            Method::PUT,
            &permissions,
            json!({"denied_actions": ["vpn:customerGateways:create"]}),
        )
        .await
        .expect(204);
    let error = client.create_customer_gateway(&gateway("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    let project = format!("projects/{}", tryout::PROJECT_ID);
    cloud.admin(Method::PUT, &permissions, json!({})).await.expect(204);
    cloud
        .admin(Method::PUT, &project, json!({"name": "r", "gateway_quota": 1}))
        .await
        .expect(200);
    let error = client.create_customer_gateway(&gateway("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::QuotaExceeded);
    cloud
        .admin(
            Method::DELETE,
            &format!("credentials/{}", tryout::ACCESS_KEY),
            Value::Null,
        )
        .await
        .expect(204);
    let error = client.get_customer_gateway(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthorized);
}

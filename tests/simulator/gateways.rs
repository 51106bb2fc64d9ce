//! Customer gateways: create, get, update, delete.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ED25519, date_time_ymd,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Cloud, Signer, UNKNOWN_ID, in_project};

#[tokio::test]
async fn a_gateway_is_created_read_updated_and_deleted() {
    let cloud = Cloud::start().await;
    let created = cloud
        .create(
            json!({"name": "office-1", "id_type": "ip", "id_value": "203.0.113.7", "bgp_asn": 65010,
            "tags": [{"key": "env", "value": "test"}]}),
        )
        .await;
    let body = created.expect(201);
    assert_eq!(body["request_id"], created.header("x-request-id").unwrap());
    let gateway = &body["customer_gateway"];
    let id = gateway["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);

    let got = cloud.gateway(id).await.expect(200)["customer_gateway"].clone();
    let created_at = got["created_at"].as_str().unwrap();
    assert_eq!(
        got,
        json!({"id": id, "name": "office-1", "id_type": "ip", "id_value": "203.0.113.7", "bgp_asn": 65010,
            "ip": "203.0.113.7", "route_mode": "bgp",
            "created_at": created_at, "updated_at": created_at, "tags": [{"key": "env", "value": "test"}]})
    );
    // The answer to the creation has more digits.
    let reported: Timestamp = gateway["created_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        reported.as_millisecond(),
        created_at.parse::<Timestamp>().unwrap().as_millisecond()
    );
    assert_eq!(
        gateway["created_at"].as_str().unwrap().len(),
        "2025-08-13T02:34:56.784574762Z".len()
    );

    let updated = cloud.update(id, json!({"name": "office-2"})).await.expect(200)["customer_gateway"].clone();
    assert_eq!(updated["name"], "office-2");
    assert_eq!(updated["created_at"], created_at);
    assert!(updated["updated_at"].as_str().unwrap() > created_at);
    assert_eq!(cloud.gateway(id).await.json()["customer_gateway"], updated);

    assert_eq!(cloud.delete(id).await.expect(204), Value::Null);
    cloud.gateway(id).await.assert_error(404, "VPN.0004");
    cloud.delete(id).await.assert_error(404, "VPN.0004");
}

#[tokio::test]
async fn only_the_identifier_is_required() {
    let cloud = Cloud::start().await;
    let answer = cloud
        .create(json!({"id_value": "10.1.2.10", "name": null, "tags": null}))
        .await
        .expect(201);
    let gateway = &answer["customer_gateway"];
    let name = gateway["name"].as_str().unwrap();
    assert!(name.starts_with("cgw-") && name.len() == 8, "{name}");
    assert_eq!(gateway["id_type"], "ip");
    assert_eq!(gateway.get("bgp_asn"), None);
    assert_eq!(gateway.get("ca_certificate"), None);
    assert_eq!(gateway["tags"], json!([]));
}

#[tokio::test]
async fn documented_valid_values_are_accepted() {
    let cloud = Cloud::start().await;
    let tags = |count: usize| {
        (0..count)
            .map(|n| json!({"key": format!("k{n}"), "value": ""}))
            .collect::<Value>()
    };
    for fields in [
        json!({"id_value": "1.0.0.0"}),
        json!({"id_value": "223.255.255.255", "bgp_asn": 1}),
        json!({"id_value": "172.16.1.1", "bgp_asn": 4_294_967_295_u32}),
        json!({"id_value": "10.0.0.1", "name": "a.B_c-9"}),
        json!({"id_value": "10.0.0.1", "name": "n".repeat(64)}),
        json!({"id_value": "vpn.example.com", "id_type": "fqdn"}),
        json!({"id_value": "x".repeat(128), "id_type": "fqdn", "bgp_asn": 0}),
        json!({"id_value": "!#$%'()*+,-./:;=@^_`{|}~\"", "id_type": "fqdn"}),
        json!({"id_value": "10.0.0.1", "tags": tags(20)}),
        json!({"id_value": "10.0.0.1", "tags": [{"key": "k".repeat(128), "value": "v".repeat(255)}]}),
        json!({"id_value": "10.0.0.1", "tags": [{"key": "Año a_.:=+-@1", "value": "São / Coração"}]}),
        json!({"ip": "10.0.0.1", "route_mode": "static"}),
        json!({"id_value": "10.0.0.1", "something_new": true}),
    ] {
        let reply = cloud.create(fields.clone()).await;
        assert_eq!(reply.status, 201, "{fields}: {}", reply.text);
    }
}

#[tokio::test]
async fn documented_invalid_values_are_refused_with_their_code() {
    let cloud = Cloud::start().await;
    let tags = |count: usize| {
        (0..count)
            .map(|n| json!({"key": format!("k{n}"), "value": ""}))
            .collect::<Value>()
    };
    let tag = |key: &str, value: &str| json!({"id_value": "10.0.0.1", "tags": [{"key": key, "value": value}]});
    for (fields, code) in [
        (json!({}), "VPN.0001"),
        (json!({"id_value": 7}), "VPN.0001"),
        (json!({"id_value": "256.1.1.1"}), "VPN.0203"),
        (json!({"id_value": "01.2.3.4"}), "VPN.0203"),
        (json!({"id_value": "1.2.3"}), "VPN.0203"),
        (json!({"id_value": "::1"}), "VPN.0203"),
        (json!({"id_value": ""}), "VPN.0203"),
        (json!({"id_value": "0.1.2.3"}), "VPN.0203"),
        (json!({"id_value": "127.0.0.1"}), "VPN.0204"),
        (json!({"id_value": "224.0.0.1"}), "VPN.0204"),
        (json!({"id_value": "240.0.0.1"}), "VPN.0204"),
        (json!({"id_value": "255.255.255.255"}), "VPN.0204"),
        (json!({"id_value": "10.0.0.1", "id_type": "mac"}), "VPN.0001"),
        (json!({"id_value": "a b", "id_type": "fqdn"}), "VPN.0001"),
        (json!({"id_value": "a?b", "id_type": "fqdn"}), "VPN.0001"),
        (json!({"id_value": "x".repeat(129), "id_type": "fqdn"}), "VPN.0001"),
        (
            json!({"id_value": "a.example", "id_type": "fqdn", "bgp_asn": 65000}),
            "VPN.0001",
        ),
        (json!({"id_value": "10.0.0.1", "bgp_asn": 0}), "VPN.0001"),
        (
            json!({"id_value": "10.0.0.1", "bgp_asn": 4_294_967_296_u64}),
            "VPN.0001",
        ),
        (json!({"id_value": "10.0.0.1", "bgp_asn": "65000"}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "bgp_asn": 1.5}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "name": ""}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "name": "n".repeat(65)}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "name": "büro"}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "ip": "10.0.0.1"}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "route_mode": "bgp"}), "VPN.0001"),
        (json!({"ip": "10.0.0.1", "route_mode": "ospf"}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "tags": tags(21)}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "tags": [{"value": "v"}]}), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "tags": "k"}), "VPN.0001"),
        (
            json!({"id_value": "10.0.0.1", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}),
            "VPN.0001",
        ),
        (tag("", "v"), "VPN.0001"),
        (tag(&"k".repeat(129), "v"), "VPN.0001"),
        (tag("k/k", "v"), "VPN.0001"),
        (tag("_sys_k", "v"), "VPN.0001"),
        (tag(" k", "v"), "VPN.0001"),
        (tag("k", "v "), "VPN.0001"),
        (tag("k", &"v".repeat(256)), "VPN.0001"),
        (tag("k", "v\n"), "VPN.0001"),
        (tag("k", "🙂"), "VPN.0001"),
        (json!({"id_value": "10.0.0.1", "ca_certificate": {}}), "VPN.0001"),
        (
            json!({"id_value": "10.0.0.1", "ca_certificate": {"id": "nobody"}}),
            "VPN.0001",
        ),
    ] {
        let (status, got, text) = cloud.create(fields.clone()).await.error();
        assert_eq!((status, got.as_str()), (400, code), "{fields}: {text}");
    }
    assert_eq!(cloud.true_count().await, 0);
}

#[tokio::test]
async fn an_invalid_body_is_refused() {
    let cloud = Cloud::start().await;
    for body in ["", "{", "[]", "{}", r#"{"customer_gateway":7}"#] {
        let path = in_project("customer-gateways");
        let request = cloud.signed(&Signer::default(), Method::POST, &path, Some(body));
        cloud.send(request).await.unwrap().assert_error(400, "VPN.0001");
    }
}

#[tokio::test]
async fn a_gateway_with_a_connection_cannot_be_deleted() {
    let cloud = Cloud::start().await;
    let id = cloud.created("office").await;
    cloud.patch(&id, json!({"connection": "vpn-1"})).await;
    let (status, code, text) = cloud.delete(&id).await.error();
    assert_eq!((status, code.as_str()), (400, "VPN.0001"));
    assert_eq!(text, format!("invalid request: customer gateway {id} has connection"));
    cloud.patch(&id, json!({"connection": ""})).await;
    cloud.delete(&id).await.expect(204);
}

#[tokio::test]
async fn an_update_validates_the_name() {
    let cloud = Cloud::start().await;
    let id = cloud.created("office").await;
    cloud
        .update(&id, json!({"name": "a b"}))
        .await
        .assert_error(400, "VPN.0001");
    cloud
        .update(UNKNOWN_ID, json!({"name": "b"}))
        .await
        .assert_error(404, "VPN.0004");
    cloud.update(&id, json!({})).await.expect(200);
    assert_eq!(cloud.gateway(&id).await.json()["customer_gateway"]["name"], "office");
}

#[tokio::test]
async fn the_quota_is_enforced_and_listed() {
    let cloud = Cloud::start().await;
    let project = json!({"name": "eu-west-101", "gateway_quota": 2});
    let path = format!("projects/{}", vpn_simulator::tryout::PROJECT_ID);
    cloud.admin(Method::PUT, &path, project).await.expect(200);
    let first = cloud.created("a").await;
    cloud.created("b").await;
    let (status, code, text) = cloud.create(json!({"id_value": "10.0.0.1"})).await.error();
    assert_eq!((status, code.as_str()), (400, "VPN.0001"));
    assert!(text.contains("quota"), "{text}");
    let quotas = cloud.get("vpn/quotas").await.expect(200);
    assert_eq!(
        quotas["quotas"]["resources"][0],
        json!({"type": "customer_gateway", "quota": 2, "used": 2})
    );
    let types: Vec<_> = quotas["quotas"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|quota| &quota["type"])
        .collect();
    assert_eq!(types, ["customer_gateway", "vpn_connection", "vpn_gateway"]);
    cloud.delete(&first).await.expect(204);
    cloud.created("c").await;
}

#[tokio::test]
async fn lists_contain_only_gateways_of_the_project() {
    let cloud = Cloud::start().await;
    let id = cloud.created("office").await;
    let other = "f".repeat(32);
    cloud
        .admin(
            Method::PUT,
            &format!("projects/{other}"),
            json!({"name": "eu-west-101_b"}),
        )
        .await
        .expect(200);
    for path in [format!("customer-gateways/{id}"), format!("customer-gateway/{id}/tags")] {
        let request = cloud.signed(&Signer::default(), Method::GET, &format!("/v5/{other}/{path}"), None);
        cloud.send(request).await.unwrap().assert_error(404, "VPN.0004");
    }
    let request = cloud.signed(
        &Signer::default(),
        Method::GET,
        &format!("/v5/{other}/customer-gateways"),
        None,
    );
    assert_eq!(cloud.send(request).await.unwrap().expect(200)["total_count"], 0);
}

#[tokio::test]
async fn unpublished_paths_return_the_api_gateways_404() {
    let cloud = Cloud::start().await;
    for (method, path) in [
        (Method::GET, "vpn-servers/x"),
        (Method::GET, "p2c-vpn-gateways"),
        (Method::PATCH, "customer-gateways/x"),
        (Method::GET, "customer-gateways/"),
        (Method::POST, "vpn/customer-gateways"),
    ] {
        cloud.call(method, path, None).await.assert_error(404, "APIGW.0101");
    }
}

/// A self-signed certificate in PEM.
pub(crate) fn certificate(change: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Office CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    change(&mut params);
    params.self_signed(key).unwrap().pem()
}

pub(crate) fn good_certificate() -> String {
    certificate(|_| {}, &KeyPair::generate().unwrap())
}

#[tokio::test]
async fn a_ca_certificate_is_described_and_never_returned() {
    let cloud = Cloud::start().await;
    let pem = good_certificate();
    let answer = cloud
        .create(json!({"id_value": "10.0.0.1", "ca_certificate": {"content": pem}}))
        .await;
    assert!(!answer.text.contains("BEGIN CERTIFICATE"));
    let gateway = answer.expect(201)["customer_gateway"].clone();
    let shown = &gateway["ca_certificate"];
    assert_eq!(shown["issuer"], "CN=Office CA");
    assert_eq!(shown["subject"], "CN=Office CA");
    assert_eq!(shown["signature_algorithm"], "ecdsa-with-SHA256");
    assert_eq!(shown["expire_time"], "2200-01-01T00:00:00.000Z");
    assert_eq!(shown["is_updatable"], true);
    assert!(shown["serial_number"].as_str().unwrap().len() > 8);
    let id = gateway["id"].as_str().unwrap();
    assert_eq!(
        cloud.gateway(id).await.json()["customer_gateway"]["ca_certificate"],
        *shown
    );

    let reused = cloud
        .create(json!({"id_value": "10.0.0.2", "ca_certificate": {"id": shown["id"]}}))
        .await;
    assert_eq!(reused.expect(201)["customer_gateway"]["ca_certificate"], *shown);
    let update = json!({"ca_certificate": {"content": good_certificate()}});
    let updated = cloud.update(id, update).await.expect(200);
    assert_ne!(updated["customer_gateway"]["ca_certificate"]["id"], shown["id"]);
}

#[tokio::test]
async fn an_invalid_ca_certificate_is_refused_with_its_code() {
    let cloud = Cloud::start().await;
    let key = KeyPair::generate().unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    for (content, code) in [
        (certificate(|_| {}, &ed25519), "VPN.0070"),
        (
            certificate(|params| params.not_after = date_time_ymd(2021, 1, 1), &key),
            "VPN.0072",
        ),
        (
            certificate(|params| params.not_before = date_time_ymd(2199, 1, 1), &key),
            "VPN.0073",
        ),
        ("not a certificate".to_owned(), "VPN.0074"),
        (key.serialize_pem(), "VPN.0074"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "VPN.0075",
        ),
        (
            certificate(|params| params.is_ca = IsCa::ExplicitNoCa, &key),
            "VPN.0076",
        ),
    ] {
        let fields = json!({"id_value": "10.0.0.1", "ca_certificate": {"content": content}});
        cloud.create(fields).await.assert_error(400, code);
    }
}

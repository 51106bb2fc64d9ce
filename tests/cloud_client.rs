//! The client of the VPN API against a server with prepared answers: what it sends, and how it handles any answer.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{Read, Write},
    net::TcpListener as StdListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use vpn_cloud::credentials::signing::{Authorization, parse_date};
use vpn_cloud::error::cause::RequestError;
use vpn_cloud::error::http_error::HttpError;
use vpn_cloud::lists::paging::{LIMIT, Page};
use vpn_cloud::resources::customer_gateways::{CertificateContent, CustomerGatewayUpdate, NewCustomerGateway};
use vpn_cloud::resources::iam;
use vpn_cloud::resources::user_groups::{GroupMember, UserGroup};
use vpn_cloud::resources::users::{NewUser, User, UserUpdate};
use vpn_cloud::values::password::Password;
use vpn_cloud::{
    Client, CloudError, CloudResponse, Credentials, ErrorKind, Operation, ProjectScope, RequestObserver, Transport,
    TransportOptions,
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
const SECRET_KEY: &str = "sentinel-secret-key";

/// Records the finished requests.
#[derive(Default)]
struct Heard(Mutex<Vec<(Operation, &'static str)>>);

impl RequestObserver for Heard {
    fn finished(&self, operation: Operation, outcome: &'static str, _elapsed: Duration) {
        self.0.lock().expect("sound").push((operation, outcome));
    }
}

impl Heard {
    fn outcomes(&self) -> Vec<&'static str> {
        self.0
            .lock()
            .expect("sound")
            .iter()
            .map(|(_, outcome)| *outcome)
            .collect()
    }
}

fn credentials(token: Option<&str>) -> Credentials {
    Credentials::new("AK".to_owned(), SECRET_KEY.into(), token.map(Into::into)).expect("usable")
}

fn transport(heard: &Arc<Heard>, request_timeout: Duration) -> Transport {
    let options = TransportOptions {
        ca_file: None,
        request_timeout,
    };
    Transport::new(&options, heard.clone()).expect("it can be set up")
}

fn client_at(endpoint: &str, heard: &Arc<Heard>, timeout: Duration) -> Client {
    let scope = ProjectScope {
        endpoint: endpoint.to_owned(),
        project_id: PROJECT.to_owned(),
    };
    Client::new(
        transport(heard, timeout),
        Arc::new(credentials(Some("sentinel-token"))),
        scope,
    )
}

struct Bed {
    server: MockServer,
    heard: Arc<Heard>,
    client: Client,
}

/// A server that gives every request this answer.
async fn answering(answer: ResponseTemplate) -> Bed {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let heard = Arc::new(Heard::default());
    let client = client_at(&server.uri(), &heard, Duration::from_secs(30));
    Bed { server, heard, client }
}

impl Bed {
    /// The one request that came.
    async fn request(&self) -> Request {
        let mut requests = self.server.received_requests().await.expect("they are recorded");
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().expect("text"))
}

/// Verifies the signature of a request. Returns its method, its path with query, and its body.
fn verified(request: &Request) -> (String, String, Value) {
    let authorization = Authorization::parse(header(request, "authorization").expect("signed")).expect("well formed");
    assert_eq!(authorization.access_key, "AK");
    let (path, query) = (request.url.path(), request.url.query().unwrap_or_default());
    let look_up = |name: &str| header(request, name);
    let method = request.method.as_str();
    assert!(authorization.verify(&SECRET_KEY.into(), method, path, query, look_up, &request.body));
    assert!(parse_date(header(request, "x-sdk-date").expect("dated")).is_some());
    assert_eq!(header(request, "accept"), Some("application/json"));
    assert!(header(request, "user-agent").is_some_and(|agent| agent.starts_with("vpn-operator/")));
    let body = match request.body.as_slice() {
        [] => Value::Null,
        body => serde_json::from_slice(body).expect("JSON"),
    };
    let typed = header(request, "content-type");
    assert_eq!(typed, (!body.is_null()).then_some("application/json"));
    let mut signed = vec!["host", "x-project-id", "x-sdk-date", "x-security-token"];
    signed.extend(typed.map(|_| "content-type"));
    signed.extend(header(request, "x-client-token").map(|_| "x-client-token"));
    signed.sort_unstable();
    assert_eq!(authorization.signed_headers, signed);
    assert_eq!(header(request, "x-project-id"), Some(PROJECT));
    assert_eq!(header(request, "x-security-token"), Some("sentinel-token"));
    let target = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    (method.to_owned(), target.replace(PROJECT, "{p}"), body)
}

fn ok(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .insert_header("X-Request-Id", "r-1")
        .insert_header("Date", "Wed, 13 Aug 2025 02:34:56 GMT")
        .set_body_json(body)
}

fn gateway() -> Value {
    json!({"customer_gateway": {"id": "g1", "name": "office", "surprise": [1], "tags": null}, "request_id": "r-0"})
}

fn tags() -> BTreeMap<String, String> {
    [("env", "dev test"), ("owner", "")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn new_gateway() -> NewCustomerGateway {
    NewCustomerGateway {
        name: "office".to_owned(),
        id_type: "ip".to_owned(),
        id_value: "203.0.113.7".to_owned(),
        bgp_asn: Some(4_294_967_295),
        ca_certificate: None,
        tags: tags(),
    }
}

fn assert_request_id_and_date<T>(answer: &CloudResponse<T>) {
    assert_eq!(answer.request_id.as_deref(), Some("r-1"));
    assert_eq!(
        answer.date.map(|date| date.to_string()).as_deref(),
        Some("2025-08-13T02:34:56Z")
    );
}

#[tokio::test]
async fn create_gateway_sends_the_set_fields_and_reads_the_response() {
    let bed = answering(ok(201, gateway())).await;
    let answer = bed.client.create_customer_gateway(&new_gateway()).await.expect("made");
    assert_request_id_and_date(&answer);
    assert_eq!(answer.value.id, "g1");
    assert_eq!(answer.value.tags, None, "the answer did not say");
    let (method, target, body) = verified(&bed.request().await);
    assert_eq!(
        (method.as_str(), target.as_str()),
        ("POST", "/v5/{p}/customer-gateways")
    );
    assert_eq!(
        body,
        json!({"customer_gateway": {
            "name": "office", "id_type": "ip", "id_value": "203.0.113.7", "bgp_asn": 4_294_967_295_u32,
            "tags": [{"key": "env", "value": "dev test"}, {"key": "owner", "value": ""}],
        }})
    );
    assert_eq!(
        bed.heard.0.lock().expect("sound")[..],
        [(Operation::CreateCustomerGateway, "ok")]
    );
}

#[tokio::test]
async fn get_gateway_reads_every_field() {
    let full = json!({"customer_gateway": {
        "id": "g1", "name": "office", "id_type": "ip", "id_value": "203.0.113.7", "bgp_asn": 4_294_967_295_u32,
        "ca_certificate": {"id": "c1", "issuer": "CN=i", "expire_time": "2030-01-01T00:00:00Z", "is_updatable": true},
        "created_at": "2025-08-13T02:34:56.784574762Z", "tags": [{"key": "a", "value": "b"}, {"key": "c"}],
        "route_mode": "bgp", "ip": "203.0.113.7",
    }});
    let bed = answering(ok(200, full)).await;
    let answer = bed.client.get_customer_gateway("g1").await.expect("found");
    assert_request_id_and_date(&answer);
    let gateway = answer.value;
    assert_eq!(gateway.bgp_asn, Some(4_294_967_295));
    assert_eq!(gateway.created_at.as_deref(), Some("2025-08-13T02:34:56.784574762Z"));
    assert_eq!(
        gateway.tags,
        Some(
            [("a", "b"), ("c", "")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        )
    );
    assert_eq!(
        gateway.ca_certificate.and_then(|certificate| certificate.is_updatable),
        Some(true)
    );
    let (method, target, body) = verified(&bed.request().await);
    assert_eq!(
        (method.as_str(), target.as_str()),
        ("GET", "/v5/{p}/customer-gateways/g1")
    );
    assert_eq!(body, Value::Null);
}

#[tokio::test]
async fn list_gateways_requests_full_pages_and_escapes_the_marker() {
    let page = json!({
        "customer_gateways": [{"id": "g1"}], "total_count": 7, "request_id": "r-0",
        "page_info": {"next_marker": "2025-07-17T16:49:28.108+08:00", "current_count": 1},
    });
    let bed = answering(ok(200, page)).await;
    let answer = bed
        .client
        .list_customer_gateways_page(LIMIT, None)
        .await
        .expect("listed");
    assert_request_id_and_date(&answer);
    let page = answer.value;
    assert_eq!(page.items.len(), 1);
    assert_eq!((page.total_count, page.current_count), (Some(7), Some(1)));
    bed.client
        .list_customer_gateways_page(LIMIT, page.next_marker.as_deref())
        .await
        .expect("listed");
    let requests = bed.server.received_requests().await.expect("they are recorded");
    let targets: Vec<_> = requests.iter().map(|request| verified(request).1).collect();
    assert_eq!(
        targets,
        [
            "/v5/{p}/customer-gateways?limit=200",
            "/v5/{p}/customer-gateways?limit=200&marker=2025-07-17T16%3A49%3A28.108%2B08%3A00",
        ]
    );
}

#[tokio::test]
async fn a_null_list_is_empty_and_a_missing_list_is_an_error() {
    let bed = answering(ok(
        200,
        json!({"customer_gateways": null, "total_count": 0, "page_info": null}),
    ))
    .await;
    let page = bed
        .client
        .list_customer_gateways_page(LIMIT, None)
        .await
        .expect("listed")
        .value;
    assert_eq!(
        (page.items.len(), page.total_count, page.next_marker),
        (0, Some(0), None)
    );
    let bed = answering(ok(200, json!({"total_count": 0}))).await;
    let error = bed
        .client
        .list_customer_gateways_page(LIMIT, None)
        .await
        .expect_err("no list");
    assert_eq!(error.kind, ErrorKind::CloudFault);
}

#[tokio::test]
async fn an_unreadable_item_does_not_fail_the_list() {
    let null_value = json!({"id": "g1", "name": "a", "tags": [{"key": "team", "value": null}, {"key": "env"}]});
    let number = json!({"id": "g2", "name": 5, "id_value": "203.0.113.2", "tags": [{"key": 7, "value": "x"}]});
    let items = json!([null_value, number, {"name": "no id"}, {"id": "g3", "name": "c"}]);
    let bed = answering(ok(200, json!({"customer_gateways": items, "total_count": 4}))).await;
    let page = bed
        .client
        .list_customer_gateways_page(LIMIT, None)
        .await
        .expect("listed")
        .value;
    let ids: Vec<_> = page.items.iter().map(|gateway| gateway.id.as_str()).collect();
    assert_eq!(ids, ["g1", "g2", "g3"]);
    let empty = BTreeMap::from([("team".to_owned(), String::new()), ("env".to_owned(), String::new())]);
    assert_eq!(page.items[0].tags.as_ref(), Some(&empty), "null is an empty value");
    let read = &page.items[1];
    assert_eq!(
        (&read.name, &read.tags),
        (&None, &None),
        "what cannot be read counts as not answered"
    );
    assert_eq!(read.id_value.as_deref(), Some("203.0.113.2"));
    let unreadable: Vec<_> = page.unreadable.iter().map(|item| item.id.as_deref()).collect();
    assert_eq!(unreadable, [Some("g2"), None]);
    let problem = &page.unreadable[0].problem;
    assert!(problem.contains("name: ") && problem.contains("tags: "), "{problem}");
    assert_eq!(bed.heard.outcomes(), ["ok"]);
}

#[tokio::test]
async fn update_gateway_sends_only_the_changed_fields() {
    let bed = answering(ok(200, gateway())).await;
    let change = CustomerGatewayUpdate {
        name: Some("new".to_owned()),
        ca_certificate: None,
    };
    assert_request_id_and_date(
        &bed.client
            .update_customer_gateway("g1", &change)
            .await
            .expect("changed"),
    );
    let (method, target, body) = verified(&bed.request().await);
    assert_eq!(
        (method.as_str(), target.as_str()),
        ("PUT", "/v5/{p}/customer-gateways/g1")
    );
    assert_eq!(body, json!({"customer_gateway": {"name": "new"}}));

    let bed = answering(ok(202, gateway())).await;
    let content = CertificateContent {
        content: "PEM\n".to_owned(),
    };
    let change = CustomerGatewayUpdate {
        name: None,
        ca_certificate: Some(content),
    };
    bed.client
        .update_customer_gateway("g1", &change)
        .await
        .expect("changed");
    let (_, _, body) = verified(&bed.request().await);
    assert_eq!(
        body,
        json!({"customer_gateway": {"ca_certificate": {"content": "PEM\n"}}})
    );
}

#[tokio::test]
async fn delete_gateway_accepts_any_success_status() {
    for answer in [
        ResponseTemplate::new(204),
        ResponseTemplate::new(200),
        ok(202, json!({"request_id": "r-0"})),
    ] {
        let bed = answering(answer).await;
        bed.client.delete_customer_gateway("g1").await.expect("deleted");
        let (method, target, body) = verified(&bed.request().await);
        assert_eq!(
            (method.as_str(), target.as_str()),
            ("DELETE", "/v5/{p}/customer-gateways/g1")
        );
        assert_eq!(body, Value::Null);
    }
}

#[tokio::test]
async fn tag_requests_use_the_tag_paths() {
    let sent = json!({"tags": [{"key": "env", "value": "dev test"}, {"key": "owner", "value": ""}]});
    let bed = answering(ResponseTemplate::new(204)).await;
    bed.client
        .add_customer_gateway_tags("g1", &tags())
        .await
        .expect("added");
    let request = verified(&bed.request().await);
    assert_eq!(
        request,
        (
            "POST".into(),
            "/v5/{p}/customer-gateway/g1/tags/create".into(),
            sent.clone()
        )
    );

    let bed = answering(ResponseTemplate::new(204)).await;
    bed.client
        .remove_customer_gateway_tags("g1", &tags())
        .await
        .expect("removed");
    let request = verified(&bed.request().await);
    assert_eq!(
        request,
        (
            "POST".into(),
            "/v5/{p}/customer-gateway/g1/tags/delete".into(),
            sent.clone()
        )
    );

    let bed = answering(ok(200, sent)).await;
    assert_eq!(
        bed.client.customer_gateway_tags("g1").await.expect("read").value,
        tags()
    );
    let request = verified(&bed.request().await);
    assert_eq!(
        request,
        ("GET".into(), "/v5/{p}/customer-gateway/g1/tags".into(), Value::Null)
    );

    for none in [
        json!({"tags": []}),
        json!({"tags": null, "request_id": "r-0"}),
        json!({}),
    ] {
        let bed = answering(ok(200, none)).await;
        assert_eq!(
            bed.client.customer_gateway_tags("g1").await.expect("read").value,
            BTreeMap::new()
        );
    }
    let bed = answering(ok(200, json!({"something": "else"}))).await;
    let error = bed
        .client
        .customer_gateway_tags("g1")
        .await
        .expect_err("it does not say that there are none");
    assert_eq!(error.kind, ErrorKind::CloudFault);
}

const USERS: &str = "/v5/{p}/p2c-vpn-gateways/vpn-servers/s1/users";
const GROUPS: &str = "/v5/{p}/p2c-vpn-gateways/vpn-servers/s1/groups";
const TOKEN: &str = "0b2e9d0c-5a1f-4c67-9d53-1c1f0e7c2a11";
/// Contains characters that JSON, HTML and URLs escape.
const PASSWORD: &str = "sentinel<\"\\&  PASS";

fn new_user() -> NewUser {
    NewUser {
        name: "alice.dev".to_owned(),
        password: Password::new(PASSWORD),
        description: None,
        user_group_id: None,
        static_ip: None,
    }
}

#[tokio::test]
async fn create_user_sends_a_signed_client_token_and_the_set_fields() {
    let bed = answering(ok(
        201,
        json!({"user": {"id": "u1", "surprise": 1}, "request_id": "r-0"}),
    ))
    .await;
    let answer = bed.client.create_user("s1", &new_user(), TOKEN).await.expect("made");
    assert_request_id_and_date(&answer);
    assert_eq!(answer.value.id, "u1");
    let request = bed.request().await;
    assert_eq!(header(&request, "x-client-token"), Some(TOKEN));
    let body = json!({"user": {"name": "alice.dev", "password": PASSWORD}});
    assert_eq!(verified(&request), ("POST".to_owned(), USERS.to_owned(), body));
    assert_eq!(
        bed.heard.0.lock().expect("sound")[..],
        [(Operation::CreateVpnUser, "ok")]
    );

    let bed = answering(ok(201, json!({"user": {"id": "u1"}}))).await;
    let full = NewUser {
        description: Some(String::new()),
        user_group_id: Some("g1".to_owned()),
        static_ip: Some("192.168.10.5".to_owned()),
        ..new_user()
    };
    bed.client.create_user("s1", &full, TOKEN).await.expect("made");
    let (_, _, body) = verified(&bed.request().await);
    assert_eq!(
        body,
        json!({"user": {"name": "alice.dev", "password": PASSWORD, "description": "", "user_group_id": "g1",
            "static_ip": "192.168.10.5"}})
    );
}

#[tokio::test]
async fn a_client_token_invalid_in_a_header_is_not_sent() {
    let bed = answering(ok(201, json!({"user": {"id": "u1"}}))).await;
    let error = bed
        .client
        .create_user("s1", &new_user(), "a\nb")
        .await
        .expect_err("bad");
    assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Rejected, false));
    assert!(error.text().contains("client token"), "{error}");
    assert_eq!(bed.heard.outcomes(), ["invalid"]);
}

#[tokio::test]
async fn get_and_list_users_read_every_field() {
    let full = json!({"id": "u1", "name": "alice.dev", "description": "it's ours", "user_group_id": "yWYnJt0R-Q0a7",
        "user_group_name": "ops", "static_ip": "192.168.10.5", "created_at": "2024-07-29T02:34:56.5Z",
        "updated_at": "2025-07-17T16:49:28.108+08:00", "surprise": {}});
    let user = User {
        id: "u1".to_owned(),
        name: Some("alice.dev".to_owned()),
        description: Some("it's ours".to_owned()),
        user_group_id: Some("yWYnJt0R-Q0a7".to_owned()),
        user_group_name: Some("ops".to_owned()),
        static_ip: Some("192.168.10.5".to_owned()),
        created_at: Some("2024-07-29T02:34:56.5Z".to_owned()),
        updated_at: Some("2025-07-17T16:49:28.108+08:00".to_owned()),
        is_partial: false,
    };
    let bed = answering(ok(200, json!({"user": full, "request_id": "r-0"}))).await;
    let answer = bed.client.get_user("s1", "u1").await.expect("found");
    assert_request_id_and_date(&answer);
    assert_eq!(answer.value, user);
    let request = verified(&bed.request().await);
    assert_eq!(request, ("GET".to_owned(), format!("{USERS}/u1"), Value::Null));

    let bed = answering(ok(
        200,
        json!({"users": [full, {"id": "u2", "user_group_id": ""}], "total_count": 7,
            "page_info": {"next_marker": "2024-07-29T02:34:56.5Z", "current_count": 2}}),
    ))
    .await;
    let page = bed
        .client
        .list_users_page("s1", LIMIT, None)
        .await
        .expect("listed")
        .value;
    let bare = User {
        id: "u2".to_owned(),
        ..User::default()
    };
    let expected = Page {
        unreadable: vec![],
        items: vec![user, bare],
        total_count: Some(7),
        next_marker: Some("2024-07-29T02:34:56.5Z".to_owned()),
        current_count: Some(2),
    };
    assert_eq!(page, expected);
    let marker = page.next_marker.as_deref();
    bed.client.list_users_page("s1", LIMIT, marker).await.expect("listed");
    let requests = bed.server.received_requests().await.expect("they are recorded");
    let targets: Vec<_> = requests.iter().map(|request| verified(request).1).collect();
    assert_eq!(
        targets,
        [
            format!("{USERS}?limit=200"),
            format!("{USERS}?limit=200&marker=2024-07-29T02%3A34%3A56.5Z")
        ]
    );
}

#[tokio::test]
async fn every_documented_end_of_a_user_list_is_recognized() {
    for (rest, next) in [
        (
            json!({"total_count": 0, "page_info": {"next_marker": null, "current_count": 0}}),
            None,
        ),
        (json!({"total_count": 0, "page_info": {"current_count": 0}}), None),
        (json!({"total_count": 0, "page_info": null}), None),
        (json!({"total_count": 0}), None),
        (json!({"total_count": 0, "page_info": {"next_marker": ""}}), Some("")),
    ] {
        for empty in [json!([]), Value::Null] {
            let mut body = rest.clone();
            for list in ["users", "user_groups", "vpn_servers"] {
                body[list] = empty.clone();
            }
            let bed = answering(ok(200, body)).await;
            let client = &bed.client;
            let users = client.list_users_page("s1", LIMIT, None).await.expect("listed").value;
            assert_eq!((users.items.len(), users.next_marker.as_deref()), (0, next));
            let groups = client
                .list_user_groups_page("s1", LIMIT, None)
                .await
                .expect("listed")
                .value;
            assert_eq!((groups.items.len(), groups.next_marker.as_deref()), (0, next));
            let members = client.list_group_members_page("s1", "g1", LIMIT, None).await;
            let members = members.expect("listed").value;
            assert_eq!((members.items.len(), members.next_marker.as_deref()), (0, next));
            let servers = client.list_vpn_servers_page(LIMIT, None).await.expect("listed").value;
            assert_eq!((servers.items.len(), servers.total_count), (0, Some(0)));
        }
    }
    let bed = answering(ok(200, json!({"total_count": 0, "page_info": {}}))).await;
    for error in [
        bed.client
            .list_users_page("s1", LIMIT, None)
            .await
            .expect_err("no list"),
        bed.client
            .list_user_groups_page("s1", LIMIT, None)
            .await
            .expect_err("no list"),
        bed.client
            .list_group_members_page("s1", "g1", LIMIT, None)
            .await
            .expect_err("no list"),
        bed.client
            .list_vpn_servers_page(LIMIT, None)
            .await
            .expect_err("no list"),
    ] {
        assert_eq!(error.kind, ErrorKind::CloudFault);
    }
}

#[tokio::test]
async fn update_and_delete_user_send_the_documented_requests() {
    let bed = answering(ok(200, json!({"user": {"id": "u1", "description": ""}}))).await;
    let change = UserUpdate {
        user_group_id: Some("g2".to_owned()),
        ..UserUpdate::keeping(&User {
            static_ip: Some("disable".to_owned()),
            ..User::default()
        })
    };
    let answer = bed.client.update_user("s1", "u1", &change).await.expect("changed");
    assert_request_id_and_date(&answer);
    assert_eq!(answer.value.description.as_deref(), Some(""));
    let body = json!({"user": {"description": "", "static_ip": "disable", "user_group_id": "g2"}});
    let request = verified(&bed.request().await);
    assert_eq!(request, ("PUT".to_owned(), format!("{USERS}/u1"), body));

    for answer in [ResponseTemplate::new(204), ok(200, json!({"request_id": "r-0"}))] {
        let bed = answering(answer).await;
        bed.client.delete_user("s1", "u1").await.expect("deleted");
        let request = verified(&bed.request().await);
        assert_eq!(request, ("DELETE".to_owned(), format!("{USERS}/u1"), Value::Null));
    }
}

#[tokio::test]
async fn password_reset_sends_a_flat_body_without_a_client_token() {
    for answer in [ok(200, json!({"request_id": "r-0"})), ResponseTemplate::new(204)] {
        let bed = answering(answer).await;
        let password = Password::new(PASSWORD);
        bed.client
            .reset_user_password("s1", "u1", &password)
            .await
            .expect("reset");
        let request = bed.request().await;
        assert_eq!(header(&request, "x-client-token"), None);
        let body = json!({"new_password": PASSWORD});
        let expected = ("POST".to_owned(), format!("{USERS}/u1/reset-password"), body);
        assert_eq!(verified(&request), expected);
    }
}

#[tokio::test]
async fn group_and_server_requests_use_their_paths() {
    let paged = json!({"total_count": 2, "page_info": {"current_count": 2},
        "user_groups": [{"id": "g1", "name": "default", "type": "Default", "user_number": 3}, {"id": "g2"}],
        "users": [{"id": "u1", "name": "alice", "description": null}, {"id": "u2"}],
        "vpn_servers": [{"id": "s1", "p2c_vgw_id": "p1", "status": "ACTIVE", "client_auth_type": "LOCAL_PASSWORD",
            "client_cidr": "192.168.10.0/24", "server_certificate": null}, {"id": "s2"}]});
    let bed = answering(ok(200, paged.clone())).await;
    let groups = bed
        .client
        .list_user_groups_page("s1", LIMIT, Some("m"))
        .await
        .expect("listed");
    let default = UserGroup {
        id: "g1".to_owned(),
        name: Some("default".to_owned()),
        description: None,
        kind: Some("Default".to_owned()),
        created_at: None,
    };
    assert_eq!(groups.value.items[0], default);
    let request = verified(&bed.request().await);
    assert_eq!(
        request,
        ("GET".to_owned(), format!("{GROUPS}?limit=200&marker=m"), Value::Null)
    );

    let bed = answering(ok(200, paged.clone())).await;
    let members = bed.client.list_group_members_page("s1", "g1", LIMIT, Some("m")).await;
    let alice = GroupMember {
        id: "u1".to_owned(),
        name: Some("alice".to_owned()),
    };
    assert_eq!(members.expect("listed").value.items[0], alice);
    let request = verified(&bed.request().await);
    let target = format!("{GROUPS}/g1/users?limit=200&marker=m");
    assert_eq!(request, ("GET".to_owned(), target, Value::Null));

    let bed = answering(ok(200, paged)).await;
    let servers = bed
        .client
        .list_vpn_servers_page(LIMIT, Some("m"))
        .await
        .expect("listed")
        .value;
    assert_eq!(servers.items[0].client_auth_type.as_deref(), Some("LOCAL_PASSWORD"));
    assert_eq!(servers.items[0].status.as_deref(), Some("ACTIVE"));
    assert_eq!(servers.items[1].client_cidr, None);
    let request = verified(&bed.request().await);
    let target = "/v5/{p}/vpn-servers?limit=200&marker=m".to_owned();
    assert_eq!(request, ("GET".to_owned(), target, Value::Null));

    let sent = json!({"users": [{"id": "u1"}, {"id": "u2"}]});
    let bed = answering(ok(201, json!({"request_id": "r-0"}))).await;
    let added = bed.client.add_users_to_group("s1", "g1", &["u1", "u2"]).await;
    assert_request_id_and_date(&added.expect("added"));
    let request = verified(&bed.request().await);
    assert_eq!(
        request,
        ("POST".to_owned(), format!("{GROUPS}/g1/add-users"), sent.clone())
    );

    let bed = answering(ResponseTemplate::new(204)).await;
    let removed = bed.client.remove_users_from_group("s1", "g1", &["u1", "u2"]).await;
    removed.expect("removed");
    let request = verified(&bed.request().await);
    assert_eq!(request, ("POST".to_owned(), format!("{GROUPS}/g1/remove-users"), sent));
}

/// The errors of the two calls that carry a password, with this answer.
async fn password_failures(answer: ResponseTemplate) -> [CloudError; 2] {
    let bed = answering(answer).await;
    let (user, password) = (new_user(), Password::new(PASSWORD));
    let create = bed.client.create_user("s1", &user, TOKEN).await.expect_err("refused");
    let reset = bed.client.reset_user_password("s1", "u1", &password).await;
    [create, reset.expect_err("refused")]
}

/// Asserts that an error shows the password in no spelling, whole or in part.
#[track_caller]
fn assert_no_password(error: &CloudError) {
    for shown in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
        assert!(!shown.to_lowercase().contains("sentinel<"), "{shown}");
        assert!(!shown.to_lowercase().contains("sentinel&"), "{shown}");
        assert!(!shown.contains("PASS"), "{shown}");
    }
}

#[tokio::test]
async fn an_error_that_repeats_the_password_is_redacted() {
    let json_in_text = json!({"user": {"name": "alice.dev", "password": PASSWORD}}).to_string();
    // Long messages are cut off within the value.
    let long = format!("{}password {PASSWORD} is weak", "x".repeat(280));
    for text in [
        format!("the password {PASSWORD} is too weak"),
        format!("invalid request: password in {json_in_text}"),
        "password sentinel&lt;&quot;\\&amp;  PASS".to_owned(),
        format!("password {}", PASSWORD.replace("  ", " ")),
        format!("password {}", PASSWORD.replace("  ", " \n ")),
        long,
    ] {
        for body in [
            json!({"error_code": "VPN.1305", "error_msg": text, "request_id": PASSWORD}),
            json!({"code": "VPN.1305", "message": text}),
        ] {
            for error in password_failures(ResponseTemplate::new(400).set_body_json(body)).await {
                assert_no_password(&error);
                assert_eq!(error.kind, ErrorKind::BadPassword, "{error}");
                assert!(error.text().contains("password"), "the rest stays: {error}");
            }
        }
    }
    let body = json!({"error_code": PASSWORD, "error_msg": "weak password"});
    for error in password_failures(ResponseTemplate::new(400).set_body_json(body)).await {
        assert_no_password(&error);
    }
}

#[tokio::test]
async fn an_unknown_response_to_a_request_with_a_password_is_not_quoted() {
    let echo = json!({"user": PASSWORD}).to_string();
    for answer in [
        ResponseTemplate::new(400).set_body_string(&echo),
        ResponseTemplate::new(502).set_body_string(format!("<title>{PASSWORD}</title>")),
        ResponseTemplate::new(502).set_body_string(PASSWORD),
        // A success with a string where an object belongs: serde would quote it.
        ResponseTemplate::new(201).set_body_string(&echo),
        ResponseTemplate::new(200).set_body_string(format!("<html>{PASSWORD}")),
    ] {
        let bed = answering(answer).await;
        let error = bed.client.create_user("s1", &new_user(), TOKEN).await;
        let error = error.expect_err("not the API's words");
        assert_no_password(&error);
        assert!(error.text().contains("is not shown"), "{error}");
    }
    let bed = answering(ResponseTemplate::new(200).set_body_string(format!("<html>{PASSWORD}"))).await;
    let password = Password::new(PASSWORD);
    let reset = bed.client.reset_user_password("s1", "u1", &password).await;
    let error = reset.expect_err("not the API's words");
    assert_no_password(&error);
    assert!(error.outcome_unknown, "{error}");
}

#[tokio::test]
async fn a_repeated_operation_error_leaves_the_outcome_unknown() {
    let body = json!({"error_code": "VPN.0031", "error_msg": "Repeated operation, try again later."});
    for error in password_failures(ok(400, body)).await {
        assert_eq!(error.kind, ErrorKind::Repeated);
        assert!(error.outcome_unknown, "the one before may have been done");
    }
    let body = json!({"error_code": "VPN.0030", "error_msg": "The system is busy."});
    for error in password_failures(ok(400, body)).await {
        assert_eq!(error.kind, ErrorKind::QueueFull);
        assert_eq!(error.delay(1), Duration::from_secs(10));
        assert!(!error.outcome_unknown);
    }
}

#[tokio::test]
async fn a_create_response_without_an_id_leaves_the_outcome_unknown() {
    for body in [
        json!({"user": {}}),
        json!({"user": {"id": ""}}),
        json!({"user": null}),
        json!({"invalid_users": []}),
    ] {
        let bed = answering(ok(201, body)).await;
        let error = bed.client.create_user("s1", &new_user(), TOKEN).await;
        let error = error.expect_err("there is no id");
        assert!(error.outcome_unknown && error.kind == ErrorKind::CloudFault, "{error}");
    }
}

#[tokio::test]
async fn an_id_is_escaped_into_one_path_segment() {
    for (id, target) in [
        ("a b/c?d#e%2f", "/v5/{p}/customer-gateways/a%20b%2Fc%3Fd%23e%252f"),
        (
            "../../v3/用户",
            "/v5/{p}/customer-gateways/..%2F..%2Fv3%2F%E7%94%A8%E6%88%B7",
        ),
        ("a~b*c", "/v5/{p}/customer-gateways/a~b%2Ac"),
    ] {
        let bed = answering(ok(200, gateway())).await;
        bed.client.get_customer_gateway(id).await.expect("found");
        assert_eq!(verified(&bed.request().await).1, target, "{id}");
    }
}

#[tokio::test]
async fn an_id_that_changes_the_path_is_not_sent() {
    let bed = answering(ok(200, gateway())).await;
    for id in ["", ".", ".."] {
        let error = bed.client.delete_customer_gateway(id).await.expect_err("not an id");
        assert_eq!(
            (error.kind, error.status, error.outcome_unknown),
            (ErrorKind::Rejected, None, false),
            "{id:?}"
        );
        assert!(error.text().contains("cannot be an id"), "{error}");
        let source = error.source().and_then(<dyn Error>::downcast_ref);
        assert!(
            matches!(source, Some(RequestError::Id(given)) if given == id),
            "{error:?}"
        );
    }
    assert_eq!(
        bed.server.received_requests().await.expect("they are recorded").len(),
        0
    );
    assert_eq!(bed.heard.outcomes(), ["invalid"; 3]);
}

/// The errors of a read and of a write, with this answer.
async fn failures(answer: ResponseTemplate) -> [CloudError; 2] {
    let bed = answering(answer).await;
    let read = bed.client.get_customer_gateway("g1").await.expect_err("refused");
    let write = bed
        .client
        .create_customer_gateway(&new_gateway())
        .await
        .expect_err("refused");
    assert_eq!(
        bed.server.received_requests().await.expect("they are recorded").len(),
        2,
        "no request is retried"
    );
    [read, write]
}

#[tokio::test]
async fn an_error_contains_code_message_and_request_id() {
    let body = json!({"error_code": "VPN.0001", "error_msg": "invalid request:\n quota exceeded", "request_id": "r-2"});
    let [_, error] = failures(ok(400, body)).await;
    assert_eq!(error.kind, ErrorKind::QuotaExceeded);
    assert_eq!(
        error.to_string(),
        "creating the customer gateway failed: invalid request: quota exceeded (VPN.0001, request id r-1)"
    );
    assert_eq!(
        error.date.map(|date| date.to_string()).as_deref(),
        Some("2025-08-13T02:34:56Z")
    );
    assert!(!error.outcome_unknown, "it was refused");

    let body = json!({"error_code": "VPN.0007", "error_msg": "no", "request_id": "r-2"});
    let [error, _] = failures(ResponseTemplate::new(403).set_body_json(body)).await;
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert_eq!(
        error.request_id.as_deref(),
        Some("r-2"),
        "from the body, where no header has it"
    );
    assert!(error.to_string().contains("vpn:customerGateways:get"), "{error}");
}

#[tokio::test]
async fn the_retry_after_header_is_read() {
    let body = json!({"error_code": "APIGW.0308", "error_msg": "slow down"});
    for (wait, expected) in [
        ("7", Some(7)),
        ("Wed, 13 Aug 2025 02:35:06 GMT", Some(10)),
        ("soon", None),
    ] {
        let [read, write] = failures(ok(429, body.clone()).insert_header("Retry-After", wait)).await;
        assert_eq!(read.kind, ErrorKind::Throttled);
        assert_eq!(read.retry_after, expected.map(Duration::from_secs), "{wait}");
        assert!(!write.outcome_unknown);
    }
}

#[tokio::test]
async fn a_5xx_response_leaves_the_outcome_of_a_write_unknown() {
    let html = "<html>\n<head><title>502 Bad Gateway</title></head></html>";
    for status in [500, 502, 503, 504] {
        let [read, write] = failures(ResponseTemplate::new(status).set_body_raw(html, "text/html")).await;
        assert_eq!((read.kind, write.kind), (ErrorKind::CloudFault, ErrorKind::CloudFault));
        assert!(write.outcome_unknown && !read.outcome_unknown);
        assert!(
            write.text().contains("a web page, \"502 Bad Gateway\"") && !write.text().contains('\n'),
            "{write}"
        );
    }
}

#[tokio::test]
async fn a_web_page_with_status_200_is_a_cloud_fault() {
    let html = "<!DOCTYPE html><html><body>Welcome to nginx!</body></html>";
    let [read, write] = failures(ResponseTemplate::new(200).set_body_raw(html, "text/html")).await;
    assert_eq!((read.kind, write.kind), (ErrorKind::CloudFault, ErrorKind::CloudFault));
    assert!(write.outcome_unknown && !read.outcome_unknown);
    assert!(
        read.text().contains("did not answer as the VPN API") && read.text().contains("Welcome to nginx!"),
        "{read}"
    );

    let bed = answering(ResponseTemplate::new(200).set_body_raw(html, "text/html")).await;
    let error = bed
        .client
        .delete_customer_gateway("g1")
        .await
        .expect_err("nothing was deleted");
    assert!(error.outcome_unknown);
    assert_eq!(bed.heard.outcomes(), ["unreadable"]);
}

#[tokio::test]
async fn a_404_without_a_service_error_code_means_not_available() {
    for answer in [
        ResponseTemplate::new(404).set_body_raw("<html>404</html>", "text/html"),
        ResponseTemplate::new(404),
        ResponseTemplate::new(404).set_body_json(json!({"detail": "Not Found"})),
        ResponseTemplate::new(404).set_body_json(json!({"error_code": "APIG.0101", "error_msg": "no such API"})),
    ] {
        for error in failures(answer).await {
            assert_eq!(error.kind, ErrorKind::NotAvailable, "{error}");
        }
    }
    let [read, _] = failures(ok(
        404,
        json!({"error_code": "VPN.0004", "error_msg": "resource not found"}),
    ))
    .await;
    assert_eq!(read.kind, ErrorKind::Gone);
}

#[tokio::test]
async fn a_response_with_unexpected_json_is_a_cloud_fault() {
    for body in [
        json!({}),
        json!([]),
        json!({"customer_gateway": null}),
        json!({"customer_gateway": {"name": "without an id"}}),
        json!({"customer_gateway": {"id": ""}}),
    ] {
        let [read, write] = failures(ok(200, body.clone())).await;
        assert_eq!(read.kind, ErrorKind::CloudFault, "{body}");
        assert!(write.outcome_unknown, "{body}");
        assert!(read.text().contains("did not answer as the VPN API"), "{read}");
        assert_eq!(read.request_id.as_deref(), Some("r-1"));
    }
    let [read, _] = failures(ResponseTemplate::new(200)).await;
    assert!(read.text().contains("the answer is empty"), "{read}");
}

#[tokio::test]
async fn an_oversized_response_is_cut_off() {
    let body = format!("{{\"x\": \"{}\"}}", "y".repeat(5 * 1024 * 1024));
    let [read, write] = failures(ResponseTemplate::new(200).set_body_string(body.clone())).await;
    assert_eq!(read.kind, ErrorKind::CloudFault);
    assert!(
        write.outcome_unknown && read.text().contains("more than 4194304 bytes"),
        "{read}"
    );
    let [read, _] = failures(ResponseTemplate::new(400).set_body_string(body)).await;
    assert_eq!(
        (read.kind, read.status),
        (ErrorKind::Rejected, Some(400)),
        "a refusal stays one"
    );
    assert!(read.to_string().len() < 400, "{read}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = answering(ok(200, gateway())).await;
    for status in [301, 302, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("Location", other.server.uri());
        let [read, write] = failures(answer).await;
        assert_eq!(read.kind, ErrorKind::NotAvailable);
        assert!(read.text().contains("redirects") && !write.outcome_unknown, "{read}");
    }
    assert_eq!(
        other.server.received_requests().await.expect("they are recorded").len(),
        0
    );
}

#[tokio::test]
async fn a_401_with_a_distant_date_reports_clock_skew() {
    let body = json!({"error_code": "APIGW.0301", "error_msg": "Incorrect IAM authentication information"});
    let [read, _] = failures(ok(401, body)).await;
    assert_eq!(read.kind, ErrorKind::Unauthorized);
    assert!(
        read.text().contains("the operator's clock and the cloud's differ by"),
        "the date of the answer is long past: {read}"
    );
    assert_eq!(read.date, None, "a node that refuses us for its time does not tell it");
}

#[tokio::test]
async fn an_expired_signature_is_retried_and_the_message_names_the_clock() {
    let body = json!({"error_code": "APIGW.0303", "error_msg": "Incorrect app authentication information"});
    let [read, write] = failures(ok(401, body)).await;
    assert_eq!(read.kind, ErrorKind::CloudFault);
    assert!(read.text().contains("check the clock of the operator's node"), "{read}");
    assert!(!write.outcome_unknown, "it was refused");
    assert_eq!(read.date, None);
}

#[tokio::test]
async fn only_api_responses_provide_the_clouds_time() {
    for answer in [
        page(502, "<html>Bad Gateway</html>"),
        page(200, "<html>Welcome</html>"),
        page(503, ""),
    ] {
        for error in failures(answer.insert_header("Date", "Wed, 13 Aug 2025 02:34:56 GMT")).await {
            assert_eq!(error.date, None, "{error}");
        }
    }
    let body = json!({"error_code": "APIGW.0601", "error_msg": "Internal server error"});
    for error in failures(ok(500, body)).await {
        assert!(error.date.is_some(), "{error}");
    }
}

fn page(status: u16, text: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(text.to_owned(), "text/html")
}

#[tokio::test]
async fn a_timeout_leaves_the_outcome_of_a_write_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    // Accepts every connection and never answers.
    let silent = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            taken.extend(listener.accept().await);
        }
    });
    let heard = Arc::new(Heard::default());
    let (client, gateway) = (client_at(&endpoint, &heard, Duration::from_secs(2)), new_gateway());
    let (write, read) = tokio::join!(
        client.create_customer_gateway(&gateway),
        client.get_customer_gateway("g1")
    );
    let (write, read) = (write.expect_err("no answer"), read.expect_err("no answer"));
    silent.abort();
    assert_eq!((write.kind, write.status), (ErrorKind::CloudFault, None));
    assert!(write.outcome_unknown && !read.outcome_unknown);
    assert!(
        write.text().contains("in time") && write.text().contains(&endpoint),
        "{write}"
    );
    assert_eq!(heard.outcomes(), ["timeout"; 2]);
}

#[tokio::test]
async fn a_lost_connection_leaves_the_outcome_unknown_without_a_retry() {
    for response in [
        &b""[..],
        b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{\"customer",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(0));
        let counted = requests.clone();
        let rude = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 8192];
                let _ = stream.read(&mut request).await;
                *counted.lock().expect("sound") += 1;
                let _ = stream.write_all(response).await;
            }
        });
        let heard = Arc::new(Heard::default());
        let client = client_at(&endpoint, &heard, Duration::from_secs(30));
        let write = client.create_customer_gateway(&new_gateway()).await.expect_err("lost");
        rude.abort();
        assert_eq!(write.kind, ErrorKind::CloudFault);
        assert!(write.outcome_unknown, "{write}");
        assert_eq!(*requests.lock().expect("sound"), 1);
        assert_eq!(heard.outcomes(), ["network"]);
    }
}

#[tokio::test]
async fn a_failed_connection_attempt_leaves_the_outcome_known() {
    let port = StdListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    for endpoint in [format!("http://{port}"), "http://does-not-exist.invalid".to_owned()] {
        let heard = Arc::new(Heard::default());
        let client = client_at(&endpoint, &heard, Duration::from_secs(30));
        let write = client
            .create_customer_gateway(&new_gateway())
            .await
            .expect_err("no listener");
        assert_eq!(
            (write.kind, write.outcome_unknown),
            (ErrorKind::CloudFault, false),
            "{write}"
        );
        assert!(
            write.text().contains(&format!("no connection to {endpoint}")),
            "{write}"
        );
        assert_eq!(heard.outcomes(), ["connect"]);
        let source = write
            .source()
            .and_then(Error::source)
            .expect("the error of the library");
        let source = source.downcast_ref::<HttpError>().expect("of the HTTP library");
        assert!(source.get_ref().is_connect(), "{source:?}");
    }
}

#[tokio::test]
async fn project_lookup_finds_the_project_by_region() {
    let project = |id: &str, name: &str, enabled: bool| json!({"id": id, "name": name, "enabled": enabled});
    for (projects, expected) in [
        (json!([project("p1", "eu-de", true)]), Ok("p1")),
        (
            json!([project("p0", "eu-nl", true), {"id": "p1", "name": "eu-de"}]),
            Ok("p1"),
        ),
        (json!([]), Err("no project named \"eu-de\"")),
        (json!(null), Err("no project named \"eu-de\"")),
        (json!([project("p1", "eu-de_team", true)]), Err("set the project id")),
        (
            json!([project("p1", "eu-de", true), project("p2", "eu-de", true)]),
            Err("set the project id"),
        ),
        (json!([project("p1", "eu-de", false)]), Err("set the project id")),
        (json!([project("", "eu-de", true)]), Err("set the project id")),
    ] {
        let bed = answering(ok(200, json!({"projects": projects, "links": {}}))).await;
        let transport = transport(&bed.heard, Duration::from_secs(30));
        let found = iam::look_up_project(&transport, &credentials(None), &bed.server.uri(), "eu-de").await;
        match (found, expected) {
            (Ok(answer), Ok(id)) => {
                assert_request_id_and_date(&answer);
                assert_eq!(answer.value, id);
            }
            (Err(error), Err(words)) => {
                assert_eq!(error.kind, ErrorKind::Rejected);
                assert!(error.text().contains(words), "{error}");
                assert_eq!(error.request_id.as_deref(), Some("r-1"));
            }
            (found, _) => panic!("{projects}: {found:?}"),
        }
        let request = bed.request().await;
        assert_eq!(
            (request.url.path(), request.url.query()),
            ("/v3/projects", Some("name=eu-de"))
        );
        assert_eq!(header(&request, "x-project-id"), None);
        let authorization = Authorization::parse(header(&request, "authorization").expect("signed")).expect("ours");
        assert_eq!(authorization.signed_headers, ["host", "x-sdk-date"]);
        let look_up = |name: &str| header(&request, name);
        assert!(authorization.verify(&SECRET_KEY.into(), "GET", "/v3/projects", "name=eu-de", look_up, b""));
    }
}

#[tokio::test]
async fn an_iam_error_is_classified_and_names_the_missing_action() {
    for (status, body, meaning) in [
        (
            401,
            json!({"error": {"code": 401, "message": "no", "title": "Unauthorized"}}),
            ErrorKind::Unauthorized,
        ),
        (
            403,
            json!({"error": {"code": 403, "message": "no", "title": "Forbidden"}}),
            ErrorKind::Forbidden,
        ),
        (200, json!({"surprise": 1}), ErrorKind::CloudFault),
    ] {
        let bed = answering(ok(status, body)).await;
        let transport = transport(&bed.heard, Duration::from_secs(30));
        let found = iam::look_up_project(&transport, &credentials(None), &bed.server.uri(), "eu-de").await;
        let error = found.expect_err("refused");
        assert_eq!(error.kind, meaning, "{error}");
        assert!(
            meaning != ErrorKind::Forbidden || error.to_string().contains("iam:projects:listProjects"),
            "{error}"
        );
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roots.pem");
    let set_up = || {
        let options = TransportOptions {
            ca_file: Some(file.clone()),
            request_timeout: Duration::from_secs(1),
        };
        Transport::new(&options, Arc::new(Heard::default()))
    };
    let error = set_up().expect_err("there is none").to_string();
    assert!(
        error.contains("roots.pem") && error.contains("cannot be read"),
        "{error}"
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for content in ["", "nothing", "-----BEGIN CERTIFICATE-----\n", broken] {
        std::fs::write(&file, content).expect("written");
        let error = set_up().expect_err(content).to_string();
        assert!(
            error.contains("roots.pem") && error.contains("no certificates"),
            "{error}"
        );
    }
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    std::fs::write(&file, key.cert.pem()).expect("written");
    set_up().expect("a root");
}

#[test]
fn debug_output_of_the_client_contains_no_secret() {
    let client = client_at(
        "https://vpn.example.com",
        &Arc::new(Heard::default()),
        Duration::from_secs(1),
    );
    let shown = format!("{client:?}");
    assert!(
        shown.contains("vpn.example.com") && !shown.contains("sentinel"),
        "{shown}"
    );
}

/// Serves one connection over TLS, and answers `204` if the handshake succeeds. Also returns the certificate, in PEM.
fn tls_endpoint() -> (String, String, thread::JoinHandle<()>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)
        })
        .expect("a sound certificate");
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let connection = ServerConnection::new(Arc::new(config)).expect("a sound configuration");
        let mut stream = StreamOwned::new(connection, stream);
        // Fails if the client does not trust us.
        if stream.read(&mut [0; 8192]).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    (format!("https://localhost:{port}"), made.cert.pem(), served)
}

#[tokio::test]
async fn only_certificates_of_the_ca_file_are_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roots.pem");
    for trusted in [true, false] {
        let (endpoint, root, served) = tls_endpoint();
        std::fs::write(&file, root).expect("written");
        let ca_file = trusted.then(|| file.clone());
        let options = TransportOptions {
            ca_file,
            request_timeout: Duration::from_secs(30),
        };
        let transport = Transport::new(&options, Arc::new(Heard::default())).expect("it can be set up");
        let scope = ProjectScope {
            endpoint,
            project_id: PROJECT.to_owned(),
        };
        let client = Client::new(transport, Arc::new(credentials(None)), scope);
        let deleted = client.delete_customer_gateway("g1").await;
        served.join().expect("it ended");
        match deleted {
            Ok(_) => assert!(trusted),
            Err(error) => {
                assert!(!trusted && !error.outcome_unknown, "{error}");
                assert!(error.text().contains("certificate"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_ca_file_applies_to_the_next_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roots.pem");
    let (first, second, third) = (tls_endpoint(), tls_endpoint(), tls_endpoint());
    let write = |text: &str| {
        // A mounted ConfigMap changes as a whole, too.
        let new = folder.path().join("new.pem");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &file).expect("replaced");
    };
    write(&first.1);
    let options = TransportOptions {
        ca_file: Some(file.clone()),
        request_timeout: Duration::from_secs(30),
    };
    let transport = Transport::new(&options, Arc::new(Heard::default())).expect("it can be set up");
    let deletes_at = |endpoint: &str| {
        let scope = ProjectScope {
            endpoint: endpoint.to_owned(),
            project_id: PROJECT.to_owned(),
        };
        let client = Client::new(transport.clone(), Arc::new(credentials(None)), scope);
        async move { client.delete_customer_gateway("g1").await }
    };
    deletes_at(&first.0).await.expect("trusted from the start");
    write(&format!("{}{}", second.1, third.1));
    deletes_at(&second.0).await.expect("trusted since the change");
    write("nothing");
    deletes_at(&third.0)
        .await
        .expect("what was read last counts while the file is wrong");
    for (_, _, served) in [first, second, third] {
        served.join().expect("it ended");
    }
}

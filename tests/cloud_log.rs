//! What the cloud client logs. In a process of its own: whether a place in the code logs at all is remembered for the
//! whole process, so tests beside it that listen to nothing could silence it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use vpn_cloud::http::transport::{RequestObserver, Transport, TransportOptions};
use vpn_cloud::resources::customer_gateways::NewCustomerGateway;
use vpn_cloud::resources::users::NewUser;
use vpn_cloud::values::password::Password;
use vpn_cloud::{Client, Credentials, Operation, ProjectScope};
use wiremock::matchers::{any, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Nobody counts here.
struct Unheard;

impl RequestObserver for Unheard {
    fn finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

/// Where log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("sound").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_trace_log_has_every_request_and_no_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = MockServer::start().await;
    let answer = json!({"customer_gateway": {"id": "g1"}, "request_id": "r-1"});
    let users = ".*/users(/u1/reset-password)?";
    let refusal = json!({"error_code": "VPN.1305", "error_msg": "bad password sentinel-Pass 1", "request_id": "r-2"});
    Mock::given(path_regex(users))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .mount(&server)
        .await;
    let answer = ResponseTemplate::new(201)
        .insert_header("X-Request-Id", "r-1")
        .set_body_json(answer);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let options = TransportOptions {
        ca_file: None,
        request_timeout: Duration::from_secs(30),
    };
    let transport = Transport::new(&options, Arc::new(Unheard)).expect("it can be set up");
    let token = Some(SecretString::from("sentinel-token"));
    let credentials = Credentials::new("AK".to_owned(), SecretString::from("sentinel-secret-key"), token);
    let scope = ProjectScope {
        endpoint: server.uri(),
        project_id: "p".to_owned(),
    };
    let client = Client::new(transport, Arc::new(credentials.expect("sound")), scope);
    let new = NewCustomerGateway {
        name: "office".to_owned(),
        id_type: "ip".to_owned(),
        id_value: "203.0.113.7".to_owned(),
        bgp_asn: None,
        ca_certificate: None,
        tags: BTreeMap::new(),
    };
    client.create_customer_gateway(&new).await.expect("made");
    let password = Password::new("sentinel-Pass 1");
    let user = NewUser {
        name: "alice".to_owned(),
        password: password.clone(),
        description: None,
        user_group_id: None,
        static_ip: None,
    };
    let refused = client.create_user("s1", &user, "t-1").await.expect_err("refused");
    tracing::error!(%refused, ?refused, ?user, "as the operator may log it");
    let refused = client.reset_user_password("s1", "u1", &password).await;
    tracing::error!(?refused, "as the operator may log it");
    let log = String::from_utf8(lines.0.lock().expect("sound").clone()).expect("text");
    for word in [
        "CreateCustomerGateway",
        "r-1",
        "201",
        "latency",
        "CreateVpnUser",
        "ResetVpnUserPassword",
        "r-2",
    ] {
        assert!(log.contains(word), "no {word} in {log}");
    }
    // What the server in this process logs of the request is not the client's doing.
    let clients = log.lines().filter(|line| !line.contains("wiremock"));
    for line in clients {
        for secret in ["sentinel", "Signature=", "203.0.113.7"] {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}

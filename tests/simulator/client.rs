//! A simulator with a client that signs by hand, in the style of each known client.

use std::{net::Ipv4Addr, time::Duration};

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use secrecy::SecretString;
use serde_json::{Value, json};
use vpn_cloud::credentials::signing::{
    SignedHeaders, authorization, canonical_raw_query, canonical_request, canonical_uri, format_date, signature,
    string_to_sign,
};
use vpn_simulator::{RunningSimulator, Settings, tryout};

/// Longer than anything should take, so that a hang is a failure.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const UNKNOWN_ID: &str = "00000000-0000-4000-8000-000000000000";

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status, code and text of an error in its usual shape.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |name: &str| {
            body[name]
                .as_str()
                .unwrap_or_else(|| panic!("no {name}: {body}"))
                .to_owned()
        };
        assert_eq!(text("request_id"), self.header("x-request-id").unwrap());
        (self.status.as_u16(), text("error_code"), text("error_msg"))
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        let (got_status, got_code, text) = self.error();
        assert_eq!((got_status, got_code.as_str()), (status, code), "{text}");
    }

    /// The body of an answer with that status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

/// The key and the style of a request's signature.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub access_key: String,
    pub secret_key: String,
    /// Sent and signed.
    pub headers: Vec<(&'static str, String)>,
    /// Sent, not signed.
    pub unsigned: Vec<(&'static str, String)>,
    pub signs_host: bool,
    pub at: Timestamp,
}

impl Default for Signer {
    /// As the Python SDK does it.
    fn default() -> Self {
        Self {
            access_key: tryout::ACCESS_KEY.to_owned(),
            secret_key: tryout::SECRET_KEY.to_owned(),
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("user-agent", "huaweicloud-usdk-python/3.0".to_owned()),
                ("x-project-id", tryout::PROJECT_ID.to_owned()),
            ],
            unsigned: Vec::new(),
            signs_host: true,
            at: Timestamp::now(),
        }
    }
}

/// A simulator for one test, and its client.
pub(crate) struct Cloud {
    pub simulator: RunningSimulator,
    http: reqwest::Client,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        // Another test in this process may have installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Self {
            simulator: RunningSimulator::start(settings, listen).await.unwrap(),
            http: reqwest::Client::builder()
                .timeout(DEADLINE)
                .no_proxy()
                .retry(reqwest::retry::never())
                .build()
                .unwrap(),
        }
    }

    /// A signed request, ready to go.
    pub(crate) fn signed(&self, signer: &Signer, method: Method, path: &str, body: Option<&str>) -> RequestBuilder {
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let date = format_date(signer.at);
        let host = self.simulator.address().to_string();
        let mut signed: Vec<(&str, &str)> = signer
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        signed.push(("x-sdk-date", &date));
        if signer.signs_host {
            signed.push(("host", &host));
        }
        let names = SignedHeaders::new(signed.clone());
        let (uri, query) = (canonical_uri(bare), canonical_raw_query(query));
        let body = body.unwrap_or_default();
        let canonical = canonical_request(method.as_str(), &uri, &query, &names, body.as_bytes());
        let made = signature(
            &SecretString::from(signer.secret_key.as_str()),
            &string_to_sign(&date, &canonical),
        );
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.simulator.base_url()))
            .header("authorization", authorization(&signer.access_key, &names, &made));
        let unsigned = signer.unsigned.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in signed.into_iter().filter(|(name, _)| *name != "host").chain(unsigned) {
            request = request.header(name, value);
        }
        if body.is_empty() {
            request
        } else {
            request.body(body.to_owned())
        }
    }

    /// A request without a signature.
    pub(crate) fn unsigned(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.simulator.base_url()))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> reqwest::Result<Reply> {
        let answer = request.send().await?;
        Ok(Reply {
            status: answer.status(),
            headers: answer.headers().clone(),
            text: answer.text().await?,
        })
    }

    /// Sends a signed call that may fail in transit. The path begins after the project.
    pub(crate) async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Reply> {
        let body = body.map(|body| body.to_string());
        self.send(self.signed(&Signer::default(), method, &in_project(path), body.as_deref()))
            .await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.try_call(method, path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn create(&self, fields: Value) -> Reply {
        self.post("customer-gateways", json!({"customer_gateway": fields}))
            .await
    }

    /// Creates an ordinary gateway. Returns its id.
    pub(crate) async fn created(&self, name: &str) -> String {
        let answer = self
            .create(json!({"name": name, "id_value": "203.0.113.7"}))
            .await
            .expect(201);
        answer["customer_gateway"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn gateway(&self, id: &str) -> Reply {
        self.get(&format!("customer-gateways/{id}")).await
    }

    pub(crate) async fn update(&self, id: &str, fields: Value) -> Reply {
        self.call(
            Method::PUT,
            &format!("customer-gateways/{id}"),
            Some(json!({"customer_gateway": fields})),
        )
        .await
    }

    pub(crate) async fn delete(&self, id: &str) -> Reply {
        self.call(Method::DELETE, &format!("customer-gateways/{id}"), None)
            .await
    }

    /// A call of the admin API.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Reply {
        let request = self
            .http
            .request(method, format!("{}/_simulator/{path}", self.simulator.base_url()));
        let request = if body.is_null() {
            request
        } else {
            request.body(body.to_string())
        };
        self.send(request).await.unwrap()
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Value {
        self.admin(Method::GET, path, Value::Null).await.expect(200)
    }

    pub(crate) async fn switch(&self, name: &str, value: &str) {
        self.admin(Method::PATCH, "switches", json!({name: value}))
            .await
            .expect(200);
    }

    pub(crate) async fn fault(&self, fault: Value) -> Value {
        self.admin(Method::POST, "faults", fault).await.expect(201)
    }

    pub(crate) async fn patch(&self, id: &str, edit: Value) {
        self.admin(Method::PATCH, &format!("gateways/{id}"), edit)
            .await
            .expect(200);
    }

    pub(crate) async fn reset(&self) {
        self.admin(Method::POST, "reset", Value::Null).await.expect(204);
    }

    pub(crate) async fn release(&self, how: Value) {
        self.admin(Method::POST, "release", how).await.expect(200);
    }

    /// The actual number of gateways, whatever the API returns.
    pub(crate) async fn true_count(&self) -> usize {
        self.admin_get("gateways").await["gateways"].as_array().unwrap().len()
    }
}

/// The path of a call in the try-out project.
pub(crate) fn in_project(path: &str) -> String {
    format!("/v5/{}/{path}", tryout::PROJECT_ID)
}

pub(crate) fn with_name(name: &str) -> Value {
    json!({"customer_gateway": {"name": name, "id_value": "203.0.113.7"}})
}

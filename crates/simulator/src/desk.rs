//! The service without HTTP, for a test that compares it with a model of the cloud call by call.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;

use crate::calls::ServiceCall;
use crate::dispatch::dispatch;
use crate::operations::route;
use crate::p2c::handlers::admission::admit;
use crate::refusal::ApiRefusal;
use crate::settings::Settings;
use crate::state::CloudState;
use crate::switches::Switches;
use crate::tryout;

/// See the module.
pub struct Desk {
    state: CloudState,
    /// Why the switches cannot be set: every request is refused with it.
    unusable: Option<String>,
    asked: u64,
}

/// An answer: its status, and its body or its refusal.
#[derive(Clone, Debug)]
pub struct DeskReply {
    /// The HTTP status.
    pub status: u16,
    /// The fields of a success; `null` for a refusal and for 204.
    pub body: Value,
    /// Code and text of a refusal.
    pub refused: Option<(String, String)>,
}

impl DeskReply {
    fn refusal(refusal: ApiRefusal) -> Self {
        Self {
            status: refusal.status.as_u16(),
            body: Value::Null,
            refused: Some((refusal.code, refusal.message)),
        }
    }
}

impl Desk {
    /// A cloud with these switches. If there are no such switches, every request is refused with the reason.
    pub fn open(switches: &[(&str, &str)]) -> Self {
        let changes: BTreeMap<String, String> = switches
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut state = CloudState::new(&Settings::default());
        let (switches, unusable) = match Switches::default().with(&changes) {
            Ok(switches) => (switches, None),
            Err(error) => (Switches::default(), Some(error.to_string())),
        };
        state.switches = switches;
        Self {
            state,
            unusable,
            asked: 0,
        }
    }

    /// Sends a request to a path below the project. A path at which nothing is published is answered as the gateway
    /// of the API does.
    pub fn ask(&mut self, method: &str, path: &str, body: Option<&Value>, client_token: Option<&str>) -> DeskReply {
        if let Some(reason) = &self.unusable {
            return DeskReply::refusal(ApiRefusal::invalid(reason));
        }
        let path = format!("/v5/{}/{path}", tryout::PROJECT_ID);
        let published = Method::from_bytes(method.as_bytes())
            .ok()
            .and_then(|method| route(&method, &path));
        let Some(route) = published else {
            return DeskReply::refusal(ApiRefusal::not_published(method, &path));
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let call = ServiceCall {
            route: &route,
            query: "",
            body: body.as_bytes(),
            client_token,
        };
        self.asked += 1;
        if route.operation.is_p2c_write() {
            self.state.p2c.writes.arrive(&route.server_id, self.asked);
        }
        let answer = admit(&mut self.state, &call, self.asked).and_then(|()| dispatch(&mut self.state, &call));
        if route.operation.is_p2c_write() {
            self.state.p2c.writes.leave(&route.server_id, self.asked);
        }
        match answer {
            Ok(answer) => DeskReply {
                status: answer.status.as_u16(),
                body: answer.body.map_or(Value::Null, Value::Object),
                refused: None,
            },
            Err(mut refusal) => {
                self.state.p2c.codes.apply(&mut refusal);
                DeskReply::refusal(refusal)
            }
        }
    }

    /// Settles everything that has not settled.
    pub fn complete_creations(&mut self) {
        let now = self.state.clock.now();
        self.state.p2c.settle(now);
    }

    /// Removes an object outside of the API.
    pub fn remove(&mut self, id: &str) -> bool {
        self.state.gateways.remove(id) || self.state.p2c.remove(id)
    }
}

//! The service without HTTP, for a test that compares it with a model of the cloud call by call.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::Value;

use super::{
    api::dispatch,
    calls::Call,
    operations::route,
    p2c,
    settings::{Settings, tryout},
    state::State,
    switches::Switches,
};

/// See the module.
pub struct Desk {
    state: State,
    asked: u64,
}

/// An answer: its status, and its body or its refusal.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub body: Value,
    /// Code and text of a refusal.
    pub refused: Option<(String, String)>,
}

impl Desk {
    /// A cloud with these switches.
    ///
    /// # Panics
    /// If there are no such switches.
    pub fn open(switches: &[(&str, &str)]) -> Self {
        let changes: BTreeMap<String, String> = switches
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut state = State::new(&Settings::default());
        state.switches = Switches::default().with(&changes).expect("known switches");
        Self { state, asked: 0 }
    }

    /// Sends a request to a path below the project.
    ///
    /// # Panics
    /// If nothing is published there.
    pub fn ask(&mut self, method: &str, path: &str, body: Option<&Value>, client_token: Option<&str>) -> Told {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let path = format!("/v5/{}/{path}", tryout::PROJECT_ID);
        let route = route(&method, &path).expect("a published path");
        let body = body.map(Value::to_string).unwrap_or_default();
        let call = Call {
            route: &route,
            query: "",
            body: body.as_bytes(),
            client_token,
        };
        self.asked += 1;
        if route.operation.is_p2c_write() {
            self.state.p2c.writes.arrive(&route.server_id, self.asked);
        }
        let answer = p2c::admit(&mut self.state, &call, self.asked).and_then(|()| dispatch(&mut self.state, &call));
        if route.operation.is_p2c_write() {
            self.state.p2c.writes.leave(&route.server_id, self.asked);
        }
        match answer {
            Ok(answer) => Told {
                status: answer.status.as_u16(),
                body: answer.body.map_or(Value::Null, Value::Object),
                refused: None,
            },
            Err(mut refusal) => {
                self.state.p2c.codes.apply(&mut refusal);
                Told {
                    status: refusal.status.as_u16(),
                    body: Value::Null,
                    refused: Some((refusal.code, refusal.message)),
                }
            }
        }
    }

    /// Settles everything that has not settled.
    pub fn settle(&mut self) {
        let now = self.state.clock.now();
        self.state.p2c.settle(now);
    }

    /// Removes an object outside of the API.
    pub fn remove(&mut self, id: &str) -> bool {
        self.state.gateways.remove(id) || self.state.p2c.remove(id)
    }
}

//! The way of a request through the API: log entry, faults, authentication, execution.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State as Extracted},
    http::{Response, StatusCode, request::Parts},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admin::{FaultName, FaultRequest, HeldRequest, LogEntry};
use crate::auth::IncomingRequest;
use crate::calls::{CallAnswer, ServiceCall};
use crate::clock::http_date;
use crate::connection::Connection;
use crate::dispatch::dispatch;
use crate::faults::FaultTarget;
use crate::holds::Release;
use crate::iam;
use crate::operations::{Route, SimulatedOperation, route};
use crate::p2c::handlers::admission;
use crate::rate_limit::throttled;
use crate::refusal::ApiRefusal;
use crate::reply::HttpReply;
use crate::settings::Settings;
use crate::state::CloudState;
use crate::switches::{P2cRequestIds, RequestIds, Switches};

const LARGEST_BODY: usize = 12 * 1024 * 1024;

const LONGEST_URI: usize = 32 * 1024;

/// The simulated cloud, shared by all requests.
#[derive(Debug)]
pub(crate) struct Simulator {
    pub settings: Settings,
    state: Mutex<CloudState>,
    /// Notifies waiters that the log or the held requests have changed.
    pub changes: watch::Sender<()>,
    pub stop: CancellationToken,
}

/// The outcome of a request.
enum Outcome {
    Reply(Box<HttpReply>),
    Close,
    Reset,
    Never,
}

/// What happens to a request that has just arrived.
struct Arrival {
    latency: Option<FaultRequest>,
    fault: Option<FaultRequest>,
    /// Why it goes no further.
    refusal: Option<ApiRefusal>,
}

/// A request in progress.
struct Journey {
    parts: Parts,
    body: Result<Bytes, axum::Error>,
    route: Option<Route>,
    sequence: u64,
    request_id: String,
}

impl Journey {
    fn received(&self) -> IncomingRequest<'_> {
        let body = self.body.as_ref().map_or(&[] as &[u8], |body| body);
        IncomingRequest {
            method: &self.parts.method,
            uri: &self.parts.uri,
            headers: &self.parts.headers,
            body,
        }
    }

    fn operation(&self) -> Option<SimulatedOperation> {
        self.route.as_ref().map(|route| route.operation)
    }

    /// The VPN server that it would change.
    fn changed_server(&self) -> Option<&str> {
        let route = self.route.as_ref()?;
        route.operation.is_p2c_write().then_some(route.server_id.as_str())
    }

    fn claimed_access_key(&self) -> Option<String> {
        self.received().claim().map(|claim| claim.access_key)
    }
}

impl Simulator {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            state: Mutex::new(CloudState::new(&settings)),
            settings,
            changes: watch::Sender::new(()),
            stop: CancellationToken::new(),
        }
    }

    /// Locks the state. A test that panicked with the lock does not affect others.
    pub(crate) fn state(&self) -> MutexGuard<'_, CloudState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state, after everything that was due has happened in it.
    pub(crate) fn up_to_date(&self) -> MutexGuard<'_, CloudState> {
        let mut state = self.state();
        let now = state.clock.now();
        state.gateways.settle(now);
        state.p2c.pass(now);
        state
    }

    pub(crate) fn notify(&self) {
        self.changes.send_replace(());
    }

    async fn process(self: Arc<Self>, parts: Parts, body: Body) -> Response<Body> {
        let body = to_bytes(body, LARGEST_BODY).await;
        let connection = parts
            .extensions
            .get::<ConnectInfo<Connection>>()
            .map(|info| info.0.clone());
        let route = route(&parts.method, parts.uri.path());
        let mut journey = Journey {
            parts,
            body,
            route,
            sequence: 0,
            request_id: String::new(),
        };
        let Arrival {
            latency,
            fault,
            refusal,
        } = self.arrive(&mut journey);
        let journey = Arc::new(journey);
        let delay = |when_committed: bool| {
            let ms = latency
                .as_ref()
                .filter(|latency| latency.commit == when_committed)
                .and_then(|latency| latency.ms);
            tokio::time::sleep(Duration::from_millis(ms.unwrap_or(0)))
        };
        delay(false).await;
        let late = fault.as_ref().is_some_and(|fault| fault.fault == FaultName::LateCommit);
        let outcome = match (fault, refusal) {
            (Some(fault), _) => self.fail(&journey, &fault).await,
            (None, Some(refusal)) => {
                let switches = self.state().switches;
                Outcome::Reply(Box::new(HttpReply::refusal(refusal, &journey.request_id, &switches)))
            }
            (None, None) => Outcome::Reply(Box::new(self.execute(&journey).0)),
        };
        delay(true).await;
        let date = self.leave(&journey, &outcome, late);
        let cut = match outcome {
            Outcome::Reply(reply) => {
                let is_iam = journey.operation().is_some_and(SimulatedOperation::is_iam);
                return reply.into_response(&journey.request_id, &date, is_iam);
            }
            Outcome::Never => {
                self.stop.cancelled().await;
                Connection::close
            }
            Outcome::Close => Connection::close,
            Outcome::Reset => Connection::reset,
        };
        if let Some(connection) = connection {
            cut(&connection);
        }
        // Never sent: the connection is cut before it can be.
        Response::default()
    }

    /// Logs the request, and finds the faults that hit it: a latency and another one. If there is no other one, the rate
    /// limit applies.
    fn arrive(&self, journey: &mut Journey) -> Arrival {
        let mut state = self.state();
        let id = Uuid::new_v4();
        let has_dashes = match journey.operation().is_some_and(SimulatedOperation::is_p2c) {
            true => state.switches.p2c_request_ids == P2cRequestIds::Dashed,
            false => state.switches.request_ids == RequestIds::Dashed,
        };
        journey.request_id = match has_dashes {
            true => id.to_string(),
            false => id.simple().to_string(),
        };
        let uri = &journey.parts.uri;
        let access_key = journey.claimed_access_key();
        let target = FaultTarget {
            operation: journey.operation(),
            access_key: access_key.as_deref(),
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()),
        };
        let (latency, others): (Vec<_>, Vec<_>) = state
            .faults
            .hit(target)
            .into_iter()
            .partition(|fault| fault.fault == FaultName::Latency);
        let entry = LogEntry {
            sequence: 0,
            at: state.clock.now().to_string(),
            method: journey.parts.method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            operation: target.operation.map(|operation| operation.name().to_owned()),
            access_key: access_key.clone(),
            user: None,
            client_token: journey.received().header("x-client-token").map(str::to_owned),
            request_id: journey.request_id.clone(),
            status: None,
            error_code: None,
            committed: false,
            faults: latency.iter().chain(&others).map(|fault| fault.fault).collect(),
            finished: false,
        };
        let sequence = state.log.add(entry);
        journey.sequence = sequence;
        let fault = others.into_iter().next();
        let is_iam = journey.operation().is_some_and(SimulatedOperation::is_iam);
        let refusal = if is_iam || fault.is_some() {
            None
        } else {
            let now = state.clock.now();
            state.rate_limit.admit(access_key.as_deref(), now).err()
        };
        if let Some(server) = journey.changed_server().filter(|_| refusal.is_none()) {
            state.p2c.writes.arrive(server, sequence);
        }
        drop(state);
        self.notify();
        Arrival {
            latency: latency.into_iter().next(),
            fault,
            refusal,
        }
    }

    /// Logs the outcome of the request. Returns the date for its answer.
    fn leave(&self, journey: &Journey, outcome: &Outcome, goes_on: bool) -> String {
        let mut state = self.state();
        if let Some(entry) = state.log.entry(journey.sequence) {
            entry.finished = !goes_on;
            if let Outcome::Reply(reply) = outcome {
                entry.status = Some(reply.status.as_u16());
                entry.error_code.clone_from(&reply.error_code);
            }
        }
        if let Some(server) = journey.changed_server() {
            state.p2c.writes.leave(server, journey.sequence);
        }
        let date = http_date(state.clock.now());
        drop(state);
        self.notify();
        date
    }

    /// Executes the request if it is permitted. Also returns the ids of created objects.
    fn execute(&self, journey: &Journey) -> (HttpReply, Vec<String>) {
        let mut state = self.up_to_date();
        let switches = state.switches;
        match perform(&mut state, journey) {
            Ok(answer) => {
                if let Some(entry) = state.log.entry(journey.sequence) {
                    entry.committed = answer.committed;
                }
                if let Some(server) = journey.changed_server().filter(|_| answer.committed) {
                    let now = state.clock.now();
                    state.p2c.writes.made(server, now, switches.queue_pace);
                }
                let created = answer.created.clone();
                (HttpReply::answer(answer, &journey.request_id), created)
            }
            Err(mut refusal) => {
                if journey.operation().is_some_and(SimulatedOperation::is_p2c) {
                    state.p2c.codes.apply(&mut refusal);
                }
                (HttpReply::refusal(refusal, &journey.request_id, &switches), Vec::new())
            }
        }
    }

    /// Executes the request, if at all, and answers as the fault has it.
    async fn fail(self: &Arc<Self>, journey: &Arc<Journey>, fault: &FaultRequest) -> Outcome {
        let reply = |reply: HttpReply| Outcome::Reply(Box::new(reply));
        let switches = self.state().switches;
        match fault.fault {
            FaultName::Hold if !fault.commit => {
                return match self.hold(journey, false).await {
                    Release::GoOn => reply(self.execute(journey).0),
                    Release::Drop => Outcome::Close,
                };
            }
            FaultName::Hold => {
                let done = self.execute(journey).0;
                return match self.hold(journey, true).await {
                    Release::GoOn => reply(done),
                    Release::Drop => Outcome::Close,
                };
            }
            FaultName::LateCommit => {
                tokio::spawn(Arc::clone(self).commit_late(Arc::clone(journey), fault.ms));
                return Outcome::Close;
            }
            FaultName::VanishAfterCreate => {
                let (done, created) = self.execute(journey);
                let mut state = self.state();
                for id in created {
                    // Ids are unique, so one of them knows it.
                    let _ = state.gateways.remove(&id) || state.p2c.remove(&id);
                }
                return reply(done);
            }
            FaultName::VanishWhenSettled => {
                let (done, created) = self.execute(journey);
                let mut state = self.state();
                for id in created {
                    // A gateway has settled when it is answered.
                    if !state.gateways.remove(&id) {
                        state.p2c.doom(&id);
                    }
                }
                return reply(done);
            }
            FaultName::TruncatedBody => return reply(self.execute(journey).0.truncated()),
            _ if fault.commit => {
                self.execute(journey);
            }
            _ => {}
        }
        false_outcome(fault, &journey.request_id, &switches).unwrap_or_else(|| reply(self.execute(journey).0))
    }

    async fn commit_late(self: Arc<Self>, journey: Arc<Journey>, ms: Option<u64>) {
        let release = match ms {
            Some(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Release::GoOn
            }
            None => self.hold(&journey, false).await,
        };
        if release == Release::GoOn {
            self.execute(&journey);
        }
        if let Some(entry) = self.state().log.entry(journey.sequence) {
            entry.finished = true;
        }
        self.notify();
    }

    async fn hold(&self, journey: &Journey, after_commit: bool) -> Release {
        let held = HeldRequest {
            id: 0,
            sequence: journey.sequence,
            operation: journey.operation().map(|operation| operation.name().to_owned()),
            method: journey.parts.method.to_string(),
            path: journey.parts.uri.path().to_owned(),
            access_key: journey.claimed_access_key(),
            after_commit,
        };
        let released = self.state().holds.hold(held);
        self.notify();
        tokio::select! {
            released = released => released.unwrap_or(Release::Drop),
            () = self.stop.cancelled() => Release::Drop,
        }
    }
}

/// Answers all requests that are not for the admin API.
pub(crate) async fn serve(Extracted(simulator): Extracted<Arc<Simulator>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // In a task of its own: a client that hangs up does not stop what the cloud has begun.
    let answered = tokio::spawn(simulator.process(parts, body)).await;
    answered.unwrap_or_else(|_| {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Returns what is sent in place of the true answer; `None` for faults that leave the answer as it is.
fn false_outcome(fault: &FaultRequest, request_id: &str, switches: &Switches) -> Option<Outcome> {
    let reply = |reply: HttpReply| Outcome::Reply(Box::new(reply));
    let refuse = |mut refusal: ApiRefusal| {
        refusal.retry_after.clone_from(&fault.retry_after);
        reply(HttpReply::refusal(refusal, request_id, switches))
    };
    Some(match fault.fault {
        FaultName::ThrottledByGateway => refuse(throttled(200)),
        FaultName::ThrottledByService => refuse(ApiRefusal::service(
            StatusCode::TOO_MANY_REQUESTS,
            "VPN.0429",
            "Too many requests.",
        )),
        FaultName::QueueFull => refuse(admission::queue_full()),
        FaultName::Error => {
            // Checked when the fault was added.
            let status = fault
                .status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or_default();
            reply(HttpReply::made_up(
                status,
                fault.code.clone(),
                fault.message.as_deref().unwrap_or_default(),
                fault.retry_after.clone(),
                request_id,
                switches,
            ))
        }
        FaultName::LostAnswer => Outcome::Close,
        FaultName::ConnectionReset => Outcome::Reset,
        FaultName::Timeout => Outcome::Never,
        FaultName::HtmlBadGateway => reply(HttpReply::html(StatusCode::BAD_GATEWAY)),
        FaultName::HtmlGatewayTimeout => reply(HttpReply::html(StatusCode::GATEWAY_TIMEOUT)),
        FaultName::HtmlOk => reply(HttpReply::html(StatusCode::OK)),
        FaultName::HugeBody => reply(HttpReply::huge(fault.bytes.unwrap_or_default())),
        FaultName::Latency
        | FaultName::Hold
        | FaultName::LateCommit
        | FaultName::VanishAfterCreate
        | FaultName::VanishWhenSettled
        | FaultName::TruncatedBody => return None,
    })
}

fn perform(state: &mut CloudState, journey: &Journey) -> Result<CallAnswer, ApiRefusal> {
    let Parts { method, uri, .. } = &journey.parts;
    let Some(route) = &journey.route else {
        return Err(ApiRefusal::not_published(method.as_str(), uri.path()));
    };
    admission::unpublished(route.operation, uri.path(), &state.switches)?;
    if uri
        .path_and_query()
        .is_some_and(|path| path.as_str().len() > LONGEST_URI)
    {
        return Err(ApiRefusal::gateway(
            StatusCode::URI_TOO_LONG,
            "0201",
            "Request URI too long",
        ));
    }
    let Ok(body) = &journey.body else {
        return Err(ApiRefusal::gateway(
            StatusCode::PAYLOAD_TOO_LARGE,
            "0201",
            "Request entity too large",
        ));
    };
    let call = ServiceCall {
        route,
        query: uri.query().unwrap_or_default(),
        body,
        client_token: journey.received().header("x-client-token"),
    };
    if route.operation == SimulatedOperation::CreateToken {
        return iam::create_token(state, &call);
    }

    let now = state.clock.now();
    let caller = state.access.authenticate(journey.received(), now)?;
    if let Some(entry) = state.log.entry(journey.sequence) {
        entry.user.clone_from(&caller.user);
    }
    let action = route.operation.action();
    if route.operation.is_iam() {
        if !caller.may_do(action) {
            return Err(ApiRefusal::iam(
                StatusCode::FORBIDDEN,
                "IAM.0003",
                format!("You are not authorized to perform the requested action: {action}"),
            ));
        }
        return match route.operation {
            SimulatedOperation::ListAuthDomains => Ok(iam::domains(state, &caller)),
            SimulatedOperation::ListIamUsers => iam::users(state, &call, &caller),
            _ => iam::projects(state, &call, &caller),
        };
    }
    let forbidden = |number, text: &str| Err(ApiRefusal::gateway(StatusCode::FORBIDDEN, number, text));
    match state.projects.get(&route.project_id) {
        Some(project) if caller.may_reach(&route.project_id) => {
            if !project.enabled {
                return forbidden("0310", "The project is unavailable.");
            }
        }
        _ => {
            return forbidden(
                "0302",
                "The IAM user is not authorized to access the API: project not in reach.",
            );
        }
    }
    if !caller.may_do(action) {
        let text = format!("You are not authorized to perform {action}.");
        return Err(ApiRefusal::service(StatusCode::FORBIDDEN, "VPN.0007", text));
    }
    admission::admit(state, &call, journey.sequence)?;
    dispatch(state, &call)
}

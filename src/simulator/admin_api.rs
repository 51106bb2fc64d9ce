//! The admin API under `/_simulator/`: unsigned, for clients that control the simulator.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, State as Extracted, rejection::QueryRejection},
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{
    admin::{
        AdminError, ClockReading, ClockSetting, CredentialList, CredentialSpec, FaultList, FaultRequest,
        FinishedDeletions, GatewayEdit, GatewayList, GatewaySeed, HeldList, Lock, LogPage, Pace, Permissions, Project,
        Ready, ReleaseRequest, Released, StateDump, SwitchPositions, UserSpec,
    },
    api::Simulator,
    clock::MAX_SKEW_MS,
    holds::Release,
    operations::Operation,
    p2c,
    request_log::Filter,
    state::State,
    switches::Switches,
};

const LONGEST_WAIT: Duration = Duration::from_secs(120);
const USUAL_WAIT: Duration = Duration::from_secs(10);

pub(super) type Cloud = Extracted<Arc<Simulator>>;
pub(super) type Result<T = Response<Body>> = std::result::Result<T, Failure>;

/// A refusal.
pub(super) struct Failure(StatusCode, String);

impl Failure {
    pub fn bad(text: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, text.to_string())
    }

    pub fn missing(what: &str, name: impl std::fmt::Display) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no {what} {name}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        respond(self.0, &AdminError { error: self.1 })
    }
}

/// Its endpoints.
pub fn router() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/ready", get(ready))
        .route("/reset", post(reset))
        .route("/state", get(state))
        .route("/switches", get(switches).put(put_switches).patch(patch_switches))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/held", get(held))
        .route("/release", post(release))
        .route("/log", get(log))
        .route("/counts", get(counts))
        .route("/gateways", get(gateways).post(seed_gateways))
        .route(
            "/gateways/{id}",
            get(gateway).patch(edit_gateway).delete(remove_gateway),
        )
        .route("/finish-deletions", post(finish_deletions))
        .route("/projects", get(projects))
        .route("/projects/{id}", put(put_project).delete(remove_project))
        .route("/credentials", get(credentials))
        .route(
            "/credentials/{access_key}",
            put(put_credential).delete(remove_credential),
        )
        .route("/credentials/{access_key}/permissions", put(put_permissions))
        .route("/credentials/{access_key}/lock", put(put_lock))
        .route("/users/{name}", put(put_user).delete(remove_user))
        .route("/tokens/expire", post(expire_tokens))
        .route("/clock", get(clock).put(put_clock))
        .route("/pace", get(pace).put(put_pace))
        .merge(p2c::admin_api::router())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

pub(super) fn respond<T: Serialize>(status: StatusCode, body: &T) -> Response<Body> {
    // Maps with string keys and plain fields: this cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn ok<T: Serialize>(body: &T) -> Result {
    Ok(respond(StatusCode::OK, body))
}

pub(super) fn done() -> Result {
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // A request without a body asks for the defaults.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(Failure::bad)
}

async fn unknown() -> Failure {
    Failure(
        StatusCode::NOT_FOUND,
        "no such endpoint; docs/contributing/simulator.md lists them".to_owned(),
    )
}

async fn ready() -> Result {
    ok(&Ready { ready: true })
}

async fn reset(Extracted(cloud): Cloud) -> Result {
    cloud.state().reset(&cloud.settings);
    cloud.notify();
    done()
}

async fn state(Extracted(cloud): Cloud) -> Result {
    let state = cloud.up_to_date();
    ok(&StateDump {
        now: state.clock.now().to_string(),
        skew_ms: state.clock.skew_ms(),
        projects: state.projects.clone(),
        credentials: state.access.credentials(),
        users: state.access.users(),
        switches: positions(&state.switches),
        faults: state.faults.list().to_vec(),
        held: state.holds.list().cloned().collect(),
        gateways: state.gateways.dump(),
        vpn_servers: p2c::admin_api::dump_servers(&state.p2c),
        vpn_users: p2c::admin_api::dump_users(&state.p2c),
        vpn_groups: p2c::admin_api::dump_groups(&state.p2c),
    })
}

fn positions(switches: &Switches) -> SwitchPositions {
    switches
        .list()
        .into_iter()
        .map(|switch| (switch.name.to_owned(), switch.value.to_owned()))
        .collect()
}

async fn switches(Extracted(cloud): Cloud) -> Result {
    let switches = cloud.state().switches;
    ok(&serde_json::json!({"switches": switches.list()}))
}

/// Switches that are not named return to their defaults.
async fn put_switches(Extracted(cloud): Cloud, body: Bytes) -> Result {
    set_switches(&cloud, Switches::default(), &body)
}

async fn patch_switches(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let before = cloud.state().switches;
    set_switches(&cloud, before, &body)
}

fn set_switches(cloud: &Simulator, before: Switches, body: &[u8]) -> Result {
    let after = before.with(&parse(body)?).map_err(Failure::bad)?;
    cloud.state().switches = after;
    ok(&serde_json::json!({"switches": after.list()}))
}

async fn faults(Extracted(cloud): Cloud) -> Result {
    let faults = cloud.state().faults.list().to_vec();
    ok(&FaultList { faults })
}

async fn add_fault(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let entry = cloud
        .state()
        .faults
        .add(parse::<FaultRequest>(&body)?)
        .map_err(Failure::bad)?;
    Ok(respond(StatusCode::CREATED, &entry))
}

async fn clear_faults(Extracted(cloud): Cloud) -> Result {
    cloud.state().faults.clear();
    done()
}

async fn remove_fault(Extracted(cloud): Cloud, Path(id): Path<u64>) -> Result {
    match cloud.state().faults.remove(id) {
        true => done(),
        false => Err(Failure::missing("fault", id)),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    since: Option<u64>,
    operation: Option<String>,
    method: Option<String>,
    access_key: Option<String>,
    finished: Option<bool>,
    /// Waits until there are so many.
    count: Option<usize>,
    timeout_ms: Option<u64>,
}

impl LogQuery {
    fn filter(&self) -> Result<Filter> {
        let operation = match &self.operation {
            None => None,
            Some(text) => {
                let operation = Operation::parse(text).ok_or_else(|| {
                    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
                    Failure::bad(format!(
                        "there is no operation \"{text}\"; the operations are {}",
                        names.join(", ")
                    ))
                })?;
                Some(operation.name().to_owned())
            }
        };
        Ok(Filter {
            since: self.since.unwrap_or(0),
            operation,
            method: self.method.clone(),
            access_key: self.access_key.clone(),
            finished: self.finished.unwrap_or(false),
        })
    }
}

type LogParameters = std::result::Result<Query<LogQuery>, QueryRejection>;

async fn log(Extracted(cloud): Cloud, query: LogParameters) -> Result {
    let Query(query) = query.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    let filter = query.filter()?;
    let wanted = query.count.unwrap_or(0);
    let enough = wait(&cloud, query.timeout_ms, |state| {
        state.log.select(&filter).take(wanted).count() == wanted
    })
    .await;
    let state = cloud.state();
    let requests = state.log.select(&filter).cloned().collect();
    ok(&LogPage {
        enough,
        last_sequence: state.log.last_sequence(),
        requests,
    })
}

async fn counts(Extracted(cloud): Cloud, query: LogParameters) -> Result {
    let Query(query) = query.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    let filter = query.filter()?;
    let wanted = query.count.unwrap_or(0);
    wait(&cloud, query.timeout_ms, |state| {
        state.log.select(&filter).take(wanted).count() == wanted
    })
    .await;
    let counts = cloud.state().log.counts(&filter);
    ok(&counts)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldQuery {
    /// Waits until so many are held.
    count: Option<usize>,
    timeout_ms: Option<u64>,
}

async fn held(Extracted(cloud): Cloud, query: std::result::Result<Query<HeldQuery>, QueryRejection>) -> Result {
    let Query(query) = query.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    let wanted = query.count.unwrap_or(0);
    let enough = wait(&cloud, query.timeout_ms, |state| state.holds.list().count() >= wanted).await;
    let held = cloud.state().holds.list().cloned().collect();
    ok(&HeldList { enough, held })
}

/// Waits until `is_so` is true; returns false after a timeout.
async fn wait(cloud: &Simulator, timeout_ms: Option<u64>, is_so: impl Fn(&State) -> bool) -> bool {
    let timeout = timeout_ms.map_or(USUAL_WAIT, Duration::from_millis).min(LONGEST_WAIT);
    let deadline = Instant::now() + timeout;
    let mut changes = cloud.changes.subscribe();
    loop {
        changes.mark_unchanged();
        if is_so(&cloud.state()) {
            return true;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(deadline) => return false,
            () = cloud.stop.cancelled() => return false,
        }
    }
}

async fn release(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let ReleaseRequest { id, drop } = parse(&body)?;
    let how = if drop { Release::Drop } else { Release::GoOn };
    let released = cloud.state().holds.release(id, how);
    cloud.notify();
    match id {
        Some(id) if released == 0 => Err(Failure::missing("held request", id)),
        _ => ok(&Released { released }),
    }
}

async fn gateways(Extracted(cloud): Cloud) -> Result {
    let gateways = cloud.state().gateways.dump();
    ok(&GatewayList { gateways })
}

async fn seed_gateways(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let seeds: Vec<GatewaySeed> = if is_list { parse(&body)? } else { vec![parse(&body)?] };
    let mut state = cloud.state();
    let State {
        gateways,
        projects,
        clock,
        ..
    } = &mut *state;
    let mut made = Vec::new();
    for seed in seeds {
        let project_id = match &seed.project_id {
            Some(id) if !projects.contains_key(id) => return Err(Failure::missing("project", id)),
            Some(id) => id.clone(),
            None => cloud.settings.project_id.clone(),
        };
        made.push(gateways.seed(seed, project_id, clock).map_err(Failure::bad)?);
    }
    Ok(respond(StatusCode::CREATED, &GatewayList { gateways: made }))
}

async fn gateway(Extracted(cloud): Cloud, Path(id): Path<String>) -> Result {
    match cloud.state().gateways.dump_one(&id) {
        Some(gateway) => ok(&gateway),
        None => Err(Failure::missing("gateway", id)),
    }
}

async fn edit_gateway(Extracted(cloud): Cloud, Path(id): Path<String>, body: Bytes) -> Result {
    let edit: GatewayEdit = parse(&body)?;
    let mut state = cloud.state();
    let State { gateways, clock, .. } = &mut *state;
    match gateways.edit(&id, edit, clock).map_err(Failure::bad)? {
        Some(gateway) => ok(&gateway),
        None => Err(Failure::missing("gateway", id)),
    }
}

async fn remove_gateway(Extracted(cloud): Cloud, Path(id): Path<String>) -> Result {
    match cloud.state().gateways.remove(&id) {
        true => done(),
        false => Err(Failure::missing("gateway", id)),
    }
}

async fn finish_deletions(Extracted(cloud): Cloud) -> Result {
    let mut state = cloud.state();
    let now = state.clock.now();
    let finished = state.gateways.finish_deletions() + state.p2c.finish_deletions(now);
    ok(&FinishedDeletions { finished })
}

async fn projects(Extracted(cloud): Cloud) -> Result {
    let projects = cloud.state().projects.clone();
    ok(&projects)
}

async fn put_project(Extracted(cloud): Cloud, Path(id): Path<String>, body: Bytes) -> Result {
    let project: Project = parse(&body)?;
    cloud.state().projects.insert(id, project.clone());
    ok(&project)
}

async fn remove_project(Extracted(cloud): Cloud, Path(id): Path<String>) -> Result {
    match cloud.state().projects.remove(&id) {
        Some(_) => done(),
        None => Err(Failure::missing("project", id)),
    }
}

async fn credentials(Extracted(cloud): Cloud) -> Result {
    let credentials = cloud.state().access.credentials();
    ok(&CredentialList { credentials })
}

async fn put_credential(Extracted(cloud): Cloud, Path(access_key): Path<String>, body: Bytes) -> Result {
    let spec: CredentialSpec = parse(&body)?;
    cloud
        .state()
        .access
        .put_credential(access_key, spec)
        .map_err(Failure::bad)?;
    done()
}

async fn remove_credential(Extracted(cloud): Cloud, Path(access_key): Path<String>) -> Result {
    match cloud.state().access.remove_credential(&access_key) {
        true => done(),
        false => Err(Failure::missing("access key", access_key)),
    }
}

async fn put_permissions(Extracted(cloud): Cloud, Path(access_key): Path<String>, body: Bytes) -> Result {
    let permissions: Permissions = parse(&body)?;
    match cloud.state().access.set_permissions(&access_key, permissions) {
        true => done(),
        false => Err(Failure::missing("access key", access_key)),
    }
}

async fn put_lock(Extracted(cloud): Cloud, Path(access_key): Path<String>, body: Bytes) -> Result {
    let Lock { locked } = parse(&body)?;
    let mut state = cloud.state();
    let now = state.clock.now();
    match state.access.set_lock(&access_key, locked, now) {
        true => done(),
        false => Err(Failure::missing("access key", access_key)),
    }
}

async fn put_user(Extracted(cloud): Cloud, Path(name): Path<String>, body: Bytes) -> Result {
    let spec: UserSpec = parse(&body)?;
    cloud.state().access.put_user(name, spec);
    done()
}

async fn remove_user(Extracted(cloud): Cloud, Path(name): Path<String>) -> Result {
    match cloud.state().access.remove_user(&name) {
        true => done(),
        false => Err(Failure::missing("user", name)),
    }
}

async fn expire_tokens(Extracted(cloud): Cloud) -> Result {
    cloud.state().access.expire_tokens();
    done()
}

async fn clock(Extracted(cloud): Cloud) -> Result {
    let state = cloud.state();
    ok(&ClockReading {
        skew_ms: state.clock.skew_ms(),
        now: state.clock.now().to_string(),
    })
}

async fn put_clock(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let ClockSetting { skew_ms } = parse(&body)?;
    if skew_ms.unsigned_abs() > MAX_SKEW_MS.unsigned_abs() {
        return Err(Failure::bad(format!(
            "skew_ms must lie between -{MAX_SKEW_MS} and {MAX_SKEW_MS}"
        )));
    }
    cloud.state().clock.set_skew_ms(skew_ms);
    clock(Extracted(cloud)).await
}

async fn pace(Extracted(cloud): Cloud) -> Result {
    let slow_ms = cloud.state().clock.slow_ms;
    ok(&Pace { slow_ms })
}

async fn put_pace(Extracted(cloud): Cloud, body: Bytes) -> Result {
    let Pace { slow_ms } = parse(&body)?;
    cloud.state().clock.slow_ms = slow_ms;
    pace(Extracted(cloud)).await
}

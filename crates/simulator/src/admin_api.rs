//! The admin API under `/_simulator/`: unsigned, for clients that control the simulator.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State as Extracted, rejection::QueryRejection},
    http::StatusCode,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use tokio::time::Instant;

use crate::admin::{
    ClockReading, ClockSetting, CredentialList, CredentialSpec, FaultList, FaultRequest, FinishedDeletions,
    GatewayEdit, GatewayList, GatewaySeed, HeldList, Lock, LogPage, Pace, Permissions, ProjectSpec, RateLimitSpec,
    Ready, ReleaseRequest, Released, StateDump, SwitchPositions, UserSpec,
};
use crate::admin_http::{AdminRefusal, AdminResult, SharedSimulator, done, ok, parse, respond};
use crate::api::Simulator;
use crate::clock::MAX_SKEW_MS;
use crate::holds::Release;
use crate::operations::SimulatedOperation;
use crate::p2c::admin_api as p2c_endpoints;
use crate::rate_limit::RateLimit;
use crate::request_log::Filter;
use crate::state::CloudState;
use crate::switches::Switches;

const LONGEST_WAIT: Duration = Duration::from_secs(120);

const USUAL_WAIT: Duration = Duration::from_secs(10);

/// Its endpoints.
pub(crate) fn router() -> Router<Arc<Simulator>> {
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
        .route("/rate-limit", get(rate_limit).put(put_rate_limit))
        .merge(p2c_endpoints::router())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

async fn unknown() -> AdminRefusal {
    AdminRefusal::not_found("no such endpoint; docs/contributing/simulator.md lists them")
}

async fn ready() -> AdminResult {
    ok(&Ready { ready: true })
}

async fn reset(Extracted(cloud): SharedSimulator) -> AdminResult {
    cloud.state().reset(&cloud.settings);
    cloud.notify();
    done()
}

async fn state(Extracted(cloud): SharedSimulator) -> AdminResult {
    let state = cloud.up_to_date();
    ok(&StateDump {
        now: state.clock.now().to_string(),
        skew_ms: state.clock.skew_ms(),
        projects: state.projects.clone(),
        credentials: state.access.credentials(),
        users: state.access.users(),
        switches: positions(&state.switches),
        rate_limit: state.rate_limit.spec(),
        faults: state.faults.list().to_vec(),
        held: state.holds.list().cloned().collect(),
        gateways: state.gateways.dump(),
        vpn_servers: p2c_endpoints::dump_servers(&state.p2c),
        vpn_users: p2c_endpoints::dump_users(&state.p2c),
        vpn_groups: p2c_endpoints::dump_groups(&state.p2c),
    })
}

fn positions(switches: &Switches) -> SwitchPositions {
    switches
        .list()
        .into_iter()
        .map(|switch| (switch.name.to_owned(), switch.value.to_owned()))
        .collect()
}

async fn switches(Extracted(cloud): SharedSimulator) -> AdminResult {
    let switches = cloud.state().switches;
    ok(&serde_json::json!({"switches": switches.list()}))
}

/// Switches that are not named return to their defaults.
async fn put_switches(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    set_switches(&cloud, Switches::default(), &body)
}

async fn patch_switches(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let before = cloud.state().switches;
    set_switches(&cloud, before, &body)
}

fn set_switches(cloud: &Simulator, before: Switches, body: &[u8]) -> AdminResult {
    let after = before.with(&parse(body)?).map_err(AdminRefusal::bad)?;
    cloud.state().switches = after;
    ok(&serde_json::json!({"switches": after.list()}))
}

async fn faults(Extracted(cloud): SharedSimulator) -> AdminResult {
    let faults = cloud.state().faults.list().to_vec();
    ok(&FaultList { faults })
}

async fn add_fault(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let entry = cloud
        .state()
        .faults
        .add(parse::<FaultRequest>(&body)?)
        .map_err(AdminRefusal::bad)?;
    Ok(respond(StatusCode::CREATED, &entry))
}

async fn clear_faults(Extracted(cloud): SharedSimulator) -> AdminResult {
    cloud.state().faults.clear();
    done()
}

async fn remove_fault(Extracted(cloud): SharedSimulator, Path(id): Path<u64>) -> AdminResult {
    match cloud.state().faults.remove(id) {
        true => done(),
        false => Err(AdminRefusal::missing("fault", id)),
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
    fn filter(&self) -> AdminResult<Filter> {
        let operation = match &self.operation {
            None => None,
            Some(text) => {
                let operation = SimulatedOperation::parse(text).ok_or_else(|| {
                    let names: Vec<_> = SimulatedOperation::ALL
                        .iter()
                        .map(|operation| operation.name())
                        .collect();
                    AdminRefusal::bad(format!(
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

type LogParameters = Result<Query<LogQuery>, QueryRejection>;

async fn log(Extracted(cloud): SharedSimulator, query: LogParameters) -> AdminResult {
    let Query(query) = query.map_err(|rejection| AdminRefusal::bad(rejection.body_text()))?;
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

async fn counts(Extracted(cloud): SharedSimulator, query: LogParameters) -> AdminResult {
    let Query(query) = query.map_err(|rejection| AdminRefusal::bad(rejection.body_text()))?;
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

async fn held(Extracted(cloud): SharedSimulator, query: Result<Query<HeldQuery>, QueryRejection>) -> AdminResult {
    let Query(query) = query.map_err(|rejection| AdminRefusal::bad(rejection.body_text()))?;
    let wanted = query.count.unwrap_or(0);
    let enough = wait(&cloud, query.timeout_ms, |state| state.holds.list().count() >= wanted).await;
    let held = cloud.state().holds.list().cloned().collect();
    ok(&HeldList { enough, held })
}

/// Waits until `is_so` is true; returns false after a timeout.
async fn wait(cloud: &Simulator, timeout_ms: Option<u64>, is_so: impl Fn(&CloudState) -> bool) -> bool {
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

async fn release(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let ReleaseRequest { id, drop } = parse(&body)?;
    let how = if drop { Release::Drop } else { Release::GoOn };
    let released = cloud.state().holds.release(id, how);
    cloud.notify();
    match id {
        Some(id) if released == 0 => Err(AdminRefusal::missing("held request", id)),
        _ => ok(&Released { released }),
    }
}

async fn gateways(Extracted(cloud): SharedSimulator) -> AdminResult {
    let gateways = cloud.state().gateways.dump();
    ok(&GatewayList { gateways })
}

async fn seed_gateways(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let seeds: Vec<GatewaySeed> = if is_list { parse(&body)? } else { vec![parse(&body)?] };
    let mut state = cloud.state();
    let CloudState {
        gateways,
        projects,
        clock,
        ..
    } = &mut *state;
    let mut made = Vec::new();
    for seed in seeds {
        let project_id = match &seed.project_id {
            Some(id) if !projects.contains_key(id) => return Err(AdminRefusal::missing("project", id)),
            Some(id) => id.clone(),
            None => cloud.settings.project_id.clone(),
        };
        made.push(gateways.seed(seed, project_id, clock).map_err(AdminRefusal::bad)?);
    }
    Ok(respond(StatusCode::CREATED, &GatewayList { gateways: made }))
}

async fn gateway(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().gateways.dump_one(&id) {
        Some(gateway) => ok(&gateway),
        None => Err(AdminRefusal::missing("gateway", id)),
    }
}

async fn edit_gateway(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let edit: GatewayEdit = parse(&body)?;
    let mut state = cloud.state();
    let CloudState { gateways, clock, .. } = &mut *state;
    match gateways.edit(&id, edit, clock).map_err(AdminRefusal::bad)? {
        Some(gateway) => ok(&gateway),
        None => Err(AdminRefusal::missing("gateway", id)),
    }
}

async fn remove_gateway(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().gateways.remove(&id) {
        true => done(),
        false => Err(AdminRefusal::missing("gateway", id)),
    }
}

async fn finish_deletions(Extracted(cloud): SharedSimulator) -> AdminResult {
    let mut state = cloud.state();
    let now = state.clock.now();
    let finished = state.gateways.finish_deletions() + state.p2c.finish_deletions(now);
    ok(&FinishedDeletions { finished })
}

async fn projects(Extracted(cloud): SharedSimulator) -> AdminResult {
    let projects = cloud.state().projects.clone();
    ok(&projects)
}

async fn put_project(Extracted(cloud): SharedSimulator, Path(id): Path<String>, body: Bytes) -> AdminResult {
    let project: ProjectSpec = parse(&body)?;
    cloud.state().projects.insert(id, project.clone());
    ok(&project)
}

async fn remove_project(Extracted(cloud): SharedSimulator, Path(id): Path<String>) -> AdminResult {
    match cloud.state().projects.remove(&id) {
        Some(_) => done(),
        None => Err(AdminRefusal::missing("project", id)),
    }
}

async fn credentials(Extracted(cloud): SharedSimulator) -> AdminResult {
    let credentials = cloud.state().access.credentials();
    ok(&CredentialList { credentials })
}

async fn put_credential(Extracted(cloud): SharedSimulator, Path(access_key): Path<String>, body: Bytes) -> AdminResult {
    let spec: CredentialSpec = parse(&body)?;
    cloud
        .state()
        .access
        .put_credential(access_key, spec)
        .map_err(AdminRefusal::bad)?;
    done()
}

async fn remove_credential(Extracted(cloud): SharedSimulator, Path(access_key): Path<String>) -> AdminResult {
    match cloud.state().access.remove_credential(&access_key) {
        true => done(),
        false => Err(AdminRefusal::missing("access key", access_key)),
    }
}

async fn put_permissions(
    Extracted(cloud): SharedSimulator,
    Path(access_key): Path<String>,
    body: Bytes,
) -> AdminResult {
    let permissions: Permissions = parse(&body)?;
    match cloud.state().access.set_permissions(&access_key, permissions) {
        true => done(),
        false => Err(AdminRefusal::missing("access key", access_key)),
    }
}

async fn put_lock(Extracted(cloud): SharedSimulator, Path(access_key): Path<String>, body: Bytes) -> AdminResult {
    let Lock { locked } = parse(&body)?;
    let mut state = cloud.state();
    let now = state.clock.now();
    match state.access.set_lock(&access_key, locked, now) {
        true => done(),
        false => Err(AdminRefusal::missing("access key", access_key)),
    }
}

async fn put_user(Extracted(cloud): SharedSimulator, Path(name): Path<String>, body: Bytes) -> AdminResult {
    let spec: UserSpec = parse(&body)?;
    cloud.state().access.put_user(name, spec);
    done()
}

async fn remove_user(Extracted(cloud): SharedSimulator, Path(name): Path<String>) -> AdminResult {
    match cloud.state().access.remove_user(&name) {
        true => done(),
        false => Err(AdminRefusal::missing("user", name)),
    }
}

async fn expire_tokens(Extracted(cloud): SharedSimulator) -> AdminResult {
    cloud.state().access.expire_tokens();
    done()
}

async fn clock(Extracted(cloud): SharedSimulator) -> AdminResult {
    let state = cloud.state();
    ok(&ClockReading {
        skew_ms: state.clock.skew_ms(),
        now: state.clock.now().to_string(),
    })
}

async fn put_clock(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let ClockSetting { skew_ms } = parse(&body)?;
    if skew_ms.unsigned_abs() > MAX_SKEW_MS.unsigned_abs() {
        return Err(AdminRefusal::bad(format!(
            "skew_ms must lie between -{MAX_SKEW_MS} and {MAX_SKEW_MS}"
        )));
    }
    cloud.state().clock.set_skew_ms(skew_ms);
    clock(Extracted(cloud)).await
}

async fn pace(Extracted(cloud): SharedSimulator) -> AdminResult {
    let slow_ms = cloud.state().clock.slow_ms;
    ok(&Pace { slow_ms })
}

async fn put_pace(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let Pace { slow_ms } = parse(&body)?;
    cloud.state().clock.slow_ms = slow_ms;
    pace(Extracted(cloud)).await
}

async fn rate_limit(Extracted(cloud): SharedSimulator) -> AdminResult {
    let spec = cloud.state().rate_limit.spec();
    ok(&spec)
}

async fn put_rate_limit(Extracted(cloud): SharedSimulator, body: Bytes) -> AdminResult {
    let limit = RateLimit::new(parse::<RateLimitSpec>(&body)?).map_err(AdminRefusal::bad)?;
    cloud.state().rate_limit = limit;
    rate_limit(Extracted(cloud)).await
}

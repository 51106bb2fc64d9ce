//! The life of the process: what starts after what, and how it ends.

use std::{collections::BTreeSet, future::Future, io, pin::pin, sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    leader::{self, Candidate, Election, KubeLeases, LeaderHandle, Leadership, LossReason, SystemClock},
    metrics::Metrics,
    settings::Settings,
    telemetry::{self, TelemetryError},
    web::{self, ListenError, Readiness},
};

/// How long what is in flight may take after SIGTERM. Together with the lease's return it stays below 20 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);
/// How long the lease's return may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(4);
/// How long the pages may take to answer who is still asking.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
const FIRST_CRD_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_CRD_PAUSE: Duration = Duration::from_secs(10);
/// How long the apiserver may take to say what it serves.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(10);

/// What the controllers get to work with.
#[derive(Clone)]
pub struct Rooms {
    pub settings: Arc<Settings>,
    pub client: Client,
    pub metrics: Metrics,
    /// For the controllers' own checks (`watch customergateways`).
    pub readiness: Readiness,
    /// Closed until this process leads: watch before, write after [`LeaderHandle::leading`].
    pub leader: LeaderHandle,
    /// When it is cancelled, finish what is in flight and return.
    pub shutdown: CancellationToken,
}

/// A custom resource that must be served before anything else makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NeededResource {
    group: String,
    version: String,
    plural: String,
}

impl NeededResource {
    /// What `crd` stores is what this version of the operator speaks.
    fn of(crd: &CustomResourceDefinition) -> Option<Self> {
        let version = crd.spec.versions.iter().find(|version| version.storage)?;
        Some(Self {
            group: crd.spec.group.clone(),
            version: version.name.clone(),
            plural: crd.spec.names.plural.clone(),
        })
    }
}

/// Why the operator ended although nobody asked it to.
#[derive(Debug, Error)]
pub enum OperatorError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("no access to Kubernetes is configured: {0}")]
    KubeConfig(String),
    #[error("the Kubernetes client cannot be made: {0}")]
    KubeClient(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the operator's pages ended: {0}")]
    Web(io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error("lost the lease, so another operator may be working: {0}")]
    LeaseLost(LossReason),
    #[error("the controllers ended: {0}")]
    Controllers(String),
}

/// Runs until SIGTERM or SIGINT. `controllers` is started once the resources of `crds` are served, on followers too;
/// it must return soon after [`Rooms::shutdown`].
pub async fn run<F, Fut>(
    settings: Settings,
    crds: &[CustomResourceDefinition],
    controllers: F,
) -> Result<(), OperatorError>
where
    F: FnOnce(Rooms) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let stopped = on_signals().map_err(OperatorError::Signals)?;
    telemetry::init(&settings.log)?;
    info!(version = env!("CARGO_PKG_VERSION"), "vpn-operator starts");
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    // An error means that one was installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = kube_client().await?;

    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let readiness = Readiness::default();
    let needed: Vec<_> = crds
        .iter()
        .filter_map(NeededResource::of)
        .map(|resource| {
            let check = readiness.check(format!("crd {}", resource.plural), "not looked for yet");
            (resource, check)
        })
        .collect();
    let listener = web::listen(settings.listen).await?;
    // The pages stay until the very end: a draining operator is alive.
    let pages_end = CancellationToken::new();
    let mut pages = tokio::spawn(web::serve(
        listener,
        readiness.clone(),
        Arc::new(registry),
        pages_end.clone(),
    ));

    let work = async {
        tokio::select! {
            () = wait_for_resources(&client, &needed) => {}
            () = stopped.cancelled() => return Ok(()),
        }
        let settings = Arc::new(settings);
        let rooms = |leader| Rooms {
            settings: Arc::clone(&settings),
            client: client.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            leader,
            shutdown: stopped.child_token(),
        };
        match &settings.leader_election {
            None => {
                readiness.note("leader", "there is no election (--leader-elect=false)");
                metrics.set_leader(true);
                let rooms = rooms(LeaderHandle::always());
                alone(controllers(rooms), &stopped).await
            }
            Some(election) => {
                let candidate = Candidate {
                    identity: leader::identity(),
                    lease_duration: election.lease_duration,
                };
                let leases = KubeLeases::new(client.clone(), &election.namespace, &election.name);
                let election = Election::new(leases, candidate, Arc::new(SystemClock));
                readiness.note("leader", "standing by");
                let rooms = rooms(election.handle());
                elected(controllers(rooms), election, &stopped, &readiness, &metrics).await
            }
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        served = &mut pages => return Err(OperatorError::Web(pages_error(served))),
    };
    pages_end.cancel();
    // Whoever keeps a connection open does not keep the process.
    let _ = timeout(FAREWELL_LIMIT, pages).await;
    if ended.is_ok() {
        info!("stopped");
    }
    ended
}

fn pages_error(served: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match served {
        Ok(Ok(())) => io::Error::other("the server stopped"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    }
}

/// Cancelled by the first SIGTERM or SIGINT.
fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!("{name}: finishing what is in flight");
        stop.cancel();
    });
    Ok(token)
}

async fn kube_client() -> Result<Client, OperatorError> {
    let mut config = kube::Config::infer()
        .await
        .map_err(|error| OperatorError::KubeConfig(one_line(&error)))?;
    config.connect_timeout = Some(DISCOVERY_LIMIT);
    Client::try_from(config).map_err(|error| OperatorError::KubeClient(one_line(&error)))
}

/// Controllers without an election.
async fn alone(
    controllers: impl Future<Output = Result<(), String>>,
    stopped: &CancellationToken,
) -> Result<(), OperatorError> {
    let mut controllers = pin!(controllers);
    tokio::select! {
        ended = &mut controllers => return controllers_ended(ended, stopped),
        () = stopped.cancelled() => {}
    }
    drain(controllers).await;
    Ok(())
}

/// Controllers on a candidate: they run while it stands by (their watches do), while it leads, and end with its term.
async fn elected(
    controllers: impl Future<Output = Result<(), String>>,
    election: Election<KubeLeases>,
    stopped: &CancellationToken,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Result<(), OperatorError> {
    let mut controllers = pin!(controllers);
    // Ended by hand only, and not dropped: an attempt under way may win a lease that must then be given back.
    let leadership = {
        let mut acquiring = pin!(election.acquire(stopped));
        tokio::select! {
            ended = &mut controllers => {
                return controllers_ended(ended, stopped);
            }
            leadership = &mut acquiring => leadership,
        }
    };
    let Some(mut leadership) = leadership else {
        drain(controllers).await;
        return Ok(());
    };
    readiness.note("leader", "this process leads");
    metrics.set_leader(true);
    let ended = tokio::select! {
        ended = &mut controllers => controllers_ended(ended, stopped),
        reason = leadership.lost() => {
            metrics.set_leader(false);
            return Err(OperatorError::LeaseLost(reason));
        }
        () = stopped.cancelled() => {
            // The lease is kept, and renewed, for as long as something is in flight.
            tokio::select! {
                () = drain(controllers) => Ok(()),
                reason = leadership.lost() => return Err(OperatorError::LeaseLost(reason)),
            }
        }
    };
    metrics.set_leader(false);
    give_back(leadership).await;
    ended
}

async fn give_back(leadership: Leadership<KubeLeases>) {
    match timeout(RELEASE_LIMIT, leadership.release()).await {
        Ok(Ok(())) => info!("gave the lease back"),
        Ok(Err(error)) => warn!("{error}"),
        Err(_) => warn!("the lease was not given back in time and ends by itself"),
    }
}

fn controllers_ended(ended: Result<(), String>, stopped: &CancellationToken) -> Result<(), OperatorError> {
    match ended {
        Ok(()) if stopped.is_cancelled() => Ok(()),
        Ok(()) => Err(OperatorError::Controllers("without a reason".to_owned())),
        Err(reason) => Err(OperatorError::Controllers(reason)),
    }
}

async fn drain(controllers: impl Future<Output = Result<(), String>>) {
    match timeout(DRAIN_LIMIT, controllers).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => warn!("while stopping: {reason}"),
        Err(_) => warn!(
            "something was still in flight after {}; the intents on record tell the next operator",
            humantime::format_duration(DRAIN_LIMIT)
        ),
    }
}

/// Waits until every resource is served, and says once what is missing. Discovery is open to every account, and what it
/// lists can be watched: an installed CRD that is not served yet does not count.
async fn wait_for_resources(client: &Client, needed: &[(NeededResource, web::Check)]) {
    let mut pause = FIRST_CRD_PAUSE;
    let mut told = String::new();
    loop {
        let mut missing = Vec::new();
        let mut trouble = None;
        for (resource, check) in needed {
            match served_plurals(client, &format!("{}/{}", resource.group, resource.version)).await {
                Ok(plurals) if plurals.contains(&resource.plural) => check.ok(),
                Ok(_) => {
                    let name = format!("{}.{}", resource.plural, resource.group);
                    check.pending(format!("{name} is not installed in version {}", resource.version));
                    missing.push(name);
                }
                Err(error) => {
                    check.pending(format!("the apiserver was asked in vain: {error}"));
                    trouble = Some(error);
                }
            }
        }
        if missing.is_empty() && trouble.is_none() {
            return;
        }
        let line = match trouble {
            Some(error) => format!("waiting for the apiserver: {error}"),
            None => format!(
                "waiting for CustomResourceDefinitions: {} (install them: vpn-operator crd | kubectl apply \
                 --server-side -f -)",
                missing.join(", ")
            ),
        };
        if line != told {
            warn!("{line}");
            told = line;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_CRD_PAUSE);
    }
}

async fn served_plurals(client: &Client, group_version: &str) -> Result<BTreeSet<String>, String> {
    match timeout(DISCOVERY_LIMIT, client.list_api_group_resources(group_version)).await {
        Ok(Ok(list)) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(BTreeSet::new()),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(_) => Err(format!(
            "no answer within {}",
            humantime::format_duration(DISCOVERY_LIMIT)
        )),
    }
}

/// An error with its causes, as one line for a person.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors quote their cause already.
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("outer\n  text")]
    struct Outer(#[source] Inner);

    #[derive(Debug, Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, Error)]
    #[error("quotes its {0}")]
    struct Quoting(#[source] Inner);

    #[test]
    fn an_error_is_one_line_with_its_causes_each_told_once() {
        assert_eq!(one_line(&Outer(Inner)), "outer text: inner");
        assert_eq!(one_line(&Quoting(Inner)), "quotes its inner");
    }

    #[test]
    fn controllers_may_end_only_when_asked_to() {
        let stopped = CancellationToken::new();
        assert!(controllers_ended(Ok(()), &stopped).is_err());
        stopped.cancel();
        assert!(controllers_ended(Ok(()), &stopped).is_ok());
        assert!(controllers_ended(Err("broken".into()), &stopped).is_err());
    }
}

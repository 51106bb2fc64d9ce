//! The life cycle of the process: its start order and its shutdown.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vpn_cloud::http::transport::TransportError;

use crate::kubernetes::client::{ClientError, Clients, WatchActivity};
use crate::kubernetes::config as kube_config;
use crate::kubernetes::crd_wait::AwaitedCrds;
use crate::leader::{Candidate, Election, KubeLeases, LeaderHandle, Leadership, LossReason, SystemClock};
use crate::metrics::Metrics;
use crate::settings::OperatorSettings;
use crate::telemetry::TelemetryError;
use crate::web::{ListenError, Readiness};
use crate::{leader, telemetry, web};

/// How long work in progress may take after SIGTERM. Together with the release of the lease it stays below 20 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(12);

/// How long the release of the lease may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(4);

/// After this time the process ends even if work is in progress.
const STOP_LIMIT: Duration = Duration::from_secs(17);

/// How long the HTTP endpoints may take to answer open requests.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// The dependencies of the controllers.
#[derive(Clone)]
pub struct Dependencies {
    /// The checked flags.
    pub settings: Arc<OperatorSettings>,
    /// The CRDs of this version, one for each kind.
    pub crds: Arc<[CustomResourceDefinition]>,
    /// For everything but the leader election, which has a client of its own.
    pub client: Client,
    /// When the apiserver last answered a list or watch.
    pub heard: WatchActivity,
    /// Served at `/metrics`.
    pub metrics: Metrics,
    /// For the controllers' own checks (`watch customergateways`).
    pub readiness: Readiness,
    /// Watch before [`LeaderHandle::leading`] completes; write only after it.
    pub leader: LeaderHandle,
    /// After its cancellation, finish work in progress and return.
    pub shutdown: CancellationToken,
    /// Panics that a test places in the reconciliation of an object.
    #[cfg(test)]
    pub tripwires: crate::reconcile::pipeline::tripwire::Tripwires,
}

/// Why the operator ended without a signal to stop.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The log cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// There is no usable configuration for the apiserver, or no client for it.
    #[error(transparent)]
    KubeClient(#[from] ClientError),
    /// The address of the HTTP endpoints cannot be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The HTTP server ended by itself.
    #[error("the HTTP endpoints ended: {0}")]
    Web(#[source] io::Error),
    /// The handlers of SIGTERM and SIGINT cannot be installed.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
    /// The process may no longer write to the cloud.
    #[error("lost the lease, so another operator may be working: {0}")]
    LeaseLost(#[source] LossReason),
    /// The controllers returned before the shutdown: they have no HTTP client for the cloud.
    #[error("the controllers ended: {0}")]
    Controllers(#[source] TransportError),
    /// The controllers returned before the shutdown, without an error.
    #[error("the controllers ended: without a reason")]
    ControllersEnded,
}

/// Runs until SIGTERM or SIGINT. Starts `controllers` once the resources of `crds` are served, on followers too. It
/// must return soon after [`Dependencies::shutdown`].
pub async fn run<F, Fut>(
    settings: OperatorSettings,
    crds: &[CustomResourceDefinition],
    controllers: F,
) -> Result<(), OperatorError>
where
    F: FnOnce(Dependencies) -> Fut,
    Fut: Future<Output = Result<(), TransportError>>,
{
    let stopped = on_signals().map_err(OperatorError::Signals)?;
    telemetry::init(&settings.log)?;
    info!(version = env!("CARGO_PKG_VERSION"), "vpn-operator starts");
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    // An error means that a provider is already installed, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    log_panics();
    let clients = tokio::select! {
        clients = kube_clients() => clients?,
        () = stopped.cancelled() => {
            info!("stopped");
            return Ok(());
        }
    };
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let readiness = Readiness::default();
    let awaited = AwaitedCrds::new(crds, &readiness);
    let listener = web::listen(settings.bind_address).await?;
    // The HTTP endpoints stay until the very end: a draining operator is alive.
    let pages_end = CancellationToken::new();
    let mut pages = tokio::spawn(web::serve(
        listener,
        readiness.clone(),
        Arc::new(registry),
        pages_end.clone(),
    ));

    let launch = Launch {
        settings: Arc::new(settings),
        crds: crds.into(),
        clients,
        metrics,
        readiness,
        stopped: stopped.clone(),
    };
    let ended = tokio::select! {
        ended = launch.run(&awaited, controllers) => ended,
        () = stopped_for(&stopped, STOP_LIMIT) => {
            warn!("not all work ended in time; exiting");
            Ok(())
        }
        served = &mut pages => return Err(OperatorError::Web(pages_error(served))),
    };
    pages_end.cancel();
    // An open connection does not keep the process alive.
    let _ = timeout(FAREWELL_LIMIT, pages).await;
    if ended.is_ok() {
        info!("stopped");
    }
    ended
}

/// What the controllers and the leader election start with.
struct Launch {
    settings: Arc<OperatorSettings>,
    crds: Arc<[CustomResourceDefinition]>,
    clients: Clients,
    metrics: Metrics,
    readiness: Readiness,
    stopped: CancellationToken,
}

impl Launch {
    /// Runs the controllers once the resources of their CRDs are served.
    async fn run<F, Fut>(self, awaited: &AwaitedCrds, controllers: F) -> Result<(), OperatorError>
    where
        F: FnOnce(Dependencies) -> Fut,
        Fut: Future<Output = Result<(), TransportError>>,
    {
        tokio::select! {
            () = awaited.served(&self.clients.main) => {}
            () = self.stopped.cancelled() => return Ok(()),
        }
        let (readiness, metrics, stopped) = (&self.readiness, &self.metrics, &self.stopped);
        let Some(election) = &self.settings.leader_election else {
            readiness.note("leader", "leader election is disabled (--leader-elect=false)");
            metrics.set_leader(true);
            return alone(controllers(self.dependencies(LeaderHandle::always())), stopped).await;
        };
        let candidate = Candidate {
            identity: leader::identity(),
            lease_duration: election.lease_duration,
        };
        let leases = KubeLeases::new(self.clients.election.clone(), &election.namespace, &election.name);
        let election = Election::new(leases, candidate, Arc::new(SystemClock));
        readiness.note("leader", "standing by");
        let controllers = controllers(self.dependencies(election.handle()));
        elected(controllers, election, stopped, readiness, metrics).await
    }

    fn dependencies(&self, leader: LeaderHandle) -> Dependencies {
        Dependencies {
            settings: Arc::clone(&self.settings),
            crds: Arc::clone(&self.crds),
            client: self.clients.main.clone(),
            metrics: self.metrics.clone(),
            heard: self.clients.heard.clone(),
            readiness: self.readiness.clone(),
            leader,
            shutdown: self.stopped.child_token(),
            #[cfg(test)]
            tripwires: crate::reconcile::pipeline::tripwire::Tripwires::default(),
        }
    }
}

fn pages_error(served: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match served {
        Ok(Ok(())) => io::Error::other("the server stopped"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    }
}

/// Completes `limit` after the signal to stop.
async fn stopped_for(stopped: &CancellationToken, limit: Duration) {
    stopped.cancelled().await;
    sleep(limit).await;
}

/// Returns a token that the first SIGTERM or SIGINT cancels.
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
        info!("{name}: finishing the work in progress");
        stop.cancel();
    });
    Ok(token)
}

/// Creates the clients on a thread of its own: an exec plugin of the kubeconfig may be slow, or hang.
async fn kube_clients() -> Result<Clients, ClientError> {
    let config = kube_config::infer().await?;
    // A client needs the runtime for its connections.
    let runtime = tokio::runtime::Handle::current();
    let made = tokio::task::spawn_blocking(move || {
        let _entered = runtime.enter();
        Clients::new(config)
    });
    Ok(made.await??)
}

/// Logs where a panic happened, but not its message, which may quote a Secret.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        error!(place, %backtrace, "panicked");
    }));
}

/// Runs the controllers without leader election.
async fn alone(
    controllers: impl Future<Output = Result<(), TransportError>>,
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

/// Runs the controllers with leader election: on standby only their watches, as leader everything, until it loses the
/// lease.
async fn elected(
    controllers: impl Future<Output = Result<(), TransportError>>,
    election: Election<KubeLeases>,
    stopped: &CancellationToken,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Result<(), OperatorError> {
    let mut controllers = pin!(controllers);
    let mut acquiring = pin!(election.acquire(stopped));
    let mut early_end = None;
    let leadership = tokio::select! {
        leadership = &mut acquiring => leadership,
        ended = &mut controllers => {
            early_end = Some(controllers_ended(ended, stopped));
            // Not dropped: an attempt in progress may acquire a lease, which must then be released.
            stopped.cancel();
            acquiring.await
        }
    };
    if let Some(ended) = early_end {
        if let Some(leadership) = leadership {
            give_back(leadership).await;
        }
        return ended;
    }
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
            // The lease is kept, and renewed, while work is in progress.
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
        Ok(Ok(())) => info!("released the lease"),
        Ok(Err(error)) => warn!("{error}"),
        Err(_) => warn!("the lease was not released in time; it expires by itself"),
    }
}

fn controllers_ended(ended: Result<(), TransportError>, stopped: &CancellationToken) -> Result<(), OperatorError> {
    match ended {
        Ok(()) if stopped.is_cancelled() => Ok(()),
        Ok(()) => Err(OperatorError::ControllersEnded),
        Err(error) => Err(OperatorError::Controllers(error)),
    }
}

async fn drain(controllers: impl Future<Output = Result<(), TransportError>>) {
    match timeout(DRAIN_LIMIT, controllers).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!("while stopping: {error}"),
        Err(_) => warn!(
            "work was still in progress after {}; the next operator resumes it from the recorded intents",
            humantime::format_duration(DRAIN_LIMIT)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_may_end_only_after_shutdown() {
        let stopped = CancellationToken::new();
        assert!(controllers_ended(Ok(()), &stopped).is_err());
        stopped.cancel();
        assert!(controllers_ended(Ok(()), &stopped).is_ok());
        let broken = TransportError::Tls(rustls::Error::HandshakeNotComplete);
        assert!(controllers_ended(Err(broken), &stopped).is_err());
    }
}

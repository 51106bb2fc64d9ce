//! Whether a watch of objects is up: for readiness, and for a log that reports each failure once.
//!
//! kube's watcher resumes a broken watch without an event, so a trial watch must find out that it is up again.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::WatchParams;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::reconcile::k8s::initial_list::is_forbidden;
use crate::web::ReadinessCheck;

const FIRST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long the apiserver may take to begin a watch.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);

/// No object has this name, so the trial watch, which checks whether watches can begin, returns no objects.
const NO_OBJECT: &str = "metadata.name=-";

/// The lines of `/readyz` about a watch.
pub(crate) struct WatchChecks {
    pub own: ReadinessCheck,
    /// If each of several namespaces has its own watch: whether any of them is up.
    pub any: Option<ReadinessCheck>,
}

/// See the module.
pub(crate) struct WatchHealth<R> {
    api: Api<R>,
    shared: Arc<WatchState>,
}

struct WatchState {
    kind: &'static str,
    /// Empty: every namespace.
    namespace: String,
    checks: WatchChecks,
    metrics: Metrics,
    failure: Mutex<WatchFailure>,
}

#[derive(Default)]
struct WatchFailure {
    /// How the watch fails, while it does.
    last_reported: Option<String>,
    trial: Option<AbortHandle>,
}

impl<R> WatchHealth<R>
where
    R: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    pub(crate) fn new(
        kind: &'static str,
        namespace: Option<String>,
        checks: WatchChecks,
        metrics: Metrics,
        api: Api<R>,
    ) -> Self {
        let namespace = namespace.unwrap_or_default();
        metrics.set_watch_up(kind, &namespace, false);
        let shared = WatchState {
            kind,
            namespace,
            checks,
            metrics,
            failure: Mutex::default(),
        };
        Self {
            api,
            shared: Arc::new(shared),
        }
    }

    /// Records that the watch delivered an event or a complete list.
    pub(crate) fn is_up(&self) {
        self.shared.is_up();
    }

    /// Records a failure of the watch. The watcher then lists again, which ends in [`Self::is_up`], or resumes the
    /// watch, which it does not report.
    pub(crate) fn failed(&self, error: &watcher::Error) {
        let (kind, namespace) = (self.shared.kind, &self.shared.namespace);
        let how = manner(error);
        self.shared.is_down(error);
        let mut failure = self.shared.lock();
        if failure.last_reported.as_ref() == Some(&how) {
            debug!(kind, namespace, %error, "the watch failed again");
        } else {
            warn!(kind, namespace, %error, "the watch failed; it restarts");
            failure.last_reported = Some(how);
        }
        let is_tried = failure.trial.as_ref().is_some_and(|trial| !trial.is_finished());
        if !is_tried && !relists(error) {
            let trial = tokio::spawn(try_until_it_begins(self.api.clone(), Arc::clone(&self.shared)));
            failure.trial = Some(trial.abort_handle());
        }
    }
}

impl<R> Drop for WatchHealth<R> {
    fn drop(&mut self) {
        if let Some(trial) = self.shared.lock().trial.take() {
            trial.abort();
        }
    }
}

impl WatchState {
    fn is_up(&self) {
        self.checks.own.ok();
        if let Some(any) = &self.checks.any {
            any.ok();
        }
        self.metrics.set_watch_up(self.kind, &self.namespace, true);
        if self.lock().last_reported.take().is_some() {
            info!(kind = self.kind, namespace = self.namespace, "the watch is up again");
        }
    }

    fn is_down(&self, error: &watcher::Error) {
        self.metrics.set_watch_up(self.kind, &self.namespace, false);
        // One forbidden namespace must not block a rollout that all the others need.
        if is_forbidden(error) && self.checks.any.is_some() {
            self.checks.own.note(error.to_string());
        } else {
            self.checks.own.pending(error.to_string());
        }
    }

    fn lock(&self) -> MutexGuard<'_, WatchFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn try_until_it_begins<R>(api: Api<R>, shared: Arc<WatchState>)
where
    R: Clone + DeserializeOwned + Debug,
{
    let trial = WatchParams::default().fields(NO_OBJECT).timeout(1);
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        if let Ok(Ok(_)) = timeout(BEGIN_LIMIT, api.watch(&trial, "0")).await {
            return shared.is_up();
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the watcher lists again after this error.
fn relists(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(_) | watcher::Error::NoResourceVersion => true,
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(_) | watcher::Error::WatchFailed(_) => false,
    }
}

/// The kind of failure, without details that may differ each time.
fn manner(error: &watcher::Error) -> String {
    match error {
        watcher::Error::WatchError(status) => format!("refused: {} {}", status.code, status.reason),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => {
            format!("refused: {} {}", status.code, status.reason)
        }
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::web::Readiness;

    fn refusal() -> kube::Error {
        let status = kube::core::Status {
            code: 500,
            ..kube::core::Status::default()
        };
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test(start_paused = true)]
    async fn the_trial_watch_ends_with_the_watch() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let api = Api::<ConfigMap>::all(kube::Client::try_from(nowhere).unwrap());
        let readiness = Readiness::default();
        let checks = WatchChecks {
            own: readiness.check("watch", "not begun"),
            any: None,
        };
        let health = WatchHealth::new("CustomerGateway", None, checks, Metrics::default(), api);
        health.is_up();
        assert!(readiness.is_ready());
        health.failed(&watcher::Error::InitialListFailed(refusal()));
        assert!(health.shared.lock().trial.is_none(), "the watcher lists again");
        health.failed(&watcher::Error::WatchFailed(refusal()));
        let trial = health.shared.lock().trial.clone().expect("a trial watch");
        tokio::task::yield_now().await;
        assert!(!trial.is_finished());
        drop(health);
        tokio::task::yield_now().await;
        assert!(trial.is_finished());
        assert!(!readiness.is_ready(), "its check stays as it was");
    }
}

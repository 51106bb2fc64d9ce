//! Whether a watch has delivered all existing objects, and if it cannot, why. Only decisions that depend on all objects
//! wait for a namespace that cannot be listed. The lists of a follower do not count: see the controller.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a list may fail before others stop waiting for it. A 403 ends the wait at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of the first list of a watch since this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InitialListProgress {
    InProgress,
    Complete,
    /// It fails for this cause.
    Failing(String),
}

/// The first list of a watch since this process leads. Once it is complete it stays so.
#[derive(Debug)]
pub(crate) struct InitialList {
    progress: watch::Sender<InitialListProgress>,
    failing_since: Mutex<Option<Instant>>,
}

impl Default for InitialList {
    fn default() -> Self {
        Self {
            progress: watch::Sender::new(InitialListProgress::InProgress),
            failing_since: Mutex::default(),
        }
    }
}

impl InitialList {
    /// Subscribes to the progress.
    pub(crate) fn subscribe(&self) -> watch::Receiver<InitialListProgress> {
        self.progress.subscribe()
    }

    /// Completes the list. Returns whether reconciles may have run without it.
    pub(crate) fn complete(&self) -> bool {
        let before = self.progress.send_replace(InitialListProgress::Complete);
        matches!(before, InitialListProgress::Failing(_))
    }

    /// Records a failure of the watch at this time.
    pub(crate) fn failed(&self, error: &watcher::Error, now: Instant) {
        let mut failing_since = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *failing_since.get_or_insert(now);
        if is_forbidden(error) || now.duration_since(since) >= PATIENCE {
            let cause = cause(error);
            self.progress.send_if_modified(|progress| {
                let is_news = *progress != InitialListProgress::Complete
                    && *progress != InitialListProgress::Failing(cause.clone());
                if is_news {
                    *progress = InitialListProgress::Failing(cause);
                }
                is_news
            });
        }
    }
}

/// Whether the account lacks the permission.
pub(crate) fn is_forbidden(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.code == 403)
}

fn status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
}

/// The message of the apiserver, which names the missing permission.
fn cause(error: &watcher::Error) -> String {
    match status(error) {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        Some(status) => format!("{} {}", status.code, status.reason),
        None => "the apiserver does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> watcher::Error {
        let status = kube::core::Status {
            code,
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_refused_list_ends_the_wait_at_once_and_other_failures_later() {
        let now = Instant::now();
        let list = InitialList::default();
        let progress = || list.subscribe().borrow().clone();
        list.failed(&refusal(500, "busy"), now);
        list.failed(&watcher::Error::NoResourceVersion, now + PATIENCE / 2);
        assert_eq!(progress(), InitialListProgress::InProgress);
        list.failed(&refusal(500, "busy"), now + PATIENCE);
        assert_eq!(progress(), InitialListProgress::Failing("busy".to_owned()));
        list.failed(&refusal(403, "may not"), now + PATIENCE);
        assert_eq!(progress(), InitialListProgress::Failing("may not".to_owned()));
        let list = InitialList::default();
        list.failed(&refusal(403, "may not"), now);
        assert_eq!(
            *list.subscribe().borrow(),
            InitialListProgress::Failing("may not".to_owned())
        );
    }

    #[test]
    fn a_completed_initial_list_stays_complete() {
        let list = InitialList::default();
        list.failed(&refusal(403, "may not"), Instant::now());
        assert!(list.complete(), "others went on without it");
        assert!(!list.complete());
        assert_eq!(*list.subscribe().borrow(), InitialListProgress::Complete);
        list.failed(&refusal(403, "may not"), Instant::now());
        assert_eq!(*list.subscribe().borrow(), InitialListProgress::Complete);
    }
}

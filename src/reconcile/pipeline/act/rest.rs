//! Nothing to send: what status and Events report.

use std::time::Duration;

use tokio::time::Instant;
use vpn_core::api::conditions;
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::cache::Remote;
use vpn_core::decide::step::Rest;
use vpn_core::ledger::record;
use vpn_core::observe::observer::if_missing;
use vpn_core::terms::failure::Failure;

use super::{Next, Pass};
use crate::reconcile::k8s::report::{is_new_failure, stamp};
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::Action;

/// The time between two reads of resources that the cloud is still working on, which takes seconds to minutes.
const COMMON_READ: Duration = Duration::from_secs(10);

/// The time until the next common read, at least half of the time between two. `uptime` is the same clock for all objects.
fn until_common_read(uptime: Duration) -> Duration {
    let period = COMMON_READ.as_secs();
    let next = Duration::from_secs((uptime.as_secs() / period + 1) * period).saturating_sub(uptime);
    if next < COMMON_READ / 2 {
        next + COMMON_READ
    } else {
        next
    }
}

impl<K: CloudKind> Pass<'_, K> {
    pub(super) async fn rest(&self, rest: Rest<K::Remote>) -> Result<Next<K>, kube::Error> {
        match rest {
            Rest::Done => {
                self.context.finalizer_removed(self.key);
                Ok(Next::Rest(Action::await_change()))
            }
            Rest::Paused => {
                let stamp = stamp(&self.object);
                self.write(|status| {
                    self.expect(status);
                    record::paused::<K>(status, stamp);
                })
                .await?;
                Ok(Next::Rest(Action::await_change()))
            }
            Rest::Confirmed {
                remote,
                drifted,
                unexplained_duplicates,
            } => self.confirmed(remote, drifted, unexplained_duplicates).await,
            Rest::Failed(failure) => self.stopped(&failure).await,
            Rest::InProgress(condition) => self.in_progress(&condition).await,
            Rest::Quiet(backoff) => Ok(self.requeue_after(backoff)),
            Rest::Waiting => Ok(Next::Rest(Action::await_change())),
            Rest::Until(condition, wait) => {
                if let Some(condition) = condition {
                    let stamp = stamp(&self.object);
                    self.write(|status| record::in_progress::<K>(status, &condition, stamp))
                        .await?;
                    self.count(condition.reason);
                }
                self.context.states.wait_until(self.key, Instant::now() + wait);
                Ok(Next::Rest(Action::requeue(wait)))
            }
        }
    }

    /// Reports that the cloud is still working, and reads again at the next common time.
    async fn in_progress(&self, condition: &ReadyCondition) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write(|status| record::condition::<K>(status, condition, stamp))
            .await?;
        self.count(condition.reason);
        // A change that the cloud has accepted may still have no effect: it stays known until that shows.
        if let Some(accepted) = &self.gathered.accepted {
            self.context.states.accepted(self.key, accepted.clone());
        }
        let now = Instant::now();
        self.context.states.require_fresh(self.key, now);
        let wait = until_common_read(now.saturating_duration_since(self.context.shared.started));
        self.context.states.wait_until(self.key, now + wait);
        Ok(Next::Rest(Action::requeue(wait)))
    }

    pub(super) async fn confirmed(
        &self,
        remote: K::Remote,
        drifted: Vec<String>,
        unexplained_duplicates: Vec<String>,
    ) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        let spec = self.object.spec.as_ref().ok();
        let newly_drifted = {
            let conditions = &K::object(&self.object.status).conditions;
            !drifted.is_empty() && conditions::find(conditions, conditions::DRIFTED).is_none()
        };
        let fields = drifted.join(", ");
        let observes = self.observes();
        let policy = &self.context.shared.policy;
        let cloud_now = self.gathered.access.as_ref().ok().and_then(|access| access.cloud_now);
        // From now on it holds nothing, and another object may adopt its resource.
        let gives_up = observes && !K::object(&self.object.status).observe_only;
        let written = self
            .write(|status| {
                if let Some(cloud_now) = cloud_now {
                    record::resolved::<K>(status, &remote, cloud_now, policy.confirmation_period);
                }
                record::confirmed::<K>(
                    status,
                    spec,
                    self.dereferenced(),
                    &remote,
                    drifted.clone(),
                    &unexplained_duplicates,
                    stamp,
                );
                record::observed::<K>(status, observes);
                if !observes {
                    record::marked::<K>(status, self.object.uid());
                }
            })
            .await?;
        if let Some(cache) = &self.gathered.cache {
            // From now on its absence counts, without another pass to report that.
            cache.known().if_missing(remote.id(), if_missing(&written));
        }
        if gives_up {
            self.enqueue_who_names(remote.id());
        }
        let reporter = &self.context.shared.reporter;
        if newly_drifted {
            reporter
                .event(
                    &*self.object,
                    "DriftDetected",
                    &format!("differs in the cloud: {fields}"),
                )
                .await;
        }
        let (corrected, was_drift) = self.context.states.succeeded(self.key);
        if !corrected.is_empty() {
            let (reason, verb) = if was_drift {
                ("DriftCorrected", "corrected")
            } else {
                ("Updated", "changed")
            };
            reporter
                .event(
                    &*self.object,
                    reason,
                    &format!("{verb} in the cloud: {}", corrected.join(", ")),
                )
                .await;
        }
        let failed = record::failed::<K>(&remote);
        if let Some(condition) = &failed {
            self.warn_of(condition).await;
        }
        let reason = failed.map_or(Reason::Available, |condition| condition.reason);
        self.count_as(reason, !drifted.is_empty());
        Ok(Next::Rest(Action::await_change()))
    }

    /// Sets the condition of a decision. If the object has changed meanwhile, the decision is repeated.
    pub(super) async fn stopped(&self, failure: &Failure) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write(|status| {
            self.expect(status);
            record::condition::<K>(status, &failure.condition, stamp);
        })
        .await?;
        Ok(self.report_and_retry(failure).await)
    }

    /// Sets the condition of an outcome: records the cloud's answer even if the object has changed meanwhile.
    pub(super) async fn record_failure(
        &self,
        failure: &Failure,
        also: impl Fn(&mut K::Status),
    ) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write_surely(|status| {
            also(status);
            self.expect(status);
            record::condition::<K>(status, &failure.condition, stamp);
        })
        .await?;
        Ok(self.report_and_retry(failure).await)
    }

    /// Emits an Event if status did not report this before.
    async fn warn_of(&self, condition: &ReadyCondition) {
        if is_new_failure::<K>(&self.object.status, condition) {
            let reporter = &self.context.shared.reporter;
            reporter
                .warning(&*self.object, condition.reason.as_str(), &condition.message)
                .await;
        }
    }

    /// Emits an Event once for a failure that status reports, and schedules the retry.
    pub(super) async fn report_and_retry(&self, failure: &Failure) -> Next<K> {
        let Failure { condition, backoff } = failure;
        self.warn_of(condition).await;
        self.count(condition.reason);
        // The present observation led here; the next decision needs a new one.
        self.context.states.require_fresh(self.key, Instant::now());
        self.requeue_after(*backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_wait_for_the_cloud_read_at_common_times() {
        for (millis, next) in [
            (0, 10),
            (1, 10),
            (4_999, 10),
            (5_000, 10),
            (5_001, 20),
            (9_999, 20),
            (10_000, 20),
        ] {
            let uptime = Duration::from_millis(millis);
            assert_eq!(
                uptime + until_common_read(uptime),
                Duration::from_secs(next),
                "{millis}"
            );
        }
    }
}

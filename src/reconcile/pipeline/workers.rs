//! The workers: they take objects of a kind from its queue and reconcile them, a bounded number at a time. A panic or
//! an endless reconcile affects only its own object: it is counted, logged and retried with backoff.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::ledger::record;
use vpn_core::object::Object;
use vpn_core::terms::failure::{Failure, RETRY};
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::k8s::report::{is_new_failure, stamp};
use crate::reconcile::pipeline::context::KindContext;
use crate::reconcile::pipeline::pass::{on_error, reconcile};
use crate::reconcile::pipeline::slots::{Slot, Slots};
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::{Action, DueKey, WorkQueue};

/// The time of a reconcile beside its requests to the cloud: the records before and after them.
const APISERVER_SHARE: Duration = Duration::from_secs(100);

/// Tries to report a panic on the object. The log has it in any case.
const REPORTS_OF_A_PANIC: usize = 3;

/// A list that takes longer than this is logged.
const LISTS_ARE_SLOW: Duration = Duration::from_secs(10);

/// How long a reconcile may take: three requests to the cloud, each up to `request_timeout`, and their records. These
/// are the look-up of the project, the proof of the credentials by another request, and a write.
pub(crate) fn longest_reconcile(request_timeout: Duration) -> Duration {
    request_timeout.saturating_mul(3).saturating_add(APISERVER_SHARE)
}

/// Reconciles the objects in the queue, once this process leads, until shutdown. Then it finishes the reconciles in
/// progress.
pub(crate) async fn work<K: CloudKind>(
    context: Arc<KindContext<K>>,
    queue: Arc<WorkQueue>,
    slots: Slots,
    shutdown: CancellationToken,
) {
    tokio::select! {
        () = may_begin(&context) => {}
        () = shutdown.cancelled() => return,
    }
    let mut running = JoinSet::new();
    loop {
        let slot = tokio::select! {
            slot = next_slot(&queue, &slots) => slot,
            Some(_) = running.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        if let Some(taken) = queue.take() {
            running.spawn(visit(Arc::clone(&context), Arc::clone(&queue), taken, slot));
        }
    }
    while running.join_next().await.is_some() {}
}

/// Completes once this process leads and has since listed every object, as far as possible. Until then it may not know
/// the last intents of the former leader. No reconcile has begun yet, so none occupies a slot for this wait.
async fn may_begin<K: CloudKind>(context: &KindContext<K>) {
    context.shared.leader.leading().await;
    let mut known = pin!(context.all_is_known());
    if timeout(LISTS_ARE_SLOW, &mut known).await.is_err() {
        let kind = K::KIND;
        warn!(
            kind,
            "nothing is reconciled yet: not all objects are listed since this process became the leader"
        );
        known.await;
        info!(kind, "all objects are listed, as far as they can be: reconciling");
    }
}

async fn next_slot(queue: &WorkQueue, slots: &Slots) -> Slot {
    queue.is_due().await;
    slots.acquire().await
}

async fn visit<K: CloudKind>(context: Arc<KindContext<K>>, queue: Arc<WorkQueue>, taken: DueKey, slot: Slot) {
    let DueKey { key, enqueued } = taken;
    if enqueued {
        context.states.reset_backoff(&key);
    }
    let action = if let Some(object) = context.watched(&key) {
        supervised(&context, object, &key, &slot).await
    } else {
        // Its permit of a write queue passes to the next object.
        context.shared.sessions.write_queues.done(&key);
        Action::await_change()
    };
    let is_edited = || context.states.is_edited(&key);
    queue.done(&key, action.due(Instant::now()), || context.is_echo(&key), is_edited);
}

/// Runs one reconcile and handles its error, panic or timeout.
async fn supervised<K: CloudKind>(
    context: &Arc<KindContext<K>>,
    object: Arc<Object<K>>,
    key: &ObjectKey,
    slot: &Slot,
) -> Action {
    let limit = longest_reconcile(context.shared.settings.request_timeout);
    let started = Instant::now();
    let ended = within(limit, |deadline| {
        reconcile(Arc::clone(&object), context, key, slot, deadline)
    })
    .await;
    let outcome = match &ended {
        Ok(Ok(Ok(_))) => "ok",
        Ok(Ok(Err(_))) => "error",
        Ok(Err(_)) => "panic",
        Err(_) => "timeout",
    };
    context.shared.metrics.reconciled(K::KIND, outcome, started.elapsed());
    match ended {
        Ok(Ok(Ok(action))) => return action,
        Ok(Ok(Err(error))) => return on_error(context, key, &error),
        Ok(Err(_)) => {
            // The panic's message may quote anything; its location is in the log.
            error!(object = %key, "reconciliation failed: the operator panicked; it is retried with backoff");
            let reported = AssertUnwindSafe(panicked(context, &object, key)).catch_unwind();
            if !matches!(timeout(APISERVER_SHARE, reported).await, Ok(Ok(()))) {
                warn!(object = %key, "the panic could not be reported on the object");
            }
        }
        Err(_) => {
            let limit = humantime::format_duration(limit);
            warn!(object = %key, "the reconciliation was canceled after {limit}; it is retried with backoff");
        }
    }
    // An object that cannot be read must not prevent counting the losses of others.
    context.states.was_read(key);
    let jitter = (context.shared.jitter)();
    Action::requeue(context.states.back_off(key, RETRY, jitter, Instant::now()))
}

/// Runs work until the deadline, which is its argument. Catches panics of the work.
async fn within<F: Future>(
    limit: Duration,
    work: impl FnOnce(Instant) -> F,
) -> Result<std::thread::Result<F::Output>, Elapsed> {
    let deadline = Instant::now() + limit;
    timeout_at(deadline, AssertUnwindSafe(work(deadline)).catch_unwind()).await
}

/// Sets the condition on the object as it is now: the reconcile that panicked may have written to it.
async fn panicked<K: CloudKind>(context: &KindContext<K>, object: &Object<K>, key: &ObjectKey) {
    let failure = Failure {
        condition: ReadyCondition::new(
            Reason::InternalError,
            "reconciliation failed: the operator has a bug and panicked; it is retried with backoff, and after every \
             change: report it with the operator's log",
        ),
        backoff: RETRY,
    };
    let reporter = &context.shared.reporter;
    for _ in 0..REPORTS_OF_A_PANIC {
        if !context.shared.leads() {
            return;
        }
        let now = match reporter.read(object).await {
            Ok(Some(now)) => now,
            Ok(None) => return,
            Err(error) => {
                warn!(object = %key, %error, "the panic is not reported on the object yet");
                continue;
            }
        };
        let (stamp, is_news) = (stamp(&now), is_new_failure::<K>(&now.status, &failure.condition));
        let written = reporter.write(&now, |status| record::condition::<K>(status, &failure.condition, stamp));
        match written.await {
            Ok(written) => {
                if let Some(written) = written {
                    context.wrote(key, &Arc::new(written));
                }
                if is_news {
                    let reason = failure.condition.reason.as_str();
                    reporter.warning(&now, reason, &failure.condition.message).await;
                }
                context.count(key, failure.condition.reason, false);
                return;
            }
            Err(error) => warn!(object = %key, %error, "the panic is not reported on the object yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// The answers of a reconcile that looks its project up, waits for the proof of its credentials and writes.
    #[tokio::test(start_paused = true)]
    async fn slow_responses_within_the_timeout_do_not_end_a_reconcile() {
        for request_timeout in [1, 30, 300].map(Duration::from_secs) {
            let began = Instant::now();
            let limit = longest_reconcile(request_timeout);
            let is_in_time = within(limit, |deadline| async move {
                for _ in 0..3 {
                    sleep(request_timeout).await;
                }
                Instant::now() < deadline
            });
            assert!(matches!(is_in_time.await, Ok(Ok(true))), "{request_timeout:?}");
            assert_eq!(began.elapsed(), request_timeout * 3);
            let began = Instant::now();
            let never = within(limit, |_| std::future::pending::<()>()).await;
            assert!(never.is_err() && began.elapsed() == limit, "{request_timeout:?}");
        }
    }
}

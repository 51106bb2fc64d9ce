//! The pipeline: gather → decide → act, in a loop of a few passes, each starting from what the last write returned.

use crate::reconcile::pipeline::act::{Next, Pass};
use crate::reconcile::pipeline::conditions_beside::write_conditions_beside;
use crate::reconcile::pipeline::context::{Context, KindContext};
use crate::reconcile::pipeline::gather::gather;

use crate::reconcile::pipeline::slots::Slot;
#[cfg(test)]
use crate::reconcile::pipeline::tripwire;
use crate::reconcile::pipeline::visit::{Visit, log_refusal};
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::state::queue::Action;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;
use vpn_core::decide::decide;
use vpn_core::object::Object;
use vpn_core::terms::failure::RETRY;
use vpn_core::terms::key::ObjectKey;

/// Passes of one reconcile; a healthy object needs at most half of them.
const MOST_PASSES: usize = 12;

/// Conflicts of one reconcile that are retried at once. After more of them it backs off, so that a faster writer can
/// finish.
const MOST_CONFLICTS: usize = 4;

/// Reconciles one object. The outcome of a write to the cloud is recorded until `deadline` at the latest. Returns
/// errors of the apiserver only: errors of the cloud are handled before.
pub(crate) async fn reconcile<K: CloudKind>(
    object: Arc<Object<K>>,
    context: &KindContext<K>,
    key: &ObjectKey,
    slot: &Slot,
    deadline: Instant,
) -> Result<Action, kube::Error> {
    let span = tracing::debug_span!("reconcile", kind = K::KIND, namespace = key.namespace, name = key.name);
    // However the reconcile ends, its unused permit of a write queue passes to the next object.
    let _end = EndOfVisit(&context.shared, key);
    let visit = Visit {
        context,
        key,
        slot,
        deadline,
    };
    let result = passes(object, &visit).instrument(span).await;
    context
        .shared
        .metrics
        .set_rate_limiter_queue(context.shared.sessions.waiting());
    result
}

struct EndOfVisit<'a>(&'a Context, &'a ObjectKey);

impl Drop for EndOfVisit<'_> {
    fn drop(&mut self) {
        self.0.sessions.write_queues.done(self.1);
    }
}

async fn passes<K: CloudKind>(object: Arc<Object<K>>, visit: &Visit<'_, K>) -> Result<Action, kube::Error> {
    let Visit { context, key, slot, .. } = *visit;
    if !context.shared.leader.is_leader() {
        return Ok(Action::await_change());
    }
    if !context.is_all_known() {
        slot.yielded(context.all_is_known()).await;
    }
    let Some(mut object) = context.observe(key, object) else {
        return Ok(Action::await_change());
    };
    // Held until the end, so that no registration outlives both this reconcile and the object's watch.
    let Some(registrations) = context.registrations(key) else {
        return Ok(Action::await_change());
    };
    if let Some(wait) = context.states.backoff_remaining(key, Instant::now()) {
        return Ok(Action::requeue(wait));
    }
    let mut conflicts = 0;
    for _ in 0..MOST_PASSES {
        if !context.shared.leads() {
            // Another process may lead by now, and its writes could invalidate any decision from here on.
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
        if object.is_released() {
            // Nothing needs to be read, not even its credentials.
            context.states.was_read(key);
            context.finalizer_removed(key);
            return Ok(Action::await_change());
        }
        context.states.begin(key);
        context.claims.index().begin(key);
        #[cfg(test)]
        context.shared.tripwires.cross(key, tripwire::PipelineStep::Gather);
        let gathered = gather(visit, &object, &registrations).await;
        context.states.was_read(key);
        let mut gathered = gathered?;
        object = write_conditions_beside(context, key, object, &registrations).await?;
        gathered.take_one_time_reports(context, key);
        #[cfg(test)]
        context.shared.tripwires.cross(key, tripwire::PipelineStep::Decide);
        let step = decide(&gathered.inputs(&object, context));
        tracing::debug!(?step, "decided");
        let pass = Pass {
            visit,
            context,
            key,
            object: Arc::clone(&object),
            gathered: &gathered,
        };
        #[cfg(test)]
        context.shared.tripwires.cross(key, tripwire::PipelineStep::Act);
        match pass.take(step).await {
            Ok(Next::Again(next)) => object = next,
            Ok(Next::Rest(action)) => return Ok(action),
            // Another writer was faster: decide again on the present version.
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < MOST_CONFLICTS => {
                conflicts += 1;
                let newer = context.shared.reporter.read(&*object).await?;
                match newer.and_then(|newer| context.reread(key, Arc::new(newer))) {
                    Some(newer) => object = newer,
                    None => return Ok(Action::await_change()),
                }
            }
            // The object or its CRD was deleted; if the CRD returns, the watch begins again.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::debug!(object = %key, "deleted from the cluster");
                return Ok(Action::await_change());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Action::requeue(Duration::from_millis(100)))
}

/// Requeues the object with backoff after an error of the apiserver.
pub(crate) fn on_error<K: CloudKind>(context: &KindContext<K>, key: &ObjectKey, error: &kube::Error) -> Action {
    let delay = context
        .states
        .back_off(key, RETRY, (context.shared.jitter)(), Instant::now());
    log_refusal(context, key, error);
    Action::requeue(delay)
}

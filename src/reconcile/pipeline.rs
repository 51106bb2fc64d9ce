//! The pipeline: gather → decide → act, in a loop of a few passes, each starting from what the last write returned.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use super::act::{Next, Pass};
use super::conditions_beside::write_conditions_beside;
use super::context::{Context, KindContext};
use super::decide::{AGAIN, decide};
use super::gather::gather;
use super::key::Key;
use super::kind::Kind;
use super::managed::Managed;
use super::queue::Action;
#[cfg(test)]
use super::tripwire;
use super::workers::Slot;

/// Passes of one reconcile; a healthy object needs at most half of them.
const MOST_PASSES: usize = 12;

/// Conflicts of one reconcile that are answered at once; whoever is always faster than we are is given way to.
const MOST_CONFLICTS: usize = 4;

/// Reconciles one object. The outcome of a write to the cloud is recorded until `deadline` at the latest. An error is what
/// the apiserver refused; the cloud's errors never come this far.
pub async fn reconcile<K: Kind>(
    object: Arc<Managed<K>>,
    context: &KindContext<K>,
    key: &Key,
    slot: &Slot,
    deadline: Instant,
) -> Result<Action, kube::Error> {
    let span = tracing::debug_span!("reconcile", kind = K::KIND, namespace = key.namespace, name = key.name);
    // A turn to write that this reconcile does not take goes to the next, however it ends.
    let _turn = EndOfVisit(&context.shared, key);
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
        .set_budget_queue(context.shared.tenants.waiting());
    result
}

/// One reconcile: of what, and by when it must have ended.
pub struct Visit<'a, K: Kind> {
    pub context: &'a KindContext<K>,
    pub key: &'a Key,
    pub slot: &'a Slot,
    pub deadline: Instant,
}

struct EndOfVisit<'a>(&'a Context, &'a Key);

impl Drop for EndOfVisit<'_> {
    fn drop(&mut self) {
        self.0.tenants.lanes.done(self.1);
    }
}

async fn passes<K: Kind>(object: Arc<Managed<K>>, visit: &Visit<'_, K>) -> Result<Action, kube::Error> {
    let Visit { context, key, slot, .. } = *visit;
    if !context.shared.leader.is_leader() {
        return Ok(Action::await_change());
    }
    if !context.is_all_known() {
        slot.yielded(context.all_is_known()).await;
    }
    let Some(mut object) = context.arrive(key, object) else {
        return Ok(Action::await_change());
    };
    // Held until the end, so that nothing that a pass registers outlives both it and the object's watch.
    let Some(registrations) = context.registrations(key) else {
        return Ok(Action::await_change());
    };
    if let Some(wait) = context.memory.hold_off(key, Instant::now()) {
        return Ok(Action::requeue(wait));
    }
    let mut conflicts = 0;
    for _ in 0..MOST_PASSES {
        if !context.shared.leads() {
            // What was decided from here on would rest on what may be another's by now.
            return Ok(Action::requeue(Duration::from_secs(1)));
        }
        if object.is_let_go() {
            // Nothing need be asked, not even for its credentials.
            context.memory.looked_at(key);
            context.let_go(key);
            return Ok(Action::await_change());
        }
        context.memory.begin(key);
        context.claims.index().begin(key);
        #[cfg(test)]
        context.shared.tripwires.cross(key, tripwire::Step::Gather);
        let gathered = gather(visit, &object, &registrations).await;
        context.memory.looked_at(key);
        let mut gathered = gathered?;
        object = write_conditions_beside(context, key, object, &registrations).await?;
        gathered.take_what_is_told_once(context, key);
        #[cfg(test)]
        context.shared.tripwires.cross(key, tripwire::Step::Decide);
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
        context.shared.tripwires.cross(key, tripwire::Step::Act);
        match pass.take(step).await {
            Ok(Next::Again(next)) => object = next,
            Ok(Next::Rest(action)) => return Ok(action),
            // Somebody else wrote: decide again on what is there now.
            Err(kube::Error::Api(status)) if status.code == 409 && conflicts < MOST_CONFLICTS => {
                conflicts += 1;
                let newer = context.shared.reporter.read(&*object).await?;
                match newer.and_then(|newer| context.reread(key, Arc::new(newer))) {
                    Some(newer) => object = newer,
                    None => return Ok(Action::await_change()),
                }
            }
            // Gone from the cluster; or its CRD is, and its return begins the watch anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::debug!(object = %key, "gone from the cluster");
                return Ok(Action::await_change());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Action::requeue(Duration::from_millis(100)))
}

/// When the apiserver refused something: again, with backoff.
pub fn on_error<K: Kind>(context: &KindContext<K>, key: &Key, error: &kube::Error) -> Action {
    let delay = context
        .memory
        .failed(key, AGAIN, context.shared.jitter(), Instant::now());
    log_refusal(context, key, error);
    Action::requeue(delay)
}

/// Logs what the apiserver refused, once for as long as it refuses in the same way.
pub fn log_refusal<K: Kind>(context: &KindContext<K>, key: &Key, error: &kube::Error) {
    let (namespace, name) = (&key.namespace, &key.name);
    let how = refusal(error);
    let error = format!("the apiserver: {error}");
    if context.memory.is_refused(key, how) {
        tracing::warn!(kind = K::KIND, namespace, name, %error, "will try again");
    } else {
        tracing::debug!(kind = K::KIND, namespace, name, %error, "will try again");
    }
}

/// How the apiserver refuses, in words that stay the same from try to try; its own may name ports and times.
fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    }
}

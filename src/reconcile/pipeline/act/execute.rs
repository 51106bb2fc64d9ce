//! The order of a cloud write, as `vpn_core::write_order` has it. All writes go this way but one: `create::take_back` deletes
//! what was made for an object that no longer exists, so there is no status to record it in.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use vpn_cloud::limits::clock::Moment;
use vpn_cloud::limits::rate_limiter::{LONG_WAIT, Priority};
use vpn_cloud::{CloudError, CloudResponse, ErrorKind};
use vpn_core::object::Object;
use vpn_core::observe::claims::write_queue;
use vpn_core::observe::observer::competing_claim;
use vpn_core::terms::failure::{RETRY, failure_of};
use vpn_core::write_order::{Abort, ORDER, Stage};

use super::audit::{Audited, audited};
use super::recorded::Recorded;
use super::{CloudContext, Next, Pass};
use crate::reconcile::pipeline::context::Context;
use crate::reconcile::provider::cloud_kind::CloudKind;
use crate::reconcile::session::permits::{NotYet, Reservation, WriteAdmission, WritePermit, WriteRefusal};
use crate::reconcile::state::queue::Action;

/// What one cloud write differs in from others.
pub(super) trait CloudWrite<K: CloudKind>: Sync {
    /// The content of a successful response.
    type Response: Send;

    /// Its order among the writes that wait.
    fn priority(&self, _: &Pass<'_, K>) -> Priority {
        Priority::Write
    }

    /// Reports that the write is queued, if that is to be shown.
    fn waits(&self, _: &Pass<'_, K>) -> impl Future<Output = Result<(), kube::Error>> + Send {
        async { Ok(()) }
    }

    /// Whether the write is sent only if the apiserver keeps all fields of its record. Then a kept record proves the CRD.
    fn proves_the_crd(&self) -> bool {
        true
    }

    /// Records the intent.
    fn record(
        &self,
        pass: &Pass<'_, K>,
        cloud: &CloudContext<'_, K>,
    ) -> impl Future<Output = Result<Recorded<K>, kube::Error>> + Send;

    /// Claims what the write takes. Returns whether no other object has it. Checked before the record, and again when no
    /// other write can be in progress.
    fn claims(&self, pass: &Pass<'_, K>, cloud: &CloudContext<'_, K>) -> bool;

    /// What its line in the audit log says.
    fn audited<'a>(&'a self, pass: &Pass<'_, K>) -> Audited<'a>;

    /// The ID of a created resource.
    fn id_of(_: &Self::Response) -> Option<&str> {
        None
    }

    /// The request.
    fn request<'a>(
        &'a self,
        cloud: &'a CloudContext<'_, K>,
    ) -> BoxFuture<'a, Result<CloudResponse<Self::Response>, CloudError>>;
}

/// What became of a write.
pub(super) enum Executed<K: CloudKind, T> {
    /// The cloud answered, or did not in time. The object is as it was recorded.
    Answered(Arc<Object<K>>, Result<CloudResponse<T>, CloudError>),
    /// It was not sent, and its record is withdrawn unless this process no longer leads.
    Aborted(Next<K>),
}

impl<K: CloudKind> Pass<'_, K> {
    /// Takes a write through its stages, and ends at the first that does not pass.
    pub(super) async fn execute<W: CloudWrite<K>>(
        &self,
        cloud: &CloudContext<'_, K>,
        write: &W,
    ) -> Result<Executed<K, W::Response>, kube::Error> {
        let (mut reservation, mut permit) = (None, None);
        let mut recorded = Recorded::nothing(&self.object);
        let mut is_fenced = false;
        for stage in ORDER {
            let passes = match stage {
                Stage::Reserve => match self.reserve(cloud, write.priority(self)) {
                    Ok(reserved) => {
                        reservation = Some(reserved);
                        true
                    }
                    Err(WriteRefusal::NotYet) => {
                        write.waits(self).await?;
                        false
                    }
                    Err(WriteRefusal::HeldBack(error)) => {
                        return Ok(Executed::Aborted(self.stopped(&failure_of(&error)).await?));
                    }
                },
                Stage::Claim => write.claims(self, cloud),
                Stage::Record => {
                    recorded = write.record(self, cloud).await?;
                    true
                }
                Stage::Kept => {
                    if recorded.is_kept && write.proves_the_crd() {
                        self.context.record_was_kept();
                    }
                    recorded.is_kept
                }
                Stage::Permit => {
                    permit = reservation
                        .take()
                        .and_then(|reserved: Reservation<'_>| reserved.take().ok());
                    permit.is_some()
                }
                Stage::Recheck => write.claims(&self.on(&recorded.object), cloud),
                // The session checks it after all waiting, immediately before it sends.
                Stage::Fence => {
                    is_fenced = true;
                    true
                }
                Stage::Send => {
                    let may_send = || !is_fenced || self.passes_fence(&recorded);
                    let request = audited(&recorded.object, write.audited(self), write.request(cloud), W::id_of);
                    match self.send(cloud, permit.take(), may_send, request).await {
                        Some(answer) => return Ok(Executed::Answered(recorded.object, answer)),
                        None => false,
                    }
                }
            };
            if !passes && let Some(abort) = stage.abort() {
                drop((reservation, permit));
                let pass = self.on(&recorded.object);
                return pass.abort(abort, &recorded).await.map(Executed::Aborted);
            }
        }
        // Only an order that does not send ends here.
        Ok(Executed::Aborted(Next::Again(recorded.object)))
    }

    /// Whether this process still leads, and the record covers a request that is sent now.
    fn passes_fence(&self, recorded: &Recorded<K>) -> bool {
        self.context.shared.may_write() && recorded.covers(Moment::now())
    }

    /// Sends the request. The permit ends with the answer, whose record needs none. `None`: it was not sent.
    async fn send<T>(
        &self,
        cloud: &CloudContext<'_, K>,
        permit: Option<WritePermit<'_>>,
        may_send: impl Fn() -> bool,
        request: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Option<Result<CloudResponse<T>, CloudError>> {
        let sending = async {
            let sent = cloud.session.send_if(may_send, request).await;
            if let Some(Err(error)) = &sent {
                // Before the next write is admitted.
                self.heed_full_queue(cloud, error);
            }
            // Before the wait for a slot, which others may keep while the apiserver is slow.
            drop(permit);
            sent
        };
        self.visit.slot.yielded(sending).await
    }

    /// Ends a write that is not sent. `self` has the object as recorded.
    async fn abort(&self, abort: Abort, recorded: &Recorded<K>) -> Result<Next<K>, kube::Error> {
        match abort {
            Abort::Wait => Ok(Next::Rest(Action::await_change())),
            // Another object was faster; the next pass reports that.
            Abort::Decide => Ok(Next::Again(Arc::clone(&self.object))),
            Abort::ReportCrd => self.crd_is_too_old("drops required status fields").await,
            Abort::WithdrawAndWait => {
                self.withdraw(&recorded.before).await?;
                Ok(Next::Rest(Action::await_change()))
            }
            Abort::WithdrawAndDecide => Ok(Next::Again(self.withdraw(&recorded.before).await?)),
            Abort::WithdrawIfLeading if !self.context.shared.may_write() => Ok(not_leading()),
            Abort::WithdrawIfLeading => {
                self.withdraw(&recorded.before).await?;
                Ok(self.requeue_after(RETRY))
            }
        }
    }

    /// Reserves a write of the object. It does not block: a waiting object is enqueued later.
    fn reserve<'a>(
        &'a self,
        cloud: &'a CloudContext<'_, K>,
        priority: Priority,
    ) -> Result<Reservation<'a>, WriteRefusal> {
        let queues = WriteAdmission {
            write_queues: &self.context.shared.sessions.write_queues,
            write_queue: write_queue::<K>(&cloud.scope, &cloud.parent),
            rate_limiter: cloud.session.rate_limiter(),
            key: self.key,
            priority,
        };
        let reserved = queues.reserve();
        // After `reserve`: waiters that queued before the wait are enqueued when it begins, and later ones see it here.
        match (cloud.session.held_back(), reserved) {
            (None, Ok(reservation)) => Ok(reservation),
            (None, Err(NotYet)) => Err(WriteRefusal::NotYet),
            (Some(error), reserved) => {
                drop(reserved);
                self.context.shared.sessions.write_queues.forget(self.key);
                cloud.session.rate_limiter().forget(self.key);
                Err(WriteRefusal::HeldBack(Box::new(error)))
            }
        }
    }

    /// Pauses a write queue, since the cloud's own queue of that server is full.
    fn heed_full_queue(&self, cloud: &CloudContext<'_, K>, error: &CloudError) {
        if let (ErrorKind::QueueFull, Some(write_queue)) = (error.kind, write_queue::<K>(&cloud.scope, &cloud.parent)) {
            // Not for a long wait: the other objects get the cloud's own answer as well, and report it.
            let wait = error.delay(1).min(error.kind.backoff().first.max(LONG_WAIT));
            self.context
                .shared
                .sessions
                .write_queues
                .pause(&write_queue, Instant::now() + wait);
        }
    }

    /// Whether another object claims the resource. Checked again once no other write can be in progress.
    pub(super) fn is_held_by_another(&self, cloud: &CloudContext<'_, K>, id: &str) -> bool {
        let Context { policy, .. } = &*self.context.shared;
        let known = cloud.cache.known();
        competing_claim(&self.context.claims, &known, policy, self.key, &self.object, id).is_some()
    }
}

/// Requeues soon: either the next renewal of the lease permits writes again, or this process ends.
fn not_leading<K: CloudKind>() -> Next<K> {
    Next::Rest(Action::requeue(Duration::from_secs(1)))
}

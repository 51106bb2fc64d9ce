//! What is recorded before a request is sent.

use std::sync::Arc;
use std::time::Duration;

use vpn_cloud::limits::clock::{Moment, SENT_WITHIN};
use vpn_core::api::conditions::{ReadyCondition, Reason};
use vpn_core::ledger::outcome;
use vpn_core::ledger::outcome::Circumstances;
use vpn_core::object::{Object, crd_name};
use vpn_core::terms::failure::{Failure, POLL};

use super::{CloudContext, Next, Pass};
use crate::kubernetes::client::REQUEST_LIMIT;
use crate::kubernetes::crd_skew::UPDATE;
use crate::reconcile::provider::cloud_kind::CloudKind;

impl<K: CloudKind> Pass<'_, K> {
    /// Records what is about to be sent, while others may send. A record covers the time that its own write usually
    /// takes. If the write took longer, it is repeated for the longest possible one.
    pub(super) async fn record(
        &self,
        cloud: &CloudContext<'_, K>,
        change: impl Fn(&Circumstances<'_, K>, &mut K::Status),
    ) -> Result<Recorded<K>, kube::Error> {
        let before = &self.object.status;
        let first = self.record_for(cloud, Duration::ZERO, before, &change).await?;
        if !first.is_kept || first.covers(Moment::now()) {
            return Ok(first);
        }
        let pass = self.on(&first.object);
        pass.record_for(cloud, REQUEST_LIMIT, before, &change).await
    }

    pub(super) async fn record_for(
        &self,
        cloud: &CloudContext<'_, K>,
        waits: Duration,
        before: &K::Status,
        change: impl Fn(&Circumstances<'_, K>, &mut K::Status),
    ) -> Result<Recorded<K>, kube::Error> {
        let began = Moment::now();
        let circumstances = Circumstances {
            waits,
            ..self.circumstances(cloud, cloud.present())
        };
        let apply = |status: &mut K::Status| {
            outcome::withdraw::<K>(status, before);
            change(&circumstances, status);
        };
        let object = self.write(apply).await?;
        let mut without = object.status.clone();
        outcome::withdraw::<K>(&mut without, before);
        Ok(Recorded {
            is_kept: self.is_remembered(&object, apply),
            covers: (without != object.status).then(|| (began, waits + SENT_WITHIN)),
            before: before.clone(),
            object,
        })
    }

    /// Withdraws the record of a request that was not sent.
    pub(super) async fn withdraw(&self, before: &K::Status) -> Result<Arc<Object<K>>, kube::Error> {
        let recorded = &self.object.status;
        let change = |status: &mut K::Status| {
            if status == recorded {
                outcome::withdraw::<K>(status, before);
            }
        };
        self.write_surely(change).await
    }

    /// Whether the apiserver has kept what was written: an older CRD drops fields that it does not know.
    pub(super) fn is_remembered(&self, written: &Object<K>, change: impl Fn(&mut K::Status)) -> bool {
        let mut meant = self.object.status.clone();
        change(&mut meant);
        written.status == meant
    }

    /// `loss`: what the CRD does wrong.
    pub(super) async fn crd_is_too_old(&self, loss: &str) -> Result<Next<K>, kube::Error> {
        let crd = crd_name::<K>();
        let message = format!(
            "the CRD {crd} in the cluster is older than this operator and {loss}, so nothing is sent to the cloud: \
             update it with: {UPDATE}"
        );
        self.context.crd_check.pending(message.as_str());
        let failure = Failure {
            condition: ReadyCondition::new(Reason::DependencyNotReady, message),
            backoff: POLL,
        };
        self.record_failure(&failure, |_| {}).await
    }
}

/// What was recorded before a write is sent.
pub(super) struct Recorded<K: CloudKind> {
    pub(super) object: Arc<Object<K>>,
    /// The status without it.
    pub(super) before: K::Status,
    /// Whether the apiserver kept it.
    pub(super) is_kept: bool,
    /// Its start and how long it is valid. A request that is sent later, such as after the machine was suspended, may
    /// last longer than the record says. `None`: the record sets no limit.
    pub(super) covers: Option<(Moment, Duration)>,
}

impl<K: CloudKind> Recorded<K> {
    pub(super) fn nothing(object: &Arc<Object<K>>) -> Self {
        Self {
            object: Arc::clone(object),
            before: object.status.clone(),
            is_kept: true,
            covers: None,
        }
    }

    pub(super) fn covers(&self, now: Moment) -> bool {
        self.covers.is_none_or(|(began, lasts)| began.elapsed(now) <= lasts)
    }
}

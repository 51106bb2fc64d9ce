//! Act: executes the decided step, which is at most one cloud write, and records its outcome.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::Status;
use kube::core::response::StatusDetails;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::claims::{name_to_take, write_queue};
use super::context::{Context, KindContext};
use super::decide::{self, DeleteOutcome, Dereferencing, Failure, Note, RETRY, Rest, SentDelete, Step, Why};
use super::gather::Gathered;
use super::key::Key;
use super::kind::{Kind, Refused};
use super::object::{Object, crd_name};
use super::observation::{competing_claim, if_missing, is_named, wanted_name};
use super::outcome::{self, Circumstances};
use super::permits::{NotYet, Refusal, Reservation, WriteAdmission};
use super::pipeline::{Visit, log_refusal};
use super::queue::Action;
use super::record;
use super::report::{is_new_failure, stamp};
use super::session::{Session, failure_of};
use crate::api::conditions::{self, ReadyCondition, Reason};
use crate::api::{DeletionPolicy, Intent, ManagementPolicy, Scope};
use crate::cache::{Cache, Query, Remote};
use crate::cloud::clock::{Moment, SENT_WITHIN};
use crate::cloud::rate_limiter::{LONG_WAIT, Priority};
use crate::cloud::{Answer, CloudError, ErrorKind};
use crate::crd_skew::UPDATE;
use crate::kube_client::REQUEST_LIMIT;

/// What comes after a step.
pub enum Next<K: Kind> {
    /// Another pass, from this state of the object.
    Again(Arc<Object<K>>),
    /// The end of this reconcile.
    Rest(Action),
}

/// One iteration of a reconcile: gather, decide and act.
pub struct Pass<'a, K: Kind> {
    pub visit: &'a Visit<'a, K>,
    pub context: &'a KindContext<K>,
    pub key: &'a Key,
    pub object: Arc<Object<K>>,
    pub gathered: &'a Gathered<K>,
}

/// What a step needs of the cloud, once all of it is known.
struct Cloud<'a, K: Kind> {
    session: &'a Arc<Session>,
    cache: &'a Arc<Cache<K::Remote, Key>>,
    client: crate::cloud::Client,
    parent: K::Parent,
    scope: Scope,
    /// The cloud's time of the decision, or later.
    now: Timestamp,
}

impl<K: Kind> Cloud<'_, K> {
    /// The cloud's present time, as far as it is known.
    fn present(&self) -> Timestamp {
        self.session.cloud_now().unwrap_or(self.now)
    }
}

impl<K: Kind> Pass<'_, K> {
    /// The same pass over a newer state of the object.
    fn on(&self, object: &Arc<Object<K>>) -> Self {
        Pass {
            object: Arc::clone(object),
            ..*self
        }
    }

    /// Executes a step.
    pub async fn take(&self, step: Step<K>) -> Result<Next<K>, kube::Error> {
        match step {
            Step::Rest(rest) => self.rest(rest).await,
            Step::AddFinalizer => {
                let written = self.context.shared.reporter.set_finalizer(&*self.object, true).await?;
                Ok(self.again(written))
            }
            Step::Release(note) => self.release(note).await,
            Step::Query { look, anew } => self.look(look, anew),
            Step::Note(note) => self.note(note).await,
            Step::Create(new) => self.create(new, None).await,
            Step::Replay(new) => {
                let announced = K::object(&self.object.status).intent.clone();
                self.create(new, announced).await
            }
            Step::Change { id, call, why } => self.change(&id, call, why).await,
            Step::Delete { id, duplicate } => self.delete(&id, duplicate).await,
        }
    }

    async fn rest(&self, rest: Rest<K::Remote>) -> Result<Next<K>, kube::Error> {
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
            Rest::Troubled(failure) => self.stopped(&failure).await,
            Rest::Quiet(backoff) => Ok(self.come_again(backoff)),
            Rest::Waiting => Ok(Next::Rest(Action::await_change())),
            Rest::Until(condition, wait) => {
                if let Some(condition) = condition {
                    let stamp = stamp(&self.object);
                    self.write(|status| record::underway::<K>(status, &condition, stamp))
                        .await?;
                    self.count(condition.reason);
                }
                self.context.states.wait_until(self.key, Instant::now() + wait);
                Ok(Next::Rest(Action::requeue(wait)))
            }
        }
    }

    async fn confirmed(
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
                    record::settled::<K>(status, &remote, cloud_now, policy.confirmation_period);
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
        self.count_as(Reason::Available, !drifted.is_empty());
        Ok(Next::Rest(Action::await_change()))
    }

    /// Sets the condition of a decision. If the object has changed meanwhile, the decision is repeated.
    async fn stopped(&self, failure: &Failure) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write(|status| {
            self.expect(status);
            record::condition::<K>(status, &failure.condition, stamp);
        })
        .await?;
        Ok(self.told(failure).await)
    }

    /// Sets the condition of an outcome: records the cloud's answer even if the object has changed meanwhile.
    async fn troubled(&self, failure: &Failure, also: impl Fn(&mut K::Status)) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write_surely(|status| {
            also(status);
            self.expect(status);
            record::condition::<K>(status, &failure.condition, stamp);
        })
        .await?;
        Ok(self.told(failure).await)
    }

    /// Emits an Event once for a failure that status reports, and schedules the retry.
    async fn told(&self, failure: &Failure) -> Next<K> {
        let Failure { condition, backoff } = failure;
        if is_new_failure::<K>(&self.object.status, condition) {
            self.context
                .shared
                .reporter
                .warning(&*self.object, condition.reason.as_str(), &condition.message)
                .await;
        }
        self.count(condition.reason);
        // The present observation led here; the next decision needs a new one.
        self.context.states.require_fresh(self.key, Instant::now());
        self.come_again(*backoff)
    }

    fn expect(&self, status: &mut K::Status) {
        if let Ok(spec) = &self.object.spec {
            K::expected(status, spec, self.object.name());
        }
    }

    fn look(&self, look: Query, anew: bool) -> Result<Next<K>, kube::Error> {
        let Some(cache) = &self.gathered.cache else {
            return Ok(self.come_again(RETRY));
        };
        let since = match self.gathered.since {
            _ if anew => Instant::now(),
            Some(since) => since,
            None => self.context.shared.started,
        };
        cache.want(self.key.clone(), look, since);
        Ok(Next::Rest(Action::await_change()))
    }

    async fn note(&self, note: Note<K::Remote>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(RETRY));
        };
        if let Note::Found { remote, .. } = &note
            && !self.observes()
            && !self.takes(&cloud, remote)
        {
            // Another object was faster; the next pass reports that.
            return Ok(self.come_again(RETRY));
        }
        if matches!(note, Note::Lost | Note::Vanished)
            && let [dropped] = self.context.pruned_fields.among(&[K::LOSS_RECORD])[..]
        {
            return self.crd_is_too_old(&format!("drops {dropped}")).await;
        }
        let circumstances = self.circumstances(&cloud, cloud.present());
        let condition = circumstances.condition_of(&note);
        let written = self.write(|status| circumstances.noted(status, &note)).await?;
        let is_found = matches!(note, Note::Found { .. });
        if is_found && self.observes() && !K::object(&written.status).observe_only {
            // An observed resource would count as a held one.
            return self.on(&written).crd_is_too_old("drops required status fields").await;
        }
        let reporter = &self.context.shared.reporter;
        match &note {
            Note::Found {
                event: Some((reason, text)),
                ..
            } => reporter.event(&*self.object, reason, text).await,
            Note::Found { event: None, .. } | Note::Returned | Note::Unbelievable => {}
            Note::Lost => {
                let gone = K::object(&self.object.status).id.as_deref().unwrap_or_default();
                let text = format!("the {} {gone} no longer exists in the cloud; it is recreated", K::NOUN);
                self.context.states.recreates(self.key);
                reporter.event(&*self.object, "DriftDetected", &text).await;
            }
            // A retry with backoff: a cloud that fails each creation would otherwise get endless requests.
            Note::GivenUp => return Ok(self.come_again(RETRY)),
            Note::Vanished => {
                if is_new_failure::<K>(&self.object.status, &condition) {
                    let reason = condition.reason.as_str();
                    reporter.warning(&*self.object, reason, &condition.message).await;
                }
                self.count(condition.reason);
                return Ok(self.come_again(RETRY));
            }
        }
        self.context.states.progressed(self.key);
        Ok(Next::Again(written))
    }

    /// The circumstances of an outcome, at this time of the cloud.
    fn circumstances<'a>(&'a self, cloud: &'a Cloud<'_, K>, cloud_now: Timestamp) -> Circumstances<'a, K> {
        Circumstances {
            policy: &self.context.shared.policy,
            object: &self.object,
            scope: &cloud.scope,
            parent: &cloud.parent,
            dereferenced: self.dereferenced(),
            request_timeout: self.context.shared.settings.request_timeout,
            cloud_now,
            waits: Duration::ZERO,
            stamp: stamp(&self.object),
        }
    }

    /// `announced`: the recorded intent of a creation that is replayed with the same token.
    async fn create(&self, new: K::New, announced: Option<Intent>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(RETRY));
        };
        let reservation = match self.reserve(&cloud, Priority::Write) {
            Ok(reservation) => reservation,
            Err(refusal) => {
                if matches!(refusal, Refusal::NotYet) {
                    self.say_that_it_waits().await?;
                }
                return self.refused(refusal).await;
            }
        };
        if !self.intends(&cloud) {
            // Another object was faster; the next pass reports that.
            return Ok(Next::Again(Arc::clone(&self.object)));
        }
        let token = match &announced {
            Some(intent) => intent.token.clone(),
            None => Uuid::new_v4().to_string(),
        };
        let recorded = self
            .record(&cloud, |circumstances, status| {
                let intent = circumstances.intent(announced.as_ref(), || token.clone());
                circumstances.announce_creation(status, &intent, &new);
            })
            .await?;
        let pass = self.on(&recorded.object);
        if !recorded.is_kept {
            return pass.crd_is_too_old("drops required status fields").await;
        }
        self.context.record_was_kept();
        let call = K::create(&cloud.client, &cloud.parent, &new, &token);
        let is_free = || pass.intends(&cloud);
        let sent = match pass
            .send_recorded(&cloud, reservation, &recorded, is_free, call)
            .await?
        {
            Sent::Answered(sent) => sent,
            Sent::Not(next) => return Ok(next),
        };
        match sent {
            Ok(answer) => pass.created(&cloud, &new, answer.value, announced.is_some()).await,
            // This answer does not show what the first request did: its resource is searched for, as before.
            Err(_) if announced.is_some() => {
                self.context.shared.metrics.creation_sent_again(K::KIND, false);
                self.context.states.replays(self.key, &token);
                Ok(Next::Again(pass.object))
            }
            Err(error) if error.outcome_unknown => {
                pass.troubled(&failure_of(&error), |_| {}).await?;
                // If it is found at once, it was committed; the wait for its absence comes later.
                self.context.states.reset_backoff(self.key);
                Ok(Next::Rest(Action::requeue(Duration::ZERO)))
            }
            Err(error) => {
                let mut failure = failure_of(&error);
                if K::UNIQUE_NAMES && error.kind == ErrorKind::Duplicate {
                    // The retry finds and reports the owner of the name.
                    failure.backoff = RETRY;
                    let lost_ids = K::lost_ids(&pass.object.status);
                    if !lost_ids.is_empty() {
                        failure.condition.message = format!(
                            "{error}; it may be this object's own, which the cloud did not return ({}): it is \
                             searched for again; to adopt another one, set spec.externalID to its id or \
                             spec.adoptionPolicy to IfExists",
                            lost_ids.join(", ")
                        );
                    }
                }
                pass.troubled(&failure, |status| record::refused::<K>(status, &new, &error))
                    .await
            }
        }
    }

    /// Reserves a cloud object until its id is recorded. Returns whether no other object has a better claim to it or to
    /// its name.
    fn takes(&self, cloud: &Cloud<'_, K>, remote: &K::Remote) -> bool {
        let owner_tag_key = &self.context.shared.policy.owner_tag_key;
        let name = name_to_take::<K>(&cloud.scope, &cloud.parent, owner_tag_key, remote);
        let index = || self.context.claims.index();
        let is_taken = is_named(&self.context.shared.policy, &self.object, remote)
            || index().take(self.key, remote.id(), name.as_ref()).is_ok();
        if is_taken {
            let mut known = cloud.cache.known();
            known.hold(self.key, self.object.uid(), Some(remote.id()));
        }
        is_taken
    }

    /// Reserves the name of a creation. Returns whether no other object has it.
    fn intends(&self, cloud: &Cloud<'_, K>) -> bool {
        let name = wanted_name(&self.object, &cloud.scope).filter(|_| K::UNIQUE_NAMES);
        name.is_none_or(|name| self.context.claims.index().intend(self.key, &name).is_ok())
    }

    /// Whether another object claims the resource. Checked again once no other write can be in progress.
    fn is_held_by_another(&self, cloud: &Cloud<'_, K>, id: &str) -> bool {
        let Context { policy, .. } = &*self.context.shared;
        let known = cloud.cache.known();
        competing_claim(&self.context.claims, &known, policy, self.key, &self.object, id).is_some()
    }

    /// Sets a condition if there is none: without one the object would count as done.
    async fn say_that_it_waits(&self) -> Result<(), kube::Error> {
        if ready_reason::<K>(&self.object).is_some() {
            return Ok(());
        }
        let stamp = stamp(&self.object);
        let message = format!("the creation of the {} is queued behind earlier writes", K::NOUN);
        let condition = ReadyCondition::new(Reason::Creating, message);
        self.write(|status| {
            self.expect(status);
            record::condition::<K>(status, &condition, stamp);
        })
        .await?;
        self.count(Reason::Creating);
        Ok(())
    }

    /// `again`: the creation was replayed, since the first answer was lost.
    async fn created(
        &self,
        cloud: &Cloud<'_, K>,
        new: &K::New,
        remote: K::Remote,
        again: bool,
    ) -> Result<Next<K>, kube::Error> {
        cloud.cache.wrote(remote.clone());
        self.context.claims.index().made(self.key, remote.id());
        cloud.cache.known().hold(self.key, self.object.uid(), Some(remote.id()));
        let circumstances = self.circumstances(cloud, cloud.present());
        let written = match self
            .write_surely(|status| circumstances.created(status, new, &remote))
            .await
        {
            Err(error) if is_no_more(&error, self.object.name()) => {
                self.take_back(cloud, &remote).await;
                return Err(error);
            }
            written => written?,
        };
        let (reason, mut text) = if self.context.states.has_recreated(self.key) {
            ("Recreated", format!("recreated the {} as {}", K::NOUN, remote.id()))
        } else {
            decide::created_event::<K>(&remote)
        };
        if again {
            self.context.shared.metrics.creation_sent_again(K::KIND, true);
            text.push_str(": the response was lost; the same request, replayed with its client token, returned it");
        }
        self.context.shared.reporter.event(&*self.object, reason, &text).await;
        // An unconfirmed creation may still fail: then its backoff must continue to grow.
        if K::confirmed_at(&written.status).is_none() {
            self.context.states.progressed(self.key);
        }
        Ok(Next::Again(written))
    }

    /// Deletes what was created for an object that was deleted meanwhile. A finalizer that is added while a deletion is
    /// carried out is removed with the object, so no later reconcile would delete the resource.
    async fn take_back(&self, cloud: &Cloud<'_, K>, remote: &K::Remote) {
        let (object, noun, id) = (self.key, K::NOUN, remote.id());
        let default = self.context.shared.policy.default_deletion;
        if self.object.lifecycle.deletion(default) != DeletionPolicy::Delete {
            warn!(%object, id, "deleted from the cluster while its {noun} was created; deletionPolicy keeps it");
            return;
        }
        let deletion = K::delete(&cloud.client, &cloud.parent, id);
        // Another object may have adopted it since this one was deleted from the cluster.
        let may_delete = || self.context.shared.may_write() && !self.is_held_by_another(cloud, id);
        let sending = cloud.session.send_if(may_delete, deletion);
        let deleted = self.visit.slot.yielded(sending).await;
        match deleted {
            Some(Ok(_)) => {
                cloud.cache.wrote_absence(id);
                warn!(%object, id, "deleted from the cluster while its {noun} was created; it is deleted again");
            }
            Some(Err(error)) => {
                warn!(%object, id, %error, "deleted from the cluster while its {noun} was created; deleting it failed");
            }
            None => warn!(%object, id, "deleted from the cluster while its {noun} was created; it is left behind"),
        }
    }

    fn dereferenced(&self) -> Option<&K::Dereferenced> {
        match &self.gathered.dereferenced {
            Dereferencing::Read(dereferenced) => Some(dereferenced),
            Dereferencing::Waiting | Dereferencing::Lacking(_) | Dereferencing::Absent(_) => None,
        }
    }

    async fn change(&self, id: &str, call: K::Change, why: Why) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(RETRY));
        };
        let lost = self.context.pruned_fields.among(K::remembered_after(&call));
        if !lost.is_empty() {
            return self.crd_is_too_old(&format!("drops {}", lost.join(", "))).await;
        }
        // Before the reservation, since other objects would wait for the Event as well.
        self.announce_drift(&call, &why).await;
        let edited = self.gathered.triggered_at.is_some();
        let priority = if edited { Priority::Edit } else { Priority::Write };
        let reservation = match self.reserve(&cloud, priority) {
            Ok(reservation) => reservation,
            Err(refusal) => return self.refused(refusal).await,
        };
        let recorded = self.record_change(&cloud, &call, &why).await?;
        let pass = self.on(&recorded.object);
        if !recorded.is_kept {
            return pass.crd_is_too_old("drops required status fields").await;
        }
        self.context.record_was_kept();
        let sending = K::change(&cloud.client, &cloud.parent, id, &call);
        let is_ours = || !pass.is_held_by_another(&cloud, id);
        let sent = match pass
            .send_recorded(&cloud, reservation, &recorded, is_ours, sending)
            .await?
        {
            Sent::Answered(sent) => sent,
            Sent::Not(next) => return Ok(next),
        };
        match sent {
            Ok(answer) => {
                let circumstances = self.circumstances(&cloud, cloud.present());
                let updated =
                    outcome::seen_change::<K>(&mut cloud.cache.known(), id, &call, answer.value, Instant::now());
                let written = pass
                    .write_surely(|status| K::changed(status, &call, updated.as_ref(), &circumstances.record()))
                    .await?;
                self.changed(id, call).await;
                Ok(Next::Again(written))
            }
            // Only if this pass assumed that tags are overwritten: another object may have learned otherwise meanwhile.
            Err(error) if K::overwrites(&call) && is_refusal(&error) && self.gathered.overwrites_tags => {
                cloud.session.refused_to_overwrite_tags();
                Ok(Next::Again(pass.object))
            }
            // A new read shows whether it was done, and whether the resource still exists.
            Err(error) if error.outcome_unknown => pass.troubled(&failure_of(&error), |_| {}).await,
            Err(error) => {
                let circumstances = self.circumstances(&cloud, cloud.present());
                let record = circumstances.record();
                let mut failure = failure_of(&error);
                match K::refused(&mut pass.object.status.clone(), &call, &error, &record) {
                    Refused::AsTold => {}
                    Refused::InForce => {
                        let change = |status: &mut K::Status| {
                            K::refused(status, &call, &error, &record);
                        };
                        let written = pass.write_surely(change).await?;
                        self.changed(id, call.clone()).await;
                        return Ok(Next::Again(written));
                    }
                    Refused::Because(reason, message) => failure.condition = ReadyCondition::new(reason, message),
                }
                pass.troubled(&failure, |status| {
                    K::refused(status, &call, &error, &record);
                })
                .await
            }
        }
    }

    /// Reports a change that is in force.
    async fn changed(&self, id: &str, call: K::Change) {
        if let Some((reason, text)) = K::change_event(&call, id) {
            self.context.shared.reporter.event(&*self.object, reason, &text).await;
        }
        // A change that is repeated without visible effect is no progress.
        if !self.context.states.accepted(self.key, call) {
            self.context.states.progressed(self.key);
        }
    }

    /// Reports drift that is about to be corrected.
    async fn announce_drift(&self, call: &K::Change, why: &Why) {
        let Why::Differs(fields) = why else { return };
        let status = K::object(&self.object.status);
        let has_own_event = K::change_event(call, "").is_some();
        let drifted = status.observed_generation == self.object.metadata.generation
            && conditions::find(&status.conditions, conditions::READY).is_some_and(|ready| ready.status == "True")
            && !self.is_edit_of_secrets(fields);
        if !has_own_event && self.context.states.corrects(self.key, fields, drifted) && drifted {
            let text = format!("differs in the cloud: {}", fields.join(", "));
            self.context
                .shared
                .reporter
                .event(&*self.object, "DriftDetected", &text)
                .await;
        }
    }

    /// Whether only Secrets that the spec names were changed, which does not change its generation.
    fn is_edit_of_secrets(&self, fields: &[String]) -> bool {
        let Ok(spec) = &self.object.spec else { return false };
        let of_secrets = K::secret_refs(spec);
        let is_of_secret = |field: &String| of_secrets.iter().any(|secret| secret.field == field);
        self.gathered.triggered_at.is_some() && fields.iter().all(is_of_secret)
    }

    /// Records what is about to be changed.
    async fn record_change(
        &self,
        cloud: &Cloud<'_, K>,
        call: &K::Change,
        why: &Why,
    ) -> Result<Recorded<K>, kube::Error> {
        let Why::Differs(fields) = why else {
            return Ok(Recorded::nothing(&self.object));
        };
        let fields = fields.join(", ");
        let recorded = self
            .record(cloud, |circumstances, status| {
                circumstances.announce_change(status, call, &fields)
            })
            .await?;
        if ready_reason::<K>(&recorded.object) == Some(Reason::Updating.as_str()) {
            self.count(Reason::Updating);
        }
        Ok(recorded)
    }

    /// Records what is about to be sent, while others may send. A record covers the time that its own write usually
    /// takes. If the write took longer, it is repeated for the longest possible one.
    async fn record(
        &self,
        cloud: &Cloud<'_, K>,
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

    async fn record_for(
        &self,
        cloud: &Cloud<'_, K>,
        waits: Duration,
        before: &K::Status,
        change: impl Fn(&Circumstances<'_, K>, &mut K::Status),
    ) -> Result<Recorded<K>, kube::Error> {
        let began = Moment::now();
        let circumstances = Circumstances {
            waits,
            ..self.circumstances(cloud, cloud.present())
        };
        let announce = |status: &mut K::Status| {
            outcome::withdraw::<K>(status, before);
            change(&circumstances, status);
        };
        let object = self.write(announce).await?;
        let mut without = object.status.clone();
        outcome::withdraw::<K>(&mut without, before);
        Ok(Recorded {
            is_kept: self.is_remembered(&object, announce),
            covers: (without != object.status).then(|| (began, waits + SENT_WITHIN)),
            before: before.clone(),
            object,
        })
    }

    /// Withdraws the record of a request that was not sent.
    async fn withdraw(&self, before: &K::Status) -> Result<Arc<Object<K>>, kube::Error> {
        let recorded = &self.object.status;
        let change = |status: &mut K::Status| {
            if status == recorded {
                outcome::withdraw::<K>(status, before);
            }
        };
        self.write_surely(change).await
    }

    /// Whether the apiserver has kept what was written: an older CRD drops fields that it does not know.
    fn is_remembered(&self, written: &Object<K>, change: impl Fn(&mut K::Status)) -> bool {
        let mut meant = self.object.status.clone();
        change(&mut meant);
        written.status == meant
    }

    async fn delete(&self, id: &str, duplicate: bool) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(RETRY));
        };
        let reservation = match self.reserve(&cloud, Priority::Write) {
            Ok(reservation) => reservation,
            Err(refusal) => return self.refused(refusal).await,
        };
        let mut recorded = Recorded::nothing(&self.object);
        // If it was sent before, status reports the deletion already.
        if !duplicate && ready_reason::<K>(&self.object) != Some(Reason::Deleting.as_str()) {
            let stamp = stamp(&self.object);
            let condition =
                ReadyCondition::new(Reason::Deleting, format!("deleting the {} {id} in the cloud", K::NOUN));
            recorded.object = self
                .write(|status| record::underway::<K>(status, &condition, stamp))
                .await?;
        }
        let pass = self.on(&recorded.object);
        let sending = K::delete(&cloud.client, &cloud.parent, id);
        let is_ours = || !pass.is_held_by_another(&cloud, id);
        let sent = match pass
            .send_recorded(&cloud, reservation, &recorded, is_ours, sending)
            .await?
        {
            Sent::Answered(sent) => sent,
            Sent::Not(next) => return Ok(next),
        };
        let now = Instant::now();
        if let Some(outcome) = DeleteOutcome::of(&sent).filter(|_| !duplicate) {
            self.context.states.delete_was_sent(self.key, id, outcome, now);
        }
        match sent {
            Ok(_) if duplicate => {
                cloud.cache.wrote_absence(id);
                let text = format!("deleted the {} {id}, a second one left behind by one creation", K::NOUN);
                self.context
                    .shared
                    .reporter
                    .event(&*self.object, "Deleted", &text)
                    .await;
                Ok(Next::Again(pass.object))
            }
            Ok(_) => {
                self.context.states.require_fresh(self.key, now);
                // The name becomes free without user action, so waiting objects must report another cause.
                pass.enqueue_who_waits_for_the_name();
                Ok(Next::Again(pass.object))
            }
            Err(error) if error.kind == ErrorKind::Gone => {
                cloud.cache.wrote_absence(id);
                self.context.states.require_fresh(
                    self.key,
                    self.gathered.triggered_at.unwrap_or(self.context.shared.started),
                );
                let is_recorded = K::object(&self.object.status).id.as_deref() == Some(id);
                if is_recorded && self.gathered.sent_delete.is_some_and(SentDelete::is_answered) {
                    // A list still shows it: without backoff, one DELETE would follow the other.
                    return pass.troubled(&failure_of(&error), |_| {}).await;
                }
                Ok(Next::Again(pass.object))
            }
            Err(error) => pass.troubled(&failure_of(&error), |_| {}).await,
        }
    }

    async fn release(&self, note: Option<String>) -> Result<Next<K>, kube::Error> {
        let id = K::object(&self.object.status).id.clone();
        let is_place_free = note.is_none() && id.is_some();
        let outcome = self.gathered.sent_delete.map(|sent| sent.outcome);
        let text = match (note, &id) {
            (Some(note), _) => Some(note),
            (None, Some(id)) if outcome == Some(DeleteOutcome::Accepted) => {
                Some(format!("deleted the {} {id}", K::NOUN))
            }
            (None, Some(id)) => Some(format!("the {} {id} no longer exists in the cloud", K::NOUN)),
            (None, None) => self.deleted_of_lost(),
        };
        // Read before the watch reports the deletion and the session forgets the object.
        let sharing_session = self.context.shared.sessions.sharing_session(self.key);
        match self.context.shared.reporter.set_finalizer(&*self.object, false).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.context.states.finalizer_removed(self.key);
        if let Some(text) = text {
            self.context
                .shared
                .reporter
                .event(&*self.object, "Deleted", &text)
                .await;
        }
        self.context.finalizer_removed(self.key);
        if is_place_free {
            self.enqueue_who_waits_for_quota(&sharing_session);
        }
        self.enqueue_who_waits_for_the_name();
        if let Some(id) = id {
            self.enqueue_who_names(&id);
        }
        Ok(Next::Rest(Action::await_change()))
    }

    /// The message for resources that reads no longer showed, but that were deleted.
    fn deleted_of_lost(&self) -> Option<String> {
        let (states, period, now) = (&self.context.states, Duration::ZERO, Instant::now());
        let is_deleted = |id: &&String| {
            let sent = states.sent_delete(self.key, id, period, now);
            sent.is_some_and(|sent| sent.outcome == DeleteOutcome::Accepted)
        };
        let deleted = K::lost_ids(&self.object.status).iter().filter(is_deleted);
        let deleted: Vec<_> = deleted.map(String::as_str).collect();
        (!deleted.is_empty()).then(|| format!("deleted the {} {}", K::NOUN, deleted.join(", ")))
    }

    /// Enqueues one of the objects that wait for quota, since one place is free: the others would only be refused
    /// again.
    fn enqueue_who_waits_for_quota(&self, sharing_session: &[Key]) {
        let sharing_session: HashSet<&Key> = sharing_session.iter().collect();
        let waits = |key: &Key, object: &Object<K>| {
            ready_reason::<K>(object) == Some(Reason::QuotaExceeded.as_str())
                && sharing_session.contains(key)
                && can_create(object)
        };
        let since = |object: &Object<K>| {
            let conditions = &K::object(&object.status).conditions;
            conditions::find(conditions, conditions::STALLED).map(|stalled| stalled.last_transition_time.0)
        };
        if let Some(key) = self.context.states.longest_waiting(Instant::now(), waits, since) {
            self.context.states.reset_backoff(&key);
            self.context.shared.wake_queues.enqueue(key);
        }
    }

    fn enqueue_who_waits_for_the_name(&self) {
        let (true, Ok(spec)) = (K::UNIQUE_NAMES, &self.object.spec) else {
            return;
        };
        let name = K::cloud_name(spec, &self.object.status, self.object.name());
        let waiting = self.context.states.find(|other| {
            let reason = ready_reason::<K>(other);
            let waits = [Reason::DependencyNotReady, Reason::NameConflict].map(Reason::as_str);
            let pending = |spec: &K::Spec| K::cloud_name(spec, &other.status, other.name()).eq_ignore_ascii_case(&name);
            reason.is_some_and(|reason| waits.contains(&reason)) && other.spec.as_ref().is_ok_and(pending)
        });
        self.enqueue(&waiting);
    }

    /// Enqueues objects that name this id or still have it recorded: they may adopt the resource now.
    fn enqueue_who_names(&self, id: &str) {
        let waiting = self.context.states.find(|other| {
            let waits = [Reason::DependencyNotReady, Reason::AlreadyManaged].map(Reason::as_str);
            ready_reason::<K>(other).is_some_and(|reason| waits.contains(&reason))
                && (other.lifecycle.external_id.as_deref() == Some(id)
                    || K::object(&other.status).id.as_deref() == Some(id))
        });
        self.enqueue(&waiting);
    }

    fn enqueue(&self, waiting: &[Arc<Object<K>>]) {
        for object in waiting {
            let key = Key::of(&**object);
            self.context.states.reset_backoff(&key);
            self.context.shared.wake_queues.enqueue(key);
        }
    }

    /// Sends what was recorded, if it gets the permit now and `is_right` still holds under it. The permit ends with the
    /// answer, whose record needs none.
    async fn send_recorded<T>(
        &self,
        cloud: &Cloud<'_, K>,
        reservation: Reservation<'_>,
        recorded: &Recorded<K>,
        is_right: impl Fn() -> bool,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Result<Sent<K, T>, kube::Error> {
        let Ok(permit) = reservation.take() else {
            self.withdraw(&recorded.before).await?;
            return Ok(Sent::Not(Next::Rest(Action::await_change())));
        };
        if !is_right() {
            drop(permit);
            return Ok(Sent::Not(Next::Again(self.withdraw(&recorded.before).await?)));
        }
        let shared = &self.context.shared;
        let may_send = || shared.may_write() && recorded.covers(Moment::now());
        let sending = async {
            let sent = cloud.session.send_if(may_send, call).await;
            if let Some(Err(error)) = &sent {
                // Before the next write is admitted.
                self.heed_full_queue(cloud, error);
            }
            // Before the wait for a slot, which others may keep while the apiserver is slow.
            drop(permit);
            sent
        };
        match self.visit.slot.yielded(sending).await {
            Some(answer) => Ok(Sent::Answered(answer)),
            // The intent stays: the next leader waits until the request can no longer take effect.
            None if !shared.may_write() => Ok(Sent::Not(not_leading())),
            None => {
                self.withdraw(&recorded.before).await?;
                Ok(Sent::Not(self.come_again(RETRY)))
            }
        }
    }

    /// Reserves a write of the object. It does not block: a waiting object is enqueued later.
    fn reserve<'a>(&'a self, cloud: &'a Cloud<'_, K>, priority: Priority) -> Result<Reservation<'a>, Refusal> {
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
            (None, Err(NotYet)) => Err(Refusal::NotYet),
            (Some(error), reserved) => {
                drop(reserved);
                self.context.shared.sessions.write_queues.forget(self.key);
                cloud.session.rate_limiter().forget(self.key);
                Err(Refusal::HeldBack(Box::new(error)))
            }
        }
    }

    async fn refused(&self, refusal: Refusal) -> Result<Next<K>, kube::Error> {
        match refusal {
            Refusal::NotYet => Ok(Next::Rest(Action::await_change())),
            Refusal::HeldBack(error) => self.stopped(&failure_of(&error)).await,
        }
    }

    /// Pauses a write queue, since the cloud's own queue of that server is full.
    fn heed_full_queue(&self, cloud: &Cloud<'_, K>, error: &CloudError) {
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

    /// `loss`: what the CRD does wrong.
    async fn crd_is_too_old(&self, loss: &str) -> Result<Next<K>, kube::Error> {
        let crd = crd_name::<K>();
        let message = format!(
            "the CRD {crd} in the cluster is older than this operator and {loss}, so nothing is sent to the cloud: \
             update it with: {UPDATE}"
        );
        self.context.crd_check.pending(message.as_str());
        let failure = Failure {
            condition: ReadyCondition::new(Reason::DependencyNotReady, message),
            backoff: decide::POLL,
        };
        self.troubled(&failure, |_| {}).await
    }

    fn come_again(&self, backoff: crate::cloud::error::Backoff) -> Next<K> {
        let jitter = self.context.shared.jitter();
        Next::Rest(Action::requeue(self.context.states.back_off(
            self.key,
            backoff,
            jitter,
            Instant::now(),
        )))
    }

    fn observes(&self) -> bool {
        self.object.lifecycle.management() == crate::api::ManagementPolicy::Observe
    }

    fn cloud(&self) -> Option<Cloud<'_, K>> {
        let (session, cache) = (self.gathered.session.as_ref()?, self.gathered.cache.as_ref()?);
        let access = self.gathered.access.as_ref().ok()?;
        let client = session.client()?;
        Some(Cloud {
            session,
            cache,
            parent: self.gathered.parent.clone()?,
            client,
            scope: access.scope.clone(),
            now: session.cloud_now().or(access.cloud_now)?,
        })
    }

    fn count(&self, reason: Reason) {
        self.count_as(reason, false);
    }

    fn count_as(&self, reason: Reason, drifted: bool) {
        self.context.count(self.key, reason, drifted);
    }

    fn again(&self, written: Object<K>) -> Next<K> {
        let written = Arc::new(written);
        self.context.wrote(self.key, &written);
        Next::Again(written)
    }

    /// Writes a decision: if the object has changed meanwhile, the decision is taken again.
    async fn write(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Object<K>>, kube::Error> {
        #[cfg(test)]
        self.context
            .shared
            .tripwires
            .cross(self.key, super::tripwire::Step::Report);
        match self.context.shared.reporter.write(&*self.object, change).await? {
            None => Ok(Arc::clone(&self.object)),
            Some(written) => {
                let written = Arc::new(written);
                self.context.wrote(self.key, &written);
                Ok(written)
            }
        }
    }

    /// Writes an outcome: records what has happened in the cloud, even if the object has changed meanwhile. It retries
    /// until the deadline of the reconcile: without the record, the same write would be sent to the cloud again.
    async fn write_surely(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Object<K>>, kube::Error> {
        let mut object = Arc::clone(&self.object);
        let mut pauses = Pauses::until(self.visit.deadline);
        // The status that a try with a lost answer may have written.
        let mut meant = None;
        loop {
            let pass = self.on(&object);
            let error = match pass.write(&change).await {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            let is_conflict = is_conflict(&error);
            if !is_conflict {
                log_refusal(self.context, self.key, &error);
            }
            // Another leader has by now determined the outcome itself.
            if !(is_conflict || is_passing(&error)) || !self.context.shared.leads() {
                return Err(error);
            }
            // An object whose record fails must not block the reconciles of others.
            if !self.visit.slot.yielded(pauses.next()).await {
                return Err(error);
            }
            if !is_conflict {
                let mut status = object.status.clone();
                change(&mut status);
                meant = Some(status);
                continue;
            }
            match self.context.shared.reporter.read(&*object).await {
                Ok(Some(newer)) if meant.as_ref() == Some(&newer.status) => {
                    let written = Arc::new(newer);
                    self.context.wrote(self.key, &written);
                    return Ok(written);
                }
                Ok(Some(newer)) => object = Arc::new(newer),
                Ok(None) => return Err(no_more(self.object.name())),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What was recorded before a write is sent.
struct Recorded<K: Kind> {
    object: Arc<Object<K>>,
    /// The status without it.
    before: K::Status,
    /// Whether the apiserver kept it.
    is_kept: bool,
    /// Its start and how long it is valid. A request that is sent later, such as after the machine was suspended, may
    /// last longer than the record says. `None`: the record sets no limit.
    covers: Option<(Moment, Duration)>,
}

impl<K: Kind> Recorded<K> {
    fn nothing(object: &Arc<Object<K>>) -> Self {
        Self {
            object: Arc::clone(object),
            before: object.status.clone(),
            is_kept: true,
            covers: None,
        }
    }

    fn covers(&self, now: Moment) -> bool {
        self.covers.is_none_or(|(began, lasts)| began.elapsed(now) <= lasts)
    }
}

/// What became of a write.
enum Sent<K: Kind, T> {
    Answered(Result<Answer<T>, CloudError>),
    /// It was not sent, and its record is withdrawn.
    Not(Next<K>),
}

/// Requeues soon: either the next renewal of the lease permits writes again, or this process ends.
fn not_leading<K: Kind>() -> Next<K> {
    Next::Rest(Action::requeue(Duration::from_secs(1)))
}

/// The apiserver's answer for an object that does not exist.
fn no_more(name: &str) -> kube::Error {
    let details = StatusDetails {
        name: name.to_owned(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: 0,
    };
    let status = Status::failure("there is another object of this name, or none", "NotFound")
        .with_code(404)
        .with_details(details);
    kube::Error::Api(Box::new(status))
}

/// Whether the object is missing, and not its kind.
fn is_no_more(error: &kube::Error, name: &str) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let is_named = status.details.as_ref().is_some_and(|details| details.name == name);
    status.code == 404 && is_named
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the error is transient: the apiserver was not reached, did not answer, or reported that it is temporarily
/// unable.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::SerdeError(_) => true,
        _ => false,
    }
}

/// Growing pauses between tries, up to an end.
struct Pauses {
    next: Duration,
    end: Instant,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);

    fn until(end: Instant) -> Self {
        Self { next: Self::FIRST, end }
    }

    /// Waits until the next try. Returns false at once if there is no time for one.
    async fn next(&mut self) -> bool {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        let then = Instant::now() + pause;
        if then >= self.end {
            return false;
        }
        tokio::time::sleep_until(then).await;
        true
    }
}

fn ready_reason<K: Kind>(object: &Object<K>) -> Option<&str> {
    conditions::ready_reason(&K::object(&object.status).conditions)
}

/// Whether the object would send a creation if it were enqueued now: any other object would leave the free place
/// unused.
fn can_create<K: Kind>(object: &Object<K>) -> bool {
    object.spec.is_ok()
        && object.deleting_since().is_none()
        && !object.is_paused()
        && object.lifecycle.management() == ManagementPolicy::Manage
}

/// Whether the cloud refused definitely; another form of the request may still succeed.
fn is_refusal(error: &CloudError) -> bool {
    matches!(error.kind, ErrorKind::Rejected | ErrorKind::Duplicate)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::reconcile::customer_gateway::Gateways;

    #[test]
    fn a_free_place_is_offered_only_to_an_object_that_would_create() {
        let object = |metadata: Value, spec: Value| -> Object<Gateways> {
            let mut object = json!({
                "metadata": {"name": "office", "namespace": "n", "uid": "u", "resourceVersion": "1"},
                "spec": {"idValue": "203.0.113.7"},
            });
            for (part, more) in [("metadata", metadata), ("spec", spec)] {
                let part = object[part].as_object_mut().expect("an object");
                part.extend(more.as_object().expect("an object").clone());
            }
            serde_json::from_value(object).expect("readable")
        };
        let paused = json!({"annotations": {"vpn.huaweicloud.com/paused": "true"}});
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [crate::api::FINALIZER]});
        for (metadata, spec, offers) in [
            (json!({}), json!({}), true),
            (json!({}), json!({"managementPolicy": "Manage"}), true),
            (json!({}), json!({"managementPolicy": "ReportDrift"}), false),
            (json!({}), json!({"managementPolicy": "Observe"}), false),
            (json!({}), json!({"idValue": 5}), false),
            (paused, json!({}), false),
            (deleted, json!({}), false),
        ] {
            let object = object(metadata, spec);
            assert_eq!(can_create(&object), offers, "{:?} {:?}", object.metadata, object.spec);
        }
    }
}

//! Act: takes the step that was decided, at most one cloud write, and puts its outcome on record.

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
use super::decide::{self, AGAIN, Extras, Note, Rest, Step, Trouble, Why};
use super::gather::Gathered;
use super::key::Key;
use super::kind::{Kind, Refused};
use super::managed::{Managed, crd_name};
use super::outcome::{self, Setting};
use super::permits::{NotYet, Reservation, WriteQueues};
use super::pipeline::{Visit, log_refusal};
use super::queue::Action;
use super::record;
use super::report::{is_new_failure, stamp};
use super::tenant::{Tenant, trouble};
use super::view::{if_missing, is_named, rival, wanted_name};
use crate::api::conditions::{self, Reason, Verdict};
use crate::api::{DeletionPolicy, Intent, ManagementPolicy, Scope};
use crate::cloud::budget::Priority;
use crate::cloud::clock::{Moment, SENT_WITHIN};
use crate::cloud::{Answer, CloudError, Meaning};
use crate::crd_age::UPDATE;
use crate::kube_client::REQUEST_LIMIT;
use crate::mirror::{Look, Mirror, Remote};

/// What comes after a step.
pub enum Next<K: Kind> {
    /// Another pass, from this state of the object.
    Again(Arc<Managed<K>>),
    /// The end of this reconcile.
    Rest(Action),
}

/// One pass over one object.
pub struct Pass<'a, K: Kind> {
    pub visit: &'a Visit<'a, K>,
    pub context: &'a KindContext<K>,
    pub key: &'a Key,
    pub object: Arc<Managed<K>>,
    pub gathered: &'a Gathered<K>,
}

/// The credential at work, once it is known to lead somewhere.
struct Cloud<'a, K: Kind> {
    tenant: &'a Arc<Tenant>,
    mirror: &'a Arc<Mirror<K::Remote, Key>>,
    client: crate::cloud::Client,
    home: K::Home,
    scope: Scope,
    /// The cloud's time when the pass was decided, or later.
    now: Timestamp,
}

impl<K: Kind> Cloud<'_, K> {
    /// The cloud's present time, as far as it is known.
    fn present(&self) -> Timestamp {
        self.tenant.cloud_now().unwrap_or(self.now)
    }
}

impl<K: Kind> Pass<'_, K> {
    /// The same pass over a newer state of the object.
    fn on(&self, object: &Arc<Managed<K>>) -> Self {
        Pass {
            object: Arc::clone(object),
            ..*self
        }
    }

    /// Takes a step.
    pub async fn take(&self, step: Step<K>) -> Result<Next<K>, kube::Error> {
        match step {
            Step::Rest(rest) => self.rest(rest).await,
            Step::AddFinalizer => {
                let written = self.context.shared.reporter.set_finalizer(&*self.object, true).await?;
                Ok(self.again(written))
            }
            Step::Release(note) => self.release(note).await,
            Step::Look { look, anew } => self.look(look, anew),
            Step::Note(note) => self.note(note).await,
            Step::Create(new) => self.create(new, None).await,
            Step::Replay(new) => {
                let announced = K::object(&self.object.status).intent.clone();
                self.create(new, announced).await
            }
            Step::Change { id, call, why } => self.change(&id, call, why).await,
            Step::Delete { id, twin } => self.delete(&id, twin).await,
        }
    }

    async fn rest(&self, rest: Rest<K::Remote>) -> Result<Next<K>, kube::Error> {
        match rest {
            Rest::Done => {
                self.context.let_go(self.key);
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
                strays,
            } => self.confirmed(remote, drifted, strays).await,
            Rest::Troubled(trouble) => self.stopped(&trouble).await,
            Rest::Quiet(pace) => Ok(self.come_again(pace)),
            Rest::Waiting => Ok(Next::Rest(Action::await_change())),
            Rest::Until(verdict, wait) => {
                if let Some(verdict) = verdict {
                    let stamp = stamp(&self.object);
                    self.write(|status| record::underway::<K>(status, &verdict, stamp))
                        .await?;
                    self.count(verdict.reason);
                }
                self.context.memory.wait_until(self.key, Instant::now() + wait);
                Ok(Next::Rest(Action::requeue(wait)))
            }
        }
    }

    async fn confirmed(
        &self,
        remote: K::Remote,
        drifted: Vec<String>,
        strays: Vec<String>,
    ) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        let spec = self.object.spec.as_ref().ok();
        let newly_drifted = {
            let conditions = &K::object(&self.object.status).conditions;
            !drifted.is_empty() && conditions::find(conditions, conditions::DRIFTED).is_none()
        };
        let fields = drifted.join(", ");
        let observes = self.observes();
        // From now on it holds nothing, and another may adopt what it had.
        let gives_up = observes && !K::object(&self.object.status).observe_only;
        let written = self
            .write(|status| {
                record::confirmed::<K>(status, spec, self.extras(), &remote, drifted.clone(), &strays, stamp);
                record::observed::<K>(status, observes);
                if !observes {
                    record::marked::<K>(status, self.object.uid());
                }
            })
            .await?;
        if let Some(mirror) = &self.gathered.mirror {
            // From now on it is a loss if it is missing, without another pass to report that.
            mirror.known().if_missing(remote.id(), if_missing(&written));
        }
        if gives_up {
            self.wake_who_names(remote.id());
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
        let (mended, was_drift) = self.context.memory.settled(self.key);
        if !mended.is_empty() {
            let (reason, verb) = if was_drift {
                ("DriftCorrected", "put back")
            } else {
                ("Updated", "changed")
            };
            reporter
                .event(
                    &*self.object,
                    reason,
                    &format!("{verb} in the cloud: {}", mended.join(", ")),
                )
                .await;
        }
        self.count_as(Reason::Available, !drifted.is_empty());
        Ok(Next::Rest(Action::await_change()))
    }

    /// A decision: what is wrong is said of the version that it was decided on, or decided anew.
    async fn stopped(&self, trouble: &Trouble) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write(|status| {
            self.expect(status);
            record::verdict::<K>(status, &trouble.verdict, stamp);
        })
        .await?;
        Ok(self.told(trouble).await)
    }

    /// An outcome: the cloud's answer is put on record, whatever became of the object meanwhile.
    async fn troubled(&self, trouble: &Trouble, also: impl Fn(&mut K::Status)) -> Result<Next<K>, kube::Error> {
        let stamp = stamp(&self.object);
        self.write_surely(|status| {
            also(status);
            self.expect(status);
            record::verdict::<K>(status, &trouble.verdict, stamp);
        })
        .await?;
        Ok(self.told(trouble).await)
    }

    /// What is wrong stands in status: an Event once, and another try at its pace.
    async fn told(&self, trouble: &Trouble) -> Next<K> {
        let Trouble { verdict, pace } = trouble;
        if is_new_failure::<K>(&self.object.status, verdict) {
            self.context
                .shared
                .reporter
                .warning(&*self.object, verdict.reason.as_str(), &verdict.message)
                .await;
        }
        self.count(verdict.reason);
        // What was seen led here; what is decided next rests on a new look.
        self.context.memory.look_anew(self.key, Instant::now());
        self.come_again(*pace)
    }

    fn expect(&self, status: &mut K::Status) {
        if let Ok(spec) = &self.object.spec {
            K::expected(status, spec, self.object.name());
        }
    }

    fn look(&self, look: Look, anew: bool) -> Result<Next<K>, kube::Error> {
        let Some(mirror) = &self.gathered.mirror else {
            return Ok(self.come_again(AGAIN));
        };
        let since = match self.gathered.since {
            _ if anew => Instant::now(),
            Some(since) => since,
            None => self.context.shared.started,
        };
        mirror.want(self.key.clone(), look, since);
        Ok(Next::Rest(Action::await_change()))
    }

    async fn note(&self, note: Note<K::Remote>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(AGAIN));
        };
        if let Note::Found { remote, .. } = &note
            && !self.observes()
            && !self.takes(&cloud, remote)
        {
            // Another object was faster; the next pass reports that.
            return Ok(self.come_again(AGAIN));
        }
        let setting = self.setting(&cloud, cloud.present());
        let verdict = setting.verdict_of(&note);
        let written = self.write(|status| setting.noted(status, &note)).await?;
        let is_found = matches!(note, Note::Found { .. });
        if is_found && self.observes() && !K::object(&written.status).observe_only {
            // What is only observed would pass for what is held.
            return self.on(&written).crd_is_too_old("drops what must be remembered").await;
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
                let text = format!("the {} {gone} is gone from the cloud; it is made anew", K::NOUN);
                self.context.memory.recreates(self.key);
                reporter.event(&*self.object, "DriftDetected", &text).await;
            }
            // Another try like any other: with backoff, or a cloud that fails each creation would be asked for ever.
            Note::GivenUp => return Ok(self.come_again(AGAIN)),
            Note::Vanished => {
                if is_new_failure::<K>(&self.object.status, &verdict) {
                    let reason = verdict.reason.as_str();
                    reporter.warning(&*self.object, reason, &verdict.message).await;
                }
                self.count(verdict.reason);
                return Ok(self.come_again(AGAIN));
            }
        }
        self.context.memory.progressed(self.key);
        Ok(Next::Again(written))
    }

    /// What the record of an outcome rests on, at this time of the cloud.
    fn setting<'a>(&'a self, cloud: &'a Cloud<'_, K>, cloud_now: Timestamp) -> Setting<'a, K> {
        Setting {
            policy: &self.context.shared.policy,
            object: &self.object,
            scope: &cloud.scope,
            home: &cloud.home,
            extras: self.extras(),
            request_timeout: self.context.shared.settings.request_timeout,
            cloud_now,
            waits: Duration::ZERO,
            stamp: stamp(&self.object),
        }
    }

    /// `announced`: the creation is sent again, under the token that it was announced with.
    async fn create(&self, new: K::New, announced: Option<Intent>) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(AGAIN));
        };
        let Ok(reservation) = self.reserve(&cloud, Priority::Write) else {
            self.say_that_it_waits().await?;
            return Ok(Next::Rest(Action::await_change()));
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
            .record(&cloud, |setting, status| {
                let intent = setting.intent(announced.as_ref(), || token.clone());
                setting.announce_creation(status, &intent, &new);
            })
            .await?;
        let pass = self.on(&recorded.object);
        if !recorded.is_kept {
            return pass.crd_is_too_old("drops what must be remembered").await;
        }
        self.context.record_was_kept();
        let call = K::create(&cloud.client, &cloud.home, &new, &token);
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
            // What this one was told says nothing of the first: that is looked for, as before.
            Err(_) if announced.is_some() => {
                self.context.shared.metrics.creation_sent_again(K::KIND, false);
                self.context.memory.replays(self.key, &token);
                Ok(Next::Again(pass.object))
            }
            Err(error) if error.outcome_unknown => {
                pass.troubled(&trouble(&error), |_| {}).await?;
                // Found at once, it was committed; the wait for its absence comes after.
                self.context.memory.kick(self.key);
                Ok(Next::Rest(Action::requeue(Duration::ZERO)))
            }
            Err(error) => {
                let mut trouble = trouble(&error);
                if K::UNIQUE_NAMES && error.meaning == Meaning::Duplicate {
                    // Who has the name is looked up next, and said.
                    trouble.pace = AGAIN;
                }
                pass.troubled(&trouble, |status| record::refused::<K>(status, &new, &error))
                    .await
            }
        }
    }

    /// Reserves a cloud object until its id is recorded. Whether no other object has a better claim to it, or to the name
    /// that it has.
    fn takes(&self, cloud: &Cloud<'_, K>, remote: &K::Remote) -> bool {
        let owner_tag_key = &self.context.shared.policy.owner_tag_key;
        let name = name_to_take::<K>(&cloud.scope, &cloud.home, owner_tag_key, remote);
        let index = || self.context.claims.index();
        let is_taken = is_named(&self.context.shared.policy, &self.object, remote)
            || index().take(self.key, remote.id(), name.as_ref()).is_ok();
        if is_taken {
            let mut known = cloud.mirror.known();
            known.hold(self.key, self.object.uid(), Some(remote.id()));
        }
        is_taken
    }

    /// Reserves the name of a creation. Whether no other object has it.
    fn intends(&self, cloud: &Cloud<'_, K>) -> bool {
        let name = wanted_name(&self.object, &cloud.scope).filter(|_| K::UNIQUE_NAMES);
        name.is_none_or(|name| self.context.claims.index().intend(self.key, &name).is_ok())
    }

    /// Asked again when nobody else writes where this object does.
    fn is_held_by_another(&self, cloud: &Cloud<'_, K>, id: &str) -> bool {
        let Context { policy, .. } = &*self.context.shared;
        let known = cloud.mirror.known();
        rival(&self.context.claims, &known, policy, self.key, &self.object, id).is_some()
    }

    /// An object without a condition would pass for one that is done.
    async fn say_that_it_waits(&self) -> Result<(), kube::Error> {
        if ready_reason::<K>(&self.object).is_some() {
            return Ok(());
        }
        let stamp = stamp(&self.object);
        let message = format!("the {} is created as soon as those before it are", K::NOUN);
        let verdict = Verdict::new(Reason::Creating, message);
        self.write(|status| {
            self.expect(status);
            record::verdict::<K>(status, &verdict, stamp);
        })
        .await?;
        self.count(Reason::Creating);
        Ok(())
    }

    /// `again`: this is the answer to a creation that was sent once more, since the first answer was lost.
    async fn created(
        &self,
        cloud: &Cloud<'_, K>,
        new: &K::New,
        remote: K::Remote,
        again: bool,
    ) -> Result<Next<K>, kube::Error> {
        cloud.mirror.wrote(remote.clone());
        cloud
            .mirror
            .known()
            .hold(self.key, self.object.uid(), Some(remote.id()));
        let setting = self.setting(cloud, cloud.present());
        let written = match self.write_surely(|status| setting.created(status, new, &remote)).await {
            Err(error) if is_no_more(&error, self.object.name()) => {
                self.take_back(cloud, &remote).await;
                return Err(error);
            }
            written => written?,
        };
        let (reason, mut text) = if self.context.memory.has_recreated(self.key) {
            ("Recreated", format!("made the {} anew, as {}", K::NOUN, remote.id()))
        } else {
            decide::created_event::<K>(&remote)
        };
        if again {
            self.context.shared.metrics.creation_sent_again(K::KIND, true);
            text.push_str(
                ": the answer was lost, and the same creation, sent again under its token, was answered with it",
            );
        }
        self.context.shared.reporter.event(&*self.object, reason, &text).await;
        // What is not confirmed may still come to nothing: the next try is then a later one.
        if K::settles_at(&written.status).is_none() {
            self.context.memory.progressed(self.key);
        }
        Ok(Next::Again(written))
    }

    /// The object went while its creation was under way: a finalizer that is put on while a deletion is being carried out
    /// goes with the object. Nobody is left to delete what was made, so that is done at once.
    async fn take_back(&self, cloud: &Cloud<'_, K>, remote: &K::Remote) {
        let (object, noun, id) = (self.key, K::NOUN, remote.id());
        let default = self.context.shared.policy.default_deletion;
        if self.object.lifecycle.deletion(default) != DeletionPolicy::Delete {
            warn!(%object, id, "gone from the cluster while its {noun} was made, which is kept as deletionPolicy says");
            return;
        }
        let deletion = K::delete(&cloud.client, &cloud.home, id);
        let sending = cloud.tenant.send_if(|| self.context.shared.may_write(), deletion);
        let deleted = self.visit.slot.yielded(sending).await;
        match deleted {
            Some(Ok(_)) => {
                cloud.mirror.wrote_absence(id);
                warn!(%object, id, "gone from the cluster while its {noun} was made, which is deleted again");
            }
            Some(Err(error)) => {
                warn!(%object, id, %error, "gone from the cluster while its {noun} was made, which could not be deleted");
            }
            None => warn!(%object, id, "gone from the cluster while its {noun} was made, which is left behind"),
        }
    }

    fn extras(&self) -> Option<&K::Extras> {
        match &self.gathered.extras {
            Extras::Read(extras) => Some(extras),
            Extras::Waiting | Extras::Lacking(_) | Extras::Absent(_) => None,
        }
    }

    async fn change(&self, id: &str, call: K::Change, why: Why) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(AGAIN));
        };
        let lost = self.context.unkept.among(K::remembered_after(&call));
        if !lost.is_empty() {
            return self.crd_is_too_old(&format!("drops {}", lost.join(", "))).await;
        }
        // Told before anything is reserved, since others would wait for the Event as well.
        self.announce_drift(&call, &why).await;
        let edited = self.gathered.triggered_at.is_some();
        let priority = if edited { Priority::Edit } else { Priority::Write };
        let Ok(reservation) = self.reserve(&cloud, priority) else {
            return Ok(Next::Rest(Action::await_change()));
        };
        let recorded = self.record_change(&cloud, &call, &why).await?;
        let pass = self.on(&recorded.object);
        if !recorded.is_kept {
            return pass.crd_is_too_old("drops what must be remembered").await;
        }
        self.context.record_was_kept();
        let sending = K::change(&cloud.client, &cloud.home, id, &call);
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
                let setting = self.setting(&cloud, cloud.present());
                let updated =
                    outcome::seen_change::<K>(&mut cloud.mirror.known(), id, &call, answer.value, Instant::now());
                let written = pass
                    .write_surely(|status| K::changed(status, &call, updated.as_ref(), &setting.record()))
                    .await?;
                self.changed(id, call).await;
                Ok(Next::Again(written))
            }
            // As this pass believed: another object may have found out meanwhile.
            Err(error) if K::overwrites(&call) && is_refusal(&error) && self.gathered.overwrites_tags => {
                cloud.tenant.refused_to_overwrite_tags();
                Ok(Next::Again(pass.object))
            }
            // Whether it was done, and whether the object is still there, is seen by looking again.
            Err(error) if error.outcome_unknown => pass.troubled(&trouble(&error), |_| {}).await,
            Err(error) => {
                let setting = self.setting(&cloud, cloud.present());
                let record = setting.record();
                let mut trouble = trouble(&error);
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
                    Refused::Because(reason, message) => trouble.verdict = Verdict::new(reason, message),
                }
                pass.troubled(&trouble, |status| {
                    K::refused(status, &call, &error, &record);
                })
                .await
            }
        }
    }

    /// A change is in force.
    async fn changed(&self, id: &str, call: K::Change) {
        if let Some((reason, text)) = K::change_event(&call, id) {
            self.context.shared.reporter.event(&*self.object, reason, &text).await;
        }
        // One that is made again and again without showing is no progress.
        if !self.context.memory.accepted(self.key, call) {
            self.context.memory.progressed(self.key);
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
        if !has_own_event && self.context.memory.mends(self.key, fields, drifted) && drifted {
            let text = format!("differs in the cloud: {}", fields.join(", "));
            self.context
                .shared
                .reporter
                .event(&*self.object, "DriftDetected", &text)
                .await;
        }
    }

    /// Whether somebody has changed only Secrets that the spec names: that leaves its generation as it is.
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
            .record(cloud, |setting, status| setting.announce_change(status, call, &fields))
            .await?;
        if ready_reason::<K>(&recorded.object) == Some(Reason::Updating.as_str()) {
            self.count(Reason::Updating);
        }
        Ok(recorded)
    }

    /// Records what is about to be sent, while others may send. A record covers the time that it takes itself: if it took
    /// longer, it is made again for as long as one can take.
    async fn record(
        &self,
        cloud: &Cloud<'_, K>,
        change: impl Fn(&Setting<'_, K>, &mut K::Status),
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
        change: impl Fn(&Setting<'_, K>, &mut K::Status),
    ) -> Result<Recorded<K>, kube::Error> {
        let began = Moment::now();
        let setting = Setting {
            waits,
            ..self.setting(cloud, cloud.present())
        };
        let announce = |status: &mut K::Status| {
            outcome::withdraw::<K>(status, before);
            change(&setting, status);
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

    /// Nothing came of what was recorded: it was not sent.
    async fn withdraw(&self, before: &K::Status) -> Result<Arc<Managed<K>>, kube::Error> {
        let recorded = &self.object.status;
        let change = |status: &mut K::Status| {
            if status == recorded {
                outcome::withdraw::<K>(status, before);
            }
        };
        self.write_surely(change).await
    }

    /// Whether the apiserver has kept what was written: an older CRD drops fields that it does not know.
    fn is_remembered(&self, written: &Managed<K>, change: impl Fn(&mut K::Status)) -> bool {
        let mut meant = self.object.status.clone();
        change(&mut meant);
        written.status == meant
    }

    async fn delete(&self, id: &str, twin: bool) -> Result<Next<K>, kube::Error> {
        let Some(cloud) = self.cloud() else {
            return Ok(self.come_again(AGAIN));
        };
        let Ok(reservation) = self.reserve(&cloud, Priority::Write) else {
            return Ok(Next::Rest(Action::await_change()));
        };
        let mut recorded = Recorded::nothing(&self.object);
        // Where it was sent before, status reports the deletion already.
        if !twin && ready_reason::<K>(&self.object) != Some(Reason::Deleting.as_str()) {
            let stamp = stamp(&self.object);
            let verdict = Verdict::new(Reason::Deleting, format!("deleting the {} {id} in the cloud", K::NOUN));
            recorded.object = self
                .write(|status| record::underway::<K>(status, &verdict, stamp))
                .await?;
        }
        let pass = self.on(&recorded.object);
        let sending = K::delete(&cloud.client, &cloud.home, id);
        let is_ours = || !pass.is_held_by_another(&cloud, id);
        let sent = match pass
            .send_recorded(&cloud, reservation, &recorded, is_ours, sending)
            .await?
        {
            Sent::Answered(sent) => sent,
            Sent::Not(next) => return Ok(next),
        };
        match sent {
            Ok(_) if twin => {
                cloud.mirror.wrote_absence(id);
                let text = format!("deleted the {} {id}, a second one left behind by one creation", K::NOUN);
                self.context
                    .shared
                    .reporter
                    .event(&*self.object, "Deleted", &text)
                    .await;
                Ok(Next::Again(pass.object))
            }
            Ok(_) => {
                let now = Instant::now();
                self.context.memory.sent_delete(self.key, id, now);
                self.context.memory.look_anew(self.key, now);
                // It will be free by itself: that is another thing to wait for.
                pass.wake_who_waits_for_the_name();
                Ok(Next::Again(pass.object))
            }
            Err(error) if error.meaning == Meaning::Gone => {
                cloud.mirror.wrote_absence(id);
                self.context.memory.look_anew(
                    self.key,
                    self.gathered.triggered_at.unwrap_or(self.context.shared.started),
                );
                Ok(Next::Again(pass.object))
            }
            Err(error) => pass.troubled(&trouble(&error), |_| {}).await,
        }
    }

    async fn release(&self, note: Option<String>) -> Result<Next<K>, kube::Error> {
        let id = K::object(&self.object.status).id.clone();
        let is_place_free = note.is_none() && id.is_some();
        let text = match (note, &id) {
            (Some(note), _) => Some(note),
            (None, Some(id)) => Some(format!("deleted the {} {id}", K::NOUN)),
            (None, None) => None,
        };
        // Asked before the watch sees the object gone, and it is forgotten.
        let fellows = self.context.shared.tenants.fellows(self.key);
        match self.context.shared.reporter.set_finalizer(&*self.object, false).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        self.context.memory.let_go(self.key);
        if let Some(text) = text {
            self.context
                .shared
                .reporter
                .event(&*self.object, "Deleted", &text)
                .await;
        }
        self.context.let_go(self.key);
        if is_place_free {
            self.wake_who_waits_for_quota(&fellows);
        }
        self.wake_who_waits_for_the_name();
        if let Some(id) = id {
            self.wake_who_names(&id);
        }
        Ok(Next::Rest(Action::await_change()))
    }

    /// One place has come free, so one of those that wait for a place takes it: the others would only be refused again.
    fn wake_who_waits_for_quota(&self, fellows: &[Key]) {
        let fellows: HashSet<&Key> = fellows.iter().collect();
        let waits = |key: &Key, object: &Managed<K>| {
            ready_reason::<K>(object) == Some(Reason::QuotaExceeded.as_str())
                && fellows.contains(key)
                && can_create(object)
        };
        let since = |object: &Managed<K>| {
            let conditions = &K::object(&object.status).conditions;
            conditions::find(conditions, conditions::STALLED).map(|stalled| stalled.last_transition_time.0)
        };
        if let Some(key) = self.context.memory.longest_waiting(Instant::now(), waits, since) {
            self.context.memory.kick(&key);
            self.context.shared.wakes.wake(key);
        }
    }

    fn wake_who_waits_for_the_name(&self) {
        let (true, Ok(spec)) = (K::UNIQUE_NAMES, &self.object.spec) else {
            return;
        };
        let name = K::cloud_name(spec, &self.object.status, self.object.name());
        let waiting = self.context.memory.find(|other| {
            let reason = ready_reason::<K>(other);
            let waits = [Reason::DependencyNotReady, Reason::NameConflict].map(Reason::as_str);
            let wants = |spec: &K::Spec| K::cloud_name(spec, &other.status, other.name()).eq_ignore_ascii_case(&name);
            reason.is_some_and(|reason| waits.contains(&reason)) && other.spec.as_ref().is_ok_and(wants)
        });
        self.wake(&waiting);
    }

    /// What was kept in the cloud is free for another now, that names it or has its id from before.
    fn wake_who_names(&self, id: &str) {
        let waiting = self.context.memory.find(|other| {
            let waits = [Reason::DependencyNotReady, Reason::AlreadyManaged].map(Reason::as_str);
            ready_reason::<K>(other).is_some_and(|reason| waits.contains(&reason))
                && (other.lifecycle.external_id.as_deref() == Some(id)
                    || K::object(&other.status).id.as_deref() == Some(id))
        });
        self.wake(&waiting);
    }

    fn wake(&self, waiting: &[Arc<Managed<K>>]) {
        for object in waiting {
            let key = Key::of(&**object);
            self.context.memory.kick(&key);
            self.context.shared.wakes.wake(key);
        }
    }

    /// Sends what was recorded, if it may be sent by now, and `is_right` holds when nobody else writes where this object
    /// does. The permit ends with the answer, whose record needs none.
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
            let sent = cloud.tenant.send_if(may_send, call).await;
            if let Some(Err(error)) = &sent {
                // Before the next one is let in.
                self.heed_full_queue(cloud, error);
            }
            // Before a slot is waited for, which others may keep while the apiserver is slow.
            drop(permit);
            sent
        };
        match self.visit.slot.yielded(sending).await {
            Some(answer) => Ok(Sent::Answered(answer)),
            // The intent stays: the next leader waits until the request can no longer take effect.
            None if !shared.may_write() => Ok(Sent::Not(not_leading())),
            None => {
                self.withdraw(&recorded.before).await?;
                Ok(Sent::Not(self.come_again(AGAIN)))
            }
        }
    }

    /// The object may write soon. Nobody parks: who waits is enqueued.
    fn reserve<'a>(&'a self, cloud: &'a Cloud<'_, K>, priority: Priority) -> Result<Reservation<'a>, NotYet> {
        let queues = WriteQueues {
            lanes: &self.context.shared.tenants.lanes,
            lane: write_queue::<K>(&cloud.scope, &cloud.home),
            budget: cloud.tenant.budget(),
            key: self.key,
            priority,
        };
        queues.reserve()
    }

    /// The cloud's own queue of a lane is full: nobody writes there for a while.
    fn heed_full_queue(&self, cloud: &Cloud<'_, K>, error: &CloudError) {
        if let (Meaning::QueueFull, Some(lane)) = (error.meaning, write_queue::<K>(&cloud.scope, &cloud.home)) {
            let wait = error.delay(1);
            self.context.shared.tenants.lanes.pause(&lane, Instant::now() + wait);
        }
    }

    /// `loss`: what the CRD does that must not be.
    async fn crd_is_too_old(&self, loss: &str) -> Result<Next<K>, kube::Error> {
        let crd = crd_name::<K>();
        let message = format!(
            "the CRD {crd} in the cluster is older than this operator and {loss}, so nothing is sent to the cloud: update it \
             with: {UPDATE}"
        );
        self.context.crd_check.pending(message.as_str());
        let trouble = Trouble {
            verdict: Verdict::new(Reason::DependencyNotReady, message),
            pace: decide::WAIT,
        };
        self.troubled(&trouble, |_| {}).await
    }

    fn come_again(&self, pace: crate::cloud::error::Pace) -> Next<K> {
        let jitter = self.context.shared.jitter();
        Next::Rest(Action::requeue(self.context.memory.failed(
            self.key,
            pace,
            jitter,
            Instant::now(),
        )))
    }

    fn observes(&self) -> bool {
        self.object.lifecycle.management() == crate::api::ManagementPolicy::Observe
    }

    fn cloud(&self) -> Option<Cloud<'_, K>> {
        let (tenant, mirror) = (self.gathered.tenant.as_ref()?, self.gathered.mirror.as_ref()?);
        let access = self.gathered.access.as_ref().ok()?;
        let client = tenant.client()?;
        Some(Cloud {
            tenant,
            mirror,
            home: self.gathered.home.clone()?,
            client,
            scope: access.scope.clone(),
            now: tenant.cloud_now().or(access.cloud_now)?,
        })
    }

    fn count(&self, reason: Reason) {
        self.count_as(reason, false);
    }

    fn count_as(&self, reason: Reason, drifted: bool) {
        self.context.count(self.key, reason, drifted);
    }

    fn again(&self, written: Managed<K>) -> Next<K> {
        let written = Arc::new(written);
        self.context.wrote(self.key, &written);
        Next::Again(written)
    }

    /// Writes a decision: if the object has changed meanwhile, the decision is taken again.
    async fn write(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Managed<K>>, kube::Error> {
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

    /// Writes an outcome: what has happened in the cloud is recorded, whatever became of the object meanwhile, and for as
    /// long as the reconcile may last. Who gave up at the first refusal would send the same write to the cloud again.
    async fn write_surely(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Managed<K>>, kube::Error> {
        let mut object = Arc::clone(&self.object);
        let mut pauses = Pauses::until(self.visit.deadline);
        // What a try whose answer was lost may have written.
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
            // Whoever leads by now has made up its own mind about what came of it.
            if !(is_conflict || is_passing(&error)) || !self.context.shared.leads() {
                return Err(error);
            }
            // An object whose record fails must not keep the others from being reconciled.
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
    object: Arc<Managed<K>>,
    /// The status without it.
    before: K::Status,
    /// Whether the apiserver kept it.
    is_kept: bool,
    /// From when on, and for how long. A request that is sent later, as after the machine was suspended, may last longer than
    /// the record says; `None`: it says nothing of that.
    covers: Option<(Moment, Duration)>,
}

impl<K: Kind> Recorded<K> {
    fn nothing(object: &Arc<Managed<K>>) -> Self {
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

/// Either the next renewal of the lease opens the way again, or this process ends.
fn not_leading<K: Kind>() -> Next<K> {
    Next::Rest(Action::requeue(Duration::from_secs(1)))
}

/// What the apiserver answers where there is no such object.
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

/// Whether it is the object that is gone, and not its kind.
fn is_no_more(error: &kube::Error, name: &str) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let is_named = status.details.as_ref().is_some_and(|details| details.name == name);
    status.code == 404 && is_named
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the same request may well be taken in a moment: the apiserver was not reached, did not answer, or answered that
/// it cannot just now.
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

    /// Whether there is time for another try; it has come then.
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

fn ready_reason<K: Kind>(object: &Managed<K>) -> Option<&str> {
    conditions::ready_reason(&K::object(&object.status).conditions)
}

/// Whether the object, enqueued now, sends a creation: a free place that is offered to another one stays empty.
fn can_create<K: Kind>(object: &Managed<K>) -> bool {
    object.spec.is_ok()
        && object.deleting_since().is_none()
        && !object.is_paused()
        && object.lifecycle.management() == ManagementPolicy::Manage
}

/// A definite no, that another way of asking may avoid.
fn is_refusal(error: &CloudError) -> bool {
    matches!(error.meaning, Meaning::Rejected | Meaning::Duplicate)
}

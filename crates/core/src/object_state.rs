//! State of one object that the process keeps in memory between reconciles.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vpn_cloud::Backoff;

use crate::api::RECONCILE_REQUESTED_ANNOTATION;
use crate::compact_json::Dictionary;
use crate::kind::Kind;
use crate::object::Object;
use crate::object::stored_object::StoredObject;
use crate::terms::sent_delete::{DeleteOutcome, SentDelete};

/// The minimum wait before a DELETE without effect is sent again, whatever the confirmation period.
const FIRST_DELETE_RETRY: Duration = Duration::from_secs(1);

/// The maximum of that wait, unless the confirmation period is longer.
const LAST_DELETE_RETRY: Duration = Duration::from_secs(600);

/// The most ids per object whose DELETE is remembered: the recorded id, the few lost ones, and others.
pub const MOST_DELETES: usize = 16;

/// The state of one object. Pure.
#[derive(Clone)]
pub struct ObjectState<K: Kind> {
    uid: Box<str>,
    /// The newest known version, possibly from our last write: the watch lags behind.
    pub latest: StoredObject<K>,
    /// `latest` is what one of our writes returned.
    written: bool,
    asked: ReconcileTriggers,
    /// The time from which on a read counts for the next decision; `None`: any read counts.
    pub triggered_at: Option<Instant>,
    /// Only an earlier reconcile requires a newer observation, no new information.
    waits: bool,
    /// New information arrived since the reconcile began: what it decides to wait for may have happened.
    news: bool,
    /// Our finalizer is removed: what the watch still delivers is outdated.
    finalizer_removed: bool,
    /// This process has looked up its cloud resource, or tried to.
    was_read: bool,
    /// What an object at rest does not have: most objects are at rest, and their number decides about memory.
    activity: Option<Box<Activity<K>>>,
}

/// What is remembered of failures and of unfinished work.
#[derive(Clone)]
struct Activity<K: Kind> {
    /// The newest version before the apiserver went back to an older one.
    lost_version: Option<String>,
    failures: u32,
    not_before: Option<Instant>,
    /// Our last DELETE of each id.
    deletes: Vec<PastDelete>,
    /// A change that the cloud accepted but no read shows yet, and whether [`ObjectState::take_accepted`] has returned it.
    accepted: Option<(K::Change, bool)>,
    /// The client token of a creation that was replayed.
    replayed: Option<String>,
    correcting: Vec<String>,
    drifted: bool,
    recreating: bool,
    /// How the apiserver refused the last write.
    refused: Option<String>,
}

impl<K: Kind> Default for Activity<K> {
    fn default() -> Self {
        Self {
            lost_version: None,
            failures: 0,
            not_before: None,
            deletes: Vec::new(),
            accepted: None,
            replayed: None,
            correcting: Vec::new(),
            drifted: false,
            recreating: false,
            refused: None,
        }
    }
}

impl<K: Kind> Activity<K> {
    fn is_none(&self) -> bool {
        let Self {
            lost_version,
            failures,
            not_before,
            deletes,
            accepted,
            replayed,
            correcting,
            drifted,
            recreating,
            refused,
        } = self;
        let is_reported = !drifted && !recreating && correcting.is_empty();
        let has_not_failed = lost_version.is_none() && *failures == 0 && not_before.is_none() && refused.is_none();
        is_reported && has_not_failed && deletes.is_empty() && accepted.is_none() && replayed.is_none()
    }
}

/// A DELETE that the cloud did not refuse.
#[derive(Clone, Debug)]
struct PastDelete {
    id: String,
    /// `Accepted` if it was accepted at any time.
    outcome: DeleteOutcome,
    /// When it was accepted last. `None`: it is sent again if the cloud still shows the object.
    pending_since: Option<Instant>,
    /// How often it was accepted since the user last requested a reconcile.
    times: u32,
}

/// What the user requests. A change of it triggers a reconcile with new observations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ReconcileTriggers {
    generation: Option<i64>,
    requested: Option<String>,
    approved: Option<String>,
    paused: bool,
}

impl ReconcileTriggers {
    fn of<K: Kind>(object: &Object<K>) -> Self {
        Self {
            generation: object.metadata.generation,
            requested: object.annotation(RECONCILE_REQUESTED_ANNOTATION).map(str::to_owned),
            approved: object
                .annotation(crate::api::RECREATE_APPROVED_ANNOTATION)
                .map(str::to_owned),
            paused: object.is_paused(),
        }
    }
}

impl<K: Kind> ObjectState<K> {
    /// Creates the state of an object that is new to this process.
    pub fn new(object: Arc<Object<K>>, now: Instant) -> Self {
        let edited = K::object(&object.status).observed_generation != object.metadata.generation;
        Self {
            uid: object.uid().into(),
            asked: ReconcileTriggers::of(&object),
            latest: StoredObject::Whole(object),
            written: false,
            // An edit from before this process saw the object requires a new observation.
            triggered_at: edited.then_some(now),
            waits: false,
            news: false,
            finalizer_removed: false,
            was_read: false,
            activity: None,
        }
    }

    fn activity(&mut self) -> &mut Activity<K> {
        self.activity.get_or_insert_default()
    }

    /// Records what the watch delivered. It may be older than what one of our writes returned.
    pub fn observe(&mut self, object: Arc<Object<K>>, now: Instant) {
        let lost_version = self
            .activity
            .as_ref()
            .and_then(|activity| activity.lost_version.as_deref());
        let is_lost = lost_version == Some(object.resource_version());
        if self.finalizer_removed || is_lost {
            return;
        }
        let latest = self.latest();
        if object.is_at_least_as_new_as(&latest) {
            let asked = ReconcileTriggers::of(&object);
            if self.asked != asked {
                if self.asked.requested != asked.requested {
                    // A requested reconcile also sends a DELETE without effect again.
                    for delete in self.activity.iter_mut().flat_map(|activity| &mut activity.deletes) {
                        (delete.pending_since, delete.times) = (None, 0);
                    }
                }
                self.asked = asked;
                self.mark_dirty(now);
            }
            // A watch that began under an older CRD omits fields that a write under the present CRD stored.
            let is_as_written = self.written && object.resource_version() == latest.resource_version();
            if !is_as_written {
                self.latest = StoredObject::Whole(object);
                self.written = false;
            } else if object.has_same_content_as(&latest) {
                // Keep the watch's copy, so that memory holds it once.
                self.latest = StoredObject::Whole(object);
            }
        }
    }

    /// Records what the apiserver has now, read after it refused a write to the newest version known here. It counts
    /// even if its version is lower, as after a restore of the apiserver's data. Returns whether it is lower. The last
    /// version from the watch may belong to the lost history. It is delivered again until the watch restarts.
    pub fn reread(&mut self, object: Arc<Object<K>>, now: Instant) -> bool {
        let latest = self.latest();
        let went_back = *object.uid() == *self.uid && !object.is_at_least_as_new_as(&latest);
        if went_back {
            self.activity().lost_version = Some(latest.resource_version().to_owned());
            self.latest = StoredObject::Whole(Arc::clone(&object));
            self.written = false;
            self.finalizer_removed = false;
        }
        self.observe(object, now);
        went_back
    }

    /// The uid of the object.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Records what one of our writes returned.
    pub fn wrote(&mut self, object: Arc<Object<K>>) {
        self.latest = StoredObject::Whole(object);
        self.written = true;
        if let Some(activity) = &mut self.activity {
            activity.refused = None;
        }
    }

    /// Whether this state is what one of our writes returned last, and requests nothing new: a write that was repeated
    /// after a conflict may be on top of an edit.
    pub fn is_echo(&self, object: &Object<K>) -> bool {
        let is_written = self.written && *object.uid() == *self.uid && self.asked == ReconcileTriggers::of(object);
        is_written && {
            let latest = self.latest();
            object.resource_version() == latest.resource_version() && object.has_same_content_as(&latest)
        }
    }

    /// The newest known version, possibly from our last write: the watch lags behind.
    pub fn latest(&self) -> Arc<Object<K>> {
        self.latest.get()
    }

    /// Keeps the newest known version in less memory.
    pub fn compact(&mut self, dictionary: &Dictionary) {
        if let StoredObject::Whole(object) = &self.latest {
            self.latest = StoredObject::compact(object, dictionary);
        }
    }

    /// Records that our finalizer is removed.
    pub fn finalizer_removed(&mut self) {
        // The apiserver's response shows the deleted object as it was before, finalizers included.
        let mut latest = Object::clone(&self.latest());
        latest.metadata.finalizers = None;
        self.latest = StoredObject::Whole(Arc::new(latest));
        self.finalizer_removed = true;
    }

    /// Until when nothing is due, unless new information arrives.
    pub fn not_before(&self) -> Option<Instant> {
        self.activity.as_ref()?.not_before
    }

    /// Resets failures and backoff after a change of the credentials.
    pub fn begin_afresh(&mut self) {
        self.news = true;
        self.end_backoff();
    }

    /// Whether only an earlier reconcile requires a newer observation, and no new information does.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Ends the backoff: the cause of the failure may no longer exist.
    pub fn reset_backoff(&mut self) {
        self.news = true;
        if let Some(activity) = &mut self.activity {
            activity.not_before = None;
        }
    }

    /// Resets the failures, and ends the backoff.
    fn end_backoff(&mut self) {
        if let Some(activity) = &mut self.activity {
            (activity.failures, activity.not_before) = (0, None);
        }
    }

    /// Records a failure and returns the delay until the next reconcile.
    pub fn back_off(&mut self, backoff: Backoff, jitter: f64, now: Instant) -> Duration {
        let delay = if backoff.is_exact {
            backoff.first
        } else {
            let failures = &mut self.activity().failures;
            *failures = failures.saturating_add(1);
            backoff.delay(*failures).mul_f64(jitter)
        };
        let delay = if self.news { Duration::ZERO } else { delay };
        self.activity().not_before = Some(now + delay);
        delay
    }

    /// Delays the next reconcile until then, without a failure.
    pub fn wait_until(&mut self, until: Instant) {
        let not_before = (!self.news).then_some(until);
        self.activity().not_before = not_before;
    }

    /// Resets the failures after a completed step: they do not count for the next step.
    pub fn progressed(&mut self) {
        if let Some(activity) = &mut self.activity {
            activity.failures = 0;
        }
    }

    /// Records that these fields are being corrected. Returns whether no correction was recorded before.
    pub fn corrects(&mut self, fields: &[String], drifted: bool) -> bool {
        let activity = self.activity();
        let is_new = activity.correcting.is_empty();
        if is_new {
            activity.drifted = drifted;
        }
        for field in fields {
            if !activity.correcting.contains(field) {
                activity.correcting.push(field.clone());
            }
        }
        is_new
    }

    /// Whether the fields that are being corrected are drift.
    pub fn corrects_drift(&self) -> bool {
        self.activity.as_ref().is_some_and(|activity| activity.drifted)
    }

    /// Records that a lost resource is being recreated.
    pub fn recreates(&mut self) {
        self.activity().recreating = true;
    }

    /// Returns, once, whether the creation that just succeeded replaces a lost resource.
    pub fn has_recreated(&mut self) -> bool {
        let activity = self.activity.as_mut();
        activity.is_some_and(|activity| std::mem::take(&mut activity.recreating))
    }

    /// Records that the apiserver refused a write. Returns whether the refusal is new since the last successful write.
    pub fn is_refused(&mut self, how: String) -> bool {
        self.activity().refused.replace(how.clone()) != Some(how)
    }

    /// Records that this process has looked up the object's cloud resource, or tried to.
    pub fn was_read(&mut self) {
        self.was_read = true;
    }

    /// Whether the object's cloud resource was looked up.
    pub fn has_been_read(&self) -> bool {
        self.was_read
    }

    /// Records that a reconcile begins: it may miss information that arrives from now on.
    pub fn begin(&mut self) {
        self.news = false;
    }

    /// Requires an observation from `now` or later; the backoff stays.
    pub fn require_fresh(&mut self, now: Instant) {
        self.triggered_at = Some(now);
        self.waits = true;
    }

    /// Records success. Returns the fields that were corrected for it, and whether that was drift.
    pub fn succeeded(&mut self) -> (Vec<String>, bool) {
        if !self.news {
            self.triggered_at = None;
        }
        let Some(activity) = &mut self.activity else {
            return (Vec::new(), false);
        };
        (activity.failures, activity.not_before, activity.accepted) = (0, None, None);
        let corrected = (
            std::mem::take(&mut activity.correcting),
            std::mem::take(&mut activity.drifted),
        );
        if activity.is_none() {
            self.activity = None;
        }
        corrected
    }

    /// Returns, once, the change that the cloud accepted but no read shows yet: after that it is retried.
    pub fn take_accepted(&mut self) -> Option<K::Change> {
        let (change, reported) = self.activity.as_mut()?.accepted.as_mut()?;
        (!std::mem::replace(reported, true)).then(|| change.clone())
    }

    /// Records that the cloud accepted this change. Returns whether it had accepted the same before, without effect.
    pub fn accepted(&mut self, change: K::Change) -> bool {
        let accepted = &mut self.activity().accepted;
        let again = accepted.as_ref().is_some_and(|(before, _)| *before == change);
        *accepted = Some((change, false));
        again
    }

    /// Records that the creation with this token was replayed.
    pub fn replays(&mut self, token: &str) {
        self.activity().replayed = Some(token.to_owned());
    }

    /// Whether the creation with this token was replayed.
    pub fn has_replayed(&self, token: &str) -> bool {
        let activity = self.activity.as_ref();
        activity.is_some_and(|activity| activity.replayed.as_deref() == Some(token))
    }

    /// Records the outcome of a DELETE of this id.
    pub fn delete_was_sent(&mut self, id: &str, outcome: DeleteOutcome, now: Instant) {
        let deletes = &mut self.activity().deletes;
        let known = deletes.iter().position(|delete| delete.id == id);
        let before = known.map(|known| deletes.remove(known));
        let (accepted, is_accepted) = (DeleteOutcome::Accepted, outcome == DeleteOutcome::Accepted);
        let was_accepted = before.as_ref().is_some_and(|delete| delete.outcome == accepted);
        let times = before.map_or(0, |delete| delete.times);
        deletes.push(PastDelete {
            id: id.to_owned(),
            outcome: if was_accepted { accepted } else { outcome },
            pending_since: is_accepted.then_some(now),
            times: times.saturating_add(is_accepted.into()),
        });
        if deletes.len() > MOST_DELETES {
            deletes.remove(0);
        }
    }

    /// Returns the DELETE of this id that this process sent. It is pending for `period` at first.
    pub fn sent_delete(&self, id: &str, period: Duration, now: Instant) -> Option<SentDelete> {
        let deletes = &self.activity.as_ref()?.deletes;
        let delete = deletes.iter().find(|delete| delete.id == id)?;
        let first = period.max(FIRST_DELETE_RETRY);
        let wait = first.saturating_mul(1 << delete.times.saturating_sub(1).min(16));
        let wait = wait.min(LAST_DELETE_RETRY.max(first));
        let is_due = |since| now.saturating_duration_since(since) >= wait;
        Some(SentDelete {
            outcome: delete.outcome,
            is_pending: delete.pending_since.is_some_and(|since| !is_due(since)),
        })
    }

    /// Requires a reconcile at once, with a new observation.
    pub fn mark_dirty(&mut self, now: Instant) {
        self.news = true;
        self.waits = false;
        self.triggered_at = Some(now);
        self.end_backoff();
    }
}

#[cfg(test)]
impl<K: Kind> ObjectState<K> {
    /// The client token of a creation that was replayed.
    pub fn replayed_token(&self) -> Option<&str> {
        self.activity.as_ref()?.replayed.as_deref()
    }

    /// Whether the watch has yet to deliver what one of our writes has returned.
    pub fn has_news(&self) -> bool {
        self.asked != ReconcileTriggers::of(&self.latest())
    }

    /// Hashes what the next reconcile depends on, without the object itself, the backoff and what is only reported.
    pub fn fingerprint(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let Self {
            asked, triggered_at, ..
        } = self;
        let none = Activity::default();
        let Activity {
            deletes,
            accepted,
            replayed,
            ..
        } = self.activity.as_deref().unwrap_or(&none);
        let accepted = format!("{accepted:?}");
        let deletes = deletes.iter().map(|delete| {
            let is_lost = delete.outcome == DeleteOutcome::Lost;
            (&delete.id, delete.pending_since.is_some(), is_lost)
        });
        let deletes: Vec<_> = deletes.collect();
        (asked, triggered_at, deletes, accepted, replayed).hash(hasher);
    }
}

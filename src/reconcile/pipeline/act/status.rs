//! Writes of status, and what their errors mean.

use std::sync::Arc;
use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusDetails;
use tokio::time::Instant;
use vpn_core::object::Object;

use super::Pass;
use crate::reconcile::pipeline::visit::log_refusal;
use crate::reconcile::provider::cloud_kind::CloudKind;

impl<K: CloudKind> Pass<'_, K> {
    /// Writes a decision: if the object has changed meanwhile, the decision is taken again.
    pub(super) async fn write(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Object<K>>, kube::Error> {
        #[cfg(test)]
        self.context
            .shared
            .tripwires
            .cross(self.key, crate::reconcile::pipeline::tripwire::PipelineStep::Report);
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
    pub(super) async fn write_surely(&self, change: impl Fn(&mut K::Status)) -> Result<Arc<Object<K>>, kube::Error> {
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

/// The apiserver's answer for an object that does not exist.
pub(super) fn no_more(name: &str) -> kube::Error {
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
pub(super) fn is_no_more(error: &kube::Error, name: &str) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let is_named = status.details.as_ref().is_some_and(|details| details.name == name);
    status.code == 404 && is_named
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the error is transient: the apiserver was not reached, did not answer, or reported that it is temporarily
/// unable.
pub(super) fn is_passing(error: &kube::Error) -> bool {
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

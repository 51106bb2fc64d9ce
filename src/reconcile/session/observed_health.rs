//! The health of a credential, derived from all responses to its requests.

use tokio::time::Instant;
use vpn_cloud::{CloudError, ErrorKind};
use vpn_core::api::conditions::ReadyCondition;
use vpn_core::terms::failure::failure_of;

use crate::reconcile::session::credential_health::{CredentialFailure, Finding};

/// See the module.
#[derive(Default)]
pub(crate) struct ObservedHealth {
    /// No request can be sent with the credential.
    unusable: Option<ReadyCondition>,
    /// The cloud does not accept the access key.
    key: Option<CloudError>,
    /// The cloud requires a long wait; and when that response arrived.
    held_back: Option<(CloudError, Instant)>,
    /// Collections that it has no permission to read, or that its endpoint does not offer.
    refused: FailingCollections,
    /// Collections whose last read failed for a cause other than the credential.
    outages: FailingCollections,
    works: bool,
}

/// Collections whose reads fail, the one that has failed for longest first: only that one is reported.
#[derive(Default)]
struct FailingCollections(Vec<(String, CloudError)>);

impl FailingCollections {
    fn insert(&mut self, source: &str, error: &CloudError) {
        match self.0.iter_mut().find(|(failing, _)| failing == source) {
            Some((_, latest)) => latest.clone_from(error),
            None => self.0.push((source.to_owned(), error.clone())),
        }
    }

    fn remove(&mut self, source: &str) {
        self.0.retain(|(failing, _)| failing != source);
    }

    fn first(&self) -> Option<&CloudError> {
        self.0.first().map(|(_, error)| error)
    }
}

impl ObservedHealth {
    /// Records that no request can be sent with the credential.
    pub(crate) fn cannot_be_used(&mut self, condition: ReadyCondition) {
        self.unusable = Some(condition);
    }

    /// Drops the failures of a source that is no longer read.
    pub(crate) fn forget(&mut self, source: &str) {
        self.refused.remove(source);
        self.outages.remove(source);
    }

    /// Records the end of a request that was sent at `sent`.
    pub(crate) fn answered(&mut self, error: Option<&CloudError>, sent: Instant) {
        self.hold_back(error, sent);
        match error.map(|error| error.kind) {
            None => {
                self.works = true;
                self.key = None;
            }
            Some(ErrorKind::Unauthorized) => {
                if self.key.is_none() {
                    self.key = error.cloned();
                }
            }
            // These errors occur before authentication.
            Some(ErrorKind::CloudFault | ErrorKind::Throttled | ErrorKind::NotAvailable) => {}
            Some(_) => self.key = None,
        }
    }

    fn hold_back(&mut self, error: Option<&CloudError>, sent: Instant) {
        let kind = error.map(|error| error.kind);
        match (error, &self.held_back) {
            (Some(error), known) if kind == Some(ErrorKind::Throttled) && error.not_before.is_some() => {
                let is_known = known
                    .as_ref()
                    .is_some_and(|(known, since)| sent < *since || known.not_before == error.not_before);
                if !is_known {
                    self.held_back = Some((error.clone(), Instant::now()));
                }
            }
            // Neither error means that requests are served again.
            (Some(_), _) if matches!(kind, Some(ErrorKind::Throttled | ErrorKind::CloudFault)) => {}
            // Nor does the response to a request from before that refusal.
            (_, Some((_, since))) if sent >= *since => self.held_back = None,
            _ => {}
        }
    }

    /// Records the end of a read. `source` distinguishes collections of one kind.
    pub(crate) fn read_ended(&mut self, source: &str, error: Option<&CloudError>) {
        let Some(error) = error else {
            self.refused.remove(source);
            self.outages.remove(source);
            return;
        };
        match error.kind {
            ErrorKind::Unauthorized => {}
            // This applies to all reads, not only to this source.
            ErrorKind::Throttled if error.not_before.is_some() => {}
            ErrorKind::Forbidden | ErrorKind::NotAvailable => {
                self.refused.insert(source, error);
                self.outages.remove(source);
            }
            _ => self.outages.insert(source, error),
        }
    }

    /// `None`: nothing is known yet.
    pub(crate) fn finding(&self) -> Option<Finding> {
        if let Some(condition) = &self.unusable {
            return Some(Finding::Fails(CredentialFailure::of(condition.clone())));
        }
        let condition = |error: &CloudError| failure_of(error).condition;
        let held_back = self.held_back.as_ref().map(|(error, _)| error);
        let fails = self.key.as_ref().or(held_back).or_else(|| self.refused.first());
        match (fails, self.outages.first()) {
            (Some(error), _) => Some(Finding::Fails(CredentialFailure::of(condition(error)))),
            (None, Some(error)) => Some(Finding::Outage {
                // Each response names another time: every one would be a new finding.
                condition: condition(&CloudError {
                    not_before: None,
                    ..error.clone()
                }),
                is_accepted: self.works,
            }),
            (None, None) => self.works.then_some(Finding::Works),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::time::Duration;
    use vpn_cloud::Backoff;
    use vpn_core::api::conditions::Reason;

    /// A refusal with a long wait.
    pub(crate) fn throttled(seconds: u64, request: &str) -> CloudError {
        let wait = Duration::from_secs(seconds);
        CloudError {
            status: Some(429),
            code: Some("VPN.0429".to_owned()),
            request_id: Some(request.to_owned()),
            retry_after: Some(wait),
            not_before: vpn_cloud::values::time::end_of(wait, Timestamp::UNIX_EPOCH).map(Box::new),
            ..CloudError::new(
                vpn_cloud::Operation::ListCustomerGateways,
                ErrorKind::Throttled,
                "too many",
            )
        }
    }

    #[test]
    fn an_outage_neither_causes_nor_hides_a_credential_failure() {
        let error = |kind| CloudError::new(vpn_cloud::Operation::ListCustomerGateways, kind, "words");
        let summary = |health: &ObservedHealth| match health.finding() {
            None => "nothing",
            Some(Finding::Works) => "works",
            Some(Finding::Outage { .. }) => "outage",
            Some(Finding::Fails(failure)) => failure.condition.reason.as_str(),
        };
        let mut health = ObservedHealth::default();
        assert_eq!(summary(&health), "nothing");
        let ends = |health: &mut ObservedHealth, source: &str, kind: Option<ErrorKind>| {
            let error = kind.map(error);
            health.answered(error.as_ref(), Instant::now());
            health.read_ended(source, error.as_ref());
        };
        for (source, kind, expected) in [
            ("gateways", Some(ErrorKind::CloudFault), "outage"),
            ("gateways", None, "works"),
            ("users", Some(ErrorKind::Forbidden), "Forbidden"),
            ("gateways", None, "Forbidden"),
            ("users", Some(ErrorKind::CloudFault), "Forbidden"),
            ("gateways", Some(ErrorKind::Unauthorized), "Unauthorized"),
            ("gateways", Some(ErrorKind::CloudFault), "Unauthorized"),
            ("gateways", None, "Forbidden"),
            ("users", None, "works"),
            // A successful read of one collection proves nothing about another.
            ("users", Some(ErrorKind::CloudFault), "outage"),
            ("gateways", None, "outage"),
            ("gateways", Some(ErrorKind::Forbidden), "Forbidden"),
            ("gateways", None, "outage"),
            ("users", None, "works"),
        ] {
            ends(&mut health, source, kind);
            assert_eq!(summary(&health), expected, "{source}: {kind:?}");
        }
    }

    #[test]
    fn a_long_retry_after_is_a_failure_until_a_later_request_succeeds() {
        let is_throttled = |health: &ObservedHealth| match health.finding() {
            Some(Finding::Fails(failure)) => {
                assert_eq!(failure.condition.reason, Reason::Throttled);
                true
            }
            _ => false,
        };
        let mut health = ObservedHealth::default();
        let before = Instant::now();
        health.answered(None, before);
        let refusal = throttled(3600, "1");
        health.answered(Some(&refusal), before);
        health.read_ended("gateways", Some(&refusal));
        assert!(is_throttled(&health));
        let found = health.finding();
        // Requests from before, and requests that are refused without being sent, change nothing.
        health.answered(None, before);
        health.answered(Some(&throttled(3610, "2")), before);
        health.answered(Some(&throttled(3600, "1")), Instant::now());
        health.read_ended("users", Some(&refusal));
        assert_eq!(health.finding(), found);
        // Neither does another refusal, or an outage.
        let short = CloudError {
            not_before: None,
            ..refusal
        };
        health.answered(Some(&short), Instant::now());
        health.answered(
            Some(&CloudError::new(
                vpn_cloud::Operation::GetVpnUser,
                ErrorKind::CloudFault,
                "no",
            )),
            Instant::now(),
        );
        assert_eq!(health.finding(), found);
        health.answered(None, Instant::now());
        assert_eq!(health.finding(), Some(Finding::Works));
    }

    #[test]
    fn a_long_retry_after_of_a_write_is_reported_with_its_end() {
        for kind in [ErrorKind::QueueFull, ErrorKind::CloudFault] {
            let error = CloudError {
                kind,
                ..throttled(3600, "1")
            };
            let reported = failure_of(&error);
            let words = "it is tried again";
            assert!(
                reported.condition.message.contains(words),
                "{}",
                reported.condition.message
            );
            assert!(
                reported.condition.message.contains("not before 1970-01-01T01:00:00Z"),
                "{}",
                reported.condition.message
            );
            assert_eq!(reported.backoff, Backoff::exactly(Duration::from_secs(3600)));
        }
        let outage = CloudError {
            kind: ErrorKind::CloudFault,
            ..throttled(3600, "1")
        };
        let mut health = ObservedHealth::default();
        health.read_ended("gateways", Some(&outage));
        let Some(Finding::Outage { condition, .. }) = health.finding() else {
            panic!("no outage")
        };
        assert!(!condition.message.contains("1970"), "{}", condition.message);
    }

    #[test]
    fn the_reported_failure_is_of_the_collection_failing_longest() {
        let error = |kind, text: &str| CloudError::new(vpn_cloud::Operation::ListVpnUsers, kind, text);
        let names = |health: &ObservedHealth, text: &str| match health.finding() {
            Some(Finding::Outage { condition, .. } | Finding::Fails(CredentialFailure { condition, .. })) => {
                condition.message.contains(text)
            }
            _ => false,
        };
        for kind in [ErrorKind::CloudFault, ErrorKind::Forbidden] {
            let mut health = ObservedHealth::default();
            health.read_ended("b", Some(&error(kind, "second server")));
            for _ in 0..2 {
                health.read_ended("a", Some(&error(kind, "first server")));
                assert!(names(&health, "second server"), "{kind:?}");
                health.read_ended("a", None);
                assert!(names(&health, "second server"), "{kind:?}");
            }
            health.read_ended("a", Some(&error(kind, "first server")));
            health.read_ended("b", None);
            assert!(names(&health, "first server"), "{kind:?}");
        }
    }

    #[test]
    fn the_failures_of_a_forgotten_collection_are_dropped() {
        for kind in [ErrorKind::CloudFault, ErrorKind::Forbidden] {
            let error = CloudError::new(vpn_cloud::Operation::ListVpnUsers, kind, "words");
            let mut health = ObservedHealth::default();
            health.answered(None, Instant::now());
            for source in ["a", "b", "a"] {
                health.read_ended(source, Some(&error));
            }
            for source in ["a", "unknown"] {
                health.forget(source);
                assert_ne!(health.finding(), Some(Finding::Works), "{kind:?}: b fails");
            }
            health.forget("b");
            assert_eq!(health.finding(), Some(Finding::Works), "{kind:?}");
        }
    }
}

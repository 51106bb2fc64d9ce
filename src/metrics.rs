//! Metrics of the operator. Label values come from closed lists (`&'static str`, and the namespaces of
//! `--watch-namespace`). So no metric contains ids or messages, and the number of series is bounded. The exception is
//! `credential`: the name of a Secret, for as long as an object uses it.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindOutcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindReason {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationOutcome {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CollectionOutcome {
    collection: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CollectionLabel {
    collection: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// `namespace/secret`, or `default`: one for each credential in use.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindNamespace {
    kind: &'static str,
    namespace: String,
}

/// Every metric. Clones share it: each object has one, for its part in the counts.
#[derive(Clone, Default)]
pub struct Metrics(Arc<MetricFamilies>);

impl Deref for Metrics {
    type Target = MetricFamilies;

    fn deref(&self) -> &MetricFamilies {
        &self.0
    }
}

/// The series of every metric.
pub struct MetricFamilies {
    reconciles: Family<KindOutcome, Counter>,
    reconcile_duration: Family<KindLabel, Histogram>,
    cloud_requests: Family<OperationOutcome, Counter>,
    cloud_request_duration: Family<OperationLabel, Histogram>,
    objects: Family<KindReason, Gauge>,
    drifted_objects: Family<KindLabel, Gauge>,
    crd_missing_fields: Family<KindLabel, Gauge>,
    cache_lists: Family<CollectionOutcome, Counter>,
    unreadable_items: Family<CollectionLabel, Counter>,
    leader: Gauge,
    watch_up: Family<KindNamespace, Gauge>,
    rate_limiter_queue: Gauge,
    credential_failures: Family<ReasonLabel, Counter>,
    credential_healthy: Family<CredentialLabel, Gauge>,
    credential_last_success: Family<CredentialLabel, Gauge>,
    creations_sent_again: Family<KindOutcome, Counter>,
}

impl Default for MetricFamilies {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            // From 1 ms to 33 s: a reconcile that only compares, up to one that waits for a slow cloud.
            reconcile_duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16))),
            cloud_requests: Family::default(),
            // From 10 ms to 41 s.
            cloud_request_duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 13))),
            objects: Family::default(),
            drifted_objects: Family::default(),
            crd_missing_fields: Family::default(),
            cache_lists: Family::default(),
            unreadable_items: Family::default(),
            leader: Gauge::default(),
            watch_up: Family::default(),
            rate_limiter_queue: Gauge::default(),
            credential_failures: Family::default(),
            credential_healthy: Family::default(),
            credential_last_success: Family::default(),
            creations_sent_again: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers every metric in `registry`, under the operator's prefix.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("vpn_operator");
        self.register_work(registry);
        self.register_process(registry);
        self.register_credentials(registry);
    }

    /// Reconciliations, requests, and the objects by their state.
    fn register_work(&self, registry: &mut Registry) {
        registry.register(
            "reconciles",
            "Reconciliations, by kind and outcome",
            self.reconciles.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of a reconciliation",
            Unit::Seconds,
            self.reconcile_duration.clone(),
        );
        registry.register(
            "cloud_requests",
            "Requests to the cloud, by operation and outcome",
            self.cloud_requests.clone(),
        );
        registry.register_with_unit(
            "cloud_request_duration",
            "Duration of a request to the cloud",
            Unit::Seconds,
            self.cloud_request_duration.clone(),
        );
        registry.register(
            "objects",
            "Objects, by kind and reason of their Ready condition",
            self.objects.clone(),
        );
        registry.register(
            "drifted_objects",
            "Objects with drift that their managementPolicy only reports, by kind",
            self.drifted_objects.clone(),
        );
        registry.register(
            "crd_missing_fields",
            "Status fields that the apiserver prunes because the CRD is older than the operator, by kind",
            self.crd_missing_fields.clone(),
        );
    }

    /// Reads of the cloud, and the state of the process.
    fn register_process(&self, registry: &mut Registry) {
        registry.register(
            "mirror_lists",
            "Complete reads of a cloud collection, by collection and outcome",
            self.cache_lists.clone(),
        );
        registry.register(
            "unreadable_items",
            "List items of the cloud that could not be parsed completely, counted per list, by collection",
            self.unreadable_items.clone(),
        );
        registry.register(
            "leader",
            "1 while this process holds the lease, or needs none",
            self.leader.clone(),
        );
        registry.register(
            "watch_up",
            "1 while the watch of a kind works, by kind and namespace of --watch-namespace (empty: all namespaces)",
            self.watch_up.clone(),
        );
        registry.register(
            "budget_queue",
            "Requests that wait for a permit of the rate limiter",
            self.rate_limiter_queue.clone(),
        );
    }

    /// Credentials, replays, and the version.
    fn register_credentials(&self, registry: &mut Registry) {
        registry.register(
            "credential_failures",
            "Credentials that began to fail, by reason",
            self.credential_failures.clone(),
        );
        registry.register(
            "credential_healthy",
            "1 while a credential works, 0 while it fails or is throttled for long; a cloud outage does not change it",
            self.credential_healthy.clone(),
        );
        registry.register(
            "credential_last_success_timestamp_seconds",
            "Time of the last successful response of the cloud to a credential",
            self.credential_last_success.clone(),
        );
        registry.register(
            "creations_sent_again",
            "Create requests replayed with the same client token to resolve an unknown outcome, by kind and outcome",
            self.creations_sent_again.clone(),
        );
        registry.register(
            "build",
            "The running program",
            Info::new(BuildLabel {
                version: env!("CARGO_PKG_VERSION"),
            }),
        );
    }

    /// Counts a reconciliation of an object of `kind`.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&KindOutcome { kind, outcome }).inc();
        self.reconcile_duration
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    /// Counts a request to the cloud that ended or was given up.
    pub fn cloud_request(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.cloud_requests
            .get_or_create(&OperationOutcome { operation, outcome })
            .inc();
        self.cloud_request_duration
            .get_or_create(&OperationLabel { operation })
            .observe(took.as_secs_f64());
    }

    /// Records a new Ready reason of an object. `None`: the object did not exist before, or no longer exists.
    pub fn object_moved(&self, kind: &'static str, from: Option<&'static str>, to: Option<&'static str>) {
        // The new one first: a scrape in between counts the object twice rather than not at all.
        if let Some(reason) = to {
            self.objects.get_or_create(&KindReason { kind, reason }).inc();
        }
        if let Some(reason) = from {
            self.objects.get_or_create(&KindReason { kind, reason }).dec();
        }
    }

    /// Records whether an object now has drift that is only reported.
    pub fn object_drifted(&self, kind: &'static str, before: bool, now: bool) {
        let drifted = self.drifted_objects.get_or_create(&KindLabel { kind });
        drifted.inc_by(i64::from(now) - i64::from(before));
    }

    /// Sets how many fields of the status the CRD of `kind` in the cluster does not keep.
    pub fn set_crd_missing_fields(&self, kind: &'static str, fields: usize) {
        let gauge = self.crd_missing_fields.get_or_create(&KindLabel { kind });
        gauge.set(i64::try_from(fields).unwrap_or(i64::MAX));
    }

    /// Counts a list of a whole collection, by outcome.
    pub fn cache_listed(&self, collection: &'static str, outcome: &'static str) {
        self.cache_lists
            .get_or_create(&CollectionOutcome { collection, outcome })
            .inc();
    }

    /// Counts the items of a list that could not be read in full.
    pub fn read_unreadable_items(&self, collection: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.unreadable_items
            .get_or_create(&CollectionLabel { collection })
            .inc_by(count);
    }

    /// Records the start or the end of leadership.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Records whether the watch of a kind works. `namespace` is one of `--watch-namespace`, or empty.
    pub fn set_watch_up(&self, kind: &'static str, namespace: &str, is_up: bool) {
        let namespace = namespace.to_owned();
        let gauge = self.watch_up.get_or_create(&KindNamespace { kind, namespace });
        gauge.set(i64::from(is_up));
    }

    /// Sets how many requests wait for the rate limiter, of all credentials together.
    pub(crate) fn set_rate_limiter_queue(&self, waiting: usize) {
        self.rate_limiter_queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Counts a credential that began to fail.
    pub fn credential_failed(&self, reason: &'static str) {
        self.credential_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Records whether a credential works.
    pub fn credential_healthy(&self, credential: &str, is_healthy: bool) {
        let gauge = self.credential_healthy.get_or_create(&of_credential(credential));
        gauge.set(i64::from(is_healthy));
    }

    /// Records a successful response to a request of a credential.
    pub fn credential_succeeded(&self, credential: &str, at: jiff::Timestamp) {
        let gauge = self.credential_last_success.get_or_create(&of_credential(credential));
        gauge.set(at.as_second());
    }

    /// Removes the series of a credential that no object uses any more.
    pub(crate) fn credential_unused(&self, credential: &str) {
        self.credential_healthy.remove(&of_credential(credential));
        self.credential_last_success.remove(&of_credential(credential));
    }

    /// Counts a replay after a lost response. `resolved`: its response identified what was created.
    pub fn creation_sent_again(&self, kind: &'static str, resolved: bool) {
        let outcome = if resolved { "resolved" } else { "unresolved" };
        self.creations_sent_again
            .get_or_create(&KindOutcome { kind, outcome })
            .inc();
    }
}

fn of_credential(credential: &str) -> CredentialLabel {
    CredentialLabel {
        credential: credential.to_owned(),
    }
}

/// The type of [`encode`]'s text, for the `Content-Type` header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything in `registry` in the `OpenMetric`s text format.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        encode(&registry).unwrap()
    }

    #[test]
    fn every_metric_is_exported() {
        let metrics = Metrics::default();
        metrics.reconciled("CustomerGateway", "settled", Duration::from_millis(3));
        metrics.cloud_request("CreateCustomerGateway", "ok", Duration::from_millis(30));
        metrics.object_moved("CustomerGateway", None, Some("Creating"));
        metrics.object_drifted("CustomerGateway", false, true);
        metrics.object_drifted("VpnUser", true, true);
        metrics.set_crd_missing_fields("VpnUser", 2);
        metrics.cache_listed("customer-gateways", "ok");
        metrics.read_unreadable_items("customer-gateways", 2);
        metrics.read_unreadable_items("vpn-users", 0);
        metrics.set_leader(true);
        metrics.set_watch_up("VpnUser", "team-a", true);
        metrics.set_rate_limiter_queue(7);
        metrics.credential_failed("Unauthorized");
        metrics.credential_healthy("team-a/cloud", false);
        metrics.credential_succeeded("default", jiff::Timestamp::from_second(1_700_000_000).unwrap());
        metrics.credential_healthy("gone/cloud", true);
        metrics.credential_unused("gone/cloud");
        metrics.creation_sent_again("VpnUser", true);
        let page = page(&metrics);
        for line in [
            r#"vpn_operator_reconciles_total{kind="CustomerGateway",outcome="settled"} 1"#,
            r#"vpn_operator_reconcile_duration_seconds_count{kind="CustomerGateway"} 1"#,
            r#"vpn_operator_cloud_requests_total{operation="CreateCustomerGateway",outcome="ok"} 1"#,
            r#"vpn_operator_cloud_request_duration_seconds_count{operation="CreateCustomerGateway"} 1"#,
            r#"vpn_operator_objects{kind="CustomerGateway",reason="Creating"} 1"#,
            r#"vpn_operator_drifted_objects{kind="CustomerGateway"} 1"#,
            r#"vpn_operator_drifted_objects{kind="VpnUser"} 0"#,
            r#"vpn_operator_crd_missing_fields{kind="VpnUser"} 2"#,
            r#"vpn_operator_mirror_lists_total{collection="customer-gateways",outcome="ok"} 1"#,
            r#"vpn_operator_unreadable_items_total{collection="customer-gateways"} 2"#,
            r#"vpn_operator_unreadable_items_total{collection="vpn-users"} 0"#,
            "vpn_operator_leader 1",
            r#"vpn_operator_watch_up{kind="VpnUser",namespace="team-a"} 1"#,
            "vpn_operator_budget_queue 7",
            r#"vpn_operator_credential_failures_total{reason="Unauthorized"} 1"#,
            r#"vpn_operator_credential_healthy{credential="team-a/cloud"} 0"#,
            r#"vpn_operator_credential_last_success_timestamp_seconds{credential="default"} 1700000000"#,
            r#"vpn_operator_creations_sent_again_total{kind="VpnUser",outcome="resolved"} 1"#,
            concat!(
                r#"vpn_operator_build_info{version=""#,
                env!("CARGO_PKG_VERSION"),
                r#""} 1"#
            ),
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("gone/cloud"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn an_object_is_counted_under_its_current_reason_only() {
        let metrics = Metrics::default();
        metrics.object_moved("CustomerGateway", None, Some("Creating"));
        metrics.object_moved("CustomerGateway", Some("Creating"), Some("Available"));
        let moved = page(&metrics);
        assert!(
            moved.contains(r#"vpn_operator_objects{kind="CustomerGateway",reason="Creating"} 0"#),
            "{moved}"
        );
        assert!(
            moved.contains(r#"vpn_operator_objects{kind="CustomerGateway",reason="Available"} 1"#),
            "{moved}"
        );
        metrics.object_moved("CustomerGateway", Some("Available"), None);
        let deleted = page(&metrics);
        assert!(
            deleted.contains(r#"vpn_operator_objects{kind="CustomerGateway",reason="Available"} 0"#),
            "{deleted}"
        );
    }
}

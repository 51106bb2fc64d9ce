//! The state of the election, as a Lease holds it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

/// The fields of a Lease that the election uses. Its times are those of the holder's clock: they are shown to users and
/// compared with each other, never with our clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Empty: released, or never held.
    pub holder: String,
    /// How long the lease lasts after each renewal.
    pub duration: Duration,
    /// When the present holder acquired the lease.
    pub acquired: Option<Timestamp>,
    /// When the holder last renewed it.
    pub renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub transitions: i32,
}

impl LeaseRecord {
    /// Reads `lease`; omitted fields count as empty.
    pub fn of(lease: &Lease) -> Self {
        let Some(spec) = &lease.spec else {
            return Self::default();
        };
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or(0);
        Self {
            holder: spec.holder_identity.clone().unwrap_or_default(),
            duration: Duration::from_secs(seconds),
            acquired: spec.acquire_time.as_ref().map(|time| time.0),
            renewed: spec.renew_time.as_ref().map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }

    /// Writes the record into `lease` and keeps the rest of it (labels, the fields of coordinated election).
    pub(crate) fn write_into(&self, lease: &mut Lease) {
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.holder.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX));
        spec.acquire_time = self.acquired.map(MicroTime);
        spec.renew_time = self.renewed.map(MicroTime);
        spec.lease_transitions = Some(self.transitions);
    }

    /// Returns the record of a holder that acquires the lease now.
    pub fn taken(me: &str, duration: Duration, now: SystemTime, transitions: i32) -> Self {
        let now = timestamp(now);
        Self {
            holder: me.to_owned(),
            duration,
            acquired: Some(now),
            renewed: Some(now),
            transitions,
        }
    }

    /// Returns the record of the same term, renewed now.
    #[must_use]
    pub fn renewed(&self, duration: Duration, now: SystemTime) -> Self {
        Self {
            duration,
            renewed: Some(timestamp(now)),
            ..self.clone()
        }
    }

    /// Returns the record of a released lease: no holder, and a short term for clients that only check the times.
    #[must_use]
    pub fn released(&self, now: SystemTime) -> Self {
        let now = timestamp(now);
        Self {
            holder: String::new(),
            duration: Duration::from_secs(1),
            acquired: Some(now),
            renewed: Some(now),
            transitions: self.transitions,
        }
    }
}

/// A clock beyond the year 9999 must not end the process: the time is only shown.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_from_the_lease() {
        let record = LeaseRecord::taken("me", Duration::from_secs(30), SystemTime::UNIX_EPOCH, 4);
        let mut lease = Lease::default();
        record.write_into(&mut lease);
        assert_eq!(LeaseRecord::of(&lease), record);
    }

    #[test]
    fn foreign_fields_of_the_lease_are_kept() {
        let mut lease = Lease::default();
        lease.spec.get_or_insert_default().strategy = Some("OldestEmulationVersion".into());
        lease.metadata.resource_version = Some("7".into());
        LeaseRecord::default().write_into(&mut lease);
        assert_eq!(
            lease.spec.as_ref().unwrap().strategy.as_deref(),
            Some("OldestEmulationVersion")
        );
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"));
    }

    #[test]
    fn an_empty_lease_has_no_holder() {
        assert_eq!(LeaseRecord::of(&Lease::default()), LeaseRecord::default());
    }

    #[test]
    fn a_negative_lease_duration_counts_as_zero() {
        let mut lease = Lease::default();
        lease.spec.get_or_insert_default().lease_duration_seconds = Some(-5);
        assert_eq!(LeaseRecord::of(&lease).duration, Duration::ZERO);
    }

    #[test]
    fn a_released_record_has_no_holder_and_keeps_the_transition_count() {
        let record = LeaseRecord::taken("me", Duration::from_secs(30), SystemTime::UNIX_EPOCH, 4);
        let released = record.released(SystemTime::UNIX_EPOCH);
        assert_eq!((released.holder.as_str(), released.transitions), ("", 4));
        assert_eq!(released.duration, Duration::from_secs(1));
    }
}

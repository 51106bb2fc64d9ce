//! Changes on each VPN server: how many are in progress at once, and whether the queue has room for one more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::switches::{QueuePace, WriteQueueLimit};

/// See the module. The number in the log identifies a change.
#[derive(Debug, Default)]
pub(crate) struct Writes(BTreeMap<String, Load>);

#[derive(Debug, Default)]
struct Load {
    /// Changes in progress, from arrival to response.
    in_progress: BTreeSet<u64>,
    most: usize,
    total: u64,
    /// When answered changes leave the queue.
    leaving: Vec<Timestamp>,
}

/// Counts of the changes on one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteCounts {
    pub in_progress: usize,
    pub most: usize,
    pub total: u64,
}

impl Writes {
    pub(crate) fn arrive(&mut self, server_id: &str, sequence: u64) {
        let load = self.0.entry(server_id.to_owned()).or_default();
        load.in_progress.insert(sequence);
        load.most = load.most.max(load.in_progress.len());
        load.total += 1;
    }

    pub(crate) fn leave(&mut self, server_id: &str, sequence: u64) {
        if let Some(load) = self.0.get_mut(server_id) {
            load.in_progress.remove(&sequence);
        }
    }

    /// Whether earlier changes leave room for this one.
    pub(crate) fn has_room(&self, server_id: &str, sequence: u64, now: Timestamp, queue: WriteQueueLimit) -> bool {
        let room = match queue {
            WriteQueueLimit::Twenty => 20,
            WriteQueueLimit::One => 1,
            WriteQueueLimit::Unlimited => return true,
        };
        self.0.get(server_id).is_none_or(|load| {
            let before = load.in_progress.range(..sequence).count();
            before + load.leaving.iter().filter(|end| **end > now).count() < room
        })
    }

    /// Records an executed change; it may stay in the queue for a while.
    pub(crate) fn made(&mut self, server_id: &str, now: Timestamp, pace: QueuePace) {
        if pace == QueuePace::AtOnce {
            return;
        }
        let load = self.0.entry(server_id.to_owned()).or_default();
        load.leaving.retain(|end| *end > now);
        let last = load.leaving.iter().max().copied().unwrap_or(now);
        let next = last.saturating_add(SignedDuration::from_secs(1));
        load.leaving.push(next.unwrap_or(Timestamp::MAX));
    }

    pub(crate) fn seen(&self, server_id: &str) -> WriteCounts {
        self.0
            .get(server_id)
            .map_or_else(WriteCounts::default, |load| WriteCounts {
                in_progress: load.in_progress.len(),
                most: load.most,
                total: load.total,
            })
    }

    /// Restarts the counts; changes in progress stay.
    pub(crate) fn forget(&mut self) {
        self.0.retain(|_, load| !load.in_progress.is_empty());
        for load in self.0.values_mut() {
            load.most = load.in_progress.len();
            load.total = 0;
            load.leaving.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_from_arrival_to_response() {
        let mut writes = Writes::default();
        writes.arrive("s", 1);
        writes.arrive("s", 2);
        writes.arrive("other", 3);
        writes.leave("s", 1);
        writes.arrive("s", 4);
        let seen = WriteCounts {
            in_progress: 2,
            most: 2,
            total: 3,
        };
        assert_eq!(writes.seen("s"), seen);
        writes.leave("s", 2);
        writes.forget();
        let seen = WriteCounts {
            in_progress: 1,
            most: 1,
            total: 0,
        };
        assert_eq!((writes.seen("s"), writes.seen("never")), (seen, WriteCounts::default()));
    }

    #[test]
    fn the_queue_counts_earlier_writes_only() {
        let (mut writes, now) = (Writes::default(), Timestamp::UNIX_EPOCH);
        writes.arrive("s", 1);
        writes.arrive("s", 2);
        assert!(writes.has_room("s", 1, now, WriteQueueLimit::One));
        assert!(!writes.has_room("s", 2, now, WriteQueueLimit::One));
        assert!(writes.has_room("s", 2, now, WriteQueueLimit::Twenty));
        writes.leave("s", 1);
        assert!(writes.has_room("s", 2, now, WriteQueueLimit::One));
    }

    #[test]
    fn a_slow_queue_frees_one_place_per_second() {
        let (mut writes, start) = (Writes::default(), Timestamp::UNIX_EPOCH);
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        writes.made("s", start, QueuePace::OneASecond);
        writes.made("s", start, QueuePace::OneASecond);
        writes.made("s", start, QueuePace::AtOnce);
        for (seconds, room) in [(0, false), (1, false), (2, true)] {
            assert_eq!(
                writes.has_room("s", 1, after(seconds), WriteQueueLimit::One),
                room,
                "{seconds}"
            );
        }
    }
}

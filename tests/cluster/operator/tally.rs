//! Counts that each object of a world has exactly one cloud object, and sums the counts of several tests of one proof.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use vpn_operator_testbed::figures;

use crate::operator::world::World;

/// The cloud's objects, compared with the cluster's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Objects of both kinds.
    pub objects: u64,
    /// Cloud objects beside the first of one object, or that no object has recorded.
    pub duplicates: u64,
    /// Objects that have no cloud object, or that recorded another one than the existing one.
    pub lost: u64,
}

impl World {
    /// Counts, and asserts that each object has exactly one in the cloud.
    pub(crate) async fn exactly_one_each(&self) -> Tally {
        let tally = self.tally().await;
        assert_eq!((tally.duplicates, tally.lost), (0, 0), "{tally:?}\n{}", self.log_tail());
        tally
    }

    async fn tally(&self) -> Tally {
        let (gateways, users) = (self.list().await, self.users().list().await);
        let cloud = self.cloud_gateways().await;
        let mut tally = Tally {
            objects: (gateways.len() + users.len()) as u64,
            ..Tally::default()
        };
        let owned_by = |uid: &Value| {
            let prefix = format!("{}:", uid.as_str().unwrap_or_default());
            let is_own = move |gateway: &&Value| {
                let tag = gateway["tags"]["vpn-operator-owner"].as_str();
                tag.is_some_and(|tag| tag.starts_with(&prefix))
            };
            cloud.iter().filter(is_own).map(|gateway| &gateway["id"]).collect()
        };
        let mut owned_by_objects = 0;
        for object in &gateways {
            let owned: Vec<&Value> = owned_by(&object["metadata"]["uid"]);
            owned_by_objects += owned.len();
            tally.duplicates += owned.len().saturating_sub(1) as u64;
            tally.lost += u64::from(!owned.contains(&&object["status"]["id"]));
        }
        tally.duplicates += (cloud.len() - owned_by_objects) as u64;
        let in_cloud: BTreeSet<String> = self.cloud_users().await.iter().map(|user| id_of(&user["id"])).collect();
        let recorded: BTreeSet<String> = users.iter().map(|user| id_of(&user["status"]["id"])).collect();
        tally.duplicates += in_cloud.difference(&recorded).count() as u64;
        tally.lost += recorded.difference(&in_cloud).count() as u64;
        tally.lost += (users.len() - recorded.len()) as u64;
        tally
    }
}

fn id_of(id: &Value) -> String {
    id.as_str().unwrap_or_default().to_owned()
}

/// Figures of one proof that several tests add to.
pub(crate) struct Ledger {
    proof: &'static str,
    sums: Mutex<BTreeMap<&'static str, u64>>,
}

impl Ledger {
    pub(crate) const fn new(proof: &'static str) -> Self {
        Self {
            proof,
            sums: Mutex::new(BTreeMap::new()),
        }
    }

    /// Adds to the figures, and reports the sums.
    pub(crate) fn add(&self, counted: &[(&'static str, u64)]) {
        self.change(counted, |sum, count| *sum += count);
    }

    /// Reports the largest that was seen so far.
    pub(crate) fn most(&self, what: &'static str, seen: u64) {
        self.change(&[(what, seen)], |most, seen| *most = seen.max(*most));
    }

    fn change(&self, counted: &[(&'static str, u64)], fold: impl Fn(&mut u64, u64)) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, count) in counted {
            fold(sums.entry(*what).or_default(), *count);
        }
        let named: Vec<(&str, u64)> = counted.iter().map(|(what, _)| (*what, sums[what])).collect();
        figures::report(self.proof, &named);
    }
}

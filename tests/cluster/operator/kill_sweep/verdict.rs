//! What happened in a story, and whether that is allowed after a kill.

use std::collections::BTreeMap;

use serde_json::Value;
use vpn_operator_testbed::{ApiRequest, figures};
use vpn_simulator::admin::LogEntry;

use super::batch::{Frozen, Pause};
use super::boundary::{Boundary, operation};
use super::cell::{Cell, text};
use super::story::End;

/// The course of a story.
pub(super) struct Course {
    pub cell: Cell,
    /// The calls to the cloud.
    pub calls: Vec<LogEntry>,
    /// The number of the last call before one more reconciliation was requested, at rest.
    pub last_call: u64,
    /// The writes to the apiserver.
    pub writes: Vec<ApiRequest>,
    /// The number of the last write before that.
    pub last_write: u64,
    /// Calls that changed something when there was nothing left to do.
    pub restless: Vec<String>,
    /// Null if it no longer exists.
    pub object: Value,
    /// The resources in the cloud without the unmanaged ones.
    pub own: Vec<Value>,
    /// The unmanaged resources that have changed.
    pub touched: Vec<Value>,
    /// Whether the password that the Secret holds is in force.
    pub password: Option<bool>,
    pub kill: Option<Kill>,
}

/// The state when the operator was killed.
pub(super) struct Kill {
    pub frozen: Frozen,
    /// The object in the cluster.
    pub object: Value,
    /// How often its password had been reset.
    pub resets: Option<Value>,
    /// The number of the last call that the cloud had received.
    pub last_call: u64,
}

/// Counts of what must not happen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub duplicates: u64,
    pub orphans: u64,
    pub takeovers: u64,
    pub second_posts: u64,
    pub second_resets: u64,
    pub calls_beyond: u64,
}

impl Tally {
    /// Reports the counts, and asserts that all are zero.
    pub(super) fn report(self, of: &str) {
        let counted = [
            ("duplicates", self.duplicates),
            ("orphans", self.orphans),
            ("takeovers", self.takeovers),
            ("second POSTs after one that had taken effect", self.second_posts),
            ("passwords set twice", self.second_resets),
            ("calls beyond what a restart needs", self.calls_beyond),
        ];
        for (what, count) in counted {
            figures::report("kill sweep", &[(&format!("{what}, {of}"), count)]);
            assert_eq!(count, 0, "{what}");
        }
    }
}

impl Course {
    pub(super) fn boundaries(&self) -> Vec<Boundary> {
        let of_story = self.calls.iter().filter(|call| call.sequence <= self.last_call);
        // The last Event of a story may come after its last status. Later status writes only report changed times.
        let is_of_story = |write: &&ApiRequest| write.number <= self.last_write || write.resource == "events";
        Boundary::all(of_story, self.writes.iter().filter(is_of_story))
    }

    /// Returns what is wrong with the end, and with the calls in comparison to the undisturbed course.
    pub(super) fn check(&self, undisturbed: &Self, pause: Pause, tally: &mut Tally) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_end(&mut wrong, tally);
        self.check_effects(&mut wrong, tally);
        if !std::ptr::eq(self, undisturbed) {
            self.check_calls(undisturbed, pause, &mut wrong, tally);
        }
        if !wrong.is_empty() {
            wrong.push(format!("calls: {:#?}", self.calls));
            wrong.push(format!("object: {}", self.object));
            wrong.push(format!("cloud: {:?}", self.own));
        }
        wrong
    }

    fn check_end(&self, wrong: &mut Vec<String>, tally: &mut Tally) {
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                wrong.push(what.to_owned());
            }
        };
        let count = self.own.len() as u64;
        let end = self.cell.story.end();
        tally.takeovers += self.touched.len() as u64;
        expect(self.touched.is_empty(), "an unmanaged object was changed");
        expect(self.restless.is_empty(), "an object that was up to date was changed");
        if end == End::None {
            tally.orphans += count;
            expect(self.own.is_empty(), "something is left in the cloud");
        } else {
            tally.duplicates += count.saturating_sub(1);
            expect(count == 1, "there is not exactly one in the cloud");
        }
        let Some(own) = self.own.first() else { return };
        expect(
            fits(own, &self.cell.story.outcome(&self.cell)),
            "it is not as specified",
        );
        let owner = text(&own["tags"]["vpn-operator-owner"]);
        if end == End::One {
            expect(self.object["status"]["id"] == own["id"], "status has another id");
            let uid = text(&self.object["metadata"]["uid"]);
            let is_owned = self.cell.story.is_of_users() || owner.starts_with(&uid);
            expect(is_owned, "its tag does not name the object");
            expect(
                self.password != Some(false),
                "the password in force is not the one in the Secret",
            );
        } else {
            expect(owner.is_empty(), "it still has an owner");
        }
    }

    /// Checks what took effect in the cloud, however often it was requested.
    fn check_effects(&self, wrong: &mut Vec<String>, tally: &mut Tally) {
        let creations = self.cell.story.creations();
        let created = self.count(|call| operation(call).starts_with("Create") && call.committed);
        if created != creations {
            wrong.push(format!("{created} creations took effect, not {creations}"));
        }
        let posts = self.count(|call| operation(call).starts_with("Create"));
        let lost = usize::from(self.was_lost(|held| held.starts_with("Create")));
        if posts != creations + lost {
            tally.second_posts += 1;
            wrong.push(format!("{posts} POSTs, of which {lost} never took effect"));
        }
        let resets = self
            .own
            .first()
            .and_then(|own| own["password_resets"].as_u64())
            .unwrap_or_default();
        let expected = self.cell.story.resets();
        if resets != expected {
            tally.second_resets += resets.saturating_sub(expected);
            wrong.push(format!("the password was reset {resets} times, not {expected}"));
        }
    }

    /// Allows hardly more than without a kill: the first reads of a new process, one GET, and what the kill lost.
    fn check_calls(&self, undisturbed: &Self, pause: Pause, wrong: &mut Vec<String>, tally: &mut Tally) {
        let mut left = undisturbed.counts();
        let mut allow = |operation: &str| *left.entry(operation.to_owned()).or_default() += 1;
        // The credentials name no project: each process looks it up once.
        allow("LookUpProject");
        for list in ["ListCustomerGateways", "ListVpnUsers", "ListVpnUserGroups"] {
            allow(list);
        }
        allow(if self.cell.story.is_of_users() {
            "GetVpnUser"
        } else {
            "GetCustomerGateway"
        });
        if self.cell.story.is_of_users() {
            // A Secret that the watch delivers after the object was read causes another read, of its group as well.
            allow("GetVpnUser");
            allow("ListVpnUserGroups");
        }
        if let Some(Kill {
            frozen,
            object,
            resets,
            last_call,
        }) = &self.kill
        {
            if let Frozen::Call(held) = frozen
                && !held.after_commit
                && held.method != "GET"
            {
                // It was killed before it had any effect, so it has to be sent again.
                allow(&held.operation.clone().unwrap_or_default());
            }
            let status = &object["status"];
            let is_creation = |call: &LogEntry| operation(call).starts_with("Create") && call.committed;
            let mut before = self.calls.iter().filter(|call| call.sequence <= *last_call);
            let nothing_came = !before.any(is_creation);
            let collection = if self.cell.story.is_of_users() {
                "ListVpnUsers"
            } else {
                "ListCustomerGateways"
            };
            let is_deletion = |call: &&LogEntry| operation(call).starts_with("Delete") && call.committed;
            let mut before_kill = self.calls.iter().filter(|call| call.sequence <= *last_call);
            if let Some(deletion) = before_kill.find(is_deletion) {
                // Reads that lack the object may be stale, and a new process has no answer to a DELETE of its own.
                allow(&operation(deletion));
                allow(collection);
            }
            if self.cell.story.loses_its_object() {
                // A list that begins after the 404 confirms the deletion. A new process requests it again.
                allow(collection);
            }
            if pause == Pause::None && !status["intent"].is_null() && nothing_came {
                // The list at the start may show what was created. Only a list that begins after the request's deadline
                // and the confirmation period proves that nothing was created.
                allow(collection);
            } else if status["id"].is_null() {
                // No creation follows a list that began before the object requested one; the cache's first may have.
                allow(collection);
            }
            let was_reset = resets.as_ref().and_then(Value::as_u64) == Some(1);
            if !status["passwordReset"].is_null() && was_reset {
                // Passwords cannot be read: only the cloud's refusal of the recorded value, as one that was used
                // recently, proves that it is in force. The refused call sets nothing.
                allow("ResetVpnUserPassword");
            }
        }
        for (operation, count) in self.counts() {
            let allowed = left.get(&operation).copied().unwrap_or_default();
            if count > allowed {
                tally.calls_beyond += (count - allowed) as u64;
                wrong.push(format!("{count} times {operation}, at most {allowed} were expected"));
            }
        }
    }

    /// Counts the calls until all was at rest. Those of the last request may still have been in progress when the calls
    /// were read.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.sequence <= self.last_call) {
            *counts.entry(operation(call)).or_default() += 1;
        }
        counts
    }

    fn count(&self, which: impl Fn(&LogEntry) -> bool) -> usize {
        self.calls.iter().filter(|call| which(call)).count()
    }

    /// Whether the kill interrupted such a call before it took effect.
    fn was_lost(&self, which: impl Fn(&str) -> bool) -> bool {
        match self.kill.as_ref().map(|kill| &kill.frozen) {
            Some(Frozen::Call(held)) => !held.after_commit && held.operation.as_deref().is_some_and(which),
            _ => false,
        }
    }
}

/// Whether an object has all these fields; null stands for a field that it lacks.
fn fits(object: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(fields) => fields.iter().all(|(field, value)| fits(&object[field], value)),
        other => object == other,
    }
}

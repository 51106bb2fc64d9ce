//! What a story took, and whether it may be so after a kill.

use std::collections::BTreeMap;

use serde_json::Value;
use vpn_operator::simulator::admin::LogEntry;
use vpn_operator_testbed::{ApiRequest, figures};

use super::batch::{Frozen, Pause};
use super::boundary::{Boundary, operation};
use super::cell::{Cell, text};
use super::story::End;

/// A story as it went.
pub struct Course {
    pub cell: Cell,
    /// To the cloud.
    pub calls: Vec<LogEntry>,
    /// The number of the last call before it was asked for once more, at rest.
    pub last_call: u64,
    /// To the apiserver.
    pub writes: Vec<ApiRequest>,
    /// The number of the last write before that.
    pub last_write: u64,
    /// Calls that changed something when there was nothing left to do.
    pub restless: Vec<String>,
    /// Null if it is gone.
    pub object: Value,
    /// What is in the cloud beside the strangers.
    pub own: Vec<Value>,
    /// Strangers that are not what they were.
    pub touched: Vec<Value>,
    /// Whether the password that the Secret holds is in force.
    pub password: Option<bool>,
    pub kill: Option<Kill>,
}

/// How things stood when the operator was killed.
pub struct Kill {
    pub frozen: Frozen,
    /// The object in the cluster.
    pub at_kill: Value,
    /// How often its password had been set anew.
    pub resets: Option<Value>,
    /// The number of the last call that the cloud had got.
    pub last_call: u64,
}

/// What must not be, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub duplicates: u64,
    pub orphans: u64,
    pub takeovers: u64,
    pub second_posts: u64,
    pub second_resets: u64,
    pub calls_beyond: u64,
}

impl Tally {
    /// Shows it, and insists that it is all zero.
    pub fn report(self, of: &str) {
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
    pub fn boundaries(&self) -> Vec<Boundary> {
        let of_story = self.calls.iter().filter(|call| call.sequence <= self.last_call);
        // The last Event of a story may come after its last status; an instant that moved is told when it is seen.
        let is_of_story = |write: &&ApiRequest| write.number <= self.last_write || write.resource == "events";
        Boundary::all(of_story, self.writes.iter().filter(is_of_story))
    }

    /// What is wrong with how it ended, and with what it took beside the undisturbed course.
    pub fn check(&self, undisturbed: &Self, pause: Pause, tally: &mut Tally) -> Vec<String> {
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
        expect(self.touched.is_empty(), "a stranger was touched");
        expect(self.restless.is_empty(), "what was at rest was changed");
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
                "another password is in force than the Secret holds",
            );
        } else {
            expect(owner.is_empty(), "it still has an owner");
        }
    }

    /// What took effect in the cloud, however often it was asked for.
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
            wrong.push(format!("the password was set anew {resets} times, not {expected}"));
        }
    }

    /// Hardly more than without a kill: what a new process has to learn, one look, and what the kill itself lost.
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
        if let Some(Kill {
            frozen,
            at_kill,
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
            let status = &at_kill["status"];
            let is_creation = |call: &LogEntry| operation(call).starts_with("Create") && call.committed;
            let mut before = self.calls.iter().filter(|call| call.sequence <= *last_call);
            let nothing_came = !before.any(is_creation);
            let collection = if self.cell.story.is_of_users() {
                "ListVpnUsers"
            } else {
                "ListCustomerGateways"
            };
            if self.cell.story.loses_its_object() {
                // That it is gone is confirmed by a list that begins after the 404, which a new process asks for again.
                allow(collection);
            }
            if pause == Pause::None && !status["intent"].is_null() && nothing_came {
                // The look at the start may find what the creation made; that nothing came of it is proved only by one
                // that begins after the request's deadline and the settle time.
                allow(collection);
            } else if status["id"].is_null() {
                // Nothing is created on a look that began before the object asked for one: the mirror's first may have.
                allow(collection);
            }
            let was_reset = resets.as_ref().and_then(Value::as_u64) == Some(1);
            if !status["passwordReset"].is_null() && was_reset {
                // Passwords cannot be read: only the cloud's refusal of the value on record, as one that was used
                // recently, tells that it is in force. Nothing is set by that.
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

    /// How often each call was made until all was at rest: what came of asking once more may still have been on its way
    /// when the calls were read.
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

    /// Whether the kill met such a call before it took effect.
    fn was_lost(&self, which: impl Fn(&str) -> bool) -> bool {
        match self.kill.as_ref().map(|kill| &kill.frozen) {
            Some(Frozen::Call(held)) => !held.after_commit && held.operation.as_deref().is_some_and(which),
            _ => false,
        }
    }
}

/// Whether an object has all these fields; null stands for a field that it has not.
fn fits(object: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(fields) => fields.iter().all(|(field, value)| fits(&object[field], value)),
        other => object == other,
    }
}

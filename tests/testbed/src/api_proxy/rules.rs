//! What a proxy does to requests: its rules, the requests that it holds, its line, and the requests so far.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::request::ApiRequest;

/// Whether something happens to a request before or after it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The apiserver has not seen it.
    Before,
    /// It took effect, and the answer is on its way.
    After,
}

/// Whether requests and answers get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// They do.
    Open,
    /// Every connection is closed, and a new one is closed at once.
    Closed,
    /// Connections stay open, but nothing arrives: neither answers nor watch events.
    Silent,
}

/// An answer in place of the apiserver's.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// 200 with this body: a stale list, for example.
    pub fn body(body: Value) -> Self {
        Self { status: 200, body }
    }

    /// A refusal, as the apiserver writes it: `refusal(409, "Conflict", "…")`.
    pub fn refusal(status: u16, reason: &str, message: &str) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": status, "reason": reason, "message": message,
        });
        Self { status, body }
    }
}

/// What happens to the requests that a rule picks.
#[derive(Debug)]
pub(super) enum Fate {
    /// The proxy holds it until the test decides.
    Hold(Moment),
    /// The connection is closed without an answer.
    Lose(Moment),
    /// The proxy answers it and does not forward it.
    Answer(Answer),
}

pub(super) type Pick = Box<dyn Fn(&ApiRequest) -> bool + Send + Sync>;

struct Rule {
    id: u64,
    pick: Pick,
    /// The number of picked requests that pass before it applies.
    skip: usize,
    /// The number of requests that it still applies to; `None`: all.
    times: Option<usize>,
    fate: Fate,
}

/// What happens to a request now.
pub(super) enum Sentence {
    Pass,
    Hold {
        moment: Moment,
        held: Held,
        release: oneshot::Receiver<()>,
    },
    Lose(Moment),
    Answer(Answer),
}

struct HeldRequest {
    rule: u64,
    request: ApiRequest,
    took_effect: bool,
    /// If this is dropped, the connection is closed.
    release: oneshot::Sender<()>,
}

/// Identifies one held request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Held(pub(super) u64);

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    last_rule: u64,
    passed: Vec<ApiRequest>,
    held: Vec<HeldRequest>,
}

/// Shared by the handle of a proxy and its thread.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) line: watch::Sender<Line>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            line: watch::Sender::new(Line::Open),
        }
    }

    pub(super) fn add(&self, pick: Pick, skip: usize, times: Option<usize>, fate: Fate) -> u64 {
        let mut inner = self.lock();
        inner.last_rule += 1;
        let id = inner.last_rule;
        inner.rules.push(Rule {
            id,
            pick,
            skip,
            times,
            fate,
        });
        id
    }

    /// Removes a rule; the requests that it holds are lost.
    pub(super) fn remove(&self, rule: u64) {
        let mut inner = self.lock();
        inner.rules.retain(|other| other.id != rule);
        inner.held.retain(|held| held.rule != rule);
    }

    /// Records a request, and returns what happens to it: the oldest rule that picks it decides.
    pub(super) fn judge(&self, method: &str, path: &str, body: Value) -> Sentence {
        let mut inner = self.lock();
        let number = inner.passed.len() as u64 + 1;
        let request = ApiRequest::new(number, method, path, body);
        inner.passed.push(request.clone());
        for at in 0..inner.rules.len() {
            let rule = &mut inner.rules[at];
            if rule.times == Some(0) || !(rule.pick)(&request) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|left| left - 1);
            return match &rule.fate {
                Fate::Answer(answer) => Sentence::Answer(answer.clone()),
                Fate::Lose(moment) => Sentence::Lose(*moment),
                Fate::Hold(moment) => {
                    let (moment, rule) = (*moment, rule.id);
                    let (release, released) = oneshot::channel();
                    inner.held.push(HeldRequest {
                        rule,
                        request,
                        took_effect: false,
                        release,
                    });
                    Sentence::Hold {
                        moment,
                        held: Held(number),
                        release: released,
                    }
                }
            };
        }
        Sentence::Pass
    }

    /// The client of a held request has disconnected.
    pub(super) fn abandoned(&self, held: Held) {
        self.lock().held.retain(|other| other.request.number != held.0);
    }

    /// The apiserver has answered a held request.
    pub(super) fn took_effect(&self, held: Held) {
        let mut inner = self.lock();
        if let Some(held) = inner.held.iter_mut().find(|other| other.request.number == held.0) {
            held.took_effect = true;
        }
    }

    /// The requests that a rule holds before or after they took effect.
    pub(super) fn held(&self, rule: u64, moment: Moment) -> Vec<ApiRequest> {
        let inner = self.lock();
        let of_rule = inner.held.iter().filter(|held| held.rule == rule);
        let of_rule = of_rule.filter(|held| held.took_effect == (moment == Moment::After));
        of_rule.map(|held| held.request.clone()).collect()
    }

    /// Releases the requests that a rule holds.
    pub(super) fn release(&self, rule: u64) {
        let mut inner = self.lock();
        let held = std::mem::take(&mut inner.held);
        let (ours, others) = held.into_iter().partition(|held| held.rule == rule);
        inner.held = others;
        let ours: Vec<HeldRequest> = ours;
        for held in ours {
            // Fails if the client no longer waits.
            let _ = held.release.send(());
        }
    }

    pub(super) fn passed_since(&self, number: u64) -> Vec<ApiRequest> {
        let from = usize::try_from(number).unwrap_or(usize::MAX);
        self.lock().passed.get(from..).unwrap_or_default().to_vec()
    }

    pub(super) fn last_number(&self) -> u64 {
        self.lock().passed.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

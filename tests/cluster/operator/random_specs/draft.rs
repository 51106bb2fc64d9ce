//! An object and the random life that is drafted for it. Admission accepts every step.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{gateways, users};

/// What is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gateway,
    User,
}

/// The next action of a user.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Step {
    /// Waits until the object is Ready.
    WaitUntilReady,
    /// Applies the object with this spec.
    Apply { paused: bool, spec: Value },
    /// Writes a password into a key of a Secret.
    Password { secret: String, key: String, value: String },
    /// Deletes the object and waits until it no longer exists.
    Delete,
}

/// The fields that a spec may omit, with their past values: a field that is no longer managed keeps its value.
pub(super) type Named = BTreeMap<&'static str, BTreeSet<String>>;

/// One object, from its creation to its last spec.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub kind: Kind,
    pub number: usize,
    /// How often it was recreated: immutable fields have other values each time.
    pub life: usize,
    pub spec: Option<Value>,
    pub paused: bool,
    /// Whether it was paused when it was applied last.
    pub rests: bool,
    pub named: Named,
    /// The password in force, and how many there were.
    pub password: String,
    pub passwords: usize,
    /// The tag of its names and addresses; its twin has others.
    pub mark: Mark,
}

/// Separates the names and addresses of an object from those of its twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Subject,
    Duplicate,
}

/// The parts of names and addresses that mark an object, and its twin.
const MARKS: [(&str, &str); 3] = [("sq", "tq"), ("SQ", "TQ"), ("10.1.", "10.2.")];

impl Subject {
    /// Not applied yet.
    pub(super) fn new(kind: Kind, number: usize) -> Self {
        Self {
            kind,
            number,
            life: 0,
            spec: None,
            paused: false,
            rests: false,
            named: Named::new(),
            password: String::new(),
            passwords: 0,
            mark: Mark::Subject,
        }
    }

    /// `metadata.name`.
    pub(super) fn name(&self) -> String {
        let letter = match self.mark {
            Mark::Subject => 's',
            Mark::Duplicate => 't',
        };
        match self.kind {
            Kind::Gateway => format!("{letter}q{:03}-gateway", self.number),
            Kind::User => format!("{letter}q{:03}-user", self.number),
        }
    }

    /// Drafts the next sequence: two to six edits, and what lies between them. It begins where the last one ended.
    pub(super) fn draft(&mut self, rng: &mut StdRng) -> Vec<Step> {
        let mut steps = Vec::new();
        let edits = rng.random_range(2..=6);
        for _ in 0..edits {
            if self.spec.is_some() && !self.paused && rng.random_bool(0.4) {
                steps.push(Step::WaitUntilReady);
            }
            self.edit(rng, &mut steps);
        }
        self.end_well(rng, &mut steps);
        steps
    }

    fn edit(&mut self, rng: &mut StdRng, steps: &mut Vec<Step>) {
        match rng.random_range(0..20) {
            0 | 1 if self.spec.is_some() && !self.paused => {
                self.forget_retain(steps);
                steps.push(Step::Delete);
                self.life += 1;
                self.spec = None;
                self.named.clear();
            }
            2 | 3 if self.spec.is_some() => self.paused = !self.paused,
            4..=7 if self.kind == Kind::User && self.spec.is_some() => {
                users::change_password(self, rng, steps);
                return;
            }
            _ => {}
        }
        self.apply_another(rng, steps, false);
    }

    fn apply_another(&mut self, rng: &mut StdRng, steps: &mut Vec<Step>, last: bool) {
        let before = self.spec.take();
        let mut spec = match self.kind {
            Kind::Gateway => gateways::spec(self, before.as_ref(), rng, steps),
            Kind::User => users::spec(self, before.as_ref(), rng, steps),
        };
        policies(&mut spec, rng, last);
        self.spec = Some(Value::Object(spec));
        self.push_apply(steps);
    }

    /// At the end it is managed, and not paused.
    fn end_well(&mut self, rng: &mut StdRng, steps: &mut Vec<Step>) {
        let reports = self
            .spec
            .as_ref()
            .is_some_and(|spec| spec["managementPolicy"] == "ReportDrift");
        if self.paused || reports {
            self.paused = false;
            self.apply_another(rng, steps, true);
        }
    }

    /// Removes `Retain`: a retained resource would be unmanaged afterwards.
    fn forget_retain(&mut self, steps: &mut Vec<Step>) {
        let Some(spec) = self.spec.as_mut().and_then(Value::as_object_mut) else {
            return;
        };
        if spec.get("deletionPolicy").is_some_and(|policy| policy == "Retain") {
            spec.remove("deletionPolicy");
            self.push_apply(steps);
        }
    }

    fn push_apply(&mut self, steps: &mut Vec<Step>) {
        steps.push(Step::Apply {
            paused: self.paused,
            spec: self.spec.clone().unwrap_or_default(),
        });
        self.rests = self.paused;
    }

    /// Records the value of a field, if it has one.
    pub(super) fn names(&mut self, field: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.named.entry(field).or_default().insert(value.to_owned());
        }
    }

    /// The same last spec, under another name and with other addresses.
    pub(super) fn duplicate(&self) -> Self {
        let spec = self
            .spec
            .as_ref()
            .map(|spec| with_marks(spec, |subject, duplicate| (subject, duplicate)));
        Self {
            mark: Mark::Duplicate,
            spec,
            password: self.password.replace("SQ", "TQ"),
            ..self.clone()
        }
    }

    /// As `kubectl apply` gets it.
    pub(super) fn manifest(&self, paused: bool, spec: &Value) -> Value {
        let kind = match self.kind {
            Kind::Gateway => "CustomerGateway",
            Kind::User => "VpnUser",
        };
        let annotations = if paused {
            json!({"vpn.huaweicloud.com/paused": "true"})
        } else {
            json!({})
        };
        json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1",
            "kind": kind,
            "metadata": {"name": self.name(), "annotations": annotations},
            "spec": spec,
        })
    }
}

/// Replaces the names and addresses of a twin by those of its subject.
pub(super) fn as_subject(value: &Value) -> Value {
    with_marks(value, |subject, duplicate| (duplicate, subject))
}

fn with_marks(value: &Value, order: impl Fn(&'static str, &'static str) -> (&'static str, &'static str)) -> Value {
    let mut text = value.to_string();
    for (subject, duplicate) in MARKS {
        let (from, to) = order(subject, duplicate);
        text = text.replace(from, to);
    }
    serde_json::from_str(&text).expect("only letters and digits were replaced")
}

fn policies(spec: &mut Map<String, Value>, rng: &mut StdRng, last: bool) {
    let mut maybe = |field: &str, values: &[&str], chance: f64| {
        if rng.random_bool(chance) {
            let value = values[rng.random_range(0..values.len())];
            spec.insert(field.to_owned(), json!(value));
        }
    };
    maybe("adoptionPolicy", &["Never", "IfExists"], 0.3);
    maybe("deletionPolicy", &["Delete", "Retain"], 0.3);
    let management: &[&str] = if last { &["Manage"] } else { &["Manage", "ReportDrift"] };
    maybe("managementPolicy", management, 0.3);
}

/// Chooses one of these at random.
pub(super) fn one_of<'a>(rng: &mut StdRng, values: &[&'a str]) -> &'a str {
    values[rng.random_range(0..values.len())]
}

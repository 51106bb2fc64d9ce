//! How far a model goes: how many CRs, and how much may go wrong.

use std::fmt;

use super::cloud::{Manners, Replay};
use crate::api::{AdoptionPolicy, Lifecycle, ManagementPolicy};
use crate::reconcile::decide::Guard;

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// The process is killed and started again.
    pub kills: u8,
    /// An answer is lost; whether, and when, the request takes effect is open.
    pub losses: u8,
    /// The cloud refuses for a reason of its own.
    pub refusals: u8,
    /// A spec is edited.
    pub edits: u8,
    /// A CR is deleted.
    pub deletions: u8,
    /// A Secret gets another value.
    pub passwords: u8,
    /// A Secret is written with the value that it has.
    pub touches: u8,
    /// A stranger makes an object that could be taken for ours.
    pub strangers: u8,
    /// Somebody deletes our object in the cloud.
    pub removals: u8,
    /// Somebody changes our object in the cloud.
    pub drifts: u8,
    /// Somebody gives our object to another owner.
    pub gifts: u8,
    /// A creation comes to nothing after it was answered.
    pub vanishings: u8,
    /// Lists leave an object out, and their count shows it.
    pub skips: u8,
    /// Lists leave an object out whose id is on record, and their count does not show it.
    pub lies: u8,
    /// A request about an object that is there is answered with 404.
    pub denials: u8,
    /// A status is wiped, as by a restore.
    pub wipes: u8,
    /// A CR that observes is turned to manage.
    pub turns: u8,
    /// A CR gets a copy of another's status, as by a restore under another name.
    pub copies: u8,
    /// A permit does not come soon after the record of a write: it is withdrawn, or time passes first.
    pub waits: u8,
}

/// How a CR comes to its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It creates one.
    #[default]
    Creates,
    /// `adoptionPolicy: IfExists`.
    AdoptsOrCreates,
    /// `adoptionPolicy: Required`.
    Adopts,
    /// `externalID` names the first object that the cloud gets.
    Names,
    /// The same, with `managementPolicy: Observe`.
    Observes,
}

/// The first id of the model's cloud.
const FIRST_ID: &str = "c1";

impl Role {
    /// What the spec says of it.
    pub fn lifecycle(self) -> Lifecycle {
        let named = matches!(self, Self::Names | Self::Observes);
        Lifecycle {
            adoption_policy: match self {
                Self::AdoptsOrCreates => Some(AdoptionPolicy::IfExists),
                Self::Adopts => Some(AdoptionPolicy::Required),
                Self::Creates | Self::Names | Self::Observes => None,
            },
            external_id: named.then(|| FIRST_ID.to_owned()),
            management_policy: (self == Self::Observes).then_some(ManagementPolicy::Observe),
            ..Lifecycle::default()
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub crs: usize,
    /// All CRs want one name.
    pub one_name: bool,
    /// Of the first CR, and of the second.
    pub roles: [Role; 2],
    pub manners: Manners,
    pub faults: Faults,
    /// How many versions back a watch cache may be when a process starts.
    pub stale: usize,
    /// What a Secret holds, one after the other.
    pub values: &'static [u8],
    /// An answer of a list may come after others that were asked for later.
    pub slow_lists: bool,
    /// What nobody can know is in it, too: strangers that make what looks and is timed as ours, statuses that are wiped while
    /// lists are incomplete.
    pub indistinguishable: bool,
    /// What may come at any moment in scopes of one CR comes only where it can cut something in two: a kill while a request
    /// is under way, a drift poll once nothing goes wrong any more; and CRs have their finalizers from the start.
    pub sparse: bool,
    /// What the watch delivers twice is asked for in each state.
    pub repeats: bool,
    pub without: Option<Guard>,
}

impl Faults {
    /// Each with its name.
    fn named(&self) -> [(&'static str, u8); 19] {
        [
            ("kills", self.kills),
            ("lost answers", self.losses),
            ("refusals", self.refusals),
            ("edits", self.edits),
            ("deletions", self.deletions),
            ("new passwords", self.passwords),
            ("Secrets touched", self.touches),
            ("strangers", self.strangers),
            ("deleted in the cloud", self.removals),
            ("changed in the cloud", self.drifts),
            ("given away", self.gifts),
            ("vanished creations", self.vanishings),
            ("incomplete lists", self.skips),
            ("lying lists", self.lies),
            ("wrong 404s", self.denials),
            ("statuses wiped", self.wipes),
            ("turned to manage", self.turns),
            ("statuses copied", self.copies),
            ("permits that do not come", self.waits),
        ]
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} CR", self.crs)?;
        if self.one_name {
            formatter.write_str(" of one name")?;
        }
        for (name, times) in self.faults.named().into_iter().filter(|(_, times)| *times > 0) {
            write!(formatter, ", {name} {times}")?;
        }
        for role in self.roles.iter().take(self.crs).filter(|role| **role != Role::Creates) {
            write!(formatter, ", {role:?}")?;
        }
        let Manners {
            replay,
            hides,
            shows_late,
            lists_without_tags,
            lists_omit_fields,
            ..
        } = self.manners;
        if replay != Replay::default() {
            write!(formatter, ", token again: {replay:?}")?;
        }
        let told = [
            (hides, "hidden until settled"),
            (shows_late, "and longer"),
            (lists_without_tags, "lists without tags"),
            (lists_omit_fields, "lists that omit fields"),
            (self.stale > 0, "stale watch caches"),
            (self.slow_lists, "slow lists"),
            (self.repeats, "repeated events"),
            (self.indistinguishable, "what nobody can know"),
            (self.sparse, "sparse"),
            (
                self.values.len() > 2 && self.values.first() == self.values.last(),
                "there and back",
            ),
        ];
        for (_, text) in told.into_iter().filter(|(is_so, _)| *is_so) {
            write!(formatter, ", {text}")?;
        }
        Ok(())
    }
}

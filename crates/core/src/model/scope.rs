//! The bounds of a model: how many CRs it has, and how often each fault may happen.

use std::fmt;

use crate::api::{AdoptionPolicy, Lifecycle, ManagementPolicy};
use crate::model::cloud::{Manners, Replay};
use crate::terms::guard::Guard;

/// How often each event may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct EventLimits {
    /// The process is killed and restarted.
    pub kills: u8,
    /// A response is lost; whether and when the request takes effect is open.
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
    /// A third party creates a resource that could be taken for ours.
    pub unmanaged: u8,
    /// A third party deletes our resource in the cloud.
    pub removals: u8,
    /// A third party changes our resource in the cloud.
    pub drifts: u8,
    /// A third party gives our resource to another owner.
    pub gifts: u8,
    /// A creation fails after its response.
    pub disappearances: u8,
    /// Lists omit a resource, and their count shows it.
    pub skips: u8,
    /// Lists omit a resource whose id is recorded, and their count does not show it.
    pub lies: u8,
    /// A request about an existing resource gets a 404.
    pub denials: u8,
    /// A replica that lacks a resource answers a read of it and a list.
    pub lags: u8,
    /// A status is wiped, as by a restore.
    pub wipes: u8,
    /// A CR changes from `Observe` to `Manage`.
    pub policy_changes: u8,
    /// A CR gets a copy of another's status, as by a restore under another name.
    pub copies: u8,
    /// A permit does not come soon after a write is recorded: the record is withdrawn, or time passes first.
    pub waits: u8,
}

/// How a CR gets its resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It creates one.
    #[default]
    Creates,
    /// `adoptionPolicy: IfExists`.
    AdoptsOrCreates,
    /// `adoptionPolicy: Required`.
    Adopts,
    /// `externalID` is the id of the first resource in the cloud.
    Names,
    /// The same, with `managementPolicy: Observe`.
    Observes,
}

/// The first id of the model's cloud.
const FIRST_ID: &str = "c1";

impl Role {
    /// Returns these fields of the spec.
    pub(crate) fn lifecycle(self) -> Lifecycle {
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

    /// Returns its name in the figures.
    fn label(self) -> &'static str {
        match self {
            Self::Creates => "creates",
            Self::AdoptsOrCreates => "IfExists",
            Self::Adopts => "Required",
            Self::Names => "externalID",
            Self::Observes => "Observe",
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelScope {
    pub crs: usize,
    /// All CRs use one name.
    pub one_name: bool,
    /// The roles of the first CR and of the second.
    pub roles: [Role; 2],
    pub manners: Manners,
    pub faults: EventLimits,
    /// How many versions a watch cache may lag behind when a process starts.
    pub stale: usize,
    /// The values that a Secret holds, one after the other.
    pub values: &'static [u8],
    /// The response to a list may come after responses to later requests.
    pub slow_lists: bool,
    /// Includes what the operator cannot detect: third parties that create resources with the content and time of ours,
    /// and statuses that are wiped while lists are incomplete.
    pub indistinguishable: bool,
    /// Limits events that may otherwise come at any moment. Kills come only while a request is in progress or after a
    /// change to `Manage`, drift checks only after the last fault. CRs have their finalizers from the start.
    pub sparse: bool,
    /// Each state is checked for effects of repeated watch events.
    pub repeats: bool,
    pub without: Option<Guard>,
}

impl EventLimits {
    /// Returns each count with its name.
    fn named(&self) -> [(&'static str, u8); 20] {
        [
            ("kills", self.kills),
            ("lost responses", self.losses),
            ("refusals", self.refusals),
            ("edits", self.edits),
            ("deletions", self.deletions),
            ("new passwords", self.passwords),
            ("Secrets rewritten", self.touches),
            ("unmanaged resources", self.unmanaged),
            ("deletions in the cloud", self.removals),
            ("changes in the cloud", self.drifts),
            ("owner tags replaced", self.gifts),
            ("failed creations", self.disappearances),
            ("incomplete lists", self.skips),
            ("lists with a wrong count", self.lies),
            ("wrong 404s", self.denials),
            ("lagging replicas", self.lags),
            ("statuses wiped", self.wipes),
            ("changes to Manage", self.policy_changes),
            ("statuses copied", self.copies),
            ("late permits", self.waits),
        ]
    }
}

impl fmt::Display for ModelScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} object{}", self.crs, if self.crs == 1 { "" } else { "s" })?;
        if self.one_name {
            formatter.write_str(" of one name")?;
        }
        for (name, times) in self.faults.named().into_iter().filter(|(_, times)| *times > 0) {
            write!(formatter, ", {name} {times}")?;
        }
        for role in self.roles.iter().take(self.crs).filter(|role| **role != Role::Creates) {
            write!(formatter, ", {}", role.label())?;
        }
        let Manners {
            replay,
            hides,
            shows_late,
            lists_without_tags,
            lists_omit_fields,
            ..
        } = self.manners;
        match replay {
            Replay::SameId => {}
            Replay::Repeated => formatter.write_str(", replays refused")?,
            Replay::Ignored => formatter.write_str(", client tokens ignored")?,
        }
        let properties = [
            (hides, "invisible until confirmed"),
            (shows_late, "or longer"),
            (lists_without_tags, "lists without tags"),
            (lists_omit_fields, "lists that omit fields"),
            (self.stale > 0, "stale watch caches"),
            (self.slow_lists, "slow lists"),
            (self.repeats, "repeated events"),
            (self.indistinguishable, "indistinguishable events"),
            (self.sparse, "restricted"),
            (
                self.values.len() > 2 && self.values.first() == self.values.last(),
                "password changed back",
            ),
        ];
        for (_, text) in properties.into_iter().filter(|(is_so, _)| *is_so) {
            write!(formatter, ", {text}")?;
        }
        Ok(())
    }
}

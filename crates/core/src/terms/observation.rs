//! The content of the cache, seen from one object.

use crate::cache::{LastList, MassDeletion, Observed};
use crate::terms::competing_claim::CompetingClaim;

/// The content of the cache, seen from one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation<R> {
    /// The last LIST; `None`: none has succeeded yet.
    pub listed: Option<LastList>,
    /// Of the recorded id, else of `externalID`.
    pub known: Observed<R>,
    /// Carry our uid, or, for kinds without tags, match the record in status; oldest first.
    pub owned: Vec<R>,
    /// Carry our namespace and name in the owner tag, and another uid.
    pub former_owners: Vec<R>,
    /// Could be adopted: have the name and the identifier of the spec, and are unmanaged unless the spec only observes.
    pub candidates: Vec<R>,
    /// Matches the immutable fields of the spec, and carries a tag that names a CR of this cluster that no longer
    /// exists.
    pub orphan: Option<R>,
    /// Could be ours, but the fields that show it are unknown: their tags, or fields that are unreadable in a list.
    pub tags_unknown: Vec<String>,
    /// Must be read one by one, since a list may have omitted fields that matter.
    pub unread: Vec<String>,
    /// Many of the credentials' objects are missing, this one among them.
    pub mass_deletion: Option<MassDeletion>,
    /// Whether the number of missing objects is known. If not, no missing object counts as lost.
    pub counted: bool,
    /// A CR with a better claim to the known id.
    pub competing_claim: Option<CompetingClaim>,
    /// Where names are unique: an unmanaged object that has the name that we would create.
    pub name_collision: Option<R>,
    /// Another CR that holds, or is about to create, the name. Where names are not unique: one that is about to create
    /// an object of this name and identifier.
    pub name_holder: Option<CompetingClaim>,
    /// The uid in the known object's tag belongs to a CR that still exists.
    pub owner_exists: bool,
    /// A namespace whose CRs are unknown: any of them may hold what this spec requests.
    pub unlisted: Option<Unlisted>,
}

impl<R> Observation<R> {
    /// Nothing is known.
    pub fn blank() -> Self {
        Self {
            listed: None,
            known: Observed::Unknown,
            owned: Vec::new(),
            former_owners: Vec::new(),
            candidates: Vec::new(),
            orphan: None,
            tags_unknown: Vec::new(),
            unread: Vec::new(),
            mass_deletion: None,
            counted: true,
            competing_claim: None,
            name_collision: None,
            name_holder: None,
            owner_exists: false,
            unlisted: None,
        }
    }
}
/// A namespace whose objects are not known, and why it cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlisted {
    /// None: every namespace.
    pub namespace: Option<String>,
    /// Why it cannot be listed.
    pub cause: String,
}

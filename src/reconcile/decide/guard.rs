//! The questions on which the promise rests, by name. A test can take one out, to see that its model misses it; any other
//! build asks them all.

use super::Policy;

/// What must hold before something is done that cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Nothing is created for a CR that could go without us.
    FinalizerFirst,
    /// A creation is on record before it is sent.
    IntentFirst,
    /// It is sent only for as long as the record covers the time that it may last.
    RecordCoversRequest,
    /// What is written rests on the version that was read.
    PinnedWrites,
    /// That nothing came of a creation is proved only by a look that was started after its deadline.
    ProofAfterDeadline,
    /// That deadline includes the settle time, for what is committed late.
    ProofAfterSettling,
    /// That nothing came of a creation is proved only by a complete list.
    ProofIsComplete,
    /// Nothing is concluded about owners before tags are known.
    TagsBeforeConclusions,
    /// What has another owner's tag is not changed.
    OwnTagBeforeChange,
    /// What has another owner's tag is not deleted.
    OwnTagBeforeDelete,
    /// A second object goes only if it was created while a creation of ours was under way.
    TwinWithinWindow,
    /// A recorded object is made anew only if a request for it was answered with 404, not because a list lacks it.
    OnlyGetProvesGone,
    /// That answer is confirmed by a list that was started later.
    AbsenceIsConfirmed,
    /// A CR whose creation is not resolved does not go.
    IntentBeforeRelease,
    /// A CR does not go on the word of an incomplete list.
    CompleteBeforeRelease,
    /// A user that is not confirmed is not gone before its settle time.
    SettledBeforeGone,
    /// A user is not confirmed before its settle time.
    SettledBeforeConfirmed,
    /// A user that vanished may show up after all.
    VanishedIsRemembered,
    /// A cloud object that another CR holds is neither changed nor deleted nor adopted.
    OneHolder,
    /// The same is asked again just before a write, or before its id is recorded.
    OneHolderAtWrite,
    /// What a CR recorded while it only observed is adopted before it is managed.
    ObserverClaims,
    /// A name that another CR holds, or is about to create, is not adopted.
    NameBeforeAdoption,
    /// Nothing is concluded about what a list may have omitted before it is read.
    FieldsBeforeConclusions,
    /// Nothing is created beside what could be adopted.
    CandidatesBeforeCreation,
    /// What two CRs would call the same is created by one of them.
    NameOfFellow,
    /// The same is asked again when nobody else can be about to.
    NameOfFellowInLane,
    /// A stranger's user has the name: it is not asked for.
    NameOfStranger,
    /// A user is ours only if it was created while a creation of ours was under way, and looks as that sent it.
    WindowOfRecord,
    /// A creation is sent again once, to learn what came of it.
    ReplayedOnce,
    /// A password that is in force is not sent.
    PasswordOnce,
    /// Another password waits for the end of the one that is on its way.
    PasswordWaits,
    /// A password that the cloud refused is not sent again.
    RefusedOnce,
    /// Nobody can tell which of two passwords is in force: neither is sent.
    PasswordAmbiguous,
}

impl Policy {
    /// The defaults, for tests of what is decided.
    #[cfg(test)]
    pub fn of_tests(owner_tag_key: &str) -> Self {
        Self {
            cluster_name: None,
            owner_tag_key: owner_tag_key.to_owned(),
            default_deletion: crate::api::DeletionPolicy::Delete,
            mass_deletion_guard: true,
            read_only: false,
            settle_time: std::time::Duration::from_secs(30),
            is_otc: false,
            without: None,
        }
    }

    /// Whether this is asked.
    #[cfg(test)]
    pub fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    /// Whether this is asked: always.
    #[cfg(not(test))]
    pub const fn keeps(&self, _: Guard) -> bool {
        true
    }
}

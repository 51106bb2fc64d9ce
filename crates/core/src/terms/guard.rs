//! The guards on which the safety promise rests, by name. A test can disable one, to see that the model detects it; any
//! other build checks them all.

/// A condition that must hold before an irreversible step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Nothing is created for a CR without our finalizer.
    FinalizerFirst,
    /// A creation is recorded before it is sent.
    IntentFirst,
    /// A creation is sent only while the record covers the time that the request may last.
    RecordCoversRequest,
    /// A write is pinned to the version that was read.
    PinnedWrites,
    /// Only a read that started after the deadline of a creation proves that it had no effect.
    ProofAfterDeadline,
    /// That deadline includes the confirmation period, for creations that are committed late.
    ProofAfterConfirmationPeriod,
    /// Only a complete list proves that a creation had no effect.
    ProofIsComplete,
    /// Owners are decided only once tags are known.
    TagsBeforeConclusions,
    /// An object with another owner's tag is not changed.
    OwnTagBeforeChange,
    /// An object with another owner's tag is not deleted.
    OwnTagBeforeDelete,
    /// A duplicate is deleted only if it was created within one of our creation windows.
    DuplicateWithinWindow,
    /// A recorded object is recreated only if a request for it was answered with 404, not because a list lacks it.
    OnlyGetProvesAbsence,
    /// A list that started later confirms that answer.
    AbsenceIsConfirmed,
    /// A cloud object that was recorded as lost and reappears is not deleted as a duplicate.
    LostIsNotLeftBehind,
    /// The finalizer is removed only after a DELETE of the recorded id was answered, whatever reads say.
    DeleteBeforeRelease,
    /// The same for each id that was recorded as lost.
    LostBeforeRelease,
    /// The finalizer stays while a creation is unresolved.
    IntentBeforeRelease,
    /// An incomplete list does not justify removing the finalizer.
    CompleteBeforeRelease,
    /// An unconfirmed user does not count as deleted before the end of its confirmation period.
    ConfirmationBeforeAbsence,
    /// A user is not confirmed before the end of its confirmation period.
    PeriodBeforeConfirmation,
    /// A user that disappears before it is confirmed may reappear.
    DisappearanceIsRecorded,
    /// A cloud object that another CR holds is neither changed nor deleted nor adopted.
    OneHolder,
    /// The same is checked again just before a write, or before its id is recorded.
    OneHolderAtWrite,
    /// An object that a CR recorded while it only observed is adopted before it is managed.
    ObserverClaims,
    /// An object whose name another CR holds, or is about to create, is not adopted.
    NameBeforeAdoption,
    /// Fields that a list may have omitted are read before they are used.
    FieldsBeforeConclusions,
    /// Nothing is created while there is a candidate for adoption.
    CandidatesBeforeCreation,
    /// Of two CRs with the same name in the cloud, only one creates it.
    NameOfAnotherObject,
    /// The same is checked again when no other CR can be about to create it.
    NameOfAnotherObjectInQueue,
    /// A name that an unmanaged user has is not requested.
    NameOfUnmanaged,
    /// A user is ours only if it was created within one of our creation windows, with the fields that we sent.
    WindowOfRecord,
    /// A creation is replayed only once, to learn its outcome.
    ReplayedOnce,
    /// A password that is in force is not sent again.
    PasswordOnce,
    /// A new password waits for the outcome of the one that is in progress.
    PasswordWaits,
    /// A password that the cloud refused is not sent again.
    RefusedOnce,
    /// If it is unknown which of two passwords is in force, neither is sent.
    PasswordAmbiguous,
}

//! A step of the model: what the process, the cloud, the clock or people do.

use std::fmt;

/// Something that happens. The numbers are those of CRs, requests, objects and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ModelAction {
    /// A reconcile: it observes, decides, and takes the first step.
    Pass(usize),
    /// The process begins what it decided.
    Begin(usize),
    /// The permit for a recorded write comes.
    Permit(usize),
    /// The permit does not come.
    NoPermit(usize),
    /// The answer comes and is recorded.
    Answer(usize),
    /// The answer is lost on its way.
    Lose(usize),
    /// The cloud refuses, for a reason of its own.
    Refuse(usize),
    /// The watch delivers a CR.
    Hear(usize),
    /// The watch delivers a CR again as it was so many versions before.
    HearAgain(usize, usize),
    /// The answer to a read or list comes.
    EndQuery(usize),
    /// The drift check.
    Poll,
    /// A request takes effect.
    Commit(usize),
    /// A creation fails after its answer.
    Disappear(usize),
    /// A hidden object becomes visible.
    Show(usize),
    /// The clock advances to the next moment that matters.
    Tick,
    /// The process is killed. Another starts from what the watch delivers, so many versions old.
    Kill(usize),
    /// A user edits the spec.
    Edit(usize),
    /// A user deletes the CR.
    Delete(usize),
    /// The Secret gets another value.
    Password(usize),
    /// The Secret is written without a change.
    Touch(usize),
    /// Someone creates an unmanaged object of that sort.
    CreateUnmanaged(usize, usize),
    /// Someone deletes an object in the cloud.
    Remove(usize),
    /// Someone changes an object in the cloud.
    Drift(usize),
    /// Someone gives an object to another owner.
    Give(usize),
    /// Lists omit an object.
    Skip(usize),
    /// Lists omit an object and do not count it.
    Lie(usize),
    /// The next request about an object is answered with 404.
    Deny(usize),
    /// A replica that lacks an object answers the next read of it, and the next list.
    Lag(usize),
    /// Lists are complete again.
    Whole,
    /// A status is wiped.
    Wipe(usize),
    /// A CR changes from Observe to Manage.
    ChangeToManage(usize),
    /// A CR gets a copy of the first one's status.
    Copy(usize),
}

impl fmt::Display for ModelAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Pass(cr) => format!("the operator reconciles cr{cr}"),
            Self::Begin(cr) => format!("the operator begins what it decided about cr{cr}"),
            Self::Permit(cr) => format!("the permit for what was recorded of cr{cr} is granted"),
            Self::NoPermit(cr) => format!("no permit is granted for what was recorded of cr{cr}"),
            Self::Answer(cr) => format!("the response for cr{cr} arrives and is recorded"),
            Self::Lose(cr) => format!("the response for cr{cr} is lost"),
            Self::Refuse(cr) => format!("the cloud refuses what was sent for cr{cr}"),
            Self::Hear(cr) => format!("the watch delivers cr{cr}"),
            Self::HearAgain(cr, back) => format!("the watch delivers cr{cr} again as it was {back} writes ago"),
            Self::EndQuery(query) => format!("the response to query {query} arrives"),
            Self::Poll => "the drift check lists".to_owned(),
            Self::Commit(request) => format!("request {request} takes effect"),
            Self::Disappear(thing) => format!("the creation of object {thing} fails in the cloud"),
            Self::Show(thing) => format!("object {thing} becomes visible"),
            Self::Tick => "time passes".to_owned(),
            Self::Kill(0) => "the process is killed and restarts".to_owned(),
            Self::Kill(back) => {
                format!("the process is killed and restarts, seeing CRs as they were {back} writes ago")
            }
            Self::Edit(cr) => format!("a user edits cr{cr}"),
            Self::Delete(cr) => format!("a user deletes cr{cr}"),
            Self::Password(cr) => format!("the Secret of cr{cr} gets another value"),
            Self::Touch(cr) => format!("the Secret of cr{cr} is written as it was"),
            Self::CreateUnmanaged(cr, sort) => {
                format!("another client creates an object that looks like that of cr{cr} (sort {sort})")
            }
            Self::Remove(thing) => format!("another client deletes object {thing} in the cloud"),
            Self::Drift(thing) => format!("another client changes object {thing} in the cloud"),
            Self::Give(thing) => format!("another client gives object {thing} to another owner"),
            Self::Skip(thing) => format!("lists omit object {thing} from now on"),
            Self::Lie(thing) => format!("lists omit object {thing} from now on, and do not count it"),
            Self::Deny(thing) => format!("the next request about object {thing} is answered with 404"),
            Self::Lag(thing) => {
                format!("a replica that lacks object {thing} answers the next read of it and the next list")
            }
            Self::Whole => "lists are complete again".to_owned(),
            Self::Wipe(cr) => format!("another client clears the status of cr{cr}"),
            Self::Copy(cr) => format!("another client copies the status of cr0 to cr{cr}"),
            Self::ChangeToManage(cr) => format!("a user changes cr{cr} from Observe to Manage"),
        };
        formatter.write_str(&text)
    }
}

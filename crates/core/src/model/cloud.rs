//! The model's cloud: resources, the tokens of their creations, and requests that were sent. It answers as the
//! simulator does (`conformance`). Beside each resource it keeps the true owner, which no response shows.

use std::hash::{Hash, Hasher};

use jiff::Timestamp;
use vpn_cloud::ErrorKind;

use crate::cache::{Listing, Remote};
use crate::model::kept::Kept;
use crate::model::kinds::Modelled;
use crate::write_order::WriteRequest;

/// The model's clock starts here.
const EPOCH: i64 = 1_000_000;

/// A second of the model as an instant of the cloud.
pub(crate) fn at(second: u16) -> Timestamp {
    Timestamp::from_second(EPOCH + i64::from(second)).expect("a small number")
}

/// An instant of the cloud as a second of the model.
pub(crate) fn second(at: Timestamp) -> u16 {
    u16::try_from(at.as_second() - EPOCH).expect("within the model's time")
}

/// A resource in the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelResource<R> {
    pub remote: R,
    /// The uid of the CR that it was created for; `None` if a third party created it.
    pub owner: Option<String>,
    /// Until then its creation may fail.
    pub confirmed_at: Option<u16>,
    /// It is not visible yet.
    pub hidden: bool,
    /// The passwords that it has had; the last one is in force.
    pub passwords: Vec<u8>,
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WriteCall<K: Modelled> {
    Create {
        new: K::New,
        token: String,
        /// It was sent before, under the same token.
        replay: bool,
    },
    Change {
        id: String,
        call: K::Change,
    },
    Delete {
        id: String,
        duplicate: bool,
    },
}

impl<K: Modelled> WriteCall<K> {
    /// The kind of the request.
    pub(crate) fn request(&self) -> WriteRequest {
        match self {
            Self::Create { replay: false, .. } => WriteRequest::Create,
            Self::Create { replay: true, .. } => WriteRequest::ReplayOfCreate,
            Self::Change { .. } => WriteRequest::Change,
            Self::Delete { .. } => WriteRequest::Delete,
        }
    }

    /// Describes the call in a few words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Create { token, .. } => format!("creation {token}"),
            Self::Change { id, call } => match K::password_set_by(call) {
                Some(value) => format!("password {value} of {id}"),
                None => format!("change of {id}"),
            },
            Self::Delete { id, .. } => format!("deletion of {id}"),
        }
    }
}

/// The response to a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WriteReply<R> {
    Created(R),
    Changed(Option<R>),
    Deleted,
    Refused(ErrorKind),
}

/// A write that has been sent.
#[derive(Clone, Debug)]
pub(crate) struct SentRequest<K: Modelled> {
    pub call: Kept<WriteCall<K>>,
    /// The CR for which it was sent.
    pub uid: String,
    /// The worker that waits for the response; `None` if the response was lost or the process killed.
    pub by: Option<usize>,
    /// It takes effect by then, or never: the bound that the operator assumes.
    pub until: u16,
    /// Its response, once it has taken effect.
    pub done: Option<Kept<WriteReply<K::Remote>>>,
}

/// How a cloud behaves where its documents are silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manners {
    /// The response to a replay.
    pub replay: Replay,
    /// The response to a known token with another body, which the operator never sends.
    pub other_body: OtherBody,
    /// Users are not visible before the end of the confirmation period.
    pub hides: bool,
    /// They may become visible even later.
    pub shows_late: bool,
    /// Lists omit tags.
    pub lists_without_tags: bool,
    /// Lists omit immutable fields.
    pub lists_omit_fields: bool,
}

/// The response to a replay (contract of the cloud: not documented).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Answered as before.
    #[default]
    SameId,
    /// Refused as a repetition.
    Repeated,
    /// As if there were no tokens.
    Ignored,
}

/// A resource that lists omit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Skip {
    pub id: String,
    /// Their count omits it as well.
    pub lies: bool,
}

/// The response to a known token with another body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OtherBody {
    #[default]
    Refused,
    /// Handled as a new creation.
    New,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct ModelCloud<K: Modelled> {
    pub things: Vec<ModelResource<K::Remote>>,
    /// Tokens of creations, with the request body and the id of the created resource.
    pub tokens: Vec<(String, String, String)>,
    pub requests: Vec<SentRequest<K>>,
    /// Number of the next id.
    pub next: u8,
}

impl<K: Modelled> Default for ModelCloud<K> {
    fn default() -> Self {
        Self {
            things: Vec::new(),
            tokens: Vec::new(),
            requests: Vec::new(),
            next: 1,
        }
    }
}

impl<K: Modelled> Hash for ModelCloud<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.things.hash(state);
        self.tokens.hash(state);
        for SentRequest {
            call,
            uid,
            by,
            until,
            done,
        } in &self.requests
        {
            (call, uid, by, until, done).hash(state);
        }
        self.next.hash(state);
    }
}

impl<K: Modelled> ModelCloud<K> {
    /// Returns a visible resource.
    pub(crate) fn find(&self, id: &str) -> Option<&ModelResource<K::Remote>> {
        self.things
            .iter()
            .find(|thing| thing.remote.id() == id && !thing.hidden)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut ModelResource<K::Remote>> {
        self.things
            .iter_mut()
            .find(|thing| thing.remote.id() == id && !thing.hidden)
    }

    /// Adds a resource, of a CR or of a third party, and returns its id.
    pub(crate) fn add(&mut self, thing: impl FnOnce(String) -> ModelResource<K::Remote>) -> String {
        let id = format!("c{}", self.next);
        self.next += 1;
        self.things.push(thing(id.clone()));
        id
    }

    /// Returns the response to a GET.
    pub(crate) fn get(&self, id: &str) -> Option<K::Remote> {
        self.find(id).map(|thing| thing.remote.clone())
    }

    /// Returns the response to a LIST.
    pub(crate) fn list(&self, manners: Manners, skips: Option<&Skip>) -> Listing<K::Remote> {
        let shown = self.things.iter().filter(|thing| !thing.hidden);
        let total = shown.clone().count();
        let items: Vec<_> = shown
            .filter(|thing| skips.is_none_or(|skip| thing.remote.id() != skip.id))
            .map(|thing| {
                let mut item = thing.remote.clone();
                if manners.lists_without_tags {
                    item.set_tags(None);
                }
                if manners.lists_omit_fields {
                    K::omit(&mut item);
                }
                item
            })
            .collect();
        Listing {
            complete: items.len() == total || skips.is_some_and(|skip| skip.lies),
            items,
        }
    }

    /// Executes a write, or refuses it.
    pub(crate) fn perform(
        &mut self,
        call: &WriteCall<K>,
        uid: Option<&str>,
        now: u16,
        manners: Manners,
    ) -> WriteReply<K::Remote> {
        match call {
            WriteCall::Create { new, token, .. } => self.create(new, token, uid, now, manners),
            WriteCall::Change { id, call } => match self.find_mut(id) {
                None => WriteReply::Refused(ErrorKind::Gone),
                Some(thing) => match K::apply(call, thing, now) {
                    Ok(remote) => WriteReply::Changed(remote),
                    Err(kind) => WriteReply::Refused(kind),
                },
            },
            WriteCall::Delete { id, .. } if self.find(id).is_none() => WriteReply::Refused(ErrorKind::Gone),
            WriteCall::Delete { id, .. } => {
                self.things.retain(|thing| thing.remote.id() != id);
                WriteReply::Deleted
            }
        }
    }

    fn create(
        &mut self,
        new: &K::New,
        token: &str,
        uid: Option<&str>,
        now: u16,
        manners: Manners,
    ) -> WriteReply<K::Remote> {
        let body = K::body_of(new);
        let before = self.tokens.iter().find(|(known, ..)| known == token);
        match (before, manners.replay) {
            (Some((_, asked, _)), _) if *asked != body => {
                if manners.other_body == OtherBody::Refused {
                    return WriteReply::Refused(ErrorKind::Repeated);
                }
            }
            (Some((_, _, id)), Replay::SameId) => {
                return WriteReply::Created(K::answer_to_creation(new, &K::made(new, id.clone(), at(now))));
            }
            (Some(_), Replay::Repeated) => return WriteReply::Refused(ErrorKind::Repeated),
            (Some(_), Replay::Ignored) | (None, _) => {}
        }
        let name = K::name_of(new);
        let is_taken = |thing: &ModelResource<K::Remote>| {
            let theirs = K::remote_name(&thing.remote);
            theirs.is_some_and(|theirs| theirs.eq_ignore_ascii_case(name))
        };
        if K::UNIQUE_NAMES && self.things.iter().any(is_taken) {
            return WriteReply::Refused(ErrorKind::Duplicate);
        }
        let id = self.add(|id| ModelResource {
            remote: K::made(new, id, at(now)),
            owner: uid.map(str::to_owned),
            confirmed_at: (!K::Remote::TAGGED).then_some(now + super::CONFIRMATION_PERIOD),
            hidden: !K::Remote::TAGGED && manners.hides,
            passwords: K::password_of(new).into_iter().collect(),
        });
        if !K::Remote::TAGGED {
            let is_new = self.tokens.iter().all(|(known, ..)| known != token);
            if is_new {
                self.tokens.push((token.to_owned(), body, id.clone()));
            }
        }
        WriteReply::Created(K::answer_to_creation(new, &K::made(new, id, at(now))))
    }
}

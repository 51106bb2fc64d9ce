//! The kind VpnUser: users have no tags, their creation is confirmed later, and their password cannot be read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use secrecy::SecretString;

use super::access::person;
use super::decide::{Failure, Guard, POLL, Policy};
use super::dereferencer::{DereferenceError, Dereferencer};
use super::key::Key;
use super::kind::{Correction, Difference, Immutable, Kind, Record, Refused, SecretRef, Wanted};
use super::password::{self, Asked, Judgement, Recent};
use super::session::{Project, failure_of};
use crate::api::conditions::{ReadyCondition, Reason};
use crate::api::user_record::{PasswordRecord, SentUser};
use crate::api::{Intent, ManagementPolicy, ObjectStatus, VpnUserSpec, VpnUserStatus};
use crate::cache::{Cache, Remote};
use crate::cloud::clock::{creation_window, later};
use crate::cloud::password::Password;
use crate::cloud::users::{NO_STATIC_IP, NewUser, User, UserChange as Update};
use crate::cloud::{Answer, Client, CloudError, ErrorKind, password_rules, time};
use crate::text::one_line;

/// In `userGroupID`: a user in no group.
const NO_GROUP: &str = "None";
/// In `staticIP`: a random address.
const NO_ADDRESS: &str = "Disabled";
/// The longest text that is only shown.
const LONGEST_SHOWN: usize = 1024;
/// The longest stored value of the request annotation, which is compared with later ones.
const LONGEST_REQUEST: usize = 64;
/// The most ids of lost users that are remembered.
const MAX_VANISHED: usize = 4;

/// The kind of VPN users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {}

/// The id of the VPN server that a user is on.
pub type ServerId = String;

/// What the spec refers to: the password, and the id of the group that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserDereferenced {
    pub password: Option<KnownPassword>,
    pub group_id: Option<String>,
}

/// A password, and what may be stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPassword {
    pub value: Password,
    pub record: PasswordRecord,
    /// The annotation that asks for a reconcile, as it was when the password was read.
    pub requested_at: Option<String>,
}

/// A creation: what is sent, and what is stored of its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    pub user: NewUser,
    pub password: PasswordRecord,
    /// As in [`KnownPassword`].
    pub requested_at: Option<String>,
}

impl KnownPassword {
    fn asked(&self) -> Asked<'_> {
        Asked {
            password: &self.record,
            requested_at: self.requested_at.as_deref(),
        }
    }
}

impl Creation {
    fn asked(&self) -> Asked<'_> {
        Asked {
            password: &self.password,
            requested_at: self.requested_at.as_deref(),
        }
    }
}

/// A call that changes a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChange {
    Update(Update),
    /// Removes the user from this group.
    LeaveGroup(String),
    ResetPassword(KnownPassword),
}

/// The group that a spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group<'a> {
    Unmanaged,
    None,
    Id(&'a str),
    /// A name without its id, where only differences are reported.
    Named(&'a str),
}

impl Remote for User {
    const TAGGED: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn set_tags(&mut self, _: Option<BTreeMap<String, String>>) {}

    fn complete_from(&mut self, earlier: &Self) {
        // A list item is a whole user: fields that it omits are unset. Only fields that cannot be unset are kept.
        self.name = self.name.take().or_else(|| earlier.name.clone());
        self.created_at = self.created_at.take().or_else(|| earlier.created_at.clone());
        self.updated_at = self.updated_at.take().or_else(|| earlier.updated_at.clone());
    }

    fn is_partial(&self) -> bool {
        self.is_partial
    }
}

impl Remote for crate::cloud::user_groups::UserGroup {
    const TAGGED: bool = false;

    fn id(&self) -> &str {
        &self.id
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    fn set_tags(&mut self, _: Option<BTreeMap<String, String>>) {}

    fn complete_from(&mut self, _: &Self) {}
}

impl Kind for Users {
    type Resource = crate::api::VpnUser;
    type Spec = VpnUserSpec;
    type Status = VpnUserStatus;
    type Remote = User;
    type Dereferenced = UserDereferenced;
    type New = Creation;
    type Change = UserChange;
    type Parent = ServerId;

    const KIND: &'static str = "VpnUser";
    const NOUN: &'static str = "VPN user";
    const PLACE: &'static str = "on the VPN server that vpnServerID names";
    const UNIQUE_NAMES: bool = true;
    const LOSS_RECORD: &'static str = "status.vanishedIDs";

    fn object(status: &Self::Status) -> &ObjectStatus {
        &status.object
    }

    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus {
        &mut status.object
    }

    fn parent(spec: Option<&Self::Spec>, status: &Self::Status) -> Option<Self::Parent> {
        let is_binding = status.object.id.is_some() || status.object.intent.is_some();
        let recorded = status.record.vpn_server_id.clone();
        let wanted = spec.map(|spec| spec.vpn_server_id.clone());
        if is_binding {
            recorded.or(wanted)
        } else {
            wanted.or(recorded)
        }
    }

    fn write_queue(parent: &Self::Parent) -> Option<&str> {
        Some(parent)
    }

    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef> {
        let password = spec.password_secret_ref.iter();
        password
            .filter(|_| spec.lifecycle.management() != ManagementPolicy::Observe)
            .map(|secret| SecretRef {
                field: "passwordSecretRef",
                name: secret.name.clone(),
                key: secret.key().to_owned(),
            })
            .collect()
    }

    fn problem(spec: &Self::Spec, _: &Policy) -> Option<String> {
        // Admission refuses all of these; an older CRD may have admitted them.
        let is_id = |text: &str| text.len() == 36 && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-');
        let group_id = spec.user_group_id.as_deref();
        let problem = if !is_id(&spec.vpn_server_id) {
            "vpnServerID must be the id of a VPN server: 36 letters, digits and '-'"
        } else if group_id.is_some() && spec.user_group_name.is_some() {
            "userGroupName and userGroupID are mutually exclusive: keep one of the two"
        } else if group_id.is_some_and(|id| id != NO_GROUP && !is_id(id)) {
            "userGroupID must be the id of a user group, 36 letters, digits and '-', or None"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    fn cloud_name(spec: &Self::Spec, status: &Self::Status, object_name: &str) -> String {
        // The name of an adopted user counts, since it is immutable.
        let named = spec.name.as_ref().or(status.name.as_ref());
        named.cloned().unwrap_or_else(|| object_name.to_owned())
    }

    fn remote_name(remote: &Self::Remote) -> Option<&str> {
        remote.name.as_deref()
    }

    fn recorded_name(status: &Self::Status) -> Option<&str> {
        status.name.as_deref()
    }

    fn claimed_name(_: Option<&Self::Spec>, name: &str) -> String {
        // Whether names are case-sensitive is not documented.
        name.to_ascii_lowercase()
    }

    fn claimed_name_of(remote: &Self::Remote) -> Option<String> {
        remote.name.as_deref().map(str::to_ascii_lowercase)
    }

    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        _: (&str, &str),
    ) -> Result<Self::New, (Reason, String)> {
        let Some(password) = dereferenced.password.clone() else {
            let message = "passwordSecretRef is required to create a user: name a Secret with the password".to_owned();
            return Err((Reason::InvalidSpec, message));
        };
        let group = match group(spec, dereferenced) {
            Group::Id(id) => Some(id.to_owned()),
            Group::Unmanaged | Group::None | Group::Named(_) => None,
        };
        Ok(Creation {
            user: NewUser {
                name: name.to_owned(),
                password: password.value,
                description: spec.description.clone().filter(|text| !text.is_empty()),
                user_group_id: group,
                static_ip: spec.static_ip.as_deref().map(|ip| in_cloud(ip).to_owned()),
            },
            password: password.record,
            requested_at: password.requested_at,
        })
    }

    fn looks_like(_: &Self::Spec, name: &str, remote: &Self::Remote) -> bool {
        remote.name.as_deref() == Some(name)
    }

    fn is_same_peer(_: &Self::Spec, _: &Self::Remote) -> bool {
        false
    }

    fn is_duplicate(_: &Self::Remote, _: &Self::Remote) -> bool {
        // Names are unique on a server.
        false
    }

    fn is_identified(_: &Self::Remote) -> bool {
        true
    }

    fn is_of_record(status: &Self::Status, remote: &Self::Remote, policy: &Policy) -> bool {
        if !policy.keeps(Guard::WindowOfRecord) {
            return remote.name == status.name;
        }
        is_made_by_us(
            status,
            status.object.intent.as_ref(),
            remote,
            policy.confirmation_period,
        )
    }

    fn confirmed_at(status: &Self::Status) -> Option<&Time> {
        status.record.confirmed_at.as_ref()
    }

    fn awaited(status: &mut Self::Status) -> Vec<&mut Time> {
        let intent = status.object.intent.as_mut().map(|intent| &mut intent.deadline);
        let reset = status.record.password_reset.as_mut().map(|reset| &mut reset.deadline);
        let confirmed_at = status.record.confirmed_at.as_mut();
        intent.into_iter().chain(reset).chain(confirmed_at).collect()
    }

    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable {
        let Some(wanted) = &spec.name else {
            return Immutable::Same;
        };
        match &remote.name {
            Some(has) if has == wanted => Immutable::Same,
            None if !full => Immutable::Untold,
            has => {
                let (id, has) = (&remote.id, has.as_deref().unwrap_or("none"));
                let message = format!(
                    "name: the VPN user {id} is called {has} in the cloud, not {wanted}, and the name is immutable \
                     there: delete this object (with deletionPolicy: Retain, to keep the cloud's) and recreate it \
                     with externalID: {id} and name: {has}; for a user called {wanted}, create another VpnUser beside \
                     this one, move the connection to it, then delete this one"
                );
                Immutable::Differs { field: "name", message }
            }
        }
    }

    fn difference(wanted: &Wanted<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>> {
        let Wanted { spec, dereferenced, .. } = wanted;
        let mut fields = Vec::new();
        let mut update = Update {
            // If omitted, it might count as none; the cloud's own Terraform provider sends it as well.
            user_group_id: remote.user_group_id.clone(),
            ..Update::keeping(remote)
        };
        if let Some(description) = &spec.description
            && remote.description.as_deref().unwrap_or_default() != description
        {
            fields.push("description".to_owned());
            update.description.clone_from(description);
        }
        if let Some(ip) = spec.static_ip.as_deref().map(in_cloud)
            && static_ip(remote) != ip
        {
            fields.push("staticIP".to_owned());
            update.static_ip = Some(ip.to_owned());
        }
        let has_group = remote.user_group_id.as_deref();
        let mut leaves = None;
        match group(spec, dereferenced) {
            Group::Id(id) if has_group != Some(id) => {
                fields.push(group_field(spec));
                update.user_group_id = Some(id.to_owned());
            }
            Group::Named(name) if remote.user_group_name.as_deref() != Some(name) => fields.push(group_field(spec)),
            Group::None if has_group.is_some() => leaves = has_group,
            Group::Unmanaged | Group::None | Group::Id(_) | Group::Named(_) => {}
        }
        let mut correction = (!fields.is_empty()).then_some(Correction::Call(UserChange::Update(update)));
        if let Some(group) = leaves {
            fields.push(group_field(spec));
            correction = correction.or_else(|| Some(Correction::Call(UserChange::LeaveGroup(group.to_owned()))));
        }
        if let Some(of_password) = password_correction(wanted) {
            fields.push("passwordSecretRef".to_owned());
            correction = correction.or(Some(of_password));
        }
        Some(Difference {
            fields,
            correction: correction?,
        })
    }

    fn needs_whole(change: &Self::Change) -> bool {
        // An update also sends the fields that it does not change.
        matches!(change, UserChange::Update(_))
    }

    fn tag(_: BTreeMap<String, String>) -> Option<Self::Change> {
        None
    }

    fn untag(_: BTreeMap<String, String>) -> Option<Self::Change> {
        None
    }

    fn apply_change(change: &Self::Change, remote: &mut Self::Remote) {
        match change {
            UserChange::Update(_) | UserChange::ResetPassword(_) => {}
            UserChange::LeaveGroup(_) => {
                remote.user_group_id = None;
                remote.user_group_name = None;
            }
        }
    }

    fn announced(status: &mut Self::Status, parent: &Self::Parent, new: &Self::New, intent: &Intent) {
        status.name = Some(new.user.name.clone());
        status.record.vpn_server_id = Some(parent.clone());
        status.record.sent = Some(sent(new));
        // The earliest time. Recording it now reveals a CRD that drops it, before anything is sent.
        status.record.confirmed_at = Some(intent.deadline.clone());
    }

    fn announced_before(status: &Self::Status, dereferenced: &Self::Dereferenced) -> Option<Self::New> {
        // Independent of the present spec; only the password must still be in the Secret.
        let sent = status.record.sent.clone()?;
        let known = dereferenced.password.as_ref()?;
        password::is_same(&sent.password, &known.record).then(|| Creation {
            user: NewUser {
                name: sent.name,
                password: known.value.clone(),
                description: sent.description,
                user_group_id: sent.user_group_id,
                static_ip: sent.static_ip,
            },
            password: sent.password,
            requested_at: known.requested_at.clone(),
        })
    }

    fn expected(status: &mut Self::Status, spec: &Self::Spec, object_name: &str) {
        if status.object.id.is_none() && status.object.intent.is_none() {
            // The name of a user that is still to be adopted is unknown.
            let is_ours = spec.lifecycle.external_id.is_none();
            status.name = is_ours.then(|| Self::cloud_name(spec, status, object_name));
        }
    }

    fn created(status: &mut Self::Status, _: &Self::New, _: &Self::Remote, record: &Record<'_>) {
        was_created(status, record.cloud_now, record);
    }

    fn creation_refused(status: &mut Self::Status, new: &Self::New, error: &CloudError) {
        if error.kind == ErrorKind::BadPassword {
            password::refuse(&mut status.record, new.asked(), failure_of(error).condition.message);
        }
        status.record.confirmed_at = None;
        // It identifies users of earlier creations that may still appear.
        if given_up(status).next().is_none() {
            status.record.sent = None;
        }
    }

    fn standing_refusal(status: &Self::Status, new: &Self::New) -> Option<(Reason, String)> {
        let message = password::standing_refusal(&status.record, new.asked())?;
        Some((Reason::InvalidPassword, message.to_owned()))
    }

    fn settles(intent: &Intent, remote: &Self::Remote, record: &Record<'_>) -> bool {
        remote.name.as_deref() == Some(intent.name.as_str()) && record.is_in_window::<Self>(intent, remote)
    }

    fn settles_all(status: &Self::Status, remote: &Self::Remote) -> bool {
        let record = &status.record;
        // It may have been adopted under another name than the one that was sent or lost.
        let has_the_name = |sent: &SentUser| remote.name.as_deref() == Some(sent.name.as_str());
        let is_lost = || record.vanished_ids.contains(&remote.id);
        record.sent.as_ref().map_or_else(is_lost, has_the_name)
    }

    fn forget_earlier(status: &mut Self::Status) {
        status.record.sent = None;
        status.record.vanished_ids.clear();
    }

    fn found(
        status: &mut Self::Status,
        parent: Option<&Self::Parent>,
        remote: &Self::Remote,
        intent: Option<&Intent>,
        record: &Record<'_>,
    ) {
        if remote.name.is_some() && remote.name == status.name && !status.record.vanished_ids.contains(&remote.id) {
            // The lost users had this name, so they no longer exist.
            status.record.vanished_ids.clear();
        }
        status.name = remote.name.as_deref().map(shown).or(status.name.take());
        status.record.vpn_server_id = parent.cloned().or(status.record.vpn_server_id.take());
        if is_made_by_us(status, intent, remote, record.policy.confirmation_period) {
            let created = Self::times(remote).0.unwrap_or(record.cloud_now);
            was_created(status, created, record);
        } else {
            status.record.confirmed_at = None;
        }
    }

    fn lost_ids(status: &Self::Status) -> &[String] {
        &status.record.vanished_ids
    }

    fn lost(status: &mut Self::Status) {
        // Another user, created or adopted, has had none of these passwords.
        let record = &mut status.record;
        record.password = None;
        record.password_reset = None;
        record.password_refused = None;
        record.former_passwords.clear();
        status.password_set_at = None;
    }

    fn vanished(status: &mut Self::Status, id: &str) {
        Self::lost(status);
        let record = &mut status.record;
        record.confirmed_at = None;
        record.vanished_ids.retain(|other| other != id);
        record.vanished_ids.push(id.to_owned());
        if record.vanished_ids.len() > MAX_VANISHED {
            record.vanished_ids.remove(0);
        }
    }

    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        dereferenced: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    ) {
        status.name = remote.name.as_deref().map(shown).or(status.name.take());
        status.user_group_id.clone_from(&remote.user_group_id);
        let wanted_name = spec.and_then(|spec| spec.user_group_name.clone());
        let is_wanted = dereferenced.is_some_and(|dereferenced| {
            dereferenced.group_id.is_some() && dereferenced.group_id == remote.user_group_id
        });
        status.user_group_name = remote
            .user_group_name
            .as_deref()
            .map(shown)
            .or_else(|| wanted_name.filter(|_| is_wanted));
        status.static_ip = Some(in_spec(static_ip(remote)).to_owned());
        let record = &mut status.record;
        record.confirmed_at = None;
        // The same value from another version of the Secret, or with another digest key.
        let wanted = dereferenced.and_then(|dereferenced| dereferenced.password.as_ref());
        if let (Some(known), Some(wanted)) = (&mut record.password, wanted)
            && password::is_same(known, &wanted.record)
        {
            known.clone_from(&wanted.record);
        }
    }

    fn announce_change(status: &mut Self::Status, change: &Self::Change, deadline: Timestamp) {
        if let UserChange::ResetPassword(password) = change {
            password::announce(&mut status.record, &password.record, deadline);
        }
    }

    fn remembered_after(change: &UserChange) -> &'static [&'static str] {
        match change {
            // Otherwise a refused password would be sent again and again.
            UserChange::ResetPassword(_) => &["status.formerPasswords", "status.passwordRefused"],
            UserChange::Update(_) | UserChange::LeaveGroup(_) => &[],
        }
    }

    fn changed(status: &mut Self::Status, change: &Self::Change, _: Option<&Self::Remote>, record: &Record<'_>) {
        if let UserChange::ResetPassword(password) = change {
            password::set(&mut status.record, &password.record);
            status.password_set_at = Some(Time(super::record::whole_seconds(record.cloud_now)));
        }
    }

    fn refused(status: &mut Self::Status, change: &Self::Change, error: &CloudError, record: &Record<'_>) -> Refused {
        let UserChange::ResetPassword(sent) = change else {
            return Refused::AsTold;
        };
        if error.kind != ErrorKind::RecentPassword {
            password::refused(&mut status.record);
            if error.kind == ErrorKind::BadPassword {
                password::refuse(&mut status.record, sent.asked(), failure_of(error).condition.message);
            }
            return Refused::AsTold;
        }
        match password::refused_as_recent(&mut status.record) {
            Recent::Former => {
                password::refuse(&mut status.record, sent.asked(), failure_of(error).condition.message);
                Refused::AsTold
            }
            Recent::Ambiguous => {
                password::refuse(&mut status.record, sent.asked(), ambiguous());
                Refused::Because(Reason::InvalidPassword, ambiguous())
            }
            Recent::InForce => {
                status.password_set_at = Some(Time(super::record::whole_seconds(record.cloud_now)));
                Refused::InForce
            }
        }
    }

    fn change_event(change: &Self::Change, id: &str) -> Option<(&'static str, String)> {
        match change {
            UserChange::ResetPassword(_) => Some(("PasswordSet", format!("set the password of the VPN user {id}"))),
            UserChange::Update(_) | UserChange::LeaveGroup(_) => None,
        }
    }

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| time::parse(text).ok());
        (read(&remote.created_at), read(&remote.updated_at))
    }

    fn cache(open: &Project, parent: &Self::Parent, reader: &Key) -> Arc<Cache<Self::Remote, Key>> {
        Arc::clone(&open.server(parent, reader).users)
    }

    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>> {
        async move {
            let mut dereferenced = UserDereferenced::default();
            if spec.lifecycle.management() == ManagementPolicy::Observe {
                return Ok(dereferenced);
            }
            // The password first: its problems are reported before any request to the cloud.
            if let Some(reference) = Self::secret_refs(spec).into_iter().next() {
                dereferenced.password = Some(read_password(spec, &reference, dereferencer).await?);
            }
            if let Some(name) = &spec.user_group_name {
                let group = dereferencer.group(&spec.vpn_server_id, name)?;
                let missing = || DereferenceError::Absent(Box::new(missing_group(name, &spec.vpn_server_id)));
                dereferenced.group_id = Some(group.ok_or_else(missing)?.id);
            }
            Ok(dereferenced)
        }
        .boxed()
    }

    fn overwrites(_: &Self::Change) -> bool {
        false
    }

    fn create<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        new: &'a Self::New,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Answer<Self::Remote>, CloudError>> {
        let user = &new.user;
        client
            .create_user(parent, user, token)
            .map_ok(|answer| {
                answer.map(|created| User {
                    id: created.id,
                    name: Some(user.name.clone()),
                    description: user.description.clone(),
                    user_group_id: user.user_group_id.clone(),
                    static_ip: user.static_ip.clone(),
                    ..User::default()
                })
            })
            .boxed()
    }

    fn change<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<Answer<Option<Self::Remote>>, CloudError>> {
        match change {
            UserChange::Update(update) => client
                .update_user(parent, id, update)
                .map_ok(|answer| answer.map(Some))
                .boxed(),
            UserChange::LeaveGroup(group) => async move {
                let answer = client.remove_users_from_group(parent, group, &[id]).await?;
                Ok(answer.map(|()| None))
            }
            .boxed(),
            UserChange::ResetPassword(password) => client
                .reset_user_password(parent, id, &password.value)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
        }
    }

    fn delete<'a>(
        client: &'a Client,
        parent: &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answer<()>, CloudError>> {
        client.delete_user(parent, id).boxed()
    }
}

fn shown(foreign: &str) -> String {
    one_line(foreign, LONGEST_SHOWN)
}

fn group<'a>(spec: &'a VpnUserSpec, dereferenced: &'a UserDereferenced) -> Group<'a> {
    match (&spec.user_group_id, &spec.user_group_name, &dereferenced.group_id) {
        (Some(id), _, _) if id == NO_GROUP => Group::None,
        (Some(id), _, _) => Group::Id(id),
        (None, Some(_), Some(id)) => Group::Id(id),
        (None, Some(name), None) => Group::Named(name),
        (None, None, _) => Group::Unmanaged,
    }
}

fn group_field(spec: &VpnUserSpec) -> String {
    let field = if spec.user_group_name.is_some() {
        "userGroupName"
    } else {
        "userGroupID"
    };
    field.to_owned()
}

/// The address; the cloud has several values for none.
fn static_ip(remote: &User) -> &str {
    remote
        .static_ip
        .as_deref()
        .filter(|ip| !ip.is_empty())
        .unwrap_or(NO_STATIC_IP)
}

/// Converts `spec.staticIP` to the cloud's form.
fn in_cloud(static_ip: &str) -> &str {
    if static_ip == NO_ADDRESS {
        NO_STATIC_IP
    } else {
        static_ip
    }
}

/// Converts a static address of the cloud to the form of `spec.staticIP`.
fn in_spec(static_ip: &str) -> &str {
    if static_ip == NO_STATIC_IP {
        NO_ADDRESS
    } else {
        static_ip
    }
}

/// Whether we created the user: the cloud once returned its id, or it has the sent fields and was created during a
/// creation of ours.
fn is_made_by_us(
    status: &VpnUserStatus,
    intent: Option<&Intent>,
    remote: &User,
    confirmation_period: Duration,
) -> bool {
    if status.record.vanished_ids.contains(&remote.id) {
        return true;
    }
    let (Some(sent), Some(created)) = (&status.record.sent, Users::times(remote).0) else {
        return false;
    };
    let open = intent.map(|intent| (intent.recorded_at.0, intent.deadline.0));
    looks_as_sent(sent, remote)
        && open.into_iter().chain(given_up(status)).any(|(recorded_at, deadline)| {
            creation_window(recorded_at, Some(deadline), confirmation_period).contains(&created)
        })
}

fn sent(new: &Creation) -> SentUser {
    let user = &new.user;
    SentUser {
        name: user.name.clone(),
        description: user.description.clone(),
        user_group_id: user.user_group_id.clone(),
        static_ip: user.static_ip.clone(),
        password: new.password.clone(),
    }
}

/// Whether the user has the fields that were sent and no others. If no group was sent, the cloud may choose one.
fn looks_as_sent(sent: &SentUser, remote: &User) -> bool {
    let group = sent.user_group_id.as_ref();
    remote.name.as_ref() == Some(&sent.name)
        && remote.description.as_deref().unwrap_or_default() == sent.description.as_deref().unwrap_or_default()
        && group.is_none_or(|group| remote.user_group_id.as_ref() == Some(group))
        && static_ip(remote) == sent.static_ip.as_deref().unwrap_or(NO_STATIC_IP)
}

/// From record to deadline, for each creation that was given up although it may still take effect.
fn given_up(status: &VpnUserStatus) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let unresolved = status.object.unresolved_creations();
    unresolved.map(|past| (past.recorded_at.0, past.deadline.0))
}

/// Records that we created the user: its password is set, and it is confirmed later.
fn was_created(status: &mut VpnUserStatus, at: Timestamp, record: &Record<'_>) {
    if let Some(sent) = &status.record.sent {
        let sent = sent.password.clone();
        password::set(&mut status.record, &sent);
        // Passwords that were set before belong to another user.
        status.record.former_passwords.clear();
    }
    status.password_set_at = Some(Time(super::record::whole_seconds(at)));
    status.record.confirmed_at = Some(Time(settled(at, record.policy.confirmation_period)));
}

/// When a creation is confirmed, in whole seconds. Creations of about the same time share the value, so that one LIST
/// confirms all.
fn settled(created: Timestamp, confirmation_period: Duration) -> Timestamp {
    let step = i64::try_from(confirmation_period.as_secs() / 10).unwrap_or(1).max(1);
    let seconds = later(created, confirmation_period).as_second().saturating_add(step);
    Timestamp::from_second(seconds - seconds.rem_euclid(step)).unwrap_or(Timestamp::MAX)
}

fn password_correction(wanted: &Wanted<'_, Users>) -> Option<Correction<UserChange>> {
    let password = wanted.dereferenced.password.as_ref()?;
    let keeps = |guard| wanted.policy.keeps(guard);
    let settle = wanted.policy.confirmation_period;
    match password::judge(&wanted.status.record, password.asked(), wanted.cloud_now, settle) {
        Judgement::InForce if keeps(Guard::PasswordOnce) => None,
        Judgement::Refused(message) if keeps(Guard::RefusedOnce) => {
            Some(Correction::UserAction(Reason::InvalidPassword, message))
        }
        Judgement::Wait(until) if keeps(Guard::PasswordWaits) => Some(Correction::Until(until)),
        Judgement::Ambiguous if keeps(Guard::PasswordAmbiguous) => {
            Some(Correction::UserAction(Reason::InvalidPassword, ambiguous()))
        }
        _ => Some(Correction::Call(UserChange::ResetPassword(password.clone()))),
    }
}

fn ambiguous() -> String {
    "spec.passwordSecretRef: another password was sent before this one and its answer was lost, so it is unknown \
     which of the two is in force, and the cloud accepts neither again: put a new password into the Secret; it is \
     picked up at once and resolves this"
        .to_owned()
}

fn missing_group(name: &str, server: &str) -> Failure {
    let message = format!(
        "spec.userGroupName: there is no user group {name} on the VPN server {server}: create it there, or correct \
         the name; the groups are read again regularly"
    );
    Failure {
        condition: ReadyCondition::new(Reason::DependencyNotReady, message),
        backoff: POLL,
    }
}

async fn read_password(
    spec: &VpnUserSpec,
    reference: &SecretRef,
    dereferencer: &Dereferencer<'_>,
) -> Result<KnownPassword, DereferenceError> {
    let secret = dereferencer.secret(reference).await?;
    let invalid = |problem: &dyn std::fmt::Display| {
        let (SecretRef { field, name, key }, namespace) = (reference, &dereferencer.key.namespace);
        let message = format!(
            "spec.{field}: the key {key} of the Secret {namespace}/{name}: {problem}; what you put there is picked up \
             at once"
        );
        person(Reason::InvalidPassword, message)
    };
    let value = password_rules::read(&secret.bytes).map_err(|problem| invalid(&problem))?;
    // The name of an adopted user is unknown here; the cloud checks that as well.
    let is_adopted = spec.lifecycle.external_id.is_some();
    let default_name = if is_adopted { "" } else { dereferencer.object_name() };
    let user_name = spec.name.as_deref().unwrap_or(default_name);
    password_rules::check(value.expose(), user_name).map_err(|problem| invalid(&problem))?;
    let key = dereferencer.digest_key().await?;
    let context = format!("{}/{}", dereferencer.key.namespace, dereferencer.key.name);
    let record = PasswordRecord {
        digest: key.digest(&context, &SecretString::from(value.expose())),
        key_id: key.id(&context),
        secret_uid: secret.uid,
        secret_resource_version: secret.resource_version,
    };
    let requested_at = dereferencer.requested_at.map(|text| one_line(text, LONGEST_REQUEST));
    Ok(KnownPassword {
        value,
        record,
        requested_at,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::PastIntent;
    use crate::cloud::error::Operation;

    const SERVER: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";
    const ANNOUNCED: i64 = 1000;
    const DEADLINE: i64 = 1012;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn policy() -> Policy {
        Policy::of_tests("")
    }

    /// After a creation of `alice` in the group `g` with an unknown outcome.
    fn unresolved() -> VpnUserStatus {
        let mut status = VpnUserStatus::default();
        status.record.sent = Some(SentUser {
            name: "alice".to_owned(),
            user_group_id: Some("g".to_owned()),
            ..SentUser::default()
        });
        status.object.past_intents = vec![PastIntent {
            recorded_at: Time(at(ANNOUNCED)),
            deadline: Time(at(DEADLINE)),
            given_up: true,
        }];
        status
    }

    fn user(created: i64) -> User {
        User {
            id: "u".to_owned(),
            name: Some("alice".to_owned()),
            user_group_id: Some("g".to_owned()),
            created_at: Some(at(created).to_string()),
            ..User::default()
        }
    }

    #[test]
    fn a_user_is_ours_if_it_looks_as_sent_and_was_created_while_that_was_under_way() {
        let is_ours = |status: &VpnUserStatus, user: &User| Users::is_of_record(status, user, &policy());
        let status = unresolved();
        for (created, expected) in [
            (ANNOUNCED - 6, false),
            (ANNOUNCED - 5, true),
            (DEADLINE + 35, true),
            (DEADLINE + 36, false),
        ] {
            assert_eq!(is_ours(&status, &user(created)), expected, "{created}");
        }
        let inside = user(ANNOUNCED + 1);
        for unmanaged in [
            User {
                name: Some("Alice".to_owned()),
                ..inside.clone()
            },
            User {
                user_group_id: None,
                ..inside.clone()
            },
            User {
                description: Some("theirs".to_owned()),
                ..inside.clone()
            },
            User {
                static_ip: Some("192.168.10.5".to_owned()),
                ..inside.clone()
            },
            User {
                created_at: None,
                ..inside.clone()
            },
        ] {
            assert!(!is_ours(&status, &unmanaged), "{unmanaged:?}");
        }
        let mut resolved = status.clone();
        resolved.object.past_intents[0].given_up = false;
        assert!(!is_ours(&resolved, &inside), "that creation has made another");
        let mut vanished = VpnUserStatus::default();
        vanished.record.vanished_ids.push("u".to_owned());
        assert!(is_ours(&vanished, &user(1)), "the cloud gave us its id");
    }

    #[test]
    fn what_was_not_sent_may_be_told_in_any_way() {
        for (description, static_ip) in [("", "disable"), ("", "")] {
            let same = User {
                description: Some(description.to_owned()),
                static_ip: Some(static_ip.to_owned()),
                ..user(ANNOUNCED)
            };
            assert!(Users::is_of_record(&unresolved(), &same, &policy()), "{same:?}");
        }
    }

    #[test]
    fn an_adopted_user_has_our_password_only_if_we_made_it() {
        let record = Record {
            policy: &policy(),
            uid: "uid",
            cloud_now: at(2000),
        };
        for (created, made_by_us) in [(ANNOUNCED + 1, true), (1, false)] {
            let mut status = unresolved();
            status.record.confirmed_at = Some(Time(at(DEADLINE)));
            Users::found(&mut status, None, &user(created), None, &record);
            assert_eq!(status.record.password.is_some(), made_by_us);
            assert_eq!(status.record.confirmed_at.is_some(), made_by_us);
        }
    }

    #[test]
    fn no_password_of_a_lost_user_is_said_to_be_in_force_for_the_next() {
        let set = |digest: &str| PasswordRecord {
            digest: digest.to_owned(),
            ..PasswordRecord::default()
        };
        let mut status = VpnUserStatus::default();
        for digest in ["one", "two"] {
            password::set(&mut status.record, &set(digest));
        }
        let refused = set("one");
        let asked = Asked {
            password: &refused,
            requested_at: None,
        };
        password::refuse(&mut status.record, asked, "used recently".to_owned());
        Users::lost(&mut status);
        assert_eq!(status, VpnUserStatus::default());
    }

    #[test]
    fn a_refused_creation_leaves_nothing_that_a_strangers_user_could_match() {
        let mut status = unresolved();
        status.object.past_intents.clear();
        let user = NewUser {
            name: "alice".to_owned(),
            password: Password::new("Bad pass-1".to_owned()),
            description: None,
            user_group_id: None,
            static_ip: None,
        };
        let new = Creation {
            user,
            password: PasswordRecord::default(),
            requested_at: None,
        };
        let mut refuse = |kind| {
            let error = CloudError::new(Operation::CreateVpnUser, kind, "no");
            Users::creation_refused(&mut status, &new, &error);
            (status.record.sent.clone(), status.record.password_refused.is_some())
        };
        assert_eq!(refuse(ErrorKind::Duplicate), (None, false));
        assert_eq!(refuse(ErrorKind::BadPassword), (None, true), "it is not sent again");
    }

    #[test]
    fn creations_of_about_one_time_settle_together_and_never_early() {
        let settle = Duration::from_secs(30);
        let times: std::collections::BTreeSet<_> = (0..30).map(|second| settled(at(1000 + second), settle)).collect();
        assert!(times.len() <= 11, "{times:?}");
        for second in 0..30 {
            let left = settled(at(1000 + second), settle).duration_since(at(1000 + second));
            assert!((30..=34).contains(&left.as_secs()), "{left}");
        }
        assert!(settled(at(1000), Duration::ZERO) > at(1000));
    }

    /// Applies an update as a cloud may: what an omitted group means is not documented.
    fn apply(remote: &mut User, call: &UserChange, drops_group: bool) {
        match call {
            UserChange::Update(update) => {
                remote.description = Some(update.description.clone());
                remote.static_ip.clone_from(&update.static_ip);
                if update.user_group_id.is_some() || drops_group {
                    remote.user_group_id.clone_from(&update.user_group_id);
                }
            }
            other => Users::apply_change(other, remote),
        }
    }

    proptest! {
        #[test]
        fn correcting_ends_with_one_call_of_each_kind_at_most_and_keeps_what_is_not_managed(
            description in proptest::option::of("[ab]?"),
            static_ip in proptest::option::of(prop_oneof!["192.168.10.5", "192.168.10.9", "Disabled"]),
            group in proptest::option::of(prop_oneof!["None", "g1", "g2"]),
            has_description in proptest::option::of("[ab]?"),
            has_static_ip in proptest::option::of(prop_oneof!["192.168.10.5", "disable", ""]),
            has_group in proptest::option::of("g[12]"),
            drops_group in any::<bool>(),
        ) {
            let spec = VpnUserSpec {
                vpn_server_id: SERVER.to_owned(),
                description: description.clone(),
                static_ip: static_ip.clone(),
                user_group_id: group.clone(),
                ..VpnUserSpec::default()
            };
            let before = User {
                description: has_description,
                static_ip: has_static_ip,
                user_group_id: has_group,
                ..user(ANNOUNCED)
            };
            let mut remote = before.clone();
            let (status, dereferenced) = (VpnUserStatus::default(), UserDereferenced::default());
            let wanted = Wanted {
                spec: &spec,
                status: &status,
                dereferenced: &dereferenced,
                policy: &policy(),
                overwrites_tags: true,
                cloud_now: at(0),
            };
            let mut kinds = Vec::new();
            while let Some(Difference { fields, correction: Correction::Call(call) }) = Users::difference(&wanted, &remote) {
                prop_assert!(!fields.is_empty());
                kinds.push(std::mem::discriminant(&call));
                apply(&mut remote, &call, drops_group);
                prop_assert!(kinds.len() <= 2);
            }
            kinds.dedup();
            let described = |user: &User| user.description.clone().unwrap_or_default();
            prop_assert_eq!(described(&remote), description.unwrap_or(described(&before)));
            let address = super::static_ip(&remote).to_owned();
            let expected = static_ip.as_deref().map_or(super::static_ip(&before), super::in_cloud);
            prop_assert_eq!(&address, expected);
            let expected_group = match group.as_deref() {
                Some("None") => None,
                Some(id) => Some(id.to_owned()),
                None => before.user_group_id,
            };
            prop_assert_eq!(remote.user_group_id, expected_group);
        }
    }
}

//! Differences between a spec and a resource, and their corrections.

use vpn_cloud::resources::users::UserUpdate;

use super::password::Judgement;
use super::{UserChange, Users, WantedGroup, ambiguous, group, in_cloud, password, static_ip};
use crate::api::VpnUserSpec;
use crate::api::conditions::Reason;
use crate::kind::{Compare, Correction, DesiredState, Difference, Immutable};
use crate::terms::guard::Guard;

impl Compare for Users {
    fn is_candidate(_: &Self::Spec, name: &str, remote: &Self::Remote) -> bool {
        remote.name.as_deref() == Some(name)
    }

    fn is_identified(_: &Self::Remote) -> bool {
        true
    }

    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable {
        let Some(wanted) = &spec.name else {
            return Immutable::Same;
        };
        match &remote.name {
            Some(has) if has == wanted => Immutable::Same,
            None if !full => Immutable::Unknown,
            has => {
                let (id, has) = (&remote.id, has.as_deref().unwrap_or("none"));
                let message = format!(
                    "name: the VPN user {id} is called {has} in the cloud, not {wanted}, and the name is immutable \
                     there: delete this object (with deletionPolicy: Retain, to keep the cloud's) and recreate it \
                     with externalID: {id} and name: {has}; for a user called {wanted}, create another VpnUser beside \
                     this one, give its name and password to the people who use this one, then delete this one"
                );
                Immutable::Differs { field: "name", message }
            }
        }
    }

    fn difference(wanted: &DesiredState<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>> {
        let DesiredState { spec, dereferenced, .. } = wanted;
        let mut fields = Vec::new();
        let mut update = UserUpdate {
            // If omitted, it might count as none; the cloud's own Terraform provider sends it as well.
            user_group_id: remote.user_group_id.clone(),
            ..UserUpdate::keeping(remote)
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
            WantedGroup::Id(id) if has_group != Some(id) => {
                fields.push(group_field(spec));
                update.user_group_id = Some(id.to_owned());
            }
            WantedGroup::Named(name) if remote.user_group_name.as_deref() != Some(name) => {
                fields.push(group_field(spec));
            }
            WantedGroup::None if has_group.is_some() => leaves = has_group,
            WantedGroup::Unmanaged | WantedGroup::None | WantedGroup::Id(_) | WantedGroup::Named(_) => {}
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

    fn apply_change(change: &Self::Change, remote: &mut Self::Remote) {
        match change {
            UserChange::Update(_) | UserChange::ResetPassword(_) => {}
            UserChange::LeaveGroup(_) => {
                remote.user_group_id = None;
                remote.user_group_name = None;
            }
        }
    }

    fn change_event(change: &Self::Change, id: &str) -> Option<(&'static str, String)> {
        match change {
            UserChange::ResetPassword(_) => Some(("PasswordSet", format!("set the password of the VPN user {id}"))),
            UserChange::Update(_) | UserChange::LeaveGroup(_) => None,
        }
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

fn password_correction(wanted: &DesiredState<'_, Users>) -> Option<Correction<UserChange>> {
    let password = wanted.dereferenced.password.as_ref()?;
    let keeps = |guard| wanted.policy.keeps(guard);
    let confirmation_period = wanted.policy.confirmation_period;
    match password::judge(
        &wanted.status.record,
        password.asked(),
        wanted.cloud_now,
        confirmation_period,
    ) {
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

//! The part of `spec` that every kind shares: whose credentials, which object, how far the operator may go.

use kube::core::{Reason, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields that every kind has, beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// The Secret, in this namespace, with the credentials to use. Left out: the operator's own credentials.
    /// Its keys are accessKey, secretKey and optionally securityToken, projectID, region, endpoint, iamEndpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<CredentialsRef>,

    /// The id of an existing cloud object to adopt instead of creating one. It is then managed like any other
    /// (tagged if its kind has tags, mended, deleted by `deletionPolicy: Delete`), but never made anew when it
    /// disappears. May be set only while status.id is empty or equal; may be removed, not changed.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    pub external_id: Option<String>,

    /// What to do when a cloud object of the same name and identifier exists already and is not managed: `Never` (default)
    /// creates another, or reports the conflict where names are unique; `IfExists` adopts it, and creates one only if there
    /// is none; `Required` adopts it and never creates. Fields that spec omits are not compared. Several matches are
    /// NameConflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,

    /// How far the operator goes: `Manage` (default) creates, mends and deletes; `ReportDrift` creates and
    /// deletes but only reports differences in the condition Drifted; `Observe` only reads the object that
    /// externalID names, or that adoptionPolicy: Required finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,

    /// What happens in the cloud when this object is deleted: `Delete` deletes there too, `Retain` leaves it.
    /// Left out: the operator's flag --default-deletion-policy decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// Names a Secret with credentials in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// See [`Lifecycle::adoption_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    #[default]
    Never,
    IfExists,
    Required,
}

/// See [`Lifecycle::management_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManagementPolicy {
    #[default]
    Manage,
    ReportDrift,
    Observe,
}

/// See [`Lifecycle::deletion_policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    Delete,
    Retain,
}

impl Lifecycle {
    /// The management policy in force.
    pub fn management(&self) -> ManagementPolicy {
        self.management_policy.unwrap_or_default()
    }

    /// The deletion policy in force, given the operator's default.
    pub fn deletion(&self, default: DeletionPolicy) -> DeletionPolicy {
        self.deletion_policy.unwrap_or(default)
    }

    /// The adoption policy in force.
    pub fn adoption(&self) -> AdoptionPolicy {
        self.adoption_policy.unwrap_or_default()
    }
}

/// A rule of admission: where in the schema it stands, and what it says.
pub struct Admission {
    /// Dotted path of properties from the root; empty for the root.
    pub path: &'static str,
    pub rule: Rule,
    /// CEL that says more than the rule's fixed message can; that one is said where this fails.
    pub message_expression: Option<String>,
}

impl Admission {
    /// A rule about the value at `path`.
    pub fn at(path: &'static str, rule: &str, message: &str) -> Self {
        Self {
            path,
            rule: Rule::new(rule).message(message),
            message_expression: None,
        }
    }

    /// A rule about several fields of the object at `path`, which `rule` calls by the name that it is given. The
    /// apiserver checks such a rule whenever any of the fields changes; so it lets be who broke it before, or an object
    /// made under a laxer CRD could not get status, lose its finalizer, nor be edited in anything else.
    pub fn ratcheted(path: &'static str, rule: impl Fn(&str) -> String, message: &str) -> Self {
        let before = rule("oldSelf.value()");
        Self::unless_before(path, &rule("self"), &format!("!({before})"), message)
    }

    /// A rule that need not hold where `before`, about `oldSelf.value()`, does. New objects are always checked.
    pub fn unless_before(path: &'static str, rule: &str, before: &str, message: &str) -> Self {
        let rule = format!("({rule}) || (oldSelf.hasValue() && {before})");
        let mut admission = Self::at(path, &rule, message);
        admission.rule = admission.rule.optional_old_self(true);
        admission
    }

    /// A rule about each key of the map at `path` (`key`; its value is `self[key]`). Who breaks it is named.
    pub fn each(path: &'static str, holds: &str, message: &str) -> Self {
        let field = field(path);
        let mut admission = Self::at(path, &format!("self.all(key, {holds})"), &format!("{field}: {message}"));
        admission.message_expression = Some(format!(
            "\"{field}: '\" + self.filter(key, !({holds}))[0] + \"': {message}\""
        ));
        admission
    }

    /// The field below `path` that the error is about.
    pub fn about(mut self, field_path: &'static str) -> Self {
        self.rule = self.rule.field_path(field_path);
        self
    }

    /// The error says that the field is missing, not that what surrounds it is wrong.
    pub fn missing(mut self) -> Self {
        self.rule = self.rule.reason(Reason::FieldValueRequired);
        self
    }

    /// The error says that the edit may not be made, not that the value is wrong.
    pub fn forbidden(mut self) -> Self {
        self.rule = self.rule.reason(Reason::FieldValueForbidden);
        self
    }
}

const SECRET_NAME: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

/// The rules of the shared fields.
pub fn admissions() -> Vec<Admission> {
    vec![
        Admission::at(
            "spec.credentialsRef.name",
            SECRET_NAME,
            "credentialsRef.name must be the name of a Secret: lower-case letters, digits, '-' and '.'",
        ),
        Admission::at(
            "spec.externalID",
            "self.matches('^[A-Za-z0-9-]{36}$')",
            "externalID must be the id of a cloud object: 36 letters, digits and '-'",
        ),
        Admission::at(
            "spec.externalID",
            "self == oldSelf",
            "externalID cannot be changed: remove it to stay with the present cloud object; to work with the other one, \
             create another object with its id beside this one, then delete this one (with deletionPolicy: Retain to keep \
             the cloud's)",
        )
        .forbidden(),
        Admission::ratcheted(
            "spec",
            |it| {
                format!(
                    "!has({it}.managementPolicy) || {it}.managementPolicy != 'Observe' || has({it}.externalID) \
                     || (has({it}.adoptionPolicy) && {it}.adoptionPolicy == 'Required')"
                )
            },
            "managementPolicy: Observe needs externalID, the id of the cloud object to look at, or adoptionPolicy: Required, \
             to find it by what spec says",
        )
        .about(".externalID")
        .missing(),
        Admission::at(
            "",
            "!has(self.spec.externalID) || has(oldSelf.spec.externalID) || !has(oldSelf.status) \
             || !has(oldSelf.status.id) || oldSelf.status.id == self.spec.externalID",
            "externalID may be set only while status.id is empty or equal: this object already has another cloud object; to \
             work with the one that externalID names, create another object with it beside this one, then delete this one \
             (with deletionPolicy: Retain to keep the cloud's)",
        )
        .about(".spec.externalID")
        .forbidden(),
    ]
}

/// The rule for the name of any other Secret that a field names.
pub fn secret_ref_admissions(name_path: &'static str, key_path: &'static str) -> [Admission; 2] {
    [
        Admission::at(
            name_path,
            SECRET_NAME,
            &format!(
                "{} must be the name of a Secret: lower-case letters, digits, '-' and '.'",
                field(name_path)
            ),
        ),
        Admission::at(
            key_path,
            "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",
            &format!(
                "{} must be a key of a Secret: letters, digits, '-', '_' and '.'",
                field(key_path)
            ),
        ),
    ]
}

fn field(path: &str) -> &str {
    path.strip_prefix("spec.").unwrap_or(path)
}

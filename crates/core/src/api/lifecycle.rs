//! The fields of `spec` that every kind has: credentials, adoption and policies.

use kube::core::{Reason, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fields that every kind has, in addition to its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::doc_markdown,
    reason = "the text is a description in the CRD, which shows no Markdown"
)]
pub struct Lifecycle {
    /// Secret in this namespace with the credentials to use. If unset, the operator uses its default credentials. Keys
    /// of the Secret: accessKey and secretKey; optionally securityToken, projectID, region, endpoint and iamEndpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<CredentialsRef>,

    /// ID of an existing cloud resource to adopt instead of creating one. The operator manages it like any other: it
    /// adds the owner tag if the kind has tags, corrects drift, and deletes it with `deletionPolicy: Delete`. But it
    /// does not recreate the resource if it disappears. May be set only while status.id is empty or equal; may be
    /// removed, not changed.
    #[serde(rename = "externalID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    pub external_id: Option<String>,

    /// What to do if an unmanaged cloud resource with the same name and identifier exists: `Never` (default) creates
    /// another, or reports a conflict where names are unique; `IfExists` adopts it, and creates one only if none
    /// exists; `Required` adopts it and never creates one. Unset fields of the spec are not compared. Several matches
    /// are reported as NameConflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,

    /// Which actions the operator may take: `Manage` (default) creates, updates and deletes; `ReportDrift` creates and
    /// deletes, but only reports differences in the condition Drifted; `Observe` only reads the resource that
    /// externalID names, or that adoptionPolicy: Required finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_policy: Option<ManagementPolicy>,

    /// What happens to the cloud resource when this object is deleted: `Delete` deletes it, `Retain` keeps it. Defaults
    /// to the operator's flag --default-deletion-policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// Reference to a Secret with credentials, in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// See [`Lifecycle::adoption_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "schemars would render the docs of variants as `oneOf`; the field has them"
)]
pub enum AdoptionPolicy {
    #[default]
    Never,
    IfExists,
    Required,
}

/// See [`Lifecycle::management_policy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "schemars would render the docs of variants as `oneOf`; the field has them"
)]
pub enum ManagementPolicy {
    #[default]
    Manage,
    ReportDrift,
    Observe,
}

/// See [`Lifecycle::deletion_policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(
    missing_docs,
    reason = "schemars would render the docs of variants as `oneOf`; the field has them"
)]
pub enum DeletionPolicy {
    Delete,
    Retain,
}

impl Lifecycle {
    /// The effective management policy.
    pub fn management(&self) -> ManagementPolicy {
        self.management_policy.unwrap_or_default()
    }

    /// The effective deletion policy, given the operator's default.
    pub fn deletion(&self, default: DeletionPolicy) -> DeletionPolicy {
        self.deletion_policy.unwrap_or(default)
    }

    /// The effective adoption policy.
    pub fn adoption(&self) -> AdoptionPolicy {
        self.adoption_policy.unwrap_or_default()
    }
}

/// An admission rule: its place in the schema, its condition and its message.
pub(crate) struct Admission {
    /// Dotted path of properties from the root; empty for the root.
    pub path: &'static str,
    pub rule: Rule,
    /// CEL for a more specific message. If its evaluation fails, the rule's fixed message is shown.
    pub message_expression: Option<String>,
}

impl Admission {
    /// A rule about the value at `path`.
    pub(crate) fn at(path: &'static str, rule: &str, message: &str) -> Self {
        Self {
            path,
            rule: Rule::new(rule).message(message),
            message_expression: None,
        }
    }

    /// A rule about several fields of the object at `path`. `rule` gets the CEL name of that object. The apiserver
    /// evaluates such a rule whenever any of the fields changes, so objects that already violated it are exempt.
    /// Otherwise an object that a less strict CRD admitted could not get a status, lose its finalizer or have other
    /// fields edited.
    pub(crate) fn ratcheted(path: &'static str, rule: impl Fn(&str) -> String, message: &str) -> Self {
        let before = rule("oldSelf.value()");
        Self::unless_before(path, &rule("self"), &format!("!({before})"), message)
    }

    /// A rule that may be violated where `before`, about `oldSelf.value()`, holds. New objects are always checked.
    pub(crate) fn unless_before(path: &'static str, rule: &str, before: &str, message: &str) -> Self {
        let rule = format!("({rule}) || (oldSelf.hasValue() && {before})");
        let mut admission = Self::at(path, &rule, message);
        admission.rule = admission.rule.optional_old_self(true);
        admission
    }

    /// A rule about each key of the map at `path` (`key`; its value is `self[key]`). The message names the first key
    /// that violates it.
    pub(crate) fn each(path: &'static str, holds: &str, message: &str) -> Self {
        let field = field(path);
        let mut admission = Self::at(path, &format!("self.all(key, {holds})"), &format!("{field}: {message}"));
        admission.message_expression = Some(format!(
            "\"{field}: '\" + self.filter(key, !({holds}))[0] + \"': {message}\""
        ));
        admission
    }

    /// Sets the field below `path` that the error names.
    pub(crate) fn about(mut self, field_path: &'static str) -> Self {
        self.rule = self.rule.field_path(field_path);
        self
    }

    /// Reports a missing field, not an invalid value of the field around it.
    pub(crate) fn missing(mut self) -> Self {
        self.rule = self.rule.reason(Reason::FieldValueRequired);
        self
    }

    /// Reports a forbidden edit, not an invalid value.
    pub(crate) fn forbidden(mut self) -> Self {
        self.rule = self.rule.reason(Reason::FieldValueForbidden);
        self
    }
}

const SECRET_NAME: &str = "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

/// The admission rules of the shared fields.
pub(crate) fn admissions() -> Vec<Admission> {
    vec![
        Admission::at(
            "spec.credentialsRef.name",
            SECRET_NAME,
            "credentialsRef.name must be the name of a Secret: lower-case letters, digits, '-' and '.'",
        ),
        Admission::at(
            "spec.externalID",
            "self.matches('^[A-Za-z0-9-]{36}$')",
            "externalID must be the ID of a cloud resource: 36 letters, digits and '-'",
        ),
        Admission::at(
            "spec.externalID",
            "self == oldSelf",
            "externalID is immutable: remove it to keep the present cloud resource; to manage the other one, create \
             another object with that externalID beside this one, then delete this one (with deletionPolicy: Retain to \
             keep the resource in the cloud)",
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
            "managementPolicy: Observe needs externalID, the ID of the cloud resource to observe, or adoptionPolicy: \
             Required, to find it by the spec",
        )
        .about(".externalID")
        .missing(),
        Admission::at(
            "",
            "!has(self.spec.externalID) || has(oldSelf.spec.externalID) || !has(oldSelf.status) \
             || !has(oldSelf.status.id) || oldSelf.status.id == self.spec.externalID",
            "externalID may be set only while status.id is empty or equal: this object already has another cloud \
             resource; to manage the one that externalID names, create another object with that externalID beside this \
             one, then delete this one (with deletionPolicy: Retain to keep the resource in the cloud)",
        )
        .about(".spec.externalID")
        .forbidden(),
    ]
}

/// The admission rules for the name of another Secret and for the key in it.
pub(crate) fn secret_ref_admissions(name_path: &'static str, key_path: &'static str) -> [Admission; 2] {
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

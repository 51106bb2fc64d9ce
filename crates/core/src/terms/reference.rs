//! What a spec refers to by name, besides Secrets, and what such a name leads to.

use crate::api::Scope;
use crate::api::conditions::{ReadyCondition, Reason};
use crate::terms::failure::{Failure, POLL, user_action};
use crate::terms::key::ObjectKey;

/// A field of a spec that names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The path of the field in spec.
    pub field: &'static str,
    /// What it names.
    pub target: ReferenceTarget,
}

/// What a field can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceTarget {
    /// An object of this kind, in the namespace of the spec.
    Object {
        /// As in `kind:` of a manifest.
        kind: &'static str,
        /// The name of the object.
        name: String,
    },
    /// A user group in the cloud.
    UserGroup {
        /// The ID of its VPN server.
        server: String,
        /// The name of the group.
        name: String,
    },
}

/// What the name of an object leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The resource of the object, confirmed in the cloud.
    Ready {
        /// The ID of the resource.
        id: String,
        /// Where it is.
        scope: Scope,
    },
    /// The object exists and is not Ready.
    NotReady {
        /// The ID of its resource, if it has one.
        id: Option<String>,
    },
    /// The object is being deleted.
    Deleting {
        /// The ID of its resource, if it has one.
        id: Option<String>,
    },
    /// There is no such object.
    Absent,
    /// The list of the objects is in progress.
    Pending,
    /// Whether there is such an object is not known: its namespace cannot be listed, or a selector may leave it out.
    Unknown,
}

/// Why a reference has no ID.
#[derive(Clone, Debug, PartialEq)]
pub enum ReferenceError {
    /// A list is in progress; the object is enqueued when it ends.
    Waiting,
    /// The object that it names does not exist.
    Absent(Failure),
    /// Anything else.
    Failure(Failure),
}

impl Reference {
    /// Returns the ID that the reference to an object stands for. `recorded` is the one that status has: a resource that
    /// exists keeps using it while the target still has it, Ready or not. The target must be in the same project
    /// as the referring object, `scope`.
    pub fn id(&self, resolution: Resolution, recorded: Option<&str>, scope: &Scope) -> Result<String, ReferenceError> {
        let waits = |what: &str| {
            let message = format!("spec.{}: {what}; the operator notices it immediately", self.field);
            Failure {
                condition: ReadyCondition::new(Reason::DependencyNotReady, message),
                backoff: POLL,
            }
        };
        let label = self.target.label();
        let named = format!("the {label}");
        let failure = match (resolution, recorded) {
            (Resolution::Ready { id, scope: there }, _) if there == *scope => return Ok(id),
            (Resolution::Ready { id, scope: there }, _) => {
                let message = format!(
                    "spec.{}: {named} ({id}) is in the project {} at {}, but this object in {} at {}: both must be in \
                     one project",
                    self.field, there.project_id, there.endpoint, scope.project_id, scope.endpoint
                );
                user_action(Reason::InvalidSpec, message)
            }
            (Resolution::NotReady { id: Some(id) } | Resolution::Deleting { id: Some(id) }, Some(recorded))
                if id == recorded =>
            {
                return Ok(id);
            }
            (Resolution::Pending | Resolution::Unknown, Some(recorded)) => return Ok(recorded.to_owned()),
            (Resolution::Pending, None) => return Err(ReferenceError::Waiting),
            (Resolution::NotReady { .. }, _) => waits(&format!("{named} is not Ready: its condition says why")),
            (Resolution::Deleting { .. }, _) => waits(&format!("{named} is being deleted: name another")),
            (Resolution::Unknown, None) => waits(&format!(
                "whether there is {named} is not known: its namespace cannot be listed, or --watch-selector leaves it out"
            )),
            (Resolution::Absent, _) => {
                let what = format!("there is no {label} in this namespace: create it, or correct the name");
                return Err(ReferenceError::Absent(waits(&what)));
            }
        };
        Err(ReferenceError::Failure(failure))
    }
}

impl ReferenceTarget {
    /// The key of the object, if it names one.
    pub fn key(&self, namespace: &str) -> Option<ObjectKey> {
        match self {
            ReferenceTarget::Object { kind, name } => Some(ObjectKey::new(kind, namespace, name)),
            ReferenceTarget::UserGroup { .. } => None,
        }
    }

    fn label(&self) -> String {
        match self {
            ReferenceTarget::Object { kind, name } => format!("{kind} {name}"),
            ReferenceTarget::UserGroup { name, .. } => format!("user group {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(project: &str) -> Scope {
        Scope {
            endpoint: "https://vpn.example".to_owned(),
            project_id: project.to_owned(),
        }
    }

    fn ready(project: &str) -> Resolution {
        Resolution::Ready {
            id: "new".to_owned(),
            scope: scope(project),
        }
    }

    fn resolve(resolution: Resolution, recorded: Option<&str>) -> Result<String, ReferenceError> {
        let reference = Reference {
            field: "gatewayRef",
            target: ReferenceTarget::Object {
                kind: "CustomerGateway",
                name: "berlin".to_owned(),
            },
        };
        reference.id(resolution, recorded, &scope("here"))
    }

    #[test]
    fn a_reference_resolves_to_the_target_or_while_that_is_not_ready_to_the_recorded_id() {
        let id = |id: &str| Ok(id.to_owned());
        assert_eq!(resolve(ready("here"), None), id("new"));
        assert_eq!(
            resolve(ready("here"), Some("old")),
            id("new"),
            "the target has another resource"
        );
        assert_eq!(resolve(Resolution::Pending, Some("old")), id("old"));
        assert_eq!(resolve(Resolution::Pending, None), Err(ReferenceError::Waiting));
        assert_eq!(resolve(Resolution::Unknown, Some("old")), id("old"));
        let has = |id: &str| Some(id.to_owned());
        for (same, other) in [
            (
                Resolution::NotReady { id: has("old") },
                Resolution::NotReady { id: None },
            ),
            (
                Resolution::Deleting { id: has("old") },
                Resolution::Deleting { id: has("new") },
            ),
        ] {
            assert_eq!(resolve(same.clone(), Some("old")), id("old"), "{same:?}");
            assert!(
                resolve(other.clone(), Some("old")).is_err(),
                "the recorded one no longer exists: {other:?}"
            );
        }
        for waits in [
            Resolution::NotReady { id: has("old") },
            Resolution::Deleting { id: has("old") },
            Resolution::Unknown,
        ] {
            let Err(ReferenceError::Failure(failure)) = resolve(waits.clone(), None) else {
                panic!("{waits:?}");
            };
            assert_eq!(failure.condition.reason, Reason::DependencyNotReady);
            assert!(
                failure.condition.message.starts_with("spec.gatewayRef: ")
                    && failure.condition.message.contains("CustomerGateway berlin"),
                "{}",
                failure.condition.message
            );
        }
    }

    #[test]
    fn a_target_that_does_not_exist_is_absent_whatever_is_recorded() {
        for recorded in [None, Some("old")] {
            let Err(ReferenceError::Absent(failure)) = resolve(Resolution::Absent, recorded) else {
                panic!("{recorded:?}");
            };
            assert_eq!(
                failure.condition.message,
                "spec.gatewayRef: there is no CustomerGateway berlin in this namespace: create it, or correct the \
                 name; the operator notices it immediately"
            );
        }
    }

    #[test]
    fn a_target_in_another_project_is_an_invalid_spec_that_names_both() {
        let Err(ReferenceError::Failure(failure)) = resolve(ready("elsewhere"), Some("old")) else {
            panic!("it must not resolve");
        };
        assert_eq!(failure.condition.reason, Reason::InvalidSpec);
        let message = &failure.condition.message;
        assert!(message.contains("elsewhere") && message.contains("here"), "{message}");
    }
}

//! What `ServiceAccount`s ask of the apiserver, from the apiserver's own audit log: every request, whichever client
//! sends it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};

/// A kind of request, as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiCall {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group, empty for the core.
    pub group: String,
    /// The plural, with the subresource if there is one: `vpnusers/status`.
    pub resource: String,
    /// None for what is in no namespace, and for a collection of all of them.
    pub namespace: Option<String>,
    /// None for collections, and for what is created.
    pub name: Option<String>,
    /// Whether the account had the permission.
    pub allowed: bool,
}

impl std::fmt::Display for ApiCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in {namespace}")?;
        }
        Ok(())
    }
}

/// The audit log of one control plane.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    policy: PathBuf,
    read: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    offset: u64,
    /// The calls of each user.
    calls: HashMap<String, BTreeSet<ApiCall>>,
}

impl AuditLog {
    /// Writes the policy. The log is empty until an apiserver with [`Self::flags`] runs.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let log = Self {
            path: folder.join("audit.log"),
            policy: folder.join("audit-policy.json"),
            read: Mutex::default(),
        };
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
                {"level": "None"},
            ],
        });
        std::fs::write(&log.policy, policy.to_string()).map_err(unwritable(&log.policy))?;
        Ok(log)
    }

    /// The flags with which kube-apiserver writes it.
    pub(crate) fn flags(&self) -> [String; 3] {
        [
            format!("--audit-policy-file={}", self.policy.display()),
            format!("--audit-log-path={}", self.path.display()),
            // In MB: it is never rotated away from its reader.
            "--audit-log-maxsize=100000".to_owned(),
        ]
    }

    /// What the user has asked for until now. A request that was answered a moment ago may be missing.
    pub(crate) fn calls_of(&self, user: &str) -> Result<BTreeSet<ApiCall>> {
        let mut progress = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.read_on(&mut progress)?;
        Ok(progress.calls.get(user).cloned().unwrap_or_default())
    }

    fn read_on(&self, progress: &mut Progress) -> Result<()> {
        let mut bytes = Vec::new();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // No account has asked for anything.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&self.path)(error)),
        };
        file.seek(SeekFrom::Start(progress.offset))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(unreadable(&self.path))?;
        // The last line may not be whole.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in String::from_utf8_lossy(&bytes[..whole]).lines() {
            if let Some((user, call)) = call(line)? {
                progress.calls.entry(user).or_default().insert(call);
            }
        }
        progress.offset += whole as u64;
        Ok(())
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display()))
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    api_group: String,
    namespace: String,
    name: String,
}

/// The call of a line and who made it; none for requests outside of resources, such as discovery.
fn call(line: &str) -> Result<Option<(String, ApiCall)>> {
    let event: Event =
        serde_json::from_str(line).map_err(|error| Error::Audit(format!("{error} in the line {line}")))?;
    let Some(object) = event.object_ref else {
        return Ok(None);
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let resource = match object.subresource.as_str() {
        "" => object.resource,
        subresource => format!("{}/{subresource}", object.resource),
    };
    let decision = event.annotations.get("authorization.k8s.io/decision");
    let call = ApiCall {
        // RBAC knows no name of what is created, though the log may have it from the body.
        name: some(object.name).filter(|_| event.verb != "create"),
        verb: event.verb,
        group: object.api_group,
        resource,
        namespace: some(object.namespace),
        allowed: decision.is_some_and(|decision| decision == "allow"),
    };
    Ok(Some((event.user.username, call)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &str, object: &str, decision: &str) -> String {
        format!(
            r#"{{"kind":"Event","verb":"{verb}","user":{{"username":"system:serviceaccount:a:operator"}},"objectRef":{object},"annotations":{{"authorization.k8s.io/decision":"{decision}"}}}}"#
        )
    }

    #[test]
    fn an_audit_line_is_parsed_into_an_rbac_call() {
        let status = r#"{"resource":"vpnusers","subresource":"status","apiGroup":"vpn.huaweicloud.com","namespace":"a","name":"alice"}"#;
        let (user, patch) = call(&line("patch", status, "allow")).unwrap().unwrap();
        assert_eq!(user, "system:serviceaccount:a:operator");
        assert_eq!(
            patch.to_string(),
            "patch vpnusers/status.vpn.huaweicloud.com alice in a"
        );
        assert!(patch.allowed);
        let secret = r#"{"resource":"secrets","namespace":"a","name":"key"}"#;
        let (_, create) = call(&line("create", secret, "forbid")).unwrap().unwrap();
        assert_eq!((create.name.as_deref(), create.allowed), (None, false));
        let discovery = r#"{"verb":"get","user":{"username":"x"}}"#;
        assert_eq!(call(discovery).unwrap(), None);
        assert!(call("{").is_err());
    }

    #[test]
    fn the_audit_log_is_read_from_the_last_complete_line() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::prepare(folder.path()).unwrap();
        let user = "system:serviceaccount:a:operator";
        assert_eq!(log.calls_of(user).unwrap().len(), 0);
        let lines: Vec<String> = ["one", "two"]
            .map(|name| line("get", &format!(r#"{{"resource":"secrets","name":"{name}"}}"#), "allow"))
            .into();
        let (half, rest) = lines[1].split_at(20);
        std::fs::write(&log.path, format!("{}\n{half}", lines[0])).unwrap();
        assert_eq!(log.calls_of(user).unwrap().len(), 1);
        std::fs::write(&log.path, format!("{}\n{half}{rest}\n", lines[0])).unwrap();
        assert_eq!(log.calls_of(user).unwrap().len(), 2);
        assert_eq!(log.calls_of("another").unwrap().len(), 0);
    }
}

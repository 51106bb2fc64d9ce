//! Permissions, from RBAC's own objects, held against the requests that were made: what was used, and what was not granted.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::audit::ApiCall;

/// One verb of a rule, for one of its resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The role that has the rule, for people.
    pub role: String,
    /// None: in every namespace, and outside of them.
    pub namespace: Option<String>,
    /// The API group, empty for the core.
    pub group: String,
    /// The plural, with the subresource if there is one.
    pub resource: String,
    /// The verb.
    pub verb: String,
    /// Of the only objects that it is for; empty: for all.
    pub names: Vec<String>,
}

impl Permission {
    /// Every permission of a Role or `ClusterRole`.
    pub fn of_role(role: &Value) -> Vec<Self> {
        let mut permissions = Vec::new();
        let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
        let name = format!(
            "{} {}",
            role["kind"].as_str().unwrap_or_default(),
            role["metadata"]["name"].as_str().unwrap_or_default()
        );
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        permissions.push(Self {
                            role: name.clone(),
                            namespace: namespace.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            verb,
                            names: texts(&rule["resourceNames"]),
                        });
                    }
                }
            }
        }
        permissions
    }

    /// Whether it allows the call.
    pub fn covers(&self, call: &ApiCall) -> bool {
        let is_named = |name: &String| self.names.contains(name);
        self.verb == call.verb
            && self.group == call.group
            && self.resource == call.resource
            && (self.namespace.is_none() || self.namespace == call.namespace)
            && (self.names.is_empty() || call.name.as_ref().is_some_and(is_named))
    }
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in {}", self.verb, self.resource, self.role)
    }
}

/// Permissions held against calls.
#[derive(Debug, PartialEq)]
pub struct Comparison {
    /// A line for each permission and each call that none covers: verb, resource, where, granted by, used.
    pub table: String,
    /// Permissions that no call has used.
    pub unused: Vec<Permission>,
    /// Calls that no permission covers, or that the apiserver has refused.
    pub not_granted: Vec<ApiCall>,
}

impl Comparison {
    /// Compares both ways.
    pub fn new(permissions: &[Permission], calls: &BTreeSet<ApiCall>) -> Self {
        let unused = |permission: &&Permission| !calls.iter().any(|call| permission.covers(call));
        let granted = |call: &ApiCall| call.allowed && permissions.iter().any(|permission| permission.covers(call));
        let mut comparison = Self {
            table: String::new(),
            unused: permissions.iter().filter(unused).cloned().collect(),
            not_granted: calls.iter().filter(|call| !granted(call)).cloned().collect(),
        };
        let mut lines = BTreeSet::new();
        for permission in permissions {
            let used = calls.iter().filter(|call| permission.covers(call)).count();
            lines.insert([
                permission.resource.clone(),
                permission.verb.clone(),
                permission.namespace.clone().unwrap_or("everywhere".to_owned()),
                permission.role.clone(),
                if used > 0 { "yes" } else { "NEVER USED" }.to_owned(),
            ]);
        }
        for call in &comparison.not_granted {
            lines.insert([
                call.resource.clone(),
                call.verb.clone(),
                call.namespace.clone().unwrap_or("everywhere".to_owned()),
                "NOT GRANTED".to_owned(),
                "yes".to_owned(),
            ]);
        }
        let table = &mut comparison.table;
        for [resource, verb, place, role, used] in &lines {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{verb:<7} {resource:<26} {place:<20} {role:<48} {used}");
        }
        comparison
    }

    /// Whether the permissions are the calls.
    pub fn is_exact(&self) -> bool {
        self.unused.is_empty() && self.not_granted.is_empty()
    }
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(verb: &str, resource: &str, namespace: Option<&str>, name: Option<&str>) -> ApiCall {
        ApiCall {
            verb: verb.to_owned(),
            group: String::new(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            allowed: true,
        }
    }

    fn role(namespace: Option<&str>, rule: &Value) -> Value {
        json!({"kind": "Role", "metadata": {"name": "r", "namespace": namespace}, "rules": [rule]})
    }

    #[test]
    fn a_permission_is_limited_to_its_namespace_names_and_subresource() {
        let everywhere = Permission::of_role(&role(
            None,
            &json!({"apiGroups": [""], "resources": ["a"], "verbs": ["get"]}),
        ));
        assert!(everywhere[0].covers(&call("get", "a", Some("x"), Some("n"))));
        assert!(everywhere[0].covers(&call("get", "a", None, Some("n"))));
        assert!(!everywhere[0].covers(&call("get", "a/status", Some("x"), Some("n"))));
        assert!(!everywhere[0].covers(&call("list", "a", Some("x"), None)));
        let rule = json!({"apiGroups": [""], "resources": ["a"], "verbs": ["get", "list"], "resourceNames": ["n"]});
        let named = Permission::of_role(&role(Some("x"), &rule));
        assert!(named[0].covers(&call("get", "a", Some("x"), Some("n"))));
        assert!(!named[0].covers(&call("get", "a", Some("x"), Some("other"))));
        assert!(!named[0].covers(&call("get", "a", Some("y"), Some("n"))));
        assert!(!named[1].covers(&call("list", "a", Some("x"), None)));
    }

    #[test]
    fn unused_and_missing_permissions_are_found() {
        let rule = json!({"apiGroups": [""], "resources": ["a"], "verbs": ["get", "list"]});
        let permissions = Permission::of_role(&role(None, &rule));
        let refused = ApiCall {
            allowed: false,
            ..call("list", "a", None, None)
        };
        let calls = BTreeSet::from([call("get", "a", None, Some("n")), call("watch", "a", None, None)]);
        let comparison = Comparison::new(&permissions, &calls);
        let names = |calls: &[ApiCall]| calls.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(comparison.unused, permissions[1..]);
        assert_eq!(names(&comparison.not_granted), ["watch a"]);
        assert!(!comparison.is_exact());
        assert!(comparison.table.contains("NEVER USED") && comparison.table.contains("NOT GRANTED"));
        let calls = BTreeSet::from([call("get", "a", None, Some("n")), refused]);
        let comparison = Comparison::new(&permissions, &calls);
        assert_eq!(names(&comparison.not_granted), ["list a"], "it was refused at a time");
        let calls = BTreeSet::from([call("get", "a", None, Some("n")), call("list", "a", None, None)]);
        assert!(Comparison::new(&permissions, &calls).is_exact());
    }
}

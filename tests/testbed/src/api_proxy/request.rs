//! A request to the apiserver that passed the proxy, in the terms of Kubernetes.

use serde_json::Value;

/// The verb of a request, as in RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection.
    Watch,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes an object.
    Patch,
    /// Deletes objects.
    Delete,
}

/// A request to the apiserver.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiRequest {
    /// Counts all requests of a proxy, from 1.
    pub number: u64,
    /// Its verb.
    pub verb: Verb,
    /// The path with the query.
    pub path: String,
    /// The plural, such as `vpnusers`; empty for paths outside of resources (`/version`).
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
    /// The namespace of the object.
    pub namespace: Option<String>,
    /// The name of the object in the path.
    pub name: Option<String>,
    /// The body; null if there is none, or if it is not JSON.
    pub body: Value,
}

impl ApiRequest {
    pub(super) fn new(number: u64, method: &str, path: &str, body: Value) -> Self {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = route.split('/').filter(|part| !part.is_empty()).collect();
        let inside = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let (namespace, object) = match inside {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            _ => (None, inside),
        };
        let text = |at: usize| object.get(at).map(|text| (*text).to_owned());
        let is_watch = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match method {
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            _ if is_watch => Verb::Watch,
            _ if object.len() == 1 => Verb::List,
            _ => Verb::Get,
        };
        Self {
            number,
            verb,
            path: path.to_owned(),
            resource: text(0).unwrap_or_default(),
            subresource: text(2),
            namespace: namespace.map(str::to_owned),
            name: text(1),
            body,
        }
    }

    /// Whether it is a write.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }

    /// Whether it is about a Lease: a leader's heartbeat, not its work.
    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// Returns the name of its object: the one that an Event is about, else the one in the path or the body.
    pub fn about(&self) -> Option<&str> {
        let named = |pointer| self.body.pointer(pointer).and_then(Value::as_str);
        if self.resource == "events" {
            return named("/regarding/name").or(named("/involvedObject/name"));
        }
        self.name.as_deref().or(named("/metadata/name"))
    }

    /// Returns verb and resource, for messages and counts, without the names of objects: `Patch vpnusers/status`.
    pub fn kind(&self) -> String {
        let subresource = self.subresource.as_ref().map(|name| format!("/{name}"));
        format!("{:?} {}{}", self.verb, self.resource, subresource.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_is_parsed_into_verb_and_resource() {
        let request = |method, path| ApiRequest::new(1, method, path, Value::Null);
        let status = request(
            "PATCH",
            "/apis/vpn.huaweicloud.com/v1alpha1/namespaces/a/vpnusers/alice/status?",
        );
        assert_eq!(status.kind(), "Patch vpnusers/status");
        assert_eq!(
            (status.namespace.as_deref(), status.about()),
            (Some("a"), Some("alice"))
        );
        assert!(status.is_write());
        let watch = request("GET", "/api/v1/namespaces/a/secrets?limit=5&watch=true");
        assert_eq!((watch.kind(), watch.is_write()), ("Watch secrets".to_owned(), false));
        assert_eq!(request("GET", "/api/v1/secrets?watch=false").kind(), "List secrets");
        assert_eq!(request("GET", "/api/v1/namespaces/a").kind(), "Get namespaces");
        assert_eq!(request("GET", "/version").resource, "");
        let lease = "/apis/coordination.k8s.io/v1/namespaces/a/leases/vpn-operator";
        assert!(request("PUT", lease).is_lease());
    }

    #[test]
    fn the_subject_of_a_request_is_the_regarded_or_created_object() {
        let path = "/apis/events.k8s.io/v1/namespaces/a/events";
        let event = ApiRequest::new(1, "POST", path, json!({"regarding": {"name": "alice"}}));
        assert_eq!(event.about(), Some("alice"));
        let path = "/api/v1/namespaces/a/secrets";
        let secret = ApiRequest::new(2, "POST", path, json!({"metadata": {"name": "key"}}));
        assert_eq!(secret.about(), Some("key"));
    }
}

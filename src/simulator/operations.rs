//! The operations of the API: their names, paths and the IAM action that each needs.

use axum::http::Method;
use percent_encoding::percent_decode_str;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $action:literal,)+) => {
        /// A published operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation { $($(#[$doc])* $name,)+ }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in the log and in faults.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The IAM action; empty where none is needed.
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)+ }
            }
        }
    };
}

operations! {
    CreateCustomerGateway "vpn:customerGateways:create",
    GetCustomerGateway "vpn:customerGateways:get",
    ListCustomerGateways "vpn:customerGateways:list",
    UpdateCustomerGateway "vpn:customerGateways:update",
    DeleteCustomerGateway "vpn:customerGateways:delete",
    AddCustomerGatewayTags "vpn:resourceInstanceTags:create",
    RemoveCustomerGatewayTags "vpn:resourceInstanceTags:delete",
    ListCustomerGatewayTags "vpn:resourceInstanceTags:list",
    ListProjectTags "vpn:resourceTypeTags:list",
    FilterCustomerGateways "vpn:resourceInstances:list",
    CountCustomerGateways "vpn:resourceInstances:count",
    ListQuotas "vpn:quota:list",
    LookUpProject "iam:projects:listProjects",
    /// A token for a user with a password.
    CreateToken "",
}

impl Operation {
    /// By its name or its action.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.name() == text || (!text.is_empty() && operation.action() == text))
    }

    /// Whether it belongs to IAM rather than to the VPN service.
    pub fn is_iam(self) -> bool {
        matches!(self, Self::LookUpProject | Self::CreateToken)
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub operation: Operation,
    /// Empty for IAM.
    pub project_id: String,
    /// The gateway in the path; empty where there is none.
    pub id: String,
}

/// The published operation at a path, if there is one.
pub fn route(method: &Method, path: &str) -> Option<Route> {
    let segments: Vec<String> = path
        .strip_prefix('/')?
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
        .collect::<Result<_, _>>()
        .ok()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (operation, project_id, id) = match (method.as_str(), segments.as_slice()) {
        ("GET", ["v3", "projects"]) => (Operation::LookUpProject, "", ""),
        ("POST", ["v3", "auth", "tokens"]) => (Operation::CreateToken, "", ""),
        (method, ["v5", project, rest @ ..]) if !project.is_empty() => {
            let (operation, id) = match (method, rest) {
                ("POST", ["customer-gateways"]) => (Operation::CreateCustomerGateway, ""),
                ("GET", ["customer-gateways"]) => (Operation::ListCustomerGateways, ""),
                ("GET", ["customer-gateways", id]) => (Operation::GetCustomerGateway, *id),
                ("PUT", ["customer-gateways", id]) => (Operation::UpdateCustomerGateway, *id),
                ("DELETE", ["customer-gateways", id]) => (Operation::DeleteCustomerGateway, *id),
                ("GET", ["customer-gateway", "tags"]) => (Operation::ListProjectTags, ""),
                ("POST", ["customer-gateway", "resource-instances", "filter"]) => {
                    (Operation::FilterCustomerGateways, "")
                }
                ("POST", ["customer-gateway", "resource-instances", "count"]) => (Operation::CountCustomerGateways, ""),
                ("GET", ["customer-gateway", id, "tags"]) => (Operation::ListCustomerGatewayTags, *id),
                ("POST", ["customer-gateway", id, "tags", "create"]) => (Operation::AddCustomerGatewayTags, *id),
                ("POST", ["customer-gateway", id, "tags", "delete"]) => (Operation::RemoveCustomerGatewayTags, *id),
                ("GET", ["vpn", "quotas"]) => (Operation::ListQuotas, ""),
                _ => return None,
            };
            (operation, *project, id)
        }
        _ => return None,
    };
    // An empty id is no id: the path ends in a slash, and nothing is published there.
    if segments.last().is_some_and(|last| last.is_empty()) {
        return None;
    }
    Some(Route {
        operation,
        project_id: project_id.to_owned(),
        id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_operations() {
        let gateway = route(&Method::GET, "/v5/p/customer-gateways/a~b%20c").unwrap();
        assert_eq!(gateway.operation, Operation::GetCustomerGateway);
        assert_eq!((gateway.project_id.as_str(), gateway.id.as_str()), ("p", "a~b c"));
        let tags = route(&Method::POST, "/v5/p/customer-gateway/x/tags/delete").unwrap();
        assert_eq!(tags.operation, Operation::RemoveCustomerGatewayTags);
    }

    #[test]
    fn what_is_not_published_has_no_route() {
        for (method, path) in [
            (Method::PATCH, "/v5/p/customer-gateways/x"),
            (Method::GET, "/v5/p/customer-gateways/"),
            (Method::POST, "/v5/p/vpn/customer-gateways"),
            (Method::GET, "/v5/p/p2c-vpn-gateways/vpn-servers/s/users"),
            (Method::GET, "/"),
        ] {
            assert_eq!(route(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn operations_are_found_by_name_and_by_action() {
        for operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.name()), Some(*operation));
            if !operation.action().is_empty() {
                assert_eq!(Operation::parse(operation.action()), Some(*operation));
            }
        }
        assert_eq!(Operation::parse(""), None);
    }
}

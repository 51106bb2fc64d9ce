//! The operations of the API: their names, paths and the IAM action that each needs.

use axum::http::Method;
use percent_encoding::percent_decode_str;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $action:literal,)+) => {
        /// A published operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum SimulatedOperation { $($(#[$doc])* $name,)+ }

        impl SimulatedOperation {
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
    /// `POST /v5/{project}/customer-gateways`.
    CreateCustomerGateway "vpn:customerGateways:create",
    /// `GET /v5/{project}/customer-gateways/{id}`.
    GetCustomerGateway "vpn:customerGateways:get",
    /// `GET /v5/{project}/customer-gateways`, in pages.
    ListCustomerGateways "vpn:customerGateways:list",
    /// `PUT /v5/{project}/customer-gateways/{id}`.
    UpdateCustomerGateway "vpn:customerGateways:update",
    /// `DELETE /v5/{project}/customer-gateways/{id}`.
    DeleteCustomerGateway "vpn:customerGateways:delete",
    /// `POST /v5/{project}/customer-gateway/{id}/tags/create`.
    AddCustomerGatewayTags "vpn:resourceInstanceTags:create",
    /// `POST /v5/{project}/customer-gateway/{id}/tags/delete`.
    RemoveCustomerGatewayTags "vpn:resourceInstanceTags:delete",
    /// `GET /v5/{project}/customer-gateway/{id}/tags`.
    ListCustomerGatewayTags "vpn:resourceInstanceTags:list",
    /// `GET /v5/{project}/customer-gateway/tags`: the tags of all gateways.
    ListProjectTags "vpn:resourceTypeTags:list",
    /// `POST /v5/{project}/customer-gateway/resource-instances/filter`.
    FilterCustomerGateways "vpn:resourceInstances:list",
    /// `POST /v5/{project}/customer-gateway/resource-instances/count`.
    CountCustomerGateways "vpn:resourceInstances:count",
    /// `GET /v5/{project}/vpn/quotas`.
    ListQuotas "vpn:quota:list",
    /// `POST …/vpn-servers/{server}/users`.
    CreateVpnUser "vpn:p2cVpnUser:create",
    /// `GET …/vpn-servers/{server}/users/{id}`.
    GetVpnUser "vpn:p2cVpnUser:get",
    /// `GET …/vpn-servers/{server}/users`, in pages.
    ListVpnUsers "vpn:p2cVpnUser:list",
    /// `PUT …/vpn-servers/{server}/users/{id}`.
    UpdateVpnUser "vpn:p2cVpnUser:update",
    /// `DELETE …/vpn-servers/{server}/users/{id}`.
    DeleteVpnUser "vpn:p2cVpnUser:delete",
    /// `POST …/vpn-servers/{server}/users/batch-create`.
    BatchCreateVpnUsers "vpn:p2cVpnUser:batchCreate",
    /// `POST …/vpn-servers/{server}/users/batch-delete`.
    BatchDeleteVpnUsers "vpn:p2cVpnUser:batchDelete",
    /// By the user, with the old password.
    ChangeVpnUserPassword "vpn:p2cVpnUser:updatePassword",
    /// By an administrator.
    ResetVpnUserPassword "vpn:p2cVpnUser:resetPassword",
    /// `POST …/vpn-servers/{server}/groups`.
    CreateVpnUserGroup "vpn:p2cVpnGateway:createUserGroup",
    /// `GET …/vpn-servers/{server}/groups/{id}`.
    GetVpnUserGroup "vpn:p2cVpnGateway:getUserGroup",
    /// `GET …/vpn-servers/{server}/groups`, in pages.
    ListVpnUserGroups "vpn:p2cVpnGateway:listUserGroup",
    /// `PUT …/vpn-servers/{server}/groups/{id}`.
    UpdateVpnUserGroup "vpn:p2cVpnGateway:updateUserGroup",
    /// `DELETE …/vpn-servers/{server}/groups/{id}`.
    DeleteVpnUserGroup "vpn:p2cVpnGateway:deleteUserGroup",
    /// `POST …/vpn-servers/{server}/groups/{id}/add-users`.
    AddVpnUsersToGroup "vpn:p2cVpnGateway:addUsers",
    /// `POST …/vpn-servers/{server}/groups/{id}/remove-users`.
    RemoveVpnUsersFromGroup "vpn:p2cVpnGateway:removeUsers",
    /// `GET …/vpn-servers/{server}/groups/{id}/users`, in pages.
    ListVpnUsersInGroup "vpn:p2cVpnGateway:listUsersInGroup",
    /// `GET /v5/{project}/vpn-servers`, in pages.
    ListVpnServers "vpn:p2cVpnGateway:listAllServers",
    /// `GET /v5/{project}/p2c-vpn-gateways/{id}/vpn-servers`.
    ListVpnServersOfGateway "vpn:p2cVpnGateway:listServers",
    /// `GET /v3/projects` of IAM.
    LookUpProject "iam:projects:listProjects",
    /// The domains of the caller, of which there is one; needs no permission.
    ListAuthDomains "",
    /// The IAM users of a domain.
    ListIamUsers "iam:users:listUsers",
    /// A token for a user with a password.
    CreateToken "",
}

impl SimulatedOperation {
    /// Finds an operation by its name or its action.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.name() == text || (!text.is_empty() && operation.action() == text))
    }

    /// Whether it belongs to IAM rather than to the VPN service.
    pub fn is_iam(self) -> bool {
        matches!(
            self,
            Self::LookUpProject | Self::ListAuthDomains | Self::ListIamUsers | Self::CreateToken
        )
    }

    /// Whether it belongs to the part for remote-access users, which not every cloud publishes.
    pub(crate) fn is_p2c(self) -> bool {
        self.action().starts_with("vpn:p2c")
    }

    /// Whether it changes something on a VPN server.
    pub(crate) fn is_p2c_write(self) -> bool {
        self.is_p2c()
            && !matches!(
                self,
                Self::GetVpnUser
                    | Self::ListVpnUsers
                    | Self::GetVpnUserGroup
                    | Self::ListVpnUserGroups
                    | Self::ListVpnUsersInGroup
                    | Self::ListVpnServers
                    | Self::ListVpnServersOfGateway
            )
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub operation: SimulatedOperation,
    /// Empty for IAM.
    pub project_id: String,
    /// The VPN server in the path; empty where there is none.
    pub server_id: String,
    /// The object in the path; empty where there is none.
    pub id: String,
}

/// The published operation at a path, if there is one.
pub(crate) fn route(method: &Method, path: &str) -> Option<Route> {
    let segments: Vec<String> = path
        .strip_prefix('/')?
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
        .collect::<Result<_, _>>()
        .ok()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (operation, project_id, server_id, id) = match (method.as_str(), segments.as_slice()) {
        ("GET", ["v3", "projects"]) => (SimulatedOperation::LookUpProject, "", "", ""),
        ("GET", ["v3", "auth", "domains"]) => (SimulatedOperation::ListAuthDomains, "", "", ""),
        ("GET", ["v3", "users"]) => (SimulatedOperation::ListIamUsers, "", "", ""),
        ("POST", ["v3", "auth", "tokens"]) => (SimulatedOperation::CreateToken, "", "", ""),
        (method, ["v5", project, "p2c-vpn-gateways", "vpn-servers", server, rest @ ..])
            if !project.is_empty() && !server.is_empty() =>
        {
            let (operation, id) = on_server(method, rest)?;
            (operation, *project, *server, id)
        }
        (method, ["v5", project, rest @ ..]) if !project.is_empty() => {
            let (operation, id) = match (method, rest) {
                ("POST", ["customer-gateways"]) => (SimulatedOperation::CreateCustomerGateway, ""),
                ("GET", ["customer-gateways"]) => (SimulatedOperation::ListCustomerGateways, ""),
                ("GET", ["customer-gateways", id]) => (SimulatedOperation::GetCustomerGateway, *id),
                ("PUT", ["customer-gateways", id]) => (SimulatedOperation::UpdateCustomerGateway, *id),
                ("DELETE", ["customer-gateways", id]) => (SimulatedOperation::DeleteCustomerGateway, *id),
                ("GET", ["customer-gateway", "tags"]) => (SimulatedOperation::ListProjectTags, ""),
                ("POST", ["customer-gateway", "resource-instances", "filter"]) => {
                    (SimulatedOperation::FilterCustomerGateways, "")
                }
                ("POST", ["customer-gateway", "resource-instances", "count"]) => {
                    (SimulatedOperation::CountCustomerGateways, "")
                }
                ("GET", ["customer-gateway", id, "tags"]) => (SimulatedOperation::ListCustomerGatewayTags, *id),
                ("POST", ["customer-gateway", id, "tags", "create"]) => {
                    (SimulatedOperation::AddCustomerGatewayTags, *id)
                }
                ("POST", ["customer-gateway", id, "tags", "delete"]) => {
                    (SimulatedOperation::RemoveCustomerGatewayTags, *id)
                }
                ("GET", ["vpn", "quotas"]) => (SimulatedOperation::ListQuotas, ""),
                ("GET", ["vpn-servers"]) => (SimulatedOperation::ListVpnServers, ""),
                ("GET", ["p2c-vpn-gateways", id, "vpn-servers"]) => (SimulatedOperation::ListVpnServersOfGateway, *id),
                _ => return None,
            };
            (operation, *project, "", id)
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
        server_id: server_id.to_owned(),
        id: id.to_owned(),
    })
}

/// Returns the operation at a path below a VPN server, and the id of the object.
fn on_server<'a>(method: &str, path: &[&'a str]) -> Option<(SimulatedOperation, &'a str)> {
    Some(match (method, path) {
        ("POST", ["users"]) => (SimulatedOperation::CreateVpnUser, ""),
        ("GET", ["users"]) => (SimulatedOperation::ListVpnUsers, ""),
        ("POST", ["users", "batch-create"]) => (SimulatedOperation::BatchCreateVpnUsers, ""),
        ("POST", ["users", "batch-delete"]) => (SimulatedOperation::BatchDeleteVpnUsers, ""),
        ("GET", ["users", id]) => (SimulatedOperation::GetVpnUser, id),
        ("PUT", ["users", id]) => (SimulatedOperation::UpdateVpnUser, id),
        ("DELETE", ["users", id]) => (SimulatedOperation::DeleteVpnUser, id),
        ("PUT", ["users", id, "password"]) => (SimulatedOperation::ChangeVpnUserPassword, id),
        ("POST", ["users", id, "reset-password"]) => (SimulatedOperation::ResetVpnUserPassword, id),
        ("POST", ["groups"]) => (SimulatedOperation::CreateVpnUserGroup, ""),
        ("GET", ["groups"]) => (SimulatedOperation::ListVpnUserGroups, ""),
        ("GET", ["groups", id]) => (SimulatedOperation::GetVpnUserGroup, id),
        ("PUT", ["groups", id]) => (SimulatedOperation::UpdateVpnUserGroup, id),
        ("DELETE", ["groups", id]) => (SimulatedOperation::DeleteVpnUserGroup, id),
        ("POST", ["groups", id, "add-users"]) => (SimulatedOperation::AddVpnUsersToGroup, id),
        ("POST", ["groups", id, "remove-users"]) => (SimulatedOperation::RemoveVpnUsersFromGroup, id),
        ("GET", ["groups", id, "users"]) => (SimulatedOperation::ListVpnUsersInGroup, id),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_routed_to_their_operations() {
        let gateway = route(&Method::GET, "/v5/p/customer-gateways/a~b%20c").unwrap();
        assert_eq!(gateway.operation, SimulatedOperation::GetCustomerGateway);
        assert_eq!((gateway.project_id.as_str(), gateway.id.as_str()), ("p", "a~b c"));
        let tags = route(&Method::POST, "/v5/p/customer-gateway/x/tags/delete").unwrap();
        assert_eq!(tags.operation, SimulatedOperation::RemoveCustomerGatewayTags);
        let user = route(&Method::PUT, "/v5/p/p2c-vpn-gateways/vpn-servers/s/users/u/password").unwrap();
        assert_eq!(user.operation, SimulatedOperation::ChangeVpnUserPassword);
        assert_eq!((user.server_id.as_str(), user.id.as_str()), ("s", "u"));
        let servers = route(&Method::GET, "/v5/p/p2c-vpn-gateways/g/vpn-servers").unwrap();
        assert_eq!(servers.operation, SimulatedOperation::ListVpnServersOfGateway);
        assert_eq!((servers.server_id.as_str(), servers.id.as_str()), ("", "g"));
    }

    #[test]
    fn unpublished_paths_have_no_route() {
        for (method, path) in [
            (Method::PATCH, "/v5/p/customer-gateways/x"),
            (Method::GET, "/v5/p/customer-gateways/"),
            (Method::POST, "/v5/p/vpn/customer-gateways"),
            (Method::GET, "/v5/p/p2c-vpn-gateways/vpn-servers/s"),
            (Method::GET, "/v5/p/p2c-vpn-gateways/vpn-servers/s/users/"),
            (Method::GET, "/v5/p/p2c-vpn-gateways/vpn-servers//users"),
            (Method::DELETE, "/v5/p/p2c-vpn-gateways/vpn-servers/s/users"),
            (Method::GET, "/"),
        ] {
            assert_eq!(route(&method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn operations_are_found_by_name_and_by_action() {
        for operation in SimulatedOperation::ALL {
            assert_eq!(SimulatedOperation::parse(operation.name()), Some(*operation));
            if !operation.action().is_empty() {
                assert_eq!(SimulatedOperation::parse(operation.action()), Some(*operation));
            }
        }
        assert_eq!(SimulatedOperation::parse(""), None);
    }
}

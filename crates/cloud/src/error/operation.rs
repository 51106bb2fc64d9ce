//! The calls of the API by name: for metrics, for people, and for the permission that each one needs.

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v5/{project}/customer-gateways`.
    CreateCustomerGateway,
    /// `GET /v5/{project}/customer-gateways/{id}`.
    GetCustomerGateway,
    /// `GET /v5/{project}/customer-gateways`, in pages.
    ListCustomerGateways,
    /// `PUT /v5/{project}/customer-gateways/{id}`.
    UpdateCustomerGateway,
    /// `DELETE /v5/{project}/customer-gateways/{id}`.
    DeleteCustomerGateway,
    /// `POST /v5/{project}/customer-gateway/{id}/tags/create`.
    AddCustomerGatewayTags,
    /// `POST /v5/{project}/customer-gateway/{id}/tags/delete`.
    RemoveCustomerGatewayTags,
    /// `GET /v5/{project}/customer-gateway/{id}/tags`.
    ListCustomerGatewayTags,
    /// `POST /v5/{project}/customer-gateway/resource-instances/filter`, in pages.
    FilterCustomerGateways,
    /// `POST …/vpn-servers/{server}/users`.
    CreateVpnUser,
    /// `GET …/vpn-servers/{server}/users/{id}`.
    GetVpnUser,
    /// `GET …/vpn-servers/{server}/users`, in pages.
    ListVpnUsers,
    /// `PUT …/vpn-servers/{server}/users/{id}`.
    UpdateVpnUser,
    /// `DELETE …/vpn-servers/{server}/users/{id}`.
    DeleteVpnUser,
    /// `POST …/vpn-servers/{server}/users/{id}/reset-password`, as an administrator.
    ResetVpnUserPassword,
    /// `GET …/vpn-servers/{server}/groups`, in pages.
    ListVpnUserGroups,
    /// `GET …/vpn-servers/{server}/groups/{id}/users`, in pages.
    ListVpnUsersInGroup,
    /// `POST …/vpn-servers/{server}/groups/{id}/add-users`.
    AddVpnUsersToGroup,
    /// `POST …/vpn-servers/{server}/groups/{id}/remove-users`.
    RemoveVpnUsersFromGroup,
    /// `GET /v5/{project}/vpn-servers`, in pages.
    ListVpnServers,
    /// `GET /v3/projects` of IAM, by name.
    LookUpProject,
}

/// What a call is aimed at: it says what a "not found" can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A collection of the project: that one is always there.
    Collection,
    /// A collection of another object, such as the users of a server: what is missing is that object, or one that the
    /// request names.
    CollectionOfAnother,
    /// One object, which is read, changed or deleted.
    Object,
    /// Something of one object, such as a tag, which may be missing itself.
    PartOfObject,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::CreateCustomerGateway,
        Self::GetCustomerGateway,
        Self::ListCustomerGateways,
        Self::UpdateCustomerGateway,
        Self::DeleteCustomerGateway,
        Self::AddCustomerGatewayTags,
        Self::RemoveCustomerGatewayTags,
        Self::ListCustomerGatewayTags,
        Self::FilterCustomerGateways,
        Self::CreateVpnUser,
        Self::GetVpnUser,
        Self::ListVpnUsers,
        Self::UpdateVpnUser,
        Self::DeleteVpnUser,
        Self::ResetVpnUserPassword,
        Self::ListVpnUserGroups,
        Self::ListVpnUsersInGroup,
        Self::AddVpnUsersToGroup,
        Self::RemoveVpnUsersFromGroup,
        Self::ListVpnServers,
        Self::LookUpProject,
    ];

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateCustomerGateway => "CreateCustomerGateway",
            Self::GetCustomerGateway => "GetCustomerGateway",
            Self::ListCustomerGateways => "ListCustomerGateways",
            Self::UpdateCustomerGateway => "UpdateCustomerGateway",
            Self::DeleteCustomerGateway => "DeleteCustomerGateway",
            Self::AddCustomerGatewayTags => "AddCustomerGatewayTags",
            Self::RemoveCustomerGatewayTags => "RemoveCustomerGatewayTags",
            Self::ListCustomerGatewayTags => "ListCustomerGatewayTags",
            Self::FilterCustomerGateways => "FilterCustomerGateways",
            Self::CreateVpnUser => "CreateVpnUser",
            Self::GetVpnUser => "GetVpnUser",
            Self::ListVpnUsers => "ListVpnUsers",
            Self::UpdateVpnUser => "UpdateVpnUser",
            Self::DeleteVpnUser => "DeleteVpnUser",
            Self::ResetVpnUserPassword => "ResetVpnUserPassword",
            Self::ListVpnUserGroups => "ListVpnUserGroups",
            Self::ListVpnUsersInGroup => "ListVpnUsersInGroup",
            Self::AddVpnUsersToGroup => "AddVpnUsersToGroup",
            Self::RemoveVpnUsersFromGroup => "RemoveVpnUsersFromGroup",
            Self::ListVpnServers => "ListVpnServers",
            Self::LookUpProject => "LookUpProject",
        }
    }

    /// For people: fits before "failed".
    pub fn what(self) -> &'static str {
        match self {
            Self::CreateCustomerGateway => "creating the customer gateway",
            Self::GetCustomerGateway => "reading the customer gateway",
            Self::ListCustomerGateways => "listing the customer gateways",
            Self::UpdateCustomerGateway => "updating the customer gateway",
            Self::DeleteCustomerGateway => "deleting the customer gateway",
            Self::AddCustomerGatewayTags => "adding tags to the customer gateway",
            Self::RemoveCustomerGatewayTags => "removing tags from the customer gateway",
            Self::ListCustomerGatewayTags => "reading the tags of the customer gateway",
            Self::FilterCustomerGateways => "reading the tags of all customer gateways",
            Self::CreateVpnUser => "creating the VPN user",
            Self::GetVpnUser => "reading the VPN user",
            Self::ListVpnUsers => "listing the VPN users",
            Self::UpdateVpnUser => "updating the VPN user",
            Self::DeleteVpnUser => "deleting the VPN user",
            Self::ResetVpnUserPassword => "resetting the VPN user's password",
            Self::ListVpnUserGroups => "listing the user groups",
            Self::ListVpnUsersInGroup => "listing the members of the user group",
            Self::AddVpnUsersToGroup => "adding the VPN user to the group",
            Self::RemoveVpnUsersFromGroup => "removing the VPN user from the group",
            Self::ListVpnServers => "listing the VPN servers",
            Self::LookUpProject => "looking up the project",
        }
    }

    /// Who is asked; for people.
    pub fn service(self) -> &'static str {
        match self {
            Self::LookUpProject => "IAM API",
            _ => "VPN API",
        }
    }

    /// The IAM action that the credential must be allowed to do.
    pub fn iam_action(self) -> &'static str {
        match self {
            Self::CreateCustomerGateway => "vpn:customerGateways:create",
            Self::GetCustomerGateway => "vpn:customerGateways:get",
            Self::ListCustomerGateways => "vpn:customerGateways:list",
            Self::UpdateCustomerGateway => "vpn:customerGateways:update",
            Self::DeleteCustomerGateway => "vpn:customerGateways:delete",
            Self::AddCustomerGatewayTags => "vpn:resourceInstanceTags:create",
            Self::RemoveCustomerGatewayTags => "vpn:resourceInstanceTags:delete",
            Self::ListCustomerGatewayTags => "vpn:resourceInstanceTags:list",
            Self::FilterCustomerGateways => "vpn:resourceInstances:list",
            Self::CreateVpnUser => "vpn:p2cVpnUser:create",
            Self::GetVpnUser => "vpn:p2cVpnUser:get",
            Self::ListVpnUsers => "vpn:p2cVpnUser:list",
            Self::UpdateVpnUser => "vpn:p2cVpnUser:update",
            Self::DeleteVpnUser => "vpn:p2cVpnUser:delete",
            Self::ResetVpnUserPassword => "vpn:p2cVpnUser:resetPassword",
            Self::ListVpnUserGroups => "vpn:p2cVpnGateway:listUserGroup",
            Self::ListVpnUsersInGroup => "vpn:p2cVpnGateway:listUsersInGroup",
            Self::AddVpnUsersToGroup => "vpn:p2cVpnGateway:addUsers",
            Self::RemoveVpnUsersFromGroup => "vpn:p2cVpnGateway:removeUsers",
            Self::ListVpnServers => "vpn:p2cVpnGateway:listAllServers",
            Self::LookUpProject => "iam:projects:listProjects",
        }
    }

    /// Whether the call changes something in the cloud.
    pub fn is_write(self) -> bool {
        match self {
            Self::CreateCustomerGateway
            | Self::UpdateCustomerGateway
            | Self::DeleteCustomerGateway
            | Self::AddCustomerGatewayTags
            | Self::RemoveCustomerGatewayTags
            | Self::CreateVpnUser
            | Self::UpdateVpnUser
            | Self::DeleteVpnUser
            | Self::ResetVpnUserPassword
            | Self::AddVpnUsersToGroup
            | Self::RemoveVpnUsersFromGroup => true,
            Self::GetCustomerGateway
            | Self::ListCustomerGateways
            | Self::ListCustomerGatewayTags
            | Self::FilterCustomerGateways
            | Self::GetVpnUser
            | Self::ListVpnUsers
            | Self::ListVpnUserGroups
            | Self::ListVpnUsersInGroup
            | Self::ListVpnServers
            | Self::LookUpProject => false,
        }
    }

    /// Whether a "not found" has one reason only: the object that the call names.
    pub(crate) fn can_miss_only_its_object(self) -> bool {
        match self {
            // Its certificate, too.
            Self::UpdateCustomerGateway => false,
            _ => self.target() == Target::Object,
        }
    }

    /// Whether the call is about users or groups, whose error codes are not documented.
    pub fn is_about_users(self) -> bool {
        match self {
            Self::CreateVpnUser
            | Self::GetVpnUser
            | Self::ListVpnUsers
            | Self::UpdateVpnUser
            | Self::DeleteVpnUser
            | Self::ResetVpnUserPassword
            | Self::ListVpnUserGroups
            | Self::ListVpnUsersInGroup
            | Self::AddVpnUsersToGroup
            | Self::RemoveVpnUsersFromGroup => true,
            Self::CreateCustomerGateway
            | Self::GetCustomerGateway
            | Self::ListCustomerGateways
            | Self::UpdateCustomerGateway
            | Self::DeleteCustomerGateway
            | Self::AddCustomerGatewayTags
            | Self::RemoveCustomerGatewayTags
            | Self::ListCustomerGatewayTags
            | Self::FilterCustomerGateways
            | Self::ListVpnServers
            | Self::LookUpProject => false,
        }
    }

    /// Returns what the call is aimed at.
    pub fn target(self) -> Target {
        match self {
            Self::CreateCustomerGateway
            | Self::ListCustomerGateways
            | Self::FilterCustomerGateways
            | Self::ListVpnServers
            | Self::LookUpProject => Target::Collection,
            Self::CreateVpnUser
            | Self::ListVpnUsers
            | Self::ListVpnUserGroups
            | Self::ListVpnUsersInGroup
            | Self::AddVpnUsersToGroup
            | Self::RemoveVpnUsersFromGroup => Target::CollectionOfAnother,
            Self::GetCustomerGateway
            | Self::UpdateCustomerGateway
            | Self::DeleteCustomerGateway
            | Self::ListCustomerGatewayTags
            | Self::GetVpnUser
            | Self::UpdateVpnUser
            | Self::DeleteVpnUser
            | Self::ResetVpnUserPassword => Target::Object,
            Self::AddCustomerGatewayTags | Self::RemoveCustomerGatewayTags => Target::PartOfObject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operation_has_a_unique_name_description_and_action() {
        for words in [
            Operation::name as fn(Operation) -> &'static str,
            Operation::what,
            Operation::iam_action,
        ] {
            let distinct: HashSet<_> = Operation::ALL.into_iter().map(words).collect();
            assert_eq!(distinct.len(), Operation::ALL.len());
        }
    }

    #[test]
    fn metric_names_of_operations_match_the_variants() {
        for operation in Operation::ALL {
            assert_eq!(operation.name(), format!("{operation:?}"));
        }
    }
}

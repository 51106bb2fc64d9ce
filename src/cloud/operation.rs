//! The calls of the API by name: for metrics, for people, and for the permission that each one needs.

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    CreateCustomerGateway,
    GetCustomerGateway,
    ListCustomerGateways,
    UpdateCustomerGateway,
    DeleteCustomerGateway,
    AddCustomerGatewayTags,
    RemoveCustomerGatewayTags,
    ListCustomerGatewayTags,
    LookUpProject,
}

/// What a call is aimed at: it says what a "not found" can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A collection: that one is always there.
    Collection,
    /// One object, which is read, changed or deleted.
    Object,
    /// Something of one object, such as a tag, which may be missing itself.
    PartOfObject,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CreateCustomerGateway,
        Self::GetCustomerGateway,
        Self::ListCustomerGateways,
        Self::UpdateCustomerGateway,
        Self::DeleteCustomerGateway,
        Self::AddCustomerGatewayTags,
        Self::RemoveCustomerGatewayTags,
        Self::ListCustomerGatewayTags,
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
            Self::LookUpProject => "looking up the project",
        }
    }

    /// Who is asked; for people.
    pub(super) fn service(self) -> &'static str {
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
            | Self::RemoveCustomerGatewayTags => true,
            Self::GetCustomerGateway
            | Self::ListCustomerGateways
            | Self::ListCustomerGatewayTags
            | Self::LookUpProject => false,
        }
    }

    /// Whether it is a read or a deletion, for which "not found" has one reason only.
    pub(super) fn is_read_or_delete(self) -> bool {
        !self.is_write() || self == Self::DeleteCustomerGateway
    }

    pub(super) fn target(self) -> Target {
        match self {
            Self::CreateCustomerGateway | Self::ListCustomerGateways | Self::LookUpProject => Target::Collection,
            Self::GetCustomerGateway
            | Self::UpdateCustomerGateway
            | Self::DeleteCustomerGateway
            | Self::ListCustomerGatewayTags => Target::Object,
            Self::AddCustomerGatewayTags | Self::RemoveCustomerGatewayTags => Target::PartOfObject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operation_has_words_and_a_name_of_its_own() {
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
    fn names_for_metrics_are_the_names_in_code() {
        for operation in Operation::ALL {
            assert_eq!(operation.name(), format!("{operation:?}"));
        }
    }
}

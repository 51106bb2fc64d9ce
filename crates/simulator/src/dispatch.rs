//! Which function executes which operation of the service.

use axum::http::StatusCode;

use crate::calls::{CallAnswer, ServiceCall};
use crate::operations::Operation;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::{gateways, p2c, quotas, tags};

/// Executes an admitted call.
pub(crate) fn dispatch(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    match call.route.operation {
        Operation::CreateCustomerGateway => gateways::create(state, call),
        Operation::GetCustomerGateway => gateways::get(state, call),
        Operation::ListCustomerGateways => gateways::list(state, call),
        Operation::UpdateCustomerGateway => gateways::update(state, call),
        Operation::DeleteCustomerGateway => gateways::delete(state, call),
        Operation::AddCustomerGatewayTags => tags::add(state, call),
        Operation::RemoveCustomerGatewayTags => tags::remove(state, call),
        Operation::ListCustomerGatewayTags => tags::of_gateway(state, call),
        Operation::ListProjectTags => Ok(tags::of_project(state, call)),
        Operation::FilterCustomerGateways => tags::filter(state, call),
        Operation::CountCustomerGateways => tags::count(state, call),
        Operation::ListQuotas => Ok(quotas::list(state, call)),
        Operation::CreateVpnUser => p2c::users::create(state, call),
        Operation::GetVpnUser => p2c::users::get(state, call),
        Operation::ListVpnUsers => p2c::users::list(state, call),
        Operation::UpdateVpnUser => p2c::users::update(state, call),
        Operation::DeleteVpnUser => p2c::users::delete(state, call),
        Operation::BatchCreateVpnUsers => p2c::batches::create(state, call),
        Operation::BatchDeleteVpnUsers => p2c::batches::delete(state, call),
        Operation::ChangeVpnUserPassword => p2c::passwords::change(state, call),
        Operation::ResetVpnUserPassword => p2c::passwords::reset(state, call),
        Operation::CreateVpnUserGroup => p2c::groups::create(state, call),
        Operation::GetVpnUserGroup => p2c::groups::get(state, call),
        Operation::ListVpnUserGroups => p2c::groups::list(state, call),
        Operation::UpdateVpnUserGroup => p2c::groups::update(state, call),
        Operation::DeleteVpnUserGroup => p2c::groups::delete(state, call),
        Operation::AddVpnUsersToGroup => p2c::members::add(state, call),
        Operation::RemoveVpnUsersFromGroup => p2c::members::remove(state, call),
        Operation::ListVpnUsersInGroup => p2c::members::list(state, call),
        Operation::ListVpnServers => p2c::servers::list(state, call),
        Operation::ListVpnServersOfGateway => Ok(p2c::servers::list_of_gateway(state, call)),
        // These belong to IAM, not to the service.
        Operation::LookUpProject | Operation::ListAuthDomains | Operation::ListIamUsers | Operation::CreateToken => {
            Err(ApiRefusal::gateway(
                StatusCode::NOT_FOUND,
                "0101",
                "The API does not exist or has not been published in the environment",
            ))
        }
    }
}

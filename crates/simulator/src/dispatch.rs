//! Which function executes which operation of the service.

use axum::http::StatusCode;

use crate::calls::{CallAnswer, ServiceCall};
use crate::operations::SimulatedOperation;
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::{gateways, p2c, quotas, tags};

/// Executes an admitted call.
pub(crate) fn dispatch(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    match call.route.operation {
        SimulatedOperation::CreateCustomerGateway => gateways::create(state, call),
        SimulatedOperation::GetCustomerGateway => gateways::get(state, call),
        SimulatedOperation::ListCustomerGateways => gateways::list(state, call),
        SimulatedOperation::UpdateCustomerGateway => gateways::update(state, call),
        SimulatedOperation::DeleteCustomerGateway => gateways::delete(state, call),
        SimulatedOperation::AddCustomerGatewayTags => tags::add(state, call),
        SimulatedOperation::RemoveCustomerGatewayTags => tags::remove(state, call),
        SimulatedOperation::ListCustomerGatewayTags => tags::of_gateway(state, call),
        SimulatedOperation::ListProjectTags => Ok(tags::of_project(state, call)),
        SimulatedOperation::FilterCustomerGateways => tags::filter(state, call),
        SimulatedOperation::CountCustomerGateways => tags::count(state, call),
        SimulatedOperation::ListQuotas => Ok(quotas::list(state, call)),
        SimulatedOperation::CreateVpnUser => p2c::users::create(state, call),
        SimulatedOperation::GetVpnUser => p2c::users::get(state, call),
        SimulatedOperation::ListVpnUsers => p2c::users::list(state, call),
        SimulatedOperation::UpdateVpnUser => p2c::users::update(state, call),
        SimulatedOperation::DeleteVpnUser => p2c::users::delete(state, call),
        SimulatedOperation::BatchCreateVpnUsers => p2c::batches::create(state, call),
        SimulatedOperation::BatchDeleteVpnUsers => p2c::batches::delete(state, call),
        SimulatedOperation::ChangeVpnUserPassword => p2c::passwords::change(state, call),
        SimulatedOperation::ResetVpnUserPassword => p2c::passwords::reset(state, call),
        SimulatedOperation::CreateVpnUserGroup => p2c::groups::create(state, call),
        SimulatedOperation::GetVpnUserGroup => p2c::groups::get(state, call),
        SimulatedOperation::ListVpnUserGroups => p2c::groups::list(state, call),
        SimulatedOperation::UpdateVpnUserGroup => p2c::groups::update(state, call),
        SimulatedOperation::DeleteVpnUserGroup => p2c::groups::delete(state, call),
        SimulatedOperation::AddVpnUsersToGroup => p2c::members::add(state, call),
        SimulatedOperation::RemoveVpnUsersFromGroup => p2c::members::remove(state, call),
        SimulatedOperation::ListVpnUsersInGroup => p2c::members::list(state, call),
        SimulatedOperation::ListVpnServers => p2c::servers::list(state, call),
        SimulatedOperation::ListVpnServersOfGateway => Ok(p2c::servers::list_of_gateway(state, call)),
        // These belong to IAM, not to the service.
        SimulatedOperation::LookUpProject
        | SimulatedOperation::ListAuthDomains
        | SimulatedOperation::ListIamUsers
        | SimulatedOperation::CreateToken => Err(ApiRefusal::gateway(
            StatusCode::NOT_FOUND,
            "0101",
            "The API does not exist or has not been published in the environment",
        )),
    }
}

//! Which function executes which operation of the service.

use axum::http::StatusCode;

use crate::calls::{CallAnswer, ServiceCall};
use crate::operations::SimulatedOperation;
use crate::p2c::handlers::{batches, groups, members, passwords, servers, users};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::{gateways, quotas, tags};

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
        SimulatedOperation::CreateVpnUser => users::create(state, call),
        SimulatedOperation::GetVpnUser => users::get(state, call),
        SimulatedOperation::ListVpnUsers => users::list(state, call),
        SimulatedOperation::UpdateVpnUser => users::update(state, call),
        SimulatedOperation::DeleteVpnUser => users::delete(state, call),
        SimulatedOperation::BatchCreateVpnUsers => batches::create(state, call),
        SimulatedOperation::BatchDeleteVpnUsers => batches::delete(state, call),
        SimulatedOperation::ChangeVpnUserPassword => passwords::change(state, call),
        SimulatedOperation::ResetVpnUserPassword => passwords::reset(state, call),
        SimulatedOperation::CreateVpnUserGroup => groups::create(state, call),
        SimulatedOperation::GetVpnUserGroup => groups::get(state, call),
        SimulatedOperation::ListVpnUserGroups => groups::list(state, call),
        SimulatedOperation::UpdateVpnUserGroup => groups::update(state, call),
        SimulatedOperation::DeleteVpnUserGroup => groups::delete(state, call),
        SimulatedOperation::AddVpnUsersToGroup => members::add(state, call),
        SimulatedOperation::RemoveVpnUsersFromGroup => members::remove(state, call),
        SimulatedOperation::ListVpnUsersInGroup => members::list(state, call),
        SimulatedOperation::ListVpnServers => servers::list(state, call),
        SimulatedOperation::ListVpnServersOfGateway => Ok(servers::list_of_gateway(state, call)),
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

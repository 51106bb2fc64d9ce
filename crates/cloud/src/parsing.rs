//! Parses answers without a network: the entry points of the fuzz targets (tests/fuzz).

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::credentials::keys;
use crate::credentials::keys::{Credentials, DefaultCredentials, DefaultCredentialsError};
use crate::error::cloud_error::{CloudError, ErrorKind, Operation};
use crate::http::failure::{CallFailure, RawResponse};
use crate::http::request::OutgoingCall;
use crate::lists::paging::Page;
use crate::resources::customer_gateways::CustomerGateway;
use crate::resources::user_groups::{GroupMember, UserGroup};
use crate::resources::users::{CreatedUser, User};
use crate::resources::vpn_servers::VpnServer;
use crate::resources::{customer_gateways, iam, tags, user_groups, users, vpn_servers};
use crate::values::password::Password;
use crate::values::time;

/// A raw answer, after HTTP parsing.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The HTTP status; an impossible one counts as 200.
    pub status: u16,
    /// Headers, each as received.
    pub request_id: Option<&'a str>,
    /// The `Date` header.
    pub date: Option<&'a str>,
    /// The `Retry-After` header.
    pub retry_after: Option<&'a str>,
    /// The whole body; any bytes.
    pub body: &'a [u8],
}

/// The request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Selects how the body is read, and what a refusal means.
    pub operation: Operation,
    /// Base URL, which messages quote.
    pub endpoint: &'a str,
    /// The password in the request, which no message may repeat.
    pub password: Option<&'a Password>,
    /// The keys of the request.
    pub credentials: &'a Credentials,
}

/// The parsed body of a successful answer, for any operation.
#[derive(Clone, Debug)]
pub enum Read {
    /// A page of customer gateways.
    Gateways(Page<CustomerGateway>),
    /// One customer gateway, from a creation, a read or an update.
    Gateway(Box<CustomerGateway>),
    /// The number of tags of one gateway, or of gateways in a page of tags.
    Tags(usize),
    /// A page of VPN users.
    Users(Page<User>),
    /// One VPN user, from a read or an update.
    User(Box<User>),
    /// The id of a new VPN user.
    Created(CreatedUser),
    /// A page of user groups.
    Groups(Page<UserGroup>),
    /// A page of the members of a group.
    Members(Page<GroupMember>),
    /// A page of VPN servers.
    Servers(Page<VpnServer>),
    /// The id of the project.
    Project(String),
    /// Only the confirmation of success.
    Done,
}

/// Reads the answer to any operation.
pub fn read(asked: Asked<'_>, heard: Heard<'_>, now: Timestamp) -> Result<Read, CloudError> {
    let call = OutgoingCall {
        operation: asked.operation,
        method: Method::GET,
        endpoint: asked.endpoint,
        path: Vec::new(),
        query: Vec::new(),
        project_id: None,
        credentials: asked.credentials,
        client_token: None,
        password: asked.password,
        body: None,
    };
    let raw = RawResponse {
        status: StatusCode::from_u16(heard.status).unwrap_or(StatusCode::OK),
        body: heard.body.to_vec(),
        request_id: heard.request_id.map(str::to_owned),
        date: heard.date.and_then(time::parse_http_date),
        retry_after: heard.retry_after.map(str::to_owned),
    };
    if !raw.status.is_success() {
        return Err(*CallFailure::refusal(&call, &raw, now).error);
    }
    match asked.operation {
        Operation::ListCustomerGateways => {
            body::<customer_gateways::CustomerGatewaysBody>(&call, &raw).map(|list| Read::Gateways(list.into()))
        }
        Operation::CreateCustomerGateway | Operation::GetCustomerGateway | Operation::UpdateCustomerGateway => {
            body::<customer_gateways::WrappedGateway<CustomerGateway>>(&call, &raw)
                .map(|read| Read::Gateway(Box::new(read.customer_gateway)))
        }
        Operation::ListCustomerGatewayTags => {
            body::<tags::TagsBody>(&call, &raw).map(|tags::TagsBody(tags)| Read::Tags(tags.len()))
        }
        Operation::FilterCustomerGateways => {
            body::<tags::TaggedResources>(&call, &raw).map(|page| Read::Tags(page.resources.len()))
        }
        Operation::ListVpnUsers => body::<users::UsersBody>(&call, &raw).map(|list| Read::Users(list.into())),
        Operation::GetVpnUser | Operation::UpdateVpnUser => {
            body::<users::WrappedUser<User>>(&call, &raw).map(|read| Read::User(Box::new(read.user)))
        }
        Operation::CreateVpnUser => {
            body::<users::WrappedUser<CreatedUser>>(&call, &raw).map(|read| Read::Created(read.user))
        }
        Operation::ListVpnUserGroups => {
            body::<user_groups::GroupsBody>(&call, &raw).map(|list| Read::Groups(list.into()))
        }
        Operation::ListVpnUsersInGroup => {
            body::<user_groups::MembersBody>(&call, &raw).map(|list| Read::Members(list.into()))
        }
        Operation::ListVpnServers => {
            body::<vpn_servers::VpnServersBody>(&call, &raw).map(|list| Read::Servers(list.into()))
        }
        Operation::LookUpProject => {
            let projects = body::<iam::ProjectsBody>(&call, &raw)?;
            let chosen = iam::choose(projects.projects, "eu-west-101");
            let rejected = |problem| CloudError::new(asked.operation, ErrorKind::Rejected, problem);
            chosen.map(Read::Project).map_err(rejected)
        }
        Operation::AddCustomerGatewayTags
        | Operation::RemoveCustomerGatewayTags
        | Operation::DeleteCustomerGateway
        | Operation::DeleteVpnUser
        | Operation::ResetVpnUserPassword
        | Operation::AddVpnUsersToGroup
        | Operation::RemoveVpnUsersFromGroup => crate::http::transport::done(&raw.body)
            .map(|()| Read::Done)
            .map_err(|problem| *CallFailure::unreadable(&call, &raw, &problem).error),
    }
}

fn body<T: DeserializeOwned>(call: &OutgoingCall<'_>, raw: &RawResponse) -> Result<T, CloudError> {
    serde_json::from_slice(&raw.body).map_err(|problem| *CallFailure::unreadable(call, raw, &problem).error)
}

/// Reads the text of the file with the default credentials.
pub fn default_credentials(text: &str) -> Result<DefaultCredentials, DefaultCredentialsError> {
    keys::from_file(std::path::Path::new("credentials"), text)
}

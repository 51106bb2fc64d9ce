//! Parses answers without a network: the entry points of the fuzz targets (tests/fuzz).

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    credentials::{self, Credentials, DefaultCredentials, DefaultCredentialsError},
    customer_gateways::{self, CustomerGateway},
    error::{CloudError, Operation},
    failure::{CallFailure, RawResponse},
    iam,
    paging::Page,
    password::Password,
    request::Call,
    tags, time,
    user_groups::{self, GroupMember, UserGroup},
    users::{self, CreatedUser, User},
    vpn_servers::{self, VpnServer},
};

/// A raw answer, after HTTP parsing.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    pub status: u16,
    /// Headers, each as received.
    pub request_id: Option<&'a str>,
    pub date: Option<&'a str>,
    pub retry_after: Option<&'a str>,
    pub body: &'a [u8],
}

/// The request that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub operation: Operation,
    pub endpoint: &'a str,
    pub password: Option<&'a Password>,
    pub credentials: &'a Credentials,
}

/// The parsed body of a successful answer, for any operation.
#[derive(Clone, Debug)]
pub enum Read {
    Gateways(Page<CustomerGateway>),
    Gateway(Box<CustomerGateway>),
    Tags(usize),
    Users(Page<User>),
    User(Box<User>),
    Created(CreatedUser),
    Groups(Page<UserGroup>),
    Members(Page<GroupMember>),
    Servers(Page<VpnServer>),
    Project(String),
    /// Only the confirmation of success.
    Done,
}

/// Reads the answer to any operation.
pub fn read(asked: Asked<'_>, heard: Heard<'_>, now: Timestamp) -> Result<Read, CloudError> {
    let call = Call {
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
    let said = RawResponse {
        status: StatusCode::from_u16(heard.status).unwrap_or(StatusCode::OK),
        body: heard.body.to_vec(),
        request_id: heard.request_id.map(str::to_owned),
        date: heard.date.and_then(time::parse_http_date),
        retry_after: heard.retry_after.map(str::to_owned),
    };
    if !said.status.is_success() {
        return Err(*CallFailure::refusal(&call, said, now).error);
    }
    match asked.operation {
        Operation::ListCustomerGateways => {
            body::<customer_gateways::List>(&call, &said).map(|list| Read::Gateways(list.into()))
        }
        Operation::CreateCustomerGateway | Operation::GetCustomerGateway | Operation::UpdateCustomerGateway => {
            body::<customer_gateways::Wrapped<CustomerGateway>>(&call, &said)
                .map(|read| Read::Gateway(Box::new(read.customer_gateway)))
        }
        Operation::ListCustomerGatewayTags => {
            body::<tags::Received>(&call, &said).map(|tags::Received(tags)| Read::Tags(tags.len()))
        }
        Operation::FilterCustomerGateways => {
            body::<tags::Resources>(&call, &said).map(|page| Read::Tags(page.resources.len()))
        }
        Operation::ListVpnUsers => body::<users::List>(&call, &said).map(|list| Read::Users(list.into())),
        Operation::GetVpnUser | Operation::UpdateVpnUser => {
            body::<users::Wrapped<User>>(&call, &said).map(|read| Read::User(Box::new(read.user)))
        }
        Operation::CreateVpnUser => {
            body::<users::Wrapped<CreatedUser>>(&call, &said).map(|read| Read::Created(read.user))
        }
        Operation::ListVpnUserGroups => body::<user_groups::Groups>(&call, &said).map(|list| Read::Groups(list.into())),
        Operation::ListVpnUsersInGroup => {
            body::<user_groups::Members>(&call, &said).map(|list| Read::Members(list.into()))
        }
        Operation::ListVpnServers => body::<vpn_servers::List>(&call, &said).map(|list| Read::Servers(list.into())),
        Operation::LookUpProject => {
            let projects = body::<iam::Projects>(&call, &said)?;
            let chosen = iam::choose(projects.projects, "eu-west-101");
            let rejected = |problem| CloudError::new(asked.operation, super::ErrorKind::Rejected, problem);
            chosen.map(Read::Project).map_err(rejected)
        }
        Operation::AddCustomerGatewayTags
        | Operation::RemoveCustomerGatewayTags
        | Operation::DeleteCustomerGateway
        | Operation::DeleteVpnUser
        | Operation::ResetVpnUserPassword
        | Operation::AddVpnUsersToGroup
        | Operation::RemoveVpnUsersFromGroup => super::transport::done(&said.body)
            .map(|()| Read::Done)
            .map_err(|problem| *CallFailure::unreadable(&call, &said, &problem).error),
    }
}

fn body<T: DeserializeOwned>(call: &Call<'_>, said: &RawResponse) -> Result<T, CloudError> {
    serde_json::from_slice(&said.body).map_err(|problem| *CallFailure::unreadable(call, said, &problem).error)
}

/// Reads the text of the file with the default credentials.
pub fn default_credentials(text: &str) -> Result<DefaultCredentials, DefaultCredentialsError> {
    credentials::from_file(std::path::Path::new("credentials"), text)
}

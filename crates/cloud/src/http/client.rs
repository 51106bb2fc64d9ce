//! The client: one per credential and scope. Signs and sends a call, and converts the response into an answer or an
//! error with its meaning. It never retries.

use std::sync::Arc;

use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

use crate::credentials::access_key::Credentials;
use crate::error::cause::RequestError;
use crate::error::cloud_error::CloudError;
use crate::error::error_kind::ErrorKind;
use crate::error::operation::Operation;
use crate::http::request::OutgoingCall;
use crate::http::response::CloudResponse;
use crate::http::transport::Transport;
use crate::lists::paging;
use crate::lists::paging::Page;
use crate::values::password::Password;

/// What a client is scoped to: endpoint and project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectScope {
    /// Base URL of the VPN API, without a trailing slash.
    pub endpoint: String,
    /// The id in every path, after `/v5`.
    pub project_id: String,
}

/// The VPN API as one credential sees one project.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    credentials: Arc<Credentials>,
    scope: ProjectScope,
}

/// One call of the VPN API; the path begins after the project.
pub struct ProjectRequest<'a> {
    pub operation: Operation,
    pub method: Method,
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
}

/// Options that few calls need.
#[derive(Clone, Copy, Default)]
pub(crate) struct CallOptions<'a> {
    /// Distinguishes a repeated request from a new one.
    pub client_token: Option<&'a str>,
    /// The one in the body, so that no error message contains it.
    pub password: Option<&'a Password>,
}

impl Client {
    /// Creates a client; sends nothing.
    pub fn new(transport: Transport, credentials: Arc<Credentials>, scope: ProjectScope) -> Self {
        Self {
            transport,
            credentials,
            scope,
        }
    }

    /// Where this client's objects live.
    pub fn scope(&self) -> &ProjectScope {
        &self.scope
    }

    /// Sends a call and reads its answer.
    pub async fn fetch<T: DeserializeOwned>(
        &self,
        request: ProjectRequest<'_>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<CloudResponse<T>, CloudError> {
        self.fetch_with(request, body, CallOptions::default()).await
    }

    /// The same, with options.
    pub(crate) async fn fetch_with<T: DeserializeOwned>(
        &self,
        request: ProjectRequest<'_>,
        body: Option<&(impl Serialize + Sync)>,
        options: CallOptions<'_>,
    ) -> Result<CloudResponse<T>, CloudError> {
        self.transport.fetch(&self.call(&request, body, options)?).await
    }

    /// Reads one page of a list: the first, or the one after a marker. `L` is the type of the body.
    pub async fn page<L: DeserializeOwned + Into<Page<T>>, T>(
        &self,
        operation: Operation,
        path: &[&str],
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<T>>, CloudError> {
        let limit = limit.to_string();
        let request = ProjectRequest {
            operation,
            method: Method::GET,
            path,
            query: &paging::query(&limit, marker),
        };
        let answer = self.fetch::<L>(request, None::<&()>).await?;
        Ok(answer.map(Into::into))
    }

    /// Sends a call whose answer only confirms success.
    pub async fn execute(
        &self,
        request: ProjectRequest<'_>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<CloudResponse<()>, CloudError> {
        self.execute_with(request, body, CallOptions::default()).await
    }

    /// The same, with options.
    pub(crate) async fn execute_with(
        &self,
        request: ProjectRequest<'_>,
        body: Option<&(impl Serialize + Sync)>,
        options: CallOptions<'_>,
    ) -> Result<CloudResponse<()>, CloudError> {
        self.transport.execute(&self.call(&request, body, options)?).await
    }

    fn call<'a>(
        &'a self,
        request: &ProjectRequest<'a>,
        body: Option<&impl Serialize>,
        options: CallOptions<'a>,
    ) -> Result<OutgoingCall<'a>, CloudError> {
        let operation = request.operation;
        let unwritten = |error| CloudError::new(operation, ErrorKind::Rejected, RequestError::Body(error));
        let body = body.map(serde_json::to_vec).transpose().map_err(unwritten)?;
        let mut path = vec!["v5", self.scope.project_id.as_str()];
        path.extend_from_slice(request.path);
        Ok(OutgoingCall {
            operation,
            method: request.method.clone(),
            endpoint: &self.scope.endpoint,
            path,
            query: request.query.to_vec(),
            project_id: Some(&self.scope.project_id),
            credentials: &self.credentials,
            client_token: options.client_token,
            password: options.password,
            body,
        })
    }
}

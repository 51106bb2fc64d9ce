//! IAM: which project belongs to a region.

use reqwest::Method;
use serde::Deserialize;

use crate::credentials::access_key::Credentials;
use crate::error::cause::ProjectError;
use crate::error::cloud_error::{CloudError, ErrorKind, Operation};
use crate::http::request::OutgoingCall;
use crate::http::response::CloudResponse;
use crate::http::transport::Transport;

/// The body of `GET /v3/projects`.
#[derive(Deserialize)]
pub struct ProjectsBody {
    /// The projects that the credential sees.
    #[serde(deserialize_with = "crate::lists::items::or_null")]
    pub projects: Vec<ListedProject>,
}

/// A project as IAM lists it.
#[derive(Deserialize)]
pub struct ListedProject {
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    name: Option<String>,
    enabled: Option<bool>,
}

/// The id of the one project that is named after the region and seen by the credential.
pub async fn look_up_project(
    transport: &Transport,
    credentials: &Credentials,
    iam_endpoint: &str,
    region: &str,
) -> Result<CloudResponse<String>, CloudError> {
    let call = OutgoingCall {
        operation: Operation::LookUpProject,
        method: Method::GET,
        endpoint: iam_endpoint,
        path: vec!["v3", "projects"],
        query: vec![("name", region)],
        project_id: None,
        credentials,
        client_token: None,
        password: None,
        body: None,
    };
    let answer = transport.fetch::<ProjectsBody>(&call).await?;
    match choose(answer.value.projects, region) {
        Ok(id) => Ok(CloudResponse {
            value: id,
            request_id: answer.request_id,
            date: answer.date,
        }),
        Err(problem) => Err(CloudError {
            request_id: answer.request_id,
            date: answer.date,
            ..CloudError::new(Operation::LookUpProject, ErrorKind::Rejected, problem)
        }),
    }
}

/// Returns the id of the one project that is named after the region.
pub fn choose(projects: Vec<ListedProject>, region: &str) -> Result<String, ProjectError> {
    let name = || region.to_owned();
    // The server filters by name; one that does not must not make us take another's project.
    let named = projects
        .into_iter()
        .filter(|project| project.name.as_deref().is_none_or(|name| name == region));
    let mut found = named.collect::<Vec<_>>().into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(ProjectError::NotFound(name())),
        (Some(_), Some(_)) => Err(ProjectError::Several(name())),
        (Some(project), None) => {
            // It stands in every path from now on.
            let id = project.id.unwrap_or_default();
            if !is_project_id(&id) {
                Err(ProjectError::NoId(name()))
            } else if project.enabled == Some(false) {
                Err(ProjectError::Disabled { region: name(), id })
            } else {
                Ok(id)
            }
        }
    }
}

/// Whether a text can be the id of a project: it stands in every path, so whatever could bend a path is none; its length
/// is the cloud's matter.
pub fn is_project_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

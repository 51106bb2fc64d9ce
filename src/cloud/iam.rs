//! IAM: which project belongs to a region.

use reqwest::Method;
use serde::Deserialize;

use super::{
    client::Answer,
    credentials::Credentials,
    error::{CloudError, ErrorKind, Operation},
    request::Call,
    transport::Transport,
};

#[derive(Deserialize)]
pub(super) struct Projects {
    #[serde(deserialize_with = "super::lists::or_null")]
    pub projects: Vec<Project>,
}

#[derive(Deserialize)]
pub(super) struct Project {
    #[serde(default, deserialize_with = "super::fields::text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    name: Option<String>,
    enabled: Option<bool>,
}

/// The id of the one project that is named after the region and seen by the credential.
pub async fn look_up_project(
    transport: &Transport,
    credentials: &Credentials,
    iam_endpoint: &str,
    region: &str,
) -> Result<Answer<String>, CloudError> {
    let call = Call {
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
    let answer = transport.fetch::<Projects>(&call).await?;
    match choose(answer.value.projects, region) {
        Ok(id) => Ok(Answer {
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

pub(super) fn choose(projects: Vec<Project>, region: &str) -> Result<String, String> {
    // The server filters by name; one that does not must not make us take another's project.
    let named = projects
        .into_iter()
        .filter(|project| project.name.as_deref().is_none_or(|name| name == region));
    let mut found = named.collect::<Vec<_>>().into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(format!(
            "no project named {region:?} is visible to the credential: set the project id"
        )),
        (Some(_), Some(_)) => Err(format!("several projects are named {region:?}: set the project id")),
        (Some(project), None) => {
            // It stands in every path from now on.
            let id = project.id.unwrap_or_default();
            if !is_project_id(&id) {
                Err(format!(
                    "the project {region:?} came without an id that can be one: set the project id"
                ))
            } else if project.enabled == Some(false) {
                Err(format!(
                    "the project {region:?} ({id}) is disabled: enable it, or set the project id of another"
                ))
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

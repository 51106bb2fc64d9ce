//! IAM, as far as clients of the VPN API need it: projects by name, the domain of the caller, users, and tokens.

use axum::http::StatusCode;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::access::Caller;
use crate::admin::{Permissions, ProjectSpec};
use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::tryout;

/// GET /v3/projects.
pub(crate) fn projects(
    state: &mut CloudState,
    call: &ServiceCall<'_>,
    caller: &Caller,
) -> Result<CallAnswer, ApiRefusal> {
    let name = call.parameter("name")?;
    let projects: Value = state
        .projects
        .iter()
        .filter(|(id, _)| caller.may_reach(id))
        .filter(|(_, project)| name.as_ref().is_none_or(|name| *name == project.name))
        .map(|(id, project)| {
            json!({
                "id": id,
                "name": project.name,
                "domain_id": DOMAIN_ID,
                "parent_id": DOMAIN_ID,
                "enabled": project.enabled,
                "is_domain": false,
                "description": "",
                "links": {"self": format!("/v3/projects/{id}")},
            })
        })
        .collect();
    let mut body = wrapped("projects", projects);
    body.insert(
        "links".to_owned(),
        json!({"self": "/v3/projects", "previous": null, "next": null}),
    );
    Ok(CallAnswer::read(body).without_request_id())
}

/// GET /v3/auth/domains: the one domain of the caller. An access key acts in the domain of the tryout user.
pub(crate) fn domains(state: &CloudState, caller: &Caller) -> CallAnswer {
    let name = caller
        .user
        .as_ref()
        .and_then(|user| state.access.domain_of(user))
        .unwrap_or(tryout::DOMAIN);
    let domain = json!({
        "id": DOMAIN_ID,
        "name": name,
        "enabled": true,
        "description": "",
        "links": {"self": format!("/v3/domains/{DOMAIN_ID}")},
    });
    let mut body = wrapped("domains", json!([domain]));
    body.insert("links".to_owned(), json!({"self": "/v3/auth/domains"}));
    CallAnswer::read(body).without_request_id()
}

/// GET /v3/users, by `name`, `domain_id` and `enabled`.
pub(crate) fn users(state: &CloudState, call: &ServiceCall<'_>, caller: &Caller) -> Result<CallAnswer, ApiRefusal> {
    let (name, domain_id) = (call.parameter("name")?, call.parameter("domain_id")?);
    if domain_id.as_deref().is_some_and(|id| id != DOMAIN_ID) {
        let text = "You can only list the users of your own domain.";
        return Err(ApiRefusal::iam(StatusCode::FORBIDDEN, "IAM.0003", text));
    }
    // All users of the simulator are enabled.
    let disabled_only = call.parameter("enabled")?.as_deref() == Some("false");
    let own_domain = caller.user.as_ref().and_then(|user| state.access.domain_of(user));
    let own_domain = own_domain.unwrap_or(tryout::DOMAIN);
    let users: Value = state
        .access
        .users()
        .into_iter()
        .filter(|_| !disabled_only)
        .filter(|user| state.access.domain_of(user) == Some(own_domain))
        .filter(|user| name.as_ref().is_none_or(|name| name == user))
        .map(|user| {
            json!({
                "id": user,
                "name": user,
                "domain_id": DOMAIN_ID,
                "enabled": true,
                "description": "",
                "password_expires_at": null,
                "pwd_status": false,
                "links": {"self": format!("/v3/users/{user}"), "previous": null, "next": null},
            })
        })
        .collect();
    let mut body = wrapped("users", users);
    body.insert(
        "links".to_owned(),
        json!({"self": "/v3/users", "previous": null, "next": null}),
    );
    Ok(CallAnswer::read(body).without_request_id())
}

const DOMAIN_ID: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";

/// POST /v3/auth/tokens.
pub(crate) fn create_token(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let malformed = |_| ApiRefusal::iam(StatusCode::BAD_REQUEST, "IAM.0011", "Request body is invalid.");
    let login = Login::read(call).map_err(malformed)?;
    let Some(permissions) = state.access.log_in(&login.user, &login.domain, &login.password) else {
        return Err(ApiRefusal::iam(
            StatusCode::UNAUTHORIZED,
            "IAM.0001",
            "The username or password is wrong.",
        ));
    };
    let project = scope(state, &login, &permissions)?;
    let now = state.clock.now();
    // Random; only the simulator interprets it.
    let token = format!("MII{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let project_id = project.as_ref().map(|(id, _)| id.clone());
    let expires_at = state
        .access
        .issue_token(token.clone(), login.user.clone(), project_id, now);
    let domain = json!({"id": DOMAIN_ID, "name": login.domain});
    let mut shown = wrapped("expires_at", microseconds(expires_at).into());
    shown.insert("issued_at".to_owned(), microseconds(now).into());
    shown.insert("methods".to_owned(), json!(["password"]));
    if let Some((id, project)) = project {
        shown.insert(
            "project".to_owned(),
            json!({"id": id, "name": project.name, "domain": domain}),
        );
    }
    shown.insert("roles".to_owned(), json!([{"id": "0", "name": "te_admin"}]));
    shown.insert(
        "user".to_owned(),
        json!({"id": login.user, "name": login.user, "domain": domain}),
    );
    if call.parameter("nocatalog")?.is_none() {
        shown.insert("catalog".to_owned(), json!([]));
    }
    let mut answer = CallAnswer::created(wrapped("token", shown.into()), String::new()).without_request_id();
    answer.subject_token = Some(token);
    Ok(answer)
}

struct Login {
    user: String,
    domain: String,
    password: SecretString,
    project_id: Option<String>,
    project_name: Option<String>,
}

impl Login {
    fn read(call: &ServiceCall<'_>) -> Result<Self, ApiRefusal> {
        let needed = |found: Option<Fields>| found.ok_or_else(|| ApiRefusal::invalid("a part is missing"));
        let text = |fields: &Fields, name| fields.text(name).map(|text| text.map(str::to_owned));
        let auth = needed(call.object()?.object("auth")?)?;
        let user = needed(needed(needed(auth.object("identity")?)?.object("password")?)?.object("user")?)?;
        let project = match auth.object("scope")? {
            Some(scope) => scope.object("project")?.unwrap_or_default(),
            None => Fields::default(),
        };
        Ok(Self {
            user: text(&user, "name")?.unwrap_or_default(),
            domain: text(&needed(user.object("domain")?)?, "name")?.unwrap_or_default(),
            password: SecretString::from(text(&user, "password")?.unwrap_or_default()),
            project_id: text(&project, "id")?,
            project_name: text(&project, "name")?,
        })
    }
}

/// Returns the project that the token is scoped to, if one was named.
fn scope(
    state: &CloudState,
    login: &Login,
    permissions: &Permissions,
) -> Result<Option<(String, ProjectSpec)>, ApiRefusal> {
    if login.project_id.is_none() && login.project_name.is_none() {
        return Ok(None);
    }
    let found = state.projects.iter().find(|(id, project)| {
        login.project_id.as_ref().is_none_or(|wanted| wanted == *id)
            && login.project_name.as_ref().is_none_or(|wanted| *wanted == project.name)
            && permissions
                .projects
                .as_ref()
                .is_none_or(|reachable| reachable.contains(*id))
    });
    match found {
        Some((id, project)) => Ok(Some((id.clone(), project.clone()))),
        None => Err(ApiRefusal::iam(
            StatusCode::UNAUTHORIZED,
            "IAM.0001",
            "The scoped project does not exist.",
        )),
    }
}

fn microseconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The nested form of an error.
pub(crate) fn nested_error(status: StatusCode, message: &str) -> Map<String, Value> {
    let title = status.canonical_reason().unwrap_or_default();
    wrapped(
        "error",
        json!({"code": status.as_u16(), "message": message, "title": title}),
    )
}

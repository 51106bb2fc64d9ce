//! The five calls on customer gateways.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::calls::{CallAnswer, Fields, ServiceCall, wrapped};
use crate::gateway_rules::{Identity, check_name, check_values, read_tags};
use crate::gateway_store::{Deleting, Gateway, ShownIn, generated_name, new_id, unsupported};
use crate::paging::{PageQuery, page};
use crate::refusal::ApiRefusal;
use crate::state::CloudState;
use crate::switches::{
    CertificateUpdatable, DuplicateIdValue, DuplicateName, GatewayDeletion, HasConnection, ImmutableFields,
    QuotaExceeded,
};

const WRAPPER: &str = "customer_gateway";

/// POST of a gateway.
pub(crate) fn create(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let project_id = call.route.project_id.as_str();
    let fields = wrapped_fields(call)?;
    let name = match fields.text("name")? {
        Some(name) => {
            check_name(name)?;
            name.to_owned()
        }
        None => generated_name(),
    };
    let identity = Identity::read(&fields, &switches)?;
    let items = fields.objects("tags")?.unwrap_or_default();
    let tags = read_tags(&items, &switches)?;
    check_values(&items, &switches)?;
    let certificate = fields
        .object("ca_certificate")?
        .map(|fields| {
            state
                .gateways
                .certificate(&fields, project_id, state.clock.now(), &switches)
        })
        .transpose()?;
    refuse_duplicates(state, project_id, &name, &identity)?;
    refuse_beyond_quota(state, project_id)?;

    let created_at = state.clock.creation(&switches);
    let gateway = Gateway {
        id: new_id(),
        project_id: project_id.to_owned(),
        name,
        identity,
        ca_certificate: certificate.as_ref().map(|certificate| certificate.id.clone()),
        tags,
        created_at,
        updated_at: created_at,
        connection: None,
        answered_instead: Map::new(),
        deleting: None,
    };
    let store = &mut state.gateways;
    if let Some(certificate) = certificate {
        store.certificates.insert(certificate.id.clone(), certificate);
    }
    let shown = store.show(&gateway, ShownIn::Creation, &switches);
    let id = gateway.id.clone();
    store.gateways.insert(id.clone(), gateway);
    Ok(CallAnswer::created(wrapped(WRAPPER, shown), id))
}

/// GET of a gateway.
pub(crate) fn get(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let gateway = state.gateways.find(call, &state.switches)?.clone();
    Ok(CallAnswer::read(wrapped(
        WRAPPER,
        state.gateways.show(&gateway, ShownIn::Read, &state.switches),
    )))
}

/// GET of a page of gateways.
pub(crate) fn list(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = &state.switches;
    let query = PageQuery::read(call, switches)?;
    let wanted = call.parameter("cgw_id")?.filter(|id| !id.is_empty());
    let all: Vec<&Gateway> = state
        .gateways
        .of(&call.route.project_id)
        .filter(|gateway| wanted.as_ref().is_none_or(|id| *id == gateway.id))
        .collect();
    let total = all.len();
    let place = |gateway: &&Gateway| (gateway.created_at, gateway.id.clone());
    let (gateways, page_info) = page(all, place, query, switches.last_marker, switches);
    let gateways: Value = gateways
        .into_iter()
        .map(|gateway| state.gateways.show(gateway, ShownIn::List, switches))
        .collect();
    let mut body = wrapped("customer_gateways", gateways);
    body.insert("total_count".to_owned(), total.into());
    body.insert("page_info".to_owned(), page_info.into());
    Ok(CallAnswer::read(body))
}

/// PUT of a gateway.
pub(crate) fn update(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let switches = state.switches;
    let project_id = call.route.project_id.as_str();
    let fields = wrapped_fields(call)?;
    let before = state.gateways.find(call, &switches)?.clone();
    for immutable in ["id_type", "id_value", "bgp_asn", "tags", "ip", "route_mode"] {
        if fields.get(immutable).is_some() && switches.immutable_fields == ImmutableFields::Refused {
            return Err(unsupported(immutable));
        }
    }
    let name = fields.text("name")?;
    name.map(check_name).transpose()?;
    if let Some(name) = name.filter(|name| *name != before.name) {
        refuse_duplicate_name(state, project_id, name)?;
    }
    let certificate = match fields.object("ca_certificate")? {
        Some(_) if before.ca_certificate.is_some() && switches.certificate_updatable == CertificateUpdatable::No => {
            return Err(ApiRefusal::invalid(format!(
                "the ca_certificate of customer gateway {} is not updatable",
                before.id
            )));
        }
        Some(fields) => Some(
            state
                .gateways
                .certificate(&fields, project_id, state.clock.now(), &switches)?,
        ),
        None => None,
    };
    let updated_at = state.clock.tick();
    let gateway = state.gateways.find(call, &switches)?;
    if let Some(name) = name {
        name.clone_into(&mut gateway.name);
    }
    if let Some(certificate) = &certificate {
        gateway.ca_certificate = Some(certificate.id.clone());
    }
    gateway.updated_at = updated_at;
    let gateway = gateway.clone();
    if let Some(certificate) = certificate {
        state.gateways.certificates.insert(certificate.id.clone(), certificate);
    }
    Ok(CallAnswer::updated(wrapped(
        WRAPPER,
        state.gateways.show(&gateway, ShownIn::Read, &switches),
    )))
}

/// DELETE of a gateway.
pub(crate) fn delete(state: &mut CloudState, call: &ServiceCall<'_>) -> Result<CallAnswer, ApiRefusal> {
    let slow_end = state.clock.slow_end();
    let switches = state.switches;
    let gateway = state.gateways.find(call, &switches)?;
    if gateway.connection.is_some() {
        let status = match switches.has_connection {
            HasConnection::Status400 => StatusCode::BAD_REQUEST,
            HasConnection::Status409 => StatusCode::CONFLICT,
        };
        let text = format!("invalid request: customer gateway {} has connection", gateway.id);
        return Err(ApiRefusal::service(status, "VPN.0001", text));
    }
    match switches.deletion {
        // A second request does not delay the end of the first deletion.
        _ if gateway.deleting.is_some() => {}
        GatewayDeletion::Slow => gateway.deleting = Some(Deleting::Until(slow_end)),
        GatewayDeletion::Held => gateway.deleting = Some(Deleting::Held),
        GatewayDeletion::Immediate => {
            state.gateways.gateways.remove(&call.route.id);
        }
    }
    Ok(CallAnswer::done())
}

fn wrapped_fields(call: &ServiceCall<'_>) -> Result<Fields, ApiRefusal> {
    call.object()?
        .object(WRAPPER)?
        .ok_or_else(|| ApiRefusal::invalid(format!("{WRAPPER} is required")))
}

fn refuse_duplicates(state: &CloudState, project_id: &str, name: &str, identity: &Identity) -> Result<(), ApiRefusal> {
    let being_deleted = state
        .gateways
        .of(project_id)
        .any(|gateway| gateway.name == name && gateway.deleting.is_some());
    if being_deleted {
        return Err(ApiRefusal::invalid(format!(
            "customer gateway {name} is being deleted, try again later"
        )));
    }
    refuse_duplicate_name(state, project_id, name)?;
    let taken = state
        .gateways
        .of(project_id)
        .any(|gateway| gateway.identity.id_value == identity.id_value);
    match state.switches.duplicate_id_value {
        DuplicateIdValue::Vpn0012 if taken => Err(occupied(&identity.id_value)),
        DuplicateIdValue::Vpn0001 if taken => Err(ApiRefusal::invalid(format!(
            "a customer gateway with id_value {} already exists",
            identity.id_value
        ))),
        _ => Ok(()),
    }
}

fn refuse_duplicate_name(state: &CloudState, project_id: &str, name: &str) -> Result<(), ApiRefusal> {
    let taken = state.gateways.of(project_id).any(|gateway| gateway.name == name);
    match state.switches.duplicate_name {
        DuplicateName::Vpn0012 if taken => Err(occupied(name)),
        DuplicateName::Vpn0001 if taken => Err(ApiRefusal::invalid(format!(
            "a customer gateway with name {name} already exists"
        ))),
        _ => Ok(()),
    }
}

fn refuse_beyond_quota(state: &CloudState, project_id: &str) -> Result<(), ApiRefusal> {
    let quota = state
        .projects
        .get(project_id)
        .map_or(0, |project| project.gateway_quota);
    if (state.gateways.of(project_id).count() as u64) < quota {
        return Ok(());
    }
    let (status, code) = match state.switches.quota_exceeded {
        QuotaExceeded::Status400 => (StatusCode::BAD_REQUEST, "VPN.0001"),
        QuotaExceeded::Status403 => (StatusCode::FORBIDDEN, "VPN.0001"),
        QuotaExceeded::Status409 => (StatusCode::CONFLICT, "VPN.0001"),
        QuotaExceeded::Status429 => (StatusCode::TOO_MANY_REQUESTS, "VPN.0429"),
    };
    let text = format!("invalid request: the quota of customer gateways ({quota}) is exceeded");
    Err(ApiRefusal::service(status, code, text))
}

fn occupied(what: &str) -> ApiRefusal {
    ApiRefusal::service(StatusCode::BAD_REQUEST, "VPN.0012", format!("{what} is occupied"))
}

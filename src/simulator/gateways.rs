//! Customer gateways: the store, and the five calls on it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use rand::RngExt;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    admin::{GatewayDump, GatewayEdit, GatewaySeed},
    calls::{Answer, Call, Fields, wrapped},
    certificates::{self, Certificate},
    clock::{Clock, in_create_answer, in_read_answer},
    gateway_rules::{Identity, check_name, check_values, read_tags},
    ids::{self, Resource},
    paging::{PageQuery, page},
    refusal::Refusal,
    state::State,
    switches::{
        CaCertificates, CertificateDuplicate, CertificateUpdatable, CreateTags, Deletion, DeprecatedFields,
        DuplicateIdValue, DuplicateName, EmptyTags, HasConnection, ImmutableFields, ListBgpAsn, ListIdType, ListTags,
        QuotaExceeded, Switches, UnsetFields,
    },
};

const WRAPPER: &str = "customer_gateway";
const GATEWAY: Resource = Resource {
    parameter: "customer_gateway_id",
    kind: "CUSTOMER_GATEWAY",
    name: "customer gateway",
};

/// A gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    pub id: String,
    pub project_id: String,
    pub name: String,
    pub identity: Identity,
    /// The id of its CA certificate.
    pub ca_certificate: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub connection: Option<String>,
    /// Fields that replace the true ones in responses.
    answered_instead: Map<String, Value>,
    deleting: Option<Deleting>,
}

#[derive(Clone, Copy, Debug)]
enum Deleting {
    Until(Timestamp),
    Held,
}

/// Where a gateway is shown; the cloud does not return the same fields everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Creation,
    Read,
    List,
}

/// Gateways by id, and the certificates that they use.
#[derive(Debug, Default)]
pub struct Gateways {
    gateways: BTreeMap<String, Gateway>,
    certificates: BTreeMap<String, Certificate>,
}

impl Gateways {
    /// The gateways of a project.
    pub fn of(&self, project_id: &str) -> impl Iterator<Item = &Gateway> {
        self.gateways
            .values()
            .filter(move |gateway| gateway.project_id == project_id)
    }

    /// The gateway of that id in the project of the call.
    pub fn find(&mut self, call: &Call<'_>, switches: &Switches) -> Result<&mut Gateway, Refusal> {
        let id = call.route.id.as_str();
        ids::check(id, &GATEWAY, switches)?;
        match self
            .gateways
            .get_mut(id)
            .filter(|gateway| gateway.project_id == call.route.project_id)
        {
            Some(gateway) => Ok(gateway),
            None => Err(ids::unknown(id, &GATEWAY, switches)),
        }
    }

    /// Removes gateways whose slow deletion is over.
    pub fn settle(&mut self, now: Timestamp) {
        self.gateways
            .retain(|_, gateway| !matches!(gateway.deleting, Some(Deleting::Until(end)) if end <= now));
    }

    /// Removes everything that is being deleted. Returns how many gateways these were.
    pub fn finish_deletions(&mut self) -> usize {
        let before = self.gateways.len();
        self.gateways.retain(|_, gateway| gateway.deleting.is_none());
        before - self.gateways.len()
    }

    /// Creates a gateway out of band.
    pub fn seed(&mut self, seed: GatewaySeed, project_id: String, clock: &mut Clock) -> Result<GatewayDump, String> {
        let time = clock.tick();
        let created_at = match seed.created_at {
            Some(text) => instant(&text)?,
            None => time,
        };
        let gateway = Gateway {
            id: seed.id.unwrap_or_else(new_id),
            project_id,
            name: seed.name.unwrap_or_else(generated_name),
            identity: Identity {
                id_type: seed.id_type.unwrap_or_else(|| "ip".to_owned()),
                id_value: seed.id_value,
                bgp_asn: seed.bgp_asn,
                route_mode: None,
            },
            ca_certificate: None,
            tags: seed.tags,
            created_at,
            updated_at: created_at,
            connection: None,
            answered_instead: Map::new(),
            deleting: None,
        };
        let shown = dump(&gateway);
        match self.gateways.contains_key(&gateway.id) {
            true => Err(format!("there is a gateway with the id {}", gateway.id)),
            false => {
                self.gateways.insert(gateway.id.clone(), gateway);
                Ok(shown)
            }
        }
    }

    /// Edits a gateway out of band; `None` if there is none of that id.
    pub fn edit(&mut self, id: &str, edit: GatewayEdit, clock: &mut Clock) -> Result<Option<GatewayDump>, String> {
        let Some(gateway) = self.gateways.get_mut(id) else {
            return Ok(None);
        };
        let GatewayEdit {
            name,
            id_type,
            id_value,
            bgp_asn,
            tags,
            set_tags,
            remove_tags,
            created_at,
            connection,
            remove_ca_certificate,
            answered_instead,
        } = edit;
        let created_at = created_at.as_deref().map(instant).transpose()?;
        let identity = &mut gateway.identity;
        // What the API would count as an update; the rest leaves updated_at unchanged.
        let updates = name.is_some() || id_type.is_some() || id_value.is_some() || bgp_asn.is_some();
        identity.id_type = id_type.unwrap_or(std::mem::take(&mut identity.id_type));
        identity.id_value = id_value.unwrap_or(std::mem::take(&mut identity.id_value));
        identity.bgp_asn = bgp_asn.map_or(identity.bgp_asn, |asn| (asn != 0).then_some(asn));
        gateway.name = name.unwrap_or(std::mem::take(&mut gateway.name));
        gateway.tags = tags.unwrap_or(std::mem::take(&mut gateway.tags));
        gateway.tags.extend(set_tags);
        gateway.tags.retain(|key, _| !remove_tags.contains(key));
        gateway.created_at = created_at.unwrap_or(gateway.created_at);
        if let Some(connection) = connection {
            gateway.connection = (!connection.is_empty()).then_some(connection);
        }
        if remove_ca_certificate {
            gateway.ca_certificate = None;
        }
        gateway.answered_instead = answered_instead.unwrap_or(std::mem::take(&mut gateway.answered_instead));
        if updates || remove_ca_certificate {
            gateway.updated_at = clock.tick();
        }
        Ok(Some(dump(gateway)))
    }

    /// Deletes a gateway out of band.
    pub fn remove(&mut self, id: &str) -> bool {
        self.gateways.remove(id).is_some()
    }

    /// All gateways of all projects, oldest first.
    pub fn dump(&self) -> Vec<GatewayDump> {
        let mut gateways: Vec<_> = self.gateways.values().collect();
        gateways.sort_by_key(|gateway| gateway.created_at);
        gateways.into_iter().map(dump).collect()
    }

    pub fn dump_one(&self, id: &str) -> Option<GatewayDump> {
        self.gateways.get(id).map(dump)
    }

    /// Returns the certificate that a request refers to: an existing one, or a new one from its content.
    fn certificate(
        &self,
        fields: &Fields,
        project_id: &str,
        now: Timestamp,
        switches: &Switches,
    ) -> Result<Certificate, Refusal> {
        if switches.ca_certificate == CaCertificates::Refused {
            return Err(unsupported("ca_certificate"));
        }
        match (fields.text("id")?, fields.text("content")?) {
            (Some(id), None) => self
                .certificates
                .get(id)
                .filter(|certificate| certificate.project_id == project_id)
                .cloned()
                .ok_or_else(|| Refusal::invalid(format!("ca_certificate {id:?} is unknown"))),
            (None, Some(content)) => {
                let certificate = Certificate::read(new_id(), project_id, content, now)?;
                let known = self
                    .certificates
                    .values()
                    .any(|other| other.project_id == project_id && other.fingerprint == certificate.fingerprint);
                match switches.certificate_duplicate {
                    CertificateDuplicate::Refused if known => Err(certificates::duplicate()),
                    _ => Ok(certificate),
                }
            }
            _ => Err(Refusal::invalid("ca_certificate needs either id or content")),
        }
    }

    fn show(&self, gateway: &Gateway, place: Place, switches: &Switches) -> Value {
        let mut shown = Map::new();
        let mut tell = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        let identity = &gateway.identity;
        let time = |time| match place {
            Place::Creation => in_create_answer(time, switches),
            Place::Read | Place::List => in_read_answer(time, switches),
        };
        let unset = || (switches.unset_fields == UnsetFields::Null).then_some(Value::Null);
        tell("id", json!(gateway.id));
        tell("name", json!(gateway.name));
        if place != Place::List || switches.list_id_type == ListIdType::Present {
            tell("id_type", json!(identity.id_type));
        }
        tell("id_value", json!(identity.id_value));
        if (place != Place::List || switches.list_bgp_asn == ListBgpAsn::Present)
            && let Some(asn) = identity.bgp_asn.map(Value::from).or_else(unset)
        {
            tell("bgp_asn", asn);
        }
        let certificate = gateway
            .ca_certificate
            .as_ref()
            .and_then(|id| self.certificates.get(id))
            .map(|certificate| {
                json!({
                    "id": certificate.id,
                    "serial_number": certificate.serial_number,
                    "signature_algorithm": certificate.signature_algorithm,
                    "issuer": certificate.issuer,
                    "subject": certificate.subject,
                    "expire_time": in_read_answer(certificate.expire_time, switches),
                    "is_updatable": switches.certificate_updatable == CertificateUpdatable::Yes,
                })
            });
        if let Some(certificate) = certificate.or_else(unset) {
            tell("ca_certificate", certificate);
        }
        tell("created_at", json!(time(gateway.created_at)));
        tell("updated_at", json!(time(gateway.updated_at)));
        let tags = match (place, switches.create_tags, switches.list_tags) {
            (Place::Creation, CreateTags::Absent, _) | (Place::List, _, ListTags::Absent) => None,
            (Place::List, _, ListTags::Null) => Some(Value::Null),
            _ => match (gateway.tags.is_empty(), switches.empty_tags) {
                (true, EmptyTags::Absent) => None,
                (true, EmptyTags::Null) => Some(Value::Null),
                _ => Some(show_tags(&gateway.tags)),
            },
        };
        if let Some(tags) = tags {
            tell("tags", tags);
        }
        if switches.deprecated_fields == DeprecatedFields::Present && place != Place::Creation {
            if identity.id_type == "ip" {
                tell("ip", json!(identity.id_value));
            }
            let usual = if identity.bgp_asn.is_some() { "bgp" } else { "static" };
            tell("route_mode", json!(identity.route_mode.as_deref().unwrap_or(usual)));
        }
        shown.extend(gateway.answered_instead.clone());
        Value::Object(shown)
    }
}

/// `[{"key","value"}]`.
pub fn show_tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// POST of a gateway.
pub fn create(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
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
    let shown = store.show(&gateway, Place::Creation, &switches);
    let id = gateway.id.clone();
    store.gateways.insert(id.clone(), gateway);
    Ok(Answer::created(wrapped(WRAPPER, shown), id))
}

/// GET of a gateway.
pub fn get(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let gateway = state.gateways.find(call, &state.switches)?.clone();
    Ok(Answer::read(wrapped(
        WRAPPER,
        state.gateways.show(&gateway, Place::Read, &state.switches),
    )))
}

/// GET of a page of gateways.
pub fn list(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
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
        .map(|gateway| state.gateways.show(gateway, Place::List, switches))
        .collect();
    let mut body = wrapped("customer_gateways", gateways);
    body.insert("total_count".to_owned(), total.into());
    body.insert("page_info".to_owned(), page_info.into());
    Ok(Answer::read(body))
}

/// PUT of a gateway.
pub fn update(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
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
            return Err(Refusal::invalid(format!(
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
        gateway.name = name.to_owned();
    }
    if let Some(certificate) = &certificate {
        gateway.ca_certificate = Some(certificate.id.clone());
    }
    gateway.updated_at = updated_at;
    let gateway = gateway.clone();
    if let Some(certificate) = certificate {
        state.gateways.certificates.insert(certificate.id.clone(), certificate);
    }
    Ok(Answer::updated(wrapped(
        WRAPPER,
        state.gateways.show(&gateway, Place::Read, &switches),
    )))
}

/// DELETE of a gateway.
pub fn delete(state: &mut State, call: &Call<'_>) -> Result<Answer, Refusal> {
    let slow_end = state.clock.slow_end();
    let switches = state.switches;
    let gateway = state.gateways.find(call, &switches)?;
    if gateway.connection.is_some() {
        let status = match switches.has_connection {
            HasConnection::Status400 => StatusCode::BAD_REQUEST,
            HasConnection::Status409 => StatusCode::CONFLICT,
        };
        let text = format!("invalid request: customer gateway {} has connection", gateway.id);
        return Err(Refusal::service(status, "VPN.0001", text));
    }
    match switches.deletion {
        // A second request does not delay the end of the first deletion.
        _ if gateway.deleting.is_some() => {}
        Deletion::Slow => gateway.deleting = Some(Deleting::Until(slow_end)),
        Deletion::Held => gateway.deleting = Some(Deleting::Held),
        Deletion::Immediate => {
            state.gateways.gateways.remove(&call.route.id);
        }
    }
    Ok(Answer::done())
}

fn wrapped_fields(call: &Call<'_>) -> Result<Fields, Refusal> {
    call.object()?
        .object(WRAPPER)?
        .ok_or_else(|| Refusal::invalid(format!("{WRAPPER} is required")))
}

fn refuse_duplicates(state: &State, project_id: &str, name: &str, identity: &Identity) -> Result<(), Refusal> {
    let being_deleted = state
        .gateways
        .of(project_id)
        .any(|gateway| gateway.name == name && gateway.deleting.is_some());
    if being_deleted {
        return Err(Refusal::invalid(format!(
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
        DuplicateIdValue::Vpn0001 if taken => Err(Refusal::invalid(format!(
            "a customer gateway with id_value {} already exists",
            identity.id_value
        ))),
        _ => Ok(()),
    }
}

fn refuse_duplicate_name(state: &State, project_id: &str, name: &str) -> Result<(), Refusal> {
    let taken = state.gateways.of(project_id).any(|gateway| gateway.name == name);
    match state.switches.duplicate_name {
        DuplicateName::Vpn0012 if taken => Err(occupied(name)),
        DuplicateName::Vpn0001 if taken => Err(Refusal::invalid(format!(
            "a customer gateway with name {name} already exists"
        ))),
        _ => Ok(()),
    }
}

fn refuse_beyond_quota(state: &State, project_id: &str) -> Result<(), Refusal> {
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
    Err(Refusal::service(status, code, text))
}

fn unsupported(field: &str) -> Refusal {
    Refusal::service(
        StatusCode::BAD_REQUEST,
        "VPN.0013",
        format!("unsupported attribute: {field}"),
    )
}

fn occupied(what: &str) -> Refusal {
    Refusal::service(StatusCode::BAD_REQUEST, "VPN.0012", format!("{what} is occupied"))
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// `cgw-` and four hex digits.
fn generated_name() -> String {
    format!("cgw-{:04x}", rand::rng().random::<u16>())
}

fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error| format!("created_at {text:?} is no time of RFC 3339: {error}"))
}

fn dump(gateway: &Gateway) -> GatewayDump {
    GatewayDump {
        project_id: gateway.project_id.clone(),
        id: gateway.id.clone(),
        name: gateway.name.clone(),
        id_type: gateway.identity.id_type.clone(),
        id_value: gateway.identity.id_value.clone(),
        bgp_asn: gateway.identity.bgp_asn,
        ca_certificate_id: gateway.ca_certificate.clone(),
        tags: gateway.tags.clone(),
        created_at: gateway.created_at.to_string(),
        updated_at: gateway.updated_at.to_string(),
        connection: gateway.connection.clone(),
        deleting: gateway.deleting.is_some(),
    }
}

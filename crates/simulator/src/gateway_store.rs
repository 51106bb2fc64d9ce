//! The customer gateways with their certificates: looking them up, showing them, and edits out of band.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use rand::RngExt;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::admin::{GatewayDump, GatewayEdit, GatewaySeed};
use crate::calls::{Fields, ServiceCall};
use crate::certificates::Certificate;
use crate::clock::{SimulatedClock, in_create_answer, in_read_answer};
use crate::gateway_rules::Identity;
use crate::ids::ResourceNames;
use crate::refusal::ApiRefusal;
use crate::switches::{
    CaCertificates, CertificateDuplicate, CertificateUpdatable, CreateTags, DeprecatedFields, EmptyTags, ListBgpAsn,
    ListIdType, ListTags, Switches, UnsetFields,
};
use crate::{certificates, ids};

const GATEWAY: ResourceNames = ResourceNames {
    parameter: "customer_gateway_id",
    kind: "CUSTOMER_GATEWAY",
    name: "customer gateway",
};

/// A gateway.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
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
    pub answered_instead: Map<String, Value>,
    pub deleting: Option<Deleting>,
}

/// How long a deletion takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deleting {
    Until(Timestamp),
    /// Until the admin API finishes it.
    Held,
}

/// Where a gateway is shown; the cloud does not return the same fields everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownIn {
    Creation,
    Read,
    List,
}

/// Gateways by id, and the certificates that they use.
#[derive(Debug, Default)]
pub(crate) struct GatewayStore {
    pub gateways: BTreeMap<String, Gateway>,
    pub certificates: BTreeMap<String, Certificate>,
}

impl GatewayStore {
    /// The gateways of a project.
    pub(crate) fn of(&self, project_id: &str) -> impl Iterator<Item = &Gateway> {
        self.gateways
            .values()
            .filter(move |gateway| gateway.project_id == project_id)
    }

    /// The gateway of that id in the project of the call.
    pub(crate) fn find(&mut self, call: &ServiceCall<'_>, switches: &Switches) -> Result<&mut Gateway, ApiRefusal> {
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
    pub(crate) fn settle(&mut self, now: Timestamp) {
        self.gateways
            .retain(|_, gateway| !matches!(gateway.deleting, Some(Deleting::Until(end)) if end <= now));
    }

    /// Removes everything that is being deleted. Returns how many gateways these were.
    pub(crate) fn finish_deletions(&mut self) -> usize {
        let before = self.gateways.len();
        self.gateways.retain(|_, gateway| gateway.deleting.is_none());
        before - self.gateways.len()
    }

    /// Creates a gateway out of band.
    pub(crate) fn seed(
        &mut self,
        seed: GatewaySeed,
        project_id: String,
        clock: &mut SimulatedClock,
    ) -> Result<GatewayDump, String> {
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
        if self.gateways.contains_key(&gateway.id) {
            return Err(format!("there is a gateway with the id {}", gateway.id));
        }
        self.gateways.insert(gateway.id.clone(), gateway);
        Ok(shown)
    }

    /// Edits a gateway out of band; `None` if there is none of that id.
    pub(crate) fn edit(
        &mut self,
        id: &str,
        edit: GatewayEdit,
        clock: &mut SimulatedClock,
    ) -> Result<Option<GatewayDump>, String> {
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
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.gateways.remove(id).is_some()
    }

    /// All gateways of all projects, oldest first.
    pub(crate) fn dump(&self) -> Vec<GatewayDump> {
        let mut gateways: Vec<_> = self.gateways.values().collect();
        gateways.sort_by_key(|gateway| gateway.created_at);
        gateways.into_iter().map(dump).collect()
    }

    pub(crate) fn dump_one(&self, id: &str) -> Option<GatewayDump> {
        self.gateways.get(id).map(dump)
    }

    /// Returns the certificate that a request refers to: an existing one, or a new one from its content.
    pub(crate) fn certificate(
        &self,
        fields: &Fields,
        project_id: &str,
        now: Timestamp,
        switches: &Switches,
    ) -> Result<Certificate, ApiRefusal> {
        if switches.ca_certificate == CaCertificates::Refused {
            return Err(unsupported("ca_certificate"));
        }
        match (fields.text("id")?, fields.text("content")?) {
            (Some(id), None) => self
                .certificates
                .get(id)
                .filter(|certificate| certificate.project_id == project_id)
                .cloned()
                .ok_or_else(|| ApiRefusal::invalid(format!("ca_certificate {id:?} is unknown"))),
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
            _ => Err(ApiRefusal::invalid("ca_certificate needs either id or content")),
        }
    }

    /// Returns the gateway as that place shows it.
    pub(crate) fn show(&self, gateway: &Gateway, place: ShownIn, switches: &Switches) -> Value {
        let mut shown = Map::new();
        let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        let identity = &gateway.identity;
        let time = |time| match place {
            ShownIn::Creation => in_create_answer(time, switches),
            ShownIn::Read | ShownIn::List => in_read_answer(time, switches),
        };
        let unset = || (switches.unset_fields == UnsetFields::Null).then_some(Value::Null);
        set("id", json!(gateway.id));
        set("name", json!(gateway.name));
        if place != ShownIn::List || switches.list_id_type == ListIdType::Present {
            set("id_type", json!(identity.id_type));
        }
        set("id_value", json!(identity.id_value));
        if (place != ShownIn::List || switches.list_bgp_asn == ListBgpAsn::Present)
            && let Some(asn) = identity.bgp_asn.map(Value::from).or_else(unset)
        {
            set("bgp_asn", asn);
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
            set("ca_certificate", certificate);
        }
        set("created_at", json!(time(gateway.created_at)));
        set("updated_at", json!(time(gateway.updated_at)));
        let tags = match (place, switches.create_tags, switches.list_tags) {
            (ShownIn::Creation, CreateTags::Absent, _) | (ShownIn::List, _, ListTags::Absent) => None,
            (ShownIn::List, _, ListTags::Null) => Some(Value::Null),
            _ => match (gateway.tags.is_empty(), switches.empty_tags) {
                (true, EmptyTags::Absent) => None,
                (true, EmptyTags::Null) => Some(Value::Null),
                _ => Some(show_tags(&gateway.tags)),
            },
        };
        if let Some(tags) = tags {
            set("tags", tags);
        }
        if switches.deprecated_fields == DeprecatedFields::Present && place != ShownIn::Creation {
            if identity.id_type == "ip" {
                set("ip", json!(identity.id_value));
            }
            let usual = if identity.bgp_asn.is_some() { "bgp" } else { "static" };
            set("route_mode", json!(identity.route_mode.as_deref().unwrap_or(usual)));
        }
        shown.extend(gateway.answered_instead.clone());
        Value::Object(shown)
    }
}

/// `[{"key","value"}]`.
pub(crate) fn show_tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// VPN.0013.
pub(crate) fn unsupported(field: &str) -> ApiRefusal {
    ApiRefusal::service(
        StatusCode::BAD_REQUEST,
        "VPN.0013",
        format!("unsupported attribute: {field}"),
    )
}

/// A random UUID.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// `cgw-` and four hex digits.
pub(crate) fn generated_name() -> String {
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

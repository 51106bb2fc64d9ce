//! What the cloud takes as fields of a gateway, and with which code it refuses the rest.

use std::{collections::BTreeMap, net::Ipv4Addr};

use axum::http::StatusCode;

use crate::calls::Fields;
use crate::refusal::ApiRefusal;
use crate::switches::{Fqdn, Switches, TagValueSlash, TagWithoutValue};

/// Most tags that a gateway can have.
pub(crate) const MOST_TAGS: usize = 20;

/// The fields of a creation, but name and certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub id_type: String,
    pub id_value: String,
    pub bgp_asn: Option<i64>,
    pub route_mode: Option<String>,
}

impl Identity {
    /// From `id_type` and `id_value`, or from their deprecated predecessors `ip` and `route_mode`.
    pub(crate) fn read(fields: &Fields, switches: &Switches) -> Result<Self, ApiRefusal> {
        let route_mode = fields.text("route_mode")?;
        let (id_type, id_value) = match (fields.text("id_value")?, fields.text("ip")?) {
            (Some(_), Some(_)) => return Err(ApiRefusal::invalid("ip and id_value exclude each other")),
            (Some(_), None) if route_mode.is_some() => {
                return Err(ApiRefusal::invalid("route_mode and id_value exclude each other"));
            }
            (Some(value), None) => (fields.text("id_type")?.unwrap_or("ip"), value),
            (None, Some(ip)) => ("ip", ip),
            (None, None) => return Err(ApiRefusal::invalid("id_value is required")),
        };
        if route_mode.is_some_and(|mode| mode != "static" && mode != "bgp") {
            return Err(ApiRefusal::invalid("route_mode must be static or bgp"));
        }
        let bgp_asn = fields.whole_number("bgp_asn")?;
        match id_type {
            "ip" => check_ip(id_value)?,
            "fqdn" if switches.fqdn == Fqdn::Refused => {
                return Err(ApiRefusal::invalid("id_type fqdn is currently not supported"));
            }
            "fqdn" => check_fqdn(id_value)?,
            _ => return Err(ApiRefusal::invalid("id_type must be ip or fqdn")),
        }
        let bgp_asn = match (id_type, bgp_asn) {
            // Clients for whom a number is always there send 0 for none.
            (_, None) | ("fqdn", Some(0)) => None,
            ("fqdn", Some(_)) => return Err(ApiRefusal::invalid("bgp_asn is available only when id_type is ip")),
            (_, Some(asn)) if (1..=i64::from(u32::MAX)).contains(&asn) => Some(asn),
            (_, Some(_)) => return Err(ApiRefusal::invalid("bgp_asn must be a number from 1 to 4294967295")),
        };
        Ok(Self {
            id_type: id_type.to_owned(),
            id_value: id_value.to_owned(),
            bgp_asn,
            route_mode: route_mode.map(str::to_owned),
        })
    }
}

/// 1 to 64 letters, digits, `_ - .`.
pub(crate) fn check_name(name: &str) -> Result<(), ApiRefusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match (1..=64).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(()),
        false => Err(ApiRefusal::invalid(
            "name must be 1 to 64 letters, digits, underscores, hyphens and periods",
        )),
    }
}

fn check_ip(value: &str) -> Result<(), ApiRefusal> {
    let refused = |code, text: String| Err(ApiRefusal::service(StatusCode::BAD_REQUEST, code, text));
    match value.parse::<Ipv4Addr>().map(|ip| ip.octets()[0]) {
        Err(_) | Ok(0) => refused("VPN.0203", format!("invalid ip address {value:?}")),
        Ok(127 | 224..) => refused(
            "VPN.0204",
            format!("ip address {value} is of class D or E or a loopback address, not supported"),
        ),
        Ok(_) => Ok(()),
    }
}

fn check_fqdn(value: &str) -> Result<(), ApiRefusal> {
    let fits = |c: char| c.is_ascii_graphic() && !r"&<>[]\?".contains(c);
    match (1..=128).contains(&value.len()) && value.chars().all(fits) {
        true => Ok(()),
        false => Err(ApiRefusal::invalid(
            "id_value must be 1 to 128 letters, digits and special characters, without spaces and & < > [ ] \\ ?",
        )),
    }
}

/// Tags to put on, some of which may have no value.
pub(crate) fn read_tags(items: &[Fields], switches: &Switches) -> Result<BTreeMap<String, String>, ApiRefusal> {
    let mut tags = BTreeMap::new();
    for item in items {
        let key = item
            .text("key")?
            .ok_or_else(|| ApiRefusal::invalid("a tag needs a key"))?;
        let value = item.text("value")?.unwrap_or_default();
        check_tag(key, value, switches)?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiRefusal::invalid(format!("tag key {key:?} is there more than once")));
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(too_many_tags());
    }
    Ok(tags)
}

/// Refuses tags without a value in a creation, where the documents want one.
pub(crate) fn check_values(items: &[Fields], switches: &Switches) -> Result<(), ApiRefusal> {
    if switches.tag_without_value == TagWithoutValue::Accepted {
        return Ok(());
    }
    for item in items {
        if item.get("value").is_none() {
            let key = item.text("key")?.unwrap_or_default();
            return Err(ApiRefusal::invalid(format!("tag {key:?} needs a value")));
        }
    }
    Ok(())
}

/// More than twenty.
pub(crate) fn too_many_tags() -> ApiRefusal {
    ApiRefusal::invalid("a resource can have at most 20 tags")
}

fn check_tag(key: &str, value: &str, switches: &Switches) -> Result<(), ApiRefusal> {
    let slash_fits = switches.tag_value_slash == TagValueSlash::Accepted;
    if !(1..=128).contains(&key.chars().count()) || !key.chars().all(is_tag_character) {
        return Err(ApiRefusal::invalid(format!(
            "tag key {key:?} must be 1 to 128 letters, digits, spaces and _ . : = + - @"
        )));
    }
    if key.starts_with("_sys_") {
        return Err(ApiRefusal::invalid(format!(
            "tag key {key:?} must not start with _sys_"
        )));
    }
    if value.chars().count() > 255 || !value.chars().all(|c| is_tag_character(c) || (c == '/' && slash_fits)) {
        return Err(ApiRefusal::invalid(format!(
            "the value of tag {key:?} must be at most 255 letters, digits, spaces and _ . : = + - @"
        )));
    }
    match [key, value]
        .iter()
        .any(|text| text.starts_with(' ') || text.ends_with(' '))
    {
        true => Err(ApiRefusal::invalid(format!(
            "tag {key:?} must not start or end with a space"
        ))),
        false => Ok(()),
    }
}

/// Letters of English, Spanish and Portuguese, digits, and a few others.
fn is_tag_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:=+-@ ".contains(c) || "áàâãçéêíñóôõúüÁÀÂÃÇÉÊÍÑÓÔÕÚÜ".contains(c)
}

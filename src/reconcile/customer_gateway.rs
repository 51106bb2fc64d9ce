//! The kind of customer gateways: desired state from a spec, differences from the cloud, and correcting calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use super::access::person;
use super::decide::Policy;
use super::dereferencer::{DereferenceError, Dereferencer};
use super::key::Key;
use super::kind::{Correction, Difference, Immutable, Kind, Record, Refused, SecretRef, Wanted};
use super::observation::owner_of;
use super::record::whole_seconds;
use super::secrets::LONGEST_VALUE;
use super::session::Project;
use crate::api::conditions::Reason;
use crate::api::customer_gateway::{CertificateStatus, IdType};
use crate::api::{CustomerGatewaySpec, CustomerGatewayStatus, Intent, ManagementPolicy, ObjectStatus};
use crate::cache::{Cache, Remote};
use crate::cloud::customer_gateways::{CertificateContent, CustomerGateway, CustomerGatewayChange, NewCustomerGateway};
use crate::cloud::{Answer, Client, CloudError, time};
use crate::text::one_line;

/// Tags with this prefix belong to the cloud itself.
const SYSTEM_TAG_PREFIX: &str = "_sys_";
/// Maximum length of a text that is only shown.
const LONGEST_SHOWN: usize = 1024;
/// As many as a spec can name.
const MAX_MANAGED_TAGS: usize = 19;

/// The kind of customer gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateways {}

/// What the spec refers to: the certificate's PEM text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayDereferenced {
    pub certificate: Option<String>,
}

/// A call that changes a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChange {
    Update(CustomerGatewayChange),
    AddTags(BTreeMap<String, String>),
    RemoveTags(BTreeMap<String, String>),
}

impl Remote for CustomerGateway {
    const TAGGED: bool = true;

    fn id(&self) -> &str {
        &self.id
    }

    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.tags.as_ref()
    }

    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>) {
        self.tags = tags;
    }

    fn complete_from(&mut self, earlier: &Self) {
        // A list item may omit fields. The earlier values of immutable ones are still valid.
        self.id_type = self.id_type.take().or_else(|| earlier.id_type.clone());
        self.id_value = self.id_value.take().or_else(|| earlier.id_value.clone());
        self.bgp_asn = self.bgp_asn.or(earlier.bgp_asn);
        self.created_at = self.created_at.take().or_else(|| earlier.created_at.clone());
        self.updated_at = self.updated_at.take().or_else(|| earlier.updated_at.clone());
        self.name = self.name.take().or_else(|| earlier.name.clone());
        self.ca_certificate = self.ca_certificate.take().or_else(|| earlier.ca_certificate.clone());
    }
}

impl Kind for Gateways {
    type Resource = crate::api::CustomerGateway;
    type Spec = CustomerGatewaySpec;
    type Status = CustomerGatewayStatus;
    type Remote = CustomerGateway;
    type Dereferenced = GatewayDereferenced;
    type New = NewCustomerGateway;
    type Change = GatewayChange;
    /// A project has one collection of gateways.
    type Parent = ();

    const KIND: &'static str = "CustomerGateway";
    const NOUN: &'static str = "customer gateway";
    const PLACE: &'static str = "in the cloud project";
    const UNIQUE_NAMES: bool = false;
    const LOSS_RECORD: &'static str = "status.lostCreatedAt";

    fn object(status: &Self::Status) -> &ObjectStatus {
        &status.object
    }

    fn object_mut(status: &mut Self::Status) -> &mut ObjectStatus {
        &mut status.object
    }

    fn secret_refs(spec: &Self::Spec) -> Vec<SecretRef> {
        let certificate = spec.ca_certificate_secret_ref.iter();
        certificate
            .map(|secret| SecretRef {
                field: "caCertificateSecretRef",
                name: secret.name.clone(),
                key: secret.key().to_owned(),
            })
            .collect()
    }

    fn parent(_: Option<&Self::Spec>, _: &Self::Status) -> Option<Self::Parent> {
        Some(())
    }

    fn write_queue((): &Self::Parent) -> Option<&str> {
        None
    }

    fn problem(spec: &Self::Spec, policy: &Policy) -> Option<String> {
        if policy.is_otc && spec.ca_certificate_secret_ref.is_some() {
            return Some("caCertificateSecretRef: Open Telekom Cloud has no CA certificates; remove it".to_owned());
        }
        // Admission requires it; an older CRD may not have required it.
        if spec.id_value.is_none() && spec.lifecycle.management() != ManagementPolicy::Observe {
            return Some("idValue is required: set it to the gateway's IPv4 address or FQDN".to_owned());
        }
        let tags = spec.tags.as_ref()?;
        tags.contains_key(&policy.owner_tag_key).then(|| {
            format!(
                "tags: the key {} belongs to the operator (--owner-tag-key); remove it",
                policy.owner_tag_key
            )
        })
    }

    fn cloud_name(spec: &Self::Spec, _: &Self::Status, object_name: &str) -> String {
        spec.name.clone().unwrap_or_else(|| object_name.to_owned())
    }

    fn remote_name(remote: &Self::Remote) -> Option<&str> {
        remote.name.as_deref()
    }

    fn claimed_name(spec: Option<&Self::Spec>, name: &str) -> String {
        let identifier = spec.and_then(|spec| spec.id_value.as_deref()).unwrap_or_default();
        named_and_identified(name, identifier)
    }

    fn claimed_name_of(remote: &Self::Remote) -> Option<String> {
        let (name, identifier) = (remote.name.as_deref()?, remote.id_value.as_deref()?);
        Some(named_and_identified(name, identifier))
    }

    fn new(
        spec: &Self::Spec,
        name: &str,
        dereferenced: &Self::Dereferenced,
        owner_tag: (&str, &str),
    ) -> Result<Self::New, (Reason, String)> {
        let mut tags = wanted_tags(spec).unwrap_or_default();
        tags.insert(owner_tag.0.to_owned(), owner_tag.1.to_owned());
        Ok(NewCustomerGateway {
            name: name.to_owned(),
            id_type: id_type(spec).wire().to_owned(),
            id_value: spec.id_value.clone().unwrap_or_default(),
            bgp_asn: spec.bgp_asn,
            ca_certificate: dereferenced
                .certificate
                .clone()
                .map(|content| CertificateContent { content }),
            tags,
        })
    }

    fn looks_like(spec: &Self::Spec, name: &str, remote: &Self::Remote) -> bool {
        remote.name.as_deref() == Some(name) && has_identifier(spec, remote)
    }

    fn is_same_peer(spec: &Self::Spec, remote: &Self::Remote) -> bool {
        // An ASN that the spec omits matches any; a list may omit it, too.
        let is_asked = |asn: i64| spec.bgp_asn.is_none_or(|wanted| wanted == asn);
        let wanted_type = id_type(spec).wire();
        has_identifier(spec, remote)
            && remote.bgp_asn.is_none_or(is_asked)
            && remote
                .id_type
                .as_deref()
                .is_none_or(|told| told.eq_ignore_ascii_case(wanted_type))
    }

    fn is_duplicate(one: &Self::Remote, other: &Self::Remote) -> bool {
        let same_identifier = match (&one.id_value, &other.id_value) {
            (Some(one), Some(other)) => is_same_identifier(one, other),
            (one, other) => one == other,
        };
        same_identifier && one.bgp_asn == other.bgp_asn
    }

    fn is_identified(remote: &Self::Remote) -> bool {
        remote.id_value.is_some() && remote.bgp_asn.is_some()
    }

    fn is_of_record(_: &Self::Status, _: &Self::Remote, _: &Policy) -> bool {
        // Its tag names the owner.
        false
    }

    fn confirmed_at(_: &Self::Status) -> Option<&Time> {
        // A gateway is usable as soon as its creation is answered.
        None
    }

    fn awaited(status: &mut Self::Status) -> Vec<&mut Time> {
        let intent = status.object.intent.as_mut();
        intent.map(|intent| &mut intent.deadline).into_iter().collect()
    }

    fn immutable_difference(spec: &Self::Spec, remote: &Self::Remote, full: bool) -> Immutable {
        let differs = |field: &'static str, wanted: &str, has: &str| {
            let id = &remote.id;
            // Only what admission still permits: bgpASN may be unset, the others stay once they are set.
            let way_out = match field {
                "bgpASN" => "omit bgpASN".to_owned(),
                _ => format!(
                    "delete this object (with deletionPolicy: Retain, to keep the cloud's) and recreate it with \
                     externalID: {id} and {field}: {has}"
                ),
            };
            let message = format!(
                "{field}: the customer gateway {id} has {has} in the cloud, not {wanted}, and it is immutable there: \
                 {way_out}; for a gateway with {wanted}, create another CustomerGateway beside this one, move the VPN \
                 connection to it, then delete this one"
            );
            Immutable::Differs { field, message }
        };
        let wanted_type = spec.id_type.map(IdType::wire);
        if let Some(wanted) = wanted_type {
            match remote.id_type.as_deref() {
                Some(has) if !has.eq_ignore_ascii_case(wanted) => {
                    return differs("idType", &wanted.to_uppercase(), &has.to_uppercase());
                }
                None if !full => return Immutable::Untold,
                _ => {}
            }
        }
        if let Some(wanted) = &spec.id_value {
            match &remote.id_value {
                Some(has) if !is_same_identifier(has, wanted) => return differs("idValue", wanted, has),
                None if !full => return Immutable::Untold,
                _ => {}
            }
        }
        if let Some(wanted) = spec.bgp_asn {
            match remote.bgp_asn {
                Some(has) if has != wanted => return differs("bgpASN", &wanted.to_string(), &has.to_string()),
                None if !full => return Immutable::Untold,
                None => return differs("bgpASN", &wanted.to_string(), "none"),
                _ => {}
            }
        }
        Immutable::Same
    }

    fn difference(wanted: &Wanted<'_, Self>, remote: &Self::Remote) -> Option<Difference<Self::Change>> {
        let Wanted {
            spec,
            status,
            dereferenced,
            ..
        } = wanted;
        let mut fields = Vec::new();
        let mut update = CustomerGatewayChange::default();
        // A name that is missing in a response is no difference: every gateway has a name.
        if let (Some(name), Some(has)) = (&spec.name, &remote.name)
            && has != name
        {
            fields.push("name".to_owned());
            update.name = Some(name.clone());
        }
        if let Some(content) = &dereferenced.certificate
            && certificate_differs(status, content, remote)
        {
            fields.push("caCertificateSecretRef".to_owned());
            update.ca_certificate = Some(CertificateContent {
                content: content.clone(),
            });
        }
        let tags = TagDifference::of(
            spec,
            status,
            remote,
            &wanted.policy.owner_tag_key,
            wanted.overwrites_tags,
        );
        if tags.is_some() {
            fields.push("tags".to_owned());
        }
        let call = if update != CustomerGatewayChange::default() {
            GatewayChange::Update(update)
        } else {
            let tags = tags?;
            if tags.remove.is_empty() {
                GatewayChange::AddTags(tags.add)
            } else {
                GatewayChange::RemoveTags(tags.remove)
            }
        };
        Some(Difference {
            fields,
            correction: Correction::Call(call),
        })
    }

    fn needs_whole(change: &Self::Change) -> bool {
        // A list may omit the certificate, which would look like its removal.
        matches!(change, GatewayChange::Update(update) if update.ca_certificate.is_some())
    }

    fn tag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Some(GatewayChange::AddTags(tags))
    }

    fn untag(tags: BTreeMap<String, String>) -> Option<Self::Change> {
        Some(GatewayChange::RemoveTags(tags))
    }

    fn apply_change(change: &Self::Change, remote: &mut Self::Remote) {
        // Tags that are not known stay unknown.
        let Some(tags) = &mut remote.tags else { return };
        match change {
            GatewayChange::Update(_) => {}
            GatewayChange::AddTags(added) => tags.extend(added.clone()),
            GatewayChange::RemoveTags(removed) => tags.retain(|key, _| !removed.contains_key(key)),
        }
    }

    fn announced(_: &mut Self::Status, (): &Self::Parent, _: &Self::New, _: &Intent) {}

    fn created(status: &mut Self::Status, new: &Self::New, remote: &Self::Remote, record: &Record<'_>) {
        if let Some(certificate) = &new.ca_certificate {
            remember_certificate(status, certificate, Some(remote));
        }
        remember_tags(status, &new.tags, &record.policy.owner_tag_key);
    }

    fn settles(intent: &Intent, remote: &Self::Remote, record: &Record<'_>) -> bool {
        let owner = owner_of(remote, &record.policy.owner_tag_key);
        let is_marked = owner.is_some_and(|owner| owner.uid == record.uid);
        is_marked && record.is_in_window::<Self>(intent, remote)
    }

    fn settles_all(_: &Self::Status, _: &Self::Remote) -> bool {
        // Any number of gateways may share a name.
        false
    }

    fn forget_earlier(_: &mut Self::Status) {}

    fn found(_: &mut Self::Status, _: Option<&Self::Parent>, _: &Self::Remote, _: Option<&Intent>, _: &Record<'_>) {}

    fn announced_before(_: &Self::Status, _: &Self::Dereferenced) -> Option<Self::New> {
        None
    }

    fn creation_refused(_: &mut Self::Status, _: &Self::New, _: &CloudError) {}

    fn vanished(_: &mut Self::Status, _: &str) {}

    fn confirm(
        status: &mut Self::Status,
        spec: Option<&Self::Spec>,
        _: Option<&Self::Dereferenced>,
        remote: &Self::Remote,
    ) {
        // Where drift is only reported, tags of the spec may be missing, and tags that it dropped may still exist.
        let wanted = spec.and_then(wanted_tags).unwrap_or_default();
        let has = remote.tags.clone().unwrap_or_default();
        let is_put = |key: &String| wanted.contains_key(key) && wanted.get(key) == has.get(key);
        let earlier = std::mem::take(&mut status.managed_tags).into_iter();
        let kept = earlier.filter(|key| !is_put(key) && (has.contains_key(key) || wanted.contains_key(key)));
        let put = wanted.keys().filter(|key| is_put(key)).cloned();
        status.managed_tags = put.chain(kept).take(MAX_MANAGED_TAGS).collect();
        let recorded = status.ca_certificate.take().unwrap_or_default();
        status.ca_certificate = remote.ca_certificate.as_ref().map(|told| CertificateStatus {
            // Another id means another certificate than the one that was sent. Where drift is only reported, it must
            // not count as ours from now on.
            content_sha256: match (&recorded.id, &told.id) {
                (Some(ours), Some(its)) if ours != its => None,
                _ => recorded.content_sha256,
            },
            id: told.id.clone(),
            // The author of the certificate chose these texts.
            issuer: told.issuer.as_deref().map(shown),
            subject: told.subject.as_deref().map(shown),
            expires_at: told
                .expire_time
                .as_deref()
                .and_then(|text| time::parse(text).ok())
                .map(|at| Time(whole_seconds(at))),
        });
    }

    fn announce_change(_: &mut Self::Status, _: &Self::Change, _: Timestamp) {}

    fn changed(status: &mut Self::Status, change: &Self::Change, remote: Option<&Self::Remote>, record: &Record<'_>) {
        match change {
            GatewayChange::Update(update) => {
                if let Some(certificate) = &update.ca_certificate {
                    remember_certificate(status, certificate, remote);
                }
            }
            GatewayChange::AddTags(added) => remember_tags(status, added, &record.policy.owner_tag_key),
            GatewayChange::RemoveTags(removed) => status.managed_tags.retain(|key| !removed.contains_key(key)),
        }
    }

    fn refused(_: &mut Self::Status, _: &Self::Change, _: &CloudError, _: &Record<'_>) -> Refused {
        Refused::AsTold
    }

    fn change_event(_: &Self::Change, _: &str) -> Option<(&'static str, String)> {
        None
    }

    fn times(remote: &Self::Remote) -> (Option<Timestamp>, Option<Timestamp>) {
        let read = |text: &Option<String>| text.as_deref().and_then(|text| time::parse(text).ok());
        (read(&remote.created_at), read(&remote.updated_at))
    }

    fn cache(open: &Project, (): &Self::Parent, _: &Key) -> Arc<Cache<Self::Remote, Key>> {
        Arc::clone(&open.gateways)
    }

    fn dereferenced<'a>(
        spec: &'a Self::Spec,
        dereferencer: &'a Dereferencer<'a>,
    ) -> BoxFuture<'a, Result<Self::Dereferenced, DereferenceError>> {
        async move {
            let Some(reference) = Self::secret_refs(spec).into_iter().next() else {
                return Ok(GatewayDereferenced::default());
            };
            let content = dereferencer.secret(&reference).await?.bytes;
            let certificate = certificate(content).map_err(|problem| {
                let SecretRef { field, name, key } = &reference;
                person(
                    Reason::InvalidSpec,
                    format!("{field}: the key {key} of the Secret {name} {problem}; it is picked up at once"),
                )
            })?;
            Ok(GatewayDereferenced {
                certificate: Some(certificate),
            })
        }
        .boxed()
    }

    fn overwrites(change: &Self::Change) -> bool {
        matches!(change, GatewayChange::AddTags(_))
    }

    fn create<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        new: &'a Self::New,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Answer<Self::Remote>, CloudError>> {
        client
            .create_customer_gateway(new)
            .map_ok(|mut answer| {
                // The response may omit the tags although they were sent and accepted.
                answer.value.tags.get_or_insert_with(|| new.tags.clone());
                answer
            })
            .boxed()
    }

    fn change<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        id: &'a str,
        change: &'a Self::Change,
    ) -> BoxFuture<'a, Result<Answer<Option<Self::Remote>>, CloudError>> {
        match change {
            GatewayChange::Update(update) => client
                .update_customer_gateway(id, update)
                .map_ok(|answer| answer.map(Some))
                .boxed(),
            GatewayChange::AddTags(tags) => client
                .add_customer_gateway_tags(id, tags)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
            GatewayChange::RemoveTags(tags) => client
                .remove_customer_gateway_tags(id, tags)
                .map_ok(|answer| answer.map(|()| None))
                .boxed(),
        }
    }

    fn delete<'a>(
        client: &'a Client,
        (): &'a Self::Parent,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Answer<()>, CloudError>> {
        client.delete_customer_gateway(id).boxed()
    }
}

/// Returns the certificates of a Secret, or what is wrong with it and what to do.
pub fn certificate(content: Vec<u8>) -> Result<String, &'static str> {
    let is_long = content.len() > LONGEST_VALUE;
    match String::from_utf8(content) {
        _ if is_long => Err("holds more than 64 KiB: put only the CA certificate there"),
        // It would be sent to the cloud, which might quote it in its response.
        Ok(text) if text.contains("PRIVATE KEY-----") => {
            Err("holds a private key, which is not sent anywhere: put only the CA certificate there")
        }
        Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(text),
        _ => Err("holds no PEM certificate (-----BEGIN CERTIFICATE-----): put one there"),
    }
}

/// Domain names are case-insensitive, and addresses have no letters.
fn is_same_identifier(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether a gateway has the identifier that the spec names, if it names one.
fn has_identifier(spec: &CustomerGatewaySpec, remote: &CustomerGateway) -> bool {
    let has = remote.id_value.as_deref();
    let wanted = spec.id_value.as_deref();
    wanted.is_none_or(|wanted| has.is_none_or(|has| is_same_identifier(has, wanted)))
}

fn named_and_identified(name: &str, identifier: &str) -> String {
    format!("{name} {}", identifier.to_ascii_lowercase())
}

/// An omitted type means IP, on creation.
fn id_type(spec: &CustomerGatewaySpec) -> IdType {
    spec.id_type.unwrap_or(IdType::Ip)
}

fn wanted_tags(spec: &CustomerGatewaySpec) -> Option<BTreeMap<String, String>> {
    let tags = spec.tags.as_ref()?;
    Some(tags.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect())
}

struct TagDifference {
    add: BTreeMap<String, String>,
    remove: BTreeMap<String, String>,
}

impl TagDifference {
    /// Changes only tags that the spec names, or that an earlier spec added. Tags of others stay.
    fn of(
        spec: &CustomerGatewaySpec,
        status: &CustomerGatewayStatus,
        remote: &CustomerGateway,
        owner_tag_key: &str,
        overwrites_tags: bool,
    ) -> Option<Self> {
        let has = remote.tags.as_ref()?;
        let wanted = wanted_tags(spec).unwrap_or_default();
        let is_ours = |key: &String| key != owner_tag_key && !key.starts_with(SYSTEM_TAG_PREFIX);
        let is_managed = |key: &String| is_ours(key) && (wanted.contains_key(key) || status.managed_tags.contains(key));
        let add: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(key, value)| has.get(*key) != Some(*value))
            .map(own)
            .collect();
        let surplus = has.iter().filter(|(key, _)| {
            let in_the_way = !overwrites_tags && add.contains_key(*key);
            is_managed(key) && (!wanted.contains_key(*key) || in_the_way)
        });
        let remove: BTreeMap<_, _> = surplus.map(own).collect();
        (!add.is_empty() || !remove.is_empty()).then_some(Self { add, remove })
    }
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// The cloud never returns a certificate: the digest identifies the one that was sent last. Another id shows that
/// someone else replaced it.
fn certificate_differs(status: &CustomerGatewayStatus, content: &str, remote: &CustomerGateway) -> bool {
    let Some(recorded) = &status.ca_certificate else {
        return true;
    };
    let replaced = match (&remote.ca_certificate, &recorded.id) {
        (Some(has), Some(id)) => has.id.as_ref() != Some(id),
        (None, _) => true,
        (Some(_), None) => false,
    };
    replaced || recorded.content_sha256.as_deref() != Some(digest(content).as_str())
}

fn remember_certificate(
    status: &mut CustomerGatewayStatus,
    certificate: &CertificateContent,
    remote: Option<&CustomerGateway>,
) {
    let told = remote.and_then(|remote| remote.ca_certificate.as_ref());
    let recorded = status.ca_certificate.get_or_insert_default();
    recorded.id = told.and_then(|told| told.id.clone());
    recorded.content_sha256 = Some(digest(&certificate.content));
}

/// Records tags that the operator added: it may remove them even if the spec changes before they are confirmed.
fn remember_tags(status: &mut CustomerGatewayStatus, put: &BTreeMap<String, String>, owner_tag_key: &str) {
    let earlier = std::mem::take(&mut status.managed_tags);
    let earlier = earlier.into_iter().filter(|key| !put.contains_key(key));
    let new = put.keys().filter(|key| *key != owner_tag_key).cloned();
    status.managed_tags = new.chain(earlier).take(MAX_MANAGED_TAGS).collect();
}

fn shown(foreign: &str) -> String {
    one_line(foreign, LONGEST_SHOWN)
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::customer_gateway::TagValue;
    use crate::cloud::customer_gateways::CaCertificate;

    const OWNER: &str = "vpn-operator-owner";

    #[test]
    fn a_certificate_that_somebody_replaced_differs_for_as_long_as_it_is_there() {
        let content = "-----BEGIN CERTIFICATE-----";
        let with_certificate = |id: &str| CustomerGateway {
            ca_certificate: Some(CaCertificate {
                id: Some(id.to_owned()),
                ..CaCertificate::default()
            }),
            ..CustomerGateway::default()
        };
        let certificate = CertificateContent {
            content: content.to_owned(),
        };
        let mut status = CustomerGatewayStatus::default();
        remember_certificate(&mut status, &certificate, Some(&with_certificate("ours")));
        Gateways::confirm(&mut status, None, None, &with_certificate("ours"));
        assert!(!certificate_differs(&status, content, &with_certificate("ours")));
        for _ in 0..2 {
            assert!(certificate_differs(&status, content, &with_certificate("theirs")));
            // With managementPolicy: ReportDrift this is confirmed all the same.
            Gateways::confirm(&mut status, None, None, &with_certificate("theirs"));
            let shown = status.ca_certificate.as_ref().and_then(|shown| shown.id.as_deref());
            assert_eq!(shown, Some("theirs"), "status shows what the cloud has");
        }
    }

    #[test]
    fn domain_names_are_the_same_in_upper_and_lower_case() {
        let spec = CustomerGatewaySpec {
            id_value: Some("Branch.Example.com".to_owned()),
            id_type: Some(IdType::Fqdn),
            ..CustomerGatewaySpec::default()
        };
        let remote = CustomerGateway {
            name: Some("branch".to_owned()),
            id_type: Some("fqdn".to_owned()),
            id_value: Some("branch.example.COM".to_owned()),
            ..CustomerGateway::default()
        };
        assert!(Gateways::looks_like(&spec, "branch", &remote));
        assert!(Gateways::is_same_peer(&spec, &remote));
        assert_eq!(Gateways::immutable_difference(&spec, &remote, true), Immutable::Same);
        let other = CustomerGateway {
            id_value: Some("BRANCH.example.com".to_owned()),
            ..remote.clone()
        };
        assert!(Gateways::is_duplicate(&remote, &other));
        assert_eq!(Gateways::claimed_name_of(&remote), Gateways::claimed_name_of(&other));
    }

    #[test]
    fn tags_that_are_not_known_stay_unknown_whatever_is_changed() {
        let changes = [
            GatewayChange::Update(CustomerGatewayChange::default()),
            GatewayChange::AddTags(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            GatewayChange::RemoveTags(BTreeMap::new()),
        ];
        for change in changes {
            let mut remote = CustomerGateway::default();
            Gateways::apply_change(&change, &mut remote);
            assert_eq!(remote.tags, None, "{change:?}");
        }
    }

    fn tags(keys: &'static str) -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map(keys, "[xyz]", 0..6)
    }

    fn spec(name: Option<String>, tags: Option<BTreeMap<String, String>>) -> CustomerGatewaySpec {
        let tags = tags.map(|tags| tags.into_iter().map(|(key, value)| (key, TagValue(value))).collect());
        CustomerGatewaySpec {
            name,
            tags,
            ..CustomerGatewaySpec::default()
        }
    }

    fn apply(remote: &mut CustomerGateway, call: &GatewayChange) {
        if let GatewayChange::Update(CustomerGatewayChange { name: Some(name), .. }) = call {
            remote.name = Some(name.clone());
        }
        Gateways::apply_change(call, remote);
    }

    #[test]
    fn a_name_that_an_answer_does_not_tell_is_no_difference() {
        let spec = spec(Some("office".to_owned()), None);
        let policy = crate::reconcile::decide::Policy::of_tests(OWNER);
        let compared = Wanted {
            spec: &spec,
            status: &CustomerGatewayStatus::default(),
            dereferenced: &GatewayDereferenced::default(),
            policy: &policy,
            overwrites_tags: true,
            cloud_now: Timestamp::UNIX_EPOCH,
        };
        let differs = |name: Option<&str>| {
            let remote = CustomerGateway {
                name: name.map(str::to_owned),
                tags: Some(BTreeMap::from([(OWNER.to_owned(), "us".to_owned())])),
                ..CustomerGateway::default()
            };
            Gateways::difference(&compared, &remote).is_some()
        };
        assert_eq!([None, Some("office"), Some("moved")].map(differs), [false, false, true]);
    }

    proptest! {
        #[test]
        fn correcting_ends_with_one_call_of_each_kind_at_most(
            name in proptest::option::of("[ab]"),
            wanted in proptest::option::of(tags("[a-e]")),
            has in tags("[a-e]|_sys_[ab]"),
            formerly_managed in proptest::collection::vec("[a-e]", 0..3),
            overwrites in any::<bool>(),
        ) {
            let spec = spec(name.clone(), wanted.clone());
            let status = CustomerGatewayStatus { managed_tags: formerly_managed.clone(), ..Default::default() };
            let mut remote = CustomerGateway { name: Some("b".to_owned()), ..CustomerGateway::default() };
            let mut present = has.clone();
            present.insert(OWNER.to_owned(), "us".to_owned());
            remote.tags = Some(present);
            let mut kinds = Vec::new();
            let policy = crate::reconcile::decide::Policy::of_tests(OWNER);
            let compared = Wanted {
                spec: &spec,
                status: &status,
                dereferenced: &GatewayDereferenced::default(),
                policy: &policy,
                overwrites_tags: overwrites,
                cloud_now: Timestamp::UNIX_EPOCH,
            };
            while let Some(Difference { fields, correction: Correction::Call(call) }) = Gateways::difference(&compared, &remote) {
                prop_assert!(!fields.is_empty());
                if let (GatewayChange::AddTags(added), false) = (&call, overwrites) {
                    let present = remote.tags.clone().unwrap_or_default();
                    prop_assert!(added.keys().all(|key| !present.contains_key(key)), "nothing is overwritten");
                }
                kinds.push(std::mem::discriminant(&call));
                apply(&mut remote, &call);
                prop_assert!(kinds.len() <= 3);
            }
            let mut distinct = kinds.clone();
            distinct.dedup();
            prop_assert_eq!(kinds.len(), distinct.len());
            prop_assert_eq!(remote.name, name.or(Some("b".to_owned())));
            let left = remote.tags.unwrap_or_default();
            prop_assert_eq!(left.get(OWNER).map(String::as_str), Some("us"));
            for (key, value) in &has {
                if key.starts_with("_sys_") {
                    prop_assert_eq!(left.get(key), Some(value), "the cloud's own tags stay");
                }
            }
            let visible: BTreeMap<_, _> =
                left.into_iter().filter(|(key, _)| key != OWNER && !key.starts_with("_sys_")).collect();
            // Tags of others stay as they are.
            let mut expected = wanted.clone().unwrap_or_default();
            for (key, value) in has {
                if !key.starts_with("_sys_") && !expected.contains_key(&key) && !formerly_managed.contains(&key) {
                    expected.insert(key, value);
                }
            }
            prop_assert_eq!(visible, expected);
        }
    }

    #[test]
    fn a_certificate_is_sent_again_only_when_its_text_or_the_clouds_id_has_changed() {
        let told = crate::cloud::customer_gateways::CaCertificate {
            id: Some("c1".to_owned()),
            ..Default::default()
        };
        let remote = CustomerGateway {
            ca_certificate: Some(told),
            ..CustomerGateway::default()
        };
        let mut status = CustomerGatewayStatus::default();
        assert!(certificate_differs(&status, "pem", &remote), "never sent");
        remember_certificate(
            &mut status,
            &CertificateContent {
                content: "pem".to_owned(),
            },
            Some(&remote),
        );
        assert!(!certificate_differs(&status, "pem", &remote));
        assert!(certificate_differs(&status, "another", &remote));
        let mut replaced = remote.clone();
        if let Some(told) = &mut replaced.ca_certificate {
            told.id = Some("c2".to_owned());
        }
        assert!(certificate_differs(&status, "pem", &replaced));
        let removed = CustomerGateway {
            ca_certificate: None,
            ..remote
        };
        assert!(certificate_differs(&status, "pem", &removed));
    }
}

//! Compares what became of an object with what became of its twin, field by field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::draft::{Kind, Mark, Named, Step, Subject, as_subject};
use super::drive::story;
use crate::operator::console::OWNER;
use crate::operator::world::World;

/// In status, what no two objects have in common: ids, times, digests, and the history of the object.
const OWN_TO_EACH: [&str; 11] = [
    "id",
    "createdAt",
    "updatedAt",
    "observedGeneration",
    "lostCreatedAt",
    "ownerUID",
    "password",
    "passwordSetAt",
    "formerPasswords",
    "pastIntents",
    "caCertificate",
];
/// What a status at rest has not.
const OF_WORK: [&str; 6] = [
    "intent",
    "passwordRefused",
    "passwordReset",
    "sent",
    "settlesAt",
    "vanishedIDs",
];

/// The cluster and the cloud, by name and id.
struct Seen {
    objects: BTreeMap<String, Value>,
    cloud: BTreeMap<String, Value>,
}

impl Seen {
    async fn of(world: &World) -> Self {
        let objects = [world.list().await, world.users().list().await].concat();
        let mut cloud = [world.cloud_gateways().await, world.cloud_users().await].concat();
        for gateway in &mut cloud {
            if let Some(tags) = gateway["tags"].as_object_mut() {
                tags.remove(OWNER);
            }
        }
        let by = |all: Vec<Value>, key: fn(&Value) -> &Value| {
            let keyed = all
                .into_iter()
                .map(|it| (key(&it).as_str().unwrap_or_default().to_owned(), it));
            keyed.collect()
        };
        Self {
            objects: by(objects, |object| &object["metadata"]["name"]),
            cloud: by(cloud, |object| &object["id"]),
        }
    }

    /// What can be compared of one, and the fields that its spec leaves as they are.
    fn of_one(&self, subject: &Subject, named: &Named) -> Result<Value, String> {
        let object = &self.objects[&subject.name()];
        let status = &object["status"];
        let id = status["id"].as_str().unwrap_or_default();
        let cloud = self.cloud.get(id).ok_or_else(|| format!("{id} is not in the cloud"))?;
        for field in OF_WORK {
            if !status[field].is_null() {
                return Err(format!("status.{field} is left: {}", status[field]));
            }
        }
        if status["observedGeneration"] != object["metadata"]["generation"] {
            return Err("the status is of another generation".to_owned());
        }
        let mut compared = json!({"status": status});
        let fields = compared["status"].as_object_mut().expect("a status");
        fields.retain(|field, _| !OWN_TO_EACH.contains(&field.as_str()));
        for condition in fields["conditions"].as_array_mut().into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                condition.retain(|field, _| !["lastTransitionTime", "observedGeneration"].contains(&field.as_str()));
            }
        }
        if let Some(tags) = fields.get_mut("managedTags").and_then(Value::as_array_mut) {
            tags.sort_by_key(ToString::to_string);
        }
        match subject.kind {
            Kind::Gateway => gateway(subject, status, cloud, named, &mut compared)?,
            Kind::User => user(subject, status, cloud, named, &mut compared)?,
        }
        if subject.kind == Kind::Gateway && status["ownerUID"] != object["metadata"]["uid"] {
            return Err("the gateway is not marked as this object's".to_owned());
        }
        Ok(if subject.mark == Mark::Duplicate {
            as_subject(&compared)
        } else {
            compared
        })
    }
}

/// What the spec does not name has one of the values that it was given earlier, or what it was made with.
fn unmanaged(field: &'static str, has: &str, made_with: &str, named: &Named) -> Result<Value, String> {
    let was_named = named.get(field).is_some_and(|values| values.contains(has));
    if was_named || has == made_with {
        Ok(json!("(not managed)"))
    } else {
        Err(format!("{field} is {has:?}, which no spec requests"))
    }
}

fn gateway(subject: &Subject, status: &Value, cloud: &Value, named: &Named, into: &mut Value) -> Result<(), String> {
    let spec = subject.spec.as_ref().expect("it was applied");
    for field in ["project_id", "id_type", "id_value", "tags", "connection", "deleting"] {
        into[field] = cloud[field].clone();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    into["name"] = if spec["name"].is_null() {
        unmanaged("name", &text(&cloud["name"]), &subject.name(), named)?
    } else {
        cloud["name"].clone()
    };
    into["bgp_asn"] = if spec["bgpASN"].is_null() {
        Value::Null
    } else {
        cloud["bgp_asn"].clone()
    };
    let certificate = &status["caCertificate"];
    if certificate["id"] != cloud["ca_certificate_id"] {
        return Err(format!(
            "status shows the certificate {certificate}, but the cloud has {cloud}"
        ));
    }
    into["certificate"] = if spec["caCertificateSecretRef"].is_null() {
        let subject_name = text(&certificate["subject"]).replace("CN=", "");
        unmanaged("caCertificateSecretRef", &subject_name, "", named)?
    } else {
        let reported = ["contentSHA256", "subject", "issuer", "expiresAt"];
        reported
            .iter()
            .map(|field| ((*field).to_owned(), certificate[*field].clone()))
            .collect()
    };
    Ok(())
}

fn user(subject: &Subject, status: &Value, cloud: &Value, named: &Named, into: &mut Value) -> Result<(), String> {
    let spec = subject.spec.as_ref().expect("it was applied");
    for field in [
        "server_id",
        "name",
        "password_changes",
        "visible",
        "settled",
        "deleting",
    ] {
        into[field] = cloud[field].clone();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // In the form of spec, which calls "disable" otherwise.
    let ip = cloud["static_ip"]
        .as_str()
        .filter(|ip| *ip != "disable")
        .unwrap_or("Disabled");
    for (field, has) in [
        ("userGroupID", &cloud["user_group_id"]),
        ("userGroupName", &cloud["user_group_name"]),
        ("staticIP", &json!(ip)),
        ("name", &cloud["name"]),
    ] {
        if status[field] != *has {
            return Err(format!("status.{field} is {}, but the cloud has {has}", status[field]));
        }
    }
    let mut keep = |field: &'static str, is_named: bool, has: String, made_with: &str| {
        into[field] = if is_named {
            json!(has)
        } else {
            unmanaged(field, &has, made_with, named)?
        };
        Ok::<(), String>(())
    };
    keep(
        "description",
        !spec["description"].is_null(),
        text(&cloud["description"]),
        "",
    )?;
    keep("staticIP", !spec["staticIP"].is_null(), ip.to_owned(), "Disabled")?;
    let has_group = !spec["userGroupID"].is_null() || !spec["userGroupName"].is_null();
    keep("group", has_group, text(&cloud["user_group_id"]), "")?;
    // What is not managed is in status as it is in the cloud, which was compared.
    let status = into["status"].as_object_mut().expect("a status");
    if !has_group {
        status.remove("userGroupID");
        status.remove("userGroupName");
    }
    if spec["staticIP"].is_null() {
        status.remove("staticIP");
    }
    Ok(())
}

/// Compares all of them; how many fields that were, and how many of them differ.
pub(super) async fn all(world: &World, reported: &[(Subject, Vec<Step>)], duplicates: &[Subject]) -> (u64, u64) {
    let seen = Seen::of(world).await;
    let (mut count, mut differ) = (0, 0);
    for ((subject, sequence), duplicate) in reported.iter().zip(duplicates) {
        let fail = |why: String| -> Value { panic!("{}: {why}\n{}", subject.name(), story(sequence)) };
        let ended = seen.of_one(subject, &subject.named).unwrap_or_else(fail);
        let fresh = seen
            .of_one(duplicate, &Named::new())
            .unwrap_or_else(|why| fail(format!("its twin: {why}")));
        let differing: Vec<String> = differences("", &ended, &fresh);
        differ += differing.len() as u64;
        if !differing.is_empty() {
            fail(format!("differs from a fresh apply:\n{}", differing.join("\n")));
        }
        count += leaves(&ended);
    }
    (count, differ)
}

/// The paths at which two values differ, with both.
fn differences(path: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            let mut names: Vec<&String> = fields.keys().chain(others.keys()).collect();
            names.sort();
            names.dedup();
            let of = |name: &&String| {
                let path = format!("{path}.{name}");
                differences(
                    &path,
                    fields.get(*name).unwrap_or(&Value::Null),
                    others.get(*name).unwrap_or(&Value::Null),
                )
            };
            names.iter().flat_map(of).collect()
        }
        _ if one == other => Vec::new(),
        _ => vec![format!("{path}: {one}, fresh: {other}")],
    }
}

fn leaves(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(leaves).sum(),
        Value::Array(items) => items.iter().map(leaves).sum(),
        _ => 1,
    }
}

/// Only the subjects' own are left.
pub(super) async fn assert_nothing_else_exists(world: &World, subjects: &[Subject]) {
    let seen = Seen::of(world).await;
    assert_eq!(seen.objects.len(), subjects.len());
    assert_eq!(seen.cloud.len(), subjects.len(), "the cloud has others");
}

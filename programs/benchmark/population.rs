//! Many objects at rest, and their resources in the cloud. One object is made by the operator; the others are copies of what
//! the apiserver and the cloud then store, with names, UIDs, IDs and addresses of their own. So the shape is the true one,
//! and a hundred thousand take a minute.

use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use vpn_operator_testbed::wait_for_condition;

use crate::bed::{Bed, stop};
use crate::{DEADLINE, Failure};

const TEMPLATE: &str = "gateway-template";
/// An address of a network for benchmarks.
const TEMPLATE_ADDRESS: &str = "198.18.0.1";
/// etcd accepts 128 operations in one transaction; the simulator any number.
const AT_ONCE: usize = 100;

/// Gateways at rest.
pub(crate) struct Population {
    stored: String,
    resource: Value,
    uid: String,
    id: String,
    created_at: String,
    count: usize,
}

/// The API of gateways in the run's namespace.
pub(crate) fn gateways(bed: &Bed) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "vpn.huaweicloud.com".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "vpn.huaweicloud.com/v1alpha1".to_owned(),
        kind: "CustomerGateway".to_owned(),
        plural: "customergateways".to_owned(),
    };
    Api::namespaced_with(bed.client.clone(), &bed.namespace, &resource)
}

/// The manifest of a gateway.
pub(crate) fn manifest(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": "CustomerGateway",
        "metadata": {"name": name}, "spec": {"name": name, "idValue": address},
    })
}

/// The name of an object of the population.
pub(crate) fn name(number: usize) -> String {
    format!("gateway-{number:08}")
}

/// An address that no other object has.
pub(crate) fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

impl Population {
    /// Lets an operator create the first gateway.
    pub(crate) async fn begin(bed: &Bed) -> Result<Self, Failure> {
        let operator = bed.operator(&[]).await?;
        let objects = gateways(bed);
        let object = serde_json::from_value(manifest(TEMPLATE, TEMPLATE_ADDRESS))?;
        objects.create(&PostParams::default(), &object).await?;
        let object = wait_for_condition(&objects, TEMPLATE, ("Ready", "True"), None, DEADLINE).await?;
        stop(operator).await?;
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or("a Ready gateway has an ID and times")
        };
        let id = text(&object.data["status"]["id"])?;
        let key = Self::key(bed, TEMPLATE);
        let stored = bed
            .plane
            .stored(&key)
            .await?
            .ok_or("the apiserver stores the first gateway elsewhere")?;
        Ok(Self {
            stored: String::from_utf8(stored)?,
            resource: bed.simulator.get(&format!("gateways/{id}")).await?,
            uid: object.metadata.uid.ok_or("an object has a UID")?,
            created_at: text(&object.data["status"]["createdAt"])?,
            id,
            count: 0,
        })
    }

    fn key(bed: &Bed, name: &str) -> String {
        format!(
            "/registry/vpn.huaweicloud.com/customergateways/{}/{name}",
            bed.namespace
        )
    }

    /// Adds objects until there are so many, besides the first.
    pub(crate) async fn grow_to(&mut self, bed: &Bed, count: usize) -> Result<(), Failure> {
        while self.count < count {
            let numbers = self.count..count.min(self.count + AT_ONCE);
            let copies: Vec<_> = numbers.map(|number| Copy::new(self, number)).collect();
            let resources: Vec<Value> = copies.iter().map(|copy| copy.resource(&self.resource)).collect();
            bed.simulator.seed_gateways::<Value>(&resources).await?;
            let objects = copies
                .iter()
                .map(|copy| (Self::key(bed, &copy.name), copy.text(&self.stored).into_bytes()));
            bed.plane.store(objects).await?;
            self.count += copies.len();
        }
        Ok(())
    }
}

impl Population {
    /// Changes a resource in the cloud, not through the operator.
    pub(crate) async fn rename_in_cloud(&self, bed: &Bed, number: usize) -> Result<(), Failure> {
        let id = Copy::new(self, number).id;
        let path = format!("gateways/{id}");
        bed.simulator.patch::<Value>(&path, &json!({"name": "renamed"})).await?;
        Ok(())
    }
}

/// What a copy has instead of what the first object has.
struct Copy<'a> {
    of: &'a Population,
    name: String,
    address: String,
    uid: String,
    id: String,
    created_at: String,
}

impl<'a> Copy<'a> {
    fn new(of: &'a Population, number: usize) -> Self {
        let created_at: jiff::Timestamp = of.created_at.parse().unwrap_or_default();
        let later = i64::try_from(number).unwrap_or_default() + 1;
        // Status has whole seconds.
        let created_at = created_at - jiff::SignedDuration::from_secs(later);
        Self {
            of,
            name: name(number),
            address: address(number),
            uid: format!("{number:08x}-0000-4000-8000-000000000001"),
            id: format!("{number:08x}-0000-4000-8000-000000000002"),
            created_at: created_at.to_string(),
        }
    }

    fn text(&self, first: &str) -> String {
        first
            .replace(TEMPLATE, &self.name)
            .replace(&self.of.uid, &self.uid)
            .replace(&self.of.id, &self.id)
            .replace(&format!("\"{TEMPLATE_ADDRESS}\""), &format!("\"{}\"", self.address))
            .replace(&self.of.created_at, &self.created_at)
    }

    fn resource(&self, first: &Value) -> Value {
        let mut tags = first["tags"].clone();
        for tag in tags.as_object_mut().into_iter().flatten() {
            if let Some(value) = tag.1.as_str() {
                *tag.1 = self.text(value).into();
            }
        }
        json!({
            "id": self.id, "name": self.text(first["name"].as_str().unwrap_or_default()), "id_type": first["id_type"],
            "id_value": self.address, "bgp_asn": first["bgp_asn"], "tags": tags, "created_at": self.created_at,
        })
    }
}

//! Many objects at rest, and their resources in the cloud. One object is made by the operator; the others are copies of what
//! the apiserver and the cloud then store, with names, UIDs, IDs and addresses of their own. So the shape is the true one,
//! and a hundred thousand take a minute.

use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use vpn_operator_testbed::wait_for_condition;

use crate::bed::{Bed, PROJECT, stop};
use crate::objects::api;
use crate::tenant::Tenant;
use crate::{DEADLINE, Failure};

const TEMPLATE: &str = "gateway-template";
/// An address of a network for benchmarks.
const TEMPLATE_ADDRESS: &str = "198.18.0.1";
/// etcd accepts 128 operations in one transaction; the simulator any number.
const AT_ONCE: usize = 100;

/// Where the objects of a population belong.
#[derive(Clone)]
pub(crate) enum Spread {
    /// All use the default credentials.
    None,
    /// Each tenant has so many, the first tenant the template as well.
    Tenants(Vec<usize>),
    /// They take turns.
    Shards(usize),
}

impl Spread {
    fn tenant(&self, number: usize) -> Option<Tenant> {
        let Self::Tenants(sizes) = self else { return None };
        let mut end = 0;
        let tenant = sizes.iter().position(|size| {
            end += size;
            number < end
        });
        tenant.map(Tenant)
    }

    fn shard(&self, number: usize) -> Option<String> {
        match self {
            Self::Shards(shards) => Some(shard(number % shards)),
            _ => None,
        }
    }
}

/// The value of the label `shard`.
pub(crate) fn shard(number: usize) -> String {
    format!("shard-{number}")
}

/// Gateways at rest.
pub(crate) struct Population {
    spread: Spread,
    stored: String,
    resource: Value,
    uid: String,
    id: String,
    created_at: String,
    count: usize,
}

/// The API of gateways in the run's namespace.
pub(crate) fn gateways(bed: &Bed) -> Api<DynamicObject> {
    api(bed, "CustomerGateway", "customergateways")
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

/// The creation time of a copy. No two have one time: the cloud may omit one of them at the end of a page. Status has whole
/// seconds.
pub(crate) fn earlier(first: &str, number: usize) -> String {
    let first: jiff::Timestamp = first.parse().unwrap_or_default();
    let earlier = i64::try_from(number).unwrap_or_default() + 1;
    (first - jiff::SignedDuration::from_secs(earlier)).to_string()
}

impl Population {
    /// Lets an operator create the first gateway.
    pub(crate) async fn begin(bed: &Bed) -> Result<Self, Failure> {
        Self::spread(bed, Spread::None).await
    }

    /// Lets an operator create the first gateway, which belongs to the first tenant or shard.
    pub(crate) async fn spread(bed: &Bed, spread: Spread) -> Result<Self, Failure> {
        let operator = bed.operator(&[]).await?;
        let objects = gateways(bed);
        let mut first = manifest(TEMPLATE, TEMPLATE_ADDRESS);
        if let Some(tenant) = spread.tenant(0) {
            first["spec"]["credentialsRef"] = json!({"name": tenant.secret()});
        }
        if let Some(shard) = spread.shard(0) {
            first["metadata"]["labels"] = json!({"shard": shard});
        }
        let object = serde_json::from_value(first)?;
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
            spread,
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
    tenant: Option<Tenant>,
    shard: Option<String>,
}

impl<'a> Copy<'a> {
    fn new(of: &'a Population, number: usize) -> Self {
        Self {
            of,
            name: name(number),
            address: address(number),
            uid: format!("{number:08x}-0000-4000-8000-000000000001"),
            id: format!("{number:08x}-0000-4000-8000-000000000002"),
            created_at: earlier(&of.created_at, number),
            tenant: of.spread.tenant(number),
            shard: of.spread.shard(number),
        }
    }

    fn text(&self, first: &str) -> String {
        let mut placed = first.to_owned();
        if let Some((first, own)) = self.of.spread.tenant(0).zip(self.tenant) {
            placed = placed
                .replace(&first.secret(), &own.secret())
                .replace(&first.project(), &own.project());
        }
        if let Some((first, own)) = self.of.spread.shard(0).zip(self.shard.as_ref()) {
            placed = placed.replace(&format!("\"{first}\""), &format!("\"{own}\""));
        }
        placed
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
        let project = self.tenant.map_or_else(|| PROJECT.to_owned(), Tenant::project);
        json!({
            "project_id": project, "id": self.id, "name": self.text(first["name"].as_str().unwrap_or_default()), "id_type": first["id_type"],
            "id_value": self.address, "bgp_asn": first["bgp_asn"], "tags": tags, "created_at": self.created_at,
        })
    }
}

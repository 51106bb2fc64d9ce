//! One object with everything of its own: a cloud project with unmanaged resources, an access key, a VPN server. So no
//! other cell's object affects it, and each of its requests can be identified.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vpn_operator_testbed::ApiRequest;

use super::story::{FIRST_PASSWORD, FOREIGN_PASSWORD, SECOND_PASSWORD, Story};
use crate::operator::objects::Objects;
use crate::operator::world::{REGION, World};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub story: Story,
    /// The name of the object, of its credentials, and in the cloud.
    pub name: String,
    pub project: String,
    pub access_key: String,
    pub server: String,
    /// The id of the existing resource that the story adopts.
    found: Option<String>,
    /// The unmanaged resources, which must not change, as they were created.
    unmanaged: Vec<Value>,
}

/// A change that requests a reconciliation, and nothing else.
pub(super) fn request(text: &str) -> Value {
    json!({"metadata": {"annotations": {"vpn.huaweicloud.com/reconcile-requested-at": text}}})
}

impl Cell {
    /// Cells of one world have different numbers.
    pub(super) fn new(story: Story, number: usize) -> Self {
        Self {
            story,
            name: format!("cell-{number}"),
            project: format!("{number:032x}"),
            access_key: format!("SWEEPKEY{number:012}"),
            server: format!("5e5e5e5e-1111-4000-8000-{number:012x}"),
            found: None,
            unmanaged: Vec::new(),
        }
    }

    pub(super) fn password_secret(&self) -> String {
        format!("{}-password", self.name)
    }

    pub(super) fn objects<'a>(&self, world: &'a World) -> Objects<'a> {
        if self.story.is_of_users() {
            world.users()
        } else {
            world.gateway_objects()
        }
    }

    /// Whether a request to the apiserver is a write for this cell's object.
    pub(super) fn wrote(&self, request: &ApiRequest) -> bool {
        request.is_write() && !request.is_lease() && request.about() == Some(self.name.as_str())
    }

    /// Creates its part of the cloud, with the unmanaged resources, and its Secrets.
    pub(super) async fn wait_until_available(&mut self, world: &World) {
        let simulator = &world.simulator;
        let project = format!("projects/{}", self.project);
        simulator
            .put::<Value>(&project, &json!({"name": REGION}))
            .await
            .unwrap();
        let credential = json!({"secret_key": world.secret_key, "permissions": {"projects": [self.project]}});
        let path = format!("credentials/{}", self.access_key);
        simulator.put::<Value>(&path, &credential).await.unwrap();
        let server = json!({"project_id": self.project, "id": self.server});
        simulator.post::<Value>("vpn-servers", &server).await.unwrap();
        self.unmanaged = self.seed_unmanaged(world).await;
        if let Some(seed) = self.story.foundling(self, &world.namespace) {
            let made = self.seed(world, &json!([seed])).await;
            self.found = Some(text(&made[0]["id"]));
        }
        let data = [
            ("accessKey", self.access_key.as_str()),
            ("secretKey", world.secret_key.as_str()),
        ];
        world.apply_secret(&self.name, &BTreeMap::from(data)).await;
        if self.story.is_of_users() {
            self.set_password(world, FIRST_PASSWORD).await;
        }
    }

    async fn seed(&self, world: &World, seeds: &Value) -> Vec<Value> {
        let made = if self.story.is_of_users() {
            world.simulator.seed_users(seeds).await
        } else {
            world.simulator.seed_gateways(seeds).await
        };
        made.unwrap()
    }

    /// Creates what is most similar to the object's resource: the same identifier with another owner, a name that
    /// differs by one letter.
    async fn seed_unmanaged(&self, world: &World) -> Vec<Value> {
        let seeds = if self.story.is_of_users() {
            let resource = |name: String| json!({"server_id": self.server, "name": name, "password": FOREIGN_PASSWORD, "description": "ops"});
            json!([resource(format!("{}s", self.name)), resource("unmanaged".to_owned())])
        } else {
            let resource = |name: &str, id_value: &str, tags: Value| {
                json!({
                    "project_id": self.project, "name": name, "id_value": id_value, "bgp_asn": 65010, "tags": tags,
                })
            };
            let other = format!(
                "11111111-1111-4111-8111-111111111111:other:{}:{}",
                world.namespace, self.name
            );
            json!([
                resource(&self.name, "203.0.113.7", json!({"vpn-operator-owner": other})),
                resource(&self.name, "203.0.113.8", json!({})),
            ])
        };
        self.seed(world, &seeds).await
    }

    async fn set_password(&self, world: &World, password: &str) {
        let data = BTreeMap::from([("password", password)]);
        world.apply_secret(&self.password_secret(), &data).await;
    }

    async fn create(&self, world: &World) {
        let kind = if self.story.is_of_users() {
            "VpnUser"
        } else {
            "CustomerGateway"
        };
        let object = json!({
            "apiVersion": "vpn.huaweicloud.com/v1alpha1", "kind": kind, "metadata": {"name": self.name},
            "spec": self.story.spec(self, self.found.as_deref()),
        });
        self.objects(world).create(object).await;
    }

    /// Brings the object to where the story begins.
    pub(super) async fn begin(&self, world: &World) {
        if self.story.begins_with_an_object() {
            self.create(world).await;
        }
    }

    /// Makes the story's changes in the cloud, outside the operator.
    pub(super) async fn before(&self, world: &World) {
        if matches!(self.story, Story::RecreateGateway | Story::RecreateUser) {
            for id in self.own(world).await.iter().map(|own| text(&own["id"])) {
                let kind = if self.story.is_of_users() {
                    "vpn-users"
                } else {
                    "gateways"
                };
                let page = format!("{kind}/{id}");
                world.simulator.admin_delete::<Value>(&page).await.unwrap();
            }
        }
    }

    /// Does what the user does in the story.
    pub(super) async fn act(&self, world: &World) {
        match self.story {
            Story::ChangePassword => self.set_password(world, SECOND_PASSWORD).await,
            Story::DeleteGateway | Story::DeleteUser | Story::RetainGateway | Story::RetainUser => {
                self.objects(world).delete(&self.name).await;
            }
            story => match story.edit() {
                Some(edit) => self.objects(world).patch(&self.name, edit).await,
                None => self.create(world).await,
            },
        }
    }

    /// The resources in this cell's part of the cloud.
    pub(super) async fn all(&self, world: &World) -> Vec<Value> {
        let (all, field, place) = if self.story.is_of_users() {
            (world.cloud_users().await, "server_id", &self.server)
        } else {
            (world.cloud_gateways().await, "project_id", &self.project)
        };
        all.into_iter().filter(|one| one[field] == **place).collect()
    }

    /// The same without the unmanaged ones.
    pub(super) async fn own(&self, world: &World) -> Vec<Value> {
        let all = self.all(world).await;
        let is_unmanaged = |one: &Value| self.unmanaged.iter().any(|resource| resource["id"] == one["id"]);
        all.into_iter().filter(|one| !is_unmanaged(one)).collect()
    }

    /// The unmanaged resources that have changed.
    pub(super) async fn touched(&self, world: &World) -> Vec<Value> {
        let all = self.all(world).await;
        let touched = self.unmanaged.iter().filter(|resource| !all.contains(resource));
        touched.cloned().collect()
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

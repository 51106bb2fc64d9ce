//! Calls on users, groups and VPN servers.

use reqwest::Method;
use serde_json::{Value, json};
use vpn_simulator::p2c_admin::VpnServerSpec;
use vpn_simulator::{Settings, SimulatedOperation, tryout};

use crate::client::{Cloud, Reply, Signer, in_project};

pub(crate) const SERVER: &str = tryout::VPN_SERVER_ID;
/// A second server, where a test asks for one.
pub(crate) const OTHER_SERVER: &str = "5e5e5e5e-0000-4000-8000-000000000002";
pub(crate) const PASSWORD: &str = "S3cret pass~1";

/// A path on the server.
pub(crate) fn on_server(path: &str) -> String {
    format!("p2c-vpn-gateways/vpn-servers/{SERVER}/{path}")
}

/// The fields of a user, with a password.
pub(crate) fn user_named(name: &str) -> Value {
    json!({"name": name, "password": PASSWORD})
}

/// A cloud that has a second server.
pub(crate) async fn cloud_with_two_servers() -> Cloud {
    let mut settings = Settings::default();
    settings.vpn_servers.push(VpnServerSpec {
        id: Some(OTHER_SERVER.to_owned()),
        ..VpnServerSpec::default()
    });
    Cloud::start_with(settings).await
}

impl Cloud {
    pub(crate) async fn create_user(&self, fields: Value) -> Reply {
        self.post(&on_server("users"), json!({"user": fields})).await
    }

    /// A POST with an `X-Client-Token`, as a client that signs it.
    pub(crate) async fn post_with_token(&self, token: &str, path: &str, body: &str) -> Reply {
        let mut signer = Signer::default();
        signer.headers.push(("x-client-token", token.to_owned()));
        let request = self.signed(&signer, Method::POST, &in_project(&on_server(path)), Some(body));
        self.send(request).await.unwrap()
    }

    /// Creates an ordinary user. Returns its id.
    pub(crate) async fn created_user(&self, name: &str) -> String {
        let answer = self.create_user(user_named(name)).await.expect(201);
        answer["user"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn user(&self, id: &str) -> Reply {
        self.get(&on_server(&format!("users/{id}"))).await
    }

    /// An existing user, as the cloud shows it.
    pub(crate) async fn shown_user(&self, id: &str) -> Value {
        self.user(id).await.expect(200)["user"].clone()
    }

    pub(crate) async fn update_user(&self, id: &str, fields: Value) -> Reply {
        let path = on_server(&format!("users/{id}"));
        self.call(Method::PUT, &path, Some(json!({"user": fields}))).await
    }

    pub(crate) async fn delete_user(&self, id: &str) -> Reply {
        self.call(Method::DELETE, &on_server(&format!("users/{id}")), None)
            .await
    }

    pub(crate) async fn list_users(&self, query: &str) -> Value {
        self.get(&on_server(&format!("users?{query}"))).await.expect(200)
    }

    pub(crate) async fn reset_password(&self, id: &str, new: &str) -> Reply {
        let path = on_server(&format!("users/{id}/reset-password"));
        self.post(&path, json!({"new_password": new})).await
    }

    pub(crate) async fn change_password(&self, id: &str, old: &str, new: &str) -> Reply {
        let path = on_server(&format!("users/{id}/password"));
        let body = json!({"old_password": old, "new_password": new});
        self.call(Method::PUT, &path, Some(body)).await
    }

    /// Whether that is the password in force, and whether it is one of the latest.
    pub(crate) async fn password(&self, id: &str, candidate: &str) -> (bool, bool) {
        let path = format!("vpn-users/{id}/check-password");
        let verdict = self
            .admin(Method::POST, &path, json!({"password": candidate}))
            .await
            .expect(200);
        (
            verdict["current"].as_bool().unwrap(),
            verdict["recent"].as_bool().unwrap(),
        )
    }

    pub(crate) async fn create_group(&self, fields: Value) -> Reply {
        self.post(&on_server("groups"), json!({"user_group": fields})).await
    }

    /// Creates an ordinary group. Returns its id.
    pub(crate) async fn created_group(&self, name: &str) -> String {
        let answer = self.create_group(json!({"name": name})).await.expect(201);
        answer["user_group"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn group(&self, id: &str) -> Reply {
        self.get(&on_server(&format!("groups/{id}"))).await
    }

    pub(crate) async fn delete_group(&self, id: &str) -> Reply {
        self.call(Method::DELETE, &on_server(&format!("groups/{id}")), None)
            .await
    }

    /// Adds users to a group, or removes them (`add-users`, `remove-users`).
    pub(crate) async fn members(&self, what: &str, group: &str, users: &[&str]) -> Reply {
        let users: Value = users.iter().map(|id| json!({"id": id})).collect();
        self.post(&on_server(&format!("groups/{group}/{what}")), json!({"users": users}))
            .await
    }

    /// The names of the members of a group.
    pub(crate) async fn member_names(&self, group: &str) -> Vec<String> {
        let answer = self.get(&on_server(&format!("groups/{group}/users"))).await.expect(200);
        names(&answer["users"])
    }

    /// The id of the group that every server has.
    pub(crate) async fn default_group(&self) -> String {
        let groups = self.get(&on_server("groups")).await.expect(200)["user_groups"].clone();
        let groups = groups.as_array().unwrap();
        let group = groups.iter().find(|group| group["type"] == "Default").unwrap();
        group["id"].as_str().unwrap().to_owned()
    }

    /// Edits `vpn-users`, `vpn-groups` or `vpn-servers` through the admin API.
    pub(crate) async fn edit(&self, what: &str, id: &str, edit: Value) -> Value {
        self.admin(Method::PATCH, &format!("{what}/{id}"), edit)
            .await
            .expect(200)
    }

    /// Lets everything settle.
    pub(crate) async fn settle(&self) -> Value {
        self.admin(Method::POST, "settle", Value::Null).await.expect(200)
    }

    /// The real number of users, whatever the API shows.
    pub(crate) async fn true_users(&self) -> usize {
        self.admin_get("vpn-users").await["users"].as_array().unwrap().len()
    }
}

/// The names of objects.
pub(crate) fn names(objects: &Value) -> Vec<String> {
    let objects = objects.as_array().unwrap().iter();
    objects
        .map(|object| object["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A request of an operation that succeeds.
pub(crate) async fn request_of(cloud: &Cloud, operation: SimulatedOperation) -> Reply {
    let made = cloud
        .admin(Method::POST, "vpn-groups", json!({"name": "ops"}))
        .await
        .expect(201);
    let group = made["groups"][0]["id"].as_str().unwrap();
    let seed = json!({"name": "robin", "password": PASSWORD, "user_group_id": group});
    let made = cloud.admin(Method::POST, "vpn-users", seed).await.expect(201);
    let user = made["users"][0]["id"].as_str().unwrap();
    let path = format!("groups/{group}");
    match operation {
        SimulatedOperation::CreateVpnUser => cloud.create_user(user_named("alice")).await,
        SimulatedOperation::GetVpnUser => cloud.user(user).await,
        SimulatedOperation::ListVpnUsers => cloud.get(&on_server("users")).await,
        SimulatedOperation::UpdateVpnUser => cloud.update_user(user, json!({})).await,
        SimulatedOperation::DeleteVpnUser => cloud.delete_user(user).await,
        SimulatedOperation::BatchCreateVpnUsers => {
            let users = json!({"users": [user_named("alice")]});
            cloud.post(&on_server("users/batch-create"), users).await
        }
        SimulatedOperation::BatchDeleteVpnUsers => {
            let users = json!({"users": [{"id": user}]});
            cloud.post(&on_server("users/batch-delete"), users).await
        }
        SimulatedOperation::ChangeVpnUserPassword => cloud.change_password(user, PASSWORD, "Fresh pass 1").await,
        SimulatedOperation::ResetVpnUserPassword => cloud.reset_password(user, "Fresh pass 1").await,
        SimulatedOperation::CreateVpnUserGroup => cloud.create_group(json!({"name": "new"})).await,
        SimulatedOperation::GetVpnUserGroup => cloud.group(group).await,
        SimulatedOperation::ListVpnUserGroups => cloud.get(&on_server("groups")).await,
        SimulatedOperation::UpdateVpnUserGroup => {
            let body = json!({"user_group": {"description": "d"}});
            cloud.call(Method::PUT, &on_server(&path), Some(body)).await
        }
        SimulatedOperation::DeleteVpnUserGroup => cloud.delete_group(group).await,
        SimulatedOperation::AddVpnUsersToGroup => cloud.members("add-users", group, &[user]).await,
        SimulatedOperation::RemoveVpnUsersFromGroup => cloud.members("remove-users", group, &[user]).await,
        SimulatedOperation::ListVpnUsersInGroup => cloud.get(&on_server(&format!("{path}/users"))).await,
        SimulatedOperation::ListVpnServers => cloud.get("vpn-servers").await,
        SimulatedOperation::ListVpnServersOfGateway => {
            let path = format!("p2c-vpn-gateways/{}/vpn-servers", tryout::P2C_GATEWAY_ID);
            cloud.get(&path).await
        }
        other => panic!("no request of {other:?}"),
    }
}

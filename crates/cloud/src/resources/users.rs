//! VPN users of one VPN server: request bodies, response bodies and calls. The cloud answers a creation before it is
//! done: a user whose id came with a 201 may be invisible for a while, or disappear.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::error::cloud_error::{CloudError, Operation};
use crate::http::client::{CallOptions, Client, ProjectRequest};
use crate::http::response::CloudResponse;
use crate::lists::items::Items;
use crate::lists::paging;
use crate::lists::paging::{Page, PageInfo};
use crate::resources::vpn_servers::PARENTS;
use crate::values::password::Password;

/// Value of `static_ip` for a user without a static address, in requests and responses.
pub const NO_STATIC_IP: &str = "disable";

/// A user in the cloud's responses. Every field but the id may be missing. The password is never included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// 36 characters, to compare exactly.
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
    /// 4 to 32 characters, unique on its server.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub name: Option<String>,
    /// At most 64 characters.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub description: Option<String>,
    /// `None`: in no group. An empty id is read as `None`, too.
    #[serde(default, deserialize_with = "crate::values::fields::none_if_empty")]
    pub user_group_id: Option<String>,
    /// The name of that group. An empty one is read as `None`.
    #[serde(default, deserialize_with = "crate::values::fields::none_if_empty")]
    pub user_group_name: Option<String>,
    /// As received: an address, [`NO_STATIC_IP`], `""`, or `None`, since not every edition of the cloud has the field.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub static_ip: Option<String>,
    /// The cloud's text, unchanged: it is also a page marker.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub created_at: Option<String>,
    /// The cloud's text, unchanged.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub updated_at: Option<String>,
    /// From a list in which some of its fields could not be read: `None` means unknown.
    #[serde(skip)]
    pub is_partial: bool,
}

impl paging::Listed for User {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    fn mark_partial(&mut self) {
        self.is_partial = true;
    }
}

/// A user to create. `None` fields are not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// 4 to 32 letters, digits, `.`, `_` and `-`. Immutable.
    pub name: String,
    /// Checked by [`password_rules`](crate::values::password_rules).
    pub password: Password,
    /// At most 64 characters.
    pub description: Option<String>,
    /// A group of the same server.
    pub user_group_id: Option<String>,
    /// An address or [`NO_STATIC_IP`].
    pub static_ip: Option<String>,
}

/// Everything in the response to a creation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CreatedUser {
    /// 36 characters, to compare exactly. The user may not be visible yet.
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
}

/// The body of an update. The effect of an omitted field is not documented, so an update starts from the current
/// values: [`UserUpdate::keeping`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserUpdate {
    /// Always sent; empty clears it.
    pub description: String,
    /// Sent if known: then the cloud has the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,
    /// Another group cuts the user's connections; the same group changes nothing. To take the user out of its group,
    /// use [`Client::remove_users_from_group`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_group_id: Option<String>,
}

impl UserUpdate {
    /// Returns an update that changes nothing. `user` must come from a GET or an update: list items may lack fields.
    pub fn keeping(user: &User) -> Self {
        let reported = user.static_ip.as_deref();
        let static_ip = reported.map(|ip| if ip.is_empty() { NO_STATIC_IP } else { ip });
        Self {
            description: user.description.clone().unwrap_or_default(),
            static_ip: static_ip.map(str::to_owned),
            user_group_id: None,
        }
    }
}

/// The JSON envelope of a user, in requests and responses.
#[derive(Serialize, Deserialize)]
pub struct WrappedUser<T> {
    /// The user in the form of that request or response.
    pub user: T,
}

/// The JSON form of [`NewUser`].
#[derive(Serialize)]
struct NewUserBody<'a> {
    name: &'a str,
    #[serde(serialize_with = "Password::expose_in_body")]
    password: &'a Password,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    static_ip: Option<&'a str>,
}

/// Without an envelope, unlike the others.
#[derive(Serialize)]
struct NewPasswordBody<'a> {
    #[serde(serialize_with = "Password::expose_in_body")]
    new_password: &'a Password,
}

/// The body of a page of users.
#[derive(Deserialize)]
pub struct UsersBody {
    #[serde(deserialize_with = "crate::lists::items::items")]
    users: Items<User>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<UsersBody> for Page<User> {
    fn from(list: UsersBody) -> Self {
        Self::new(list.users, list.total_count, list.page_info)
    }
}

const COLLECTION: &str = "users";

impl Client {
    /// Creates a user. The cloud treats requests with the same `client_token` (36 characters, a UUID) as the same
    /// request. Keep the token until the outcome is known, and never send it with another body. A repeat may return the
    /// id of the first, [`Repeated`](crate::ErrorKind::Repeated) or [`Duplicate`](crate::ErrorKind::Duplicate).
    pub async fn create_user(
        &self,
        server_id: &str,
        user: &NewUser,
        client_token: &str,
    ) -> Result<CloudResponse<CreatedUser>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::CreateVpnUser,
            method: Method::POST,
            path: &[PARENTS[0], PARENTS[1], server_id, COLLECTION],
            query: &[],
        };
        let body = WrappedUser {
            user: NewUserBody {
                name: &user.name,
                password: &user.password,
                description: user.description.as_deref(),
                user_group_id: user.user_group_id.as_deref(),
                static_ip: user.static_ip.as_deref(),
            },
        };
        let options = CallOptions {
            client_token: Some(client_token),
            password: Some(&user.password),
        };
        let answer = self
            .fetch_with::<WrappedUser<CreatedUser>>(request, Some(&body), options)
            .await?;
        Ok(answer.map(|wrapped| wrapped.user))
    }

    /// Reads one user.
    pub async fn get_user(&self, server_id: &str, id: &str) -> Result<CloudResponse<User>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::GetVpnUser,
            method: Method::GET,
            path: &[PARENTS[0], PARENTS[1], server_id, COLLECTION, id],
            query: &[],
        };
        let answer = self.fetch::<WrappedUser<User>>(request, None::<&()>).await?;
        Ok(answer.map(|wrapped| wrapped.user))
    }

    /// Reads one page of at most `limit` users of the server: the first, or the one after `marker`.
    /// [`Walks`](crate::lists::walks::Walks) determines the next page and what the pages prove.
    pub async fn list_users_page(
        &self,
        server_id: &str,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<User>>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION];
        self.page::<UsersBody, _>(Operation::ListVpnUsers, &path, limit, marker)
            .await
    }

    /// Changes a user, except its name and password.
    pub async fn update_user(
        &self,
        server_id: &str,
        id: &str,
        update: &UserUpdate,
    ) -> Result<CloudResponse<User>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::UpdateVpnUser,
            method: Method::PUT,
            path: &[PARENTS[0], PARENTS[1], server_id, COLLECTION, id],
            query: &[],
        };
        let answer = self
            .fetch::<WrappedUser<User>>(request, Some(&WrappedUser { user: update }))
            .await?;
        Ok(answer.map(|wrapped| wrapped.user))
    }

    /// Deletes a user, and cuts its connections.
    pub async fn delete_user(&self, server_id: &str, id: &str) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::DeleteVpnUser,
            method: Method::DELETE,
            path: &[PARENTS[0], PARENTS[1], server_id, COLLECTION, id],
            query: &[],
        };
        self.execute(request, None::<&()>).await
    }

    /// Sets another password for a user. The cloud refuses the latest five, the current one included. After a lost
    /// response, [`RecentPassword`](crate::ErrorKind::RecentPassword) may mean that the password was set.
    pub async fn reset_user_password(
        &self,
        server_id: &str,
        id: &str,
        password: &Password,
    ) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::ResetVpnUserPassword,
            method: Method::POST,
            path: &[PARENTS[0], PARENTS[1], server_id, COLLECTION, id, "reset-password"],
            query: &[],
        };
        let options = CallOptions {
            client_token: None,
            password: Some(password),
        };
        self.execute_with(request, Some(&NewPasswordBody { new_password: password }), options)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(user: Value) -> User {
        serde_json::from_value(user).expect("a user")
    }

    #[test]
    fn missing_null_and_empty_fields_are_interpreted() {
        let bare = User {
            id: "u1".to_owned(),
            ..User::default()
        };
        for user in [
            json!({"id": "u1"}),
            json!({"id": "u1", "user_group_id": "", "user_group_name": "", "surprise": [1]}),
            json!({"id": "u1", "name": null, "description": null, "user_group_id": null, "user_group_name": null,
                "static_ip": null, "created_at": null, "updated_at": null}),
        ] {
            assert_eq!(read(user), bare);
        }
        for none in ["disable", ""] {
            let user = read(json!({"id": "u1", "static_ip": none, "description": ""}));
            assert_eq!(user.static_ip.as_deref(), Some(none));
            assert_eq!(user.description.as_deref(), Some(""));
        }
        for broken in [json!({"name": "alice"}), json!({"id": ""}), json!({"id": null})] {
            assert!(serde_json::from_value::<User>(broken.clone()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_change_keeps_current_values_and_omits_the_group() {
        for (user, body) in [
            (json!({"id": "u1"}), json!({"description": ""})),
            (
                json!({"id": "u1", "description": "ops", "static_ip": "", "user_group_id": "g1"}),
                json!({"description": "ops", "static_ip": "disable"}),
            ),
            (
                json!({"id": "u1", "description": "", "static_ip": "192.168.10.5"}),
                json!({"description": "", "static_ip": "192.168.10.5"}),
            ),
        ] {
            let change = UserUpdate::keeping(&read(user));
            assert_eq!(serde_json::to_value(change).expect("JSON"), body);
        }
        let change = UserUpdate {
            user_group_id: Some("g2".to_owned()),
            ..UserUpdate::keeping(&read(json!({"id": "u1", "user_group_id": "g1"})))
        };
        let body = json!({"description": "", "user_group_id": "g2"});
        assert_eq!(serde_json::to_value(change).expect("JSON"), body);
    }

    #[test]
    fn debug_output_does_not_show_the_password() {
        let user = NewUser {
            name: "alice".to_owned(),
            password: Password::new("sentinel Pass"),
            description: None,
            user_group_id: None,
            static_ip: None,
        };
        let shown = format!("{user:?}");
        assert!(shown.contains("alice") && !shown.contains("sentinel"), "{shown}");
    }
}

//! Groups of VPN users on one VPN server: they are looked up, and users are put in and taken out.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{
    client::{Answer, Client, Request},
    error::{CloudError, Operation},
    lists::Items,
    paging::{self, Page, PageInfo},
    vpn_servers::PARENTS,
};

/// A group as the cloud answers it. Every field but the id may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UserGroup {
    #[serde(deserialize_with = "super::fields::some_id")]
    pub id: String,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub description: Option<String>,
    /// `Default` (one of each server, which nobody can change) or `Custom`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The cloud's text: it also serves as a page marker.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub created_at: Option<String>,
}

/// A member of a group: less than a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct GroupMember {
    #[serde(deserialize_with = "super::fields::some_id")]
    pub id: String,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub name: Option<String>,
}

impl paging::Listed for UserGroup {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }
}

impl paging::Listed for GroupMember {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
pub(super) struct Groups {
    #[serde(deserialize_with = "super::lists::items")]
    user_groups: Items<UserGroup>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

#[derive(Deserialize)]
pub(super) struct Members {
    #[serde(deserialize_with = "super::lists::items")]
    users: Items<GroupMember>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<Groups> for Page<UserGroup> {
    fn from(list: Groups) -> Self {
        Self::new(list.user_groups, list.total_count, list.page_info)
    }
}

impl From<Members> for Page<GroupMember> {
    fn from(list: Members) -> Self {
        Self::new(list.users, list.total_count, list.page_info)
    }
}

#[derive(Serialize)]
struct Moved<'a> {
    users: Vec<MovedUser<'a>>,
}

#[derive(Serialize)]
struct MovedUser<'a> {
    id: &'a str,
}

const COLLECTION: &str = "groups";

impl Client {
    /// Reads one page of the server's groups: of so many items, the first or the one behind a marker. [`Walks`](super::walks::Walks) says which page
    /// is next and what the pages prove.
    pub async fn list_user_groups_page(
        &self,
        server_id: &str,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<Answer<Page<UserGroup>>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION];
        self.page::<Groups, _>(Operation::ListVpnUserGroups, &path, limit, marker)
            .await
    }

    /// Reads one page of a group's members.
    pub async fn list_group_members_page(
        &self,
        server_id: &str,
        group_id: &str,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<Answer<Page<GroupMember>>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "users"];
        self.page::<Members, _>(Operation::ListVpnUsersInGroup, &path, limit, marker)
            .await
    }

    /// Puts users into a group. Whether that moves a user who is in another group, or is refused, is not documented:
    /// take it out there first.
    pub async fn add_users_to_group(
        &self,
        server_id: &str,
        group_id: &str,
        user_ids: &[&str],
    ) -> Result<Answer<()>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "add-users"];
        self.move_users(Operation::AddVpnUsersToGroup, &path, user_ids).await
    }

    /// Takes users out of a group; they are in none then.
    pub async fn remove_users_from_group(
        &self,
        server_id: &str,
        group_id: &str,
        user_ids: &[&str],
    ) -> Result<Answer<()>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "remove-users"];
        self.move_users(Operation::RemoveVpnUsersFromGroup, &path, user_ids)
            .await
    }

    async fn move_users(
        &self,
        operation: Operation,
        path: &[&str],
        user_ids: &[&str],
    ) -> Result<Answer<()>, CloudError> {
        let request = Request {
            operation,
            method: Method::POST,
            path,
            query: &[],
        };
        let users = user_ids.iter().map(|id| MovedUser { id }).collect();
        self.act(request, Some(&Moved { users })).await
    }
}

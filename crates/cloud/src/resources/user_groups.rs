//! Groups of VPN users on one VPN server: they are looked up, and users are put in and taken out.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::error::cloud_error::{CloudError, Operation};
use crate::http::client::{Client, ProjectRequest};
use crate::http::response::CloudResponse;
use crate::lists::items::Items;
use crate::lists::paging;
use crate::lists::paging::{Page, PageInfo};
use crate::resources::vpn_servers::PARENTS;

/// A group as the cloud answers it. Every field but the id may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroup {
    /// 36 letters, digits and dashes in mixed case, to compare exactly: not a UUID.
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
    /// 1 to 64 characters, unique on its server.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub name: Option<String>,
    /// At most 64 characters.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub description: Option<String>,
    /// `Default` (one of each server, which nobody can change) or `Custom`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The cloud's text: it also serves as a page marker.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub created_at: Option<String>,
}

/// A member of a group: less than a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct GroupMember {
    /// The id of the user.
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
    /// The name of the user.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
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

/// The body of a page of groups.
#[derive(Deserialize)]
pub struct GroupsBody {
    #[serde(deserialize_with = "crate::lists::items::items")]
    user_groups: Items<UserGroup>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

/// The body of a page of members.
#[derive(Deserialize)]
pub struct MembersBody {
    #[serde(deserialize_with = "crate::lists::items::items")]
    users: Items<GroupMember>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<GroupsBody> for Page<UserGroup> {
    fn from(list: GroupsBody) -> Self {
        Self::new(list.user_groups, list.total_count, list.page_info)
    }
}

impl From<MembersBody> for Page<GroupMember> {
    fn from(list: MembersBody) -> Self {
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
    /// Reads one page of the server's groups: of so many items, the first or the one behind a marker. [`Walks`](crate::lists::walks::Walks) says which page
    /// is next and what the pages prove.
    pub async fn list_user_groups_page(
        &self,
        server_id: &str,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<UserGroup>>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION];
        self.page::<GroupsBody, _>(Operation::ListVpnUserGroups, &path, limit, marker)
            .await
    }

    /// Reads one page of a group's members.
    pub async fn list_group_members_page(
        &self,
        server_id: &str,
        group_id: &str,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<GroupMember>>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "users"];
        self.page::<MembersBody, _>(Operation::ListVpnUsersInGroup, &path, limit, marker)
            .await
    }

    /// Puts users into a group. Whether that moves a user who is in another group, or is refused, is not documented:
    /// take it out there first.
    pub async fn add_users_to_group(
        &self,
        server_id: &str,
        group_id: &str,
        user_ids: &[&str],
    ) -> Result<CloudResponse<()>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "add-users"];
        self.move_users(Operation::AddVpnUsersToGroup, &path, user_ids).await
    }

    /// Takes users out of a group; they are in none then.
    pub async fn remove_users_from_group(
        &self,
        server_id: &str,
        group_id: &str,
        user_ids: &[&str],
    ) -> Result<CloudResponse<()>, CloudError> {
        let path = [PARENTS[0], PARENTS[1], server_id, COLLECTION, group_id, "remove-users"];
        self.move_users(Operation::RemoveVpnUsersFromGroup, &path, user_ids)
            .await
    }

    async fn move_users(
        &self,
        operation: Operation,
        path: &[&str],
        user_ids: &[&str],
    ) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation,
            method: Method::POST,
            path,
            query: &[],
        };
        let users = user_ids.iter().map(|id| MovedUser { id }).collect();
        self.execute(request, Some(&Moved { users })).await
    }
}

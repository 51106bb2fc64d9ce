//! VPN servers, the parents of VPN users. They are only read, and only by LIST: the API has no GET for one server.

use serde::Deserialize;

use super::{
    client::{Answer, Client},
    error::{CloudError, Operation},
    lists::Items,
    paging::{self, Page, PageInfo},
};

/// What precedes a server's id in the paths of its child resources.
pub(super) const PARENTS: [&str; 2] = ["p2c-vpn-gateways", "vpn-servers"];

/// A server as the cloud returns it, with the fields that its users depend on. Every field but the id may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VpnServer {
    #[serde(deserialize_with = "super::fields::some_id")]
    pub id: String,
    /// The id of the gateway that it belongs to.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub p2c_vgw_id: Option<String>,
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `FAULT` or `FROZEN`.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub status: Option<String>,
    /// `LOCAL_PASSWORD` where there can be users, else `CERT`, `IAM` or `FEDERATED`.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub client_auth_type: Option<String>,
    /// The range of the users' static addresses.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub client_cidr: Option<String>,
    /// The cloud's text: it also serves as a page marker.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub created_at: Option<String>,
}

impl paging::Listed for VpnServer {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }
}

#[derive(Deserialize)]
pub(super) struct List {
    #[serde(deserialize_with = "super::lists::items")]
    vpn_servers: Items<VpnServer>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<List> for Page<VpnServer> {
    fn from(list: List) -> Self {
        let total_count = match (list.total_count, &list.page_info) {
            // Early editions of the API have no pages: the response is the whole list.
            (None, None) => u64::try_from(list.vpn_servers.readable.len()).ok(),
            (total_count, _) => total_count,
        };
        Page::new(list.vpn_servers, total_count, list.page_info)
    }
}

impl Client {
    /// Reads one page of the project's servers with at most `limit` items: the first, or the one after `marker`.
    /// [`Walks`](super::walks::Walks) determines the next page and what the pages prove.
    pub async fn list_vpn_servers_page(
        &self,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<Answer<Page<VpnServer>>, CloudError> {
        self.page::<List, _>(Operation::ListVpnServers, &["vpn-servers"], limit, marker)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::paging::{Next, Pages};
    use serde_json::{Value, json};

    fn complete(answer: Value) -> bool {
        let list: List = serde_json::from_value(answer).expect("a list");
        let mut pages = Pages::default();
        assert_eq!(pages.add(list.into()), Next::Done);
        pages.finish().complete
    }

    #[test]
    fn a_list_without_any_paging_is_whole() {
        let servers = json!([{"id": "s1"}, {"id": "s2"}]);
        assert!(complete(json!({"vpn_servers": servers})));
        assert!(complete(json!({"vpn_servers": null})));
        assert!(complete(
            json!({"vpn_servers": servers, "total_count": 2, "page_info": {}})
        ));
        assert!(!complete(json!({"vpn_servers": servers, "total_count": 3})));
        assert!(!complete(
            json!({"vpn_servers": servers, "page_info": {"next_marker": null}})
        ));
    }
}

//! VPN servers, the parents of VPN users. They are only read, and only by LIST: the API has no GET for one server.

use serde::Deserialize;

use crate::error::cloud_error::{CloudError, Operation};
use crate::http::client::Client;
use crate::http::response::CloudResponse;
use crate::lists::items::Items;
use crate::lists::paging;
use crate::lists::paging::{Page, PageInfo};

/// What precedes a server's id in the paths of its child resources.
pub(crate) const PARENTS: [&str; 2] = ["p2c-vpn-gateways", "vpn-servers"];

/// A server as the cloud returns it, with the fields that its users depend on. Every field but the id may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VpnServer {
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
    /// The id of the gateway that it belongs to.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub p2c_vgw_id: Option<String>,
    /// `ACTIVE`, `PENDING_CREATE`, `PENDING_UPDATE`, `FAULT` or `FROZEN`.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub status: Option<String>,
    /// `LOCAL_PASSWORD` where there can be users, else `CERT`, `IAM` or `FEDERATED`.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub client_auth_type: Option<String>,
    /// The range of the users' static addresses.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub client_cidr: Option<String>,
    /// The cloud's text: it also serves as a page marker.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
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
pub struct VpnServersBody {
    #[serde(deserialize_with = "crate::lists::items::items")]
    vpn_servers: Items<VpnServer>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<VpnServersBody> for Page<VpnServer> {
    fn from(list: VpnServersBody) -> Self {
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
    /// [`Walks`](crate::lists::walks::Walks) determines the next page and what the pages prove.
    pub async fn list_vpn_servers_page(
        &self,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<VpnServer>>, CloudError> {
        self.page::<VpnServersBody, _>(Operation::ListVpnServers, &["vpn-servers"], limit, marker)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::paging::{NextPage, Pages};
    use serde_json::{Value, json};

    fn complete(answer: Value) -> bool {
        let list: VpnServersBody = serde_json::from_value(answer).expect("a list");
        let mut pages = Pages::default();
        assert_eq!(pages.add(list.into()), NextPage::Done);
        pages.finish().complete
    }

    #[test]
    fn a_list_without_paging_fields_is_complete() {
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

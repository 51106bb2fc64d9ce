//! Customer gateways: requests, responses and calls.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{
    client::{Answer, Client, Request},
    error::{CloudError, Operation},
    lists::Items,
    paging::{self, Page, PageInfo},
};

/// A customer gateway as the cloud returns it. A list may omit every field but the id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct CustomerGateway {
    #[serde(deserialize_with = "super::fields::some_id")]
    pub id: String,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub name: Option<String>,
    /// `ip` or `fqdn`; may be absent in list items.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub id_type: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub id_value: Option<String>,
    #[serde(default)]
    pub bgp_asn: Option<i64>,
    #[serde(default)]
    pub ca_certificate: Option<CaCertificate>,
    /// The cloud's text, unchanged: it also serves as a page marker.
    #[serde(default, deserialize_with = "super::fields::text")]
    pub created_at: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub updated_at: Option<String>,
    /// `None`: the answer omits the tags, which does not mean that there are none.
    #[serde(default, deserialize_with = "super::tags::optional_map::deserialize")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// The properties of a CA certificate that the cloud returns; it never returns the PEM itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct CaCertificate {
    #[serde(default, deserialize_with = "super::fields::text")]
    pub id: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub serial_number: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub issuer: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub subject: Option<String>,
    #[serde(default, deserialize_with = "super::fields::text")]
    pub expire_time: Option<String>,
    #[serde(default)]
    pub is_updatable: Option<bool>,
}

/// The body of a create request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCustomerGateway {
    pub name: String,
    /// `ip` or `fqdn`.
    pub id_type: String,
    pub id_value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp_asn: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateContent>,
    /// Includes our owner tag.
    #[serde(serialize_with = "super::tags::list::serialize")]
    pub tags: BTreeMap<String, String>,
}

/// The body of an update request: no other field can be updated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustomerGatewayChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateContent>,
}

/// A certificate to upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateContent {
    /// PEM.
    pub content: String,
}

impl paging::Listed for CustomerGateway {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> Option<&str> {
        self.created_at.as_deref()
    }
}

/// The envelope of a gateway in requests and responses.
#[derive(Serialize, Deserialize)]
pub(super) struct Wrapped<T> {
    pub customer_gateway: T,
}

#[derive(Deserialize)]
pub(super) struct List {
    #[serde(deserialize_with = "super::lists::items")]
    customer_gateways: Items<CustomerGateway>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<List> for Page<CustomerGateway> {
    fn from(list: List) -> Self {
        Self::new(list.customer_gateways, list.total_count, list.page_info)
    }
}

const COLLECTION: &str = "customer-gateways";

impl Client {
    /// Creates a gateway. The answer may omit the tags that were sent.
    pub async fn create_customer_gateway(
        &self,
        gateway: &NewCustomerGateway,
    ) -> Result<Answer<CustomerGateway>, CloudError> {
        let request = Request {
            operation: Operation::CreateCustomerGateway,
            method: Method::POST,
            path: &[COLLECTION],
            query: &[],
        };
        self.fetch_gateway(
            request,
            Some(&Wrapped {
                customer_gateway: gateway,
            }),
        )
        .await
    }

    /// Reads one gateway.
    pub async fn get_customer_gateway(&self, id: &str) -> Result<Answer<CustomerGateway>, CloudError> {
        let request = Request {
            operation: Operation::GetCustomerGateway,
            method: Method::GET,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.fetch_gateway(request, None::<&()>).await
    }

    /// Reads one page of up to `limit` of the project's gateways: the first page, or the page after `marker`.
    /// [`Walks`](super::walks::Walks) decides which page is next and what the pages prove.
    pub async fn list_customer_gateways_page(
        &self,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<Answer<Page<CustomerGateway>>, CloudError> {
        self.page::<List, _>(Operation::ListCustomerGateways, &[COLLECTION], limit, marker)
            .await
    }

    /// Updates the name or the certificate; no other field can be updated.
    pub async fn update_customer_gateway(
        &self,
        id: &str,
        change: &CustomerGatewayChange,
    ) -> Result<Answer<CustomerGateway>, CloudError> {
        let request = Request {
            operation: Operation::UpdateCustomerGateway,
            method: Method::PUT,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.fetch_gateway(
            request,
            Some(&Wrapped {
                customer_gateway: change,
            }),
        )
        .await
    }

    /// Deletes a gateway.
    pub async fn delete_customer_gateway(&self, id: &str) -> Result<Answer<()>, CloudError> {
        let request = Request {
            operation: Operation::DeleteCustomerGateway,
            method: Method::DELETE,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.act(request, None::<&()>).await
    }

    async fn fetch_gateway(
        &self,
        request: Request<'_>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Answer<CustomerGateway>, CloudError> {
        let answer = self.fetch::<Wrapped<CustomerGateway>>(request, body).await?;
        Ok(answer.map(|wrapped| wrapped.customer_gateway))
    }
}

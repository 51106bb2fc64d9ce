//! Customer gateways: requests, responses and calls.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::error::cloud_error::{CloudError, Operation};
use crate::http::client::{Client, ProjectRequest};
use crate::http::response::CloudResponse;
use crate::lists::items::Items;
use crate::lists::paging;
use crate::lists::paging::{Page, PageInfo};

/// A customer gateway as the cloud returns it. A list may omit every field but the id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CustomerGateway {
    /// 36 characters, to compare exactly: not every id is a UUID of RFC 9562.
    #[serde(deserialize_with = "crate::values::fields::some_id")]
    pub id: String,
    /// 1 to 64 characters; two gateways may have the same name.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub name: Option<String>,
    /// `ip` or `fqdn`; may be absent in list items.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub id_type: Option<String>,
    /// An IPv4 address or a domain name, by `id_type`.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub id_value: Option<String>,
    /// 1 to 4294967295; only for `ip`.
    #[serde(default)]
    pub bgp_asn: Option<i64>,
    /// Huawei Cloud only: Open Telekom Cloud has no certificates.
    #[serde(default)]
    pub ca_certificate: Option<CaCertificate>,
    /// The cloud's text, unchanged: it also serves as a page marker.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub created_at: Option<String>,
    /// The cloud's text, unchanged. Whether a change of tags updates it is not documented.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub updated_at: Option<String>,
    /// `None`: the answer omits the tags, which does not mean that there are none.
    #[serde(default, with = "crate::resources::tags::optional_map")]
    pub tags: Option<BTreeMap<String, String>>,
}

/// The properties of a CA certificate that the cloud returns; it never returns the PEM itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CaCertificate {
    /// The cloud accepts it in place of the content in later requests.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub id: Option<String>,
    /// As the cloud formats it.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub serial_number: Option<String>,
    /// Distinguished name of the issuer.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub issuer: Option<String>,
    /// Distinguished name of the subject.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub subject: Option<String>,
    /// The cloud's text, unchanged.
    #[serde(default, deserialize_with = "crate::values::fields::text")]
    pub expire_time: Option<String>,
    /// Whether an update may change the content.
    #[serde(default)]
    pub is_updatable: Option<bool>,
}

/// The body of a create request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCustomerGateway {
    /// 1 to 64 letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// `ip` or `fqdn`.
    pub id_type: String,
    /// An IPv4 address or a domain name, by `id_type`.
    pub id_value: String,
    /// 1 to 4294967295; only for `ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp_asn: Option<i64>,
    /// Huawei Cloud only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateContent>,
    /// Includes our owner tag.
    #[serde(serialize_with = "crate::resources::tags::list::serialize")]
    pub tags: BTreeMap<String, String>,
}

/// The body of an update request: no other field can be updated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CustomerGatewayUpdate {
    /// `None`: the name stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `None`: the certificate stays. It cannot be removed.
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
pub struct WrappedGateway<T> {
    /// The gateway in the form of that request or response.
    pub customer_gateway: T,
}

/// The body of a page of gateways.
#[derive(Deserialize)]
pub struct CustomerGatewaysBody {
    #[serde(deserialize_with = "crate::lists::items::items")]
    customer_gateways: Items<CustomerGateway>,
    total_count: Option<u64>,
    page_info: Option<PageInfo>,
}

impl From<CustomerGatewaysBody> for Page<CustomerGateway> {
    fn from(list: CustomerGatewaysBody) -> Self {
        Self::new(list.customer_gateways, list.total_count, list.page_info)
    }
}

const COLLECTION: &str = "customer-gateways";

impl Client {
    /// Creates a gateway. The answer may omit the tags that were sent.
    pub async fn create_customer_gateway(
        &self,
        gateway: &NewCustomerGateway,
    ) -> Result<CloudResponse<CustomerGateway>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::CreateCustomerGateway,
            method: Method::POST,
            path: &[COLLECTION],
            query: &[],
        };
        self.fetch_gateway(
            request,
            Some(&WrappedGateway {
                customer_gateway: gateway,
            }),
        )
        .await
    }

    /// Reads one gateway.
    pub async fn get_customer_gateway(&self, id: &str) -> Result<CloudResponse<CustomerGateway>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::GetCustomerGateway,
            method: Method::GET,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.fetch_gateway(request, None::<&()>).await
    }

    /// Reads one page of up to `limit` of the project's gateways: the first page, or the page after `marker`.
    /// [`Walks`](crate::lists::walks::Walks) decides which page is next and what the pages prove.
    pub async fn list_customer_gateways_page(
        &self,
        limit: u64,
        marker: Option<&str>,
    ) -> Result<CloudResponse<Page<CustomerGateway>>, CloudError> {
        self.page::<CustomerGatewaysBody, _>(Operation::ListCustomerGateways, &[COLLECTION], limit, marker)
            .await
    }

    /// Updates the name or the certificate; no other field can be updated.
    pub async fn update_customer_gateway(
        &self,
        id: &str,
        update: &CustomerGatewayUpdate,
    ) -> Result<CloudResponse<CustomerGateway>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::UpdateCustomerGateway,
            method: Method::PUT,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.fetch_gateway(
            request,
            Some(&WrappedGateway {
                customer_gateway: update,
            }),
        )
        .await
    }

    /// Deletes a gateway.
    pub async fn delete_customer_gateway(&self, id: &str) -> Result<CloudResponse<()>, CloudError> {
        let request = ProjectRequest {
            operation: Operation::DeleteCustomerGateway,
            method: Method::DELETE,
            path: &[COLLECTION, id],
            query: &[],
        };
        self.execute(request, None::<&()>).await
    }

    async fn fetch_gateway(
        &self,
        request: ProjectRequest<'_>,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<CloudResponse<CustomerGateway>, CloudError> {
        let answer = self.fetch::<WrappedGateway<CustomerGateway>>(request, body).await?;
        Ok(answer.map(|wrapped| wrapped.customer_gateway))
    }
}

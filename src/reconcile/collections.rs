//! How a tenant's mirrors read the cloud: each read waits its turn in the budget and heeds the breaker.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::tenant::Tenant;
use crate::cloud::budget::Priority;
use crate::cloud::customer_gateways::CustomerGateway;
use crate::cloud::paging::{Listed, Next, Page, Pages};
use crate::cloud::user_groups::UserGroup;
use crate::cloud::users::User;
use crate::cloud::{Answer, Client, CloudError, Meaning, Operation};
use crate::mirror::{Listing, Source};

/// Reads with one tenant's credentials, for as long as somebody uses them.
#[derive(Clone)]
pub struct Reads {
    tenant: Weak<Tenant>,
    client: Client,
}

impl Reads {
    pub fn new(tenant: &Arc<Tenant>, client: Client) -> Self {
        Self {
            tenant: Arc::downgrade(tenant),
            client,
        }
    }

    async fn read<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<Answer<T>, CloudError>>,
    ) -> Result<T, CloudError> {
        let Some(tenant) = self.tenant.upgrade() else {
            return Err(not_implied(operation, "the credentials are not in use any more"));
        };
        let _turn = tenant.budget().turn(Priority::Read).await;
        tenant.send(call).await.map(|answer| answer.value)
    }

    /// Reads page after page; `page` asks for the one behind a marker.
    async fn list<'a, T: Listed>(
        &'a self,
        operation: Operation,
        page: impl Fn(Option<String>) -> BoxFuture<'a, Result<Answer<Page<T>>, CloudError>>,
    ) -> Result<Listing<T>, CloudError> {
        let mut pages = Pages::default();
        let mut marker = None;
        loop {
            let read = self.read(operation, page(marker.take())).await?;
            match pages.add(read) {
                Next::Fetch(next) => marker = Some(next),
                Next::Done => break,
            }
        }
        let listing = pages.finish();
        Ok(Listing {
            items: listing.items,
            complete: listing.complete,
        })
    }

    fn cloud_now(&self) -> Timestamp {
        self.tenant
            .upgrade()
            .map_or_else(Timestamp::now, |tenant| tenant.cloud_now())
    }

    fn listed(&self, collection: &'static str, result: Result<usize, &CloudError>) {
        if let Some(tenant) = self.tenant.upgrade() {
            tenant.listed(collection, result.err());
        }
    }
}

fn not_implied(operation: Operation, text: &str) -> CloudError {
    CloudError::new(operation, Meaning::CloudFault, text)
}

/// The project's customer gateways.
pub struct GatewaySource(pub Reads);

impl Source<CustomerGateway> for GatewaySource {
    fn list(&self) -> BoxFuture<'_, Result<Listing<CustomerGateway>, CloudError>> {
        let client = &self.0.client;
        self.0
            .list(Operation::ListCustomerGateways, move |marker| {
                async move { client.list_customer_gateways_page(marker.as_deref()).await }.boxed()
            })
            .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<CustomerGateway, CloudError>> {
        let call = self.0.client.get_customer_gateway(id);
        self.0.read(Operation::GetCustomerGateway, call).boxed()
    }

    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        let call = self.0.client.customer_gateway_tags(id);
        self.0.read(Operation::ListCustomerGatewayTags, call).boxed()
    }

    fn cloud_now(&self) -> Timestamp {
        self.0.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.0.listed("customer-gateways", result);
    }
}

/// The users of one VPN server.
pub struct UserSource {
    pub reads: Reads,
    pub server: String,
}

impl Source<User> for UserSource {
    fn list(&self) -> BoxFuture<'_, Result<Listing<User>, CloudError>> {
        let (client, server) = (&self.reads.client, self.server.as_str());
        async move {
            let listed = self
                .reads
                .list(Operation::ListVpnUsers, move |marker| {
                    async move { client.list_users_page(server, marker.as_deref()).await }.boxed()
                })
                .await;
            match listed {
                // A server that is no more has no users.
                Err(error) if error.is_without_its_owner() => Ok(Listing {
                    items: Vec::new(),
                    complete: true,
                }),
                listed => listed,
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<User, CloudError>> {
        let call = self.reads.client.get_user(&self.server, id);
        self.reads.read(Operation::GetVpnUser, call).boxed()
    }

    fn tags<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        let error = not_implied(Operation::GetVpnUser, "users have no tags");
        std::future::ready(Err(error)).boxed()
    }

    fn cloud_now(&self) -> Timestamp {
        self.reads.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.reads.listed("vpn-users", result);
    }
}

/// The user groups of one VPN server.
pub struct GroupSource {
    pub reads: Reads,
    pub server: String,
}

impl Source<UserGroup> for GroupSource {
    fn list(&self) -> BoxFuture<'_, Result<Listing<UserGroup>, CloudError>> {
        let (client, server) = (&self.reads.client, self.server.as_str());
        self.reads
            .list(Operation::ListVpnUserGroups, move |marker| {
                async move { client.list_user_groups_page(server, marker.as_deref()).await }.boxed()
            })
            .boxed()
    }

    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<UserGroup, CloudError>> {
        let error = not_implied(Operation::ListVpnUserGroups, "groups are only listed");
        std::future::ready(Err(error)).boxed()
    }

    fn tags<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        let error = not_implied(Operation::ListVpnUserGroups, "groups have no tags");
        std::future::ready(Err(error)).boxed()
    }

    fn cloud_now(&self) -> Timestamp {
        self.reads.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.reads.listed("vpn-user-groups", result);
    }
}

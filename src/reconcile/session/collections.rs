//! How a session's caches read the cloud: each read waits for a permit of the rate limiter and for the circuit breaker.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use vpn_cloud::limits::rate_limiter::Priority;
use vpn_cloud::lists::paging::{LIMIT, Listed, Page, SMALL_LIMIT};
use vpn_cloud::lists::walks::Walks;
use vpn_cloud::resources::customer_gateways::CustomerGateway;
use vpn_cloud::resources::user_groups::UserGroup;
use vpn_cloud::resources::users::User;
use vpn_cloud::{Client, CloudError, CloudResponse, ErrorKind, Operation};
use vpn_core::cache::{KeepItem, ListedItem, Listing, Query, RunningQuery, Source, TagsById, Urgency};

use crate::reconcile::session::gate::Gate;
use crate::reconcile::session::incomplete::IncompleteReports;
use crate::reconcile::session::unreadable::UnreadableReports;

const GATEWAYS: &str = "customer-gateways";

const USERS: &str = "vpn-users";

const GROUPS: &str = "vpn-user-groups";

const SERVERS: &str = "vpn-servers";

/// Limits a list of tags that would never end.
const MOST_TAGS_PAGES: usize = 1000;

/// Reads with the credentials of one session, for as long as the session exists.
#[derive(Clone)]
pub(crate) struct Reads {
    gate: Weak<Gate>,
    client: Client,
    lists: Arc<Lists>,
}

/// What past reads showed about the lists.
#[derive(Default)]
struct Lists {
    /// The cloud refuses long pages of users and groups.
    small_pages: AtomicBool,
    /// The cloud refuses to list the tags of all gateways.
    no_tags_page: AtomicBool,
    unreadable: UnreadableReports,
    incomplete: IncompleteReports,
}

/// A list to read.
#[derive(Clone, Copy)]
struct ListOf<'a> {
    operation: Operation,
    /// For metrics and the log.
    collection: &'static str,
    /// The VPN server that the list belongs to.
    server: Option<&'a str>,
}

impl Reads {
    pub(crate) fn new(gate: &Arc<Gate>, client: Client) -> Self {
        Self {
            gate: Arc::downgrade(gate),
            client,
            lists: Arc::default(),
        }
    }

    async fn read<T>(
        &self,
        run: &RunningQuery,
        operation: Operation,
        call: impl Future<Output = Result<CloudResponse<T>, CloudError>>,
    ) -> Result<T, CloudError> {
        let Some(gate) = self.gate.upgrade() else {
            return Err(not_implied(operation, "the credentials are no longer in use"));
        };
        let _permit = gate.permit(|| priority(run)).await?;
        run.starts(gate.cloud_now());
        gate.send(call).await.map(|answer| answer.value)
    }

    /// Reads page after page. `page` reads one page, given a limit and a marker; `keep` puts its items into the form in
    /// which they wait for the last page.
    async fn list<'a, T, U: Listed>(
        &'a self,
        run: &RunningQuery,
        list: ListOf<'_>,
        page: impl Fn(u64, Option<String>) -> BoxFuture<'a, Result<CloudResponse<Page<T>>, CloudError>>,
        keep: impl Fn(T) -> U,
    ) -> Result<Listing<U>, CloudError> {
        // The maximum page size is documented for gateways only.
        let may_be_small = list.operation != Operation::ListCustomerGateways;
        let small_pages = &self.lists.small_pages;
        let mut limit = if may_be_small && small_pages.load(Ordering::Relaxed) {
            SMALL_LIMIT
        } else {
            LIMIT
        };
        let mut walks = Walks::of(limit);
        while let Some(request) = walks.request().cloned() {
            let read = match self
                .read(run, list.operation, page(request.limit, request.marker))
                .await
            {
                Err(error) if may_be_small && limit == LIMIT && could_refuse_limit(&error) => {
                    limit = SMALL_LIMIT;
                    walks = Walks::of(limit);
                    continue;
                }
                read => read?,
            };
            if limit == SMALL_LIMIT && !small_pages.swap(true, Ordering::Relaxed) {
                tracing::info!(
                    collection = list.collection,
                    limit,
                    "the cloud refuses pages of {LIMIT} items, so shorter ones are read from now on"
                );
            }
            walks.add(read.map(&keep));
        }
        let listing = walks.finish();
        if let Some(gate) = self.gate.upgrade() {
            gate.read_unreadable(list.collection, listing.unreadable_count);
            let origin = &gate.origin;
            let place = (list.collection, list.server);
            self.lists
                .unreadable
                .report(place, origin, &listing.unreadable, listing.unreadable_count);
            let found = listing.items.len();
            self.lists
                .incomplete
                .report(place, origin, listing.complete, found, listing.total);
        }
        Ok(Listing {
            items: listing.items,
            complete: listing.complete,
        })
    }

    /// Whether the project has a VPN server; the API has no GET for it. `None`: the incomplete list does not show it.
    async fn has_server(&self, run: &RunningQuery, id: &str) -> Result<Option<bool>, CloudError> {
        let client = &self.client;
        let list = ListOf {
            operation: Operation::ListVpnServers,
            collection: SERVERS,
            server: None,
        };
        let page = move |limit, marker: Option<String>| {
            async move { client.list_vpn_servers_page(limit, marker.as_deref()).await }.boxed()
        };
        let listing = self.list(run, list, page, std::convert::identity).await?;
        let is_there = listing.items.iter().any(|server| server.id == id);
        Ok((is_there || listing.complete).then_some(is_there))
    }

    fn cloud_now(&self) -> Option<Timestamp> {
        self.gate.upgrade()?.cloud_now()
    }

    fn tags_read(&self, error: Option<&CloudError>) {
        if let Some(gate) = self.gate.upgrade() {
            gate.tags_read(error);
        }
    }

    fn listed(&self, collection: &'static str, source: &str, result: Result<usize, &CloudError>) {
        if let Some(gate) = self.gate.upgrade() {
            gate.listed(collection, source, result.err());
        }
    }

    /// Drops the failures of a VPN server that is no longer read.
    pub(crate) fn forget_server(&self, server: &str) {
        if let Some(gate) = self.gate.upgrade() {
            gate.unlisted(&users_of(server));
            gate.unlisted(&groups_of(server));
        }
    }
}

fn priority(run: &RunningQuery) -> Priority {
    match run.urgency() {
        Urgency::Edit => Priority::Edit,
        Urgency::Reader => Priority::Read,
        Urgency::Background => Priority::Drift,
    }
}

fn users_of(server: &str) -> String {
    format!("users of {server}")
}

fn groups_of(server: &str) -> String {
    format!("groups of {server}")
}

/// Whether the cloud may have refused a list for its page size; the error for that is not documented.
fn could_refuse_limit(error: &CloudError) -> bool {
    error.status == Some(400) && error.kind == ErrorKind::Rejected
}

fn not_implied(operation: Operation, text: &str) -> CloudError {
    CloudError::new(operation, ErrorKind::CloudFault, text)
}

/// The project's customer gateways.
pub(crate) struct GatewaySource(pub Reads);

impl Source<CustomerGateway> for GatewaySource {
    fn list<'a>(
        &'a self,
        run: &'a RunningQuery,
        keep: &'a KeepItem<'a, CustomerGateway>,
    ) -> BoxFuture<'a, Result<Listing<ListedItem<CustomerGateway>>, CloudError>> {
        let client = &self.0.client;
        let list = ListOf {
            operation: Operation::ListCustomerGateways,
            collection: GATEWAYS,
            server: None,
        };
        let page = move |limit, marker: Option<String>| {
            async move { client.list_customer_gateways_page(limit, marker.as_deref()).await }.boxed()
        };
        self.0.list(run, list, page, keep).boxed()
    }

    fn get<'a>(&'a self, run: &'a RunningQuery, id: &'a str) -> BoxFuture<'a, Result<CustomerGateway, CloudError>> {
        async move {
            let call = self.0.client.get_customer_gateway(id);
            let read = self.0.read(run, Operation::GetCustomerGateway, call).await;
            let has_tags = |gateway: &CustomerGateway| gateway.tags.is_some();
            self.tags_read(read.as_ref().map(has_tags));
            read
        }
        .boxed()
    }

    fn tags<'a>(
        &'a self,
        run: &'a RunningQuery,
        id: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        async move {
            let call = self.0.client.customer_gateway_tags(id);
            let read = self.0.read(run, Operation::ListCustomerGatewayTags, call).await;
            self.tags_read(read.as_ref().map(|_| true));
            read
        }
        .boxed()
    }

    fn all_tags<'a>(&'a self, run: &'a RunningQuery) -> BoxFuture<'a, Result<TagsById, CloudError>> {
        async move {
            let read = self.all_tags_by_pages(run).await;
            let is_refused = read.as_ref().is_err_and(is_not_granted);
            self.0.lists.no_tags_page.store(is_refused, Ordering::Relaxed);
            if read.is_ok() {
                self.0.tags_read(None);
            }
            read
        }
        .boxed()
    }

    fn operation(&self, query: &Query) -> Operation {
        match query {
            Query::Collection => Operation::ListCustomerGateways,
            Query::Object(_) | Query::Whole(_) => Operation::GetCustomerGateway,
            Query::Tags(_) => Operation::ListCustomerGatewayTags,
            Query::AllTags => Operation::FilterCustomerGateways,
        }
    }

    fn cloud_now(&self) -> Option<Timestamp> {
        self.0.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.0.listed(GATEWAYS, "gateways", result);
    }
}

impl GatewaySource {
    /// If one request cannot read all gateways' tags, reads of single gateways show whether tag drift is detectable.
    fn tags_read(&self, read: Result<bool, &CloudError>) {
        if !self.0.lists.no_tags_page.load(Ordering::Relaxed) {
            return;
        }
        match read {
            Ok(true) => self.0.tags_read(None),
            Err(error) if is_not_granted(error) => self.0.tags_read(Some(error)),
            Ok(false) | Err(_) => {}
        }
    }

    async fn all_tags_by_pages(&self, run: &RunningQuery) -> Result<TagsById, CloudError> {
        let mut all = TagsById::new();
        let mut offset = 0;
        for _ in 0..MOST_TAGS_PAGES {
            let call = self.0.client.customer_gateway_tags_page(LIMIT, offset);
            let page = self.0.read(run, Operation::FilterCustomerGateways, call).await?;
            offset += page.count;
            all.extend(page.gateways);
            if page.count < LIMIT || page.total_count.is_some_and(|total| offset >= total) {
                break;
            }
        }
        Ok(all)
    }
}

/// Whether the read fails for lack of a permission, or because the endpoint does not offer the API.
fn is_not_granted(error: &CloudError) -> bool {
    matches!(error.kind, ErrorKind::Forbidden | ErrorKind::NotAvailable)
}

/// The users of one VPN server.
pub(crate) struct UserSource {
    pub reads: Reads,
    pub server: String,
}

impl Source<User> for UserSource {
    fn list<'a>(
        &'a self,
        run: &'a RunningQuery,
        keep: &'a KeepItem<'a, User>,
    ) -> BoxFuture<'a, Result<Listing<ListedItem<User>>, CloudError>> {
        let (client, server) = (&self.reads.client, self.server.as_str());
        async move {
            let list = ListOf {
                operation: Operation::ListVpnUsers,
                collection: USERS,
                server: Some(server),
            };
            let page = move |limit, marker: Option<String>| {
                async move { client.list_users_page(server, limit, marker.as_deref()).await }.boxed()
            };
            match self.reads.list(run, list, page, keep).await {
                // A deleted server has no users. The server list must confirm it: one wrong 404 would lose all users.
                Err(error) if error.is_without_its_owner() => match self.reads.has_server(run, server).await? {
                    Some(false) => Ok(Listing {
                        items: Vec::new(),
                        complete: true,
                    }),
                    Some(true) | None => Err(error),
                },
                listed => listed,
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, run: &'a RunningQuery, id: &'a str) -> BoxFuture<'a, Result<User, CloudError>> {
        let call = self.reads.client.get_user(&self.server, id);
        self.reads.read(run, Operation::GetVpnUser, call).boxed()
    }

    fn tags<'a>(
        &'a self,
        _: &'a RunningQuery,
        _: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        let error = not_implied(Operation::GetVpnUser, "users have no tags");
        std::future::ready(Err(error)).boxed()
    }

    fn operation(&self, query: &Query) -> Operation {
        match query {
            Query::Collection | Query::AllTags => Operation::ListVpnUsers,
            Query::Object(_) | Query::Whole(_) | Query::Tags(_) => Operation::GetVpnUser,
        }
    }

    fn cloud_now(&self) -> Option<Timestamp> {
        self.reads.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.reads.listed(USERS, &users_of(&self.server), result);
    }
}

/// The user groups of one VPN server.
pub(crate) struct GroupSource {
    pub reads: Reads,
    pub server: String,
}

impl Source<UserGroup> for GroupSource {
    fn list<'a>(
        &'a self,
        run: &'a RunningQuery,
        keep: &'a KeepItem<'a, UserGroup>,
    ) -> BoxFuture<'a, Result<Listing<ListedItem<UserGroup>>, CloudError>> {
        let (client, server) = (&self.reads.client, self.server.as_str());
        let list = ListOf {
            operation: Operation::ListVpnUserGroups,
            collection: GROUPS,
            server: Some(server),
        };
        let page = move |limit, marker: Option<String>| {
            async move { client.list_user_groups_page(server, limit, marker.as_deref()).await }.boxed()
        };
        self.reads.list(run, list, page, keep).boxed()
    }

    fn get<'a>(&'a self, _: &'a RunningQuery, _: &'a str) -> BoxFuture<'a, Result<UserGroup, CloudError>> {
        let error = not_implied(Operation::ListVpnUserGroups, "groups are only listed");
        std::future::ready(Err(error)).boxed()
    }

    fn tags<'a>(
        &'a self,
        _: &'a RunningQuery,
        _: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        let error = not_implied(Operation::ListVpnUserGroups, "groups have no tags");
        std::future::ready(Err(error)).boxed()
    }

    fn operation(&self, _: &Query) -> Operation {
        Operation::ListVpnUserGroups
    }

    fn cloud_now(&self) -> Option<Timestamp> {
        self.reads.cloud_now()
    }

    fn listed(&self, result: Result<usize, &CloudError>) {
        self.reads.listed(GROUPS, &groups_of(&self.server), result);
    }
}

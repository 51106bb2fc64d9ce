//! The project of a session: its client, and the caches of its gateways and of the VPN servers in use.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use vpn_cloud::Client;
use vpn_cloud::resources::customer_gateways::CustomerGateway;
use vpn_core::api::Scope;
use vpn_core::cache::{Cache, LostAt, MassDeletion};
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::session::collections::{GatewaySource, Reads};
use crate::reconcile::session::credential::ResolvedCredential;
use crate::reconcile::session::gate::Gate;
use crate::reconcile::session::resources::SessionResources;
use crate::reconcile::session::servers::{ServerCaches, ServersInUse};

/// Replaces the period of drift checks for [`Project::mass_deletion`] if there are none.
const WITHOUT_CHECKS: Duration = Duration::from_secs(300);

/// See the module.
pub(crate) struct Project {
    pub scope: Scope,
    pub client: Client,
    pub gateways: Arc<Cache<CustomerGateway, ObjectKey>>,
    servers: ServersInUse,
    resync_period: Option<Duration>,
    _drift_check: Option<AbortOnDropHandle<()>>,
}

impl Project {
    /// Starts the drift checks of its gateways; nothing is read before that.
    pub(crate) fn start(
        id: String,
        credential: &ResolvedCredential,
        gate: &Arc<Gate>,
        resources: &Arc<SessionResources>,
    ) -> Self {
        let endpoint = &credential.vpn_endpoint;
        let scope = Scope {
            endpoint: resources.endpoint_aliases.recorded_as(endpoint).to_owned(),
            project_id: id,
        };
        let cloud_scope = vpn_cloud::ProjectScope {
            endpoint: endpoint.clone(),
            project_id: scope.project_id.clone(),
        };
        let keys = Arc::clone(&credential.keys);
        let client = Client::new(resources.transport.clone(), keys, cloud_scope);
        let reads = Reads::new(gate, client.clone());
        let source = Arc::new(GatewaySource(reads.clone()));
        let reported = Arc::clone(resources);
        let gateways = Cache::new(resources.owner_tag_key.clone(), source, move |key| {
            (reported.enqueue)(key);
        });
        let drift_check = resources.resync_period.map(|period| {
            let cache = Arc::downgrade(&gateways);
            let check = async move {
                loop {
                    tokio::time::sleep(period).await;
                    let Some(cache) = cache.upgrade() else { return };
                    cache.relist();
                }
            };
            AbortOnDropHandle::new(tokio::spawn(check))
        });
        Self {
            scope,
            client,
            gateways,
            servers: ServersInUse::new(reads, Arc::clone(resources)),
            resync_period: resources.resync_period,
            _drift_check: drift_check,
        }
    }

    /// Returns a VPN server's caches, and registers an object that reads from them.
    pub(crate) fn server(&self, id: &str, reader: &ObjectKey) -> Arc<ServerCaches> {
        self.servers.of(id, reader)
    }

    /// Whether more than max(10, 20 %) of the credential's objects were lost together with the one lost at `at`.
    pub(crate) fn mass_deletion(&self, at: LostAt) -> Option<MassDeletion> {
        let period = self.resync_period.unwrap_or(WITHOUT_CHECKS);
        // Two successive checks may find the deletions of one period, and a check takes time.
        let window = period.saturating_mul(3) / 2;
        let gateways = self.gateways.known().losses(at, window);
        let losses = self.servers.losses(at, window).into_iter().chain([gateways]);
        let (missing, of) = losses.fold((0, 0), |(missing, of), (more, more_of)| (missing + more, of + more_of));
        MassDeletion::suspected(missing, of)
    }

    /// Whether the missing objects of the credential have been counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.servers.are_counted() && self.gateways.known().is_counted()
    }

    /// The reader no longer uses the credential.
    pub(crate) fn forget(&self, reader: &ObjectKey) {
        self.gateways.known().forget(reader);
        self.servers.forget(reader);
    }
}

//! What all sessions share: the HTTP client, limits, and where news is reported to.

use std::sync::Arc;
use std::time::Duration;

use vpn_cloud::http::transport::Transport;
use vpn_cloud::regions::endpoints::EndpointAliases;
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::session::credential_health::CredentialHealth;

/// See the module.
pub(crate) struct SessionResources {
    pub transport: Transport,
    pub max_requests_per_second: f64,
    pub request_timeout: Duration,
    pub resync_period: Option<Duration>,
    pub owner_tag_key: String,
    /// Enqueues an object that has new information.
    pub enqueue: Box<dyn Fn(ObjectKey) + Send + Sync>,
    /// Enqueues an object for which a permit or a write queue is reserved.
    pub permit: Box<dyn Fn(ObjectKey) + Send + Sync>,
    pub health: Arc<CredentialHealth>,
    /// Reports each ended LIST: collection, and whether it succeeded.
    pub listed: Box<dyn Fn(&'static str, bool) + Send + Sync>,
    /// Reports each LIST that was read: collection, and how many items could not be read in full.
    pub unreadable: Box<dyn Fn(&'static str, usize) + Send + Sync>,
    /// Other names of endpoints.
    pub endpoint_aliases: EndpointAliases,
}

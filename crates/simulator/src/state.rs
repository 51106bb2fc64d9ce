//! The state of the simulated cloud.

use std::collections::BTreeMap;

use crate::access::IdentityStore;
use crate::admin::{CredentialSpec, Permissions, ProjectSpec, UserSpec};
use crate::clock::SimulatedClock;
use crate::faults::PendingFaults;
use crate::gateway_store::GatewayStore;
use crate::holds::Holds;
use crate::p2c::stores::P2c;
use crate::rate_limit::RateLimit;
use crate::request_log::RequestLog;
use crate::settings::Settings;
use crate::switches::Switches;

/// See the module. A kind of resource is one field with its own file.
#[derive(Debug, Default)]
pub(crate) struct CloudState {
    pub clock: SimulatedClock,
    pub switches: Switches,
    pub access: IdentityStore,
    pub projects: BTreeMap<String, ProjectSpec>,
    pub gateways: GatewayStore,
    pub p2c: P2c,
    pub faults: PendingFaults,
    pub rate_limit: RateLimit,
    pub holds: Holds,
    pub log: RequestLog,
}

impl CloudState {
    /// A cloud without any object but VPN servers.
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut state = Self {
            // Invalid settings never start a simulator.
            p2c: P2c::new(&settings.vpn_servers, &settings.project_id).unwrap_or_default(),
            rate_limit: RateLimit::new(settings.rate_limit).unwrap_or_default(),
            ..Self::default()
        };
        state
            .projects
            .insert(settings.project_id.clone(), ProjectSpec::named(&settings.region));
        for (access_key, secret_key) in &settings.credentials {
            let spec = CredentialSpec {
                secret_key: secret_key.clone(),
                security_token: None,
                expires_at: None,
                permissions: Permissions::default(),
            };
            // Only an expiry can be invalid, and there is none.
            let _ = state.access.put_credential(access_key.clone(), spec);
        }
        state.access.put_user(
            settings.user.name.clone(),
            UserSpec {
                domain: settings.user.domain.clone(),
                password: settings.user.password.clone(),
                permissions: Permissions::default(),
            },
        );
        state
    }

    /// Restores the initial state. Numbers of requests, faults and holds continue, so that requests in progress do not
    /// count as new.
    pub(crate) fn reset(&mut self, settings: &Settings) {
        let fresh = Self::new(settings);
        self.holds.release(None, crate::holds::Release::Drop);
        self.faults.clear();
        self.log.clear();
        let Self {
            clock,
            switches,
            access,
            projects,
            gateways,
            p2c,
            rate_limit,
            faults: _,
            holds: _,
            log: _,
        } = fresh;
        self.clock = clock;
        self.switches = switches;
        self.access = access;
        self.projects = projects;
        self.gateways = gateways;
        self.rate_limit = rate_limit;
        let writes = std::mem::take(&mut self.p2c.writes);
        self.p2c = P2c { writes, ..p2c };
        self.p2c.writes.forget();
    }
}

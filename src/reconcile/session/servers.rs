//! The VPN servers that objects name: each has a cache of users and one of groups, checked for drift only while used.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use vpn_cloud::resources::user_groups::UserGroup;
use vpn_cloud::resources::users::User;
use vpn_core::cache::{Cache, LostAt};
use vpn_core::terms::key::ObjectKey;

use crate::reconcile::session::collections::{GroupSource, Reads, UserSource};
use crate::reconcile::session::resources::SessionResources;

/// One VPN server, as one credential sees it.
pub(crate) struct ServerCaches {
    id: String,
    reads: Reads,
    resources: Arc<SessionResources>,
    pub users: Arc<Cache<User, ObjectKey>>,
    groups: OnceLock<Arc<Cache<UserGroup, ObjectKey>>>,
    poll: OnceLock<AbortHandle>,
}

impl ServerCaches {
    fn new(id: &str, reads: Reads, resources: Arc<SessionResources>) -> Arc<Self> {
        let source = UserSource {
            reads: reads.clone(),
            server: id.to_owned(),
        };
        let callbacks = Arc::clone(&resources);
        let users = Cache::new(String::new(), Arc::new(source), move |key| (callbacks.enqueue)(key));
        let server = Arc::new(Self {
            id: id.to_owned(),
            reads,
            resources,
            users,
            groups: OnceLock::new(),
            poll: OnceLock::new(),
        });
        if let Some(period) = server.resources.resync_period {
            let polled = Arc::downgrade(&server);
            let task = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(period).await;
                    let Some(server) = polled.upgrade() else { return };
                    server.users.relist();
                    // Groups are listed only if an object names one.
                    if let Some(groups) = server.groups.get() {
                        groups.relist();
                    }
                }
            });
            // It is set here only.
            let _ = server.poll.set(task.abort_handle());
        }
        server
    }

    /// The cache of its groups.
    pub(crate) fn groups(&self) -> &Arc<Cache<UserGroup, ObjectKey>> {
        self.groups.get_or_init(|| {
            let source = GroupSource {
                reads: self.reads.clone(),
                server: self.id.clone(),
            };
            let callbacks = Arc::clone(&self.resources);
            Cache::new(String::new(), Arc::new(source), move |key| (callbacks.enqueue)(key))
        })
    }

    fn forget(&self, reader: &ObjectKey) {
        self.users.known().forget(reader);
        if let Some(groups) = self.groups.get() {
            groups.known().forget(reader);
        }
    }
}

impl Drop for ServerCaches {
    fn drop(&mut self) {
        if let Some(poll) = self.poll.get() {
            poll.abort();
        }
        self.reads.forget_server(&self.id);
    }
}

struct ServerInUse {
    server: Arc<ServerCaches>,
    readers: HashSet<ObjectKey>,
}

/// The servers of one credential.
pub(crate) struct ServersInUse {
    reads: Reads,
    resources: Arc<SessionResources>,
    by_id: Mutex<HashMap<String, ServerInUse>>,
}

impl ServersInUse {
    pub(crate) fn new(reads: Reads, resources: Arc<SessionResources>) -> Self {
        Self {
            reads,
            resources,
            by_id: Mutex::default(),
        }
    }

    /// Returns the server, which is kept as long as this reader uses it.
    pub(crate) fn of(&self, id: &str, reader: &ObjectKey) -> Arc<ServerCaches> {
        let mut servers = self.lock();
        let start = || ServerInUse {
            server: ServerCaches::new(id, self.reads.clone(), Arc::clone(&self.resources)),
            readers: HashSet::new(),
        };
        let in_use = servers.entry(id.to_owned()).or_insert_with(start);
        if !in_use.readers.contains(reader) {
            in_use.readers.insert(reader.clone());
        }
        Arc::clone(&in_use.server)
    }

    /// The reader no longer exists.
    pub(crate) fn forget(&self, reader: &ObjectKey) {
        self.lock().retain(|_, in_use| {
            if in_use.readers.remove(reader) {
                in_use.server.forget(reader);
            }
            !in_use.readers.is_empty()
        });
    }

    /// For each server: how many users were lost together with the loss at `at`, and of how many.
    pub(crate) fn losses(&self, at: LostAt, window: Duration) -> Vec<(usize, usize)> {
        self.lock()
            .values()
            .map(|in_use| in_use.server.users.known().losses(at, window))
            .collect()
    }

    /// Whether the missing users of each server have been counted.
    pub(crate) fn are_counted(&self) -> bool {
        self.lock()
            .values()
            .all(|in_use| in_use.server.users.known().is_counted())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ServerInUse>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use vpn_cloud::{Client, CloudError, ErrorKind, Operation, ProjectScope};
    use vpn_core::cache::{Query, Source as _, Urgency};

    use super::*;
    use crate::reconcile::session::access_key::AccessKey;
    use crate::reconcile::session::gate::Gate;
    use crate::reconcile::session::sessions::tests::{credential, resources};

    /// The servers of a project that gets no requests, and the gate of their session.
    fn servers(resync_period: Option<Duration>) -> (ServersInUse, Arc<Gate>) {
        let resources = Arc::new(SessionResources {
            resync_period,
            ..resources()
        });
        let access_key = AccessKey::start(1.0, resources.request_timeout, |_| {});
        let gate = Gate::new(access_key, "a test".to_owned(), [0; 32], Arc::clone(&resources));
        let gate = Arc::new(gate);
        let scope = ProjectScope {
            endpoint: "https://vpn.example.com".to_owned(),
            project_id: "project".to_owned(),
        };
        let client = Client::new(resources.transport.clone(), credential("A").keys, scope);
        (ServersInUse::new(Reads::new(&gate, client), resources), gate)
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("VpnUser", "n", name)
    }

    #[tokio::test]
    async fn two_readers_share_the_caches_of_a_server_until_the_last_is_forgotten() {
        let (servers, _gate) = servers(None);
        let [alice, bobby] = ["alice", "bobby"].map(key);
        let caches = servers.of("server", &alice);
        for reader in [&alice, &bobby] {
            let same = servers.of("server", reader);
            assert!(Arc::ptr_eq(&caches, &same) && Arc::ptr_eq(caches.groups(), same.groups()));
        }
        assert!(!Arc::ptr_eq(&caches, &servers.of("other", &bobby)));
        let kept = Arc::downgrade(&caches);
        drop(caches);
        for reader in [&alice, &alice, &key("unknown")] {
            servers.forget(reader);
            assert!(kept.upgrade().is_some(), "the other reader uses them");
        }
        servers.forget(&bobby);
        assert!(kept.upgrade().is_none());
        assert!(servers.lock().is_empty());
    }

    #[tokio::test]
    async fn a_forgotten_reader_leaves_both_caches_of_a_server() {
        let (servers, _gate) = servers(None);
        let [alice, bobby] = ["alice", "bobby"].map(key);
        let caches = servers.of("server", &alice);
        servers.of("server", &bobby);
        let wait = |reader| {
            caches
                .users
                .known()
                .request(reader, Query::Collection, Instant::now(), Urgency::Reader);
            caches
                .groups()
                .known()
                .request(reader, Query::Collection, Instant::now(), Urgency::Reader);
        };
        let next_queries = || {
            (
                caches.users.known().next_queries(),
                caches.groups().known().next_queries(),
            )
        };
        wait(&alice);
        caches.users.known().hold(&alice, "1", Some("user"));
        assert!(!servers.are_counted(), "nothing was listed");
        servers.forget(&alice);
        assert!(servers.are_counted(), "nothing is held");
        assert_eq!(next_queries(), (vec![], vec![]));
        wait(&bobby);
        assert_eq!(next_queries(), (vec![Query::Collection], vec![Query::Collection]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_drift_checks_of_a_server_end_with_its_last_reader() {
        let (servers, _gate) = servers(Some(Duration::from_secs(60)));
        let poll = servers.of("server", &key("alice")).poll.get().cloned();
        let poll = poll.expect("drift checks");
        tokio::task::yield_now().await;
        assert!(!poll.is_finished());
        servers.forget(&key("alice"));
        tokio::task::yield_now().await;
        assert!(poll.is_finished());
    }

    #[tokio::test]
    async fn the_failures_of_a_server_end_with_its_last_reader() {
        let (servers, gate) = servers(None);
        for reader in ["alice", "bobby"] {
            servers.of("server", &key(reader));
        }
        let (reads, server) = (servers.reads.clone(), "server".to_owned());
        let error = CloudError::new(Operation::ListVpnUsers, ErrorKind::Forbidden, "no");
        let users = UserSource {
            reads: reads.clone(),
            server: server.clone(),
        };
        users.listed(Err(&error));
        GroupSource { reads, server }.listed(Err(&error));
        servers.forget(&key("alice"));
        assert!(gate.finding().is_some());
        servers.forget(&key("bobby"));
        assert_eq!(gate.finding(), None);
    }
}

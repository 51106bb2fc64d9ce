//! The VPN servers that objects name: each has a cache of users and one of groups, checked for drift only while used.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::collections::{GroupSource, Reads, UserSource};
use super::key::Key;
use super::session::Shared;
use crate::cache::{Cache, LostAt};
use crate::cloud::user_groups::UserGroup;
use crate::cloud::users::User;

/// One VPN server, as one credential sees it.
pub struct Server {
    id: String,
    reads: Reads,
    shared: Arc<Shared>,
    pub users: Arc<Cache<User, Key>>,
    groups: OnceLock<Arc<Cache<UserGroup, Key>>>,
    poll: OnceLock<AbortHandle>,
}

impl Server {
    fn new(id: &str, reads: Reads, shared: Arc<Shared>) -> Arc<Self> {
        let source = UserSource {
            reads: reads.clone(),
            server: id.to_owned(),
        };
        let waker = Arc::clone(&shared);
        let users = Cache::new(String::new(), Arc::new(source), move |key| (waker.enqueue)(key));
        let server = Arc::new(Self {
            id: id.to_owned(),
            reads,
            shared,
            users,
            groups: OnceLock::new(),
            poll: OnceLock::new(),
        });
        if let Some(period) = server.shared.resync_period {
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
    pub fn groups(&self) -> &Arc<Cache<UserGroup, Key>> {
        self.groups.get_or_init(|| {
            let source = GroupSource {
                reads: self.reads.clone(),
                server: self.id.clone(),
            };
            let waker = Arc::clone(&self.shared);
            Cache::new(String::new(), Arc::new(source), move |key| (waker.enqueue)(key))
        })
    }

    fn forget(&self, reader: &Key) {
        self.users.known().forget(reader);
        if let Some(groups) = self.groups.get() {
            groups.known().forget(reader);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(poll) = self.poll.get() {
            poll.abort();
        }
        self.reads.forget_server(&self.id);
    }
}

struct InUse {
    server: Arc<Server>,
    readers: HashSet<Key>,
}

/// The servers of one credential.
pub struct Servers {
    reads: Reads,
    shared: Arc<Shared>,
    by_id: Mutex<HashMap<String, InUse>>,
}

impl Servers {
    pub fn new(reads: Reads, shared: Arc<Shared>) -> Self {
        Self {
            reads,
            shared,
            by_id: Mutex::default(),
        }
    }

    /// Returns the server, which is kept as long as this reader uses it.
    pub fn of(&self, id: &str, reader: &Key) -> Arc<Server> {
        let mut servers = self.lock();
        let start = || InUse {
            server: Server::new(id, self.reads.clone(), Arc::clone(&self.shared)),
            readers: HashSet::new(),
        };
        let in_use = servers.entry(id.to_owned()).or_insert_with(start);
        if !in_use.readers.contains(reader) {
            in_use.readers.insert(reader.clone());
        }
        Arc::clone(&in_use.server)
    }

    /// The reader no longer exists.
    pub fn forget(&self, reader: &Key) {
        self.lock().retain(|_, in_use| {
            if in_use.readers.remove(reader) {
                in_use.server.forget(reader);
            }
            !in_use.readers.is_empty()
        });
    }

    /// For each server: how many users were lost together with the loss at `at`, and of how many.
    pub fn losses(&self, at: LostAt, window: Duration) -> Vec<(usize, usize)> {
        self.lock()
            .values()
            .map(|in_use| in_use.server.users.known().losses(at, window))
            .collect()
    }

    /// Whether the missing users of each server have been counted.
    pub fn are_counted(&self) -> bool {
        self.lock()
            .values()
            .all(|in_use| in_use.server.users.known().is_counted())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, InUse>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

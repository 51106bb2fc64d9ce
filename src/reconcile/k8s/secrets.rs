//! The Secrets that objects reference: read on demand, and kept only while referenced and only with the keys in use.
//! Only their metadata is watched. Objects that need one Secret at the same time share one read of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::Notify;
use vpn_core::terms::key::ObjectKey;
use vpn_core::terms::secret::{LONGEST_VALUE, SecretName};

/// The content of a Secret. It has no Debug, since it must never be shown.
pub(crate) struct SecretContent {
    /// Another uid under the same name: the Secret was deleted and created again.
    pub uid: String,
    pub resource_version: String,
    /// Values of the requested keys; longer values are cut to one byte more than [`LONGEST_VALUE`].
    pub data: BTreeMap<String, Vec<u8>>,
    /// The requested keys, whether the Secret has them or not.
    asked: BTreeSet<String>,
}

/// A version of a Secret; `None`: it does not exist.
type SecretVersion = Option<String>;

type SecretResponse = Result<Option<Arc<Secret>>, Arc<kube::Error>>;

/// One GET that several readers wait for. If all of them give up, it ends.
type SharedRead = Shared<BoxFuture<'static, SecretResponse>>;

#[derive(Default)]
struct ReferencedSecret {
    by: HashMap<ObjectKey, ReaderState>,
    /// All keys that any object has requested.
    keys: BTreeSet<String>,
    /// As last read. It is kept after the Secret is deleted, for deletions in a namespace that is deleted as a whole.
    content: Option<Arc<SecretContent>>,
    known: KnownContent,
    /// Counts the reported changes: a read that began before the latest may not include it.
    heard: u64,
    last_heard: SecretVersion,
    in_progress: Option<ReadInProgress>,
    /// The latest list that had begun when the Secret was first referenced.
    referenced_during: u64,
}

/// What one object knows of a Secret.
#[derive(Default)]
struct ReaderState {
    /// The version that the object last read, or was last enqueued for. It is kept per object: a read by one object
    /// must not keep the others from being enqueued.
    knows: Option<SecretVersion>,
    is_reading: bool,
    /// A change was reported while it was reading.
    missed: bool,
}

/// A read that has begun.
struct ReadInProgress {
    number: u64,
    /// The number of reported changes when it began.
    heard: u64,
    read: WeakShared<BoxFuture<'static, SecretResponse>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum KnownContent {
    /// Must be read (again).
    #[default]
    No,
    Present,
    Absent,
}

/// A Secret as a reader finds it.
pub(crate) enum FoundSecret {
    Present(Arc<SecretContent>),
    /// Deleted; this is its last content.
    Remembered(Arc<SecretContent>),
    Absent,
}

/// How a read begins.
enum Begun<'a> {
    /// No read is needed.
    Known(FoundSecret),
    Wait(Waiting<'a>),
}

/// A reader that waits for a read; it may give up.
struct Waiting<'a> {
    secrets: &'a Secrets,
    secret: &'a SecretName,
    by: &'a ObjectKey,
    number: u64,
    heard: u64,
    read: SharedRead,
    reads_again: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.secrets.lock();
        let Some(entry) = state.named.get_mut(self.secret) else {
            return;
        };
        if entry
            .in_progress
            .as_ref()
            .is_some_and(|in_progress| in_progress.number == self.number && self.read.peek().is_some())
        {
            entry.in_progress = None;
        }
        let Some(reader) = entry.by.get_mut(self.by) else {
            return;
        };
        reader.is_reading = false;
        // A reader that reads again still has to handle the change that it missed.
        if !self.reads_again && std::mem::take(&mut reader.missed) {
            state.news.insert(self.by.clone());
            self.secrets.has_news.notify_one();
        }
    }
}

#[derive(Default)]
struct SecretsState {
    named: HashMap<SecretName, ReferencedSecret>,
    by_reader: HashMap<ObjectKey, HashSet<SecretName>>,
    /// Objects that have not seen the current version of a Secret that they reference.
    news: HashSet<ObjectKey>,
    /// The namespaces (`None`: all) in which changes are not reported: each use is a read.
    unfollowed: HashSet<Option<String>>,
    /// Counts the lists that watches have begun.
    lists: u64,
    /// Counts the reads that have begun.
    reads: u64,
}

impl SecretsState {
    fn is_followed(&self, secret: &SecretName) -> bool {
        self.unfollowed.is_empty()
            || !(self.unfollowed.contains(&None) || self.unfollowed.contains(&Some(secret.0.clone())))
    }

    fn in_namespace(&self, namespace: Option<&str>) -> Vec<SecretName> {
        let is_there = |secret: &&SecretName| namespace.is_none_or(|namespace| secret.0 == namespace);
        self.named.keys().filter(is_there).cloned().collect()
    }

    fn forget(&mut self, by: &ObjectKey, keep: &[SecretName]) {
        let Some(named) = self.by_reader.get_mut(by) else {
            return;
        };
        let dropped: Vec<SecretName> = named.extract_if(|secret| !keep.contains(secret)).collect();
        if named.is_empty() {
            self.by_reader.remove(by);
        }
        for secret in dropped {
            let Some(entry) = self.named.get_mut(&secret) else {
                continue;
            };
            entry.by.remove(by);
            if entry.by.is_empty() {
                self.named.remove(&secret);
            }
        }
    }
}

impl ReferencedSecret {
    /// Given the current version, enqueues each reader that knows another one.
    fn spread(&mut self, version: &SecretVersion, news: &mut HashSet<ObjectKey>) {
        for (key, reader) in &mut self.by {
            if reader.is_reading {
                reader.missed |= reader.knows.as_ref() != Some(version);
            } else if reader.knows.as_ref() != Some(version) {
                reader.knows = Some(version.clone());
                news.insert(key.clone());
            }
        }
    }

    /// Returns the known state to the reader.
    fn hand_out(&mut self, by: &ObjectKey) -> FoundSecret {
        let (version, found) = match (self.known, &self.content) {
            (KnownContent::Present, Some(content)) => (
                Some(content.resource_version.clone()),
                FoundSecret::Present(Arc::clone(content)),
            ),
            (_, Some(content)) => (None, FoundSecret::Remembered(Arc::clone(content))),
            (_, None) => (None, FoundSecret::Absent),
        };
        if let Some(reader) = self.by.get_mut(by) {
            reader.knows = Some(version);
            reader.missed = false;
        }
        found
    }

    /// Whether the known state is enough for a reader of these keys.
    fn answers(&self, keys: &[&str]) -> bool {
        match (self.known, &self.content) {
            (KnownContent::Present, Some(content)) => keys.iter().all(|key| content.asked.contains(*key)),
            (KnownContent::Absent, _) => true,
            _ => false,
        }
    }
}

/// See the module.
pub(crate) struct Secrets {
    client: Client,
    state: Mutex<SecretsState>,
    has_news: Notify,
}

/// An object's access to the Secrets that it references. Dropping it removes the object's references.
pub(crate) struct SecretReader {
    secrets: Arc<Secrets>,
    key: ObjectKey,
}

impl SecretReader {
    /// Reads these keys of a Secret, which the object references from now on. Answers from memory if no change was
    /// reported.
    pub(crate) async fn read(&self, secret: &SecretName, keys: &[&str]) -> Result<FoundSecret, kube::Error> {
        self.secrets.read(secret, &self.key, keys).await
    }

    /// Removes the object's references to all other Secrets.
    pub(crate) fn names_only(&self, secrets: &[SecretName]) {
        self.secrets.lock().forget(&self.key, secrets);
    }
}

impl Drop for SecretReader {
    fn drop(&mut self) {
        self.secrets.lock().forget(&self.key, &[]);
    }
}

impl Secrets {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            state: Mutex::default(),
            has_news: Notify::new(),
        })
    }

    /// Returns the access for one object, to be kept for as long as the object is watched.
    pub(crate) fn reader(self: &Arc<Self>, key: &ObjectKey) -> SecretReader {
        SecretReader {
            secrets: Arc::clone(self),
            key: key.clone(),
        }
    }

    /// Waits for objects to reconcile, since a Secret that they reference has changed.
    pub(crate) async fn news(&self) -> Vec<ObjectKey> {
        loop {
            let news = std::mem::take(&mut self.lock().news);
            if !news.is_empty() {
                return news.into_iter().collect();
            }
            self.has_news.notified().await;
        }
    }

    /// Records that a watch begins with a list, and returns the number of the list.
    pub(crate) fn list_begins(&self) -> u64 {
        let mut state = self.lock();
        state.lists += 1;
        state.lists
    }

    async fn read(&self, secret: &SecretName, by: &ObjectKey, keys: &[&str]) -> Result<FoundSecret, kube::Error> {
        loop {
            let mut waiting = match self.begin(secret, by, keys) {
                Begun::Known(found) => return Ok(found),
                Begun::Wait(waiting) => waiting,
            };
            let read = waiting.read.clone().await.map_err(|error| copy_of(&error))?;
            if let Some(found) = self.accept(&waiting, keys, read.as_deref()) {
                return Ok(found);
            }
            waiting.reads_again = true;
        }
    }

    /// Returns its last known content, if any: a deletion must not wait for a permission that was revoked.
    pub(crate) fn remembered(&self, secret: &SecretName) -> Option<FoundSecret> {
        let state = self.lock();
        let content = state.named.get(secret)?.content.as_ref()?;
        Some(FoundSecret::Remembered(Arc::clone(content)))
    }

    fn begin<'a>(&'a self, secret: &'a SecretName, by: &'a ObjectKey, keys: &[&str]) -> Begun<'a> {
        let mut state = self.lock();
        let referenced_during = state.lists;
        let is_followed = state.is_followed(secret);
        state.by_reader.entry(by.clone()).or_default().insert(secret.clone());
        let SecretsState { named, reads, .. } = &mut *state;
        let entry = named.entry(secret.clone()).or_insert_with(|| ReferencedSecret {
            referenced_during,
            ..ReferencedSecret::default()
        });
        entry.by.entry(by.clone()).or_default();
        entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
        if is_followed && entry.answers(keys) {
            return Begun::Known(entry.hand_out(by));
        }
        let joined = entry.in_progress.as_ref().and_then(|in_progress| {
            let read = in_progress.read.upgrade().filter(|read| read.peek().is_none())?;
            Some((in_progress.number, in_progress.heard, read))
        });
        let (number, heard, read) = joined.unwrap_or_else(|| {
            *reads += 1;
            let read = get(self.client.clone(), secret.clone());
            entry.in_progress = read.downgrade().map(|weak| ReadInProgress {
                number: *reads,
                heard: entry.heard,
                read: weak,
            });
            (*reads, entry.heard, read)
        });
        if let Some(reader) = entry.by.get_mut(by) {
            reader.is_reading = true;
        }
        Begun::Wait(Waiting {
            secrets: self,
            secret,
            by,
            number,
            heard,
            read,
            reads_again: false,
        })
    }

    /// Returns what was read. `None` if another version was reported in the meantime: then it is read again.
    fn accept(&self, waiting: &Waiting<'_>, keys: &[&str], read: Option<&Secret>) -> Option<FoundSecret> {
        let mut state = self.lock();
        let SecretsState { named, news, .. } = &mut *state;
        let entry = named.get_mut(waiting.secret)?;
        let version = read.and_then(|read| read.metadata.resource_version.clone());
        if entry.heard != waiting.heard && entry.last_heard != version {
            return None;
        }
        let is_taken = match (entry.known, &entry.content) {
            (KnownContent::Present, Some(content)) => Some(&content.resource_version) == version.as_ref(),
            (KnownContent::Absent, _) => version.is_none(),
            _ => false,
        };
        if !(is_taken && entry.answers(keys)) {
            entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
            match read {
                Some(read) => {
                    entry.content = Some(Arc::new(content(read, entry.keys.clone())));
                    entry.known = KnownContent::Present;
                }
                None => entry.known = KnownContent::Absent,
            }
            entry.spread(&version, news);
            if !news.is_empty() {
                self.has_news.notify_one();
            }
        }
        Some(entry.hand_out(waiting.by))
    }

    /// Records that a Secret was seen at this version, or was deleted (`None`).
    pub(crate) fn seen(&self, secret: &SecretName, resource_version: Option<&str>) {
        let mut state = self.lock();
        let SecretsState { named, news, .. } = &mut *state;
        let Some(entry) = named.get_mut(secret) else { return };
        let is_known = match (entry.known, resource_version, &entry.content) {
            (KnownContent::Present, Some(version), Some(content)) => content.resource_version == version,
            (KnownContent::Absent, None, _) => true,
            _ => false,
        };
        let version = resource_version.map(str::to_owned);
        if !is_known {
            entry.heard += 1;
            entry.last_heard.clone_from(&version);
            entry.known = if version.is_some() {
                KnownContent::No
            } else {
                KnownContent::Absent
            };
        }
        entry.spread(&version, news);
        if !news.is_empty() {
            self.has_news.notify_one();
        }
    }

    /// Whether any object references it.
    pub(crate) fn is_named(&self, secret: &SecretName) -> bool {
        self.lock().named.contains_key(secret)
    }

    /// The number of referenced Secrets.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().named.len()
    }

    /// Records that a watch began again with that list and saw only these: the others are deleted. A Secret that was
    /// first referenced during the list is skipped: the list notes only Secrets that are referenced already. The watch
    /// reports its later changes.
    pub(crate) fn saw_all(&self, in_namespace: Option<&str>, list: u64, seen: &HashSet<SecretName>) {
        let unseen: Vec<SecretName> = {
            let state = self.lock();
            let mut watched = state.in_namespace(in_namespace);
            watched.retain(|secret| {
                state
                    .named
                    .get(secret)
                    .is_some_and(|entry| entry.referenced_during < list)
            });
            watched.retain(|secret| !seen.contains(secret));
            watched
        };
        for secret in unseen {
            self.seen(&secret, None);
        }
    }

    /// Reads the version of each referenced Secret in a namespace, or in all, to detect changes.
    pub(crate) async fn refresh(&self, in_namespace: Option<&str>) {
        let named = self.lock().in_namespace(in_namespace);
        for secret in named {
            let api = Api::<Secret>::namespaced(self.client.clone(), &secret.0);
            match api.get_metadata_opt(&secret.1).await {
                Ok(found) => {
                    let version = found.and_then(|found| found.metadata.resource_version);
                    self.seen(&secret, version.as_deref());
                }
                // The next object that needs it reads it.
                Err(_) => self.read_again(std::slice::from_ref(&secret)),
            }
        }
    }

    /// Handles a failed watch: the next use of each Secret is a read. When the watch is back, it reports what changed
    /// meanwhile.
    pub(crate) fn distrust(&self, in_namespace: Option<&str>) {
        let named = self.lock().in_namespace(in_namespace);
        self.read_again(&named);
    }

    /// Sets whether changes in a namespace, or in all, are noticed at all.
    pub(crate) fn set_followed(&self, in_namespace: Option<&str>, is_followed: bool) {
        let mut state = self.lock();
        let namespace = in_namespace.map(str::to_owned);
        if is_followed {
            state.unfollowed.remove(&namespace);
        } else {
            state.unfollowed.insert(namespace);
        }
    }

    fn read_again(&self, secrets: &[SecretName]) {
        let mut state = self.lock();
        for secret in secrets {
            if let Some(entry) = state.named.get_mut(secret) {
                entry.known = KnownContent::No;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, SecretsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn get(client: Client, secret: SecretName) -> SharedRead {
    let read = async move {
        let api = Api::<Secret>::namespaced(client, &secret.0);
        let read = api.get_opt(&secret.1).await;
        read.map(|found| found.map(Arc::new)).map_err(Arc::new)
    };
    read.boxed().shared()
}

fn content(read: &Secret, asked: BTreeSet<String>) -> SecretContent {
    let values = read.data.iter().flatten();
    SecretContent {
        uid: read.metadata.uid.clone().unwrap_or_default(),
        resource_version: read.metadata.resource_version.clone().unwrap_or_default(),
        data: values
            .filter(|(key, _)| asked.contains(*key))
            .map(|(key, value)| (key.clone(), value.0[..value.0.len().min(LONGEST_VALUE + 1)].to_vec()))
            .collect(),
        asked,
    }
}

/// Copies the error of a shared read for one of its readers.
fn copy_of(error: &Arc<kube::Error>) -> kube::Error {
    match &**error {
        kube::Error::Api(status) => kube::Error::Api(status.clone()),
        _ => kube::Error::Service(Box::new(Arc::clone(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

    use super::*;

    /// An apiserver that has every Secret, at the version that the test sets (0: it has none), and answers late.
    #[derive(Clone)]
    struct ServedVersion {
        number: Arc<AtomicU64>,
        delay: Duration,
    }

    impl Respond for ServedVersion {
        fn respond(&self, _: &Request) -> ResponseTemplate {
            let version = self.number.load(Ordering::Relaxed);
            let metadata = serde_json::json!({"name": "s", "namespace": "a", "resourceVersion": version.to_string()});
            let answer = match version {
                0 => ResponseTemplate::new(404).set_body_json(serde_json::json!({
                    "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no",
                })),
                _ => ResponseTemplate::new(200).set_body_json(serde_json::json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"password": "AAAA"},
                })),
            };
            answer.set_delay(self.delay)
        }
    }

    struct SecretsApiserver {
        server: MockServer,
        version: ServedVersion,
        secrets: Arc<Secrets>,
    }

    impl SecretsApiserver {
        async fn at(version: u64) -> Self {
            Self::late(version, Duration::from_millis(50)).await
        }

        async fn late(version: u64, delay: Duration) -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let server = MockServer::start().await;
            let answers = ServedVersion {
                number: Arc::default(),
                delay,
            };
            Mock::given(any()).respond_with(answers.clone()).mount(&server).await;
            let config = kube::Config::new(server.uri().parse().unwrap());
            let apiserver = Self {
                server,
                version: answers,
                secrets: Secrets::new(Client::try_from(config).unwrap()),
            };
            apiserver.set(version);
            apiserver
        }

        fn set(&self, version: u64) {
            self.version.number.store(version, Ordering::Relaxed);
        }

        async fn gets(&self) -> usize {
            self.server.received_requests().await.unwrap().len()
        }

        /// Waits for this number of requests; their answers are not sent yet.
        async fn has_received(&self, requests: usize) {
            while self.gets().await < requests {
                tokio::task::yield_now().await;
            }
        }

        /// The objects to reconcile.
        fn news(&self) -> Vec<ObjectKey> {
            let mut news: Vec<ObjectKey> = std::mem::take(&mut self.secrets.lock().news).into_iter().collect();
            news.sort();
            news
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("VpnUser", "a", name)
    }

    fn secret() -> SecretName {
        ("a".to_owned(), "s".to_owned())
    }

    fn version_of(found: &FoundSecret) -> &str {
        match found {
            FoundSecret::Present(content) => &content.resource_version,
            FoundSecret::Remembered(_) => "remembered",
            FoundSecret::Absent => "absent",
        }
    }

    #[tokio::test]
    async fn a_changed_secret_of_300_objects_is_read_once() {
        let apiserver = SecretsApiserver::at(1).await;
        let readers: Vec<SecretReader> = (0..300)
            .map(|number| apiserver.secrets.reader(&key(&number.to_string())))
            .collect();
        let secret = secret();
        for version in [1, 2] {
            apiserver.set(version);
            apiserver.secrets.seen(&secret, Some(&version.to_string()));
            let read = join_all(readers.iter().map(|reader| reader.read(&secret, &["password"]))).await;
            for found in read {
                assert_eq!(version_of(&found.unwrap()), version.to_string());
            }
            assert_eq!(apiserver.gets().await as u64, version);
        }
        // From memory.
        assert!(readers[7].read(&secret, &["password"]).await.is_ok());
        assert_eq!(apiserver.gets().await, 2);
        drop(readers);
        assert_eq!(apiserver.secrets.count(), 0);
    }

    #[tokio::test]
    async fn every_reader_is_notified_of_a_change_read_by_another() {
        let apiserver = SecretsApiserver::at(1).await;
        let (one, two) = (
            apiserver.secrets.reader(&key("one")),
            apiserver.secrets.reader(&key("two")),
        );
        let secret = secret();
        for reader in [&one, &two] {
            reader.read(&secret, &["password"]).await.unwrap();
        }
        // The watch fails and the Secret changes. One of the objects reads it before the watch is back, or while it
        // comes back.
        for (version, is_back) in [(2, false), (3, true)] {
            apiserver.secrets.distrust(None);
            apiserver.set(version);
            let heard = async {
                if is_back {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    apiserver.secrets.seen(&secret, Some("3"));
                }
            };
            let (found, ()) = tokio::join!(one.read(&secret, &["password"]), heard);
            assert_eq!(version_of(&found.unwrap()), version.to_string());
            assert_eq!(apiserver.news(), [key("two")]);
            // A later report of this version by the watch enqueues neither.
            apiserver.secrets.seen(&secret, Some(&version.to_string()));
            assert_eq!(apiserver.news(), []);
        }
    }

    #[tokio::test]
    async fn a_restored_watch_enqueues_only_readers_of_changed_secrets() {
        let apiserver = SecretsApiserver::at(1).await;
        let (changed, same) = (
            apiserver.secrets.reader(&key("changed")),
            apiserver.secrets.reader(&key("same")),
        );
        let (secret, other) = (secret(), ("a".to_owned(), "other".to_owned()));
        changed.read(&secret, &["password"]).await.unwrap();
        same.read(&other, &["password"]).await.unwrap();
        apiserver.secrets.distrust(None);
        assert_eq!(apiserver.news(), []);
        apiserver.secrets.seen(&secret, Some("2"));
        apiserver.secrets.seen(&other, Some("1"));
        assert_eq!(apiserver.news(), [key("changed")]);
    }

    #[tokio::test]
    async fn a_change_during_a_read_is_seen_by_the_reader() {
        // Late enough for what the test does in the meantime, on any machine.
        let apiserver = SecretsApiserver::late(6, Duration::from_secs(1)).await;
        let reader = apiserver.secrets.reader(&key("alice"));
        let secret = secret();
        let change = async {
            apiserver.has_received(1).await;
            apiserver.set(7);
            apiserver.secrets.seen(&secret, Some("7"));
        };
        let (found, ()) = tokio::join!(reader.read(&secret, &["password"]), change);
        assert_eq!(version_of(&found.unwrap()), "7");
        assert_eq!(apiserver.gets().await, 2, "what was answered at first was older");
        assert_eq!(apiserver.news(), []);
        // A read that was given up proves nothing.
        apiserver.secrets.distrust(None);
        let heard = async {
            apiserver.has_received(3).await;
            apiserver.secrets.seen(&secret, Some("8"));
        };
        tokio::select! {
            _ = reader.read(&secret, &["password"]) => panic!("it is answered later"),
            () = heard => {}
        }
        assert_eq!(apiserver.news(), [key("alice")]);
        apiserver.set(0);
        apiserver.secrets.seen(&secret, None);
        assert_eq!(apiserver.news(), [key("alice")]);
        let found = reader.read(&secret, &["password"]).await.unwrap();
        assert_eq!(version_of(&found), "remembered");
        apiserver.secrets.seen(&secret, None);
        assert_eq!(apiserver.news(), []);
    }

    #[tokio::test]
    async fn another_data_key_causes_a_read_of_an_unchanged_secret() {
        let apiserver = SecretsApiserver::at(1).await;
        let (one, two) = (
            apiserver.secrets.reader(&key("one")),
            apiserver.secrets.reader(&key("two")),
        );
        one.read(&secret(), &["password"]).await.unwrap();
        two.read(&secret(), &["other"]).await.unwrap();
        assert_eq!(apiserver.gets().await, 2);
        assert_eq!(apiserver.news(), []);
    }

    #[tokio::test]
    async fn the_last_read_value_is_remembered_when_reads_fail() {
        let apiserver = SecretsApiserver::at(1).await;
        let reader = apiserver.secrets.reader(&key("office"));
        assert!(apiserver.secrets.remembered(&secret()).is_none());
        reader.read(&secret(), &["password"]).await.unwrap();
        apiserver.server.reset().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(403))
            .mount(&apiserver.server)
            .await;
        apiserver.secrets.distrust(None);
        assert!(reader.read(&secret(), &["password"]).await.is_err());
        let remembered = apiserver.secrets.remembered(&secret());
        assert!(matches!(remembered, Some(FoundSecret::Remembered(_))));
    }

    #[tokio::test]
    async fn without_a_watch_every_use_is_a_read() {
        let apiserver = SecretsApiserver::at(1).await;
        let reader = apiserver.secrets.reader(&key("one"));
        apiserver.secrets.set_followed(Some("a"), false);
        for version in 1..=2 {
            apiserver.set(version);
            let found = reader.read(&secret(), &["password"]).await.unwrap();
            assert_eq!(version_of(&found), version.to_string());
        }
        apiserver.secrets.set_followed(Some("a"), true);
        reader.read(&secret(), &["password"]).await.unwrap();
        assert_eq!(apiserver.gets().await, 2);
    }

    #[tokio::test]
    async fn a_list_does_not_cover_secrets_registered_during_it() {
        let apiserver = SecretsApiserver::at(1).await;
        let secrets = &apiserver.secrets;
        let of = |name: &str| ("a".to_owned(), name.to_owned());
        let reader = secrets.reader(&key("office"));
        reader.read(&of("before"), &["password"]).await.unwrap();
        let list = secrets.list_begins();
        reader.read(&of("meanwhile"), &["password"]).await.unwrap();
        secrets.saw_all(Some("a"), list, &HashSet::new());
        assert_eq!(apiserver.news(), [key("office")]);
        let found = reader.read(&of("before"), &["password"]).await.unwrap();
        assert_eq!(version_of(&found), "remembered");
        let found = reader.read(&of("meanwhile"), &["password"]).await.unwrap();
        assert_eq!(version_of(&found), "1");
        // The next list covers both.
        let next = secrets.list_begins();
        secrets.saw_all(Some("a"), next, &HashSet::new());
        assert_eq!(apiserver.news(), [key("office")]);
        let found = reader.read(&of("meanwhile"), &["password"]).await.unwrap();
        assert_eq!(version_of(&found), "remembered");
    }

    #[tokio::test]
    async fn a_secret_is_forgotten_with_its_last_reader() {
        let apiserver = SecretsApiserver::at(1).await;
        let secrets = &apiserver.secrets;
        let [one, two, idle] = ["one", "two", "idle"].map(|name| secrets.reader(&key(name)));
        let (secret, other) = (secret(), ("a".to_owned(), "other".to_owned()));
        for (reader, named) in [(&one, &secret), (&one, &secret), (&two, &secret), (&one, &other)] {
            reader.read(named, &["password"]).await.unwrap();
        }
        assert_eq!(secrets.count(), 2);
        drop(idle);
        one.names_only(std::slice::from_ref(&other));
        assert!(secrets.is_named(&secret), "the other object references it");
        secrets.seen(&secret, Some("2"));
        assert_eq!(apiserver.news(), [key("two")]);
        drop(two);
        assert!(!secrets.is_named(&secret) && secrets.remembered(&secret).is_none());
        assert!(secrets.is_named(&other));
        one.names_only(&[]);
        assert_eq!(secrets.count(), 0);
        assert!(secrets.lock().by_reader.is_empty());
    }
}

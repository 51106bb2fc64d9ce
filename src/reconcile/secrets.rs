//! The Secrets that objects name: read when needed, kept only while named and only as far as they are used, followed by
//! their metadata alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::key::Key;

/// Of a value no more than this and a byte is kept, so that whoever uses it sees that it is too long. A Secret may hold a
/// MiB: memory must grow with the objects, not with what their authors put there.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// Namespace and name of a Secret.
pub type SecretName = (String, String);

/// What was read of a Secret. It has no Debug: it holds what nobody may see.
pub struct SecretContent {
    /// Another one under the same name: it was deleted and made anew.
    pub uid: String,
    pub resource_version: String,
    /// Of the keys that were asked for; longer values are cut to one byte more than [`LONGEST_VALUE`].
    pub data: BTreeMap<String, Vec<u8>>,
    /// The keys that were asked for, whether the Secret has them or not.
    asked: BTreeSet<String>,
}

#[derive(Default)]
struct Named {
    by: HashSet<Key>,
    /// All that anybody has asked for.
    keys: BTreeSet<String>,
    /// As last read; it stays after the Secret is gone, for deletions in a namespace that goes as a whole.
    content: Option<Arc<SecretContent>>,
    known: Known,
    /// Counts what was heard: a read that began before the latest may not have seen it.
    heard: u64,
    /// What was heard last: a version, or that it is gone.
    last_heard: Option<String>,
    /// Reads that are under way.
    readers: usize,
    /// The latest list that had begun when it was first named.
    named_during: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    /// Must be read (again).
    #[default]
    No,
    Present,
    Absent,
}

/// A Secret as a reader finds it.
pub enum Found {
    Present(Arc<SecretContent>),
    /// Gone, but this is what it held.
    Remembered(Arc<SecretContent>),
    Absent,
}

/// How a read begins.
enum Begun<'a> {
    /// With nothing to be read.
    Known(Found),
    /// With how much had been heard by then.
    Read(u64, Reader<'a>),
}

/// A read that is under way; it may be given up.
struct Reader<'a> {
    secrets: &'a Secrets,
    secret: SecretName,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.secrets.lock().get_mut(&self.secret) {
            entry.readers = entry.readers.saturating_sub(1);
        }
    }
}

/// See the module.
pub struct Secrets {
    client: Client,
    named: Mutex<HashMap<SecretName, Named>>,
    /// Counts the lists that watches have begun.
    lists: AtomicU64,
}

impl Secrets {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            named: Mutex::default(),
            lists: AtomicU64::new(0),
        }
    }

    /// A watch begins with a list; its number.
    pub fn list_begins(&self) -> u64 {
        self.lists.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reads these keys of a Secret for an object that names it; from memory if nothing was heard of a change.
    pub async fn read(&self, secret: &SecretName, by: &Key, keys: &[&str]) -> Result<Found, kube::Error> {
        loop {
            let (heard, _reader) = match self.begin(secret, by, keys) {
                Begun::Known(found) => return Ok(found),
                Begun::Read(heard, reader) => (heard, reader),
            };
            let read = Api::<Secret>::namespaced(self.client.clone(), &secret.0)
                .get_opt(&secret.1)
                .await?;
            if let Some(found) = self.accept(secret, keys, heard, read) {
                return Ok(found);
            }
        }
    }

    /// What was read of it last, if anything: for a deletion that must not wait for a permission that is gone.
    pub fn remembered(&self, secret: &SecretName) -> Option<Found> {
        let named = self.lock();
        let content = named.get(secret)?.content.as_ref()?;
        Some(Found::Remembered(Arc::clone(content)))
    }

    fn begin(&self, secret: &SecretName, by: &Key, keys: &[&str]) -> Begun<'_> {
        let mut named = self.lock();
        let entry = named.entry(secret.clone()).or_insert_with(|| Named {
            named_during: self.lists.load(Ordering::Relaxed),
            ..Named::default()
        });
        entry.by.insert(by.clone());
        entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
        let was_asked = |content: &SecretContent| keys.iter().all(|key| content.asked.contains(*key));
        match (entry.known, &entry.content) {
            (Known::Present, Some(content)) if was_asked(content) => Begun::Known(Found::Present(Arc::clone(content))),
            (Known::Absent, content) => Begun::Known(absent(content.as_ref())),
            _ => {
                entry.readers += 1;
                let reader = Reader {
                    secrets: self,
                    secret: secret.clone(),
                };
                Begun::Read(entry.heard, reader)
            }
        }
    }

    /// What was read, unless something else was heard meanwhile: whoever reads was not told of that, and reads again.
    fn accept(&self, secret: &SecretName, keys: &[&str], heard: u64, read: Option<Secret>) -> Option<Found> {
        let mut named = self.lock();
        let entry = named.entry(secret.clone()).or_default();
        let version = read.as_ref().and_then(|read| read.metadata.resource_version.clone());
        if entry.heard != heard && entry.last_heard != version {
            return None;
        }
        let Some(read) = read else {
            entry.known = Known::Absent;
            return Some(absent(entry.content.as_ref()));
        };
        // It may have been forgotten meanwhile.
        entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
        let asked = entry.keys.clone();
        let content = Arc::new(SecretContent {
            uid: read.metadata.uid.unwrap_or_default(),
            resource_version: version.unwrap_or_default(),
            data: read
                .data
                .unwrap_or_default()
                .into_iter()
                .filter(|(key, _)| asked.contains(key))
                // A copy, since a vector that is cut keeps its memory.
                .map(|(key, value)| (key, value.0[..value.0.len().min(LONGEST_VALUE + 1)].to_vec()))
                .collect(),
            asked,
        });
        entry.content = Some(Arc::clone(&content));
        entry.known = Known::Present;
        Some(Found::Present(content))
    }

    /// The object names these Secrets and no others.
    pub fn names_only(&self, by: &Key, secrets: &[SecretName]) {
        let mut named = self.lock();
        for (secret, entry) in named.iter_mut() {
            if !secrets.contains(secret) {
                entry.by.remove(by);
            }
        }
        named.retain(|_, entry| !entry.by.is_empty());
    }

    /// A Secret was seen at this version, or is gone (`None`). Who names it, if that is news.
    pub fn seen(&self, secret: &SecretName, resource_version: Option<&str>) -> Vec<Key> {
        let mut named = self.lock();
        let Some(entry) = named.get_mut(secret) else {
            return Vec::new();
        };
        let is_news = match (entry.known, resource_version, &entry.content) {
            (Known::Present, Some(version), Some(content)) => content.resource_version != version,
            (Known::Absent, None, _) => false,
            _ => true,
        };
        if !is_news {
            return Vec::new();
        }
        entry.heard += 1;
        entry.last_heard = resource_version.map(str::to_owned);
        if entry.known == Known::No && entry.readers > 0 {
            // Nobody has used what was before, and who reads now compares.
            return Vec::new();
        }
        entry.known = if resource_version.is_some() {
            Known::No
        } else {
            Known::Absent
        };
        entry.by.iter().cloned().collect()
    }

    /// Whether any object names it.
    pub fn is_named(&self, secret: &SecretName) -> bool {
        self.lock().contains_key(secret)
    }

    /// A watch began anew with that list, and saw only these: the others are gone. Of what was named while it went on the
    /// list says nothing, since only named ones are noticed as they pass; what changes after it began the watch tells.
    pub fn saw_all(&self, in_namespace: Option<&str>, list: u64, seen: &HashSet<SecretName>) -> Vec<Key> {
        let unseen: Vec<SecretName> = {
            let named = self.lock();
            let watched = named
                .iter()
                .filter(|(secret, _)| in_namespace.is_none_or(|namespace| secret.0 == namespace));
            let judged = watched.filter(|(_, entry)| entry.named_during < list);
            let unseen = judged.filter(|(secret, _)| !seen.contains(*secret));
            unseen.map(|(secret, _)| secret.clone()).collect()
        };
        unseen.iter().flat_map(|secret| self.seen(secret, None)).collect()
    }

    /// Asks for each Secret that is named in a namespace, or anywhere, whether it has changed. Who names one that has.
    pub async fn look_again(&self, in_namespace: Option<&str>) -> Vec<Key> {
        let named: Vec<SecretName> = {
            let named = self.lock();
            let watched = named.keys().cloned();
            let is_there = |secret: &SecretName| in_namespace.is_none_or(|namespace| secret.0 == namespace);
            watched.filter(is_there).collect()
        };
        let mut news = Vec::new();
        for secret in named {
            let api = Api::<Secret>::namespaced(self.client.clone(), &secret.0);
            match api.get_metadata_opt(&secret.1).await {
                Ok(found) => {
                    let version = found.and_then(|found| found.metadata.resource_version);
                    news.extend(self.seen(&secret, version.as_deref()));
                }
                // Whoever needs it next is told.
                Err(_) => self.forget_what_was_read(&secret),
            }
        }
        news
    }

    fn forget_what_was_read(&self, secret: &SecretName) {
        if let Some(entry) = self.lock().get_mut(secret) {
            entry.known = Known::No;
        }
    }

    /// Nothing is heard of changes (no right to watch): read again at the next need.
    pub fn distrust(&self) {
        for entry in self.lock().values_mut() {
            entry.known = Known::No;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretName, Named>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn absent(content: Option<&Arc<SecretContent>>) -> Found {
    content.map_or(Found::Absent, |content| Found::Remembered(Arc::clone(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_says_nothing_of_a_secret_that_was_named_while_it_went_on() {
        let secrets = nobodys();
        let of = |name: &str| ("a".to_owned(), name.to_owned());
        let key = Key {
            kind: "CustomerGateway",
            namespace: "a".to_owned(),
            name: "office".to_owned(),
        };
        // The reads fail, but from then on the Secrets are named.
        assert!(secrets.read(&of("before"), &key, &["password"]).await.is_err());
        let list = secrets.list_begins();
        assert!(secrets.read(&of("meanwhile"), &key, &["password"]).await.is_err());
        assert_eq!(
            secrets.saw_all(Some("a"), list, &HashSet::new()),
            std::slice::from_ref(&key)
        );
        assert!(matches!(
            secrets.read(&of("before"), &key, &["password"]).await,
            Ok(Found::Absent)
        ));
        assert!(
            secrets.read(&of("meanwhile"), &key, &["password"]).await.is_err(),
            "it is still asked for"
        );
        // The next list tells of both.
        let next = secrets.list_begins();
        assert_eq!(
            secrets.saw_all(Some("a"), next, &HashSet::new()),
            std::slice::from_ref(&key)
        );
        assert!(matches!(
            secrets.read(&of("meanwhile"), &key, &["password"]).await,
            Ok(Found::Absent)
        ));
    }

    /// A world without an apiserver: what is read is said by the test.
    fn nobodys() -> Secrets {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nobody = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        Secrets::new(Client::try_from(nobody).unwrap())
    }

    fn at_version(version: &str) -> Option<Secret> {
        let secret = serde_json::json!({"metadata": {"resourceVersion": version}, "data": {"password": ""}});
        Some(serde_json::from_value(secret).unwrap())
    }

    #[tokio::test]
    async fn what_was_read_is_remembered_when_nothing_can_be_read_any_more() {
        let (secrets, secret) = (nobodys(), ("a".to_owned(), "s".to_owned()));
        let key = Key {
            kind: "CustomerGateway",
            namespace: "a".to_owned(),
            name: "office".to_owned(),
        };
        assert!(secrets.read(&secret, &key, &["password"]).await.is_err());
        assert!(secrets.remembered(&secret).is_none());
        assert!(secrets.accept(&secret, &["password"], 0, at_version("7")).is_some());
        secrets.distrust();
        assert!(secrets.read(&secret, &key, &["password"]).await.is_err());
        assert!(matches!(secrets.remembered(&secret), Some(Found::Remembered(_))));
    }

    #[tokio::test]
    async fn what_the_watch_tells_while_it_is_read_is_no_news_if_the_reader_sees_it() {
        let (secrets, secret) = (nobodys(), ("a".to_owned(), "s".to_owned()));
        let key = Key {
            kind: "VpnUser",
            namespace: "a".to_owned(),
            name: "alice".to_owned(),
        };
        let begin = || match secrets.begin(&secret, &key, &["password"]) {
            Begun::Read(heard, reader) => (heard, reader),
            Begun::Known(_) => panic!("it must be read"),
        };
        let accepts = |heard, read| secrets.accept(&secret, &["password"], heard, read).is_some();

        let (heard, reader) = begin();
        assert_eq!(secrets.seen(&secret, Some("7")), []);
        assert!(!accepts(heard, at_version("6")), "there is a newer one");
        assert!(!accepts(heard, None), "it is there");
        drop(reader);
        let (heard, reader) = begin();
        assert_eq!(secrets.seen(&secret, Some("8")), []);
        assert!(accepts(heard, at_version("8")));
        drop(reader);
        // It is known now: the same is no news, another one is.
        assert_eq!(secrets.seen(&secret, Some("8")), []);
        assert_eq!(secrets.seen(&secret, Some("9")), std::slice::from_ref(&key));
        // A read that is given up promises nothing.
        drop(begin());
        assert_eq!(secrets.seen(&secret, Some("10")), std::slice::from_ref(&key));
        let (heard, _reader) = begin();
        assert_eq!(secrets.seen(&secret, None), []);
        assert!(!accepts(heard, at_version("10")), "it is gone");
        assert!(accepts(heard, None));
        assert_eq!(secrets.seen(&secret, None), []);
        assert_eq!(secrets.seen(&secret, Some("11")), [key]);
    }
}

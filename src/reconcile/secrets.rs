//! The Secrets that objects name: read when needed, kept only while named and only as far as they are used, followed by
//! their metadata alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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

/// See the module.
pub struct Secrets {
    client: Client,
    named: Mutex<HashMap<SecretName, Named>>,
}

impl Secrets {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            named: Mutex::default(),
        }
    }

    /// Reads these keys of a Secret for an object that names it; from memory if nothing was heard of a change.
    pub async fn read(&self, secret: &SecretName, by: &Key, keys: &[&str]) -> Result<Found, kube::Error> {
        let heard = {
            let mut named = self.lock();
            let entry = named.entry(secret.clone()).or_default();
            entry.by.insert(by.clone());
            let is_kept = keys.iter().all(|key| entry.keys.contains(*key));
            entry.keys.extend(keys.iter().map(|key| (*key).to_owned()));
            match (entry.known, &entry.content) {
                (Known::Present, Some(content)) if is_kept => return Ok(Found::Present(Arc::clone(content))),
                (Known::Absent, content) => return Ok(absent(content.as_ref())),
                _ => entry.heard,
            }
        };
        let read = Api::<Secret>::namespaced(self.client.clone(), &secret.0)
            .get_opt(&secret.1)
            .await?;
        let mut named = self.lock();
        let entry = named.entry(secret.clone()).or_default();
        let is_latest = entry.heard == heard;
        let Some(read) = read else {
            if is_latest {
                entry.known = Known::Absent;
            }
            return Ok(absent(entry.content.as_ref()));
        };
        let content = Arc::new(SecretContent {
            uid: read.metadata.uid.unwrap_or_default(),
            resource_version: read.metadata.resource_version.unwrap_or_default(),
            data: read
                .data
                .unwrap_or_default()
                .into_iter()
                .filter(|(key, _)| entry.keys.contains(key))
                // A copy, since a vector that is cut keeps its memory.
                .map(|(key, value)| (key, value.0[..value.0.len().min(LONGEST_VALUE + 1)].to_vec()))
                .collect(),
        });
        entry.content = Some(Arc::clone(&content));
        if is_latest {
            entry.known = Known::Present;
        }
        Ok(Found::Present(content))
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

    /// A watch began anew and saw only these: the others are gone.
    pub fn saw_all(&self, in_namespace: Option<&str>, seen: &HashSet<SecretName>) -> Vec<Key> {
        let unseen: Vec<SecretName> = {
            let named = self.lock();
            let watched = named
                .keys()
                .filter(|secret| in_namespace.is_none_or(|namespace| secret.0 == namespace));
            watched.filter(|secret| !seen.contains(*secret)).cloned().collect()
        };
        unseen.iter().flat_map(|secret| self.seen(secret, None)).collect()
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

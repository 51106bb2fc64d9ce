//! The key of the password digests in status. A plain hash would allow guessing the password. An HMAC with a random key
//! does not, unless a reader of objects can also read this Secret.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use rand::RngExt;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretSlice, SecretString};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::OnceCell;
use tracing::{info, warn};

/// Appended to the Lease's name.
const SUFFIX: &str = "-digest-key";

const DATA_KEY: &str = "key";

const KEY_LENGTH: usize = 32;

/// The block of SHA-256, in bytes.
const BLOCK_LENGTH: usize = 64;

/// The key's id is derived from this. No digest has this input: read as a length, its first 8 bytes exceed any value.
const ID_TEXT: &[u8] = b"vpn-operator: id of the digest key";

/// Marks a Secret that a key was written to: an empty Secret without it was never filled.
const FILLED_ANNOTATION: &str = "vpn.huaweicloud.com/digest-key-written";

const DESCRIPTION_ANNOTATION: &str = "kubernetes.io/description";

const DESCRIPTION: &str = "The key of the digests by which vpn-operator detects whether a password has changed since \
     it was last sent. Without it no password is lost, and none is sent again: values count as unchanged unless the \
     resourceVersion of their Secret has moved.";

/// Of several replicas that create it at once, one wins. More attempts are needed only if it is deleted repeatedly.
const ATTEMPTS: usize = 5;

/// The key, for the life of the process.
#[derive(Debug)]
pub struct DigestKey {
    key: SecretBox<[u8; KEY_LENGTH]>,
}

impl DigestKey {
    fn random() -> Self {
        Self {
            key: SecretBox::init_with_mut(|key: &mut [u8; KEY_LENGTH]| rand::rng().fill(key)),
        }
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let bytes = SecretSlice::from(bytes);
        if bytes.expose_secret().len() != KEY_LENGTH {
            return None;
        }
        let mut key = SecretBox::<[u8; KEY_LENGTH]>::default();
        key.expose_secret_mut().copy_from_slice(bytes.expose_secret());
        Some(Self { key })
    }

    /// Identifies this key in this context, in 8 hex digits. Only digests of the same key and context are compared.
    pub fn id(&self, context: &str) -> String {
        let mut mac = self.mac();
        mac.update(ID_TEXT);
        mac.update(context.as_bytes());
        let mut id = lower_hex(&mac.finalize().into_bytes());
        id.truncate(8);
        id
    }

    /// HMAC-SHA256 of the value, in hex. Equal values in different contexts have different digests.
    pub fn digest(&self, context: &str, value: &SecretString) -> String {
        let mut mac = self.mac();
        for part in [context, value.expose_secret()] {
            // Each part follows its length, so that different pairs never give the same input.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        lower_hex(&mac.finalize().into_bytes())
    }

    fn mac(&self) -> Hmac<Sha256> {
        // HMAC fills up a short key with zeros. This is done here since `new`, unlike `new_from_slice`, cannot fail.
        let mut padded = SecretBox::new(Box::new([0; BLOCK_LENGTH]));
        padded.expose_secret_mut()[..KEY_LENGTH].copy_from_slice(self.key.expose_secret());
        Hmac::new(padded.expose_secret().into())
    }

    fn data(&self) -> ByteString {
        ByteString(self.key.expose_secret().to_vec())
    }
}

/// Where the key is kept: a Secret beside the operator's Lease.
pub struct DigestKeys {
    api: Api<Secret>,
    namespace: String,
    /// Of the Secret.
    name: String,
    key: OnceCell<Arc<DigestKey>>,
}

impl DigestKeys {
    /// For the Secret beside the Lease `name` of `namespace`. Nothing is read before [`DigestKeys::get`].
    pub fn new(client: Client, namespace: String, name: String) -> Self {
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name: name + SUFFIX,
            key: OnceCell::new(),
        }
    }

    /// Returns the key: read at first need, created if missing, and kept. Concurrent callers share one attempt.
    pub async fn get(&self) -> Result<Arc<DigestKey>, kube::Error> {
        self.key.get_or_try_init(|| self.read_or_make()).await.cloned()
    }

    /// Namespace and name of the Secret.
    pub fn secret(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    async fn read_or_make(&self) -> Result<Arc<DigestKey>, kube::Error> {
        let mut attempts_left = ATTEMPTS;
        loop {
            attempts_left -= 1;
            let found = self.api.get_opt(&self.name).await?;
            let is_there = found.is_some();
            let made = match found {
                None => self.create().await,
                Some(mut secret) => match stored_key(&mut secret) {
                    Some(key) => return Ok(Arc::new(key)),
                    None => self.overwrite(&secret).await,
                },
            };
            match made {
                Ok(key) => return Ok(Arc::new(key)),
                // Another replica was faster, and its key counts. A 404 on creation means no namespace.
                Err(kube::Error::Api(status))
                    if attempts_left > 0 && (status.code == 409 || (status.code == 404 && is_there)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn create(&self) -> Result<DigestKey, kube::Error> {
        let key = DigestKey::random();
        let ours = |name: &str| (format!("app.kubernetes.io/{name}"), "vpn-operator".to_owned());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(BTreeMap::from([ours("name"), ours("managed-by")])),
                annotations: Some(BTreeMap::from([
                    (DESCRIPTION_ANNOTATION.to_owned(), DESCRIPTION.to_owned()),
                    (FILLED_ANNOTATION.to_owned(), "true".to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(BTreeMap::from([(DATA_KEY.to_owned(), key.data())])),
            ..Secret::default()
        };
        self.api.create(&PostParams::default(), &secret).await?;
        info!(namespace = self.namespace, secret = self.name, "created the digest key");
        Ok(key)
    }

    /// Writes a new key into a Secret without a valid one, in exactly the version that was read.
    async fn overwrite(&self, secret: &Secret) -> Result<DigestKey, kube::Error> {
        let key = DigestKey::random();
        let had_one = had_key(secret);
        let patch = json!({
            "metadata": {
                "resourceVersion": secret.metadata.resource_version,
                "annotations": { FILLED_ANNOTATION: "true" },
            },
            "data": { DATA_KEY: key.data() },
        });
        self.api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        if !had_one {
            info!(namespace = self.namespace, secret = self.name, "created the digest key");
            return Ok(key);
        }
        warn!(
            namespace = self.namespace,
            secret = self.name,
            "the digest key was missing from its Secret or not {KEY_LENGTH} bytes long; a new one was written, and \
             passwords count as unchanged unless the resourceVersion of their Secret has moved"
        );
        Ok(key)
    }
}

/// Whether the Secret has held a key before: the chart installs an empty one.
fn had_key(secret: &Secret) -> bool {
    let annotations = secret.metadata.annotations.as_ref();
    let is_filled = annotations.is_some_and(|annotations| annotations.contains_key(FILLED_ANNOTATION));
    let holds_data = secret.data.as_ref().is_some_and(|data| !data.is_empty());
    is_filled || holds_data
}

fn stored_key(secret: &mut Secret) -> Option<DigestKey> {
    DigestKey::from_bytes(secret.data.as_mut()?.remove(DATA_KEY)?.0)
}

/// Two digits per byte.
pub(crate) fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn counting_up() -> DigestKey {
        DigestKey::from_bytes((0..32).collect()).expect("32 bytes")
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn id_and_digest_match_another_implementation() {
        let key = counting_up();
        assert_eq!(key.id("team-a/anna"), "1caf95c5");
        assert_eq!(
            key.digest("team-a/anna", &secret("correct horse")),
            "b5491b5cbb1815e59bc88a79b98bff69a5d6e819195ef9f27109e05a28c7f76f"
        );
    }

    #[test]
    fn a_digest_depends_on_key_context_value_and_their_boundary() {
        let key = counting_up();
        let other = DigestKey::from_bytes(vec![7; 32]).expect("32 bytes");
        let digests = HashSet::from([
            key.digest("anna", &secret("horse")),
            key.digest("ann", &secret("ahorse")),
            key.digest("annahorse", &secret("")),
            key.digest("", &secret("annahorse")),
            key.digest("anna", &secret("Horse")),
            other.digest("anna", &secret("horse")),
        ]);
        assert_eq!(digests.len(), 6);
        assert_eq!(
            key.digest("anna", &secret("horse")),
            counting_up().digest("anna", &secret("horse"))
        );
        let ids = HashSet::from([key.id("anna"), key.id("ann"), other.id("anna")]);
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn only_32_bytes_are_accepted_as_key() {
        for length in [0, 1, 16, 31, 33, 64] {
            assert!(DigestKey::from_bytes(vec![1; length]).is_none(), "{length}");
        }
        let with = |data: Option<BTreeMap<String, ByteString>>| Secret {
            data,
            ..Secret::default()
        };
        let named = |name: &str| Some(BTreeMap::from([(name.to_owned(), ByteString(vec![1; 32]))]));
        assert!(stored_key(&mut with(None)).is_none());
        assert!(stored_key(&mut with(named("token"))).is_none());
        assert!(stored_key(&mut with(named(DATA_KEY))).is_some());
    }

    #[test]
    fn only_a_secret_marked_as_filled_can_have_lost_its_key() {
        let mut secret = Secret::default();
        assert!(!had_key(&secret), "as the chart installs it");
        secret.data = Some(BTreeMap::new());
        assert!(!had_key(&secret));
        secret.data = Some(BTreeMap::from([("key".to_owned(), ByteString(vec![1; 16]))]));
        assert!(had_key(&secret));
        secret.data = None;
        secret.metadata.annotations = Some(BTreeMap::from([(FILLED_ANNOTATION.to_owned(), "true".to_owned())]));
        assert!(had_key(&secret), "emptied by another client");
    }

    #[test]
    fn random_keys_differ_and_a_stored_key_reads_back() {
        let (one, other) = (DigestKey::random(), DigestKey::random());
        assert_ne!(one.data(), other.data());
        let stored = DigestKey::from_bytes(one.data().0).expect("32 bytes");
        assert_eq!(stored.digest("a", &secret("b")), one.digest("a", &secret("b")));
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert_eq!(
            format!("{:?}", counting_up()),
            "DigestKey { key: SecretBox<[u8; 32]>([REDACTED]) }"
        );
    }
}

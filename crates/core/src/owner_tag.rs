//! The owner tag: the CR that a cloud resource belongs to, written on the resource itself.

use std::fmt;

use sha2::{Digest, Sha256};

/// Longest value of a tag in the cloud, in characters.
const MAX_VALUE: usize = 255;

/// Hex digits of the SHA-256 that replace the end of a truncated name.
const HASH_DIGITS: usize = 8;

/// The CR that a resource belongs to, according to its tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// UID of the CR.
    pub uid: String,
    /// `--cluster-name`; empty if there was none.
    pub cluster: String,
    /// Namespace of the CR.
    pub namespace: String,
    /// Name of the CR, truncated if the tag would be too long.
    pub name: String,
}

impl Owner {
    /// Creates the owner tag of a CR.
    pub fn new(uid: &str, cluster: Option<&str>, namespace: &str, name: &str) -> Self {
        let cluster = cluster.unwrap_or_default();
        let room = MAX_VALUE.saturating_sub(uid.len() + cluster.len() + namespace.len() + 3);
        Self {
            uid: uid.to_owned(),
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            name: fit(name, room),
        }
    }

    /// Reads a tag's value; `None` if it is not of the form `uid:cluster:namespace:name`.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.splitn(4, ':');
        let mut next = || parts.next().map(str::to_owned);
        let owner = Self {
            uid: next()?,
            cluster: next()?,
            namespace: next()?,
            name: next()?,
        };
        (!owner.uid.is_empty() && !owner.namespace.is_empty() && !owner.name.is_empty()).then_some(owner)
    }

    /// Whether a CR can have this namespace and name at all: a tag may hold anything.
    pub fn can_exist(&self) -> bool {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = |text: &str| {
            (1..=63).contains(&text.len())
                && text.bytes().all(is_inner)
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        is_label(&self.namespace)
            && (1..=253).contains(&self.name.len())
            && self.name.bytes().all(|byte| is_inner(byte) || byte == b'.')
            && !self.name.starts_with(['.', '-'])
    }

    /// Whether the name may be truncated: a tag with a truncated name has the maximum length.
    pub fn may_be_cut(&self) -> bool {
        self.to_string().len() >= MAX_VALUE
    }

    /// Whether cluster, namespace and name are equal, whatever the uid.
    pub fn same_place(&self, other: &Self) -> bool {
        self.cluster == other.cluster && self.namespace == other.namespace && self.name == other.name
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}:{}:{}",
            self.uid, self.cluster, self.namespace, self.name
        )
    }
}

/// The SHA-256 of a text in lower-case hex digits.
pub(crate) fn hex_sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn fit(name: &str, room: usize) -> String {
    if name.len() <= room {
        return name.to_owned();
    }
    let hash = hex_sha256(name);
    // Names of Kubernetes objects are ASCII, so every byte is a character.
    let kept: String = name.chars().take(room.saturating_sub(HASH_DIGITS)).collect();
    kept + &hash[..HASH_DIGITS]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UID: &str = "7f9c24e8-3b12-4d0c-9a57-1b2c3d4e5f60";

    #[test]
    fn a_tag_parses_to_the_owner_it_was_written_from() {
        let owner = Owner::new(UID, Some("prod"), "team-a", "office.paris");
        assert_eq!(owner.to_string(), format!("{UID}:prod:team-a:office.paris"));
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
    }

    #[test]
    fn an_invalid_tag_value_has_no_owner() {
        for value in ["", "x", "a:b:c", ":prod:team-a:x", "uid:prod::x", "uid:prod:ns:"] {
            assert_eq!(Owner::parse(value), None, "{value}");
        }
    }

    #[test]
    fn an_owner_that_cannot_exist_is_detected() {
        for (value, can_exist) in [
            ("uid:prod:team-a:office.paris", true),
            ("uid::a:b", true),
            ("uid:prod:..:b", false),
            ("uid:prod:a/b:c", false),
            ("uid:prod:A:b", false),
            ("uid:prod:-a:b", false),
            ("uid:prod:a:b/status", false),
            ("uid:prod:a:../../secrets/b", false),
            ("uid:prod:a:b?watch=true", false),
            ("uid:prod:a:..", false),
            ("uid:prod:a:b c", false),
            ("uid:prod:a:b%2f", false),
        ] {
            let owner = Owner::parse(value).expect(value);
            assert_eq!(owner.can_exist(), can_exist, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_tag_fits_the_length_limit_and_distinguishes_names(
            cluster in "[a-z0-9-]{0,32}",
            namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            one in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
            other in "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        ) {
            let cluster = (!cluster.is_empty()).then_some(cluster.as_str());
            let first = Owner::new(UID, cluster, &namespace, &one);
            let second = Owner::new(UID, cluster, &namespace, &other);
            prop_assert!(first.to_string().len() <= MAX_VALUE);
            prop_assert_eq!(Owner::parse(&first.to_string()), Some(first.clone()));
            prop_assert_eq!(first.same_place(&second), one == other);
            prop_assert!(first.can_exist());
            prop_assert!(first.may_be_cut() || first.name == one);
        }
    }
}

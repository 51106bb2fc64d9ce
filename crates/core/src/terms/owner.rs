//! The owner that the tag of a cloud object names.

use crate::cache::Remote;
use crate::owner_tag::Owner;

pub(crate) fn owner_of<R: Remote>(remote: &R, key: &str) -> Option<Owner> {
    remote.tags()?.get(key).and_then(|value| Owner::parse(value))
}

//! A set of ids that nearly always has one member: as a tree each would take 300 bytes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Ids of one key of an index, in order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdSet {
    /// The usual case.
    One(Arc<str>),
    /// At least two.
    Several(BTreeSet<Arc<str>>),
}

impl IdSet {
    /// The members.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, several) = match self {
            Self::One(id) => (Some(id), None),
            Self::Several(ids) => (None, Some(ids.iter())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Adds an id to the set of a key.
    pub(crate) fn insert_into(index: &mut HashMap<Box<str>, Self>, key: Box<str>, id: &Arc<str>) {
        let set = index.entry(key).or_insert_with(|| Self::One(Arc::clone(id)));
        match set {
            Self::One(one) if one == id => {}
            Self::One(one) => *set = Self::Several([Arc::clone(one), Arc::clone(id)].into()),
            Self::Several(ids) => {
                ids.insert(Arc::clone(id));
            }
        }
    }

    /// Removes an id from the set of a key.
    pub(crate) fn remove_from(index: &mut HashMap<Box<str>, Self>, key: &str, id: &str) {
        let Some(set) = index.get_mut(key) else { return };
        match set {
            Self::One(one) if **one == *id => {
                index.remove(key);
            }
            Self::One(_) => {}
            Self::Several(ids) => {
                ids.remove(id);
                if ids.len() == 1
                    && let Some(left) = ids.pop_first()
                {
                    *set = Self::One(left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_the_members_of_a_tree(steps in prop::collection::vec((any::<bool>(), 0..3_u8, 0..4_u8), 0..40)) {
            let mut index = HashMap::new();
            let mut expected: HashMap<Box<str>, BTreeSet<String>> = HashMap::new();
            for (adds, key, id) in steps {
                let (key, id): (Box<str>, String) = (key.to_string().into(), id.to_string());
                if adds {
                    IdSet::insert_into(&mut index, key.clone(), &id.as_str().into());
                    expected.entry(key).or_default().insert(id);
                } else {
                    IdSet::remove_from(&mut index, &key, &id);
                    if let Some(ids) = expected.get_mut(&key) {
                        ids.remove(&id);
                    }
                    expected.retain(|_, ids| !ids.is_empty());
                }
                let found: HashMap<Box<str>, BTreeSet<String>> = index
                    .iter()
                    .map(|(key, ids)| (key.clone(), ids.iter().map(ToString::to_string).collect()))
                    .collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}

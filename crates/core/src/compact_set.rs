//! Sets of an index that nearly always have one member: as a tree or a table each would take hundreds of bytes.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// The members of one key of an index, in order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CompactSet<T> {
    /// The usual case.
    One(T),
    /// At least two.
    #[expect(
        clippy::box_collection,
        reason = "unboxed, it would make each entry of the indexes larger by half"
    )]
    Several(Box<BTreeSet<T>>),
}

impl<T: Ord + Clone> CompactSet<T> {
    /// The members.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, several) = match self {
            Self::One(member) => (Some(member), None),
            Self::Several(members) => (None, Some(members.iter())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Adds a member to the set of a key.
    pub(crate) fn insert_into<Q: Eq + Hash>(index: &mut HashMap<Q, Self>, key: Q, member: &T) {
        let set = index.entry(key).or_insert_with(|| Self::One(member.clone()));
        match set {
            Self::One(one) if one == member => {}
            Self::One(one) => *set = Self::Several(Box::new([one.clone(), member.clone()].into())),
            Self::Several(members) => {
                members.insert(member.clone());
            }
        }
    }

    /// Removes a member from the set of a key.
    pub(crate) fn remove_from<Q, B, M>(index: &mut HashMap<Q, Self>, key: &B, member: &M)
    where
        Q: Eq + Hash + Borrow<B>,
        B: Eq + Hash + ?Sized,
        T: Borrow<M>,
        M: Ord + ?Sized,
    {
        let Some(set) = index.get_mut(key) else { return };
        match set {
            Self::One(one) if (*one).borrow() == member => {
                index.remove(key);
            }
            Self::One(_) => {}
            Self::Several(members) => {
                members.remove(member);
                if members.len() == 1
                    && let Some(left) = members.pop_first()
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
            let mut index: HashMap<u8, CompactSet<u8>> = HashMap::new();
            let mut expected: HashMap<u8, BTreeSet<u8>> = HashMap::new();
            for (adds, key, member) in steps {
                if adds {
                    CompactSet::insert_into(&mut index, key, &member);
                    expected.entry(key).or_default().insert(member);
                } else {
                    CompactSet::remove_from(&mut index, &key, &member);
                    if let Some(members) = expected.get_mut(&key) {
                        members.remove(&member);
                    }
                    expected.retain(|_, members| !members.is_empty());
                }
                let found: HashMap<u8, BTreeSet<u8>> =
                    index.iter().map(|(key, members)| (*key, members.iter().copied().collect())).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}

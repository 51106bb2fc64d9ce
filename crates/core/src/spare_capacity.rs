//! Tables that were large once, as after a start, and are nearly empty at rest: they give their memory back.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

/// Smaller tables keep their memory.
const SMALL: usize = 256;

/// Gives back the memory of a table that uses less than an eighth of it. Called after each removal, this costs a constant
/// time on average.
pub fn release<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if is_sparse(table.len(), table.capacity()) {
        table.shrink_to(table.len() * 2);
    }
}

/// The same for a set.
pub fn release_set<T: Eq + Hash, S: BuildHasher>(set: &mut HashSet<T, S>) {
    if is_sparse(set.len(), set.capacity()) {
        set.shrink_to(set.len() * 2);
    }
}

fn is_sparse(length: usize, capacity: usize) -> bool {
    capacity > SMALL && length < capacity / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_empties_keeps_its_entries_and_gives_its_memory_back() {
        let mut table: HashMap<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
        for number in 0..9_999 {
            table.remove(&number);
            release(&mut table);
            assert!(table.len() >= 100 || table.capacity() < 2_000, "{}", table.capacity());
        }
        assert_eq!(table, [(9_999, 9_999)].into());
        assert!(table.capacity() <= SMALL, "{}", table.capacity());
    }
}

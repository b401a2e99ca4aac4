//! Lays out the service table: a perfect hash by hash and displace (Belazzouzi, Botelho and
//! Dietzfelbinger, ESA 2009), so that the datapath finds a key with one comparison.

use lb_common::{Entry, TableWord, hash, limits};

/// A laid-out table, to be written into the half that nobody reads.
#[derive(Clone, Debug)]
pub struct Table {
    /// What puts it in force.
    pub word: TableWord,
    /// In the order of their indices, from the half's first on.
    pub displacements: Vec<u32>,
    /// In the order of their indices, from the half's first on; unused ones are zero.
    pub entries: Vec<Entry>,
}

/// Displacements that are tried for a bucket before another seed is.
const DISPLACEMENTS_TRIED: u32 = 1 << 12;

/// Seeds that are tried. Tables are at most half full and buckets small, so that each try all but
/// always succeeds; what is left of failing a hundred times is beyond naming.
const SEEDS_TRIED: u32 = 100;

impl Table {
    /// Lays out entries with different keys, at most [`limits::SERVICE_KEYS`], for this half.
    /// `None` if no seed fits, which does not happen.
    #[must_use]
    pub fn lay_out(entries: &[Entry], half: u32) -> Option<Self> {
        let size = (entries.len() * 2).next_power_of_two().max(4).trailing_zeros();
        let buckets = (entries.len() / 3).next_power_of_two().max(1).trailing_zeros();
        assert!(entries.len() <= limits::SERVICE_KEYS as usize);
        (1..=SEEDS_TRIED).find_map(|seed| {
            let displacements = buckets.min(limits::TABLE_DISPLACEMENTS.trailing_zeros());
            Self::with_seed(entries, TableWord::new(seed, size, displacements, half))
        })
    }

    fn with_seed(entries: &[Entry], word: TableWord) -> Option<Self> {
        let first_entry = word.half() * limits::TABLE_ENTRIES;
        let first_bucket = word.half() * limits::TABLE_DISPLACEMENTS;
        let mut buckets = vec![Vec::new(); word.displacements() as usize];
        for entry in entries {
            let hash = hash::service(entry.key, word.seed());
            buckets[(word.displacement_index(hash) - first_bucket) as usize].push((hash, entry));
        }
        let mut table = Self {
            word,
            displacements: vec![0; word.displacements() as usize],
            entries: vec![Entry::default(); word.entries() as usize],
        };
        let mut order: Vec<usize> = (0..buckets.len()).collect();
        order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));
        let mut positions = Vec::new();
        for bucket in order {
            let keys = &buckets[bucket];
            let displacement = (0..DISPLACEMENTS_TRIED).find(|displacement| {
                positions.clear();
                keys.iter().all(|(hash, _)| {
                    let position = (word.entry_index(*hash, *displacement) - first_entry) as usize;
                    let free = table.entries[position].key == 0 && !positions.contains(&position);
                    positions.push(position);
                    free
                })
            })?;
            table.displacements[bucket] = displacement;
            for (position, (_, entry)) in positions.iter().zip(keys) {
                table.entries[*position] = **entry;
            }
        }
        Some(table)
    }

    /// The entry that the datapath finds for a key.
    #[must_use]
    pub fn find(&self, key: u64) -> Option<&Entry> {
        let hash = hash::service(key, self.word.seed());
        let bucket = self.word.displacement_index(hash) % limits::TABLE_DISPLACEMENTS;
        let displacement = self.displacements[bucket as usize];
        let position = self.word.entry_index(hash, displacement) % limits::TABLE_ENTRIES;
        self.entries.get(position as usize).filter(|entry| entry.key == key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lb_common::{Address as _, V4};
    use proptest::prelude::*;

    use super::*;

    fn entries(keys: impl IntoIterator<Item = u64>) -> Vec<Entry> {
        keys.into_iter().map(|key| Entry { key, ring: key as u32, ..Entry::default() }).collect()
    }

    proptest! {
        #[test]
        fn every_key_is_found_and_no_other(
            keys in prop::collection::btree_set(1u64.., 0..300),
            strangers in prop::collection::vec(1u64.., 100),
        ) {
            let table = Table::lay_out(&entries(keys.iter().copied()), 1).expect("a layout");
            for key in &keys {
                prop_assert_eq!(table.find(*key).map(|entry| entry.key), Some(*key));
            }
            for stranger in strangers {
                prop_assert_eq!(table.find(stranger).is_some(), keys.contains(&stranger));
            }
        }
    }

    #[test]
    fn a_full_table_of_neighbouring_addresses_and_ports_is_laid_out() {
        let keys: BTreeSet<u64> = (0..limits::SERVICE_KEYS)
            .map(|n| {
                let address = V4::new((0xc000_0200 + n / 4).to_be_bytes());
                address.key(6, 80 + (n % 4) as u16)
            })
            .collect();
        assert_eq!(keys.len(), limits::SERVICE_KEYS as usize);
        let table = Table::lay_out(&entries(keys.iter().copied()), 0).expect("a layout");
        assert!(keys.iter().all(|key| table.find(*key).is_some()));
    }
}

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

/// What spreads the displacements that are tried over all 32 bits (the golden ratio).
const SPREAD: u32 = 0x9e37_79b1;

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
            let hash = hash::service(entry.mixed(), word.0);
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
            let mut tried = (0..DISPLACEMENTS_TRIED).map(|number| number.wrapping_mul(SPREAD));
            let displacement = tried.find(|displacement| {
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

    /// The entry that the datapath finds for the service of this one.
    #[must_use]
    pub fn find(&self, of: &Entry) -> Option<&Entry> {
        let hash = hash::service(of.mixed(), self.word.0);
        let bucket = self.word.displacement_index(hash) % limits::TABLE_DISPLACEMENTS;
        let displacement = self.displacements[bucket as usize];
        let position = self.word.entry_index(hash, displacement) % limits::TABLE_ENTRIES;
        let entry = self.entries.get(position as usize)?;
        (entry.service == of.service && entry.address == of.address).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{Address, V4, V6};
    use proptest::prelude::*;

    use super::*;

    fn entry(key: u64) -> Entry {
        Entry { key, service: key, ring: key as u32, ..Entry::default() }
    }

    fn entries(keys: impl IntoIterator<Item = u64>) -> Vec<Entry> {
        keys.into_iter().map(entry).collect()
    }

    /// The entry of an address's TCP port.
    fn of(address: impl Address, words: [u64; 2], port: u16) -> Entry {
        let (key, service) = (address.key(6, port), address.service(6, port));
        Entry { key, service, address: words, ..Entry::default() }
    }

    proptest! {
        #[test]
        fn every_service_is_found_and_no_other(
            keys in prop::collection::btree_set(1u64.., 0..300),
            strangers in prop::collection::vec(1u64.., 100),
        ) {
            let table = Table::lay_out(&entries(keys.iter().copied()), 1).expect("a layout");
            for key in &keys {
                let found = table.find(&entry(*key)).map(|entry| entry.key);
                prop_assert_eq!(found, Some(*key));
            }
            for stranger in strangers {
                prop_assert_eq!(table.find(&entry(stranger)).is_some(), keys.contains(&stranger));
            }
        }
    }

    #[test]
    fn full_tables_of_neighbouring_addresses_and_ports_are_laid_out() {
        let numbers = || (0..limits::SERVICE_KEYS).map(|n| (n / 4, 80 + (n % 4) as u16));
        let v4 =
            numbers().map(|(n, port)| of(V4::new((0xc000_0200 + n).to_be_bytes()), [0; 2], port));
        // The last bytes of the address count on, or those of the network.
        let v6 = |shift: u32| {
            numbers().map(move |(n, port)| {
                let first = 0x2001_0db8_0000_0000_0000_0000_0000_0010_u128;
                let address = V6::new((first + (u128::from(n) << shift)).to_be_bytes());
                of(address, address.0, port)
            })
        };
        for all in [v4.collect::<Vec<Entry>>(), v6(0).collect(), v6(64).collect(), v6(48).collect()]
        {
            let table = Table::lay_out(&all, 0).expect("a layout");
            assert!(all.iter().all(|entry| table.find(entry) == Some(entry)));
        }
    }
}

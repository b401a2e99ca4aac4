//! The service table of a former layout, which this version's programs cannot read: they find services by another
//! hash. What stands in it is laid out anew, before they are put in force; rings, reals and flows are shared.

use std::{collections::BTreeMap, path::Path};

use aya::maps::MapData;
use lb_common::{Address as _, Entry, TableWord, V6, limits};

use super::{error::Error, mapped::Mapped};

/// The entries in force in the table that is pinned in a former layout's directory.
///
/// # Errors
///
/// Where the maps are not what former versions have pinned.
pub(super) fn entries(dir: &Path) -> Result<Vec<Entry>, Error> {
    let table = TableWord(map(dir, "TABLE", 1)?.load(0));
    if !table.is_written() {
        return Ok(Vec::new());
    }
    let words = 2 * limits::TABLE_ENTRIES as usize * Entry::WORDS;
    let entries = map(dir, "ENTRIES", words)?;
    let first = table.half() * limits::TABLE_ENTRIES;
    let all = (first..first + table.entries()).map(|index| {
        let first = index as usize * Entry::WORDS;
        Entry::from_words(std::array::from_fn(|offset| entries.load(first + offset)))
    });
    Ok(translate(all.filter(|entry| entry.key != 0).collect()))
}

fn map(dir: &Path, name: &str, words: usize) -> Result<Mapped, Error> {
    let path = dir.join(name);
    let map = MapData::from_pin(&path)
        .map_err(|error| Error::kernel(format!("pinned map {path:?}"), &error))?;
    let mapped = Mapped::of(&map, name)?;
    if mapped.words() < words {
        let detail = format!("has {} words instead of {words}", mapped.words());
        return Err(Error::Kernel { what: format!("pinned map {path:?}"), detail });
    }
    Ok(mapped)
}

/// Says of each entry which service it is of, which former versions have said in its key only. Of IPv6 that is
/// a hash, so all protocols and ports are tried; what is left then is nothing that a former version has written.
fn translate(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut v6: BTreeMap<[u64; 2], BTreeMap<u64, u64>> = BTreeMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.service == 0) {
        if entry.address == [0; 2] {
            entry.service = entry.key;
        } else {
            v6.entry(entry.address).or_default().insert(entry.key, 0);
        }
    }
    for (address, services) in &mut v6 {
        find(V6(*address), services);
    }
    for entry in entries.iter_mut().filter(|entry| entry.service == 0) {
        let services = v6.get(&entry.address);
        entry.service = services.and_then(|all| all.get(&entry.key)).copied().unwrap_or_default();
    }
    entries.retain(|entry| entry.service != 0);
    entries
}

/// Finds the services of one address by their keys.
fn find(address: V6, services: &mut BTreeMap<u64, u64>) {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let mut left = services.len();
    let ports = |protocol| (0..=u16::MAX).map(move |port| (protocol, port));
    for (protocol, port) in [(0, 0)].into_iter().chain(ports(TCP)).chain(ports(UDP)) {
        if left == 0 {
            return;
        }
        if let Some(service) = services.get_mut(&address.key(protocol, port)) {
            *service = address.service(protocol, port);
            left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::V4;

    use super::*;

    #[test]
    fn services_are_found_by_the_keys_of_former_versions() {
        let (v4, v6) = (V4::new([192, 0, 2, 10]), V6([0x0123_4567_89ab_cdef, 0x10]));
        let of = |address: [u64; 2], key: u64, service: u64| {
            let entry = Entry { key, address, ring: 16, ring_len: 1021, ..Entry::default() };
            (entry, Entry { service, ..entry })
        };
        let known = [
            of([0; 2], v4.key(6, 80), v4.service(6, 80)),
            of([0; 2], v4.key(0, 0), v4.service(0, 0)),
            of(v6.0, v6.key(0, 0), v6.service(0, 0)),
            of(v6.0, v6.key(6, 0), v6.service(6, 0)),
            of(v6.0, v6.key(17, 65_535), v6.service(17, 65_535)),
            // Of this version.
            (of(v6.0, 1, 7).1, of(v6.0, 1, 7).1),
        ];
        let (former, expected): (Vec<Entry>, Vec<Entry>) = known.into_iter().unzip();
        assert_eq!(translate(former), expected);
        assert_eq!(translate(vec![of(v6.0, 12_345, 0).0]), [], "no key of a service");
    }
}

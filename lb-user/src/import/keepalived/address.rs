//! Addresses and ports of virtual and real servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tree::Statement;
use crate::import::Unreadable;

/// The most addresses that a range may have.
const RANGE: u128 = 4096;

/// An address at a place in a statement.
pub(super) fn address(statement: &Statement, index: usize) -> Result<IpAddr, Unreadable> {
    let keyword = statement.keyword();
    let Some(text) = statement.word(index) else {
        return Err(statement
            .wrong(0, format!("{keyword} without an address; write {keyword} 192.0.2.10 80")));
    };
    text.parse().map_err(|_| {
        statement.wrong(
            index,
            format!("\"{text}\" is not an address; write one such as 192.0.2.10 or 2001:db8::10"),
        )
    })
}

/// A port, where there is one; 0 stands for any.
pub(super) fn port(statement: &Statement, index: usize) -> Result<u16, Unreadable> {
    let Some(text) = statement.word(index) else { return Ok(0) };
    text.parse().map_err(|_| {
        statement.wrong(index, format!("\"{text}\" is not a port; write a number from 1 to 65535"))
    })
}

/// One address, or several: `192.0.2.10-12`, `192.0.2.250-192.0.3.5`, `192.0.2.8/29`.
pub(super) fn range(statement: &Statement) -> Result<Vec<IpAddr>, Unreadable> {
    let text = statement.keyword();
    let (first, last) = bounds(text).ok_or_else(|| {
        statement
            .wrong(0, format!("\"{text}\" is neither an address nor a range such as 192.0.2.10-12"))
    })?;
    let (low, high) = (bits(first), bits(last));
    if high < low || high - low >= RANGE || first.is_ipv4() != last.is_ipv4() {
        let message =
            format!("\"{text}\" is not a range of 1 to {RANGE} addresses, the smallest first");
        return Err(statement.wrong(0, message));
    }
    Ok((low..=high).map(|bits| of_bits(bits, first.is_ipv4())).collect())
}

fn bounds(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, length)) = text.split_once('/') {
        return network(first.parse().ok()?, length.parse().ok()?);
    }
    let Some((first, last)) = text.split_once('-') else {
        let alone = text.parse().ok()?;
        return Some((alone, alone));
    };
    let first: IpAddr = first.parse().ok()?;
    let last = match (first, last.parse()) {
        (_, Ok(last)) => last,
        (IpAddr::V4(v4), _) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, last.parse().ok()?).into()
        }
        (IpAddr::V6(v6), _) => {
            let last = u16::from_str_radix(last, 16).ok()?;
            Ipv6Addr::from_bits(v6.to_bits() & !0xffff | u128::from(last)).into()
        }
    };
    Some((first, last))
}

/// From the first to the last machine of a network, as keepalived counts them: all of it.
fn network(first: IpAddr, length: u32) -> Option<(IpAddr, IpAddr)> {
    let size = if first.is_ipv4() { 32 } else { 128 };
    let free = size - Some(length).filter(|length| (1..=size).contains(length))?;
    let mask = (1u128 << free) - 1;
    let low = bits(first) & !mask;
    Some((of_bits(low, first.is_ipv4()), of_bits(low | mask, first.is_ipv4())))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn of_bits(bits: u128, v4: bool) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if v4 => Ipv4Addr::from_bits(bits).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    }
}

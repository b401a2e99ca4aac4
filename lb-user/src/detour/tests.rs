//! From which address a machine is spoken to.

use super::*;

const ETH0: u32 = 2;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn local(text: &str) -> Local {
    let (own, length) = text.split_once('/').expect("a prefix");
    let length = length.parse().expect("a length");
    Local { interface: ETH0, address: address(own), length, usable: true, secondary: false }
}

/// Of these addresses, for a VIP at a real.
fn chosen(locals: &[Local], vip: &str, real: &str) -> Option<IpAddr> {
    let vip = address(vip);
    let detour = Detour { vip, mac: Mac([2, 0, 0, 0, 0, 1]), interface: ETH0 };
    own(locals, &detour, address(real), &BTreeSet::from([vip]))
}

#[test]
fn an_address_in_the_reals_network_is_chosen() {
    let locals =
        ["10.9.0.2/16", "10.0.0.2/24", "10.0.1.2/24", "2001:db8:b::2/64", "2001:db8:a::2/64"]
            .map(local);
    let choose = |vip, real| chosen(&locals, vip, real).map(|own| own.to_string());
    assert_eq!(choose("192.0.2.10", "10.0.0.11").as_deref(), Some("10.0.0.2"));
    assert_eq!(choose("192.0.2.10", "10.0.1.11").as_deref(), Some("10.0.1.2"));
    assert_eq!(choose("2001:db8:2::10", "2001:db8:a::11").as_deref(), Some("2001:db8:a::2"));
    // In none of them, or of the other family: the first.
    assert_eq!(choose("192.0.2.10", "203.0.113.1").as_deref(), Some("10.9.0.2"));
    assert_eq!(choose("2001:db8:2::10", "10.0.0.11").as_deref(), Some("2001:db8:b::2"));
}

#[test]
fn a_vip_a_hosts_address_and_one_that_is_going_are_not_chosen_before_others() {
    let vip = local("192.0.2.10/24");
    let host = local("192.0.2.20/32");
    let going = Local { usable: false, ..local("192.0.2.2/24") };
    let temporary = Local { secondary: true, ..local("192.0.2.3/24") };
    let elsewhere = Local { interface: 3, ..local("192.0.2.4/24") };
    let far = local("10.0.0.2/24");
    let all = [vip, host, going, temporary, elsewhere, far];
    let choose = |locals: &[Local]| chosen(locals, "192.0.2.10", "192.0.2.11");
    assert_eq!(choose(&all), Some(temporary.address));
    let others = [vip, host, going, elsewhere, far];
    assert_eq!(choose(&others), Some(far.address));
    assert_eq!(choose(&[vip, host, going, elsewhere]), Some(host.address));
    assert_eq!(choose(&[vip, going, elsewhere]), None);
}

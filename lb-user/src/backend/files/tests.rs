//! What is printed, to the letter: `golden/FORMAT`. `UPDATE_SNAPSHOTS=1 cargo test -p lb-user --lib
//! backend::files` accepts what is printed now.

use std::{env, fs, io, path::Path};

use super::*;
use crate::model::Ports;

/// Both families, a name, an interface with a dot.
fn setup() -> Setup {
    let vip = |name: Option<&str>, address: &str, port: &str| Vip {
        name: name.map(Into::into),
        address: address.parse().expect("an address"),
        ports: vec![port.parse::<Ports>().expect("a port")],
        reals: vec![],
    };
    Setup {
        vips: vec![
            vip(Some("web"), "192.0.2.10", "tcp/80"),
            vip(None, "2001:db8:2::10", "tcp/80"),
            vip(Some("dns"), "192.0.2.53", "udp/53"),
        ],
        interfaces: vec!["eth0".into(), "eth1.100".into()],
        balancers: vec![],
    }
}

fn printed(setup: &Setup, format: &str) -> String {
    let script = || "#!/bin/sh\n\necho '{{ not a template }}'\n".into();
    text(setup, format.parse().expect("a format"), script)
}

fn compare(name: &str, text: &str) -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/files/golden").join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, text)?;
    }
    assert_eq!(text, fs::read_to_string(&file)?, "{} is not what is printed", file.display());
    Ok(())
}

#[test]
fn every_format_is_printed_as_its_golden_file_has_it() -> io::Result<()> {
    for format in Format::WORDS.iter().filter(|format| **format != "script") {
        compare(format, &printed(&setup(), format))?;
    }
    Ok(())
}

#[test]
fn formats_that_name_interfaces_do_without() -> io::Result<()> {
    let setup = Setup { interfaces: vec![], ..setup() };
    for format in ["sysctl", "systemd", "cloud-init", "windows"] {
        compare(&format!("{format}.any"), &printed(&setup, format))?;
    }
    Ok(())
}

#[test]
fn every_format_but_the_parameters_names_every_vip() {
    for format in Format::WORDS.iter().filter(|format| !["script", "sysctl"].contains(*format)) {
        let text = printed(&setup(), format);
        for vip in setup().vips {
            assert!(text.contains(&vip.address.to_string()), "{format}: {text}");
        }
    }
}

#[test]
fn where_all_vips_are_of_ipv6_nothing_is_said_to_arp() {
    let mut setup = setup();
    setup.vips.retain(|vip| vip.address.is_ipv6());
    for format in Format::WORDS.iter().filter(|format| **format != "script") {
        let text = printed(&setup, format);
        assert!(!text.contains("arp_ignore"), "{format}: {text}");
    }
}

#[test]
fn what_prints_one_file_prints_that_file() {
    for (way, format) in [(Way::Netplan, "netplan"), (Way::NetworkManager, "nmcli")] {
        let [file] = &of(&setup(), way)[..] else { panic!("{way} has one file") };
        assert_eq!(file.text, printed(&setup(), format));
        assert_eq!(file.mode, 0o600, "its program wants it so");
    }
}

#[test]
fn a_name_that_means_something_elsewhere_is_not_printed() {
    let mut setup = setup();
    setup.vips[0].name = Some("a\nEND_OF_FILE\nhalt".into());
    assert!(!embedded(&setup).contains("halt"));
}

#[test]
fn the_script_carries_a_function_for_each_way() {
    let text = embedded(&setup());
    for way in Way::WORDS.iter().chain(&["sysctl"]) {
        assert!(text.contains(&format!("files_{way}() {{\n    \"$1\" '/etc/")), "{way}: {text}");
    }
}

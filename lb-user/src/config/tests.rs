use super::*;
use crate::model::{
    Announce, FlowTables, HashMode, Hooks, OnDeadline, Ports, ProbePrefixes, Protocol, UdpMode,
    XdpChoice,
};

mod access;
mod checks;
mod shortage;

/// What is refused in a text, as `LINE:COLUMN: message` lines.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => "accepted".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

fn with_node(line: &str) -> String {
    format!("[node]\ninterfaces = [\"eth0\"]\n{line}\n")
}

/// The line is the seventh; a VIP "web" is complete without it.
fn with_vip(line: &str) -> String {
    let vip =
        "[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\nports = [\"tcp/80\", \"udp/80\"]\n";
    format!("node.interfaces = [\"eth0\"]\n\n{vip}{line}\n")
}

/// The line is the ninth.
fn with_real(line: &str) -> String {
    with_vip(&format!("[[vip.real]]\naddress = \"10.0.0.11\"\n{line}"))
}

/// The line is the eighth.
fn with_only_in_real(line: &str) -> String {
    with_vip(&format!("[[vip.real]]\n{line}"))
}

/// The line is the fifth.
fn with_address(line: &str) -> String {
    with_vip("").replace("address = \"192.0.2.10\"", line)
}

/// The line is the sixth.
fn with_ports(line: &str) -> String {
    with_vip("").replace("ports = [\"tcp/80\", \"udp/80\"]", line)
}

/// The line is the fourth.
fn with_name(line: &str) -> String {
    with_vip("").replace("name = \"web\"", line)
}

fn with_check(fields: &str) -> String {
    with_vip(&format!("check = {{ {fields} }}"))
}

fn check(text: impl Fn(&str) -> String, table: &[(&str, &str)]) {
    for (line, expected) in table {
        assert_eq!(&refused(&text(line)), expected, "{line}");
    }
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let model = parse(&with_real("")).unwrap();
    let node = &model.node;
    assert_eq!(
        (node.interfaces.as_slice(), node.xdp),
        (["eth0".to_owned()].as_slice(), XdpChoice::Auto)
    );
    assert_eq!(
        [&node.socket, &node.state_dir, &node.pin_dir].map(|path| path.to_str().unwrap()),
        ["/run/lb/lbd.sock", "/var/lib/lb", "/sys/fs/bpf/lb"]
    );
    assert_eq!((node.hash_seed, node.listen), (None, None));
    assert_eq!(
        (node.probe_prefixes, node.exec_user.as_str()),
        (ProbePrefixes::default(), "nobody")
    );
    assert_eq!(model.hooks, Hooks::default());
    let FlowTables { pinned, fresh, datagrams } = node.tables;
    assert_eq!([pinned, fresh, datagrams], [262_144, 131_072, 131_072]);
    let vip = &model.vips[0];
    assert_eq!((vip.announce, vip.hash, vip.udp), (Announce::Arp, HashMode::Flow, UdpMode::Flow));
    assert_eq!(
        [vip.idle_timeout, vip.drain_timeout, vip.udp_idle_timeout].map(|d| d.as_secs()),
        [900, 3600, 30]
    );
    assert_eq!((vip.sorry, &*vip.checks), (None, &[][..]));
    assert_eq!((vip.enabled, vip.min_up, vip.panic_threshold), (true, None, None));
    assert!(!vip.reals[0].force_up);
    assert_eq!((vip.on_deadline, vip.slow_start), (OnDeadline::Rehash, None));
    assert_eq!(
        (vip.reals[0].weight, vip.reals[0].state, vip.reals[0].mac),
        (1, crate::model::RealState::Active, None)
    );
}

#[test]
fn vips_may_share_an_address_and_exact_ports_stand_beside_wildcards() {
    let vip = |name, ports| {
        format!("[[vip]]\nname = \"{name}\"\naddress = \"192.0.2.10\"\nports = [{ports}]\n")
    };
    let vips = [
        vip("a", "\"tcp/80\""),
        vip("b", "\"tcp/*\""),
        vip("c", "\"any\""),
        vip("d", "\"udp/53\", \"tcp/443\""),
    ];
    let model = parse(&with_node(&vips.concat())).unwrap();
    assert_eq!(
        model.vips[3].ports,
        [Ports::One(Protocol::Udp, 53), Ports::One(Protocol::Tcp, 443)]
    );
}

#[test]
fn broken_toml_is_refused_at_its_first_mistake() {
    check(
        |text| text.to_owned(),
        &[
            ("[node\ninterfaces = [1 2", "1:6: not TOML: unclosed table, expected `]`"),
            ("[node]\nxdp = \"auto\"\nxdp = \"auto\"\n", "3:1: not TOML: duplicate key"),
            ("[node]\ninterfaces = [\"eth0\"\n", "2:21: not TOML: unclosed array, expected `]`"),
        ],
    );
}

#[test]
fn unknown_keys_are_refused_at_every_level_with_the_nearest_known_one() {
    let keys = "the keys here are: ";
    assert_eq!(
        refused(&format!("{}[nodes]\n", with_node(""))),
        "4:2: unknown key \"nodes\"; did you mean \"node\"?"
    );
    assert_eq!(
        refused(&format!("zzzzz = 1\n{}", with_node(""))),
        format!("1:1: unknown key \"zzzzz\"; {keys}node, access, hooks, vip")
    );
    check(
        with_node,
        &[(
            "state-dir = \"/x\"",
            "3:1: node: unknown key \"state-dir\"; did you mean \"state_dir\"?",
        )],
    );
    check(
        with_vip,
        &[("[[vip.reals]]", "7:7: vip \"web\": unknown key \"reals\"; did you mean \"real\"?")],
    );
    check(
        with_real,
        &[(
            "wieght = 1",
            "9:1: vip \"web\", real 10.0.0.11: unknown key \"wieght\"; did you mean \"weight\"?",
        )],
    );
    check(
        with_check,
        &[(
            "type = \"tcp\", raise = 1",
            "7:25: vip \"web\", check: unknown key \"raise\"; did you mean \"rise\"?",
        )],
    );
    let known = "address, weight, state, mac, force_up";
    assert_eq!(
        refused(&with_real("zzzzzzzz = 1")),
        format!("9:1: vip \"web\", real 10.0.0.11: unknown key \"zzzzzzzz\"; {keys}{known}")
    );
}

#[test]
fn every_problem_is_reported_not_the_first_alone() {
    let text = "[node]\ninterfaces = []\nxdp = 3\n\n[[vip]]\nname = \"a b\"\nprots = 1\n\n[[vip.real]]\nweight = 1.5\n";
    assert_eq!(
        refused(text),
        "2:14: node: interfaces is empty; write interfaces = [\"eth0\"]\n\
         3:7: node: xdp must be a string, not a whole number\n\
         5:1: vip \"a b\": address is missing; write address = \"192.0.2.10\"\n\
         5:1: vip \"a b\": ports is missing; write ports = [\"tcp/80\"]\n\
         6:8: vip \"a b\": name \"a b\" is not valid; use 1 to 63 letters, digits, dots, hyphens and underscores\n\
         7:1: vip \"a b\": unknown key \"prots\"; did you mean \"ports\"?\n\
         9:1: vip \"a b\", real number 1: address is missing; write address = \"10.0.0.11\"\n\
         10:10: vip \"a b\", real number 1: weight must be a whole number from 0 to 256, not a number with a fraction"
    );
}

#[test]
fn what_is_typed_cannot_break_a_message_into_lines() {
    let text = with_name("name = \"a\\nb\"");
    assert_eq!(refused(&text).lines().count(), 1);
    assert!(parse(&with_vip("hash = \"x\\ny\"")).unwrap_err().messages().contains("x\\ny"));
}

#[test]
fn a_wrong_interface_is_refused() {
    let not_a_name = |name: &str| {
        format!(
            "2:15: node: \"{name}\" is not an interface name; write one that `ip link` shows (1 to 15 characters, no space, / or :)"
        )
    };
    for name in ["", "a b", "eth0:1", "a/b", "..", "sixteen_letters_"] {
        let text = format!("[node]\ninterfaces = [\"{name}\"]\n");
        assert_eq!(refused(&text), not_a_name(name));
    }
    for (text, expected) in [
        ("", "1:1: node: interfaces is missing; write interfaces = [\"eth0\"]"),
        ("[node]\n", "1:1: node: interfaces is missing; write interfaces = [\"eth0\"]"),
        (
            "node = 3\n",
            "1:1: node: interfaces is missing; write interfaces = [\"eth0\"]\n1:8: node must be a table, not a whole number",
        ),
        (
            "node.interfaces = \"eth0\"",
            "1:19: node: interfaces must be a list of strings, not a string",
        ),
        (
            "node.interfaces = [\"eth0\", 1]",
            "1:28: node: interfaces must be a list of strings, not a whole number",
        ),
        (
            "node.interfaces = [\"a\", \"a\"]",
            "1:25: node: interface \"a\" is given twice; remove one",
        ),
        ("node.interfaces = [\"a\", \"b\"]", "accepted"),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn fifteen_interfaces_are_served_and_not_one_more() {
    let interfaces = |count: usize| {
        let names: Vec<_> = (0..count).map(|index| format!("\"e{index:02}\"")).collect();
        format!("node.interfaces = [{}]", names.join(", "))
    };
    assert_eq!(refused(&interfaces(15)), "accepted");
    assert_eq!(
        refused(&interfaces(16)),
        "1:125: node: 16 interfaces; at most 15 can be served, so remove those that see no traffic for a VIP"
    );
}

#[test]
fn a_vip_of_ipv6_has_servers_of_ipv6_and_one_address_however_it_is_spelt() {
    let vip = |rest: &str| {
        with_node(&format!(
            "[[vip]]\nname = \"six\"\naddress = \"2001:DB8::0:10\"\nports = [\"tcp/80\"]\n{rest}\n"
        ))
    };
    let model = parse(&vip(
        "sorry = \"2001:db8::99\"\nreal = [{ address = \"2001:db8::11\" }, { address = \"fd00::1\" }]",
    ))
    .unwrap();
    let six = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    let vip_of = &model.vips[0];
    assert_eq!((vip_of.address, vip_of.sorry), (six("2001:db8::10"), Some(six("2001:db8::99"))));
    assert_eq!(
        [vip_of.reals[0].address, vip_of.reals[1].address],
        [six("2001:db8::11"), six("fd00::1")]
    );
    let real = |text: &str| {
        format!("real = [{{ address = \"2001:db8::11\" }}, {{ address = \"{text}\" }}]")
    };
    check(
        |line| vip(line),
        &[
            (
                &real("2001:db8:0::11"),
                "7:51: vip \"six\": real 2001:db8::11 is in the pool twice; remove one",
            ),
            (
                &real("2001:db8::0010"),
                "7:51: vip \"six\": real 2001:db8::10 is the address of vip \"six\"; write the server's own address",
            ),
            (
                &real("10.0.0.1"),
                "7:51: vip \"six\", real 10.0.0.1: 10.0.0.1 is IPv4, but the VIP's address 2001:db8::10 is IPv6; write an IPv6 address",
            ),
        ],
    );
    let again = "[[vip]]\nname = \"b\"\naddress = \"2001:db8:0:0::10\"\nports = [\"tcp/80\"]";
    assert_eq!(
        refused(&vip(again)),
        "10:10: vip \"b\": tcp/80 of 2001:db8::10 is already served by vip \"six\"; use another port or address"
    );
}

#[test]
fn a_wrong_setting_of_the_node_is_refused() {
    let seed = "a hash seed has 32 hexadecimal digits; make one with `openssl rand -hex 16`";
    let long = "/".repeat(108);
    check(
        with_node,
        &[
            (
                "xdp = \"offload\"",
                "3:7: node: unknown xdp mode \"offload\"; one of: auto, native, generic",
            ),
            (
                "socket = \"lbd.sock\"",
                "3:10: node: socket \"lbd.sock\" is not an absolute path; write one such as /run/lb/lbd.sock",
            ),
            (
                "state_dir = \"lb\"",
                "3:13: node: state_dir \"lb\" is not an absolute path; write one such as /var/lib/lb",
            ),
            (
                "pin_dir = \"\"",
                "3:11: node: pin_dir \"\" is not an absolute path; write one such as /sys/fs/bpf/lb",
            ),
            (
                &format!("socket = \"{long}\""),
                "3:10: node: socket is 108 bytes long; a Unix socket's path has at most 107",
            ),
            ("hash_seed = \"00ff\"", &format!("3:13: node: {seed}")),
            ("hash_seed = \"zz112233445566778899aabbccddeeff\"", &format!("3:13: node: {seed}")),
            (
                "listen = \"127.0.0.1\"",
                "3:10: node: listen \"127.0.0.1\" is not an address with a port; write one such as 127.0.0.1:9101",
            ),
            ("listen = 9101", "3:10: node: listen must be a string, not a whole number"),
            ("listen = \"[::1]:9101\"", "accepted"),
            ("hash_seed = \"00112233445566778899aAbBcCdDeEfF\"", "accepted"),
        ],
    );
}

#[test]
fn a_wrong_name_is_refused() {
    let rule = "is not valid; use 1 to 63 letters, digits, dots, hyphens and underscores";
    let long = "x".repeat(64);
    for name in ["", "a b", "a/b", "é", ".", "..", &long] {
        let expected = format!("4:8: vip \"{name}\": name \"{name}\" {rule}");
        assert_eq!(refused(&with_name(&format!("name = \"{name}\""))), expected);
    }
    check(
        with_name,
        &[
            ("", "3:1: vip number 1: name is missing; write name = \"web\""),
            ("name = true", "4:8: vip number 1: name must be a string, not true or false"),
            ("name = \"A.b_c-9\"", "accepted"),
        ],
    );
}

#[test]
fn a_vip_that_is_not_a_list_of_tables_is_refused() {
    let wanted = "vip must be a list of tables, each beginning with [[vip]], not";
    for (text, expected) in [
        ("[vip]\nname = \"web\"\n", format!("2:1: {wanted} a table")),
        ("vip = [3]", format!("2:8: {wanted} a whole number")),
        (
            "[[vip.real]]",
            "2:1: vip must be a list of tables, each beginning with [[vip]], not a table"
                .to_owned(),
        ),
    ] {
        let found = refused(&format!("node.interfaces = [\"eth0\"]\n{text}"));
        assert!(
            found.starts_with(&expected[..1]) && found.ends_with(&expected[4..]),
            "{text}: {found}"
        );
    }
}

#[test]
fn a_wrong_address_of_a_vip_is_refused() {
    let one = "write the address of one machine";
    let such =
        "write one such as 192.0.2.10 or 2001:db8::10, without a name, prefix length or zone";
    for (address, reason) in [
        ("192.0.2", format!("\"192.0.2\" is not an address; {such}")),
        ("192.0.2.010", format!("\"192.0.2.010\" is not an address; {such}")),
        ("web.example", format!("\"web.example\" is not an address; {such}")),
        (
            "192.0.2.10:80",
            "\"192.0.2.10:80\" has a port; write address = \"192.0.2.10\" and the port in ports"
                .to_owned(),
        ),
        ("2001:db8::/64", format!("\"2001:db8::/64\" is not an address; {such}")),
        ("fe80::1%eth0", format!("\"fe80::1%eth0\" is not an address; {such}")),
        (
            "[2001:db8::1]:80",
            "\"[2001:db8::1]:80\" has a port; write address = \"2001:db8::1\" and the port in ports"
                .to_owned(),
        ),
        ("[2001:db8::1]", "\"[2001:db8::1]\" has brackets; write \"2001:db8::1\"".to_owned()),
        (
            "::ffff:192.0.2.1",
            "::ffff:192.0.2.1 stands for an IPv4 address; write 192.0.2.1".to_owned(),
        ),
        ("::", format!(":: is not the address of a machine; {one}")),
        ("::1", format!("::1 is a loopback address; {one}")),
        ("ff02::1", format!("ff02::1 is a multicast address; {one}")),
        (
            "febf::1",
            format!("febf::1 is a link-local address, which means something on one link only; {one}"),
        ),
        ("0.0.0.0", format!("0.0.0.0 is not the address of a machine; {one}")),
        ("0.1.2.3", format!("0.1.2.3 is not the address of a machine; {one}")),
        ("127.0.0.1", format!("127.0.0.1 is a loopback address; {one}")),
        ("224.0.0.18", format!("224.0.0.18 is a multicast address; {one}")),
        ("255.255.255.255", format!("255.255.255.255 is the broadcast address; {one}")),
    ] {
        assert_eq!(
            refused(&with_address(&format!("address = \"{address}\""))),
            format!("5:11: vip \"web\": {reason}")
        );
    }
}

#[test]
fn wrong_ports_are_refused() {
    let write = "is not a port; write tcp/80, udp/53, tcp/*, udp/* or any";
    check(
        with_ports,
        &[
            ("", "3:1: vip \"web\": ports is missing; write ports = [\"tcp/80\"]"),
            ("ports = []", "6:9: vip \"web\": ports is empty; write ports = [\"tcp/80\"]"),
            (
                "ports = \"tcp/80\"",
                "6:9: vip \"web\": ports must be a list of strings, not a string",
            ),
            (
                "ports = [80]",
                "6:10: vip \"web\": ports must be a list of strings, not a whole number",
            ),
            ("ports = [\"80\"]", &format!("6:10: vip \"web\": \"80\" {write}")),
            ("ports = [\"sctp/80\"]", &format!("6:10: vip \"web\": \"sctp/80\" {write}")),
            ("ports = [\"tcp/65536\"]", &format!("6:10: vip \"web\": \"tcp/65536\" {write}")),
            ("ports = [\"tcp/80:8080\"]", &format!("6:10: vip \"web\": \"tcp/80:8080\" {write}")),
            (
                "ports = [\"udp/0\"]",
                "6:10: vip \"web\": \"udp/0\": port 0 cannot be served; write udp/* for all ports",
            ),
            (
                "ports = [\"tcp/80\", \"tcp/80\"]",
                "6:20: vip \"web\": tcp/80 is given twice; remove one",
            ),
            (
                "ports = [\"tcp/80\", \"tcp/*\"]",
                "6:10: vip \"web\": tcp/80 is already within tcp/*; remove one of them",
            ),
            (
                "ports = [\"any\", \"udp/*\"]",
                "6:17: vip \"web\": udp/* is already within any; remove one of them",
            ),
            (
                "ports = [\"udp/53\", \"any\"]",
                "6:10: vip \"web\": udp/53 is already within any; remove one of them",
            ),
            ("ports = [\"tcp/80\", \"udp/*\"]", "accepted"),
        ],
    );
}

#[test]
fn a_wrong_word_or_duration_of_a_vip_is_refused() {
    let write = "is not a duration; write a number with its unit, such as 500ms, 30s, 15m or 1h";
    check(
        with_vip,
        &[
            (
                "announce = \"bgp\"",
                "7:12: vip \"web\": unknown announce mode \"bgp\"; one of: arp, none",
            ),
            ("hash = \"rr\"", "7:8: vip \"web\": unknown hash mode \"rr\"; one of: flow, source"),
            ("udp = \"Flow\"", "7:7: vip \"web\": unknown udp mode \"Flow\"; one of: flow, packet"),
            ("idle_timeout = \"15\"", &format!("7:16: vip \"web\": idle_timeout \"15\" {write}")),
            (
                "idle_timeout = 15",
                "7:16: vip \"web\": idle_timeout must be a string, not a whole number",
            ),
            (
                "drain_timeout = \"-1h\"",
                &format!("7:17: vip \"web\": drain_timeout \"-1h\" {write}"),
            ),
            (
                "udp_idle_timeout = \"0s\"",
                "7:20: vip \"web\": udp_idle_timeout must be more than 0",
            ),
            (
                "drain_timeout = \"8days\"",
                "7:17: vip \"web\": drain_timeout \"8days\" is out of range; write 1ms to 7days",
            ),
            (
                "idle_timeout = \"1us\"",
                "7:16: vip \"web\": idle_timeout \"1us\" is out of range; write 1ms to 7days",
            ),
            ("idle_timeout = \"500ms\"", "accepted"),
            (
                "on_deadline = \"kill\"",
                "7:15: vip \"web\": unknown on_deadline \"kill\"; one of: rehash, reset",
            ),
            ("on_deadline = \"reset\"", "accepted"),
            ("slow_start = \"30\"", &format!("7:14: vip \"web\": slow_start \"30\" {write}")),
            (
                "slow_start = \"2days\"",
                "7:14: vip \"web\": slow_start \"2days\" is out of range; write 1ms to 1day",
            ),
            ("slow_start = \"30s\"", "accepted"),
        ],
    );
}

#[test]
fn a_flow_table_has_a_size_within_bounds() {
    check(
        with_node,
        &[
            (
                "pinned_flows = 1023",
                "3:16: node: pinned_flows 1023 is out of range; write a whole number from 1024 to 16777216",
            ),
            (
                "fresh_flows = 16777217",
                "3:15: node: fresh_flows 16777217 is out of range; write a whole number from 1024 to 16777216",
            ),
            (
                "datagram_flows = \"many\"",
                "3:18: node: datagram_flows must be a whole number from 1024 to 16777216, not a string",
            ),
            (
                "pinned_flow = 1024",
                "3:1: node: unknown key \"pinned_flow\"; did you mean \"pinned_flows\"?",
            ),
        ],
    );
    let sizes = "pinned_flows = 1024\nfresh_flows = 16_777_216\ndatagram_flows = 4096";
    let tables = FlowTables { pinned: 1024, fresh: 1 << 24, datagrams: 4096 };
    assert_eq!(parse(&with_node(sizes)).unwrap().node.tables, tables);
}

#[test]
fn a_wrong_address_of_a_real_is_refused() {
    let one = "write the address of one machine";
    let prefix = |address: &str| format!("8:11: vip \"web\", real {address}: ");
    for (address, reason) in [
        (
            "10.0.0",
            "\"10.0.0\" is not an address; write one such as 192.0.2.10 or 2001:db8::10, without a name, prefix length or zone".to_owned(),
        ),
        (
            "2001:db8::1",
            "2001:db8::1 is IPv6, but the VIP's address 192.0.2.10 is IPv4; write an IPv4 address"
                .to_owned(),
        ),
        (
            "[2001:db8::1]:80",
            "\"[2001:db8::1]:80\": direct server return cannot translate ports; \
             write \"2001:db8::1\" and let the server listen on the VIP's port"
                .to_owned(),
        ),
        ("127.0.0.2", format!("127.0.0.2 is a loopback address; {one}")),
        ("0.0.0.0", format!("0.0.0.0 is not the address of a machine; {one}")),
        ("239.1.1.1", format!("239.1.1.1 is a multicast address; {one}")),
        ("255.255.255.255", format!("255.255.255.255 is the broadcast address; {one}")),
        (
            "10.0.0.11:8080",
            "\"10.0.0.11:8080\": direct server return cannot translate ports; \
             write \"10.0.0.11\" and let the server listen on the VIP's port"
                .to_owned(),
        ),
    ] {
        let text = with_only_in_real(&format!("address = \"{address}\""));
        assert_eq!(refused(&text), prefix(address) + &reason);
    }
    check(
        with_only_in_real,
        &[
            (
                "",
                "7:1: vip \"web\", real number 1: address is missing; write address = \"10.0.0.11\"",
            ),
            (
                "address = \"192.0.2.10\"",
                "8:11: vip \"web\": real 192.0.2.10 is the address of vip \"web\"; write the server's own address",
            ),
        ],
    );
}

#[test]
fn a_port_of_a_real_is_refused_with_the_reason() {
    let reason = "a real server has no port of its own: direct server return cannot translate ports; \
                  remove it and let the real server listen on the VIP's port";
    for key in ["port = 8080", "ports = [\"tcp/8080\"]"] {
        assert_eq!(refused(&with_real(key)), format!("9:1: vip \"web\", real 10.0.0.11: {reason}"));
    }
}

#[test]
fn a_wrong_setting_of_a_real_is_refused() {
    let at = "vip \"web\", real 10.0.0.11:";
    let range = "a whole number from 0 to 256";
    let machine = "is not the address of one machine (zero, broadcast or multicast)";
    for (line, place, reason) in [
        ("weight = -1", "9:10", format!("weight -1 is out of range; write {range}")),
        ("weight = 257", "9:10", format!("weight 257 is out of range; write {range}")),
        (
            "weight = 99999999999999999999",
            "9:10",
            format!("weight 99999999999999999999 is out of range; write {range}"),
        ),
        ("weight = 1.0", "9:10", format!("weight must be {range}, not a number with a fraction")),
        ("weight = \"1\"", "9:10", format!("weight must be {range}, not a string")),
        (
            "state = \"down\"",
            "9:9",
            "unknown real state \"down\"; one of: active, drain, disabled".to_owned(),
        ),
        (
            "mac = \"02-00-00-00-00-0b\"",
            "9:7",
            "\"02-00-00-00-00-0b\" is not a MAC address; write it as 02:00:00:00:00:0b".to_owned(),
        ),
        ("mac = \"00:00:00:00:00:00\"", "9:7", format!("00:00:00:00:00:00 {machine}")),
        ("mac = \"01:00:5e:00:00:01\"", "9:7", format!("01:00:5e:00:00:01 {machine}")),
        ("mac = \"ff:ff:ff:ff:ff:ff\"", "9:7", format!("ff:ff:ff:ff:ff:ff {machine}")),
    ] {
        assert_eq!(refused(&with_real(line)), format!("{place}: {at} {reason}"), "{line}");
    }
    for line in ["weight = 0", "weight = 256", "weight = 0x10", "mac = \"02:00:00:00:00:0B\""] {
        assert_eq!(refused(&with_real(line)), "accepted", "{line}");
    }
}

#[test]
fn a_server_that_stands_twice_in_a_pool_is_refused() {
    let twice = with_real("[[vip.real]]\naddress = \"10.0.0.11\"");
    assert_eq!(
        refused(&twice),
        "10:11: vip \"web\": real 10.0.0.11 is in the pool twice; remove one"
    );
    check(
        |line| with_vip(&format!("{line}\n[[vip.real]]\naddress = \"10.0.0.11\"")),
        &[
            (
                "sorry = \"10.0.0.11\"",
                "7:9: vip \"web\": sorry 10.0.0.11 is also a real of the pool; use another server or remove it",
            ),
            (
                "sorry = \"192.0.2.10\"",
                "7:9: vip \"web\": sorry 192.0.2.10 is the address of vip \"web\"; write the server's own address",
            ),
            (
                "sorry = \"none\"",
                "7:9: vip \"web\": \"none\" is not an address; write one such as 192.0.2.10 or 2001:db8::10, without a name, prefix length or zone",
            ),
            (
                "sorry = \"10.0.0.12:81\"",
                "7:9: vip \"web\": \"10.0.0.12:81\": direct server return cannot translate ports; \
                 write \"10.0.0.12\" and let the server listen on the VIP's port",
            ),
            (
                "sorry = \"::2\"",
                "7:9: vip \"web\": ::2 is IPv6, but the VIP's address 192.0.2.10 is IPv4; write an IPv4 address",
            ),
            ("sorry = \"10.0.0.12\"", "accepted"),
        ],
    );
}

#[test]
fn vips_that_cannot_be_beside_each_other_are_refused() {
    let second = |name: &str, address: &str, rest: &str| {
        with_vip(&format!("[[vip]]\nname = \"{name}\"\naddress = \"{address}\"\nports = [{rest}"))
    };
    for (text, expected) in [
        (
            second("web", "192.0.2.11", "\"any\"]"),
            "8:8: vip \"web\": the name is taken by the VIP at line 4; give each its own",
        ),
        (
            second("dns", "192.0.2.10", "\"udp/53\", \"udp/80\"]"),
            "10:20: vip \"dns\": udp/80 of 192.0.2.10 is already served by vip \"web\"; use another port or address",
        ),
        (
            second("dns", "192.0.2.11", "\"any\"]\nreal = [{ address = \"192.0.2.10\" }]"),
            "11:21: vip \"dns\": real 192.0.2.10 is the address of vip \"web\"; write the server's own address",
        ),
    ] {
        assert_eq!(refused(&text), expected);
    }
}

fn many_reals(vip: usize, count: usize) -> String {
    let real =
        |index: usize| format!("{{ address = \"10.{vip}.{}.{}\" }}", index >> 8, index & 255);
    let reals: Vec<_> = (0..count).map(real).collect();
    format!(
        "[[vip]]\nname = \"v{vip}\"\naddress = \"192.0.2.{vip}\"\nports = [\"any\"]\nreal = [{}]\n",
        reals.join(", ")
    )
}

#[test]
fn a_pool_beyond_the_limit_is_refused() {
    assert_eq!(refused(&with_node(&many_reals(1, 4096))), "accepted");
    let found = refused(&with_node(&many_reals(1, 4097)));
    assert!(found.ends_with(": vip \"v1\": 4097 reals; at most 4096 fit into one pool"), "{found}");
}

#[test]
fn vips_beyond_the_datapaths_tables_are_refused() {
    // The fewest reals that take a pool of 8192 places.
    let pools: String = (1..=64).map(|vip| many_reals(vip, 2731)).collect();
    assert_eq!(refused(&with_node(&pools)), "accepted");
    assert_eq!(
        refused(&with_node(&(pools + &many_reals(65, 1)))),
        "323:1: vip \"v65\": more than 524288 places for reals; this VIP does not fit; use fewer VIPs or smaller pools"
    );
    // Unequal weights take the longest ring.
    let ring = |vip: usize| {
        let (high, low) = (vip / 250, vip % 250);
        format!(
            "[[vip]]\nname = \"v{vip}\"\naddress = \"192.0.{high}.{low}\"\nports = [\"any\"]\nreal = [{{ address = \"10.0.0.1\", weight = 256 }}, {{ address = \"10.0.0.2\" }}]\n"
        )
    };
    let rings: String = (1..=512).map(ring).collect();
    assert_eq!(refused(&with_node(&rings)), "accepted");
    assert_eq!(
        refused(&with_node(&(rings + &ring(513)))),
        "2563:1: vip \"v513\": more than 134217728 ring slots; this VIP does not fit; use fewer VIPs or smaller pools"
    );
}

#[test]
fn service_keys_beyond_the_datapaths_table_are_refused() {
    let vip = |protocol: &str, count: usize| {
        let ports: Vec<_> = (1..=count).map(|port| format!("\"{protocol}/{port}\"")).collect();
        format!(
            "[[vip]]\nname = \"{protocol}\"\naddress = \"192.0.2.10\"\nports = [{}]\n",
            ports.join(", ")
        )
    };
    assert_eq!(refused(&with_node(&(vip("tcp", 32_000) + &vip("udp", 767)))), "accepted");
    assert_eq!(
        refused(&with_node(&(vip("tcp", 32_000) + &vip("udp", 768)))),
        "7:1: vip \"udp\": more than 32768 service keys (one for each address and each of ports); this VIP does not fit"
    );
}

#[test]
fn addresses_for_probes_are_one_prefix_of_each_family() {
    let prefixes = |list: &str| {
        parse(&with_node(&format!("probe_prefixes = [{list}]"))).unwrap().node.probe_prefixes
    };
    let v4 = ("10.64.0.0".parse().unwrap(), 12);
    let v6 = ("fd00:0:0:1::".parse().unwrap(), 64);
    assert_eq!(prefixes(""), ProbePrefixes::default());
    assert_eq!(prefixes("\"10.64.0.0/12\""), ProbePrefixes { v4, ..ProbePrefixes::default() });
    assert_eq!(prefixes("\"fd00:0:0:1::/64\", \"10.64.0.0/12\""), ProbePrefixes { v4, v6 });
    for (list, reason) in [
        ("\"10.0.0.0\"", "\"10.0.0.0\" is not a prefix; write one such as 198.18.0.0/15"),
        ("\"10.0.0.0/x\"", "\"10.0.0.0/x\" is not a prefix; write one such as 198.18.0.0/15"),
        ("\"10.0.0.0/24\"", "prefix \"10.0.0.0/24\" is out of range; write a length from 8 to 20"),
        ("\"fd00::/112\"", "prefix \"fd00::/112\" is out of range; write a length from 16 to 104"),
        ("\"10.0.1.0/16\"", "\"10.0.1.0/16\" has bits behind its length; write 10.0.0.0/16"),
        ("\"fd00::1/64\"", "\"fd00::1/64\" has bits behind its length; write fd00::/64"),
        ("\"127.0.0.0/8\"", "127.0.0.0 is a loopback address; write the address of one machine"),
    ] {
        let found = refused(&with_node(&format!("probe_prefixes = [{list}]")));
        assert_eq!(found, format!("3:19: node: {reason}"));
    }
    assert_eq!(
        refused(&with_node("probe_prefixes = [\"10.0.0.0/8\", \"11.0.0.0/8\"]")),
        "3:33: node: probe_prefixes has two of this family; remove one"
    );
}

#[test]
fn hooks_are_a_program_and_a_url() {
    let model =
        parse(&with_node("[hooks]\nexec = [\"/bin/sh\", \"-c\"]\nwebhook = \"http://[::1]:80/x\""));
    let exec = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    assert_eq!(model.unwrap().hooks, Hooks { exec, webhook: Some("http://[::1]:80/x".to_owned()) });
    check(
        |line| with_node(&format!("[hooks]\n{line}")),
        &[
            ("exec = []", "4:8: hooks: exec is empty; write exec = [\"/usr/local/bin/notify\"]"),
            (
                "exec = [\"notify\"]",
                "4:9: hooks: exec \"notify\" is not an absolute path; write one such as /usr/local/bin/check",
            ),
            (
                "webhook = \"ftp://example.com\"",
                "4:11: hooks: webhook \"ftp://example.com\" is not a URL; write one such as https://example.com/lb",
            ),
            (
                "webhook = \"https://user:word@example.com\"",
                "4:11: hooks: webhook has a user name or password, which is not sent; put a token into its path, and remove it",
            ),
            (
                "webhook = \"/lb\"",
                "4:11: hooks: webhook \"/lb\" is not a URL; write one such as https://example.com/lb",
            ),
            ("web_hook = \"x\"", "4:1: hooks: unknown key \"web_hook\"; did you mean \"webhook\"?"),
        ],
    );
    check(
        with_node,
        &[
            (
                "exec_user = \"a b\"",
                "3:13: node: exec_user \"a b\" is not the name of a user; write one such as nobody",
            ),
            ("exec_user = \"www-data\"", "accepted"),
        ],
    );
}

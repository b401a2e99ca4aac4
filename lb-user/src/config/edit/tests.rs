use super::*;
use crate::config::change::VipOptions;

mod checks;
mod random;

const FILE: &str = r#"# Balancer of rack 7.

[node] # this machine
interfaces = ["eth0"] # the uplink

# The shop.
[[vip]] # web
name = 'web' # short
address = "192.0.2.10"
ports = [
  "tcp/80",  # redirects
  "udp/443", # QUIC
]
sorry = "10.0.0.99" # apologies
check.type = "http" # probe
check.path = "/healthz"

  [[vip.real]] # first
  address = "10.0.0.11" # rack 1
  weight = 0x10 # big
  # a note on the first

  # The second is slow.
  [[vip.real]]
  address = '10.0.0.12'
  mac = "02:00:00:00:00:0c" # fixed

# Names.
[[vip]]
name = "dns"
address = "192.0.2.53"
ports = ["udp/53"]
real = [
  # the old one
  { address = "10.0.1.1", weight = 2 }, # keep

  { address = "10.0.1.2" } # new
  # spare: 10.0.1.3
]
# The end.
"#;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn some(word: &str) -> Option<String> {
    Some(word.to_owned())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn new_real(address: &str) -> NewReal {
    NewReal { address: address.to_owned(), ..NewReal::default() }
}

fn options(set: impl FnOnce(&mut VipOptions)) -> VipPatch {
    let mut patch = VipPatch::default();
    set(&mut patch.options);
    patch
}

/// The lines that an edit took and put, as a diff shows them.
fn changed(before: &str, edited: Result<Edited, EditError>) -> String {
    let after = edited.unwrap().text;
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = |lines: &[&str]| {
        lines[same_start..].iter().rev().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let same_end = rest(&old).iter().zip(&rest(&new)).take_while(|(a, b)| a == b).count();
    let part = |sign: &str, lines: &[&str]| {
        let lines = &lines[same_start..lines.len() - same_end];
        lines.iter().map(|line| format!("{sign}{line}\n")).collect::<String>()
    };
    part("-", &old) + &part("+", &new)
}

#[test]
fn a_value_is_replaced_alone_and_its_comment_stays() {
    let real = |patch: RealPatch| set_real(FILE, "web", ip("10.0.0.11"), &patch);
    let weight = RealPatch { weight: Some(7), ..RealPatch::default() };
    assert_eq!(changed(FILE, real(weight)), "-  weight = 0x10 # big\n+  weight = 7 # big\n");
    let state = RealPatch { state: some("drain"), ..RealPatch::default() };
    assert_eq!(changed(FILE, real(state)), "+  state = \"drain\"\n");
    assert_eq!(changed(FILE, real(RealPatch::default())), "");
    let sorry = options(|options| options.sorry = some("10.0.0.98"));
    assert_eq!(
        changed(FILE, set_vip(FILE, "web", &sorry)),
        "-sorry = \"10.0.0.99\" # apologies\n+sorry = \"10.0.0.98\" # apologies\n"
    );
    let inline = RealPatch { weight: Some(3), state: some("disabled"), ..RealPatch::default() };
    assert_eq!(
        changed(FILE, set_real(FILE, "dns", ip("10.0.1.1"), &inline)),
        "-  { address = \"10.0.1.1\", weight = 2 }, # keep\n\
         +  { address = \"10.0.1.1\", weight = 3, state = \"disabled\" }, # keep\n"
    );
    assert_eq!(
        changed(FILE, set_real(FILE, "dns", ip("10.0.1.2"), &inline)),
        "-  { address = \"10.0.1.2\" } # new\n+  { address = \"10.0.1.2\", weight = 3, state = \"disabled\" } # new\n"
    );
}

#[test]
fn none_removes_what_can_be_absent() {
    let mac = RealPatch { mac: some("none"), ..RealPatch::default() };
    assert_eq!(
        changed(FILE, set_real(FILE, "web", ip("10.0.0.12"), &mac)),
        "-  mac = \"02:00:00:00:00:0c\" # fixed\n"
    );
    let sorry = options(|options| options.sorry = some("none"));
    assert_eq!(changed(FILE, set_vip(FILE, "web", &sorry)), "-sorry = \"10.0.0.99\" # apologies\n");
    let edited = set_vip(FILE, "web", &options(|options| options.check = Some(words(&["none"]))));
    assert_eq!(edited.as_ref().unwrap().model.vips[0].checks, []);
    assert_eq!(
        changed(FILE, edited),
        "-check.type = \"http\" # probe\n-check.path = \"/healthz\"\n"
    );
    assert_eq!(changed(FILE, set_vip(FILE, "dns", &sorry)), "");
}

#[test]
fn a_check_is_set_in_whichever_way_it_is_written() {
    let set = |text: &str, vip, word| {
        set_vip(text, vip, &options(|options| options.check = Some(words(&[word]))))
    };
    assert_eq!(
        changed(FILE, set(FILE, "web", "http:8080/live")),
        "-check.path = \"/healthz\"\n+check.path = \"/live\"\n+check.port = 8080\n"
    );
    assert_eq!(
        changed(FILE, set(FILE, "web", "tcp:80")),
        "-check.type = \"http\" # probe\n-check.path = \"/healthz\"\n+check.type = \"tcp\" # probe\n+check.port = 80\n"
    );
    let inline = set(FILE, "dns", "tcp:53").unwrap().text;
    assert_eq!(
        changed(FILE, set(FILE, "dns", "tcp:53")),
        "+check = { type = \"tcp\", port = 53 }\n"
    );
    assert_eq!(
        changed(&inline, set(&inline, "dns", "http:80/a")),
        "-check = { type = \"tcp\", port = 53 }\n+check = { type = \"http\", port = 80, path = \"/a\" }\n"
    );
}

#[test]
fn a_check_in_a_section_of_its_own_is_set_and_removed_there() {
    let vip = "[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\nports = [\"tcp/80\"]\n";
    let check = "\n# How.\n[vip.check] # the check\ntype = \"tcp\" # kind\nport = 53\nrise = 5\n\n";
    let text = format!(
        "node.interfaces = [\"eth0\"]\n{vip}{check}# Next.\n[[vip.real]]\naddress = \"10.0.0.1\"\n"
    );
    let set =
        |word| set_vip(&text, "web", &options(|options| options.check = Some(words(&[word]))));
    assert_eq!(
        changed(&text, set("http:80/a")),
        "-type = \"tcp\" # kind\n-port = 53\n-rise = 5\n\
         +type = \"http\" # kind\n+port = 80\n+rise = 5\n+path = \"/a\"\n"
    );
    assert_eq!(
        changed(&text, set("none")),
        "-# How.\n-[vip.check] # the check\n-type = \"tcp\" # kind\n-port = 53\n-rise = 5\n-\n"
    );
}

#[test]
fn elements_of_a_list_of_ports_keep_their_comments() {
    let ports = |text: &str, vip, list: &[&str]| {
        set_vip(text, vip, &VipPatch { ports: Some(words(list)), ..VipPatch::default() })
    };
    assert_eq!(
        changed(FILE, ports(FILE, "web", &["udp/443", "tcp/8443"])),
        "-  \"tcp/80\",  # redirects\n-  \"udp/443\", # QUIC\n+  \"udp/443\", # QUIC\n+  \"tcp/8443\",\n"
    );
    assert_eq!(
        changed(FILE, ports(FILE, "dns", &["udp/53", "tcp/53"])),
        "-ports = [\"udp/53\"]\n+ports = [\"udp/53\", \"tcp/53\"]\n"
    );
    let turned = ports(FILE, "web", &["udp/443", "tcp/80"]).unwrap();
    assert!(turned.text.contains("ports = [\"udp/443\", \"tcp/80\"]\n"));
    assert!(matches!(ports(FILE, "dns", &[]), Err(EditError::Invalid(_))));
}

#[test]
fn a_real_is_added_after_the_others_and_written_like_them() {
    assert_eq!(
        changed(FILE, add_real(FILE, "web", &NewReal { weight: Some(2), ..new_real("10.0.0.13") })),
        "+  [[vip.real]]\n+  address = \"10.0.0.13\"\n+  weight = 2\n+\n"
    );
    let with_mac = NewReal { mac: some("02:00:00:00:00:03"), ..new_real("10.0.1.3") };
    assert_eq!(
        changed(FILE, add_real(FILE, "dns", &with_mac)),
        "-  { address = \"10.0.1.2\" } # new\n+  { address = \"10.0.1.2\" }, # new\n\
         +  { address = \"10.0.1.3\", mac = \"02:00:00:00:00:03\" }\n"
    );
}

#[test]
fn a_first_real_is_added_in_the_way_the_vip_is_written() {
    let head = "node.interfaces = [\"eth0\"]\n";
    let vip =
        |rest: &str| format!("name = \"a\"{rest}address = \"192.0.2.1\"{rest}ports = [\"any\"]");
    let section = format!("{head}[[vip]]\n{}", vip("\n"));
    assert_eq!(
        add_real(&section, "a", &new_real("10.0.0.1")).unwrap().text,
        format!("{section}\n\n[[vip.real]]\naddress = \"10.0.0.1\"\n")
    );
    let empty = format!("{section}\nreal = []\n");
    assert_eq!(
        add_real(&empty, "a", &new_real("10.0.0.1")).unwrap().text,
        format!("{section}\nreal = [{{ address = \"10.0.0.1\" }}]\n")
    );
    let inline = format!("{head}vip = [{{ {} }}]\n", vip(", "));
    let once = add_real(&inline, "a", &new_real("10.0.0.1")).unwrap().text;
    assert_eq!(
        once,
        format!("{head}vip = [{{ {}, real = [{{ address = \"10.0.0.1\" }}] }}]\n", vip(", "))
    );
    let twice = add_real(&once, "a", &new_real("10.0.0.2")).unwrap().text;
    assert_eq!(once.replace("\"10.0.0.1\" }", "\"10.0.0.1\" }, { address = \"10.0.0.2\" }"), twice);
}

fn new_vip() -> NewVip {
    let reals = vec![NewReal { weight: Some(0), ..new_real("10.0.2.1") }, new_real("10.0.2.2")];
    let options = VipOptions {
        hash: some("source"),
        check: Some(words(&["http:/up"])),
        sorry: some("none"),
        ..VipOptions::default()
    };
    NewVip {
        name: "new".into(),
        address: "192.0.2.99".into(),
        ports: words(&["tcp/80"]),
        reals,
        options,
    }
}

#[test]
fn a_vip_is_added_at_the_end_with_its_pool() {
    let added = "[[vip]]\nname = \"new\"\naddress = \"192.0.2.99\"\nports = [\"tcp/80\"]\nhash = \"source\"\n\
                 check = { type = \"http\", path = \"/up\" }\n\n\
                 [[vip.real]]\naddress = \"10.0.2.1\"\nweight = 0\n\n[[vip.real]]\naddress = \"10.0.2.2\"\n";
    let edited = add_vip(FILE, &new_vip()).unwrap();
    assert_eq!(edited.text, format!("{FILE}\n{added}"));
    assert_eq!(edited.model.vips[2].reals[1].address, ip("10.0.2.2"));
    let none = "# Only a node.\n[node]\ninterfaces = [\"eth0\"]";
    assert_eq!(add_vip(none, &new_vip()).unwrap().text, format!("{none}\n\n{added}"));
    let before = "node.interfaces = [\"eth0\"]\nvip = [\n  # none yet\n]\n";
    assert_eq!(add_vip(before, &new_vip()).unwrap().model.vips.len(), 1);
    assert!(add_vip(before, &new_vip()).unwrap().text.contains("# none yet"));
}

#[test]
fn a_removed_object_takes_only_its_own_comments() {
    assert_eq!(
        changed(FILE, remove_real(FILE, "web", ip("10.0.0.12"))),
        "-  # The second is slow.\n-  [[vip.real]]\n-  address = '10.0.0.12'\n-  mac = \"02:00:00:00:00:0c\" # fixed\n-\n"
    );
    let first = remove_real(FILE, "web", ip("10.0.0.11")).unwrap().text;
    assert!(first.contains("\n  # a note on the first\n\n  # The second is slow.\n"));
    assert_eq!(
        changed(FILE, remove_real(FILE, "dns", ip("10.0.1.1"))),
        "-  # the old one\n-  { address = \"10.0.1.1\", weight = 2 }, # keep\n"
    );
    assert_eq!(
        changed(FILE, remove_real(FILE, "dns", ip("10.0.1.2"))),
        "-  { address = \"10.0.1.2\" } # new\n"
    );
    let web = remove_vip(FILE, "web").unwrap();
    let dns = &FILE[FILE.find("# Names.").unwrap()..];
    assert_eq!(web.text, format!("{}{dns}", &FILE[..FILE.find("# The shop.").unwrap()]));
    let dns = remove_vip(FILE, "dns").unwrap().text;
    assert_eq!(dns, format!("{}# The end.\n", &FILE[..FILE.find("# Names.").unwrap()]));
}

#[test]
fn a_vip_between_other_sections_is_removed_around_them() {
    let vip = |name: &str, last: u8| {
        format!("[[vip]]\nname = \"{name}\"\naddress = \"192.0.2.{last}\"\nports = [\"any\"]\n")
    };
    let node = "[node]\ninterfaces = [\"eth0\"]\n";
    let real = "[[vip.real]]\naddress = \"10.0.0.1\"\n";
    let text = format!("{}{}{node}{real}", vip("a", 1), vip("b", 2));
    assert_eq!(remove_vip(&text, "b").unwrap().text, format!("{}{node}", vip("a", 1)));
    assert_eq!(remove_vip(&text, "a").unwrap().text, format!("{}{node}{real}", vip("b", 2)));
}

#[test]
fn what_is_missing_double_or_wrong_is_named_with_what_to_do() {
    let patch = VipPatch::default();
    let real = RealPatch::default();
    let double_vip = NewVip { name: "web".into(), ..new_vip() };
    let bad_vip = NewVip { address: "10.0.0".into(), ..new_vip() };
    let overlap = NewVip { address: "192.0.2.10".into(), ..new_vip() };
    let check =
        |word: &str| set_vip(FILE, "web", &options(|options| options.check = Some(words(&[word]))));
    let write = "is not valid; write tcp:80, syn, http:/healthz, https:8443/healthz, icmp, dns:example.com, grpc:50051/service, exec:/path, or none alone";
    for (result, expected) in [
        (set_vip(FILE, "wbe", &patch), "no vip \"wbe\"; there are: web, dns".to_owned()),
        (remove_vip(FILE, "wbe"), "no vip \"wbe\"; there are: web, dns".to_owned()),
        (add_real(FILE, "wbe", &new_real("10.0.0.1")), "no vip \"wbe\"; there are: web, dns".to_owned()),
        (set_real(FILE, "web", ip("10.9.9.9"), &real), "no real 10.9.9.9 in vip \"web\"; there are: 10.0.0.11, 10.0.0.12".to_owned()),
        (remove_real(FILE, "web", ip("10.9.9.9")), "no real 10.9.9.9 in vip \"web\"; there are: 10.0.0.11, 10.0.0.12".to_owned()),
        (add_vip(FILE, &double_vip), "vip \"web\" exists already; change it with `vip set` or choose another name".to_owned()),
        (add_real(FILE, "web", &new_real("10.0.0.12")), "real 10.0.0.12 is already in vip \"web\"; change it with `real set`".to_owned()),
        (add_vip(FILE, &bad_vip), "vip \"new\": \"10.0.0\" is not an address; write one such as 192.0.2.10 or 2001:db8::10, without a name, prefix length or zone".to_owned()),
        (add_vip(FILE, &overlap), "vip \"new\": tcp/80 of 192.0.2.10 is already served by vip \"web\"; use another port or address".to_owned()),
        (check("tcp:http"), format!("check \"tcp:http\" {write}")),
        (check("tcp:0"), format!("check \"tcp:0\" {write}")),
        (check("http:80healthz"), format!("check \"http:80healthz\" {write}")),
        (check("tcp:"), format!("check \"tcp:\" {write}")),
        (check(""), format!("check \"\" {write}")),
        (check("icmp:1"), format!("check \"icmp:1\" {write}")),
        (check("dns"), format!("check \"dns\" {write}")),
        (check("exec"), format!("check \"exec\" {write}")),
        (check("grpc:x/a"), format!("check \"grpc:x/a\" {write}")),
        (check("dns:a b"), "vip \"web\", check: name \"a b\" is not a domain name; write one such as example.com, in its ASCII form".to_owned()),
        (check("smtp:25"), "vip \"web\", check: unknown type \"smtp\"; one of: tcp, syn, http, https, dns, udp, icmp, grpc, exec".to_owned()),
        (check("exec:/nonexistent"), "vip \"web\", check: /nonexistent: No such file or directory (os error 2); install the program or write where it is".to_owned()),
    ] {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
    let empty = "node.interfaces = [\"eth0\"]";
    assert_eq!(remove_vip(empty, "x").unwrap_err().to_string(), "no vip \"x\"; there is none");
}

#[test]
fn an_address_is_found_however_it_is_written() {
    let text = FILE.replace("'10.0.0.12'", r#""10.0.0.\u0031\u0032""#);
    let patch = RealPatch { weight: Some(9), ..RealPatch::default() };
    let edited = set_real(&text, "web", ip("10.0.0.12"), &patch).unwrap();
    assert_eq!(edited.model.vips[0].reals[1].weight, 9);
    let again = add_real(&text, "web", &new_real("10.0.0.12"));
    assert!(matches!(again, Err(EditError::DuplicateReal { .. })));
}

#[test]
fn unknown_fields_of_a_change_are_refused() {
    for (json, expected) in [
        (r#"{"name":"a","address":"b","ports":[],"hash":"flow"}"#, true),
        (r#"{"name":"a","address":"b","ports":[],"hush":"flow"}"#, false),
    ] {
        assert_eq!(serde_json::from_str::<NewVip>(json).is_ok(), expected, "{json}");
    }
    assert!(serde_json::from_str::<VipPatch>(r#"{"sorry":"none"}"#).is_ok());
    assert!(serde_json::from_str::<VipPatch>(r#"{"sory":"none"}"#).is_err());
    assert!(serde_json::from_str::<RealPatch>(r#"{"wait":1}"#).is_err());
}

#[test]
fn an_edit_that_would_change_anything_else_is_not_made() {
    let text = format!("access.read = [\"user:daemon\"]\nhooks.webhook = \"http://h/\"\n{FILE}");
    let before = super::super::read(&text).unwrap();
    let finish = |text: &str| finish(Document::of(text), &before, "web").map(drop);
    assert_eq!(finish(&text), Ok(()));
    for (from, to) in [
        ("\"user:daemon\"", ""),
        ("http://h/", "http://i/"),
        ("eth0", "eth1"),
        ("weight = 2", "weight = 3"),
    ] {
        assert!(text.contains(from), "{from}");
        let unsafe_ = Err(EditError::Unsafe { vip: "web".to_owned() });
        assert_eq!(finish(&text.replace(from, to)), unsafe_, "{from}");
    }
}

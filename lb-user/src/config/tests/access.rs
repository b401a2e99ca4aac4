use super::*;
use crate::model::{Access, Principal};

fn with_access(lines: &str) -> String {
    format!("node.interfaces = [\"eth0\"]\n[access]\n{lines}\n")
}

#[test]
fn who_is_named_has_the_role_and_an_empty_table_leaves_root() {
    let parsed = |lines: &str| parse(&with_access(lines)).unwrap().access;
    let root = |user: bool| {
        if user { Principal::User("root".into()) } else { Principal::Group("root".into()) }
    };
    assert_eq!(parsed(""), Some(Access::default()));
    let expected = Access { read: vec![root(false)], admin: vec![root(true)], ..Access::default() };
    assert_eq!(parsed("read = [\"group:root\"]\nadmin = [\"user:root\"]"), Some(expected));
    assert_eq!(parse("node.interfaces = [\"eth0\"]").unwrap().access, None);
}

#[test]
fn what_names_nobody_or_somebody_twice_is_refused() {
    check(
        with_access,
        &[
            (
                "read = [\"root\"]",
                "3:9: access: \"root\" is neither a user nor a group; write one such as \"user:deploy\" or \"group:noc\"",
            ),
            ("read = \"user:root\"", "3:8: access: read must be a list of strings, not a string"),
            ("reads = []", "3:1: access: unknown key \"reads\"; did you mean \"read\"?"),
            (
                "read = [\"user:root\"]\nadmin = [\"user:root\"]",
                "4:10: access: user:root is in read already; write it once, where it may do the most",
            ),
            (
                "admin = [\"group:no-such-group\"]",
                "3:10: access: this machine has no group \"no-such-group\"; make it (`groupadd --system no-such-group`), or write one that there is",
            ),
        ],
    );
}

//! What is written about is what there is.

use std::collections::BTreeSet;

use clap::Command;

use super::*;

const HEADINGS: &str = "\
A REAL SERVER IS DOWN
CLIENTS TIME OUT, ALL REALS ARE UP
DESCRIPTION
EXAMPLE
EXAMPLES
EXIT CODES
GLOBAL OPTIONS
KINDS
LBCTL
LBCTL: THE DAEMON CANNOT BE REACHED (EXIT CODE 3)
LBD
LBD DOES NOT START
NAME
NOTES
NOTHING ARRIVES AT REAL SERVERS, ON VIRTUAL MACHINES OR VETH
OF DNS
OF EXEC
OF GRPC
OF HTTP AND HTTPS
OF HTTPS AND GRPC
OF UDP
OPTIONS
OTHER WAYS OUT
REASONS
SEE ALSO
SOME CLIENTS TIME OUT, OTHERS DO NOT
SUBCOMMANDS
SYNOPSIS
THE COUNTERS RISE, TCPDUMP ON THE BALANCER SHOWS NOTHING
THE DEADLINE
THE SHORT WAY
THE WAY OF A PACKET
TO STOP FORWARDING
WHAT FOLLOWS FROM IT
WHAT IS ASKED
WHAT IS WAITED FOR
WHAT THE OPERATOR CAN SAY
WHAT TO DO
WHEN IT CHANGES
WHICH REAL A PACKET GETS";

fn topic(name: &str) -> &'static Topic {
    TOPICS.iter().find(|topic| topic.name == name).expect("a topic")
}

/// The keys that a section of the text on the configuration explains: the first word of each line that is moved
/// by two columns, before the example.
fn explained(section: &str) -> BTreeSet<String> {
    let (_, rest) = topic("config").text.split_once(&format!("\n{section}\n")).expect("a section");
    let ends = ["\n[", "\nEXAMPLE"].iter().filter_map(|end| rest.find(end)).min();
    let lines = rest[..ends.unwrap_or(rest.len())].lines();
    let lines =
        lines.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The keys that the parser names where it refuses one that nobody would mean.
fn known(text: &str) -> BTreeSet<String> {
    let errors = lb_user::config::parse(text).expect_err("a key that there is not").to_string();
    let keys = errors.split("the keys here are: ").nth(1).expect("a list of the keys");
    let keys = keys.lines().next().unwrap_or_default();
    keys.split(", ").map(|key| key.trim().to_owned()).collect()
}

#[test]
fn the_manual_page_of_the_configuration_explains_exactly_the_keys_that_there_are() {
    let zzz = "zzzzzzzzzzzzzzzzzzzzzzz = 1\n";
    for (section, text) in [
        ("[node]", format!("[node]\n{zzz}")),
        ("[access]", format!("[access]\n{zzz}")),
        ("[hooks]", format!("[hooks]\n{zzz}")),
        ("[[vip]]", format!("[[vip]]\n{zzz}")),
        ("[[vip.real]]", format!("[[vip]]\n[[vip.real]]\n{zzz}")),
        ("[[vip.check]]", format!("[[vip]]\n[[vip.check]]\n{zzz}")),
    ] {
        assert_eq!(explained(section), known(&text), "{section}");
    }
}

#[test]
fn the_example_of_the_configuration_is_good() {
    let (_, example) = topic("config").text.split_once("\nEXAMPLE\n").expect("an example");
    let (example, _) = example.split_once("\nSEE").expect("an end");
    let text: String = example.lines().map(|line| line.trim_start().to_owned() + "\n").collect();
    lb_user::config::parse(&text).expect("a good configuration");
}

#[test]
fn every_command_in_a_topic_is_one_that_there_is() {
    let lines = TOPICS.iter().flat_map(|topic| topic.text.lines());
    let commands = lines.filter_map(|line| line.trim_start().strip_prefix("lbctl "));
    let mut count = 0;
    for command in commands {
        let words = command.split(['#', '|', '>']).next().unwrap_or_default().split_whitespace();
        let words: Vec<_> = ["lbctl"].into_iter().chain(words).collect();
        let parsed = <Arguments as clap::Parser>::try_parse_from(&words);
        assert!(parsed.is_ok(), "{command}: {}", parsed.expect_err("no command"));
        count += 1;
    }
    assert!(count > 20, "{count}");
}

fn walk(command: &Command, words: &str, look: &mut impl FnMut(&str, &Command)) {
    look(words, command);
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" || words.is_empty())
    {
        walk(sub, format!("{words} {}", sub.get_name()).trim_start(), look);
    }
}

#[test]
fn every_command_has_help_with_an_example_of_itself() {
    let mut lbctl = Arguments::command();
    lbctl.build();
    let mut count = 0;
    walk(&lbctl, "", &mut |words, command| {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("Example"), "{words}: {help}");
        assert!(help.contains(&format!("  lbctl {words}")), "{words}: {help}");
        count += 1;
    });
    assert!(count > 25, "{count}");
}

#[test]
fn the_topics_are_listed_where_one_is_looked_for_in_vain() {
    let names = ["nonsense".to_owned()];
    assert!(text(&names).is_none());
    let said = unknown(&names).to_string();
    assert!(TOPICS.iter().all(|topic| said.contains(topic.name)), "{said}");
    assert!(said.contains("\"nonsense\""), "{said}");
    let all = text(&[]).expect("all");
    assert!(TOPICS.iter().all(|topic| all.contains(topic.summary())), "{all}");
}

#[test]
fn help_knows_commands_and_topics() {
    let of = |words: &str| text(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    assert!(of("vip add").is_some_and(|text| text.contains("Usage: lbctl vip add")));
    assert!(of("drain").is_some_and(|text| text.contains("THE DEADLINE")));
    assert!(of("vip nonsense").is_none());
}

#[test]
fn manual_pages_have_these_headings_and_no_others() {
    let mut lbctl = Arguments::command();
    lbctl.build();
    let mut headings = BTreeSet::new();
    let mut look = |page: Vec<u8>| {
        let page = String::from_utf8(page).expect("text");
        let lines = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        headings.extend(lines.map(|line| line.trim_matches('"').to_owned()));
    };
    walk(&lbctl, "", &mut |_, command| {
        look(manual::of_command(command, "lbd(8)").expect("a page"))
    });
    TOPICS.iter().for_each(|topic| look(topic.manual()));
    let headings = headings.into_iter().collect::<Vec<_>>().join("\n");
    assert_eq!(headings, HEADINGS);
}

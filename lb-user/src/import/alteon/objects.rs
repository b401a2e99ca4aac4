//! Blocks as the objects that they describe: reals, groups, virtual servers with their services, and health
//! checks.

use std::collections::BTreeMap;

use super::{
    super::{Note, source::Source},
    blocks::{Block, Command},
    others,
};

/// One thing, with all that is said of it.
#[derive(Clone, Debug)]
pub(super) struct Object<'t> {
    /// Its number, or its name in newer versions.
    pub(super) id: &'t str,
    /// What follows the number: of a service its application, of a health check its type.
    pub(super) kind: &'t str,
    pub(super) line: usize,
    pub(super) text: &'t str,
    pub(super) commands: Vec<Command<'t>>,
    /// Menus below it of which nothing is known.
    pub(super) notes: Vec<Note>,
}

/// All that is described; in the order of the dump.
#[derive(Default)]
pub(super) struct Objects<'t> {
    pub(super) reals: Vec<Object<'t>>,
    pub(super) groups: Vec<Object<'t>>,
    pub(super) virts: Vec<Object<'t>>,
    /// Services, with the index of their virtual server.
    pub(super) services: Vec<(usize, Object<'t>)>,
    pub(super) checks: Vec<Object<'t>>,
    /// What is not load balancing, by section.
    pub(super) others: BTreeMap<String, (usize, usize)>,
    /// Whether load balancing as a whole is off.
    pub(super) off: Option<Command<'t>>,
}

const REAL_MENUS: &[&str] = &["adv", "ids", "layer7", "buddyhc", "advhc", "addrule"];
const GROUP_MENUS: &[&str] = &["adv", "appshape"];
const VIRT_MENUS: &[&str] = &["adv", "appshape", "sec"];
const SERVICE_MENUS: &[&str] = &[
    "http", "ssl", "cntrules", "appshape", "tcpopt", "connmgt", "pip", "sip", "rtsp", "dnssec",
    "dns", "sec", "adv", "ldap", "eaaf", "fix", "smtp", "wap",
];
/// Of health checks these are read as if they were their own.
const CHECK_MENUS: &[&str] = &["dhcp", "ldap", "snmp", "radius", "script", "logexp", "vclb"];

impl<'t> Object<'t> {
    fn new(part: &Command<'t>, block: &Block<'t>) -> Self {
        Self {
            id: part.argument(),
            kind: part.arguments.get(1).copied().unwrap_or_default(),
            line: block.line,
            text: block.text,
            commands: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The last command of this name.
    pub(super) fn last(&self, name: &str) -> Option<&Command<'t>> {
        self.commands.iter().rev().find(|command| command.name == name)
    }

    /// The first argument of the last command of this name.
    pub(super) fn value(&self, name: &str) -> Option<&'t str> {
        self.last(name).map(Command::argument)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name)
            .is_some_and(|value| matches!(value, "ena" | "e" | "enable" | "enabled" | "on"))
    }

    /// Whether the object itself is in service, which none is before it is enabled.
    pub(super) fn enabled(&self) -> bool {
        let switch = |command: &&Command<'_>| {
            command.arguments.is_empty() && matches!(command.name, "ena" | "dis" | "en" | "di")
        };
        self.commands.iter().rev().find(switch).is_some_and(|command| command.name.starts_with('e'))
    }

    /// Takes what stands in a block of which the path goes on with `rest`.
    fn take(
        &mut self,
        rest: &[Command<'t>],
        block: &Block<'t>,
        menus: &[&str],
        source: Source<'_>,
    ) {
        match rest.first() {
            Some(menu) if menus.contains(&menu.name) => {
                let telling = |command: &Command<'_>| !command.says_nothing();
                if !block.commands.iter().any(telling) && rest.len() == 1 {
                    return;
                }
                let reason = "left out: this menu has no counterpart";
                self.notes.push(source.note(block.line, &block.to_string(), reason));
            }
            _ => {
                self.commands.extend(rest.iter().cloned());
                self.commands.extend(block.commands.iter().cloned());
            }
        }
    }
}

/// Sorts the blocks.
pub(super) fn objects<'t>(blocks: &[Block<'t>], source: Source<'_>) -> Objects<'t> {
    let mut objects = Objects::default();
    for block in blocks {
        objects.add(block, source);
    }
    objects
}

impl<'t> Objects<'t> {
    fn add(&mut self, block: &Block<'t>, source: Source<'_>) {
        let names: Vec<&str> = block.path.iter().map(|part| part.name).collect();
        let path = block.path.as_slice();
        match names.as_slice() {
            ["slb"] => self.globally(&block.commands),
            ["slb", "on" | "off"] => self.globally(&path[1..]),
            ["slb", "real", ..] => {
                of(&mut self.reals, &path[1], block).take(&path[2..], block, REAL_MENUS, source);
            }
            ["slb", "group", ..] => {
                of(&mut self.groups, &path[1], block).take(&path[2..], block, GROUP_MENUS, source);
            }
            ["slb", "virt", "service", ..] => {
                let virt = self.virt(&path[1], block);
                self.service(virt, &path[2], block).take(&path[3..], block, SERVICE_MENUS, source);
            }
            ["slb", "virt", ..] => {
                of(&mut self.virts, &path[1], block).take(&path[2..], block, VIRT_MENUS, source);
            }
            ["slb", "advhc", "health", ..] => {
                // `health NAME HTTP/http`: the menu of its own kind.
                let rest = path.get(3..).unwrap_or_default();
                let own = rest.first().is_some_and(|menu| {
                    !CHECK_MENUS.contains(&menu.name) && menu.arguments.is_empty()
                });
                let check = of(&mut self.checks, &path[2], block);
                check.take(if own { &rest[1..] } else { rest }, block, CHECK_MENUS, source);
            }
            _ => {
                let (_, lines) =
                    self.others.entry(others::section(&names)).or_insert((block.line, 0));
                *lines += 1 + block.commands.len();
            }
        }
    }

    fn globally(&mut self, commands: &[Command<'t>]) {
        for command in commands {
            match command.name {
                "off" => self.off = Some(command.clone()),
                "on" => self.off = None,
                _ => {}
            }
        }
    }

    fn virt(&mut self, part: &Command<'t>, block: &Block<'t>) -> usize {
        of(&mut self.virts, part, block);
        let same = |virt: &Object<'_>| virt.id == part.argument();
        self.virts.iter().position(same).unwrap_or_default()
    }

    fn service(&mut self, virt: usize, part: &Command<'t>, block: &Block<'t>) -> &mut Object<'t> {
        let same = |(of, service): &(usize, Object<'_>)| {
            *of == virt && service.id == part.argument() && service.kind == kind(part)
        };
        let index = self.services.iter().position(same).unwrap_or(self.services.len());
        if index == self.services.len() {
            self.services.push((virt, Object::new(part, block)));
        }
        &mut self.services[index].1
    }

    pub(super) fn real(&self, id: &str) -> Option<&Object<'t>> {
        self.reals.iter().find(|real| real.id == id)
    }

    pub(super) fn group(&self, id: &str) -> Option<&Object<'t>> {
        self.groups.iter().find(|group| group.id == id)
    }
}

fn kind<'t>(part: &Command<'t>) -> &'t str {
    part.arguments.get(1).copied().unwrap_or_default()
}

/// The object of this number, made where it is the first time that it is named.
fn of<'o, 't>(
    objects: &'o mut Vec<Object<'t>>,
    part: &Command<'t>,
    block: &Block<'t>,
) -> &'o mut Object<'t> {
    let index = objects.iter().position(|object| object.id == part.argument());
    let index = index.unwrap_or_else(|| {
        objects.push(Object::new(part, block));
        objects.len() - 1
    });
    &mut objects[index]
}

//! `keepalived.conf`(5): the virtual servers of IPVS with their checkers. VRRP is not ours to do: an
//! address that it holds is left to it.

mod address;
mod checker;
mod group;
mod pace;
mod pool;
mod server;
mod source;
mod tree;
mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    path::Path,
};

use self::tree::Statement;
use super::{Draft, Files, Note, Unreadable};

const ALGORITHM: &str = "Clients are spread over the reals by a hash of their addresses and ports (Maglev), in proportion to the weights: what rr and wrr come to.";

const CHECKS: &str = "keepalived checks a real's own address; the checks here ask for the VIP at that real (via = \"vip\"), as clients do, where they ask at one of the VIP's ports, and for the real's own address elsewhere.";

const LEISURELY: &str = "Where there is no delay_loop keepalived checks once a minute, and so do the checks here; a shorter interval finds out sooner.";

const UNCHECKED: &str =
    "A real without a checker beside others with one counts as up, as it did (force_up = true).";

/// Reads a configuration; lines for one machine alone are taken if they are for this one.
pub(super) fn read(
    text: &str,
    file: &Path,
    machine: Option<&str>,
    files: Files<'_>,
) -> Result<Draft, Unreadable> {
    let source = source::read(text, file, machine, files)?;
    let statements = tree::parse(&source.lines).map_err(|mut wrong| {
        if source.passed_over {
            wrong.message += " (lines for one machine alone were passed over: say with --config-id for which one this is)";
        }
        wrong
    })?;
    let mut reader = Reader::of(&statements);
    reader.draft.notes = source.notes;
    statements.iter().try_for_each(|statement| reader.statement(statement))?;
    Ok(reader.finish())
}

/// What is known of the whole while its virtual servers are read.
struct Reader<'t> {
    draft: Draft,
    groups: HashMap<&'t str, &'t Statement>,
    used: HashSet<&'t str>,
    vrrp: HashMap<IpAddr, Held<'t>>,
    /// What needs nothing here, though it is there.
    needless: BTreeSet<String>,
    /// Whether a VIP has a check whose interval is keepalived's own.
    leisurely: bool,
    /// Reals in all pools.
    reals: usize,
}

/// By whom an address is held, and where.
#[derive(Clone)]
struct Held<'t> {
    instance: &'t str,
    interface: Option<&'t str>,
}

impl<'t> Reader<'t> {
    /// Looks for what virtual servers refer to.
    fn of(statements: &'t [Statement]) -> Self {
        let named = |keyword: &'static str| {
            statements.iter().filter(move |statement| statement.keyword() == keyword)
        };
        let group = |statement: &'t Statement| Some((statement.word(1)?, statement));
        Self {
            draft: Draft::default(),
            groups: named("virtual_server_group").filter_map(group).collect(),
            used: HashSet::new(),
            vrrp: named("vrrp_instance").flat_map(held).collect(),
            needless: BTreeSet::new(),
            leisurely: false,
            reals: 0,
        }
    }

    fn statement(&mut self, statement: &'t Statement) -> Result<(), Unreadable> {
        match statement.keyword() {
            "virtual_server" => server::read(self, statement)?,
            "virtual_server_group" => {}
            "global_defs" => {
                let notes =
                    statement.inner().iter().filter_map(|it| self.explained(words::GLOBAL, it));
                let notes: Vec<_> = notes.collect();
                self.draft.notes.extend(notes);
            }
            _ => {
                let note = self.explained(words::TOP, statement);
                self.draft.notes.extend(note);
            }
        }
        Ok(())
    }

    /// Why a statement is not carried over; nothing where it need not be.
    fn explained(&mut self, table: words::Table, statement: &Statement) -> Option<Note> {
        if words::NEEDLESS.contains(&statement.keyword()) {
            self.needless.insert(statement.keyword().to_owned());
            return None;
        }
        Some(words::note(table, statement))
    }

    fn finish(mut self) -> Draft {
        let unused = self.groups.iter().filter(|(name, _)| !self.used.contains(*name));
        let unused = unused
            .map(|(_, group)| group.note("not carried over: no virtual_server uses this group"));
        self.draft.notes.extend(unused);
        let named = self.interfaces();
        let cards: BTreeSet<_> = named.iter().map(|name| card(name).to_owned()).collect();
        self.draft.interfaces = cards.into_iter().collect();
        let vlans: Vec<_> = named.into_iter().filter(|name| card(name) != name).collect();
        self.draft.remarks.extend((!vlans.is_empty()).then(|| below(&vlans)));
        let checked = self.draft.vips.iter().any(|vip| !vip.checks.is_empty());
        self.draft.remarks.extend((!self.draft.vips.is_empty()).then(|| ALGORITHM.to_owned()));
        self.draft.remarks.extend(checked.then(|| CHECKS.to_owned()));
        self.draft.remarks.extend((checked && self.leisurely).then(|| LEISURELY.to_owned()));
        let unchecked =
            self.draft.vips.iter().any(|vip| vip.reals.iter().any(|real| real.force_up));
        self.draft.remarks.extend(unchecked.then(|| UNCHECKED.to_owned()));
        if !self.needless.is_empty() {
            let words: Vec<_> = self.needless.into_iter().collect();
            self.draft
                .remarks
                .push(format!("Nothing has to be said here for: {}.", words.join(", ")));
        }
        self.draft
    }

    /// Where VRRP holds the VIPs; where it holds none of them, wherever it holds addresses.
    fn interfaces(&self) -> Vec<String> {
        let ours: HashSet<IpAddr> = self.draft.vips.iter().map(|vip| vip.vip.address).collect();
        let of = |such: &dyn Fn(&IpAddr) -> bool| -> BTreeSet<&str> {
            let held = self.vrrp.iter().filter(|(address, _)| such(address));
            held.filter_map(|(_, held)| held.interface).collect()
        };
        let mut names = of(&|address| ours.contains(address));
        if names.is_empty() {
            names = of(&|_| true);
        }
        names.into_iter().map(str::to_owned).collect()
    }
}

/// The card of an interface with the name of a VLAN's, `bond0.10`; else the interface itself.
fn card(interface: &str) -> &str {
    match interface.rsplit_once('.') {
        Some((card, tag)) if !card.is_empty() && tag.parse::<u16>().is_ok() => card,
        _ => interface,
    }
}

fn below(vlans: &[String]) -> String {
    let vlans = vlans.join(", ");
    format!("XDP is attached to network cards, not to their VLANs: below {vlans} here.")
}

/// The addresses of a `vrrp_instance`.
fn held(instance: &Statement) -> Vec<(IpAddr, Held<'_>)> {
    let block = instance.inner();
    let interface = block.iter().find(|it| it.keyword() == "interface").and_then(|it| it.word(1));
    let lists = block.iter().filter(|it| it.keyword().starts_with("virtual_ipaddress"));
    let held = lists.flat_map(Statement::inner).filter_map(|it| {
        let address = it.keyword().split('/').next()?.parse().ok()?;
        Some((address, it))
    });
    let name = instance.word(1).unwrap_or_default();
    held.map(|(address, it)| {
        let device = it.values().skip_while(|word| *word != "dev").nth(1);
        (address, Held { instance: name, interface: device.or(interface) })
    })
    .collect()
}

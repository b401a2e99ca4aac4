//! What `POST /v1/plan` says: what another configuration would change, and whose flows that concerns.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter,
    net::IpAddr,
};

use humantime::format_duration;
use lb_common::Slot;
use lb_ebpf::tables::Notes;

use super::{Reconciler, sweep::Ring};
use crate::{
    api::{
        request::{Candidate, Change, Refusal},
        types::{PlanReport, RealPlan, VipPlan},
    },
    dataplane::{self, Cursor},
    model::{Access, GROUP, Hooks, Model, Node, ProbePrefixes, Real, Role, Vip},
    plan::{Block, Plan, Slots, State},
};

/// Flows that are read at once.
const BATCH: usize = 16_384;

/// The part of a VIP's slots that changes.
#[derive(Default)]
struct Moved {
    /// Slots, within the ring, whose new flows go elsewhere.
    slots: BTreeSet<u32>,
    /// How many of them lose their open flows at once.
    lost: u32,
    /// All slots.
    of: u32,
}

impl Moved {
    fn part(&self, slots: u32) -> f64 {
        f64::from(slots) / f64::from(self.of.max(1))
    }
}

impl Reconciler {
    /// What this configuration would change.
    pub(super) fn report(&self, candidate: &Candidate) -> Result<PlanReport, Refusal> {
        let ledger = self.turned(&candidate.model, Some(&Change::Apply(candidate.clone())));
        let plan = self
            .plan(&candidate.model, &self.state, &ledger)
            .map_err(|error| Refusal::conflict(error.to_string()))?;
        self.report_of(&candidate.model, &plan).map_err(|error| Refusal::failed(error.to_string()))
    }

    /// What a plan for this configuration changes.
    pub(super) fn report_of(
        &self,
        model: &Model,
        plan: &Plan,
    ) -> Result<PlanReport, dataplane::Error> {
        let before = &self.config.model;
        let by_name = |model: &'_ Model| -> HashMap<String, usize> {
            let names = model.vips.iter().map(|vip| vip.name.clone());
            names.enumerate().map(|(index, name)| (name, index)).collect()
        };
        let (olds, news) = (by_name(before), by_name(model));
        let names =
            |model: &Model| model.vips.iter().map(|vip| vip.name.clone()).collect::<Vec<_>>();
        let gone = names(before).into_iter().filter(|name| !news.contains_key(name));
        let all = names(model).into_iter().chain(gone);
        let moved: BTreeMap<String, Moved> =
            all.clone().map(|name| (name.clone(), self.moved(plan, &name))).collect();
        let flows = self.concerned(&moved)?;
        let vips = all.filter_map(|name| {
            let old = olds.get(&name).map(|index| &before.vips[*index]);
            let new = news.get(&name).map(|index| &model.vips[*index]);
            let mut told = self.vip_plan(old, new, plan, &name)?;
            let moved = &moved[&name];
            told.moved = moved.part(moved.slots.len() as u32);
            told.lost = moved.part(moved.lost);
            told.flows = flows.get(&name).copied().unwrap_or_default();
            Some(told)
        });
        let vips: Vec<VipPlan> = vips.collect();
        let sum = |count: fn(&Moved) -> u32| moved.values().map(count).map(f64::from).sum::<f64>();
        let of = sum(|moved| moved.of).max(1.0);
        Ok(PlanReport {
            node: node_details(&before.node, &model.node),
            access: access_details(before.access.as_ref(), model.access.as_ref()),
            hooks: hook_details(&before.hooks, &model.hooks),
            moved: sum(|moved| moved.slots.len() as u32) / of,
            lost: sum(|moved| moved.lost) / of,
            flows: vips.iter().map(|vip| vip.flows).sum(),
            vips,
        })
    }

    /// The slots of a VIP that is there before and afterwards, of which others own the new flows
    /// afterwards; all slots of one that goes.
    fn moved(&self, plan: &Plan, name: &str) -> Moved {
        let Some(old) = self.state.block(name) else {
            return Moved::default();
        };
        let of = old.ring_len();
        let Some(new) = plan.state.block(name) else {
            return Moved { slots: (0..of).collect(), lost: of, of };
        };
        if old.slots.is_shared_with(&new.slots) {
            return Moved { of, ..Moved::default() };
        }
        let pairs = (0..).zip(iter::zip(old.slots.iter(), new.slots.iter()));
        let changed = pairs.filter(|(_, (old, new))| old.current() != new.current());
        let loses = |(_, (old, new)): &(u32, (Slot, Slot))| {
            let oldest = old.previous().or(old.current());
            oldest.is_some() && new.previous() != oldest
        };
        let changed: Vec<_> = changed.collect();
        Moved {
            lost: changed.iter().filter(|slot| loses(slot)).count() as u32,
            slots: changed.into_iter().map(|(index, _)| index).collect(),
            of,
        }
    }

    /// How many noted flows each VIP has in slots that change.
    fn concerned(
        &self,
        moved: &BTreeMap<String, Moved>,
    ) -> Result<BTreeMap<String, u64>, dataplane::Error> {
        let blocks = self.state.blocks.iter();
        let rings: BTreeMap<u32, (&str, Ring<'_>, &Moved)> = blocks
            .filter_map(|block| {
                let name = block.name.as_deref()?;
                Some((block.ring, (name, Ring::of(block), moved.get(name)?)))
            })
            .collect();
        let mut flows = BTreeMap::new();
        for notes in [Notes::Pinned, Notes::Fresh, Notes::Datagrams] {
            let mut cursor = Cursor::Start;
            while cursor != Cursor::End {
                for (key, flow) in self.kernel.notes(notes).read(&mut cursor, BATCH)? {
                    if let Some((name, ring, moved)) = rings.get(&key.ring())
                        && moved.slots.contains(&flow.slot)
                        && self.heeded(ring, &key, &flow).is_some()
                    {
                        *flows.entry((*name).to_owned()).or_default() += 1;
                    }
                }
            }
        }
        Ok(flows)
    }

    /// What changes of a VIP; `None` if nothing does.
    fn vip_plan(
        &self,
        old: Option<&Vip>,
        new: Option<&Vip>,
        plan: &Plan,
        name: &str,
    ) -> Option<VipPlan> {
        let slots = |state: &'_ State| state.block(name).map(|block| block.slots.clone());
        let stay = |(before, after): (Slots, Slots)| before.is_shared_with(&after);
        if old.is_some()
            && old == new
            && slots(&self.state).zip(slots(&plan.state)).is_some_and(stay)
        {
            return None;
        }
        let reals = self.real_plans(old, new, plan, name);
        let details = match (old, new) {
            (Some(old), Some(new)) => vip_details(old, new),
            _ => Vec::new(),
        };
        let change = change(old.is_some(), new.is_some());
        let nothing = change == "changed" && details.is_empty() && reals.is_empty();
        (!nothing).then(|| VipPlan {
            name: name.to_owned(),
            change: change.to_owned(),
            details,
            reals,
            ..VipPlan::default()
        })
    }

    fn real_plans(
        &self,
        old: Option<&Vip>,
        new: Option<&Vip>,
        plan: &Plan,
        name: &str,
    ) -> Vec<RealPlan> {
        let pool = |vip: Option<&Vip>| -> BTreeMap<IpAddr, Real> {
            let reals = vip.map(|vip| vip.reals.clone()).unwrap_or_default();
            reals.into_iter().map(|real| (real.address, real)).collect()
        };
        let (before, after) = (pool(old), pool(new));
        let (shares, next) = (self.state.block(name), plan.state.block(name));
        let all: BTreeSet<IpAddr> = before.keys().chain(after.keys()).copied().collect();
        let told = |address: IpAddr| {
            let (old, new) = (before.get(&address), after.get(&address));
            let details = match (old, new) {
                (Some(old), Some(new)) => real_details(old, new),
                _ => Vec::new(),
            };
            let (share_before, share_after) = (share(shares, address), share(next, address));
            let change = change(old.is_some(), new.is_some());
            let same = change == "changed" && details.is_empty() && share_before == share_after;
            let change = change.to_owned();
            (!same).then_some(RealPlan { address, change, details, share_before, share_after })
        };
        all.into_iter().filter_map(told).collect()
    }
}

fn change(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => "added",
        (true, false) => "removed",
        (true, true) => "changed",
    }
}

fn share(block: Option<&Block>, address: IpAddr) -> f64 {
    let owned = block.and_then(|block| {
        let owned = block.owned(block.members.get(&address)?.member);
        Some(f64::from(owned) / f64::from(block.ring_len().max(1)))
    });
    owned.unwrap_or_default()
}

/// One line of what changes, if it does.
fn line(what: &str, before: impl ToString, after: impl ToString) -> Option<String> {
    let (before, after) = (before.to_string(), after.to_string());
    (before != after).then(|| format!("{what} {before} -> {after}"))
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

pub(super) fn vip_details(old: &Vip, new: &Vip) -> Vec<String> {
    let ports = |vip: &Vip| vip.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let lines = [
        line("address", old.address, new.address),
        line("ports", ports(old), ports(new)),
        line("state", old.state(), new.state()),
        line("announce", old.announce, new.announce),
        line("hash", old.hash, new.hash),
        line("idle_timeout", format_duration(old.idle_timeout), format_duration(new.idle_timeout)),
        line(
            "drain_timeout",
            format_duration(old.drain_timeout),
            format_duration(new.drain_timeout),
        ),
        line("on_deadline", old.on_deadline, new.on_deadline),
        line(
            "udp_idle_timeout",
            format_duration(old.udp_idle_timeout),
            format_duration(new.udp_idle_timeout),
        ),
        line("udp", old.udp, new.udp),
        line(
            "slow_start",
            or_none(old.slow_start.map(format_duration)),
            or_none(new.slow_start.map(format_duration)),
        ),
        line("sorry", or_none(old.sorry), or_none(new.sorry)),
        line("min_up", min_up(old), min_up(new)),
        line("panic_threshold", panic_threshold(old), panic_threshold(new)),
        checks_line(old, new),
    ];
    lines.into_iter().flatten().collect()
}

fn min_up(vip: &Vip) -> String {
    or_none(vip.min_up.map(|marks| format!("{} (returns with {})", marks.low, marks.high)))
}

fn panic_threshold(vip: &Vip) -> String {
    or_none(vip.panic_threshold.map(|share| format!("{share}%")))
}

/// What is probed, where that changes; else that something about it does.
fn checks_line(old: &Vip, new: &Vip) -> Option<String> {
    let words = |vip: &Vip| {
        let words: Vec<_> = vip.checks.iter().map(|check| check.kind.to_string()).collect();
        or_none(Some(words.join(" ")).filter(|words| !words.is_empty()))
    };
    let settings =
        || (old.checks != new.checks).then(|| format!("settings of check {}", words(new)));
    line("check", words(old), words(new)).or_else(settings)
}

pub(super) fn real_details(old: &Real, new: &Real) -> Vec<String> {
    let mac = |real: &Real| or_none(real.mac);
    let lines = [
        line("weight", old.weight, new.weight),
        line("state", old.state, new.state),
        line("mac", mac(old), mac(new)),
        line("force_up", old.force_up, new.force_up),
    ];
    lines.into_iter().flatten().collect()
}

/// What of this machine changes at the next start.
pub(super) fn node_details(old: &Node, new: &Node) -> Vec<String> {
    let prefixes = |node: &Node| {
        let ProbePrefixes { v4, v6 } = node.probe_prefixes;
        format!("{}/{} {}/{}", v4.0, v4.1, v6.0, v6.1)
    };
    let path = |path: &std::path::Path| path.display().to_string();
    let tables = |node: &Node| {
        let tables = &node.tables;
        format!("{}/{}/{}", tables.pinned, tables.fresh, tables.datagrams)
    };
    let lines = [
        line("interfaces", old.interfaces.join(" "), new.interfaces.join(" ")),
        line("xdp", old.xdp, new.xdp),
        line("socket", path(&old.socket), path(&new.socket)),
        line("state_dir", path(&old.state_dir), path(&new.state_dir)),
        line("pin_dir", path(&old.pin_dir), path(&new.pin_dir)),
        (old.hash_seed != new.hash_seed).then(|| "hash_seed".to_owned()),
        line("listen", or_none(old.listen), or_none(new.listen)),
        line("flow tables", tables(old), tables(new)),
        line("probe_prefixes", prefixes(old), prefixes(new)),
        line("exec_user", &old.exec_user, &new.exec_user),
    ];
    lines.into_iter().flatten().collect()
}

/// Who may ask for what afterwards, at once.
pub(super) fn access_details(old: Option<&Access>, new: Option<&Access>) -> Vec<String> {
    let words = |access: Option<&Access>, role| match access {
        Some(access) => {
            let words: Vec<_> = access.of(role).iter().map(ToString::to_string).collect();
            or_none(Some(words.join(" ")).filter(|words| !words.is_empty()))
        }
        None if role == Role::Admin => format!("group:{GROUP}"),
        None => or_none::<&str>(None),
    };
    let told = |role: Role| line(&role.to_string(), words(old, role), words(new, role));
    Role::ALL.into_iter().filter_map(told).collect()
}

/// What of the hooks changes, at once; an address or an argument may be a secret, and is not shown.
pub(super) fn hook_details(old: &Hooks, new: &Hooks) -> Vec<String> {
    let exec = |hooks: &Hooks| or_none(hooks.exec.first());
    let webhook = |hooks: &Hooks| or_none(hooks.webhook.as_ref().map(|_| "set"));
    let hidden = |differs: bool, what: &str| differs.then(|| what.to_owned());
    let lines = [
        line("exec", exec(old), exec(new))
            .or_else(|| hidden(old.exec != new.exec, "arguments of exec")),
        line("webhook", webhook(old), webhook(new))
            .or_else(|| hidden(old.webhook != new.webhook, "webhook")),
    ];
    lines.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const BEFORE: &str = "node.interfaces = [\"eth0\"]\n\
        vip = [{ name = \"web\", address = \"192.0.2.10\", ports = [\"tcp/80\"], check = { type = \"tcp\" }, \
        real = [{ address = \"10.0.0.1\" }] }]\n";

    fn details(from: &str, to: &str) -> [Vec<String>; 3] {
        let [old, new] =
            [BEFORE.to_owned(), BEFORE.replace(from, to)].map(|text| parse(&text).unwrap());
        let (vip, next) = (&old.vips[0], &new.vips[0]);
        let reals = real_details(&vip.reals[0], &next.reals[0]);
        [node_details(&old.node, &new.node), vip_details(vip, next), reals]
    }

    #[test]
    fn a_plan_says_what_of_health_changes() {
        let check = "check = { type = \"tcp\" }";
        for (to, expected) in [
            ("state = \"disabled\"", vec!["state enabled -> disabled", "check tcp:80 -> none"]),
            ("check = { type = \"tcp\", rise = 9 }", vec!["settings of check tcp:80"]),
            (
                "check = [{ type = \"http\" }, { type = \"icmp\" }], min_up = 1",
                vec!["min_up none -> 1 (returns with 1)", "check tcp:80 -> http:80/ icmp"],
            ),
            (
                "panic_threshold = \"30%\"",
                vec!["panic_threshold none -> 30%", "check tcp:80 -> none"],
            ),
        ] {
            assert_eq!(details(check, to)[1], expected);
        }
        assert_eq!(
            details("\"10.0.0.1\"", "\"10.0.0.1\", force_up = true")[2],
            ["force_up false -> true"]
        );
    }

    #[test]
    fn a_plan_says_what_of_this_machine_changes_with_the_next_start() {
        let node = "exec_user = \"x\", probe_prefixes = [\"11.0.0.0/8\"]";
        let to = format!("node = {{ interfaces = [\"eth0\"], {node} }}");
        assert_eq!(
            details("node.interfaces = [\"eth0\"]", &to)[0],
            [
                "probe_prefixes 198.18.0.0/15 2001:2::/48 -> 11.0.0.0/8 2001:2::/48",
                "exec_user nobody -> x",
            ]
        );
    }

    #[test]
    fn a_plan_shows_no_secret_of_a_hook() {
        let hooks = |text: &str| parse(&format!("hooks = {{ {text} }}\n{BEFORE}")).unwrap().hooks;
        let set = "exec = [\"/bin/true\", \"--token=t0\"], webhook = \"http://[::1]/t0\"";
        for (before, after, expected) in [
            ("", set, vec!["exec none -> /bin/true", "webhook none -> set"]),
            (set, &set.replace("t0", "t1"), vec!["arguments of exec", "webhook"]),
            (set, "", vec!["exec /bin/true -> none", "webhook set -> none"]),
            (set, set, vec![]),
        ] {
            assert_eq!(hook_details(&hooks(before), &hooks(after)), expected);
        }
    }
}

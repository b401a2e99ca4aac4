//! Random edits of random files, compared with the same edits made in the model.

use std::time::Duration;

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};

use self::{
    checks::CheckStyle,
    text::{commented, comments, without_free},
};
use super::*;
use crate::{
    config::samples,
    model::{
        Amount, Announce, HashMode, Hooks, OnDeadline, Real, RealState, UdpMode, Vip, VipState,
        Watermarks,
    },
};

mod checks;
mod text;

/// How lists of tables are written.
#[derive(Clone, Copy, Debug)]
enum Style {
    Sections,
    InlineReals,
    InlineVips,
}

fn style() -> impl Strategy<Value = (Style, CheckStyle, &'static str)> {
    let styles = vec![Style::Sections, Style::InlineReals, Style::InlineVips];
    let checks = vec![CheckStyle::Line, CheckStyle::Lines, CheckStyle::Sections];
    (select(styles), select(checks), select(vec!["\n", "\r\n"]))
}

/// Objects are chosen among those there are; new ones are given names and addresses of their own.
#[derive(Clone, Debug)]
enum Change {
    AddVip(NewVip),
    SetVip(Index, VipPatch),
    RemoveVip(Index),
    AddReal(Index, NewReal),
    SetReal(Index, Index, RealPatch),
    RemoveReal(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let pool = vec(new_real(), 0..3);
    let new_vip = (ports(), pool, options()).prop_map(|(ports, reals, options)| NewVip {
        ports,
        reals,
        options,
        ..NewVip::default()
    });
    let vip_patch = (option::of(ports()), options()).prop_map(|(ports, options)| VipPatch {
        ports,
        options,
        address: None,
    });
    prop_oneof![
        new_vip.prop_map(Change::AddVip),
        (index(), vip_patch).prop_map(|(vip, patch)| Change::SetVip(vip, patch)),
        index().prop_map(Change::RemoveVip),
        (index(), new_real()).prop_map(|(vip, new)| Change::AddReal(vip, new)),
        (index(), index(), real_patch())
            .prop_map(|(vip, real, patch)| Change::SetReal(vip, real, patch)),
        (index(), index()).prop_map(|(vip, real)| Change::RemoveReal(vip, real)),
    ]
}

fn ports() -> impl Strategy<Value = Vec<String>> {
    samples::ports().prop_map(|ports| ports.iter().map(ToString::to_string).collect())
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    option::of(select(words).prop_map(str::to_owned))
}

fn options() -> impl Strategy<Value = VipOptions> {
    (
        word(&["arp", "none"]),
        word(&["flow", "source"]),
        [word(&["1ms", "15m"]), word(&["2h", "7d"]), word(&["30s", "90s 5ms"])],
        (word(&["flow", "packet"]), word(&["rehash", "reset"])),
        (word(&["none", "1ms", "30s"]), word(&["none", "10.0.0.201", "10.0.0.202"])),
        (word(&["enabled", "disabled"]), shortage(), checks::words()),
    )
        .prop_map(
            |(
                announce,
                hash,
                [idle_timeout, drain_timeout, udp_idle_timeout],
                (udp, on_deadline),
                (slow_start, sorry),
                (state, (min_up, min_up_high, panic_threshold), check),
            )| {
                VipOptions {
                    announce,
                    hash,
                    idle_timeout,
                    drain_timeout,
                    on_deadline,
                    udp_idle_timeout,
                    udp,
                    slow_start,
                    sorry,
                    state,
                    min_up,
                    min_up_high,
                    panic_threshold,
                    check,
                }
            },
        )
}

/// Words for `min_up`, `min_up_high` and `panic_threshold` that are right whatever was there before.
fn shortage() -> impl Strategy<Value = (Option<String>, Option<String>, Option<String>)> {
    let words = vec![
        (None, None, None),
        (Some("none"), None, None),
        (Some("none"), None, Some("30%")),
        (Some("2"), Some("3"), Some("none")),
        (Some("50%"), Some("none"), Some("none")),
        (Some("4096"), Some("4096"), Some("none")),
    ];
    let owned = |word: Option<&str>| word.map(str::to_owned);
    select(words).prop_map(move |(low, high, panic)| (owned(low), owned(high), owned(panic)))
}

fn new_real() -> impl Strategy<Value = NewReal> {
    let mac = word(&["none", "02:00:00:00:00:01"]);
    (option::of(0..=256u16), mac).prop_map(|(weight, mac)| NewReal {
        weight,
        mac,
        address: String::new(),
    })
}

fn real_patch() -> impl Strategy<Value = RealPatch> {
    let state = word(&["active", "drain", "disabled"]);
    let mac = word(&["none", "02:00:00:00:00:02"]);
    (option::of(0..=256u16), state, mac, any::<Option<bool>>()).prop_map(
        |(weight, state, mac, force_up)| RealPatch { weight, state, mac, force_up, timeout: None },
    )
}

/// Makes the change in the text and in the model. Nothing happens where it has no object.
fn make(
    change: &Change,
    fresh: u8,
    text: &str,
    model: &mut Model,
) -> Option<Result<Edited, EditError>> {
    let vips = model.vips.len();
    match change {
        Change::AddVip(new) => {
            let new = with_addresses(new.clone(), fresh);
            model.vips.push(added_vip(&new));
            Some(add_vip(text, &new))
        }
        _ if vips == 0 => None,
        Change::RemoveVip(vip) => {
            let removed = model.vips.remove(vip.index(vips));
            Some(remove_vip(text, &removed.name))
        }
        Change::SetVip(vip, ..)
        | Change::AddReal(vip, ..)
        | Change::SetReal(vip, ..)
        | Change::RemoveReal(vip, ..) => {
            make_in(change, fresh, text, &mut model.vips[vip.index(vips)])
        }
    }
}

fn make_in(
    change: &Change,
    fresh: u8,
    text: &str,
    vip: &mut Vip,
) -> Option<Result<Edited, EditError>> {
    let index = |real: &Index| (!vip.reals.is_empty()).then(|| real.index(vip.reals.len()));
    Some(match change {
        Change::AddVip(_) | Change::RemoveVip(_) => return None,
        Change::SetVip(_, patch) => {
            if let Some(ports) = &patch.ports {
                vip.ports = ports.iter().map(|ports| ports.parse().unwrap()).collect();
            }
            apply(&patch.options, vip);
            set_vip(text, &vip.name, patch)
        }
        Change::AddReal(_, new) => {
            let new = NewReal { address: format!("10.2.{fresh}.1"), ..new.clone() };
            vip.reals.push(added_real(&new));
            add_real(text, &vip.name, &new)
        }
        Change::SetReal(_, real, patch) => {
            let index = index(real)?;
            let real = &mut vip.reals[index];
            real.weight = patch.weight.unwrap_or(real.weight);
            replace(&mut real.state, &patch.state);
            replace_or_remove(&mut real.mac, &patch.mac);
            real.force_up = patch.force_up.unwrap_or(real.force_up);
            set_real(text, &vip.name, real.address, patch)
        }
        Change::RemoveReal(_, real) => {
            let removed = vip.reals.remove(index(real)?);
            remove_real(text, &vip.name, removed.address)
        }
    })
}

fn with_addresses(mut new: NewVip, fresh: u8) -> NewVip {
    new.name = format!("new{fresh}");
    new.address = format!("192.0.3.{fresh}");
    for (last, real) in new.reals.iter_mut().enumerate() {
        real.address = format!("10.1.{fresh}.{last}");
    }
    new
}

fn added_vip(new: &NewVip) -> Vip {
    let [idle_timeout, drain_timeout, udp_idle_timeout] = [900, 3600, 30].map(Duration::from_secs);
    let mut vip = Vip {
        name: new.name.clone(),
        address: ip(&new.address),
        ports: new.ports.iter().map(|ports| ports.parse().unwrap()).collect(),
        announce: Announce::Arp,
        hash: HashMode::Flow,
        idle_timeout,
        drain_timeout,
        on_deadline: OnDeadline::Rehash,
        udp_idle_timeout,
        udp: UdpMode::Flow,
        slow_start: None,
        sorry: None,
        checks: Vec::new(),
        enabled: true,
        min_up: None,
        panic_threshold: None,
        reals: new.reals.iter().map(added_real).collect(),
    };
    apply(&new.options, &mut vip);
    vip
}

fn added_real(new: &NewReal) -> Real {
    let mut mac = None;
    replace_or_remove(&mut mac, &new.mac);
    Real {
        address: ip(&new.address),
        weight: new.weight.unwrap_or(1),
        state: RealState::Active,
        mac,
        force_up: false,
    }
}

fn apply(options: &VipOptions, vip: &mut Vip) {
    replace(&mut vip.announce, &options.announce);
    replace(&mut vip.hash, &options.hash);
    replace(&mut vip.udp, &options.udp);
    replace(&mut vip.on_deadline, &options.on_deadline);
    if let Some(word) = &options.slow_start {
        vip.slow_start = (word != "none").then(|| humantime::parse_duration(word).unwrap());
    }
    replace_or_remove(&mut vip.sorry, &options.sorry);
    for (timeout, word) in [
        (&mut vip.idle_timeout, &options.idle_timeout),
        (&mut vip.drain_timeout, &options.drain_timeout),
        (&mut vip.udp_idle_timeout, &options.udp_idle_timeout),
    ] {
        *timeout = word.as_ref().map_or(*timeout, |word| humantime::parse_duration(word).unwrap());
    }
    if let Some(word) = &options.state {
        vip.enabled = word.parse() == Ok(VipState::Enabled);
    }
    replace_or_remove(&mut vip.panic_threshold, &options.panic_threshold.as_deref().map(share));
    apply_watermarks(options, vip);
    if let Some(words) = &options.check {
        vip.checks = checks::applied(words, &vip.checks);
    }
}

/// The number of a share.
fn share(word: &str) -> String {
    word.trim_end_matches('%').to_owned()
}

fn apply_watermarks(options: &VipOptions, vip: &mut Vip) {
    let amount = |word: &Option<String>, old: Option<Amount>| match word.as_deref() {
        Some("none") => None,
        Some(word) => Some(word.parse().unwrap()),
        None => old,
    };
    if let Some(low) = amount(&options.min_up, vip.min_up.map(|marks| marks.low)) {
        let high = amount(&options.min_up_high, vip.min_up.map(|marks| marks.high)).unwrap_or(low);
        vip.min_up = Some(Watermarks { low, high });
    } else {
        vip.min_up = None;
    }
}

fn replace<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &mut T, word: &Option<String>) {
    if let Some(word) = word {
        *value = word.parse().unwrap();
    }
}

fn replace_or_remove<T: std::str::FromStr<Err: std::fmt::Debug>>(
    value: &mut Option<T>,
    word: &Option<String>,
) {
    if let Some(word) = word {
        *value = (word != "none").then(|| word.parse().unwrap());
    }
}

proptest! {
    #[test]
    fn edits_do_in_the_text_what_they_do_in_the_model_and_keep_all_other_comments(
        model in samples::model(),
        (style, checks, newline) in style(),
        changes in vec(change(), 1..8),
    ) {
        let mut text = commented(&model, (style, checks)).replace('\n', newline);
        let mut model = model;
        let typed = read(&text).map(|reading| reading.model);
        prop_assert_eq!(typed.map_err(|errors| format!("{errors}\n{text}")), Ok(model.clone()));
        for (fresh, change) in changes.iter().enumerate() {
            let before = text.clone();
            let Some(edited) = make(change, fresh as u8, &text, &mut model) else { continue };
            let edited = edited.map_err(|error| TestCaseError::fail(format!("{error}\n{change:?}\n{text}")))?;
            prop_assert_eq!(&edited.model, &model, "{:?}\n{}", change, before);
            let [old, new] = [&before, &edited.text].map(|text| comments(text, &model));
            if matches!(change, Change::RemoveVip { .. }) {
                prop_assert_eq!(without_free(old), without_free(new), "{:?}\n{}\n{}", change, before, edited.text);
            } else {
                prop_assert_eq!(old, new, "{:?}\n{}\n{}", change, before, edited.text);
            }
            prop_assert_eq!(edited.text.matches('\n').count(), edited.text.matches(newline).count());
            text = edited.text;
        }
    }
}

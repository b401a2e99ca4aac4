//! Random edits of random files, compared with the same edits made in the model.

use std::{net::Ipv4Addr, time::Duration};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::{
    config::{export::to_toml, samples},
    model::{
        Announce, Check, CheckKind, CheckVia, HashMode, Mac, Ports, Real, RealState, UdpMode, Vip,
    },
};

/// How lists of tables are written.
#[derive(Clone, Copy, Debug)]
enum Style {
    Sections,
    InlineReals,
    InlineVips,
}

/// The objects of an edit are chosen among those there are; new ones get addresses of their own.
#[derive(Clone, Debug)]
enum Change {
    AddVip {
        ports: Vec<Ports>,
        reals: u8,
        hash: HashMode,
        sorry: bool,
    },
    SetVip {
        vip: Index,
        ports: Option<Vec<Ports>>,
        hash: Option<HashMode>,
        sorry: Option<u8>,
        check: Option<Word>,
        idle: Option<u32>,
    },
    RemoveVip {
        vip: Index,
    },
    AddReal {
        vip: Index,
        weight: Option<u16>,
        mac: Option<u8>,
    },
    SetReal {
        vip: Index,
        real: Index,
        weight: Option<u16>,
        state: Option<RealState>,
        mac: Option<u8>,
    },
    RemoveReal {
        vip: Index,
        real: Index,
    },
}

/// A check as it is asked for; `None` removes it.
type Word = Option<CheckKind>;

fn style() -> impl Strategy<Value = (Style, &'static str)> {
    (
        select(vec![Style::Sections, Style::InlineReals, Style::InlineVips]),
        select(vec!["\n", "\r\n"]),
    )
}

fn change() -> impl Strategy<Value = Change> {
    let hash = || select(vec![HashMode::Flow, HashMode::Source]);
    let state = select(vec![
        RealState::Active,
        RealState::Drain,
        RealState::Disabled,
    ]);
    let port = 1..=u16::MAX;
    let kind = prop_oneof![
        port.clone().prop_map(|port| CheckKind::Tcp { port }),
        (port, "/[a-z]{0,5}").prop_map(|(port, path)| CheckKind::Http { port, path }),
    ];
    let weight = || option::of(0..=256u16);
    let index = any::<Index>;
    prop_oneof![
        (samples::ports(), 0..3u8, hash(), any::<bool>()).prop_map(
            |(ports, reals, hash, sorry)| Change::AddVip {
                ports,
                reals,
                hash,
                sorry
            }
        ),
        (
            index(),
            option::of(samples::ports()),
            option::of(hash()),
            option::of(0..9u8),
            option::of(option::of(kind)),
            option::of(1..9999u32)
        )
            .prop_map(|(vip, ports, hash, sorry, check, idle)| Change::SetVip {
                vip,
                ports,
                hash,
                sorry,
                check,
                idle
            }),
        index().prop_map(|vip| Change::RemoveVip { vip }),
        (index(), weight(), option::of(1..9u8)).prop_map(|(vip, weight, mac)| Change::AddReal {
            vip,
            weight,
            mac
        }),
        (
            index(),
            index(),
            weight(),
            option::of(state),
            option::of(0..9u8)
        )
            .prop_map(|(vip, real, weight, state, mac)| Change::SetReal {
                vip,
                real,
                weight,
                state,
                mac
            }),
        (index(), index()).prop_map(|(vip, real)| Change::RemoveReal { vip, real }),
    ]
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn sorry(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 200 + last).into()
}

fn chosen<'m>(index: &Index, vips: &'m mut [Vip]) -> &'m mut Vip {
    let index = index.index(vips.len());
    &mut vips[index]
}

/// Makes the change in the text and in the model. Nothing happens where it has no object.
fn make(
    change: &Change,
    fresh: u8,
    text: &str,
    model: &mut Model,
) -> Option<Result<Edited, EditError>> {
    match change {
        Change::AddVip { .. } => Some(make_add_vip(change, fresh, text, model)),
        _ if model.vips.is_empty() => None,
        Change::SetVip {
            vip,
            ports,
            hash,
            sorry,
            check,
            idle,
        } => {
            let vip = chosen(vip, &mut model.vips);
            let patch = set_vip_in_model(vip, ports, *hash, *sorry, check, *idle);
            Some(set_vip(text, &vip.name, &patch))
        }
        Change::RemoveVip { vip } => {
            let removed = model.vips.remove(vip.index(model.vips.len()));
            Some(remove_vip(text, &removed.name))
        }
        Change::AddReal {
            vip,
            weight,
            mac: last,
        } => {
            let vip = chosen(vip, &mut model.vips);
            let address = Ipv4Addr::new(10, 2, fresh, 1).into();
            let (weight, mac) = (*weight, last.map(mac));
            vip.reals.push(Real {
                address,
                weight: weight.unwrap_or(1),
                state: RealState::Active,
                mac,
            });
            let new = NewReal {
                address: address.to_string(),
                weight,
                mac: mac.map(|mac| mac.to_string()),
            };
            Some(add_real(text, &vip.name, &new))
        }
        Change::SetReal {
            vip,
            real,
            weight,
            state,
            mac,
        } => {
            let vip = chosen(vip, &mut model.vips);
            let count = vip.reals.len();
            let real = vip.reals.get_mut(real.index(count.max(1)))?;
            let patch = set_real_in_model(real, *weight, *state, *mac);
            Some(set_real(text, &vip.name, real.address, &patch))
        }
        Change::RemoveReal { vip, real } => {
            let vip = chosen(vip, &mut model.vips);
            let real =
                (!vip.reals.is_empty()).then(|| vip.reals.remove(real.index(vip.reals.len())))?;
            Some(remove_real(text, &vip.name, real.address))
        }
    }
}

fn make_add_vip(
    change: &Change,
    fresh: u8,
    text: &str,
    model: &mut Model,
) -> Result<Edited, EditError> {
    let Change::AddVip {
        ports,
        reals,
        hash,
        sorry: with_sorry,
    } = change
    else {
        unreachable!()
    };
    let addresses: Vec<IpAddr> = (0..*reals)
        .map(|last| Ipv4Addr::new(10, 1, fresh, last).into())
        .collect();
    let real = |address: &IpAddr| Real {
        address: *address,
        weight: 1,
        state: RealState::Active,
        mac: None,
    };
    let seconds = Duration::from_secs;
    let vip = Vip {
        name: format!("new{fresh}"),
        address: Ipv4Addr::new(192, 0, 3, fresh).into(),
        ports: ports.clone(),
        announce: Announce::Arp,
        hash: *hash,
        idle_timeout: seconds(900),
        drain_timeout: seconds(3600),
        udp_idle_timeout: seconds(30),
        udp: UdpMode::Flow,
        sorry: with_sorry.then(|| sorry(0)),
        check: None,
        reals: addresses.iter().map(real).collect(),
    };
    let new = NewVip {
        name: vip.name.clone(),
        address: vip.address.to_string(),
        ports: vip.ports.iter().map(ToString::to_string).collect(),
        reals: addresses
            .iter()
            .map(|address| new_real(&address.to_string()))
            .collect(),
        options: VipOptions {
            hash: Some(vip.hash.to_string()),
            sorry: vip.sorry.map(|sorry| sorry.to_string()),
            ..VipOptions::default()
        },
    };
    model.vips.push(vip);
    add_vip(text, &new)
}

fn set_vip_in_model(
    vip: &mut Vip,
    ports: &Option<Vec<Ports>>,
    hash: Option<HashMode>,
    new_sorry: Option<u8>,
    check: &Option<Word>,
    idle: Option<u32>,
) -> VipPatch {
    let mut patch = VipPatch::default();
    if let Some(ports) = ports {
        vip.ports.clone_from(ports);
        patch.ports = Some(ports.iter().map(ToString::to_string).collect());
    }
    if let Some(hash) = hash {
        vip.hash = hash;
        patch.options.hash = Some(hash.to_string());
    }
    if let Some(last) = new_sorry {
        vip.sorry = (last > 0).then(|| sorry(last));
        patch.options.sorry = Some(
            vip.sorry
                .map_or("none".to_owned(), |sorry| sorry.to_string()),
        );
    }
    if let Some(idle) = idle {
        vip.idle_timeout = Duration::from_secs(idle.into());
        patch.options.idle_timeout = Some(format!("{idle}s"));
    }
    if let Some(word) = check {
        patch.options.check = Some(set_check_in_model(vip, word));
    }
    patch
}

fn set_check_in_model(vip: &mut Vip, word: &Word) -> String {
    let [interval, timeout] = [2, 1].map(Duration::from_secs);
    let fresh = |kind| Check {
        kind,
        via: CheckVia::Vip,
        interval,
        timeout,
        rise: 2,
        fall: 3,
    };
    vip.check = word.clone().map(|kind| match vip.check.take() {
        Some(old) => Check { kind, ..old },
        None => fresh(kind),
    });
    match word {
        None => "none".to_owned(),
        Some(CheckKind::Tcp { port }) => format!("tcp:{port}"),
        Some(CheckKind::Http { port, path }) => format!("http:{port}{path}"),
    }
}

fn set_real_in_model(
    real: &mut Real,
    weight: Option<u16>,
    state: Option<RealState>,
    last: Option<u8>,
) -> RealPatch {
    let mut patch = RealPatch {
        weight,
        ..RealPatch::default()
    };
    real.weight = weight.unwrap_or(real.weight);
    if let Some(state) = state {
        real.state = state;
        patch.state = Some(state.to_string());
    }
    if let Some(last) = last {
        real.mac = (last > 0).then(|| mac(last));
        patch.mac = Some(real.mac.map_or("none".to_owned(), |mac| mac.to_string()));
    }
    patch
}

/// The model as a file with comments, each of which says to whom it belongs.
fn commented(model: &Model, style: Style) -> String {
    let node = to_toml(&Model {
        vips: Vec::new(),
        node: model.node.clone(),
    });
    let node = node.replace('\n', " # node\n");
    let mut vips: Vec<_> = model
        .vips
        .iter()
        .map(|vip| vip_with_comments(vip, style))
        .collect();
    match style {
        Style::InlineVips => {
            vips.insert(0, "vip = [ # free\n".to_owned());
            format!("{}]\n\n# free\n\n{node}\n# free\n", vips.concat())
        }
        Style::Sections | Style::InlineReals => format!(
            "# free\n\n{node}\n# free\n\n{}\n# free\n",
            vips.join("\n# free\n\n")
        ),
    }
}

fn vip_with_comments(vip: &Vip, style: Style) -> String {
    let name = &vip.name;
    let fields = fields(&to_toml(&Model {
        node: crate::config::parse("node.interfaces = [\"a\"]")
            .unwrap()
            .node,
        vips: vec![Vip {
            reals: Vec::new(),
            ..vip.clone()
        }],
    }));
    let reals: Vec<_> = vip
        .reals
        .iter()
        .map(|real| real_with_comments(vip, real, style))
        .collect();
    let lines: String = fields
        .iter()
        .map(|line| {
            if removable(line) {
                format!("{line}\n")
            } else {
                format!("{line} # vip {name}.\n")
            }
        })
        .collect();
    match style {
        Style::Sections => format!(
            "# vip {name}.\n[[vip]] # vip {name}.\n{lines}{}",
            reals.concat()
        ),
        Style::InlineReals if reals.is_empty() => format!("# vip {name}.\n[[vip]]\n{lines}"),
        Style::InlineReals => {
            let last = reals.len() - 1;
            // Without a comma after the last one.
            let reals: String = reals
                .iter()
                .enumerate()
                .map(|(i, real)| {
                    if i == last {
                        real.replacen("},", "}", 1)
                    } else {
                        real.clone()
                    }
                })
                .collect();
            format!(
                "# vip {name}.\n[[vip]]\n{lines}real = [ # vip {name}.\n{reals}\n  # vip {name}.\n]\n"
            )
        }
        Style::InlineVips => format!(
            "\n  # vip {name}.\n  {{ {}, real = [{}] }}, # vip {name}.\n\n  # free\n",
            fields.join(", "),
            reals.join(", ")
        ),
    }
}

fn real_with_comments(vip: &Vip, real: &Real, style: Style) -> String {
    let pool = Vip {
        reals: vec![real.clone()],
        ..vip.clone()
    };
    let node = crate::config::parse("node.interfaces = [\"a\"]")
        .unwrap()
        .node;
    let text = to_toml(&Model {
        node,
        vips: vec![pool],
    });
    let fields = fields(text.split("[[vip.real]]").last().unwrap());
    let owner = format!("# real {} of {}.", real.address, vip.name);
    match style {
        Style::Sections => {
            let lines: String = fields
                .iter()
                .map(|line| {
                    if removable(line) {
                        format!("{line}\n")
                    } else {
                        format!("{line} {owner}\n")
                    }
                })
                .collect();
            format!("\n  # free\n\n  {owner}\n  [[vip.real]] {owner}\n{lines}")
        }
        Style::InlineReals => format!("\n  {owner}\n  {{ {} }}, {owner}\n", fields.join(", ")),
        Style::InlineVips => format!("{{ {} }}", fields.join(", ")),
    }
}

fn fields(text: &str) -> Vec<String> {
    let section = text.split("[[vip]]").last().unwrap();
    section
        .lines()
        .filter(|line| line.contains(" = "))
        .map(str::to_owned)
        .collect()
}

fn removable(line: &str) -> bool {
    ["sorry", "check", "mac"]
        .iter()
        .any(|key| line.starts_with(key))
}

/// The comments of what is still in the model, counted.
fn comments(text: &str, model: &Model) -> Vec<String> {
    let gone = |comment: &str| {
        let vip = |name: &str| model.vips.iter().find(|vip| vip.name == name);
        let words: Vec<_> = comment.trim_end_matches('.').split(' ').collect();
        match words.as_slice() {
            ["vip", name] => vip(name).is_none(),
            ["real", address, "of", name] => vip(name).is_none_or(|vip| {
                !vip.reals
                    .iter()
                    .any(|real| real.address.to_string() == *address)
            }),
            _ => false,
        }
    };
    let found = text
        .lines()
        .filter_map(|line| Some(line.split_once("# ")?.1.to_owned()));
    let mut found: Vec<_> = found.filter(|comment| !gone(comment)).collect();
    found.sort();
    found
}

/// Free comments inside a VIP's own sections go with it.
fn without_free(comments: Vec<String>) -> Vec<String> {
    comments
        .into_iter()
        .filter(|comment| comment != "free")
        .collect()
}

proptest! {
    #[test]
    fn edits_do_in_the_text_what_they_do_in_the_model_and_keep_all_other_comments(
        model in samples::model(),
        (style, newline) in style(),
        changes in vec(change(), 1..8),
    ) {
        let mut text = commented(&model, style).replace('\n', newline);
        let mut model = model;
        prop_assert_eq!(parse(&text).map_err(|errors| format!("{errors}\n{text}")), Ok(model.clone()));
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

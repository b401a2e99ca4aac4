//! The text of a model, with comments that say to whom they belong.

use super::{checks::with_checks, *};
use crate::config::export::to_toml;

/// The model as a file with comments, each of which says to whom it belongs.
pub(super) fn commented(model: &Model, (style, checks): (Style, CheckStyle)) -> String {
    let node = to_toml(&Model { vips: Vec::new(), ..model.clone() });
    let node = node.replace('\n', " # node\n");
    let mut vips: Vec<_> =
        model.vips.iter().map(|vip| vip_with_comments(vip, (style, checks))).collect();
    match style {
        Style::InlineVips => {
            vips.insert(0, "vip = [ # free\n".to_owned());
            format!("{}]\n\n# free\n\n{node}\n# free\n", vips.concat())
        }
        Style::Sections | Style::InlineReals => {
            format!("# free\n\n{node}\n# free\n\n{}\n# free\n", vips.join("\n# free\n\n"))
        }
    }
}

fn vip_with_comments(vip: &Vip, (style, checks): (Style, CheckStyle)) -> String {
    let owner = format!("# vip {}.", vip.name);
    let alone = Vip { reals: Vec::new(), checks: Vec::new(), ..vip.clone() };
    let fields = fields(&to_toml(&only(alone)));
    let (keys, sections) = with_checks(vip, checks);
    let lines = with_comments(&fields, &owner) + &keys;
    let reals: Vec<_> = vip.reals.iter().map(|real| real_with_comments(vip, real, style)).collect();
    match style {
        Style::Sections => {
            format!("{owner}\n[[vip]] {owner}\n{lines}{sections}{}", reals.concat())
        }
        Style::InlineReals => {
            // Without a comma after the last one.
            let reals = reals.concat();
            let reals = reals
                .rsplit_once("},")
                .map_or(reals.clone(), |(rest, end)| format!("{rest}}}{end}"));
            format!("{owner}\n[[vip]]\n{lines}real = [ {owner}\n{reals}\n  {owner}\n]\n{sections}")
        }
        Style::InlineVips => {
            let (keys, _) = with_checks(vip, CheckStyle::Line);
            let keys = keys.trim_end().to_owned();
            let fields: Vec<_> =
                fields.into_iter().chain(Some(keys).filter(|keys| !keys.is_empty())).collect();
            let (fields, reals) = (fields.join(", "), reals.join(", "));
            format!("\n  {owner}\n  {{ {fields}, real = [{reals}] }}, {owner}\n\n  # free\n")
        }
    }
}

fn real_with_comments(vip: &Vip, real: &Real, style: Style) -> String {
    let owner = format!("# real {} of {}.", real.address, vip.name);
    let text = to_toml(&only(Vip { reals: vec![real.clone()], ..vip.clone() }));
    let fields = fields(text.split("[[vip.real]]").last().unwrap());
    let inline = fields.join(", ");
    match style {
        Style::Sections => {
            let lines = with_comments(&fields, &owner);
            format!("\n  # free\n\n  {owner}\n  [[vip.real]] {owner}\n{lines}")
        }
        Style::InlineReals => format!("\n  {owner}\n  {{ {inline} }}, {owner}\n"),
        Style::InlineVips => format!("{{ {inline} }}"),
    }
}

pub(super) fn only(vip: Vip) -> Model {
    let node = crate::config::parse("node.interfaces = [\"eth0\"]").unwrap().node;
    Model { node, vips: vec![vip], hooks: Hooks::default(), access: None }
}

/// Fields that an edit can remove have no comment.
fn with_comments(fields: &[String], owner: &str) -> String {
    let removable = |line: &str| {
        ["slow_start", "sorry", "min_up", "panic_threshold", "check", "mac", "force_up"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let comment = |line: &String| {
        if removable(line) { format!("{line}\n") } else { format!("{line} {owner}\n") }
    };
    fields.iter().map(comment).collect()
}

fn fields(text: &str) -> Vec<String> {
    let section = text.split("[[vip]]").last().unwrap();
    section.lines().filter(|line| line.contains(" = ")).map(str::to_owned).collect()
}

/// The comments of what is still in the model, counted.
pub(super) fn comments(text: &str, model: &Model) -> Vec<String> {
    let gone = |comment: &str| {
        let vip = |name: &str| model.vips.iter().find(|vip| vip.name == name);
        let words: Vec<_> = comment.trim_end_matches('.').split(' ').collect();
        match words.as_slice() {
            ["vip", name] => vip(name).is_none(),
            ["real", address, "of", name] => vip(name).is_none_or(|vip| {
                !vip.reals.iter().any(|real| real.address.to_string() == *address)
            }),
            _ => false,
        }
    };
    let found = text.lines().filter_map(|line| Some(line.split_once("# ")?.1.to_owned()));
    let mut found: Vec<_> = found.filter(|comment| !gone(comment)).collect();
    found.sort();
    found
}

/// Free comments inside a VIP's own sections go with it.
pub(super) fn without_free(comments: Vec<String>) -> Vec<String> {
    comments.into_iter().filter(|comment| comment != "free").collect()
}

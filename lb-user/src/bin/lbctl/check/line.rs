//! The line: the worst first, then data that is kept and drawn.

use lb_common::Outcome;
use lb_user::api::types::{Status, VipStatus};

use super::verdict::{self, Finding, Pool, Severity, Thresholds};

/// How many findings are told; the line is read on a pager.
const TOLD: usize = 5;

/// What is to be said.
#[derive(Debug)]
pub struct Report {
    /// What is not well, the worst first.
    findings: Vec<Finding>,
    /// What is said where nothing is, and after what is.
    summary: String,
    /// Performance data.
    data: Vec<String>,
}

impl Report {
    /// Nobody can tell, for this reason.
    pub fn unknown(reason: String) -> Self {
        Self { findings: vec![(Severity::Unknown, reason)], summary: String::new(), data: vec![] }
    }

    /// What a status says of these VIPs, or of all where none is named.
    pub fn of(status: &Status, wanted: &[String], thresholds: Thresholds) -> Self {
        let meant = |vip: &&VipStatus| wanted.is_empty() || wanted.contains(&vip.name);
        let vips: Vec<_> = status.vips.iter().filter(meant).collect();
        let missing = wanted.iter().filter(|name| !vips.iter().any(|vip| vip.name == **name));
        let missing = missing.map(|name| (Severity::Unknown, format!("there is no VIP {name}")));
        let mut findings = verdict::of_node(status);
        findings.extend(vips.iter().filter_map(|vip| verdict::of_vip(vip, thresholds)));
        findings.extend(missing);
        if status.vips.is_empty() && wanted.is_empty() {
            findings.push((Severity::Warning, "there are no VIPs".to_owned()));
        }
        findings.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        let mut data: Vec<_> = vips.iter().flat_map(|vip| of_vip(vip, thresholds)).collect();
        data.extend(of_node(status));
        Self { findings, summary: summary(&vips), data }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|(severity, _)| *severity).max().unwrap_or(Severity::Ok)
    }

    /// One line.
    pub fn line(&self) -> String {
        let mut parts: Vec<_> =
            self.findings.iter().take(TOLD).map(|(_, finding)| finding.clone()).collect();
        if self.findings.len() > TOLD {
            parts.push(format!("and {} more", self.findings.len() - TOLD));
        }
        parts.extend(Some(self.summary.clone()).filter(|summary| !summary.is_empty()));
        let head = format!("LB {} - {}", self.severity().label(), text(&parts.join("; ")));
        if self.data.is_empty() { head } else { format!("{head} | {}", self.data.join(" ")) }
    }
}

/// How many VIPs and reals are up.
fn summary(vips: &[&VipStatus]) -> String {
    if vips.is_empty() {
        return String::new();
    }
    let pools = vips.iter().map(|vip| Pool::of(vip));
    let [wanted, up, draining] = pools.fold([0; 3], |[wanted, up, draining], pool| {
        [wanted + pool.wanted, up + pool.up, draining + pool.draining]
    });
    let well = vips.iter().filter(|vip| vip.state == "up").count();
    let mut summary = format!("{well} of {} VIPs and {up} of {wanted} reals up", vips.len());
    if draining > 0 {
        summary.push_str(&format!(", {draining} draining"));
    }
    summary
}

/// `'web_reals_up'=2;2:;1:;0;3`: value, warning, critical, least, most.
fn of_vip(vip: &VipStatus, Thresholds { warning, critical }: Thresholds) -> [String; 2] {
    let Pool { wanted, up, draining } = Pool::of(vip);
    let [warning, critical] = [warning, critical]
        .map(|range| range.map_or_else(String::new, |range| range.of(wanted).to_string()));
    [
        format!("{}={up};{warning};{critical};0;{wanted}", label(&vip.name, "reals_up")),
        format!("{}={draining};;;0", label(&vip.name, "reals_draining")),
    ]
}

fn of_node(status: &Status) -> [String; 2] {
    let forwarded = status.outcomes.get(Outcome::Forwarded.label());
    let forwarded = forwarded.and_then(serde_json::Value::as_u64).unwrap_or(0);
    [
        format!("'forwarded'={forwarded}c;;;0"),
        format!("'dropped'={}c;;;0", verdict::dropped(status)),
    ]
}

/// A label in its quotes. In there a quote is doubled; an equals sign, a bar and what ends a line
/// cannot be.
fn label(vip: &str, what: &str) -> String {
    let clean = |letter: char| match letter {
        '\'' => "''".to_owned(),
        letter if letter == '=' || letter == '|' || letter.is_control() => "_".to_owned(),
        letter => letter.to_string(),
    };
    format!("'{}_{what}'", vip.chars().map(clean).collect::<String>())
}

/// What the data cannot be taken to begin in, in one line.
fn text(words: &str) -> String {
    let plain = |letter: char| match letter {
        '|' => '/',
        letter if letter.is_control() => ' ',
        letter => letter,
    };
    let words: String = words.chars().map(plain).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_or_a_reason_breaks_the_data() {
        assert_eq!(label("web-1.example_x", "up"), "'web-1.example_x_up'");
        assert_eq!(label("a'b=c|d\ne", "up"), "'a''b_c_d_e_up'");
        assert_eq!(text("exit 1: load|high\n\tnow"), "exit 1: load/high now");
        assert_eq!(text("a\u{1b}[2Jb\u{7}\0"), "a [2Jb");
    }
}

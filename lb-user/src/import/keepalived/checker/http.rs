//! `HTTP_GET` and `SSL_GET`.

use std::ops::RangeInclusive;

use super::{Checker, words};
use crate::{
    import::keepalived::{pace, tree::Statement},
    model::{CheckKind, HttpCheck, HttpVersion, Tls},
};

/// A check for each URL.
pub(super) fn kinds(checker: &mut Checker<'_>, tls: bool) -> Vec<CheckKind> {
    let (mut urls, mut host) = (Vec::new(), checker.target.virtualhost.clone());
    let (mut sni, mut named) = (false, None);
    for it in std::mem::take(&mut checker.own) {
        match it.keyword() {
            "url" => urls.push(it),
            "virtualhost" => host = it.word(1).map(str::to_owned),
            "enable_sni" => sni = pace::truth(it),
            "sni_name" => named = it.word(1).map(str::to_owned),
            _ => checker.notes.push(words::note(words::CHECKER, it)),
        }
    }
    if urls.is_empty() {
        return checker.leave("it has no url; write one with its path");
    }
    let mut kinds = Vec::new();
    for url in urls {
        let mut check = request(checker, url);
        check.host = check.host.or_else(|| host.clone());
        let name = named.clone().or_else(|| check.host.clone().filter(|_| sni));
        // keepalived looks at no certificate.
        check.tls = tls.then_some(Tls { name, verify: false, ca: None });
        kinds.push(CheckKind::Http(check));
    }
    kinds
}

fn request(checker: &mut Checker<'_>, url: &Statement) -> HttpCheck {
    let mut check = HttpCheck {
        port: checker.port,
        tls: None,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        host: None,
        status: vec![200..=299],
        body: None,
        version: HttpVersion::One,
    };
    for it in url.inner() {
        match (it.keyword(), it.word(1)) {
            ("path", Some(path)) => check.path = path.to_owned(),
            ("virtualhost", Some(host)) => check.host = Some(host.to_owned()),
            ("status_code", Some(_)) => match it.values().map(range).collect() {
                Some(status) => check.status = status,
                None => checker.notes.push(
                    it.note("not carried over: write status codes from 100 to 599; here 200-299 is expected"),
                ),
            },
            ("regex", Some(text)) if is_plain(text) && !excludes(url) => {
                check.body = Some(text.to_owned());
            }
            _ => checker.notes.push(words::note(words::CHECKER, it)),
        }
    }
    check
}

/// Whether the text is what must not be found, or is not looked for as it stands.
fn excludes(url: &Statement) -> bool {
    let words = ["regex_no_match", "regex_options"];
    url.inner().iter().any(|it| words.contains(&it.keyword()))
}

/// Whether a regular expression finds just itself.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| "\\^$.|?*+()[]{}".contains(c) || c.is_control())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let [low, high] =
        [low, high].map(|code| code.parse().ok().filter(|code| (100..=599).contains(code)));
    Some(low?..=high?).filter(|range: &RangeInclusive<u16>| !range.is_empty())
}

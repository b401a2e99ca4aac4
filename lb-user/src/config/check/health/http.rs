//! HTTP requests, and TLS.

use std::{ops::RangeInclusive, path::PathBuf};

use http::uri::{Authority, PathAndQuery};
use rustls_pki_types::ServerName;
use toml::Spanned;

use crate::{
    config::{machine::Thing, raw::Table},
    model::{CheckKind, HttpCheck, Tls},
};

pub(super) fn check(table: &Table<'_>, port: Option<u16>, tls: Option<Tls>) -> Option<CheckKind> {
    let method = method(table);
    let body = table.text("body");
    if let Some(body) = &body {
        let without = method == "HEAD" || body.get_ref().is_empty();
        let reason = "nothing can be found in the body of an answer so; write body = \"text\" and method = \"GET\", or remove body";
        without.then(|| table.refuse(body.span(), reason));
    }
    let check = HttpCheck {
        tls,
        path: path(table),
        host: host(table),
        status: status(table),
        body: body.map(|body| (*body.get_ref()).to_owned()),
        version: table.parsed("version").map(Spanned::into_inner).unwrap_or_default(),
        method,
        port: port?,
    };
    Some(CheckKind::Http(check))
}

/// RFC 9110, section 9: any but that for tunnels.
fn method(table: &Table<'_>) -> String {
    let Some(text) = table.text("method") else {
        return "GET".to_owned();
    };
    let method = *text.get_ref();
    let known = http::Method::from_bytes(method.as_bytes());
    if !known.is_ok_and(|known| known != http::Method::CONNECT) {
        table.refuse(
            text.span(),
            format_args!("method {method:?} asks for nothing; write one such as GET or HEAD"),
        );
    }
    method.to_owned()
}

fn path(table: &Table<'_>) -> String {
    let Some(text) = table.text("path") else {
        return "/".to_owned();
    };
    let path = *text.get_ref();
    // What is behind a `#` is not part of a request.
    let whole = path.parse().is_ok_and(|parsed: PathAndQuery| parsed.as_str() == path);
    if !path.starts_with('/') || !path.is_ascii() || !whole {
        table.refuse(
            text.span(),
            format_args!("path {path:?} is not a path; write one such as /healthz, without spaces"),
        );
    }
    path.to_owned()
}

fn host(table: &Table<'_>) -> Option<String> {
    let text = table.text("host")?;
    let host = *text.get_ref();
    let right = host.parse().is_ok_and(|parsed: Authority| parsed.as_str() == host);
    if !right || host.contains('@') {
        table.refuse(
            text.span(),
            format_args!(
                "host {host:?} is not a host; write one such as shop.example or shop.example:8080"
            ),
        );
    }
    Some(host.to_owned())
}

fn status(table: &Table<'_>) -> Vec<RangeInclusive<u16>> {
    let Some(text) = table.text("status") else {
        return vec![200..=399];
    };
    let ranges: Option<Vec<_>> = text.get_ref().split(',').map(|part| range(part.trim())).collect();
    ranges.unwrap_or_else(|| {
        let status = text.get_ref();
        table.refuse(text.span(), format_args!("status {status:?} is not a list of status codes from 100 to 599; write it as \"200\" or \"200-299,301\""));
        Vec::new()
    })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let [low, high] = [low, high].map(|code| {
        let three = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        code.parse().ok().filter(|code| three && (100..=599).contains(code))
    });
    Some(low?..=high?).filter(|range| !range.is_empty())
}

/// How TLS is spoken. A certificate that is verified needs others that are trusted.
pub(super) fn tls(table: &Table<'_>) -> Tls {
    let verify = table.flag("verify").unwrap_or(true);
    let ca = ca(table);
    if verify {
        let key = if ca.is_some() { "ca" } else { "type" };
        table.needs(table.place_of(key), Thing::Roots(ca.clone()));
    }
    Tls { name: sni(table), verify, ca }
}

fn sni(table: &Table<'_>) -> Option<String> {
    let text = table.text("sni")?;
    let name = *text.get_ref();
    if ServerName::try_from(name).is_err() {
        table.refuse(
            text.span(),
            format_args!("sni {name:?} is not a server's name; write one such as shop.example"),
        );
    }
    Some(name.to_owned())
}

fn ca(table: &Table<'_>) -> Option<PathBuf> {
    let text = table.text("ca")?;
    let path = *text.get_ref();
    if !path.starts_with('/') || path.contains('\0') {
        table.refuse(
            text.span(),
            format_args!(
                "ca {path:?} is not an absolute path; write that of a file with certificates in PEM"
            ),
        );
    }
    Some(path.into())
}

//! Checkers of real servers.

mod http;
mod misc;

use std::{net::IpAddr, time::Duration};

use super::{
    address,
    pace::{Defaults, Pace},
    tree::Statement,
    words,
};
use crate::{
    import::{DraftCheck, Note, Unreadable},
    model::{Check, CheckKind, CheckVia, DnsCheck, Ports, Protocol},
};

/// The real that is checked, and what its virtual server says of it.
pub(super) struct Target<'a> {
    pub(super) address: IpAddr,
    /// 0 where it is not told.
    pub(super) port: u16,
    /// What the virtual server serves.
    pub(super) served: &'a [Ports],
    pub(super) virtualhost: Option<String>,
    pub(super) pace: Pace,
}

/// What was read of a checker so far.
struct Checker<'a> {
    target: &'a Target<'a>,
    statement: &'a Statement,
    pace: Pace,
    port: u16,
    /// What is its own kind's to read.
    own: Vec<&'a Statement>,
    notes: Vec<Note>,
}

/// Whether a statement is one that [`read`] knows.
pub(super) fn is_one(statement: &Statement) -> bool {
    let known = [
        "TCP_CHECK",
        "HTTP_GET",
        "SSL_GET",
        "SMTP_CHECK",
        "DNS_CHECK",
        "MISC_CHECK",
        "PING_CHECK",
        "UDP_CHECK",
    ];
    known.contains(&statement.keyword())
}

/// The checks that a checker comes to: none where it cannot be carried over, which is noted.
pub(super) fn read(
    target: &Target<'_>,
    statement: &Statement,
) -> Result<(Vec<DraftCheck>, Vec<Note>), Unreadable> {
    let mut checker = common(target, statement)?;
    let kinds = match statement.keyword() {
        "HTTP_GET" => http::kinds(&mut checker, false),
        "SSL_GET" => http::kinds(&mut checker, true),
        "MISC_CHECK" => misc::exec(&mut checker),
        "UDP_CHECK" => misc::udp(&mut checker),
        "DNS_CHECK" => vec![dns(&mut checker)],
        "SMTP_CHECK" => {
            checker.leave_all();
            vec![CheckKind::Tcp { port: checker.port_or(25) }]
        }
        "PING_CHECK" => {
            checker.leave_all();
            vec![CheckKind::Icmp]
        }
        _ => {
            checker.leave_all();
            vec![CheckKind::Tcp { port: checker.port }]
        }
    };
    Ok(checker.finish(kinds))
}

/// What all checkers have.
fn common<'a>(target: &'a Target<'a>, statement: &'a Statement) -> Result<Checker<'a>, Unreadable> {
    let (pace, port) = (target.pace.clone(), target.port);
    let (own, notes) = (Vec::new(), Vec::new());
    let mut checker = Checker { target, statement, pace, port, own, notes };
    for it in statement.inner() {
        let Some(it) = checker.pace.take(it, &mut checker.notes) else { continue };
        match it.keyword() {
            "connect_port" => checker.port = address::port(it, 1)?,
            "connect_ip" => {
                if address::address(it, 1)? != target.address {
                    checker.notes.push(it.note("not carried over: a check asks the real, and no other machine for it; an exec check can ask any"));
                }
            }
            _ => checker.own.push(it),
        }
    }
    Ok(checker)
}

impl Checker<'_> {
    /// The port that is said, or else that of the real; what is usual where neither is.
    fn port_or(&self, usual: u16) -> u16 {
        if self.port == 0 { usual } else { self.port }
    }

    /// Says of everything that is left that it is not carried over.
    fn leave_all(&mut self) {
        let own = std::mem::take(&mut self.own);
        self.notes.extend(own.iter().map(|it| words::note(words::CHECKER, it)));
    }

    /// That the whole cannot be carried over.
    fn leave(&mut self, reason: &str) -> Vec<CheckKind> {
        self.leave_all();
        self.notes.push(self.statement.note(format!("not carried over: {reason}")));
        Vec::new()
    }

    fn finish(mut self, kinds: Vec<CheckKind>) -> (Vec<DraftCheck>, Vec<Note>) {
        let mut checks = Vec::new();
        for kind in kinds {
            if port(&kind) == Some(0) {
                self.notes.push(self.statement.note(
                    "not carried over: no port is said to which it goes; write connect_port",
                ));
                continue;
            }
            let check = self.paced(kind);
            checks.push(DraftCheck { origin: self.statement.origin.clone(), check });
        }
        if let Some(first) = checks.first() {
            self.notes.extend(self.pace.shortened(self.statement, &first.check));
        }
        (checks, self.notes)
    }

    fn paced(&self, kind: CheckKind) -> Check {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let (retry, before_retry) = match &kind {
            CheckKind::Exec(_) => (0, seconds(1)),
            CheckKind::Dns(_) => (3, None),
            CheckKind::Http(_) => (1, seconds(3)),
            _ => (1, seconds(1)),
        };
        let patient = matches!(kind, CheckKind::Exec(_));
        let defaults = Defaults { retry, before_retry, patient };
        let via = if self.elsewhere(&kind) { CheckVia::Rip } else { CheckVia::Vip };
        Check { via, ..self.pace.check(kind, &defaults) }
    }

    /// Whether it asks at a port at which the VIP does not serve: there a server need not listen for it.
    fn elsewhere(&self, kind: &CheckKind) -> bool {
        let protocol = match kind {
            CheckKind::Udp { .. } => Protocol::Udp,
            CheckKind::Dns(check) => check.transport,
            _ => Protocol::Tcp,
        };
        port(kind).is_some_and(|port| {
            let asked = Ports::One(protocol, port);
            !self.target.served.iter().any(|served| served.covers(asked))
        })
    }
}

fn port(kind: &CheckKind) -> Option<u16> {
    match kind {
        CheckKind::Tcp { port } | CheckKind::Syn { port } => Some(*port),
        CheckKind::Udp { port, .. } | CheckKind::Grpc { port, .. } => Some(*port),
        CheckKind::Http(check) => Some(check.port),
        CheckKind::Dns(check) => Some(check.port),
        CheckKind::Icmp | CheckKind::Exec(_) => None,
    }
}

fn dns(checker: &mut Checker<'_>) -> CheckKind {
    let mut check = DnsCheck {
        port: checker.port_or(53),
        transport: Protocol::Udp,
        name: ".".to_owned(),
        record: "SOA".to_owned(),
        answer: None,
    };
    let own = std::mem::take(&mut checker.own);
    for it in own {
        match (it.keyword(), it.word(1)) {
            ("name", Some(name)) => check.name = name.to_owned(),
            ("type", Some(record)) => check.record = record.to_ascii_uppercase(),
            _ => checker.notes.push(words::note(words::CHECKER, it)),
        }
    }
    CheckKind::Dns(check)
}

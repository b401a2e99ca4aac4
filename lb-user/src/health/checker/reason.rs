//! What is said of the result of a probe.

use crate::{
    model::{CheckKind, DnsCheck, Protocol},
    probe::{Answer, Failure, Target},
};

/// Of a probe that has passed: `http 200 from 10.0.0.12 via VIP 192.0.2.10`.
pub(super) fn passed(kind: &CheckKind, target: &Target, answer: &Answer) -> String {
    answered(kind, target, &answer.summary)
}

/// Of a probe that has failed. `own` is what came of the same probe at the real's own address, where it
/// was made: it tells whether the VIP is the trouble or the server itself.
pub(super) fn failed(
    kind: &CheckKind,
    target: &Target,
    failure: &Failure,
    own: Option<(&Target, &Result<Answer, Failure>)>,
) -> String {
    let said = refused(kind, target, failure);
    match own {
        Some((_, Ok(_))) => {
            let question = of_vip(kind, failure);
            format!("{said}; the real answers at its own address: {question}")
        }
        None | Some((_, Err(Failure::Local(_)))) => said,
        // It listens on the VIP alone, where something else is wrong.
        Some((_, Err(Failure::Refused))) if was_connected(kind, failure) => said,
        Some((own, Err(failure))) => {
            format!(
                "{said}; the server itself: {}{}",
                refused(kind, own, failure),
                of_server(failure)
            )
        }
    }
}

fn refused(kind: &CheckKind, target: &Target, failure: &Failure) -> String {
    let address =
        if via_vip(target) { format!("VIP {}", target.vip) } else { target.real.to_string() };
    match failure {
        Failure::Timeout(during) => format!("timeout on {address} while {during}"),
        Failure::Wrong(reason) => answered(kind, target, reason),
        Failure::Refused | Failure::Unreachable(_) => format!("{failure} on {address}"),
        Failure::Local(_) => failure.to_string(),
    }
}

fn answered(kind: &CheckKind, target: &Target, answer: &str) -> String {
    let word = match kind {
        CheckKind::Tcp { .. } => "to",
        CheckKind::Exec(_) => "for",
        _ => "from",
    };
    let via = if via_vip(target) { format!(" via VIP {}", target.vip) } else { String::new() };
    format!("{answer} {word} {}{via}", target.real)
}

fn via_vip(target: &Target) -> bool {
    target.address != target.real
}

/// What is to be looked at where only the VIP is in trouble.
fn of_vip(kind: &CheckKind, failure: &Failure) -> &'static str {
    match failure {
        Failure::Timeout(_) | Failure::Unreachable(_) if opaque(kind) => {
            "is the VIP on its lo, and does the server listen on it?"
        }
        // A connection is made by the kernel, whatever the server does.
        Failure::Timeout(during) if connects(kind) && *during != "connecting" => {
            "why does the server not answer on the VIP?"
        }
        Failure::Timeout(_) | Failure::Unreachable(_) => "is the VIP on its lo?",
        Failure::Refused => "does the server listen on the VIP?",
        Failure::Wrong(_) | Failure::Local(_) => "does the server serve the VIP as it serves that?",
    }
}

/// Whether silence may be the kernel's or the server's.
fn opaque(kind: &CheckKind) -> bool {
    let datagrams = |dns: &DnsCheck| dns.transport == Protocol::Udp;
    match kind {
        CheckKind::Udp { .. } | CheckKind::Exec(_) => true,
        CheckKind::Dns(dns) => datagrams(dns),
        _ => false,
    }
}

/// Whether the server was spoken to, so that it cannot be down.
fn was_connected(kind: &CheckKind, failure: &Failure) -> bool {
    match failure {
        Failure::Wrong(_) => true,
        Failure::Timeout(during) => connects(kind) && *during != "connecting",
        Failure::Refused | Failure::Unreachable(_) | Failure::Local(_) => false,
    }
}

fn connects(kind: &CheckKind) -> bool {
    matches!(kind, CheckKind::Http(_) | CheckKind::Grpc { .. } | CheckKind::Dns(_))
}

/// What is to be looked at where the server itself is in trouble.
fn of_server(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused => ": is it running?",
        Failure::Timeout("connecting") => ": is the machine up?",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TCP: CheckKind = CheckKind::Tcp { port: 80 };

    fn target(address: [u8; 4]) -> Target {
        let [address, real, vip] = [address, [10, 0, 0, 12], [192, 0, 2, 10]].map(Into::into);
        Target { connect: address, address, real, vip }
    }

    fn answer(summary: &str) -> Answer {
        Answer { summary: summary.to_owned(), took: Duration::from_millis(1) }
    }

    /// Of a failure via the VIP, with what came of the same at the real's own address.
    fn reason(kind: &CheckKind, failure: Failure, own: Result<Answer, Failure>) -> String {
        let (vip, rip) = (target([192, 0, 2, 10]), target([10, 0, 0, 12]));
        failed(kind, &vip, &failure, Some((&rip, &own)))
    }

    #[test]
    fn where_the_own_address_answers_the_vip_is_in_question() {
        let udp = CheckKind::Udp { port: 53, send: vec![1], expect: vec![] };
        for (kind, failure, expected) in [
            (
                &TCP,
                Failure::Refused,
                "connection refused on VIP 192.0.2.10; the real answers at its own address: does \
                 the server listen on the VIP?",
            ),
            (
                &TCP,
                Failure::Timeout("connecting"),
                "timeout on VIP 192.0.2.10 while connecting; the real answers at its own address: \
                 is the VIP on its lo?",
            ),
            (
                &CheckKind::Icmp,
                Failure::Timeout("waiting for the answer"),
                "timeout on VIP 192.0.2.10 while waiting for the answer; the real answers at its \
                 own address: is the VIP on its lo?",
            ),
            (
                &CheckKind::Grpc { port: 1, tls: None, service: String::new() },
                Failure::Timeout("waiting for the answer"),
                "timeout on VIP 192.0.2.10 while waiting for the answer; the real answers at its \
                 own address: why does the server not answer on the VIP?",
            ),
            (
                &udp,
                Failure::Timeout("waiting for the answer"),
                "timeout on VIP 192.0.2.10 while waiting for the answer; the real answers at its \
                 own address: is the VIP on its lo, and does the server listen on it?",
            ),
            (
                &CheckKind::Icmp,
                Failure::Wrong("another answer".to_owned()),
                "another answer from 10.0.0.12 via VIP 192.0.2.10; the real answers at its own address: \
                 does the server serve the VIP as it serves that?",
            ),
        ] {
            assert_eq!(reason(kind, failure, Ok(answer("connected"))), expected);
        }
    }

    #[test]
    fn where_the_own_address_fails_too_the_server_itself_is_in_question() {
        for (failure, own, expected) in [
            (
                Failure::Refused,
                Failure::Refused,
                "connection refused on VIP 192.0.2.10; the server itself: connection refused on \
                 10.0.0.12: is it running?",
            ),
            (
                Failure::Timeout("connecting"),
                Failure::Timeout("connecting"),
                "timeout on VIP 192.0.2.10 while connecting; the server itself: timeout on \
                 10.0.0.12 while connecting: is the machine up?",
            ),
            (
                Failure::Unreachable("no route to host".to_owned()),
                Failure::Unreachable("no route to host".to_owned()),
                "no route to host on VIP 192.0.2.10; the server itself: no route to host on \
                 10.0.0.12",
            ),
            (
                Failure::Refused,
                Failure::Local("no sockets left".to_owned()),
                "connection refused on VIP 192.0.2.10",
            ),
        ] {
            assert_eq!(reason(&TCP, failure, Err(own)), expected);
        }
    }

    #[test]
    fn an_answer_is_said_to_come_from_the_real_and_via_the_vip_where_it_was_asked_there() {
        let exec = CheckKind::Exec(crate::model::ExecCheck {
            command: vec!["/bin/true".to_owned()],
            environment: Default::default(),
        });
        let (vip, rip) = (target([192, 0, 2, 10]), target([10, 0, 0, 12]));
        for (kind, target, summary, expected) in [
            (
                &CheckKind::Icmp,
                &vip,
                "ping answered",
                "ping answered from 10.0.0.12 via VIP 192.0.2.10",
            ),
            (&TCP, &vip, "connected", "connected to 10.0.0.12 via VIP 192.0.2.10"),
            (&TCP, &rip, "connected", "connected to 10.0.0.12"),
            (&exec, &rip, "exit code 0", "exit code 0 for 10.0.0.12"),
        ] {
            assert_eq!(passed(kind, target, &answer(summary)), expected);
        }
        let failure = Failure::Refused;
        assert_eq!(failed(&TCP, &rip, &failure, None), "connection refused on 10.0.0.12");
    }
}

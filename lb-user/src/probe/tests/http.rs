use std::ops::RangeInclusive;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::*;
use crate::model::{HttpCheck, HttpVersion};

pub(super) fn check(port: u16) -> HttpCheck {
    HttpCheck {
        port,
        tls: None,
        method: "GET".to_owned(),
        path: "/health?a=b".to_owned(),
        host: None,
        status: vec![200..=399],
        body: None,
        version: HttpVersion::One,
    }
}

fn expecting(port: u16, body: &str) -> CheckKind {
    CheckKind::Http(HttpCheck { body: Some(body.to_owned()), ..check(port) })
}

fn with_status(port: u16, status: &[RangeInclusive<u16>]) -> CheckKind {
    CheckKind::Http(HttpCheck { status: status.to_vec(), ..check(port) })
}

/// The head of a request.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that says this, and then does not close the connection.
async fn says(address: IpAddr, answer: &'static str) -> u16 {
    serve(address, move |mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await
}

/// A server that says this, and then closes the connection.
async fn says_and_ends(address: IpAddr, answer: &'static str) -> u16 {
    serve(address, move |mut stream| async move {
        head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

/// A server that says this, and then more and more.
async fn goes_on(address: IpAddr, begin: &'static str, more: &'static str, pause: bool) -> u16 {
    serve(address, move |mut stream| async move {
        let mut answer = begin;
        while stream.write_all(answer.as_bytes()).await.is_ok() {
            answer = more;
            if pause {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

#[tokio::test]
async fn a_status_passes_or_not() {
    for address in FAMILIES {
        let port = says(address, OK).await;
        let passed = Ok("http 200".to_owned());
        assert_eq!(ask(&CheckKind::Http(check(port)), address, LONG).await, passed);
        let two = with_status(port, &[100..=100, 200..=200]);
        assert_eq!(ask(&two, address, LONG).await, passed);
        let other = with_status(port, &[201..=399]);
        assert_eq!(ask(&other, address, LONG).await, wrong("http 200"));
    }
}

#[tokio::test]
async fn a_bad_status_is_told_at_once_however_long_its_body_takes() {
    for address in FAMILIES {
        let port = says(address, "HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\n").await;
        assert_eq!(ask(&CheckKind::Http(check(port)), address, LONG).await, wrong("http 503"));
    }
}

#[tokio::test]
async fn the_request_says_what_was_configured() {
    for (address, host) in FAMILIES.into_iter().zip(["127.0.0.1", "[::1]"]) {
        let (sender, mut heads) = mpsc::channel(2);
        let port = serve(address, move |mut stream| {
            let sender = sender.clone();
            async move {
                sender.send(head(&mut stream).await).await.unwrap();
                stream.write_all(b"HTTP/1.1 204 None\r\n\r\n").await.unwrap();
            }
        })
        .await;
        let head_check = HttpCheck {
            method: "HEAD".to_owned(),
            host: Some("www.example.com".to_owned()),
            ..check(port)
        };
        for (check, line, host) in [
            (check(port), "GET /health?a=b HTTP/1.1", format!("host: {host}:{port}")),
            (head_check, "HEAD /health?a=b HTTP/1.1", "host: www.example.com".to_owned()),
        ] {
            let result = ask(&CheckKind::Http(check), address, LONG).await;
            assert_eq!(result, Ok("http 204".to_owned()));
            let head = heads.recv().await.unwrap();
            assert_eq!(head.lines().next(), Some(line));
            assert!(head.lines().any(|line| line == host), "{head}");
            assert!(head.lines().any(|line| line == "connection: close"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_body_contains_what_is_expected_or_not() {
    for address in FAMILIES {
        let port = says(address, OK).await;
        assert_eq!(ask(&expecting(port, "in"), address, LONG).await, Ok("http 200".to_owned()));
        let missing = wrong("http 200, but \"bad\" is not in the body");
        assert_eq!(ask(&expecting(port, "bad"), address, LONG).await, missing);
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_read_to_its_end() {
    for address in FAMILIES {
        let port = says_and_ends(address, "HTTP/1.0 200 OK\r\n\r\nall is well").await;
        assert_eq!(ask(&expecting(port, "well"), address, LONG).await, Ok("http 200".to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_closes_too_early_is_told_so() {
    for address in FAMILIES {
        let port = says_and_ends(address, "").await;
        let result = ask(&CheckKind::Http(check(port)), address, LONG).await;
        assert_eq!(result, wrong("connection closed while waiting for the answer"));
        let port = says_and_ends(address, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine").await;
        let result = ask(&CheckKind::Http(check(port)), address, LONG).await;
        assert_eq!(result, wrong("connection closed while reading the answer"));
    }
}

#[tokio::test]
async fn a_server_that_speaks_another_protocol_is_told_so() {
    for address in FAMILIES {
        let port = says(address, "220 mail.example.com ESMTP\r\n\r\n").await;
        let Err(Failure::Wrong(reason)) = ask(&CheckKind::Http(check(port)), address, LONG).await
        else {
            panic!()
        };
        assert!(reason.starts_with("the server does not speak HTTP/1.1: "), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout() {
    for address in FAMILIES {
        let port = says(address, "").await;
        let result = ask(&CheckKind::Http(check(port)), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("waiting for the answer")));
        let port = says(address, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine").await;
        let result = ask(&CheckKind::Http(check(port)), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("reading the answer")));
    }
}

#[tokio::test]
async fn a_server_that_drips_is_a_timeout_though_it_never_pauses_for_long() {
    for address in FAMILIES {
        let port = goes_on(address, "HTTP/1.1 200 OK\r\n\r\n", "x", true).await;
        let result = ask(&CheckKind::Http(check(port)), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("reading the answer")));
        let port = goes_on(address, "HTTP/1.1 200 OK\r\n", "x", true).await;
        let result = ask(&CheckKind::Http(check(port)), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("waiting for the answer")));
    }
}

#[tokio::test]
async fn a_server_that_floods_is_judged_by_how_it_begins() {
    for address in FAMILIES {
        let port = goes_on(address, "HTTP/1.1 200 OK\r\n\r\nwell", "and so on", false).await;
        assert_eq!(ask(&expecting(port, "well"), address, LONG).await, Ok("http 200".to_owned()));
        let missing = wrong("http 200, but \"bad\" is not in the first 64 KiB of the body");
        assert_eq!(ask(&expecting(port, "bad"), address, LONG).await, missing);
    }
}

#[tokio::test]
async fn a_server_that_floods_with_headers_is_wrong() {
    for address in FAMILIES {
        let port = goes_on(address, "HTTP/1.1 200 OK\r\n", "a: b\r\n", false).await;
        let result = ask(&CheckKind::Http(check(port)), address, LONG).await;
        assert!(matches!(result, Err(Failure::Wrong(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses_http_too() {
    for address in FAMILIES {
        let (_socket, port) = closed_port(address);
        let result = ask(&CheckKind::Http(check(port)), address, LONG).await;
        assert_eq!(result, Err(Failure::Refused));
    }
}

#[tokio::test]
async fn http_2_with_a_server_of_http_1_is_told_so() {
    for address in FAMILIES {
        let port = says(address, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let kind = CheckKind::Http(HttpCheck { version: HttpVersion::Two, ..check(port) });
        let Err(Failure::Wrong(reason)) = ask(&kind, address, LONG).await else { panic!() };
        assert!(reason.starts_with("the server does not speak HTTP/2: "), "{reason}");
    }
}

#[tokio::test]
async fn a_server_that_closes_at_http_2_without_tls_may_not_speak_it() {
    for address in FAMILIES {
        let port = says_and_ends(address, "").await;
        let kind = CheckKind::Http(HttpCheck { version: HttpVersion::Two, ..check(port) });
        let Err(Failure::Wrong(reason)) = ask(&kind, address, LONG).await else { panic!() };
        assert!(reason.ends_with(": does the server speak HTTP/2?"), "{reason}");
    }
}

use std::io;

use tokio::{io::AsyncReadExt as _, sync::mpsc};

use super::{super::socket::failure, *};

fn udp(port: u16, expect: &[u8]) -> CheckKind {
    CheckKind::Udp { port, send: b"question".to_vec(), expect: expect.to_vec() }
}

#[tokio::test]
async fn a_port_that_listens_is_connected_to_and_the_connection_is_reset() {
    for address in FAMILIES {
        let (sender, mut ends) = mpsc::channel(1);
        let port = serve(address, move |mut stream| {
            let sender = sender.clone();
            async move { sender.send(stream.read(&mut [0]).await).await.unwrap() }
        })
        .await;
        let kind = CheckKind::Tcp { port };
        assert_eq!(ask(&kind, address, LONG).await, Ok("connected".to_owned()));
        let end = ends.recv().await.unwrap().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_port_that_listens_answers_a_syn_and_its_program_hears_nothing_of_it() {
    for address in FAMILIES {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let kind = CheckKind::Syn { port };
        assert_eq!(ask(&kind, address, LONG).await, Ok("SYN-ACK".to_owned()));
        // The first that is accepted is one that came later.
        let stream = TcpStream::connect((address, port)).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    for address in FAMILIES {
        let (_socket, port) = closed_port(address);
        for kind in [CheckKind::Tcp { port }, CheckKind::Syn { port }] {
            assert_eq!(ask(&kind, address, LONG).await, Err(Failure::Refused), "{kind:?}");
        }
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        assert_eq!(ask(&udp(port, b""), address, LONG).await, Err(Failure::Refused));
    }
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_a_timeout() {
    for address in FAMILIES {
        let listener = tcp_socket(address).listen(1).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut connected = 0;
        let end = loop {
            match ask(&CheckKind::Tcp { port }, address, SHORT).await {
                Ok(_) => connected += 1,
                end => break end,
            }
            assert!(connected < 10);
        };
        assert_eq!(end, Err(Failure::Timeout("connecting")));
        let syn = ask(&CheckKind::Syn { port }, address, SHORT).await;
        assert_eq!(syn, Err(Failure::Timeout("waiting for the answer")));
    }
}

#[tokio::test]
async fn a_network_without_a_route_is_unreachable() {
    let nowhere = ["240.0.0.1", "100::1"].map(|address| address.parse::<IpAddr>().unwrap());
    let kinds =
        [CheckKind::Tcp { port: 1 }, CheckKind::Syn { port: 1 }, udp(1, b""), CheckKind::Icmp];
    // Both need a network without routes.
    crate::neighbour::netns::Namespace::new().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (address, kind) in nowhere.iter().flat_map(|a| kinds.iter().map(move |k| (*a, k))) {
            let result = runtime.block_on(ask(kind, address, LONG));
            let expected = Failure::Unreachable("unreachable: network is unreachable".to_owned());
            assert_eq!(result, Err(expected), "{kind:?} {address}");
        }
    });
}

#[tokio::test]
async fn a_datagram_is_answered_as_expected_or_not() {
    for address in FAMILIES {
        let port = datagrams(address, |question| vec![[b"re: ", question].concat()]).await;
        let passed = Ok("answered, 12 bytes".to_owned());
        assert_eq!(ask(&udp(port, b""), address, LONG).await, passed);
        assert_eq!(ask(&udp(port, b"re: q"), address, LONG).await, passed);
        let other = ask(&udp(port, b"question"), address, LONG).await;
        assert_eq!(other, wrong("answered something else: re: question"));
        let longer = ask(&udp(port, b"re: question."), address, LONG).await;
        assert_eq!(longer, wrong("answered something else: re: question"));
    }
}

#[tokio::test]
async fn a_datagram_that_is_not_answered_is_a_timeout() {
    for address in FAMILIES {
        let port = datagrams(address, |_| vec![]).await;
        let result = ask(&udp(port, b""), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("waiting for the answer")));
    }
}

#[tokio::test]
async fn pings_are_answered_many_at_a_time_too() {
    for address in FAMILIES {
        let pings = (0..20).map(|_| ask(&CheckKind::Icmp, address, LONG));
        for result in futures_util::future::join_all(pings).await {
            assert_eq!(result, Ok("ping answered".to_owned()));
        }
    }
}

#[tokio::test]
async fn what_keeps_us_from_asking_says_nothing_of_the_server() {
    for code in [libc::EMFILE, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EPERM, libc::ENOMEM] {
        let failure = failure(&io::Error::from_raw_os_error(code), "connecting");
        assert!(matches!(failure, Failure::Local(_)), "{failure:?}");
    }
    let reset = failure(&io::Error::from_raw_os_error(libc::ECONNRESET), "connecting");
    assert_eq!(reset, Failure::Wrong("connection closed while connecting".to_owned()));
}

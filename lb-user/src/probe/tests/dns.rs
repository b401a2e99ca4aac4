use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{RData, Record, RecordType},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::model::{DnsCheck, Protocol};

fn check(port: u16, transport: Protocol, record: &str, answer: Option<&str>) -> CheckKind {
    CheckKind::Dns(DnsCheck {
        port,
        transport,
        name: "www.Example.com".to_owned(),
        record: record.to_owned(),
        answer: answer.map(str::to_owned),
    })
}

/// The answer to a question, with such records.
fn respond(question: &[u8], records: &[(RecordType, &str)]) -> Message {
    let question = Message::from_vec(question).unwrap();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    let name = question.queries[0].name().clone();
    answer.add_queries(question.queries);
    for (kind, text) in records {
        let data = RData::try_from_str(*kind, text).unwrap();
        answer.add_answer(Record::from_rdata(name.clone(), 60, data));
    }
    answer
}

const RECORDS: [(RecordType, &str); 4] = [
    (RecordType::A, "192.0.2.1"),
    (RecordType::AAAA, "2001:db8::1"),
    (RecordType::MX, "10 mail.example.com."),
    (RecordType::TXT, "\"Two words\""),
];

/// A server that answers so, over both protocols: its ports.
async fn server(
    address: IpAddr,
    answer: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> [(Protocol, u16); 2] {
    let over_tcp = answer.clone();
    let tcp = serve(address, move |mut stream| {
        let answer = over_tcp.clone();
        async move {
            let mut question = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut question).await.unwrap();
            let answer = answer(&question);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            drop(stream.read(&mut [0]).await);
        }
    })
    .await;
    let udp = datagrams(address, move |question| vec![answer(question)]).await;
    [(Protocol::Tcp, tcp), (Protocol::Udp, udp)]
}

#[tokio::test]
async fn an_answer_without_an_error_passes_and_says_how_many_records() {
    for address in FAMILIES {
        for count in [0, 1, 2] {
            let answer =
                move |question: &[u8]| respond(question, &RECORDS[..count]).to_vec().unwrap();
            for (transport, port) in server(address, answer).await {
                let result = ask(&check(port, transport, "a", None), address, LONG).await;
                let expected = ["NOERROR, 0 answers", "NOERROR, 1 answer", "NOERROR, 2 answers"];
                assert_eq!(result, Ok(expected[count].to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn one_of_the_answers_must_be_what_is_expected_as_zone_files_write_it() {
    for address in FAMILIES {
        let answer = |question: &[u8]| respond(question, &RECORDS).to_vec().unwrap();
        for (transport, port) in server(address, answer).await {
            for good in [
                "192.0.2.1",
                "2001:DB8:0::1",
                "10 mail.example.com.",
                "10 Mail.example.com",
                "\"Two words\"",
            ] {
                let result = ask(&check(port, transport, "A", Some(good)), address, LONG).await;
                assert_eq!(result, Ok("NOERROR, 4 answers".to_owned()), "{good}");
            }
            for bad in ["192.0.2.2", "10 mail.example.net.", "\"two words\"", "nonsense", ""] {
                let result = ask(&check(port, transport, "A", Some(bad)), address, LONG).await;
                let reason = format!("NOERROR, but none of 4 answers is {bad}");
                assert_eq!(result, wrong(&reason));
            }
        }
    }
}

#[tokio::test]
async fn an_error_is_told_by_its_name() {
    for (code, name) in [
        (ResponseCode::NXDomain, "NXDOMAIN"),
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
    ] {
        for address in FAMILIES {
            let answer = move |question: &[u8]| {
                let mut answer = respond(question, &[]);
                answer.metadata.response_code = code;
                answer.to_vec().unwrap()
            };
            for (transport, port) in server(address, answer).await {
                let result = ask(&check(port, transport, "A", None), address, LONG).await;
                assert_eq!(result, wrong(name));
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_says_what_to_do() {
    for address in FAMILIES {
        let answer = |question: &[u8]| {
            let mut answer = respond(question, &[]);
            answer.metadata.truncation = true;
            answer.to_vec().unwrap()
        };
        let [_, (transport, port)] = server(address, answer).await;
        let result = ask(&check(port, transport, "A", Some("192.0.2.1")), address, LONG).await;
        let reason = "NOERROR, but none of 0 answers is 192.0.2.1 (cut: use transport = \"tcp\")";
        assert_eq!(result, wrong(reason));
    }
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_is_wrong() {
    type Change = fn(&mut Message);
    let changes: [Change; 2] = [
        |answer| answer.metadata.message_type = MessageType::Query,
        |answer| {
            answer.queries[0].set_query_type(RecordType::NS);
        },
    ];
    for address in FAMILIES {
        for change in changes {
            let answer = move |question: &[u8]| {
                let mut answer = respond(question, &RECORDS);
                change(&mut answer);
                answer.to_vec().unwrap()
            };
            for (transport, port) in server(address, answer).await {
                let result = ask(&check(port, transport, "A", None), address, LONG).await;
                assert_eq!(result, wrong("the answer is to another question"));
            }
        }
        let garbage = |question: &[u8]| [&question[..2], b"garbage"].concat();
        for (transport, port) in server(address, garbage).await {
            let result = ask(&check(port, transport, "A", None), address, LONG).await;
            assert_eq!(result, wrong("the answer is not DNS"));
        }
    }
}

#[tokio::test]
async fn datagrams_that_answer_other_questions_are_passed_over() {
    for address in FAMILIES {
        let port = datagrams(address, |question| {
            let answer = respond(question, &RECORDS).to_vec().unwrap();
            let mut other = answer.clone();
            other[0] ^= 1;
            vec![other, answer]
        })
        .await;
        let result = ask(&check(port, Protocol::Udp, "A", None), address, LONG).await;
        assert_eq!(result, Ok("NOERROR, 4 answers".to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_closes_or_refuses_is_told_so() {
    for address in FAMILIES {
        let port = datagrams(address, |_| vec![]).await;
        let result = ask(&check(port, Protocol::Udp, "A", None), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("waiting for the answer")));
        let port = serve(address, |mut stream| async move {
            drop(stream.read_u16().await);
            drop(stream.write_all(&[1, 0, 0]).await);
            drop(stream.read(&mut [0; 512]).await);
            std::future::pending::<()>().await;
        })
        .await;
        let result = ask(&check(port, Protocol::Tcp, "A", None), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("reading the answer")));
        let (_socket, port) = closed_port(address);
        let result = ask(&check(port, Protocol::Tcp, "A", None), address, LONG).await;
        assert_eq!(result, Err(Failure::Refused));
    }
}

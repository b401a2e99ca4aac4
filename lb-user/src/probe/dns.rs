//! That a DNS query gets the answer that is expected.

use hickory_proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UdpSocket,
};

use super::{
    Failure, Target,
    socket::{ANSWER, Clock, READING, SENDING, WAITING, connect},
    udp,
};
use crate::model::{DnsCheck, Protocol};

pub(super) async fn probe(
    check: &DnsCheck,
    target: &Target,
    clock: &Clock,
) -> Result<String, Failure> {
    let question = question(check)?;
    let bytes = question.to_vec().map_err(|error| Failure::Local(error.to_string()))?;
    let answer = match check.transport {
        Protocol::Udp => {
            let socket = udp::ask(target, check.port, &bytes, clock).await?;
            clock.within(WAITING, over_udp(&socket, &question)).await?
        }
        Protocol::Tcp => over_tcp(target, check.port, &bytes, clock).await?,
    };
    judge(check, &question, &answer)
}

fn question(check: &DnsCheck) -> Result<Message, Failure> {
    let name = Name::from_str_relaxed(&check.name).map(|mut name| {
        name.set_fqdn(true);
        name
    });
    let name =
        name.map_err(|error| Failure::Local(format!("name = \"{}\": {error}", check.name)))?;
    let kind: RecordType = check.record.to_uppercase().parse().map_err(|_| {
        Failure::Local(format!("record = \"{}\" is no type of record", check.record))
    })?;
    // With a random number.
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    Ok(message)
}

/// The answer; what answers another question is passed over.
async fn over_udp(socket: &UdpSocket, question: &Message) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await;
        let length = length.map_err(|error| super::socket::failure(&error, WAITING))?;
        let id = question.metadata.id.to_be_bytes();
        if buffer[..length].starts_with(&id) || length < 2 {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

/// With its length before it (RFC 7766, section 8).
async fn over_tcp(
    target: &Target,
    port: u16,
    question: &[u8],
    clock: &Clock,
) -> Result<Vec<u8>, Failure> {
    let mut stream = connect(target, port, clock).await?;
    let length = u16::try_from(question.len()).map_err(|_| Failure::Local("too long".into()))?;
    let bytes = [&length.to_be_bytes(), question].concat();
    clock.io(SENDING, stream.write_all(&bytes)).await?;
    let length = clock.io(WAITING, stream.read_u16()).await?;
    let mut answer = vec![0; length.into()];
    clock.io(READING, stream.read_exact(&mut answer)).await?;
    Ok(answer)
}

fn judge(check: &DnsCheck, question: &Message, answer: &[u8]) -> Result<String, Failure> {
    let wrong = |reason: String| Err(Failure::Wrong(reason));
    let Ok(answer) = Message::from_vec(answer) else {
        return wrong("the answer is not DNS".to_owned());
    };
    let ours = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && (answer.queries.is_empty() || answer.queries == question.queries);
    if !ours {
        return wrong("the answer is to another question".to_owned());
    }
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError {
        return wrong(format!("{code:?}").to_uppercase());
    }
    let found = answer.answers.len();
    match &check.answer {
        Some(expected) if !answer.answers.iter().any(|record| is(record, expected)) => {
            let cut =
                if answer.metadata.truncation { " (cut: use transport = \"tcp\")" } else { "" };
            wrong(format!("NOERROR, but none of {} is {expected}{cut}", answers(found)))
        }
        _ => Ok(format!("NOERROR, {}", answers(found))),
    }
}

fn answers(count: usize) -> String {
    match count {
        1 => "1 answer".to_owned(),
        count => format!("{count} answers"),
    }
}

/// Whether a record is what was written, as in a zone file or, names, without the dot at their end.
fn is(record: &Record, expected: &str) -> bool {
    let kind = record.record_type();
    if RData::try_from_str(kind, expected).is_ok_and(|expected| expected == record.data) {
        return true;
    }
    let plain = |text: &str| text.trim().trim_end_matches('.').to_lowercase();
    kind != RecordType::TXT && plain(&record.data.to_string()) == plain(expected)
}

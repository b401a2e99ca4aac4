//! That a gRPC server says SERVING: grpc.health.v1.Health/Check, a message each way over HTTP/2.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::Full;
use hyper::{Request, StatusCode, header, http};
use prost::Message as _;

use super::{
    Failure, Target,
    exchange::{AGENT, Place, Reply},
    socket::{Clock, excerpt},
    tls::Clients,
};
use crate::model::{HttpVersion, Tls};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The names of the codes that a call ends with, from 0 on.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) port: u16,
    pub(super) tls: Option<&'a Tls>,
    pub(super) service: &'a str,
}

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HealthRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct HealthResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub(super) status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

pub(super) async fn probe(
    question: &Question<'_>,
    target: &Target,
    clients: &Clients,
    clock: &Clock,
) -> Result<String, Failure> {
    let Question { port, tls, service } = *question;
    let place = Place { target, port, tls, version: HttpVersion::Two, host: None };
    let request = request(service, &place).map_err(|error| Failure::Local(error.to_string()))?;
    let reply = place.exchange(request, |status| status == StatusCode::OK, clients, clock).await?;
    judge(&reply)
}

fn request(service: &str, place: &Place<'_>) -> http::Result<Request<Full<Bytes>>> {
    let scheme = if place.tls.is_some() { "https" } else { "http" };
    let authority = match place.tls.and_then(|tls| tls.name.as_deref()) {
        Some(name) => format!("{name}:{}", place.port),
        None => place.authority(),
    };
    let message = HealthRequest { service: service.to_owned() }.encode_to_vec();
    Request::post(format!("{scheme}://{authority}{PATH}"))
        .header(header::USER_AGENT, AGENT)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(framed(&message)))
}

/// Not compressed, and with its length before it.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

fn judge(reply: &Reply) -> Result<String, Failure> {
    if reply.status != StatusCode::OK {
        return Err(Failure::Wrong(format!("http {}, no gRPC", reply.status.as_u16())));
    }
    // A call that fails at once has no body, and so no trailers.
    let value = |name| reply.trailers.get(name).or_else(|| reply.headers.get(name));
    let Some(code) = value("grpc-status") else {
        return Err(Failure::Wrong("the answer is not gRPC".to_owned()));
    };
    let code = code.to_str().ok().and_then(|code| code.parse::<usize>().ok());
    if code != Some(0) {
        let name = code.and_then(|code| CODES.get(code)).copied().unwrap_or("an unknown code");
        let text = value("grpc-message").map(|text| format!(": {}", excerpt(text.as_bytes())));
        return Err(Failure::Wrong(format!("gRPC {name}{}", text.unwrap_or_default())));
    }
    serving(&reply.body)
}

/// What the message says.
fn serving(body: &[u8]) -> Result<String, Failure> {
    let unclear = || Failure::Wrong("the answer of the health service makes no sense".to_owned());
    let (prefix, message) = body.split_first_chunk::<5>().ok_or_else(unclear)?;
    let [0, length @ ..] = *prefix else { return Err(unclear()) };
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(unclear());
    }
    let response = HealthResponse::decode(message).map_err(|_| unclear())?;
    match response.status() {
        ServingStatus::Serving => Ok("SERVING".to_owned()),
        other => Err(Failure::Wrong(other.as_str_name().to_owned())),
    }
}

impl ServingStatus {
    fn as_str_name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

//! That an HTTP request gets the answer that is expected.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header, http};

use super::{
    Failure, Target,
    exchange::{AGENT, Place, Reply},
    socket::{ANSWER, Clock},
    tls::Clients,
};
use crate::model::{HttpCheck, HttpVersion};

pub(super) async fn probe(
    check: &HttpCheck,
    target: &Target,
    clients: &Clients,
    clock: &Clock,
) -> Result<String, Failure> {
    let place = Place {
        target,
        port: check.port,
        tls: check.tls.as_ref(),
        version: check.version,
        host: check.host.as_deref(),
    };
    let request = request(check, &place).map_err(|error| Failure::Local(error.to_string()))?;
    let passes = |status: http::StatusCode| check.passes(status.as_u16());
    let reply = place.exchange(request, passes, clients, clock).await?;
    judge(check, &reply)
}

fn request(check: &HttpCheck, place: &Place<'_>) -> http::Result<Request<Full<Bytes>>> {
    let authority = place.authority();
    let request =
        Request::builder().method(check.method.as_str()).header(header::USER_AGENT, AGENT);
    let request = match check.version {
        HttpVersion::One => request
            .uri(check.path.as_str())
            .header(header::HOST, authority)
            .header(header::CONNECTION, "close"),
        HttpVersion::Two => {
            let scheme = if check.tls.is_some() { "https" } else { "http" };
            request.uri(format!("{scheme}://{authority}{}", check.path))
        }
    };
    request.header(header::ACCEPT, "*/*").body(Full::default())
}

fn judge(check: &HttpCheck, reply: &Reply) -> Result<String, Failure> {
    let summary = format!("http {}", reply.status.as_u16());
    if !check.passes(reply.status.as_u16()) {
        return Err(Failure::Wrong(summary));
    }
    let Some(expected) = &check.body else { return Ok(summary) };
    let contains = |body: &[u8]| {
        expected.is_empty() || body.windows(expected.len()).any(|part| part == expected.as_bytes())
    };
    match (contains(&reply.body), reply.is_cut) {
        (true, _) => Ok(summary),
        (false, true) => Err(Failure::Wrong(format!(
            "{summary}, but \"{expected}\" is not in the first {} KiB of the body",
            ANSWER / 1024
        ))),
        (false, false) => {
            Err(Failure::Wrong(format!("{summary}, but \"{expected}\" is not in the body")))
        }
    }
}

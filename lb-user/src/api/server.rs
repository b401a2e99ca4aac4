//! The server of the control socket: routes and JSON, no decisions.

use std::net::IpAddr;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    request::{Change, Refusal, Request, Requests},
    types::{Problem, RealStatus, TraceQuery, VipStatus},
};

/// Everything, for the control socket.
pub fn control(requests: Requests) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/vips", get(vips).post(add_vip))
        .route("/v1/vips/{name}", get(vip).patch(set_vip).delete(remove_vip))
        .route("/v1/vips/{name}/reals", get(reals).post(add_real))
        .route("/v1/vips/{name}/reals/{address}", get(real).patch(set_real).delete(remove_real))
        .route("/v1/trace", get(trace).post(trace_with_body))
        .route("/v1/export", get(export))
        .route("/v1/detach", post(detach))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(requests)
}

/// What may be read by whoever reaches the network listener.
pub fn read_only(requests: Requests) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/healthz", get(async || "ok\n"))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(requests)
}

type Answer = Result<Response, Refusal>;

async fn status(State(requests): State<Requests>) -> Answer {
    json(&requests.ask(Request::Status).await?)
}

async fn vips(State(requests): State<Requests>) -> Answer {
    json(&requests.ask(Request::Status).await?.vips)
}

async fn vip(State(requests): State<Requests>, Path(name): Path<String>) -> Answer {
    json(&find_vip(&requests, &name).await?)
}

async fn reals(State(requests): State<Requests>, Path(name): Path<String>) -> Answer {
    json(&find_vip(&requests, &name).await?.reals)
}

async fn real(
    State(requests): State<Requests>,
    Path((name, real)): Path<(String, String)>,
) -> Answer {
    let real = address(&real)?;
    json(&find_real(find_vip(&requests, &name).await?, real)?)
}

async fn add_vip(State(requests): State<Requests>, body: Bytes) -> Answer {
    let vip = parse(&body)?;
    let done = requests.ask(|reply| Request::Change(Change::AddVip(vip), reply)).await?;
    Ok((StatusCode::CREATED, json(&done)?).into_response())
}

async fn set_vip(
    State(requests): State<Requests>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    change(&requests, Change::SetVip(name, parse(&body)?)).await
}

async fn remove_vip(State(requests): State<Requests>, Path(name): Path<String>) -> Answer {
    change(&requests, Change::RemoveVip(name)).await
}

async fn add_real(
    State(requests): State<Requests>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let real = parse(&body)?;
    let done = requests.ask(|reply| Request::Change(Change::AddReal(name, real), reply)).await?;
    Ok((StatusCode::CREATED, json(&done)?).into_response())
}

async fn set_real(
    State(requests): State<Requests>,
    Path((name, real)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    change(&requests, Change::SetReal(name, address(&real)?, parse(&body)?)).await
}

async fn remove_real(
    State(requests): State<Requests>,
    Path((name, real)): Path<(String, String)>,
) -> Answer {
    change(&requests, Change::RemoveReal(name, address(&real)?)).await
}

async fn trace(
    State(requests): State<Requests>,
    query: Result<Query<TraceQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Refusal::invalid(error.body_text()))?;
    json(&requests.ask(|reply| Request::Trace(query, reply)).await?)
}

async fn trace_with_body(State(requests): State<Requests>, body: Bytes) -> Answer {
    let query = parse(&body)?;
    json(&requests.ask(|reply| Request::Trace(query, reply)).await?)
}

async fn export(State(requests): State<Requests>) -> Answer {
    Ok(requests.ask(Request::Export).await?.into_response())
}

async fn detach(State(requests): State<Requests>) -> Answer {
    json(&requests.ask(Request::Detach).await?)
}

async fn no_route() -> Refusal {
    Refusal::missing("no such path; see GET /v1/status")
}

async fn no_method() -> Refusal {
    Refusal { status: 405, detail: "this path does not take that method".to_owned() }
}

async fn change(requests: &Requests, change: Change) -> Answer {
    json(&requests.ask(|reply| Request::Change(change, reply)).await?)
}

async fn find_vip(requests: &Requests, name: &str) -> Result<VipStatus, Refusal> {
    let vips = requests.ask(Request::Status).await?.vips;
    let names: Vec<_> = vips.iter().map(|vip| vip.name.clone()).collect();
    vips.into_iter().find(|vip| vip.name == name).ok_or_else(|| {
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Refusal::missing(format!("no VIP \"{name}\"; there are: {known}"))
    })
}

fn find_real(vip: VipStatus, address: IpAddr) -> Result<RealStatus, Refusal> {
    let name = vip.name;
    vip.reals
        .into_iter()
        .find(|real| real.address == address)
        .ok_or_else(|| Refusal::missing(format!("VIP \"{name}\" has no real {address}")))
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("\"{text}\" is not an address")))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(format!("the request's body: {error}")))
}

fn json(body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|error| Refusal::failed(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

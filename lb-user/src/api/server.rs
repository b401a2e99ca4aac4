//! The server of the control socket: routes and JSON, no decisions.

mod body;
mod capture;
mod events;
mod log;
mod metrics;
mod openapi;
mod texts;

use std::{io, net::IpAddr, task::Poll};

use axum::{
    Extension, Router,
    body::{Bytes, to_bytes},
    extract::{self, MatchedPath, Path, Query, State, rejection::QueryRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, map_response},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{FutureExt as _, Stream, stream::poll_fn};
use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    body::{Large, Said},
    texts::{Kind, Texts},
};
use super::{
    VERSION, VERSION_HEADER,
    access::Caller,
    audit,
    doctor::{Doctor, DoctorQuery},
    request::{Candidate, Change, Refusal, Request, Requests},
    types::{
        ApplyQuery, Bodied, Circumstances, Done, Flows, FlowsQuery, Named, PlanQuery, PlanReport,
        Problem, Problems, RealStatus, RemoveRealQuery, Status, Trace, TraceQuery, VipStatus,
        Worded,
    },
};
use crate::{
    config::change::{NewReal, NewVip, RealPatch, VipPatch},
    model::Role,
};

/// The longest reason of a refusal that is not ours, in bytes.
const REASON: usize = 4096;

/// Everything, for the control socket.
pub fn control(requests: Requests) -> Router {
    let (router, document) = described().split_for_parts();
    let document: Bytes = openapi::text(&document).into();
    router
        .route("/v1/openapi.json", get(async move || openapi::answer(document)))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(Extension(Texts::control()))
        .layer(map_response(problem))
        .layer(from_fn(admit))
        .layer(map_response(with_version))
        .with_state(requests)
}

/// The routes with their descriptions; all but that of the description itself.
fn described() -> OpenApiRouter<Requests> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(status))
        .routes(routes!(vips, add_vip))
        .routes(routes!(vip, set_vip, remove_vip))
        .routes(routes!(reals, add_real))
        .routes(routes!(real, set_real, remove_real))
        .routes(routes!(trace, trace_with_body))
        .routes(routes!(flows))
        .routes(routes!(events::events))
        .routes(routes!(capture::capture))
        .routes(routes!(metrics::metrics))
        .routes(routes!(doctor))
        .routes(routes!(plan))
        .routes(routes!(apply))
        .routes(routes!(export))
        .routes(routes!(log::log, log::set_log))
        .routes(routes!(detach))
}

/// The description of all routes, as it is served: OpenAPI 3.1.
#[must_use]
pub fn document() -> String {
    openapi::text(&described().into_openapi())
}

/// What may be read by whoever reaches the network listener.
pub fn read_only(requests: Requests) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(async || "ok\n"))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(Extension(Texts::network()))
        .layer(map_response(problem))
        .layer(from_fn(only_get))
        .layer(map_response(with_version))
        .with_state(requests)
}

/// Lets through who may ask for this. A refusal of something that not everybody may do is noted, if it is not yet.
async fn admit(
    Extension(caller): Extension<Caller>,
    mut request: extract::Request,
    next: Next,
) -> Result<Response, Refusal> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let needed = needed(request.method(), path);
    let what = format!("{} {}", request.method(), request.uri().path());
    caller.require(needed, &what).await?;
    let caller = caller.asking();
    request.extensions_mut().insert(caller.clone());
    let response = next.run(request).await;
    if needed > Role::Read
        && !caller.has_noted()
        && let Some(refusal) = response.extensions().get::<Refusal>()
    {
        caller.audit(&what, &audit::refused(refusal)).await;
    }
    Ok(response)
}

/// The least role for this; what a change is about decides whether that is enough.
fn needed(method: &Method, path: Option<&str>) -> Role {
    match (method, path) {
        // They tell the hash seed and the secrets in commands and URLs, and what clients send.
        (_, Some("/v1/export" | "/v1/capture")) => Role::Admin,
        // They change nothing.
        (&Method::GET | &Method::HEAD, _) | (_, None | Some("/v1/plan" | "/v1/trace")) => {
            Role::Read
        }
        (&Method::PATCH, _) => Role::Operate,
        _ => Role::Admin,
    }
}

/// Whoever reaches the network listener changes nothing, and asks for nothing that would take a body.
async fn only_get(request: extract::Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let refusal = Refusal::new(405, "this listener only answers GET; change things with lbctl");
    ([(header::ALLOW, "GET, HEAD")], refusal).into_response()
}

type Answer = Result<Response, Refusal>;

/// Who asks.
type Asker = Extension<Caller>;

/// The node, its VIPs with their reals, and counters.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "The state of everything", body = Status), Problems))]
async fn status(State(requests): State<Requests>, Extension(texts): Extension<Texts>) -> Answer {
    let begin = async move {
        let status = requests.ask(Request::Status).await?;
        Ok(move || written(&status))
    };
    Ok(as_json(texts.get(Kind::Status, begin).await?))
}

/// All VIPs, in the order of the configuration.
#[utoipa::path(get, path = "/v1/vips", responses((status = 200, description = "All VIPs", body = Vec<VipStatus>), Problems))]
async fn vips(State(requests): State<Requests>) -> Answer {
    json(&requests.ask(Request::Status).await?.vips)
}

/// A VIP.
#[utoipa::path(get, path = "/v1/vips/{name}", params(("name" = String, Path, description = "The name of the VIP", example = "web")), responses((status = 200, description = "The VIP", body = VipStatus), Problems, Worded, Named))]
async fn vip(State(requests): State<Requests>, Path(name): Path<String>) -> Answer {
    json(&find_vip(&requests, &name).await?)
}

/// The pool of a VIP, in the order of the configuration.
#[utoipa::path(get, path = "/v1/vips/{name}/reals", params(("name" = String, Path, description = "The name of the VIP", example = "web")), responses((status = 200, description = "The reals of the VIP", body = Vec<RealStatus>), Problems, Worded, Named))]
async fn reals(State(requests): State<Requests>, Path(name): Path<String>) -> Answer {
    json(&find_vip(&requests, &name).await?.reals)
}

/// A real of a VIP.
#[utoipa::path(get, path = "/v1/vips/{name}/reals/{address}", params(("name" = String, Path, description = "The name of the VIP", example = "web"), ("address" = String, Path, description = "The address of the real", example = "10.0.0.11")), responses((status = 200, description = "The real", body = RealStatus), Problems, Worded, Named))]
async fn real(
    State(requests): State<Requests>,
    Path((name, real)): Path<(String, String)>,
) -> Answer {
    let real = address(&real)?;
    json(&find_real(find_vip(&requests, &name).await?, real)?)
}

/// Adds a VIP; needs the role admin.
#[utoipa::path(post, path = "/v1/vips", request_body(content = NewVip, example = json!({"name": "dns", "address": "192.0.2.30", "ports": ["udp/5353"]})), responses((status = 201, description = "The VIP is added", body = Done), Problems, Worded, Circumstances, Bodied))]
async fn add_vip(
    State(requests): State<Requests>,
    caller: Asker,
    Said(vip): Said<NewVip>,
) -> Answer {
    let done = ask(&requests, caller, Change::AddVip(vip)).await?;
    Ok((StatusCode::CREATED, json(&done)?).into_response())
}

/// Changes what is named of a VIP; only its state with the role operate.
#[utoipa::path(patch, path = "/v1/vips/{name}", request_body(content = VipPatch, example = json!({"hash": "source"})), params(("name" = String, Path, description = "The name of the VIP", example = "web")), responses((status = 200, description = "The VIP is changed, or was so before", body = Done), Problems, Worded, Named, Circumstances, Bodied))]
async fn set_vip(
    State(requests): State<Requests>,
    caller: Asker,
    Path(name): Path<String>,
    Said(patch): Said<VipPatch>,
) -> Answer {
    let role = audit::role_for_vip(&patch);
    let change = Change::SetVip(name, patch);
    caller.require(role, &audit::words(&change)).await?;
    json(&ask(&requests, caller, change).await?)
}

/// Removes a VIP with its pool; needs the role admin.
#[utoipa::path(delete, path = "/v1/vips/{name}", params(("name" = String, Path, description = "The name of the VIP", example = "web")), responses((status = 200, description = "The VIP is removed", body = Done), Problems, Worded, Named, Circumstances))]
async fn remove_vip(
    State(requests): State<Requests>,
    caller: Asker,
    Path(name): Path<String>,
) -> Answer {
    json(&ask(&requests, caller, Change::RemoveVip(name)).await?)
}

/// Adds a real to the pool of a VIP; needs the role admin.
#[utoipa::path(post, path = "/v1/vips/{name}/reals", request_body(content = NewReal, example = json!({"address": "10.0.0.13", "weight": 2})), params(("name" = String, Path, description = "The name of the VIP", example = "web")), responses((status = 201, description = "The real is added", body = Done), Problems, Worded, Named, Circumstances, Bodied))]
async fn add_real(
    State(requests): State<Requests>,
    caller: Asker,
    Path(name): Path<String>,
    Said(real): Said<NewReal>,
) -> Answer {
    let done = ask(&requests, caller, Change::AddReal(name, real)).await?;
    Ok((StatusCode::CREATED, json(&done)?).into_response())
}

/// Changes what is named of a real; weight and state with the role operate.
#[utoipa::path(patch, path = "/v1/vips/{name}/reals/{address}", request_body(content = RealPatch, example = json!({"weight": 2})), params(("name" = String, Path, description = "The name of the VIP", example = "web"), ("address" = String, Path, description = "The address of the real", example = "10.0.0.11")), responses((status = 200, description = "The real is changed, or was so before", body = Done), Problems, Worded, Named, Circumstances, Bodied))]
async fn set_real(
    State(requests): State<Requests>,
    caller: Asker,
    Path((name, real)): Path<(String, String)>,
    Said(patch): Said<RealPatch>,
) -> Answer {
    patch.drain_timeout().map_err(Refusal::invalid)?;
    let role = audit::role_for_real(&patch);
    let change = Change::SetReal(name, address(&real)?, patch);
    caller.require(role, &audit::words(&change)).await?;
    json(&ask(&requests, caller, change).await?)
}

/// Removes a real once it is drained, or at once; needs the role admin.
#[utoipa::path(delete, path = "/v1/vips/{name}/reals/{address}", params(("name" = String, Path, description = "The name of the VIP", example = "web"), ("address" = String, Path, description = "The address of the real", example = "10.0.0.11"), RemoveRealQuery), responses((status = 200, description = "The real is removed, or is once it is drained", body = Done), Problems, Worded, Named, Circumstances))]
async fn remove_real(
    State(requests): State<Requests>,
    caller: Asker,
    Path((name, real)): Path<(String, String)>,
    query: Result<Query<RemoveRealQuery>, QueryRejection>,
) -> Answer {
    let RemoveRealQuery { now } = queried(query)?;
    json(&ask(&requests, caller, Change::RemoveReal(name, address(&real)?, now)).await?)
}

/// The flows noted now.
#[utoipa::path(get, path = "/v1/flows", params(FlowsQuery), responses((status = 200, description = "The flows, as many as the limit lets through", body = Flows), Problems, Worded, Named))]
async fn flows(
    State(requests): State<Requests>,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    if !(1..=FlowsQuery::MOST as usize).contains(&query.limit()) {
        let most = FlowsQuery::MOST;
        return Err(Refusal::invalid(format!(
            "limit {} is out of range; write a whole number from 1 to {most}",
            query.limit()
        )));
    }
    if let Some(vip) = &query.vip {
        find_vip(&requests, vip).await?;
    }
    json(&requests.ask(|reply| Request::Flows(query, reply)).await?)
}

/// Examines VIPs, reals and this machine: it takes seconds.
#[utoipa::path(get, path = "/v1/doctor", params(DoctorQuery), responses((status = 200, description = "What was found", body = Doctor), Problems, Worded, Named))]
async fn doctor(
    State(requests): State<Requests>,
    query: Result<Query<DoctorQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    if let Some(vip) = &query.vip {
        find_vip(&requests, vip).await?;
    }
    json(&requests.ask(|reply| Request::Doctor(query, reply)).await?)
}

/// What a configuration would change; changes nothing.
#[utoipa::path(post, path = "/v1/plan", request_body(content = PlanQuery, example = json!({"config": "[node]\ninterfaces = [\"eth0\"]\n"})), responses((status = 200, description = "What would change", body = PlanReport), Problems, Worded, Circumstances, Bodied))]
async fn plan(State(requests): State<Requests>, body: Large) -> Answer {
    let candidate = body.read(|PlanQuery { config }| Candidate::read(config)).await?;
    json(&requests.ask(|reply| Request::Plan(candidate, reply)).await?)
}

/// Replaces the configuration; needs the role admin.
#[utoipa::path(post, path = "/v1/apply", request_body = ApplyQuery, responses((status = 200, description = "The configuration is in force", body = Done), Problems, Worded, Circumstances, Bodied))]
async fn apply(State(requests): State<Requests>, caller: Asker, body: Large) -> Answer {
    let read = |ApplyQuery { config, max_moved }: ApplyQuery| {
        Candidate::read(config)?.at_most(max_moved).map(Candidate::with_rights)
    };
    let candidate = body.read(read).await?;
    json(&ask(&requests, caller, Change::Apply(candidate)).await?)
}

/// Which real a packet would get, and why.
#[utoipa::path(get, path = "/v1/trace", params(TraceQuery), responses((status = 200, description = "What becomes of the packet", body = Trace), Problems, Worded, Circumstances))]
async fn trace(
    State(requests): State<Requests>,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Answer {
    let query = queried(query)?;
    let read = spawn_blocking(|| wanted(query)).await;
    traced(&requests, read.unwrap_or_else(|error| Err(Refusal::failed(error.to_string())))?).await
}

/// The same, with a configuration that is longer than an address can be.
#[utoipa::path(post, path = "/v1/trace", request_body(content = TraceQuery, example = json!({"src": "198.51.100.7:40000", "dst": "192.0.2.10:80"})), responses((status = 200, description = "What becomes of the packet", body = Trace), Problems, Worded, Circumstances, Bodied))]
async fn trace_with_body(State(requests): State<Requests>, body: Large) -> Answer {
    traced(&requests, body.read(wanted).await?).await
}

type Wanted = (TraceQuery, Option<Candidate>);

/// A trace with the configuration in it, read.
fn wanted(mut query: TraceQuery) -> Result<Wanted, Refusal> {
    let config = query.config.take();
    Ok((query, config.map(Candidate::read).transpose()?))
}

async fn traced(requests: &Requests, (query, candidate): Wanted) -> Answer {
    json(&requests.ask(|reply| Request::Trace(query, candidate, reply)).await?)
}

/// The running configuration, with its secrets, as TOML; needs the role admin.
#[utoipa::path(get, path = "/v1/export", responses((status = 200, description = "The configuration", body = String, content_type = "text/plain; charset=utf-8"), Problems))]
async fn export(State(requests): State<Requests>) -> Answer {
    Ok(requests.ask(Request::Export).await?.into_response())
}

/// Stops forwarding, and lbd; needs the role admin.
#[utoipa::path(post, path = "/v1/detach", responses((status = 200, description = "Nothing is forwarded, and lbd stops", body = Done), Problems))]
async fn detach(State(requests): State<Requests>, caller: Asker) -> Answer {
    let noted = async move {
        // Before, too: lbd ends with it.
        caller.audit("detach", "begins").await;
        let result = requests.ask(Request::Detach).await;
        caller.audit("detach", &audit::outcome(&result)).await;
        result
    };
    json(&unbroken(noted).await?)
}

async fn no_route() -> Refusal {
    Refusal::missing("no such path; see GET /v1/status")
}

async fn no_method() -> Refusal {
    Refusal::new(405, "this path does not take that method")
}

/// The type of a problem document (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What refuses by itself, such as that a path is no text, does so in plain text.
async fn problem(response: Response) -> Response {
    let status = response.status();
    let is_bad = status.is_client_error() || status.is_server_error();
    if !is_bad || response.extensions().get::<Refusal>().is_some() {
        return response;
    }
    let (head, body) = response.into_parts();
    let reason = to_bytes(body, REASON).await.unwrap_or_default();
    let refusal = Refusal::new(status.as_u16(), String::from_utf8_lossy(&reason));
    let mut response = refusal.into_response();
    if let Some(allow) = head.headers.get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// So that whoever asks can see that it is of another version.
async fn with_version(mut response: Response) -> Response {
    let header = HeaderName::from_static(VERSION_HEADER);
    response.headers_mut().insert(header, HeaderValue::from_static(VERSION));
    response
}

fn queried<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    query.map(|Query(query)| query).map_err(|error| Refusal::invalid(error.body_text()))
}

/// Has a change carried out, and notes who wanted it and what became of it.
async fn ask(
    requests: &Requests,
    Extension(caller): Asker,
    change: Change,
) -> Result<Done, Refusal> {
    let requests = requests.clone();
    unbroken(async move {
        let what = audit::words(&change);
        let result = requests.ask(|reply| Request::Change(change, reply)).await;
        caller.audit(&what, &audit::outcome(&result)).await;
        result
    })
    .await
}

/// What goes on when the asker has gone away: what is done is noted.
async fn unbroken(
    work: impl Future<Output = Result<Done, Refusal>> + Send + 'static,
) -> Result<Done, Refusal> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(Refusal::failed(error.to_string())))
}

/// The pieces of an answer, broken off once whoever gets them no longer has the role.
fn held<T: Send + 'static>(
    pieces: impl Stream<Item = io::Result<T>> + Send + 'static,
    caller: Caller,
    role: Role,
) -> impl Stream<Item = io::Result<T>> + Send + 'static {
    let lost = async move { caller.lost(role).await };
    // Not to be taken for the end.
    let mut taken_away = Box::pin(lost.map(|()| Err(io::Error::other("the role is taken away"))));
    let mut pieces = Some(Box::pin(pieces));
    poll_fn(move |context| {
        let Some(current) = &mut pieces else { return Poll::Ready(None) };
        if let Poll::Ready(error) = taken_away.poll_unpin(context) {
            pieces = None;
            return Poll::Ready(Some(error));
        }
        current.as_mut().poll_next(context)
    })
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

fn json(body: &impl Serialize) -> Answer {
    Ok(as_json(written(body)?))
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(body).map_err(|error| Refusal::failed(error.to_string()))
}

fn as_json(body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            places: self.places.clone(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        // For who notes it.
        (status, [(header::CONTENT_TYPE, PROBLEM)], Extension(self), body).into_response()
    }
}

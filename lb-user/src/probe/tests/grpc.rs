use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, body::Incoming, header::HeaderValue, server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    super::grpc::{HealthRequest, HealthResponse, ServingStatus, framed},
    tls::Authority,
    *,
};
use crate::model::Tls;

fn check(port: u16, service: &str, tls: Option<Tls>) -> CheckKind {
    CheckKind::Grpc { port, tls, service: service.to_owned() }
}

/// What the health service says of a service: a message, and the code at the end.
fn says(service: &str) -> (Bytes, &'static str) {
    let status = |status| framed(&HealthResponse { status }.encode_to_vec());
    match service {
        "" => (status(ServingStatus::Serving as i32), "0"),
        "down" => (status(ServingStatus::NotServing as i32), "0"),
        "strange" => (status(99), "0"),
        "garbage" => (Bytes::from_static(b"gar"), "0"),
        "compressed" => (Bytes::from_static(&[1, 0, 0, 0, 2, 8, 1]), "0"),
        "long" => (Bytes::from_static(&[0, 0, 0, 0, 9, 8, 1]), "0"),
        "none" => (Bytes::new(), "0"),
        "unavailable" => (Bytes::new(), "14"),
        "odd" => (Bytes::new(), "x"),
        _ => (Bytes::new(), "5"),
    }
}

async fn health(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked = HealthRequest::decode(&body[5..]).unwrap();
    let (message, code) = says(&asked.service);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    if code == "14" {
        trailers.insert("grpc-message", HeaderValue::from_static("database is away"));
    }
    Ok(Response::new(Full::new(message).with_trailers(async { Some(Ok(trailers)) })))
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let builder = http2::Builder::new(TokioExecutor::new());
    drop(builder.serve_connection(TokioIo::new(stream), service_fn(health)).await);
}

#[tokio::test]
async fn a_service_is_what_the_server_says_of_it() {
    let senseless = "the answer of the health service makes no sense";
    for address in FAMILIES {
        let port = serve(address, speak).await;
        for (service, expected) in [
            ("", Ok("SERVING".to_owned())),
            ("down", wrong("NOT_SERVING")),
            ("strange", wrong("UNKNOWN")),
            ("garbage", wrong(senseless)),
            ("compressed", wrong(senseless)),
            ("long", wrong(senseless)),
            ("none", wrong(senseless)),
            ("unavailable", wrong("gRPC UNAVAILABLE: database is away")),
            ("odd", wrong("gRPC an unknown code")),
            ("other", wrong("gRPC NOT_FOUND")),
        ] {
            let result = ask(&check(port, service, None), address, LONG).await;
            assert_eq!(result, expected, "{service}");
        }
    }
}

#[tokio::test]
async fn a_service_is_asked_over_tls_too() {
    let authority = Authority::new();
    for address in FAMILIES {
        let acceptor = authority.server(&["grpc.example"], &["h2"]);
        let port = serve(address, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    speak(stream).await;
                }
            }
        })
        .await;
        let good = check(port, "", Some(authority.trusted(Some("grpc.example"))));
        assert_eq!(ask(&good, address, LONG).await, Ok("SERVING".to_owned()));
        let other = check(port, "", Some(authority.trusted(Some("other.example"))));
        let reason = "the certificate is not for other.example";
        assert_eq!(ask(&other, address, LONG).await, wrong(reason));
    }
}

/// A server of HTTP/2 that answers all with a status and this header.
async fn answers(
    address: IpAddr,
    status: u16,
    header: Option<(&'static str, &'static str)>,
) -> u16 {
    serve(address, move |stream| async move {
        let service = service_fn(move |_| async move {
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(TokioIo::new(stream), service).await);
    })
    .await
}

#[tokio::test]
async fn a_server_without_the_health_service_or_without_grpc_is_told_so() {
    for address in FAMILIES {
        for (status, header, reason) in [
            (200, Some(("grpc-status", "12")), "gRPC UNIMPLEMENTED"),
            (200, None, "the answer is not gRPC"),
            (404, None, "http 404, no gRPC"),
        ] {
            let port = answers(address, status, header).await;
            assert_eq!(ask(&check(port, "", None), address, LONG).await, wrong(reason));
        }
    }
}

#[tokio::test]
async fn a_server_that_never_answers_a_call_is_a_timeout_and_its_connection_ends() {
    for address in FAMILIES {
        let (sender, mut ended) = tokio::sync::mpsc::channel(1);
        let port = serve(address, move |stream| {
            let sender = sender.clone();
            async move {
                let service = service_fn(|_| {
                    std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
                });
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
                sender.send(()).await.unwrap();
            }
        })
        .await;
        let result = ask(&check(port, "", None), address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("waiting for the answer")));
        ended.recv().await.unwrap();
    }
}

use std::{convert::Infallible, io::Write as _, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::{http::check, *};
use crate::model::{HttpCheck, HttpVersion, Tls};

/// Who signs certificates.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    fn ca(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// A server's side for these names and addresses.
    pub(super) fn server(&self, names: &[&str], protocols: &[&str]) -> TlsAcceptor {
        self.signed(params(names), protocols)
    }

    fn signed(&self, params: CertificateParams, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate, &key, protocols)
    }

    /// A client's side that trusts it.
    pub(super) fn trusted(&self, name: Option<&str>) -> Tls {
        Tls { name: name.map(str::to_owned), verify: true, ca: Some(self.ca()) }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    CertificateParams::new(names).unwrap()
}

fn acceptor(certificate: rcgen::Certificate, key: &KeyPair, protocols: &[&str]) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Says by which name, if any, it was asked for.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(ToString::to_string);
    let text = format!("{:?} {host:?} {authority:?} fine", request.version());
    Ok(Response::new(Full::from(text)))
}

/// A web server with TLS that speaks HTTP of the version that was agreed upon.
async fn secure(address: IpAddr, acceptor: TlsAcceptor) -> u16 {
    serve(address, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let (io, service) = (TokioIo::new(stream), service_fn(echo));
            match two {
                true => {
                    let builder = http2::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(io, service).await);
                }
                false => drop(http1::Builder::new().serve_connection(io, service).await),
            }
        }
    })
    .await
}

fn https(port: u16, tls: Tls) -> HttpCheck {
    HttpCheck { tls: Some(tls), body: Some("fine".to_owned()), ..check(port) }
}

async fn ask_https(check: HttpCheck, address: IpAddr) -> Result<String, Failure> {
    ask(&CheckKind::Http(check), address, LONG).await
}

fn passed() -> Result<String, Failure> {
    Ok("http 200".to_owned())
}

fn unverified() -> Tls {
    Tls { name: None, verify: false, ca: None }
}

#[tokio::test]
async fn a_certificate_for_the_name_or_the_address_is_good() {
    let authority = Authority::new();
    for address in FAMILIES {
        let server = authority.server(&["www.example.com", &address.to_string()], &[]);
        let port = secure(address, server).await;
        let by_name = https(port, authority.trusted(Some("www.example.com")));
        assert_eq!(ask_https(by_name, address).await, passed());
        let by_address = https(port, authority.trusted(None));
        assert_eq!(ask_https(by_address.clone(), address).await, passed());
        let by_host = HttpCheck { host: Some("www.example.com:444".to_owned()), ..by_address };
        assert_eq!(ask_https(by_host, address).await, passed());
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_wrong() {
    let authority = Authority::new();
    for address in FAMILIES {
        let port = secure(address, authority.server(&["www.example.com"], &[])).await;
        let other = https(port, authority.trusted(Some("www.example.net")));
        let reason = "the certificate is not for www.example.net";
        assert_eq!(ask_https(other, address).await, wrong(reason));
        let by_address = https(port, authority.trusted(None));
        let reason = format!("the certificate is not for {address}");
        assert_eq!(ask_https(by_address, address).await, wrong(&reason));
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_not_valid_yet_is_wrong() {
    let authority = Authority::new();
    for (from, to, reason) in [
        (2000, 2001, "the certificate has expired"),
        (4000, 4001, "the certificate is not valid yet"),
    ] {
        for address in FAMILIES {
            let mut params = params(&["a.example"]);
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let port = secure(address, authority.signed(params, &[])).await;
            let check = https(port, authority.trusted(Some("a.example")));
            assert_eq!(ask_https(check, address).await, wrong(reason));
        }
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_wrong_unless_none_is_verified() {
    let authority = Authority::new();
    let stranger = "the certificate's issuer is not trusted: set ca, or verify = false";
    for address in FAMILIES {
        let key = KeyPair::generate().unwrap();
        let certificate = params(&["a.example"]).self_signed(&key).unwrap();
        let port = secure(address, acceptor(certificate, &key, &[])).await;
        let trusted = https(port, authority.trusted(Some("a.example")));
        assert_eq!(ask_https(trusted, address).await, wrong(stranger));
        assert_eq!(ask_https(https(port, unverified()), address).await, passed());
    }
}

#[tokio::test]
async fn without_verification_anything_will_do_but_tls_is_spoken() {
    let authority = Authority::new();
    for address in FAMILIES {
        let mut params = params(&["a.example"]);
        params.not_after = date_time_ymd(2001, 1, 1);
        let port = secure(address, authority.signed(params, &[])).await;
        assert_eq!(ask_https(https(port, unverified()), address).await, passed());
        let plain = serve(address, |mut stream| async move {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        })
        .await;
        let result = ask_https(https(plain, unverified()), address).await;
        assert_eq!(result, wrong("the server does not speak TLS"));
    }
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_a_timeout() {
    for address in FAMILIES {
        let port = serve(address, |stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let kind = CheckKind::Http(https(port, unverified()));
        let result = ask(&kind, address, SHORT).await;
        assert_eq!(result, Err(Failure::Timeout("in the TLS handshake")));
    }
}

#[tokio::test]
async fn http_2_is_agreed_upon_in_the_handshake_or_it_is_wrong() {
    let authority = Authority::new();
    let two = |port| HttpCheck {
        version: HttpVersion::Two,
        body: Some(format!("HTTP/2.0 None Some(\"www.example.com:{port}\") fine")),
        host: Some(format!("www.example.com:{port}")),
        ..https(port, authority.trusted(None))
    };
    for address in FAMILIES {
        let server = |protocols: &[&str]| authority.server(&["www.example.com"], protocols);
        let port = secure(address, server(&["h2", "http/1.1"])).await;
        assert_eq!(ask_https(two(port), address).await, passed());
        for protocols in [&["http/1.1"][..], &[]] {
            let port = secure(address, server(protocols)).await;
            let result = ask_https(two(port), address).await;
            assert_eq!(result, wrong("the server does not offer HTTP/2 (ALPN h2)"));
        }
    }
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge_where_there_is_no_tls() {
    for address in FAMILIES {
        let port = serve(address, |stream| async move {
            let builder = http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(TokioIo::new(stream), service_fn(echo)).await);
        })
        .await;
        let body = Some("HTTP/2.0".to_owned());
        let check = HttpCheck { version: HttpVersion::Two, body, ..check(port) };
        assert_eq!(ask_https(check, address).await, passed());
    }
}

#[tokio::test]
async fn certificates_that_are_trusted_may_be_renewed_while_we_run() {
    let (old, new) = (Authority::new(), Authority::new());
    let prober = Prober::new(None);
    let address = FAMILIES[0];
    let port = secure(address, new.server(&["a.example"], &[])).await;
    let kind = CheckKind::Http(https(port, old.trusted(Some("a.example"))));
    let refused = prober.probe(&kind, &target(address), LONG).await;
    assert!(matches!(refused, Err(Failure::Wrong(_))), "{refused:?}");
    std::fs::write(old.ca(), new.issuer.pem()).unwrap();
    // Whatever the clock of the file system says.
    let later = std::time::SystemTime::now() + LONG;
    std::fs::File::options().write(true).open(old.ca()).unwrap().set_modified(later).unwrap();
    assert!(prober.probe(&kind, &target(address), LONG).await.is_ok());
}

#[tokio::test]
async fn certificates_that_cannot_be_read_say_nothing_of_the_server() {
    let address = FAMILIES[0];
    let port = serve(address, |_| async {}).await;
    let empty = NamedTempFile::new().unwrap();
    for ca in ["/does/not/exist".into(), empty.path().to_owned()] {
        let tls = Tls { name: None, verify: true, ca: Some(ca.clone()) };
        let result = ask_https(https(port, tls), address).await;
        let Err(Failure::Local(reason)) = result else { panic!("{result:?}") };
        assert!(reason.contains(ca.to_str().unwrap()), "{reason}");
    }
}

//! TLS to a server, whose certificate is verified or not.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct,
        RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use super::{
    Failure,
    socket::{Clock, failure},
};
use crate::{
    config::certificates,
    model::{HttpVersion, Tls},
};

const HANDSHAKE: &str = "in the TLS handshake";

/// Configurations by what they depend on: to make one takes longer than the probe.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<Kind, Client>>);

/// What a configuration depends on. The server's name is not among it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    verify: bool,
    ca: Option<PathBuf>,
    version: HttpVersion,
}

#[derive(Debug)]
struct Client {
    config: Arc<ClientConfig>,
    /// When the file of certificates was last changed: it may be renewed while we run.
    changed: Option<SystemTime>,
}

impl Clients {
    /// Speaks TLS on a connection.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        tls: &Tls,
        name: ServerName<'static>,
        version: HttpVersion,
        clock: &Clock,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let config = self.config(tls, version).map_err(Failure::Local)?;
        let connect = TlsConnector::from(config).connect(name, stream);
        let stream =
            clock.within(HANDSHAKE, async { connect.await.map_err(|e| meaning(&e)) }).await?;
        match (version, stream.get_ref().1.alpn_protocol()) {
            (HttpVersion::Two, Some(b"h2")) | (HttpVersion::One, _) => Ok(stream),
            (HttpVersion::Two, _) => Err(Failure::Wrong(NO_HTTP2.to_owned())),
        }
    }

    fn config(&self, tls: &Tls, version: HttpVersion) -> Result<Arc<ClientConfig>, String> {
        let kind = Kind { verify: tls.verify, ca: tls.ca.clone(), version };
        let changed = tls.ca.as_deref().filter(|_| tls.verify).and_then(changed);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind)
            && client.changed == changed
        {
            return Ok(client.config.clone());
        }
        let config = Arc::new(kind.config()?);
        clients.insert(kind, Client { config: config.clone(), changed });
        Ok(config)
    }
}

const NO_HTTP2: &str = "the server does not offer HTTP/2 (ALPN h2)";

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

impl Kind {
    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.verify {
            true => builder.with_root_certificates(roots(self.ca.as_deref())?),
            false => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            }
        };
        let mut config = builder.with_no_client_auth();
        // Each probe is to see the certificate.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = match self.version {
            HttpVersion::One => vec![b"http/1.1".to_vec()],
            HttpVersion::Two => vec![b"h2".to_vec()],
        };
        Ok(config)
    }
}

/// Whom to trust.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let (certificates, place) = match ca {
        Some(path) => {
            let named = |error: String| format!("ca = \"{}\": {error}", path.display());
            (certificates::read(path).map_err(named)?, path.display().to_string())
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            (system.certs, "the system's store of certificates".to_owned())
        }
    };
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(format!("there is no certificate in {place}")),
        _ => Ok(roots),
    }
}

/// The name in the configuration, else the first that is one of those that follow.
pub(super) fn server_name<'a>(
    tls: &Tls,
    others: impl IntoIterator<Item = &'a str>,
) -> Result<ServerName<'static>, Failure> {
    let name = |text: &str| ServerName::try_from(text.to_owned());
    match &tls.name {
        Some(text) => {
            name(text).map_err(|_| Failure::Local(format!("sni = \"{text}\" is no name")))
        }
        None => others
            .into_iter()
            .find_map(|text| name(text).ok())
            .ok_or_else(|| Failure::Local("there is no name to ask for: set sni".to_owned())),
    }
}

/// What a failed handshake says, in the same words each time.
fn meaning(error: &io::Error) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else { return failure(error, HANDSHAKE) };
    Failure::Wrong(match inner {
        rustls::Error::InvalidCertificate(reason) => certificate(reason),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | rustls::Error::NoApplicationProtocol => NO_HTTP2.to_owned(),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        other => format!("TLS: {other}"),
    })
}

fn certificate(reason: &CertificateError) -> String {
    use CertificateError as E;
    match reason {
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        E::NotValidForName => "the certificate is for another name".to_owned(),
        E::NotValidForNameContext { expected, .. } => {
            format!("the certificate is not for {}", expected.to_str())
        }
        E::UnknownIssuer | E::BadSignature => {
            "the certificate's issuer is not trusted: set ca, or verify = false".to_owned()
        }
        other => format!("the certificate: {other}"),
    }
}

/// Takes any certificate, whoever signs the handshake: nothing secret is said.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

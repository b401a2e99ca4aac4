//! A URL to which events are posted.

use std::{error::Error, io, iter, time::Duration};

use hyper::{
    Request, Uri,
    header::{CONTENT_TYPE, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::spawn_blocking, time::timeout};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::Way;
use crate::model;

/// Says who asks, as people expect it in their logs.
const AGENT: &str = concat!("lbd/", env!("CARGO_PKG_VERSION"));

type Http = Client<HttpsConnector<HttpConnector>, String>;

/// Posts events. It follows no redirections: where those lead is nobody's configuration.
pub(super) struct Webhook {
    /// The client, and whether it can do TLS.
    client: Option<(Http, bool)>,
    /// How long it may take.
    patience: Duration,
}

impl Way for Webhook {
    fn name(&self, hooks: &model::Hooks) -> Option<String> {
        hooks.webhook.as_deref().map(name)
    }

    async fn call(&mut self, hooks: &model::Hooks, event: &str) -> Result<(), String> {
        let url = hooks.webhook.as_deref().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|error| format!("its URL: {error}"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("its URL has a user name, which is not sent: use a secret path".to_owned());
        }
        let client = self.client(uri.scheme_str() == Some("https")).await?;
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .body(event.to_owned())
            .map_err(|error| error.to_string())?;
        let response = timeout(self.patience, client.request(request)).await;
        let response = response
            .map_err(|_| format!("it did not answer within {} seconds", self.patience.as_secs()))?;
        match response.map_err(|error| cause(&error))?.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answers \"{status}\"")),
        }
    }
}

impl Webhook {
    pub(super) fn new(patience: Duration) -> Self {
        Self { client: None, patience }
    }

    async fn client(&mut self, tls: bool) -> Result<Http, String> {
        match &self.client {
            Some((client, able)) if *able || !tls => Ok(client.clone()),
            _ => {
                let client = client(tls).await.map_err(|error| {
                    format!("no certificate of this system can be used ({error}): install ca-certificates")
                })?;
                self.client = Some((client.clone(), tls));
                Ok(client)
            }
        }
    }
}

/// A client that believes the system's certificates, if it is to do TLS.
async fn client(tls: bool) -> io::Result<Http> {
    let connector = HttpsConnectorBuilder::new();
    let connector = if tls {
        // The system's certificates are many files.
        let load = || connector.with_provider_and_native_roots(ring::default_provider());
        spawn_blocking(load).await.map_err(io::Error::other)??
    } else {
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        connector.with_tls_config(tls)
    };
    let connector = connector.https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
}

/// Whom a URL names. Its path may be a secret.
fn name(url: &str) -> String {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.map_or_else(|| "the webhook".to_owned(), |host| format!("the webhook at {host}"))
}

/// What is behind it all: the outer errors say only that something failed.
fn cause(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |error| (*error).source());
    causes.last().unwrap_or(error).to_string()
}

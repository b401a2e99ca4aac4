//! A gRPC server that is asked for its health.

use std::{fs, net::SocketAddr};

use anyhow::Result;
use tonic::transport::{Identity as TlsIdentity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, health_reporter},
};

use crate::{
    background::{self, Background},
    certificates::Identity,
    netns::Netns,
};

/// A gRPC server with nothing but `grpc.health.v1.Health`, stopped on drop. As a whole (`""`) it serves from
/// the beginning; services that nobody has spoken of are unknown to it.
#[derive(Debug)]
pub struct GrpcHealth {
    reporter: HealthReporter,
    _serves: Background,
}

impl GrpcHealth {
    pub(crate) fn start(
        netns: &Netns,
        places: &[SocketAddr],
        tls: Option<&Identity>,
    ) -> Result<Self> {
        let mut server = Server::builder();
        if let Some(files) = tls {
            let (certificate, key) = (fs::read(&files.certificate)?, fs::read(&files.key)?);
            let identity = TlsIdentity::from_pem(certificate, key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let listeners = background::listen(netns, places)?;
        let (reporter, service) = health_reporter();
        let serves = Background::start(|| {
            for listener in listeners {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let incoming = TcpIncoming::from(listener);
                let server = server.clone();
                tokio::spawn(server.serve_with_incoming(service.clone(), incoming));
            }
            Ok(())
        })?;
        Ok(Self { reporter, _serves: serves })
    }

    /// From now on it says of this service that it serves, or that it does not.
    pub fn set(&self, service: &str, serves: bool) -> Result<()> {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.reporter.set_service_status(service, status));
        Ok(())
    }
}

//! nginx on a real server.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{certificates::Identity, netns::Netns, process::Process, wait};

/// How long the file `/large` is.
pub const LARGE: u64 = 64 << 20;

/// A running nginx, killed on drop.
///
/// `/` is a page that names the server, as does the header `X-Real` of every answer; `/healthz`
/// answers 200; `/large` is [`LARGE`] bytes of zeros; `/upload` takes what is put there.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    dir: PathBuf,
}

/// Where nginx listens, and how.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address and port.
    pub place: SocketAddr,
    /// With TLS, and as whom.
    pub tls: Option<Identity>,
    /// HTTP/2: by ALPN beside HTTP/1.1 with TLS, and nothing else without.
    pub http2: bool,
}

impl Listen {
    /// HTTP/1.1 without TLS.
    #[must_use]
    pub const fn plain(place: SocketAddr) -> Self {
        Self { place, tls: None, http2: false }
    }
}

impl Nginx {
    pub(crate) fn start(netns: &Netns, real: &Path, listens: &[Listen]) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let dir = real.join(format!("nginx-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&dir)?;
        fs::write(dir.join("index.html"), format!("{}\n", netns.name()))?;
        File::create(dir.join("large"))?.set_len(LARGE)?;
        fs::write(dir.join("nginx.conf"), config(netns.name(), &dir, listens)?)?;

        let mut command = netns.command("nginx");
        command
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .arg("-e")
            .arg(dir.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(dir.join("stderr"))?);
        let mut nginx = Self { process: netns.spawn(command)?, dir };
        listens.iter().try_for_each(|listen| nginx.listens(netns, listen.place))?;
        Ok(nginx)
    }

    fn listens(&mut self, netns: &Netns, place: SocketAddr) -> Result<()> {
        let connect = || Ok(TcpStream::connect_timeout(&place, Duration::from_secs(1)).is_ok());
        wait::until(&format!("nginx at {place}"), wait::PATIENCE, || {
            if let Some(status) = self.process.exited()? {
                bail!("nginx: {status}: {}", fs::read_to_string(self.dir.join("stderr"))?);
            }
            Ok(netns.run(connect)?.then_some(()))
        })
    }

    /// The lines of the access log: `client server status "request"`. The connections by which the
    /// lab found out that it listens are not among them.
    pub fn access_log(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.dir.join("access.log")).context("no access log")?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// How long what was put at `/upload` is, if anything was.
    pub fn uploaded(&self) -> Result<Option<u64>> {
        match fs::metadata(self.dir.join("upload")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            upload => Ok(Some(upload?.len())),
        }
    }

    /// The process: to stop, to kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// One process and no master: killing it kills all of nginx. Each place is a server of its own, since each may
/// have another certificate, or none.
fn config(name: &str, dir: &Path, listens: &[Listen]) -> Result<String> {
    let mut servers = String::new();
    for listen in listens {
        write!(servers, "{}", server(name, dir, listen)?)?;
    }
    let dir = dir.display();
    Ok(format!(
        r#"daemon off;
master_process off;
worker_processes 1;
pid {dir}/pid;
events {{ worker_connections 4096; }}
http {{
  log_format lab '$remote_addr $server_addr $status "$request"';
  access_log {dir}/access.log lab;
  client_body_temp_path {dir}/tmp-body;
  proxy_temp_path {dir}/tmp-proxy;
  fastcgi_temp_path {dir}/tmp-fastcgi;
  uwsgi_temp_path {dir}/tmp-uwsgi;
  scgi_temp_path {dir}/tmp-scgi;
{servers}}}
"#
    ))
}

fn server(name: &str, dir: &Path, Listen { place, tls, http2 }: &Listen) -> Result<String> {
    let dir = dir.display();
    let mut tls_files = String::new();
    if let Some(Identity { certificate, key }) = tls {
        writeln!(tls_files, "    ssl_certificate {};", certificate.display())?;
        writeln!(tls_files, "    ssl_certificate_key {};", key.display())?;
    }
    let tls = if tls.is_some() { " ssl" } else { "" };
    let http2 = if *http2 { " http2" } else { "" };
    Ok(format!(
        r#"  server {{
    listen {place}{tls}{http2};
{tls_files}    root {dir};
    add_header X-Real {name} always;
    location = /healthz {{ return 200 "ok\n"; }}
    location = /upload {{ client_max_body_size 0; dav_methods PUT; }}
  }}
"#
    ))
}

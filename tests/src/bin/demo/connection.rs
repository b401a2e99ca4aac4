//! A client's connection that lasts.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

use crate::stage::{Stage, VIP};

/// An open connection for page after page.
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// Who is at the other end.
    pub real: String,
}

impl Connection {
    /// Opens it, and asks for the first page.
    pub fn open(stage: &Stage) -> Result<Self> {
        let stream = stage.lab.client().connect(SocketAddr::new(VIP, 80))?;
        let mut new = Self { stream: BufReader::new(stream), real: String::new() };
        new.real = new.page()?;
        Ok(new)
    }

    /// Asks once more; the same real must answer.
    pub fn ask(&mut self) -> Result<()> {
        let answer = self.page()?;
        ensure!(answer == self.real, "{answer} answered for {}", self.real);
        Ok(())
    }

    fn page(&mut self) -> Result<String> {
        write!(self.stream.get_mut(), "GET / HTTP/1.1\r\nHost: {VIP}\r\n\r\n")?;
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = Some(value.trim_end().parse()?);
            }
        }
        let mut page = vec![0; length.context("no length")?];
        self.stream.read_exact(&mut page)?;
        Ok(String::from_utf8(page)?.trim_end().to_owned())
    }
}

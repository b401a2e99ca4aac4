//! Files of certificates. Whoever may ask for a plan may name any file, so none is read that would never end or
//! wait for somebody.

use std::{
    fmt,
    fs::{self, Metadata, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// The largest file of certificates, in bytes: the world's public ones take a quarter of a mebibyte.
const LARGEST: u64 = 4 << 20;

/// The certificates of a file in PEM.
///
/// # Errors
///
/// Why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = text(path)?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(said)
}

fn text(path: &Path) -> Result<Vec<u8>, String> {
    // Before it is opened: some devices act on that.
    plain(&fs::metadata(path).map_err(said)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(said)?;
    plain(&file.metadata().map_err(said)?)?;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(said)?;
    bounded(text.len() as u64)?;
    Ok(text)
}

fn plain(found: &Metadata) -> Result<(), String> {
    if !found.is_file() {
        return Err("is not a plain file".to_owned());
    }
    bounded(found.len())
}

fn bounded(length: u64) -> Result<(), String> {
    match length > LARGEST {
        true => Err(format!("is larger than {} MiB", LARGEST >> 20)),
        false => Ok(()),
    }
}

fn said(error: impl fmt::Display) -> String {
    error.to_string()
}

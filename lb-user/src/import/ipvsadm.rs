//! ipvsadm: not readable yet.

use std::path::Path;

use super::{Draft, Unreadable};

pub(super) fn read(_text: &str, file: &Path) -> Result<Draft, Unreadable> {
    let message = "not readable yet".to_owned();
    Err(Unreadable { file: file.to_owned(), line: 1, column: 1, message })
}

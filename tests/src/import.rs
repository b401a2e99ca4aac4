//! What must hold of every import, whatever is imported.

use std::{
    io,
    path::{Path, PathBuf},
};

use lb_user::{
    config,
    import::{self, Kind, Options},
};

const KINDS: [Kind; 4] = [Kind::Keepalived, Kind::Ipvsadm, Kind::Alteon, Kind::Vc5];

/// Imports a text whose first byte is the kind.
///
/// # Panics
///
/// When what comes out is not a configuration that the check accepts.
pub fn check(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let Ok(text) = str::from_utf8(text) else { return };
    // A file that includes itself.
    let files = |path: &Path| match path.file_name() {
        Some(_) => Ok(vec![(path.to_owned(), text.to_owned())]),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    let Ok(imported) = import::import(kind, text, Path::new("f"), &Options::default(), &files)
    else {
        return;
    };
    if let Err(errors) = config::parse(&imported.toml) {
        panic!("{errors}\n{}", imported.toml);
    }
}

/// The samples of all kinds, as [`check`] takes them.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-user/src/import");
    let of = |(kind, index): (&Kind, u8)| {
        let files = std::fs::read_dir(folder.join(format!("{kind}/samples"))).into_iter();
        let original = |path: &PathBuf| {
            let end = path.extension().unwrap_or_default();
            !["toml", "omissions", "refused"].iter().any(|made| end == *made)
        };
        let files = files.flatten().flatten().map(|file| file.path()).filter(original);
        let texts = files.filter_map(|file| std::fs::read(file).ok());
        texts.map(move |text| [vec![index], text].concat()).collect::<Vec<_>>()
    };
    KINDS.iter().zip(0..).flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_has_found_in_imports_stays_fixed() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions-import");
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().extension().is_none_or(|end| end != "md") {
                check(&std::fs::read(entry.path()).unwrap());
            }
        }
    }
}

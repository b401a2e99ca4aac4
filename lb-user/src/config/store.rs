//! Replacing the configuration file so that a reader, and a machine after a power cut, finds the
//! old text or the new one and never a part.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use tempfile::NamedTempFile;

/// Why a file was not replaced. Unless said otherwise it is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {step}: {source}; {}", advice(.source, *.replaced))]
pub struct StoreError {
    /// The file that was to be replaced.
    pub path: PathBuf,
    /// What failed.
    pub step: &'static str,
    /// Whether the new text stands already.
    pub replaced: bool,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Replaces a file's text. Mode and owner stay; where the path is a symbolic link, its target is
/// replaced.
///
/// # Errors
///
/// If any step fails. Only the last, the directory's sync, fails after the new text stands.
pub fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    let failed =
        |step| move |source| StoreError { path: path.to_owned(), step, replaced: false, source };
    let target = fs::canonicalize(path).map_err(failed("find it"))?;
    let original = fs::metadata(&target).map_err(failed("read its mode and owner"))?;
    let directory = target.parent().unwrap_or(Path::new("/"));
    let synced = File::open(directory).map_err(failed("open its directory"))?;
    let mut new = NamedTempFile::new_in(directory).map_err(failed("create a file beside it"))?;
    new.write_all(text.as_bytes()).map_err(failed("write the new text"))?;
    keep_owner_and_mode(new.as_file(), &original)
        .map_err(failed("give the new text its owner and mode"))?;
    new.as_file().sync_all().map_err(failed("write the new text"))?;
    new.persist(&target).map_err(|error| failed("rename the new text to it")(error.error))?;
    let undurable = |source| StoreError { replaced: true, ..failed("sync its directory")(source) };
    synced.sync_all().map_err(undurable)
}

/// The owner first: changing it clears bits of the mode.
fn keep_owner_and_mode(new: &File, original: &Metadata) -> io::Result<()> {
    let now = new.metadata()?;
    if (now.uid(), now.gid()) != (original.uid(), original.gid()) {
        fchown(new, Some(original.uid()), Some(original.gid()))?;
    }
    new.set_permissions(fs::Permissions::from_mode(original.mode() & 0o7777))
}

fn advice(error: &io::Error, replaced: bool) -> &'static str {
    if replaced {
        return "the new text stands but may be lost in a power cut: check the disk and repeat";
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the file is as it was: free space on its file system and repeat"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file is as it was: where systemd runs lbd, name its directory in ReadWritePaths= of the unit; else mount its file system writable; and repeat"
        }
        // Root of which the unit has taken CAP_DAC_OVERRIDE.
        io::ErrorKind::PermissionDenied
            if geteuid().is_root() && error.raw_os_error() == Some(libc::EACCES) =>
        {
            "the file is as it was: lbd is root without CAP_DAC_OVERRIDE, so file and directory must be root's (`chown root:root`), and repeat"
        }
        io::ErrorKind::PermissionDenied => {
            "the file is as it was: let the daemon's user write to its directory and keep its owner, and repeat"
        }
        io::ErrorKind::NotFound => {
            "create it, or start the daemon with the path of one that exists"
        }
        _ => "the file is as it was: check its file system and repeat",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn directory_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lb.toml");
        fs::write(&file, text).unwrap();
        (directory, file)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_text_has_the_mode_and_owner_of_the_old() {
        let (directory, file) = directory_with("old");
        for mode in [0o640, 0o600, 0o664] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let before = fs::metadata(&file).unwrap();
            replace(&file, "new").unwrap();
            let after = fs::metadata(&file).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "new");
            assert_eq!(
                (after.mode(), after.uid(), after.gid()),
                (before.mode(), before.uid(), before.gid())
            );
        }
        assert_eq!(names(directory.path()), ["lb.toml"]);
    }

    #[test]
    fn another_users_file_stays_theirs() {
        let (_directory, file) = directory_with("old");
        if std::os::unix::fs::chown(&file, Some(1234), Some(4321)).is_err() {
            return; // Only root can arrange this.
        }
        replace(&file, "new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!((after.uid(), after.gid()), (1234, 4321));
    }

    #[test]
    fn a_link_stays_a_link_and_its_target_is_replaced() {
        let (directory, file) = directory_with("old");
        let link = directory.path().join("link.toml");
        symlink("lb.toml", &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_missing_file_is_named_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lb.toml");
        let error = replace(&file, "new").unwrap_err().to_string();
        let expected = format!(
            "{}: cannot find it: No such file or directory (os error 2); \
             create it, or start the daemon with the path of one that exists",
            file.display()
        );
        assert_eq!(error, expected);
        assert!(names(directory.path()).is_empty());
    }

    /// A directory in the file's place: everything works until the rename.
    #[test]
    fn a_failure_at_the_rename_leaves_all_as_it_was_and_no_file_behind() {
        let (directory, file) = directory_with("old");
        let place = directory.path().join("place");
        fs::create_dir(&place).unwrap();
        let error = replace(&place, "new").unwrap_err();
        assert!(!error.replaced);
        let expected = format!("{}: cannot rename the new text to it: ", place.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(names(directory.path()), ["lb.toml", "place"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }

    /// `/proc` takes no new files, not even root's.
    #[test]
    fn a_directory_that_takes_no_files_leaves_the_original_as_it_was() {
        let file = Path::new("/proc/self/comm");
        let before = fs::read_to_string(file).unwrap();
        let error = replace(file, "new").unwrap_err();
        assert_eq!((error.step, error.replaced), ("create a file beside it", false));
        assert!(error.to_string().contains("/proc/self/comm"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }

    #[test]
    fn each_cause_has_its_advice() {
        let root = "root without CAP_DAC_OVERRIDE";
        let denied = if geteuid().is_root() { root } else { "let the daemon's user write" };
        for (errno, advice) in [
            (libc::ENOSPC, "free space"),
            (libc::EDQUOT, "free space"),
            (libc::EROFS, "ReadWritePaths= of the unit"),
            (libc::EACCES, denied),
            (libc::EPERM, "let the daemon's user write"),
            (libc::EIO, "check its file system"),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let error = StoreError {
                path: "/etc/lb.toml".into(),
                step: "write the new text",
                replaced: false,
                source,
            };
            assert!(error.to_string().contains(advice), "{error}");
        }
    }
}

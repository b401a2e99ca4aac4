//! The kernel's image, unpacked: under emulation, it would take longer to unpack itself than to run.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Takes the ELF file out of a bzImage, which QEMU starts by its PVH entry; one that cannot be
/// unpacked here is taken as it is.
pub fn unpack(image: &Path, to: &Path) -> Result<()> {
    let all = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
    let Some((program, args, payload)) = payload(&all) else {
        fs::copy(image, to)?;
        return Ok(());
    };
    let packed = to.with_extension("packed");
    fs::write(&packed, payload)?;
    let mut unpack = Command::new(program);
    unpack.args(args).stdin(File::open(&packed)?).stdout(File::create(to)?);
    let status = unpack.status().with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} could not unpack {}: {status}", image.display());
    fs::remove_file(packed)?;
    Ok(())
}

/// The packed kernel in a bzImage and what unpacks it (Documentation/arch/x86/boot.rst:
/// `setup_sects`, `payload_offset`, `payload_length`).
fn payload(image: &[u8]) -> Option<(&'static str, &'static [&'static str], &[u8])> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let begin = (sectors + 1) * 512 + word(0x248)?;
    let payload = image.get(begin..begin + word(0x24c)?)?;
    // The length of what comes out follows, in four bytes that the programs do not know.
    if payload.starts_with(b"\xfd7zXZ\0") {
        Some(("xz", &["-dc", "--single-stream"], payload))
    } else if payload.starts_with(b"\x28\xb5\x2f\xfd") {
        Some(("zstd", &["-dcq"], &payload[..payload.len() - 4]))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(packed: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x300];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image.resize(2 * 512 + 16, 0);
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        image.extend(packed);
        image.extend(b"what follows");
        image
    }

    #[test]
    fn the_packed_kernel_is_found_by_its_header() {
        let xz = b"\xfd7zXZ\0 kernel";
        assert_eq!(payload(&image(xz)).map(|found| (found.0, found.2)), Some(("xz", &xz[..])));
    }

    #[test]
    fn the_length_behind_zstds_frame_is_not_part_of_it() {
        let zstd = b"\x28\xb5\x2f\xfd kernel\x01\x02\x03\x04";
        let image = image(zstd);
        let found = payload(&image).map(|found| (found.0, found.2));
        assert_eq!(found, Some(("zstd", &zstd[..zstd.len() - 4])));
    }

    #[test]
    fn what_is_no_image_or_packed_otherwise_is_left_alone() {
        assert!(payload(b"\x7fELF").is_none());
        assert!(payload(&image(b"\x1f\x8b gzip")).is_none());
        assert!(payload(&image(b"\xfd7zXZ\0")[..1030]).is_none(), "cut off");
    }
}

//! The file system with which a kernel starts (Documentation/driver-api/early-userspace).

/// Where the modules are in it.
pub const MODULES: &str = "modules";

/// Files in cpio's format "newc".
#[derive(Clone, Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Adds a file.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | permissions, content);
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, b"");
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, to: &str) {
        self.entry(name, 0o120_777, to.as_bytes());
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.0
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        let number = u32::from(mode != 0) * (self.0.len() as u32 + 1);
        // Number, mode, owner, group, links, time, length, two devices of two numbers, the length
        // of the name with its final zero, and a sum that is not used.
        let length = content.len() as u32;
        let name_length = name.len() as u32 + 1;
        self.0.extend(b"070701");
        for field in [number, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0] {
            self.0.extend(format!("{field:08x}").bytes());
        }
        self.0.extend(name.bytes());
        self.0.push(0);
        self.pad();
        self.0.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..6], b"070701");
        let field = |number: usize| {
            let text = std::str::from_utf8(&bytes[6 + number * 8..14 + number * 8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        assert_eq!([field(1), field(6), field(11)], [0o100_755, 5, 5]);
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(&bytes[116..121], b"hello", "aligned");
        assert_eq!(&bytes[124..130], b"070701", "aligned");
        assert!(bytes.len().is_multiple_of(4));
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}

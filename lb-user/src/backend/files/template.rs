//! Lines with places for the names of interfaces. The shell fills them in the same way, in
//! `script/persist.sh`.

/// A line with it stands once for each interface, with its name in this place.
pub(super) const INTERFACE: &str = "@INTERFACE@";

/// As [`INTERFACE`], with the name as systemd writes it in the names of units.
pub(super) const DEVICE: &str = "@DEVICE@";

/// An option for each interface.
pub(super) const OPTIONS: &str = "@OPTIONS@";

/// Fills the places.
pub(super) fn fill(template: &str, interfaces: &[String]) -> String {
    let options: String = interfaces.iter().map(|name| format!(" --interface {name}")).collect();
    let mut text = String::new();
    for line in template.split_inclusive('\n') {
        if line.contains(INTERFACE) || line.contains(DEVICE) {
            for name in interfaces {
                text += &line.replace(INTERFACE, name).replace(DEVICE, &device(name));
            }
        } else {
            text += &line.replace(OPTIONS, &options);
        }
    }
    text
}

/// What `systemd-escape` makes of a name.
fn device(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) {
            text.push(byte.into());
        } else {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_place_stands_once_for_each_interface() {
        let text = fill("a @INTERFACE@ b\nc\nd@OPTIONS@\n", &["eth0".into(), "eth1.5".into()]);
        assert_eq!(text, "a eth0 b\na eth1.5 b\nc\nd --interface eth0 --interface eth1.5\n");
    }

    #[test]
    fn a_device_is_named_as_systemd_names_it() {
        assert_eq!(fill("@DEVICE@", &["br-lan".into()]), r"br\x2dlan");
        assert_eq!(fill("@DEVICE@", &["eth0.100".into()]), "eth0.100");
    }
}

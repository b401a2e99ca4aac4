use std::io::Write;

use super::*;
use crate::config::parse;

/// The smallest root certificate of those that everybody has.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgITBmyf1XSXNmY/Owua2eiedgPySjAKBggqhkjOPQQDAjA5
MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRkwFwYDVQQDExBBbWF6b24g
Um9vdCBDQSAzMB4XDTE1MDUyNjAwMDAwMFoXDTQwMDUyNjAwMDAwMFowOTELMAkG
A1UEBhMCVVMxDzANBgNVBAoTBkFtYXpvbjEZMBcGA1UEAxMQQW1hem9uIFJvb3Qg
Q0EgMzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCmXp8ZBf8ANm+gBG1bG8lKl
ui2yEujSLtf6ycXYqm0fc4E7O5hrOXwzpcVOho6AF2hiRVd9RFgdszflZwjrZt6j
QjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBSr
ttvXBp43rDCGB5Fwx5zEGbF4wDAKBggqhkjOPQQDAgNJADBGAiEA4IWSoxe3jfkr
BqWTrBqYaGFy+uGh0PsceGCmQ5nFuMQCIQCcAu/xlJyzlvnrxir4tiz+OpAUFteM
YyRIHN8wfdVoOw==
-----END CERTIFICATE-----
";

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

/// A configuration with this in a check, which begins at 6:9.
fn with_check(check: &str) -> String {
    format!(
        "node.interfaces = [\"eth0\"]\n[[vip]]\nname = \"web\"\naddress = \"192.0.2.10\"\n         ports = [\"tcp/443\"]\ncheck = {{ type = {check} }}\n"
    )
}

fn refused(text: &str) -> String {
    parse(text).map_or_else(|errors| errors.to_string(), |_| "accepted".to_owned())
}

#[test]
fn a_program_must_be_there_and_executable() {
    let exec =
        |path: &str| refused(&with_check(&format!("\"exec\", command = [\"{path}\", \"a\"]")));
    let plain = file("#!/bin/sh\n");
    let path = plain.path().display().to_string();
    let at = "6:37: vip \"web\", check:";
    assert_eq!(exec("/bin/sh"), "accepted");
    assert_eq!(
        exec("/nonexistent"),
        format!(
            "{at} /nonexistent: No such file or directory (os error 2); install the program or write where it is"
        )
    );
    assert_eq!(exec(&path), format!("{at} {path} is not executable; `chmod +x {path}`"));
    assert_eq!(
        exec("/usr"),
        format!("{at} /usr is not a program but something else; write a program's path")
    );
}

#[test]
fn a_hooks_program_and_the_user_as_whom_it_runs_must_be_there() {
    let node = "[node]\ninterfaces = [\"eth0\"]\nexec_user = \"no-such-user\"\n";
    assert_eq!(
        refused(&format!("{node}[hooks]\nexec = [\"/bin/sh\"]\n")),
        "5:9: hooks: no user \"no-such-user\"; write exec_user = NAME of one that there is"
    );
    assert_eq!(refused(node), "accepted");
    let root = node.replace("no-such-user", "root");
    let message = refused(&format!("{root}[hooks]\nexec = [\"/bin/sh\"]\n"));
    assert!(message.starts_with("5:9: hooks: \"root\" is root, "), "{message}");
    assert!(
        refused("node.interfaces = [\"e\"]\nhooks.exec = [\"/none\"]")
            .starts_with("2:15: hooks: /none: ")
    );
}

#[test]
fn a_file_of_trusted_certificates_must_have_one_that_can_be_used() {
    let https = |path: &Path| {
        refused(&with_check(&format!("\"https\", ca = {:?}", path.display().to_string())))
    };
    assert_eq!(https(file(CERTIFICATE).path()), "accepted");
    let lacking = |path: &Path, part: &str| {
        let message = https(path);
        let start = format!("6:32: vip \"web\", check: ca {}: ", path.display());
        assert!(message.starts_with(&start) && message.contains(part), "{message}");
        assert!(message.ends_with("; write a file with certificates in PEM that can be read"));
    };
    lacking(Path::new("/nonexistent.pem"), "No such file");
    lacking(file("nothing here\n").path(), "there is no certificate in it");
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    lacking(file(garbled).path(), "a certificate in it cannot be used");
    lacking(file(&CERTIFICATE[..200]).path(), "");
}

/// Whoever may ask for a plan may name any file.
#[test]
fn no_file_of_certificates_is_read_that_never_ends_or_waits() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [Path::new("/dev/zero"), &pipe, dir.path()] {
        assert_eq!(certificates::read(path), Err("is not a plain file".to_owned()), "{path:?}");
    }
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len(1 << 33).unwrap();
    assert_eq!(certificates::read(large.path()), Err("is larger than 4 MiB".to_owned()));
}

#[test]
fn nothing_is_trusted_where_nothing_is_verified() {
    let ca = "ca = \"/nonexistent.pem\"";
    assert_eq!(refused(&with_check(&format!("\"https\", verify = false, {ca}"))), "accepted");
    let grpc = format!("\"grpc\", tls = true, verify = false, {ca}");
    assert_eq!(refused(&with_check(&grpc)), "accepted");
    assert!(
        refused(&with_check(&format!("\"grpc\", tls = true, {ca}"))).contains("/nonexistent.pem")
    );
}

#[test]
fn what_a_configuration_needed_before_does_not_stop_a_change_of_something_else() {
    let need = |line: usize, path: &str| Need {
        place: line..line,
        what: "vip".to_owned(),
        thing: Thing::Program(path.into()),
    };
    let (old, new) = ([need(0, "/none/a")], [need(0, "/none/a"), need(2, "/none/b")]);
    assert_eq!(check("\n\n\n", &old, &old), Ok(()));
    let errors = check("\n\n\n", &new, &old).unwrap_err();
    assert!(errors.to_string().starts_with("3:1: vip: /none/b: No such file"), "{errors}");
    assert_eq!(errors.problems().len(), 1);
}

#[test]
fn what_a_machine_lacks_at_a_start_is_told_beside_the_configuration() {
    let text = with_check("\"exec\", command = [\"/nonexistent\"]");
    let (model, lacking) = crate::config::parse_tolerant(&text).unwrap();
    assert_eq!(model.vips.len(), 1);
    assert_eq!(lacking.unwrap().to_string(), refused(&text));
    assert_eq!(crate::config::parse_tolerant(&with_check("\"tcp\"")).unwrap().1, None);
    assert!(crate::config::parse_tolerant("[access]\nwrite = []").is_err());
}

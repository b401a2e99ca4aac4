//! Names that stand for ports, as IANA gives them and `/etc/services` has them.

/// The usual ones: what a balancer may have in front of servers.
const NAMES: &[(&str, u16)] = &[
    ("afs3-fileserver", 7000),
    ("ajp13", 8009),
    ("amqp", 5672),
    ("amqps", 5671),
    ("bgp", 179),
    ("diameter", 3868),
    ("domain", 53),
    ("domain-s", 853),
    ("echo", 7),
    ("epmd", 4369),
    ("finger", 79),
    ("ftp", 21),
    ("ftp-data", 20),
    ("git", 9418),
    ("gopher", 70),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imap2", 143),
    ("imap3", 220),
    ("imaps", 993),
    ("ipp", 631),
    ("irc", 194),
    ("ircd", 6667),
    ("iscsi-target", 3260),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("memcache", 11211),
    ("microsoft-ds", 445),
    ("mqtt", 1883),
    ("ms-sql-m", 1434),
    ("ms-sql-s", 1433),
    ("ms-wbt-server", 3389),
    ("mysql", 3306),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("nntp", 119),
    ("nntps", 563),
    ("ntp", 123),
    ("openvpn", 1194),
    ("pop2", 109),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("redis", 6379),
    ("rsync", 873),
    ("rtmp", 1935),
    ("rtsp", 554),
    ("secure-mqtt", 8883),
    ("sieve", 4190),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("smtps", 465),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("socks", 1080),
    ("ssh", 22),
    ("ssl", 443),
    ("submission", 587),
    ("submissions", 465),
    ("sunrpc", 111),
    ("svn", 3690),
    ("syslog", 514),
    ("syslog-tls", 6514),
    ("telnet", 23),
    ("telnets", 992),
    ("tftp", 69),
    ("time", 37),
    ("webcache", 8080),
    ("whois", 43),
    ("www", 80),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
];

/// A port by its number or by its name.
pub(super) fn port(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    NAMES.iter().find(|(name, _)| *name == text).map(|(_, port)| *port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_numbers_and_as_names() {
        for (text, expected) in [
            ("80", Some(80)),
            ("http", Some(80)),
            ("0", Some(0)),
            ("65535", Some(65535)),
            ("65536", None),
            ("", None),
            ("+80", None),
            ("nonsense", None),
        ] {
            assert_eq!(port(text), expected, "{text}");
        }
        assert!(NAMES.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}

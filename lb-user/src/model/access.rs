//! Who may ask the daemon for what.

use std::{fmt, str::FromStr};

/// What somebody may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything, but for the configuration's secrets.
    Read,
    /// Drain, enable, disable, and set weights.
    Operate,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

/// A user of this machine, or all who are in a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// A user's name.
    User(String),
    /// A group's name.
    Group(String),
}

/// The longest name of a user or a group (useradd(8)).
const NAME: usize = 32;

impl FromStr for Principal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or(("", text));
        let graphic = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/' | b',');
        let named = name.bytes().all(graphic) && (1..=NAME).contains(&name.len());
        match kind {
            "user" if named => Ok(Self::User(name.to_owned())),
            "group" if named => Ok(Self::Group(name.to_owned())),
            _ => Err(format!(
                "{text:?} is neither a user nor a group; write one such as \"user:deploy\" or \"group:noc\""
            )),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

/// The group that may do everything where nothing else is said.
pub const GROUP: &str = "lb";

/// `[access]`: who has which role, beside root, who has all. Nobody is named twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Who may read.
    pub read: Vec<Principal>,
    /// Who may operate.
    pub operate: Vec<Principal>,
    /// Who may do everything.
    pub admin: Vec<Principal>,
}

impl Access {
    /// Who is named with this role.
    #[must_use]
    pub fn of(&self, role: Role) -> &[Principal] {
        match role {
            Role::Read => &self.read,
            Role::Operate => &self.operate,
            Role::Admin => &self.admin,
        }
    }

    /// Everybody who is named, with the role.
    pub fn all(&self) -> impl Iterator<Item = (Role, &Principal)> {
        Role::ALL.into_iter().flat_map(|role| self.of(role).iter().map(move |who| (role, who)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_it_is_written() {
        for text in ["user:deploy", "group:noc", "user:www-data", "group:a.b_c"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        for text in ["deploy", "users:deploy", "user:", "group:a b", "user:a:b", ":a", ""] {
            assert!(text.parse::<Principal>().unwrap_err().contains("user:deploy"), "{text}");
        }
    }

    #[test]
    fn each_role_includes_the_ones_before() {
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }
}

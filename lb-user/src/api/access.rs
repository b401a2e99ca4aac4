//! Who asks, by the kernel's word, and whether they may: `[access]`.

mod acquaintances;

use std::{
    fmt, fs, io,
    mem::{size_of, size_of_val},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::{Group, User, geteuid};
use tokio::{net::UnixStream, sync::watch};

use self::acquaintances::Acquaintances;
use super::request::Refusal;
use crate::{
    logging,
    model::{Access, GROUP, Principal, Role},
};

/// The largest number of groups that a process can be in (NGROUPS_MAX, limits.h).
const GROUPS: usize = 65_536;

/// The longest line of an audit, in characters.
const LINE: usize = 1024;

/// The process at the other end of a connection, as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    uid: u32,
    pid: Option<i32>,
    /// Those it is in, the first of which is its own.
    groups: Vec<u32>,
}

impl Peer {
    /// Asks the kernel who has connected.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = vec![credentials.gid()];
        groups.extend(groups_of(stream)?);
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), groups })
    }

    /// Whether nobody can do without it.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// In words.
    async fn named(&self, users: &Acquaintances) -> String {
        let Self { uid, pid, .. } = self;
        let name = users.name(*uid).await;
        let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        format!("{name} (uid {uid}{pid})")
    }
}

/// The supplementary groups of who has connected: what the process has, as for the modes of files, not what a
/// list of users says that it might have. So nobody is asked who may be slow, and what has given up a group
/// has given it up.
fn groups_of(stream: impl AsFd) -> io::Result<Vec<u32>> {
    let fd = stream.as_fd().as_raw_fd();
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = size_of_val(&*groups) as libc::socklen_t;
        // SAFETY: the socket is open, the buffer has room for `length` bytes and any bytes are group ids.
        let failed = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if failed == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count > GROUPS || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// What a name stands for on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    User(u32),
    Group(u32),
}

impl Id {
    fn of(who: &Principal) -> Option<Self> {
        let found = match who {
            Principal::User(name) => {
                User::from_name(name).map(|user| user.map(|user| Self::User(user.uid.as_raw())))
            }
            Principal::Group(name) => Group::from_name(name)
                .map(|group| group.map(|group| Self::Group(group.gid.as_raw()))),
        };
        found.ok().flatten()
    }

    fn is(self, peer: &Peer) -> bool {
        match self {
            Self::User(uid) => peer.uid == uid,
            Self::Group(gid) => peer.groups.contains(&gid),
        }
    }
}

/// Who may do what, by numbers.
#[derive(Clone, Debug)]
pub struct Rights {
    /// In words, for who is refused.
    access: Access,
    given: Vec<(Role, Id)>,
    /// Of the socket.
    mode: u32,
}

impl Rights {
    /// Those that a configuration gives. Whom this machine does not know has none. This may take its time, as
    /// other machines may be asked for names.
    #[must_use]
    pub fn of(access: Option<&Access>) -> Self {
        let group = Group::from_name(GROUP).ok().flatten();
        let access = access.cloned().unwrap_or_else(|| Access {
            admin: group.iter().map(|group| Principal::Group(group.name.clone())).collect(),
            ..Access::default()
        });
        let given = access.all().filter_map(|(role, who)| Some((role, Id::of(who)?))).collect();
        let mode = mode(&access, group.is_some());
        Self { access, given, mode }
    }

    fn role(&self, peer: &Peer) -> Option<Role> {
        if peer.is_root() || peer.uid == geteuid().as_raw() {
            return Some(Role::Admin);
        }
        self.given.iter().filter(|(_, id)| id.is(peer)).map(|(role, _)| *role).max()
    }

    /// Who has at least this role.
    fn holders(&self, needed: Role) -> String {
        let holds = |(role, who): (Role, &Principal)| (role >= needed).then(|| who.to_string());
        let named: Vec<_> = self.access.all().filter_map(holds).collect();
        match &*named {
            [] => "only root has it".to_owned(),
            [named @ .., last] => {
                let before: String = named.iter().map(|who| format!(", {who}")).collect();
                format!("root{before} and {last} have it")
            }
        }
    }
}

/// The mode of the socket. Where others than the group `lb` are named all may connect, and who has no role is
/// refused by credentials.
fn mode(access: &Access, has_group: bool) -> u32 {
    let is_group = |who: &Principal| matches!(who, Principal::Group(name) if name == GROUP);
    match access.all().all(|(_, who)| is_group(who)) {
        true if has_group => 0o660,
        true => 0o600,
        false => 0o666,
    }
}

/// Who may ask, as the configuration says now.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    rights: watch::Sender<Arc<Rights>>,
    users: Acquaintances,
}

impl Gate {
    /// For this socket.
    #[must_use]
    pub fn new(socket: &Path, rights: Rights) -> Self {
        let rights = watch::Sender::new(Arc::new(rights));
        Self(Arc::new(Shared {
            socket: socket.to_owned(),
            rights,
            users: Acquaintances::default(),
        }))
    }

    /// Gives other rights, at once, for open connections, too.
    pub fn set(&self, rights: Rights) {
        self.0.rights.send_replace(Arc::new(rights));
        if let Err(error) = self.open() {
            log::error!("the mode of {}: {error}", self.0.socket.display());
        }
    }

    /// Lets those who may ask connect to the socket.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(&self) -> io::Result<()> {
        let mode = self.rights().mode;
        fs::set_permissions(&self.0.socket, fs::Permissions::from_mode(mode))
    }

    /// What somebody may do, if anything.
    #[must_use]
    pub fn role(&self, peer: &Peer) -> Option<Role> {
        self.rights().role(peer)
    }

    fn rights(&self) -> Arc<Rights> {
        Arc::clone(&self.0.rights.borrow())
    }
}

/// Who asks over a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    gate: Gate,
    peer: Peer,
    /// Whether what is asked for now has a line in the log.
    noted: Arc<AtomicBool>,
}

impl Caller {
    /// This peer, at this gate.
    #[must_use]
    pub fn new(gate: Gate, peer: Peer) -> Self {
        Self { gate, peer, noted: Arc::default() }
    }

    /// The same, who asks for something else.
    #[must_use]
    pub fn asking(&self) -> Self {
        Self::new(self.gate.clone(), self.peer.clone())
    }

    /// Whether what is asked for has a line in the log.
    #[must_use]
    pub fn has_noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }

    /// What it may do now, if anything.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.gate.role(&self.peer)
    }

    /// Comes once it no longer has this role.
    pub async fn lost(&self, role: Role) {
        let mut rights = self.gate.0.rights.subscribe();
        // It fails never: the gate has the sender.
        drop(rights.wait_for(|rights| rights.role(&self.peer) < Some(role)).await);
    }

    /// Refuses, and notes that, unless the role is held.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub async fn require(&self, needed: Role, what: &str) -> Result<(), Refusal> {
        let rights = self.gate.rights();
        let has = rights.role(&self.peer);
        if has >= Some(needed) {
            return Ok(());
        }
        let has = has.map_or_else(|| "no role".to_owned(), |role| format!("the role {role}"));
        let (users, who) = (&self.gate.0.users, self.who().await);
        let user = format!("{} (uid {})", users.name(self.peer.uid).await, self.peer.uid);
        let rest = move |left: u64| note(&user, "asked on", &format!("{left} more refusals"));
        if users.refused(self.peer.uid, rest) {
            note(&who, what, &format!("refused: needs the role {needed}, has {has}"));
        }
        self.noted.store(true, Ordering::Relaxed);
        Err(Refusal::new(
            403,
            format!(
                "{who} has {has}, and this needs the role {needed}: {}, by [access] in lbd's configuration",
                rights.holders(needed)
            ),
        ))
    }

    /// Notes in the log who has done what.
    pub async fn audit(&self, what: &str, outcome: &str) {
        note(&self.who().await, what, outcome);
        self.noted.store(true, Ordering::Relaxed);
    }

    async fn who(&self) -> String {
        self.peer.named(&self.gate.0.users).await
    }
}

fn note(who: &str, what: &str, outcome: &str) {
    logging::audit(&line(who, what, outcome));
}

/// One line, whatever was asked for. Where it is cut it says so.
fn line(who: &str, what: &str, outcome: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let line = format!("{who} {what}: {outcome}");
    let mut chars = line.chars().map(plain);
    let mut line: String = chars.by_ref().take(LINE - 1).collect();
    match (chars.next(), chars.next()) {
        (Some(_), Some(_)) => line.push('…'),
        (last, _) => line.extend(last),
    }
    line
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (mode {:o})", self.0.socket.display(), self.rights().mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, pid: Some(1), groups: groups.to_vec() }
    }

    fn rights(given: &[(Role, Id)]) -> Rights {
        Rights { access: Access::default(), given: given.to_vec(), mode: 0o666 }
    }

    fn access(read: &[&str], operate: &[&str], admin: &[&str]) -> Access {
        let parse = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        Access { read: parse(read), operate: parse(operate), admin: parse(admin) }
    }

    #[test]
    fn the_highest_role_counts_and_root_has_all() {
        let rights = rights(&[
            (Role::Read, Id::Group(100_050)),
            (Role::Operate, Id::User(100_007)),
            (Role::Admin, Id::Group(100_060)),
        ]);
        for (peer, role) in [
            (peer(0, &[0]), Some(Role::Admin)),
            (peer(100_001, &[100_050]), Some(Role::Read)),
            (peer(100_007, &[100_001]), Some(Role::Operate)),
            (peer(100_007, &[100_001, 100_050]), Some(Role::Operate)),
            (peer(100_007, &[100_001, 100_060, 100_050]), Some(Role::Admin)),
            // A group's number is no user's.
            (peer(100_050, &[100_007]), None),
            (peer(100_001, &[]), None),
        ] {
            assert_eq!(rights.role(&peer), role, "{peer:?}");
        }
    }

    #[test]
    fn only_where_others_are_named_all_may_connect() {
        for (access, has_group, expected) in [
            (access(&[], &[], &["group:lb"]), true, 0o660),
            (access(&[], &[], &[]), true, 0o660),
            (access(&[], &[], &[]), false, 0o600),
            (access(&["group:noc"], &[], &["group:lb"]), true, 0o666),
            (access(&[], &["user:lb"], &[]), false, 0o666),
        ] {
            assert_eq!(mode(&access, has_group), expected, "{access:?}");
        }
    }

    #[test]
    fn who_is_refused_reads_who_has_the_role() {
        let access = access(&["group:noc"], &["user:deploy"], &["group:lb"]);
        let rights = Rights { access, given: Vec::new(), mode: 0o666 };
        assert_eq!(rights.holders(Role::Admin), "root and group:lb have it");
        assert_eq!(rights.holders(Role::Operate), "root, user:deploy and group:lb have it");
        assert_eq!(self::rights(&[]).holders(Role::Read), "only root has it");
    }

    #[test]
    fn nobody_writes_a_line_of_their_own_into_the_log() {
        let line = line("alice (uid 1000)", "vip set a\nb\u{1b}[2J", "refused\r\n<0>x");
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("alice (uid 1000) vip set a"));
        let cut = self::line("a", &"b".repeat(5000), "c");
        assert!(cut.chars().count() == LINE && cut.ends_with("b…"), "{cut}");
        let whole = self::line("a", &"b".repeat(LINE - 5), "c");
        assert!(whole.chars().count() == LINE && whole.ends_with(": c"), "{whole}");
    }

    #[tokio::test]
    async fn the_kernel_says_who_has_connected() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.groups[0], nix::unistd::getegid().as_raw());
        let own = nix::unistd::getgroups().unwrap();
        assert_eq!(peer.groups.len(), own.len() + 1);
        assert_eq!(peer.pid, Some(std::process::id() as i32));
    }
}

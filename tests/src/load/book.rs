//! What became of each flow. Pure: nobody is asked, time is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::sync::Notify;

/// What kind of traffic a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection that lasts.
    Tcp,
    /// A connection of a few messages, after which its client closes it and opens another.
    Short,
    /// Datagrams from one port, for ever.
    Udp,
    /// One datagram from a port of its own.
    Query,
}

/// How a flow broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// By a TCP reset.
    Reset,
    /// The server's end was closed, or a new connection refused.
    Closed,
    /// There was no answer in time.
    Silent,
    /// An answer was not the one to this question.
    Wrong,
    /// Another real answered than before.
    Moved,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Wrong => "wrong",
            Self::Moved => "moved",
        })
    }
}

/// A flow that broke.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// What it was.
    pub kind: Kind,
    /// Who had answered it; nobody, if it never got so far.
    pub real: Option<Arc<str>>,
    /// How it broke.
    pub how: How,
}

/// A flow's number; later ones have larger ones.
pub(super) type Id = u64;

#[derive(Debug)]
struct Flow {
    kind: Kind,
    real: Option<Arc<str>>,
    /// The last epoch in which a message was sent that has been answered.
    proven: u64,
    leave: Arc<Notify>,
}

/// All flows of a load, and those that broke.
#[derive(Debug, Default)]
pub(super) struct Book {
    flows: BTreeMap<Id, Flow>,
    next: Id,
    broken: Vec<Broken>,
    answers: u64,
    queries: BTreeMap<Arc<str>, u64>,
}

impl Book {
    /// A new flow; it is to end once it is notified.
    pub(super) fn open(&mut self, kind: Kind) -> (Id, Arc<Notify>) {
        let leave = Arc::new(Notify::new());
        let id = self.next;
        self.next += 1;
        self.flows.insert(id, Flow { kind, real: None, proven: 0, leave: Arc::clone(&leave) });
        (id, leave)
    }

    /// Whose answer is whose: the first one to answer is the flow's real.
    pub(super) fn belongs(&mut self, id: Id, real: &str) -> Result<(), How> {
        match self.flows.get_mut(&id) {
            Some(Flow { real: Some(known), .. }) if **known != *real => Err(How::Moved),
            Some(flow) => {
                flow.real.get_or_insert_with(|| real.into());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A message that was sent in this epoch has been answered as it should.
    pub(super) fn answered(&mut self, id: Id, epoch: u64) {
        self.answers += 1;
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.proven = epoch;
        }
    }

    /// The flow has ended: as its client wanted, or by breaking.
    pub(super) fn end(&mut self, id: Id, outcome: Result<(), How>) {
        let Some(Flow { kind, real, .. }) = self.flows.remove(&id) else { return };
        if let Err(how) = outcome {
            self.broken.push(Broken { kind, real, how });
        }
    }

    /// A query was answered, or not.
    pub(super) fn query(&mut self, outcome: Result<&str, How>) {
        match outcome {
            Ok(real) => *self.queries.entry(real.into()).or_default() += 1,
            Err(how) => self.broken.push(Broken { kind: Kind::Query, real: None, how }),
        }
    }

    /// All flows that there have been so far are older than this.
    pub(super) fn next(&self) -> Id {
        self.next
    }

    /// How many flows older than this have not yet been answered in this epoch.
    pub(super) fn behind(&self, next: Id, epoch: u64) -> usize {
        self.flows.range(..next).filter(|(_, flow)| flow.proven < epoch).count()
    }

    /// How many flows of a kind there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.flows.values().filter(|flow| flow.kind == kind).count()
    }

    /// How many flows of a kind a real has.
    pub(super) fn count_on(&self, kind: Kind, real: &str) -> usize {
        let on = |flow: &&Flow| flow.kind == kind && flow.real.as_deref() == Some(real);
        self.flows.values().filter(on).count()
    }

    /// Asks flows of a kind to end, and counts them: the oldest, of these reals only if any are said.
    pub(super) fn leave(&self, kind: Kind, most: usize, reals: &BTreeSet<&str>) -> usize {
        let chosen = |flow: &&Flow| {
            let on = |real: &Arc<str>| reals.contains(&**real);
            flow.kind == kind && (reals.is_empty() || flow.real.as_ref().is_some_and(on))
        };
        let flows = self.flows.values().filter(chosen).take(most);
        flows.inspect(|flow| flow.leave.notify_one()).count()
    }

    /// What broke since this was asked last.
    pub(super) fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    /// How many messages were answered as they should.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// How many queries each real has answered.
    pub(super) fn queries(&self) -> BTreeMap<Arc<str>, u64> {
        self.queries.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_behind_until_something_sent_since_is_answered() {
        let mut book = Book::default();
        let (first, _) = book.open(Kind::Tcp);
        let next = book.next();
        let (later, _) = book.open(Kind::Tcp);
        assert_eq!(book.behind(next, 1), 1);
        book.answered(first, 0);
        assert_eq!(book.behind(next, 1), 1, "that was sent before");
        book.answered(later, 1);
        book.answered(first, 1);
        assert_eq!(book.behind(next, 1), 0);
        book.answered(first, 1);
        assert_eq!(book.behind(next, 2), 1);
        book.end(first, Err(How::Reset));
        assert_eq!(book.behind(next, 2), 0, "nobody waits for what has ended");
    }

    #[test]
    fn what_breaks_is_told_once_with_its_real() {
        let mut book = Book::default();
        let flows = [Kind::Tcp, Kind::Udp, Kind::Tcp].map(|kind| book.open(kind).0);
        assert_eq!(book.belongs(flows[0], "a"), Ok(()));
        assert_eq!(book.belongs(flows[0], "b"), Err(How::Moved));
        assert_eq!(book.count_on(Kind::Tcp, "a"), 1);
        book.end(flows[0], Err(How::Moved));
        book.end(flows[1], Ok(()));
        book.end(flows[2], Err(How::Silent));
        let broken =
            |real: Option<&str>, how| Broken { kind: Kind::Tcp, real: real.map(Arc::from), how };
        assert_eq!(book.take_broken(), [broken(Some("a"), How::Moved), broken(None, How::Silent)]);
        assert_eq!(book.take_broken(), []);
        assert_eq!(book.count(Kind::Tcp), 0);
    }

    #[test]
    fn the_oldest_flows_are_asked_to_end_and_only_those_of_the_reals_that_are_said() {
        let mut book = Book::default();
        for real in ["a", "b", "a"] {
            let (id, _) = book.open(Kind::Tcp);
            assert_eq!(book.belongs(id, real), Ok(()));
        }
        assert_eq!(book.leave(Kind::Tcp, 2, &BTreeSet::new()), 2);
        assert_eq!(book.leave(Kind::Tcp, 9, &BTreeSet::from(["a"])), 2);
        assert_eq!(book.leave(Kind::Udp, 9, &BTreeSet::from(["a"])), 0);
    }
}

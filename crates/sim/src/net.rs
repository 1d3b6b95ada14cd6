//! The network: who can reach whom, how late, and how often not at all.
//!
//! Two kinds of traffic. Messages of Tanist's own link are lost, delayed, repeated and reordered one
//! by one. Streams (lanes, replication, clients) lose nothing and keep their order, but stall while
//! a path is cut, as a TCP connection does.
//!
//! Invariant: a cut is one-way; a partition is many cuts.
//!
//! Not here: what is sent.

use crate::dice::Dice;

/// Something with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Host(usize),
    Controller(usize),
    Proxy(usize),
    Store,
}

/// Messages of a bad network that come very late, per mille.
const LATE: u64 = 12;
/// How late, in microseconds.
const LATEST: u64 = 4_000_000;

const HOSTS: usize = 6;
const CONTROLLERS: usize = 2;
const PROXIES: usize = 2;
const PLACES: usize = HOSTS + CONTROLLERS + PROXIES + 1;

impl Place {
    fn index(self) -> usize {
        match self {
            Self::Host(host) => host % HOSTS,
            Self::Controller(controller) => HOSTS + controller % CONTROLLERS,
            Self::Proxy(seat) => HOSTS + CONTROLLERS + seat % PROXIES,
            Self::Store => PLACES - 1,
        }
    }
}

/// The state of every path.
#[derive(Debug)]
pub(crate) struct Net {
    /// How many reasons there are for a path to be cut.
    cuts: [[u8; PLACES]; PLACES],
    /// Usual delay of a message, in microseconds.
    pub(crate) usual: u64,
    /// Delay of the slowest messages, in microseconds.
    pub(crate) slowest: u64,
    /// Messages lost, per mille.
    pub(crate) loss: u64,
    /// Messages repeated, per mille.
    pub(crate) repeat: u64,
}

impl Net {
    pub(crate) fn new(usual: u64, slowest: u64, loss: u64, repeat: u64) -> Self {
        Self { cuts: [[0; PLACES]; PLACES], usual, slowest, loss, repeat }
    }

    pub(crate) fn cut(&mut self, from: Place, to: Place) {
        let reasons = &mut self.cuts[from.index()][to.index()];
        *reasons = reasons.saturating_add(1);
    }

    pub(crate) fn heal(&mut self, from: Place, to: Place) {
        let reasons = &mut self.cuts[from.index()][to.index()];
        *reasons = reasons.saturating_sub(1);
    }

    pub(crate) fn open(&self, from: Place, to: Place) -> bool {
        self.cuts[from.index()][to.index()] == 0
    }

    /// Both directions work, as a handshake needs.
    pub(crate) fn both(&self, a: Place, b: Place) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    /// Delays of each copy of a message that arrives: none, one or two.
    pub(crate) fn message(&self, from: Place, to: Place, dice: &mut Dice) -> [Option<u64>; 2] {
        if !self.open(from, to) || dice.chance(self.loss) {
            return [None, None];
        }
        let again = dice.chance(self.repeat).then(|| dice.tail(self.usual, self.slowest * 4));
        [Some(self.delay(dice)), again]
    }

    /// A bad network holds some messages back for seconds: what they say is history by then.
    fn delay(&self, dice: &mut Dice) -> u64 {
        let late = self.loss > 0 && dice.chance(LATE);
        if late { dice.range(self.slowest, LATEST) } else { dice.tail(self.usual, self.slowest) }
    }

    /// Delay of bytes on an open stream; a lost segment is sent again.
    pub(crate) fn stream(&self, dice: &mut Dice) -> u64 {
        let resent = if dice.chance(self.loss / 4) { 200_000 } else { 0 };
        dice.range(self.usual / 8, self.usual) + resent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_and_counted() {
        let (a, b) = (Place::Host(0), Place::Store);
        let mut net = Net::new(100, 1000, 0, 0);
        net.cut(a, b);
        net.cut(a, b);
        net.heal(a, b);
        assert!(!net.open(a, b) && net.open(b, a) && !net.both(a, b));
        assert_eq!(net.message(a, b, &mut Dice::new(1)), [None, None]);
        net.heal(a, b);
        assert!(net.message(a, b, &mut Dice::new(1))[0].is_some());
    }
}

//! A proof that is asked by way of another connection than the one that wrote.
//!
//! A transaction may end with its connection allowed to do nothing but hear messages (`SUBSCRIBE` within
//! `MULTI`, in RESP2). The engine then refuses the question whether everybody has what was written. So
//! it is asked on the connection over which others' writes are proven: the engine has answered the
//! transaction, so any position that it tells afterwards is behind it.
//!
//! Invariant: nothing is handed over there before the engine has answered all that is to be proven.
//!
//! Not here: the question itself (`crate::proof`, `crate::trunk`).

use tanist_resp::{Command, Version};

use super::Session;
use crate::shard::Shard;
use crate::trunk::{Key, Phase, Seat, Verdict};

/// A place on a connection over which the proof is asked.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) seat: Seat,
    /// The batch whose proof is this one's, once it is asked for.
    batch: Option<u64>,
}

impl Session {
    /// Whether a proof is outstanding.
    pub(super) fn is_proving(&self) -> bool {
        self.proof.is_some() || self.witness.is_some()
    }

    /// Takes a place where the proof can be asked.
    pub(super) fn begin_witness(&mut self, shard: &Shard) {
        let Some(lane) = self.link.lane.clone() else { return };
        let version = Version::Resp2;
        let key = Key { lane, user: None, db: 0, version, heavy: false, proving: true };
        let seat = Seat::take(&shard.trunks.pick(key, 1));
        self.witness = Some(Witness { seat, batch: None });
        self.check_witness(shard);
    }

    /// Asks as soon as that is possible, and looks at the answer.
    pub(super) fn check_witness(&mut self, shard: &Shard) {
        let Some(Witness { seat, batch }) = &mut self.witness else { return };
        match seat.phase() {
            Phase::Opening => return,
            Phase::Ready => {}
            // Nobody can say any more.
            Phase::Over => return self.lose(shard),
        }
        let asked = *batch
            .get_or_insert_with(|| seat.hand_over(&Command::new("PING").encode(), true).batch);
        match seat.verdict(shard, asked) {
            Verdict::Open => return,
            Verdict::Proven => {}
            Verdict::Doubtful => self.doubt_all(shard),
        }
        self.witness = None;
        self.end_proof();
    }
}

//! Finding out what a target stream really holds of a route, before anything is sent to it.
//!
//! A checkpoint may trail the target, and the target may have gone back (restore, power loss: a
//! PubAck is not an fsync). So nothing is believed that the target does not show: either the record
//! stands there with its provenance, or, where the route alone writes the stream, the count of its
//! sequences tells how many records it took, whatever was consumed or discarded since. That holds only
//! while the server does not write there, too.

mod facts;

pub use self::facts::{Applied, Fall, Scanned, Since, Step, TargetFacts};
use crate::checkpoint::TargetCheckpoint;
use crate::id::{Epoch, SourceSeq, TargetSeq};
use crate::run::Evidence;

/// What a scan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Whether our last known record still stands where it stood.
    Confirm,
    /// What came behind what is known.
    Behind,
}

/// One reconciliation.
#[derive(Debug, Clone, Copy)]
pub struct Reconciler {
    facts: TargetFacts,
    known: Option<TargetCheckpoint>,
    since: Since,
    sole: bool,
    window_suffices: bool,
    went_back: bool,
    /// It did for certain: not only is there nothing where our last record stood.
    is_proven: bool,
    /// The last record of ours that is known to have stood in the target.
    anchor: Option<Evidence>,
    /// The last position settled, where this process knows it: in a target that went back, what was read
    /// behind it came from the run that covered the hole, and says nothing of what is in the hole.
    settled: Option<SourceSeq>,
    /// Sequences behind the checkpoint that the stream no longer holds, and so are not asked for.
    gone: u64,
    look: Look,
}

impl Reconciler {
    /// Starts from the newest checkpoint. `sole`: the route alone writes the target.
    /// `window_suffices`: the route accepts `exactly_once = "window"`.
    pub fn new(
        facts: TargetFacts,
        checkpoint: Option<TargetCheckpoint>,
        since: Since,
        sole: bool,
        window_suffices: bool,
    ) -> Self {
        let at = checkpoint.map_or(SourceSeq(0), |known| known.at.seq);
        let another = |known: &TargetCheckpoint| known.target_created_ns != facts.created_ns;
        let behind = |known: &TargetCheckpoint| another(known) || known.target_seq > facts.last_seq;
        let went_back = checkpoint.is_some_and(|known| !known.is_fresh() && behind(&known));
        // What others wrote was lost, and its places were given out anew, or to a run of ours.
        let fell = matches!(since, Since::Run { fell: Some(_) });
        let holds = |passed: &TargetSeq| *passed <= facts.last_seq && !fell;
        let known = checkpoint.filter(|known| !behind(known));
        let known = known.map(|known| TargetCheckpoint {
            passed: Some(known.passed).filter(holds).unwrap_or(known.target_seq),
            ..known
        });
        let shown = known.filter(|known| known.target_seq_shown);
        let anchor = shown.map(|known| Evidence {
            source: known.at,
            target_seq: known.target_seq,
        });
        Self {
            facts,
            known,
            since,
            sole,
            window_suffices,
            went_back,
            is_proven: went_back
                || matches!(
                    since,
                    Since::Run {
                        fell: Some(Fall::Back)
                    }
                ),
            anchor,
            settled: (since != Since::Start).then_some(at),
            gone: 0,
            look: Look::Behind,
        }
    }

    /// What this process saw stand in the target says more than the checkpoint, whose position may be of another epoch.
    pub fn anchored(mut self, anchor: Option<Evidence>) -> Self {
        self.anchor = anchor.or(self.anchor).filter(|_| self.known.is_some());
        self
    }

    /// The first step.
    pub fn start(&mut self) -> Step {
        match (self.known, self.anchor) {
            (Some(_), Some(anchor)) if self.doubts(&anchor) => {
                self.look = Look::Confirm;
                Step::Scan {
                    from: anchor.target_seq,
                    to: anchor.target_seq,
                    through: None,
                }
            }
            // No record of ours is known to stand anywhere, so that what such a run left proves nothing of its middle.
            (Some(_), None) if self.fell() => self.handle_confirmed(Scanned::default()),
            _ => self.look_behind(),
        }
    }

    /// A target that lost its end may have grown beyond it again, by what others write or by a run of ours, so
    /// that its last sequence proves nothing: our last record must still stand in its place.
    fn doubts(&self, anchor: &Evidence) -> bool {
        let asks = match self.since {
            Since::Start => !self.sole,
            Since::Nothing => !self.sole || anchor.target_seq < self.facts.last_seq,
            Since::Run { .. } => true,
        };
        asks && (anchor.target_seq >= self.facts.first_seq || self.fell())
    }

    fn fell(&self) -> bool {
        matches!(self.since, Since::Run { fell: Some(_) })
    }

    /// Whether nobody else writes, so that every sequence behind our last record was one of ours.
    fn counts_prove(&self) -> bool {
        self.sole && !self.facts.adds_markers
    }

    fn look_behind(&mut self) -> Step {
        self.look = Look::Behind;
        let last = self.facts.last_seq;
        let others = self.since == Since::Nothing && !self.counts_prove() && !self.went_back;
        let behind = match &self.known {
            // What came behind is not ours.
            Some(known) if known.passed == last || others => {
                let known = applied(known);
                return self.done(known.nothing_behind(last), false);
            }
            Some(known) => known.passed,
            None if last == TargetSeq(0) || others => {
                return self.done(Applied::default().nothing_behind(last), false);
            }
            None => TargetSeq(0),
        };
        let first = self.facts.first_seq;
        if first > last {
            // All was purged or consumed, and no checkpoint says what it was.
            let unseen_behind = last.0 - behind.0;
            return self.handle_scanned(Scanned {
                unseen_behind,
                ..Scanned::default()
            });
        }
        let from = TargetSeq(first.0.max(behind.0 + 1));
        // Without a checkpoint nothing says whether there was ever more.
        self.gone = self.known.map_or(0, |_| from.0 - behind.0 - 1);
        Step::Scan {
            from,
            to: last,
            through: self.settled.filter(|_| self.went_back),
        }
    }

    /// The scan's result.
    pub fn handle_scanned(&mut self, scanned: Scanned) -> Step {
        match self.look {
            Look::Confirm => self.handle_confirmed(scanned),
            Look::Behind => self.handle_seen_behind(scanned),
        }
    }

    fn handle_confirmed(&mut self, scanned: Scanned) -> Step {
        let another = match scanned.last {
            Some(found) => self.is_another(found),
            None => scanned.foreign > 0,
        };
        // Nothing stands there: a record of ours that is gone, or was never there since the target went back.
        let unsure = self.fell() && self.facts.evidence_stays && !self.window_suffices;
        if another || (scanned.last.is_none() && unsure) {
            self.is_proven |= another;
            self.went_back = true;
            (self.known, self.anchor) = (None, None);
        } else if let (Some(known), true) = (&self.known, self.fell()) {
            // It may have gone back to here while it took the run, so that the run's end says nothing of its
            // beginning. All of it is sent again; if the count falls short once more, that was known already.
            let again = Applied {
                target_seq: self.facts.last_seq,
                target_seq_shown: false,
                ..applied(known)
            };
            return self.done(again, false);
        }
        self.look_behind()
    }

    /// Whether a record in the place of our last one came there later: the target went back.
    fn is_another(&self, found: Evidence) -> bool {
        let Some(anchor) = self.anchor else {
            return false;
        };
        let (found, ours) = (found.source, anchor.source);
        // The checkpoint names the last record settled, which may be a later one.
        let is_exact = self.since != Since::Start;
        // Of a later epoch it may have a lower sequence, and of a clock that was set back an earlier time.
        let is_later = found.seq > ours.seq || (is_exact && found.stored_at > ours.stored_at);
        is_later || (self.is_proven && found != ours)
    }

    fn handle_seen_behind(&mut self, mut scanned: Scanned) -> Step {
        if scanned.last.is_none() {
            scanned.unseen_behind += self.gone;
        }
        let known = self.known.as_ref().map(applied);
        let epoch = known.map_or(Epoch(0), |known| known.epoch);
        let anchor = match scanned.last {
            Some(found) => Some(Applied {
                epoch,
                at: Some(found.source),
                target_seq: found.target_seq,
                target_seq_shown: true,
                ..Applied::default()
            }),
            None => known.filter(|known| known.at.is_some()),
        };
        // Of what a run left that covered a hole, a count says nothing.
        let counts_prove = self.counts_prove() && !(self.went_back && self.fell());
        let alone = counts_prove && scanned.foreign == 0;
        let proven = self.facts.evidence_stays || self.window_suffices;
        let target_seq = self.facts.last_seq;
        let applied = match anchor {
            // Behind the anchor stands the run that covered the hole. It is sent again in its order, and not
            // taken for proof by the next look.
            Some(anchor) if scanned.passed_over.is_some() => Applied {
                target_seq,
                target_seq_shown: false,
                ..anchor
            },
            // Nobody else writes, so every sequence behind the anchor was one of our records.
            Some(anchor) if alone => Applied {
                target_seq,
                target_seq_shown: anchor.target_seq_shown && scanned.unseen_behind == 0,
                skip: scanned.unseen_behind,
                ..anchor
            },
            // Behind the anchor are records of others.
            Some(anchor) if proven || scanned.unseen_behind == 0 => {
                anchor.nothing_behind(target_seq)
            }
            // Nothing of ours is there. A stream that keeps its newest records would show it, and this process would know.
            None if proven
                || self.went_back
                || self.since == Since::Nothing
                || self.nothing_ever_left(&scanned) =>
            {
                Applied::default().nothing_behind(target_seq)
            }
            _ => return Step::Unknowable,
        };
        let found = Applied {
            anchor: scanned.last,
            covered: scanned.passed_over.filter(|_| self.is_proven),
            ..applied
        };
        self.done(found, scanned.foreign > 0)
    }

    /// Whether the scan saw every record the target ever took.
    fn nothing_ever_left(&self, scanned: &Scanned) -> bool {
        self.facts.first_seq <= TargetSeq(1) && scanned.unseen_behind == 0
    }

    fn done(&self, applied: Applied, foreign: bool) -> Step {
        Step::Done {
            applied: Applied {
                anchor: applied.anchor.or(self.anchor),
                ..applied
            },
            went_back: self.went_back,
            foreign_seen: foreign && self.sole,
        }
    }
}

fn applied(known: &TargetCheckpoint) -> Applied {
    Applied {
        epoch: known.source_epoch,
        at: (!known.says_nothing()).then_some(known.at),
        target_seq: known.target_seq,
        target_seq_shown: known.target_seq_shown,
        passed: known.passed,
        ..Applied::default()
    }
}

#[cfg(test)]
mod tests;

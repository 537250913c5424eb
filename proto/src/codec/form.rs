//! In which form a lane's batches leave: as they are, or shaped.
//!
//! Columns are smaller for most events, by a fifth to two fifths, and not for all: of records that repeat each other
//! whole, as the states of a few devices do, zstd alone finds all at once what a dozen columns say one by one. So now and
//! then a batch is compressed in both forms, and the smaller one is kept to. The form in use has the lane's context
//! to itself, so the other one must be clearly better to take its place; only at the beginning of a context do both begin alike.

use super::Effort;
use crate::batch::PlainBatch;
use crate::limits::BATCH_PLAIN_LEN_TARGET;
use crate::shape::RECORDS_MIN;

/// Batches between two trials. Each costs one compression more.
const TRIAL_INTERVAL: u32 = 64;
/// Plain bytes from which batches are shaped at [`Effort::Light`]. Smaller ones gain less, and shaping them takes longer than
/// it spares zstd.
const SHAPED_LEN_MIN: usize = 32 * 1024;
/// Plain bytes up to which batches are shaped, so that a huge record takes no more memory than its batch does anyway.
const SHAPED_LEN_MAX: usize = 2 * BATCH_PLAIN_LEN_TARGET;
/// So many batches in a row without a shape, and it is not tried again before the next trial. One may be odd.
const SHAPELESS_MAX: u32 = 3;

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It leaves as it is.
    Plain,
    /// It leaves shaped.
    Shaped,
    /// Both forms are compressed.
    Trial,
}

/// Chooses the form.
#[derive(Debug)]
pub(super) struct FormChoice {
    is_shaped: bool,
    /// The context of the last trial.
    context: Option<u32>,
    /// Batches since then.
    batches: u32,
    /// Batches in a row that could not be shaped.
    shapeless: u32,
}

impl FormChoice {
    pub(super) fn new() -> Self {
        Self {
            is_shaped: true,
            context: None,
            batches: 0,
            shapeless: 0,
        }
    }

    /// What to do with the next batch, in that context.
    pub(super) fn plan(&mut self, effort: Effort, batch: &PlainBatch, context: u32) -> Plan {
        let len_min = match effort {
            Effort::Light => SHAPED_LEN_MIN,
            _ => 0,
        };
        let is_fit = (len_min..=SHAPED_LEN_MAX).contains(&batch.body.len());
        if !is_fit || batch.record_count < RECORDS_MIN {
            return Plan::Plain;
        }
        self.batches += 1;
        if self.context != Some(context) || self.batches > TRIAL_INTERVAL {
            (self.context, self.batches) = (Some(context), 0);
            return Plan::Trial;
        }
        match self.is_shaped {
            true => Plan::Shaped,
            false => Plan::Plain,
        }
    }

    /// Whether batches leave shaped, if they can be.
    pub(super) fn is_shaped(&self) -> bool {
        self.is_shaped
    }

    /// The other form was smaller.
    pub(super) fn turn(&mut self) {
        self.is_shaped = !self.is_shaped;
    }

    /// A batch could be shaped, or could not.
    pub(super) fn handle_shape(&mut self, could: bool) {
        self.shapeless = if could { 0 } else { self.shapeless + 1 };
        if self.shapeless >= SHAPELESS_MAX {
            self.is_shaped = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SourceSeq;

    /// So many bytes, as far as the choice looks.
    fn batch(len: usize, record_count: u32) -> PlainBatch {
        PlainBatch {
            body: vec![0; len].into(),
            record_count,
            ..PlainBatch::empty(SourceSeq(0), SourceSeq(100))
        }
    }

    #[test]
    fn both_forms_are_tried_in_a_new_context_and_now_and_then() {
        let (mut choice, large) = (FormChoice::new(), batch(SHAPED_LEN_MIN, 100));
        assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Trial);
        for _ in 0..TRIAL_INTERVAL {
            assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Shaped);
        }
        assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Trial);
        choice.turn();
        assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Plain);
        assert_eq!(choice.plan(Effort::Light, &large, 1), Plan::Trial);
    }

    #[test]
    fn small_batches_are_shaped_where_bytes_are_scarce() {
        let (mut choice, small) = (FormChoice::new(), batch(SHAPED_LEN_MIN - 1, 100));
        assert_eq!(choice.plan(Effort::Light, &small, 0), Plan::Plain);
        assert_eq!(choice.plan(Effort::Medium, &small, 0), Plan::Trial);
        assert_eq!(choice.plan(Effort::Medium, &small, 0), Plan::Shaped);
        let few = batch(SHAPED_LEN_MIN, RECORDS_MIN - 1);
        assert_eq!(choice.plan(Effort::Medium, &few, 0), Plan::Plain);
        let huge = batch(SHAPED_LEN_MAX + 1, 100);
        assert_eq!(choice.plan(Effort::Highest, &huge, 0), Plan::Plain);
    }

    #[test]
    fn one_batch_without_a_shape_may_be_odd() {
        let (mut choice, large) = (FormChoice::new(), batch(SHAPED_LEN_MIN, 100));
        choice.plan(Effort::Light, &large, 0);
        for could in [false, false, true, false, false] {
            choice.handle_shape(could);
            assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Shaped);
        }
        choice.handle_shape(false);
        assert_eq!(choice.plan(Effort::Light, &large, 0), Plan::Plain);
    }
}

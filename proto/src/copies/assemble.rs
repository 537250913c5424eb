//! Copies as they travel: a batch cut into datagrams, and put together again.
//!
//! | Field | Form | |
//! |---|---|---|
//! | magic | u8 | `cd` |
//! | lane, batch number | varints | as in the head of the batch |
//! | index, count | varints | which piece of how many |
//! | piece | bytes | of head and body of the batch, to the end of the datagram |

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::DecodeError;
use crate::id::{BatchSeq, LaneId};
use crate::limits::{COPY_HEAD_LEN_MAX, COPY_PIECES_MAX};
use crate::wire::{Reader, put_varint};

const MAGIC: u8 = 0xcd;
/// Batches of which some pieces are here and some are not. The oldest gives way: it was repaired long
/// ago, or soon will be.
const PARTIAL_MAX: usize = 64;

/// Cuts a batch into datagrams of at most `datagram_len_max` bytes; `None` where that would be too many.
pub fn cut(
    lane: LaneId,
    seq: BatchSeq,
    head: &[u8],
    body: &[u8],
    datagram_len_max: usize,
) -> Option<Vec<Bytes>> {
    let room = datagram_len_max.checked_sub(COPY_HEAD_LEN_MAX)?.max(1);
    let len = head.len() + body.len();
    let count = len.div_ceil(room);
    if count == 0 || count > COPY_PIECES_MAX {
        return None;
    }
    // Pieces of one size: the last is no longer to lose than the first.
    let size = len.div_ceil(count);
    let whole = [head, body].concat();
    let datagram = |(index, piece): (usize, &[u8])| {
        let mut out = BytesMut::with_capacity(COPY_HEAD_LEN_MAX + piece.len());
        out.put_u8(MAGIC);
        put_varint(&mut out, lane.0.into());
        put_varint(&mut out, seq.0);
        put_varint(&mut out, index as u64);
        put_varint(&mut out, count as u64);
        out.put_slice(piece);
        out.freeze()
    };
    Some(whole.chunks(size).enumerate().map(datagram).collect())
}

/// Puts batches together from the pieces that arrive, in any order and any number of times.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: VecDeque<Partial>,
}

#[derive(Debug)]
struct Partial {
    lane: LaneId,
    seq: BatchSeq,
    pieces: Vec<Option<Bytes>>,
}

struct Piece {
    lane: LaneId,
    seq: BatchSeq,
    index: usize,
    count: usize,
    bytes: Bytes,
}

impl Assembler {
    /// An assembler that waits for nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a datagram; the bytes of its batch, when it was the last piece missing.
    pub fn accept(&mut self, datagram: &Bytes) -> Result<Option<Bytes>, DecodeError> {
        let piece = read(datagram)?;
        if piece.count == 1 {
            return Ok(Some(piece.bytes));
        }
        let is_same = |partial: &Partial| (partial.lane, partial.seq) == (piece.lane, piece.seq);
        let at = match self.partial.iter().position(is_same) {
            Some(at) => at,
            None => self.begin(&piece),
        };
        let partial = &mut self.partial[at];
        let count = partial.pieces.len();
        if count != piece.count {
            return Err(DecodeError::OutOfRange {
                field: "count of pieces",
                value: piece.count as u64,
            });
        }
        partial.pieces[piece.index] = Some(piece.bytes);
        if partial.pieces.iter().any(Option::is_none) {
            return Ok(None);
        }
        let whole = self.partial.remove(at).map(|partial| {
            let pieces: Vec<_> = partial.pieces.into_iter().flatten().collect();
            Bytes::from(pieces.concat())
        });
        Ok(whole)
    }

    fn begin(&mut self, piece: &Piece) -> usize {
        if self.partial.len() == PARTIAL_MAX {
            self.partial.pop_front();
        }
        self.partial.push_back(Partial {
            lane: piece.lane,
            seq: piece.seq,
            pieces: vec![None; piece.count],
        });
        self.partial.len() - 1
    }
}

fn read(datagram: &Bytes) -> Result<Piece, DecodeError> {
    let mut reader = Reader::new(datagram);
    if reader.u8("magic")? != MAGIC {
        return Err(DecodeError::BadMagic);
    }
    let lane = LaneId(reader.varint_u32("lane")?);
    let seq = BatchSeq(reader.varint("batch seq")?);
    let index = reader.varint("index of a piece")?;
    let count = reader.len(COPY_PIECES_MAX, "count of pieces")?;
    if index >= count as u64 {
        return Err(DecodeError::OutOfRange {
            field: "index of a piece",
            value: index,
        });
    }
    let bytes = datagram.slice(reader.offset()..);
    if bytes.is_empty() {
        return Err(DecodeError::Truncated {
            field: "piece",
            offset: reader.offset(),
        });
    }
    Ok(Piece {
        lane,
        seq,
        index: index as usize,
        count,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LANE: LaneId = LaneId(6);

    fn batch(len: usize) -> (Vec<u8>, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let (head, body) = bytes.split_at(len.min(20));
        (head.to_vec(), body.to_vec())
    }

    #[test]
    fn a_batch_too_large_for_copies_is_not_cut() {
        let (head, body) = batch(10_000);
        assert_eq!(cut(LANE, BatchSeq(1), &head, &body, 1200), None);
        assert_eq!(cut(LANE, BatchSeq(1), &[], &[], 1200), None);
        assert_eq!(cut(LANE, BatchSeq(1), &head, &body, 3), None);
    }

    #[test]
    fn pieces_of_many_batches_hold_little_memory() {
        let mut assembler = Assembler::new();
        let (head, body) = batch(2000);
        for seq in 0..10_000 {
            let pieces = cut(LANE, BatchSeq(seq), &head, &body, 1200).expect("two pieces");
            assert_eq!(assembler.accept(&pieces[0]), Ok(None));
        }
        assert_eq!(assembler.partial.len(), PARTIAL_MAX);
    }

    #[test]
    fn pieces_that_contradict_each_other_are_refused() {
        let mut assembler = Assembler::new();
        let (head, body) = batch(2000);
        let two = cut(LANE, BatchSeq(1), &head, &body, 1200).expect("two pieces");
        let three = cut(LANE, BatchSeq(1), &head, &body, 800).expect("three pieces");
        assert_eq!(assembler.accept(&two[0]), Ok(None));
        assert!(assembler.accept(&three[2]).is_err());
        assert_eq!(
            assembler.accept(&Bytes::from_static(&[0xcd, 1, 2, 3, 3, 9])),
            Err(DecodeError::OutOfRange {
                field: "index of a piece",
                value: 3
            })
        );
        for bad in [
            &[][..],
            &[0xcb, 1, 2, 0, 1, 9],
            &[0xcd, 1, 2, 0, 1],
            &[0xcd, 1, 2, 0, 9, 9],
        ] {
            assert!(assembler.accept(&Bytes::copy_from_slice(bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_make_the_batch(len in 1usize..5000, room in 30usize..1400, order in any::<u64>()) {
            let (head, body) = batch(len);
            let Some(mut pieces) = cut(LANE, BatchSeq(7), &head, &body, room + COPY_HEAD_LEN_MAX) else {
                prop_assert!(len > room * COPY_PIECES_MAX);
                return Ok(());
            };
            prop_assert!(pieces.iter().all(|piece| piece.len() <= room + COPY_HEAD_LEN_MAX));
            let count = pieces.len();
            pieces.rotate_left(order as usize % count);
            let mut assembler = Assembler::new();
            let mut whole = Vec::new();
            for piece in &pieces {
                whole.extend(assembler.accept(piece).unwrap());
            }
            prop_assert_eq!(whole, vec![Bytes::from([head, body].concat())]);
        }

        #[test]
        fn any_bytes_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let _ = Assembler::new().accept(&Bytes::from(bytes));
        }
    }
}

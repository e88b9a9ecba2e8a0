//! Which commits of a segment count, and what of the rest was lost?
//!
//! Pure; the heart of recovery. An invalid frame is *damage* if something that is known to be
//! durable lies behind it: then it was whole once, and its neighbours still count. Otherwise it is
//! *torn*: the crash came before its sync returned, so it and everything behind it is dropped,
//! even what looks valid, and so is the half commit before it.
//!
//! "Known to be durable" is the greatest `durable_upto` of any valid frame (a writer closes only
//! after a sync, so its `Close` frame covers all before it), or the floor that the caller brings.
//! A valid frame's `durable_upto` is below its own LSN, hence one greatest value serves every
//! fault: it can only exceed the LSN before a fault if its frame stands behind that fault. A sync
//! covers whole commits only, so a commit that runs into damage was whole as well.

use crate::format::RecordKind;

use super::{
    pieces::Source,
    place::UNIT_BYTES,
    walk::{Step, Walk},
};

/// A sparse index has one entry per so many bytes: a lookup walks that far at most.
pub(crate) const INDEX_STEP_BYTES: u64 = 64 * 1024;

/// What is known about a segment before it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Seed of its checksums.
    pub(crate) seed: u32,
    /// Where the first frame begins that is looked at.
    pub(crate) from: u64,
    /// The LSN of the newest record before that; one below the segment's first where that is its
    /// first frame.
    pub(crate) after: u64,
    /// No frame ends behind this offset.
    pub(crate) limit: u64,
    /// Everything up to this LSN is known to be durable.
    pub(crate) durable: u64,
    /// Frames behind this LSN do not count.
    pub(crate) upto: u64,
    /// A `Close` frame with at least this LSN ends the log: nothing was appended behind it.
    pub(crate) session: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Where its last whole commit ends; nothing behind counts.
    pub(crate) end: u64,
    /// LSN of the last frame before `end`; `Terms::after` if there is none.
    pub(crate) last_lsn: u64,
    /// Frames before `end`, damaged ones not counted.
    pub(crate) frames: u64,
    /// Time of the newest frame before `end`.
    pub(crate) last_time: Option<i64>,
    /// LSN of the `Close` frame that ends the log, if one does.
    pub(crate) closed: Option<u64>,
    /// Damage before `end`, in the order of offsets.
    pub(crate) damage: Vec<Damage>,
    /// What was dropped behind `end`.
    pub(crate) torn: Option<Torn>,
    /// Greatest LSN of any frame that looks valid, dropped ones included: it may have been seen.
    pub(crate) highest_lsn: u64,
    /// Every so many bytes the (LSN, unit) of a frame before `end`.
    pub(crate) index: Vec<(u64, u32)>,
}

/// An invalid frame that was whole once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Damage {
    /// Byte offset in the file.
    pub(crate) at: u64,
    /// What was found.
    pub(crate) what: String,
}

/// Bytes that no sync covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Torn {
    /// Offset of the cut.
    pub(crate) at: u64,
    /// Written bytes behind it.
    pub(crate) bytes: u64,
}

/// How far a survey has come: everything before `end` counts if no earlier fault is torn.
#[derive(Clone, Copy)]
struct Mark {
    end: u64,
    last_lsn: u64,
    frames: u64,
    last_time: Option<i64>,
    closed: Option<u64>,
}

/// An invalid frame, and what is left if it turns out to be torn.
struct Fault {
    at: u64,
    what: String,
    before: u64,
    whole: Mark,
}

impl Survey {
    /// The survey of a segment of which nothing is to be looked at.
    pub(crate) fn nothing(terms: &Terms) -> Self {
        Self {
            end: terms.from,
            last_lsn: terms.after,
            highest_lsn: terms.after,
            ..Self::default()
        }
    }
}

/// Looks at every frame of a segment that the terms do not exclude. `bytes` is the file from its
/// first byte.
pub(crate) fn survey<S: Source>(bytes: S, terms: &Terms) -> Survey {
    let len = bytes.len();
    let start = terms.from;
    let mut walk = Walk::new(bytes, terms.seed, start, terms.limit, terms.after);
    // `seen` follows every frame, `whole` only closed commits.
    let mut seen = Mark {
        end: start,
        last_lsn: terms.after,
        frames: 0,
        last_time: None,
        closed: None,
    };
    let mut whole = seen;
    let mut durable = terms.durable;
    let mut written = start;
    let mut faults = Vec::new();
    let mut index: Vec<(u64, u32)> = Vec::new();
    let mut next_entry = start;

    let mut ended = false;
    while let Some(step) = walk.next() {
        match step {
            Step::Gap {
                at,
                resume,
                written: gap_end,
                what,
            } => {
                faults.push(Fault {
                    at,
                    what,
                    before: seen.last_lsn,
                    whole,
                });
                written = gap_end;
                // Of a file that is too short, one report is enough.
                ended = resume >= len;
                seen.end = resume;
                seen.closed = None;
                whole = seen;
            }
            Step::Frame { at, header } => {
                let lsn = header.lsn.get();
                if lsn > terms.upto {
                    ended = true;
                    break;
                }
                if walk.payload(at, &header).is_some() {
                    seen.frames += 1;
                } else {
                    faults.push(Fault {
                        at,
                        what: "the payload does not match its checksum".to_owned(),
                        before: seen.last_lsn,
                        whole,
                    });
                }
                // The header has a checksum of its own, so it speaks even for a broken payload.
                durable = durable.max(header.durable_upto.get());
                seen.end = at + header.frame_len();
                seen.last_lsn = lsn;
                seen.last_time = seen.last_time.max(Some(header.time.as_millis()));
                seen.closed = (header.kind == RecordKind::Close).then_some(lsn);
                written = seen.end;
                if at >= next_entry {
                    index.push((lsn, (at / UNIT_BYTES) as u32));
                    next_entry = at + INDEX_STEP_BYTES;
                }
                if header.closes_commit {
                    whole = seen;
                }
                // Behind the last frame that counts a live writer may be at work: look no further.
                if lsn == terms.upto || seen.closed.is_some_and(|lsn| lsn >= terms.session) {
                    ended = true;
                    break;
                }
            }
        }
    }

    if !ended && walk.at() < terms.limit && seen.last_lsn < terms.durable {
        // Not even garbage where durable frames stood, or the file is too short.
        faults.push(Fault {
            at: walk.at(),
            what: "zeros or the end of the file, where frames were written".to_owned(),
            before: seen.last_lsn,
            whole,
        });
        whole = seen;
    }

    let torn_from = faults.iter().position(|fault| fault.before >= durable);
    if let Some(first_torn) = torn_from {
        if let Some(fault) = faults.get(first_torn) {
            whole = fault.whole;
        }
        faults.truncate(first_torn);
    }
    index.retain(|&(_, unit)| u64::from(unit) * UNIT_BYTES < whole.end);
    Survey {
        end: whole.end,
        last_lsn: whole.last_lsn,
        frames: whole.frames,
        last_time: whole.last_time,
        closed: whole.closed.filter(|&lsn| lsn >= terms.session),
        damage: faults
            .into_iter()
            .map(|fault| Damage {
                at: fault.at,
                what: fault.what,
            })
            .collect(),
        torn: (written > whole.end).then(|| Torn {
            at: whole.end,
            bytes: written - whole.end,
        }),
        highest_lsn: walk.last_lsn(),
        index,
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;

//! Which files of a damaged database hold its history, and how far does each count?
//!
//! Segments that a manifest names are its log. Others are used for what those lack: compaction leaves
//! replaced segments for a moment, and where no manifest is left, every segment file is as good as any.
//! What recovery once cut off stays cut off where a manifest or the next segment says where.

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use crate::{
    error::{PulseDBError, Result},
    format::{FrameHeader, Manifest, SEGMENT_HEADER_LEN},
    log::{self, Pieces, RawSegment, Step, Walk},
    manifest,
    model::{InstanceId, Lsn},
    vfs::Vfs,
};

/// The files of the source.
pub(super) struct Sources {
    /// What can be read, by first LSN; of those with the same, named ones come first.
    pub(super) parts: Vec<Part>,
    /// What cannot, and is missed.
    pub(super) lost: Vec<PulseDBError>,
    /// What was looked at and is not used.
    pub(super) unused: Vec<PulseDBError>,
    /// Whose they are.
    pub(super) instance: Option<InstanceId>,
    /// LSNs that no named segment covers, where one should.
    pub(super) holes: Vec<Range<u64>>,
}

/// One segment file.
pub(super) struct Part {
    /// The file.
    pub(super) raw: RawSegment,
    /// Whether it is part of the log; else it fills holes.
    pub(super) named: bool,
    /// Frames up to here count.
    pub(super) end: u64,
    /// Whole commits behind `end` and up to here are taken, too; what is between is torn.
    pub(super) limit: u64,
    /// No frame of its own has a greater LSN.
    pub(super) upto: u64,
}

/// Something in a part.
pub(super) enum Item {
    /// A frame with a valid header.
    Frame {
        /// Where it stands.
        at: u64,
        /// The header.
        header: FrameHeader,
        /// It stands behind a tear.
        behind_tear: bool,
    },
    /// Bytes that held frames, and no longer do.
    Lost {
        /// Where they begin.
        at: u64,
        /// What was found.
        what: String,
        /// The LSNs that may have stood there.
        lsns: Range<u64>,
    },
    /// Frames of a commit without an end, behind a tear.
    Unfinished(u64),
}

impl Sources {
    /// Looks at the directory `path`.
    ///
    /// # Errors
    /// `Version` where anything was written by a newer build; `Io` where the log's directory cannot be
    /// listed.
    pub(super) fn find(vfs: &Arc<dyn Vfs>, path: &Path, dir: &Path) -> Result<Self> {
        let manifests = manifest::readable(&**vfs, path)?;
        let newest = manifests.first();
        let mut sources = Self {
            parts: Vec::new(),
            lost: Vec::new(),
            unused: Vec::new(),
            instance: newest.map(|manifest| manifest.instance_id),
            holes: Vec::new(),
        };
        let mut raws = Vec::new();
        for (first_lsn, id) in log::list(&**vfs, dir)? {
            let named = is_named(newest, id);
            match RawSegment::open(&**vfs, dir, first_lsn, id) {
                Ok(raw) => raws.push(raw),
                Err(error @ PulseDBError::Version { .. }) => return Err(error),
                Err(error) if named => sources.lost.push(error),
                Err(error) => sources.unused.push(error),
            }
        }
        if sources.instance.is_none() {
            sources.instance = most_frequent(&raws);
        }
        raws.retain(|raw| {
            let ours = match &raw.header {
                Ok(header) => Some(header.instance_id) == sources.instance,
                Err(_) => true,
            };
            if !ours {
                let what = "the segment belongs to another database";
                let error = PulseDBError::corrupted(&raw.path, 0, what);
                sources.unused.push(error);
            }
            ours
        });
        sources.note_missing(newest, dir, &raws);
        sources.take(&manifests, newest, raws);
        Ok(sources)
    }

    fn note_missing(&mut self, newest: Option<&Manifest>, dir: &Path, raws: &[RawSegment]) {
        let Some(manifest) = newest else {
            return;
        };
        let behind = manifest.segments.iter().skip(1);
        let nexts = behind.map(|entry| entry.first_lsn.get()).chain([u64::MAX]);
        for (entry, next) in manifest.segments.iter().zip(nexts) {
            if raws.iter().any(|raw| raw.id == entry.id) {
                continue;
            }
            self.holes.push(entry.first_lsn.get()..next);
            let path = log::segment_path(dir, entry.first_lsn, entry.id);
            let reported = |error: &PulseDBError| matches!(error, PulseDBError::Corrupted { file, .. } if *file == path);
            if !self.lost.iter().any(reported) {
                let missing = PulseDBError::corrupted(path, 0, "the file is missing");
                self.lost.push(missing);
            }
        }
    }

    /// Decides how far each counts.
    fn take(&mut self, manifests: &[Manifest], newest: Option<&Manifest>, raws: Vec<RawSegment>) {
        // An end that was once stored is final.
        let ends: HashMap<u32, u64> = manifests
            .iter()
            .flat_map(|manifest| &manifest.segments)
            .filter(|entry| entry.end != 0)
            .map(|entry| (entry.id, entry.end))
            .collect();
        let previous: Vec<(Lsn, Option<Lsn>)> = raws
            .iter()
            .map(|raw| {
                (
                    raw.first_lsn,
                    raw.header.as_ref().ok().map(|h| h.previous_lsn),
                )
            })
            .collect();
        for raw in raws {
            // The manifest does not know what came after it, if it is the older one.
            let named = is_named(newest, raw.id) || newest.is_none_or(|m| raw.id >= m.next_segment);
            let compacted = raw
                .header
                .as_ref()
                .is_ok_and(|header| header.cleaned != Lsn::ZERO);
            let next = previous.iter().find(|(first, _)| *first > raw.first_lsn);
            let part = match (ends.get(&raw.id), next) {
                (Some(&end), _) => Part {
                    end,
                    limit: end,
                    upto: u64::MAX,
                    named,
                    raw,
                },
                (None, Some(&(next_first, next_previous))) if !compacted => {
                    let found = raw.survey(next_previous);
                    Part {
                        end: found.end,
                        limit: found.end,
                        upto: next_first.get() - 1,
                        named,
                        raw,
                    }
                }
                // Nothing came after it, or it was whole before it got its name.
                _ => Part {
                    end: raw.survey(None).end,
                    limit: raw.len,
                    upto: u64::MAX,
                    named,
                    raw,
                },
            };
            self.parts.push(part);
        }
        self.parts
            .sort_by_key(|part| (part.raw.first_lsn, !part.named, part.raw.id));
    }

    /// Whether a frame of a part is to be taken.
    pub(super) fn wants(&self, named: bool, lsn: Lsn) -> bool {
        named || self.holes.iter().any(|hole| hole.contains(&lsn.get()))
    }
}

impl Part {
    /// Everything in it, in order.
    pub(super) fn items(&self) -> Items {
        Items {
            walk: self.raw.walk(self.limit),
            end: self.end,
            upto: self.upto,
            last_lsn: self.raw.first_lsn.get().saturating_sub(1),
            open: None,
            held: Vec::new(),
            ready: Vec::new(),
        }
    }
}

/// Iterates over a part.
pub(super) struct Items {
    walk: Walk<Pieces>,
    end: u64,
    upto: u64,
    last_lsn: u64,
    /// Damage whose following frame has not been met.
    open: Option<(u64, String)>,
    /// Frames of the present commit, behind a tear.
    held: Vec<(u64, FrameHeader)>,
    /// What comes next, last first.
    ready: Vec<Item>,
}

impl Items {
    /// The payload of a frame that was met, if it is intact; else what is wrong with it.
    pub(super) fn payload(&mut self, at: u64, header: &FrameHeader) -> Result<&[u8], String> {
        let range = at..at + header.frame_len();
        // Asked twice, since what was read may not be held while the reason is looked for.
        if self.walk.payload(at, header).is_none() {
            let found = "the payload does not match its checksum".to_owned();
            return Err((self.walk.source().refusal(range)).map_or(found, str::to_owned));
        }
        self.walk
            .payload(at, header)
            .ok_or_else(|| "it reads differently each time".to_owned())
    }

    fn step(&mut self) -> bool {
        match self.walk.next() {
            Some(Step::Gap {
                at, resume, what, ..
            }) => {
                let refused = self.walk.source().refusal(at..resume);
                let what = refused.map_or(what, str::to_owned);
                if at >= self.end {
                    self.give_up_held();
                } else {
                    self.open.get_or_insert((at, what));
                }
                true
            }
            Some(Step::Frame { at, header }) if header.lsn.get() <= self.upto => {
                let lsn = header.lsn.get();
                if let Some((at, what)) = self.open.take() {
                    let lsns = self.last_lsn.saturating_add(1)..lsn;
                    self.ready.push(Item::Lost { at, what, lsns });
                }
                self.last_lsn = lsn;
                if at < self.end {
                    self.ready.insert(
                        0,
                        Item::Frame {
                            at,
                            header,
                            behind_tear: false,
                        },
                    );
                } else {
                    self.held.push((at, header));
                    if header.closes_commit {
                        let held = std::mem::take(&mut self.held);
                        let frames = held.into_iter().rev().map(|(at, header)| Item::Frame {
                            at,
                            header,
                            behind_tear: true,
                        });
                        self.ready.extend(frames);
                    }
                }
                true
            }
            _ => self.finish(),
        }
    }

    fn give_up_held(&mut self) {
        if !self.held.is_empty() {
            self.ready.push(Item::Unfinished(self.held.len() as u64));
            self.held.clear();
        }
    }

    /// What is left at the end: once.
    fn finish(&mut self) -> bool {
        let at = self.walk.at();
        self.give_up_held();
        if let Some((at, what)) = self.open.take() {
            let lsns = self.last_lsn.saturating_add(1)..u64::MAX;
            self.ready.push(Item::Lost { at, what, lsns });
        } else if at < self.end && at >= SEGMENT_HEADER_LEN as u64 {
            let lsns = self.last_lsn.saturating_add(1)..u64::MAX;
            let what = "zeros or the end of the file, where frames were written".to_owned();
            self.ready.push(Item::Lost { at, what, lsns });
        }
        self.end = 0;
        !self.ready.is_empty()
    }
}

impl Iterator for Items {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while self.ready.is_empty() {
            if !self.step() {
                return None;
            }
        }
        self.ready.pop()
    }
}

fn is_named(manifest: Option<&Manifest>, id: u32) -> bool {
    manifest.is_some_and(|manifest| manifest.segments.iter().any(|entry| entry.id == id))
}

/// Whose most of the segments are.
fn most_frequent(raws: &[RawSegment]) -> Option<InstanceId> {
    let mut counts: HashMap<InstanceId, usize> = HashMap::new();
    for raw in raws {
        if let Ok(header) = &raw.header {
            *counts.entry(header.instance_id).or_default() += 1;
        }
    }
    let best = counts.into_iter().max_by_key(|(id, count)| (*count, *id));
    best.map(|(id, _)| id)
}

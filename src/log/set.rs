//! Which segments make up the log, and where in them is an LSN?
//!
//! A set is an immutable value: a snapshot holds one and reads through it while the writer goes on
//! to the next. Segments stand in the order of their LSNs, which need not be that of their ids. A place
//! that was given out stays good when its segment is rewritten: the set that holds the new segment
//! knows the way (`relocation`).

use std::{collections::VecDeque, sync::Arc};

use crate::{
    error::{PulseDBError, Result},
    format::SEGMENT_HEADER_LEN,
    model::{Lsn, Timestamp},
};

use super::{
    damage::DamageRegistry,
    place::Place,
    relocation::Relocation,
    segment::{Frame, Frames, Segment},
};

/// How far the log is known to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// The segment of the last frame that is.
    pub(crate) segment: u32,
    /// Where that frame starts in its file; 0 where the segment has none.
    pub(crate) at: u64,
    /// Its LSN.
    pub(crate) lsn: Lsn,
    /// Where it ends.
    pub(crate) end: u64,
}

/// The segments of the log, by LSN.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentSet {
    segments: Vec<Arc<Segment>>,
    /// (id, index into `segments`), by id.
    by_id: Vec<(u32, u32)>,
    /// Ids of segments that were rewritten, and where their frames are, by id.
    moved: Vec<(u32, Arc<Relocation>)>,
    /// Shared with all sets that come from this one.
    damage: Arc<DamageRegistry>,
}

impl SegmentSet {
    /// A set of these segments.
    pub(crate) fn new(mut segments: Vec<Arc<Segment>>) -> Self {
        segments.sort_by_key(|segment| segment.header().first_lsn);
        let mut by_id: Vec<(u32, u32)> = segments
            .iter()
            .zip(0..)
            .map(|(segment, index)| (segment.id(), index))
            .collect();
        by_id.sort_unstable();
        Self {
            segments,
            by_id,
            moved: Vec::new(),
            damage: Arc::default(),
        }
    }

    /// This set and one segment more.
    pub(crate) fn with(&self, segment: Arc<Segment>) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment);
        Self {
            moved: self.moved.clone(),
            damage: Arc::clone(&self.damage),
            ..Self::new(segments)
        }
    }

    /// This set with `more` behind its segments, and without the segment `without`, in which nothing is.
    pub(crate) fn extended(&self, without: Option<u32>, more: Vec<Arc<Segment>>) -> Self {
        let kept = self.segments.iter();
        let kept = kept.filter(|segment| Some(segment.id()) != without);
        Self {
            moved: self.moved.clone(),
            damage: Arc::clone(&self.damage),
            ..Self::new(kept.cloned().chain(more).collect())
        }
    }

    /// This set with one segment in the place of some: `moved` leads from each of them to it. Where
    /// nothing was left of them there is none.
    pub(crate) fn rewritten(
        &self,
        segment: Option<Arc<Segment>>,
        moved: &[(u32, Arc<Relocation>)],
    ) -> Self {
        let is_old = |id: u32| moved.iter().any(|(old, _)| *old == id);
        let kept = self.segments.iter().filter(|old| !is_old(old.id()));
        let segments = kept.cloned().chain(segment).collect();
        // Places of earlier rewritings lead to the end at once.
        let earlier = self.moved.iter().map(|(id, way)| {
            let onward = moved.iter().find(|(old, _)| *old == way.to());
            let way =
                onward.map_or_else(|| Arc::clone(way), |(_, onward)| Arc::new(way.then(onward)));
            (*id, way)
        });
        let mut moved: Vec<_> = earlier.chain(moved.iter().cloned()).collect();
        moved.sort_unstable_by_key(|(id, _)| *id);
        Self {
            moved,
            damage: Arc::clone(&self.damage),
            ..Self::new(segments)
        }
    }

    /// What reads met that was not as it was written.
    pub(crate) fn damage(&self) -> &DamageRegistry {
        &self.damage
    }

    /// Notes the damage that `error` tells of, for health to list. Whoever compares checksums of
    /// records calls this where they do not match.
    pub(crate) fn note_damage(&self, error: &PulseDBError) {
        self.damage.note(error);
    }

    /// The segments, by LSN.
    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// All but the last, which the writer appends to.
    pub(crate) fn sealed(&self) -> &[Arc<Segment>] {
        self.segments.split_last().map_or(&[], |(_, sealed)| sealed)
    }

    /// Bytes of all files, without what the active one reserves for frames to come.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let active = self.segments.last().map_or(0, |active| active.end());
        let sealed = self.sealed().iter().map(|segment| segment.capacity());
        sealed.sum::<u64>() + active
    }

    /// The segment that a frame of this LSN is in, if there is one.
    pub(crate) fn holding(&self, lsn: Lsn) -> Option<&Arc<Segment>> {
        self.segments.get(self.behind(lsn).checked_sub(1)?)
    }

    /// The segment that holds what was at `place`, and where in it.
    pub(crate) fn locate(&self, place: Place) -> Option<(&Arc<Segment>, u32)> {
        if let Some(segment) = self.segment(place.segment) {
            return Some((segment, place.unit));
        }
        let place = self.resolve(place);
        Some((self.segment(place.segment)?, place.unit))
    }

    /// Where that which was at `place` is now.
    pub(crate) fn resolve(&self, place: Place) -> Place {
        let moved = self
            .moved
            .binary_search_by_key(&place.segment, |(id, _)| *id)
            .ok()
            .and_then(|found| self.moved.get(found));
        match moved.and_then(|(_, way)| Some((way.to(), way.unit(place.unit)?))) {
            Some((segment, unit)) => Place { segment, unit },
            None => place,
        }
    }

    /// The segment with this id.
    #[inline]
    pub(crate) fn segment(&self, id: u32) -> Option<&Arc<Segment>> {
        // The newest segment is asked for most.
        if let Some(last) = self.segments.last()
            && last.id() == id
        {
            return Some(last);
        }
        let found = self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        let (_, index) = self.by_id.get(found)?;
        self.segments.get(*index as usize)
    }

    /// The segment that holds the frame that was written at `place`, and its unit there.
    #[inline]
    pub(crate) fn holder(&self, place: Place) -> Result<(&Arc<Segment>, u32)> {
        match self.locate(place) {
            Some(found) => Ok(found),
            None => Err(PulseDBError::corrupted(
                format!("segment {}", place.segment),
                place.offset(),
                "the log has no such segment",
            )),
        }
    }

    /// The frame at `place`.
    pub(crate) fn frame(&self, place: Place) -> Result<Frame<'_>> {
        let (segment, unit) = self.holder(place)?;
        segment.frame(unit)
    }

    /// The vector at `place`, of a frame that was checked before.
    pub(crate) fn vector(&self, place: Place, dimension: u16) -> Result<&[f32]> {
        let (segment, unit) = self.holder(place)?;
        segment.vector(unit, dimension)
    }

    /// Where the frame with this LSN stands, if there is one whose header is intact.
    pub(crate) fn find(&self, lsn: Lsn) -> Option<Place> {
        self.holding(lsn)?
            .frames_near(lsn.get())
            .flatten()
            .take_while(|frame| frame.header.lsn <= lsn)
            .find(|frame| frame.header.lsn == lsn)
            .map(|frame| frame.place)
    }

    /// The last frame at or below `lsn`, if it is beyond doubt that there is none between: a stretch of
    /// damage could hide one.
    pub(crate) fn covered(&self, lsn: Lsn) -> Option<Covered> {
        let segment = self.segments.get(self.behind(lsn).checked_sub(1)?)?;
        let mut covered = Covered {
            segment: segment.id(),
            at: 0,
            lsn: Lsn::ZERO,
            end: SEGMENT_HEADER_LEN as u64,
        };
        let mut sure = true;
        for frame in segment.frames_near(lsn.get()) {
            match frame {
                Ok(frame) if frame.header.lsn > lsn => break,
                Ok(frame) => {
                    covered.at = frame.place.offset();
                    covered.lsn = frame.header.lsn;
                    covered.end = covered.at + frame.header.frame_len();
                    sure = true;
                    if covered.lsn == lsn {
                        break;
                    }
                }
                Err(_) => sure = false,
            }
        }
        sure.then_some(covered)
    }

    /// Bytes of frames behind what is covered.
    pub(crate) fn bytes_behind(&self, covered: &Covered) -> u64 {
        let header = SEGMENT_HEADER_LEN as u64;
        let behind = self.segments.iter().rev();
        behind
            .take_while(|segment| segment.id() != covered.segment)
            .map(|segment| segment.end().saturating_sub(header))
            .sum::<u64>()
            + self
                .segment(covered.segment)
                .map_or(0, |segment| segment.end().saturating_sub(covered.end))
    }

    /// The frames with `from <= lsn <= upto`, in order. A stretch of damage among them is one
    /// `Err`, behind which the iteration goes on.
    pub(crate) fn iter_from(&self, from: Lsn, upto: Lsn) -> FramesBetween<'_> {
        let first = self.behind(from).saturating_sub(1);
        let end = self.behind(upto);
        let mut rest = self.segments.get(first..end).unwrap_or_default().iter();
        FramesBetween {
            from,
            upto,
            current: rest.next().map(|segment| segment.frames_near(from.get())),
            rest,
            held: VecDeque::new(),
            arrived: false,
        }
    }

    /// The end of the last commit at or before `lsn`.
    pub(crate) fn commit_at(&self, lsn: Lsn) -> Option<Lsn> {
        let behind = self.behind(lsn);
        let before = self.segments.get(..behind).unwrap_or_default();
        before.iter().rev().find_map(|segment| {
            let last = |frames: Frames<'_>| {
                let upto = frames.flatten().take_while(|frame| frame.header.lsn <= lsn);
                let ends = upto.filter(|frame| frame.header.closes_commit);
                ends.last().map(|frame| frame.header.lsn)
            };
            // A commit may begin in front of the indexed frame.
            last(segment.frames_near(lsn.get())).or_else(|| last(segment.frames_from_start()))
        })
    }

    /// The end of the last commit made at or before `time`.
    pub(crate) fn commit_at_time(&self, time: Timestamp) -> Option<Lsn> {
        self.segments.iter().rev().find_map(|segment| {
            let frames = segment.frames_from_start().flatten();
            let upto = frames.take_while(|frame| frame.header.time <= time);
            let ends = upto.filter(|frame| frame.header.closes_commit);
            ends.last().map(|frame| frame.header.lsn)
        })
    }

    /// How many segments begin at or before `lsn`.
    fn behind(&self, lsn: Lsn) -> usize {
        self.segments
            .partition_point(|segment| segment.header().first_lsn <= lsn)
    }
}

/// Iterates over a range of the log; see [`SegmentSet::iter_from`].
#[derive(Debug)]
pub(crate) struct FramesBetween<'a> {
    from: Lsn,
    upto: Lsn,
    current: Option<Frames<'a>>,
    rest: std::slice::Iter<'a, Arc<Segment>>,
    /// Damage in front of the first frame of the range, until it is known that it is part of it.
    held: VecDeque<Result<Frame<'a>>>,
    arrived: bool,
}

impl<'a> FramesBetween<'a> {
    fn step(&mut self) -> Option<Result<Frame<'a>>> {
        loop {
            if let Some(item) = self.current.as_mut()?.next() {
                return Some(item);
            }
            self.current = self.rest.next().map(|segment| segment.frames_from_start());
        }
    }

    /// Goes to the first frame of the range. What is damaged in front of it belongs to the range
    /// unless the frame is the very first one asked for.
    fn arrive(&mut self) {
        while !self.arrived {
            match self.step() {
                Some(Ok(frame)) if frame.header.lsn < self.from => self.held.clear(),
                Some(Ok(frame)) => {
                    if frame.header.lsn == self.from {
                        self.held.clear();
                    }
                    self.held.push_back(Ok(frame));
                    self.arrived = true;
                }
                Some(damage) => self.held.push_back(damage),
                None => self.arrived = true,
            }
        }
    }
}

impl<'a> Iterator for FramesBetween<'a> {
    type Item = Result<Frame<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.arrive();
        let item = match self.held.pop_front() {
            Some(item) => item,
            None => self.step()?,
        };
        if let Ok(frame) = &item
            && frame.header.lsn >= self.upto
        {
            self.current = None;
            if frame.header.lsn > self.upto {
                return None;
            }
        }
        Some(item)
    }
}

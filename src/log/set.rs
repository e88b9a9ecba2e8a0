//! Which segments make up the log, and where in them is an LSN?
//!
//! A set is an immutable value: a snapshot holds one and reads through it while the writer goes on
//! to the next. Segments stand in the order of their LSNs, which need not be that of their ids.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    error::{PulseDBError, Result},
    model::Lsn,
};

use super::{
    damage::DamageRegistry,
    place::Place,
    segment::{Frame, Frames, Segment},
};

/// The segments of the log, by LSN.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentSet {
    segments: Vec<Arc<Segment>>,
    /// (id, index into `segments`), by id.
    by_id: Vec<(u32, u32)>,
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
            damage: Arc::default(),
        }
    }

    /// This set and one segment more.
    pub(crate) fn with(&self, segment: Arc<Segment>) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment);
        Self {
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

    /// Where the frame that was written at `place` stands now.
    #[inline]
    pub(crate) fn resolve(&self, place: Place) -> Place {
        place
    }

    /// The segment that holds the frame that was written at `place`, and its unit there.
    #[inline]
    pub(crate) fn holder(&self, place: Place) -> Result<(&Arc<Segment>, u32)> {
        let place = self.resolve(place);
        match self.segment(place.segment) {
            Some(segment) => Ok((segment, place.unit)),
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
        let behind = self.behind(lsn);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        segment
            .frames_near(lsn.get())
            .flatten()
            .take_while(|frame| frame.header.lsn <= lsn)
            .find(|frame| frame.header.lsn == lsn)
            .map(|frame| frame.place)
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

//! Which nodes of a graph are nearest to a query?
//!
//! The search of HNSW (Malkov, Yashunin: Efficient and Robust Approximate Nearest Neighbor Search
//! Using Hierarchical Navigable Small World Graphs, IEEE TPAMI 2020, algorithms 2 and 5): greedily
//! down the upper levels, then best first through the lowest one, until no candidate is nearer than
//! the farthest of the `ef` nearest found. For [`Graph`](super::Graph) alone, which has checked the links.
//!
//! A walk waits for memory, not for arithmetic: it compares a thousand vectors that stand anywhere.
//! So it looks at all links of a node before it compares any, and has the vectors behind those
//! that are new fetched together.

use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap};

use super::links::Links;
use crate::simd::{self, F16, F32};

/// Vectors that are compared together; there are more links than these only where M is above 16.
const TOGETHER: usize = 32;

/// Nodes for which a thread keeps memory between walks. A walk of the default breadth visits a
/// thousand; one with a filter may visit a good part of the graph, but comes seldom.
const KEPT_NODES: usize = 1 << 16;

/// What vectors are made of.
pub trait Element: Copy {
    /// Appends how near each of `rows` is to `query`: more is nearer.
    fn nearness(query: &[Self], rows: &[&[Self]], out: &mut Vec<i32>);

    /// The dot product that a nearness stands for.
    fn dot(nearness: i32) -> f32;
}

impl Element for i8 {
    fn nearness(query: &[Self], rows: &[&[Self]], out: &mut Vec<i32>) {
        simd::dot_i8_each(query, rows, out);
    }

    fn dot(nearness: i32) -> f32 {
        nearness as f32
    }
}

impl Element for F16 {
    fn nearness(query: &[Self], rows: &[&[Self]], out: &mut Vec<i32>) {
        out.extend(rows.iter().map(|row| ordered(simd::dot_f16(query, row))));
    }

    fn dot(nearness: i32) -> f32 {
        unordered(nearness)
    }
}

impl Element for F32 {
    fn nearness(query: &[Self], rows: &[&[Self]], out: &mut Vec<i32>) {
        out.extend(rows.iter().map(|row| ordered(simd::dot_f32(query, row))));
    }

    fn dot(nearness: i32) -> f32 {
        unordered(nearness)
    }
}

/// An integer that is ordered as [`f32::total_cmp`] orders numbers: of negative ones, all bits but the
/// sign are turned round.
const fn ordered(number: f32) -> i32 {
    let bits = number.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// Its own inverse.
const fn unordered(bits: i32) -> f32 {
    let bits = bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed();
    f32::from_bits(bits.cast_unsigned())
}

/// A graph as a walk sees it.
pub struct Field<'a, T> {
    /// The vectors, one behind the other, and elements of each.
    pub vectors: &'a [T],
    pub width: usize,
    pub links: &'a Links,
    /// The bytes in which the links are.
    pub graph: &'a [u8],
}

impl<'a, T: Element> Field<'a, T> {
    fn vector(&self, slot: u32) -> &'a [T] {
        let start = slot as usize * self.width;
        self.vectors
            .get(start..start + self.width)
            .unwrap_or_default()
    }

    fn slots(&self) -> usize {
        self.vectors.len().checked_div(self.width).unwrap_or(0)
    }

    /// Appends how near each node is.
    fn nearness(&self, query: &[T], slots: &[u32], out: &mut Vec<i32>) {
        for slots in slots.chunks(TOGETHER) {
            let mut rows = [&[][..]; TOGETHER];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.vector(*slot);
            }
            T::nearness(query, rows.get(..slots.len()).unwrap_or_default(), out);
        }
    }

    /// Tells `found` the `ef` nodes nearest to `query` that `accept` lets through, nearest first, each
    /// with its nearness. Whether the walk came to its end: it does not where `accept` answers `None`.
    pub fn walk(
        &self,
        query: &[T],
        ef: usize,
        mut accept: impl FnMut(u32) -> Option<bool>,
        mut found: impl FnMut(u32, i32),
    ) -> bool {
        // Whoever panics in between leaves nothing behind but the work of allocating it again.
        let mut scratch = SCRATCH.take();
        scratch.visited.reach(self.slots());
        scratch.front.ef = ef;
        let start = self.descend(query, &mut scratch);
        let ended = self.widen(query, start, &mut accept, &mut scratch);
        scratch
            .front
            .drain_nearest(|near| found(near.slot(), near.nearness()));
        scratch.clear();
        SCRATCH.set(scratch);
        ended
    }

    /// From the entry down to the lowest level but one, each time to the nearest node that can be
    /// reached by ever nearer ones.
    fn descend(&self, query: &[T], scratch: &mut Scratch) -> Candidate {
        let (entry, top) = self.links.entry();
        let Scratch {
            fresh, nearness, ..
        } = scratch;
        let mut nearest_of = |slots: &[u32]| {
            nearness.clear();
            self.nearness(query, slots, nearness);
            candidates(slots, nearness).max()
        };
        let mut nearest = nearest_of(&[entry]).unwrap_or(Candidate::new(entry, i32::MIN));
        for level in (1..=top).rev() {
            loop {
                fresh.clear();
                for slot in self.links.of(self.graph, nearest.slot(), level) {
                    let slot = u32::from_le_bytes(*slot);
                    simd::prefetch(self.vector(slot));
                    fresh.push(slot);
                }
                match nearest_of(fresh) {
                    Some(nearer) if nearer.nearness() > nearest.nearness() => nearest = nearer,
                    _ => break,
                }
            }
        }
        nearest
    }

    /// Best first through the lowest level.
    fn widen(
        &self,
        query: &[T],
        start: Candidate,
        accept: &mut impl FnMut(u32) -> Option<bool>,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch {
            visited,
            front,
            fresh,
            nearness,
        } = scratch;
        visited.visit(start.slot());
        if front.offer(start, accept).is_none() {
            return false;
        }
        while let Some(candidate) = front.next() {
            fresh.clear();
            for slot in self.links.of(self.graph, candidate.slot(), 0) {
                let slot = u32::from_le_bytes(*slot);
                if visited.visit(slot) {
                    simd::prefetch(self.vector(slot));
                    fresh.push(slot);
                }
            }
            // Most often the one whose turn is next.
            if let Some(next) = front.candidates.peek() {
                simd::prefetch(self.links.bytes(self.graph, next.slot()));
            }
            nearness.clear();
            self.nearness(query, fresh, nearness);
            for near in candidates(fresh, nearness) {
                if front.offer(near, accept).is_none() {
                    return false;
                }
            }
        }
        true
    }
}

fn candidates(slots: &[u32], nearness: &[i32]) -> impl Iterator<Item = Candidate> {
    let pairs = slots.iter().zip(nearness);
    pairs.map(|(slot, nearness)| Candidate::new(*slot, *nearness))
}

/// A node and how near it is, ordered by that; of two that are as near, the earlier is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    const fn new(slot: u32, nearness: i32) -> Self {
        let rank = nearness.cast_unsigned() ^ (1 << 31);
        Self((rank as u64) << 32 | !slot as u64)
    }

    const fn slot(self) -> u32 {
        !(self.0 as u32)
    }

    const fn nearness(self) -> i32 {
        ((self.0 >> 32) as u32 ^ (1 << 31)).cast_signed()
    }
}

thread_local! {
    /// What the walks of a thread use one after the other.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// The memory of a walk.
#[derive(Default)]
struct Scratch {
    visited: Visited,
    front: Front,
    fresh: Vec<u32>,
    nearness: Vec<i32>,
}

impl Scratch {
    fn clear(&mut self) {
        self.visited.clear();
        self.front.candidates.clear();
        self.front.candidates.shrink_to(KEPT_NODES);
    }
}

/// Which nodes have been seen. A bit is set only for those in `touched`, so that clearing costs what
/// the walk did, however large the graph is.
#[derive(Default)]
struct Visited {
    bits: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// There are so many nodes.
    fn reach(&mut self, nodes: usize) {
        let words = nodes.div_ceil(u64::BITS as usize);
        if self.bits.len() < words {
            self.bits.resize(words, 0);
        }
    }

    /// Whether it is the first visit of a node.
    fn visit(&mut self, slot: u32) -> bool {
        let Some(word) = self.bits.get_mut((slot / u64::BITS) as usize) else {
            return false;
        };
        let bit = 1 << (slot % u64::BITS);
        let first = *word & bit == 0;
        if first {
            *word |= bit;
            self.touched.push(slot);
        }
        first
    }

    fn clear(&mut self) {
        for slot in self.touched.drain(..) {
            if let Some(word) = self.bits.get_mut((slot / u64::BITS) as usize) {
                *word = 0;
            }
        }
        self.touched.shrink_to(KEPT_NODES);
    }
}

/// What has been found and where it may lead.
#[derive(Default)]
struct Front {
    /// How many of the nearest are wanted.
    ef: usize,
    /// Nodes whose links have not been followed, the nearest on top.
    candidates: BinaryHeap<Candidate>,
    /// The nearest that are let through, the farthest of them on top.
    nearest: BinaryHeap<Reverse<Candidate>>,
}

impl Front {
    /// The nearest candidate, unless enough nodes are nearer.
    fn next(&mut self) -> Option<Candidate> {
        let next = self.candidates.pop()?;
        (!self.in_vain(next)).then_some(next)
    }

    /// Takes a node, unless enough are nearer. `None` where `accept` ends the walk.
    fn offer(
        &mut self,
        near: Candidate,
        accept: &mut impl FnMut(u32) -> Option<bool>,
    ) -> Option<()> {
        if self.in_vain(near) {
            return Some(());
        }
        self.candidates.push(near);
        if accept(near.slot())? {
            if self.nearest.len() < self.ef {
                self.nearest.push(Reverse(near));
            } else if let Some(mut farthest) = self.nearest.peek_mut() {
                *farthest = Reverse(near);
            }
        }
        Some(())
    }

    fn in_vain(&self, near: Candidate) -> bool {
        self.nearest.len() >= self.ef
            && (self.nearest.peek()).is_some_and(|Reverse(farthest)| near < *farthest)
    }

    /// Hands out the nearest, nearest first.
    fn drain_nearest(&mut self, mut take: impl FnMut(Candidate)) {
        let mut sorted = std::mem::take(&mut self.nearest).into_vec();
        sorted.sort_unstable();
        for Reverse(near) in sorted.drain(..) {
            take(near);
        }
        self.nearest = sorted.into();
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;

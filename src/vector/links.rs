//! Which nodes of a graph are linked, and is every link one to a node?
//!
//! The library's bytes are read in place, where they lie in the mapped file: [`Links::check`] looks at
//! all of them once, and what it accepts can be walked without another look. It is a total function
//! of the bytes, so that neither a damaged graph nor one that was laid out by another hand leads
//! anywhere but to an error. For [`Graph`](super::Graph) alone.
//!
//! Behind the matrix the library writes a head of 64 bytes (what the elements, keys and slots are), a
//! head of 40 bytes (nodes, links of a node, highest level, where to enter), per node its level, and then the
//! nodes, one behind the other: key, level, and per level a number of links and room for as many as
//! there may be. So nodes of the lowest level alone, fifteen in sixteen, have one size, and where a
//! node begins follows from how many levels lie before it.

use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::GraphParams,
};

/// Bytes of what the library says of the elements.
const KINDS_LEN: usize = 64;
const MAGIC: &[u8] = b"usearch";
/// Where it says of what kind elements, keys (64 bits) and slots (32 bits) are, and the library's
/// numbers for these.
const ELEMENT_AT: usize = 14;
const KEY_AT: usize = 15;
const SLOT_AT: usize = 16;
const KEY: u8 = 14;
const SLOT: u8 = 15;
/// Where it counts its nodes and removed nodes, and says whether a key may have several vectors.
const PRESENT_AT: usize = 17;
const REMOVED_AT: usize = 25;
/// Where it says how many elements a vector has.
const WIDTH_AT: usize = 33;
const MULTI_AT: usize = 41;

/// Bytes of the graph's own head, of a level, and of what begins a node (key and level).
const HEAD_LEN: usize = 40;
const LEVEL_LEN: usize = 2;
const NODE_HEAD_LEN: usize = 10;
/// Bytes of a slot, and of a number of links.
const SLOT_LEN: usize = 4;

/// A node's place in the order of rows, as it stands in lists of links.
type Slot = [u8; SLOT_LEN];

/// Where the links are. What a search reads at every step is here; the links stay where they are.
#[derive(Debug)]
pub struct Links {
    /// Where the nodes begin in the library's bytes.
    nodes: usize,
    /// Bytes of the links of a node in the lowest level, and in each other one.
    base_len: usize,
    upper_len: usize,
    /// Per node the number of upper levels of all before it.
    levels_before: Vec<u32>,
    /// Where searches enter: a node of the highest level, which is this.
    entry: u32,
    top: usize,
}

impl Links {
    /// Checks every number in `graph`, the library's bytes, of nodes whose keys are to be `rows`.
    ///
    /// # Errors
    /// [`PulseDBError::Vector`] if there is one that cannot be.
    pub fn check(graph: &[u8], params: &GraphParams, rows: &[u32]) -> Result<Self> {
        let mut rest = Bytes(graph);
        let vector = params.width() * params.element.bytes();
        let matrix = rows.len().checked_mul(vector).ok_or_else(too_large)?;
        rest.take(2 * SLOT_LEN)?;
        rest.take(matrix)?;
        check_kinds(rest.take(KINDS_LEN)?, params, rows.len())?;

        let mut head = Bytes(rest.take(HEAD_LEN)?);
        let size = head.number()?;
        let (connectivity, base_connectivity) = (head.number()?, head.number()?);
        let (top, entry) = (head.number()?, head.number()?);
        let wanted = u64::from(params.connectivity);
        if size != rows.len() as u64
            || connectivity != wanted
            || base_connectivity != 2 * wanted
            || entry >= size
        {
            return Err(wrong(
                "its head is not the one that its file's header tells of",
            ));
        }
        let list_len = |links: u16| SLOT_LEN + usize::from(links) * SLOT_LEN;
        let levels = rest.take(rows.len() * LEVEL_LEN)?;
        let mut links = Self {
            nodes: graph.len() - rest.0.len(),
            base_len: list_len(params.connectivity) + usize::from(params.connectivity) * SLOT_LEN,
            upper_len: list_len(params.connectivity),
            levels_before: Vec::with_capacity(rows.len()),
            entry: u32::try_from(entry).map_err(|_| too_large())?,
            top: usize::try_from(top).map_err(|_| too_large())?,
        };
        let levels = Levels(levels.as_chunks().0);
        let mut before = 0_u32;
        for level in levels.iter() {
            links.levels_before.push(before);
            let level = level.ok_or_else(|| wrong("a level is negative"))?;
            before = before.checked_add(level).ok_or_else(too_large)?;
        }
        let nodes_len = rows
            .len()
            .checked_mul(NODE_HEAD_LEN + links.base_len)
            .zip((before as usize).checked_mul(links.upper_len))
            .and_then(|(base, upper)| base.checked_add(upper));
        if nodes_len != Some(rest.0.len()) {
            return Err(wrong("its nodes are not as long as their levels say"));
        }
        if levels
            .of(links.entry)
            .is_none_or(|level| u64::from(level) < top)
        {
            return Err(wrong("searches would enter above a node's levels"));
        }
        for (row, level) in rows.iter().zip(levels.iter()) {
            links.check_node(&mut rest, *row, level.unwrap_or(0), &levels)?;
        }
        Ok(links)
    }

    /// Checks the node that `rest` begins with.
    fn check_node(
        &self,
        rest: &mut Bytes<'_>,
        row: u32,
        level: u32,
        levels: &Levels<'_>,
    ) -> Result<()> {
        let head: &[u8; NODE_HEAD_LEN] = rest.take_array()?;
        let (key, own_level) = head.split_at(NODE_HEAD_LEN - LEVEL_LEN);
        if key != u64::from(row).to_le_bytes() || own_level != (level as u16).to_le_bytes() {
            return Err(wrong("a node has another row's key, or another level"));
        }
        let base = linked(rest.take(self.base_len)?)?;
        // As many comparisons as links: the greatest tells of all.
        let greatest = base.iter().map(|slot| u32::from_le_bytes(*slot)).max();
        if greatest.is_some_and(|slot| slot as usize >= levels.0.len()) {
            return Err(wrong("a link leads to no node"));
        }
        for above in 1..=level {
            let slots = linked(rest.take(self.upper_len)?)?;
            let reaches = |slot: &Slot| {
                levels
                    .of(u32::from_le_bytes(*slot))
                    .is_some_and(|level| level >= above)
            };
            if !slots.iter().all(reaches) {
                return Err(wrong("a link leads to no node of its level"));
            }
        }
        Ok(())
    }

    /// Where searches enter, and the highest level, at which they do.
    #[must_use]
    pub const fn entry(&self) -> (u32, usize) {
        (self.entry, self.top)
    }

    /// The links of a node at a level, in the bytes that were checked. Nothing where there is no such
    /// node or level.
    #[must_use]
    pub fn of<'a>(&self, graph: &'a [u8], slot: u32, level: usize) -> &'a [Slot] {
        self.list(graph, slot, level)
            .and_then(|list| linked(list).ok())
            .unwrap_or_default()
    }

    /// The bytes of a node's links in the lowest level.
    #[must_use]
    pub fn bytes<'a>(&self, graph: &'a [u8], slot: u32) -> &'a [u8] {
        self.list(graph, slot, 0).unwrap_or_default()
    }

    fn list<'a>(&self, graph: &'a [u8], slot: u32, level: usize) -> Option<&'a [u8]> {
        let before = *self.levels_before.get(slot as usize)? as usize;
        let node = self.nodes
            + slot as usize * (NODE_HEAD_LEN + self.base_len)
            + before * self.upper_len
            + NODE_HEAD_LEN;
        let (start, len) = match level.checked_sub(1) {
            None => (node, self.base_len),
            Some(above) => (
                node + self.base_len + above * self.upper_len,
                self.upper_len,
            ),
        };
        graph.get(start..start + len)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        self.levels_before.capacity() * size_of::<u32>()
    }
}

fn check_kinds(kinds: &[u8], params: &GraphParams, nodes: usize) -> Result<()> {
    let number = |at: usize| kinds.get(at..).and_then(<[u8]>::first_chunk).copied();
    let element = match params.element {
        VectorElement::I8 => 23,
        VectorElement::F16 => 12,
        VectorElement::F32 => 11,
    };
    let as_said = kinds.starts_with(MAGIC)
        && kinds.get(ELEMENT_AT) == Some(&element)
        && kinds.get(KEY_AT) == Some(&KEY)
        && kinds.get(SLOT_AT) == Some(&SLOT)
        && kinds.get(MULTI_AT) == Some(&0)
        && number(PRESENT_AT).map(u64::from_le_bytes) == Some(nodes as u64)
        && number(REMOVED_AT).map(u64::from_le_bytes) == Some(0)
        && number(WIDTH_AT).map(u64::from_le_bytes) == Some(params.width() as u64);
    if as_said {
        Ok(())
    } else {
        Err(wrong(
            "its elements are not what its file's header tells of",
        ))
    }
}

/// The links in a list: their number, then room for as many as there may be.
fn linked(list: &[u8]) -> Result<&[Slot]> {
    let (slots, _) = list.as_chunks::<SLOT_LEN>();
    slots
        .split_first()
        .and_then(|(count, slots)| slots.get(..u32::from_le_bytes(*count) as usize))
        .ok_or_else(|| wrong("a node has more links than there is room for"))
}

/// The levels of all nodes.
struct Levels<'a>(&'a [[u8; LEVEL_LEN]]);

impl Levels<'_> {
    fn of(&self, slot: u32) -> Option<u32> {
        let level = self.0.get(slot as usize)?;
        u32::try_from(i16::from_le_bytes(*level)).ok()
    }

    fn iter(&self) -> impl Iterator<Item = Option<u32>> {
        self.0
            .iter()
            .map(|level| u32::try_from(i16::from_le_bytes(*level)).ok())
    }
}

/// What is left of some bytes.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64> {
        self.take_array().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

fn too_short() -> PulseDBError {
    wrong("it ends too early")
}

fn too_large() -> PulseDBError {
    wrong("it is too large")
}

fn wrong(what: &str) -> PulseDBError {
    PulseDBError::Vector(format!("reading a graph: {what}"))
}

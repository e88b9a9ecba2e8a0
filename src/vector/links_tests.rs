//! Is every graph that the library writes accepted, and every other one refused or harmless?

use proptest::prelude::*;

use super::{
    codes::QueryCode,
    graph_tests::{bytes_of, clustered, params},
    links::Links,
    walk::Field,
};
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::{GraphHeader, GraphParams},
};

const DIMENSION: u16 = 8;
const ROWS: u32 = 200;

/// What the library writes, of few links so that there are upper levels.
struct Library {
    params: GraphParams,
    bytes: Vec<u8>,
    rows: Vec<u32>,
}

impl Library {
    fn wrote(element: VectorElement) -> Self {
        let params = GraphParams {
            connectivity: 4,
            ..params(element, DIMENSION)
        };
        let file = bytes_of(params, &clustered(40, DIMENSION, ROWS as usize));
        let graph = GraphHeader::decode(&file).unwrap().layout().unwrap().graph;
        Self {
            params,
            bytes: file[graph.start as usize..graph.end as usize].to_vec(),
            rows: (0..ROWS).collect(),
        }
    }

    fn vector_bytes(&self) -> usize {
        self.params.width() * self.params.element.bytes()
    }

    /// Where the head of the graph begins.
    fn head(&self) -> usize {
        8 + ROWS as usize * self.vector_bytes() + 64
    }

    fn check(&self, bytes: &[u8]) -> Result<Links> {
        Links::check(bytes, &self.params, &self.rows)
    }

    fn changed(&self, at: usize, to: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    }

    fn reason(&self, at: usize, to: &[u8]) -> String {
        let bytes = self.changed(at, to);
        assert_ne!(bytes, self.bytes, "nothing was changed");
        match self.check(&bytes) {
            Err(PulseDBError::Vector(what)) => what,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken"),
        }
    }
}

/// Walks all of a graph of codes, through whatever links it has.
fn walk_all(library: &Library, links: &Links, bytes: &[u8]) -> Vec<u32> {
    let matrix = &bytes[8..8 + ROWS as usize * library.vector_bytes()];
    let codes: Vec<i8> = matrix
        .iter()
        .map(|byte| byte.cast_signed().max(-127))
        .collect();
    let field = Field {
        vectors: &codes,
        width: library.params.width(),
        links,
        graph: bytes,
    };
    let query = QueryCode::new(vec![0.3, -0.4, 0.5, 0.1, 0.2, 0.4, -0.5, 0.2]);
    let mut found = Vec::new();
    let all = ROWS as usize;
    assert!(field.walk(
        query.codes(),
        all,
        |_| Some(true),
        |slot, _| found.push(slot)
    ));
    found
}

#[test]
fn what_the_library_writes_is_accepted() {
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let library = Library::wrote(element);
        let links = library.check(&library.bytes).unwrap();
        let (entry, top) = links.entry();
        assert!(top >= 2, "too flat to show anything");
        let mut linked = [0; 8];
        for slot in 0..ROWS {
            for (level, linked) in linked.iter_mut().enumerate().take(top + 1) {
                *linked += links.of(&library.bytes, slot, level).len();
            }
        }
        assert!(linked[0] >= ROWS as usize && linked[1] > 0, "{linked:?}");
        assert!(!links.of(&library.bytes, entry, top - 1).is_empty());
        assert!(links.of(&library.bytes, ROWS, 0).is_empty());
        assert_eq!(links.heap(), 4 * ROWS as usize);
    }
    let library = Library::wrote(VectorElement::I8);
    let links = library.check(&library.bytes).unwrap();
    let mut found = walk_all(&library, &links, &library.bytes);
    found.sort_unstable();
    assert_eq!(found, library.rows, "every node can be reached");
}

#[test]
fn every_number_is_checked() {
    let library = Library::wrote(VectorElement::I8);
    let head = library.head();
    let levels = head + 40;
    let nodes = levels + 2 * ROWS as usize;
    let kinds = head - 64;
    for at in [
        kinds,
        kinds + 14,
        kinds + 15,
        kinds + 16,
        kinds + 17,
        kinds + 25,
        kinds + 33,
        kinds + 41,
    ] {
        assert!(library.reason(at, &[99]).contains("elements"), "{at}");
    }
    for (number, to) in [(0, 199), (1, 5), (2, 9), (4, 200)] {
        let what = library.reason(head + 8 * number, &u64::to_le_bytes(to));
        assert!(what.contains("head"), "{number}: {what}");
    }
    let above = library.reason(head + 24, &u64::to_le_bytes(30));
    assert!(above.contains("above"), "{above}");
    for level in [-1_i16, 20, i16::MAX] {
        let what = library.reason(levels + 6, &level.to_le_bytes());
        assert!(what.contains("level"), "{what}");
    }
    assert!(library.reason(nodes, &[77]).contains("key"));
    assert!(library.reason(nodes + 8, &[77]).contains("level"));
    assert!(library.reason(nodes + 10, &[9]).contains("room"));
    let beyond = library.reason(nodes + 14, &ROWS.to_le_bytes());
    assert!(beyond.contains("leads to no node"), "{beyond}");
    // In an upper level, to a node that has none.
    let level_of = |slot: usize| library.bytes[levels + 2 * slot];
    let tall = (0..ROWS as usize).find(|slot| level_of(*slot) > 0).unwrap();
    let flat = (0..ROWS)
        .find(|slot| level_of(*slot as usize) == 0)
        .unwrap();
    let base = 10 + 4 + 8 * 4;
    let before: usize = (0..tall)
        .map(|slot| base + 20 * usize::from(level_of(slot)))
        .sum();
    let upper = library.reason(nodes + before + base + 4, &flat.to_le_bytes());
    assert!(upper.contains("of its level"), "{upper}");
    for rows in [&library.rows[1..], &[], &[7; ROWS as usize]] {
        assert!(Links::check(&library.bytes, &library.params, rows).is_err());
    }
}

#[test]
fn no_other_length_is_accepted() {
    let library = Library::wrote(VectorElement::I8);
    for len in 0..library.bytes.len() {
        assert!(library.check(&library.bytes[..len]).is_err(), "{len} bytes");
    }
    let longer = [library.bytes.as_slice(), &[0]].concat();
    assert!(library.check(&longer).is_err());
}

proptest! {
    #[test]
    fn whatever_is_accepted_can_be_walked(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        links_alone in any::<bool>(),
    ) {
        let library = Library::wrote(VectorElement::I8);
        let from = if links_alone { library.head() } else { 0 };
        let mut bytes = library.bytes.clone();
        for (at, to) in changes {
            let at = from + at.index(bytes.len() - from);
            bytes[at] = to;
        }
        if let Ok(links) = library.check(&bytes) {
            prop_assert!(walk_all(&library, &links, &bytes).len() <= ROWS as usize);
        }
    }

    #[test]
    fn noise_is_no_graph(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let library = Library::wrote(VectorElement::I8);
        prop_assert!(library.check(&bytes).is_err());
        let head = [&library.bytes[..library.head()], &bytes].concat();
        prop_assert!(library.check(&head).is_err());
    }
}

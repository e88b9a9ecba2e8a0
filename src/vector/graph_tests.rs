//! Does a graph find what a look at every row finds, and refuse every file that is not whole?

use super::{codes::QueryCode, graph::Near, *};
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::{Covered, GRAPH_HEADER_LEN, GraphHeader, GraphParams},
    model::{InstanceId, Lsn, Timeline},
    vfs::{Map, OpenMode, OsVfs, Vfs},
};
use std::path::Path;

pub(super) const FILE: &str = "graph.hnsw";

pub(super) fn params(element: VectorElement, dimension: u16) -> GraphParams {
    GraphParams {
        dimension,
        element,
        connectivity: 16,
        expansion_add: 96,
        unit: if element == VectorElement::I8 {
            0.6 / 127.0
        } else {
            1.0
        },
    }
}

pub(super) fn covered(end: u32) -> Covered {
    Covered {
        database: InstanceId::from_u128(7),
        timeline: Timeline::FIRST,
        collective: 3,
        first: 0,
        end,
        last_lsn: Lsn::new(99),
        horizon: Lsn::new(50),
    }
}

pub(super) fn expected(dimension: u16) -> Expected {
    Expected {
        database: InstanceId::from_u128(7),
        collective: 3,
        dimension,
    }
}

/// splitmix64
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

pub(super) fn inverse_norm(vector: &[f32]) -> f32 {
    (1.0 / crate::simd::squared_norm(vector).sqrt()) as f32
}

/// Vectors around a few dozen centres, of different lengths.
pub(super) fn clustered(seed: u64, dimension: u16, count: usize) -> Vec<Vec<f32>> {
    let mut centres = Random(1);
    let centres: Vec<Vec<f32>> = (0..40)
        .map(|_| (0..dimension).map(|_| centres.signed()).collect())
        .collect();
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let centre = &centres[random.next() as usize % centres.len()];
            let length = 1.0 + random.signed() / 2.0;
            centre
                .iter()
                .map(|x| (x + 0.5 * random.signed()) * length)
                .collect()
        })
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
    dot * f64::from(inverse_norm(a)) * f64::from(inverse_norm(b))
}

/// The rows nearest to `query`, nearest first.
pub(super) fn nearest(vectors: &[Vec<f32>], query: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..vectors.len() as u32).collect();
    order.sort_by(|a, b| {
        let of = |row: &u32| cosine(&vectors[*row as usize], query);
        of(b).total_cmp(&of(a))
    });
    order.truncate(count);
    order
}

/// A file of these bytes in a directory of its own.
pub(super) fn map_of(dir: &Path, bytes: &[u8]) -> Map {
    let path = dir.join(FILE);
    let vfs = OsVfs;
    if vfs.exists(&path).unwrap() {
        vfs.remove(&path).unwrap();
    }
    let file = vfs.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.map(bytes.len() as u64).unwrap()
}

pub(super) fn opened(bytes: &[u8], dimension: u16) -> Result<Graph> {
    let dir = tempfile::tempdir().unwrap();
    Graph::open(
        map_of(dir.path(), bytes),
        Path::new(FILE),
        &expected(dimension),
    )
}

pub(super) fn bytes_of(params: GraphParams, vectors: &[Vec<f32>]) -> Vec<u8> {
    let mut builder = GraphBuilder::new(params, vectors.len()).unwrap();
    for (row, vector) in vectors.iter().enumerate() {
        builder
            .add(row as u32, vector, inverse_norm(vector))
            .unwrap();
    }
    builder.finish(&covered(vectors.len() as u32)).unwrap()
}

pub(super) fn graph_of(params: GraphParams, vectors: &[Vec<f32>]) -> Graph {
    opened(&bytes_of(params, vectors), params.dimension).unwrap()
}

pub(super) fn asked(query: &[f32]) -> QueryCode {
    let inverse = inverse_norm(query);
    QueryCode::new(query.iter().map(|x| x * inverse).collect())
}

/// Rows and similarities.
pub(super) fn found(graph: &Graph, query: &[f32], ef: usize) -> Vec<(u32, f32)> {
    filtered(graph, query, ef, |_| Some(true)).unwrap()
}

/// The same of rows that are let through; `None` if the walk was given up.
pub(super) fn filtered(
    graph: &Graph,
    query: &[f32],
    ef: usize,
    accept: impl FnMut(u32) -> Option<bool>,
) -> Option<Vec<(u32, f32)>> {
    let before = Near {
        row: 1,
        similarity: 1.0,
        off: 0.0,
    };
    let mut found = vec![before];
    let ended = graph.search(&asked(query), ef, accept, &mut found).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|near| (near.row, near.similarity))
        .collect();
    assert!(ended || found.is_empty());
    ended.then_some(found)
}

/// Recall of the ten nearest, with the candidates ordered by their exact distance.
fn recall(graph: &Graph, vectors: &[Vec<f32>], queries: &[Vec<f32>], ef: usize) -> f64 {
    let mut right = 0;
    for query in queries {
        let mut rows: Vec<u32> = (found(graph, query, ef).iter())
            .take(20)
            .map(|(row, _)| *row)
            .collect();
        rows.sort_by(|a, b| {
            let of = |row: &u32| cosine(&vectors[*row as usize], query);
            of(b).total_cmp(&of(a))
        });
        let truth = nearest(vectors, query, 10);
        right += rows
            .iter()
            .take(10)
            .filter(|row| truth.contains(row))
            .count();
    }
    right as f64 / (queries.len() * 10) as f64
}

#[test]
fn graphs_of_every_element_find_what_a_scan_finds() {
    let vectors = clustered(2, 48, 3000);
    let queries = clustered(3, 48, 50);
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let graph = graph_of(params(element, 48), &vectors);
        let recall = recall(&graph, &vectors, &queries, 64);
        assert!(recall >= 0.95, "{element:?}: {recall}");
        assert_eq!(graph.codes().is_some(), element == VectorElement::I8);
        let answer = found(&graph, &queries[0], 64);
        assert_eq!(answer.len(), 64);
        assert!(answer.is_sorted_by(|a, b| a.1 >= b.1));
        let exact = cosine(&vectors[answer[0].0 as usize], &queries[0]);
        let told = f64::from(answer[0].1);
        assert!(
            (exact - told).abs() < 0.02,
            "{element:?}: {told} for {exact}"
        );
    }
}

#[test]
fn a_graph_says_what_it_was_told() {
    let params = params(VectorElement::I8, 40);
    let vectors = clustered(4, 40, 30);
    let mut builder = GraphBuilder::new(params, 100).unwrap();
    for (index, vector) in vectors.iter().enumerate() {
        builder
            .add(10 + 3 * index as u32, vector, inverse_norm(vector))
            .unwrap();
    }
    assert_eq!(builder.last_row(), Some(10 + 3 * 29));
    let covered = Covered {
        first: 10,
        ..covered(200)
    };
    let bytes = builder.finish(&covered).unwrap();
    let graph = opened(&bytes, 40).unwrap();
    assert_eq!(graph.covered(), &covered);
    assert_eq!(graph.params(), &params);
    let rows: Vec<u32> = (0..30).map(|index| 10 + 3 * index).collect();
    assert_eq!(graph.rows(), rows);
    assert!(graph.memory() > bytes.len() as u64);
}

#[test]
fn codes_are_those_of_the_rows_within_their_error() {
    let params = params(VectorElement::I8, 70);
    let vectors = clustered(5, 70, 200);
    let graph = graph_of(params, &vectors);
    let codes = graph.codes().unwrap();
    assert_eq!((codes.width, codes.unit), (128, params.unit));
    assert_eq!(codes.rows, graph.rows());
    assert_eq!(codes.codes.len(), 200 * 128);
    assert_eq!(
        codes.codes.as_ptr() as usize % 64,
        0,
        "for aligned instructions"
    );
    for (index, row) in codes.codes.chunks(128).enumerate() {
        let vector = &vectors[index];
        let inverse = f64::from(inverse_norm(vector));
        let off: f64 = vector
            .iter()
            .zip(row)
            .map(|(x, code)| f64::from(*x) * inverse - f64::from(codes.unit) * f64::from(*code))
            .map(|off| off * off)
            .sum();
        let error = f64::from(codes.errors[index]);
        assert!(off.sqrt() <= error && error < off.sqrt() + 2e-4);
        assert!(row[70..].iter().all(|code| *code == 0));
        assert!(row.iter().all(|code| *code >= -127));
    }
}

#[test]
fn components_beyond_the_unit_are_cut_and_counted_as_error() {
    let mut params = params(VectorElement::I8, 4);
    params.unit = 0.5 / 127.0;
    let graph = graph_of(params, &[vec![1.0, 0.0, 0.0, 0.0], vec![0.5; 4]]);
    let codes = graph.codes().unwrap();
    assert_eq!(codes.codes[0], 127);
    assert!((codes.errors[0] - 0.5).abs() < 2e-4 && codes.errors[1] < 2e-4);
}

#[test]
fn similarities_are_those_of_the_codes() {
    // With as many candidates as rows, a graph must give every row.
    let vectors = clustered(6, 32, 150);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    let codes = graph.codes().unwrap();
    for query in clustered(7, 32, 5) {
        let inverse = inverse_norm(&query);
        let direction: Vec<f32> = query.iter().map(|x| x * inverse).collect();
        let unit = direction.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        let mut asked = vec![0_i8; 64];
        crate::simd::quantise(&direction, unit.recip(), &mut asked);
        let answer = found(&graph, &query, 150);
        assert_eq!(answer.len(), 150);
        for (row, similarity) in answer {
            let stored = &codes.codes[row as usize * 64..][..64];
            let dot: i32 = stored
                .iter()
                .zip(&asked)
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum();
            assert_eq!(similarity, unit * codes.unit * dot as f32);
        }
    }
}

#[test]
fn the_effort_is_what_is_asked_for() {
    let vectors = clustered(8, 32, 500);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    for ef in [1, 2, 17, 499, 500] {
        assert_eq!(found(&graph, &vectors[3], ef).len(), ef);
    }
    assert_eq!(found(&graph, &vectors[3], 0).len(), 1);
}

#[test]
fn filters_let_through_what_they_say() {
    let vectors = clustered(9, 32, 800);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    let ask = |accept: &dyn Fn(u32) -> bool| {
        filtered(&graph, &vectors[5], 50, |row| Some(accept(row))).unwrap()
    };
    let odd = ask(&|row| row % 2 == 1);
    assert_eq!(odd.len(), 50);
    assert!(odd.iter().all(|(row, _)| row % 2 == 1));
    assert_eq!(ask(&|row| row == 700).len(), 1, "however far it is");
    assert!(ask(&|_| false).is_empty());
}

#[test]
fn a_walk_that_is_given_up_finds_nothing() {
    let vectors = clustered(9, 32, 800);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    let mut left = 100_u32;
    let few = |_| {
        left = left.checked_sub(1)?;
        Some(false)
    };
    assert_eq!(filtered(&graph, &vectors[5], 50, few), None);
    assert_eq!(filtered(&graph, &vectors[5], 50, |_| None), None);
    assert_eq!(found(&graph, &vectors[5], 50).len(), 50);
}

#[test]
fn a_query_of_another_dimension_is_refused() {
    let graph = graph_of(params(VectorElement::I8, 32), &clustered(9, 32, 50));
    let mut answer = Vec::new();
    let outcome = graph.search(&asked(&[1.0; 33]), 10, |_| Some(true), &mut answer);
    assert!(outcome.unwrap_err().to_string().contains("33 components"));
}

#[test]
fn an_extended_graph_finds_all_rows_and_the_old_one_stays() {
    let vectors = clustered(10, 32, 1500);
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let old = graph_of(params(element, 32), &vectors[..1000]);
        let before = found(&old, &vectors[7], 30);
        let mut builder = GraphBuilder::extending(&old, 500).unwrap();
        for (row, vector) in vectors.iter().enumerate().skip(1000) {
            builder
                .add(row as u32, vector, inverse_norm(vector))
                .unwrap();
        }
        assert!(
            builder
                .add(2000, &vectors[0], inverse_norm(&vectors[0]))
                .is_err()
        );
        let bytes = builder.finish(&covered(1500)).unwrap();
        assert_eq!(found(&old, &vectors[7], 30), before);
        drop(old);
        let new = opened(&bytes, 32).unwrap();
        assert_eq!(new.rows().len(), 1500);
        let recall = recall(&new, &vectors, &clustered(11, 32, 30), 64);
        assert!(recall >= 0.95, "{element:?}: {recall}");
        if element == VectorElement::I8 {
            // Nothing tells how a row came in: neither its codes nor its error.
            let whole = graph_of(params(element, 32), &vectors);
            let (new, whole) = (new.codes().unwrap(), whole.codes().unwrap());
            assert_eq!(new.codes, whole.codes);
            assert_eq!(new.errors, whole.errors);
        }
    }
}

#[test]
fn what_is_said_to_be_covered_must_hold_the_rows() {
    let vector = [1.0, 0.0, 0.0, 0.0];
    let empty = GraphBuilder::new(params(VectorElement::I8, 4), 1).unwrap();
    assert!(empty.finish(&covered(5)).is_err());
    for (first, end) in [(0, 4), (5, 9), (9, 2)] {
        let mut builder = GraphBuilder::new(params(VectorElement::I8, 4), 1).unwrap();
        builder.add(4, &vector, 1.0).unwrap();
        let covered = Covered {
            first,
            ..covered(end)
        };
        assert!(builder.finish(&covered).is_err());
    }
}

/// Some sixty rows of few components, so that every byte can be tried.
fn small() -> Vec<u8> {
    bytes_of(params(VectorElement::I8, 8), &clustered(12, 8, 60))
}

#[test]
fn no_flipped_byte_passes() {
    let good = small();
    assert!(opened(&good, 8).is_ok());
    let dir = tempfile::tempdir().unwrap();
    for at in 0..good.len() {
        for flip in [1 << (at % 8), 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let map = map_of(dir.path(), &bad);
            let error = Graph::open(map, Path::new(FILE), &expected(8))
                .err()
                .unwrap_or_else(|| panic!("byte {at} flipped by {flip:02x}"));
            assert!(
                matches!(&error, PulseDBError::Corrupted { file, .. } if file == Path::new(FILE)),
                "byte {at}: {error}"
            );
        }
    }
}

#[test]
fn no_other_length_passes() {
    let good = small();
    let dir = tempfile::tempdir().unwrap();
    for len in 0..good.len() {
        let map = map_of(dir.path(), &good[..len]);
        assert!(
            matches!(
                Graph::open(map, Path::new(FILE), &expected(8)),
                Err(PulseDBError::Corrupted { .. })
            ),
            "{len} bytes"
        );
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(opened(&longer, 8).is_err());
}

#[test]
fn foreign_files_are_told_from_damaged_ones() {
    let good = small();
    let reason = |bytes: &[u8], expected: &Expected| {
        let dir = tempfile::tempdir().unwrap();
        let map = map_of(dir.path(), bytes);
        match Graph::open(map, Path::new(FILE), expected) {
            Err(PulseDBError::Vector(what)) => what,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken"),
        }
    };
    let database = Expected {
        database: InstanceId::from_u128(8),
        ..expected(8)
    };
    assert!(reason(&good, &database).contains("another database"));
    let collective = Expected {
        collective: 4,
        ..expected(8)
    };
    assert!(reason(&good, &collective).contains("another collective"));
    assert!(reason(&good, &expected(9)).contains("another dimension"));

    let rewritten = |change: &dyn Fn(&mut GraphHeader)| {
        let mut header = GraphHeader::decode(&good).unwrap();
        change(&mut header);
        let mut bytes = good.clone();
        bytes[..GRAPH_HEADER_LEN].copy_from_slice(&header.encode());
        bytes
    };
    let older = rewritten(&|header| header.library = GraphHeader::library_name("2.25.1").unwrap());
    assert!(reason(&older, &expected(8)).contains("another version of usearch"));
    // What a checksum that was made to match does not hide.
    let denser = rewritten(&|header| header.params.connectivity = 17);
    assert!(reason(&denser, &expected(8)).contains("its head"));
    for change in [
        (|header| header.rows = 59) as fn(&mut GraphHeader),
        |header| header.covered.first = 1,
        |header| header.covered.end = 59,
        |header| header.params.element = VectorElement::F16,
        |header| header.graph_len -= 64,
    ] {
        assert!(matches!(
            opened(&rewritten(&change), 8),
            Err(PulseDBError::Corrupted { .. })
        ));
    }

    let mut newer = good.clone();
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..GRAPH_HEADER_LEN - 4]);
    newer[GRAPH_HEADER_LEN - 4..GRAPH_HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(
        opened(&newer, 8),
        Err(PulseDBError::Version { found: 2, .. })
    ));
    let mut magic = good;
    magic[0] = b'X';
    assert!(matches!(
        opened(&magic, 8),
        Err(PulseDBError::Corrupted { .. })
    ));
}

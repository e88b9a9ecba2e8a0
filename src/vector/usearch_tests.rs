//! Can the traps of usearch still be stepped into?
//!
//! Each was reproduced on the bare library. Some cannot even be written down here, and then the
//! nearest thing that can be seen is tested:
//!
//! - Searching, be it beside adding or by more threads than it has contexts: it is never asked to.
//! - Viewing a file that is then truncated or saved onto: it views none; it gets bytes to copy, and the
//!   file is written by others, beside its name, and no [`Vfs`] call shrinks one.
//! - Several threads adding, or adding beside saving: a builder is `&mut` to those that add.
//! - The key `u64::MAX`, which is never found: keys are rows, of 32 bits.
//! - Compacting: never called, because it would also part vectors from the order of rows.
//! - A save that is not synced or replaces a file in steps: it saves into memory.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
};

use super::{
    codes::QueryCode,
    elements::Encoder,
    file::CheckedFile,
    graph_tests::{
        FILE, asked, bytes_of, clustered, covered, expected, filtered, found, graph_of,
        inverse_norm, map_of, nearest, opened, params,
    },
    usearch::Growing,
    *,
};
use crate::{
    config::VectorElement,
    format::GraphParams,
    vfs::{OsVfs, Vfs},
};

const fn shared<T: Send + Sync>() {}
const _: () = shared::<Graph>();
const fn sent<T: Send>() {}
const _: () = sent::<GraphBuilder>();

#[test]
fn searches_do_not_see_each_other() {
    let vectors = clustered(20, 32, 2000);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    let answers: Vec<_> = vectors[..40].iter().map(|v| found(&graph, v, 32)).collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for (vector, answer) in vectors.iter().zip(&answers) {
                    assert_eq!(&found(&graph, vector, 32), answer);
                }
            });
        }
    });
}

#[test]
fn a_walk_finds_what_the_library_would() {
    let vectors = clustered(29, 48, 3000);
    let queries = clustered(30, 48, 60);
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let params = params(element, 48);
        let bytes = bytes_of(params, &vectors);
        let dir = tempfile::tempdir().unwrap();
        let file = CheckedFile::new(map_of(dir.path(), &bytes), Path::new(FILE), &expected(48));
        let library = Growing::copy_of(&file.unwrap(), 0).unwrap();
        let graph = opened(&bytes, 48).unwrap();
        let (mut ours, mut theirs) = (0, 0);
        for query in &queries {
            let truth = nearest(&vectors, query, 32);
            let right = |rows: &[u32]| rows.iter().filter(|row| truth.contains(row)).count();
            let rows: Vec<u32> = found(&graph, query, 32)
                .iter()
                .map(|(row, _)| *row)
                .collect();
            ours += right(&rows);
            let mut encoder = Encoder::new(GraphParams {
                unit: if element == VectorElement::I8 {
                    asked(query).measure().unit
                } else {
                    1.0
                },
                ..params
            });
            encoder.encode(query, inverse_norm(query)).unwrap();
            theirs += right(&library.nearest(encoder.elements(), 32));
        }
        assert!(
            ours * 1000 >= theirs * 995,
            "{element:?}: {ours} beside {theirs}"
        );
    }
}

#[test]
fn a_graph_is_extended_beside_its_searches() {
    let vectors = clustered(21, 32, 2000);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors[..1500]);
    let answer = found(&graph, &vectors[0], 32);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut builder = GraphBuilder::extending(&graph, 500).unwrap();
            for (row, vector) in vectors.iter().enumerate().skip(1500) {
                builder
                    .add(row as u32, vector, inverse_norm(vector))
                    .unwrap();
            }
            builder.finish(&covered(2000)).unwrap();
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..300 {
                    assert_eq!(found(&graph, &vectors[0], 32), answer);
                }
            });
        }
    });
}

#[test]
fn no_row_is_an_orphan() {
    let vectors = clustered(22, 32, 2000);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    for (row, vector) in vectors.iter().enumerate() {
        let answer = found(&graph, vector, 64);
        assert!(
            answer.iter().any(|(found, _)| *found as usize == row),
            "row {row}"
        );
    }
}

#[test]
fn rows_are_never_repeated_nor_out_of_order() {
    let mut builder = GraphBuilder::new(params(VectorElement::F32, 2), 4).unwrap();
    let vector = [0.6, 0.8];
    builder.add(5, &vector, 1.0).unwrap();
    for row in [5, 4, 0] {
        assert!(builder.add(row, &vector, 1.0).is_err());
    }
    builder.add(6, &vector, 1.0).unwrap();
    builder.add(u32::MAX - 1, &vector, 1.0).unwrap();
    let bytes = builder.finish(&covered(u32::MAX)).unwrap();
    let graph = opened(&bytes, 2).unwrap();
    let mut rows: Vec<u32> = (found(&graph, &vector, 9).iter())
        .map(|(row, _)| *row)
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [5, 6, u32::MAX - 1], "the greatest row is found, too");
}

#[test]
fn a_full_builder_says_so() {
    let mut builder = GraphBuilder::new(params(VectorElement::I8, 2), 3).unwrap();
    for row in 0..3 {
        builder.add(row, &[1.0, 0.0], 1.0).unwrap();
    }
    assert!(builder.add(3, &[1.0, 0.0], 1.0).is_err());
    assert_eq!(builder.last_row(), Some(2));
    assert!(builder.finish(&covered(3)).is_ok());
}

#[test]
fn vectors_without_a_direction_do_not_come_in() {
    let no_directions: &[(&[f32], f32)] = &[
        (&[f32::NAN, 1.0, 0.0], 1.0),
        (&[f32::INFINITY, 1.0, 0.0], 1.0),
        (&[f32::NEG_INFINITY, 0.0, 0.0], 1.0),
        (&[f32::INFINITY, 1.0, 0.0], 0.0),
        (&[0.0, 0.0, 0.0], 1.0),
        (&[0.0, 0.0, 0.0], f32::INFINITY),
        (&[1.0, 0.0, 0.0], f32::NAN),
        (&[1.0, 0.0, 0.0], 0.0),
        (&[3.0, 4.0, 0.0], 1.0),
        (&[1.0, 0.0], 1.0),
        (&[1.0, 0.0, 0.0, 0.0], 1.0),
        (&[], 1.0),
    ];
    let good = [0.0, 3.0, 4.0];
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let params = GraphParams {
            unit: 1.0 / 127.0,
            ..params(element, 3)
        };
        let mut builder = GraphBuilder::new(params, 2).unwrap();
        builder.add(0, &good, 0.2).unwrap();
        for (vector, inverse) in no_directions {
            assert!(
                builder.add(1, vector, *inverse).is_err(),
                "{vector:?} {inverse}"
            );
        }
        assert_eq!(builder.last_row(), Some(0));
        let graph = opened(&builder.finish(&covered(9)).unwrap(), 3).unwrap();
        let answer = found(&graph, &good, 1);
        assert!((answer[0].1 - 1.0).abs() < 0.01, "{element:?}: {answer:?}");
        // Whoever asks for such a vector learns nothing, and does no harm.
        for (vector, inverse) in no_directions.iter().filter(|(vector, _)| vector.len() == 3) {
            let query = QueryCode::new(vector.iter().map(|x| x * inverse).collect());
            let mut near = Vec::new();
            assert!(graph.search(&query, 1, |_| Some(true), &mut near).unwrap());
            assert_eq!(near[0].row, 0);
        }
    }
}

#[test]
fn vectors_of_extreme_length_have_a_direction() {
    let vectors = [
        vec![1e-38, 0.0, 0.0],
        vec![0.0, 1e38, 0.0],
        vec![0.0, 0.0, 1.0],
    ];
    let graph = graph_of(params(VectorElement::I8, 3), &vectors);
    for (row, vector) in vectors.iter().enumerate() {
        assert_eq!(found(&graph, vector, 1)[0].0 as usize, row);
    }
}

#[test]
fn a_huge_effort_is_that_of_all_rows() {
    let vectors = clustered(23, 32, 300);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    for ef in [301, 1 << 40, usize::MAX] {
        assert_eq!(found(&graph, &vectors[1], ef).len(), 300);
    }
}

#[test]
fn a_panicking_filter_harms_no_later_search() {
    let vectors = clustered(24, 32, 300);
    let graph = graph_of(params(VectorElement::I8, 32), &vectors);
    let before = found(&graph, &vectors[0], 20);
    let mut asked = 0;
    let accept = |_: u32| -> Option<bool> {
        asked += 1;
        assert!(asked < 5, "a filter's own mistake");
        Some(true)
    };
    let searching = AssertUnwindSafe(|| filtered(&graph, &vectors[0], 20, accept));
    assert!(catch_unwind(searching).is_err());
    for _ in 0..5 {
        assert_eq!(found(&graph, &vectors[0], 20), before);
    }
}

#[test]
fn a_file_may_lose_its_name_while_it_is_viewed() {
    let vectors = clustered(25, 32, 500);
    let dir = tempfile::tempdir().unwrap();
    let map = map_of(
        dir.path(),
        &bytes_of(params(VectorElement::I8, 32), &vectors),
    );
    let graph = Graph::open(map, Path::new(FILE), &expected(32)).unwrap();
    let before = found(&graph, &vectors[0], 20);
    // Another graph takes its name, and then nothing has it.
    drop(map_of(
        dir.path(),
        &bytes_of(params(VectorElement::I8, 32), &vectors[..9]),
    ));
    assert_eq!(found(&graph, &vectors[0], 20), before);
    OsVfs.remove(&dir.path().join(FILE)).unwrap();
    assert_eq!(found(&graph, &vectors[0], 20), before);
}

#[test]
fn a_graph_outlives_where_it_was_opened() {
    let vectors = clustered(26, 32, 500);
    let mut graphs: Vec<Graph> = (0..3)
        .map(|_| graph_of(params(VectorElement::I8, 32), &vectors))
        .collect();
    let before = found(&graphs[0], &vectors[0], 20);
    graphs.reverse();
    let boxed = Box::new(graphs.remove(1));
    let answer = thread::spawn(move || found(&boxed, &clustered(26, 32, 1)[0], 20));
    assert_eq!(answer.join().unwrap(), before);
    drop(graphs.remove(0));
    assert_eq!(found(&graphs[0], &vectors[0], 20), before);
}

#[test]
fn the_library_leaves_small_numbers_alone() {
    // It is compiled with -ffast-math; linked in the wrong way, that would make the whole process
    // take subnormal numbers for zero.
    let graph = graph_of(params(VectorElement::I8, 32), &clustered(27, 32, 50));
    found(&graph, &clustered(27, 32, 1)[0], 5);
    let half = std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(2.0);
    assert!(half > 0.0 && half * 2.0 == f32::MIN_POSITIVE);
}

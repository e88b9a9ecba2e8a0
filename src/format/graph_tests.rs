//! Are headers of graphs that can be laid out accepted, and all others refused?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::{
    config::VectorElement,
    model::{InstanceId, Lsn, Timeline},
};

prop_compose! {
    pub(super) fn graph()(
        (timeline, database, collective, first) in any::<(u32, u128, u32, u32)>(),
        (last_lsn, horizon, body_crc) in any::<(u64, u64, u32)>(),
        (rows, more) in (1u32..1 << 20, 0u32..1 << 20), beyond in 0u64..1 << 40,
        dimension in 1u16..=4096, connectivity in 2u16.., expansion_add in 1u16..,
        element in prop::sample::select(vec![VectorElement::I8, VectorElement::F16, VectorElement::F32]),
        unit in 1e-6f32..1.0, library in "[0-9.]{0,16}",
    ) -> GraphHeader {
        let first = first.min(u32::MAX - rows - more);
        let mut header = GraphHeader {
            covered: Covered {
                database: InstanceId::from_u128(database),
                timeline: Timeline::new(timeline),
                collective, first,
                end: first + rows + more,
                last_lsn: Lsn::new(last_lsn),
                horizon: Lsn::new(horizon),
            },
            params: GraphParams { dimension, element, connectivity, expansion_add, unit },
            rows,
            graph_len: 0,
            library: GraphHeader::library_name(&library).unwrap(),
            body_crc,
        };
        let vector = header.params.width() * element.bytes();
        header.graph_len = 8 + u64::from(rows) * vector as u64 + beyond;
        header
    }
}

proptest! {
    #[test]
    fn parts_of_a_graph_follow_each_other(graph in graph()) {
        let GraphLayout { graph: library, matrix, rows, errors } = graph.layout().unwrap();
        prop_assert!(library.start == GRAPH_HEADER_LEN as u64 && library.contains(&matrix.start));
        prop_assert!(matrix.start.is_multiple_of(64) && matrix.end <= library.end);
        prop_assert!(library.end <= rows.start && rows.start.is_multiple_of(64));
        prop_assert!(rows.end <= errors.start && errors.start.is_multiple_of(4));
        prop_assert_eq!(rows.end - rows.start, 4 * u64::from(graph.rows));
    }

    #[test]
    fn headers_of_graphs_that_cannot_be_are_refused(
        graph in graph(), which in 0..9, number in any::<u16>(),
    ) {
        let mut graph = graph;
        match which {
            0 => graph.rows = 0,
            1 => graph.covered.end = graph.covered.first + graph.rows - 1,
            2 => graph.covered.first = u32::MAX,
            3 => graph.params.dimension = if number <= 4096 { 0 } else { number },
            4 => graph.params.connectivity = number % 2,
            5 => graph.params.expansion_add = 0,
            6 => graph.params.unit = [0.0, -1.0, f32::NAN, f32::INFINITY][usize::from(number % 4)],
            7 => graph.graph_len = u64::MAX - u64::from(number % 64),
            _ => graph.graph_len = 7 + u64::from(graph.rows),
        }
        prop_assert!(matches!(GraphHeader::decode(&graph.encode()), Err(FileFault::Field(_))));
    }
}

//! What may cross into usearch, and when?
//!
//! usearch builds graphs and nothing else: walks read what it wrote themselves
//! ([`walk`](super::walk)). Its functions are safe by signature only: reserving beside a search, adding
//! from several threads, or loading bytes that are not a whole graph crashes the process or orphans
//! nodes. [`Growing`] makes that impossible to write down: it is added to and saved by one thread at a
//! time (`&mut`), never searched, and loads nothing but a [`CheckedFile`].
//!
//! It uses the library's plain index, whose metric is our kernel itself; loading a graph resets the
//! metric and the effort, so [`tuned`] is the only way to one.
//!
//! The library is compiled with `-ffast-math`, so its comparisons take every distance for finite:
//! the kernels give finite ones for what [`Encoder`](super::elements::Encoder) lets through.
#![allow(unsafe_code)]

use cxx::UniquePtr;
use usearch::ffi::{IndexOptions, MetricKind, NativeIndex, ScalarKind, new_native_index};

use super::{elements::Elements, file::CheckedFile};
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::GraphParams,
    simd,
};

/// The version that wrote, or may read, a graph.
#[must_use]
pub fn library_version() -> &'static str {
    usearch::version()
}

/// A graph that is being built.
pub struct Growing {
    index: UniquePtr<NativeIndex>,
}

// SAFETY: the index owns all that it points to, is bound to no thread, and its kernel is a plain
// function; so whoever owns it may hand it to another thread.
unsafe impl Send for Growing {}

impl Growing {
    /// An empty graph with room for `capacity` vectors.
    pub fn new(params: &GraphParams, capacity: usize) -> Result<Self> {
        let index = made(params)?;
        reserve(&index, capacity, 1)?;
        tuned(&index, params)?;
        Ok(Self { index })
    }

    /// A copy of the graph in `file` with room for `more` vectors.
    pub fn copy_of(file: &CheckedFile, more: usize) -> Result<Self> {
        let params = file.params();
        let index = made(params)?;
        reserve(&index, 0, 1)?;
        index
            .load_from_buffer(file.graph())
            .map_err(failed("copying"))?;
        expect_shape(&index, file)?;
        reserve(&index, index.size().saturating_add(more), 1)?;
        tuned(&index, params)?;
        Ok(Self { index })
    }

    /// Adds a vector under a key that is not in the graph yet.
    pub fn add(&mut self, key: u32, vector: &Elements) -> Result<()> {
        let key = u64::from(key);
        match vector {
            Elements::I8(codes) => self.index.add_i8(key, codes),
            Elements::F16(halves) => self.index.add_f16(key, halves),
            Elements::F32(numbers) => self.index.add_f32(key, numbers),
        }
        .map_err(failed("adding"))
    }

    /// Vectors in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.size()
    }

    /// Bytes that [`Self::save`] fills.
    #[must_use]
    pub fn saved_len(&self) -> usize {
        self.index.serialized_length()
    }

    /// Writes the graph into `out`.
    pub fn save(&self, out: &mut [u8]) -> Result<()> {
        if out.len() != self.saved_len() {
            return Err(PulseDBError::Vector(
                "the buffer is not as long as the graph".into(),
            ));
        }
        self.index.save_to_buffer(out).map_err(failed("saving"))
    }

    /// The keys that the library itself finds, beside which tests hold our walk.
    #[cfg(test)]
    pub fn nearest(&self, query: &Elements, count: usize) -> Vec<u32> {
        self.index.change_expansion_search(count);
        let found = match query {
            Elements::I8(codes) => self.index.search_i8(codes, count),
            Elements::F16(halves) => self.index.search_f16(halves, count),
            Elements::F32(numbers) => self.index.search_f32(numbers, count),
        };
        found.unwrap().keys.iter().map(|key| *key as u32).collect()
    }
}

fn made(params: &GraphParams) -> Result<UniquePtr<NativeIndex>> {
    new_native_index(&IndexOptions {
        dimensions: params.width(),
        // Replaced by our kernel before anything is measured; as a name it stands in the file.
        metric: MetricKind::IP,
        quantization: scalar(params.element),
        connectivity: usize::from(params.connectivity),
        expansion_add: usize::from(params.expansion_add),
        expansion_search: 1,
        multi: false,
    })
    .map_err(failed("making an index"))
}

fn reserve(index: &NativeIndex, capacity: usize, threads: usize) -> Result<()> {
    index
        .reserve_capacity_and_threads(capacity, threads)
        .map_err(failed("reserving memory"))
}

/// Sets what the library forgets whenever it opens a graph.
fn tuned(index: &NativeIndex, params: &GraphParams) -> Result<()> {
    let kernel = match params.element {
        VectorElement::I8 => simd::metric_i8(),
        VectorElement::F16 => simd::metric_f16(),
        VectorElement::F32 => simd::metric_f32(),
    };
    index.change_expansion_add(usize::from(params.expansion_add));
    // The kernel gets the addresses of two vectors of this index and, as its third argument, their
    // number of elements.
    index
        .change_metric(kernel as usize, params.width())
        .map_err(failed("setting the metric"))
}

/// Is what the library read what the header said?
fn expect_shape(index: &NativeIndex, file: &CheckedFile) -> Result<()> {
    let params = file.params();
    let fits = index.size() == file.rows().len()
        && index.dimensions() == params.width()
        && index.scalar_kind() == scalar(params.element)
        && index.connectivity() == usize::from(params.connectivity)
        && !index.multi();
    if fits {
        Ok(())
    } else {
        Err(PulseDBError::Vector(
            "the graph is not the one that its header tells of".into(),
        ))
    }
}

const fn scalar(element: VectorElement) -> ScalarKind {
    match element {
        VectorElement::I8 => ScalarKind::I8,
        VectorElement::F16 => ScalarKind::F16,
        VectorElement::F32 => ScalarKind::F32,
    }
}

fn failed(what: &'static str) -> impl FnOnce(cxx::Exception) -> PulseDBError {
    move |error| PulseDBError::Vector(format!("{what}: {}", error.what()))
}

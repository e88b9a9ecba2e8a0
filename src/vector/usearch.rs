//! What may cross into usearch, and when?
//!
//! usearch's own functions are safe by signature only: reserving beside a search, changing what is
//! searched, or viewing bytes that are not a whole graph crashes the process. Two types make that
//! impossible to write down:
//!
//! - [`Growing`] can be added to and saved, by one thread at a time (`&mut`), and never searched.
//! - [`Frozen`] can be searched by any number of threads, and never changed. It views a
//!   [`CheckedFile`], which it owns.
//!
//! Both go to the library's plain index, whose metric is our kernel itself; opening a graph resets
//! the metric, the effort and the contexts of the threads, so [`tuned`] is the only way to either.
//!
//! The library is compiled with `-ffast-math`, so its comparisons take every distance for finite:
//! the kernels give finite ones for what [`Encoder`](super::elements::Encoder) lets through.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use cxx::UniquePtr;
use usearch::ffi::{IndexOptions, Matches, MetricKind, NativeIndex, ScalarKind, new_native_index};

use super::{elements::Elements, file::CheckedFile, slots::Slots};
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

    /// A copy of `graph` with room for `more` vectors.
    pub fn copy_of(graph: &Frozen, more: usize) -> Result<Self> {
        let params = graph.file.params();
        let index = made(params)?;
        reserve(&index, 0, 1)?;
        index
            .load_from_buffer(graph.file.graph())
            .map_err(failed("copying"))?;
        expect_shape(&index, &graph.file)?;
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
}

/// A graph that is searched.
pub struct Frozen {
    // Points into the bytes of `file`. Fields are dropped in their order, so it goes first.
    index: UniquePtr<NativeIndex>,
    file: CheckedFile,
    slots: Slots,
}

// SAFETY: see `Growing` for the index. The bytes that it points to are those of the map in `file`,
// which lies in the same value, keeps its bytes where they are when it is moved, and is `Send`.
unsafe impl Send for Frozen {}
// SAFETY: behind `&Frozen` the index is only searched and asked for its size. A search writes to
// nothing but the context that it took, under the library's lock, from those reserved at the open;
// nodes and vectors lie in a read-only map. Nothing that reserves, adds, removes or changes the metric
// can be reached from here.
unsafe impl Sync for Frozen {}

impl Frozen {
    /// Views the graph in `file`, for so many searches at once.
    pub fn view(file: CheckedFile, slots: usize) -> Result<Self> {
        let slots = slots.max(1);
        let index = made(file.params())?;
        // Without room for anything, this only notes the number of contexts for the view to make.
        reserve(&index, 0, slots)?;
        index
            .view_from_buffer(file.graph())
            .map_err(failed("viewing"))?;
        expect_shape(&index, &file)?;
        tuned(&index, file.params())?;
        Ok(Self {
            index,
            file,
            slots: Slots::new(slots),
        })
    }

    /// Appends the `count` nearest of the accepted keys with their distances, nearest first. Waits
    /// while all slots are taken; `accept` must not search the same graph.
    pub fn search(
        &self,
        query: &Elements,
        count: usize,
        accept: Option<&dyn Fn(u32) -> bool>,
        mut found: impl FnMut(u32, f32),
    ) -> Result<()> {
        // The library allocates for `count` before it looks at its size, and ends the process if
        // that fails.
        let count = count.clamp(1, self.rows().max(1));
        let matches = {
            let _permit = self.slots.enter();
            match accept {
                None => self.search_all(query, count)?,
                Some(accept) => self.search_accepted(query, count, accept)?,
            }
        };
        for (key, distance) in matches.keys.iter().zip(&matches.distances) {
            if let Ok(key) = u32::try_from(*key) {
                found(key, *distance);
            }
        }
        Ok(())
    }

    fn search_all(&self, query: &Elements, count: usize) -> Result<Matches> {
        match query {
            Elements::I8(codes) => self.index.search_i8(codes, count),
            Elements::F16(halves) => self.index.search_f16(halves, count),
            Elements::F32(numbers) => self.index.search_f32(numbers, count),
        }
        .map_err(failed("searching"))
    }

    fn search_accepted(
        &self,
        query: &Elements,
        count: usize,
        accept: &dyn Fn(u32) -> bool,
    ) -> Result<Matches> {
        let filter = Filter {
            accept,
            panicked: Cell::new(false),
        };
        let call = admit as extern "C" fn(u64, usize) -> bool as usize;
        let state = ptr::from_ref(&filter).expose_provenance();
        let index = &self.index;
        let matches = match query {
            Elements::I8(codes) => index.filtered_search_i8(codes, count, call, state),
            Elements::F16(halves) => index.filtered_search_f16(halves, count, call, state),
            Elements::F32(numbers) => index.filtered_search_f32(numbers, count, call, state),
        };
        if filter.panicked.get() {
            return Err(PulseDBError::Vector(
                "the filter of a search panicked".into(),
            ));
        }
        matches.map_err(failed("searching"))
    }

    /// Vectors in it.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.index.size()
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &CheckedFile {
        &self.file
    }

    /// Bytes on the heap: contexts, and per row the addresses of its node and its vector and a place
    /// in a table of keys (16 bytes each, half to three quarters full), which the library fills at
    /// each open.
    #[must_use]
    pub fn heap(&self) -> u64 {
        let rows = self.rows();
        let table = (rows + rows / 2).next_power_of_two().saturating_mul(16);
        (self.index.memory_usage())
            .saturating_add(rows.saturating_mul(size_of::<usize>()))
            .saturating_add(table) as u64
    }
}

/// What [`admit`] is called with.
struct Filter<'a> {
    accept: &'a dyn Fn(u32) -> bool,
    panicked: Cell<bool>,
}

/// Asks a filter about a key, on behalf of the library. No panic passes: the library's frames cannot
/// be unwound, and the process would end. After one, everything is accepted, so that the search soon
/// has as many as it wants; its answer is thrown away.
extern "C" fn admit(key: u64, filter: usize) -> bool {
    // SAFETY: `filter` is the exposed address of a `Filter` on the stack of `search_accepted`, which
    // waits there, on this very thread, until the library has returned; nobody else has the address,
    // and there are only shared references to it.
    let filter = unsafe { &*ptr::with_exposed_provenance::<Filter<'_>>(filter) };
    if filter.panicked.get() {
        return true;
    }
    let Ok(key) = u32::try_from(key) else {
        return false;
    };
    catch_unwind(AssertUnwindSafe(|| (filter.accept)(key))).unwrap_or_else(|_| {
        filter.panicked.set(true);
        true
    })
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

/// Sets what the library forgets whenever it opens a graph. The effort of a search is the number of
/// candidates that it is asked for, so the library's own is the least.
fn tuned(index: &NativeIndex, params: &GraphParams) -> Result<()> {
    let kernel = match params.element {
        VectorElement::I8 => simd::metric_i8(),
        VectorElement::F16 => simd::metric_f16(),
        VectorElement::F32 => simd::metric_f32(),
    };
    index.change_expansion_search(1);
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

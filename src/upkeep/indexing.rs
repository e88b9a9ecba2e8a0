//! Who builds the graphs, and when?
//!
//! A few threads beside the commits, each at one collective at a time. They look at every collective
//! now and then, ask [`merge::next`] what is most useful, build it from the mapped log, write the
//! file, and put the graph in its place. Searches go on with what was there before.
//!
//! Nobody in the commit path waits for these threads, and they wait for nobody there: they read
//! published snapshots like any reader. So neither can hold up the other; when they fall behind, or
//! fail, only the admission of new vectors waits. Therefore a tail that is half of what may be is turned into a
//! graph even in a pause of upkeep, and at full speed.
//!
//! An open does not wait for the graphs of earlier sessions either. Checking their files takes as long
//! as reading them; whoever needs them first, a thread of these or a search, does it, and the others
//! wait. A search that went on without them would read every vector of the log instead.

mod adopt;
mod source;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    config::HnswConfig,
    error::{PulseDBError, Result},
    format::{Covered, GraphParams},
    log::SegmentSet,
    model::{InstanceId, Lsn, UpkeepTask},
    protocol::stop::Latch,
    state::{Snapshot, Table},
    sync::{Arc, OnceLock},
    telemetry::{Operation, Telemetry, Told},
    upkeep::task::{Asked, Run as UpkeepRun, Tasks},
    vector::{
        Expected, Graph, GraphBuilder,
        index::IndexedGraph,
        merge::{self, Job, Run, Thresholds},
        store::GraphFiles,
    },
};

use source::Source;

/// What the threads read from.
type View = Snapshot<Arc<SegmentSet>>;

/// How often a thread looks for work.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often a thread passes by a collective whose last build failed: at [`INTERVAL`], ten seconds.
const PASSES_AFTER_FAILURE: u32 = 200;

/// A graph is not extended with codes whose best step is further from its own than this.
const UNIT_DRIFT: f32 = 1.25;

/// Rows between two looks at whether to go on.
const ROWS_BETWEEN_LOOKS: u32 = 64;

/// The builders' shared state.
pub struct Indexing {
    files: GraphFiles,
    database: InstanceId,
    /// Parameters of new graphs, and when to build them.
    hnsw: HnswConfig,
    /// Whether files that are of no use are removed.
    writing: bool,
    tasks: Arc<Tasks>,
    /// Set when the graphs of earlier sessions are in place.
    loaded: OnceLock<()>,
    state: Mutex<State>,
    bell: Condvar,
    ended: Latch<()>,
    telemetry: Arc<Telemetry>,
    /// Told after every change of an index.
    changed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Threads that have not ended.
    threads: usize,
    ended: bool,
    /// Collectives that a thread is at.
    busy: HashSet<u32>,
    /// Collectives to be built anew, and who waits for it.
    asked: HashMap<u32, Vec<Arc<Latch<Result<()>>>>>,
    /// Collectives to be passed by so many times.
    failed: HashMap<u32, u32>,
    /// Which vectors each collective had when it was last looked at.
    epochs: HashMap<u32, Lsn>,
}

/// What a thread does next.
struct Task {
    table: Arc<Table>,
    job: Job,
    waiting: Vec<Arc<Latch<Result<()>>>>,
}

impl Indexing {
    /// Nothing to do yet. Who is not `writing` leaves files that are of no use where they are.
    pub fn new(
        files: GraphFiles,
        database: InstanceId,
        hnsw: HnswConfig,
        writing: bool,
        tasks: Arc<Tasks>,
        telemetry: Arc<Telemetry>,
        changed: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            files,
            database,
            hnsw,
            writing,
            tasks,
            loaded: OnceLock::new(),
            state: Mutex::default(),
            bell: Condvar::new(),
            ended: Latch::default(),
            telemetry,
            changed,
        }
    }

    /// Sees to it that the graphs that earlier sessions left are in place; the first call takes its
    /// time.
    pub fn make_loaded(&self, view: &View) {
        self.loaded.get_or_init(|| {
            if let Err(error) = self.load(view) {
                tracing::warn!(%error, "the vector index cannot be read; it will be built again");
            }
        });
    }

    /// Maps the graphs that earlier sessions left, as far as they are whole and fit the tables.
    /// What does not is removed by a writer, and built again in time.
    fn load(&self, view: &View) -> Result<()> {
        let mut found: HashMap<u32, Vec<Graph>> = HashMap::new();
        let mut useless = Vec::new();
        for name in self.files.list()? {
            match self.open(view, &name) {
                Ok(graph) => found
                    .entry(graph.covered().collective)
                    .or_default()
                    .push(graph),
                Err(error) => {
                    if GraphFiles::is_finished(&name) {
                        tracing::warn!(%error, name, "an index file is of no use; it will be built again");
                    }
                    useless.push(name);
                }
            }
        }
        for (number, mut graphs) in found {
            let Some(table) = view.tables.get(number) else {
                continue;
            };
            let rows = table.rows(view.lsn());
            // The widest first of those that begin at the same row: a crash may leave the parts
            // beside the whole.
            graphs.sort_by_key(|graph| (graph.covered().first, u32::MAX - graph.covered().end));
            let (mut place, mut end) = (0, 0);
            for graph in graphs {
                let covered = *graph.covered();
                let gap_is_empty =
                    || (end..covered.first).all(|row| !rows.is_needed(row, table.horizon()));
                if covered.first >= end && gap_is_empty() {
                    end = covered.end;
                    let graph = Source::new(view, table).counted(graph);
                    table
                        .vectors
                        .replace(place..place, Some(Arc::new(graph)), end);
                    place += 1;
                } else {
                    useless.push(GraphFiles::name(&covered));
                }
            }
        }
        if self.writing {
            for name in useless {
                self.files.remove(&name);
            }
        }
        Ok(())
    }

    fn open(&self, view: &View, name: &str) -> Result<Graph> {
        let unknown = || PulseDBError::Vector(format!("{name} belongs to no collective"));
        let number = name
            .split_once('-')
            .and_then(|(number, _)| number.parse().ok());
        let table = number
            .filter(|_| GraphFiles::is_finished(name))
            .and_then(|number| view.tables.get(number))
            .ok_or_else(unknown)?;
        let graph = self.graph(table, name, self.files.map(name)?)?;
        // A power cut in `Fast` mode may have taken rows back, whose numbers others got since. LSNs
        // are never given twice, so the last row tells.
        let last = graph.rows().last().copied();
        let rows = table.rows(view.lsn());
        let lsn = last
            .and_then(|last| rows.filled(last))
            .map(|row| table.vector_lsn(&row));
        // Where nobody knows that row any more, the graph may be of vectors from before a re-embedding.
        let last_lsn = graph.covered().last_lsn;
        let still_there = lsn.map_or(last_lsn > table.since(), |lsn| lsn == last_lsn);
        if name == GraphFiles::name(graph.covered())
            && graph.covered().end <= table.row_count()
            && still_there
        {
            Ok(graph)
        } else {
            Err(PulseDBError::Vector(format!(
                "{name} is about rows that are not there"
            )))
        }
    }

    fn graph(&self, table: &Table, name: &str, map: crate::vfs::Map) -> Result<Graph> {
        let expected = Expected {
            database: self.database,
            collective: table.number,
            dimension: table.dimension,
        };
        Graph::open(map, &self.files.path(name), &expected)
    }

    /// Whether new vectors of this collective may be admitted.
    pub fn has_room(&self, table: &Table) -> bool {
        self.tail_bytes(table) <= self.hnsw.max_tail_bytes as u64
    }

    /// Bytes of the codes of the rows that are to come into a graph.
    pub fn tail_bytes(&self, table: &Table) -> u64 {
        let (rows, indexed) = (table.row_count(), table.vectors.indexed());
        // Nothing is being built for it, so there is nothing to wait for.
        if indexed == 0 && rows < self.hnsw.first_graph_rows {
            return 0;
        }
        tail_bytes(table)
    }

    /// Whether new vectors of this collective may have to wait soon.
    fn presses(&self, table: &Table) -> bool {
        self.tail_bytes(table) > self.hnsw.max_tail_bytes as u64 / 2
    }

    /// Has the graphs of a collective built anew; the latch opens when they are in place.
    pub fn rebuild(&self, table: &Table) -> Arc<Latch<Result<()>>> {
        let latch = Arc::new(Latch::default());
        let mut state = self.state.lock();
        if state.ended || state.threads == 0 {
            latch.open(Err(PulseDBError::Closed));
        } else {
            state
                .asked
                .entry(table.number)
                .or_default()
                .push(Arc::clone(&latch));
            state.failed.remove(&table.number);
            self.bell.notify_one();
        }
        latch
    }

    /// Ends the threads.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        if state.threads == 0 {
            self.ended.open(());
        }
        self.bell.notify_all();
    }

    /// Waits until no thread touches a file any more.
    pub async fn ended(&self) {
        self.ended.wait().await;
    }

    /// A thread is about to run.
    pub fn add_thread(&self) {
        self.state.lock().threads += 1;
    }

    /// The life of a thread that was added before. `view` tells the newest snapshot.
    pub fn run(&self, view: impl Fn() -> Option<Arc<View>>) {
        let _leave = Leave(self);
        while !self.state.lock().ended {
            let Some(view) = view() else {
                return;
            };
            if self.loaded.get().is_none() {
                self.make_loaded(&view);
                (self.changed)();
            }
            let Some(task) = self.next(&view) else {
                drop(view);
                let mut state = self.state.lock();
                if !state.ended {
                    self.bell.wait_for(&mut state, INTERVAL);
                }
                continue;
            };
            let _done = Done(self, task.table.number);
            let asked = match &task.waiting {
                waiting if !waiting.is_empty() => Asked::ByCall,
                _ if self.presses(&task.table) => Asked::Pressing,
                _ => Asked::ByItself,
            };
            let rows = task.job.rows.len() as u64;
            let call = self.telemetry.begin(Operation::IndexBuild);
            let run = self.tasks.begin(UpkeepTask::Graphs, asked, rows);
            let built = run.during(|run| self.build(run, view, &task.table, &task.job));
            let built = call.end_in_background(built, Told::default());
            if let Err(error) = &built
                && !matches!(error, PulseDBError::Closed)
            {
                tracing::warn!(%error, collective = task.table.number, "a graph could not be built");
                self.state
                    .lock()
                    .failed
                    .insert(task.table.number, PASSES_AFTER_FAILURE);
            }
            for latch in &task.waiting {
                latch.open(built.clone());
            }
            (self.changed)();
        }
    }

    /// The next thing to do, taken.
    fn next(&self, view: &View) -> Option<Task> {
        let mut state = self.state.lock();
        let state = &mut *state;
        for table in view.tables.iter().filter(|table| table.dimension > 0) {
            let number = table.number;
            if state.busy.contains(&number) {
                continue;
            }
            // Nobody is at it, so no file of it is on its way.
            let known = state.epochs.entry(number).or_insert(table.epoch);
            if *known > table.epoch {
                // This thread looks at a snapshot from before a re-embedding.
                continue;
            }
            if *known < table.epoch {
                *known = table.epoch;
                self.remove_former(table);
            }
            let waiting = state.asked.remove(&number);
            if waiting.is_none()
                && let Some(passes) = state.failed.get_mut(&number)
            {
                *passes = passes.saturating_sub(1);
                if *passes > 0 {
                    continue;
                }
                state.failed.remove(&number);
            }
            if let Some(job) = self.job(view, table, waiting.is_some()) {
                state.busy.insert(number);
                return Some(Task {
                    table: Arc::clone(table),
                    job,
                    waiting: waiting.unwrap_or_default(),
                });
            }
            for latch in waiting.into_iter().flatten() {
                latch.open(Ok(()));
            }
        }
        state
            .epochs
            .retain(|number, _| view.tables.get(*number).is_some());
        // Whoever asks for a collective that is gone has nothing to wait for.
        state.asked.retain(|number, waiting| {
            let there = view.tables.get(*number).is_some();
            if !there {
                waiting.iter().for_each(|latch| latch.open(Ok(())));
            }
            there
        });
        None
    }

    fn job(&self, view: &View, table: &Table, anew: bool) -> Option<Job> {
        let hnsw = &self.hnsw;
        let thresholds = Thresholds {
            first_graph: hnsw.first_graph_rows,
            tail: hnsw.tail_rows,
        };
        let index = table.vectors.state();
        if index.graphs.is_empty() && table.row_count() - index.indexed < thresholds.first_graph {
            return None;
        }
        let end = table.end_at(view.lsn());
        let runs: Vec<Run> = index.graphs.iter().map(|one| one.run()).collect();
        if anew {
            return Some(merge::everything(&runs, end));
        }
        if self.tasks.is_paused() && !self.presses(table) {
            return None;
        }
        merge::next(&runs, index.indexed, end, &thresholds)
    }

    fn build(
        &self,
        run: &mut UpkeepRun<'_>,
        view: Arc<View>,
        table: &Table,
        job: &Job,
    ) -> Result<()> {
        let index = table.vectors.state();
        let source = Source::new(&view, table);
        let timeline = view.cursor.timeline;
        // A build takes long, and a snapshot that is held keeps old versions and deleted rows alive.
        drop(view);
        let replaced: Vec<Arc<IndexedGraph>> = index
            .graphs
            .get(job.replaces.clone())
            .unwrap_or_default()
            .to_vec();
        let base = replaced.first().filter(|_| job.extends);
        let mut builder = match base {
            Some(one) if still_fits(&one.graph, &source, job) => {
                let more = job.rows.end - one.graph.covered().end;
                GraphBuilder::extending(&one.graph, more as usize)?
            }
            _ => {
                let params = GraphParams {
                    dimension: table.dimension,
                    element: self.hnsw.element,
                    connectivity: self.hnsw.connectivity,
                    expansion_add: self.hnsw.ef_construction,
                    unit: source.unit(job.rows.clone(), self.hnsw.element),
                };
                let rows = job.rows.end - job.rows.start;
                GraphBuilder::new(params, rows as usize)?
            }
        };
        let from = builder.last_row().map_or(job.rows.start, |last| last + 1);
        run.advance(u64::from(from - job.rows.start));
        for row in from..job.rows.end {
            if row.is_multiple_of(ROWS_BETWEEN_LOOKS) {
                run.pace(0)?;
                run.advance(u64::from(ROWS_BETWEEN_LOOKS));
            }
            if let Some((vector, inverse_norm)) = source.vector(row)? {
                builder.add(row, &vector, inverse_norm)?;
            }
        }
        let Some(last) = builder.last_row() else {
            table
                .vectors
                .replace(job.replaces.clone(), None, job.rows.end);
            self.remove_all_but(&replaced, None);
            return Ok(());
        };
        let covered = Covered {
            database: self.database,
            timeline,
            collective: table.number,
            first: job.rows.start,
            end: job.rows.end,
            last_lsn: source
                .rows
                .filled(last)
                .map_or(Lsn::ZERO, |row| table.vector_lsn(&row)),
            horizon: source.horizon,
        };
        let name = GraphFiles::name(&covered);
        let bytes = builder.finish(&covered)?;
        let map_bytes = bytes.len() as u64;
        let map = self.files.write(&name, &bytes)?;
        drop(bytes);
        let graph = source.counted(self.graph(table, &name, map)?);
        table
            .vectors
            .replace(job.replaces.clone(), Some(Arc::new(graph)), job.rows.end);
        self.remove_all_but(&replaced, Some(&name));
        // It is in its place, whoever wants to stop now.
        let _ = run.pace(map_bytes);
        Ok(())
    }

    /// Removes the graphs of a collective that has been re-embedded. Who still searches them has them
    /// mapped; what stays, since that failed, is of no use to the next open.
    fn remove_former(&self, table: &Table) {
        let index = table.vectors.state();
        let present = |name: &String| {
            let mut graphs = index.graphs.iter();
            graphs.any(|one| GraphFiles::name(one.graph.covered()) == *name)
        };
        let own = format!("{}-", table.number);
        let names = self.files.list().unwrap_or_default();
        let former = names
            .iter()
            .filter(|name| name.starts_with(&own) && !present(name));
        former.for_each(|name| self.files.remove(name));
    }

    fn remove_all_but(&self, graphs: &[Arc<IndexedGraph>], kept: Option<&str>) {
        for one in graphs {
            let name = GraphFiles::name(one.graph.covered());
            if kept != Some(&name) {
                self.files.remove(&name);
            }
        }
    }
}

/// Bytes of the codes of rows that are in no graph.
fn tail_bytes(table: &Table) -> u64 {
    u64::from(table.tail_rows()) * merge::tail_row_bytes(table.dimension)
}

/// Whether the codes of a graph suit the rows that it is to take in.
fn still_fits(graph: &Graph, source: &Source<'_>, job: &Job) -> bool {
    let params = graph.params();
    let unit = source.unit(graph.covered().end..job.rows.end, params.element);
    unit <= params.unit * UNIT_DRIFT && unit >= params.unit / UNIT_DRIFT
}

/// Takes a thread off the list however it ends: nobody may wait for ever for one that panicked.
struct Leave<'a>(&'a Indexing);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads = state.threads.saturating_sub(1);
        if state.threads == 0 {
            state.ended = true;
            for latch in state.asked.drain().flat_map(|(_, waiting)| waiting) {
                latch.open(Err(PulseDBError::Closed));
            }
            self.0.ended.open(());
        }
    }
}

/// Lets other threads at a collective again.
struct Done<'a>(&'a Indexing, u32);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy.remove(&self.1);
    }
}

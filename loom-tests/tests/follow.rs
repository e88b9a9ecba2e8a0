//! Does a reader in another process see every commit, and none before it is durable, across a roll?
//!
//! What the two share are files, not memory of ours, so the files are modelled: frames that become
//! durable, a manifest that is replaced whole, and `TAIL`, which are written in the order of
//! `LogWriter::roll` and `LogWriter::publish_tail`, and read in that of `Follower::look`. The reader's
//! tables, its snapshots and their publication are the shipped ones; a third thread reads them.
//!
//! Mutations of the order below, each tried, each makes `a_reader_follows_a_roll` fail:
//! - `Files::commit` below, as a writer that rolls, names the new segment after it has written `TAIL`;
//! - `Following::look` below reads the manifest before `TAIL`.

use std::sync::Arc;

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use pulsedb::Lsn;
use pulsedb_loom_tests::{
    explore,
    tables::{Writer, record, walk},
};

/// The files of a database, as another process sees them.
struct Files {
    /// The LSNs of the frames of each segment.
    segments: [Mutex<Vec<u64>>; 2],
    /// How many of the segments the manifest names.
    manifest: AtomicU64,
    tail: AtomicU64,
}

impl Files {
    /// A commit of two records into a segment, which the manifest may not name yet.
    fn commit(&self, segment: usize, lsns: [u64; 2]) {
        self.manifest
            .fetch_max(segment as u64 + 1, Ordering::SeqCst);
        for lsn in lsns {
            self.segments[segment].lock().unwrap().push(lsn);
        }
        self.tail.store(lsns[1], Ordering::SeqCst);
    }
}

/// The thread of a reader.
struct Following {
    files: Arc<Files>,
    writer: Writer,
}

impl Following {
    fn look(&mut self) {
        let tail = self.files.tail.load(Ordering::SeqCst);
        let named = self.files.manifest.load(Ordering::SeqCst) as usize;
        let applied = self.writer.lsn().get();
        if tail <= applied {
            return;
        }
        let mut found = Vec::new();
        for segment in &self.files.segments[..named] {
            let lsns = segment.lock().unwrap();
            found.extend(
                lsns.iter()
                    .copied()
                    .filter(|lsn| (applied + 1..=tail).contains(lsn)),
            );
        }
        let expected: Vec<u64> = (applied + 1..=tail).collect();
        assert_eq!(
            found, expected,
            "the manifest does not lead to what TAIL names"
        );
        let mutations: Vec<fn(u64) -> _> = found
            .iter()
            .map(|_| (|lsn| record(lsn as u32 - 2, lsn)) as fn(u64) -> _)
            .collect();
        self.writer.apply(&mutations);
        self.writer.publish();
    }
}

#[test]
fn a_reader_follows_a_roll() {
    explore(|| {
        let files = Arc::new(Files {
            segments: [Mutex::default(), Mutex::default()],
            manifest: AtomicU64::new(1),
            tail: AtomicU64::new(1),
        });
        // LSN 1 defined the collective.
        let (writer, published) = Writer::new(0);
        let mut following = Following {
            files: Arc::clone(&files),
            writer,
        };
        let writing = thread::spawn(move || {
            files.commit(0, [2, 3]);
            files.commit(1, [4, 5]);
        });
        let reading = thread::spawn(move || {
            let mut last = Lsn::ZERO;
            for _ in 0..2 {
                let view = published.load().expect("nobody clears it");
                assert!(view.lsn() >= last, "time went backwards");
                last = view.lsn();
                let rows = walk(&view).len() as u64;
                assert!([1, 3, 5].contains(&last.get()), "{last} is inside a commit");
                assert_eq!(rows, last.get() - 1);
            }
        });
        following.look();
        following.look();
        writing.join().unwrap();
        following.look();
        assert_eq!(following.writer.lsn(), Lsn::new(5));
        reading.join().unwrap();
    });
}

//! Which names exist, and which of them would a crash leave?
//!
//! Paths are kept without a root, so that `/db` and `db` are the same and the root is the empty path.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::Survival;
use crate::env::SplitMix;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Dir,
    File(u64),
}

pub(super) type Table = BTreeMap<PathBuf, Entry>;

/// A change of a directory: the names it takes away and gives, in one step.
#[derive(Clone, Debug)]
struct Change {
    dir: PathBuf,
    removed: Option<PathBuf>,
    added: Option<(PathBuf, Entry)>,
}

impl Change {
    fn apply(self, table: &mut Table) {
        if let Some(path) = self.removed {
            table.remove(&path);
        }
        if let Some((path, entry)) = self.added {
            table.insert(path, entry);
        }
    }
}

/// The names as seen and as stored.
#[derive(Debug, Default)]
pub(super) struct Names {
    volatile: Table,
    durable: Table,
    unsynced: Vec<Change>,
}

impl Names {
    /// Names that are all durable.
    pub(super) fn durable(table: Table) -> Self {
        Self {
            volatile: table.clone(),
            durable: table,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn get(&self, path: &Path) -> Option<Entry> {
        if path.as_os_str().is_empty() {
            return Some(Entry::Dir);
        }
        self.volatile.get(path).copied()
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.get(path) == Some(Entry::Dir)
    }

    /// The names of the files in `dir`, sorted.
    pub(super) fn files_in(&self, dir: &Path) -> Vec<String> {
        self.volatile
            .iter()
            .filter(|(path, entry)| matches!(entry, Entry::File(_)) && parent(path) == dir)
            .filter_map(|(path, _)| path.file_name()?.to_str().map(str::to_owned))
            .collect()
    }

    pub(super) fn add(&mut self, path: PathBuf, entry: Entry) {
        self.change(Change {
            dir: parent(&path).to_owned(),
            removed: None,
            added: Some((path, entry)),
        });
    }

    pub(super) fn remove(&mut self, path: PathBuf) {
        self.change(Change {
            dir: parent(&path).to_owned(),
            removed: Some(path),
            added: None,
        });
    }

    pub(super) fn rename(&mut self, from: PathBuf, to: PathBuf, entry: Entry) {
        self.change(Change {
            dir: parent(&from).to_owned(),
            removed: Some(from),
            added: Some((to, entry)),
        });
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.volatile);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self, dir: &Path) {
        for change in self.take_unsynced(dir) {
            change.apply(&mut self.durable);
        }
    }

    /// A failed sync: the changes stay visible and will never be stored.
    pub(super) fn forget_unsynced(&mut self, dir: &Path) {
        drop(self.take_unsynced(dir));
    }

    fn take_unsynced(&mut self, dir: &Path) -> Vec<Change> {
        self.unsynced
            .extract_if(.., |change| change.dir == dir)
            .collect()
    }

    /// The files that some name stands for, or could stand for after a crash.
    pub(super) fn files(&self) -> BTreeSet<u64> {
        let unsynced = self
            .unsynced
            .iter()
            .filter_map(|change| change.added.as_ref());
        self.volatile
            .values()
            .chain(self.durable.values())
            .chain(unsynced.map(|(_, entry)| entry))
            .filter_map(|entry| file(*entry))
            .collect()
    }

    /// The files that can be opened now.
    pub(super) fn visible_files(&self) -> BTreeSet<u64> {
        let entries = self.volatile.values();
        entries.filter_map(|entry| file(*entry)).collect()
    }

    /// The paths of the files that can be opened now.
    pub(super) fn visible_paths(&self) -> Vec<(PathBuf, u64)> {
        let entries = self.volatile.iter();
        entries
            .filter_map(|(path, entry)| Some((path.clone(), file(*entry)?)))
            .collect()
    }

    /// The names that a crash leaves.
    pub(super) fn survivors(&self, survival: Survival, random: &mut SplitMix) -> Table {
        let mut table = self.durable.clone();
        let dirs: BTreeSet<&Path> = self.unsynced.iter().map(|c| c.dir.as_path()).collect();
        for dir in dirs {
            let changes = || self.unsynced.iter().filter(|change| change.dir == dir);
            let kept = match survival {
                Survival::KeepAll => changes().count(),
                Survival::DropAll => 0,
                Survival::Random { .. } => random.below(changes().count() as u64 + 1) as usize,
            };
            for change in changes().take(kept) {
                change.clone().apply(&mut table);
            }
        }
        // What lies in a lost directory is lost with it. Parents sort before their children.
        let mut dirs = BTreeSet::from([PathBuf::new()]);
        table.retain(|path, entry| {
            let reachable = dirs.contains(parent(path));
            if reachable && *entry == Entry::Dir {
                dirs.insert(path.clone());
            }
            reachable
        });
        table
    }
}

const fn file(entry: Entry) -> Option<u64> {
    match entry {
        Entry::File(id) => Some(id),
        Entry::Dir => None,
    }
}

/// `path` as it is kept here.
pub(super) fn key(path: &Path) -> PathBuf {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    names.collect()
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

//! What does the next start find after a crash?

use std::{collections::BTreeMap, ops::Range};

use super::{
    Survival,
    image::{Image, pieces},
    inode::{Change, Inode},
    names::{Entry, Names},
    world::World,
};
use crate::env::SplitMix;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Old bytes show in at most so many bytes of a file: enough for any frame, bounded for the machine.
const STALE_BYTES_MAX: u64 = 1 << 20;

/// Ends `world` and makes the one that follows it.
pub(super) fn survivors(world: &mut World, survival: Survival) -> World {
    world.faults.crashed = true;
    let mut next = World::new(world.random.next());
    next.capacity = world.capacity;
    next.max_inodes = world.max_inodes;
    next.next_inode = world.next_inode;
    next.freed.clone_from(&world.freed);

    let mut table = world.names.survivors(survival, &mut world.random);
    let mut inodes = BTreeMap::new();
    table.retain(|path, entry| {
        let Entry::File(id) = *entry else { return true };
        let Some(old) = world.inodes.get(&id) else {
            return false;
        };
        if inodes.contains_key(&id) {
            // After a failed directory sync an old name can survive beside the new one.
            return true;
        }
        let image = image_after(old, survival, &world.freed, &mut world.random);
        let Ok(mut inode) = Inode::new(path.display().to_string(), image) else {
            return false;
        };
        inode.unreadable.clone_from(&old.unreadable);
        inodes.insert(id, inode);
        true
    });
    for (id, old) in &world.inodes {
        if !inodes.contains_key(id) {
            next.remember(old.durable.clone());
        }
    }
    next.names = Names::durable(table);
    next.inodes = inodes;
    next
}

/// The bytes of one file after the crash.
fn image_after(inode: &Inode, survival: Survival, freed: &[Image], random: &mut SplitMix) -> Image {
    let mut image = inode.durable.clone();
    let mut written = Vec::new();
    for change in &inode.unsynced {
        match (survival, change) {
            (Survival::DropAll, _) => {}
            (Survival::KeepAll, Change::SetLen(len)) => image.set_len(*len),
            (Survival::KeepAll, Change::Write { offset, data }) => image.write(*offset, data),
            (Survival::Random { .. }, Change::SetLen(len)) => {
                if random.coin() {
                    image.set_len(*len);
                }
            }
            (Survival::Random { .. }, Change::Write { offset, data }) => {
                let fate = random.below(3);
                for (at, sector) in pieces(*offset, data, SECTOR) {
                    let kept = match fate {
                        0 => false,
                        1 => true,
                        _ => random.coin(),
                    };
                    if kept {
                        image.write(at, sector);
                        written.push(at..at + sector.len() as u64);
                    }
                }
            }
        }
    }
    if survival == (Survival::Random { stale_bytes: true }) {
        show_old_bytes(&mut image, inode.durable.len(), &written, freed, random);
    }
    image
}

/// Fills sectors that the file gained and nobody wrote with what the medium held before.
fn show_old_bytes(
    image: &mut Image,
    old_len: u64,
    written: &[Range<u64>],
    freed: &[Image],
    random: &mut SplitMix,
) {
    let source = freed.get(random.below(freed.len() as u64) as usize);
    let end = image.len();
    let mut start = old_len.next_multiple_of(SECTOR as u64);
    let stop = end.min(start.saturating_add(STALE_BYTES_MAX));
    while start < stop {
        let sector = start..end.min(start + SECTOR as u64);
        start += SECTOR as u64;
        let touched = |range: &Range<u64>| range.start < sector.end && sector.start < range.end;
        // Three in four, so that whole old frames show as often as pieces of them.
        if written.iter().any(touched) || random.below(4) == 0 {
            continue;
        }
        // At the place where they were, since that is where they would pass for this file's own.
        let bytes: Vec<u8> = sector
            .clone()
            .map(|offset| {
                let noise = random.next().to_le_bytes()[0];
                source.and_then(|old| old.byte(offset)).unwrap_or(noise)
            })
            .collect();
        image.write(sector.start, &bytes);
    }
}

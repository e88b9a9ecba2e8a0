//! How much processor time and memory does this process use?

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

const WINDOW: Duration = Duration::from_millis(300);
/// A process that uses less of one core than this does nothing but wait.
const QUIET_SHARE: f64 = 0.03;
const QUIET_WINDOWS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(3600);

/// Resident bytes.
pub(super) fn rss() -> Result<u64> {
    status("VmRSS")
}

/// A field of `/proc/self/status` in bytes.
pub(super) fn status(field: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field);
    let (_, value) = line.with_context(|| format!("/proc/self/status has no {field}"))?;
    let kib: u64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Seconds of processor time of all threads so far.
pub(super) fn of_process() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// Seconds of processor time of the calling thread so far.
pub(super) fn of_thread() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Waits until no thread of this process works any more.
pub(super) fn wait_until_quiet() -> Result<()> {
    let started = Instant::now();
    let mut quiet = 0;
    while quiet < QUIET_WINDOWS {
        let (time, used) = (Instant::now(), of_process());
        thread::sleep(WINDOW);
        let share = (of_process() - used) / time.elapsed().as_secs_f64();
        quiet = if share < QUIET_SHARE { quiet + 1 } else { 0 };
        if started.elapsed() > PATIENCE {
            bail!("there is still work in the background after {PATIENCE:?}");
        }
    }
    Ok(())
}

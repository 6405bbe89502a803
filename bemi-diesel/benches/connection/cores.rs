//! One core for everything.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Binds this thread, and so every thread and process that it starts, to one core. Returns what came of
/// it, as a sentence.
pub(crate) fn pin() -> String {
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let last = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|core| allowed.is_set(*core));
        let mut one = CpuSet::new();
        one.set(last.unwrap_or_default());
        sched_setaffinity(None, &one).map(|()| last.unwrap_or_default())
    });
    match pinned {
        Ok(core) => format!("client and server on core {core}"),
        Err(error) => format!("NOT pinned to a core ({error}): expect more spread"),
    }
}

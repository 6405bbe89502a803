//! How often contexts got lost, in this process.

use std::sync::atomic::{AtomicU64, Ordering};

static MISSING: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static CUT: AtomicU64 = AtomicU64::new(0);

/// How many writes of this process, through all wrapped connections, went without a context, or without a part of
/// it. They only grow.
///
/// ```
/// let counters = bemi_diesel::ContextCounters::read();
/// assert_eq!((counters.missing, counters.refused), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextCounters {
    /// Writes outside every [scope](crate::scope), sent or [not](crate::MissingContext::Error).
    pub missing: u64,
    /// Writes in a scope whose message the server refused, or would have: the user of their connection may
    /// not execute `pg_logical_emit_message`.
    pub refused: u64,
    /// Writes whose context was longer than [`MAX_CONTEXT_BYTES`](crate::MAX_CONTEXT_BYTES), sent without its
    /// largest members or [not](crate::RefusedContext::Error).
    pub cut: u64,
}

impl ContextCounters {
    /// As they are now.
    #[must_use]
    pub fn read() -> Self {
        Self {
            missing: MISSING.load(Ordering::Relaxed),
            refused: REFUSED.load(Ordering::Relaxed),
            cut: CUT.load(Ordering::Relaxed),
        }
    }
}

pub(super) fn count_missing() {
    MISSING.fetch_add(1, Ordering::Relaxed);
    metrics::counter!("bemi_contexts_missing_total").increment(1);
}

pub(super) fn count_refused() {
    REFUSED.fetch_add(1, Ordering::Relaxed);
    metrics::counter!("bemi_contexts_refused_total").increment(1);
}

pub(super) fn count_cut() {
    CUT.fetch_add(1, Ordering::Relaxed);
    metrics::counter!("bemi_contexts_cut_total").increment(1);
}

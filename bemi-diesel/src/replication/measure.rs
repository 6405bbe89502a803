//! What a capture tells a recorder of the [`metrics`] crate; without one all of this does nothing. The names are in
//! `docs/observability.md`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::{counter, gauge, histogram};

/// How long ago `at` is, by the clock of this machine; nothing where that is behind.
pub(super) fn since(at: DateTime<Utc>) -> Duration {
    (Utc::now() - at).to_std().unwrap_or_default()
}

/// A batch was stored in `took`; `delay` is the time from its last commit until then.
pub(super) fn stored(slot: &str, transactions: u64, changes: u64, took: Duration, delay: Duration) {
    let label = || [("slot", slot.to_owned())];
    // Where nothing has changed it is only the position that was stored.
    if changes > 0 {
        counter!("bemi_capture_batches_total", &label()).increment(1);
        counter!("bemi_capture_transactions_total", &label()).increment(transactions);
        counter!("bemi_capture_changes_total", &label()).increment(changes);
        histogram!("bemi_capture_store_seconds", &label()).record(took);
        histogram!("bemi_capture_delay_seconds", &label()).record(delay);
    }
}

/// The source was asked how much log it has that is not stored, and how much it keeps.
pub(super) fn log(slot: &str, lag: u64, retained: u64) {
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 bytes of log")]
    for (name, bytes) in [
        ("bemi_capture_lag_bytes", lag as f64),
        ("bemi_capture_retained_bytes", retained as f64),
    ] {
        gauge!(name, "slot" => slot.to_owned()).set(bytes);
    }
}

/// Changes were put aside, as the trail refused them.
pub(super) fn put_aside(slot: &str, changes: u64) {
    if changes > 0 {
        counter!("bemi_capture_put_aside_total", "slot" => slot.to_owned()).increment(changes);
    }
}

/// Contexts could not be attached.
pub(super) fn rejected(slot: &str, contexts: u64) {
    counter!("bemi_capture_rejected_contexts_total", "slot" => slot.to_owned()).increment(contexts);
}

/// Changes are missing, which was recorded.
pub(super) fn gap(slot: &str) {
    counter!("bemi_capture_gaps_total", "slot" => slot.to_owned()).increment(1);
}

/// The connection is made anew.
pub(super) fn reconnects(slot: &str) {
    counter!("bemi_capture_reconnects_total", "slot" => slot.to_owned()).increment(1);
}

//! Asks the source how much log it keeps, also while nothing can be read or stored.

use std::convert::Infallible;

use tokio::sync::watch;

use super::guard::{Guard, Verdict};
use super::handle::Status;
use super::measure;
use crate::postgres::{Connection, Endpoint};
use crate::setup::Slot;

pub(super) struct Watch {
    pub(super) source: Endpoint,
    pub(super) slot: String,
    pub(super) status: watch::Sender<Status>,
    pub(super) guard: Guard,
    /// How many bytes the source keeps, and may at most, once these are too many.
    pub(super) too_many: Option<(u64, u64)>,
}

impl Watch {
    /// Asks now, over a connection of its own. A source that does not answer has been told of elsewhere.
    async fn ask(&mut self) {
        let Ok(source) = Connection::open(&self.source).await else {
            return;
        };
        if let Ok(Some(slot)) = Slot::read(&source, &self.slot).await {
            self.told(&slot);
        }
    }

    /// Asks now, and does not end: a source that is slow to answer delays nothing that is waited for beside it.
    pub(super) async fn ask_once(&mut self) -> Infallible {
        self.ask().await;
        std::future::pending().await
    }

    /// Takes in what the source says of the slot.
    pub(super) fn told(&mut self, slot: &Slot) {
        let captured = self.status.borrow().captured_lsn;
        let stored = captured.max(slot.confirmed_flush_lsn);
        let lag = slot.log_end.as_u64().saturating_sub(stored.as_u64());
        let retained = u64::try_from(slot.retained_bytes).unwrap_or(0);
        measure::log(&self.slot, lag, retained);
        self.status.send_modify(|status| {
            status.lag_bytes = Some(lag);
            status.retained_bytes = Some(retained);
        });
        match self.guard.observe(retained) {
            Verdict::Fine => self.too_many = None,
            Verdict::GiveUp { limit } => self.too_many = Some((retained, limit)),
            Verdict::Tell => tracing::warn!(
                slot = self.slot,
                retained_bytes = retained,
                lag_bytes = lag,
                help = "it is on the source's disk until it is stored: see that the destination takes the \
                        changes and that no transaction stays open; `max_slot_wal_keep_size` is a limit, \
                        beyond which changes are lost",
                "the source keeps a lot of log"
            ),
        }
    }
}

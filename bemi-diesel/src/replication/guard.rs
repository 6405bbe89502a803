//! When the log that the source keeps for the slot is too much. Pure.

/// At how many bytes of log people are told.
pub(super) const WARN_BYTES: u64 = 1 << 30;

/// Watches the log that the source keeps.
#[derive(Debug)]
pub(super) struct Guard {
    warn_at: u64,
    /// At how many bytes to tell next.
    next: u64,
}

impl Guard {
    /// One that tells from `warn_at` bytes on.
    pub(super) fn new(warn_at: u64) -> Self {
        Self {
            warn_at,
            next: warn_at,
        }
    }

    /// Takes in how many bytes are kept. Whether people are to be told: when there are `warn_at`, and again each time
    /// that they have doubled.
    pub(super) fn observe(&mut self, retained: u64) -> bool {
        if retained < self.warn_at {
            self.next = self.warn_at;
            return false;
        }
        let told = retained >= self.next;
        if told {
            self.next = retained.saturating_mul(2);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubling_is_told_once() {
        let mut guard = Guard::new(100);
        let told = [99, 100, 150, 199, 200, 250, 1000, 1500, 50, 120, 130];
        let told = told.map(|retained| guard.observe(retained));
        assert_eq!(
            told,
            [
                false, true, false, false, true, false, true, false, false, true, false
            ]
        );
    }
}

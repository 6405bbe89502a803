//! When the log that the source keeps for the slot is too much. Pure.

/// At how many bytes of log people are told.
pub(super) const WARN_BYTES: u64 = 1 << 30;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// People are to be told.
    Tell,
    /// The slot is given up.
    GiveUp {
        limit: u64,
    },
}

/// Watches the log that the source keeps.
#[derive(Debug)]
pub(super) struct Guard {
    warn_at: u64,
    give_up_at: Option<u64>,
    /// At how many bytes to tell next.
    next: u64,
}

impl Guard {
    /// One that tells from `warn_at` bytes on, and gives the slot up from `give_up_at` on.
    pub(super) fn new(warn_at: u64, give_up_at: Option<u64>) -> Self {
        Self {
            warn_at,
            give_up_at,
            next: warn_at,
        }
    }

    /// Takes in how many bytes are kept. People are told when there are `warn_at`, and again each time that they
    /// have doubled.
    pub(super) fn observe(&mut self, retained: u64) -> Verdict {
        if let Some(limit) = self.give_up_at.filter(|limit| retained >= *limit) {
            return Verdict::GiveUp { limit };
        }
        if retained < self.warn_at {
            self.next = self.warn_at;
        } else if retained >= self.next {
            self.next = retained.saturating_mul(2);
            return Verdict::Tell;
        }
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubling_is_told_once() {
        let mut guard = Guard::new(100, None);
        let told = [99, 100, 150, 199, 200, 250, 1000, 1500, 50, 120, 130];
        let told = told.map(|retained| guard.observe(retained) == Verdict::Tell);
        assert_eq!(
            told,
            [
                false, true, false, false, true, false, true, false, false, true, false
            ]
        );
    }

    #[test]
    fn the_slot_is_given_up_from_the_limit_on() {
        let mut guard = Guard::new(100, Some(300));
        let verdicts = [99, 299, 300, 1000, 10].map(|retained| guard.observe(retained));
        let given_up = Verdict::GiveUp { limit: 300 };
        assert_eq!(
            verdicts,
            [
                Verdict::Fine,
                Verdict::Tell,
                given_up,
                given_up,
                Verdict::Fine
            ]
        );
    }
}

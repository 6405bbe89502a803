//! Why a revert did not come about.

use std::fmt;

use super::plan::{Conflict, Plan, Resolution};

/// Why nothing was reverted. Its text holds no row's value; the plan in it does.
#[derive(Debug)]
#[non_exhaustive]
pub enum RevertError {
    /// The [`Revert`](super::Revert) names nothing: it would take back everything there ever was.
    Unspecified,
    /// Several transactions had that number, as numbers come round again: say from when on.
    Ambiguous,
    /// A transaction has changes that could not be stored and are put aside: `bemi replay-poison` tells why,
    /// and tries them again.
    PutAside,
    /// A change is of another database, or of another cluster.
    OtherDatabase,
    /// The trail holds something that this version does not know.
    Unreadable,
    /// Conflicts stand in the way; the plan names them.
    Conflicts(Box<Plan>),
    /// What the database had to say.
    #[cfg(any(feature = "sync", feature = "async"))]
    Database(diesel::result::Error),
}

/// What is wrong with the changes that were named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unspecified,
    Ambiguous,
    PutAside,
    #[cfg(any(feature = "sync", feature = "async"))]
    OtherDatabase,
    Unreadable,
}

impl From<Refusal> for RevertError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unspecified => Self::Unspecified,
            Refusal::Ambiguous => Self::Ambiguous,
            Refusal::PutAside => Self::PutAside,
            #[cfg(any(feature = "sync", feature = "async"))]
            Refusal::OtherDatabase => Self::OtherDatabase,
            Refusal::Unreadable => Self::Unreadable,
        }
    }
}

impl fmt::Display for RevertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unspecified => f.write_str("nothing says what to revert"),
            Self::Ambiguous => f.write_str(
                "several transactions had that number, as numbers come round again: say from when on",
            ),
            Self::PutAside => f.write_str(
                "changes to revert could not be stored and are put aside: `bemi replay-poison` tells why, and tries them again",
            ),
            Self::OtherDatabase => {
                f.write_str("a change to revert is of another database or another cluster")
            }
            Self::Unreadable => f.write_str("the trail holds what this version does not know"),
            Self::Conflicts(plan) => write!(f, "nothing was reverted: {}", Summary(plan)),
            #[cfg(any(feature = "sync", feature = "async"))]
            Self::Database(_) => f.write_str("the database refused the revert"),
        }
    }
}

impl std::error::Error for RevertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(any(feature = "sync", feature = "async"))]
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

/// So that it is the error of a `transaction` around a revert.
#[cfg(any(feature = "sync", feature = "async"))]
impl From<diesel::result::Error> for RevertError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

#[cfg(any(feature = "sync", feature = "async"))]
impl From<super::run::Failure<diesel::result::Error>> for RevertError {
    fn from(failure: super::run::Failure<diesel::result::Error>) -> Self {
        use super::run::Failure;
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Conflicts(plan) => Self::Conflicts(Box::new(plan)),
            Failure::Client(error) => Self::Database(error),
        }
    }
}

/// How many conflicts of which kind in which table, without a value of any row.
pub(crate) struct Summary<'a>(pub(crate) &'a Plan);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<(&Conflict, usize)> = Vec::new();
        for conflict in &self.0.conflicts {
            if conflict.resolution != Resolution::Abort {
                continue;
            }
            let alike = counts.iter_mut().find(|(first, _)| {
                (&first.schema, &first.table, &first.kind)
                    == (&conflict.schema, &conflict.table, &conflict.kind)
            });
            match alike {
                Some((_, count)) => *count += 1,
                None => counts.push((conflict, 1)),
            }
        }
        for (n, (conflict, count)) in counts.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", conflict.table, conflict.kind)?;
            if *count > 1 {
                write!(f, " ({count} rows)")?;
            }
        }
        Ok(())
    }
}

//! How long what the server sends may gather before it is read. Pure: the clock is an argument.
//!
//! A walsender sends each message by itself, and whoever waits for it wakes up for each. That takes more than
//! reading does, and pushes aside an application that shares the processors. So where much comes it is read at
//! intervals: what comes in between must fit in a socket's buffer, or the server would wait.

use std::time::{Duration, Instant};

/// How many messages may gather in a Unix-domain socket. Its buffer holds 277 small ones with Linux's default of 208 KiB;
/// that of TCP holds far more.
const GATHERED_LOCALLY: f64 = 100.0;

/// How long the rest is for each message that comes in a millisecond, in milliseconds …
const REST: f64 = 0.5;

/// … and at most. A shorter one than the least is as much work as what it saves.
const LONGEST: Duration = Duration::from_millis(10);
const SHORTEST: Duration = Duration::from_micros(250);

/// Fewer messages in a millisecond are read as they come: a lone commit has about four.
const SELDOM: f64 = 2.0;

/// The pace is measured over this time at least.
const WINDOW: Duration = Duration::from_millis(10);

/// How fast the server sends.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many messages may gather.
    room: f64,
    since: Instant,
    /// How many messages came since then.
    messages: usize,
    /// How many came in a millisecond, before that.
    rate: f64,
}

impl Pace {
    /// The pace of a stream from another machine, or over a Unix-domain socket.
    pub(super) fn new(is_local: bool, now: Instant) -> Self {
        Self {
            room: if is_local {
                GATHERED_LOCALLY
            } else {
                f64::INFINITY
            },
            since: now,
            messages: 0,
            rate: 0.0,
        }
    }

    /// All that had come, so many `messages`, has been read: how long not to look for more, if for any time.
    pub(super) fn read(&mut self, messages: usize, now: Instant) -> Option<Duration> {
        self.messages = self.messages.saturating_add(messages);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let messages = u32::try_from(self.messages).unwrap_or(u32::MAX);
            self.rate = f64::from(messages) / (elapsed.as_secs_f64() * 1e3);
            (self.since, self.messages) = (now, 0);
        }
        (self.rate >= SELDOM).then(|| {
            let rest = (REST * self.rate).min(self.room / self.rate);
            Duration::from_secs_f64(rest / 1e3).clamp(SHORTEST, LONGEST)
        })
    }
}

#[cfg(test)]
mod tests;

//! How long what the server sends may gather before it is read. Pure: the clock is an argument.
//!
//! A walsender sends each message by itself, and whoever waits for it wakes up for each. That takes more than
//! reading does, and pushes aside an application that shares the processors. So where much comes it is read at
//! intervals: what comes in between must fit in a socket's buffer, or the server would wait.

use std::time::{Duration, Instant};

/// What a Unix-domain socket holds, well below Linux's default of 208 KiB: it counts a message as so much more.
const LOCAL_ROOM: f64 = 77_000.0;
const LOCAL_OVERHEAD: usize = 768;

/// What lies between two ends of TCP, which grows with its use.
const ROOM: f64 = 524_288.0;

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
    /// How many bytes may gather.
    room: f64,
    /// How many bytes a message takes beside its own.
    overhead: usize,
    since: Instant,
    /// What came since then.
    messages: usize,
    bytes: usize,
    /// What came in a millisecond, before that.
    message_rate: f64,
    byte_rate: f64,
}

impl Pace {
    /// The pace of a stream over a Unix-domain socket, or over TCP.
    pub(super) fn new(is_local: bool, now: Instant) -> Self {
        let (room, overhead) = if is_local {
            (LOCAL_ROOM, LOCAL_OVERHEAD)
        } else {
            (ROOM, 0)
        };
        Self {
            room,
            overhead,
            since: now,
            messages: 0,
            bytes: 0,
            message_rate: 0.0,
            byte_rate: 0.0,
        }
    }

    /// So many messages with so many bytes have been read: how long not to look for more, if for any time.
    pub(super) fn read(&mut self, messages: usize, bytes: usize, now: Instant) -> Option<Duration> {
        self.messages += messages;
        self.bytes += bytes + messages * self.overhead;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            self.message_rate = rate(self.messages, elapsed);
            self.byte_rate = rate(self.bytes, elapsed);
            (self.since, self.messages, self.bytes) = (now, 0, 0);
        }
        if self.message_rate < SELDOM {
            return None;
        }
        let rest = (REST * self.message_rate).min(self.room / self.byte_rate.max(1.0));
        let rest = Duration::from_secs_f64(rest / 1e3).min(LONGEST);
        (rest >= SHORTEST).then_some(rest)
    }
}

/// How much comes in a millisecond.
fn rate(much: usize, elapsed: Duration) -> f64 {
    let much = u32::try_from(much).unwrap_or(u32::MAX);
    f64::from(much) / (elapsed.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests;

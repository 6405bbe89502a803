//! What is shown on standard error while a server is fetched.

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::Error;

/// A spinner with the time taken, or a bar of bytes once their number is known. Where standard error is
/// no terminal, a line at the beginning and one at the end.
pub(crate) struct Progress {
    what: String,
    started: Instant,
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show `what`, such as `PostgreSQL 18 from npm`.
    pub(crate) fn start(what: String) -> Self {
        let bar = ProgressBar::new_spinner();
        if std::io::stderr().is_terminal() {
            bar.set_style(style("{spinner} Fetching {msg} {elapsed}"));
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            eprintln!("Fetching {what} ...");
        }
        Self {
            what,
            started: Instant::now(),
            bar,
        }
    }

    /// A reader of `bytes` bytes that moves the bar.
    pub(crate) fn reading<R: Read>(&self, reader: R, bytes: Option<u64>) -> impl Read {
        if let Some(bytes) = bytes {
            self.bar.set_length(bytes);
            self.bar.set_style(style(
                "{spinner} Fetching {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
            ));
        }
        self.bar.wrap_read(reader)
    }

    /// Ends with a line that says how it went.
    pub(crate) fn end(self, result: Result<(), &Error>) {
        let bytes = self.bar.position();
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f32();
        match result {
            Ok(()) if bytes > 0 => {
                eprintln!(
                    "Fetched {}, {}, in {seconds:.1} s",
                    self.what,
                    HumanBytes(bytes)
                );
            }
            Ok(()) => eprintln!("Fetched {} in {seconds:.1} s", self.what),
            Err(error) => eprintln!("No {}: {}", self.what, error.chain()),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours; were one wrong, indicatif's own style is still a progress bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

//! The pager that people read long texts in.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

use anstream::{AutoStream, ColorChoice};
use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::error::Error;

/// Prints `text` on standard output: on a terminal through `BEMI_PAGER`, `PAGER` or `less`. An empty one, or
/// `cat`, is none.
pub(super) fn page(text: &str) -> Result<(), Error> {
    // A pager gets Ctrl-C as well, and decides by itself whether it ends.
    let _interrupts = signal(SignalKind::interrupt());
    let Some(mut pager) = start() else {
        return output::print_text(text);
    };
    if let Some(mut input) = pager.stdin.take() {
        let plain;
        let text = if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
            plain = anstream::adapter::strip_str(text).to_string();
            &plain
        } else {
            text
        };
        // Whoever has read enough closes the pager.
        let _read = writeln!(input, "{text}");
    }
    // The shell has said what is wrong with a pager that cannot be run.
    let _status = pager.wait();
    Ok(())
}

fn start() -> Option<Child> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let chosen = ["BEMI_PAGER", "PAGER"].into_iter().find_map(env::var_os);
    let mut command = match chosen {
        Some(pager) if pager.is_empty() || pager == "cat" => return None,
        Some(pager) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(pager);
            shell
        }
        None => Command::new("less"),
    };
    if env::var_os("LESS").is_none() {
        // Ends where all fits on the screen, keeps the colours, and leaves the text there.
        command.env("LESS", "FRX");
    }
    command.stdin(Stdio::piped()).spawn().ok()
}

//! What people and programs see.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use owo_colors::OwoColorize;
use serde::Serialize;

use crate::error::{Error, ErrorKind};
use crate::replication::Chain;
use crate::setup::Report;

/// Where results go: one JSON document on standard output, or text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Json,
    Text,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// `document` as JSON on one line.
pub(super) fn json(document: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(document).map_err(|error| {
        Error::with_source(
            ErrorKind::Io {
                doing: "writing JSON",
            },
            error,
        )
    })
}

/// Prints `document` as JSON.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(document).map_err(|error| {
        Error::with_source(
            ErrorKind::Io {
                doing: "writing JSON",
            },
            error,
        )
    })?;
    print_text(&text)
}

/// Prints a line on standard output. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print_text(text: &str) -> Result<(), Error> {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(writing(error)),
        _ => Ok(()),
    }
}

/// A JSON array, written element by element: it may be larger than memory.
pub(super) struct Array<W: Write> {
    target: BufWriter<W>,
    empty: bool,
}

impl<W: Write> Array<W> {
    pub(super) fn new(target: W) -> Self {
        Self {
            target: BufWriter::new(target),
            empty: true,
        }
    }

    /// Adds an element, which is JSON.
    pub(super) fn push(&mut self, json: &str) -> Result<(), Error> {
        let separator = if self.empty { '[' } else { ',' };
        self.empty = false;
        writeln!(self.target, "{separator}{json}").map_err(writing)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let end = if self.empty { "[]" } else { "]" };
        writeln!(self.target, "{end}")
            .and_then(|()| self.target.flush())
            .map_err(writing)
    }
}

const WRITING: &str = "writing the output";

/// What cannot be written.
pub(super) fn writing(error: io::Error) -> Error {
    Error::with_source(ErrorKind::Io { doing: WRITING }, error)
}

/// Whether the reader of the output has seen enough (`| head`), which is no failure.
pub(super) fn is_enough(error: &Error) -> bool {
    *error.kind() == ErrorKind::Io { doing: WRITING }
        && std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `text` without characters that a terminal would obey.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// Prints what setup or teardown did.
pub(super) fn print_report(report: &Report, output: Output) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Document<'a> {
        changed: Vec<&'a str>,
        unchanged: Vec<&'a str>,
        notes: &'a [String],
    }
    let steps = |changed| {
        report
            .steps
            .iter()
            .filter(move |step| step.changed == changed)
            .map(|step| step.what.as_str())
            .collect()
    };
    match output {
        Output::Json => print_json(&Document {
            changed: steps(true),
            unchanged: steps(false),
            notes: &report.notes,
        }),
        Output::Text => {
            for step in &report.steps {
                if step.changed {
                    anstream::eprintln!("{} {}", "✔".green(), step.what);
                } else {
                    anstream::eprintln!("{} {}", "·".dimmed(), step.what.dimmed());
                }
            }
            for note in &report.notes {
                print_note(note);
            }
            Ok(())
        }
    }
}

/// Prints what the user should know.
pub(super) fn print_note(note: &str) {
    anstream::eprintln!("{} {note}", "note:".yellow().bold());
}

/// Prints an error with its causes, and what to do about it.
pub(super) fn print_error(error: &Error) {
    anstream::eprintln!("{} {}", "error:".red().bold(), Chain(error));
    if let Some(hint) = error.hint() {
        anstream::eprintln!("{} {hint}", "help:".cyan().bold());
    }
}

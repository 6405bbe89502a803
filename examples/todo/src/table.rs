//! Changes as a table that fits the terminal.

use bemi_diesel::{Change, JsonObject};
use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};

/// Lines between the columns and between the rows, and none around them.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('│'))
    .header_separator(LineStyle::none().fill('═').junction('╪'))
    .content_lines(ContentLineStyle::none().junction('│'))
    .row_separator(LineStyle::none().fill('─').junction('┼'));

const HEADER: [&str; 7] = [
    "primary_key",
    "table",
    "operation",
    "before",
    "after",
    "context",
    "committed_at",
];

/// One blank after each cell, and a line before each but the first.
const LINES_AND_BLANKS: usize = 2 * HEADER.len() - 1;

/// Which columns get narrower in a terminal that is too narrow, and how narrow, one step after the other:
/// `committed_at` into date and time, the JSON, the key's header, and in the end whatever can give.
const STEPS: [(&[usize], usize); 5] = [
    (&[6], 15),
    (&[3, 4, 5], 24),
    (&[0], 7),
    (&[6], 10),
    (&[3, 4, 5], 12),
];

/// A table as wide as the terminal; as wide as its content where standard output is none.
pub(crate) fn of(changes: &[Change]) -> Table {
    fitting(changes, Table::new().width().map(usize::from))
}

fn fitting(changes: &[Change], room: Option<usize>) -> Table {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 7]> = changes.iter().map(cells).collect();
    let widths = widths([&header].into_iter().chain(&rows), room);
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(folded(&header, widths))
        .add_rows(rows.iter().map(|row| folded(row, widths)));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

fn cells(change: &Change) -> [String; 7] {
    [
        change.primary_key.clone().unwrap_or_default(),
        change.table.to_string(),
        change.operation.to_string(),
        lines(&change.before),
        lines(&change.after),
        lines(&change.context),
        change.committed_at.format("%F %T%.6f").to_string(),
    ]
}

/// The same object with a line for each member.
fn lines(object: &JsonObject) -> String {
    let members = object.members().unwrap_or_default();
    let lines: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}: {value}", serde_json::Value::from(&**key)))
        .collect();
    format!("{{{}}}", lines.join(",\n "))
}

/// How wide each column is: as its longest line, or less where there is not the room for it.
fn widths<'a>(rows: impl Iterator<Item = &'a [String; 7]>, room: Option<usize>) -> [usize; 7] {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let longest = cell.lines().map(|line| line.chars().count()).max();
            *width = longest.unwrap_or_default().max(*width);
        }
    }
    let Some(room) = room else {
        return widths;
    };
    for (columns, floor) in STEPS {
        while widths.iter().sum::<usize>() + LINES_AND_BLANKS > room {
            let widest = columns.iter().max_by_key(|column| widths[**column]);
            match widest {
                Some(widest) if widths[*widest] > floor => widths[*widest] -= 1,
                _ => break,
            }
        }
    }
    widths
}

fn folded(row: &[String; 7], widths: [usize; 7]) -> [String; 7] {
    std::array::from_fn(|column| {
        let lines: Vec<&str> = row[column]
            .lines()
            .flat_map(|line| fold(line, widths[column]))
            .collect();
        lines.join("\n")
    })
}

/// Breaks a line that is longer than `width` characters: at a blank where there is one, else after
/// punctuation, and never inside an escape, so that JSON put together again is JSON.
fn fold(line: &str, width: usize) -> Vec<&str> {
    let width = width.max(LONGEST_ESCAPE);
    if line.chars().count() <= width {
        return vec![line];
    }
    let mut folded = Vec::new();
    // Where the room is that short, the indentation has none.
    let mut rest = line.trim_start();
    while let Some((end, next)) = rest.char_indices().nth(width) {
        let fits = &rest[..end];
        let blank = if next == ' ' {
            Some(end)
        } else {
            fits.rfind(' ')
        };
        let at = blank
            .or_else(|| Some(fits.rfind(['.', ',', '/'])? + 1))
            .unwrap_or_else(|| whole_escapes(fits));
        folded.push(rest[..at].trim_end());
        rest = rest[at..].trim_start();
    }
    folded.push(rest);
    folded
}

/// The characters of `\u00e9`.
const LONGEST_ESCAPE: usize = 6;

/// How long `text` is without the escape that it breaks off in.
fn whole_escapes(text: &str) -> usize {
    let (mut begin, mut missing) = (0, 0);
    for (at, character) in text.char_indices() {
        missing = match (missing, character) {
            (0, '\\') => {
                begin = at;
                1
            }
            (0, _) => 0,
            (_, 'u') if at == begin + 1 => 4,
            _ => missing - 1,
        };
    }
    if missing == 0 { text.len() } else { begin }
}

#[cfg(test)]
mod tests;

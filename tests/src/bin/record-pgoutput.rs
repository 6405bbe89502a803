//! Records what each PostgreSQL from 14 to 18 sends for `bemi-diesel/recorded/workload.sql`, one file a
//! version beside it: `cargo run -p bemi-tests --bin record-pgoutput`.
//!
//! A line is the position of a record as a number, a tab, and the message, escaped as in a byte string of
//! Rust. Positions, object identifiers and times differ from one recording to the next; nothing else does.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bemi_tests::{Cluster, MAJORS};
use postgres::{Client, NoTls};

/// What the capture's session sets; the server writes values as it says.
const SETTINGS: &str = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; \
                        SET extra_float_digits = 1; SET bytea_output = 'hex'";

const RECORD: &str = "SELECT (lsn - '0/0')::bigint, data FROM pg_logical_slot_get_binary_changes(\
                      'recording', NULL, NULL, 'proto_version', '1', 'publication_names', 'p', 'messages', 'true')";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the package has no parent folder")?
        .join("bemi-diesel/recorded");
    for major in MAJORS {
        let file = record(major, &folder)?;
        println!("{}", file.display());
    }
    Ok(())
}

fn record(major: u32, folder: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let cluster = Cluster::builder().major(major).start()?;
    let mut client = Client::connect(&cluster.url("postgres"), NoTls)?;
    client.batch_execute(&fs::read_to_string(folder.join("schema.sql"))?)?;
    client.batch_execute("SELECT pg_create_logical_replication_slot('recording', 'pgoutput')")?;
    for paragraph in fs::read_to_string(folder.join("workload.sql"))?.split("\n\n") {
        send(&mut client, paragraph).map_err(|error| format!("{error:?}: {paragraph}"))?;
    }
    client.batch_execute(SETTINGS)?;
    let mut recording = String::new();
    for row in client.query(RECORD, &[])? {
        let (position, message): (i64, &[u8]) = (row.get(0), row.get(1));
        writeln!(recording, "{position}\t{}", message.escape_ascii())?;
    }
    let file = folder.join(format!("pg{major}.tsv"));
    fs::write(&file, recording)?;
    Ok(file)
}

fn send(client: &mut Client, paragraph: &str) -> Result<(), postgres::Error> {
    let Some((copy, data)) = paragraph
        .split_once('\n')
        .filter(|(first, _)| first.starts_with("copy "))
    else {
        return client.batch_execute(paragraph);
    };
    let mut writer = client.copy_in(copy)?;
    // What the server says of an error is in the end of the copying.
    let _written = writer
        .write_all(data.as_bytes())
        .and_then(|()| writer.write_all(b"\n"));
    writer.finish().map(|_rows| ())
}

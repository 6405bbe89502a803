//! Starts a cluster, prints its URL, data directory and port, one a line, and holds it until standard
//! input ends.
//!
//! For a look at a server by hand (`cargo run -p bemi-tests --bin hold-cluster`), and for the tests that
//! kill it.

use std::io::{self, Read, Write};

use bemi_tests::{Cluster, Error};

fn main() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    let mut stdout = io::stdout();
    let told = writeln!(
        stdout,
        "{}\n{}\n{}",
        cluster.url("postgres"),
        cluster.data_folder().display(),
        cluster.port()
    )
    .and_then(|()| stdout.flush());
    if told.is_ok() {
        // How it ends does not matter.
        let _bytes = io::stdin().read_to_end(&mut Vec::new());
    }
    Ok(())
}

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::{VERSIONS, fetch_from, hex, target};
use crate::MAJORS;
use crate::progress::Progress;

/// Serves `files` by their paths, to as many requests as come, and returns where.
fn serve(files: HashMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let head: Vec<String> = lines
                .map(|line| line.expect("a line"))
                .take_while(|line| !line.is_empty())
                .collect();
            let path = head
                .first()
                .and_then(|line| line.split(' ').nth(1))
                .expect("a request");
            let (status, body) = match files.get(path) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &[][..]),
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )
            .and_then(|()| stream.write_all(body))
            .expect("the answer is read");
        }
    });
    format!("http://{address}")
}

fn name() -> String {
    format!("postgresql-17.11.0-{}", target().expect("a target"))
}

/// An archive with one program.
fn archive() -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o755);
    archive
        .append_data(
            &mut header,
            format!("{}/bin/postgres", name()),
            &b"true"[..],
        )
        .expect("an entry");
    archive
        .into_inner()
        .and_then(GzEncoder::finish)
        .expect("an archive")
}

/// Fetches version 17 from a host that has `archive`, and says that its sum is `sum`.
fn fetch(archive: Vec<u8>, sum: &str) -> Result<String, String> {
    let path = format!("/17.11.0/{}.tar.gz", name());
    let host = serve(HashMap::from([
        (
            format!("{path}.sha256"),
            format!("{sum}  {}.tar.gz\n", name()).into_bytes(),
        ),
        (path, archive),
    ]));
    let folder = tempfile::tempdir().expect("a folder");
    let progress = Progress::start("17".to_owned());
    let root = fetch_from(&host, 17, folder.path(), &progress).map_err(|error| error.chain())?;
    Ok(fs::read_to_string(root.join("bin").join("postgres")).expect("the program"))
}

#[test]
fn there_is_a_release_of_every_version() {
    let majors: Vec<u32> = VERSIONS.into_iter().map(|(major, _)| major).collect();
    assert_eq!(majors, MAJORS.collect::<Vec<_>>());
    for (major, version) in VERSIONS {
        assert!(version.starts_with(&format!("{major}.")), "{version}");
    }
}

#[test]
fn archive_that_has_its_sum() {
    let archive = archive();
    let sum = hex(&Sha256::digest(&archive));
    assert_eq!(fetch(archive, &sum), Ok("true".to_owned()));
}

#[test]
fn archive_with_another_sum() {
    let archive = archive();
    let sum = hex(&Sha256::digest(&archive));
    let other = "0".repeat(64);
    assert_eq!(
        fetch(archive, &other),
        Err(format!(
            "{}.tar.gz has the SHA-256 {sum}, not {other}",
            name()
        ))
    );
}

#[test]
fn release_without_a_sum() {
    assert_eq!(
        fetch(archive(), "nothing"),
        Err("the release has no SHA-256".to_owned())
    );
}

#[test]
fn release_that_is_not_there() {
    let host = serve(HashMap::new());
    let folder = tempfile::tempdir().expect("a folder");
    let error =
        fetch_from(&host, 17, folder.path(), &Progress::start("17".to_owned())).expect_err("404");
    assert_eq!(error.chain(), "cannot be read: http status: 404");
}

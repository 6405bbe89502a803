//! Start, stop, start again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bemi_tests::{Cluster, Shutdown};
use postgres::{Client, NoTls};

use crate::sql::value;

#[test]
fn defaults() {
    let cluster = Cluster::shared().expect("a cluster");
    let url = cluster.url("postgres");
    assert_eq!(value(&url, "SHOW wal_level"), "logical");
    assert_eq!(value(&url, "SHOW fsync"), "off");
    assert_eq!(value(&url, "SHOW server_encoding"), "UTF8");
    assert_eq!(
        value(
            &url,
            "SELECT current_user || rolsuper FROM pg_roles WHERE rolname = current_user"
        ),
        "postgrestrue"
    );
    assert_eq!(
        value(
            &url,
            "SELECT (current_setting('server_version_num')::int / 10000)::text"
        ),
        cluster.major().to_string()
    );
    assert_eq!(
        value(&url, "SHOW data_directory"),
        cluster.data_folder().to_string_lossy()
    );
}

#[test]
fn shared_is_one() {
    let ports = [(); 2].map(|()| Cluster::shared().expect("a cluster").port());
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn settings_win() {
    let cluster = Cluster::builder()
        .setting("wal_level", "replica")
        .setting("bemi.quoted", r"it's a \ here")
        .start()
        .expect("a cluster");
    assert_eq!(value(&cluster.url("postgres"), "SHOW wal_level"), "replica");
    assert_eq!(
        value(&cluster.url("postgres"), "SHOW bemi.quoted"),
        r"it's a \ here"
    );
}

#[test]
fn start_that_fails_shows_the_log() {
    let error = Cluster::builder()
        .setting("shared_preload_libraries", "no_such_library")
        .start()
        .expect_err("there is no such library");
    let said = error.to_string();
    assert!(
        said.contains("could not access file \"no_such_library\""),
        "{said}"
    );
}

#[test]
fn any_name_of_a_database() {
    let cluster = Cluster::shared().expect("a cluster");
    let name = r#"Müller's "50 %" / ?"#;
    cluster.create_database(name).expect("a database");
    assert_eq!(
        value(&cluster.url(name), "SELECT current_database()::text"),
        name
    );
    let error = cluster.create_database(name).expect_err("it is there");
    assert_eq!(error.to_string(), "the harness's SQL");
}

#[test]
fn stopped_and_started_again() {
    let mut cluster = Cluster::start().expect("a cluster");
    let url = cluster.url("postgres");
    let mut client = Client::connect(&url, NoTls).expect("the server is reachable");
    client
        .batch_execute("CREATE TABLE kept AS SELECT 'here' AS value")
        .expect("a table");

    for how in [Shutdown::Fast, Shutdown::Immediate] {
        let took = cluster.stop(how).expect("it stops");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert!(Client::connect(&url, NoTls).is_err());
        assert!(cluster.stop(how).is_err());
        cluster.start_again().expect("it starts");
        assert_eq!(value(&url, "SELECT value FROM kept"), "here");
    }

    drop(client);
    cluster.stop(Shutdown::Smart).expect("no client is left");
    let folder = cluster.socket_folder().to_owned();
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn dropped_while_it_runs() {
    let cluster = Cluster::start().expect("a cluster");
    let (url, folder) = (cluster.url("postgres"), cluster.socket_folder().to_owned());
    let client = Client::connect(&url, NoTls).expect("the server is reachable");
    drop(cluster);
    assert!(!folder.exists());
    assert!(Client::connect(&url, NoTls).is_err());
    drop(client);
}

#[test]
fn dropped_by_a_panic() {
    let cluster = Cluster::start().expect("a cluster");
    let (url, folder) = (cluster.url("postgres"), cluster.socket_folder().to_owned());
    let panicked = std::thread::spawn(move || {
        let _held = cluster;
        std::panic::resume_unwind(Box::new("without a message"));
    })
    .join();
    assert!(panicked.is_err());
    assert!(!folder.exists());
    assert!(Client::connect(&url, NoTls).is_err());
}

#[test]
fn socket_in_the_folder() {
    let cluster = Cluster::shared().expect("a cluster");
    let url = format!(
        "host={} port={} user=postgres dbname=postgres",
        cluster.socket_folder().display(),
        cluster.port()
    );
    assert_eq!(
        value(&url, "SELECT COALESCE(inet_client_addr()::text, 'socket')"),
        "socket"
    );
}

#[test]
fn server_of_root_is_nobodys() {
    let cluster = Cluster::shared().expect("a cluster");
    let pid_file = cluster.data_folder().join("postmaster.pid");
    let pid = fs::read_to_string(pid_file).expect("it runs");
    let process = format!("/proc/{}", pid.lines().next().expect("a process id"));
    let owner = fs::metadata(process).expect("it runs").uid();
    let us = rustix::process::geteuid().as_raw();
    assert_eq!(owner, if us == 0 { 65534 } else { us });
}

#[test]
fn programs_of_the_same_version() {
    let cluster = Cluster::shared().expect("a cluster");
    assert!(
        cluster
            .bin("pg_ctl")
            .is_some_and(|program| program.is_file())
    );
    assert_eq!(cluster.bin("no_such_program"), None);
}

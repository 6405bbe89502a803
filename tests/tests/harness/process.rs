//! What is left of a cluster when its process is gone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A process that holds a cluster.
struct Holder {
    process: Child,
    folder: PathBuf,
    port: u16,
}

fn hold() -> Holder {
    let mut process = Command::new(env!("CARGO_BIN_EXE_hold-cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the helper runs");
    let stdout = process.stdout.take().expect("it is piped");
    let lines: Vec<String> = BufReader::new(stdout)
        .lines()
        .take(3)
        .map(|line| line.expect("text"))
        .collect();
    let [_url, data, port] = lines.as_slice() else {
        panic!("the helper has no cluster: {lines:?}");
    };
    let mut folder = PathBuf::from(data);
    folder.pop();
    Holder {
        process,
        folder,
        port: port.parse().expect("a port"),
    }
}

/// Waits until `pid` has ended, at most half a minute.
fn wait_for_end(pid: Pid) {
    let Ok(file) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let patience = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&patience));
    assert_eq!(ready, Ok(1), "it is still there");
}

#[test]
fn killed() {
    let mut holder = hold();
    assert!(TcpStream::connect(("127.0.0.1", holder.port)).is_ok());
    let children = format!("/proc/{0}/task/{0}/children", holder.process.id());
    let children = fs::read_to_string(children).expect("it runs");
    let watchdog = children.trim().parse().ok().and_then(Pid::from_raw);

    holder.process.kill().expect("it runs");
    holder.process.wait().expect("it was killed");
    wait_for_end(watchdog.expect("it has one child"));

    assert!(TcpStream::connect(("127.0.0.1", holder.port)).is_err());
    assert!(!holder.folder.exists());
}

#[test]
fn ended_well() {
    let mut holder = hold();
    drop(holder.process.stdin.take());
    assert!(holder.process.wait().expect("it ends").success());
    assert!(TcpStream::connect(("127.0.0.1", holder.port)).is_err());
    assert!(!holder.folder.exists());
}

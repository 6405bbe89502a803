//! What stops a server and removes its folder when the process that started it is gone.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::Error;
use crate::command::{NOBODY, is_root, unprivileged};

/// Waits for the end of its standard input. The folder can fill up again behind `rm` while an `initdb`
/// that was not waited for still runs, so it goes twice.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r _
"$1/pg_ctl" stop -D "$2/data" -m immediate -w -t 30
rm -rf "$2" || { sleep 1; rm -rf "$2"; }
"#;

/// A socket's path is cut at about a hundred bytes.
const LONGEST_BASE: usize = 60;

/// A temporary folder and the shell that watches over it.
///
/// The shell reads from a pipe whose other end only this process has. That end is closed when this is
/// dropped, and by the kernel however the process ends: no signal handler and no `atexit` could do that.
#[derive(Debug)]
pub(super) struct Watchdog {
    folder: PathBuf,
    shell: Child,
}

impl Watchdog {
    /// Makes the folder, which belongs to the user that the server runs as.
    pub(super) fn start(binaries: &Path) -> Result<Self, Error> {
        let io = |error| Error::because("no temporary folder", error);
        let base = std::env::temp_dir();
        let base = if base.as_os_str().len() > LONGEST_BASE {
            PathBuf::from("/tmp")
        } else {
            base
        };
        let folder = tempfile::Builder::new()
            .prefix("bemi-")
            .tempdir_in(base)
            .map_err(io)?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).map_err(io)?;
        }
        let shell = unprivileged("/bin/sh", Path::new("/"))
            .args(["-c", SCRIPT, "bemi-watchdog"])
            .args([binaries, folder.path()])
            // A Ctrl-C in the terminal, or a runner that kills our group, must not end it too.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::because("/bin/sh does not start", error))?;
        Ok(Self {
            folder: folder.keep(),
            shell,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _status = self.shell.wait();
        // In case something that root made is in it.
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

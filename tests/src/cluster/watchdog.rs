//! What stops a server and removes its folder when the process that started it is gone.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::tail;
use crate::Error;
use crate::command::unprivileged;

/// Initializes a cluster in a folder that it makes, says where and whether that went well, and waits for
/// the end of its standard input.
///
/// `initdb` is a child of the shell and not ours: an orphan would go on, and make the folder anew. A
/// server that was just being started can still put a file where `rm` has been, so `rm` goes twice.
const SCRIPT: &str = r#"
trap '' HUP INT TERM PIPE
programs=$1
base=$2
shift 2
folder=$(mktemp -d "$base/bemi-XXXXXX") || exit
echo "$folder"
"$programs/initdb" --pgdata "$folder/data" "$@" >"$folder/initdb" 2>&1 && echo done
exec >/dev/null
read -r _
"$programs/pg_ctl" stop -D "$folder/data" -m immediate -w -t 30
rm -rf "$folder" || { sleep 1; rm -rf "$folder"; }
"#;

/// A socket's path is cut at about a hundred bytes.
const LONGEST_BASE: usize = 60;

/// A temporary folder and the shell that watches over it.
///
/// The shell reads from a pipe whose other end only this process has. That end is closed when this is
/// dropped, and by the kernel however the process ends: no signal handler and no `atexit` could do that.
/// The shell makes the folder itself, so there is no moment at which it is not watched over.
#[derive(Debug)]
pub(super) struct Watchdog {
    folder: PathBuf,
    shell: Child,
}

impl Watchdog {
    /// Makes the folder, which belongs to the user that the server runs as, and initializes a cluster
    /// in its subfolder `data`, with these `options` of `initdb`.
    pub(super) fn start(binaries: &Path, options: &[&str]) -> Result<Self, Error> {
        let base = std::env::temp_dir();
        let base = if base.as_os_str().len() > LONGEST_BASE {
            PathBuf::from("/tmp")
        } else {
            base
        };
        let mut shell = unprivileged("/bin/sh", Path::new("/"))
            .args(["-c", SCRIPT, "bemi-watchdog"])
            .args([binaries, &base])
            .args(options)
            // A Ctrl-C in the terminal, or a runner that kills our group, must not end it too.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::because("/bin/sh does not start", error))?;
        let mut said = String::new();
        if let Some(mut stdout) = shell.stdout.take() {
            // What cannot be read is as good as nothing said.
            let _length = stdout.read_to_string(&mut said);
        }
        let mut lines = said.lines();
        let Some(folder) = lines.next() else {
            let _status = shell.wait();
            return Err(Error::new(format!(
                "no temporary folder can be made in {}",
                base.display()
            )));
        };
        let watchdog = Self {
            folder: PathBuf::from(folder),
            shell,
        };
        match lines.next() {
            Some(_done) => Ok(watchdog),
            None => Err(Error::new(format!(
                "initdb failed:\n{}",
                tail(&watchdog.folder.join("initdb"))
            ))),
        }
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

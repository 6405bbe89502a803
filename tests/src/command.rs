//! Running other programs: as whom, for how long, and what they said.

use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// User and group that server programs run as when this process is root's, which they refuse:
/// `nobody` and its group, which have this number on every Linux distribution.
pub(crate) const NOBODY: u32 = 65534;

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A server program in `directory`, as [`NOBODY`] where we are root.
///
/// `PGDATA`, `PGPORT` and their like are the user's own and would steer it elsewhere.
pub(crate) fn unprivileged(program: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Runs `command` to its end and returns its standard output. After `limit` it is killed.
///
/// # Errors
/// With the last line that it wrote to standard error, when it cannot be started, fails or takes longer.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Files, not pipes: a grandchild that outlives the limit cannot hold us up.
    let files = || Ok::<_, std::io::Error>((tempfile::tempfile()?, tempfile::tempfile()?));
    let (mut stdout, mut stderr) =
        files().map_err(|error| Error::because("no temporary file", error))?;
    let result = command
        .stdin(Stdio::null())
        .stdout(clone(&stdout)?)
        .stderr(clone(&stderr)?)
        .spawn()
        .and_then(|child| wait(child, limit));
    match result {
        Ok(Some(status)) if status.success() => text(&mut stdout),
        Ok(Some(status)) => {
            let said = text(&mut stderr)?;
            let reason = said.lines().rev().find(|line| !line.trim().is_empty());
            Err(Error::new(match reason {
                Some(line) => format!("{name}: {}", line.trim()),
                None => format!("{name}: {status}"),
            }))
        }
        Ok(None) => Err(Error::new(format!(
            "{name}: not done after {} s",
            limit.as_secs()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("{name} is not installed")))
        }
        Err(error) => Err(Error::because(format!("{name} does not start"), error)),
    }
}

fn wait(
    mut child: std::process::Child,
    limit: Duration,
) -> Result<Option<ExitStatus>, std::io::Error> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn clone(file: &std::fs::File) -> Result<Stdio, Error> {
    file.try_clone()
        .map(Stdio::from)
        .map_err(|error| Error::because("no temporary file", error))
}

fn text(file: &mut std::fs::File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|error| Error::because("no temporary file", error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

//! Debian's and Ubuntu's own packages, which only root can install.

use std::process::Command;
use std::time::Duration;

use super::{DOWNLOAD, shown};
use crate::Error;
use crate::command::{is_root, run};

pub(super) const NAME: &str = "apt-get";

/// Installs the server of major version `wanted`, or the one that the distribution has.
pub(super) fn install(wanted: Option<u32>) -> Result<(), Error> {
    if !is_root() {
        return Err(Error::new("needs root"));
    }
    let package = wanted.map_or("postgresql".to_owned(), |major| {
        format!("postgresql-{major}")
    });
    shown(&format!("the package {package} from {NAME}"), |_progress| {
        // Lists that are old are better than none, and none shows in what follows.
        let _lists = run(apt_get().arg("update"), Duration::from_mins(2));
        run(
            apt_get().args(["install", "--yes", "--no-install-recommends", &package]),
            DOWNLOAD,
        )
        .map(|_said| ())
    })
}

fn apt_get() -> Command {
    let mut command = Command::new(NAME);
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

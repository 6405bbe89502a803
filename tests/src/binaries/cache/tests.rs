use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tempfile::TempDir;

use super::Cache;
use crate::Error;

/// A cache in a folder of its own, one that `nobody` can enter.
fn cache() -> (TempDir, Cache) {
    let folder = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder");
    let cache = Cache::at(folder.path().join("bemi").join("postgres"));
    (folder, cache)
}

/// Programs that say that they are PostgreSQL `version`.
fn programs(version: &str, folder: &Path) -> PathBuf {
    let root = folder.join("server");
    fs::create_dir_all(root.join("bin")).expect("a folder");
    for name in ["initdb", "pg_ctl", "postgres"] {
        let program = root.join("bin").join(name);
        fs::write(
            &program,
            format!("#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n"),
        )
        .expect("a program");
        // As under a strict umask.
        fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("a program");
    }
    fs::set_permissions(root.join("bin"), Permissions::from_mode(0o700)).expect("a folder");
    root
}

/// The names in the cache, other than the locks'.
fn names(cache: &Cache) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(cache.root())
        .expect("the cache is there")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_none_or(|extension| extension != "lock")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn empty() {
    let (_folder, cache) = cache();
    assert_eq!(cache.find(None), Err("empty".to_owned()));
}

#[test]
fn filled_copies_are_found_newest_first() {
    let (_folder, cache) = cache();
    for major in [16, 17, 14] {
        let filled = cache
            .fill(major, |folder| Ok(programs(&format!("{major}.1"), folder)))
            .expect("the programs run");
        assert_eq!(
            filled.folder(),
            cache.root().join(major.to_string()).join("bin")
        );
        assert_eq!(filled.major(), major);
    }
    assert_eq!(cache.find(None).map(|found| found.major()), Ok(17));
    assert_eq!(cache.find(Some(14)).map(|found| found.major()), Ok(14));
    assert_eq!(cache.find(Some(15)), Err("has 14".to_owned()));
    assert_eq!(names(&cache), ["14", "16", "17"]);
}

#[test]
fn failed_fetch_leaves_nothing() {
    let (_folder, cache) = cache();
    let error = cache
        .fill(17, |folder| {
            programs("17.1", folder);
            Err(Error::new("broke off"))
        })
        .expect_err("it broke off");
    assert_eq!(error.to_string(), "broke off");
    assert_eq!(names(&cache), Vec::<String>::new());
}

#[test]
fn programs_that_do_not_run_are_not_kept() {
    let (_folder, cache) = cache();
    let error = cache
        .fill(17, |folder| {
            let root = programs("17.1", folder);
            fs::write(
                root.join("bin/pg_ctl"),
                "#!/bin/sh\necho 'no libssl' >&2\nexit 127\n",
            )
            .expect("a program");
            Ok(root)
        })
        .expect_err("pg_ctl does not run");
    assert!(
        error.to_string().ends_with("/server/bin/pg_ctl: no libssl"),
        "{error}"
    );
    assert_eq!(names(&cache), Vec::<String>::new());
}

#[test]
fn another_version_is_not_kept() {
    let (_folder, cache) = cache();
    let error = cache
        .fill(17, |folder| Ok(programs("16.1", folder)))
        .expect_err("16 is not 17");
    assert_eq!(error.to_string(), "it is PostgreSQL 16");
    assert_eq!(names(&cache), Vec::<String>::new());
}

#[test]
fn copy_that_no_longer_runs_is_replaced() {
    let (_folder, cache) = cache();
    let first = cache
        .fill(17, |folder| Ok(programs("17.1", folder)))
        .expect("the programs run");
    fs::remove_file(first.folder().join("postgres")).expect("a program");
    let second = cache
        .fill(17, |folder| Ok(programs("17.2", folder)))
        .expect("the programs run");
    assert_eq!(first, second);
    assert_eq!(names(&cache), ["17"]);
}

#[test]
fn processes_that_come_together_fetch_once() {
    let (_folder, cache) = cache();
    let fetched = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                cache
                    .fill(17, |folder| {
                        fetched.fetch_add(1, Ordering::Relaxed);
                        Ok(programs("17.1", folder))
                    })
                    .expect("the programs run")
            });
        }
    });
    assert_eq!(fetched.into_inner(), 1);
    assert_eq!(names(&cache), ["17"]);
}

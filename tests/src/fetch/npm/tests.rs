use std::fs;
use std::path::{Path, PathBuf};

use super::{make_symlinks, newest};

#[test]
fn newest_of_a_major_version() {
    let versions = r#"["15.9.0-beta.15", "16.9.0-beta.15", "16.10.0-beta.15", "16.10.0-beta.9"]"#;
    assert_eq!(newest(versions, 16).as_deref(), Some("16.10.0-beta.15"));
    assert_eq!(newest(versions, 1), None);
    assert_eq!(newest("npm went wrong", 16), None);
}

fn package(links: &str) -> tempfile::TempDir {
    let package = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(package.path().join("native/lib")).expect("a folder");
    fs::write(package.path().join("native/pg-symlinks.json"), links).expect("a file");
    package
}

#[test]
fn links_are_relative_to_their_folder() {
    let package = package(
        r#"[{"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so.5"},
            {"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so"}]"#,
    );
    // Made twice: what is there already is left alone.
    make_symlinks(package.path()).expect("links");
    make_symlinks(package.path()).expect("links");
    for link in ["libpq.so", "libpq.so.5"] {
        assert_eq!(
            fs::read_link(package.path().join("native/lib").join(link)).expect("a link"),
            PathBuf::from("libpq.so.5.18")
        );
    }
}

#[test]
fn links_stay_inside() {
    for (links, error) in [
        (
            r#"[{"source": "native/lib/a", "target": "native/../../b"}]"#,
            "npm's package has a broken list of links",
        ),
        (
            r#"[{"source": "native/lib/a", "target": "/tmp/b"}]"#,
            "npm's package has a broken list of links",
        ),
        (
            r#"[{"source": "native/lib/a", "target": "native/bin/b"}]"#,
            "npm's package links across folders",
        ),
        (
            r#"[{"source": "native/lib/a"}]"#,
            "npm's package has a broken list of links",
        ),
        ("{}", "npm's package has a broken list of links"),
    ] {
        let package = package(links);
        let refused = make_symlinks(package.path()).expect_err("refused");
        assert_eq!(refused.to_string(), error, "{links}");
    }
    let refused = make_symlinks(Path::new("/nowhere")).expect_err("refused");
    assert_eq!(refused.to_string(), "npm's package lacks its list of links");
}

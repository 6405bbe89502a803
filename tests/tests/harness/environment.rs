//! What the variables of the environment do.

use std::process::Command;

/// What `hold-cluster` writes to standard error when it fails with `variables` set.
fn fails_with(variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hold-cluster"))
        .env_remove("PG_BIN")
        .env_remove("BEMI_PG_MAJOR")
        .envs(variables.iter().copied())
        .output()
        .expect("the helper runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn wrong_pg_bin_is_not_passed_over() {
    assert_eq!(
        fails_with(&[("PG_BIN", "/nowhere")]),
        "Error: PG_BIN must be the folder that holds initdb, pg_ctl and postgres, 14 or newer, but \
         /nowhere has no initdb\n"
    );
}

#[test]
fn unknown_version() {
    assert_eq!(
        fails_with(&[("BEMI_PG_MAJOR", "13")]),
        "Error: BEMI_PG_MAJOR is \"13\", but must be a major version of PostgreSQL from 14 to 18\n"
    );
}

#[test]
fn pg_bin_of_another_version_than_wanted() {
    let found = bemi_tests::Binaries::resolve(None).expect("a server");
    let other = if found.major() == 18 { 17 } else { 18 };
    let folder = found.folder().to_str().expect("text");
    assert_eq!(
        fails_with(&[("PG_BIN", folder), ("BEMI_PG_MAJOR", &other.to_string())]),
        format!(
            "Error: PG_BIN is PostgreSQL {}, but PostgreSQL {other} is wanted: unset one of PG_BIN and \
             BEMI_PG_MAJOR\n",
            found.major()
        )
    );
}

#[test]
fn users_own_variables_of_postgresql_are_left_out() {
    let output = Command::new(env!("CARGO_BIN_EXE_hold-cluster"))
        .envs([
            ("PGDATA", "/nowhere"),
            ("PGPORT", "1"),
            ("PGHOST", "nowhere"),
        ])
        .output()
        .expect("the helper runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

//! diesel's migrations.

use std::fmt::Debug;

use bemi_diesel::BemiConnection;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{alike, insert, shown};

const GOOD: EmbeddedMigrations = embed_migrations!("tests/connection/migrations/good");
/// One that fails after a write of its own.
const BAD: EmbeddedMigrations = embed_migrations!("tests/connection/migrations/bad");

fn told<T: Debug>(result: diesel::migration::Result<T>) -> String {
    result.map_or_else(|error| error.to_string(), |value| format!("{value:?}"))
}

/// Runs all of them, and takes them back.
macro_rules! migrate {
    ($harness:ident, $seen:ident) => {
        $seen.push(told($harness.has_pending_migration(GOOD)));
        $seen.push(told($harness.run_pending_migrations(GOOD)));
        $seen.push(told($harness.run_pending_migrations(GOOD)));
        $seen.push(told($harness.applied_migrations()));
        $seen.push(told($harness.run_pending_migrations(BAD)));
        $seen.push(told($harness.has_pending_migration(BAD)));
        $seen.push(told($harness.revert_last_migration(GOOD)));
        $seen.push(told($harness.pending_migrations(GOOD).map(|all| all.len())));
        $seen.push(told($harness.revert_all_migrations(GOOD)));
        $seen.push(told($harness.run_next_migration(GOOD)));
    };
}

/// What is in the log: a migration is in a transaction with the note that it was run, or the note is alone.
const LOG: [&str; 6] = [
    "INSERT 1, INSERT '20240101000000', context 1 - -",
    "INSERT '20240102000000', context 1 lead INSERT",
    "DELETE '20240102000000', context 1 - DELETE",
    "DELETE '20240101000000', context 1 - -",
    "INSERT 1, INSERT '20240101000000', context 1 - -",
    "INSERT 1, context 1 lead INSERT",
];

#[test]
fn run_and_reverted() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        migrate!(c, seen);
        seen.push(shown(&insert!(c, 1)));
    });
    assert_eq!(log, LOG);
}

mod awaited {
    use bemi_diesel::AsyncBemiConnection;
    use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl};
    use diesel_migrations::MigrationHarness;

    use super::{BAD, GOOD, LOG, told};
    use crate::alike::{alike_async, insert, shown};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn run_and_reverted() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                let own = Own::establish(database.url()).await.expect("a connection");
                let mut harness = AsyncMigrationHarness::new(own);
                migrate!(harness, seen);
                seen.push(shown(&insert!(&mut harness.into_inner(), 1).await));
                seen.push(shown(&insert!(c, 2).await));
            }
        );
        assert_eq!(log[..LOG.len()], LOG);
    }
}

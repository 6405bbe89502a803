//! Transactions with every option, and those that a test is run in.

use bemi_diesel::BemiConnection;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::Text;

use super::{alike, insert, shown};
use crate::todos;

/// The isolation level, whether it is read-only and whether it is deferrable.
fn mode() -> diesel::dsl::select<SqlLiteral<(Text, Text, Text)>> {
    diesel::select(diesel::dsl::sql(
        "current_setting('transaction_isolation'), current_setting('transaction_read_only'), \
         current_setting('transaction_deferrable')",
    ))
}

type Mode = (String, String, String);

/// How many isolation levels, read modes and kinds of deferring there are, with saying nothing.
const OPTIONS: (i32, i32, i32) = (4, 3, 3);

/// A builder with the options of these numbers.
macro_rules! built {
    ($c:expr, $isolation:expr, $read:expr, $defer:expr) => {{
        let builder = $c.build_transaction();
        let builder = match $isolation {
            0 => builder,
            1 => builder.read_committed(),
            2 => builder.repeatable_read(),
            _ => builder.read_committed().serializable(),
        };
        let builder = match $read {
            0 => builder,
            1 => builder.read_only(),
            _ => builder.read_only().read_write(),
        };
        match $defer {
            0 => builder,
            1 => builder.deferrable(),
            _ => builder.deferrable().not_deferrable(),
        }
    }};
}

/// The options of the transaction with this number.
fn options(n: i32) -> (i32, i32, i32) {
    let (_, reads, defers) = OPTIONS;
    (n / (reads * defers), n / defers % reads, n % defers)
}

fn all() -> std::ops::Range<i32> {
    0..OPTIONS.0 * OPTIONS.1 * OPTIONS.2
}

/// What those leave in the log that are not read-only.
fn written() -> Vec<String> {
    all()
        .filter(|n| options(*n).1 != 1)
        .map(|n| format!("INSERT {n}, context 1 - INSERT"))
        .collect()
}

#[test]
fn every_option() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        for n in all() {
            let (isolation, read, defer) = options(n);
            let result = built!(c, isolation, read, defer).run(|c| {
                seen.push(shown(&mode().get_result::<Mode>(c)));
                insert!(c, n)
            });
            seen.push(shown(&result));
        }
        // It says no to a second one, and to one that fails.
        let nested = c.transaction(|c| c.build_transaction().run(|c| insert!(c, 100)));
        seen.push(shown(&nested));
        let failed = c.build_transaction().serializable().run(|c| {
            insert!(c, 101)?;
            Err::<(), _>(Error::RollbackTransaction)
        });
        seen.push(shown(&failed));
    });
    assert_eq!(log, written());
}

#[test]
fn of_a_test() {
    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        seen.push(shown(&c.begin_test_transaction()));
        seen.push(shown(&insert!(c, 1)));
        let nested = c.transaction(|c| {
            insert!(c, 2)?;
            insert!(c, 1)
        });
        seen.push(shown(&nested));
        seen.push(shown(&c.transaction(|c| insert!(c, 3))));
        seen.push(shown(&todos::table.count().get_result::<i64>(c)));
        let mut other = Own::establish(database.url()).expect("a connection");
        let count = other.test_transaction(|c| {
            insert!(c, 4)?;
            todos::table.count().get_result::<i64>(c)
        });
        seen.push(count.to_string());
        // The same connection afterwards.
        seen.push(shown(&insert!(&mut other, 5)));
    });
    assert_eq!(log, ["INSERT 5, context 1 lead INSERT"]);
}

mod awaited {
    use bemi_diesel::AsyncBemiConnection;
    use diesel::prelude::*;
    use diesel::result::Error;
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    use super::{Mode, all, mode, options, written};
    use crate::alike::{alike_async, insert, shown};
    use crate::todos;

    #[tokio::test]
    async fn every_option() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                for n in all() {
                    let (isolation, read, defer) = options(n);
                    let mut seen_mode = String::new();
                    let result = built!(c, isolation, read, defer)
                        .run(async |c| {
                            seen_mode = shown(&mode().get_result::<Mode>(c).await);
                            insert!(c, n).await
                        })
                        .await;
                    seen.push(seen_mode);
                    seen.push(shown(&result));
                }
                let nested = c.transaction(async |c| {
                    c.build_transaction()
                        .run(async |c| insert!(c, 100).await)
                        .await
                });
                seen.push(shown(&nested.await));
                let failed = c
                    .build_transaction()
                    .serializable()
                    .run(async |c| {
                        insert!(c, 101).await?;
                        Err::<(), _>(Error::RollbackTransaction)
                    })
                    .await;
                seen.push(shown(&failed));
            }
        );
        assert_eq!(log, written());
    }

    #[tokio::test]
    async fn of_a_test() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                seen.push(shown(&c.begin_test_transaction().await));
                seen.push(shown(&insert!(c, 1).await));
                let nested = c.transaction(async |c| {
                    insert!(c, 2).await?;
                    insert!(c, 1).await
                });
                seen.push(shown(&nested.await));
                let nested = c.transaction(async |c| insert!(c, 3).await);
                seen.push(shown(&nested.await));
                seen.push(shown(&todos::table.count().get_result::<i64>(c).await));
                let mut other = Own::establish(database.url()).await.expect("a connection");
                let count = other.test_transaction(async |c| {
                    insert!(c, 4).await?;
                    todos::table.count().get_result::<i64>(c).await
                });
                seen.push(count.await.to_string());
                seen.push(shown(&insert!(&mut other, 5).await));
            }
        );
        assert_eq!(log, ["INSERT 5, context 1 lead INSERT"]);
    }
}

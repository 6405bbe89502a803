//! Pools that lend a connection, take it back, and throw it away.

use bemi_diesel::BemiConnection;
use diesel::prelude::*;
use diesel::sql_query;

use super::{alike, insert, shown};

/// The number of the session, in place of which a program notes whether it is still the same one.
#[derive(Debug, PartialEq, QueryableByName)]
struct Session {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pid: i32,
}

const SESSION: &str = "SELECT pg_backend_pid() AS pid";

#[test]
fn r2d2() {
    use diesel::connection::{AnsiTransactionManager, TransactionManager};
    use diesel::r2d2::{ConnectionManager, Pool};

    let log = alike!([PgConnection, BemiConnection], |database, c, seen| {
        seen.push(shown(&insert!(c, 1)));
        let manager = ConnectionManager::<Own>::new(database.url());
        let pool = Pool::builder()
            .max_size(1)
            .test_on_check_out(true)
            .build(manager)
            .expect("a pool");
        let mut before = None;
        for id in 2..6 {
            let c = &mut pool.get().expect("a connection");
            let session: Session = sql_query(SESSION).get_result(c).expect("a session");
            let same = before.replace(session) == before;
            seen.push(format!("the same session: {same}"));
            seen.push(shown(&insert!(c, id)));
            seen.push(shown(&insert!(c, 1)));
            match id {
                // It comes back in a transaction, and then with one that failed.
                3 => AnsiTransactionManager::begin_transaction(&mut **c).expect("a transaction"),
                4 => {
                    AnsiTransactionManager::begin_transaction(&mut **c).expect("a transaction");
                    seen.push(shown(&insert!(c, 1)));
                }
                _ => {}
            }
        }
    });
    assert_eq!(log, [1, 2, 3, 4, 5].map(lead));
}

fn lead(id: i32) -> String {
    format!("INSERT {id}, context 1 lead INSERT")
}

mod awaited {
    use bemi_diesel::AsyncBemiConnection;
    use diesel::result::Error;
    use diesel::sql_query;
    use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8, deadpool, mobc};
    use diesel_async::{
        AnsiTransactionManager, AsyncConnection, AsyncPgConnection, RunQueryDsl, TransactionManager,
    };

    use super::{SESSION, Session, lead};
    use crate::alike::{alike_async, insert, shown};

    /// What each of the pools is asked.
    macro_rules! lent {
        ($pool:expr, $seen:ident, $from:expr) => {
            let pool = $pool;
            let mut before = None;
            for id in $from..$from + 4 {
                let mut lent = pool.get().await.expect("a connection");
                let session: Session = sql_query(SESSION)
                    .get_result(&mut lent)
                    .await
                    .expect("a session");
                let same = before.replace(session) == before;
                $seen.push(format!("the same session: {same}"));
                $seen.push(shown(&insert!(&mut lent, id).await));
                $seen.push(shown(&insert!(&mut lent, 1).await));
                let rolled_back = lent
                    .transaction(async |c| {
                        insert!(c, 100).await?;
                        Err::<(), _>(Error::RollbackTransaction)
                    })
                    .await;
                $seen.push(shown(&rolled_back));
                if id == $from + 1 {
                    // It comes back in a transaction.
                    let c: &mut Own = &mut lent;
                    AnsiTransactionManager::begin_transaction(c)
                        .await
                        .expect("a transaction");
                }
            }
        };
    }

    #[tokio::test]
    async fn deadpool_bb8_and_mobc() {
        let log = alike_async!(
            [AsyncPgConnection, AsyncBemiConnection],
            |database, c, seen| {
                seen.push(shown(&insert!(c, 1).await));
                let manager = || AsyncDieselConnectionManager::<Own>::new(database.url());
                lent!(
                    deadpool::Pool::builder(manager())
                        .max_size(1)
                        .build()
                        .expect("a pool"),
                    seen,
                    10
                );
                lent!(
                    bb8::Pool::builder()
                        .max_size(1)
                        .build(manager())
                        .await
                        .expect("a pool"),
                    seen,
                    20
                );
                lent!(mobc::Pool::builder().max_open(1).build(manager()), seen, 30);
            }
        );
        // mobc lends a connection that came back in a transaction as it is, and the next user ends that.
        let ids = [1].into_iter().chain(10..14).chain(20..24);
        let ids = ids.chain([30, 31, 33]);
        assert_eq!(log, ids.map(lead).collect::<Vec<_>>());
    }
}

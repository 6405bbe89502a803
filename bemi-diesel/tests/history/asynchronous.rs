//! Journeys over the asynchronous connection.

use bemi_diesel::history::TravelError;
use diesel::result::Error;
use diesel::{QueryDsl, SelectableHelper};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::as_of::{Author, author, authors, library, reason};

#[test]
fn asynchronous_queries_travel_too() {
    let (shop, instants) = library();
    shop.asynchronously(async |connection| {
        let query = || {
            authors::table
                .order(authors::id)
                .select(Author::as_select())
        };
        let then = connection
            .as_of(instants[2], async |connection| {
                let all = query().load(connection).await?;
                let same = connection
                    .transaction(async |connection| query().load(connection).await)
                    .await?;
                assert_eq!(all, same);
                let write = diesel::delete(authors::table).execute(connection).await;
                assert_eq!(reason(write), TravelError::Write);
                assert_eq!(
                    reason(connection.batch_execute("DELETE FROM authors").await),
                    TravelError::Write
                );
                Ok::<_, Error>(all)
            })
            .await;
        assert_eq!(then, Ok(vec![author(1, "Anna"), author(2, "Bob")]));
        assert_eq!(query().load(connection).await, Ok(vec![author(2, "Carl")]));
        let failed: Result<(), Error> = connection
            .as_of(instants[2], async |_| Err(Error::NotFound))
            .await;
        assert_eq!(failed, Err(Error::NotFound));
        assert_eq!(query().load(connection).await, Ok(vec![author(2, "Carl")]));
    });
}

//! One value by one query.

use postgres::{Client, NoTls};

/// The text in the one column of the one row that `query` gives.
pub(crate) fn value(url: &str, query: &str) -> String {
    let mut client = Client::connect(url, NoTls).expect("the server is reachable");
    client
        .query_one(query, &[])
        .expect("the query gives a row")
        .get(0)
}

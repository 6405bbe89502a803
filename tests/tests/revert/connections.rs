//! Both connections, in a transaction or not, with the trail here or elsewhere.

use bemi_diesel::revert::Action;
use bemi_diesel::schema::changes;
use bemi_diesel::{
    AsyncBemiConnection, BemiConnection, Capture, Change, Context, Revert, RevertError, scope,
    sync_scope,
};
use bemi_tests::Database;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use postgres::NoTls;
use serde_json::json;

use crate::support::Shop;

fn todos() -> Shop {
    Shop::open(
        "CREATE TABLE todos (id int PRIMARY KEY, title text); INSERT INTO todos VALUES (1, 'a')",
    )
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    setting: String,
}

#[test]
fn without_blocking() {
    let mut shop = todos();
    let renamed = shop.transaction("UPDATE todos SET title = 'x'");
    shop.caught_up();
    let url = shop.database.url().to_owned();
    // On another thread: the future can be sent.
    let reverting = async move {
        let mut connection =
            <AsyncBemiConnection as diesel_async::AsyncConnection>::establish(&url)
                .await
                .unwrap();
        let revert = Revert::new().transaction(renamed);
        let plan = revert.plan(&mut connection).await.unwrap();
        let context = Context::new().with("user", 7);
        let reverted = scope(context, revert.apply(&mut connection)).await.unwrap();
        assert_eq!(plan, reverted.plan);
        let again = revert.apply(&mut connection).await.unwrap();
        assert_eq!((again.plan.rows.len(), again.plan.unchanged), (0, 1));
    };
    shop.runtime
        .block_on(shop.runtime.spawn(reverting))
        .unwrap();
    assert_eq!(shop.rows("todos"), [json!({"id": 1, "title": "a"})]);
    shop.caught_up();
    let sql = "SELECT (context - 'SQL')::text FROM changes ORDER BY commit_lsn DESC LIMIT 1";
    let context: String = shop.client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(
        context,
        format!(r#"{{"user": 7, "revert": {{"transaction": {renamed}}}}}"#)
    );
}

#[test]
fn inside_a_transaction() {
    let mut shop = todos();
    let renamed = shop.transaction("UPDATE todos SET title = 'x'");
    shop.sql("CREATE TABLE other (id int PRIMARY KEY)");
    shop.caught_up();
    let connection = &mut shop.connection;
    let mut titles = Vec::new();
    let setting = |connection: &mut BemiConnection| {
        let sql = "SELECT current_setting('timezone') || current_setting('datestyle') AS setting";
        diesel::sql_query(sql)
            .get_result::<Setting>(connection)
            .unwrap()
            .setting
    };
    connection
        .batch_execute("SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German, DMY'")
        .unwrap();
    connection
        .transaction::<_, RevertError, _>(|connection| {
            connection
                .batch_execute("INSERT INTO other VALUES (1)")
                .unwrap();
            let revert = Revert::new().transaction(renamed);
            sync_scope(Context::new().with("user", 7), || revert.apply(connection))?;
            // The session is the application's again.
            titles.push(setting(connection));
            // A revert that fails leaves the transaction as it was.
            assert!(Revert::new().apply(connection).is_err());
            connection.batch_execute("UPDATE todos SET id = 2").unwrap();
            Ok(())
        })
        .map_err(|error| panic!("{error:?}"))
        .unwrap();
    assert_eq!(titles, ["Asia/KathmanduGerman, DMY"]);
    assert_eq!(shop.rows("todos"), [json!({"id": 2, "title": "a"})]);
    assert_eq!(shop.rows("other"), [json!({"id": 1})]);
}

#[test]
fn changes_from_a_query() {
    let mut shop = todos();
    shop.sql("UPDATE todos SET title = 'b'");
    shop.sql("INSERT INTO todos VALUES (2, 'c'); UPDATE todos SET title = 'd' WHERE id = 2");
    shop.caught_up();
    let mut found: Vec<Change> = changes::table
        .filter(changes::primary_key.eq("2"))
        .select(Change::as_select())
        .load(&mut shop.connection)
        .unwrap();
    // In any order, and named twice.
    found.reverse();
    found.extend(found.clone());
    let reverted = shop.revert(&Revert::of(found.clone()));
    assert_eq!((reverted.plan.changes, reverted.plan.rows.len()), (2, 1));
    assert_eq!(reverted.plan.rows[0].action, Action::Delete);
    found[0].database = "another".into();
    assert!(matches!(
        shop.apply(&Revert::of(found)),
        Err(RevertError::OtherDatabase)
    ));
}

#[test]
fn one_change() {
    let mut shop = todos();
    shop.sql("UPDATE todos SET title = 'b'; INSERT INTO todos VALUES (2, 'c')");
    shop.caught_up();
    let id: uuid::Uuid = changes::table
        .filter(changes::operation.eq("CREATE"))
        .select(changes::id)
        .get_result(&mut shop.connection)
        .unwrap();
    shop.revert(&Revert::new().change(id));
    assert_eq!(shop.rows("todos"), [json!({"id": 1, "title": "b"})]);
}

#[test]
fn the_trail_of_another_database() {
    let [source, destination] = [Database::create().unwrap(), Database::create().unwrap()];
    let mut client = postgres::Client::connect(source.url(), NoTls).unwrap();
    client
        .batch_execute("CREATE TABLE todos (id int PRIMARY KEY, title text)")
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let builder = Capture::builder(source.url())
        .destination(destination.url())
        .slot(source.name());
    let capture = runtime.block_on(builder.start()).unwrap();
    client.batch_execute("TRUNCATE todos").unwrap();
    client
        .batch_execute("INSERT INTO todos VALUES (1, 'a'); TRUNCATE todos")
        .unwrap();
    let row = client
        .query_one(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (SELECT system_identifier FROM pg_control_system()), clock_timestamp()::text",
            &[],
        )
        .unwrap();
    let end = bemi_diesel::Lsn::from_i64(row.get(0));
    runtime.block_on(capture.wait_for(end)).unwrap();

    let mut trail = BemiConnection::establish(destination.url()).unwrap();
    let mut connection = BemiConnection::establish(source.url()).unwrap();
    let revert = Revert::new()
        .operation(bemi_diesel::Operation::Truncate)
        .since(chrono::DateTime::UNIX_EPOCH);
    let read = revert.read(&mut trail, row.get(1), source.name()).unwrap();
    // Both of them: there was nothing before the first.
    let reverted = read.apply(&mut connection);
    assert!(matches!(reverted, Err(RevertError::Conflicts(_))));
    let last =
        "SELECT id FROM changes WHERE operation = 'TRUNCATE' ORDER BY commit_lsn DESC LIMIT 1";
    let id: uuid::Uuid = postgres::Client::connect(destination.url(), NoTls)
        .unwrap()
        .query_one(last, &[])
        .unwrap()
        .get(0);
    let read = Revert::new()
        .change(id)
        .read(&mut trail, row.get(1), source.name())
        .unwrap();
    read.apply(&mut connection).unwrap();
    let rows = client.query("SELECT title FROM todos", &[]).unwrap();
    assert_eq!(
        rows.iter().map(|row| row.get(0)).collect::<Vec<&str>>(),
        ["a"]
    );
}

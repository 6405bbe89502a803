//! An application as people write it: actix-web, diesel, and the wrapped connections.

use actix_web::web::{Data, Path};
use actix_web::{App, HttpResponse, Responder, post, test};
use bemi_actix::{BemiMiddleware, Member};
use bemi_diesel::{BemiConnection, Context, bemi_context, set_context, sync_scope};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use serde_json::json;

use crate::support::Trail;

diesel::table! {
    todos { id -> Integer, title -> Text, done -> Bool }
}

const TODOS: &str = "CREATE TABLE todos (id serial PRIMARY KEY, title text NOT NULL, done bool NOT NULL DEFAULT false)";

type Connections = Pool<ConnectionManager<BemiConnection>>;

fn pool(trail: &Trail) -> Connections {
    Pool::builder()
        .max_size(1)
        .build(ConnectionManager::new(trail.database.url()))
        .unwrap()
}

#[post("/todos/{title}")]
#[bemi_context(params = json!({ "title": *title }), step = "sync")]
async fn create(pool: Data<Connections>, title: Path<String>) -> impl Responder {
    let inserted = bemi_actix::block(move || {
        let mut connection = pool.get().unwrap();
        let insert = diesel::insert_into(todos::table).values(todos::title.eq(&*title));
        insert.execute(&mut connection).unwrap()
    });
    HttpResponse::Ok().body(inserted.await.unwrap().to_string())
}

#[actix_web::test]
async fn a_request_of_actix_gives_its_changes_their_context() {
    let trail = Trail::start(TODOS).await;
    let context = |request: &actix_web::dev::ServiceRequest| {
        let user = request
            .headers()
            .get("x-user")
            .and_then(|user| user.to_str().ok());
        Context::new().with("user", user)
    };
    let app = test::init_service(
        App::new()
            .app_data(Data::new(pool(&trail)))
            .wrap(
                BemiMiddleware::builder()
                    .members([Member::Method, Member::Endpoint, Member::Route])
                    .context(context)
                    .build(),
            )
            .service(create),
    )
    .await;
    let request = test::TestRequest::post()
        .uri("/todos/Sleep")
        .insert_header(("x-user", "ann"))
        .to_request();
    assert_eq!(test::call_and_read_body(&app, request).await, "1");
    assert_eq!(
        trail.changes().await,
        [
            json!(["CREATE", "todos", "1", {}, {"id": 1, "title": "Sleep", "done": false}, {
                "method": "POST",
                "endpoint": "/todos/Sleep",
                "route": "/todos/{title}",
                "params": {"title": "Sleep"},
                "step": "sync",
                "user": "ann",
                "SQL": "INSERT INTO \"todos\" (\"title\") VALUES ($1)",
            }])
        ]
    );
}

#[tokio::test]
async fn the_sync_connection_in_and_out_of_transactions() {
    let trail = Trail::start(TODOS).await;
    let url = trail.database.url().to_owned();
    let work = move || {
        let mut connection = BemiConnection::establish(&url).unwrap();
        let insert = |connection: &mut BemiConnection, title: &str| {
            diesel::insert_into(todos::table)
                .values(todos::title.eq(title))
                .execute(connection)
        };
        insert(&mut connection, "outside").unwrap();
        sync_scope(Context::new().with("user", 1), || {
            insert(&mut connection, "alone").unwrap();
            connection
                .transaction(|connection| {
                    insert(connection, "in a transaction")?;
                    let nested: QueryResult<()> = connection.transaction(|connection| {
                        insert(connection, "rolled back")?;
                        Err(diesel::result::Error::RollbackTransaction)
                    });
                    assert_eq!(nested, Err(diesel::result::Error::RollbackTransaction));
                    set_context("user", 2);
                    insert(connection, "after the context changed")
                })
                .unwrap();
        });
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    let sql = "INSERT INTO \"todos\" (\"title\") VALUES ($1)";
    assert_eq!(
        trail.contexts().await,
        [
            json!(["1", {}]),
            json!(["2", {"user": 1, "SQL": sql}]),
            json!(["3", {"user": 1, "SQL": sql}]),
            json!(["5", {"user": 2}]),
        ]
    );
}

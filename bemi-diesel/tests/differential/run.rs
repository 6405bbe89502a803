//! Running programs, and comparing what they did.

mod execute;

use std::fmt::Debug;

use bemi_diesel::{AsyncBemiConnection, BemiConnection, Context, scope, sync_scope};
use bemi_tests::{Cluster, Database};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel_async::{AsyncConnection, AsyncPgConnection};

use crate::schema::{TABLES, Value};
use crate::step::Step;

pub(crate) use execute::{async_bemi, async_plain, sync_bemi, sync_plain};

/// What the steps of a program did, one after another.
pub(crate) type Log = Vec<String>;

/// Beside the connection of a program.
pub(crate) struct World {
    pub(crate) elsewhere: PgConnection,
    pub(crate) log: Log,
}

impl World {
    pub(crate) fn new(database: &Database) -> Self {
        Self {
            elsewhere: PgConnection::establish(database.url()).expect("the server is ready"),
            log: Log::new(),
        }
    }

    /// Notes how `step` went, and passes it on.
    fn note<T: Debug>(&mut self, step: &Step, result: QueryResult<T>) -> QueryResult<()> {
        self.log.push(format!("{step:?} => {}", shown(&result)));
        result.map(drop)
    }
}

/// A result in full: of an error the kind, the message and whatever else the server said.
pub(crate) fn shown<T: Debug>(result: &QueryResult<T>) -> String {
    match result {
        Err(Error::DatabaseError(kind, about)) => format!(
            "{kind:?}: {} ({:?}, {:?}, {:?}, {:?}, {:?}, {:?})",
            about.message(),
            about.details(),
            about.hint(),
            about.table_name(),
            about.column_name(),
            about.constraint_name(),
            about.statement_position(),
        ),
        other => format!("{other:?}"),
    }
}

/// Runs `steps` on each of the four connections, one after another in a database that is made anew with
/// [`TABLES`] and `setup`, and holds the wrapped ones to what the plain ones did.
pub(crate) fn same(setup: &str, steps: &[Step]) {
    same_as("postgres", [setup], steps);
}

/// The same as the user `user`, with each of `setups`.
pub(crate) fn same_as<'a>(user: &str, setups: impl IntoIterator<Item = &'a str>, steps: &[Step]) {
    let database = Database::create_in(cluster()).expect("a database");
    for setup in setups {
        if let Err(difference) = same_in(&database, user, setup, steps) {
            panic!("{difference}\nwith {setup}");
        }
    }
}

/// The same in a database that is there. Returns what differs.
pub(crate) fn same_in(
    database: &Database,
    user: &str,
    setup: &str,
    steps: &[Step],
) -> Result<(), String> {
    let [plain, bemi, plain_async, bemi_async] =
        [Kind::Plain, Kind::Bemi, Kind::PlainAsync, Kind::BemiAsync].map(|kind| {
            prepare(database, setup);
            run(kind, database, user, steps)
        });
    compare("BemiConnection", &plain, &bemi)?;
    compare("AsyncBemiConnection", &plain_async, &bemi_async)
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Bemi,
    PlainAsync,
    BemiAsync,
}

/// Runs `steps`, and appends to what they did what is in the database afterwards.
fn run(kind: Kind, database: &Database, user: &str, steps: &[Step]) -> Log {
    let mut world = World::new(database);
    let url = database.url().replace("postgres@", &format!("{user}@"));
    let context = Context::new().with("n", 0);
    macro_rules! sync {
        ($module:ident, $connection:ty) => {{
            let mut c = <$connection>::establish(&url).expect("the server is ready");
            sync_scope(context, || {
                $module::top(&mut c, steps, &mut world);
            });
        }};
    }
    macro_rules! asynchronous {
        ($module:ident, $connection:ty) => {
            block_on(scope(context, async {
                let mut c = <$connection>::establish(&url)
                    .await
                    .expect("the server is ready");
                $module::top(&mut c, steps, &mut world).await;
            }))
        };
    }
    match kind {
        Kind::Plain => sync!(sync_plain, PgConnection),
        Kind::Bemi => sync!(sync_bemi, BemiConnection),
        Kind::PlainAsync => asynchronous!(async_plain, AsyncPgConnection),
        Kind::BemiAsync => asynchronous!(async_bemi, AsyncBemiConnection),
    }
    let mut log = world.log;
    log.extend(contents(database));
    log
}

/// Makes the schema `public` anew.
pub(crate) fn prepare(database: &Database, setup: &str) {
    // A database for each run would be cleaner, and take most of the time.
    const ANEW: &str = "SET client_min_messages = error; DROP SCHEMA public CASCADE; \
        CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC;";
    PgConnection::establish(database.url())
        .expect("the server is ready")
        .batch_execute(&format!("{ANEW}{TABLES}{setup}"))
        .expect("the tables");
}

/// With the user `app`, who owns nothing and bypasses nothing.
pub(crate) fn cluster() -> &'static Cluster {
    static READY: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    let cluster = Cluster::shared().expect("a cluster");
    READY.get_or_init(|| {
        PgConnection::establish(&cluster.url("postgres"))
            .map(|mut c| c.batch_execute("CREATE ROLE app LOGIN"))
            .expect("the server is ready")
            .expect("a role");
    });
    cluster
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Every row of every table, and how far the sequences are.
pub(crate) fn contents(database: &Database) -> Log {
    const RELATIONS: &str = "SELECT oid::regclass::text AS value FROM pg_class \
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";
    let mut c = PgConnection::establish(database.url()).expect("the server is ready");
    let mut ask = |sql: &str| {
        let rows: Vec<Value> = diesel::sql_query(sql).load(&mut c).expect("the contents");
        rows.into_iter()
            .map(|row| row.value.unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let relations = ask(RELATIONS);
    let mut log = ask(
        "SELECT format('%s: %s', sequencename, last_value) AS value FROM pg_sequences ORDER BY value",
    );
    for relation in relations {
        let rows = ask(&format!(
            "SELECT t::text AS value FROM {relation} t ORDER BY value"
        ));
        log.push(format!("{relation}: {rows:?}"));
    }
    log
}

fn compare(name: &str, plain: &Log, wrapped: &Log) -> Result<(), String> {
    let differs = plain
        .iter()
        .zip(wrapped)
        .find(|(plain, wrapped)| plain != wrapped);
    match differs {
        Some((plain, wrapped)) => Err(format!("{name}: {wrapped}\n  plain: {plain}")),
        None if plain.len() == wrapped.len() => Ok(()),
        None => Err(format!("{name}: another number of steps")),
    }
}

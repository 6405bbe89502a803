//! Clients of a scheme's database.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use bemi_diesel::{AsyncBemiConnection, BemiConnection, Context, SharedContext};
use bemi_tests::{Cluster, Database};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::future::try_join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::runtime::Runtime;

use crate::commented::CommentConnection;
use crate::network;
use crate::schemes::Scheme;
use crate::workload::{self, TABLE, Workload};

/// How many clients there are, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    One,
    Far,
    Eight,
    /// As it is outside of benchmarks: a commit waits for the disk.
    Durable,
}

impl Place {
    pub(crate) const ALL: [Self; 4] = [Self::One, Self::Far, Self::Eight, Self::Durable];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one client, unix socket",
            Self::Far => "one client, 1 ms of network",
            Self::Eight => "eight clients, unix socket",
            Self::Durable => "eight clients, unix socket, fsync on",
        }
    }

    /// Lets the server's commits wait for the disk, or not.
    pub(crate) fn prepare(self, cluster: &Cluster) -> Result<(), Box<dyn Error>> {
        let mut admin = PgConnection::establish(&cluster.url("postgres"))?;
        let fsync = if self == Self::Durable { "on" } else { "off" };
        admin.batch_execute(&format!("ALTER SYSTEM SET fsync = {fsync}"))?;
        admin.batch_execute("SELECT pg_reload_conf()")?;
        let now = diesel::dsl::sql::<Text>("SELECT current_setting('fsync')");
        while now.clone().get_result::<String>(&mut admin)? != fsync {}
        Ok(())
    }

    fn clients(self) -> usize {
        match self {
            Self::One | Self::Far => 1,
            Self::Eight | Self::Durable => 8,
        }
    }

    fn url(self, cluster: &Cluster, database: &str) -> Result<String, Box<dyn Error>> {
        let (host, port) = match self {
            Self::One | Self::Eight | Self::Durable => {
                let folder = cluster.socket_folder().to_string_lossy();
                let folder = utf8_percent_encode(&folder, NON_ALPHANUMERIC);
                (folder.to_string(), cluster.port())
            }
            Self::Far => ("127.0.0.1".to_owned(), network::slow(cluster.port())?),
        };
        Ok(format!("postgres://postgres@{host}:{port}/{database}"))
    }
}

/// The clients of one scheme.
pub(crate) struct Contender {
    clients: Clients,
    /// How many operations each client has done.
    turns: i64,
    // Goes after its clients.
    _database: Database,
}

enum Clients {
    Plain(Vec<PgConnection>),
    Bemi(Vec<BemiConnection>),
    Commented(Vec<CommentConnection>),
    PlainAsync(Runtime, Vec<AsyncPgConnection>),
    BemiAsync(Runtime, Vec<AsyncBemiConnection>),
}

impl Contender {
    pub(crate) fn sync(
        cluster: &Cluster,
        scheme: Scheme,
        place: Place,
    ) -> Result<Self, Box<dyn Error>> {
        let (database, url) = prepare(cluster, scheme, place)?;
        let clients = match scheme {
            Scheme::Plain | Scheme::AuditTable => Clients::Plain(establish(&url, place)?),
            Scheme::Bemi => Clients::Bemi(establish(&url, place)?),
            Scheme::CommentAndTrigger => Clients::Commented(establish(&url, place)?),
        };
        Ok(Self::new(clients, database))
    }

    pub(crate) fn asynchronous(
        cluster: &Cluster,
        scheme: Scheme,
        place: Place,
    ) -> Result<Self, Box<dyn Error>> {
        let (database, url) = prepare(cluster, scheme, place)?;
        // As an actix worker has it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let urls = || vec![url.as_str(); place.clients()];
        let clients = if scheme == Scheme::Bemi {
            let clients = urls().into_iter().map(AsyncBemiConnection::establish);
            let clients = runtime.block_on(try_join_all(clients))?;
            Clients::BemiAsync(runtime, clients)
        } else {
            let clients = urls().into_iter().map(AsyncPgConnection::establish);
            let clients = runtime.block_on(try_join_all(clients))?;
            Clients::PlainAsync(runtime, clients)
        };
        Ok(Self::new(clients, database))
    }

    fn new(clients: Clients, database: Database) -> Self {
        Self {
            clients,
            turns: 0,
            _database: database,
        }
    }

    /// Lets each client do `workload` so many `times`. Returns how long that took.
    pub(crate) fn turn(&mut self, workload: Workload, times: u32) -> QueryResult<Duration> {
        let first = self.turns;
        self.turns += i64::from(times);
        let turns = first..self.turns;
        /// Blocking clients.
        macro_rules! sync {
            ($module:ident, $clients:expr) => {
                blocking($clients, turns, |c, client, turn| {
                    workload::$module::run(c, workload, client, turn)
                })
            };
        }
        /// The others.
        macro_rules! asynchronous {
            ($module:ident, $runtime:expr, $clients:expr) => {{
                let work = (0..).zip($clients).map(|(client, c)| {
                    let turns: Vec<_> = turns.clone().map(|turn| (turn, context(turn))).collect();
                    async move {
                        for (turn, context) in turns {
                            context
                                .scope(workload::$module::run(c, workload, client, turn))
                                .await?;
                        }
                        QueryResult::Ok(())
                    }
                });
                let work = try_join_all(work);
                let started = Instant::now();
                $runtime.block_on(work)?;
                Ok(started.elapsed())
            }};
        }
        match &mut self.clients {
            Clients::Plain(clients) => sync!(plain, clients),
            Clients::Bemi(clients) => sync!(bemi, clients),
            Clients::Commented(clients) => sync!(commented, clients),
            Clients::PlainAsync(runtime, clients) => {
                asynchronous!(plain_async, runtime, clients)
            }
            Clients::BemiAsync(runtime, clients) => asynchronous!(bemi_async, runtime, clients),
        }
    }
}

fn prepare(
    cluster: &Cluster,
    scheme: Scheme,
    place: Place,
) -> Result<(Database, String), Box<dyn Error>> {
    let database = Database::create_in(cluster)?;
    let mut admin = PgConnection::establish(database.url())?;
    admin.batch_execute(&format!("{TABLE}{}", scheme.sql()))?;
    admin.batch_execute("VACUUM ANALYZE items")?;
    let url = place.url(cluster, database.name())?;
    Ok((database, url))
}

fn establish<C: Connection>(url: &str, place: Place) -> Result<Vec<C>, diesel::ConnectionError> {
    (0..place.clients()).map(|_| C::establish(url)).collect()
}

/// A context of its own for each operation, as each request has. It is made before the clock runs: the
/// middleware makes it, not the connection.
fn context(turn: i64) -> SharedContext {
    SharedContext::new(
        Context::new()
            .with("user_id", turn)
            .with("method", "POST")
            .with("endpoint", "/items")
            .with("request_id", format!("{turn:032x}")),
    )
}

fn blocking<C: Send>(
    clients: &mut [C],
    turns: std::ops::Range<i64>,
    run: impl Fn(&mut C, i64, i64) -> QueryResult<()> + Sync,
) -> QueryResult<Duration> {
    let work = |c: &mut C, client: i64, contexts: Vec<SharedContext>| {
        for (turn, context) in turns.clone().zip(contexts) {
            context.in_scope(|| run(c, client, turn))?;
        }
        QueryResult::Ok(())
    };
    let contexts = || turns.clone().map(context).collect::<Vec<_>>();
    if let [client] = clients {
        let contexts = contexts();
        let started = Instant::now();
        work(client, 0, contexts)?;
        return Ok(started.elapsed());
    }
    let contexts: Vec<_> = clients.iter().map(|_| contexts()).collect();
    let started = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(clients)
            .zip(contexts)
            .map(|((client, c), contexts)| scope.spawn(move || work(c, client, contexts)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    Ok(started.elapsed())
}

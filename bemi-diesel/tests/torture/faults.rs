//! A capture and its servers, and what befalls them.

use std::time::{Duration, Instant};

use bemi_tests::{Cluster, Database, Shutdown};
use fastrand::Rng;
use postgres::{Client, NoTls};

use crate::proxy::Proxy;
use crate::support::{Capture, PATIENCE, Shop};
use crate::trail::{self, Change};
use crate::truth::{self, Truth};
use crate::writer::Budget;

/// Which of the two servers, or of the networks to them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// What befalls the capture.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// SIGKILL; another one is started.
    Kill,
    /// SIGKILL while another one stands by.
    TakeOver,
    /// The process that serves the slot is ended.
    EndWalsender,
    /// The session that stores is ended.
    EndSink,
    /// The server is stopped, and started again.
    Stop(Side),
    /// The server crashes, and recovers.
    Crash(Side),
    /// The network is cut after as many bytes from the server.
    Cut(Side, usize),
    /// The network is down while transactions are committed.
    Down(Side),
    /// The network is silent for a moment.
    Stall(Side),
    /// The network is silent until the capture gives the connection up.
    Silence(Side),
}

impl Fault {
    pub(crate) fn any(random: &mut Rng) -> Self {
        let side = if random.bool() {
            Side::Source
        } else {
            Side::Destination
        };
        match random.u8(0..20) {
            0..4 => Self::Kill,
            4..6 => Self::TakeOver,
            6..8 => Self::EndWalsender,
            8..10 => Self::EndSink,
            10 => Self::Stop(side),
            11..14 => Self::Crash(side),
            14..16 => Self::Cut(side, random.usize(0..60_000)),
            16 => Self::Cut(side, random.usize(0..3_000)),
            17 => Self::Down(side),
            18 => Self::Stall(side),
            _ => Self::Silence(side),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::TakeOver => "take over",
            Self::EndWalsender => "end walsender",
            Self::EndSink => "end sink",
            Self::Stop(_) => "stop",
            Self::Crash(_) => "crash",
            Self::Cut(..) => "cut",
            Self::Down(_) => "down",
            Self::Stall(_) => "stall",
            Self::Silence(_) => "silence",
        }
    }
}

pub(crate) struct World {
    // Dropped first.
    capture: Option<Capture>,
    shop: Shop,
    /// The networks to source and destination.
    networks: [Proxy; 2],
    /// The source's server, and the destination's if that is another one.
    clusters: Vec<Cluster>,
}

impl World {
    /// The trail is in the captured database.
    pub(crate) fn together() -> Self {
        Self::new(vec![Cluster::start().unwrap()])
    }

    /// The trail is on another server.
    pub(crate) fn apart() -> Self {
        Self::new(vec![Cluster::start().unwrap(), Cluster::start().unwrap()])
    }

    fn new(clusters: Vec<Cluster>) -> Self {
        let mut shop = Shop::open_in(&clusters[0]);
        if let Some(cluster) = clusters.get(1) {
            shop.destination = Some(Database::create_in(cluster).unwrap());
        }
        shop.sql(truth::SCHEMA);
        let setup = shop.bemi(&["setup", "--exclude", "journal"]);
        assert_eq!(setup.code, 0, "{}", setup.stderr);
        let ports = [&clusters[0], clusters.last().unwrap()].map(Cluster::port);
        let mut world = Self {
            capture: None,
            shop,
            networks: ports.map(Proxy::start),
            clusters,
        };
        let capture = world.start();
        capture.says("capture reads the log");
        world.capture = Some(capture);
        world
    }

    pub(crate) fn url(&self) -> String {
        self.shop.database.url().to_owned()
    }

    fn start(&self) -> Capture {
        let through = |side: Side, url: &str| {
            let url = self.networks[side as usize].through(url);
            format!("{url}?tcp_user_timeout=1500")
        };
        let source = through(Side::Source, self.shop.database.url());
        let destination = through(Side::Destination, self.shop.trail().url());
        Capture::start(&mut self.shop.command(&[
            "run",
            "--database-url",
            &source,
            "--destination-url",
            &destination,
        ]))
    }

    /// Lets it happen, and what is broken is mended.
    pub(crate) fn suffer(&mut self, fault: Fault, budget: &Budget) {
        match fault {
            Fault::Kill => {
                self.networks.iter().for_each(Proxy::restore);
                self.capture.take().unwrap().kill();
                let next = self.start();
                next.says("capture reads the log");
                self.capture = Some(next);
            }
            Fault::TakeOver => {
                self.networks.iter().for_each(Proxy::restore);
                self.goes_on();
                let next = self.start();
                // At this moment the first one may have no connection: then this one reads.
                next.says("slot=");
                self.capture.replace(next).unwrap().kill();
            }
            Fault::EndWalsender => self.end(
                self.shop.database.url(),
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL",
            ),
            Fault::EndSink => self.end(
                self.shop.trail().url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = 'bemi' AND backend_type = 'client backend'",
            ),
            Fault::Stop(side) => self.restart(side, Shutdown::Fast),
            Fault::Crash(side) => self.restart(side, Shutdown::Immediate),
            Fault::Cut(side, bytes) => {
                self.networks[side as usize].cut_after(bytes);
                budget.committed(20);
            }
            Fault::Down(side) => {
                self.networks[side as usize].go_down();
                budget.committed(20);
                self.networks[side as usize].restore();
            }
            Fault::Stall(side) => {
                self.networks[side as usize].fall_silent();
                budget.committed(10);
                self.networks[side as usize].restore();
            }
            Fault::Silence(side) => {
                let capture = self.capture.as_ref().unwrap();
                capture.heard();
                self.networks[side as usize].fall_silent();
                // A destination that is asked for nothing owes no answer.
                budget.grant(5);
                capture.says("capture reconnects");
                self.networks[side as usize].restore();
            }
        }
        let capture = self.capture.as_mut().unwrap();
        if capture.has_ended() {
            panic!("the capture has given up: {:?}", capture.last_words());
        }
    }

    fn end(&self, url: &str, sql: &str) {
        let mut client = Client::connect(url, NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }

    fn restart(&mut self, side: Side, how: Shutdown) {
        let last = self.clusters.len() - 1;
        let cluster = &mut self.clusters[last.min(side as usize)];
        let took = cluster.stop(how).unwrap();
        assert!(took.as_secs() < 20, "the server took {took:?} to stop");
        cluster.start_again().unwrap();
    }

    /// Waits until something more is stored, or everything is.
    pub(crate) fn goes_on(&mut self) {
        self.networks.iter().for_each(Proxy::restore);
        let (stored, end) = (self.stored(), self.log_end());
        // A position that no change belongs to is stored after half a minute, or when it is asked for.
        self.shop
            .sql("SELECT pg_logical_emit_message(false, '_bemi_heartbeat', '')");
        let mut client = Client::connect(self.shop.trail().url(), NoTls).unwrap();
        self.wait_until(PATIENCE, || {
            let sql = "SELECT changes > $1 OR flush_lsn >= $2::text::pg_lsn FROM _bemi_progress";
            client.query_one(sql, &[&stored, &end]).unwrap().get(0)
        });
    }

    fn wait_until(&mut self, patience: Duration, mut condition: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !condition() {
            let capture = self.capture.as_mut().unwrap();
            assert!(
                begun.elapsed() < patience && !capture.has_ended(),
                "{:#?}",
                capture.heard()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn stored(&self) -> i64 {
        self.shop.stored("SELECT changes FROM _bemi_progress")
    }

    fn log_end(&self) -> String {
        self.shop.value("SELECT pg_current_wal_insert_lsn()::text")
    }

    /// What was committed.
    pub(crate) fn truth(&self) -> Truth {
        Truth::read(&mut self.shop.client())
    }

    /// The rows of every table.
    pub(crate) fn live(&self) -> truth::Tables {
        truth::live(&mut self.shop.client())
    }

    /// What is stored, once that is everything.
    pub(crate) fn caught_up(&mut self) -> Vec<Change> {
        self.networks.iter().for_each(Proxy::restore);
        self.shop.sql("INSERT INTO keyless VALUES (-1, 'last')");
        let mut client = Client::connect(self.shop.trail().url(), NoTls).unwrap();
        let last = "SELECT EXISTS (SELECT FROM changes WHERE \"table\" = 'keyless' AND after ->> 'v' = 'last')";
        self.wait_until(PATIENCE * 4, || client.query_one(last, &[]).unwrap().get(0));
        trail::read(&mut client)
    }
}

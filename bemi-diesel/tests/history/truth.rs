//! Random histories: as of each instant the tables are what they were.
//!
//! The test keeps the truth itself: after each transaction it reads the live tables, and a join of two of
//! them. `BEMI_HISTORY_SEED` replays a seed.

use std::collections::BTreeMap;

use bemi_diesel::history::rows_as_of;
use bemi_diesel::{BemiConnection, JsonObject, Lsn};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::support::Shop;

const SCHEMA: &str = "CREATE TABLE items (id int PRIMARY KEY, owner int, name text, price numeric, tags int[], meta jsonb, at timestamptz);
    CREATE TABLE owners (a int, b text, label text, PRIMARY KEY (b, a)); CREATE TABLE notes (line text, n int)";

/// What is asked, of the present and of the past.
const QUERIES: [&str; 4] = [
    "SELECT to_jsonb(t)::text AS row FROM items t",
    "SELECT to_jsonb(t)::text AS row FROM owners t",
    "SELECT to_jsonb(t)::text AS row FROM notes t",
    "SELECT to_jsonb(t)::text AS row FROM (SELECT items.id, items.name, owners.label, count(notes.n) AS n FROM items \
     JOIN owners ON owners.a = items.owner LEFT JOIN notes ON notes.n = items.id GROUP BY 1, 2, 3, owners.b) t",
];

/// Those that get columns and lose them.
const TABLES: [&str; 2] = ["items", "notes"];

const STEPS: usize = 200;

/// A row's columns, each as the text of its JSON.
type Row = BTreeMap<String, String>;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    row: String,
}

fn row(json: &str) -> Row {
    let object: JsonObject = json.parse().expect("an object");
    let members = object.members().expect("members").into_iter();
    members
        .map(|(name, value)| (name, value.get().to_owned()))
        .collect()
}

fn ask(connection: &mut BemiConnection, query: &str) -> QueryResult<Vec<Row>> {
    let lines: Vec<Line> = diesel::sql_query(query).load(connection)?;
    Ok(lines.iter().map(|line| row(&line.row)).collect())
}

/// The rows without the columns that have come or gone, in an order of their own.
fn lasting(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        row.retain(|name, _| !name.starts_with("extra"));
    }
    rows.sort();
    rows
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn statement(&mut self) -> String {
        let (id, other, n) = (self.below(12), self.below(12), self.below(1000));
        match self.below(26) {
            0..=5 => format!(
                "INSERT INTO items VALUES ({id}, {}, 'name {n}', {n}.{n:03}0, '{{{n},NULL}}', '{{\"n\": {n}.10}}', '2020-01-01'::timestamptz + '{n} hours') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                other % 4
            ),
            6..=9 => format!(
                "UPDATE items SET price = price * 1.10, owner = {} WHERE id % 3 = {}",
                other % 4,
                id % 3
            ),
            10 => format!("UPDATE items SET id = {other} WHERE id = {id}"),
            11 => format!("UPDATE items SET id = id + {}", 100 + n),
            12 | 13 => format!("DELETE FROM items WHERE id = {id} OR id > 100"),
            14 | 15 => format!(
                "INSERT INTO owners VALUES ({}, 'b{}', 'label {n}') ON CONFLICT DO NOTHING",
                id % 4,
                other % 2
            ),
            16 => format!(
                "UPDATE owners SET a = {}, label = 'moved {n}' WHERE a = {} AND b = 'b0'",
                other % 4,
                id % 4
            ),
            17 => format!("DELETE FROM owners WHERE a = {}", id % 4),
            18..=20 => format!(
                "INSERT INTO notes SELECT 'line {}', {id} FROM generate_series(0, {})",
                n % 3,
                other % 3
            ),
            21 => format!("UPDATE notes SET n = {other} WHERE line = 'line {}'", n % 3),
            22 => format!(
                "DELETE FROM notes WHERE ctid IN (SELECT ctid FROM notes WHERE n = {id} LIMIT 1)"
            ),
            23 if n < 300 => ["TRUNCATE items", "TRUNCATE notes", "TRUNCATE owners, items"]
                [usize::try_from(n % 3).expect("small")]
            .to_owned(),
            // Never a name anew: nothing tells which of two columns of one name an image holds.
            24 if n < 500 => format!(
                "ALTER TABLE {} ADD extra{} int DEFAULT {n}",
                TABLES[usize::try_from(n % 2).expect("small")],
                self.below(1 << 40)
            ),
            25 if n < 500 => format!(
                "DO $$ DECLARE c text; BEGIN SELECT attname INTO c FROM pg_attribute WHERE attrelid = '{0}'::regclass \
                 AND attname LIKE 'extra%' LIMIT 1; IF c IS NOT NULL THEN EXECUTE 'ALTER TABLE {0} DROP ' || c; END IF; END $$",
                TABLES[usize::try_from(n % 2).expect("small")]
            ),
            _ => format!(
                "UPDATE items SET meta = jsonb_build_object('deep', meta, 'n', {n}) WHERE id = {id} AND length(meta::text) < 200"
            ),
        }
    }
}

#[test]
fn tables_rows_and_joins_are_what_they_were_at_each_of_200_instants() {
    let seed = std::env::var("BEMI_HISTORY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
    println!("BEMI_HISTORY_SEED={seed}");
    let random = &mut Random(seed);
    let mut shop = Shop::open(SCHEMA);
    let mut truths: Vec<(Lsn, [Vec<Row>; 4])> = Vec::new();
    while truths.len() < STEPS {
        let statements: Vec<String> = (0..=random.below(3)).map(|_| random.statement()).collect();
        let end = if random.below(10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        let sql = format!("BEGIN; {}; {end}", statements.join("; "));
        if shop.connection.batch_execute(&sql).is_err() {
            // A key that is taken.
            shop.connection
                .batch_execute("ROLLBACK")
                .expect("a rollback");
        }
        let lsn = shop.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS n");
        let rows = QUERIES.map(|query| ask(&mut shop.connection, query).expect(query));
        truths.push((Lsn::from_i64(lsn), rows));
    }
    shop.stored();
    let mut seen = 0;
    for (step, (instant, expected)) in truths.iter().enumerate() {
        let found = shop
            .connection
            .as_of(*instant, |connection| {
                let mut found = Vec::new();
                for query in QUERIES {
                    found.push(ask(connection, query)?);
                }
                QueryResult::Ok(found)
            })
            .unwrap_or_else(|error| panic!("step {step}: {error}"));
        for (query, (found, expected)) in QUERIES.iter().zip(found.iter().zip(expected)) {
            assert_eq!(
                lasting(found),
                lasting(expected),
                "step {step}, seed {seed}: {query}"
            );
            seen += expected.len();
        }
        // One row by its key, from the trail alone: there, and whole.
        let id = random.below(12);
        let by_key = rows_as_of("items", *instant).record(i64::try_from(id).expect("small"));
        let by_key: Vec<Row> = by_key
            .load(&mut shop.connection)
            .expect("a row")
            .iter()
            .map(|image| row(image.as_str()))
            .collect();
        let is_it = |row: &&Row| row.get("id") == Some(&id.to_string());
        let expected: Vec<Row> = expected[0].iter().filter(is_it).cloned().collect();
        assert_eq!(
            lasting(&by_key),
            lasting(&expected),
            "step {step}, seed {seed}: item {id}"
        );
    }
    assert!(seen > 10 * STEPS, "only {seen} rows");
    // The live columns that have come are their defaults for older rows.
    let now = truths.last().expect("steps");
    let found = shop
        .connection
        .as_of(now.0, |connection| ask(connection, QUERIES[0]))
        .expect("rows");
    let sorted = |mut rows: Vec<Row>| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(found), sorted(now.1[0].clone()));
}

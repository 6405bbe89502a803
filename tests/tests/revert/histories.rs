//! Random histories. After each transaction the test keeps what all tables hold, so it knows what a revert
//! has to give.
//!
//! A failure names the seed that `BEMI_REVERT_SEED` replays. `BEMI_TESTS_LONG=1` runs 200 histories,
//! `BEMI_REVERT_CASES` any number.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bemi_diesel::{Revert, RevertError, Xid};
use serde_json::Value;

use crate::support::{Shop, State};

const TABLES: &str = "\
CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, place int UNIQUE, boss int REFERENCES people ON DELETE SET NULL); \
CREATE TABLE items (owner int REFERENCES people ON DELETE CASCADE ON UPDATE CASCADE, n int, price numeric, PRIMARY KEY (owner, n)); \
CREATE TABLE seats (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED, who int REFERENCES people DEFERRABLE INITIALLY DEFERRED); \
CREATE TABLE notes (what text, n int); ALTER TABLE notes REPLICA IDENTITY FULL; \
CREATE TABLE days (id int, day int, v jsonb, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (5); \
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (5) TO (10); \
CREATE TABLE goods (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, net int, gross int GENERATED ALWAYS AS (net * 2) STORED)";

/// The primary keys; a partition's are its table's.
const KEYS: [(&str, &[&str]); 5] = [
    ("people", &["id"]),
    ("items", &["owner", "n"]),
    ("seats", &["id"]),
    ("days", &["id", "day"]),
    ("goods", &["id"]),
];

/// `SplitMix64`: the same choices for the same seed.
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
        let [a, b, c, d] = [(); 4].map(|()| self.below(6));
        let email = self.below(8);
        match self.below(30) {
            0..=3 => format!(
                "INSERT INTO people VALUES ({a}, 'e{email}', {b}, (SELECT min(id) FROM people WHERE id > {c}))"
            ),
            4..=5 => format!(
                "UPDATE people SET boss = (SELECT max(id) FROM people WHERE id < {b}), email = 'e{email}' WHERE id = {a}"
            ),
            6 => format!("UPDATE people SET id = {b} WHERE id = {a}"),
            7..=8 => format!("DELETE FROM people WHERE id = {a}"),
            // Two change places, over a third one.
            9..=10 => format!(
                "UPDATE people SET place = place + 100 WHERE id = {a}; UPDATE people p SET place = o.place - 100 FROM people o WHERE p.id = {b} AND o.id = {a} AND o.place >= 100; \
                 UPDATE people SET place = {c} WHERE id = {a}"
            ),
            11..=13 => {
                format!("INSERT INTO items SELECT id, {b}, {c}.{d}0 FROM people WHERE id >= {a}")
            }
            14 => format!("UPDATE items SET price = price * 1.10, n = n + {b} WHERE owner = {a}"),
            15 => format!("DELETE FROM items WHERE n = {a}"),
            16..=17 => format!(
                "INSERT INTO seats VALUES ({a}, {b}, (SELECT min(id) FROM people WHERE id > {c}))"
            ),
            18 => "UPDATE seats SET place = 5 - place".to_owned(),
            19 => format!("DELETE FROM seats WHERE id = {a}"),
            20..=21 => format!("INSERT INTO notes SELECT 'w{a}', {b} FROM generate_series(0, {c})"),
            22 => format!(
                "UPDATE notes SET n = n + 1 WHERE ctid IN (SELECT ctid FROM notes WHERE n >= {a} LIMIT {b})"
            ),
            23 => format!(
                "DELETE FROM notes WHERE ctid IN (SELECT ctid FROM notes WHERE n <= {a} LIMIT {b})"
            ),
            24..=25 => format!("INSERT INTO days VALUES ({a}, {b}, '{{\"c\": [{c}, 1.{d}0]}}')"),
            26 => format!("UPDATE days SET day = 9 - day, v = '{c}' WHERE id = {a}"),
            27 => {
                format!("INSERT INTO goods (net) VALUES ({a}); DELETE FROM goods WHERE net = {b}")
            }
            28 => format!("UPDATE goods SET net = {b} WHERE net = {a}"),
            _ => match self.below(4) {
                0 => "TRUNCATE notes".to_owned(),
                1 => "TRUNCATE days, goods".to_owned(),
                2 => "TRUNCATE people, items, seats".to_owned(),
                _ => "DELETE FROM people".to_owned(),
            },
        }
    }
}

struct History {
    /// What the tables held before each transaction.
    before: Vec<State>,
    transactions: Vec<Xid>,
}

fn make(shop: &mut Shop, random: &mut Random) -> History {
    let mut history = History {
        before: Vec::new(),
        transactions: Vec::new(),
    };
    let mut state = shop.state();
    while history.transactions.len() < 12 {
        let mut transaction = shop.client.transaction().unwrap();
        for _ in 0..=random.below(5) {
            let sql = random.statement();
            // What does not fit is as if it had not been tried.
            let mut savepoint = transaction.transaction().unwrap();
            if savepoint.batch_execute(&sql).is_ok() {
                savepoint.commit().unwrap();
            }
        }
        let number = transaction.query_one("SELECT pg_current_xact_id()::xid::text", &[]);
        let number: String = number.unwrap().get(0);
        // What waited until now may not fit either.
        if transaction.commit().is_err() {
            continue;
        }
        let after = shop.state();
        if after != state {
            history.before.push(std::mem::replace(&mut state, after));
            history.transactions.push(Xid::new(number.parse().unwrap()));
        }
    }
    history
}

/// The rows of a table by key, if it has one.
fn by_key<'a>(table: &str, state: &'a State) -> Option<BTreeMap<Vec<String>, &'a str>> {
    let (_, key) = KEYS.into_iter().find(|(name, _)| *name == table)?;
    let rows = state[table].iter().map(|row| {
        let value: Value = serde_json::from_str(row).unwrap();
        let key = key.iter().map(|column| value[column].to_string()).collect();
        (key, row.as_str())
    });
    Some(rows.collect())
}

/// `now` without what happened from `before` to `after`. A row that is already as it was stays.
fn without(now: &State, before: &State, after: &State) -> State {
    let mut expected = State::new();
    for (table, rows) in now {
        let mut rows = rows.clone();
        if let Some(mut now) = by_key(table, now) {
            let (before, after) = (
                by_key(table, before).unwrap(),
                by_key(table, after).unwrap(),
            );
            let keys = before.keys().chain(after.keys());
            for key in keys.filter(|key| before.get(*key) != after.get(*key)) {
                match before.get(key) {
                    Some(row) => now.insert(key.clone(), row),
                    None => now.remove(key),
                };
            }
            rows = now.into_values().map(str::to_owned).collect();
        } else {
            let mut undone = after[table].clone();
            for row in &before[table] {
                match undone.iter().position(|other| other == row) {
                    Some(same) => drop(undone.remove(same)),
                    None => rows.push(row.clone()),
                }
            }
            for row in undone {
                let place = rows.iter().position(|other| *other == row);
                rows.remove(place.expect("the revert found it"));
            }
        }
        rows.sort();
        expected.insert(table.clone(), rows);
    }
    expected
}

fn sorted(mut state: State) -> State {
    state.values_mut().for_each(|rows| rows.sort());
    state
}

/// Reverts and compares, and takes that back. Whether there was no conflict.
fn check(shop: &mut Shop, revert: &Revert, expected: impl FnOnce(&State) -> State) -> bool {
    let now = shop.state();
    let planned = shop.plan(revert);
    assert_eq!(shop.state(), now, "a plan changes nothing");
    let reverted = match shop.apply(revert) {
        Ok(reverted) => reverted,
        Err(RevertError::Conflicts(plan)) => {
            assert!(
                !planned.is_applicable(),
                "{:#?}\n{planned:#?}",
                plan.conflicts
            );
            assert_eq!(planned, *plan);
            assert_eq!(shop.state(), now, "nothing was reverted");
            return false;
        }
        Err(error) => panic!("{error:?}: {planned:#?}"),
    };
    assert_eq!(planned, reverted.plan);
    assert_eq!(sorted(shop.state()), sorted(expected(&now)), "{planned:#?}");
    if let Some(transaction) = reverted.transaction {
        shop.revert(&Revert::new().transaction(transaction));
    }
    assert_eq!(shop.state(), now, "the revert is reverted");
    true
}

#[test]
fn random_histories() {
    let setting = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let long = std::env::var_os("BEMI_TESTS_LONG").is_some();
    let cases = setting("BEMI_REVERT_CASES").unwrap_or(if long { 200 } else { 6 });
    let seed = setting("BEMI_REVERT_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos()) ^ since.as_secs()
    });
    let mut shop = Shop::open(TABLES);
    let (mut middle, mut conflicts) = (0, 0);
    for case in 0..cases {
        let seed = seed.wrapping_add(case);
        println!("BEMI_REVERT_SEED={seed} BEMI_REVERT_CASES=1");
        // From here on the trail knows every row.
        shop.sql("TRUNCATE people, items, seats, notes, days, goods");
        let mut random = Random(seed);
        let history = make(&mut shop, &mut random);
        for (place, transaction) in history.transactions.iter().enumerate() {
            if !check(&mut shop, &Revert::to_before(*transaction), |_| {
                history.before[place].clone()
            }) {
                panic!("a suffix does not fit");
            }
            let Some(after) = history.before.get(place + 1) else {
                continue;
            };
            let alone = Revert::new().transaction(*transaction);
            let before = &history.before[place];
            middle += 1;
            if !check(&mut shop, &alone, |now| without(now, before, after)) {
                conflicts += 1;
            }
        }
    }
    println!("{middle} transactions reverted by themselves, {conflicts} of them in conflict");
    // Histories in which everything is in conflict, or nothing, would tell little.
    assert!(
        cases == 1 || conflicts * 10 > middle && conflicts * 10 < middle * 9,
        "{conflicts} of {middle}"
    );
}

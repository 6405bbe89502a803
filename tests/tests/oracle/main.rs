//! The oracle: random schemas and random workloads, in which the test keeps the truth itself.
//!
//! In the captured database a trigger keeps `to_jsonb` of each row, before and after, and the context
//! that covers it, in a table that is not in the log. The trail has to tell the same: each change, each
//! side of it and each context equal to the last digit, the changes folded equal to the live tables, and
//! `jsonb_populate_record` of the images equal to the live rows.
//!
//! A failure is shrunk, and names the seed that `BEMI_ORACLE_SEED` replays. `BEMI_TESTS_LONG=1` runs 1,000
//! schemas with 200 operations each, `BEMI_ORACLE_CASES` any number.

#![allow(
    clippy::unwrap_used,
    clippy::panic_in_result_fn,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod base;
mod case;
mod check;
mod random;
mod source;
mod types;
mod world;

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::source::{Source, quote};
use crate::world::World;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_trail_tells_the_truth() {
    let long = std::env::var_os("BEMI_TESTS_LONG").is_some();
    let (cases, operations) = if long { (1_000, 200) } else { (16, 50) };
    let cases = setting("BEMI_ORACLE_CASES").unwrap_or(cases);
    let operations = setting("BEMI_ORACLE_OPERATIONS").unwrap_or(operations);
    let seed = setting("BEMI_ORACLE_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos()) ^ since.as_secs()
    });
    println!(
        "BEMI_ORACLE_SEED={seed} BEMI_ORACLE_CASES={cases} BEMI_ORACLE_OPERATIONS={operations}"
    );

    let oracle = RefCell::new(Oracle::default());
    let mut runner = TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    });
    let outcome = runner.run(&case::any_case(operations), |case| {
        oracle.borrow_mut().ask(&case).map_err(TestCaseError::fail)
    });
    let oracle = oracle.into_inner();
    println!(
        "{} changes of {} statements; {} statements were refused",
        oracle.changes, oracle.done, oracle.refused
    );
    if let Err(error) = outcome {
        panic!("BEMI_ORACLE_SEED={seed} BEMI_ORACLE_OPERATIONS={operations}: {error}");
    }
    // A workload that PostgreSQL refuses tells nothing.
    assert!(
        oracle.refused * 10 < oracle.done,
        "{} of {}",
        oracle.refused,
        oracle.done
    );
    assert!(
        oracle.changes > oracle.done / 2,
        "{} of {}",
        oracle.changes,
        oracle.done
    );
}

#[derive(Default)]
struct Oracle {
    source: Option<Source>,
    schemas: usize,
    changes: usize,
    done: usize,
    refused: usize,
}

impl Oracle {
    fn ask(&mut self, case: &case::Case) -> Result<(), String> {
        let source = self.source.get_or_insert_with(Source::start);
        self.schemas += 1;
        let schema = format!("schema {}", self.schemas);
        let mut world = World::create(source, schema.clone(), case);
        world.carry_out(&case.operations);
        self.done += world.done;
        self.refused += world.refused.len();
        if std::env::var_os("BEMI_ORACLE_REFUSED").is_some() {
            for refused in &world.refused {
                println!("{}", refused.chars().take(600).collect::<String>());
            }
        }
        let checked = check::check(&mut world);
        let clean = format!(
            "DROP SCHEMA {} CASCADE; TRUNCATE truth.row, truth.context",
            quote(&schema)
        );
        source.client.batch_execute(&clean).unwrap();
        source.trail.batch_execute("DELETE FROM changes").unwrap();
        self.changes += checked?;
        Ok(())
    }
}

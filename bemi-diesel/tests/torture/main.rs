//! Random writers, and a capture that is killed, cut off and shut out at random, again and again.
//!
//! Whatever happens, every committed change is stored exactly once, in the order of the commits, with its own
//! context, and nothing else is. `BEMI_TORTURE_SEED` replays a run whose seed was printed: the same
//! transactions, the same faults; when they meet is up to the machine.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on ends"
)]

mod faults;
#[path = "../command/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "this is shared with the tests of the command")]
#[path = "../command/support.rs"]
mod support;
mod trail;
mod truth;
mod writer;

use std::collections::BTreeMap;
use std::thread;

use fastrand::Rng;

use faults::{Fault, World};
use writer::{Budget, Writer};

const WRITERS: usize = 4;

/// How many transactions are begun for each fault.
const TRANSACTIONS: usize = 60;

/// How many faults there are: some in each run, some hundreds where there is time.
fn faults() -> usize {
    match std::env::var_os("BEMI_TESTS_LONG") {
        Some(_) => 250,
        None => 16,
    }
}

/// Of this run, or of the one that is to be replayed.
fn seed() -> u64 {
    let replayed = std::env::var("BEMI_TORTURE_SEED");
    let seed = replayed.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("BEMI_TORTURE_SEED={seed}");
    seed
}

fn torture(mut world: World, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let budget = Budget::default();
    let mut met = BTreeMap::<&str, usize>::new();
    thread::scope(|scope| {
        // Should this thread fail, the writers end all the same.
        let _end = budget.ends_when_dropped();
        for number in 1..=WRITERS {
            let writer = Writer::new(number, world.url(), random.fork());
            let budget = &budget;
            scope.spawn(move || writer.run(budget));
        }
        for n in 1..=faults() {
            budget.grant(TRANSACTIONS);
            let fault = Fault::any(&mut random);
            println!("{n}: {fault:?}");
            *met.entry(fault.name()).or_default() += 1;
            world.suffer(fault, &budget);
            if random.bool() {
                world.goes_on();
            }
        }
        budget.spent();
    });
    let truth = world.truth();
    let trail = world.caught_up();
    println!(
        "{met:?}: {} transactions, {} changes",
        truth.transactions(),
        trail.len()
    );
    truth.compare(&trail, &world.live());
}

#[test]
fn a_trail_beside_its_tables_holds_what_was_committed() {
    torture(World::together(), seed());
}

#[test]
fn a_trail_on_another_server_holds_what_was_committed() {
    torture(World::apart(), seed());
}

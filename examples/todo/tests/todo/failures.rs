//! The program dies, the server stops: every change is still there once, in its order.

use std::sync::mpsc;
use std::thread;

use bemi_tests::{Cluster, Shutdown};
use postgres::{Client, NoTls};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Scratch, Trail, agent, answer, row, wait_for};

#[test]
fn killed_in_the_middle_of_a_thousand_writes_it_stores_each_once() {
    let (scratch, trail) = (Scratch::new(), Trail::new());
    let serving = trail.serve(&scratch);
    let url = trail.database.url().to_owned();
    let (killed, until_killed) = mpsc::channel();
    let writer = thread::spawn(move || {
        let mut client = Client::connect(&url, NoTls).unwrap();
        let statement = client
            .prepare("INSERT INTO todos (title) VALUES ('write ' || $1::text)")
            .unwrap();
        for number in 1..=1000 {
            if number == 501 {
                // However slow the rest of the machine is, there is a middle.
                until_killed.recv().unwrap();
            }
            client.execute(&statement, &[&number.to_string()]).unwrap();
        }
    });
    trail.wait_until_stored(200);
    serving.kill();
    killed.send(()).unwrap();
    // It waits for the slot of its predecessor, plays its five requests again, and catches up.
    let _serving = trail.serve(&scratch);
    writer.join().unwrap();
    trail.wait_until_stored(1010);

    let written = "SELECT json_agg(after->>'title' ORDER BY commit_lsn, ordinal) FROM changes \
                   WHERE after->>'title' LIKE 'write %'";
    let expected: Vec<String> = (1..=1000).map(|number| format!("write {number}")).collect();
    assert_eq!(trail.json(written), json!(expected));
    // Nor is there anything else.
    assert_eq!(trail.value::<i64>("SELECT count(*) FROM changes"), 1010);
}

#[test]
fn a_server_that_is_shut_down_stops_in_time_and_is_captured_again() {
    let mut cluster = Cluster::start().unwrap();
    let (scratch, trail) = (Scratch::new(), Trail::new_in(&cluster));
    let serving = trail.serve(&scratch);
    let agent = agent();
    for round in 1..=2 {
        let took = cluster.stop(Shutdown::Fast).unwrap();
        assert!(took.as_secs() < 5, "the server took {took:?} to stop");
        cluster.start_again().unwrap();
        trail.sql("INSERT INTO todos (title) VALUES ('by SQL')");
        // The pool finds out that its connections are gone when it uses them.
        wait_for("a request is served again", || {
            let request = agent.post(serving.url("/todos"));
            (answer(request.send_json(json!({ "title": "by request" }))).0 == 200).then_some(())
        });
        trail.wait_until_stored(5 + 2 * round);
    }
    let after = "SELECT json_agg(after ORDER BY commit_lsn, ordinal) \
                 FROM (SELECT * FROM changes ORDER BY commit_lsn, ordinal OFFSET 5) AS later";
    assert_eq!(
        trail.json(after),
        json!([
            row(4, "by SQL", false),
            row(5, "by request", false),
            // The sequence had taken values ahead into the log; a fast shutdown loses none.
            row(6, "by SQL", false),
            row(7, "by request", false),
        ])
    );
}

#[test]
fn a_signal_ends_it_while_the_server_is_down() {
    let mut cluster = Cluster::start().unwrap();
    let (scratch, trail) = (Scratch::new(), Trail::new_in(&cluster));
    let serving = trail.serve(&scratch);
    cluster.stop(Shutdown::Fast).unwrap();
    serving.signal(Signal::TERM);
    assert_eq!(serving.ended(), (Some(0), String::new()));
    assert_eq!(scratch.left(), [""; 0]);
    cluster.start_again().unwrap();
}

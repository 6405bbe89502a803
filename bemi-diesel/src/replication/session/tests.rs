use chrono::DateTime;

use super::*;
use crate::{Change, JsonObject, Operation, Xid};

fn transaction(end_lsn: u64, changes: usize) -> Transaction {
    let committed_at = DateTime::UNIX_EPOCH;
    let change = Change {
        id: uuid::Uuid::nil(),
        source: 1,
        database: "d".into(),
        schema: "s".into(),
        table: "t".into(),
        primary_key: None,
        previous_key: None,
        operation: Operation::Create,
        before: JsonObject::empty(),
        after: JsonObject::empty(),
        context: JsonObject::empty(),
        committed_at,
        queued_at: committed_at,
        created_at: None,
        transaction_id: Xid::new(1),
        position: Lsn::new(end_lsn - 2),
        commit_lsn: Lsn::new(end_lsn - 1),
        ordinal: 0,
    };
    Transaction {
        xid: Xid::new(1),
        commit_lsn: Lsn::new(end_lsn - 1),
        end_lsn: Lsn::new(end_lsn),
        committed_at,
        changes: vec![change; changes],
        unreadable: Vec::new(),
        earlier: 0,
        late_context: None,
        tracked: Vec::new(),
        partitions: Vec::new(),
        rejected: Vec::new(),
    }
}

/// The ends of the due transactions, and the position stored with them.
fn due(session: &mut Session, now: Instant, more: bool) -> Option<(Vec<u64>, u64)> {
    session.due(now, more).map(|batch| {
        let ends = batch
            .transactions
            .iter()
            .map(|transaction| transaction.end_lsn.as_u64())
            .collect();
        (ends, batch.flush_lsn.as_u64())
    })
}

#[test]
fn a_slot_ahead_of_what_is_stored_is_a_gap() {
    let (behind, ahead, end) = (Lsn::new(100), Lsn::new(200), Lsn::new(300));
    assert_eq!(resume(behind, ahead, end), Ok(ahead));
    assert_eq!(resume(behind, behind, end), Ok(behind));
    assert_eq!(
        resume(ahead, behind, end),
        Err(ErrorKind::Gap {
            stored: behind,
            slot: ahead
        })
    );
}

#[test]
fn a_log_that_ends_before_what_is_stored_is_another_one() {
    let (slot, stored, end) = (Lsn::new(100), Lsn::new(200), Lsn::new(199));
    assert_eq!(resume(slot, stored, stored), Ok(stored));
    assert_eq!(
        resume(slot, stored, end),
        Err(ErrorKind::Rewound { stored, end })
    );
}

#[test]
fn large_rows_make_small_batches() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    let mut large = transaction(200, 1);
    let json = format!(r#"{{"title":"{}"}}"#, "x".repeat(BATCH_BYTES / 2));
    large.changes[0].after = JsonObject::from_written(json.clone());
    session.transaction(large.clone());
    assert_eq!(due(&mut session, now, true), None);
    (large.end_lsn, large.changes[0].before) = (Lsn::new(300), JsonObject::from_written(json));
    session.transaction(large);
    assert_eq!(due(&mut session, now, true), Some((vec![200, 300], 300)));
    session.transaction(transaction(400, 1));
    assert_eq!(due(&mut session, now, true), None);
}

#[test]
fn a_transaction_in_parts_is_stored_alone() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    session.keepalive(Lsn::new(150), true);
    session.transaction(transaction(200, 1));
    assert!(session.is_stored(Lsn::new(99)) && !session.is_stored(Lsn::new(100)));
    let before = session.pending().expect("what was read before");
    assert_eq!(before.flush_lsn, Lsn::new(200));
    session.flushed(before.flush_lsn, now);
    assert!(session.pending().is_none());
    session.part();
    // Nothing is due while it is read, however long that takes.
    let later = now + 2 * IDLE_INTERVAL;
    assert_eq!(due(&mut session, later, false), None);
    session.transaction(transaction(300, 1));
    assert_eq!(session.captured(), Lsn::new(200));
    assert_eq!(due(&mut session, later, true), Some((vec![300], 300)));
    session.flushed(Lsn::new(300), later);
    session.transaction(transaction(400, 1));
    let rested = later + REST;
    assert_eq!(due(&mut session, rested, true), None);
    assert_eq!(due(&mut session, rested, false), Some((vec![400], 400)));
}

#[test]
fn what_is_being_stored_is_not_captured_yet() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    session.transaction(transaction(200, 1));
    assert_eq!(due(&mut session, now, false), Some((vec![200], 200)));
    session.keepalive(Lsn::new(250), false);
    assert_eq!(session.captured(), Lsn::new(100));
    session.flushed(Lsn::new(200), now);
    assert_eq!(session.captured(), Lsn::new(250));
}

#[test]
fn a_stream_is_lost_when_what_was_sent_never_comes() {
    let patience = Duration::from_secs(4);
    let now = Instant::now();
    let (read, sent) = (Lsn::new(100), Some(Lsn::new(101)));
    let mut silence = Silence::new(patience, now);
    assert_eq!(silence.check_at(), now + Duration::from_secs(1));
    // A busy walsender, and one that has sent nothing more, may be silent for ever.
    for _ in 0..10 {
        assert!(!silence.checked(read, None, now));
        assert!(!silence.checked(read, Some(read), now));
    }
    for _ in 0..3 {
        assert!(!silence.checked(read, sent, now));
    }
    assert!(silence.checked(read, sent, now));
    silence.broken(now);
    assert!(!silence.checked(read, sent, now));
}

#[test]
fn a_lone_commit_is_stored_at_once_and_a_backlog_in_batches() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    session.transaction(transaction(200, 1));
    assert_eq!(session.captured(), Lsn::new(100));
    assert_eq!(due(&mut session, now, true), None);
    session.transaction(transaction(300, 1));
    assert_eq!(due(&mut session, now, false), Some((vec![200, 300], 300)));
    session.flushed(Lsn::new(300), now);
    assert_eq!(session.captured(), Lsn::new(300));

    session.transaction(transaction(400, BATCH_CHANGES));
    assert_eq!(due(&mut session, now, true), Some((vec![400], 400)));
}

#[test]
fn what_is_stored_already_is_not_stored_again() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(300), now);
    session.transaction(transaction(200, 1));
    session.transaction(transaction(300, 1));
    session.transaction(transaction(301, 1));
    assert_eq!(due(&mut session, now, false), Some((vec![301], 301)));
}

#[test]
fn a_position_without_changes_is_stored_now_and_then() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    assert_eq!(session.deadline(), None);
    session.keepalive(Lsn::new(200), false);
    assert_eq!(session.captured(), Lsn::new(200));
    assert_eq!(session.deadline(), Some(now + IDLE_INTERVAL));
    assert_eq!(due(&mut session, now, false), None);
    let later = now + IDLE_INTERVAL;
    assert_eq!(due(&mut session, later, true), Some((vec![], 200)));
    session.flushed(Lsn::new(200), later);
    assert_eq!(session.deadline(), None);

    session.transaction(transaction(200 + BUSY_BYTES, 0));
    assert_eq!(session.deadline(), Some(later + BUSY_INTERVAL));
    assert_eq!(
        due(&mut session, later + BUSY_INTERVAL, false),
        Some((vec![], 200 + BUSY_BYTES))
    );
}

#[test]
fn a_server_that_waits_for_an_answer_gets_it_at_once() {
    let now = Instant::now();
    let mut session = Session::new(Lsn::new(100), now);
    session.keepalive(Lsn::new(100), true);
    assert_eq!(
        due(&mut session, now, false),
        None,
        "there is nothing to store"
    );
    session.keepalive(Lsn::new(101), true);
    assert_eq!(due(&mut session, now, false), Some((vec![], 101)));
    session.flushed(Lsn::new(101), now);
    session.keepalive(Lsn::new(102), false);
    assert_eq!(due(&mut session, now, false), None);
}

/// A session of which one batch of so many transactions was stored at `now`, and another one of these was read after it.
fn busy(transactions: u64, now: Instant) -> Session {
    let mut session = Session::new(Lsn::new(100), now);
    for n in 1..=transactions {
        session.transaction(transaction(100 + n, 1));
    }
    assert!(due(&mut session, now, false).is_some());
    session.flushed(Lsn::new(100 + transactions), now);
    session.transaction(transaction(1000, 1));
    session
}

#[test]
fn what_comes_in_quick_succession_is_stored_together() {
    let now = Instant::now();
    for (transactions, rest) in [(1, REST), (5, 5 * REST), (99, LONGEST_REST)] {
        let mut session = busy(transactions, now);
        assert_eq!(session.deadline(), Some(now + rest));
        assert_eq!(due(&mut session, now, false), None);
        session.transaction(transaction(1001, 1));
        let rested = now + rest;
        assert_eq!(due(&mut session, rested, true), None);
        assert_eq!(
            due(&mut session, rested, false),
            Some((vec![1000, 1001], 1001))
        );
    }
}

#[test]
fn nobody_who_waits_and_no_full_batch_waits_for_a_rest() {
    let now = Instant::now();
    let at_once = |hurry: fn(&mut Session)| {
        let mut session = busy(99, now);
        hurry(&mut session);
        let last = session.read().as_u64();
        assert_eq!(due(&mut session, now, false).map(|(_, to)| to), Some(last));
    };
    at_once(|session| session.want(Lsn::new(1000)));
    at_once(|session| session.want(Lsn::new(5000)));
    at_once(|session| session.keepalive(Lsn::new(1000), true));
    at_once(Session::stop_resting);
    at_once(|session| session.transaction(transaction(1001, BATCH_CHANGES)));
    // A backlog is stored as it is read, whatever came before it.
    let backlog = BACKLOG as u64;
    let mut behind = busy(backlog + 1, now);
    assert_eq!(due(&mut behind, now, false), Some((vec![1000], 1000)));
    at_once(|session| {
        for n in 1..=BACKLOG as u64 {
            session.transaction(transaction(1000 + n, 1));
        }
    });
}

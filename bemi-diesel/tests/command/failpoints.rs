//! The process dies at each step around the commit of the sink and the acknowledgement.

use crate::support::{Capture, Shop};

/// The keys, contexts and ordinals in the order of the trail, and how many batches hold them.
fn trail(shop: &Shop) -> String {
    shop.value(
        "SELECT string_agg(concat_ws(' ', primary_key, context, ordinal), ', ' ORDER BY commit_lsn, ordinal) FROM changes",
    )
}

fn insert(shop: &Shop, keys: &str) {
    shop.sql(&format!(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{{\"at\": \"{keys}\"}}'); \
         INSERT INTO todos SELECT n, 'x' FROM unnest('{{{keys}}}'::int[]) n; COMMIT"
    ));
}

/// Dies at `step` while it stores what is written after the first change; whether that is stored then.
fn dies_at(step: &str, is_stored: bool) {
    let shop = Shop::set_up();
    let first = shop.capture();
    insert(&shop, "1");
    shop.wait_until_stored(1);
    first.kill();
    let mut command = shop.command(&["run"]);
    let mut doomed = Capture::start(command.env("FAILPOINTS", format!("{step}=return")));
    doomed.says("capture reads the log");
    // The slot may be behind: its word for what was stored before may still be on its way.
    let before: String = shop.value("SELECT flush_lsn::text FROM _bemi_progress");
    insert(&shop, "2,3");
    let (code, said) = doomed.last_words();
    assert_eq!(code, -1, "{step}: {said}");
    let stored = if is_stored { 3 } else { 1 };
    assert_eq!(
        shop.value::<i64>("SELECT count(*) FROM changes"),
        stored,
        "{step}"
    );
    // The progress is that of the rows, and the slot is never ahead of it.
    let progress = "SELECT changes FROM _bemi_progress";
    assert_eq!(shop.value::<i64>(progress), stored, "{step}");
    let ahead = "SELECT confirmed_flush_lsn > flush_lsn FROM pg_replication_slots JOIN _bemi_progress ON slot = slot_name";
    assert!(!shop.value::<bool>(ahead), "{step}");
    if step != "acknowledged" {
        let acknowledged = format!(
            "SELECT confirmed_flush_lsn > '{before}' FROM pg_replication_slots WHERE slot_name = current_database()"
        );
        assert!(!shop.value::<bool>(&acknowledged), "{step}");
    }
    insert(&shop, "4");
    let _next = shop.capture();
    shop.wait_until_stored(4);
    let all =
        "1 {\"at\": \"1\"} 0, 2 {\"at\": \"2,3\"} 0, 3 {\"at\": \"2,3\"} 1, 4 {\"at\": \"4\"} 0";
    assert_eq!(trail(&shop), all, "{step}");
    assert_eq!(shop.value::<i64>(progress), 4, "{step}");
}

#[test]
fn it_dies_before_the_sink_begins() {
    dies_at("read", false);
    dies_at("begun", false);
}

#[test]
fn it_dies_once_the_progress_is_moved_but_not_committed() {
    dies_at("advanced", false);
}

#[test]
fn it_dies_while_it_copies() {
    dies_at("copying", false);
    dies_at("copied", false);
}

#[test]
fn it_dies_once_the_sink_has_committed_but_before_it_knows_what_for() {
    dies_at("committed", true);
}

#[test]
fn it_dies_before_it_acknowledges() {
    dies_at("stored", true);
}

#[test]
fn it_dies_once_it_has_acknowledged() {
    dies_at("acknowledged", true);
}

/// As [`dies_at`], with a transaction that is stored in parts and has its context at its end.
fn dies_at_part(step: &str, is_stored: bool) {
    const ROWS: i64 = 25_000;
    let shop = Shop::set_up();
    let mut command = shop.command(&["run"]);
    let mut doomed = Capture::start(command.env("FAILPOINTS", format!("{step}=return")));
    doomed.says("capture reads the log");
    shop.sql(&format!(
        "BEGIN; INSERT INTO todos SELECT n, 'x' FROM generate_series(1, {ROWS}) n; \
         SELECT pg_logical_emit_message(true, '_bemi', '{{\"late\": true}}'); COMMIT"
    ));
    let (code, said) = doomed.last_words();
    assert_eq!(code, -1, "{step}: {said}");
    let stored = if is_stored { ROWS } else { 0 };
    assert_eq!(
        shop.value::<i64>("SELECT count(*) FROM changes"),
        stored,
        "{step}"
    );
    assert_eq!(
        shop.value::<i64>("SELECT changes FROM _bemi_progress"),
        stored,
        "{step}"
    );
    let _next = shop.capture();
    insert(&shop, "0");
    shop.wait_until_stored(ROWS + 1);
    let whole = "SELECT concat_ws(' ', count(*), count(DISTINCT ordinal), max(ordinal), min(primary_key::int), \
                 max(primary_key::int)) FROM changes WHERE context = '{\"late\": true}'";
    assert_eq!(
        shop.value::<String>(whole),
        "25000 25000 24999 1 25000",
        "{step}"
    );
    assert_eq!(
        shop.value::<i64>("SELECT changes FROM _bemi_progress"),
        ROWS + 1,
        "{step}"
    );
}

#[test]
fn it_dies_between_the_parts_of_a_transaction() {
    dies_at_part("part-claimed", false);
    dies_at_part("part-stored", false);
}

#[test]
fn it_dies_before_the_parts_are_committed() {
    dies_at_part("parts-covered", false);
    dies_at_part("parts-advanced", false);
}

#[test]
fn it_dies_once_the_parts_are_committed() {
    dies_at_part("parts-committed", true);
}

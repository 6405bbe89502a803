//! What each index of `changes` costs.

use bemi_tests::Cluster;
use postgres::Client;
use tokio::runtime::Runtime;

use crate::backlog::BACKLOGS;
use crate::copy::{COLUMNS, copy_in, stored};
use crate::pair::{Pair, ROUNDS, ROWS, TABLE, log_end, median, table};

/// A context as a request has it; its transaction has a hundred rows.
const CONTEXT: &str = "jsonb_build_object('user_id', commit_lsn % 1000, 'method', 'POST', 'path', '/things/' || commit_lsn, \
                       'endpoint', 'things::create', 'request_id', md5(commit_lsn::text), \
                       'SQL', 'INSERT INTO \"t\" (\"id\", \"a\", \"b\") VALUES ($1, $2, $3)') AS context";

pub(super) fn indexes(cluster: &Cluster, runtime: &Runtime) {
    let pair = Pair::create(cluster);
    let mut source = pair.source();
    source.batch_execute(TABLE).unwrap();
    let capture = pair.start(runtime);
    let (size, rows) = BACKLOGS[1];
    for n in 0..rows / size {
        let (from, to) = (i64::from(n * size) + 1, i64::from((n + 1) * size));
        source.execute(ROWS, &[&from, &to]).unwrap();
    }
    let end = log_end(&mut source);
    runtime.block_on(capture.wait_for(end)).unwrap();
    runtime.block_on(capture.shutdown()).unwrap();

    let mut destination = pair.destination();
    let data = stored(&mut destination, &COLUMNS.replace("context", CONTEXT));
    let optional = "SELECT indexname::text, indexdef FROM pg_indexes WHERE tablename = 'changes' \
                    AND indexname NOT IN ('changes_pkey', 'changes_identity') ORDER BY 1";
    let optional = destination.query(optional, &[]).unwrap();
    let optional: Vec<(String, String)> = optional
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let measure = |destination: &mut Client, made: &[(String, String)]| {
        for (_, definition) in made {
            destination.batch_execute(definition).unwrap();
        }
        let mut times: Vec<_> = (0..ROUNDS).map(|_| copy_in(destination, &data)).collect();
        let size = "SELECT pg_size_pretty(pg_indexes_size('changes'))";
        let size: String = destination.query_one(size, &[]).unwrap().get(0);
        for (name, _) in made {
            let drop = format!("DROP INDEX {name}");
            destination.batch_execute(&drop).unwrap();
        }
        (median(&mut times), size)
    };
    for (name, _) in &optional {
        let drop = format!("DROP INDEX {name}");
        destination.batch_execute(&drop).unwrap();
    }
    let mut table = table(["indexes", "COPY", "rows/s", "relative", "size"]);
    let (keys, size) = measure(&mut destination, &[]);
    let mut print = |name: &str, time: f64, size: String| {
        table.add_row([
            name.to_owned(),
            format!("{time:.2} s"),
            format!("{:.0}", f64::from(rows) / time),
            format!("{:.2}", time / keys),
            size,
        ]);
    };
    print("the two keys alone", keys, size);
    for index in &optional {
        let (time, size) = measure(&mut destination, std::slice::from_ref(index));
        print(&format!("and {}", index.0), time, size);
    }
    let (time, size) = measure(&mut destination, &optional);
    print("all", time, size);
    println!("{table}\n");
}

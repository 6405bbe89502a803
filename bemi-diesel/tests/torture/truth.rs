//! What was committed, as the writers' own transactions wrote it down.

use std::collections::BTreeMap;

use postgres::Client;

use crate::trail::{Change, Entry};

/// The tables, and a journal that triggers write in the same transaction.
pub(crate) const SCHEMA: &str = "
CREATE TABLE journal (n bigserial PRIMARY KEY, xid bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    \"table\" text, operation text NOT NULL, before jsonb NOT NULL DEFAULT '{}', after jsonb NOT NULL DEFAULT '{}',
    context jsonb);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.journal (\"table\", operation, before, after) VALUES (TG_TABLE_NAME,
        CASE TG_OP WHEN 'INSERT' THEN 'CREATE' ELSE TG_OP END,
        CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) ELSE '{}' END,
        CASE WHEN TG_OP IN ('UPDATE', 'INSERT') THEN to_jsonb(NEW) ELSE '{}' END);
    RETURN NULL; END $$;
CREATE FUNCTION watch(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION tell()', name);
    EXECUTE format('CREATE TRIGGER tell_all AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tell()', name); END $$;
-- A new table becomes tracked by itself, unless whoever makes one would have to wait for that.
CREATE FUNCTION make(name text, key int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, v text)', name);
    IF NOT EXISTS (SELECT FROM pg_publication_rel WHERE prrelid = name::regclass) THEN
        EXECUTE format('DROP TABLE %I', name);
        RETURN;
    END IF;
    PERFORM watch(name);
    EXECUTE format('INSERT INTO %I VALUES ($1, ''new''), ($1 + 1, ''newer'')', name) USING key;
    EXECUTE format('UPDATE %I SET v = ''old'' WHERE id = $1', name) USING key; END $$;
CREATE FUNCTION note(context text) RETURNS void LANGUAGE sql AS
    $$ INSERT INTO journal (operation, context) VALUES ('CONTEXT', context::jsonb) $$;
CREATE FUNCTION emit(context text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM note(context); PERFORM pg_logical_emit_message(true, '_bemi', context); END $$;
CREATE FUNCTION large(key int) RETURNS text LANGUAGE sql AS
    $$ SELECT string_agg(md5(concat(key, i)), '') FROM generate_series(1, 150) i $$;
CREATE TABLE t (id int PRIMARY KEY, v text, w int DEFAULT 0);
CREATE TABLE keyless (a int, v text);
CREATE TABLE counter (n bigint PRIMARY KEY);
INSERT INTO counter VALUES (0);
CREATE TABLE scratch_1 (id int PRIMARY KEY, v text, n bigint DEFAULT 7);
CREATE TABLE scratch_2 (LIKE scratch_1 INCLUDING ALL);
CREATE TABLE scratch_3 (LIKE scratch_1 INCLUDING ALL);
CREATE TABLE scratch_4 (LIKE scratch_1 INCLUDING ALL);
SELECT watch(name) FROM unnest('{t,keyless,counter,scratch_1,scratch_2,scratch_3,scratch_4}'::text[]) name;
";

/// The rows of each table by their keys, and how often each is there.
pub(crate) type Tables = BTreeMap<String, BTreeMap<String, (String, usize)>>;

/// The key of a row: an old row has the form that its table had in its time.
fn key(row: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(row).unwrap();
    value
        .get("id")
        .map_or_else(|| row.to_owned(), ToString::to_string)
}

pub(crate) fn live(client: &mut Client) -> Tables {
    let names = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
                 AND relname NOT IN ('journal', 'changes') AND relname NOT LIKE '\\_bemi%'";
    let mut tables = Tables::new();
    for name in client.query(names, &[]).unwrap() {
        let name: String = name.get(0);
        let rows = format!("SELECT to_jsonb(r)::text, count(*) FROM {name} r GROUP BY 1");
        let rows = client.query(&rows, &[]).unwrap();
        let rows = rows.iter().map(|row| {
            let count = usize::try_from(row.get::<_, i64>(1)).unwrap();
            (key(row.get(0)), (row.get(0), count))
        });
        tables.insert(name, rows.collect());
    }
    tables.retain(|_, rows| !rows.is_empty());
    tables
}

/// The changes of every committed transaction.
pub(crate) struct Truth(BTreeMap<i64, Vec<Entry>>);

impl Truth {
    pub(crate) fn read(client: &mut Client) -> Self {
        let sql = "SELECT xid, \"table\", operation, before::text, after::text, context::text FROM journal ORDER BY n";
        let mut transactions = BTreeMap::<i64, Vec<(Option<String>, Entry)>>::new();
        let mut contexts = BTreeMap::<i64, String>::new();
        for row in client.query(sql, &[]).unwrap() {
            let xid: i64 = row.get(0);
            let changes = transactions.entry(xid).or_default();
            if let Some(context) = row.get::<_, Option<String>>(5) {
                // The first one covers what came before it, too.
                for (covered, _) in changes {
                    covered.get_or_insert_with(|| context.clone());
                }
                contexts.insert(xid, context);
                continue;
            }
            let entry = [
                row.get(1),
                row.get(2),
                row.get(3),
                row.get(4),
                String::new(),
            ];
            changes.push((contexts.get(&xid).cloned(), entry));
        }
        let covered = transactions.into_iter().map(|(xid, changes)| {
            let changes = changes.into_iter().map(|(context, mut entry)| {
                entry[4] = context.unwrap_or_else(|| "{}".to_owned());
                entry
            });
            // An update that changes nothing makes no entry.
            let changes = changes.filter(|entry| entry[1] != "UPDATE" || entry[2] != entry[3]);
            (xid, changes.collect())
        });
        Self(
            covered
                .filter(|(_, changes): &(_, Vec<_>)| !changes.is_empty())
                .collect(),
        )
    }

    pub(crate) fn transactions(&self) -> usize {
        self.0.len()
    }

    /// Fails unless the trail holds this, in the order of the commits, and leads to the `live` tables.
    pub(crate) fn compare(mut self, trail: &[Change], live: &Tables) {
        let mut commit = 0;
        let mut count = 0;
        let mut tables = Tables::new();
        for changes in trail.chunk_by(|one, other| one.commit_lsn == other.commit_lsn) {
            let xid = changes[0].xid;
            assert!(commit < changes[0].commit_lsn);
            commit = changes[0].commit_lsn;
            if changes[0].after.contains("\"last\"") {
                fold(&mut tables, changes);
                continue;
            }
            let expected = self.0.remove(&xid).unwrap_or_else(|| {
                panic!("transaction {xid} is stored twice, or was not committed: {changes:?}")
            });
            let stored: Vec<Entry> = changes.iter().map(Change::entry).collect();
            if stored != expected {
                let at = stored
                    .iter()
                    .zip(&expected)
                    .take_while(|(one, other)| one == other);
                let at = at.count();
                panic!(
                    "transaction {xid}, change {at} of {} and {}: {:?} instead of {:?}",
                    stored.len(),
                    expected.len(),
                    &stored[at..stored.len().min(at + 3)],
                    &expected[at..expected.len().min(at + 3)]
                );
            }
            assert!(changes.is_sorted_by(|one, other| one.ordinal < other.ordinal));
            let counted = changes
                .iter()
                .rfind(|change| change.table == "counter")
                .unwrap();
            count += 1;
            assert_eq!(
                counted.after,
                format!("{{\"n\": {count}}}"),
                "transaction {xid}"
            );
            fold(&mut tables, changes);
        }
        assert!(self.0.is_empty(), "not stored: {:?}", self.0.keys());
        tables.retain(|_, rows| !rows.is_empty());
        // What was there before the first change is in no change.
        for (name, rows) in &tables {
            assert_eq!(Some(rows), live.get(name), "{name}");
        }
        assert!(
            tables.keys().eq(live.keys()),
            "{:?} {:?}",
            tables.keys(),
            live.keys()
        );
    }
}

/// Does to the tables what the changes did.
fn fold(tables: &mut Tables, changes: &[Change]) {
    for change in changes {
        let rows = tables.entry(change.table.clone()).or_default();
        if change.operation == "TRUNCATE" {
            rows.clear();
        }
        let old = key(&change.before);
        if let Some((_, count)) = rows.get_mut(&old) {
            *count -= 1;
            if *count == 0 {
                rows.remove(&old);
            }
        }
        if change.after != "{}" {
            let new = rows.entry(key(&change.after)).or_default();
            *new = (change.after.clone(), new.1 + 1);
        }
    }
}

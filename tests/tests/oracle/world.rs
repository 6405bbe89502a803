//! Carries a case out, and keeps in mind what there is.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use postgres::Client;

use crate::case::{Case, Key, Operation, TableSpec};
use crate::random::Random;
use crate::source::{Source, literal, quote};
use crate::types::{Documented, Ty, Types};

/// Names that have to be quoted, one of them as long as names can be.
const NAMES: [&str; 6] = [
    "plain",
    "with space",
    "q\"uote.dot",
    "Größe 😀",
    "select",
    "sixty-three bytes of name, which is as many as a name can have",
];

pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: Ty,
}

pub(crate) struct Table {
    /// Every name it has had; the last one is its name.
    pub(crate) names: Vec<String>,
    pub(crate) partitions: Vec<String>,
    pub(crate) key: Key,
    pub(crate) key_columns: Vec<&'static str>,
    pub(crate) columns: Vec<Column>,
    /// Computed, so not in the log before PostgreSQL 18.
    pub(crate) generated: bool,
    /// Computed when it is read, so never in the log.
    pub(crate) imagined: bool,
    has_parent: bool,
    full: bool,
    /// Columns that were added, dropped or renamed on the way.
    pub(crate) altered: BTreeSet<String>,
}

pub(crate) struct World<'a> {
    pub(crate) source: &'a mut Source,
    pub(crate) types: Types,
    pub(crate) tables: Vec<Table>,
    in_transaction: bool,
    savepoints: usize,
    next_key: u64,
    next_name: usize,
    /// Statements that changed something, and ones that PostgreSQL refused.
    pub(crate) done: usize,
    pub(crate) refused: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn create(source: &'a mut Source, schema: String, case: &Case) -> Self {
        let types = Types::new(schema, case.own_types.clone(), source.available.clone());
        let mut world = Self {
            source,
            types,
            tables: Vec::new(),
            in_transaction: false,
            savepoints: 0,
            next_key: 1,
            next_name: 0,
            done: 0,
            refused: Vec::new(),
        };
        world.must(&format!(
            "RESET ALL; CREATE SCHEMA {}",
            quote(&world.types.schema)
        ));
        for statement in world.types.create() {
            world.must(&statement);
        }
        for (at, spec) in case.tables.iter().enumerate() {
            world.create_table(at, spec, case.cascade);
        }
        if case.echo {
            world.echo();
        }
        world.must(case.session);
        world
    }

    fn client(&mut self) -> &mut Client {
        &mut self.source.client
    }

    fn must(&mut self, sql: &str) {
        if let Err(error) = self.client().batch_execute(sql) {
            panic!("{sql}: {error:?}");
        }
    }

    /// Runs what may be refused: a value that does not fit, a key that is taken.
    fn attempt(&mut self, sql: &str) {
        let guarded = if self.in_transaction {
            format!("SAVEPOINT guard; {sql}; RELEASE guard")
        } else {
            sql.to_owned()
        };
        let outcome = self.client().batch_execute(&guarded);
        self.attempted(sql, outcome);
    }

    fn attempted(&mut self, what: &str, outcome: Result<(), postgres::Error>) {
        match outcome {
            Ok(()) => self.done += 1,
            Err(error) => {
                let error = error
                    .as_db_error()
                    .map_or_else(|| error.to_string(), |error| error.message().to_owned());
                self.refused.push(format!("{error}: {what}"));
                if self.in_transaction {
                    self.must("ROLLBACK TO guard; RELEASE guard");
                }
            }
        }
    }

    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quote(&self.types.schema), quote(name))
    }

    fn name_of(&self, table: usize) -> String {
        self.qualified(self.tables[table].name())
    }

    fn new_name(&mut self) -> String {
        let at = self.next_name;
        self.next_name += 1;
        let mut name = NAMES[at % NAMES.len()].to_owned();
        if at >= NAMES.len() {
            name.truncate(name.floor_char_boundary(60));
            name += &(at / NAMES.len()).to_string();
        }
        name
    }

    fn create_table(&mut self, at: usize, spec: &TableSpec, cascade: bool) {
        let has_parent = cascade && at == 1 && self.tables[0].key == Key::Number;
        let (key_columns, key): (Vec<&str>, _) = match spec.key {
            Key::None => (vec![], ""),
            Key::Number => (vec!["id"], "id int8 PRIMARY KEY"),
            Key::Quoted => (vec!["the \"Key\""], "\"the \"\"Key\"\"\" uuid PRIMARY KEY"),
            Key::Composite => (vec!["b", "a"], "a int4, b text, PRIMARY KEY (b, a)"),
        };
        let columns: Vec<Column> = spec
            .columns
            .iter()
            .map(|ty| Column {
                name: self.new_name(),
                ty: ty.clone(),
            })
            .collect();
        let mut definitions: Vec<String> = columns
            .iter()
            .map(|column| {
                format!(
                    "{} {}",
                    quote(&column.name),
                    self.types.column_sql(&column.ty)
                )
            })
            .collect();
        if spec.generated {
            let of = key_columns
                .first()
                .map_or_else(|| "1".to_owned(), |column| quote(column) + "::text");
            definitions.push(format!("computed text GENERATED ALWAYS AS ({of}) STORED"));
        }
        let imagined = spec.imagined && self.source.major >= 18;
        if imagined {
            let of = quote(key_columns[0]);
            definitions.push(format!(
                "imagined text GENERATED ALWAYS AS ({of}::text) VIRTUAL"
            ));
        }
        if has_parent {
            let parent = self.name_of(0);
            definitions.push(format!(
                "parent int8 REFERENCES {parent} ON UPDATE CASCADE ON DELETE CASCADE"
            ));
        }
        if !key.is_empty() {
            definitions.push(key.to_owned());
        }
        let name = self.new_name();
        let table = Table {
            partitions: if spec.partitioned {
                vec![format!("{at} even"), format!("{at} odd")]
            } else {
                vec![]
            },
            names: vec![name],
            key: spec.key,
            key_columns,
            columns,
            generated: spec.generated,
            imagined,
            has_parent,
            // PostgreSQL would refuse every update.
            full: spec.full && !imagined,
            altered: BTreeSet::new(),
        };
        let full_name = self.qualified(table.name());
        let mut sql = format!("CREATE TABLE {full_name} ({})", definitions.join(", "));
        if spec.partitioned {
            sql += " PARTITION BY HASH (id)";
            for (remainder, partition) in table.partitions.iter().enumerate() {
                sql += &format!(
                    "; CREATE TABLE {} PARTITION OF {full_name} FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})",
                    self.qualified(partition)
                );
            }
        }
        self.must(&sql);
        if spec.external {
            for column in &table.columns {
                // Not every type can be stored apart.
                let column = quote(&column.name);
                let _refused = self.client().batch_execute(&format!(
                    "ALTER TABLE {full_name} ALTER {column} SET STORAGE EXTERNAL"
                ));
            }
        }
        let function = self.qualified(&format!("truth of {at}"));
        self.tables.push(table);
        self.tell_truth(at);
        let mut sql = format!(
            "CREATE TRIGGER \"a truth\" AFTER INSERT OR UPDATE OR DELETE ON {full_name} FOR EACH ROW \
             EXECUTE FUNCTION {function}()"
        );
        for name in self.tables[at].stored_in() {
            sql += &format!(
                "; CREATE TRIGGER \"a truncated truth\" AFTER TRUNCATE ON {} EXECUTE FUNCTION {function}()",
                self.qualified(name)
            );
        }
        self.must(&sql);
        self.set_identity(at);
    }

    fn set_identity(&mut self, at: usize) {
        let identity = if self.tables[at].full {
            "FULL"
        } else {
            "DEFAULT"
        };
        let statements: Vec<String> = self.tables[at]
            .stored_in()
            .map(|name| {
                format!(
                    "ALTER TABLE {} REPLICA IDENTITY {identity}",
                    self.qualified(name)
                )
            })
            .collect();
        self.must(&statements.join("; "));
    }

    /// Lets each change of a row of the other tables insert one into the last table. Not if that is changed
    /// by a cascade too, whose triggers, and so the truth, come after those of the echo.
    fn echo(&mut self) {
        let last = self.tables.len() - 1;
        if self.tables[last].key != Key::Number || self.tables[last].has_parent {
            return;
        }
        let (echo, sequence) = (self.name_of(last), self.qualified("echoes"));
        let function = self.qualified("echo");
        // By its identifier, as the table may be renamed, and with keys that are not given out otherwise.
        self.must(&format!(
            "CREATE SEQUENCE {sequence} MINVALUE 1000000; \
             CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $echo$ BEGIN \
             EXECUTE format('INSERT INTO %s (id) VALUES ($1)', TG_ARGV[0]::oid::regclass) \
             USING nextval(TG_ARGV[1]::oid::regclass); RETURN NULL; END $echo$"
        ));
        for at in 0..last {
            let table = self.name_of(at);
            self.must(&format!(
                "DO $do$ BEGIN EXECUTE format('CREATE TRIGGER \"echo\" AFTER INSERT OR UPDATE OR DELETE ON %s \
                 FOR EACH ROW EXECUTE FUNCTION %s(%s, %s)', {}, {}, {}::regclass::oid, {}::regclass::oid); END $do$",
                literal(&table),
                literal(&function),
                literal(&echo),
                literal(&sequence),
            ));
        }
    }

    /// The table's trigger, which keeps what `to_jsonb` says of each row.
    fn tell_truth(&mut self, at: usize) {
        let table = &self.tables[at];
        let key = |record: &str| {
            let columns: Vec<String> = table
                .key_columns
                .iter()
                .map(|column| format!("{record}.{}::text", quote(column)))
                .collect();
            match columns.as_slice() {
                [] => "NULL".to_owned(),
                [column] => column.clone(),
                columns => format!("jsonb_build_array({})::text", columns.join(", ")),
            }
        };
        let sql = format!(
            "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql \
             SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 \
             SET bytea_output = 'hex' AS $truth$
             DECLARE
                 row truth.row;
             BEGIN
                 row.before := '{{}}'; row.after := '{{}}'; row.same := false;
                 IF TG_LEVEL = 'ROW' AND TG_OP <> 'INSERT' THEN
                     row.before := {}; row.old_key := {};
                 END IF;
                 IF TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN
                     row.after := {}; row.key := {};
                 END IF;
                 IF TG_OP = 'UPDATE' THEN
                     row.same := OLD::text = NEW::text; row.written := row_to_json(NEW);
                 END IF;
                 INSERT INTO truth.row (schema, \"table\", identity, operation, old_key, key, before, after, written, same, context)
                 SELECT TG_TABLE_SCHEMA, TG_TABLE_NAME, relreplident, TG_OP, row.old_key, row.key, row.before, row.after,
                        row.written, row.same, nullif(current_setting('truth.context', true), '')::jsonb
                 FROM pg_class WHERE oid = TG_RELID;
                 RETURN NULL;
             END $truth$",
            self.qualified(&format!("truth of {at}")),
            self.image(at, "OLD"),
            key("OLD"),
            self.image(at, "NEW"),
            key("NEW"),
        );
        self.must(&sql);
    }

    /// `to_jsonb` of `record`, but for what the documentation says is otherwise.
    pub(crate) fn image(&self, at: usize, record: &str) -> String {
        let table = &self.tables[at];
        let told = table.generated && self.source.major >= 18;
        let computed = if table.generated && !told {
            " - 'computed'"
        } else {
            ""
        };
        let imagined = if table.imagined { " - 'imagined'" } else { "" };
        let plain = |column: &Column| self.types.documented(&column.ty) == Documented::Value;
        if table.columns.iter().all(plain) {
            return format!("to_jsonb({record}){computed}{imagined}");
        }
        let mut columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| {
                let name = quote(&column.name);
                match self.types.documented(&column.ty) {
                    Documented::Value => format!("{record}.{name} AS {name}"),
                    Documented::Text => format!("{record}.{name}::text AS {name}"),
                    Documented::EscapedZeroes => {
                        format!(
                            r"replace({record}.{name}::text, '\u0000', '\\u0000')::json AS {name}"
                        )
                    }
                }
            })
            .collect();
        let others = table
            .key_columns
            .iter()
            .copied()
            .chain(table.has_parent.then_some("parent"))
            .chain(told.then_some("computed"));
        columns.extend(others.map(|name| format!("{record}.{0} AS {0}", quote(name))));
        format!(
            "(SELECT to_jsonb(r) FROM (SELECT {}) r)",
            columns.join(", ")
        )
    }

    pub(crate) fn carry_out(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.operate(operation);
        }
        self.commit();
        self.must("RESET ALL");
    }

    fn commit(&mut self) {
        if self.in_transaction {
            self.must("COMMIT");
        }
        self.in_transaction = false;
        self.savepoints = 0;
    }

    fn operate(&mut self, operation: &Operation) {
        use Operation as O;
        let count = self.tables.len();
        let at = |table: u8| usize::from(table) % count;
        match *operation {
            O::Begin => {
                self.commit();
                self.must("BEGIN");
                self.in_transaction = true;
            }
            O::Commit => self.commit(),
            O::Abort if self.in_transaction => {
                self.must("ROLLBACK");
                self.in_transaction = false;
                self.savepoints = 0;
            }
            O::Savepoint if self.in_transaction => {
                self.savepoints += 1;
                self.must(&format!("SAVEPOINT s{}", self.savepoints));
            }
            O::RollbackTo if self.savepoints > 0 => {
                self.must(&format!("ROLLBACK TO s{}", self.savepoints));
                self.savepoints -= 1;
            }
            O::Abort | O::Savepoint | O::RollbackTo => {}
            O::Context(n) => {
                let context = if n % 8 == 0 {
                    "{}".to_owned()
                } else {
                    format!(r#"{{"n": {n}}}"#)
                };
                self.attempt(&format!("SELECT truth.say('{context}', false)"));
            }
            O::Noise(n) => {
                let message = [
                    "true, '_bemi', 'no JSON'",
                    "true, 'others', '{\"n\": 1}'",
                    "false, '_bemi', '{\"n\": 1}'",
                ];
                let message = message[usize::from(n) % message.len()];
                self.attempt(&format!("SELECT pg_logical_emit_message({message})"));
            }
            O::Insert {
                table,
                rows,
                seed,
                lead,
            } => self.insert(at(table), rows.into(), seed, lead),
            O::Copy { table, rows, seed } => self.copy(at(table), rows.into(), seed),
            O::Upsert { table, seed, lead } => self.upsert(at(table), seed, lead),
            O::Merge { table, rows, seed } => self.merge(at(table), rows.into(), seed),
            O::Update {
                table,
                rows,
                seed,
                lead,
            } => self.update(at(table), rows.into(), seed, lead),
            O::UpdateKey { table, seed } => self.update_key(at(table), seed),
            O::Touch { table, rows, seed } => self.touch(at(table), rows.into(), seed),
            O::Delete {
                table,
                rows,
                seed,
                lead,
            } => {
                let (name, some) = (
                    self.name_of(at(table)),
                    self.some_rows(at(table), rows.into(), seed),
                );
                self.attempt(&format!(
                    "DELETE FROM {name} WHERE {some}{}",
                    returning(lead, seed)
                ));
            }
            O::Truncate { tables } => {
                let names: Vec<String> = (0..count)
                    .filter(|at| *at == 0 || tables >> at & 1 == 1)
                    .map(|at| self.name_of(at))
                    .collect();
                let restart = if tables & 1 == 1 {
                    " RESTART IDENTITY"
                } else {
                    ""
                };
                self.attempt(&format!("TRUNCATE {}{restart} CASCADE", names.join(", ")));
            }
            O::AddColumn { .. }
            | O::DropColumn { .. }
            | O::RenameColumn { .. }
            | O::RenameTable { .. }
            | O::ChangeIdentity { .. }
            | O::Reattach { .. }
            | O::AddLabel => {
                self.commit();
                self.alter(operation);
            }
        }
    }

    /// A condition on a few rows, the same ones for the same rows and seed.
    fn some_rows(&self, at: usize, rows: usize, seed: u64) -> String {
        let name = self.name_of(at);
        format!(
            "ctid = ANY (ARRAY(SELECT ctid FROM {name} ORDER BY hashtext(ctid::text || '{seed}') LIMIT {rows}))"
        )
    }

    /// The columns that can be written, quoted, and an expression for each.
    fn row(&mut self, at: usize, random: &mut Random) -> (Vec<String>, Vec<String>) {
        let key = self.next_key;
        self.next_key += 1;
        self.row_with_key(at, key, random)
    }

    fn row_with_key(&self, at: usize, key: u64, random: &mut Random) -> (Vec<String>, Vec<String>) {
        let table = &self.tables[at];
        let mut names: Vec<String> = table.key_columns.iter().map(|name| quote(name)).collect();
        let mut values = key_values(table.key, &key.to_string());
        for column in &table.columns {
            names.push(quote(&column.name));
            values.push(self.types.value(&column.ty, random));
        }
        if table.has_parent {
            names.push("parent".to_owned());
            let some = self.some_rows(0, 1, random.next());
            values.push(format!(
                "(SELECT id FROM {} WHERE {some} LIMIT 1)",
                self.name_of(0)
            ));
        }
        (names, values)
    }

    fn insert(&mut self, at: usize, rows: usize, seed: u64, lead: bool) {
        let random = &mut Random::new(seed);
        let mut names = Vec::new();
        let rows: Vec<String> = (0..rows)
            .map(|_| {
                let (columns, values) = self.row(at, random);
                names = columns;
                format!("({})", values.join(", "))
            })
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}{}",
            self.name_of(at),
            names.join(", "),
            rows.join(", "),
            returning(lead, seed)
        );
        self.attempt(&sql);
    }

    fn upsert(&mut self, at: usize, seed: u64, lead: bool) {
        if self.tables[at].key_columns.is_empty() {
            return self.insert(at, 1, seed, lead);
        }
        let random = &mut Random::new(seed);
        let key = 1 + random.next() % self.next_key.max(2).saturating_sub(1);
        let (names, values) = self.row_with_key(at, key, random);
        let keys = self.tables[at].key_columns.len();
        let set: Vec<String> = names
            .iter()
            .skip(keys)
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}{}",
            self.name_of(at),
            names.join(", "),
            values.join(", "),
            names[..keys].join(", "),
            if set.is_empty() {
                format!("{0} = excluded.{0}", names[0])
            } else {
                set.join(", ")
            },
            returning(lead, seed)
        );
        self.attempt(&sql);
    }

    /// Updates some rows, deletes others, and inserts a new one.
    fn merge(&mut self, at: usize, rows: usize, seed: u64) {
        if self.source.major < 15 || self.tables[at].key_columns.is_empty() {
            return self.upsert(at, seed, false);
        }
        let random = &mut Random::new(seed);
        let (names, values) = self.row(at, random);
        let table = &self.tables[at];
        let set: Vec<String> = table
            .columns
            .iter()
            .take(1)
            .map(|column| {
                let value = self.types.value(&column.ty, random);
                format!("{} = {value}", quote(&column.name))
            })
            .collect();
        let keys: Vec<&String> = names.iter().take(table.key_columns.len()).collect();
        let join: Vec<String> = keys
            .iter()
            .map(|key| format!("t.{key} = s.{key}"))
            .collect();
        let columns = keys.iter().map(|key| key.as_str()).collect::<Vec<_>>();
        let update = if set.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", set.join(", "))
        };
        let (name, some) = (self.name_of(at), self.some_rows(at, rows, seed));
        let sql = format!(
            "MERGE INTO {name} t USING (SELECT {0}, row_number() OVER () n FROM {name} WHERE {some} \
             UNION ALL SELECT {1}, 0) s ON {2} \
             WHEN MATCHED AND s.n % 2 = 0 THEN DELETE WHEN MATCHED THEN {update} \
             WHEN NOT MATCHED THEN INSERT ({3}) VALUES ({4})",
            columns.join(", "),
            values[..columns.len()].join(", "),
            join.join(" AND "),
            names.join(", "),
            values.join(", ")
        );
        self.attempt(&sql);
    }

    /// Copies rows that are there, under new keys.
    fn copy(&mut self, at: usize, rows: usize, seed: u64) {
        let table = &self.tables[at];
        let first = self.next_key;
        self.next_key += u64::try_from(rows).unwrap();
        let mut names: Vec<String> = table.key_columns.iter().map(|name| quote(name)).collect();
        let mut values = key_values(table.key, &format!("({first} + row_number() OVER ())"));
        let others = table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .chain(table.has_parent.then_some("parent"));
        for name in others {
            names.push(quote(name));
            values.push(quote(name));
        }
        if names.is_empty() {
            return;
        }
        let (name, some) = (self.name_of(at), self.some_rows(at, rows, seed));
        let out = format!(
            "COPY (SELECT {} FROM {name} WHERE {some} LIMIT {rows}) TO STDOUT",
            values.join(", ")
        );
        let copy = format!("COPY {name} ({}) FROM STDIN", names.join(", "));
        if self.in_transaction {
            self.must("SAVEPOINT guard");
        }
        let client = self.client();
        let outcome = (|| {
            let mut data = Vec::new();
            // An error of the reader is that of the server, which the next statement meets as well.
            let _read = client.copy_out(&out)?.read_to_end(&mut data);
            let mut writer = client.copy_in(&copy)?;
            let _written = writer.write_all(&data);
            writer.finish().map(|_rows| ())
        })();
        let copied = outcome.is_ok();
        self.attempted(&copy, outcome);
        if copied && self.in_transaction {
            self.must("RELEASE guard");
        }
    }

    fn update(&mut self, at: usize, rows: usize, seed: u64, lead: bool) {
        let random = &mut Random::new(seed);
        let table = &self.tables[at];
        let set: Vec<String> = table
            .columns
            .iter()
            .filter(|_| random.one_in(3))
            .map(|column| (quote(&column.name), &column.ty))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(name, ty)| format!("{name} = {}", self.types.value(ty, random)))
            .collect();
        if set.is_empty() {
            return self.touch(at, rows, seed);
        }
        let sql = format!(
            "UPDATE {} SET {} WHERE {}{}",
            self.name_of(at),
            set.join(", "),
            self.some_rows(at, rows, seed),
            returning(lead, seed)
        );
        self.attempt(&sql);
    }

    /// Sets columns to what they are.
    fn touch(&mut self, at: usize, rows: usize, seed: u64) {
        let table = &self.tables[at];
        let column = table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .chain(table.key_columns.iter().copied())
            .next();
        let Some(column) = column.map(quote) else {
            return;
        };
        let (name, some) = (self.name_of(at), self.some_rows(at, rows, seed));
        self.attempt(&format!(
            "UPDATE {name} SET {column} = {column} WHERE {some}"
        ));
    }

    /// Not with a leading message: between two partitions it would cover the second half only.
    fn update_key(&mut self, at: usize, seed: u64) {
        let key = self.next_key;
        self.next_key += 1;
        let table = &self.tables[at];
        let set: Vec<String> = table
            .key_columns
            .iter()
            .zip(key_values(table.key, &key.to_string()))
            .map(|(name, value)| format!("{} = {value}", quote(name)))
            .collect();
        if set.is_empty() {
            return self.touch(at, 1, seed);
        }
        let (name, some) = (self.name_of(at), self.some_rows(at, 1, seed));
        self.attempt(&format!(
            "UPDATE {name} SET {} WHERE {some}",
            set.join(", ")
        ));
    }

    fn alter(&mut self, operation: &Operation) {
        use Operation as O;
        let count = self.tables.len();
        let at = |table: u8| usize::from(table) % count;
        match operation {
            O::AddColumn { table, ty, seed } => {
                let at = at(*table);
                let (name, table) = (self.new_name(), self.name_of(at));
                let default = self.types.value(ty, &mut Random::new(*seed));
                let sql = format!(
                    "ALTER TABLE {table} ADD {} {} DEFAULT {default}",
                    quote(&name),
                    self.types.column_sql(ty)
                );
                // Not every value can be a default.
                if self.client().batch_execute(&sql).is_err() {
                    return;
                }
                self.tables[at].altered.insert(name.clone());
                self.tables[at].columns.push(Column {
                    name,
                    ty: ty.clone(),
                });
                self.tell_truth(at);
            }
            O::DropColumn { table, column } => {
                let at = at(*table);
                let columns = &mut self.tables[at].columns;
                if columns.len() < 2 {
                    return;
                }
                let dropped = columns.remove(usize::from(*column) % columns.len()).name;
                let table = self.name_of(at);
                self.must(&format!("ALTER TABLE {table} DROP {}", quote(&dropped)));
                self.tables[at].altered.insert(dropped);
                self.tell_truth(at);
            }
            O::RenameColumn { table, column } => {
                let at = at(*table);
                let columns = self.tables[at].columns.len();
                if columns == 0 {
                    return;
                }
                let column = usize::from(*column) % columns;
                let (new, table) = (self.new_name(), self.name_of(at));
                let old = std::mem::replace(&mut self.tables[at].columns[column].name, new.clone());
                self.must(&format!(
                    "ALTER TABLE {table} RENAME {} TO {}",
                    quote(&old),
                    quote(&new)
                ));
                self.tables[at].altered.extend([old, new]);
                self.tell_truth(at);
            }
            O::RenameTable { table } => {
                let at = at(*table);
                let (new, table) = (self.new_name(), self.name_of(at));
                self.must(&format!("ALTER TABLE {table} RENAME TO {}", quote(&new)));
                self.tables[at].names.push(new);
            }
            O::ChangeIdentity { table } => {
                let at = at(*table);
                let table = &mut self.tables[at];
                table.full = (!table.full || table.key == Key::None) && !table.imagined;
                self.set_identity(at);
            }
            O::Reattach { table, partition } => {
                let at = at(*table);
                let partitions = &self.tables[at].partitions;
                if partitions.is_empty() {
                    return;
                }
                let remainder = usize::from(*partition) % partitions.len();
                let partition = self.qualified(&partitions[remainder]);
                let table = self.name_of(at);
                // Refused while another table refers to its rows.
                self.attempt(&format!(
                    "ALTER TABLE {table} DETACH PARTITION {partition}; ALTER TABLE {table} ATTACH PARTITION {partition} \
                     FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})"
                ));
            }
            O::AddLabel => {
                let Some((own, added)) = self.types.first_enum() else {
                    return;
                };
                let label = format!("added {added}");
                self.must(&format!("ALTER TYPE {own} ADD VALUE {}", literal(&label)));
                self.types.added.push((own, label));
            }
            _ => {}
        }
    }
}

impl Table {
    pub(crate) fn name(&self) -> &str {
        self.names.last().unwrap()
    }

    /// The tables that hold its rows.
    pub(crate) fn stored_in(&self) -> impl Iterator<Item = &String> {
        let itself = self
            .partitions
            .is_empty()
            .then(|| self.names.last())
            .flatten();
        self.partitions.iter().chain(itself)
    }

    /// Whether rows were stored in the table `name` once.
    pub(crate) fn was_called(&self, name: &str) -> bool {
        self.names
            .iter()
            .chain(&self.partitions)
            .any(|own| own == name)
    }
}

fn key_values(key: Key, number: &str) -> Vec<String> {
    match key {
        Key::None => vec![],
        Key::Number => vec![number.to_owned()],
        Key::Quoted => vec![format!("md5(({number})::text)::uuid")],
        Key::Composite => vec![format!("'k\"' || {number}"), format!("{number} % 3")],
    }
}

/// A message that the statement's own first row emits.
fn returning(lead: bool, seed: u64) -> String {
    if lead {
        format!(
            " RETURNING (SELECT truth.say('{{\"lead\": {}}}', true))",
            seed % 1000
        )
    } else {
        String::new()
    }
}

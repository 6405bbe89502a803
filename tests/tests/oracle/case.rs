//! A schema and what is done to it.

use proptest::prelude::*;

use crate::types::{OwnType, Ty, any_own_type, any_type};

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) own_types: Vec<OwnType>,
    pub(crate) tables: Vec<TableSpec>,
    /// The second table refers to the first one, if that has a key of one number.
    pub(crate) cascade: bool,
    /// Triggers on the other tables insert rows into the last one, if that has a key of one number and
    /// does not refer to another.
    pub(crate) echo: bool,
    pub(crate) session: &'static str,
    pub(crate) operations: Vec<Operation>,
}

#[derive(Clone, Debug)]
pub(crate) struct TableSpec {
    pub(crate) key: Key,
    pub(crate) columns: Vec<Ty>,
    pub(crate) generated: bool,
    /// It has a virtual column, where the server has those.
    pub(crate) imagined: bool,
    pub(crate) partitioned: bool,
    /// `REPLICA IDENTITY FULL`, as setup gives it. A table without key has it always.
    pub(crate) full: bool,
    /// Large values are stored apart as they are.
    pub(crate) external: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    Number,
    Quoted,
    Composite,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Begin,
    Commit,
    Abort,
    Savepoint,
    RollbackTo,
    Context(u8),
    /// A message that carries no context.
    Noise(u8),
    Insert {
        table: u8,
        rows: u8,
        seed: u64,
        lead: bool,
    },
    Copy {
        table: u8,
        rows: u8,
        seed: u64,
    },
    Upsert {
        table: u8,
        seed: u64,
        lead: bool,
    },
    /// One statement that updates, deletes and inserts, where the server has it.
    Merge {
        table: u8,
        rows: u8,
        seed: u64,
    },
    Update {
        table: u8,
        rows: u8,
        seed: u64,
        lead: bool,
    },
    UpdateKey {
        table: u8,
        seed: u64,
    },
    Touch {
        table: u8,
        rows: u8,
        seed: u64,
    },
    Delete {
        table: u8,
        rows: u8,
        seed: u64,
        lead: bool,
    },
    Truncate {
        tables: u8,
    },
    AddColumn {
        table: u8,
        ty: Ty,
        seed: u64,
    },
    DropColumn {
        table: u8,
        column: u8,
    },
    RenameColumn {
        table: u8,
        column: u8,
    },
    RenameTable {
        table: u8,
    },
    ChangeIdentity {
        table: u8,
    },
    /// Detaches a partition and attaches it again.
    Reattach {
        table: u8,
        partition: u8,
    },
    AddLabel,
}

fn any_table() -> impl Strategy<Value = TableSpec> {
    let key = prop_oneof![
        Just(Key::Number),
        Just(Key::None),
        Just(Key::Quoted),
        Just(Key::Composite)
    ];
    let columns = prop::collection::vec(any_type(), 1..9);
    let imagined = prop::bool::weighted(0.2);
    (key, columns, any::<[bool; 4]>(), imagined).prop_map(
        |(key, columns, [generated, partitioned, full, external], imagined)| TableSpec {
            key,
            columns,
            generated,
            imagined: imagined && key != Key::None,
            partitioned: partitioned && key == Key::Number,
            full: full || key == Key::None,
            external,
        },
    )
}

fn any_operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let rows = || 1..5_u8;
    // Which table or value it is matters less than that there are few operations.
    let table = || any::<u8>().no_shrink();
    let seed = || any::<u64>().no_shrink();
    let lead = any::<bool>;
    prop_oneof![
        12 => Just(O::Begin),
        10 => Just(O::Commit),
        2 => Just(O::Abort),
        8 => Just(O::Savepoint),
        4 => Just(O::RollbackTo),
        10 => any::<u8>().prop_map(O::Context),
        3 => any::<u8>().prop_map(O::Noise),
        30 => (table(), rows(), seed(), lead()).prop_map(|(table, rows, seed, lead)| O::Insert { table, rows, seed, lead }),
        6 => (table(), rows(), seed()).prop_map(|(table, rows, seed)| O::Copy { table, rows, seed }),
        10 => (table(), seed(), lead()).prop_map(|(table, seed, lead)| O::Upsert { table, seed, lead }),
        8 => (table(), rows(), seed()).prop_map(|(table, rows, seed)| O::Merge { table, rows, seed }),
        30 => (table(), rows(), seed(), lead()).prop_map(|(table, rows, seed, lead)| O::Update { table, rows, seed, lead }),
        8 => (table(), seed()).prop_map(|(table, seed)| O::UpdateKey { table, seed }),
        6 => (table(), rows(), seed()).prop_map(|(table, rows, seed)| O::Touch { table, rows, seed }),
        10 => (table(), rows(), seed(), lead()).prop_map(|(table, rows, seed, lead)| O::Delete { table, rows, seed, lead }),
        1 => any::<u8>().prop_map(|tables| O::Truncate { tables }),
        3 => (table(), any_type(), seed()).prop_map(|(table, ty, seed)| O::AddColumn { table, ty, seed }),
        2 => (table(), any::<u8>()).prop_map(|(table, column)| O::DropColumn { table, column }),
        2 => (table(), any::<u8>()).prop_map(|(table, column)| O::RenameColumn { table, column }),
        1 => table().prop_map(|table| O::RenameTable { table }),
        1 => table().prop_map(|table| O::ChangeIdentity { table }),
        1 => (table(), any::<u8>()).prop_map(|(table, partition)| O::Reattach { table, partition }),
        1 => Just(O::AddLabel),
    ]
}

/// A case of `operations` operations on the average: one that fails can shrink to few.
pub(crate) fn any_case(operations: usize) -> impl Strategy<Value = Case> {
    const SESSIONS: [&str; 3] = [
        "RESET ALL",
        "SET timezone = 'America/St_Johns'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard'",
        "SET extra_float_digits = 3; SET bytea_output = 'hex'; SET timezone = 'UTC'; SET intervalstyle = 'postgres_verbose'",
    ];
    (
        prop::collection::vec(any_own_type(), 0..6),
        prop::collection::vec(any_table(), 1..4),
        any::<[bool; 2]>(),
        prop::sample::select(&SESSIONS),
        prop::collection::vec(any_operation(), 1..2 * operations),
    )
        .prop_map(
            |(own_types, tables, [cascade, echo], session, operations)| Case {
                own_types,
                tables,
                cascade,
                echo,
                session,
                operations,
            },
        )
}

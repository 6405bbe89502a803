use super::*;
use crate::pgoutput::{Column, RelationId, ReplicaIdentity};

/// What the column `key` of today was called in a table with the columns `then`; dropped ones are
/// written in brackets.
fn then(now: &str, then: &str) -> Option<String> {
    let relation = Relation {
        id: RelationId(1),
        schema: "s".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Full,
        columns: then
            .split(' ')
            .map(|name| Column {
                key: true,
                name: name.to_owned(),
                type_oid: 23,
                type_modifier: -1,
            })
            .collect(),
    };
    let attributes: Vec<Attribute> = now
        .split(' ')
        .map(|name| Attribute {
            name: name.to_owned(),
            dropped: name.starts_with('['),
        })
        .collect();
    name_then("key", &relation, &attributes)
}

#[test]
fn a_renamed_column_is_known_by_its_place() {
    for (now, before, name) in [
        ("a key b", "a key b", Some("key")),
        ("key a", "id a", Some("id")),
        ("a key", "a id", Some("id")),
        // Others were renamed too, or came later.
        ("x key y z", "a id b", Some("id")),
        // It came later itself.
        ("a key", "a", None),
        // Dropped ones that were there, and that were not.
        ("[1] key a", "old id a", Some("id")),
        ("[1] key a", "id a", Some("id")),
        ("a [1] key b", "a id b", Some("id")),
        ("[1] a key", "old a id", Some("id")),
        ("[1] [2] key a", "old id a", None),
        ("[1] key", "old id", Some("id")),
        // It may be the dropped one, or the key while the last column was not there yet.
        ("[1] key late", "old id", None),
    ] {
        assert_eq!(then(now, before).as_deref(), name, "{before} became {now}");
    }
}

#[test]
fn without_a_table_nothing_is_known() {
    let relation = Relation {
        id: RelationId(1),
        schema: "s".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Full,
        columns: Vec::new(),
    };
    assert_eq!(name_then("key", &relation, &[]), None);
}

use super::*;

#[test]
fn literals_are_safe_under_either_setting() {
    assert_eq!(literal(r#"{"a":"it's"}"#), r#"'{"a":"it''s"}'"#);
    assert_eq!(literal(r#"{"a":"\"'"}"#), r#"E'{"a":"\\"''"}'"#);
    assert_eq!(
        literal(r"\'; DROP TABLE t; --"),
        r"E'\\''; DROP TABLE t; --'"
    );
}

#[test]
fn a_message_of_its_own() {
    assert_eq!(
        select(
            Some(r#""a":1"#),
            text("DELETE", 100).as_deref(),
            When::Wrote
        ),
        r#"SELECT pg_catalog.pg_logical_emit_message(true,'_bemi','{"SQL":"DELETE","a":1}') WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"#
    );
    assert_eq!(
        select(None, None, When::Always),
        "SELECT pg_catalog.pg_logical_emit_message(true,'_bemi','{}') WHERE NOT pg_catalog.pg_is_in_recovery()"
    );
}

#[test]
fn text_is_cut_between_characters() {
    let fits = "x".repeat(DEFAULT_SQL_BYTES);
    assert_eq!(
        text(&fits, DEFAULT_SQL_BYTES).as_deref(),
        Some(&*format!(r#""SQL":"{fits}""#))
    );
    let sql = format!("{}é", "x".repeat(DEFAULT_SQL_BYTES - 1));
    assert_eq!(
        text(&sql, DEFAULT_SQL_BYTES).as_deref(),
        Some(&*format!(
            r#""SQL":"{}\u2026""#,
            "x".repeat(DEFAULT_SQL_BYTES - 1)
        ))
    );
    assert_eq!(text(&sql, 0), None);
}

use super::*;

fn relations(sql: &str) -> Vec<String> {
    let references = References::of(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = |name: Name| match name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name,
    };
    references.relations.into_iter().map(text).collect()
}

#[test]
fn relations_stand_behind_from_and_join() {
    for (sql, expected) in [
        (
            r#"SELECT "todos"."id" FROM "todos" WHERE ("todos"."id" = $1)"#,
            "todos",
        ),
        (
            "select a.x, b from Todos a, only \"Users\" u, lateral f(a.x) g",
            "todos Users",
        ),
        (
            r#"SELECT 1 FROM ("todos" INNER JOIN "sales"."orders" ON ("todos"."id" = "sales"."orders"."todo_id")) LEFT OUTER JOIN c USING (id)"#,
            "todos sales.orders c",
        ),
        (
            "SELECT (SELECT count(*) FROM b), extract(year from c) FROM a WHERE x IN (SELECT y FROM d, e) AND z IS DISTINCT FROM q",
            "b a d e",
        ),
        (
            "WITH x AS (SELECT * FROM a), y (n) AS MATERIALIZED (TABLE b) SELECT * FROM x JOIN y ON true",
            "a b x y",
        ),
        ("TABLE a", "a"),
        ("VALUES (1), (2)", ""),
        (
            "(SELECT * FROM a) UNION ALL (SELECT * FROM b ORDER BY 1, c) EXCEPT TABLE d",
            "a b d",
        ),
        ("SELECT * FROM (SELECT 1) x, a", "a"),
        (
            "SELECT 'from b', $$from c$$ FROM a -- from d\n WHERE true",
            "a",
        ),
        (
            "SELECT substring(t from 1 for 2), trim(both from t) FROM a GROUP BY t, u",
            "a",
        ),
        (
            "SELECT x, y FROM a WHERE (b, c) IN ((1, 2)) ORDER BY x, y LIMIT 1",
            "a",
        ),
    ] {
        assert_eq!(relations(sql).join(" "), expected, "{sql}");
    }
}

#[test]
fn definitions_functions_and_where_to_begin() {
    let sql =
        "/* ä */ WITH RECURSIVE x AS (SELECT now(), sales.total(1) FROM a) SELECT max(n) FROM x";
    let references = References::of(sql).expect("a query");
    assert_eq!(references.defined, ["x"]);
    assert_eq!(references.functions, ["as", "now", "total", "max"]);
    assert_eq!(
        references.opening,
        Opening::With(sql.find(" x AS").expect("it is there"))
    );
    let sql = "SELECT \"sä\".\"o\".id FROM\n  sä.o";
    let references = References::of(sql).expect("a query");
    let places: Vec<&str> = references
        .qualified
        .iter()
        .map(|(bytes, _)| &sql[bytes.clone()])
        .collect();
    assert_eq!(places, ["\"sä\".\"o\"", "sä.o"]);
}

#[test]
fn what_is_no_query_is_refused() {
    for sql in [
        "INSERT INTO a VALUES (1)",
        "update a set b = 1",
        "BEGIN",
        "",
        "EXPLAIN ANALYZE DELETE FROM a",
    ] {
        assert_eq!(References::of(sql), Err(TravelError::Write), "{sql}");
    }
    for sql in [
        "SELECT 1; SELECT 2",
        "SELECT * FROM db.public.a",
        "SELECT 'a",
    ] {
        assert_eq!(References::of(sql), Err(TravelError::Unreadable), "{sql}");
    }
}

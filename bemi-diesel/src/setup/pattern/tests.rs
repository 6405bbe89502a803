use super::TablePattern;

fn sql(pattern: &str) -> String {
    let pattern = TablePattern::parse(pattern).expect("a pattern");
    pattern.matches_name("s", "t")
}

#[test]
fn a_name_alone_is_a_table_of_any_schema() {
    assert_eq!(sql("orders"), "t LIKE 'orders' ESCAPE '!'");
    assert_eq!(sql("order?_*"), "t LIKE 'order_!_%' ESCAPE '!'");
}

#[test]
fn a_dot_separates_schema_and_name() {
    assert_eq!(
        sql("sales.*"),
        "s LIKE 'sales' ESCAPE '!' AND t LIKE '%' ESCAPE '!'"
    );
    // Without wildcards each dot may also be one of the name's.
    assert_eq!(
        sql("a.b.c"),
        "s LIKE 'a' ESCAPE '!' AND t LIKE 'b.c' ESCAPE '!' OR s LIKE 'a.b' ESCAPE '!' AND t LIKE 'c' ESCAPE '!' \
         OR t LIKE 'a.b.c' ESCAPE '!'"
    );
}

#[test]
fn between_quotes_everything_stands_for_itself() {
    assert_eq!(sql(r#""a.b*?""#), "t LIKE 'a.b*?' ESCAPE '!'");
    assert_eq!(
        sql(r#""it's ""x"""."100%""#),
        r#"s LIKE 'it''s "x"' ESCAPE '!' AND t LIKE '100!%' ESCAPE '!' OR t LIKE 'it''s "x".100!%' ESCAPE '!'"#
    );
    assert_eq!(sql(r"back\slash"), r"t LIKE E'back\\slash' ESCAPE '!'");
    assert_eq!(sql(r#"5"_disk"#), r#"t LIKE '5"!_disk' ESCAPE '!'"#);
}

#[test]
fn what_lacks_a_name_is_no_pattern() {
    for text in ["", ".", "a.", ".a", "\"", "\"a", "a.\"b", "nul\0"] {
        assert!(TablePattern::parse(text).is_err(), "{text:?}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn commas_separate_patterns_and_an_equals_sign_a_condition() {
    let list = TablePattern::parse_list(r#"a,"b,c".d"#).expect("a list");
    let texts: Vec<&str> = list.iter().map(TablePattern::as_str).collect();
    assert_eq!(texts, ["a", r#""b,c".d"#]);
    assert!(TablePattern::parse_list("a,").is_err());
    let (table, condition) =
        TablePattern::parse_assignment(r#""a=b"=x = '='"#).expect("an assignment");
    assert_eq!(
        (table.as_str(), condition.as_str()),
        (r#""a=b""#, "x = '='")
    );
    assert!(TablePattern::parse_assignment("a").is_none());
}

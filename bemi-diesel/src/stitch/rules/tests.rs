use proptest::prelude::*;

use super::*;

#[test]
fn patterns_name_columns() {
    let names = ("public", "orders", "updated_at");
    for (pattern, expected) in [
        ("updated_at", true),
        ("orders.updated_at", true),
        ("public.orders.updated_at", true),
        ("*.updated_at", true),
        ("*.*.updated_at", true),
        ("*", true),
        ("*.*", true),
        ("*.*.*", true),
        ("*_at", true),
        ("u*d*_*t", true),
        ("updated_at*", true),
        ("ord*.upd*", true),
        ("pub*.*ers.*", true),
        ("updated", false),
        ("Updated_at", false),
        ("*_by", false),
        ("*ated_at_*", false),
        ("updated_at.*", false),
        ("order.updated_at", false),
        ("public.updated_at", false),
        ("public.*", false),
        ("ord*", false),
        ("other.orders.updated_at", false),
        ("*.*.*.*", false),
        ("updated_at*at", false),
    ] {
        let matched = ColumnPattern::new(pattern).map(|it| it.matches(names.0, names.1, names.2));
        assert_eq!(matched, Some(expected), "{pattern}");
    }
}

#[test]
fn names_may_have_dots() {
    for pattern in ["a.b.c.d.e", "c.d.e", "d.e", "*.d.e", "a.b.*.d.e", "*.e"] {
        let matched = ColumnPattern::new(pattern).map(|it| it.matches("a.b", "c", "d.e"));
        assert_eq!(matched, Some(true), "{pattern}");
    }
}

#[test]
fn a_pattern_names_something() {
    for pattern in ["", ".", "a.", ".a", "a..b"] {
        assert_eq!(ColumnPattern::new(pattern), None, "{pattern}");
    }
}

proptest! {
    #[test]
    fn a_star_stands_for_any_text(parts in prop::collection::vec("[ab_]{0,3}", 1..5), between in "[ab_é]{0,4}") {
        prop_assert!(glob(&parts.join("*"), &parts.join(&between)));
    }

    #[test]
    fn any_pattern_matches_or_does_not(pattern in r"[a.*é]{0,8}", name in r"[a.é]{0,8}") {
        if let Some(pattern) = ColumnPattern::new(&pattern) {
            let _either = pattern.matches(&name, "a.é", &name);
        }
    }
}

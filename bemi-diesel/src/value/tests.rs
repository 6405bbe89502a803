use std::borrow::Cow;

use postgres_types::Type;
use proptest::prelude::*;

use super::*;

fn json(ty: &ColumnType, text: &str) -> String {
    let mut out = String::new();
    write_json(&mut out, ty, text);
    out
}

fn known(ty: &Type) -> ColumnType {
    builtin(ty.oid()).expect("a built-in type")
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Type, text form, JSON: each equal to `to_jsonb` on PostgreSQL 15 and 18.
#[rustfmt::skip]
const SCALARS: &[(Type, &str, &str)] = &[
    (Type::BOOL, "t", "true"),
    (Type::BOOL, "f", "false"),
    (Type::INT2, "-32768", "-32768"),
    (Type::INT4, "2147483647", "2147483647"),
    (Type::INT8, "-9223372036854775808", "-9223372036854775808"),
    (Type::FLOAT4, "1e-45", "1e-45"),
    (Type::FLOAT4, "-Infinity", r#""-Infinity""#),
    (Type::FLOAT8, "0.30000000000000004", "0.30000000000000004"),
    (Type::FLOAT8, "1e+16", "1e+16"),
    (Type::FLOAT8, "-0", "-0"),
    (Type::FLOAT8, "NaN", r#""NaN""#),
    (Type::NUMERIC, "0.10000000000000000000001", "0.10000000000000000000001"),
    (Type::NUMERIC, "1000.500", "1000.500"),
    (Type::NUMERIC, "NaN", r#""NaN""#),
    (Type::NUMERIC, "Infinity", r#""Infinity""#),
    (Type::MONEY, "$12.34", r#""$12.34""#),
    (Type::OID, "4294967295", r#""4294967295""#),
    (Type::XID, "7", r#""7""#),
    (Type::XID8, "18446744073709551615", r#""18446744073709551615""#),
    (Type::TID, "(1,2)", r#""(1,2)""#),
    (Type::TEXT, "", r#""""#),
    (Type::TEXT, "NULL", r#""NULL""#),
    (Type::TEXT, "q\"b\\ \n\r\t\u{1}\u{1f}\u{7f} é 😀 </script>", "\"q\\\"b\\\\ \\n\\r\\t\\u0001\\u001f\u{7f} é 😀 </script>\""),
    (Type::VARCHAR, "v", r#""v""#),
    (Type::BPCHAR, "ab  ", r#""ab  ""#),
    (Type::CHAR, "x", r#""x""#),
    (Type::NAME, "n", r#""n""#),
    (Type::BYTEA, "\\x00ff", r#""\\x00ff""#),
    (Type::DATE, "2020-02-29", r#""2020-02-29""#),
    (Type::DATE, "infinity", r#""infinity""#),
    (Type::DATE, "0044-03-15 BC", r#""0044-03-15 BC""#),
    (Type::DATE, "5874897-12-31", r#""5874897-12-31""#),
    (Type::TIMESTAMP, "2020-02-29 12:34:56", r#""2020-02-29T12:34:56""#),
    (Type::TIMESTAMP, "2020-02-29 12:34:56.000001", r#""2020-02-29T12:34:56.000001""#),
    (Type::TIMESTAMP, "-infinity", r#""-infinity""#),
    (Type::TIMESTAMP, "0044-03-15 01:02:03.5 BC", r#""0044-03-15T01:02:03.5 BC""#),
    (Type::TIMESTAMP, "294276-12-31 23:59:59.999999", r#""294276-12-31T23:59:59.999999""#),
    (Type::TIMESTAMPTZ, "2020-02-29 12:34:56.789+00", r#""2020-02-29T12:34:56.789+00:00""#),
    (Type::TIMESTAMPTZ, "2020-02-29 12:34:56+05:30", r#""2020-02-29T12:34:56+05:30""#),
    (Type::TIMESTAMPTZ, "2020-02-29 12:34:56-08", r#""2020-02-29T12:34:56-08:00""#),
    (Type::TIMESTAMPTZ, "infinity", r#""infinity""#),
    (Type::TIMESTAMPTZ, "0044-03-15 01:02:03.5+00 BC", r#""0044-03-15T01:02:03.5+00:00 BC""#),
    (Type::TIME, "24:00:00", r#""24:00:00""#),
    (Type::TIMETZ, "12:34:56.789+05:30", r#""12:34:56.789+05:30""#),
    (Type::INTERVAL, "1 year 2 mons 3 days 04:05:06.789", r#""1 year 2 mons 3 days 04:05:06.789""#),
    (Type::UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
    (Type::INET, "10.0.0.1", r#""10.0.0.1""#),
    (Type::CIDR, "10.0.0.0/8", r#""10.0.0.0/8""#),
    (Type::MACADDR, "08:00:2b:01:02:03", r#""08:00:2b:01:02:03""#),
    (Type::BIT, "1", r#""1""#),
    (Type::VARBIT, "10110", r#""10110""#),
    (Type::POINT, "(1.5,-2)", r#""(1.5,-2)""#),
    (Type::BOX, "(1,1),(0,0)", r#""(1,1),(0,0)""#),
    (Type::LINE, "{1,2,3}", r#""{1,2,3}""#),
    (Type::TS_VECTOR, "'a':1 'b c':2", r#""'a':1 'b c':2""#),
    (Type::JSONPATH, r#"$."a"[*]?(@ > 1)"#, r#""$.\"a\"[*]?(@ > 1)""#),
    (Type::XML, r#"<a b="c">&amp;</a>"#, r#""<a b=\"c\">&amp;</a>""#),
    (Type::PG_LSN, "16/B374D848", r#""16/B374D848""#),
    (Type::REGCLASS, "pg_class", r#""pg_class""#),
    (Type::INT4_RANGE, "[1,10)", r#""[1,10)""#),
    (Type::TSTZ_RANGE, r#"["2020-01-01 00:00:00+00",infinity]"#, r#""[\"2020-01-01 00:00:00+00\",infinity]""#),
    (Type::INT4MULTI_RANGE, "{[1,2),[5,6)}", r#""{[1,2),[5,6)}""#),
    (Type::JSON, " [ 1 ,\n2.50 ] ", "[ 1 ,\n2.50 ]"),
    (Type::JSON, r#"{"a":1,"a":12345678901234567890.12345678901234567890}"#, r#"{"a":1,"a":12345678901234567890.12345678901234567890}"#),
    (Type::JSON, "null", "null"),
    (Type::JSONB, r#"{"a": [1.0, {"c": null}], "b": "é\\u0000"}"#, r#"{"a": [1.0, {"c": null}], "b": "é\\u0000"}"#),
    (Type::INT2_VECTOR, "1 -2 3", "[1,-2,3]"),
    (Type::INT2_VECTOR, "", "[]"),
    (Type::OID_VECTOR, "1 2", r#"["1","2"]"#),
];

#[rustfmt::skip]
const ARRAYS: &[(Type, &str, &str)] = &[
    (Type::INT4_ARRAY, "{}", "[]"),
    (Type::INT4_ARRAY, "{1,NULL,3}", "[1,null,3]"),
    (Type::INT4_ARRAY, "[0:1]={1,2}", "[1,2]"),
    (Type::INT4_ARRAY, "[-1:0][2:3]={{1,2},{3,4}}", "[[1,2],[3,4]]"),
    (Type::INT4_ARRAY, "{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
    (Type::BOOL_ARRAY, "{t,f,NULL}", "[true,false,null]"),
    (Type::NUMERIC_ARRAY, "{NaN,1.10,Infinity}", r#"["NaN",1.10,"Infinity"]"#),
    (Type::OID_ARRAY, "{1}", r#"["1"]"#),
    (Type::TEXT_ARRAY, r#"{"","NULL",NULL,"a,b","a\"b","a\\b","{","}"," ",x}"#, r#"["","NULL",null,"a,b","a\"b","a\\b","{","}"," ","x"]"#),
    (Type::TEXT_ARRAY, "{\"a\nb\",é😀,\"\t\"}", r#"["a\nb","é😀","\t"]"#),
    (Type::BPCHAR_ARRAY, r#"{"ab  "}"#, r#"["ab  "]"#),
    (Type::BYTEA_ARRAY, r#"{"\\x00ff"}"#, r#"["\\x00ff"]"#),
    (Type::TIMESTAMPTZ_ARRAY, r#"{"2020-01-01 00:00:00+00",infinity}"#, r#"["2020-01-01T00:00:00+00:00","infinity"]"#),
    (Type::TIMESTAMP_ARRAY, r#"{"0044-03-15 01:02:03 BC"}"#, r#"["0044-03-15T01:02:03 BC"]"#),
    (Type::JSON_ARRAY, r#"{"{\"a\": \"x,\\\\\\\"y\"}","[1,2]","null",NULL,1}"#, r#"[{"a": "x,\\\"y"},[1,2],null,null,1]"#),
    (Type::BOX_ARRAY, "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1,1),(0,0)","(2,2),(1,1)"]"#),
    (Type::POINT_ARRAY, r#"{"(1,2)","(3,4)"}"#, r#"["(1,2)","(3,4)"]"#),
    (Type::INT4_RANGE_ARRAY, r#"{"[1,2)",empty}"#, r#"["[1,2)","empty"]"#),
    (Type::INT2_VECTOR_ARRAY, r#"{"1 2",3}"#, "[[1,2],[3]]"),
    (Type::OID_VECTOR_ARRAY, r#"{"1 2"}"#, r#"[["1","2"]]"#),
];

#[test]
fn built_in_types_give_what_to_jsonb_gives() {
    for (ty, text, expected) in SCALARS.iter().chain(ARRAYS) {
        assert!(is_json(expected), "{expected}");
        assert_eq!(json(&known(ty), text), *expected, "{text:?}::{ty}");
    }
    assert_eq!(builtin(16384), None);
}

#[test]
fn composites_give_what_to_jsonb_gives() {
    let field = |name: &str, ty| (name.to_owned(), ty);
    let empty = ColumnType::composite(vec![]);
    let single = ColumnType::composite(vec![field("a", known(&Type::INT4))]);
    let inner = ColumnType::composite(vec![
        field("n", known(&Type::NUMERIC)),
        field("t", known(&Type::TEXT)),
        field("b", known(&Type::BOOL)),
        field("ts", known(&Type::TIMESTAMPTZ)),
        field("j", known(&Type::JSON)),
    ]);
    let ints = known(&Type::INT4_ARRAY);
    let outer = ColumnType::composite(vec![
        field("x \"y", inner.clone()),
        field("arr", ColumnType::array(inner.clone(), ',')),
        field("e", ColumnType::text()),
        field("da", ints.clone()),
        // An array of a domain over an array.
        field("das", ColumnType::array(ints, ',')),
        field("boxes", known(&Type::BOX_ARRAY)),
        field("r", known(&Type::INT4_RANGE)),
    ]);
    for (ty, text, expected) in [
        (&empty, "()", "{}"),
        (&single, "()", r#"{"a":null}"#),
        (&single, "(5)", r#"{"a":5}"#),
        (
            &inner,
            r#"(1.50,"a ""q"" \\ (p), NULL",t,"2020-01-01 00:00:00+00","{""k"":""v\\\\\\""""}")"#,
            r#"{"n":1.50,"t":"a \"q\" \\ (p), NULL","b":true,"ts":"2020-01-01T00:00:00+00:00","j":{"k":"v\\\""}}"#,
        ),
        (
            &inner,
            "(,,,,)",
            r#"{"n":null,"t":null,"b":null,"ts":null,"j":null}"#,
        ),
        (
            &inner,
            r#"(NaN,"",f,infinity,null)"#,
            r#"{"n":"NaN","t":"","b":false,"ts":"infinity","j":null}"#,
        ),
        (
            &outer,
            r#"("(1,""a""""\\\\,)"",t,,""[1,""""(,\\\\""""""""]"")","{""(1,\\""x\\""\\""\\\\\\\\\\"",f,\\""2020-01-01 00:00:00+00\\"",{})"",NULL,""(,\\""\\"",,,)""}","b c","{{1},{2}}","{""{1,2}"",NULL}","{(1,1),(0,0);(2,2),(1,1)}","[1,3)")"#,
            concat!(
                r#"{"x \"y":{"n":1,"t":"a\"\\,)","b":true,"ts":null,"j":[1,"(,\""]},"#,
                r#""arr":[{"n":1,"t":"x\"\\","b":false,"ts":"2020-01-01T00:00:00+00:00","j":{}},null,"#,
                r#"{"n":null,"t":"","b":null,"ts":null,"j":null}],"#,
                r#""e":"b c","da":[[1],[2]],"das":[[1,2],null],"#,
                r#""boxes":["(1,1),(0,0)","(2,2),(1,1)"],"r":"[1,3)"}"#
            ),
        ),
    ] {
        assert_eq!(json(ty, text), expected, "{text}");
    }
}

#[test]
fn text_in_another_form_is_kept() {
    let pair = ColumnType::composite(vec![
        ("a".to_owned(), known(&Type::INT4)),
        ("b".to_owned(), ColumnType::text()),
    ]);
    for text in ["yes", "", "{", "01", "1.", "-", "+1", "1e", "0x1F", "1_000"] {
        for ty in [Type::BOOL, Type::NUMERIC, Type::TIMESTAMPTZ, Type::JSON] {
            assert_eq!(json(&known(&ty), text), format!("\"{text}\""), "{ty}");
        }
    }
    for text in [
        "01/02/2020 00:00:00",
        "Thu Jan 02 00:00:00 2020",
        "2020-01-02 00:00:00",
    ] {
        assert_eq!(
            json(&known(&Type::TIMESTAMPTZ), text),
            format!("\"{text}\"")
        );
    }
    let too_deep = "{".repeat(100_000);
    for text in [
        "", "1", "{1", "1}", "{1}}", "{1,}", "{,1}", "{1}2", "[0:1]", "{a{}", "{{1}2}", &too_deep,
    ] {
        let ty = known(&Type::INT4_ARRAY);
        assert_eq!(json(&ty, text), format!("\"{text}\""));
    }
    for text in ["", "(", "(1", "(1)", "(1,2", "(1,2,3)", "(1,2)x", "1,2"] {
        assert_eq!(json(&pair, text), format!("\"{text}\""));
    }
    assert_eq!(
        json(&known(&Type::TEXT_ARRAY), r#"{"a"#),
        r#""{\"a""#,
        "what was written by then is taken back"
    );
}

#[test]
fn json_becomes_storable() {
    let digits = |count| "9".repeat(count);
    let string = |text: &str| format!("\"{text}\"");
    for (given, expected) in [
        (r#""\u0000""#, r#""\\u0000""#.to_owned()),
        (
            r#"{"\u0000a": ["x\u0000y"]}"#,
            r#"{"\\u0000a": ["x\\u0000y"]}"#.to_owned(),
        ),
        // An escaped backslash before `u0000`, and one more before that.
        (r#""\\u0000""#, r#""\\u0000""#.to_owned()),
        (r#""\\\u0000""#, r#""\\\\u0000""#.to_owned()),
        // Pairs of surrogates stay; what has no partner does not.
        (r#""\ud83d\uDE00""#, r#""\ud83d\uDE00""#.to_owned()),
        (r#""\uD83d""#, r#""\\uD83d""#.to_owned()),
        (r#""\ude00\ud83d""#, r#""\\ude00\\ud83d""#.to_owned()),
        (
            r#""\ud83d\ud83d\ude00""#,
            r#""\\ud83d\ud83d\ude00""#.to_owned(),
        ),
        (r#""\ud83d\\ude00""#, r#""\\ud83d\\ude00""#.to_owned()),
        (r#""\ud83dx""#, r#""\\ud83dx""#.to_owned()),
        // Each boundary as measured on PostgreSQL 15 and 18.
        ("9e131071", "9e131071".to_owned()),
        ("10e131071", string("10e131071")),
        ("-1e131072", string("-1e131072")),
        ("0.1e131072", "0.1e131072".to_owned()),
        ("0.01e131074", string("0.01e131074")),
        ("1e-16383", "1e-16383".to_owned()),
        ("1.0e-16383", string("1.0e-16383")),
        ("[1e-16384,2]", r#"["1e-16384",2]"#.to_owned()),
        ("0e-16384", string("0e-16384")),
        ("0e1073741822", "0e1073741822".to_owned()),
        ("0e1073741823", string("0e1073741823")),
        ("0E-9223372036854775808", string("0E-9223372036854775808")),
        ("1e99999999999999999999", string("1e99999999999999999999")),
        (&digits(131_072), digits(131_072)),
        (&digits(131_073), string(&digits(131_073))),
        (
            &format!("0.{}", digits(16_383)),
            format!("0.{}", digits(16_383)),
        ),
        (
            &format!("0.{}", digits(16_384)),
            string(&format!("0.{}", digits(16_384))),
        ),
        (r#"{"a":"1e999999"}"#, r#"{"a":"1e999999"}"#.to_owned()),
    ] {
        assert!(is_json(&expected), "{expected}");
        assert_eq!(storable_json(given), expected);
    }
    let plain = r#" {"a": [1, -2.50E+3, true, null, "\"\\/\b\f\n\r\t\u0001é\uFFFF"]} "#;
    assert!(matches!(storable_json(plain), Cow::Borrowed(same) if same == plain));
}

#[test]
fn json_that_is_nested_too_deep_becomes_its_text() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let deepest = nested(storable::MAX_DEPTH);
    assert_eq!(storable_json(&deepest), deepest);
    let too_deep = nested(storable::MAX_DEPTH + 1);
    assert_eq!(try_storable_json(&too_deep), Err(TooDeep));
    assert_eq!(
        json(&ColumnType::Json, &too_deep),
        format!("\"{too_deep}\"")
    );
    let wide = format!("[{}[]]", "[],".repeat(storable::MAX_DEPTH));
    assert_eq!(storable_json(&wide), wide);
}

#[test]
fn json_becomes_encodable() {
    let latin1 = |character| !matches!(character, '\u{80}'..='\u{ff}');
    for (given, expected) in [
        ("{\"é\": \"aΩb\"}", r#"{"é": "a\\u03a9b"}"#),
        ("\"\u{1F600}x\"", r#""\\ud83d\\ude00x""#),
        (
            r#""\ud83d\uDE00\u03a9\u00e9\u0041""#,
            r#""\\ud83d\\uDE00\\u03a9é\u0041""#,
        ),
        (r#""\\u03a9\\\"\n""#, r#""\\u03a9\\\"\n""#),
    ] {
        assert!(is_json(expected), "{expected}");
        assert_eq!(encodable_json(given, latin1), expected);
        let again = encodable_json(expected, latin1);
        assert!(matches!(again, Cow::Borrowed(same) if same == expected));
    }
    assert_eq!(
        encodable_text("é\u{1F600}\\\"Ω", latin1),
        r#"é\ud83d\ude00\"\u03a9"#
    );
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    let leaf = prop::sample::select(SCALARS).prop_map(|(ty, ..)| known(&ty));
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec![',', ';', 'é']))
                .prop_map(|(element, delimiter)| ColumnType::array(element, delimiter)),
            prop::collection::vec(("[a\"]*", inner), 0..3).prop_map(ColumnType::composite),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_of_any_type_gives_json(
        ty in any_type(),
        text in r#"([(){}\[\],;:="\\ néuU0-9d.eE+-]|NULL|\\u0000|\PC)*"#,
    ) {
        let written = json(&ty, &text);
        prop_assert!(is_json(&written), "{}", written);
        let storable = storable_json(&written);
        prop_assert!(is_json(&storable), "{}", storable);
        prop_assert_eq!(storable_json(&storable), &*storable);
        let ascii = encodable_json(&storable, |_| true);
        prop_assert!(is_json(&ascii) && ascii.is_ascii(), "{}", ascii);
    }

    #[test]
    fn strings_come_back(text: String) {
        let written = json(&ColumnType::text(), &text);
        prop_assert_eq!(serde_json::from_str::<String>(&written).ok(), Some(text));
    }

    #[test]
    fn storable_takes_any_text(text: String) {
        let _ = storable_json(&text);
    }
}

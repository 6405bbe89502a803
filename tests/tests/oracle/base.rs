//! The types that a server brings, each with what makes values of it: texts that its input function
//! reads. Half of them are the corners of the type, half are random.

use std::fmt;

use crate::random::Random;

/// What `jsonb_populate_record` makes of the JSON of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restores {
    /// The value, to the last character of its text.
    Exactly,
    /// The value but for the sign of zero, which `jsonb` has not.
    NumberWithoutSignOfZero,
    /// A value of the same JSON: `json` loses its spaces, doubled members and order, an array its lower
    /// bounds, and a JSON `null` becomes NULL.
    SameJson,
    /// Nothing: it cannot read its own `to_jsonb`.
    Nothing,
}

/// A type that the server brings.
pub(crate) struct Base {
    pub(crate) sql: &'static str,
    pub(crate) value: fn(&mut Random) -> String,
    pub(crate) restores: Restores,
    /// The trail differs from `to_jsonb` in a documented way that the truth allows for in columns, but
    /// not inside of composites and arrays.
    pub(crate) only_columns: bool,
    /// It has no binary form, which `jsonb_populate_record` wants of a domain's base.
    pub(crate) no_domains: bool,
    /// The extension that it comes from, or `xml` where that has to be built in.
    pub(crate) needs: Option<&'static str>,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql)
    }
}

const fn exact(sql: &'static str, value: fn(&mut Random) -> String) -> Base {
    Base {
        sql,
        value,
        restores: Restores::Exactly,
        only_columns: false,
        no_domains: false,
        needs: None,
    }
}

const fn restoring(
    restores: Restores,
    sql: &'static str,
    value: fn(&mut Random) -> String,
) -> Base {
    Base {
        restores,
        ..exact(sql, value)
    }
}

const fn extension(
    needs: &'static str,
    sql: &'static str,
    value: fn(&mut Random) -> String,
) -> Base {
    Base {
        needs: Some(needs),
        ..exact(sql, value)
    }
}

const fn without_binary(base: Base) -> Base {
    Base {
        no_domains: true,
        ..base
    }
}

macro_rules! one_of {
    ($($text:expr),+ $(,)?) => {
        |random| random.pick(&[$($text),+]).to_owned()
    };
}

pub(crate) const BASES: &[Base] = &[
    exact("bool", one_of!["t", "f"]),
    exact("int2", |r| number(r, &["32767", "-32768", "0"], 4)),
    exact("int4", |r| {
        number(r, &["2147483647", "-2147483648", "0"], 9)
    }),
    exact("int8", |r| {
        number(r, &["9223372036854775807", "-9223372036854775808"], 18)
    }),
    restoring(Restores::NumberWithoutSignOfZero, "float4", |r| {
        float(r, &["3.4028235e38", "1e-45", "1.17549435e-38"])
    }),
    restoring(Restores::NumberWithoutSignOfZero, "float8", |r| {
        float(
            r,
            &["1.7976931348623157e308", "5e-324", "0.30000000000000004"],
        )
    }),
    exact("numeric", numeric),
    exact("numeric(20,4)", |r| {
        format!("{}{}.{}", r.sign(), r.digits(9), r.digits(6))
    }),
    exact("money", |r| {
        format!("{}{}.{}", r.sign(), r.digits(7), r.digits(2))
    }),
    exact("text", text),
    exact("text", |r| {
        if r.one_in(3) {
            r.digits(9_000)
        } else {
            text(r)
        }
    }),
    exact("varchar(4000)", text),
    exact("char(12)", |r| text(r).chars().take(12).collect()),
    exact("\"char\"", one_of!["", "x", "\"", "\\", "(", "{"]),
    exact("name", |r| text(r).chars().take(12).collect()),
    exact("bytea", |r| {
        if r.one_in(6) {
            String::new()
        } else {
            let bytes = r.below(40);
            format!(
                "\\x{}",
                (0..bytes)
                    .map(|_| format!("{:02x}", r.below(256)))
                    .collect::<String>()
            )
        }
    }),
    exact("uuid", |r| format!("{:016x}{:016x}", r.next(), r.next())),
    exact("date", |r| {
        let random = date(r);
        r.pick(&[
            "infinity",
            "-infinity",
            "4713-11-24 BC",
            "0001-12-31 BC",
            "5874897-12-31",
            "2024-02-29",
            &*random,
            &*random,
        ])
        .to_owned()
    }),
    exact("time", |r| {
        let random = time(r);
        r.pick(&[
            "00:00:00",
            "24:00:00",
            "23:59:59.999999",
            "12:30:00.5",
            &*random,
        ])
        .to_owned()
    }),
    exact("timetz", |r| {
        let random = time(r);
        random + r.pick(&["+00", "+05:30", "-08", "+15:59:59", "-15:59"])
    }),
    exact("timestamp", |r| {
        let random = format!("{} {}", date(r), time(r));
        r.pick(&[
            "infinity",
            "-infinity",
            "4713-11-24 00:00:00 BC",
            "0044-03-15 12:00:00.000001 BC",
            "294276-12-31 23:59:59.999999",
            &*random,
            &*random,
        ])
        .to_owned()
    }),
    exact("timestamptz", |r| {
        let random = format!(
            "{} {}{}",
            date(r),
            time(r),
            r.pick(&["+00", "+05:30", "-08"])
        );
        r.pick(&[
            "infinity",
            "-infinity",
            "4713-11-24 00:00:00+00 BC",
            "0044-03-15 12:00:00.5+00 BC",
            "294276-12-31 23:59:59.999999+00",
            &*random,
            &*random,
        ])
        .to_owned()
    }),
    exact("timestamptz(0)", |r| format!("{} {}+00", date(r), time(r))),
    exact("time(2)", time),
    exact("bpchar", text),
    exact("interval day to second(1)", |r| {
        format!("{}{} days {}", r.sign(), r.below(60), time(r))
    }),
    exact("interval", |r| {
        let random = format!(
            "{}{} mons {}{} days {}{}:{}.{}",
            r.sign(),
            r.below(200),
            r.sign(),
            r.below(60),
            r.sign(),
            r.below(90),
            time(r).get(3..8).unwrap(),
            r.digits(6)
        );
        r.pick(&[
            "0",
            "1 year -2 days +03:00:00",
            "-178000000 years",
            "178000000 years",
            "1 mon",
            &*random,
            &*random,
        ])
        .to_owned()
    }),
    restoring(Restores::SameJson, "json", json),
    restoring(Restores::SameJson, "jsonb", json),
    Base {
        only_columns: true,
        ..restoring(Restores::SameJson, "json", |r| {
            format!(
                r#"{{"nul": "x\u0000{}", "\u0000": [ "\u0000\u0000" ]}}"#,
                r.below(9)
            )
        })
    },
    exact(
        "jsonpath",
        one_of![
            r#"$."a"[*]?(@ > 1)"#,
            "strict $",
            r#"$.**{2 to last}."x y""#
        ],
    ),
    exact(
        "inet",
        one_of![
            "10.0.0.1",
            "10.0.0.1/8",
            "::1",
            "2001:db8::/32",
            "255.255.255.255/0",
            "::ffff:1.2.3.4"
        ],
    ),
    exact(
        "cidr",
        one_of![
            "10.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "192.168.1.0/24"
        ],
    ),
    exact("macaddr", |r| hexadecimal(r, 6)),
    exact("macaddr8", |r| hexadecimal(r, 8)),
    exact("bit(5)", |r| bits(r, 5)),
    exact("varbit", |r| {
        let len = r.below(70);
        bits(r, len)
    }),
    exact("point", point),
    exact("line", one_of!["{1,2,3}", "{0.1,-1e-300,1e300}", "{1,0,0}"]),
    exact("lseg", |r| format!("[{},{}]", point(r), point(r))),
    exact("box", |r| format!("{},{}", point(r), point(r))),
    exact("path", |r| {
        let points = points(r);
        if r.one_in(2) {
            format!("[{points}]")
        } else {
            format!("({points})")
        }
    }),
    exact("polygon", |r| {
        let points = points(r);
        format!("({points})")
    }),
    exact("circle", |r| format!("<{},{}>", point(r), r.below(1000))),
    exact(
        "tsvector",
        one_of![
            "",
            "'a':1 'b c':2,3A",
            r"'it''s':1B 'back\\slash':7",
            "'é😀':1,16383",
            "a b c"
        ],
    ),
    exact(
        "tsquery",
        one_of!["'a' & !'b'", "'a b' <2> 'c':*AB", "", r"'it''s' | 'x\\y'"],
    ),
    exact("pg_lsn", one_of!["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]),
    exact("oid", one_of!["0", "1", "4294967295"]),
    exact("xid", one_of!["0", "4294967295"]),
    exact("xid8", one_of!["0", "18446744073709551615"]),
    exact("cid", one_of!["0", "7"]),
    exact("tid", one_of!["(0,0)", "(4294967295,65535)"]),
    exact("pg_snapshot", one_of!["10:20:10,14,15", "1:1:"]),
    exact("txid_snapshot", one_of!["10:20:10,14,15", "1:1:"]),
    exact(
        "regclass",
        one_of![
            "pg_class",
            "pg_type",
            "-",
            "99999",
            "truth.\"A table: (1,2)\""
        ],
    ),
    exact(
        "regtype",
        one_of![
            "integer",
            "text",
            "\"char\"",
            "timestamp with time zone",
            "_int4",
            "-"
        ],
    ),
    exact("regproc", one_of!["now", "pg_sleep", "-"]),
    exact(
        "regprocedure",
        one_of!["abs(integer)", "substring(text,int,int)", "-"],
    ),
    exact("regoper", one_of!["||/", "0"]),
    exact(
        "regoperator",
        one_of!["*(integer,integer)", "-(NONE,bigint)", "0"],
    ),
    exact("regnamespace", one_of!["pg_catalog", "public", "truth"]),
    exact("regrole", one_of!["postgres", "pg_monitor"]),
    exact(
        "regcollation",
        one_of!["\"C\"", "\"POSIX\"", "pg_catalog.\"default\""],
    ),
    exact("regconfig", one_of!["simple", "english"]),
    exact("regdictionary", one_of!["simple", "english_stem"]),
    exact("refcursor", text),
    // That has one from PostgreSQL 16 on.
    without_binary(exact(
        "aclitem",
        one_of!["postgres=arwdDxt/postgres", "=r/postgres"],
    )),
    Base {
        only_columns: true,
        ..restoring(Restores::Nothing, "int2vector", one_of!["1 -2 3", "", "7"])
    },
    Base {
        only_columns: true,
        ..restoring(
            Restores::Nothing,
            "oidvector",
            one_of!["1 4294967295", "", "7"],
        )
    },
    exact(
        "int4range",
        one_of!["[1,10)", "empty", "(,)", "[5,]", "(-5,0]"],
    ),
    exact(
        "int8range",
        one_of![
            "[1,10)",
            "empty",
            "[-9223372036854775808,9223372036854775807)"
        ],
    ),
    exact("numrange", |r| {
        format!(
            "({},{}]",
            r.pick(&["", "-Infinity", "-99.50"]),
            r.pick(&["", "Infinity", "0.10"])
        )
    }),
    exact("daterange", |r| {
        let day = date(r);
        r.pick(&["empty", "[2020-01-01,infinity)", &*format!("[{day},{day}]")])
            .to_owned()
    }),
    exact("tsrange", |r| format!("[{} {},)", date(r), time(r))),
    exact("tstzrange", |r| format!("(,{} {}+02)", date(r), time(r))),
    exact("int4multirange", one_of!["{}", "{[1,3),[7,9)}", "{(,)}"]),
    exact("int8multirange", one_of!["{}", "{[1,3)}"]),
    exact("nummultirange", one_of!["{}", "{[1.50,3],(7,8.0)}"]),
    exact(
        "datemultirange",
        one_of!["{}", "{[2020-01-01,2020-02-01),[2021-01-01,)}"],
    ),
    exact(
        "tsmultirange",
        one_of!["{}", "{[2020-01-01 00:00:00,2020-02-01 12:00:00)}"],
    ),
    exact(
        "tstzmultirange",
        one_of!["{}", "{[2020-01-01 00:00:00+00,2020-02-01 12:00:00+05:30)}"],
    ),
    extension(
        "xml",
        "xml",
        one_of![
            r#"<a b="c">&amp;</a>"#,
            "text only",
            "<!-- c --><é/>",
            "<r>\n  <x>1</x>\r\n</r>",
            ""
        ],
    ),
    Base {
        only_columns: true,
        ..extension(
            "hstore",
            "public.hstore",
            one_of!["", "a=>1", r#""k \""=>NULL, "é"=>"v\\x""#, "a=>b,c=>d"],
        )
    },
    extension("citext", "public.citext", text),
    extension("ltree", "public.ltree", one_of!["Top.Science", "", "a_1.B"]),
    extension("ltree", "public.lquery", one_of!["Top.*{1,2}.x@*|y%", "*"]),
    extension(
        "cube",
        "public.cube",
        one_of!["(1, 2.5)", "(0),(1)", "(1e300, -1e-300),(0, 0)"],
    ),
    without_binary(extension(
        "seg",
        "public.seg",
        one_of!["1 .. 2.50", "> 5", "1.20(+-)0.10"],
    )),
    extension(
        "ltree",
        "public.ltxtquery",
        one_of!["Top & !(a* | b@)", "a%"],
    ),
    extension(
        "earthdistance",
        "public.earth",
        one_of!["(6378168, 0, 0)", "(0, 0, -6378168)"],
    ),
    without_binary(extension("isn", "public.isbn", one_of!["0-393-04002-X"])),
    without_binary(extension(
        "isn",
        "public.ean13",
        one_of!["978-0-393-04002-9"],
    )),
    without_binary(extension("isn", "public.ismn", one_of!["M-060-11561-5"])),
    without_binary(extension("isn", "public.issn", one_of!["1436-4522"])),
    without_binary(extension("isn", "public.upc", one_of!["220356483481"])),
    extension("lo", "public.lo", one_of!["1", "4294967295"]),
    without_binary(extension(
        "intarray",
        "public.query_int",
        one_of!["1&(2|3)", "!4"],
    )),
];

fn number(random: &mut Random, corners: &[&str], digits: usize) -> String {
    if random.one_in(2) {
        return random.pick(corners).to_owned();
    }
    let digits = 1 + random.below(digits);
    random.sign().to_owned() + &random.digits(digits)
}

fn float(random: &mut Random, corners: &[&str]) -> String {
    match random.below(4) {
        0 => random
            .pick(&["NaN", "Infinity", "-Infinity", "0", "-0", "1e16", "123456"])
            .to_owned(),
        1 => random.sign().to_owned() + random.pick(corners),
        _ => format!(
            "{}{}.{}e{}{}",
            random.sign(),
            random.digits(1),
            random.digits(8),
            random.sign(),
            random.below(30)
        ),
    }
}

fn numeric(random: &mut Random) -> String {
    match random.below(4) {
        0 => random
            .pick(&[
                "NaN",
                "Infinity",
                "-Infinity",
                "0",
                "0.00",
                "1000.500",
                "-0.0",
                "1e-20",
                "1e40",
            ])
            .to_owned(),
        1 => format!(
            "{}{}.{}",
            random.sign(),
            random.digits(700),
            random.digits(300)
        ),
        _ => {
            let (integer, fraction) = (1 + random.below(30), 1 + random.below(30));
            format!(
                "{}{}.{}",
                random.sign(),
                random.digits(integer),
                random.digits(fraction)
            )
        }
    }
}

/// Text that is hard on quoting.
pub(crate) fn text(random: &mut Random) -> String {
    const PARTS: [&str; 30] = [
        "a", "B", " ", "  ", "NULL", "null", "\"", "\"\"", "\\", "\\\\", "'", ",", ";", "{", "}",
        "(", ")", "[", "]", "\n", "\t", "\r", "\u{1}", "\u{7f}", "é", "😀", "\u{2028}", "\u{feff}",
        "\\u0000", "</x>",
    ];
    let parts = random.below(8);
    (0..parts).map(|_| random.pick(&PARTS)).collect()
}

fn date(random: &mut Random) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        1 + random.below(9998),
        1 + random.below(12),
        1 + random.below(28)
    )
}

fn time(random: &mut Random) -> String {
    let seconds = format!(
        "{:02}:{:02}:{:02}",
        random.below(24),
        random.below(60),
        random.below(60)
    );
    if random.one_in(2) {
        return seconds;
    }
    let digits = 1 + random.below(6);
    format!("{seconds}.{}", random.digits(digits))
}

fn hexadecimal(random: &mut Random, bytes: usize) -> String {
    let bytes: Vec<String> = (0..bytes)
        .map(|_| format!("{:02x}", random.below(256)))
        .collect();
    bytes.join(":")
}

fn bits(random: &mut Random, count: usize) -> String {
    (0..count).map(|_| random.pick(&["0", "1"])).collect()
}

fn point(random: &mut Random) -> String {
    let mut coordinate = || match random.below(4) {
        0 => random
            .pick(&["0", "1e300", "-1e-300", "Infinity", "NaN"])
            .to_owned(),
        _ => format!(
            "{}{}.{}",
            random.sign(),
            random.digits(3),
            random.digits(12)
        ),
    };
    format!("({},{})", coordinate(), coordinate())
}

fn points(random: &mut Random) -> String {
    let count = 1 + random.below(4);
    let points: Vec<String> = (0..count).map(|_| point(random)).collect();
    points.join(",")
}

fn json(random: &mut Random) -> String {
    let mut out = String::new();
    write_json(&mut out, random, 3);
    out
}

fn write_json(out: &mut String, random: &mut Random, depth: usize) {
    let space = random.pick(&["", "", " ", "\n\t"]);
    out.push_str(space);
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0 => out.push_str(random.pick(&["null", "true", "false"])),
        1 => out.push_str(random.pick(&[
            "0",
            "-0",
            "1.0",
            "1e5",
            "1E-7",
            "-2.50e+3",
            "0.10000000000000000000001",
        ])),
        2 => {
            let digits = 1 + random.below(1000);
            out.push_str(&random.digits(digits));
        }
        3 => out.push_str(&json_string(random)),
        4 => {
            out.push('[');
            for index in 0..random.below(4) {
                if index > 0 {
                    out.push(',');
                }
                write_json(out, random, depth - 1);
            }
            out.push(']');
        }
        _ => {
            out.push('{');
            for index in 0..random.below(5) {
                if index > 0 {
                    out.push(',');
                }
                // Few names, so that some come twice.
                out.push_str(random.pick(&[r#""b""#, r#""a""#, r#""aa""#, r#""""#, r#""é \"""#]));
                out.push_str(space);
                out.push(':');
                write_json(out, random, depth - 1);
            }
            out.push('}');
        }
    }
    out.push_str(space);
}

/// No escape of a zero byte: `to_jsonb` refuses that.
fn json_string(random: &mut Random) -> String {
    const PARTS: [&str; 14] = [
        "a",
        "\\\"",
        "\\\\",
        "\\n",
        "\\/",
        "\\b",
        "é",
        "\\u00e9",
        "\\ud83d\\ude00",
        "😀",
        " ",
        "\\\\u0000",
        "\\u001f",
        "{,}",
    ];
    let parts = random.below(6);
    format!(
        "\"{}\"",
        (0..parts).map(|_| random.pick(&PARTS)).collect::<String>()
    )
}

//! Names that need quotes, and those that look like something else.

use bemi_tests::Cluster;
use postgres::{Client, NoTls};
use serde_json::json;

use crate::support::bemi;

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_name_may_hold_every_character() {
    let cluster = Cluster::shared().unwrap();
    let mark = std::process::id();
    for (index, odd) in [
        r#"It's "Ünï" \ $1; -- .,%"#,
        "ÜBER.straße",
        "select",
        " leading, trailing ",
        "sixty-three bytes of a name that goes on until nothing more fit",
        "日本語のテーブル",
        "new\nline\ttab",
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("{}{mark}_{index}", &odd[..odd.floor_char_boundary(50)]);
        let role = format!("{}r{mark}_{index}", &odd[..odd.floor_char_boundary(50)]);
        let slot = format!("names_{mark}_{index}");
        let admin = cluster.url("postgres");
        let mut admin = Client::connect(&admin, NoTls).unwrap();
        let (quoted, quoted_role, name) = (quote(&database), quote(&role), quote(odd));
        admin
            .batch_execute(&format!("CREATE ROLE {quoted_role} LOGIN SUPERUSER"))
            .unwrap();
        admin
            .batch_execute(&format!("CREATE DATABASE {quoted} OWNER {quoted_role}"))
            .unwrap();
        let url = format!(
            "postgres://{}:{}@127.0.0.1:{}/{}",
            percent(&role),
            percent(odd),
            cluster.port(),
            percent(&database)
        );
        {
            let mut client = Client::connect(&url, NoTls).unwrap();
            client
                .batch_execute(&format!(
                    "CREATE SCHEMA {name}; CREATE TYPE {name}.pair AS ({name} text); \
                     CREATE TABLE {name}.{name} ({name} text PRIMARY KEY, other {name}.pair)"
                ))
                .unwrap();
            let connection = [
                "--database-url",
                &url,
                "--slot",
                &slot,
                "--publication",
                odd,
            ];
            let call = |arguments: &[&str]| {
                let outcome = bemi(&[arguments, &connection].concat());
                assert_eq!(outcome.code, 0, "{odd:?} {arguments:?}: {}", outcome.stderr);
                outcome
            };
            call(&["setup"]);
            let again = call(&["setup", "--json"]).json();
            assert_eq!(again["changed"], json!([]), "{odd:?}");
            let mut command = crate::support::command(&[&["run"], &connection[..]].concat());
            let capture = crate::support::Capture::start(&mut command);
            capture.says("capture reads the log");
            let insert = format!("INSERT INTO {name}.{name} VALUES ($1, ROW($1))");
            client.execute(&insert, &[&odd]).unwrap();
            crate::support::wait_until("the change is stored", || {
                let row = client.query_one("SELECT count(*) FROM changes", &[]);
                row.unwrap().get::<_, i64>(0) == 1
            });
            capture.kill();
            let change = &call(&["changes", "--json", "--table", odd]).json()[0];
            let stored = json!([
                change["database"],
                change["schema"],
                change["table"],
                change["primary_key"]
            ]);
            assert_eq!(stored, json!([database, odd, odd, odd]));
            assert_eq!(change["after"], json!({odd: odd, "other": {odd: odd}}));
            call(&["teardown"]);
        }
        admin
            .batch_execute(&format!("DROP DATABASE {quoted} WITH (FORCE)"))
            .unwrap();
        admin
            .batch_execute(&format!("DROP ROLE {quoted_role}"))
            .unwrap();
    }
}

//! Five real HTTP requests, and how to make more.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use actix_web::web;
use serde_json::{Value, json};

use crate::database::Database;

/// The user that the requests are made for.
const USER: &str = "187234";

/// Creates three to-dos, completes the first, and deletes the second.
pub(crate) async fn five_requests(port: u16) -> anyhow::Result<()> {
    web::block(move || {
        let todos = format!("http://127.0.0.1:{port}/todos");
        let create = |title: &str| -> anyhow::Result<i64> {
            let mut response = ureq::post(&todos)
                .header("x-user-id", USER)
                .send_json(json!({ "title": title }))?;
            let todo: Value = response.body_mut().read_json()?;
            todo["id"]
                .as_i64()
                .ok_or_else(|| anyhow::anyhow!("the created to-do has no id"))
        };
        let first = create("Sleep")?;
        let second = create("Eat")?;
        create("Repeat")?;
        ureq::post(format!("{todos}/{first}/complete"))
            .header("x-user-id", USER)
            .send_empty()?;
        ureq::delete(format!("{todos}/{second}"))
            .header("x-user-id", USER)
            .call()?;
        Ok(())
    })
    .await?
}

pub(crate) fn print_invitation(port: u16, database: &Database) -> io::Result<()> {
    let url = database.shown_url();
    print(format!(
        "
Serving until Ctrl-C. Make a change and see it:

  curl -H 'x-user-id: 7' --json '{{\"title\": \"Dream\"}}' http://127.0.0.1:{port}/todos
  curl http://127.0.0.1:{port}/changes

or behind the application's back, which is captured as well:

  psql {url} -c \"UPDATE todos SET title = 'Sleep more'\"
"
    ))
}

/// Prints a line on standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

//! Requests, and changes behind the application's back, while it serves.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{DELETE, INSERT, Scratch, Serving, Trail, UPDATE, agent, answer, row};

/// The program on a database, after its own five requests.
struct Todo {
    trail: Trail,
    serving: Serving,
    agent: ureq::Agent,
    _scratch: Scratch,
}

impl Todo {
    fn serve() -> Self {
        let (scratch, trail) = (Scratch::new(), Trail::new());
        Self {
            serving: trail.serve(&scratch),
            trail,
            agent: agent(),
            _scratch: scratch,
        }
    }

    /// As the user 7.
    fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let request = self.agent.post(self.serving.url(path));
        answer(request.header("x-user-id", "7").send_json(body))
    }

    /// Operation, key, before, after and context of the changes after the first five, `count` in all.
    fn changes(&self, count: i64) -> Value {
        self.trail.wait_until_stored(5 + count);
        self.trail.json(
            "SELECT json_agg(json_build_array(operation, primary_key, before, after, context) ORDER BY commit_lsn, ordinal) \
             FROM (SELECT * FROM changes ORDER BY commit_lsn, ordinal OFFSET 5) AS later",
        )
    }
}

fn context(user: impl Into<Value>, endpoint: &str, params: Value, sql: &str) -> Value {
    json!({ "userId": user.into(), "endpoint": endpoint, "params": params, "SQL": sql })
}

#[test]
fn requests_and_their_changes() {
    let todo = Todo::serve();
    let url = |path: &str| todo.serving.url(path);

    let (status, body) = todo.post("/todos", &json!({ "title": "Dream" }));
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        row(4, "Dream", false)
    );
    // Without a user.
    let completed = answer(todo.agent.post(url("/todos/4/complete")).send_empty());
    assert_eq!(completed, (204, String::new()));
    let deleted = todo.agent.delete(url("/todos/4")).header("x-user-id", "8");
    assert_eq!(answer(deleted.call()), (204, String::new()));
    // None of these changes anything.
    assert_eq!(answer(todo.agent.delete(url("/todos/4")).call()).0, 404);
    assert_eq!(
        answer(todo.agent.post(url("/todos/4/complete")).send_empty()).0,
        404
    );
    assert_eq!(answer(todo.agent.delete(url("/todos/four")).call()).0, 404);
    assert_eq!(todo.post("/todos", &json!({ "name": "Dream" })).0, 400);
    let (status, body) = answer(todo.agent.get(url("/todos")).call());
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!([row(1, "Sleep", true), row(3, "Repeat", false)])
    );
    // Comes last, so that anything the others had changed would be before it.
    todo.trail.sql("DELETE FROM todos WHERE id = 3");

    assert_eq!(
        todo.changes(4),
        json!([
            [
                "CREATE",
                "4",
                {},
                row(4, "Dream", false),
                context(7, "/todos", json!({ "title": "Dream" }), INSERT)
            ],
            [
                "UPDATE",
                "4",
                row(4, "Dream", false),
                row(4, "Dream", true),
                context(Value::Null, "/todos/4/complete", json!({ "id": 4 }), UPDATE)
            ],
            [
                "DELETE",
                "4",
                row(4, "Dream", true),
                {},
                context(8, "/todos/4", json!({ "id": 4 }), DELETE)
            ],
            ["DELETE", "3", row(3, "Repeat", false), {}, {}],
        ])
    );
}

#[test]
fn hostile_titles_are_only_text() {
    let todo = Todo::serve();
    let titles = [
        r#"'; DROP TABLE todos; -- ""#,
        r"\ \\ \' \u0041 \n",
        "*/ /*Bemi {\"userId\": 1} Bemi*/",
        "$1 %s {} \u{1b}[31m \u{7f}\r\n\t",
        "🦀👩‍👩‍👧 \u{202e} e\u{301} \u{feff}\u{fffd}",
        "",
    ];
    let mut expected = Vec::new();
    for (id, title) in (4..).zip(titles) {
        let (status, body) = todo.post("/todos", &json!({ "title": title }));
        assert_eq!(status, 200, "{title:?}");
        let stored = row(id, title, false);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), stored);
        let context = context(7, "/todos", json!({ "title": title }), INSERT);
        expected.push(json!(["CREATE", id.to_string(), {}, stored, context]));
    }
    assert_eq!(todo.changes(6), json!(expected));
}

#[test]
fn what_postgresql_refuses_is_an_error_and_no_change() {
    let todo = Todo::serve();
    let (status, body) = todo.post("/todos", &json!({ "title": "a\u{0}b" }));
    assert_eq!(
        (status, &*body),
        (500, "invalid byte sequence for encoding \"UTF8\": 0x00")
    );
    todo.trail
        .sql("UPDATE todos SET title = 'Dream' WHERE id = 3");
    assert_eq!(
        todo.changes(1),
        json!([[
            "UPDATE",
            "3",
            row(3, "Repeat", false),
            row(3, "Dream", false),
            {}
        ]])
    );
    assert_eq!(todo.trail.value::<i64>("SELECT count(*) FROM todos"), 2);
}

#[test]
fn the_trail_is_served_too() {
    let todo = Todo::serve();
    todo.post("/todos", &json!({ "title": "Dream" }));
    todo.trail.wait_until_stored(6);
    let (status, body) = answer(todo.agent.get(todo.serving.url("/changes")).call());
    assert_eq!(status, 200);
    let served: Value = serde_json::from_str(&body).unwrap();
    let operations: Vec<_> = served
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["operation"].as_str().unwrap(),
                change["primary_key"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        operations,
        [
            ("CREATE", "4"),
            ("DELETE", "2"),
            ("UPDATE", "1"),
            ("CREATE", "3"),
            ("CREATE", "2"),
            ("CREATE", "1")
        ]
    );
    let newest = todo.trail.json(
        "SELECT json_build_object('id', id, 'source', source, 'database', database, 'schema', schema, 'table', \"table\", \
         'primary_key', primary_key, 'operation', operation, 'before', before, 'after', after, 'context', context, \
         'transaction_id', transaction_id, 'ordinal', ordinal) FROM changes ORDER BY commit_lsn DESC, ordinal DESC LIMIT 1",
    );
    for (key, value) in newest.as_object().unwrap() {
        assert_eq!(served[0][key], *value, "{key}");
    }
}

#[test]
fn changes_behind_the_applications_back() {
    let todo = Todo::serve();
    todo.trail.sql("UPDATE todos SET title = title || '!'");
    todo.trail.sql(
        "BEGIN; SELECT pg_logical_emit_message(true, '_bemi', '{\"user_id\": 7, \"why\": \"by hand\"}'); \
         INSERT INTO todos (title) VALUES ('Dream'); COMMIT",
    );
    todo.trail.sql("TRUNCATE todos");
    assert_eq!(
        todo.changes(4),
        json!([
            ["UPDATE", "3", row(3, "Repeat", false), row(3, "Repeat!", false), {}],
            ["UPDATE", "1", row(1, "Sleep", true), row(1, "Sleep!", true), {}],
            ["CREATE", "4", {}, row(4, "Dream", false), { "user_id": 7, "why": "by hand" }],
            ["TRUNCATE", null, {}, {}, {}],
        ])
    );
}

#[test]
fn a_signal_ends_it_in_time() {
    for signal in [Signal::TERM, Signal::INT] {
        let scratch = Scratch::new();
        let trail = Trail::new();
        let serving = trail.serve(&scratch);
        let agent = agent();
        assert_eq!(answer(agent.get(serving.url("/todos")).call()).0, 200);
        let begin = std::time::Instant::now();
        serving.signal(signal);
        assert_eq!(serving.ended(), (Some(0), String::new()));
        // The agent still holds its connection.
        drop(agent);
        let took = begin.elapsed();
        assert!(took.as_secs() < 5, "{signal:?} took {took:?}");
        assert_eq!(scratch.left(), [""; 0]);
    }
}

#[test]
fn a_signal_ends_its_own_server_too() {
    let scratch = Scratch::new();
    let serving = Serving::start(scratch.command(&["--port", "0"]));
    serving.signal(Signal::INT);
    assert_eq!(serving.ended(), (Some(0), String::new()));
    assert_eq!(scratch.left(), [""; 0]);
}

#[test]
fn a_second_instance_lets_the_first_one_capture() {
    let (first, second, trail) = (Scratch::new(), Scratch::new(), Trail::new());
    let captures = trail.serve(&first);
    let _stands_by = trail.serve(&second);
    assert_eq!(trail.value::<i64>("SELECT count(*) FROM changes"), 10);
    drop(captures);
}

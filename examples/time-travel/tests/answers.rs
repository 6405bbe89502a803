//! The program as a user sees it.

use std::process::Command;

const ANSWERS: &str = r#"What happened to to-do 1? All of it, up to now.
  CREATE by anna
    id: ∅ → 1
    done: ∅ → false
    title: ∅ → "Sleep"
    list_id: ∅ → 1
  UPDATE by ben
    done: false → true
    title: "Sleep" → "Sleep well"
  DELETE by eve
    id: 1 → ∅
    done: true → ∅
    title: "Sleep well" → ∅
    list_id: 1 → ∅
Who completed it?
  ben
What was it like after each change?
  Sleep (done: false)
  Sleep well (done: true)
  gone
What did eve do?
  DELETE lists {"id": 1, "name": "Home"}
  DELETE todos {"id": 2, "done": false, "title": "Eat", "list_id": 1}
  DELETE todos {"id": 1, "done": true, "title": "Sleep well", "list_id": 1}
What was to-do 2 like before that?
  Eat (done: false)
What was there on the list?
  ("Home", "Sleep well", true)
  ("Home", "Eat", false)
What would it take to undo it?
  INSERT lists {"id": 1, "name": "Home"}
  INSERT todos {"id": 1, "done": true, "title": "Sleep well", "list_id": 1}
  INSERT todos {"id": 2, "done": false, "title": "Eat", "list_id": 1}
Undone:
  ("Home", "Sleep well", true)
  ("Home", "Eat", false)
"#;

#[test]
fn every_question_is_answered() {
    let output = Command::new(env!("CARGO_BIN_EXE_time-travel"))
        .output()
        .expect("the program starts");
    let answers = String::from_utf8(output.stdout).expect("it is text");
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problems}");
    assert_eq!(answers, ANSWERS);
}

use bemi_macros::Tracked;

#[derive(Tracked)]
enum State {
    Open,
}

#[derive(Tracked)]
struct Nothing;

#[derive(Tracked)]
struct NoKey {
    name: String,
}

#[derive(Tracked)]
#[diesel(primary_key(id, list))]
struct HalfAKey {
    id: i32,
}

#[derive(Tracked)]
struct SkippedKey {
    #[tracked(skip)]
    id: i32,
}

#[derive(Tracked)]
#[tracked(table = "todos", alias, schema = app)]
struct Table {
    id: i32,
    #[tracked(rename = "titel", alias(titel), default, skpi)]
    title: String,
}

#[derive(Tracked)]
struct Parts {
    id: i32,
    #[diesel(embed)]
    name: String,
    #[diesel(select_expression = length(name))]
    length: i32,
}

#[derive(Tracked)]
struct Tuple(i32);

#[derive(Tracked)]
struct Unfinished {
    id: i32,
    #[tracked(default = )]
    title: String,
    #[tracked(deserialize_with = 7)]
    hours: f64,
}

fn main() {}

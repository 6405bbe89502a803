//! The compiler's own words about a value stand at that value.

use bemi_diesel::bemi_context;

#[bemi_context(id = user.id)]
fn not_there(id: i32) -> i32 {
    id
}

fn main() {
    not_there(1);
}

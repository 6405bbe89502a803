use bemi_diesel::bemi_context;

#[bemi_context]
fn bare() {}

#[bemi_context()]
fn parentheses() {}

fn main() {
    bare();
    parentheses();
}

use bemi_diesel::bemi_context;

#[bemi_context(id)]
fn none(id: i32) -> i32 {
    id
}

#[bemi_context(id = )]
fn nothing_after_the_sign(id: i32) -> i32 {
    id
}

#[bemi_context(id: 1)]
fn colon() {}

#[bemi_context(id => 1)]
fn arrow() {}

#[bemi_context(id == 1)]
fn comparison() {}

#[bemi_context(a = 1 b = 2)]
fn no_comma() {}

#[bemi_context(a = +)]
fn no_expression() {}

fn main() {
    none(1);
    nothing_after_the_sign(1);
    colon();
    arrow();
    comparison();
    no_comma();
    no_expression();
}

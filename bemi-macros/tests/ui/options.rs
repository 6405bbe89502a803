use bemi_diesel::bemi_context;

#[bemi_context(skpi(id))]
fn unknown(id: i32) {
    drop(id);
}

#[bemi_context(skip())]
fn nothing() {}

#[bemi_context(skip(id = 1))]
fn value() {}

#[bemi_context(skip(7, id))]
fn number() {}

#[bemi_context(skip(id, user, id))]
fn twice() {}

#[bemi_context(id = 1, skip(id))]
fn set_and_skipped() {}

#[bemi_context(skip(_bemi))]
fn reserved() {}

#[bemi_context(skip)]
fn no_parentheses() {}

fn main() {
    unknown(1);
    nothing();
    value();
    number();
    twice();
    set_and_skipped();
    reserved();
    no_parentheses();
}

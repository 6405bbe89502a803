use bemi_diesel::bemi_context;

#[bemi_context(id = 1, "id" = 2)]
fn twice() {}

#[bemi_context(_bemi = 1)]
fn reserved() {}

#[bemi_context("_bemi" = 1)]
fn reserved_string() {}

#[bemi_context(7 = 1)]
fn number() {}

#[bemi_context(user.id = 1)]
fn dotted() {}

fn main() {
    twice();
    reserved();
    reserved_string();
    number();
    dotted();
}

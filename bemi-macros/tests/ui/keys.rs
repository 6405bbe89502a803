use bemi_diesel::bemi_context;

#[bemi_context(id = 1, "id" = 2)]
fn twice() {}

#[bemi_context(_bemi = 1)]
fn reserved() {}

#[bemi_context("_bemi" = 1)]
fn reserved_string() {}

#[bemi_context(_bemi.lead = true)]
fn reserved_path() {}

#[bemi_context(7 = 1)]
fn number() {}

#[bemi_context("" = 1)]
fn empty() {}

#[bemi_context(user. = 1)]
fn nothing_after_the_dot() {}

#[bemi_context(user.0 = 1)]
fn number_after_the_dot() {}

#[bemi_context(user.)]
fn the_dot_is_the_last() {}

#[bemi_context(user.id = 1, user = 2)]
fn replaced() {}

fn main() {
    twice();
    reserved();
    reserved_string();
    reserved_path();
    number();
    empty();
    nothing_after_the_dot();
    number_after_the_dot();
    the_dot_is_the_last();
    replaced();
}

use bemi_diesel::bemi_context;

#[bemi_context(a, _bemi = 1, b = f(1, 2), b = 2, 5 = 1, "c" 1, skp(d), skip(b))]
pub const fn every_mistake_at_once() {}

fn main() {
    // The function is still there, so this is no error.
    every_mistake_at_once();
}

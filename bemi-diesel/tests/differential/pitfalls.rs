//! What went wrong before, elsewhere or here.

use crate::step::{book, commit};
use crate::{Step, same};

#[test]
fn every_parameter_taken() {
    let binds = |n| Step::DeleteWithBinds(n);
    same(
        "",
        &[
            binds(3),
            binds(65_534),
            binds(65_535),
            binds(65_536),
            commit([binds(65_535)]),
            Step::Insert(book("a")),
        ],
    );
}

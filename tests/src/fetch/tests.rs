use super::{Way, from};
use crate::Error;
use crate::binaries::{Cache, Tried};

#[test]
fn ways_are_tried_in_order_and_all_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(folder.path().to_owned());
    let ways = [
        Way {
            name: "first",
            fetch: |_, _, _| Err(Error::new("no network")),
        },
        Way {
            name: "second",
            fetch: |_, folder, _| Ok(folder.to_owned()),
        },
    ];
    let mut tried = Tried::default();
    assert_eq!(from(&ways, &cache, 17, &mut tried), None);
    let said = tried.into_error(Some(17)).to_string();
    let reasons: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("  - "))
        .collect();
    assert_eq!(reasons.first(), Some(&"  - first: no network"));
    let second = reasons.get(1).expect("the second way failed too");
    assert!(second.starts_with("  - second: "), "{second}");
    assert!(second.ends_with("/bin has no initdb"), "{second}");
}

use super::*;

#[test]
fn a_row_is_no_larger_than_a_server_takes() {
    assert_eq!(check_size(MAX_BYTES), Ok(()));
    let error = check_size(MAX_BYTES + 1).expect_err("too large");
    assert!(error.is_of_a_row());
    assert_eq!(
        error.to_string(),
        "a row that takes 1000000001 bytes as JSON"
    );
}

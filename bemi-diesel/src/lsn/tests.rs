use super::*;

#[test]
fn text_and_number_agree() {
    for (text, number) in [
        ("0/0", 0),
        ("16/B374D848", 0x16_B374_D848),
        ("FFFFFFFF/FFFFFFFF", u64::MAX),
    ] {
        assert_eq!(text.parse(), Ok(Lsn::new(number)));
        assert_eq!(Lsn::new(number).to_string(), text);
        assert_eq!(Lsn::from_i64(Lsn::new(number).as_i64()), Lsn::new(number));
    }
    assert_eq!("16/b374d848".parse(), Ok(Lsn::new(0x16_B374_D848)));
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "",
        "/",
        "0",
        "0/",
        "/0",
        "0/0/0",
        "+1/0",
        "-1/0",
        "1/+0",
        "g/0",
        "100000000/0",
        " 0/0",
    ] {
        assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError), "{text:?}");
    }
}

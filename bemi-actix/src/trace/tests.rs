use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

#[test]
fn a_traceparent_is_taken_apart() {
    let expected = Some(Trace {
        trace_id: TRACE.into(),
        span_id: SPAN.into(),
    });
    for header in [
        format!("00-{TRACE}-{SPAN}-01"),
        format!(" 00-{TRACE}-{SPAN}-00\t"),
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-will-come"),
    ] {
        assert_eq!(parse(&header), expected, "{header}");
    }
}

#[test]
fn what_is_no_traceparent_is_none() {
    let zeros = "0".repeat(32);
    for header in [
        String::new(),
        "00".into(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &zeros[..16]),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}0-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "é".repeat(16)),
        format!("00-{TRACE}-{SPAN}-0x"),
    ] {
        assert_eq!(parse(&header), None, "{header}");
    }
}

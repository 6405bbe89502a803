use super::*;

/// The last rest of a pace that was given so many messages in each of so many milliseconds.
fn rest(pace: &mut Pace, messages: usize, from: Instant, milliseconds: u32) -> Option<Duration> {
    let mut rest = None;
    for millisecond in 1..=milliseconds {
        rest = pace.read(messages, from + Duration::from_millis(1) * millisecond);
    }
    rest
}

#[test]
fn the_more_comes_the_longer_it_gathers() {
    let now = Instant::now();
    for (messages, expected) in [
        (1, None),
        (2, Some(Duration::from_millis(1))),
        (10, Some(Duration::from_millis(5))),
        (1_000, Some(LONGEST)),
    ] {
        let mut pace = Pace::new(false, now);
        assert_eq!(rest(&mut pace, messages, now, 20), expected, "{messages}");
    }
}

#[test]
fn no_more_gathers_than_a_unix_domain_socket_holds() {
    let now = Instant::now();
    for (messages, expected) in [
        (1, None),
        (10, Some(Duration::from_millis(5))),
        (50, Some(Duration::from_millis(2))),
        (200, Some(Duration::from_micros(500))),
        (1_000, Some(SHORTEST)),
    ] {
        let mut pace = Pace::new(true, now);
        assert_eq!(rest(&mut pace, messages, now, 20), expected, "{messages}");
    }
}

#[test]
fn what_comes_after_a_silence_is_read_as_it_comes() {
    let now = Instant::now();
    let mut pace = Pace::new(false, now);
    assert_eq!(rest(&mut pace, 1_000, now, 20), Some(LONGEST));
    assert_eq!(pace.read(1_000, now + Duration::from_secs(1)), None);
}

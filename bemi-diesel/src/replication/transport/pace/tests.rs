use super::*;

/// The last rest of a pace that was given so many messages with so many bytes each in every one of 20 milliseconds.
fn rest(pace: &mut Pace, messages: usize, bytes: usize, from: Instant) -> Option<Duration> {
    let mut rest = None;
    for millisecond in 1..=20 {
        let now = from + Duration::from_millis(millisecond);
        rest = pace.read(messages, messages * bytes, now);
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
        (300, Some(LONGEST)),
    ] {
        let mut pace = Pace::new(false, now);
        assert_eq!(rest(&mut pace, messages, 100, now), expected, "{messages}");
    }
}

#[test]
fn no_more_gathers_than_there_is_room_for() {
    let now = Instant::now();
    for (is_local, messages, bytes, expected) in [
        (true, 10, 100, 5_000),
        (true, 200, 130, 428),
        (true, 400, 100, 0),
        (true, 20, 8_000, 439),
        (false, 200, 8_192, 320),
        (false, 10, 1 << 20, 0),
    ] {
        let mut pace = Pace::new(is_local, now);
        let rest = rest(&mut pace, messages, bytes, now).unwrap_or_default();
        assert_eq!(rest.as_micros(), expected, "{messages} of {bytes}");
    }
}

#[test]
fn what_comes_after_a_silence_is_read_as_it_comes() {
    let now = Instant::now();
    let mut pace = Pace::new(false, now);
    assert_eq!(rest(&mut pace, 300, 100, now), Some(LONGEST));
    assert_eq!(pace.read(300, 30_000, now + Duration::from_secs(1)), None);
}

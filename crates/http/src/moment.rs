//! Times and durations as people type them (SURFACE: RFC 3339, `-15m`; `250us`, `100ms`, `2s`), in
//! the API and on the command line alike.

use deeptrace_model::{Duration, WallTime};
use jiff::{SignedDuration, Timestamp};

/// The text is no time or no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// No time.
    #[error("`{0}` is no time: give one like 2024-01-01T00:00:00Z or -15m")]
    Time(String),
    /// No duration.
    #[error("`{0}` is no duration: give one like 250us, 100ms or 2s")]
    Duration(String),
}

/// A time: RFC 3339, or relative to `now` as a negative duration.
pub fn parse_time(text: &str, now: WallTime) -> Result<WallTime, MomentError> {
    let wrong = || MomentError::Time(text.to_owned());
    if text == "now" {
        return Ok(now);
    }
    if let Some(before) = text.strip_prefix('-') {
        return parse_duration(before).map(|before| now.minus(before)).map_err(|_| wrong());
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(time.as_nanosecond()).map(WallTime).map_err(|_| wrong())
}

/// A duration with its unit.
pub fn parse_duration(text: &str) -> Result<Duration, MomentError> {
    let wrong = || MomentError::Duration(text.to_owned());
    // jiff reads `P1D`, `1 hour ago` and `-1s` as well: not promised, so not taken.
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(' ') {
        return Err(wrong());
    }
    // Units up to the day are of one length here; jiff's friendly form stops at hours.
    if let Some(days) = text.strip_suffix('d') {
        let days: u64 = days.parse().map_err(|_| wrong())?;
        return days.checked_mul(24 * 3600 * 1_000_000_000).map(Duration).ok_or_else(wrong);
    }
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    u64::try_from(duration.as_nanos()).map(Duration).map_err(|_| wrong())
}

/// A time as RFC 3339 in UTC, to the microsecond.
pub fn format_time(time: WallTime) -> String {
    match Timestamp::from_nanosecond(i128::from(time.0)) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => time.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("250us", Some(250_000)),
            ("100ms", Some(100_000_000)),
            ("2s", Some(2_000_000_000)),
            ("15m", Some(900_000_000_000)),
            ("1h", Some(3_600_000_000_000)),
            ("7d", Some(604_800_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("5ns", Some(5)),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("5 s", None),
            ("5parsecs", None),
            ("99999999999999999999d", None),
            ("99999999999999999999s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration), "{text}");
        }
    }

    #[test]
    fn times() {
        let now = WallTime(1_000_000_000_000);
        let cases = [
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("2024-01-01T01:00:00+01:00", Some(1_704_067_200_000_000_000)),
            ("-15m", Some(100_000_000_000)),
            ("-2s", Some(998_000_000_000)),
            ("-9h", Some(0)),
            ("now", Some(1_000_000_000_000)),
            ("1960-01-01T00:00:00Z", None),
            ("yesterday", None),
            ("15m", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text, now).ok(), expected.map(WallTime), "{text}");
        }
        assert_eq!(format_time(WallTime(1_704_067_200_000_001_999)), "2024-01-01T00:00:00.000001Z");
    }
}

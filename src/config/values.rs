//! Durations ("250ms", "10s", "5m", "1h30m", "7d") and sizes ("64MiB") as people write them.

use std::time::Duration;

use crate::clock::Timestamp;

/// Reads a duration: one or more numbers with a unit each, greatest unit first.
///
/// # Errors
/// What is allowed, when `text` is anything else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || "expected a duration such as \"250ms\", \"10s\", \"5m\", \"1h30m\" or \"7d\"".to_owned();
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut greatest = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let ms = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        if ms >= greatest {
            return Err(wrong());
        }
        greatest = ms;
        rest = &rest[unit..];
        let part = number
            .checked_mul(ms)
            .map(Duration::from_millis)
            .ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// Reads a moment: Unix milliseconds, RFC 3339, `now`, or `-6h` (so long before `now`).
///
/// # Errors
/// What is allowed, when `text` is anything else.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let expected = "expected unix milliseconds, a time like 2026-01-31T12:00:00Z, now, or -6h";
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-')
        && let Ok(ago) = duration(ago)
    {
        return Ok(now.minus(ago));
    }
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp::from_ms(ms));
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| expected.to_owned())?;
    Ok(Timestamp::from_ms(moment.as_millisecond()))
}

/// Writes a duration as [`duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if ms >= size {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    text
}

/// Reads a size in bytes: a number with B, kB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB (1024).
///
/// # Errors
/// What is allowed, when `text` is anything else.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as \"64MiB\", \"20GiB\" or \"500MB\"".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "1m1h",
            "1s1s",
            "10x",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_durations_as_they_are_read() {
        for text in ["0s", "250ms", "10s", "5m", "1h30m", "7d", "1d1ms"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0B", 0),
            ("64MiB", 64 << 20),
            ("20GiB", 20 << 30),
            ("500 MB", 500_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "MiB", "-1B", "1.5GiB", "64mib", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

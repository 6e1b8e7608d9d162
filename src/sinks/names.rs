//! Names that are too long for a store, cut so that two long names stay two.

use std::borrow::Cow;

/// The longest name a store gets, in bytes. Kafka allows group ids of 32,767; VictoriaMetrics cuts
/// at 16 KiB, InfluxDB takes 64 KiB for all tags of a point together, a keyword of Elasticsearch
/// 32,766.
pub const MAX_NAME_BYTES: usize = 16_000;

/// The name itself, or its beginning and a hash of all of it when it is longer than `max` bytes.
pub fn bounded(name: &str, max: usize) -> Cow<'_, str> {
    if name.len() <= max {
        return Cow::Borrowed(name);
    }
    let hash = hash(name.as_bytes());
    let mut cut = max.saturating_sub(33);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    Cow::Owned(format!("{}~{hash:032x}", &name[..cut]))
}

/// FNV-1a, 128 bits: stable for ever, because documents are found again by it.
pub fn hash(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // Test vectors of the FNV reference (draft-eastlake-fnv).
        for (text, expected) in [
            ("", 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128),
            ("a", 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964),
            ("foobar", 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18),
        ] {
            assert_eq!(hash(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn long_names_are_cut_at_a_character_and_stay_different() {
        assert_eq!(bounded("short", 100), "short");
        let long = "é".repeat(100);
        let (a, b) = (format!("{long}a"), format!("{long}b"));
        assert!(bounded(&a, 100).len() <= 100);
        assert!(bounded(&a, 100).starts_with("éé"));
        assert_ne!(bounded(&a, 100), bounded(&b, 100));
    }
}

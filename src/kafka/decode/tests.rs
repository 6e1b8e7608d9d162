//! Every version as bytes, cut off at every byte, and random ones.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/kafka-records/records.txt"
);

struct Case {
    name: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    expected: String,
}

impl Case {
    fn decode(&self) -> Result<Record<'_>, Malformed> {
        decode(self.key.as_deref(), self.value.as_deref())
    }
}

/// Blocks of four lines: `# name`, `key HEX`, `value HEX`, `is RECORD`; HEX may be `null`.
fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(FILE).expect("the fixtures");
    let mut cases = Vec::new();
    for block in text.split("\n\n") {
        let field = |name: &str| {
            let line = block.lines().find(|line| line.starts_with(name));
            let line = line.unwrap_or_else(|| panic!("{name:?} is missing in {block:?}"));
            line[name.len()..].trim().to_owned()
        };
        cases.push(Case {
            name: field("#"),
            key: bytes(&field("key")),
            value: bytes(&field("value")),
            expected: field("is"),
        });
    }
    cases
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if hex == "null" {
        return None;
    }
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Some(digits.map(byte).collect())
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |bytes| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    })
}

#[test]
fn every_fixture_is_what_it_says() {
    let cases = cases();
    assert!(cases.len() > 70, "only {} fixtures", cases.len());
    let mut rewritten = Vec::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let found = match case.decode() {
            Ok(record) => format!("{record:?}"),
            Err(error) => format!("malformed: {error:?}"),
        };
        rewritten.push(format!(
            "# {}\nkey {}\nvalue {}\nis {found}",
            case.name,
            hex(case.key.as_deref()),
            hex(case.value.as_deref()),
        ));
        if found != case.expected {
            wrong.push(format!(
                "{}\n  is {found}\n  not {}",
                case.name, case.expected
            ));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(FILE, rewritten.join("\n\n") + "\n").unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the rest of a record must still hold: a record without its last bytes is never taken for a
/// whole one, except where only the beginning of a value is read.
#[test]
fn a_record_cut_off_anywhere_is_malformed() {
    for case in cases() {
        let Ok(whole) = case.decode() else { continue };
        let key = case.key.as_deref().unwrap();
        if !matches!(whole, Record::Ignored(_) | Record::Unknown(_)) {
            for end in 0..key.len() {
                let cut = decode(Some(&key[..end]), case.value.as_deref());
                assert!(cut.is_err(), "{} with {end} bytes of key", case.name);
            }
        }
        let reads_all = matches!(
            whole,
            Record::Committed(_)
                | Record::GroupChanged {
                    change: GroupChange::Classic { .. },
                    ..
                }
        );
        for end in 0..case.value.as_deref().map_or(0, <[u8]>::len) {
            let cut = decode(Some(key), case.value.as_deref().map(|value| &value[..end]));
            assert!(
                cut.is_err() || !reads_all,
                "{} with {end} bytes of value",
                case.name
            );
        }
    }
}

#[test]
fn any_single_changed_byte_is_survived() {
    for case in cases() {
        let (Some(key), Some(value)) = (&case.key, &case.value) else {
            continue;
        };
        for place in 0..key.len() + value.len() {
            for change in [0x01, 0x7f, 0x80, 0xff] {
                let (mut key, mut value) = (key.clone(), value.clone());
                match place.checked_sub(key.len()) {
                    None => key[place] ^= change,
                    Some(place) => value[place] ^= change,
                }
                // Only that it returns.
                drop(decode(Some(&key), Some(&value)));
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        kind in -2_i16..30,
        key in proptest::collection::vec(any::<u8>(), 0..64),
        version in -1_i16..6,
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..256)),
    ) {
        let with_kind = [&kind.to_be_bytes(), key.as_slice()].concat();
        let with_version = value.as_ref().map(|value| [&version.to_be_bytes(), value.as_slice()].concat());
        drop(decode(Some(&with_kind), with_version.as_deref()));
        drop(decode(Some(&key), value.as_deref()));
    }

    /// Random content behind a valid key, so that the value is really reached.
    #[test]
    fn random_values_never_panic(
        kind in prop_oneof![Just(1_i16), Just(2), Just(5), Just(8)],
        version in 0_i16..5,
        value in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        let key = match kind {
            1 => b"\x00\x01g\x00\x01t\x00\x00\x00\x00".to_vec(),
            2 => b"\x00\x01g".to_vec(),
            _ => b"\x00\x01g\x00\x01m".to_vec(),
        };
        let key = [kind.to_be_bytes().as_slice(), &key].concat();
        let value = [version.to_be_bytes().as_slice(), &value].concat();
        drop(decode(Some(&key), Some(&value)));
    }
}

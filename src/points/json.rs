//! Points as JSON: what lagline writes into files and reads back from its dead letters.
//!
//! ```json
//! {"measurement":"kafka_lag_group","beat_ms":1767225600000,
//!  "tags":{"cluster":"prod","group":"payments"},"fields":{"lag":101,"time_lag_s":95.5}}
//! ```

use serde_json::{Map, Value as Json};

use super::{FieldKind, Measurement, OwnedPoint, OwnedValue, Point, UnknownName, Value};
use crate::clock::Timestamp;

/// Appends the members of the point's JSON object, without the braces around them.
pub fn write_json(out: &mut Vec<u8>, point: &Point<'_>) {
    out.extend_from_slice(b"\"measurement\":\"");
    out.extend_from_slice(point.measurement().name().as_bytes());
    out.extend_from_slice(b"\",\"beat_ms\":");
    out.extend_from_slice(itoa::Buffer::new().format(point.at().as_ms()).as_bytes());
    out.extend_from_slice(b",\"tags\":{");
    let mut is_first = true;
    point.tags(&mut |name, value| {
        member(out, &mut is_first, name);
        write_text(out, value);
    });
    out.extend_from_slice(b"},\"fields\":{");
    let mut is_first = true;
    let mut field = |name: &'static str, value: Value<'_>| {
        member(out, &mut is_first, name);
        match value {
            Value::Int(value) => {
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            Value::Float(value) => {
                out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
            }
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Text(value) => write_text(out, value),
        }
    };
    point.fields(&mut field);
    point.optional_fields(&mut field);
    out.push(b'}');
}

fn member(out: &mut Vec<u8>, is_first: &mut bool, name: &str) {
    if !std::mem::take(is_first) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a JSON string. Line ends are escaped: one object stays one line.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | 0x7f => {
                let hex = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Why a JSON object is not a point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPoint {
    #[error("`{0}` is missing or of another type")]
    Member(&'static str),
    #[error("there is no measurement `{0}`")]
    Measurement(String),
    #[error(transparent)]
    Name(#[from] UnknownName),
}

/// The point of a JSON object that [`write_json`] wrote; other members are not looked at.
///
/// # Errors
/// What is missing or not known to this version.
pub fn read_json(object: &Map<String, Json>) -> Result<OwnedPoint, BadPoint> {
    let name = object.get("measurement").and_then(Json::as_str);
    let name = name.ok_or(BadPoint::Member("measurement"))?;
    let measurement =
        Measurement::named(name).ok_or_else(|| BadPoint::Measurement(name.to_owned()))?;
    let beat = object
        .get("beat_ms")
        .and_then(Json::as_i64)
        .ok_or(BadPoint::Member("beat_ms"))?;
    let mut point = OwnedPoint::new(measurement, Timestamp::from_ms(beat));
    let members = |name| {
        object
            .get(name)
            .and_then(Json::as_object)
            .ok_or(BadPoint::Member(name))
    };
    for (name, value) in members("tags")? {
        point.tag(name, value.as_str().ok_or(BadPoint::Member("tags"))?)?;
    }
    for (name, value) in members("fields")? {
        point.field(name, read_value(measurement, name, value)?)?;
    }
    Ok(point)
}

fn read_value(measurement: Measurement, name: &str, value: &Json) -> Result<OwnedValue, BadPoint> {
    let field = measurement.info().field(name);
    let kind = field.map_or(FieldKind::Text, |field| field.kind);
    let read = match kind {
        FieldKind::Int => value.as_i64().map(OwnedValue::Int),
        FieldKind::Float => value.as_f64().and_then(narrow).map(OwnedValue::Float),
        FieldKind::Bool => value.as_bool().map(OwnedValue::Bool),
        FieldKind::Text => value.as_str().map(|text| OwnedValue::Text(text.to_owned())),
    };
    read.ok_or(BadPoint::Member("fields"))
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is wanted")]
fn narrow(value: f64) -> Option<f32> {
    let value = value as f32;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::{Batch, Detail, sample};

    #[test]
    fn a_point_read_back_is_the_point_that_was_written() {
        for frame in [sample::small(1), sample::sinks(2)] {
            for point in Batch::of(&frame, Detail::Partition).iter() {
                let mut text = b"{".to_vec();
                write_json(&mut text, &point);
                text.push(b'}');
                assert!(!text.contains(&b'\n'), "one line");
                let object: Map<String, Json> = serde_json::from_slice(&text).unwrap();
                assert_eq!(read_json(&object), Ok(OwnedPoint::of(&point)));
            }
        }
    }

    #[test]
    fn says_what_is_wrong_with_an_object() {
        for (text, expected) in [
            (r#"{}"#, "`measurement` is missing or of another type"),
            (r#"{"measurement":"x"}"#, "there is no measurement `x`"),
            (
                r#"{"measurement":"kafka_cluster"}"#,
                "`beat_ms` is missing or of another type",
            ),
            (
                r#"{"measurement":"kafka_cluster","beat_ms":1,"tags":{},"fields":{"lag":1.5}}"#,
                "`fields` is missing or of another type",
            ),
            (
                r#"{"measurement":"kafka_cluster","beat_ms":1,"tags":{},"fields":{"new":"x"}}"#,
                "kafka_cluster has no tag or field `new` of this type",
            ),
        ] {
            let object: Map<String, Json> = serde_json::from_str(text).unwrap();
            assert_eq!(read_json(&object).unwrap_err().to_string(), expected);
        }
    }
}

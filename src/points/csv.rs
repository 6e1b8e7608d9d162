//! Points as CSV: one table for the measurements that are wanted, with a column for each of their tags
//! and fields. What a point does not have is empty. Quoted as RFC 4180 says; lines end with a line
//! feed.

use super::{Measurement, Point, Value};

/// A table that is being written.
#[derive(Clone, Debug)]
pub struct Csv {
    columns: Vec<&'static str>,
    /// The cells of the row that is being written.
    cells: Vec<Vec<u8>>,
}

const MEASUREMENT: usize = 0;
const BEAT: usize = 1;

impl Csv {
    /// A table for these measurements.
    pub fn new(measurements: &[Measurement]) -> Self {
        let infos = || measurements.iter().map(|measurement| measurement.info());
        let tags = infos().flat_map(|info| info.tags);
        let mut tags: Vec<_> = tags.map(|tag| tag.name).collect();
        // From the whole to its parts.
        tags.sort_unstable_by_key(|name| (*name == "partition", *name));
        tags.dedup();
        let mut columns = vec!["measurement", "beat_ms"];
        columns.extend(tags);
        for field in infos().flat_map(|info| info.fields) {
            if !columns.contains(&field.name) {
                columns.push(field.name);
            }
        }
        let cells = vec![Vec::new(); columns.len()];
        Self { columns, cells }
    }

    /// Appends the line with the columns' names.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.columns.join(",").as_bytes());
        out.push(b'\n');
    }

    /// Appends a point's line. The point's measurement is one of the table's.
    pub fn row(&mut self, out: &mut Vec<u8>, point: &Point<'_>) {
        self.cells.iter_mut().for_each(Vec::clear);
        let Self { columns, cells } = self;
        let mut cell = |name: &str, value: Value<'_>| {
            if let Some(at) = columns.iter().position(|column| *column == name) {
                write_value(&mut cells[at], value);
            }
        };
        point.tags(&mut |name, value| cell(name, Value::Text(value)));
        point.fields(&mut cell);
        point.optional_fields(&mut cell);
        cells[MEASUREMENT].extend_from_slice(point.measurement().name().as_bytes());
        write_value(&mut cells[BEAT], Value::Int(point.at().as_ms()));
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(cell);
        }
        out.push(b'\n');
    }
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Float(value) => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        }
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Text(value) => write_text(out, value),
    }
}

/// A text that is there and empty is quoted: it is not absent.
fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !text.is_empty() && !text.bytes().any(is_special) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::{Batch, Detail, sample};

    fn table(measurements: &[Measurement]) -> String {
        let mut csv = Csv::new(measurements);
        let mut out = Vec::new();
        csv.header(&mut out);
        for point in Batch::of(&sample::small(1), Detail::Partition).iter() {
            if measurements.contains(&point.measurement()) {
                csv.row(&mut out, &point);
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_as_agreed() {
        let all = [
            Measurement::Group,
            Measurement::Topic,
            Measurement::Partition,
            Measurement::TopicOffset,
        ];
        crate::golden::check("tests/golden/points.csv", &table(&all));
    }

    #[test]
    fn a_table_has_the_columns_of_its_measurements_only() {
        let text = table(&[Measurement::TopicOffset]);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "measurement,beat_ms,cluster,topic,partition,end_offset,begin_offset",
                "kafka_topic_offset,1767225600000,prod,orders,0,1001,0",
                "kafka_topic_offset,1767225600000,prod,orders,1,0,",
            ]
        );
    }

    #[test]
    fn texts_are_quoted_when_they_must_be() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("a\r", "\"a\r\""),
            ("é 世", "é 世"),
        ] {
            let mut out = Vec::new();
            write_text(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}

use std::sync::Arc;

use super::*;
use crate::golden;
use crate::points::{Detail, OwnedPoint, OwnedValue, sample};

/// One series read back: its labels, and its samples as value and milliseconds.
#[derive(Debug, PartialEq)]
pub(in crate::sinks::prometheus) struct Read {
    pub(in crate::sinks::prometheus) labels: Vec<(String, String)>,
    pub(in crate::sinks::prometheus) samples: Vec<(f64, i64)>,
}

impl Read {
    pub(in crate::sinks::prometheus) fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Reads protobuf: calls `f` with the number of each field and what it holds.
fn fields<'a>(mut bytes: &'a [u8], mut f: impl FnMut(u64, Field<'a>)) {
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Bytes(bytes.split_off(..8).unwrap()),
            2 => {
                let len = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(bytes.split_off(..len).unwrap())
            }
            other => panic!("wire type {other}"),
        };
        f(key >> 3, field);
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Number(number) => panic!("{number} where bytes were expected"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off_first().unwrap();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint without an end");
}

/// The series of a request.
pub(in crate::sinks::prometheus) fn read(body: &[u8]) -> Vec<Read> {
    let mut all = Vec::new();
    fields(body, |number, series| {
        assert_eq!(number, 1, "only series");
        let mut read = Read {
            labels: Vec::new(),
            samples: Vec::new(),
        };
        fields(series.bytes(), |number, part| match number {
            1 => {
                let (mut name, mut value) = (String::new(), String::new());
                fields(part.bytes(), |number, text| {
                    let text = String::from_utf8(text.bytes().to_vec()).unwrap();
                    *(if number == 1 { &mut name } else { &mut value }) = text;
                });
                read.labels.push((name, value));
            }
            2 => {
                let (mut value, mut ms) = (f64::NAN, 0);
                fields(part.bytes(), |_, field| match field {
                    Field::Number(number) => ms = number.cast_signed(),
                    Field::Bytes(bytes) => value = f64::from_le_bytes(bytes.try_into().unwrap()),
                });
                read.samples.push((value, ms));
            }
            other => panic!("field {other} of a series"),
        });
        all.push(read);
    });
    all
}

/// A request as text, one sample a line.
fn text(batch: &Batch) -> String {
    let mut text = String::new();
    for series in read(&encode(batch)) {
        let (name, labels) = series.labels.split_first().unwrap();
        assert_eq!(name.0, "__name__");
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        for (value, ms) in &series.samples {
            text += &format!("{}{{{}}} {value} {ms}\n", name.1, labels.join(","));
        }
    }
    text
}

#[test]
fn every_measurement_is_written_as_the_golden_file_has_it() {
    let mut all = text(&Batch::of(&sample::small(1), Detail::Partition));
    all += &text(&Batch::of(&sample::sinks(2), Detail::Partition));
    golden::check("tests/golden/prometheus/points.txt", &all);
}

#[test]
fn labels_are_sorted_and_no_value_is_empty_or_unknown() {
    let mut batch = Batch::of(&sample::small(1), Detail::Partition);
    for place in crate::points::places(&sample::sinks(1), Detail::Group) {
        batch.push(&sample::sinks(1), place);
    }
    let all = read(&encode(&batch));
    assert!(all.len() > 50);
    for series in &all {
        assert!(series.labels.is_sorted(), "{series:?}");
        assert!(series.labels.iter().all(|(_, value)| !value.is_empty()));
        assert!(series.samples.iter().all(|(value, _)| value.is_finite()));
    }
}

#[test]
fn a_backlog_is_one_series_each_in_the_order_of_time() {
    let mut batch = Batch::new();
    for seq in 1..=3 {
        let frame = sample::small(seq);
        for place in crate::points::places(&frame, Detail::Partition) {
            batch.push(&frame, place);
        }
    }
    let all = read(&encode(&batch));
    let one = read(&encode(&Batch::of(&sample::small(1), Detail::Partition)));
    assert_eq!(all.len(), one.len());
    for (series, first) in all.iter().zip(&one) {
        assert_eq!(series.labels, first.labels);
        let times: Vec<_> = series.samples.iter().map(|(_, ms)| *ms).collect();
        let expected: Vec<_> = (1..=3).map(|seq| sample::beat_of(seq).as_ms()).collect();
        assert_eq!(times, expected, "{series:?}");
    }
    let lag = all
        .iter()
        .find(|s| s.label("__name__") == "lagline_group_lag");
    let values: Vec<_> = lag
        .unwrap()
        .samples
        .iter()
        .map(|(value, _)| *value)
        .collect();
    assert_eq!(values, [101.0, 102.0, 103.0]);
}

#[test]
fn a_point_read_back_from_a_dead_letter_is_written_as_before() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let mut owned = Batch::new();
    batch
        .iter()
        .for_each(|point| owned.push_owned(Arc::new(OwnedPoint::of(&point))));
    assert_eq!(encode(&owned), encode(&batch));
}

#[test]
fn names_of_any_kind_and_length_are_label_values() {
    let long = "é".repeat(16_383);
    let cut = names::bounded(&long, names::MAX_NAME_BYTES);
    for (name, expected, why) in [
        (
            sample::HOSTILE,
            sample::HOSTILE,
            "everything is a label value",
        ),
        ("", "", "an empty label is no label"),
        (&long, &cut, "too long for VictoriaMetrics and others"),
    ] {
        let mut point = OwnedPoint::new(Measurement::Group, sample::BEAT);
        point.tag("cluster", "prod").unwrap();
        point.tag("group", name).unwrap();
        point.field("lag", OwnedValue::Int(-1)).unwrap();
        let mut batch = Batch::new();
        batch.push_owned(Arc::new(point));
        let all = read(&encode(&batch));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].label("group"), expected, "{why}");
        assert_eq!(all[0].labels.len(), if name.is_empty() { 2 } else { 3 });
        assert_eq!(all[0].label("cluster"), "prod");
        assert_eq!(all[0].samples, [(-1.0, sample::BEAT.as_ms())]);
    }
}

#[test]
fn lengths_of_varints_are_those_that_are_written() {
    for shift in 0..64 {
        for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(varint(&mut &out[..]), value);
        }
    }
}

//! Points as the body of a remote write request (version 1.0 of the protocol).
//!
//! Each field of a point is a sample of a series of its own; [`crate::points::metrics`] names it.
//! The labels are the point's tags, sorted. What is unknown has no sample.
//!
//! Own encoder of the four messages that are written (`WriteRequest`, `TimeSeries`, `Label` and
//! `Sample` of Prometheus' `prompb/remote.proto` and `types.proto`): the labels of a point are the
//! same bytes in all its series, and generated types would want each of them as a text of its own.

use rustc_hash::FxHashMap;

use crate::clock::Timestamp;
use crate::points::{Batch, Measurement, Metric, Point, Value, metrics};
use crate::sinks::names;

/// Field 1 of each of the messages, length-delimited: `timeseries`, `labels`, `name`.
const FIRST: u8 = 0x0a;
/// Field 2, length-delimited: `samples`, the value of a label.
const SECOND: u8 = 0x12;
/// Field 1 of a sample: the value, eight bytes.
const VALUE: u8 = 0x09;
/// Field 2 of a sample: milliseconds, a varint.
const TIMESTAMP: u8 = 0x10;

/// Encodes every point of the batch, before compression. Samples of one series stand together,
/// oldest first, as the protocol demands.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let mut all: Vec<Series> = Vec::new();
    let mut known: FxHashMap<(Measurement, Vec<u8>), usize> = FxHashMap::default();
    for point in batch.iter() {
        let labels = Labels::of(&point);
        let key = (point.measurement(), labels.bytes);
        let at = match known.get(&key) {
            Some(at) => *at,
            None => {
                all.push(Series::new(&key, labels.places));
                known.insert(key, all.len() - 1);
                all.len() - 1
            }
        };
        all[at].add(&point);
    }
    let mut body = Vec::with_capacity(batch.len() * 1024);
    for series in &mut all {
        series.write(&mut body);
    }
    body
}

/// The tags of a point as encoded labels.
struct Labels {
    bytes: Vec<u8>,
    /// Where each of them begins.
    places: Vec<(&'static str, usize)>,
}

impl Labels {
    fn of(point: &Point<'_>) -> Self {
        let mut labels = Self {
            bytes: Vec::with_capacity(128),
            places: Vec::with_capacity(4),
        };
        point.tags(&mut |name, value| {
            // An empty label is the same as none, and may not be sent.
            if !value.is_empty() {
                labels.places.push((name, labels.bytes.len()));
                let value = names::bounded(value, names::MAX_NAME_BYTES);
                write_label(&mut labels.bytes, name, &value);
            }
        });
        labels
    }
}

/// The series of one identity: one for each metric of its measurement.
struct Series {
    metrics: &'static [Option<Metric>],
    labels: Vec<u8>,
    places: Vec<(&'static str, usize)>,
    /// The metric's place, the time and the value.
    samples: Vec<(usize, Timestamp, f64)>,
}

impl Series {
    fn new(key: &(Measurement, Vec<u8>), places: Vec<(&'static str, usize)>) -> Self {
        Self {
            metrics: metrics(key.0),
            labels: key.1.clone(),
            places,
            samples: Vec::new(),
        }
    }

    fn add(&mut self, point: &Point<'_>) {
        let Self {
            metrics, samples, ..
        } = self;
        let fields = point.measurement().info().fields;
        // Fields come in the order of the catalogue.
        let mut next = 0;
        point.fields(&mut |name, value| {
            let Some(at) = fields[next..].iter().position(|field| field.name == name) else {
                return;
            };
            let at = next + at;
            next = at + 1;
            if let (Some(metric), Some(value)) = (&metrics[at], number(value)) {
                samples.push((at, point.at(), value * metric.scale));
            }
        });
    }

    fn write(&mut self, body: &mut Vec<u8>) {
        self.samples.sort_by_key(|(metric, at, _)| (*metric, *at));
        let mut labels = Vec::with_capacity(self.labels.len() + 64);
        for samples in self.samples.chunk_by(|a, b| a.0 == b.0) {
            let Some(metric) = &self.metrics[samples[0].0] else {
                continue;
            };
            labels.clear();
            self.write_labels(metric, &mut labels);
            let written: usize = samples.iter().map(|(_, at, _)| 2 + sample_len(*at)).sum();
            body.push(FIRST);
            write_len(body, labels.len() + written);
            body.extend_from_slice(&labels);
            for (_, at, value) in samples {
                body.push(SECOND);
                write_len(body, sample_len(*at));
                body.push(VALUE);
                body.extend_from_slice(&value.to_le_bytes());
                body.push(TIMESTAMP);
                write_varint(body, wire_ms(*at));
            }
        }
    }

    /// All labels sorted by name: the metric's name first (no tag sorts before an underscore), its
    /// own label at its place between the tags.
    fn write_labels(&self, metric: &Metric, out: &mut Vec<u8>) {
        write_label(out, "__name__", &metric.name);
        let Some((name, value)) = metric.label else {
            out.extend_from_slice(&self.labels);
            return;
        };
        let after = self.places.iter().find(|(tag, _)| *tag > name);
        let (before, after) = self
            .labels
            .split_at(after.map_or(self.labels.len(), |(_, at)| *at));
        out.extend_from_slice(before);
        write_label(out, name, value);
        out.extend_from_slice(after);
    }
}

/// The value as a sample has it; texts are none.
#[allow(
    clippy::cast_precision_loss,
    reason = "a sample is a float; counts and offsets are exact up to 2^53"
)]
fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(value as f64),
        // The nearest decimal, as everywhere else: not the binary digits that a float lacks.
        Value::Float(value) => ryu::Buffer::new().format(value).parse().ok(),
        Value::Bool(value) => Some(f64::from(u8::from(value))),
        Value::Text(_) => None,
    }
}

fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let text_len = |text: &str| 1 + varint_len(text.len() as u64) + text.len();
    out.push(FIRST);
    write_len(out, text_len(name) + text_len(value));
    out.push(FIRST);
    write_len(out, name.len());
    out.extend_from_slice(name.as_bytes());
    out.push(SECOND);
    write_len(out, value.len());
    out.extend_from_slice(value.as_bytes());
}

/// Bytes of a sample without its own key and length (which is below 128, one byte).
fn sample_len(at: Timestamp) -> usize {
    1 + 8 + 1 + varint_len(wire_ms(at))
}

/// A protobuf `int64` is written as its two's complement.
fn wire_ms(at: Timestamp) -> u64 {
    at.as_ms().cast_unsigned()
}

fn write_len(out: &mut Vec<u8>, len: usize) {
    write_varint(out, len as u64);
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "seven bits of a varint are one byte"
)]
fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a varint: one for every seven bits begun.
fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
pub(super) mod tests;

//! Points as a bulk request.
//!
//! Each point is one `create`: re-sending never changes a document, a document that is there
//! already is answered 409. In a time series stream Elasticsearch makes the id from the dimensions
//! and the time; elsewhere the id is made here from the same parts, so that it is always the same
//! for the same point.
//!
//! Keys are written with dots: the same fields as nested objects, in one pass over a point.

use super::detect::Format;
use super::names;
use crate::clock::Timestamp;
use crate::points::{Batch, Measurement, Point, Value};
use crate::sinks::identity::{Identity, partition};
use crate::sinks::names as text;

/// Elasticsearch refuses longer ids.
const MAX_ID_BYTES: usize = 512;

/// The version of the Elastic Common Schema the names are of.
const ECS_VERSION: &str = "8.11.0";

/// Everything that is the same for all documents of a measurement, written once.
#[derive(Debug)]
pub struct Layout {
    format: Format,
    measurements: Vec<MeasurementLayout>,
}

#[derive(Debug)]
struct MeasurementLayout {
    /// The data stream, or the daily index without the day.
    index: String,
    /// The document from behind the time up to the first tag.
    head: Vec<u8>,
    /// `,"path":` of each field, in the order of the catalogue.
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl Layout {
    /// The layout of all measurements.
    pub fn new(format: Format, namespace: &str) -> Self {
        let measurements = Measurement::ALL
            .iter()
            .map(|measurement| MeasurementLayout::new(format, *measurement, namespace))
            .collect();
        Self {
            format,
            measurements,
        }
    }

    /// Encodes a batch; document `n` is the batch's point `n`.
    pub fn encode(&self, batch: &Batch) -> Encoded {
        let main = batch
            .iter()
            .find(|point| point.measurement() == Measurement::Partition)
            .or_else(|| batch.get(0));
        let index = main.map(|point| self.index(&point)).unwrap_or_default();
        let mut encoder = Encoder {
            layout: self,
            index,
            body: Vec::with_capacity(batch.len() * 640),
            of: None,
            action: Halves::default(),
            document: Halves::default(),
            time: Time::default(),
        };
        for point in batch.iter() {
            encoder.point(&point);
        }
        Encoded {
            index: encoder.index,
            body: encoder.body,
        }
    }

    fn of(&self, measurement: Measurement) -> &MeasurementLayout {
        &self.measurements[measurement as usize]
    }

    fn index(&self, point: &Point<'_>) -> String {
        let index = &self.of(point.measurement()).index;
        match self.format {
            Format::Tsds | Format::DataStream => index.clone(),
            Format::Index => format!("{index}{}", names::day(point.at())),
        }
    }
}

impl MeasurementLayout {
    fn new(format: Format, measurement: Measurement, namespace: &str) -> Self {
        let dataset = names::dataset(measurement);
        let kind = match measurement {
            Measurement::Status => "event",
            Measurement::Group
            | Measurement::Topic
            | Measurement::Partition
            | Measurement::TopicOffset
            | Measurement::Cluster
            | Measurement::Sink => "metric",
        };
        let mut head = Vec::new();
        let mut constant = |path: &str, value: &str| {
            head.extend_from_slice(b",\"");
            head.extend_from_slice(path.as_bytes());
            head.extend_from_slice(b"\":");
            write_text(&mut head, value);
        };
        if format != Format::Index {
            constant("data_stream.type", names::stream_type(measurement));
            constant("data_stream.dataset", dataset);
            constant("data_stream.namespace", namespace);
        }
        constant("ecs.version", ECS_VERSION);
        constant("event.kind", kind);
        constant("event.module", "kafka_lag");
        constant("event.dataset", dataset);
        let fields = measurement.info().fields.iter().map(|field| {
            let path = names::field_path(measurement, field.name);
            (field.name, format!(",\"{path}\":").into_bytes())
        });
        Self {
            index: match format {
                Format::Tsds | Format::DataStream => names::stream(measurement, namespace),
                Format::Index => names::daily(measurement, namespace),
            },
            head,
            fields: fields.collect(),
        }
    }
}

/// A bulk request.
#[derive(Debug)]
pub struct Encoded {
    /// The index of every action that names none.
    pub index: String,
    pub body: Vec<u8>,
}

struct Encoder<'a, 'l> {
    layout: &'l Layout,
    index: String,
    body: Vec<u8>,
    /// What the halves were written for.
    of: Option<(Identity<'a>, Timestamp)>,
    action: Halves,
    document: Halves,
    time: Time,
}

/// A text with a partition's number in the middle.
#[derive(Default)]
struct Halves {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Halves {
    fn clear(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    fn write(&self, out: &mut Vec<u8>, partition: Option<u32>) {
        out.extend_from_slice(&self.before);
        if let Some(partition) = partition {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(partition).as_bytes());
        }
        out.extend_from_slice(&self.after);
    }
}

/// The last written time.
#[derive(Default)]
struct Time {
    at: Option<Timestamp>,
    text: String,
    day: String,
}

impl Time {
    fn set(&mut self, at: Timestamp) {
        if self.at != Some(at) {
            self.at = Some(at);
            self.text = names::time(at);
            self.day = names::day(at);
        }
    }
}

impl<'a> Encoder<'a, '_> {
    fn point(&mut self, point: &Point<'a>) {
        let identity = Identity::of(point);
        let is_same = match (&identity, &self.of) {
            (Some(this), Some((last, at))) => this.is_same(last) && *at == point.at(),
            (None, _) | (_, None) => false,
        };
        if !is_same {
            self.time.set(point.at());
            self.fill_action(point);
            self.fill_document(point);
            self.of = identity.map(|identity| (identity, point.at()));
        }
        let partition = partition(point);
        let in_id = partition.filter(|_| self.layout.format != Format::Tsds);
        self.action.write(&mut self.body, in_id);
        self.document.write(&mut self.body, partition);
        self.fields(point);
        self.body.extend_from_slice(b"}\n");
    }

    /// `{"create":{"_index":"...","_id":"..."}}`, both only when needed.
    fn fill_action(&mut self, point: &Point<'_>) {
        let layout = self.layout.of(point.measurement());
        let is_daily = self.layout.format == Format::Index;
        let day = if is_daily { self.time.day.as_str() } else { "" };
        let Halves { before, after } = &mut self.action;
        before.clear();
        after.clear();
        before.extend_from_slice(b"{\"create\":{");
        let is_default = self.index.strip_prefix(layout.index.as_str()) == Some(day);
        if !is_default {
            before.extend_from_slice(b"\"_index\":\"");
            before.extend_from_slice(layout.index.as_bytes());
            before.extend_from_slice(day.as_bytes());
            before.push(b'"');
        }
        if self.layout.format == Format::Tsds {
            before.extend_from_slice(b"}}\n");
            return;
        }
        before.extend_from_slice(if is_default {
            b"\"_id\":"
        } else {
            b",\"_id\":"
        });
        let id = id_up_to_partition(point);
        write_text(before, &id);
        before.pop();
        after.extend_from_slice(b"\"}}\n");
    }

    /// The document up to its first field.
    fn fill_document(&mut self, point: &Point<'_>) {
        self.document.clear();
        let Halves { before, after } = &mut self.document;
        before.extend_from_slice(b"{\"@timestamp\":\"");
        before.extend_from_slice(self.time.text.as_bytes());
        before.push(b'"');
        before.extend_from_slice(&self.layout.of(point.measurement()).head);
        let has_row = partition(point).is_some();
        let mut is_past = false;
        point.tags(&mut |name, value| {
            if value.is_empty() {
                return;
            }
            let out = if is_past { &mut *after } else { &mut *before };
            out.extend_from_slice(b",\"");
            out.extend_from_slice(names::tag_path(name).as_bytes());
            out.extend_from_slice(b"\":");
            match (name, has_row) {
                ("partition", true) => is_past = true,
                ("partition", false) => out.extend_from_slice(value.as_bytes()),
                _ => write_text(out, &text::bounded(value, text::MAX_NAME_BYTES)),
            }
        });
    }

    fn fields(&mut self, point: &Point<'_>) {
        let body = &mut self.body;
        let fields = &self.layout.of(point.measurement()).fields;
        let mut next = 0;
        let mut field = |name: &'static str, value: Value<'_>| {
            // Fields come in the order of the catalogue: the next one is close.
            let later = fields[next..].iter().position(|(known, _)| *known == name);
            let Some(at) = later.map(|later| next + later) else {
                debug_assert!(false, "{name} is out of order or not in the catalogue");
                return;
            };
            next = at + 1;
            body.extend_from_slice(&fields[at].1);
            // Kafka's leading slash is not part of the host in Elastic's field.
            let host = match value {
                Value::Text(host) if name == "owner" => host.strip_prefix('/'),
                Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Text(_) => None,
            };
            write_value(body, host.map_or(value, Value::Text));
        };
        point.fields(&mut field);
        point.optional_fields(&mut field);
    }
}

/// The id without the partition's number: the beat first, so that ids grow with time. Parts are
/// escaped, so that no two points share one.
fn id_up_to_partition(point: &Point<'_>) -> String {
    let mut tags = String::new();
    let mut number = String::new();
    let has_row = partition(point).is_some();
    point.tags(&mut |name, value| {
        if name == "partition" {
            value.clone_into(&mut number);
            return;
        }
        for character in value.chars() {
            if matches!(character, '/' | '\\') {
                tags.push('\\');
            }
            tags.push(character);
        }
        tags.push('/');
    });
    let (_, what) = names::dataset(point.measurement())
        .split_once('.')
        .unwrap_or_default();
    let mut id = format!("{}/{what}/", point.at().as_ms());
    if id.len() + tags.len() + 12 > MAX_ID_BYTES {
        tags = format!("#{:032x}/", text::hash(tags.as_bytes()));
    }
    id.push_str(&tags);
    if !has_row {
        id.push_str(&number);
    }
    id
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Int(value) => {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
        }
        Value::Float(value) => {
            let mut digits = ryu::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
        }
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Text(value) => write_text(out, &text::bounded(value, text::MAX_NAME_BYTES)),
    }
}

/// Writes a JSON string (RFC 8259): quotes, backslashes and control characters escaped.
fn write_text(out: &mut Vec<u8>, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut start = 0;
    let bytes = value.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests;

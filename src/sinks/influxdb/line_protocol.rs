//! Points as InfluxDB's line protocol.
//!
//! Own encoder, because names are arbitrary text: one line a point, whatever a consumer group is
//! called. Tags are identity only and sorted, an empty one is left out; integers are signed; floats
//! have a point or an exponent; times are whole seconds.
//!
//! The protocol has no way to write a control character or a trailing backslash in a tag: they
//! become U+FFFD, in texts too, so that a line feed in the body always is the end of a line (the
//! servers' answers are matched by line).

use crate::clock::Timestamp;
use crate::points::{Batch, Point, Value};
use crate::sinks::identity::{Identity, partition};
use crate::sinks::names;

/// What stands for a character that cannot be written.
const REPLACEMENT: &str = "\u{fffd}";

/// A batch as the body of a request.
#[derive(Debug)]
pub struct Encoded {
    body: Vec<u8>,
    /// Where the line of each point ends, its line feed included.
    ends: Vec<usize>,
}

impl Encoded {
    /// All lines.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The lines in the order of the batch's points, without line feeds. A point without any known
    /// field has an empty one: it is not in the body.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let line = &self.body[start..*end];
            start = *end;
            line.strip_suffix(b"\n").unwrap_or(line)
        })
    }
}

/// Lines that are put together piece by piece, for points that have other names than the
/// catalogue's.
#[derive(Debug)]
pub(super) struct Lines {
    encoded: Encoded,
    /// Where the line under way begins, and whether it has a field.
    begin: usize,
    has_field: bool,
}

impl Lines {
    pub(super) fn with_capacity(points: usize) -> Self {
        Self {
            encoded: Encoded {
                body: Vec::with_capacity(points * 192),
                ends: Vec::with_capacity(points),
            },
            begin: 0,
            has_field: false,
        }
    }

    /// Begins a line; what was begun without any field is forgotten.
    pub(super) fn begin(&mut self, measurement: &str) {
        self.begin = self.encoded.body.len();
        self.has_field = false;
        self.encoded.body.extend_from_slice(measurement.as_bytes());
    }

    /// Adds a tag, before any field and in the order of the names; an empty one is left out.
    pub(super) fn tag(&mut self, name: &str, value: &str) {
        let body = &mut self.encoded.body;
        if !value.is_empty() {
            body.push(b',');
            body.extend_from_slice(name.as_bytes());
            body.push(b'=');
            write_tag(body, value);
        }
    }

    pub(super) fn field(&mut self, name: &str, value: Value<'_>) {
        let body = &mut self.encoded.body;
        body.push(if self.has_field { b',' } else { b' ' });
        self.has_field = true;
        body.extend_from_slice(name.as_bytes());
        body.push(b'=');
        write_value(body, value);
    }

    /// Ends the line. Without a field there is none.
    pub(super) fn time(&mut self, at: Timestamp) {
        let body = &mut self.encoded.body;
        if !self.has_field {
            body.truncate(self.begin);
            return;
        }
        Time::default().write(body, at.as_secs());
        body.push(b'\n');
    }

    /// Ends the point, which has the line written since the last one, or none.
    pub(super) fn end_point(&mut self) {
        self.encoded.ends.push(self.encoded.body.len());
    }

    pub(super) fn into_encoded(self) -> Encoded {
        self.encoded
    }
}

/// Encodes every point of the batch; with `owner_fields`, the optional fields too.
pub fn encode(batch: &Batch, owner_fields: bool) -> Encoded {
    let mut encoder = Encoder {
        body: Vec::with_capacity(batch.len() * 192),
        series: Series::default(),
        time: Time::default(),
    };
    let mut ends = Vec::with_capacity(batch.len());
    for point in batch.iter() {
        encoder.point(&point, owner_fields);
        ends.push(encoder.body.len());
    }
    Encoded {
        body: encoder.body,
        ends,
    }
}

struct Encoder<'a> {
    body: Vec<u8>,
    series: Series<'a>,
    time: Time,
}

/// The escaped measurement and tags of the last point. Neighbours differ only in the partition,
/// which is written between the two halves.
#[derive(Default)]
struct Series<'a> {
    of: Option<Identity<'a>>,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The last written time.
#[derive(Default)]
struct Time {
    seconds: Option<i64>,
    text: Vec<u8>,
}

impl<'a> Encoder<'a> {
    fn point(&mut self, point: &Point<'a>, owner_fields: bool) {
        let start = self.body.len();
        self.tags(point);
        let body = &mut self.body;
        let mut separator = b' ';
        let mut field = |name: &'static str, value: Value<'_>| {
            body.push(separator);
            separator = b',';
            body.extend_from_slice(name.as_bytes());
            body.push(b'=');
            write_value(body, value);
        };
        point.fields(&mut field);
        if owner_fields {
            point.optional_fields(&mut field);
        }
        if separator == b' ' {
            self.body.truncate(start);
            return;
        }
        self.time.write(&mut self.body, point.at().as_secs());
        self.body.push(b'\n');
    }

    fn tags(&mut self, point: &Point<'a>) {
        let identity = Identity::of(point);
        let is_same = match (&identity, &self.series.of) {
            (Some(this), Some(last)) => this.is_same(last),
            (None, _) | (_, None) => false,
        };
        if !is_same {
            self.series.fill(point);
            self.series.of = identity;
        }
        self.body.extend_from_slice(&self.series.before);
        if let Some(partition) = partition(point) {
            let mut digits = itoa::Buffer::new();
            self.body
                .extend_from_slice(digits.format(partition).as_bytes());
        }
        self.body.extend_from_slice(&self.series.after);
    }
}

impl Series<'_> {
    fn fill(&mut self, point: &Point<'_>) {
        let Self { before, after, .. } = self;
        before.clear();
        after.clear();
        before.extend_from_slice(point.measurement().name().as_bytes());
        let has_row = partition(point).is_some();
        let mut is_past = false;
        point.tags(&mut |name, value| {
            if value.is_empty() {
                return;
            }
            let out = if is_past { &mut *after } else { &mut *before };
            out.push(b',');
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            if has_row && name == "partition" {
                is_past = true;
            } else {
                write_tag(out, value);
            }
        });
    }
}

impl Time {
    fn write(&mut self, body: &mut Vec<u8>, seconds: i64) {
        if self.seconds != Some(seconds) {
            self.seconds = Some(seconds);
            self.text.clear();
            self.text.push(b' ');
            let mut digits = itoa::Buffer::new();
            self.text
                .extend_from_slice(digits.format(seconds).as_bytes());
        }
        body.extend_from_slice(&self.text);
    }
}

/// Writes a tag's value: `,`, `=` and spaces escaped, at most [`names::MAX_NAME_BYTES`].
fn write_tag(out: &mut Vec<u8>, value: &str) {
    let value = names::bounded(value, names::MAX_NAME_BYTES);
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ',' | '=' | ' ' => {
                out.push(b'\\');
                push(out, character);
            }
            // A backslash stands for itself, but not before what it would escape: the server
            // would take the tag to go on.
            '\\' if matches!(characters.peek(), None | Some(',' | '=' | ' ' | '\\')) => {
                out.extend_from_slice(REPLACEMENT.as_bytes());
            }
            character if character.is_control() => out.extend_from_slice(REPLACEMENT.as_bytes()),
            character => push(out, character),
        }
    }
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Int(value) => {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
            out.push(b'i');
        }
        Value::Float(value) => {
            let mut digits = ryu::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
        }
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Text(value) => write_text(out, value),
    }
}

/// Writes a quoted text: `"` and `\` escaped, at most [`names::MAX_NAME_BYTES`].
fn write_text(out: &mut Vec<u8>, value: &str) {
    let value = names::bounded(value, names::MAX_NAME_BYTES);
    out.push(b'"');
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\';
    if value.as_bytes().iter().all(is_plain) {
        // Nearly every text is a status.
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return;
    }
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                out.push(b'\\');
                push(out, character);
            }
            character if character.is_control() => out.extend_from_slice(REPLACEMENT.as_bytes()),
            character => push(out, character),
        }
    }
    out.push(b'"');
}

fn push(out: &mut Vec<u8>, character: char) {
    let mut bytes = [0; 4];
    out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
}

#[cfg(test)]
pub(super) mod tests;

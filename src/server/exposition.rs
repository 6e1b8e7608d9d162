//! Prometheus' text format.

use std::fmt::{Display, Write};

/// Collects families; every family is written in one piece, as the format demands.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

/// One family under way.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    head: Option<(Kind, &'static str)>,
}

/// A sample's value, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(i64),
    Real(f32),
}

impl Number {
    pub(super) fn flag(is_set: bool) -> Option<Number> {
        Some(Number::Whole(i64::from(is_set)))
    }

    pub(super) fn whole(value: impl Into<i64>) -> Option<Number> {
        Some(Number::Whole(value.into()))
    }

    fn push_to(self, text: &mut String) {
        match self {
            // Most partitions are caught up.
            Number::Whole(0) => text.push('0'),
            Number::Whole(value) => text.push_str(itoa::Buffer::new().format(value)),
            Number::Real(value) => text.push_str(ryu::Buffer::new().format(value)),
        }
    }
}

impl Exposition {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
        }
    }

    /// Begins a family; its head is written with the first sample.
    pub(super) fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Family<'_> {
        Family {
            text: &mut self.text,
            name,
            head: Some((kind, help)),
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample. `labels` are finished by [`Labels`].
    pub(super) fn sample(&mut self, labels: &str, value: impl Display) {
        self.begin(labels);
        // Writing to a String cannot fail, here and below.
        writeln!(self.text, "{value}").ok();
    }

    /// Writes one sample when the number is known.
    pub(super) fn number(&mut self, labels: &str, number: Option<Number>) {
        if let Some(number) = number {
            self.begin(labels);
            number.push_to(self.text);
            self.text.push('\n');
        }
    }

    /// Writes a sample for each known number; its place in the list is the value of the label
    /// `place`, added to `labels`. Hundreds of thousands of samples are written in this way: what
    /// does not change from one to the next is put together once.
    pub(super) fn numbers(
        &mut self,
        labels: &str,
        place: &str,
        numbers: impl Iterator<Item = Option<Number>>,
    ) {
        let front = format!("{}{{{labels},{place}=\"", self.name);
        let known = |(index, number): (usize, Option<Number>)| Some((index, number?));
        for (index, number) in numbers.enumerate().filter_map(known) {
            self.head();
            self.text.push_str(&front);
            self.text.push_str(itoa::Buffer::new().format(index));
            self.text.push_str("\"} ");
            number.push_to(self.text);
            self.text.push('\n');
        }
    }

    /// Writes the head in front of the first sample.
    fn head(&mut self) {
        if let Some((kind, help)) = self.head.take() {
            let kind = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            write!(
                self.text,
                "# HELP {0} {help}\n# TYPE {0} {kind}\n",
                self.name
            )
            .ok();
        }
    }

    /// Writes a sample up to its value.
    fn begin(&mut self, labels: &str) {
        self.head();
        self.text.push_str(self.name);
        if !labels.is_empty() {
            self.text.push('{');
            self.text.push_str(labels);
            self.text.push('}');
        }
        self.text.push(' ');
    }

    /// Writes a sample when the value is known.
    pub(super) fn known(&mut self, labels: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }
}

/// Labels under way: `a="1",b="2"`. Values are escaped.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    /// These labels and one more.
    pub(super) fn with(&self, name: &str, value: &str) -> Labels {
        let mut labels = self.clone();
        labels.push(name, value);
        labels
    }

    /// Adds a label.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        self.begin(name);
        if value.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
        } else {
            self.0.push_str(value);
        }
        self.0.push('"');
    }

    fn begin(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
    }

    /// How long the text is, for [`Labels::truncate`].
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Goes back to an earlier length.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_head_once_and_escapes_labels() {
        let mut out = Exposition::default();
        let mut family = out.family("lagline_group_lag", Kind::Gauge, "Lag.");
        let mut labels = Labels::default();
        labels.push("group", "a\"b\\c\nd");
        family.number(labels.as_str(), Number::whole(7));
        family.number("", None);
        family.known("", None::<i64>);
        let numbers = [None, Some(Number::Real(2.5)), Number::flag(false)];
        family.numbers(labels.as_str(), "place", numbers.into_iter());
        family.known(labels.with("partition", "1").as_str(), Some(0.5));
        out.family("empty", Kind::Counter, "No sample, no head.")
            .numbers("", "place", [None].into_iter());
        assert_eq!(
            out.into_text(),
            "# HELP lagline_group_lag Lag.\n# TYPE lagline_group_lag gauge\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\"} 7\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\",place=\"1\"} 2.5\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\",place=\"2\"} 0\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\",partition=\"1\"} 0.5\n"
        );
    }
}

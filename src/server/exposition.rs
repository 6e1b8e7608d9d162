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

    /// Writes one sample whose value is text already; for the families with very many samples.
    pub(super) fn text(&mut self, labels: &str, value: &str) {
        self.begin(labels);
        self.text.push_str(value);
        self.text.push('\n');
    }

    /// Writes one sample with a whole number.
    pub(super) fn integer(&mut self, labels: &str, value: i64) {
        self.text(labels, itoa::Buffer::new().format(value));
    }

    /// Writes a sample up to its value, and the head in front of the first one.
    fn begin(&mut self, labels: &str) {
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

    /// Adds a label with a whole number.
    pub(super) fn push_number(&mut self, name: &str, value: usize) {
        self.begin(name);
        self.0.push_str(itoa::Buffer::new().format(value));
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
        family.integer(labels.as_str(), 7);
        family.known("", None::<i64>);
        family.known(labels.with("partition", "1").as_str(), Some(0.5));
        out.family("empty", Kind::Counter, "No sample, no head.");
        assert_eq!(
            out.into_text(),
            "# HELP lagline_group_lag Lag.\n# TYPE lagline_group_lag gauge\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\"} 7\n\
             lagline_group_lag{group=\"a\\\"b\\\\c\\nd\",partition=\"1\"} 0.5\n"
        );
    }
}

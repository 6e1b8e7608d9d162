//! The parameters of a path: described once, for reading them and for the OpenAPI document.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use url::form_urlencoded;

use crate::clock::Timestamp;
use crate::config::values;

/// A parameter in the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// Any of these words, given several times or with commas.
    Words(&'static [&'static str]),
    Number {
        least: u64,
        most: u64,
        default: u64,
    },
    Switch,
    /// Unix milliseconds, RFC 3339, `now`, or `-6h` (so long ago).
    Time,
    Duration,
}

/// A parameter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) parameter: String,
    pub(super) message: String,
}

impl Bad {
    pub(super) fn new(parameter: &str, message: impl Into<String>) -> Self {
        Self {
            parameter: parameter.to_owned(),
            message: message.into(),
        }
    }
}

/// The parameters of one request, checked.
#[derive(Debug, Default)]
pub(super) struct Query {
    texts: BTreeMap<&'static str, String>,
    words: BTreeMap<&'static str, Vec<&'static str>>,
    numbers: BTreeMap<&'static str, u64>,
    times: BTreeMap<&'static str, Timestamp>,
    durations: BTreeMap<&'static str, Duration>,
}

impl Query {
    /// Reads what stands behind the question mark.
    pub(super) fn read(
        raw: Option<&str>,
        parameters: &'static [Parameter],
        now: Timestamp,
    ) -> Result<Self, Bad> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            let Some(parameter) = parameters.iter().find(|known| known.name == name) else {
                let known: Vec<&str> = parameters.iter().map(|known| known.name).collect();
                let message = match known.is_empty() {
                    true => "unknown; there are none here".to_owned(),
                    false => format!("unknown; known are {}", known.join(", ")),
                };
                return Err(Bad::new(&name, message));
            };
            query
                .take(parameter, &value, now)
                .map_err(|message| Bad::new(parameter.name, message))?;
        }
        for parameter in parameters {
            if let Kind::Number { default, .. } = parameter.kind {
                query.numbers.entry(parameter.name).or_insert(default);
            }
        }
        Ok(query)
    }

    fn take(&mut self, parameter: &Parameter, value: &str, now: Timestamp) -> Result<(), String> {
        let name = parameter.name;
        match parameter.kind {
            Kind::Text => {
                self.texts.insert(name, value.to_owned());
            }
            Kind::Word(allowed) => {
                self.words.insert(name, vec![word(value, allowed)?]);
            }
            Kind::Words(allowed) => {
                let words = self.words.entry(name).or_default();
                for value in value.split(',') {
                    words.push(word(value, allowed)?);
                }
            }
            Kind::Number { least, most, .. } => {
                let number = value.parse().ok().filter(|it| (least..=most).contains(it));
                let expected = || format!("expected a whole number from {least} to {most}");
                self.numbers.insert(name, number.ok_or_else(expected)?);
            }
            Kind::Switch => {
                let is_on = word(value, &["true", "false"])?;
                self.words.insert(name, vec![is_on]);
            }
            Kind::Time => {
                self.times.insert(name, values::moment(value, now)?);
            }
            Kind::Duration => {
                self.durations.insert(name, values::duration(value)?);
            }
        }
        Ok(())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    pub(super) fn word(&self, name: &str) -> Option<&'static str> {
        self.words(name).last().copied()
    }

    pub(super) fn words(&self, name: &str) -> &[&'static str] {
        self.words.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.word(name) == Some("true")
    }

    /// The number, or its default.
    pub(super) fn number(&self, name: &str) -> usize {
        let number = self.numbers.get(name).copied().unwrap_or(0);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.times.get(name).copied()
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.durations.get(name).copied()
    }
}

fn word(value: &str, allowed: &'static [&'static str]) -> Result<&'static str, String> {
    let found = allowed
        .iter()
        .find(|word| word.eq_ignore_ascii_case(value.trim()));
    found
        .copied()
        .ok_or_else(|| format!("expected {}", listed(allowed)))
}

/// "a, b or c".
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

impl Parameter {
    /// As the OpenAPI document has it.
    pub(super) fn describe(&self) -> Value {
        let schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Word(words) => json!({ "type": "string", "enum": words }),
            Kind::Words(words) => {
                json!({ "type": "array", "items": { "type": "string", "enum": words } })
            }
            Kind::Number {
                least,
                most,
                default,
            } => json!({
                "type": "integer", "minimum": least, "maximum": most, "default": default,
            }),
            Kind::Switch => json!({ "type": "boolean", "default": false }),
            Kind::Time => json!({
                "type": "string", "examples": ["1767225600000", "2026-01-31T12:00:00Z", "-6h", "now"],
            }),
            Kind::Duration => json!({ "type": "string", "examples": ["30s", "5m", "1h"] }),
        };
        json!({ "name": self.name, "in": "query", "description": self.about, "schema": schema })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter {
            name: "status",
            kind: Kind::Words(&["OK", "WARN", "ERR"]),
            about: "",
        },
        Parameter {
            name: "limit",
            kind: Kind::Number {
                least: 1,
                most: 100,
                default: 10,
            },
            about: "",
        },
        Parameter {
            name: "from",
            kind: Kind::Time,
            about: "",
        },
        Parameter {
            name: "step",
            kind: Kind::Duration,
            about: "",
        },
        Parameter {
            name: "group",
            kind: Kind::Text,
            about: "",
        },
    ];

    fn read(raw: &str) -> Result<Query, Bad> {
        Query::read(Some(raw), KNOWN, Timestamp::from_secs(100_000))
    }

    #[test]
    fn takes_what_is_described() {
        let query = read("status=ok,err&status=Warn&from=-1h&step=5m&group=a%2Fb+c").unwrap();
        assert_eq!(query.words("status"), ["OK", "ERR", "WARN"]);
        assert_eq!(query.time("from"), Some(Timestamp::from_secs(96_400)));
        assert_eq!(query.duration("step"), Some(Duration::from_secs(300)));
        assert_eq!(query.text("group"), Some("a/b c"));
        assert_eq!(query.number("limit"), 10, "the default");
        for (text, ms) in [
            ("1767225600000", 1_767_225_600_000),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000),
            ("now", 100_000_000),
        ] {
            let query = read(&format!("from={text}")).unwrap();
            assert_eq!(query.time("from"), Some(Timestamp::from_ms(ms)), "{text}");
        }
    }

    #[test]
    fn says_which_parameter_is_wrong_and_what_is_allowed() {
        for (raw, parameter, message) in [
            (
                "stat=OK",
                "stat",
                "unknown; known are status, limit, from, step, group",
            ),
            ("status=BAD", "status", "expected OK, WARN or ERR"),
            ("limit=0", "limit", "expected a whole number from 1 to 100"),
            ("limit=x", "limit", "expected a whole number from 1 to 100"),
            (
                "from=yesterday",
                "from",
                "expected unix milliseconds, a time like 2026-01-31T12:00:00Z, now, or -6h",
            ),
        ] {
            assert_eq!(
                read(raw).unwrap_err(),
                Bad::new(parameter, message),
                "{raw}"
            );
        }
        assert_eq!(read("step=soon").unwrap_err().parameter, "step");
    }
}

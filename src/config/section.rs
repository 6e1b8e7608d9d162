//! Reads one table of the configuration, and collects every problem instead of stopping at the
//! first.
//!
//! A key that is asked for is a known key; [`Section::finish`] reports all others. Problems carry
//! the line and column of what they are about, and never the text of a value: it might be a secret.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};
use url::Url;

use super::schema::{ANY, Shape, Shapes};
use super::secret::Secret;
use super::values;

/// The place a text comes from: the file, the environment, and where problems are collected.
pub struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that holds a secret.
    pub read: &'a dyn Fn(&Path) -> std::io::Result<String>,
    pub problems: RefCell<Vec<Problem>>,
    /// What was asked for, and as what: the schema is made of it.
    pub shapes: RefCell<Shapes>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    /// The key, as `clusters.prod.kafka.start`; empty for the whole file.
    pub key: String,
    /// What is wrong and what is meant.
    pub message: String,
}

impl Source<'_> {
    /// Notes a problem at a place of the text.
    pub fn problem(&self, at: Option<Range<usize>>, key: &str, message: impl Into<String>) {
        let before = &self.text[..at.map_or(0, |range| range.start.min(self.text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let problem = Problem {
            line,
            column,
            key: key.to_owned(),
            message: message.into(),
        };
        self.problems.borrow_mut().push(problem);
    }

    /// Replaces every `${NAME}` by the environment's value; `$${` is a literal `${`.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at]);
                out.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            let (name, after) = rest[at + 2..]
                .split_once('}')
                .ok_or("`${` without `}`; write `$${` for the two characters themselves")?;
            let value = (self.env)(name)
                .ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// One table.
pub struct Section<'a> {
    source: &'a Source<'a>,
    path: String,
    /// The path with `*` for names that are the user's.
    place: Vec<String>,
    table: Option<&'a dyn TableLike>,
    at: Option<Range<usize>>,
    asked: RefCell<Vec<String>>,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({})", self.path)
    }
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn root(source: &'a Source<'a>, table: &'a dyn TableLike) -> Self {
        Self {
            source,
            path: String::new(),
            place: Vec::new(),
            table: Some(table),
            at: None,
            asked: RefCell::default(),
        }
    }

    /// Where the section stands, as `clusters.prod`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the section is written in the file at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether a table is written at `key`.
    pub fn has_table(&self, key: &str) -> bool {
        self.item(key)
            .is_some_and(|(item, _)| item.as_table_like().is_some())
    }

    /// Notes a problem with the section as a whole.
    pub fn problem(&self, message: impl Into<String>) {
        self.source.problem(self.at.clone(), &self.path, message);
    }

    /// Notes a problem with one key.
    pub fn problem_at(&self, key: &str, message: impl Into<String>) {
        let at = self
            .item(key)
            .and_then(|(_, at)| at)
            .or_else(|| self.at.clone());
        self.source.problem(at, &self.join(key), message);
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn item(&self, key: &str) -> Option<(&'a Item, Option<Range<usize>>)> {
        let (found, item) = self.table?.get_key_value(key)?;
        Some((item, item.span().or_else(|| found.span())))
    }

    fn ask(&self, key: &str) -> Option<(&'a Item, Option<Range<usize>>)> {
        let mut asked = self.asked.borrow_mut();
        if !asked.iter().any(|known| known == key) {
            asked.push(key.to_owned());
        }
        drop(asked);
        self.item(key)
    }

    /// Notes what is asked for.
    fn note(&self, key: &str, shape: Shape) {
        let place = self.place.iter().cloned().chain([key.to_owned()]);
        let mut shapes = self.source.shapes.borrow_mut();
        shapes.insert(place.collect(), shape);
    }

    /// The section below this one; an empty one when it is not written.
    pub fn section(&self, key: &str) -> Section<'a> {
        self.section_at(key, key)
    }

    /// The section below this one that is `place` in the schema.
    fn section_at(&self, key: &str, place: &str) -> Section<'a> {
        let (table, at) = match self.ask(key) {
            None => (None, self.at.clone()),
            Some((item, at)) => {
                if item.as_table_like().is_none() {
                    self.problem_at(key, "expected a table");
                }
                (item.as_table_like(), at)
            }
        };
        Section {
            source: self.source,
            path: self.join(key),
            place: self
                .place
                .iter()
                .cloned()
                .chain([place.to_owned()])
                .collect(),
            table,
            at,
            asked: RefCell::default(),
        }
    }

    /// The sections below `key`, whose names are the user's, in the order of their names.
    pub fn named(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let parent = self.section(key);
        let mut names: Vec<String> = parent
            .table
            .iter()
            .flat_map(|t| t.iter())
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort();
        names
            .into_iter()
            .map(|name| (name.clone(), parent.section_at(&name, ANY)))
            .collect()
    }

    /// The keys that are written here, in the order of their names.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .table
            .iter()
            .flat_map(|t| t.iter())
            .map(|(name, _)| name.to_owned())
            .collect();
        keys.sort();
        keys
    }

    /// A text, with the environment filled in.
    pub fn string(&self, key: &str) -> Option<String> {
        self.note(key, Shape::Text);
        let (item, _) = self.ask(key)?;
        let Some(text) = item.as_str() else {
            self.problem_at(
                key,
                format!("expected a text in quotes, not {}", kind(item)),
            );
            return None;
        };
        self.expand(key, text)
    }

    fn expand(&self, key: &str, text: &str) -> Option<String> {
        self.source
            .expand(text)
            .map_err(|message| self.problem_at(key, message))
            .ok()
    }

    /// A list of texts.
    pub fn strings(&self, key: &str) -> Option<Vec<String>> {
        self.note(key, Shape::Texts);
        let (item, _) = self.ask(key)?;
        let Some(array) = item.as_array() else {
            self.problem_at(key, format!("expected a list of texts, not {}", kind(item)));
            return None;
        };
        let mut all = Vec::with_capacity(array.len());
        for value in array {
            let Some(text) = value.as_str() else {
                self.problem_at(key, "expected a list of texts in quotes");
                return None;
            };
            all.push(self.expand(key, text)?);
        }
        Some(all)
    }

    /// A value that is written as a text and read by `read`.
    pub fn parsed<T>(&self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.string(key)?;
        read(&text)
            .map_err(|message| self.problem_at(key, message))
            .ok()
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.parsed(key, |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
                .ok_or_else(|| {
                    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                    let meant = closest(text, &words)
                        .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
                    format!("expected one of \"{}\"{meant}", words.join("\", \""))
                })
        });
        let words = choices.iter().map(|(word, _)| (*word).to_owned());
        self.note(key, Shape::Choice(words.collect()));
        value
    }

    /// A duration within a range.
    pub fn duration(&self, key: &str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        let (from, to) = (*allowed.start(), *allowed.end());
        let value = self.parsed(key, |text| {
            let value = values::duration(text)?;
            if allowed.contains(&value) {
                return Ok(value);
            }
            Err(format!(
                "expected a duration from {} to {}",
                values::show_duration(from),
                values::show_duration(to)
            ))
        });
        self.note(key, Shape::Duration(from, to));
        value
    }

    /// A size in bytes.
    pub fn size(&self, key: &str) -> Option<u64> {
        let value = self.parsed(key, values::size);
        self.note(key, Shape::Size);
        value
    }

    /// An http or https address.
    pub fn url(&self, key: &str) -> Option<Url> {
        let value = self.parsed(key, read_url);
        self.note(key, Shape::Url);
        value
    }

    /// A list of http or https addresses.
    pub fn urls(&self, key: &str) -> Option<Vec<Url>> {
        let mut all = Vec::new();
        for text in self.strings(key)? {
            all.push(
                read_url(&text)
                    .map_err(|message| self.problem_at(key, message))
                    .ok()?,
            );
        }
        Some(all)
    }

    /// A path.
    pub fn path_of(&self, key: &str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            if text.is_empty() {
                Err("expected a path".to_owned())
            } else {
                Ok(text.into())
            }
        })
    }

    /// A whole number within a range; also as a text, so that the environment can give it.
    pub fn integer(&self, key: &str, allowed: RangeInclusive<i64>) -> Option<i64> {
        self.note(key, Shape::Integer(*allowed.start(), *allowed.end()));
        let (item, _) = self.ask(key)?;
        let value = match item.as_value() {
            Some(Value::Integer(value)) => Some(*value.value()),
            Some(Value::String(text)) => self.expand(key, text.value())?.parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| allowed.contains(value));
        if value.is_none() {
            let (from, to) = (allowed.start(), allowed.end());
            let most = if *to == i64::MAX {
                "or more".to_owned()
            } else {
                format!("to {to}")
            };
            self.problem_at(key, format!("expected a whole number, {from} {most}"));
        }
        value
    }

    /// A number within a range.
    pub fn number(&self, key: &str, allowed: RangeInclusive<f64>) -> Option<f64> {
        self.note(key, Shape::Number(*allowed.start(), *allowed.end()));
        let (item, _) = self.ask(key)?;
        let value = match item.as_value() {
            Some(Value::Float(value)) => Some(*value.value()),
            #[allow(clippy::cast_precision_loss, reason = "ranges are small")]
            Some(Value::Integer(value)) => Some(*value.value() as f64),
            Some(Value::String(text)) => self.expand(key, text.value())?.parse().ok(),
            _ => None,
        };
        let value = value.filter(|value| allowed.contains(value));
        if value.is_none() {
            let (from, to) = (allowed.start(), allowed.end());
            self.problem_at(key, format!("expected a number from {from} to {to}"));
        }
        value
    }

    /// true or false.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.note(key, Shape::Boolean);
        let (item, _) = self.ask(key)?;
        let value = match item.as_value() {
            Some(Value::Boolean(value)) => Some(*value.value()),
            Some(Value::String(text)) => self.expand(key, text.value())?.parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.problem_at(key, "expected true or false");
        }
        value
    }

    /// A secret: from the file that `<key>_file` names, or from the environment through `<key>`.
    /// A secret written into the configuration itself is refused.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.note(key, Shape::Text);
        let file_key = format!("{key}_file");
        let direct = self.ask(key).map(|(item, _)| item);
        let file = self.path_of(&file_key);
        if let (Some(item), None) = (direct, &file) {
            let text = item.as_str().unwrap_or_default();
            if !text.contains("${") {
                self.problem_at(
                    key,
                    format!("a secret does not belong here: use `{file_key}` or \"${{NAME}}\""),
                );
                return None;
            }
            return self.string(key).map(Secret::new);
        }
        let file = file?;
        if direct.is_some() {
            self.problem_at(key, format!("either `{key}` or `{file_key}`, not both"));
            return None;
        }
        match (self.source.read)(&file) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.problem_at(
                    &file_key,
                    format!("cannot read {}: {error}", file.display()),
                );
                None
            }
        }
    }

    /// Whether `<key>` or `<key>_file` is written, right or wrong.
    pub fn has_secret(&self, key: &str) -> bool {
        self.item(key).is_some() || self.item(&format!("{key}_file")).is_some()
    }

    /// A text, number or boolean, as text, whose name is the user's.
    pub fn scalar(&self, key: &str) -> Option<String> {
        self.note(ANY, Shape::Scalar);
        let (item, _) = self.ask(key)?;
        match item.as_value() {
            Some(Value::Integer(value)) => Some(value.value().to_string()),
            Some(Value::Float(value)) => Some(value.value().to_string()),
            Some(Value::Boolean(value)) => Some(value.value().to_string()),
            Some(Value::String(text)) => self.expand(key, text.value()),
            Some(Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_)) | None => {
                self.problem_at(key, "expected a text, a number or a boolean");
                None
            }
        }
    }

    /// Reports that `key` must be written, unless it is (then what is wrong with it is said).
    pub fn require(&self, key: &str) {
        if self.item(key).is_none() {
            self.problem(format!("`{key}` is missing"));
        }
    }

    /// Reports every key that was never asked for.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        for key in self.keys() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let at = self
                .table
                .and_then(|t| t.key(&key))
                .and_then(toml_edit::Key::span);
            let hint = closest(&key, &known).map_or_else(
                || {
                    let mut all = known.clone();
                    all.sort_unstable();
                    format!("known here: {}", all.join(", "))
                },
                |meant| format!("did you mean `{meant}`?"),
            );
            self.source
                .problem(at, &self.join(&key), format!("unknown key; {hint}"));
        }
    }
}

/// The known word that was probably meant.
pub fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

fn read_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|e| format!("expected an address such as \"http://host:8086\": {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected an address that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a secret does not belong here: use the keys for user and password".to_owned());
    }
    Ok(url)
}

fn kind(item: &Item) -> &'static str {
    match item.as_value() {
        Some(Value::String(_)) => "a text",
        Some(Value::Integer(_)) => "a whole number",
        Some(Value::Float(_)) => "a number",
        Some(Value::Boolean(_)) => "true or false",
        Some(Value::Datetime(_)) => "a date",
        Some(Value::Array(_)) => "a list",
        Some(Value::InlineTable(_)) | None => "a table",
    }
}

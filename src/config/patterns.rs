//! Which names are wanted: globs, or regular expressions between slashes.
//!
//! A glob's `*` also matches `/`: names from Kafka are not paths. Its `?` is one byte of UTF-8. A
//! regular expression matches anywhere unless it is anchored.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::RegexSet;

/// What is wanted and what is denied; a name must match the first and not the second.
#[derive(Clone)]
pub struct Patterns {
    include: Set,
    exclude: Set,
}

/// Patterns of which one must match.
#[derive(Clone)]
struct Set {
    texts: Vec<String>,
    globs: GlobSet,
    regexes: RegexSet,
}

impl Patterns {
    /// Everything is wanted.
    pub fn all() -> Self {
        Self {
            include: Set::everything(),
            exclude: Set::nothing(),
        }
    }

    /// Names that match one of `include` and none of `exclude`.
    ///
    /// # Errors
    /// The pattern that cannot be read, and why.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self {
            include: Set::new(include)?,
            exclude: Set::new(exclude)?,
        })
    }

    /// Whether `name` is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.include.matches(name) && !self.exclude.matches(name)
    }

    /// Whether every name is wanted.
    pub fn wants_all(&self) -> bool {
        self.include.texts.iter().any(|text| text == "*") && self.exclude.texts.is_empty()
    }
}

impl Set {
    fn nothing() -> Self {
        Self {
            texts: Vec::new(),
            globs: GlobSet::empty(),
            regexes: RegexSet::empty(),
        }
    }

    fn everything() -> Self {
        Self {
            texts: vec!["*".to_owned()],
            ..Self::nothing()
        }
    }

    fn new(patterns: &[String]) -> Result<Self, PatternError> {
        let mut globs = GlobSetBuilder::new();
        let mut regexes = Vec::new();
        for pattern in patterns {
            let wrong = |why: String| PatternError {
                pattern: pattern.clone(),
                why,
            };
            if let Some(regex) = pattern.strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
                regex::Regex::new(regex).map_err(|e| wrong(last_line(&e)))?;
                regexes.push(regex);
                continue;
            }
            let glob = GlobBuilder::new(pattern)
                .literal_separator(false)
                .backslash_escape(true)
                .build();
            globs.add(glob.map_err(|e| wrong(e.kind().to_string()))?);
        }
        let together = |why: String| PatternError {
            pattern: patterns.join(", "),
            why,
        };
        Ok(Self {
            texts: patterns.to_vec(),
            globs: globs.build().map_err(|e| together(e.to_string()))?,
            regexes: RegexSet::new(regexes).map_err(|e| together(last_line(&e)))?,
        })
    }

    fn matches(&self, name: &str) -> bool {
        self.texts.iter().any(|text| text == "*")
            || self.globs.is_match(name)
            || self.regexes.is_match(name)
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::all()
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.include.texts == other.include.texts && self.exclude.texts == other.exclude.texts
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "include {:?} exclude {:?}",
            self.include.texts, self.exclude.texts
        )
    }
}

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` cannot be read: {why}")]
pub struct PatternError {
    pub pattern: String,
    pub why: String,
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or(&text);
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_by_glob_and_regex() {
        for (include, exclude, name, wanted, why) in [
            ("*", "", "anything", true, "a star is everything"),
            ("*", "", "a/b\nc", true, "also slashes and newlines"),
            (
                "*",
                "console-consumer-*",
                "console-consumer-123",
                false,
                "denied",
            ),
            (
                "*",
                "console-consumer-*",
                "my-console-consumer-1",
                true,
                "a glob is anchored",
            ),
            ("grüße*", "", "grüße-1", true, "not only ASCII"),
            ("/^pay/", "", "payments", true, "a regular expression"),
            ("/pay$/", "", "payments", false, "anchored at the end"),
            ("/ay/", "", "payments", true, "not anchored by itself"),
            ("{a,b}*", "", "b-1", true, "alternatives"),
            ("a", "", "b", false, "not included"),
        ] {
            let list = |text: &str| -> Vec<String> {
                if text.is_empty() {
                    Vec::new()
                } else {
                    vec![text.to_owned()]
                }
            };
            let patterns = Patterns::new(&list(include), &list(exclude)).unwrap();
            assert_eq!(
                patterns.wants(name),
                wanted,
                "{include} {exclude} {name}: {why}"
            );
        }
        assert!(Patterns::all().wants(""));
    }

    #[test]
    fn names_the_pattern_that_cannot_be_read() {
        for bad in ["[a", "/(/", "{a"] {
            let error = Patterns::new(&[bad.to_owned()], &[]).unwrap_err();
            assert_eq!(error.pattern, bad);
            assert!(
                !error.why.is_empty() && !error.why.contains('\n'),
                "{error}"
            );
        }
    }
}

//! What must stay true of the sources: who may name whom, how long things are, where the time is
//! asked.
//!
//! The rules are those of `src/lib.rs`. They are checked on the text of the sources, without
//! comments and without tests: enough to catch what is written by accident, not a proof against
//! somebody who hides a path in a macro.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 600;
/// About 70.
const FUNCTION_LINES_MAX: usize = 75;
/// A test may be a long table.
const TEST_LINES_MAX: usize = 150;

/// `(folder or file under src, what it may name of this crate)`. A name allows what lies below it.
const MAY_NAME: &[(&str, &[&str])] = &[
    // The core is pure.
    ("clock", &[]),
    ("lag", &["clock", "lag"]),
    // The readers turn bytes into events, and know nothing of rules, points or sinks.
    (
        "kafka",
        &["clock", "config", "kafka", "lag::event", "lag::ids"],
    ),
    // The journal and the points are made of evaluations, wherever these come from.
    (
        "points",
        &["clock", "config", "lag", "points", "store::frame"],
    ),
    ("store", &["clock", "config", "lag", "points", "store"]),
    // A sink is given points: it knows neither Kafka nor how an evaluation comes about.
    (
        "sinks",
        &[
            "clock",
            "config",
            "lag::evaluation",
            "lag::ids",
            "lag::optional",
            "lag::reason",
            "points",
            "sinks",
            "store",
        ],
    ),
];

/// `(crate, who may name it)`: libraries that stay behind one wall.
const BEHIND_A_WALL: &[(&str, &[&str])] = &[
    ("rdkafka", &["kafka", "demo"]),
    ("rdkafka_sys", &["kafka", "demo"]),
    ("rusqlite", &["store"]),
    ("axum", &["server"]),
    ("clap", &["cli", "main"]),
    ("influxdb2", &["sinks"]),
    ("elasticsearch", &["sinks"]),
];

/// What the core may name besides this crate.
const CORE_LIBRARIES: &[&str] = &["rustc_hash"];

/// A Kafka reader, and a sink that is one and not any.
const READERS: &[&str] = &["kafka::offsets", "kafka::log_offsets"];
const CONCRETE_SINKS: &[&str] = &[
    "sinks::influxdb",
    "sinks::elasticsearch",
    "sinks::jsonl",
    "sinks::prometheus",
];

/// Where a call that clippy.toml forbids may be allowed: the clock asks the time, the wiring
/// spawns.
const MAY_ALLOW_FORBIDDEN_CALLS: &[&str] = &["clock", "app"];

/// The agreed entries at the top of the repository.
const TOP: &[&str] = &[
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docker-compose.yml",
    "grafana",
    "rustfmt.toml",
    "schemas",
    "src",
    "tests",
    "web",
];

#[test]
fn modules_name_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in sources() {
        let rule = MAY_NAME.iter().find(|(folder, _)| *folder == source.folder);
        let Some((_, allowed)) = rule else { continue };
        for path in source.crate_paths() {
            if !allowed.iter().any(|allowed| is_below(&path, allowed)) {
                wrong.push(format!("{} names crate::{path}", source.name));
            }
        }
    }
    assert_none(
        &wrong,
        "a module names what it must not know; see src/lib.rs",
    );
}

#[test]
fn the_core_uses_the_standard_library_alone() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.folder == "lag") {
        for library in source.libraries() {
            if !CORE_LIBRARIES.contains(&library.as_str()) {
                wrong.push(format!("{} names {library}", source.name));
            }
        }
    }
    assert_none(&wrong, "the core is pure");
}

#[test]
fn libraries_stay_behind_their_wall() {
    let mut wrong = Vec::new();
    for source in sources() {
        for library in source.libraries() {
            let wall = BEHIND_A_WALL.iter().find(|(name, _)| *name == library);
            if wall.is_some_and(|(_, inside)| !inside.contains(&source.folder.as_str())) {
                wrong.push(format!("{} names {library}", source.name));
            }
        }
    }
    assert_none(&wrong, "a library is used outside its one place");
}

#[test]
fn only_the_wiring_names_a_reader_and_a_sink() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| s.folder != "app") {
        let paths = source.crate_paths();
        let names = |places: &[&str]| {
            paths
                .iter()
                .any(|path| places.iter().any(|place| is_below(path, place)))
        };
        if names(READERS) && names(CONCRETE_SINKS) {
            wrong.push(source.name.clone());
        }
    }
    assert_none(
        &wrong,
        "only app.rs names a Kafka reader and a concrete sink",
    );
}

#[test]
fn only_the_clock_asks_the_time() {
    // Clippy finds the calls themselves, whatever they are imported as.
    let forbidden = fs::read_to_string(root().join("clippy.toml")).unwrap();
    for call in [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "std::thread::sleep",
        "jiff::Timestamp::now",
        "jiff::Zoned::now",
        "tokio::spawn",
    ] {
        assert!(forbidden.contains(call), "clippy.toml forbids {call}");
    }
    let mut wrong = Vec::new();
    for source in sources() {
        let may = MAY_ALLOW_FORBIDDEN_CALLS.contains(&source.folder.as_str());
        if !may && source.text.contains("clippy::disallowed_methods") {
            wrong.push(source.name);
        }
    }
    assert_none(
        &wrong,
        "only the clock and the wiring allow a forbidden call",
    );
}

#[test]
fn files_are_short() {
    let long = rust_files(&["src", "tests", "benches"])
        .into_iter()
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, file)| format!("{}: {lines} lines", name_of(&file)));
    let long: Vec<String> = long.collect();
    assert_none(&long, "a file is at most 600 lines");
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for file in rust_files(&["src", "tests", "benches"]) {
        let text = fs::read_to_string(&file).unwrap();
        for function in functions(&text) {
            let max = match function.is_test {
                true => TEST_LINES_MAX,
                false => FUNCTION_LINES_MAX,
            };
            if function.lines > max {
                let Function { line, lines, .. } = function;
                long.push(format!("{}:{line}: {lines} lines", name_of(&file)));
            }
        }
    }
    assert_none(
        &long,
        "a function has about 70 lines in its braces at most, a test 150",
    );
}

#[test]
fn nothing_else_lies_at_the_top() {
    let output = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files works");
    let files = String::from_utf8(output.stdout).unwrap();
    let top: BTreeSet<&str> = files.lines().filter_map(|f| f.split('/').next()).collect();
    let more: Vec<&str> = top.into_iter().filter(|e| !TOP.contains(e)).collect();
    assert!(more.is_empty(), "not agreed at the top: {more:?}");
}

#[test]
fn the_measures_see_what_they_should() {
    let source = Source {
        name: "src/sinks/http/mod.rs".to_owned(),
        folder: "sinks".to_owned(),
        modules: vec!["sinks".to_owned(), "http".to_owned()],
        text: strip(
            "use crate::{clock::Clock, lag::{ids::Name, event}}; // crate::no\n\
             /// [`crate::no`]\n\
             use super::super::kafka::client;\nuse super::stub;\n\
             let x: rdkafka::Offset = my::rusqlite::x();\n\
             #[cfg(test)]\nmod tests {\n    use crate::no;\n}\n",
        ),
    };
    let paths: Vec<String> = source.crate_paths().into_iter().collect();
    let expected = [
        "clock::Clock",
        "kafka::client",
        "lag::event",
        "lag::ids::Name",
        "sinks::stub",
    ];
    assert_eq!(paths, expected);
    assert_eq!(Vec::from_iter(source.libraries()), ["rdkafka"]);

    let text = "fn none() {}\ntrait T {\n    fn none(\n        a: u8,\n    );\n}\n\
                #[test]\npub(crate) async fn three()\nwhere\n    u8: Copy,\n{\n    a();\n}\n";
    let found: Vec<_> = functions(text)
        .iter()
        .map(|f| (f.line, f.lines, f.is_test))
        .collect();
    assert_eq!(found, [(1, 0, false), (8, 4, true)]);
    assert_eq!(
        test_modules("a", "#[cfg(test)]\npub(crate) mod b;\nmod c;\n"),
        ["a::b"]
    );
}

/// A file of the program, without comments and tests.
struct Source {
    name: String,
    /// The first module of its path: `lag`, `kafka`, `main`...
    folder: String,
    /// The module that it is.
    modules: Vec<String>,
    text: String,
}

impl Source {
    /// What it names of this crate, through `crate::` or enough `super::`, without `crate::`.
    fn crate_paths(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for at in starts_of("crate::", &self.text) {
            expand("", &self.text[at + "crate::".len()..], &mut found);
        }
        for at in starts_of("super::", &self.text) {
            let mut rest = &self.text[at..];
            let mut modules = self.modules.as_slice();
            while let Some(after) = rest.strip_prefix("super::") {
                rest = after;
                modules = modules.split_last().map_or(&[], |(_, above)| above);
            }
            expand(&modules.join("::"), rest, &mut found);
        }
        found
    }

    /// The dependencies of Cargo.toml that it names.
    fn libraries(&self) -> BTreeSet<String> {
        dependencies()
            .into_iter()
            .filter(|library| !starts_of(&format!("{library}::"), &self.text).is_empty())
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut for_tests = Vec::new();
    for file in rust_files(&["src"]) {
        let name = name_of(&file);
        let path = name.trim_start_matches("src/").trim_end_matches(".rs");
        let mut modules: Vec<String> = path.split('/').map(str::to_owned).collect();
        if modules
            .last()
            .is_some_and(|last| last == "mod" || last == "lib")
        {
            modules.pop();
        }
        let text = fs::read_to_string(&file).unwrap();
        for_tests.extend(test_modules(&modules.join("::"), &text));
        sources.push(Source {
            folder: modules.first().cloned().unwrap_or_default(),
            modules,
            text: strip(&text),
            name,
        });
    }
    sources.retain(|s| !for_tests.iter().any(|t| is_below(&s.modules.join("::"), t)));
    sources
}

/// The modules in files of their own that `module` has for its tests only.
fn test_modules(module: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter(|two| two[0] == "#[cfg(test)]")
        .filter_map(|two| two[1].split_once("mod ")?.1.strip_suffix(';'))
        .map(|name| {
            format!("{module}::{name}")
                .trim_start_matches(':')
                .to_owned()
        })
        .collect()
}

/// Drops comments and inline modules under `#[cfg(test)]`, which stand at the end of a file by
/// convention.
fn strip(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            break;
        }
        let code = line.split(" // ").next().unwrap_or_default();
        if !code.trim_start().starts_with("//") {
            kept.push_str(code);
            kept.push('\n');
        }
    }
    kept
}

/// Where `path` begins as a path of its own, not as the middle of a longer one.
fn starts_of(path: &str, text: &str) -> Vec<usize> {
    text.match_indices(path)
        .map(|(at, _)| at)
        .filter(|&at| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .collect()
}

/// Reads a path or a tree of a `use` at the beginning of `text`, and returns what follows it.
fn expand<'a>(before: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let mut text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        text = inner.trim_start();
        while !text.is_empty() && !text.starts_with('}') {
            text = expand(before, text, found);
            // `as Name` and the comma.
            let end = text.find([',', '}', '{']).unwrap_or(text.len());
            text = text[end..].trim_start_matches(',').trim_start();
        }
        return text.strip_prefix('}').unwrap_or(text);
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let path = match (before, &text[..end]) {
        (before, "" | "self") => before.to_owned(),
        ("", name) => name.to_owned(),
        (before, name) => format!("{before}::{name}"),
    };
    if let Some(rest) = text[end..].strip_prefix("::") {
        return expand(&path, rest, found);
    }
    if !path.is_empty() {
        found.insert(path);
    }
    &text[end..]
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

struct Function {
    /// Of its `fn`, counted from 1.
    line: usize,
    /// From the line after that to the one before the closing brace.
    lines: usize,
    is_test: bool,
}

/// The functions that have a body. Relies on rustfmt: the closing brace stands below the beginning
/// of the line with `fn`, and nothing else at that place ends in a brace.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| begins_function(line))
    {
        let indent = indent(line);
        let end = (at..lines.len()).find(|&i| {
            let line = lines[i];
            self::indent(line) == indent && (line.ends_with(';') || line.ends_with('}'))
        });
        let Some(end) = end.filter(|&end| lines[end].ends_with('}')) else {
            continue;
        };
        let attributes = lines[..at].iter().rev();
        let is_test = attributes
            .map(|line| line.trim_start())
            .take_while(|line| line.starts_with("#["))
            .any(|line| line.starts_with("#[test") || line.starts_with("#[tokio::test"));
        functions.push(Function {
            line: at + 1,
            lines: (end - at).saturating_sub(1),
            is_test,
        });
    }
    functions
}

fn begins_function(line: &str) -> bool {
    let Some((before, _)) = line.split_once("fn ") else {
        return false;
    };
    before.split_whitespace().all(|word| {
        matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub")
    })
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty(), "there are sources in {folders:?}");
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn name_of(file: &Path) -> String {
    let name = file.strip_prefix(root()).unwrap();
    name.to_str().unwrap().to_owned()
}

fn assert_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

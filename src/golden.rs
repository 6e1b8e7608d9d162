//! Files that tests compare byte for byte.

use std::path::Path;

/// Compares `actual` with the file at `path` (from the project's root).
///
/// With `UPDATE_GOLDEN=1` in the environment the file is written instead.
///
/// # Panics
/// When they differ, with the first line that does, or when the file cannot be read or written.
pub(crate) fn check(path: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        let folder = file.parent().unwrap_or(&file);
        std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{path}: {error}"));
        return std::fs::write(&file, actual).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let expected = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{path}: {error}; UPDATE_GOLDEN=1 writes it"));
    if expected == actual {
        return;
    }
    let differs = expected
        .lines()
        .zip(actual.lines())
        .position(|(expected, actual)| expected != actual)
        .unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
    panic!(
        "{path} differs from line {}:\n  file: {}\n  now:  {}\nUPDATE_GOLDEN=1 rewrites it",
        differs + 1,
        expected.lines().nth(differs).unwrap_or("(end)"),
        actual.lines().nth(differs).unwrap_or("(end)"),
    );
}

/// Compares `actual` with the part of the file at `path` between the comments `<!-- NAME: ... -->`
/// and `<!-- end -->`.
///
/// # Panics
/// As [`check`], and when the file has no such part.
pub(crate) fn check_part(path: &str, name: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    let begin = text.find(&format!("<!-- {name}:"));
    let begin = begin.and_then(|at| Some(at + text[at..].find("-->\n")? + 4));
    let begin = begin.unwrap_or_else(|| panic!("{path}: no part {name}"));
    let end = text[begin..].find("<!-- end -->").map(|at| begin + at);
    let end = end.unwrap_or_else(|| panic!("{path}: part {name} has no end"));
    check(path, &format!("{}{actual}{}", &text[..begin], &text[end..]));
}

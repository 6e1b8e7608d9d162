use std::fs;

use super::*;
use crate::golden;
use crate::points::{Detail, sample};

fn sink(path: &Path) -> Jsonl {
    Jsonl::new(JsonlSettings {
        path: path.to_owned(),
    })
}

fn batch() -> Batch {
    Batch::of(&sample::sinks(1), Detail::Group)
}

#[test]
fn the_lines_of_the_sample_are_these() {
    let mut lines = encode(&Batch::of(&sample::small(1), Detail::Partition));
    lines.extend(encode(&Batch::of(&sample::sinks(2), Detail::Partition)));
    golden::check(
        "tests/golden/points.jsonl",
        std::str::from_utf8(&lines).unwrap(),
    );
}

#[tokio::test]
async fn appends_goes_on_in_a_rotated_file_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.jsonl");
    let sink = sink(&path);
    sink.prepare().await.unwrap();
    sink.write(&batch()).await.unwrap();
    let moved = folder.path().join("points.jsonl.1");
    fs::rename(&path, &moved).unwrap();
    sink.write(&batch()).await.unwrap();
    fs::remove_file(&path).unwrap();
    sink.write(&batch()).await.unwrap();
    sink.write(&batch()).await.unwrap();
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&moved), lines(&path)), (1, 2));
}

#[tokio::test]
async fn ends_a_line_that_a_kill_cut_in_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.jsonl");
    for (before, expected) in [
        ("{\"a\":1}\n{\"b", "{\"a\":1}\n{\"b\n"),
        ("{\"a\":1}\n", "{\"a\":1}\n"),
        ("", ""),
    ] {
        fs::write(&path, before).unwrap();
        sink(&path).prepare().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }
}

#[tokio::test]
async fn says_what_to_fix_when_it_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        folder.path().to_owned(),
        folder.path().join("absent/points.jsonl"),
    ] {
        let error = sink(&path).write(&batch()).await.unwrap_err();
        let WriteError::Misconfigured { reason } = error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with(path.to_str().unwrap()), "{reason}");
        let error = sink(&path).check().await.unwrap_err();
        assert!(error.0.starts_with(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_passes() {
    let sink = sink(Path::new("/dev/full"));
    let error = sink.write(&batch()).await.unwrap_err();
    assert!(matches!(error, WriteError::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn checking_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.jsonl");
    let report = sink(&path).check().await.unwrap();
    assert_eq!(report.lines, [format!("{} will be made", path.display())]);
    assert!(!path.exists());
}

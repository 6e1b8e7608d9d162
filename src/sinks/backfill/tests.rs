//! The file beside the store.

use std::path::Path;

use super::state::{Filled, Kept, KeptError, Range, Run};
use super::*;
use crate::clock::Timestamp;
use crate::store::PastHole;
use crate::store::frame::Seq;

fn hole(first: i64, before: i64) -> PastHole {
    PastHole {
        first: Seq(first),
        last: Seq(first + 9),
        after: None,
        before: Timestamp::from_secs(before),
        rows: 10,
        why: "expired".to_owned(),
    }
}

#[tokio::test]
async fn what_is_saved_is_found_again_by_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("lagline.db");
    let (kept, mut contents) = Kept::open(&store, "a/b.c").unwrap();
    assert_eq!(contents, Contents::default());
    let range = Range::between(Timestamp::from_secs(1), Timestamp::from_secs(9));
    contents.run = Some(Run::new(
        "x".to_owned(),
        vec![range, Range::of(&hole(1, 100))],
        true,
    ));
    kept.save(&contents).await.unwrap();
    let second = Kept::open(&store, "a/b.c").unwrap_err();
    assert!(matches!(second, KeptError::Locked));
    assert!(Kept::open(&store, "another").is_ok());
    drop(kept);
    let (_kept, found) = Kept::open(&store, "a/b.c").unwrap();
    assert_eq!(found, contents);
}

#[test]
fn a_damaged_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("lagline.db");
    drop(Kept::open(&store, "s").unwrap());
    let path = directory.path().join("lagline.db.backfill/s.json");
    std::fs::write(&path, "{").unwrap();
    let error = Kept::open(&store, "s").unwrap_err().to_string();
    assert!(error.contains("s.json is damaged"), "{error}");
    assert!(filled(&store, "s").is_err());
    assert_eq!(filled(Path::new("/nowhere/lagline.db"), "s").unwrap(), []);
}

/// What ending the range of a hole does, with so many points offered and refused.
#[track_caller]
fn check(points: u64, rejected: u64, expected: (usize, u64, u64)) {
    let mut range = Range::of(&hole(1, 100));
    (range.points, range.rejected) = (points, rejected);
    let mut course = Course::new(Run::new("holes".to_owned(), vec![range], true));
    let mut contents = Contents::default();
    course.end_range(0, &mut contents, Timestamp::from_secs(7));
    let filled = contents.filled.len();
    assert_eq!((filled, course.empty, course.refused), expected);
    assert!(
        contents
            .filled
            .iter()
            .all(|it: &Filled| it.is_of(&hole(1, 100)))
    );
    // One of another file, or that has become larger, is another one.
    assert!(!contents.filled.iter().any(|it| it.is_of(&hole(1, 101))));
}

#[test]
fn a_hole_is_filled_when_all_that_history_has_of_it_was_taken() {
    check(5, 0, (1, 0, 0));
    check(0, 0, (0, 1, 0));
    check(5, 1, (0, 0, 1));
}

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::points::{Detail, sample};
use crate::sinks::{Accepted, BoxFuture, CheckError, CheckReport, Sink, WriteError};

fn letters(count: usize) -> Vec<Letter> {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let all = batch.iter().map(|point| Letter {
        reason: "field \"v\" is of another type\nthan before".to_owned(),
        rejected_at: sample::BEAT,
        point: OwnedPoint::of(&point),
    });
    all.collect::<Vec<_>>()
        .into_iter()
        .cycle()
        .take(count)
        .collect()
}

/// A sink that answers what it is told, then accepts; it remembers what it wrote.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<WriteError>>,
    written: Mutex<Vec<OwnedPoint>>,
}

impl Scripted {
    fn answering(answers: impl IntoIterator<Item = WriteError>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }
}

impl Sink for Scripted {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(async move {
            let answer = self.answers.lock().unwrap().pop_front();
            let is_lost = |index: usize| match &answer {
                None => false,
                Some(WriteError::Partial {
                    rejected, retry, ..
                }) => retry.contains(&index) || rejected.iter().any(|(at, _)| *at == index),
                Some(_) => true,
            };
            let mut written = self.written.lock().unwrap();
            for (index, point) in batch.iter().enumerate() {
                if !is_lost(index) {
                    written.push(OwnedPoint::of(&point));
                }
            }
            answer.map_or(Ok(Accepted::default()), Err)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(async { Ok(CheckReport { lines: Vec::new() }) })
    }
}

async fn replayed(folder: &Path, sink: &Scripted) -> Replayed {
    let clock = Clock::manual(sample::BEAT.plus(Duration::from_secs(60)));
    let limit = Duration::from_secs(10);
    replay(folder, "my/sink", sink, limit, &clock, &mut |_| {})
        .await
        .unwrap()
}

fn here(folder: &Path) -> u64 {
    list(folder)
        .unwrap()
        .iter()
        .map(|listing| listing.letters)
        .sum()
}

#[tokio::test]
async fn keeps_letters_and_lists_them_by_sink() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead-letters");
    assert_eq!(list(&path).unwrap(), [], "an absent folder holds nothing");
    let dead = DeadLetters::new(path.clone(), "my/sink", MAX_BYTES);
    assert_eq!(dead.bury(letters(3)).await, 0);
    assert_eq!(dead.bury(letters(2)).await, 0);
    let listed = list(&path).unwrap();
    assert_eq!(listed.len(), 1);
    let listing = &listed[0];
    assert_eq!(
        (listing.sink.as_str(), listing.letters, listing.unreadable),
        ("my/sink", 5, 0)
    );
    assert_eq!(listing.first, Some(sample::BEAT));
    assert_eq!(
        listing.reason.as_deref(),
        Some(letters(1)[0].reason.as_str())
    );
    assert_eq!(discard(&path, "my/sink").unwrap(), listing.bytes);
    assert_eq!(list(&path).unwrap(), []);
}

#[tokio::test]
async fn counts_what_has_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = Vec::new();
    letters(1)[0].write(&mut one);
    let room = one.len() as u64 * 2 + 10;
    let dead = DeadLetters::new(folder.path().to_owned(), "s", room);
    let same = || vec![letters(1)[0].clone(); 3];
    assert_eq!(dead.bury(same()).await, 1, "two fit");
    assert_eq!(dead.bury(same()).await, 3, "none fits any more");
    assert_eq!(here(folder.path()), 2);
    assert_eq!(
        DeadLetters::nowhere("s").bury(same()).await,
        3,
        "without a store"
    );
}

#[tokio::test]
async fn a_line_cut_by_a_kill_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let dead = DeadLetters::new(folder.path().to_owned(), "my/sink", MAX_BYTES);
    dead.bury(letters(1)).await;
    let file = path_of(folder.path(), "my/sink", SUFFIX);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, [whole.as_slice(), &whole[..40]].concat()).unwrap();
    dead.bury(letters(1)).await;
    let listing = &list(folder.path()).unwrap()[0];
    assert_eq!((listing.letters, listing.unreadable), (2, 1));
    let result = replayed(folder.path(), &Scripted::default()).await;
    assert_eq!((result.written, result.unreadable), (2, 1));
}

#[tokio::test]
async fn replays_every_letter_as_the_point_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let dead = DeadLetters::new(folder.path().to_owned(), "my/sink", MAX_BYTES);
    dead.bury(letters(13)).await;
    let sink = Scripted::default();
    let result = replayed(folder.path(), &sink).await;
    assert_eq!(
        result,
        Replayed {
            written: 13,
            ..Replayed::default()
        }
    );
    let expected: Vec<_> = letters(13).into_iter().map(|letter| letter.point).collect();
    assert_eq!(*sink.written.lock().unwrap(), expected);
    assert_eq!(list(folder.path()).unwrap(), [], "nothing is left");
    assert_eq!(
        replayed(folder.path(), &sink).await,
        Replayed::default(),
        "nothing to do"
    );
}

#[tokio::test(start_paused = true)]
async fn a_replay_sorts_out_what_the_server_says() {
    let transient = || WriteError::Transient {
        reason: "503".to_owned(),
        retry_after: None,
    };
    let reason = || "no".to_owned();
    for (answers, written, rejected, stopped) in [
        (vec![transient(), transient()], 8, 0, None),
        (vec![WriteError::TooLarge { reason: reason() }], 8, 0, None),
        (
            vec![
                WriteError::Bisect { reason: reason() },
                WriteError::Rejected { reason: reason() },
            ],
            4,
            4,
            None,
        ),
        (
            vec![WriteError::Partial {
                rejected: vec![(1, reason())],
                retry: vec![0, 5],
                retry_after: None,
            }],
            7,
            1,
            None,
        ),
        ((0..6).map(|_| transient()).collect(), 0, 0, Some("503")),
        (
            vec![WriteError::Misconfigured { reason: reason() }],
            0,
            0,
            Some("no"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dead = DeadLetters::new(folder.path().to_owned(), "my/sink", MAX_BYTES);
        dead.bury(letters(8)).await;
        let sink = Scripted::answering(answers.clone());
        let result = replayed(folder.path(), &sink).await;
        assert_eq!(result.stopped.as_deref(), stopped, "{answers:?}");
        assert_eq!(
            (result.written, result.rejected),
            (written, rejected),
            "{answers:?}"
        );
        assert_eq!(
            sink.written.lock().unwrap().len() as u64,
            written,
            "{answers:?}"
        );
        assert_eq!(
            here(folder.path()),
            8 - written,
            "what is not written is still here"
        );
        assert_eq!(result.written + result.rejected + result.kept, 8);
    }
}

#[tokio::test]
async fn an_interrupted_replay_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let dead = DeadLetters::new(folder.path().to_owned(), "my/sink", MAX_BYTES);
    dead.bury(letters(3)).await;
    let taken = path_of(folder.path(), "my/sink", TAKEN_SUFFIX);
    fs::rename(path_of(folder.path(), "my/sink", SUFFIX), taken).unwrap();
    dead.bury(letters(2)).await;
    assert_eq!(here(folder.path()), 5);
    let result = replayed(folder.path(), &Scripted::default()).await;
    assert_eq!(result.written, 5);
    assert_eq!(list(folder.path()).unwrap(), []);
}

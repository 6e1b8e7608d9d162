//! Going over the past.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::sealing::{SMALL, journaled, seal_until_killed};
use super::world;
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, GroupEvaluation, TopicEvaluation};
use crate::lag::ids::ClusterName;
use crate::store::codec::stored_part;
use crate::store::frame::{Body, Seq};
use crate::store::history::HOUR;
use crate::store::history::replay::{Archive, Losses, Piece, Place, Scope};
use crate::store::tests::{Running, place, until};
use crate::store::{StoreError, StoreSettings};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);
const STEP: Duration = Duration::from_secs(300);
const CLUSTERS: [&str; 2] = ["a", "b"];

/// A store of two clusters with three sealed hours and a part of one that is not, and what is in it.
async fn filled(path: &Path) -> (Running, Vec<Arc<Evaluation>>) {
    let running = Running::open(Some(path), StoreSettings::default());
    let mut random = fastrand::Rng::with_seed(7);
    let mut all = Vec::new();
    for n in 0..42 {
        let beat = START.plus(STEP * n);
        let evaluations = CLUSTERS.map(|cluster| world::evaluation(&mut random, cluster, beat));
        let appended = running.store.append(evaluations.to_vec(), Vec::new(), beat);
        assert!(appended.await.unwrap().skipped.is_empty());
        all.extend(evaluations);
    }
    let end = START.plus(3 * HOUR);
    until("three hours are sealed", || {
        running.store.health().sealed_through == Some(end)
    })
    .await;
    (running, all)
}

fn everything() -> Scope {
    Scope::between(START, START.plus(100 * HOUR))
}

fn pieces(archive: &mut Archive, scope: &Scope, from: Option<Place>) -> (Vec<Piece>, Losses) {
    let mut replay = archive.replay(scope.clone(), from).unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = replay.next_piece().unwrap() {
        pieces.push(piece);
    }
    let progress = replay.progress();
    assert_eq!(progress.done, progress.total);
    (pieces, replay.losses())
}

fn evaluation(piece: &Piece) -> &Evaluation {
    match &piece.frame.body {
        Body::Evaluation { evaluation, .. } => evaluation,
        Body::Sinks(_) => panic!("about a cluster"),
    }
}

/// Groups and topics by cluster, beat and name.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    groups: BTreeMap<(String, Timestamp, String), Arc<GroupEvaluation>>,
    topics: BTreeMap<(String, Timestamp, String), Arc<TopicEvaluation>>,
}

impl Contents {
    /// Of pieces, in which nothing comes twice, unless it may.
    #[track_caller]
    fn of<'e>(evaluations: impl Iterator<Item = &'e Evaluation>, may_repeat: bool) -> Self {
        let mut contents = Self::default();
        for evaluation in evaluations {
            let cluster = evaluation.cluster.as_str().to_owned();
            let key = |name: &str| (cluster.clone(), evaluation.beat, name.to_owned());
            for group in &evaluation.groups {
                let before = contents
                    .groups
                    .insert(key(group.id.as_str()), group.clone());
                assert!(before.is_none() || may_repeat, "{:?} twice", group.id);
            }
            for topic in &evaluation.topics {
                let before = contents
                    .topics
                    .insert(key(topic.topic.as_str()), topic.clone());
                assert!(before.is_none() || may_repeat, "{:?} twice", topic.topic);
            }
        }
        contents
    }

    #[track_caller]
    fn of_pieces(pieces: &[Piece]) -> Self {
        Self::of(pieces.iter().map(evaluation), false)
    }

    /// Of what was appended, as it is stored.
    fn of_appended(all: &[Arc<Evaluation>]) -> Self {
        let stored: Vec<_> = all.iter().map(stored).collect();
        Self::of(stored.iter().map(|evaluation| &**evaluation), false)
    }
}

fn stored(evaluation: &Arc<Evaluation>) -> Arc<Evaluation> {
    let body = Body::Evaluation {
        evaluation: Arc::clone(evaluation),
        changes: Vec::new(),
    };
    match stored_part(&body) {
        Body::Evaluation { evaluation, .. } => evaluation,
        Body::Sinks(_) => panic!("about a cluster"),
    }
}

/// A file of one cluster with three sealed hours in many small blocks, and a part of one that is not
/// sealed; and what is in it.
async fn in_small_blocks(path: &Path) -> Vec<Arc<Evaluation>> {
    let all = journaled(path, 95).await;
    seal_until_killed(path, SMALL, usize::MAX);
    all
}

#[tokio::test]
async fn gives_everything_once_from_a_running_and_from_a_stopped_store() {
    let (_directory, path) = place();
    let (running, all) = filled(&path).await;
    let expected = Contents::of_appended(&all);
    assert!(expected.groups.len() > 300 && expected.topics.len() > 300);
    let (while_running, losses) = pieces(&mut Archive::open(&path).unwrap(), &everything(), None);
    assert_eq!(losses, Losses::default());
    assert_eq!(Contents::of_pieces(&while_running), expected);
    running.close().await;
    let (stopped, _) = pieces(&mut Archive::open(&path).unwrap(), &everything(), None);
    assert_eq!(stopped, while_running);
}

/// The rows of what was in memory at once.
fn rows_of_runs(pieces: &[Piece]) -> BTreeMap<String, u64> {
    let mut runs = BTreeMap::new();
    for piece in pieces {
        let mut place = serde_json::to_value(&piece.place).unwrap();
        if let Some(sealed) = place["at"].get_mut("Sealed") {
            sealed["beats"].take();
            *runs.entry(place.to_string()).or_default() += piece.frame.rows;
        }
    }
    runs
}

#[tokio::test]
async fn gives_everything_once_however_little_fits_into_memory() {
    let (_directory, path) = place();
    let all = in_small_blocks(&path).await;
    let expected = Contents::of_appended(&all);
    let mut counts = Vec::new();
    // Everything at once; some groups at a time; most groups in slices of beats.
    for rows in [1 << 20, 300, 1] {
        let mut archive = Archive::open(&path).unwrap();
        archive.rows = rows;
        let (pieces, losses) = pieces(&mut archive, &everything(), None);
        assert_eq!(losses, Losses::default());
        assert_eq!(Contents::of_pieces(&pieces), expected, "{rows} rows");
        let numbers = pieces.iter().map(|piece| piece.frame.seq);
        assert!(numbers.eq((1..).map(Seq).take(pieces.len())));
        // Each series in the order of its beats.
        let of = |piece: &&Piece| evaluation(piece).group("zürich").is_some();
        let beats = pieces.iter().filter(of).map(|piece| piece.frame.beat);
        assert!(beats.is_sorted());
        counts.push(pieces.len());
        if rows == 300 {
            let most = rows_of_runs(&pieces).into_values().max();
            assert!(most.unwrap() < 600, "{most:?} rows at once");
        }
    }
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
}

#[tokio::test]
async fn goes_on_behind_any_piece() {
    let (_directory, path) = place();
    in_small_blocks(&path).await;
    for rows in [300, 1] {
        let mut archive = Archive::open(&path).unwrap();
        archive.rows = rows;
        let (all, _) = pieces(&mut archive, &everything(), None);
        for (at, piece) in all.iter().enumerate().step_by(all.len() / 5) {
            let written = serde_json::to_string(&piece.place).unwrap();
            let place: Place = serde_json::from_str(&written).unwrap();
            let (rest, _) = pieces(&mut archive, &everything(), Some(place));
            let content = |pieces: &[Piece]| -> Vec<_> {
                let content = |piece: &Piece| (evaluation(piece).clone(), piece.place.clone());
                pieces.iter().map(content).collect()
            };
            assert_eq!(
                content(&rest),
                content(&all[at + 1..]),
                "behind piece {at} of {rows} rows"
            );
        }
    }
}

#[tokio::test]
async fn an_hour_that_was_sealed_meanwhile_comes_again_as_a_whole() {
    let (_directory, path) = place();
    let (running, mut all) = filled(&path).await;
    let mut archive = Archive::open(&path).unwrap();
    let (before, _) = pieces(&mut archive, &everything(), None);
    // In the journal of the first cluster.
    let of = |piece: &&Piece| evaluation(piece).cluster.as_str() == "a";
    let last = before.iter().rfind(of).unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    for n in 42..50 {
        let beat = START.plus(STEP * n);
        let next = world::evaluation(&mut random, "a", beat);
        let appended = running.store.append(vec![next.clone()], Vec::new(), beat);
        appended.await.unwrap();
        all.push(next);
    }
    let end = START.plus(4 * HOUR);
    until("the fourth hour is sealed", || {
        running.store.health().sealed_through == Some(end)
    })
    .await;
    let (after, _) = pieces(&mut archive, &everything(), Some(last.place.clone()));
    assert!(
        after
            .iter()
            .any(|piece| piece.frame.beat == START.plus(3 * HOUR))
    );
    let all_of_it = before
        .iter()
        .take_while(|piece| *piece != last)
        .chain([last]);
    let given = all_of_it.chain(&after).map(evaluation);
    assert_eq!(Contents::of(given, true), Contents::of_appended(&all));
}

#[tokio::test]
async fn gives_no_more_than_is_asked_for() {
    let (_directory, path) = place();
    let (_running, all) = filled(&path).await;
    let mut archive = Archive::open(&path).unwrap();
    archive.rows = 60;
    let mut check = |scope: Scope, wanted: &dyn Fn(&Evaluation) -> Evaluation, what: &str| {
        let (pieces, _) = pieces(&mut archive, &scope, None);
        let expected: Vec<_> = all.iter().map(|it| Arc::new(wanted(it))).collect();
        assert_eq!(
            Contents::of_pieces(&pieces),
            Contents::of_appended(&expected),
            "{what}"
        );
    };
    let empty = |evaluation: &Evaluation| Evaluation {
        groups: Vec::new(),
        topics: Vec::new(),
        ..evaluation.clone()
    };
    let (from, to) = (START.plus(STEP * 5), START.plus(STEP * 38));
    check(
        Scope::between(from, to),
        &|it| {
            if it.beat >= from && it.beat < to {
                it.clone()
            } else {
                empty(it)
            }
        },
        "a range that begins in a block and ends in the journal",
    );
    check(
        Scope {
            cluster: Some(ClusterName::new("b")),
            ..everything()
        },
        &|it| {
            if it.cluster.as_str() == "b" {
                it.clone()
            } else {
                empty(it)
            }
        },
        "a cluster",
    );
    check(
        Scope {
            group: Some("a\0b".to_owned()),
            logs: false,
            ..everything()
        },
        &|it| Evaluation {
            groups: it
                .groups
                .iter()
                .filter(|group| group.id.as_str() == "a\0b")
                .cloned()
                .collect(),
            ..empty(it)
        },
        "a group",
    );
    check(
        Scope {
            groups: false,
            ..everything()
        },
        &|it| Evaluation {
            topics: it.topics.clone(),
            ..empty(it)
        },
        "topics",
    );
    let first_hours = Some((Seq(1), Seq(24)));
    check(
        Scope {
            frames: first_hours,
            ..everything()
        },
        &|it| {
            if it.beat < START.plus(HOUR) {
                it.clone()
            } else {
                empty(it)
            }
        },
        "frames that are sealed",
    );
    check(
        Scope {
            frames: Some((Seq(73), Seq(74))),
            ..everything()
        },
        &|it| {
            if it.beat == START.plus(3 * HOUR) {
                it.clone()
            } else {
                empty(it)
            }
        },
        "frames that are not sealed",
    );
}

#[tokio::test]
async fn what_is_damaged_is_left_out_and_counted() {
    let (_directory, path) = place();
    let all = in_small_blocks(&path).await;
    let expected = Contents::of_appended(&all);
    let file = rusqlite::Connection::open(&path).unwrap();
    // One block of groups, one of topics, a frame.
    let ids = "SELECT min(id) FROM block GROUP BY kind HAVING kind < 3";
    let damage = format!("UPDATE block SET bytes = x'010203' WHERE id IN ({ids})");
    assert_eq!(file.execute(&damage, []).unwrap(), 2);
    let damage = "UPDATE part SET bytes = x'0102' WHERE id = 93 * 4096";
    assert_eq!(file.execute(damage, []).unwrap(), 1);
    drop(file);
    for rows in [1 << 20, 1] {
        let mut archive = Archive::open(&path).unwrap();
        archive.rows = rows;
        let (pieces, losses) = pieces(&mut archive, &everything(), None);
        assert_eq!(
            losses,
            Losses {
                damaged: 3,
                expired: 0
            },
            "{rows} rows"
        );
        let given = Contents::of_pieces(&pieces);
        assert!(given.groups.len() < expected.groups.len());
        assert!(given.topics.len() < expected.topics.len());
        // What is there is whole.
        assert!(
            given
                .groups
                .iter()
                .all(|(key, group)| expected.groups[key] == *group)
        );
        assert!(
            given
                .topics
                .iter()
                .all(|(key, topic)| expected.topics[key] == *topic)
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_refused_in_one_sentence() {
    let (directory, path) = place();
    let why = |path: &Path| Archive::open(path).unwrap_err();
    assert!(matches!(why(&path), StoreError::Unreadable { .. }));
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("CREATE TABLE x (y)").unwrap();
    assert!(matches!(why(&path), StoreError::Foreign { .. }));
    file.execute_batch("PRAGMA application_id = 0x4c41474c; PRAGMA user_version = 2")
        .unwrap();
    assert!(matches!(why(&path), StoreError::Older { found: 2, .. }));
    file.execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(why(&path), StoreError::Newer { found: 99, .. }));
    let text = directory.path().join("text");
    std::fs::write(
        &text,
        "no database at all, but long enough to have a header of one".repeat(9),
    )
    .unwrap();
    assert!(matches!(why(&text), StoreError::Foreign { .. }));
}

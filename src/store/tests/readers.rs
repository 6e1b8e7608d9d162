//! Readers: from the tail, from the file, across holes.

use super::*;
use crate::store::frame::Missing;

fn keep(journal_keep: u64) -> StoreSettings {
    StoreSettings {
        journal_keep: Duration::from_secs(journal_keep),
        ..StoreSettings::default()
    }
}

/// A tail that holds only the newest frame.
fn no_tail() -> StoreSettings {
    StoreSettings {
        tail_bytes: 0,
        ..StoreSettings::default()
    }
}

#[tokio::test]
async fn a_live_reader_gets_the_frames_themselves() {
    for path in [false, true] {
        let (_directory, file) = place();
        let running = Running::open(path.then_some(file.as_path()), StoreSettings::default());
        let mut reader = running.store.reader(running.store.newest());
        assert!(is_at_end(&mut reader).await);
        for seq in 1..=3 {
            let frame = append(&running.store, seq).await.frames.remove(0);
            assert!(Arc::ptr_eq(&next_frame(&mut reader).await, &frame));
        }
        assert!(is_at_end(&mut reader).await);
        drop(reader);
        running.close().await;
    }
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let running = Running::open(None, StoreSettings::default());
    let mut reader = running.store.reader(Seq(0));
    let (frame, _) = tokio::join!(next_frame(&mut reader), append(&running.store, 1));
    assert_eq!(frame.seq, Seq(1));
    drop(reader);
    running.close().await;
}

#[tokio::test]
async fn what_is_read_from_disk_is_what_was_appended() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), no_tail());
    let mut appended = Vec::new();
    for seq in 1..=20 {
        let sinks = vec![sink_row("influx")];
        let beat = sample::beat_of(seq);
        let beat = running
            .store
            .append(vec![evaluation(seq)], sinks, beat)
            .await
            .unwrap();
        appended.extend(beat.frames);
    }
    // Before and after a restart; the tail has the last frame at most.
    let mut reader = running.store.reader(running.store.before_oldest());
    for frame in &appended {
        let read = next_frame(&mut reader).await;
        assert_eq!(stored(&read), stored(frame));
    }
    drop(reader);
    running.close().await;
    let running = Running::open(Some(&path), StoreSettings::default());
    let mut reader = running.store.reader(Seq(0));
    assert_eq!(
        reader.rows_ahead(),
        appended.iter().map(|frame| frame.rows).sum::<u64>()
    );
    assert_eq!(reader.next_beat(), Some(sample::beat_of(1)));
    for frame in &appended {
        assert_eq!(*next_frame(&mut reader).await, stored(frame));
    }
    assert_eq!((reader.rows_ahead(), reader.next_beat()), (0, None));
    drop(reader);
    running.close().await;
}

#[tokio::test]
async fn readers_at_one_place_share_one_decoded_frame() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), no_tail());
    for seq in 1..=5 {
        append(&running.store, seq).await;
    }
    let mut first = running.store.reader(Seq(0));
    let mut second = running.store.reader(Seq(0));
    for _ in 1..=4 {
        let (a, b) = (next_frame(&mut first).await, next_frame(&mut second).await);
        assert!(Arc::ptr_eq(&a, &b));
    }
    drop((first, second));
    running.close().await;
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    for path in [false, true] {
        let (_directory, file) = place();
        let running = Running::open(path.then_some(file.as_path()), keep(60));
        let store = &running.store;
        let mut reader = store.reader(Seq(0));
        let mut rows = Vec::new();
        for seq in 1..=2 {
            rows.push(append(store, seq).await.frames[0].rows);
            next_frame(&mut reader).await;
        }
        store.stage_cursor(
            "slow",
            Cursor {
                seq: Seq(2),
                counts: Counts {
                    offered: rows.iter().sum(),
                    delivered: rows.iter().sum(),
                    ..Counts::default()
                },
            },
        );
        for seq in 3..=20 {
            rows.push(append(store, seq).await.frames[0].rows);
        }
        assert_eq!(store.health().frames, 7, "sixty seconds and the newest");
        let (cursor, mut resumed) = store.resume("slow").unwrap();
        assert_eq!(cursor.seq, Seq(2));
        for reader in [&mut reader, &mut resumed] {
            assert_eq!(reader.rows_ahead(), rows[2..].iter().sum::<u64>());
            let hole = is_hole(next(reader).await);
            assert_eq!((hole.first, hole.last), (Seq(3), Seq(13)));
            assert_eq!(hole.rows, rows[2..13].iter().sum::<u64>());
            assert_eq!(hole.after, Some(sample::beat_of(2)));
            assert_eq!(hole.before, sample::beat_of(14));
            assert_eq!(hole.why, Missing::Expired);
            for seq in 14..=20 {
                assert_eq!(next_frame(reader).await.seq, Seq(seq));
            }
        }
        let standing = store.standing("slow").unwrap();
        assert_eq!(standing.waiting, rows[2..].iter().sum::<u64>());
        assert_eq!(standing.oldest, Some(sample::beat_of(14)));
        // One that begins at the oldest frame missed nothing.
        let mut fresh = store.reader(store.before_oldest());
        assert_eq!(next_frame(&mut fresh).await.seq, Seq(14));
        drop((reader, resumed, fresh));
        running.close().await;
    }
}

/// A sink that settles a frame after it fell off the journal, then restarts.
#[tokio::test]
async fn a_hole_is_counted_right_when_the_cursor_itself_fell_off() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), keep(60));
    let store = &running.store;
    let mut rows = Vec::new();
    let stage = |store: &Store, seq: i64, rows: &[u64]| {
        let offered = rows[..usize::try_from(seq).unwrap()].iter().sum();
        let counts = Counts {
            offered,
            delivered: offered,
            ..Counts::default()
        };
        store.stage_cursor(
            "slow",
            Cursor {
                seq: Seq(seq),
                counts,
            },
        );
    };
    rows.push(append(store, 1).await.frames[0].rows);
    stage(store, 1, &rows);
    for seq in 2..=20 {
        rows.push(append(store, seq).await.frames[0].rows);
    }
    stage(store, 5, &rows);
    running.close().await;
    let running = Running::open(Some(&path), keep(60));
    let (_, mut reader) = running.store.resume("slow").unwrap();
    let hole = is_hole(next(&mut reader).await);
    assert_eq!((hole.first, hole.last), (Seq(6), Seq(13)));
    assert_eq!(hole.rows, rows[5..13].iter().sum::<u64>());
    // What the sink has missed is known from now on.
    assert_eq!(running.store.holes("slow"), []);
    running.store.stage_hole("slow", &hole);
    let holes = running.store.holes("slow");
    let seen = (holes[0].first, holes[0].rows, holes[0].before);
    assert_eq!(seen, (Seq(6), hole.rows, sample::beat_of(14)));
    drop(reader);
    running.close().await;
    let running = Running::open(Some(&path), keep(60));
    assert_eq!(running.store.holes("slow"), holes, "also after a start");
    running.close().await;
}

#[tokio::test]
async fn corrupt_frames_are_skipped_and_counted_once() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    let mut rows = Vec::new();
    for seq in 1..=4 {
        rows.push(append(&running.store, seq).await.frames[0].rows);
    }
    running.close().await;
    let file = rusqlite::Connection::open(&path).unwrap();
    let changed = file
        .execute(
            "UPDATE part SET bytes = zeroblob(40) WHERE id = 2 * 4096 + 1",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    file.execute("DELETE FROM part WHERE id = 3 * 4096", [])
        .unwrap();
    drop(file);
    let running = Running::open(Some(&path), StoreSettings::default());
    for _ in 0..2 {
        let mut reader = running.store.reader(Seq(0));
        assert_eq!(next_frame(&mut reader).await.seq, Seq(1));
        for seq in [2, 3] {
            let hole = is_hole(next(&mut reader).await);
            assert_eq!((hole.first, hole.last), (Seq(seq), Seq(seq)));
            assert_eq!(hole.rows, rows[usize::try_from(seq).unwrap() - 1]);
            assert!(matches!(hole.why, Missing::Corrupt(why) if !why.is_empty()));
        }
        assert_eq!(next_frame(&mut reader).await.seq, Seq(4));
        assert_eq!(reader.rows_ahead(), 0);
    }
    let health = running.store.health();
    assert_eq!(health.corrupt_frames, 2);
    assert!(
        health
            .last_corrupt
            .unwrap()
            .starts_with("frame 3: piece 0: ")
    );
    running.close().await;
}

#[tokio::test]
async fn memory_alone_keeps_what_its_limit_allows() {
    let settings = StoreSettings {
        tail_bytes: 20_000,
        ..StoreSettings::default()
    };
    let running = Running::open(None, settings);
    for seq in 1..=100 {
        append(&running.store, seq).await;
    }
    let health = running.store.health();
    assert!(health.tail_bytes <= 20_000, "{health:?}");
    assert!((2..100).contains(&health.frames), "{health:?}");
    assert_eq!((health.durable, health.lost_frames), (false, 0));
    assert!(health.reason.unwrap().starts_with("no [store] path"));
    let mut reader = running.store.reader(running.store.before_oldest());
    let mut read = 0;
    while reader.rows_ahead() > 0 {
        next_frame(&mut reader).await;
        read += 1;
    }
    assert_eq!(read, health.frames);
    drop(reader);
    running.close().await;
}

/// However often a cursor moves while somebody looks: what is settled and what waits are together
/// what was appended, and the oldest that waits is the one behind the cursor.
#[tokio::test]
async fn what_is_settled_and_what_waits_are_of_one_moment() {
    const LOOKS: usize = 100_000;
    let running = Running::open(None, StoreSettings::default());
    let store = &running.store;
    let mut cursors = vec![Cursor::default()];
    for seq in 1..=3 {
        let rows = append(store, seq).await.frames[0].rows;
        let mut cursor = cursors[cursors.len() - 1].clone();
        cursor.seq = Seq(seq);
        cursor.counts.offered += rows;
        cursor.counts.delivered += rows;
        cursors.push(cursor);
    }
    let all = cursors[3].counts.offered;
    store.stage_cursor("sink", Cursor::default());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for cursor in &cursors {
                    store.stage_cursor("sink", cursor.clone());
                }
            }
        });
        let wrong = (0..LOOKS).find_map(|_| {
            let standing = store.standing("sink")?;
            let counts = standing.row("sink", sample::beat_of(3)).counts;
            let behind = (standing.waiting > 0).then(|| standing.cursor.seq.0 + 1);
            let is_one_moment = counts.offered == all
                && counts.waiting() == standing.waiting
                && standing.oldest == behind.map(sample::beat_of);
            (!is_one_moment).then_some(standing)
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        moving.join().unwrap();
        assert_eq!(wrong, None);
    });
    running.close().await;
}

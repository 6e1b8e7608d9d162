//! Opening: what is refused, and in which words; what a restart finds.

use super::super::schema::VERSION;
use super::*;

#[track_caller]
fn refusal(path: &Path) -> String {
    match Running::try_open(Some(path), StoreSettings::default()) {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let (directory, _) = place();
    let path = directory.path().join("nowhere/lagline.db");
    let said = refusal(&path);
    assert!(
        said.starts_with(&format!("cannot write {}: ", path.display())),
        "{said}"
    );
    assert!(
        said.ends_with("or name another file in [store] path"),
        "{said}"
    );
    // A file where a directory should be.
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(refusal(&file.join("lagline.db")).starts_with("cannot write"));
    // A directory where the file should be.
    assert!(refusal(directory.path()).contains("[store] path"));
}

#[test]
fn a_file_in_use_is_refused_and_free_again_afterwards() {
    let (_directory, path) = place();
    let first = Running::open(Some(&path), StoreSettings::default());
    let said = refusal(&path);
    assert!(said.contains("is used by another lagline"), "{said}");
    first.drop_all();
    Running::open(Some(&path), StoreSettings::default()).drop_all();
}

#[test]
fn a_newer_file_is_refused_and_not_touched() {
    let (_directory, path) = place();
    Running::open(Some(&path), StoreSettings::default()).drop_all();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let before = std::fs::read(&path).unwrap();
    let said = refusal(&path);
    let expected = format!("(file version 99, this one knows up to {VERSION}): upgrade lagline");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn other_peoples_files_are_refused() {
    let (directory, path) = place();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(file);
    assert!(refusal(&path).contains("is not a file of lagline"));
    let text = directory.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database, but long enough to be looked at. ".repeat(40),
    )
    .unwrap();
    assert!(refusal(&text).contains("is not a file of lagline"));
}

#[test]
fn the_file_is_set_up_for_durability_and_for_shrinking() {
    let (_directory, path) = place();
    Running::open(Some(&path), StoreSettings::default()).drop_all();
    let file = rusqlite::Connection::open(&path).unwrap();
    let pragma = |name: &str| -> String {
        file.query_row(
            &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
            [],
            |row| row.get(0),
        )
        .unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("auto_vacuum"), "2", "incremental");
    assert_eq!(pragma("user_version"), VERSION.to_string());
    drop(file);
    let writer = super::super::schema::open(&path).unwrap();
    let synchronous: i64 = writer
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .unwrap();
    assert_eq!(synchronous, 2, "full");
}

#[tokio::test]
async fn a_restart_goes_on_with_numbers_beats_statuses_and_cursors() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    for seq in 1..=3 {
        append(&running.store, seq).await;
    }
    let statuses = running.store.last_statuses(&ClusterName::new("prod"));
    let cursor = Cursor {
        seq: Seq(2),
        counts: Counts {
            offered: 20,
            delivered: 20,
            ..Counts::default()
        },
    };
    running.store.stage_cursor("influx", cursor.clone());
    running.close().await;

    let running = Running::open(Some(&path), StoreSettings::default());
    let store = &running.store;
    assert_eq!(store.newest(), Seq(3));
    assert_eq!(store.cursor("influx"), Some(cursor));
    assert_eq!(store.cursor("elastic"), None);
    assert_eq!(store.last_statuses(&ClusterName::new("prod")), statuses);
    assert!(!statuses.is_empty());
    assert!(statuses.iter().all(|(_, _, at)| *at == sample::beat_of(3)));
    // The last beat again: not newer.
    assert_eq!(append(store, 3).await.skipped, [ClusterName::new("prod")]);
    let appended = append(store, 4).await;
    assert_eq!(appended.frames[0].seq, Seq(4));
    let Body::Evaluation { changes, .. } = &appended.frames[0].body else {
        panic!("an evaluation");
    };
    assert_eq!(changes, &[], "the same statuses as before the restart");
    running.close().await;
}

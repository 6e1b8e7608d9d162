//! How much each layer of the store takes, and what was taken out of it.
//!
//! Tables that are too large to be added up have their rows and bytes noted in the file, in the
//! transactions that write and delete. Bytes are those of the rows with what SQLite adds to them,
//! about: pages that are half empty are not seen.

use rusqlite::{Connection, params};

use super::journal::unsql;

/// A table whose size is noted with every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Names,
    Changes,
    Rollup5m,
    Rollup1h,
}

impl Table {
    const ALL: [Table; 4] = [
        Table::Names,
        Table::Changes,
        Table::Rollup5m,
        Table::Rollup1h,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Names => "name",
            Table::Changes => "status_change",
            Table::Rollup5m => "rollup_5m",
            Table::Rollup1h => "rollup_1h",
        }
    }

    /// Bytes of a row and its entries in indexes, without its text, as measured.
    fn row_bytes(self) -> u64 {
        match self {
            Table::Names => 32,
            Table::Changes => 72,
            Table::Rollup5m | Table::Rollup1h => 68,
        }
    }

    /// How often a text of the row stands in the file.
    fn texts(self) -> u64 {
        match self {
            Table::Names => 2,
            Table::Changes | Table::Rollup5m | Table::Rollup1h => 1,
        }
    }
}

/// Notes that a table has more rows and bytes of text, or fewer. Within the caller's transaction.
pub(super) fn note(
    connection: &Connection,
    table: Table,
    rows: i64,
    text: i64,
) -> Result<(), rusqlite::Error> {
    if rows == 0 && text == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE layer SET rows = max(0, rows + ?2), text = max(0, text + ?3) WHERE name = ?1",
        )?
        .execute(params![table.name(), rows, text])?;
    Ok(())
}

/// A count or a length as SQL has it.
pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Bytes of each layer, about.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LayerBytes {
    pub journal: u64,
    pub blocks: u64,
    pub rollup_5m: u64,
    pub rollup_1h: u64,
    pub changes: u64,
    pub names: u64,
    pub snapshots: u64,
}

impl LayerBytes {
    /// Each layer's name with its bytes.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("journal", self.journal),
            ("blocks", self.blocks),
            ("rollup_5m", self.rollup_5m),
            ("rollup_1h", self.rollup_1h),
            ("changes", self.changes),
            ("names", self.names),
            ("snapshots", self.snapshots),
        ]
    }

    /// Reads what the file says of all layers but the journal; gives the number of names, too.
    pub(super) fn read(&mut self, connection: &Connection) -> Result<u64, rusqlite::Error> {
        let mut names = 0;
        for table in Table::ALL {
            let (rows, text) = connection
                .prepare_cached("SELECT rows, text FROM layer WHERE name = ?1")?
                .query_row([table.name()], |row| {
                    Ok((unsql(row.get(0)?), unsql(row.get(1)?)))
                })?;
            let bytes = rows * table.row_bytes() + text * table.texts();
            match table {
                Table::Names => (self.names, names) = (bytes, rows),
                Table::Changes => self.changes = bytes,
                Table::Rollup5m => self.rollup_5m = bytes,
                Table::Rollup1h => self.rollup_1h = bytes,
            }
        }
        let sum = |sql| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([], |row| row.get(0)).map(unsql)
        };
        self.blocks = sum("SELECT coalesce(sum(bytes), 0) FROM seal")?;
        self.snapshots = sum("SELECT coalesce(sum(length(bytes)), 0) FROM snapshot")?;
        Ok(names)
    }
}

/// What was taken out of a layer since the start, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Gone {
    /// It was older than is kept.
    pub age: u64,
    /// `max_size` had no room for it.
    pub max_size: u64,
}

impl Gone {
    pub(super) fn add(&mut self, other: Gone) {
        self.age += other.age;
        self.max_size += other.max_size;
    }
}

/// What was taken out of all layers since the start: frames, blocks, and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AllGone {
    pub journal: Gone,
    pub blocks: Gone,
    pub rollup_5m: Gone,
    pub rollup_1h: Gone,
    pub changes: Gone,
    /// Those that nothing refers to any more.
    pub names: Gone,
}

impl AllGone {
    /// Each layer's name with what was taken out of it.
    pub fn named(&self) -> [(&'static str, Gone); 6] {
        [
            ("journal", self.journal),
            ("blocks", self.blocks),
            ("rollup_5m", self.rollup_5m),
            ("rollup_1h", self.rollup_1h),
            ("changes", self.changes),
            ("names", self.names),
        ]
    }

    pub(super) fn add(&mut self, other: &AllGone) {
        self.journal.add(other.journal);
        self.blocks.add(other.blocks);
        self.rollup_5m.add(other.rollup_5m);
        self.rollup_1h.add(other.rollup_1h);
        self.changes.add(other.changes);
        self.names.add(other.names);
    }
}

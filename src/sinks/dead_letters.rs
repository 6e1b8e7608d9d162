//! What a server refused for good: one file of JSON lines per sink, beside the store.
//!
//! A letter holds the point as it was and the reason, so that somebody can look at it, mend the
//! server and have it written again ([`replay`]), or throw it away. The folder is bounded: when a
//! sink's letters reach their size, new ones are counted and not kept. The oldest are the ones that
//! show how the trouble began.
//!
//! The server and the command line work on the same folder at the same time. Whoever adds or takes
//! away holds the folder's lock, and opens files only under it.
//!
//! After a kill the last points before it may be refused a second time, and be here twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::clock::Timestamp;
use crate::points::{Batch, OwnedPoint, read_json, write_json};

mod replay;
mod tally;
#[cfg(test)]
mod tests;

pub use replay::{Replayed, replay};
pub use tally::{Tallies, Tally};

/// How many bytes of letters are kept for each sink unless somebody says otherwise.
pub const MAX_BYTES: u64 = 64 << 20;

const SUFFIX: &str = ".ndjson";
/// Letters that are being replayed.
const TAKEN_SUFFIX: &str = ".replay.ndjson";
/// Reasons come from servers: what is kept of them is bounded.
const REASON_BYTES: usize = 1_000;
/// What may not stand in a file's name as it is.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b'/')
    .add(b'\\')
    .add(b'%')
    .add(b'.')
    .add(b':')
    .add(b'*');

/// A refused point.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Why, in the server's words.
    pub reason: String,
    pub rejected_at: Timestamp,
    pub point: OwnedPoint,
}

impl Letter {
    /// Appends the letter as one line.
    fn write(&self, out: &mut Vec<u8>) {
        let mut batch = Batch::new();
        batch.push_owned(Arc::new(self.point.clone()));
        out.extend_from_slice(b"{\"reason\":");
        crate::points::write_text(out, cut(&self.reason, REASON_BYTES));
        out.extend_from_slice(b",\"rejected_ms\":");
        out.extend_from_slice(
            itoa::Buffer::new()
                .format(self.rejected_at.as_ms())
                .as_bytes(),
        );
        out.push(b',');
        batch.iter().for_each(|point| write_json(out, &point));
        out.extend_from_slice(b"}\n");
    }

    /// The letter of a line.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn read(line: &str) -> Result<Letter, String> {
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let rejected = object
            .get("rejected_ms")
            .and_then(serde_json::Value::as_i64);
        Ok(Letter {
            reason: object
                .get("reason")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            rejected_at: Timestamp::from_ms(rejected.unwrap_or_default()),
            point: read_json(&object).map_err(|error| error.to_string())?,
        })
    }
}

/// The beginning of a text, at most `bytes` long, not cut within a character.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// Where one sink's letters go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// Absent when there is no store: letters are then only counted.
    folder: Option<PathBuf>,
    sink: String,
    max_bytes: u64,
}

impl DeadLetters {
    /// Letters of `sink` in `folder`, which is made when the first one comes; at most `max_bytes`.
    pub fn new(folder: PathBuf, sink: &str, max_bytes: u64) -> Self {
        Self {
            folder: Some(folder),
            sink: sink.to_owned(),
            max_bytes,
        }
    }

    /// Letters that are counted and not kept.
    pub fn nowhere(sink: &str) -> Self {
        Self {
            folder: None,
            sink: sink.to_owned(),
            max_bytes: 0,
        }
    }

    /// Keeps letters; they are on disk when this returns. Says how many could not be kept.
    pub async fn bury(&self, letters: Vec<Letter>) -> u64 {
        let all = letters.len() as u64;
        let Some(folder) = self.folder.clone() else {
            return all;
        };
        let (sink, max_bytes) = (self.sink.clone(), self.max_bytes);
        let work = move || append(&folder, &sink, &letters, max_bytes);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(kept)) => all - kept,
            Ok(Err(error)) => {
                tracing::error!(sink = %self.sink, %error, "dead letters cannot be written");
                all
            }
            Err(_) => all,
        }
    }
}

/// Adds letters up to the bound; says how many.
fn append(folder: &Path, sink: &str, letters: &[Letter], max_bytes: u64) -> io::Result<u64> {
    fs::create_dir_all(folder)?;
    let _lock = lock(folder)?;
    let used: u64 = [SUFFIX, TAKEN_SUFFIX]
        .iter()
        .filter_map(|suffix| fs::metadata(path_of(folder, sink, suffix)).ok())
        .map(|file| file.len())
        .sum();
    let room = usize::try_from(max_bytes.saturating_sub(used)).unwrap_or(usize::MAX);
    let (mut text, mut kept) = (Vec::new(), 0);
    for letter in letters {
        let before = text.len();
        letter.write(&mut text);
        if text.len() > room {
            text.truncate(before);
            break;
        }
        kept += 1;
    }
    if kept > 0 {
        let mut file = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .open(path_of(folder, sink, SUFFIX))?;
        if ends_within_a_line(&mut file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(&text)?;
        file.sync_data()?;
    }
    Ok(kept)
}

/// Whether a file's last line was not finished: the process was killed while writing it.
pub(super) fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn lock(folder: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(".lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Where the letters beside the store at `store` are.
pub fn folder_of(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".dead-letters");
    store.with_file_name(name)
}

pub(super) fn path_of(folder: &Path, sink: &str, suffix: &str) -> PathBuf {
    folder.join(format!("{}{suffix}", utf8_percent_encode(sink, UNSAFE)))
}

/// One sink's letters.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    pub sink: String,
    pub letters: u64,
    pub bytes: u64,
    /// When the first and the last of them were refused.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// The reason given last.
    pub reason: Option<String>,
    /// Lines that are not letters.
    pub unreadable: u64,
}

/// What is in a folder, by sink. An absent folder holds nothing.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<Listing>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut sinks = std::collections::BTreeMap::<String, Listing>::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let stem = name
            .strip_suffix(TAKEN_SUFFIX)
            .or_else(|| name.strip_suffix(SUFFIX));
        let Some(stem) = stem else { continue };
        let sink = percent_decode_str(stem).decode_utf8_lossy().into_owned();
        let listing = sinks.entry(sink.clone()).or_insert_with(|| Listing {
            sink,
            letters: 0,
            bytes: 0,
            first: None,
            last: None,
            reason: None,
            unreadable: 0,
        });
        listing.bytes += entry.metadata()?.len();
        read_letters(&entry.path(), &mut |letter| {
            let Ok(letter) = letter else {
                listing.unreadable += 1;
                return;
            };
            listing.letters += 1;
            let at = letter.rejected_at;
            listing.first = Some(listing.first.map_or(at, |first| first.min(at)));
            if listing.last.is_none_or(|last| last <= at) {
                listing.last = Some(at);
                listing.reason = Some(letter.reason);
            }
        })?;
    }
    Ok(sinks.into_values().collect())
}

/// Throws a sink's letters away; says how many bytes they had.
///
/// # Errors
/// When a file cannot be removed.
pub fn discard(folder: &Path, sink: &str) -> io::Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    let _lock = lock(folder)?;
    let mut bytes = 0;
    for suffix in [SUFFIX, TAKEN_SUFFIX] {
        let path = path_of(folder, sink, suffix);
        if let Ok(file) = fs::metadata(&path) {
            fs::remove_file(&path)?;
            bytes += file.len();
        }
    }
    Ok(bytes)
}

/// Calls `f` for each line of a file: a letter, or the line that is none.
fn read_letters(path: &Path, f: &mut dyn FnMut(Result<Letter, Vec<u8>>)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let letter = std::str::from_utf8(text)
            .ok()
            .and_then(|text| Letter::read(text).ok());
        if !text.is_empty() {
            f(letter.ok_or_else(|| text.to_vec()));
        }
        line.clear();
    }
    Ok(())
}

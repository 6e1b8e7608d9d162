//! How many letters there are, without reading again what was counted before.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{SUFFIX, TAKEN_SUFFIX, path_of};

/// Letters of one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    pub points: u64,
    pub bytes: u64,
}

/// What was counted of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// Which file it was.
    inode: u64,
    bytes: u64,
    lines: u64,
}

/// Counts letters. Files only grow at their end, or are others.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<HashMap<PathBuf, Counted>>);

impl Tallies {
    /// How many letters of a sink are in a folder; none when there is no folder. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn count(&self, folder: &Path, sink: &str) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for suffix in [SUFFIX, TAKEN_SUFFIX] {
            let counted = self.lines(&path_of(folder, sink, suffix))?;
            tally.points += counted.lines;
            tally.bytes += counted.bytes;
        }
        Ok(tally)
    }

    fn lines(&self, path: &Path) -> io::Result<Counted> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Counted::default()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let known = self.known().get(path).copied();
        let known = known.filter(|it| it.inode == metadata.ino() && it.bytes <= metadata.len());
        let mut counted = known.unwrap_or(Counted {
            inode: metadata.ino(),
            ..Counted::default()
        });
        file.seek(SeekFrom::Start(counted.bytes))?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            let lines = buffer[..read].iter().filter(|byte| **byte == b'\n');
            counted.lines += lines.count() as u64;
            counted.bytes += read as u64;
        }
        self.known().insert(path.to_owned(), counted);
        Ok(counted)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn counts_what_is_there_however_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let tallies = Tallies::default();
        let count = || tallies.count(folder.path(), "influx").unwrap();
        assert_eq!(count(), Tally::default());
        let path = path_of(folder.path(), "influx", SUFFIX);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{}\n{}\n").unwrap();
        let tally = |points, bytes| Tally { points, bytes };
        assert_eq!(count(), tally(2, 6));
        file.write_all(b"{}\n").unwrap();
        assert_eq!(count(), tally(3, 9), "more");
        std::fs::rename(&path, path_of(folder.path(), "influx", TAKEN_SUFFIX)).unwrap();
        assert_eq!(count(), tally(3, 9), "being replayed");
        std::fs::write(&path, b"{}\n").unwrap();
        assert_eq!(count(), tally(4, 12), "and a new one");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(count(), tally(3, 9), "dropped");
    }
}

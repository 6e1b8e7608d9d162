//! The dictionary in memory with the file behind it.

use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use super::codec::{Lookup, Names};
use super::dictionary::Dictionary;
use super::frame::Seq;
use super::journal::{find_name, read_name};
use super::lock;

/// Gives numbers to the names of frame `seq`; unknown ones get new numbers.
pub(super) struct Numbering<'a> {
    pub(super) dictionary: MutexGuard<'a, Dictionary>,
    pub(super) file: Option<&'a Connection>,
    pub(super) seq: Seq,
}

impl Names for Numbering<'_> {
    fn id(&mut self, name: &Arc<str>) -> u32 {
        if let Some(id) = self.dictionary.id(name, self.seq) {
            return id;
        }
        // When the file cannot be asked the name gets a second number. Both stay right; that is
        // why the index on names is not unique.
        let found = self.file.and_then(|file| find_name(file, name).ok()?);
        match found {
            Some(id) => {
                self.dictionary.insert(id, name, self.seq);
                id
            }
            None => self.dictionary.assign(name, self.seq),
        }
    }
}

/// Finds the names of a frame that is decoded. The lock is taken for each name, so that decoding
/// never makes the writer wait.
pub(super) struct Naming<'a> {
    pub(super) dictionary: &'a Mutex<Dictionary>,
    pub(super) file: Option<&'a Connection>,
    /// What went wrong with the file: then the frame is not corrupt, only unreadable now.
    pub(super) error: Option<rusqlite::Error>,
}

impl Lookup for Naming<'_> {
    fn name(&mut self, id: u32) -> Option<Arc<str>> {
        if let Some(name) = lock(self.dictionary).name(id) {
            return Some(name);
        }
        match read_name(self.file?, id) {
            Ok(name) => {
                let name = name?;
                lock(self.dictionary).remember(id, &name);
                Some(name)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

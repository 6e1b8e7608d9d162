//! The thread that reads and decodes for readers that are behind.
//!
//! Frames come from the tail's bytes or from the file, on a connection of its own, in reads that
//! end before decoding begins. Whoever asks for a frame that another reader still holds, or that
//! was decoded just before, gets that one.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use rusqlite::{Connection, ErrorCode};

use super::codec::Decoder;
use super::error::StoreError;
use super::frame::{Frame, Seq};
use super::journal::read_parts;
use super::names::Naming;
use super::schema::open_reader;
use super::{Load, Shared};
use crate::clock::Timestamp;

/// Decoded frames that are found again as long as somebody holds them.
const SHARED: usize = 64;

/// Why a frame cannot be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LoadError {
    /// It is not in the journal any more.
    Gone,
    /// It is there and will never be readable.
    Corrupt(String),
    /// The file cannot be read at the moment.
    Later(String),
}

/// The reading thread.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    queue: Receiver<Load>,
    file: Option<Connection>,
    decoder: Decoder,
    known: VecDeque<(Seq, Weak<Frame>)>,
    /// The last decoded frame, held for the readers that come right behind.
    last: Option<Arc<Frame>>,
}

impl Loader {
    pub(super) fn new(shared: Arc<Shared>, queue: Receiver<Load>) -> Result<Self, StoreError> {
        Ok(Self {
            shared,
            queue,
            file: None,
            decoder: Decoder::new()?,
            known: VecDeque::new(),
            last: None,
        })
    }

    /// Answers until every handle is gone.
    pub fn run(mut self) {
        while let Ok(load) = self.queue.recv() {
            let answer = self.load(load.seq);
            drop(load.permit);
            // Nobody waits any more: the reader was dropped.
            load.reply.send(answer).ok();
        }
    }

    fn load(&mut self, seq: Seq) -> Result<Arc<Frame>, LoadError> {
        if let Some(frame) = self.find(seq) {
            return Ok(frame);
        }
        let (encoded, beat) = {
            let state = self.shared.state();
            if let Some(frame) = state.tail.frame(seq) {
                return Ok(frame);
            }
            let entry = state.index.of(seq).ok_or(LoadError::Gone)?;
            (state.tail.encoded(seq), entry.beat)
        };
        let frame = match encoded {
            Some(encoded) => self.decode(seq, beat, &encoded.parts),
            None => {
                let parts = self.read(seq)?;
                if parts.is_empty() && self.shared.state().index.of(seq).is_none() {
                    return Err(LoadError::Gone);
                }
                self.decode(seq, beat, &parts)
            }
        }?;
        if self.known.len() == SHARED {
            self.known.pop_front();
        }
        self.known.push_back((seq, Arc::downgrade(&frame)));
        self.last = Some(Arc::clone(&frame));
        Ok(frame)
    }

    fn find(&self, seq: Seq) -> Option<Arc<Frame>> {
        let found = self.known.iter().rev().find(|(known, _)| *known == seq)?;
        found.1.upgrade()
    }

    fn read(&mut self, seq: Seq) -> Result<Vec<Box<[u8]>>, LoadError> {
        let Some(path) = &self.shared.path else {
            return Err(LoadError::Gone);
        };
        let later = |error: &rusqlite::Error| LoadError::Later(error.to_string());
        let file = match self.file.take() {
            Some(file) => file,
            None => open_reader(path).map_err(|error| later(&error))?,
        };
        match read_parts(&file, seq) {
            Ok(parts) => {
                self.file = Some(file);
                Ok(parts)
            }
            Err(error) => {
                // The connection is opened anew for the next frame.
                match error.sqlite_error_code() {
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                        Err(LoadError::Corrupt(error.to_string()))
                    }
                    _ => Err(later(&error)),
                }
            }
        }
    }

    fn decode<P: AsRef<[u8]>>(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        parts: &[P],
    ) -> Result<Arc<Frame>, LoadError> {
        let mut names = Naming {
            dictionary: &self.shared.dictionary,
            file: self.file.as_ref(),
            error: None,
        };
        match self.decoder.decode(seq, beat, parts, &mut names) {
            Ok(frame) => Ok(Arc::new(frame)),
            Err(broken) => match names.error {
                Some(error) => Err(LoadError::Later(error.to_string())),
                None => Err(LoadError::Corrupt(broken.to_string())),
            },
        }
    }
}

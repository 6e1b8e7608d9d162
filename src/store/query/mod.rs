//! The thread that answers questions about the past: status changes and series.
//!
//! It reads on a connection of its own, so that no question makes a beat, a sink or another reader
//! wait. Every question has a deadline: a statement that runs longer is interrupted, which also
//! ends its read transaction (an open one makes the write-ahead log grow without end). What is read
//! is limited too, so that no question takes all the memory. At most [`WAITING`] questions wait; one
//! more is told to come back.
//!
//! A series comes from four places: [`series`] decides where from, [`frames`] and [`hours`] read,
//! [`merge`] puts together, [`reduce`] keeps the extremes.

mod changes;
mod frames;
mod hours;
mod merge;
mod reduce;
mod series;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub use self::changes::{ChangePlace, ChangeQuery, PastChange};
pub use self::merge::Layer;
pub use self::reduce::{Sample, reduce};
pub use self::series::{Series, SeriesQuery, Stretch};
pub use self::subject::Subject;
use super::codec::{Decoder, EncodeError};
use super::error::StoreError;
use super::history::read::{History, Limits, ReadError};
use super::{Shared, Store};
use crate::clock::Stopwatch;

/// Questions that may wait.
pub(super) const WAITING: usize = 32;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Beats and rollups that one question may read.
const ROWS: usize = 1_000_000;

/// Blocks of one group's hour that are in memory at once: 100 MB, a group of 1,500 partitions with a
/// beat every ten seconds.
const BLOCKS: usize = 48;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("too many questions about the past are waiting; ask again in a few seconds")]
    Busy,
    #[error("it took longer than {}s; ask for a shorter time or fewer series", LIMIT.as_secs())]
    TimedOut,
    #[error("more than {ROWS} beats would be read; ask for a shorter time")]
    TooMany,
    #[error(
        "the group has too many partitions; ask for lag, time_lag_s or a rate, or for a partition"
    )]
    TooLarge,
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    #[error("lagline is stopping")]
    Closed,
}

/// A question, with the place for its answer inside.
pub(super) struct Question {
    work: Box<dyn FnOnce(&mut Past) + Send>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

/// What a question reads from.
pub(super) struct Past {
    shared: Arc<Shared>,
    /// None: it is not open, or there is no file.
    history: Option<History>,
    decoder: Decoder,
    limits: Limits,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").finish_non_exhaustive()
    }
}

/// The answering thread.
#[derive(Debug)]
pub struct Historian {
    past: Past,
    queue: Receiver<Question>,
}

impl Historian {
    pub(super) fn new(shared: Arc<Shared>, queue: Receiver<Question>) -> Result<Self, StoreError> {
        Ok(Self {
            past: Past::new(shared)?,
            queue,
        })
    }

    /// Answers until every handle is gone.
    pub fn run(mut self) {
        while let Ok(question) = self.queue.recv() {
            self.past.limits.since = Stopwatch::start();
            (question.work)(&mut self.past);
        }
    }
}

impl Past {
    fn new(shared: Arc<Shared>) -> Result<Self, EncodeError> {
        Ok(Self {
            shared,
            history: None,
            decoder: Decoder::new()?,
            limits: Limits {
                since: Stopwatch::start(),
                time: LIMIT,
                blocks: BLOCKS,
            },
        })
    }

    /// An error when the question's time is over.
    fn check_time(&self) -> Result<(), QueryError> {
        match self.limits.is_over() {
            true => Err(QueryError::TimedOut),
            false => Ok(()),
        }
    }

    /// Opens the file when it is not open; nothing without a path.
    fn open(&mut self) -> Result<(), QueryError> {
        if self.history.is_none() {
            let opened = History::open(&self.shared);
            self.history = opened.map_err(|error| QueryError::Unreadable(error.to_string()))?;
        }
        match &mut self.history {
            Some(history) => Ok(history.limit(self.limits)?),
            None => Ok(()),
        }
    }

    fn file(&self) -> Option<&Connection> {
        self.history.as_ref().map(History::connection)
    }

    /// Takes note of an error of the file: the connection is opened anew for the next question.
    fn failed(&mut self, error: QueryError) -> QueryError {
        if matches!(error, QueryError::Unreadable(_)) {
            self.history = None;
        }
        error
    }
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => QueryError::TimedOut,
            _ => QueryError::Unreadable(error.to_string()),
        }
    }
}

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TimedOut => QueryError::TimedOut,
            ReadError::TooLarge => QueryError::TooLarge,
            ReadError::Corrupt(why) | ReadError::Later(why) => QueryError::Unreadable(why),
        }
    }
}

impl Store {
    /// Has the thread answer.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Past) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let permits = Arc::clone(&self.question_permits);
        let permit = permits.try_acquire_owned().map_err(|_| QueryError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let question = Question {
            // Whoever asked may have gone away, and needs no answer.
            work: Box::new(move |past| drop(reply.send(work(past)))),
            _permit: permit,
        };
        self.questions
            .try_send(question)
            .map_err(|_| QueryError::Closed)?;
        answer.await.map_err(|_| QueryError::Closed)?
    }

    /// Status changes, the newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn status_changes(&self, query: ChangeQuery) -> Result<Vec<PastChange>, QueryError> {
        self.ask(move |past| past.changes(&query)).await
    }

    /// Fields of one group, topic or partition over time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn series(&self, query: SeriesQuery) -> Result<Series, QueryError> {
        self.ask(move |past| past.series(&query)).await
    }
}

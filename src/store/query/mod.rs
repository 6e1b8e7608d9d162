//! The thread that answers questions about the past: status changes and series.
//!
//! It reads on a connection of its own, so that no question makes a beat, a sink or another reader
//! wait. Every question has a deadline: a statement that runs longer is interrupted, which also
//! ends its read transaction (an open one makes the write-ahead log grow without end). At most
//! [`WAITING`] questions wait; one more is told to come back.

mod changes;
mod reduce;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub use self::changes::{ChangePlace, ChangeQuery, PastChange};
pub use self::reduce::{Sample, reduce};
pub use self::series::{Series, SeriesQuery, Subject};
use super::codec::{Decoder, EncodeError};
use super::error::StoreError;
use super::schema::open_reader;
use super::{Shared, Store};
use crate::clock::Stopwatch;

/// Questions that may wait.
pub(super) const WAITING: usize = 32;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How often SQLite asks whether it is time to stop: virtual machine steps.
const STEPS: i32 = 4096;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("too many questions about the past are waiting; ask again in a few seconds")]
    Busy,
    #[error("it took longer than {}s; ask for a shorter time or fewer series", LIMIT.as_secs())]
    TimedOut,
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
    file: Option<Connection>,
    decoder: Decoder,
    since: Stopwatch,
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
            self.past.since = Stopwatch::start();
            (question.work)(&mut self.past);
        }
    }
}

impl Past {
    fn new(shared: Arc<Shared>) -> Result<Self, EncodeError> {
        Ok(Self {
            shared,
            file: None,
            decoder: Decoder::new()?,
            since: Stopwatch::start(),
        })
    }

    /// An error when the question's time is over.
    fn check_time(&self) -> Result<(), QueryError> {
        match self.since.elapsed() > LIMIT {
            true => Err(QueryError::TimedOut),
            false => Ok(()),
        }
    }

    /// Opens the file when it is not open; nothing without a path.
    fn open(&mut self) -> Result<(), QueryError> {
        if self.file.is_none()
            && let Some(path) = &self.shared.path
        {
            self.file = Some(open_reader(path).map_err(|error| unreadable(&error))?);
        }
        let since = self.since;
        if let Some(file) = &mut self.file {
            let is_over = move || since.elapsed() > LIMIT;
            file.progress_handler(STEPS, Some(is_over))
                .map_err(|error| unreadable(&error))?;
        }
        Ok(())
    }

    /// Takes note of an error of the file: the connection is opened anew for the next question.
    fn failed(&mut self, error: &rusqlite::Error) -> QueryError {
        if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
            return QueryError::TimedOut;
        }
        self.file = None;
        unreadable(error)
    }
}

fn unreadable(error: &rusqlite::Error) -> QueryError {
    QueryError::Unreadable(error.to_string())
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

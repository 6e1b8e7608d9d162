//! Sending dead letters once more.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Letter, SUFFIX, TAKEN_SUFFIX, append, lock, path_of, read_letters};
use crate::clock::Clock;
use crate::points::Batch;
use crate::sinks::delivery::backoff;
use crate::sinks::{Sink, WriteError};

/// Points in one request.
const POINTS: usize = 1_000;
/// Tries of one request before the replay is given up.
const TRIES: u32 = 6;

/// What a replay did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Written, and out of the dead letters.
    pub written: u64,
    /// Refused again: back in the dead letters with the new reason.
    pub rejected: u64,
    /// Not tried, or not answered: still in the dead letters.
    pub kept: u64,
    /// Lines that are not letters of this version: moved aside.
    pub unreadable: u64,
    /// Why it ended early; absent when every letter was tried.
    pub stopped: Option<String>,
}

/// Sends the letters of `sink` in `folder` through `writer` once more. `progress` is told how many
/// letters are done.
///
/// A kill in the middle loses nothing: the letters taken out stand in a file of their own, which
/// the next replay begins with. What was already written is then written again.
///
/// # Errors
/// When the folder cannot be read or written; the letters are still there.
pub async fn replay(
    folder: &Path,
    sink: &str,
    writer: &dyn Sink,
    limit: Duration,
    clock: &Clock,
    progress: &mut (dyn FnMut(u64) + Send),
) -> io::Result<Replayed> {
    let mut result = Replayed::default();
    if !take(folder, sink)? {
        return Ok(result);
    }
    let letters = taken(folder, sink, &mut result)?;
    let mut run = Run {
        writer,
        limit,
        clock,
        rng: fastrand::Rng::new(),
        result,
        left: Vec::new(),
    };
    run.result.stopped = run.prepare().await.err();
    run.send(letters, progress).await;
    // Put back before the taken file goes: a kill in between leaves doubles, not holes.
    append(folder, sink, &run.left, u64::MAX)?;
    fs::remove_file(path_of(folder, sink, TAKEN_SUFFIX))?;
    Ok(run.result)
}

/// Moves a sink's letters aside, where nobody adds to them; whether there are any. What an
/// interrupted replay left aside comes first.
fn take(folder: &Path, sink: &str) -> io::Result<bool> {
    if !folder.exists() {
        return Ok(false);
    }
    let _lock = lock(folder)?;
    let (letters, taken) = (
        path_of(folder, sink, SUFFIX),
        path_of(folder, sink, TAKEN_SUFFIX),
    );
    let (has_letters, has_taken) = (letters.exists(), taken.exists());
    if has_letters && has_taken {
        let mut file = fs::OpenOptions::new().append(true).open(&taken)?;
        io::copy(&mut fs::File::open(&letters)?, &mut file)?;
        file.sync_data()?;
        fs::remove_file(&letters)?;
    } else if has_letters {
        fs::rename(&letters, &taken)?;
    }
    Ok(has_letters || has_taken)
}

/// The letters taken out, oldest beat first. Lines that are none go to a file beside.
fn taken(folder: &Path, sink: &str, result: &mut Replayed) -> io::Result<VecDeque<Letter>> {
    let (mut letters, mut unreadable) = (Vec::new(), Vec::new());
    read_letters(
        &path_of(folder, sink, TAKEN_SUFFIX),
        &mut |letter| match letter {
            Ok(letter) => letters.push(letter),
            Err(line) => {
                result.unreadable += 1;
                unreadable.extend_from_slice(&line);
                unreadable.push(b'\n');
            }
        },
    )?;
    if !unreadable.is_empty() {
        let aside = path_of(folder, sink, ".unreadable");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(aside)?;
        file.write_all(&unreadable)?;
    }
    letters.sort_by_key(|letter| letter.point.at);
    Ok(letters.into())
}

struct Run<'a> {
    writer: &'a dyn Sink,
    limit: Duration,
    clock: &'a Clock,
    rng: fastrand::Rng,
    result: Replayed,
    /// What goes back into the dead letters.
    left: Vec<Letter>,
}

impl Run<'_> {
    async fn prepare(&mut self) -> Result<(), String> {
        match timeout(self.limit, self.writer.prepare()).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "no answer within {:.1} s",
                self.limit.as_secs_f32()
            )),
        }
    }

    async fn send(
        &mut self,
        mut letters: VecDeque<Letter>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) {
        while self.result.stopped.is_none() && !letters.is_empty() {
            let count = letters.len().min(POINTS);
            let mut parts = vec![letters.drain(..count).collect::<Vec<_>>()];
            while let Some(part) = parts.pop() {
                self.send_part(part, &mut parts).await;
            }
            progress(self.result.written + self.result.rejected);
        }
        self.result.kept += letters.len() as u64;
        self.left.extend(letters);
    }

    /// Sends one part until its fate is known; halves of it go to `parts`.
    async fn send_part(&mut self, mut part: Vec<Letter>, parts: &mut Vec<Vec<Letter>>) {
        for tries in 1..=TRIES {
            if self.result.stopped.is_some() {
                break;
            }
            let mut batch = Batch::new();
            part.iter()
                .for_each(|letter| batch.push_owned(Arc::new(letter.point.clone())));
            let answer = timeout(self.limit, self.writer.write(&batch)).await;
            let (reason, retry_after) = match answer {
                Ok(Ok(_)) => {
                    self.result.written += part.len() as u64;
                    return;
                }
                Ok(Err(WriteError::TooLarge { .. } | WriteError::Bisect { .. }))
                    if part.len() > 1 =>
                {
                    let newer = part.split_off(part.len() / 2);
                    parts.extend([newer, part]);
                    return;
                }
                Ok(Err(
                    WriteError::TooLarge { reason }
                    | WriteError::Bisect { reason }
                    | WriteError::Rejected { reason },
                )) => {
                    self.reject(part, &reason);
                    return;
                }
                Ok(Err(WriteError::Partial {
                    rejected,
                    retry,
                    retry_after,
                })) => {
                    part = self.partial(part, &rejected, &retry);
                    if part.is_empty() {
                        return;
                    }
                    (
                        format!("{} points not accepted yet", part.len()),
                        retry_after,
                    )
                }
                Ok(Err(WriteError::Transient {
                    reason,
                    retry_after,
                })) => (reason, retry_after),
                Ok(Err(WriteError::Misconfigured { reason })) => {
                    self.result.stopped = Some(reason);
                    break;
                }
                Err(_) => (
                    format!("no answer within {:.1} s", self.limit.as_secs_f32()),
                    None,
                ),
            };
            if tries == TRIES {
                self.result.stopped = Some(reason);
            } else {
                sleep(backoff(tries, retry_after, &mut self.rng)).await;
            }
        }
        self.result.kept += part.len() as u64;
        self.left.extend(part);
    }

    fn reject(&mut self, letters: Vec<Letter>, reason: &str) {
        let rejected_at = self.clock.now();
        self.result.rejected += letters.len() as u64;
        let again = |letter| Letter {
            reason: reason.to_owned(),
            rejected_at,
            ..letter
        };
        self.left.extend(letters.into_iter().map(again));
    }

    /// Sorts out what was written and refused; what is to be sent again remains.
    fn partial(
        &mut self,
        part: Vec<Letter>,
        rejected: &[(usize, String)],
        retry: &[usize],
    ) -> Vec<Letter> {
        let mut again = Vec::new();
        for (index, letter) in part.into_iter().enumerate() {
            if let Some((_, reason)) = rejected.iter().find(|(at, _)| *at == index) {
                self.reject(vec![letter], reason);
            } else if retry.contains(&index) {
                again.push(letter);
            } else {
                self.result.written += 1;
            }
        }
        again
    }
}

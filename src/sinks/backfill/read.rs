//! The thread that reads the past, and what it tells about it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::source::Pieces;
use super::state::Run;
use crate::sinks::delivery::Selection;
use crate::store::frame::{Frame, Seq};
use crate::store::history::read::ReadError;
use crate::store::history::replay::{Archive, Losses, Place, Progress, Replay};

/// Pieces that are read ahead.
const AHEAD: usize = 8;

/// How far everything up to a piece is.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    seq: Seq,
    /// Which of the run's ranges; it is over when there is no place.
    pub(super) range: usize,
    pub(super) place: Option<Place>,
    /// Points of the range so far.
    pub(super) points: u64,
    pub(super) progress: Progress,
}

/// How reading ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The number of the last piece.
    pub(super) last: Seq,
    pub(super) losses: Losses,
    pub(super) error: Option<String>,
}

impl Ended {
    /// Reading panicked.
    pub(super) fn broken() -> Self {
        Self {
            error: Some("reading the history failed".to_owned()),
            ..Self::default()
        }
    }
}

/// What the reading thread does, and what is known of it elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Of the pieces that are not settled yet.
    marks: Arc<Mutex<VecDeque<Mark>>>,
    stop: CancellationToken,
}

impl Reader {
    fn marks(&self) -> std::sync::MutexGuard<'_, VecDeque<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The marks of pieces up to a number, each once.
    pub(super) fn settled(&self, through: Seq) -> Vec<Mark> {
        let mut marks = self.marks();
        let count = marks.partition_point(|mark| mark.seq <= through);
        marks.drain(..count).collect()
    }

    /// Has it end soon.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Counts the points of a run that `selection` wants, without sending any.
///
/// # Errors
/// When the file cannot be read.
pub fn count(
    archive: &mut Archive,
    run: &Run,
    selection: &Selection,
    report: &mut dyn FnMut(Progress, u64),
) -> Result<(u64, Losses), ReadError> {
    let (mut all, mut losses) = (0, Losses::default());
    each(archive, run, &mut losses, &mut |_, piece| {
        if let Some((frame, _, progress)) = piece {
            all += points(&frame, selection);
            report(progress, all);
        }
        true
    })?;
    Ok((all, losses))
}

fn points(frame: &Frame, selection: &Selection) -> u64 {
    let mut points = 0;
    selection.each(frame, &mut |_| points += 1);
    points
}

/// The work of the reading thread, what is read, and how it ends. `rate` is in points a second.
pub fn reader(
    mut archive: Archive,
    run: Run,
    selection: Selection,
    rate: Option<u32>,
) -> (
    impl FnOnce() + Send + 'static,
    Pieces,
    Reader,
    oneshot::Receiver<Ended>,
) {
    let (pieces, receiver) = mpsc::channel(AHEAD);
    let (reply, ended) = oneshot::channel();
    let reader = Reader::default();
    let of_thread = reader.clone();
    let work = move || {
        let ended = run_through(&mut archive, &run, &selection, &of_thread, &pieces);
        // Nobody waits for it after a failure.
        reply.send(ended).ok();
    };
    (work, Pieces::new(receiver, rate), reader, ended)
}

fn run_through(
    archive: &mut Archive,
    run: &Run,
    selection: &Selection,
    reader: &Reader,
    pieces: &mpsc::Sender<(Arc<Frame>, u64)>,
) -> Ended {
    let mut ended = Ended::default();
    let mut last = Seq(0);
    let mut progress = Progress::default();
    let mut of_range = run.ranges.get(run.range).map_or(0, |range| range.points);
    let result = each(archive, run, &mut ended.losses, &mut |range, piece| {
        if reader.stop.is_cancelled() {
            return false;
        }
        let mut mark = Mark {
            seq: last,
            range,
            place: None,
            points: of_range,
            progress,
        };
        let Some((frame, place, at)) = piece else {
            of_range = 0;
            reader.marks().push_back(mark);
            return true;
        };
        progress = at;
        let points = points(&frame, selection);
        if points == 0 {
            return true;
        }
        last = Seq(last.0 + 1);
        of_range += points;
        mark.seq = last;
        mark.place = Some(place);
        mark.points = of_range;
        mark.progress = progress;
        reader.marks().push_back(mark);
        let frame = Frame {
            seq: last,
            ..Frame::clone(&frame)
        };
        pieces.blocking_send((Arc::new(frame), points)).is_ok()
    });
    ended.last = last;
    ended.error = result.err().map(|error| error.to_string());
    ended
}

/// A piece, and how far everything up to it is.
type Read = (Arc<Frame>, Place, Progress);

/// Calls `f` with each piece of each range, and with none at the end of a range, until it says no.
fn each(
    archive: &mut Archive,
    run: &Run,
    losses: &mut Losses,
    f: &mut dyn FnMut(usize, Option<Read>) -> bool,
) -> Result<(), ReadError> {
    let ranges = || run.ranges.iter().enumerate().skip(run.range);
    let from = |at: usize| run.place.clone().filter(|_| at == run.range);
    let mut total = 0;
    for (at, range) in ranges() {
        total += archive
            .replay(range.scope(run.logs), from(at))?
            .progress()
            .total;
    }
    let mut done = 0;
    for (at, range) in ranges() {
        let mut replay: Replay<'_> = archive.replay(range.scope(run.logs), from(at))?;
        while let Some(piece) = replay.next_piece()? {
            let progress = Progress {
                done: done + replay.progress().done,
                total,
            };
            if !f(at, Some((piece.frame, piece.place, progress))) {
                return Ok(());
            }
        }
        done += replay.progress().total;
        losses.damaged += replay.losses().damaged;
        losses.expired += replay.losses().expired;
        if !f(at, None) {
            return Ok(());
        }
    }
    Ok(())
}

//! The sorted list of (moment, end offset) behind a [`super::Log`].

use std::time::Duration;

use crate::clock::Timestamp;
use crate::lag::optional::MaybeF32;

/// Where a point comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The fetch of a beat between two polls.
    Fetch = 0,
    /// A regular poll.
    Poll = 1,
    /// Told afterwards.
    Seed = 2,
    /// Told afterwards, in place of a poll.
    SeedPoll = 3,
}

impl Kind {
    fn is_seed(self) -> bool {
        matches!(self, Kind::Seed | Kind::SeedPoll)
    }

    pub(super) fn is_ring(self) -> bool {
        matches!(self, Kind::Poll | Kind::SeedPoll)
    }
}

/// An end offset at a moment, in 16 bytes: the kind takes the moment's two lowest bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    at_and_kind: i64,
    pub(super) end: i64,
}

impl Point {
    pub(super) fn new(at: Timestamp, end: i64, kind: Kind) -> Point {
        let at = at.as_ms().clamp(i64::MIN >> 2, i64::MAX >> 2);
        Point {
            at_and_kind: (at << 2) | i64::from(kind as u8),
            end,
        }
    }

    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_ms(self.at_and_kind >> 2)
    }

    pub(super) fn kind(self) -> Kind {
        match self.at_and_kind & 3 {
            1 => Kind::Poll,
            2 => Kind::Seed,
            3 => Kind::SeedPoll,
            _ => Kind::Fetch,
        }
    }
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}@{:?}={}", self.kind(), self.at(), self.end)
    }
}

/// The newest part of the points, as the rules see it.
pub(super) struct Ring {
    /// Index of its oldest point.
    pub(super) from: usize,
    pub(super) len: usize,
    pub(super) min: i64,
    /// Records a second from its oldest point to the newest one of all.
    pub(super) rate: MaybeF32,
}

/// Sorted by moment; end offsets never decrease.
#[derive(Clone, Debug, Default)]
pub(super) struct Points(Vec<Point>);

impl Points {
    pub(super) fn last(&self) -> Option<Point> {
        self.0.last().copied()
    }

    /// The oldest point that was no seed.
    pub(super) fn first_told(&self) -> Option<Point> {
        self.0.iter().find(|p| !p.kind().is_seed()).copied()
    }

    /// What every method keeps true.
    #[cfg(test)]
    pub(super) fn is_in_order(&self) -> bool {
        self.0
            .windows(2)
            .all(|w| w[0].at() <= w[1].at() && w[0].end <= w[1].end)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Point>()
    }

    /// Appends a point that is not older than the last one.
    pub(super) fn push(&mut self, point: Point) {
        if self.0.len() == self.0.capacity() {
            // Not doubling: most lists stay short, and there are very many of them.
            self.0.reserve_exact(6.max(self.0.len() / 4));
        }
        self.0.push(point);
    }

    /// Moves all moments `by` milliseconds into the past.
    pub(super) fn shift(&mut self, by: i64) {
        for point in &mut self.0 {
            let at = Timestamp::from_ms(point.at().as_ms().saturating_sub(by));
            *point = Point::new(at, point.end, point.kind());
        }
    }

    /// These points, if they can have been such a list.
    pub(super) fn restore(points: Vec<Point>) -> Option<Points> {
        let in_order = points
            .windows(2)
            .all(|w| w[0].at() <= w[1].at() && w[0].end <= w[1].end);
        let is_possible = in_order && points.first().is_none_or(|oldest| oldest.end >= 0);
        is_possible.then_some(Points(points))
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Point> {
        self.0.iter().copied()
    }

    /// The last `intervals` points that count as polls; none before `since`.
    pub(super) fn ring(&self, intervals: usize, since: Timestamp) -> Ring {
        let mut ring = Ring {
            from: self.0.len(),
            len: 0,
            min: i64::MAX,
            rate: MaybeF32::NONE,
        };
        let points = self.0.iter().enumerate().rev();
        for (index, point) in points.take_while(|(_, point)| point.at() >= since) {
            if point.kind().is_ring() {
                ring.from = index;
                ring.min = point.end;
                ring.len += 1;
                if ring.len == intervals {
                    break;
                }
            }
        }
        if let (Some(oldest), Some(newest)) = (self.0.get(ring.from), self.0.last()) {
            let ms = newest.at().ms_since(oldest.at());
            if ms >= 1000 {
                ring.rate = MaybeF32::per_second(newest.end.saturating_sub(oldest.end), ms);
            }
        }
        ring
    }

    /// Removes points in front of `ring_from` (and fetches behind it) until `limit` is kept: always
    /// the one whose neighbours are closest to each other compared with its age. The oldest and the
    /// newest point stay.
    pub(super) fn thin(&mut self, ring_from: usize, limit: usize, now: Timestamp) {
        if self.0.len() <= limit {
            return;
        }
        let mut ring_from = ring_from;
        while self.0.len() > limit {
            let Some(index) = self.least_useful(ring_from, now) else {
                return;
            };
            self.0.remove(index);
            if index < ring_from {
                ring_from -= 1;
            }
        }
        if self.0.capacity() > 2 * limit {
            self.0.shrink_to(limit + 1);
        }
    }

    fn least_useful(&self, ring_from: usize, now: Timestamp) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for index in 1..self.0.len().saturating_sub(1) {
            let (before, point, after) = (self.0[index - 1], self.0[index], self.0[index + 1]);
            if index >= ring_from && point.kind().is_ring() {
                continue;
            }
            let cost = if before.end == after.end {
                // Nothing is lost by leaving it out.
                0.0
            } else {
                as_f64(after.at().ms_since(before.at()))
                    / as_f64(now.ms_since(point.at()).max(1000))
            };
            if best.is_none_or(|(_, least)| cost < least) {
                best = Some((index, cost));
            }
        }
        best.map(|(index, _)| index)
    }

    /// Whether seeds fit each other and, a slack in time aside, everything known.
    pub(super) fn is_plausible(&self, seeds: &[Point], slack: Duration) -> bool {
        let in_order = seeds
            .windows(2)
            .all(|w| w[0].at() <= w[1].at() && w[0].end <= w[1].end);
        in_order
            && seeds.iter().all(|seed| {
                let early = self.0.partition_point(|p| p.at() < seed.at().minus(slack));
                let late = self.0.partition_point(|p| p.at() <= seed.at().plus(slack));
                let low = early.checked_sub(1).map_or(0, |i| self.0[i].end);
                let high = self.0.get(late);
                low <= seed.end && high.is_none_or(|p| seed.end <= p.end)
            })
    }

    /// Puts seeds, sorted and plausible, in their places. A point that was known stays as it is; a
    /// seed is moved between its neighbours' end offsets.
    pub(super) fn merge(&mut self, seeds: Vec<Point>) {
        let known = std::mem::take(&mut self.0);
        self.0.reserve_exact(known.len() + seeds.len());
        let mut seeds = seeds.into_iter().peekable();
        for point in known {
            while let Some(seed) = seeds.next_if(|seed| seed.at() <= point.at()) {
                let says_more = seed.kind().is_ring() && !point.kind().is_ring();
                if seed.at() < point.at() || says_more {
                    self.add_seed(seed, point.end);
                }
            }
            self.0.push(point);
        }
        for seed in seeds {
            self.add_seed(seed, i64::MAX);
        }
        self.0.dedup_by(|later, earlier| {
            later.at() == earlier.at() && later.kind().is_seed() && earlier.kind().is_seed()
        });
    }

    fn add_seed(&mut self, seed: Point, at_most: i64) {
        let at_least = self.0.last().map_or(i64::MIN, |p| p.end);
        let end = seed.end.min(at_most).max(at_least);
        self.0.push(Point::new(seed.at(), end, seed.kind()));
    }

    /// The last point not after `at`, and the first one after it.
    pub(super) fn around(&self, at: Timestamp) -> (Option<Point>, Option<Point>) {
        let split = self.0.partition_point(|p| p.at() <= at);
        let before = split.checked_sub(1).map(|i| self.0[i]);
        (before, self.0.get(split).copied())
    }

    /// The poll in force at `at` (when it was due, and its end offset), and the end offset at the
    /// first point not before `at`.
    pub(super) fn in_force(
        &self,
        at: Timestamp,
        refresh: Duration,
    ) -> (Option<(Timestamp, i64)>, Option<i64>) {
        // A poll due before `at` may have been answered after it.
        let split = self.0.partition_point(|p| p.at() <= at.plus(refresh));
        let due = |p: &Point| match p.kind() {
            Kind::Fetch => None,
            Kind::Poll => Some((super::slot(p.at(), refresh), p.end)),
            Kind::Seed | Kind::SeedPoll => Some((p.at(), p.end)),
        };
        let polls = self.0[..split].iter().rev().filter_map(due);
        let next = self.0.partition_point(|p| p.at() < at);
        (
            polls.into_iter().find(|(slot, _)| *slot <= at),
            self.0.get(next).map(|p| p.end),
        )
    }

    /// Between which points the log passed `offset`. Looked for from the newest point back: most
    /// groups are not far behind.
    pub(super) fn passed(&self, offset: i64) -> super::Passed {
        let mut step = 1;
        let mut to = self.0.len();
        let mut from = to.saturating_sub(step);
        while from > 0 && self.0[from].end > offset {
            step *= 2;
            to = from;
            from = from.saturating_sub(step);
        }
        let split = from + self.0[from..to].partition_point(|p| p.end <= offset);
        let Some(later) = self.0.get(split) else {
            return super::Passed::Unknown;
        };
        match split.checked_sub(1).map(|i| self.0[i]) {
            None => super::Passed::Before(later.at()),
            Some(earlier) => super::Passed::Between {
                earlier: (earlier.at(), earlier.end),
                later: (later.at(), later.end),
                seeded: earlier.kind().is_seed() || later.kind().is_seed(),
            },
        }
    }
}

/// How many moments one question of a dig asks for.
const DIG_MOMENTS: i32 = 8;

/// Moments between `oldest` and `known`, the nearer to `now` the closer together.
pub(super) fn ages(oldest: Timestamp, known: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    let (far, near) = (now.ms_since(oldest), now.ms_since(known).max(1_000));
    if far <= near {
        return Vec::new();
    }
    let step = (as_f64(far) / as_f64(near)).powf(1.0 / f64::from(DIG_MOMENTS));
    (0..DIG_MOMENTS)
        .map(|i| as_f64(far) / step.powi(i))
        .map(|age| at_no_poll(now.as_ms().saturating_sub(as_i64(age))))
        .collect()
}

/// Moments that cut a stretch of time into equal parts.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let width = to.ms_since(from);
    if width <= i64::from(DIG_MOMENTS) {
        return Vec::new();
    }
    let step = width / i64::from(DIG_MOMENTS);
    (1..i64::from(DIG_MOMENTS))
        .map(|i| at_no_poll(from.as_ms().saturating_add(step.saturating_mul(i))))
        .collect()
}

/// A moment that is not taken for one of the polls that were never made: those lie on whole seconds.
fn at_no_poll(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms | 1)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a float is converted saturating, and any moment will do"
)]
fn as_i64(ms: f64) -> i64 {
    ms as i64
}

#[allow(clippy::cast_precision_loss, reason = "only compared, to pick a point")]
fn as_f64(ms: i64) -> f64 {
    ms as f64
}

//! Puts ListOffsets calls to many leaders at once and collects the answers until time runs out.
//!
//! Every leader has its own queue of calls, so that a slow or dead one delays nobody else's answers.
//! Retries nothing: who leads now is for the caller to find out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use tokio_util::sync::CancellationToken;

use super::super::ffi::Code;
use super::super::ffi::admin::{Answer, AskedOffset, Offsets, Questions};
use super::plan::{self, Call, Unit};
use crate::clock::Stopwatch;

/// Calls to one leader at a time. The broker works on one after the other; two keep it busy while an
/// answer travels, the others hide a longer way.
const CALLS_PER_LEADER: usize = 8;
/// The longest wait without looking at the stop signal.
const LOOK_AROUND: Duration = Duration::from_millis(200);

/// When a request must be answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    since: Stopwatch,
    limit: Duration,
}

impl Deadline {
    /// In `limit` from now.
    pub fn within(limit: Duration) -> Self {
        Self {
            since: Stopwatch::start(),
            limit,
        }
    }

    /// Time left; zero when it is over.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// Whether no time is left.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The deadline after one `part`-th of the time that is left.
    pub fn part(&self, part: u32) -> Self {
        Self::within(self.left() / part)
    }
}

/// An offset (-1: no record is that new), an error for this partition, or no answer.
pub type Answered = Option<Result<i64, Code>>;

/// What came back.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// By slot.
    pub answers: Vec<Answered>,
    /// Leaders that were still being waited for at the end.
    pub overdue: BTreeSet<i32>,
    /// Leaders that failed at once: the connection broke.
    pub broken: BTreeSet<i32>,
    /// Topics of which a partition has another leader by now: topics and leaders are to be asked for
    /// before any further question about them.
    pub moved: HashSet<&'a str>,
}

/// Asks everything in `units`, whose answers fill `slots` slots. Of a topic whose leader has moved no
/// more is asked: librdkafka has forgotten its leaders (see [`Questions::list_offsets`]).
///
/// The leaders in `doubted` did not answer last time: once all others have answered, they have a
/// quarter of the time in all, so that a dead broker does not delay every beat.
pub fn ask<'a, C: ClientContext>(
    client: &Client<C>,
    units: &[Unit<'a>],
    slots: usize,
    deadline: &Deadline,
    doubted: &BTreeSet<i32>,
    stop: &CancellationToken,
) -> Outcome<'a> {
    let calls = plan::calls(units, plan::CALL_PARTITIONS);
    let mut asking = Asking {
        questions: Questions::new(client),
        units,
        waiting: calls
            .into_iter()
            .map(|(leader, calls)| (leader, VecDeque::from(calls)))
            .collect(),
        in_flight: BTreeMap::new(),
        busy: HashMap::new(),
        asked: 0,
        outcome: Outcome {
            answers: vec![None; slots],
            ..Outcome::default()
        },
    };
    let patience = deadline.part(4);
    loop {
        // All that is known already, before each question.
        while let Some((tag, answer)) = asking.questions.next(Duration::ZERO) {
            asking.take(tag, &answer);
        }
        if asking.ask_next(deadline) {
            continue;
        }
        let left = if asking.waits_only_for(doubted) {
            patience.left().min(deadline.left())
        } else {
            deadline.left()
        };
        if asking.in_flight.is_empty() || left.is_zero() || stop.is_cancelled() {
            break;
        }
        if let Some((tag, answer)) = asking.questions.next(left.min(LOOK_AROUND)) {
            asking.take(tag, &answer);
        }
    }
    asking.finish()
}

struct Asking<'client, 'a> {
    questions: Questions<'client>,
    units: &'client [Unit<'a>],
    waiting: BTreeMap<i32, VecDeque<Call>>,
    /// By tag.
    in_flight: BTreeMap<usize, Call>,
    /// How many of them each leader has.
    busy: HashMap<i32, usize>,
    asked: usize,
    outcome: Outcome<'a>,
}

impl<'a> Asking<'_, 'a> {
    /// Makes one of the calls that may be made now. False when there is none.
    fn ask_next(&mut self, deadline: &Deadline) -> bool {
        let Some(call) = self.next_call() else {
            return false;
        };
        let asked = call.units.iter().map(|index| {
            let unit = &self.units[*index];
            AskedOffset {
                topic: unit.topic,
                partition: unit.partition,
                at: unit.at[call.round],
            }
        });
        // Not asked: the name cannot be a topic's, and stays without an answer.
        if self
            .questions
            .list_offsets(self.asked, asked, deadline.left())
        {
            *self.busy.entry(call.leader).or_default() += 1;
            self.in_flight.insert(self.asked, call);
            self.asked += 1;
        }
        true
    }

    /// A call of the leader with the fewest in flight, without what has moved.
    fn next_call(&mut self) -> Option<Call> {
        let busy = |leader: &i32| self.busy.get(leader).copied().unwrap_or(0);
        loop {
            let leader = *self.waiting.keys().min_by_key(|leader| busy(leader))?;
            if busy(&leader) >= CALLS_PER_LEADER {
                return None;
            }
            let calls = self.waiting.get_mut(&leader)?;
            let call = calls.pop_front();
            if calls.is_empty() {
                self.waiting.remove(&leader);
            }
            let Some(mut call) = call else { continue };
            let (units, moved) = (self.units, &self.outcome.moved);
            call.units
                .retain(|index| !moved.contains(units[*index].topic));
            if !call.units.is_empty() {
                return Some(call);
            }
        }
    }

    fn waits_only_for(&self, doubted: &BTreeSet<i32>) -> bool {
        let mut in_flight = self.in_flight.values();
        in_flight.all(|call| doubted.contains(&call.leader))
            && self.waiting.keys().all(|leader| doubted.contains(leader))
    }

    fn take(&mut self, tag: usize, answer: &Answer) {
        let Some(call) = self.in_flight.remove(&tag) else {
            return;
        };
        *self.busy.entry(call.leader).or_default() -= 1;
        match answer {
            Answer::Offsets(offsets) => self.take_offsets(&call, offsets),
            // No partition of the call has a leader any more.
            Answer::Failed(code) if code.is_about_leaders() => {
                for index in &call.units {
                    self.answer(&self.units[*index], call.round, Some(Err(*code)));
                }
            }
            Answer::Failed(_) | Answer::Topics(_) | Answer::Cluster(_) => {
                self.give_up(call.leader);
            }
        }
    }

    fn take_offsets(&mut self, call: &Call, offsets: &Offsets) {
        let mut answered = false;
        for (index, offset) in call.units.iter().zip(offsets.iter()) {
            let unit = &self.units[*index];
            if unit.topic == offset.topic && unit.partition == offset.partition {
                answered |= offset.offset.is_some();
                self.answer(unit, call.round, offset.offset);
            }
        }
        if !answered {
            self.give_up(call.leader);
        }
    }

    fn answer(&mut self, unit: &Unit<'a>, round: usize, answer: Answered) {
        self.outcome.answers[unit.slot + round] = answer;
        if matches!(answer, Some(Err(code)) if code.is_about_leaders()) {
            self.outcome.moved.insert(unit.topic);
        }
    }

    /// Asks this leader nothing more: its connection broke.
    fn give_up(&mut self, leader: i32) {
        self.waiting.remove(&leader);
        self.outcome.broken.insert(leader);
    }

    fn finish(mut self) -> Outcome<'a> {
        let late = self.in_flight.values().map(|call| call.leader);
        self.outcome.overdue.extend(late);
        self.outcome.overdue.extend(self.waiting.keys());
        self.outcome
    }
}

//! Burrow's ring, slot by slot, and the window held against it on every short sequence.
//!
//! Written from the steps Burrow takes (`core/internal/storage/inmemory.go` at ced55ba: find the
//! destination, merge into the previous slot, shift, write, move the pointer), not from what they
//! amount to. The model shares nothing with `window.rs` but the commit type.

use std::time::Duration;

use proptest::prelude::*;

use super::{StoredCommit, Window};
use crate::clock::Timestamp;
use crate::lag::event::Applied;
use crate::lag::ids::Order;
use crate::lag::optional::MaybeI64;

/// A ring of slots; `pointer` is the oldest commit when the ring is full, else the blank slot behind
/// the newest commit.
#[derive(Clone)]
struct Ring {
    slots: Vec<Option<StoredCommit>>,
    pointer: usize,
}

/// Where a commit is written. Only `extend`: appended. Only `insert`: that slot is replaced. Both:
/// everything from `insert` on moves one slot forward, until `extend` is overwritten.
#[derive(Clone, Copy)]
struct Destination {
    insert: Option<usize>,
    extend: Option<usize>,
}

impl Ring {
    fn new(intervals: usize) -> Ring {
        Ring {
            slots: vec![None; intervals],
            pointer: 0,
        }
    }

    /// Takes a commit. `true` when it was newer than all, so that its lag counts.
    fn add(&mut self, mut commit: StoredCommit, min_distance_ms: i64) -> bool {
        let Some(mut destination) = self.find(&commit) else {
            return false;
        };
        let is_append = destination.insert.is_none();
        if !is_append {
            commit.lag = MaybeI64::NONE;
        }

        let slot = destination.insert.or(destination.extend).unwrap();
        let before = self.previous(slot);
        if let Some(earlier) = self.slots[before] {
            let distance = commit.timestamp.as_ms() - earlier.timestamp.as_ms();
            if earlier.order < commit.order && distance < min_distance_ms {
                commit.timestamp = earlier.timestamp;
                destination = Destination {
                    insert: Some(before),
                    extend: None,
                };
            }
        }

        if let (Some(insert), Some(extend)) = (destination.insert, destination.extend) {
            let mut to = extend;
            while to != insert {
                let from = self.previous(to);
                self.slots[to] = self.slots[from].take();
                to = from;
            }
        }
        let slot = destination.insert.or(destination.extend).unwrap();
        self.slots[slot] = Some(commit);
        if let Some(extend) = destination.extend {
            self.pointer = (extend + 1) % self.slots.len();
        }
        is_append
    }

    /// What the ring holds, oldest first, as Burrow lists it: from the pointer once around.
    fn commits(&self) -> Vec<StoredCommit> {
        let (newer, older) = self.slots.split_at(self.pointer);
        let all: Vec<Option<StoredCommit>> = older.iter().chain(newer).copied().collect();
        let blank = all.iter().take_while(|slot| slot.is_none()).count();
        let held: Vec<StoredCommit> = all[blank..].iter().flatten().copied().collect();
        assert_eq!(held.len() + blank, self.slots.len(), "no hole in the ring");
        held
    }

    fn find(&self, commit: &StoredCommit) -> Option<Destination> {
        let append = Destination {
            insert: None,
            extend: Some(self.pointer),
        };
        let Some(newest) = self.slots[self.previous(self.pointer)] else {
            return Some(append);
        };
        if self.slots[self.pointer].is_some_and(|oldest| oldest.order >= commit.order) {
            return None;
        }
        if newest.order < commit.order {
            return Some(append);
        }
        let mut to = self.pointer;
        loop {
            let before = self.previous(to);
            let earlier = match self.slots[before] {
                Some(earlier) if before != self.pointer => earlier,
                _ => {
                    return Some(Destination {
                        insert: Some(before),
                        extend: None,
                    });
                }
            };
            if earlier.order < commit.order {
                return Some(Destination {
                    insert: Some(to),
                    extend: Some(self.pointer),
                });
            }
            if earlier.order == commit.order {
                return None;
            }
            to = before;
        }
    }

    fn previous(&self, slot: usize) -> usize {
        (slot + self.slots.len() - 1) % self.slots.len()
    }
}

/// A window beside Burrow's ring, given the same commits.
#[derive(Clone)]
struct Pair {
    window: Window,
    ring: Ring,
    intervals: usize,
    min_distance_ms: u16,
}

impl Pair {
    fn new(intervals: usize, min_distance_ms: u16) -> Pair {
        Pair {
            window: Window::new(),
            ring: Ring::new(intervals),
            intervals,
            min_distance_ms,
        }
    }

    /// Pushes into both; `Err` says how they differ.
    fn push(&mut self, commit: StoredCommit) -> Result<(), String> {
        let before = self.window.len();
        let should_be_newest = self.window.is_newest(commit.order);
        let min_distance = Duration::from_millis(u64::from(self.min_distance_ms));
        let outcome = self.window.push(commit, self.intervals, min_distance);
        let held = self.ring.commits();
        let is_newest = self.ring.add(commit, i64::from(self.min_distance_ms));
        let expected = self.ring.commits();
        let grew = self.window.len() - before;
        let is_as_said = if outcome == Applied::Merged {
            grew == 0 && held != expected
        } else if matches!(outcome, Applied::Duplicate | Applied::TooOld) {
            grew == 0 && held == expected
        } else {
            grew == usize::from(before < self.intervals)
        };
        if self.window.iter().eq(expected.iter().copied())
            && should_be_newest == is_newest
            && is_as_said
            && self.window.first() == expected.first().copied()
            && self.window.last() == expected.last().copied()
        {
            return Ok(());
        }
        Err(format!(
            "{outcome:?} of {commit:?} in {held:?}: {:?} instead of {expected:?}",
            self.window
        ))
    }
}

/// Every sequence of up to `length` commits over `orders` x `times`, each with an offset and a lag of
/// its own, so that every mix-up shows. `far` spreads the offsets.
fn every_sequence(pair: &Pair, length: i64, orders: i64, times_ms: &[i64], far: i64) -> u64 {
    if length == 0 {
        return 1;
    }
    let mut count = 1;
    for order in 0..orders {
        for &ms in times_ms {
            let mut longer = pair.clone();
            longer
                .push(StoredCommit {
                    offset: length * far,
                    timestamp: Timestamp::from_ms(ms),
                    observed_at_s: 7,
                    order: Order {
                        epoch: 0,
                        offset: order,
                    },
                    lag: MaybeI64::some(100 + length),
                })
                .unwrap();
            count += every_sequence(&longer, length - 1, orders, times_ms, far);
        }
    }
    count
}

#[test]
fn every_short_sequence_gives_what_burrows_ring_gives() {
    for intervals in 1..=5 {
        for min_distance_ms in [0, 1, 11] {
            let pair = Pair::new(intervals, min_distance_ms);
            // All patterns of five orders, with times 0, 10 and 20: below, at and above 11.
            every_sequence(&pair, 4, 5, &[0, 10, 20], 1);
            // Deeper, with two times.
            every_sequence(&pair, 6, 4, &[5, 15], 1);
            // The same in full form.
            every_sequence(&pair, 4, 4, &[5, 15], 1 << 40);
        }
    }
}

/// Commits near each other, far apart, and at the edges of the compact form.
pub(super) fn any_commit() -> impl Strategy<Value = StoredCommit> {
    let near_and_far = prop_oneof![
        8 => 0..40_i64,
        2 => 0..(1_i64 << 33),
        1 => any::<i64>().prop_map(|n| n / 4),
    ];
    let lag = prop_oneof![
        4 => (0..1000_i64).prop_map(MaybeI64::some),
        1 => Just(MaybeI64::NONE),
        1 => any::<i64>().prop_map(MaybeI64::some),
        1 => (0..3_i64).prop_map(|n| MaybeI64::some(i64::from(u32::MAX) - n)),
    ];
    (
        near_and_far.clone(),
        near_and_far.clone(),
        near_and_far,
        prop_oneof![9 => Just(0_u32), 1 => 0..3_u32],
        any::<u32>(),
        lag,
    )
        .prop_map(
            |(order, offset, ms, epoch, observed_at_s, lag)| StoredCommit {
                offset,
                timestamp: Timestamp::from_ms(ms),
                observed_at_s,
                order: Order {
                    epoch,
                    offset: order,
                },
                lag,
            },
        )
}

proptest! {
    #[test]
    fn narrow_and_wide_windows_are_burrows_ring(
        commits in prop::collection::vec(any_commit(), 0..40),
        intervals in 1..12_usize,
        min_distance_ms in prop_oneof![Just(0_u16), 0..30_u16],
    ) {
        let mut pair = Pair::new(intervals, min_distance_ms);
        for commit in commits {
            prop_assert_eq!(pair.push(commit), Ok(()));
        }
    }
}

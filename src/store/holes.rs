//! What sinks have missed: frames that were gone, or could not be decoded, when a sink came to them.
//!
//! A hole is noted when the sink meets it and saved with the cursors, so that it is known at the
//! latest when the cursor is behind it. A sink that is killed in between meets it again, perhaps
//! larger: the new one takes the place of what it covers.

use std::collections::BTreeMap;

use super::frame::{Hole, Missing, Seq};
use crate::clock::Timestamp;

/// Holes that are kept apart for one sink; beyond that the oldest two become one, which then also
/// covers what was delivered between them.
const MOST: usize = 256;

/// Frames that a sink has missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastHole {
    pub first: Seq,
    pub last: Seq,
    /// Beat of the frame before the hole, and of the one behind it. The first is absent when the
    /// sink had delivered nothing before.
    pub after: Option<Timestamp>,
    pub before: Timestamp,
    /// Rows of the missing frames.
    pub rows: u64,
    /// "expired", or why they could not be decoded.
    pub why: String,
}

impl PastHole {
    fn of(hole: &Hole) -> Self {
        Self {
            first: hole.first,
            last: hole.last,
            after: hole.after,
            before: hole.before,
            rows: hole.rows,
            why: match &hole.why {
                Missing::Expired => "expired".to_owned(),
                Missing::Corrupt(why) => why.clone(),
            },
        }
    }
}

/// One sink's holes, oldest first.
#[derive(Clone, Debug, Default)]
struct OfSink {
    list: Vec<PastHole>,
    is_dirty: bool,
}

/// The holes of all sinks.
#[derive(Clone, Debug, Default)]
pub(super) struct Holes(BTreeMap<String, OfSink>);

impl Holes {
    /// The holes that are in the file.
    pub(super) fn loaded(holes: BTreeMap<String, Vec<PastHole>>) -> Self {
        let of_sink = |list| OfSink {
            list,
            is_dirty: false,
        };
        let holes = holes.into_iter();
        Self(holes.map(|(sink, list)| (sink, of_sink(list))).collect())
    }

    /// Notes what a sink has missed.
    pub(super) fn note(&mut self, sink: &str, hole: &Hole) {
        let of_sink = self.0.entry(sink.to_owned()).or_default();
        let new = PastHole::of(hole);
        let list = &mut of_sink.list;
        list.retain(|old| old.first < new.first || old.last > new.last);
        list.push(new);
        if list.len() > MOST {
            let second = list.remove(1);
            let first = &mut list[0];
            first.last = second.last;
            first.before = second.before;
            first.rows += second.rows;
        }
        of_sink.is_dirty = true;
    }

    /// A sink's holes, oldest first.
    pub(super) fn of(&self, sink: &str) -> &[PastHole] {
        self.0.get(sink).map_or(&[], |of_sink| &of_sink.list)
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.0.values().any(|of_sink| of_sink.is_dirty)
    }

    /// What is not in the file yet: all holes of the sinks that have a new one.
    pub(super) fn unsaved(&self) -> Vec<(String, Vec<PastHole>)> {
        let dirty = self.0.iter().filter(|(_, of_sink)| of_sink.is_dirty);
        dirty
            .map(|(sink, of_sink)| (sink.clone(), of_sink.list.clone()))
            .collect()
    }

    /// Notes that these are in the file.
    pub(super) fn saved(&mut self, holes: &[(String, Vec<PastHole>)]) {
        for (sink, list) in holes {
            if let Some(of_sink) = self.0.get_mut(sink)
                && of_sink.list == *list
            {
                of_sink.is_dirty = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(first: i64, last: i64) -> Hole {
        Hole {
            first: Seq(first),
            last: Seq(last),
            rows: 10,
            after: Some(Timestamp::from_secs(first - 1)),
            before: Timestamp::from_secs(last + 1),
            why: Missing::Expired,
        }
    }

    fn ranges(holes: &Holes) -> Vec<(i64, i64)> {
        let ranges = holes.of("s").iter();
        ranges.map(|hole| (hole.first.0, hole.last.0)).collect()
    }

    #[test]
    fn a_hole_that_is_met_again_larger_is_one() {
        let mut holes = Holes::default();
        for (first, last, expected, reason) in [
            (5, 9, &[(5, 9)][..], "the first"),
            (20, 29, &[(5, 9), (20, 29)], "a second"),
            (20, 35, &[(5, 9), (20, 35)], "the second again"),
            (15, 40, &[(5, 9), (15, 40)], "and from before it"),
        ] {
            holes.note("s", &hole(first, last));
            assert_eq!(ranges(&holes), expected, "{reason}");
        }
        assert!(holes.of("another").is_empty());
    }

    #[test]
    fn what_changed_while_it_was_written_is_written_again() {
        let mut holes = Holes::default();
        assert!(!holes.is_dirty());
        holes.note("s", &hole(5, 9));
        let written = holes.unsaved();
        holes.note("s", &hole(20, 29));
        holes.saved(&written);
        assert!(holes.is_dirty());
        let written = holes.unsaved();
        assert_eq!(written[0].1.len(), 2);
        holes.saved(&written);
        assert!(!holes.is_dirty());
    }

    #[test]
    fn there_are_never_too_many_and_none_is_forgotten() {
        let mut holes = Holes::default();
        let count = 3 * i64::try_from(MOST).unwrap();
        for number in 0..count {
            holes.note("s", &hole(10 * number + 1, 10 * number + 5));
        }
        let list = holes.of("s");
        assert_eq!(list.len(), MOST);
        assert_eq!(list[0].first, Seq(1));
        assert_eq!(
            list.iter().map(|hole| hole.rows).sum::<u64>(),
            10 * count.unsigned_abs()
        );
        assert!(list.windows(2).all(|pair| pair[0].last < pair[1].first));
    }
}

//! Cuts many partitions into ListOffsets calls: one leader a call, each partition once a call.
//!
//! Pure. One leader a call, because librdkafka answers a call when its slowest leader has; a limit for
//! partitions, because librdkafka's work grows with the square of them.

use std::collections::{BTreeMap, HashMap};

/// Partitions in one call.
///
/// Measured with 50,000 partitions on a mock cluster (`benches/log_offsets.rs`): with 500 in a call the
/// same answers take a third more CPU; with fewer than 250 a far broker takes more round trips.
pub const CALL_PARTITIONS: usize = 250;

/// A partition and everything to ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// Who leads it; absent: nobody can be asked.
    pub leader: Option<i32>,
    /// What to ask, see [`super::super::ffi::admin::AskedOffset::at`].
    pub at: &'a [i64],
    /// Where the first answer belongs; the others follow.
    pub slot: usize,
}

/// One ListOffsets question to one leader.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    pub leader: i32,
    /// Indexes of units, and which of their `at` is asked.
    pub units: Vec<usize>,
    pub round: usize,
}

/// The calls for `units`, per leader in the order they should be made. A chunk of partitions is asked
/// everything before the next chunk begins, so that running out of time leaves whole partitions
/// unanswered instead of all of them in part. A partition that several units name is in as many
/// calls: librdkafka refuses a call that names one twice.
pub fn calls(units: &[Unit<'_>], call_partitions: usize) -> BTreeMap<i32, Vec<Call>> {
    assert!(call_partitions > 0, "a call holds a partition");
    let mut seen: HashMap<(&str, i32), usize> = HashMap::with_capacity(units.len());
    let mut groups: BTreeMap<(i32, usize), Vec<usize>> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        if let Some(leader) = unit.leader {
            let before = seen.entry((unit.topic, unit.partition)).or_default();
            groups.entry((leader, *before)).or_default().push(index);
            *before += 1;
        }
    }
    let mut calls: BTreeMap<i32, Vec<Call>> = BTreeMap::new();
    for ((leader, _), indexes) in groups {
        let calls = calls.entry(leader).or_default();
        for chunk in indexes.chunks(call_partitions) {
            calls.extend(chunk_calls(leader, chunk, units));
        }
    }
    calls
}

fn chunk_calls(leader: i32, chunk: &[usize], units: &[Unit<'_>]) -> impl Iterator<Item = Call> {
    let rounds = chunk.iter().map(|index| units[*index].at.len()).max();
    (0..rounds.unwrap_or(0)).map(move |round| Call {
        leader,
        units: chunk
            .iter()
            .copied()
            .filter(|index| round < units[*index].at.len())
            .collect(),
        round,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partitions "leader*questions" ("-" for none, "=" after it for the partition before once more),
    /// and the calls as "leader:round(units)".
    #[test]
    fn calls_are_by_leader_and_chunk_and_round() {
        for (partitions, limit, expected, reason) in [
            ("", 2, "", "nothing to ask"),
            (
                "1*2 2*2 1*2",
                9,
                "1:0(0 2) 1:1(0 2) 2:0(1) 2:1(1)",
                "by leader",
            ),
            ("-*2 1*1", 9, "1:0(1)", "without leader nobody is asked"),
            ("1*1 1*1 1*1", 2, "1:0(0 1) 1:0(2)", "in chunks"),
            (
                "1*2 1*2 1*2",
                2,
                "1:0(0 1) 1:1(0 1) 1:0(2) 1:1(2)",
                "a chunk is finished before the next begins",
            ),
            (
                "1*3 1*1",
                9,
                "1:0(0 1) 1:1(0) 1:2(0)",
                "as many rounds as the longest needs",
            ),
            ("1*0 1*1", 9, "1:0(1)", "nothing to ask about the first"),
            (
                "1*2 1*1= 1*1",
                9,
                "1:0(0 2) 1:1(0) 1:0(1)",
                "a partition twice is in two calls",
            ),
        ] {
            let at = [0; 8];
            let mut partition = 0;
            let units: Vec<Unit<'_>> = partitions
                .split_whitespace()
                .map(|word| {
                    partition += i32::from(!word.ends_with('='));
                    let word = word.trim_end_matches('=');
                    let (leader, count) = word.split_once('*').expect("leader*questions");
                    Unit {
                        topic: "t",
                        partition,
                        leader: leader.parse().ok(),
                        at: &at[..count.parse().expect("a number")],
                        slot: 0,
                    }
                })
                .collect();
            let shown: Vec<String> = calls(&units, limit)
                .into_values()
                .flatten()
                .map(|call| {
                    let units: Vec<String> = call.units.iter().map(usize::to_string).collect();
                    format!("{}:{}({})", call.leader, call.round, units.join(" "))
                })
                .collect();
            assert_eq!(shown.join(" "), expected, "{partitions}: {reason}");
        }
    }
}

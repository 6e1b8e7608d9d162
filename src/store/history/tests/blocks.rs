//! Blocks by themselves: what is written comes back, whatever else comes is refused.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::world;
use crate::clock::Timestamp;
use crate::lag::evaluation::Evaluation;
use crate::store::codec::{Lookup, Names, stored_part};
use crate::store::frame::Body;
use crate::store::history::gather::{Groups, Topics};
use crate::store::history::groups::{GroupBlock, Wanted};
use crate::store::history::key::Key;
use crate::store::history::topics::{TopicBlock, decode_cluster, encode_cluster};
use crate::store::history::{HOUR, Packer, Unpacker};
use crate::store::sample::busy;

/// A dictionary that numbers names as they come.
#[derive(Default)]
struct Numbered {
    ids: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names for Numbered {
    fn id(&mut self, name: &Arc<str>) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap();
        *self.ids.entry(Arc::clone(name)).or_insert_with(|| {
            self.names.push(Arc::clone(name));
            next
        })
    }
}

impl Lookup for Numbered {
    fn name(&mut self, id: u32) -> Option<Arc<str>> {
        self.names.get(id as usize).cloned()
    }
}

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// All runs of all groups, with at most `limit` rows in memory.
fn group_blocks(evaluations: &[Arc<Evaluation>], limit: usize) -> Vec<GroupBlock> {
    let mut blocks = Vec::new();
    let mut from = Key::default();
    loop {
        let mut run = Groups::new(from, evaluations.len(), limit);
        for evaluation in evaluations {
            run.begin(evaluation.beat);
            for group in &evaluation.groups {
                if !run.add(group) {
                    break;
                }
            }
        }
        let to = run.range.to.clone();
        blocks.extend(run.into_blocks());
        match to {
            Some(to) => from = to,
            None => return blocks,
        }
    }
}

fn topic_blocks(evaluations: &[Arc<Evaluation>], limit: usize) -> Vec<TopicBlock> {
    let mut blocks = Vec::new();
    let mut from = Key::default();
    loop {
        let mut run = Topics::new(from, evaluations.len(), limit);
        for evaluation in evaluations {
            run.begin(evaluation.beat);
            for topic in &evaluation.topics {
                run.add(topic);
            }
        }
        let to = run.range.to.clone();
        blocks.extend(run.into_blocks());
        match to {
            Some(to) => from = to,
            None => return blocks,
        }
    }
}

fn hour_of(seed: u64, beats: usize) -> Vec<Arc<Evaluation>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let beat = |n| START.plus(std::time::Duration::from_secs(10 * n));
    (0..beats as u64)
        .map(|n| world::evaluation(&mut random, "c", beat(n)))
        .collect()
}

#[test]
fn whatever_is_gathered_comes_back_from_bytes() {
    for seed in 0..30 {
        let evaluations = hour_of(seed, 40);
        let mut names = Numbered::default();
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
        for block in group_blocks(&evaluations, 100_000) {
            let bytes = block.encode(START, &mut names, &mut packer);
            let wanted = Wanted::default();
            let back = GroupBlock::decode(&bytes, START, wanted, &mut names, &mut unpacker);
            assert_eq!(back, Ok(block), "seed {seed}");
        }
        for block in topic_blocks(&evaluations, 100_000) {
            let bytes = block.encode(START, &mut names, &mut packer);
            let back = TopicBlock::decode(&bytes, START, None, &mut names, &mut unpacker);
            assert_eq!(back, Ok(block), "seed {seed}");
        }
        let rows: Vec<_> = (evaluations.iter())
            .map(|e| (e.beat, e.phase, e.summary.clone()))
            .collect();
        let bytes = encode_cluster(&rows, START, &mut packer);
        assert_eq!(decode_cluster(&bytes, START, &mut unpacker), Ok(rows));
    }
}

/// However little fits into memory, all rows come exactly once, and in order.
#[test]
fn runs_follow_each_other_without_gaps_and_doubles() {
    for seed in 0..20 {
        let evaluations = hour_of(seed, 30);
        let rows = |blocks: &[GroupBlock]| -> usize {
            let groups = blocks.iter().flat_map(|block| &block.groups);
            let topics = groups.clone().flat_map(|group| &group.topics);
            let series = topics.flat_map(|topic| &topic.series);
            series.map(Vec::len).sum::<usize>() + groups.map(|g| g.rows.len()).sum::<usize>()
        };
        let all = group_blocks(&evaluations, usize::MAX / 8);
        for limit in [1, 40, 150, 1000] {
            let blocks = group_blocks(&evaluations, limit);
            assert!(blocks.len() > all.len(), "seed {seed}, limit {limit}");
            assert_eq!(rows(&blocks), rows(&all), "seed {seed}, limit {limit}");
            let keys: Vec<_> = blocks.iter().filter_map(GroupBlock::keys).collect();
            assert!(keys.iter().all(|(first, last)| first <= last));
            assert!(
                keys.is_sorted_by(|a, b| a.1 <= b.0),
                "seed {seed}, limit {limit}"
            );
            let logs = |blocks: &[TopicBlock]| -> usize {
                let topics = blocks.iter().flat_map(|block| &block.topics);
                topics.flat_map(|topic| &topic.series).map(Vec::len).sum()
            };
            let all = topic_blocks(&evaluations, usize::MAX / 8);
            assert_eq!(logs(&topic_blocks(&evaluations, limit)), logs(&all));
        }
    }
}

#[test]
fn a_block_that_is_cut_or_changed_is_refused_and_never_panics() {
    let evaluations = hour_of(7, 4);
    let mut names = Numbered::default();
    let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
    let block = group_blocks(&evaluations, 100_000).remove(0);
    let bytes = block.encode(START, &mut names, &mut packer);
    let mut decode = |bytes: &[u8], hour: Timestamp| {
        let wanted = Wanted::default();
        GroupBlock::decode(bytes, hour, wanted, &mut names, &mut unpacker).is_ok()
    };
    assert!(decode(&bytes, START));
    assert!(!decode(&bytes, START.plus(HOUR)), "it is of another hour");
    for len in (0..bytes.len()).step_by(97) {
        assert!(!decode(&bytes[..len], START), "cut at {len}");
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..400 {
        let at = random.usize(..bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.u32(..8);
        assert!(!decode(&changed, START), "changed at {at}");
        // Also with a checksum that is right for it.
        let mut crc = crc32fast::Hasher::new();
        crc.update(&changed[..2]);
        crc.update(&START.as_ms().to_le_bytes());
        crc.update(&changed[6..]);
        let crc = crc.finalize().to_le_bytes();
        changed[2..6].copy_from_slice(&crc);
        decode(&changed, START);
    }
}

/// Blocks as they stand on disks: whatever zstd or the encoder become, these stay readable.
#[test]
fn blocks_on_disk_stay_readable() {
    let evaluations = hour_of(11, 8);
    let mut names = Numbered::default();
    let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new().unwrap());
    let groups = group_blocks(&evaluations, 100_000).remove(0);
    let topics = topic_blocks(&evaluations, 100_000).remove(0);
    let mut text = String::new();
    for bytes in [
        groups.encode(START, &mut names, &mut packer),
        topics.encode(START, &mut names, &mut packer),
    ] {
        let mut line = String::new();
        bytes
            .iter()
            .for_each(|byte| write!(line, "{byte:02x}").unwrap());
        writeln!(text, "{line}").unwrap();
    }
    for (id, name) in names.names.iter().enumerate() {
        writeln!(text, "name {id} {name:?}").unwrap();
    }
    crate::golden::check("tests/golden/block/v1.txt", &text);
    let file = std::fs::read_to_string("tests/golden/block/v1.txt").unwrap();
    let mut lines = file.lines().map(|line| -> Vec<u8> {
        let digits = line.as_bytes().chunks(2);
        let digits = digits.map(|two| std::str::from_utf8(two).unwrap());
        digits
            .map_while(|two| u8::from_str_radix(two, 16).ok())
            .collect()
    });
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    let wanted = Wanted::default();
    let back = GroupBlock::decode(&first, START, wanted, &mut names, &mut unpacker);
    assert_eq!(back, Ok(groups));
    let back = TopicBlock::decode(&second, START, None, &mut names, &mut unpacker);
    assert_eq!(back, Ok(topics));
}

/// Less than ten bytes: at rest, with all stored fields and the
/// topics' log offsets, on a workload with 30 % idle partitions.
#[test]
fn a_sample_at_rest_takes_few_bytes() {
    let evaluations: Vec<_> = (0..360)
        .map(|seq| {
            let evaluation = busy(seq, 4, 100);
            let body = Body::Evaluation {
                evaluation,
                changes: Vec::new(),
            };
            match stored_part(&body) {
                Body::Evaluation { evaluation, .. } => evaluation,
                Body::Sinks(_) => panic!("an evaluation"),
            }
        })
        .collect();
    let mut names = Numbered::default();
    let mut packer = Packer::new().unwrap();
    let groups: usize = (group_blocks(&evaluations, 256 << 10).iter())
        .map(|block| block.encode(START, &mut names, &mut packer).len())
        .sum();
    let topics: usize = (topic_blocks(&evaluations, 256 << 10).iter())
        .map(|block| block.encode(START, &mut names, &mut packer).len())
        .sum();
    let samples: u32 = 360 * 400;
    println!(
        "{samples} samples: {groups} bytes of groups, {topics} of topics, {:.2} bytes a sample",
        (groups + topics) as f64 / f64::from(samples)
    );
    assert!(groups + topics < 10 * samples as usize);
}

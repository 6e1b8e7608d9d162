use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::lag::evaluation::{
    ClusterSummary, CommitView, GroupTopic, GroupTotals, Member, PartitionEvaluation,
    PartitionStatus, Phase, Status, TimeLag, TimeLagMethod, TopicEvaluation, TopicPartition,
};
use crate::lag::event::GroupKind;
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};
use crate::points::sample;
use crate::store::frame::{Counts, SinkRow, StatusChange};

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

fn encode(frame: &Frame, names: &mut Numbered) -> Encoded {
    Encoder::new()
        .unwrap()
        .encode(&frame.body, frame.beat, frame.rows, names)
        .unwrap()
}

fn decode(frame: &Frame, parts: &[Box<[u8]>], names: &mut Numbered) -> Result<Frame, Broken> {
    Decoder::new()
        .unwrap()
        .decode(frame.seq, frame.beat, parts, names)
}

fn frame(body: Body) -> Frame {
    Frame {
        seq: Seq(1),
        beat: sample::BEAT,
        rows: row_count(&body),
        body,
    }
}

#[track_caller]
fn comes_back(frame: &Frame) {
    let mut names = Numbered::default();
    let encoded = encode(frame, &mut names);
    let expected = Frame {
        body: stored_part(&frame.body),
        ..frame.clone()
    };
    assert_eq!(decode(frame, &encoded.parts, &mut names), Ok(expected));
}

#[test]
fn samples_come_back() {
    for frame in [sample::small(7), sample::sinks(8), sample::wide(9, 30, 300)] {
        comes_back(&frame);
    }
}

#[test]
fn an_empty_evaluation_comes_back() {
    for phase in [
        Phase::Waiting,
        Phase::Running,
        Phase::Loading { read: 5, total: 0 },
    ] {
        comes_back(&frame(Body::Evaluation {
            evaluation: Arc::new(Evaluation {
                cluster: ClusterName::new(""),
                beat: sample::BEAT,
                phase,
                summary: ClusterSummary::default(),
                groups: Vec::new(),
                topics: Vec::new(),
            }),
            changes: Vec::new(),
        }));
    }
}

#[test]
fn one_group_is_read_without_the_rest() {
    let frame = sample::wide(3, 40, 500);
    let Body::Evaluation { evaluation, .. } = stored_part(&frame.body) else {
        panic!("an evaluation");
    };
    let mut names = Numbered::default();
    let parts = encode(&frame, &mut names).parts;
    assert!(parts.len() > 5, "it is cut: {}", parts.len());
    let mut decoder = Decoder::new().unwrap();
    let head = decoder
        .decode_head(frame.beat, &parts[0], &mut names)
        .unwrap();
    for expected in &evaluation.groups {
        let place = head.part_of(expected.id.as_str()).unwrap();
        let groups = decoder
            .decode_groups(&head, place, frame.beat, &parts[place], &mut names)
            .unwrap();
        assert!(groups.contains(expected), "{}", expected.id);
    }
    assert_eq!(head.part_of(""), None, "before the first");
    assert!(
        decoder
            .decode_groups(&head, parts.len() - 1, frame.beat, &parts[1], &mut names)
            .is_err()
    );
}

/// Every single byte changed, every length cut: noticed, and by words.
#[test]
fn a_changed_or_cut_frame_is_noticed() {
    for frame in [sample::small(7), sample::sinks(8)] {
        let mut names = Numbered::default();
        let parts = encode(&frame, &mut names).parts;
        for place in 0..parts.len() {
            for at in 0..parts[place].len() {
                let mut bad = parts.clone();
                bad[place][at] ^= 0x10;
                let broken = decode(&frame, &bad, &mut names).unwrap_err();
                assert!(!broken.to_string().is_empty());
                bad[place] = parts[place][..at].into();
                assert!(decode(&frame, &bad, &mut names).is_err(), "cut at {at}");
            }
        }
    }
}

#[test]
fn a_piece_in_the_wrong_place_is_noticed() {
    let frame = sample::wide(1, 40, 500);
    let mut names = Numbered::default();
    let parts = encode(&frame, &mut names).parts;
    let mut swapped = parts.clone();
    swapped.swap(1, 2);
    assert_eq!(
        decode(&frame, &swapped, &mut names)
            .unwrap_err()
            .to_string(),
        "piece 1: the checksum is wrong"
    );
    let other_beat = Frame {
        beat: sample::beat_of(2),
        ..(*frame).clone()
    };
    assert!(decode(&other_beat, &parts, &mut names).is_err());
    assert!(decode(&frame, &parts[..3], &mut names).is_err());
    assert!(decode(&frame, &[], &mut names).is_err());
    assert!(decode(&frame, &parts, &mut Numbered::default()).is_err());
}

/// Wrong content behind a right checksum: what a defect or an attacker would write.
#[test]
fn hostile_content_behind_a_right_checksum_never_panics() {
    let frame = sample::small(7);
    let mut names = Numbered::default();
    let parts = encode(&frame, &mut names).parts;
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let mut wrapper = part::Wrapper::new().unwrap();
    for place in 0..parts.len() {
        let (kind, raw) =
            part::unwrap(&mut decompressor, &parts[place], frame.beat, place).unwrap();
        for at in 0..raw.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bad = raw.clone();
                bad[at] = value;
                let mut hostile = parts.clone();
                hostile[place] = wrapper.wrap(kind, &bad, frame.beat, place).unwrap();
                // Some changes give another valid frame; none may panic.
                drop(decode(&frame, &hostile, &mut names));
                hostile[place] = wrapper.wrap(kind, &raw[..at], frame.beat, place).unwrap();
                assert!(decode(&frame, &hostile, &mut names).is_err(), "cut at {at}");
            }
        }
    }
}

#[test]
fn a_newer_format_is_named() {
    let frame = sample::sinks(8);
    let mut names = Numbered::default();
    let mut parts = encode(&frame, &mut names).parts;
    parts[0][0] = 2;
    assert_eq!(
        decode(&frame, &parts, &mut names).unwrap_err().to_string(),
        "piece 0: it has format version 2, this lagline knows 1"
    );
}

/// Sizes of frames are bytes on disk for every beat: they must not grow unnoticed. The samples
/// include the log offsets of as many topic partitions.
#[test]
fn a_sample_takes_few_bytes() {
    let evaluation = crate::store::sample::busy(100, 100, 100);
    let (beat, changes) = (evaluation.beat, Vec::new());
    let frame = Frame {
        beat,
        ..frame(Body::Evaluation {
            evaluation,
            changes,
        })
    };
    comes_back(&frame);
    let bytes = encode(&frame, &mut Numbered::default()).len();
    println!("{bytes} bytes for 10,000 samples");
    assert!(
        (150_000..210_000).contains(&bytes),
        "{bytes} bytes for 10,000 samples"
    );
}

/// The raw bytes of version 1, before compression: a change of them is a new version.
#[test]
fn version_1_is_pinned() {
    for (name, frame) in [("small", sample::small(7)), ("sinks", sample::sinks(8))] {
        let mut names = Numbered::default();
        let parts = encode(&frame, &mut names).parts;
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        let mut text = String::new();
        for (id, name) in names.names.iter().enumerate() {
            writeln!(text, "name {id} {name:?}").unwrap();
        }
        for (place, part) in parts.iter().enumerate() {
            let (kind, raw) = part::unwrap(&mut decompressor, part, frame.beat, place).unwrap();
            writeln!(text, "piece {place} {kind:?} raw").unwrap();
            hex(&mut text, &raw);
        }
        crate::golden::check(&format!("tests/golden/frame/v1_{name}.txt"), &text);
    }
}

/// Whole frames as they stand on disks: whatever zstd or the encoder become, these stay readable.
#[test]
fn frames_written_by_the_first_version_are_readable() {
    for (name, frame) in [("small", sample::small(7)), ("sinks", sample::sinks(8))] {
        let path = format!("tests/golden/frame/v1_{name}_written.txt");
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
        // Never rewritten: only a new version adds files.
        if !file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            crate::golden::check(&path, &written(&frame));
        }
        let (mut names, mut parts) = (Numbered::default(), Vec::new());
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let (kind, digits) = line.split_once(' ').unwrap();
            let bytes: Vec<u8> = (0..digits.len() / 2)
                .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            match kind {
                "name" => names.names.push(String::from_utf8(bytes).unwrap().into()),
                _ => parts.push(bytes.into_boxed_slice()),
            }
        }
        let expected = Frame {
            body: stored_part(&frame.body),
            ..(*frame).clone()
        };
        assert_eq!(decode(&frame, &parts, &mut names), Ok(expected), "{name}");
    }
}

/// A frame with the names it uses, one a line.
fn written(frame: &Frame) -> String {
    let mut names = Numbered::default();
    let parts = encode(frame, &mut names).parts;
    let names = names.names.iter().map(|name| ("name", name.as_bytes()));
    let mut text = String::new();
    for (kind, bytes) in names.chain(parts.iter().map(|part| ("piece", &**part))) {
        write!(text, "{kind} ").unwrap();
        for byte in bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn hex(text: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
}

fn whole() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        0..1000_i64,
        any::<i64>(),
        Just(i64::MAX),
        Just(i64::MIN)
    ]
}

fn maybe_whole() -> impl Strategy<Value = MaybeI64> {
    of(whole()).prop_map(Into::into)
}

fn real() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(1.0),
        prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL
    ]
}

fn maybe_real() -> impl Strategy<Value = MaybeF32> {
    of(real()).prop_map(Into::into)
}

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,2}",
        Just(sample::HOSTILE.to_owned())
    ]
    .prop_map(Into::into)
}

fn status() -> impl Strategy<Value = Status> {
    (0..7_u8).prop_map(|code| Status::from_code(code).unwrap())
}

fn time_lag() -> impl Strategy<Value = TimeLag> {
    (real(), maybe_real(), 0..4_u8).prop_map(|(seconds, error_s, method)| TimeLag {
        seconds,
        error_s,
        method: [
            TimeLagMethod::CaughtUp,
            TimeLagMethod::Interpolated,
            TimeLagMethod::Seeded,
            TimeLagMethod::AtLeast,
        ][usize::from(method)],
    })
}

fn commit() -> impl Strategy<Value = CommitView> {
    (whole(), whole(), any::<u32>(), maybe_whole()).prop_map(|(offset, timestamp, seconds, lag)| {
        CommitView {
            offset,
            timestamp: Timestamp::from_ms(timestamp),
            observed_at: EpochSeconds::new(seconds),
            lag,
        }
    })
}

prop_compose! {
    fn partition()(
        start in of(commit()),
        end in of(commit()),
        lag in maybe_whole(),
        current_lag in whole(),
        end_offset in maybe_whole(),
        time_lag in of(time_lag()),
        floats in [maybe_real(), maybe_real(), maybe_real(), maybe_real(), maybe_real()],
        records_lost in maybe_whole(),
        complete in real(),
        owner in any::<u32>(),
        status in of(status()),
    ) -> PartitionEvaluation {
        let [eta_s, consume_rate, produce_rate, retention_used, retention_left_s] = floats;
        PartitionEvaluation {
            start, end, lag, current_lag, end_offset, time_lag, eta_s, consume_rate, produce_rate,
            records_lost, retention_used, retention_left_s, complete, owner,
            status: status.map(|status| PartitionStatus { status, reason: None }),
        }
    }
}

prop_compose! {
    fn totals()(
        lag in maybe_whole(),
        total_lag in whole(),
        max_lag in of((any::<u32>(), any::<u32>())),
        worst in of((any::<u32>(), any::<u32>())),
        counts in any::<[u32; 9]>(),
        time_lag in of(time_lag()),
        floats in [maybe_real(), maybe_real(), maybe_real(), maybe_real()],
        records_lost in maybe_whole(),
    ) -> GroupTotals {
        let [partitions, partitions_ok, partitions_warn, partitions_stop, partitions_stall,
            partitions_rewind, partitions_no_commit, partitions_unknown, members] = counts;
        let [eta_s, consume_rate, produce_rate, retention_used] = floats;
        GroupTotals {
            lag, total_lag, max_lag, worst, partitions, partitions_ok, partitions_warn,
            partitions_stop, partitions_stall, partitions_rewind, partitions_no_commit,
            partitions_unknown, members, time_lag, eta_s, consume_rate, produce_rate,
            records_lost, retention_used,
        }
    }
}

fn members() -> impl Strategy<Value = Arc<[Member]>> {
    let member = (name(), of(name()), name(), name()).prop_map(
        |(id, instance_id, client_id, client_host)| Member {
            id,
            instance_id,
            client_id,
            client_host,
        },
    );
    vec(member, 0..4).prop_map(Into::into)
}

prop_compose! {
    fn group()(
        id in name(),
        status in status(),
        flags in any::<[bool; 2]>(),
        complete in real(),
        kind in 0..4_usize,
        protocol_type in name(),
        members in members(),
        topics in vec((name(), vec(partition(), 0..4)), 0..3),
        totals in of(totals()),
    ) -> Arc<GroupEvaluation> {
        let topics: Vec<GroupTopic> = topics.into_iter().map(|(topic, partitions)| GroupTopic {
            topic: TopicName::new(topic), partitions,
        }).collect();
        let totals = totals.unwrap_or_else(|| totals::guess(&topics, members.len()));
        let kind = [GroupKind::Classic, GroupKind::Consumer, GroupKind::Share, GroupKind::Streams]
            [kind];
        Arc::new(GroupEvaluation {
            id: GroupId::new(id), status, stale: flags[0], warming: flags[1], complete, kind,
            protocol_type, members, topics, totals,
        })
    }
}

fn topic() -> impl Strategy<Value = Arc<TopicEvaluation>> {
    let partition = (maybe_whole(), maybe_whole(), maybe_whole(), maybe_real()).prop_map(
        |(begin, end, last_end, produce_rate)| TopicPartition {
            begin,
            end,
            last_end,
            produce_rate,
        },
    );
    (name(), vec(partition, 0..5)).prop_map(|(topic, partitions)| {
        Arc::new(TopicEvaluation {
            topic: TopicName::new(topic),
            partitions,
        })
    })
}

prop_compose! {
    fn summary()(
        up in any::<bool>(),
        reason in of(name()),
        brokers in of(any::<u32>()),
        counts in any::<[u32; 4]>(),
        whole in [maybe_whole(), maybe_whole(), maybe_whole()],
        real in [maybe_real(), maybe_real()],
    ) -> ClusterSummary {
        let [groups, groups_bad, topics, partitions] = counts;
        ClusterSummary {
            up, reason: reason.map(|reason| reason.to_string()), brokers, groups, groups_bad,
            topics, partitions, lag: whole[0], evaluate_ms: real[0], offsets_age_s: real[1],
            reader_lag: whole[1], clock_offset_ms: whole[2], ..ClusterSummary::default()
        }
    }
}

fn change() -> impl Strategy<Value = StatusChange> {
    let partition = of((name().prop_map(TopicName::new), any::<i32>()));
    (
        name(),
        name(),
        partition,
        status(),
        status(),
        name(),
        whole(),
    )
        .prop_map(
            |(cluster, group, partition, from, to, reason, beat)| StatusChange {
                cluster: ClusterName::new(cluster),
                group: GroupId::new(group),
                partition,
                from,
                to,
                reason: reason.to_string(),
                beat: Timestamp::from_ms(beat),
            },
        )
}

prop_compose! {
    fn evaluation_body()(
        cluster in name(),
        beat in whole(),
        phase in prop_oneof![
            Just(Phase::Waiting),
            Just(Phase::Running),
            (whole(), whole()).prop_map(|(read, total)| Phase::Loading { read, total }),
        ],
        summary in summary(),
        groups in vec(group(), 0..5),
        topics in vec(topic(), 0..4),
        changes in vec(change(), 0..3),
    ) -> Body {
        Body::Evaluation {
            evaluation: Arc::new(Evaluation {
                cluster: ClusterName::new(cluster), beat: Timestamp::from_ms(beat), phase,
                summary, groups, topics,
            }),
            changes,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_evaluation_comes_back(body in evaluation_body()) {
        let beat = match &body {
            Body::Evaluation { evaluation, .. } => evaluation.beat,
            Body::Sinks(_) => unreachable!("only evaluations are made"),
        };
        let frame = Frame { beat, ..frame(body) };
        let mut names = Numbered::default();
        let encoded = encode(&frame, &mut names);
        let expected = Frame { body: stored_part(&frame.body), ..frame.clone() };
        prop_assert_eq!(decode(&frame, &encoded.parts, &mut names), Ok(expected));
    }

    #[test]
    fn any_sink_rows_come_back(rows in vec((name(), any::<[u64; 5]>(), prop::num::f64::NORMAL), 0..4)) {
        let rows = rows.into_iter().map(|(sink, counts, oldest_waiting_s)| SinkRow {
            sink: sink.to_string(),
            counts: Counts {
                offered: counts[0], delivered: counts[1], filtered: counts[2],
                rejected: counts[3], expired: counts[4],
            },
            oldest_waiting_s,
        }).collect();
        comes_back(&frame(Body::Sinks(rows)));
    }

    #[test]
    fn random_bytes_never_panic(parts in vec(vec(any::<u8>(), 0..200), 0..4)) {
        let parts: Vec<Box<[u8]>> = parts.into_iter().map(Into::into).collect();
        let frame = frame(Body::Sinks(Vec::new()));
        prop_assert!(decode(&frame, &parts, &mut Numbered::default()).is_err());
    }

    #[test]
    fn random_content_behind_a_right_checksum_never_panics(
        raw in vec(prop_oneof![Just(0_u8), 0..32_u8, any::<u8>()], 0..400),
        kind in 0..5_u8,
    ) {
        let frame = sample::small(7);
        let mut names = Numbered::default();
        let mut parts = encode(&frame, &mut names).parts;
        let mut wrapper = part::Wrapper::new().unwrap();
        let kind = Kind::from_code(kind).unwrap();
        for place in 0..parts.len() {
            let mut hostile = parts.clone();
            hostile[place] = wrapper.wrap(kind, &raw, frame.beat, place).unwrap();
            drop(decode(&frame, &hostile, &mut names));
        }
        parts.truncate(1);
        prop_assert!(decode(&frame, &parts, &mut names).is_err());
    }
}

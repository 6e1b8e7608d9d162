use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::golden;
use crate::lag::event::{
    Commit, Event, GroupChange, GroupKind, MemberChange, PartitionLog, ReaderProgress, TopicsAsked,
};
use crate::lag::ids::Order;
use crate::lag::settings::{Limits, Rules};

const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

fn settings() -> Settings {
    Settings {
        rules: Rules::default(),
        limits: Limits::default(),
        wanted: Box::new(|_| true),
    }
}

fn head() -> SnapshotHead {
    SnapshotHead {
        saved_at: AT,
        position: ReaderPosition {
            cluster_id: Some("a-cluster".to_owned()),
            topic_id: Some(TopicId([7; 16])),
            life: 1,
            sizes: vec![1, 2],
            partitions: vec![
                PartitionPosition {
                    position: 120,
                    complete_from: 100,
                    truncations: 1,
                },
                PartitionPosition::default(),
            ],
        },
        settings: vec![("rules.intervals".to_owned(), "10".to_owned())],
    }
}

fn commit(cluster: &mut Cluster, group: &str, partition: i32, order: i64, back_s: i64) {
    let order = Order {
        epoch: if order > 50 { 1 << 12 } else { 0 },
        offset: order,
    };
    let timestamp = Timestamp::from_secs(AT.as_secs() - back_s);
    let event = Event::Committed(Commit {
        group,
        topic: "orders \u{1F980}",
        partition,
        order,
        offset: 1_000 - back_s,
        timestamp,
        topic_id: None,
    });
    cluster.apply(event, timestamp);
}

/// A cluster with something of everything, at the moment of saving.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(ClusterName::new("c"), settings());
    let before = |back_s: i64| Timestamp::from_secs(AT.as_secs() - back_s);
    let progress = ReaderProgress {
        partition: 0,
        partitions: 1,
        from: 0,
        position: 0,
        end: 0,
        complete_from: 0,
        caught_up: true,
        at: before(200),
    };
    cluster.apply(Event::ReaderProgress(progress), before(200));
    let topic = Event::TopicChanged {
        topic: "orders \u{1F980}",
        id: Some(TopicId([3; 16])),
        partitions: 2,
        until: TopicsAsked::default(),
    };
    cluster.apply(topic, before(200));
    for back_s in (0..=120).rev().step_by(10) {
        let log = |partition: i32| PartitionLog {
            partition,
            start: (partition == 0).then_some(5),
            end: Some(2_000 - back_s * i64::from(1 - partition)),
        };
        let event = Event::LogOffsets {
            topic: "orders \u{1F980}",
            partitions: &[log(0), log(1)],
            at: before(back_s),
            poll: back_s % 20 == 0,
        };
        cluster.apply(event, before(back_s));
        commit(&mut cluster, "billing\n", 0, 70 - back_s / 2, back_s);
    }
    commit(&mut cluster, "idle", 1, 3, 100);
    let member = MemberChange {
        member_id: "m-1".to_owned(),
        instance_id: Some("i".to_owned()),
        client_id: "client".to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        assignment: vec![("orders \u{1F980}".to_owned(), vec![0])],
    };
    let classic = GroupChange::Classic {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        members: vec![member.clone()],
    };
    let assigned = GroupChange::MemberAssigned {
        member_id: "m-1".to_owned(),
        partitions: vec![(TopicId([3; 16]), 1), (TopicId([9; 16]), 4)],
    };
    let changes = [
        ("billing\n", classic),
        ("modern", GroupChange::Kind(GroupKind::Consumer)),
        ("modern", GroupChange::MemberJoined(member)),
        ("modern", assigned),
    ];
    for ((group, change), offset) in changes.iter().zip(80..) {
        let order = Order { epoch: 0, offset };
        let event = Event::GroupChanged {
            group,
            order,
            change,
        };
        cluster.apply(event, before(10));
    }
    cluster.evaluate(AT);
    cluster
}

fn encoded() -> Encoded {
    encode(&head(), &cluster().snapshot()).unwrap()
}

fn open(pieces: Vec<Box<[u8]>>) -> Result<Cluster, Broken> {
    let found = FoundSnapshot::open(AT, pieces)?;
    found.restore(ClusterName::new("c"), settings())
}

#[track_caller]
fn assert_same(cluster: &mut Cluster, other: &mut Cluster) {
    let (mine, theirs) = (cluster.snapshot(), other.snapshot());
    assert_eq!(
        mine.topics().collect::<Vec<_>>(),
        theirs.topics().collect::<Vec<_>>()
    );
    assert_eq!(
        mine.groups().collect::<Vec<_>>(),
        theirs.groups().collect::<Vec<_>>()
    );
    assert_eq!(mine.clock_offset_ms(), theirs.clock_offset_ms());
}

#[test]
fn what_was_saved_comes_back() {
    let found = FoundSnapshot::open(AT, encoded().parts).unwrap();
    assert_eq!(found.head, head());
    let mut restored = found.restore(ClusterName::new("c"), settings()).unwrap();
    assert_same(&mut restored, &mut cluster());
    // What comes back is worth the name.
    let snapshot = restored.snapshot();
    let groups: Vec<_> = snapshot.groups().collect();
    assert_eq!(groups.len(), 3);
    assert_eq!(groups[0].topics[0].slots[0].commits.len(), 10);
    assert_eq!(groups[0].topics[0].slots[0].owner, 1);
    assert!(groups[2].membership.joined.is_some());
    let topics: Vec<_> = snapshot.topics().collect();
    assert_eq!(topics[0].logs[0].points.len(), 13);
}

#[test]
fn the_bytes_of_this_version_are_pinned() {
    let mut text = format!("format {FORMAT}\n");
    let mut decoder = decoder().unwrap();
    // zstd may pack otherwise in another version; what is packed stays.
    for (place, piece) in encoded().parts.iter().enumerate() {
        let (kind, raw) = part::unwrap(&mut decoder.0, piece, AT, place).unwrap();
        writeln!(text, "{kind:?}").unwrap();
        for line in raw.chunks(32) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "  {}", hex.join(" ")).unwrap();
        }
    }
    golden::check("tests/golden/snapshot.txt", &text);
}

#[test]
fn another_version_cut_or_flipped_bytes_are_refused() {
    let good = encoded().parts;
    assert_eq!(good.len(), 3);
    let said = |pieces: Vec<Box<[u8]>>| open(pieces).err().map(|broken| broken.to_string());
    assert_eq!(said(good.clone()), None);
    for (why, pieces, expected) in [
        ("nothing", Vec::new(), "piece 0: there is no head"),
        (
            "only a head",
            good[..1].to_vec(),
            "piece 0: pieces are missing",
        ),
        (
            "a piece is missing",
            vec![good[0].clone(), good[2].clone()],
            "piece 0: pieces are missing",
        ),
        (
            "pieces in another order",
            vec![good[0].clone(), good[2].clone(), good[1].clone()],
            "piece 1: the checksum is wrong",
        ),
    ] {
        assert_eq!(said(pieces).as_deref(), Some(expected), "{why}");
    }
    let other = FoundSnapshot::open(AT.plus(Duration::from_millis(1)), good.clone());
    assert!(other.is_err(), "saved at another moment");
    for (place, piece) in good.iter().enumerate() {
        for at in 0..piece.len() {
            let mut cut = good.clone();
            cut[place] = Box::from(&piece[..at]);
            assert!(open(cut).is_err(), "piece {place} cut at {at}");
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[place][at] ^= 1 << bit;
                assert!(
                    open(flipped).is_err(),
                    "piece {place}, byte {at}, bit {bit}"
                );
            }
        }
    }
}

#[test]
fn a_newer_format_is_named() {
    let mut raw = encode_head(&head(), None, 1);
    raw[0] = FORMAT + 1;
    let mut wrapper = part::Wrapper::new().unwrap();
    let piece = wrapper.wrap(Kind::SnapshotHead, &raw, AT, 0).unwrap();
    let broken = FoundSnapshot::open(AT, vec![piece]).unwrap_err();
    assert_eq!(broken.to_string(), "piece 0: it has another format version");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Checksums that are right: also what was written by mistake panics nowhere.
    #[test]
    fn whatever_was_written_never_panics(
        place in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let good = encoded().parts;
        let mut decoder = decoder().unwrap();
        let (kind, mut raw) = part::unwrap(&mut decoder.0, &good[place], AT, place).unwrap();
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Some(cut) = cut {
            raw.truncate(cut.index(raw.len()));
        }
        let mut pieces = good;
        let mut wrapper = part::Wrapper::new().unwrap();
        pieces[place] = wrapper.wrap(kind, &raw, AT, place).unwrap();
        // Refused, or a cluster that can go on.
        if let Ok(mut cluster) = open(pieces) {
            let progress = ReaderProgress {
                partition: 0,
                partitions: 1,
                from: 0,
                position: 0,
                end: 0,
                complete_from: 0,
                caught_up: true,
                at: AT,
            };
            commit(&mut cluster, "billing\n", 0, 90, -5);
            cluster.apply(Event::ReaderProgress(progress), AT);
            cluster.evaluate(AT);
            cluster.questions(AT);
            cluster.snapshot().groups().count();
        }
    }
}

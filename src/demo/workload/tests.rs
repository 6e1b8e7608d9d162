//! The workload before lagline's own core: what the story promises is what an evaluation says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::demo::cluster::OFFSETS_PARTITIONS;
use crate::demo::plan::Members;
use crate::demo::{INTERVALS, OFFSET_REFRESH};
use crate::lag::cluster::Cluster;
use crate::lag::evaluation::{Evaluation, GroupEvaluation, Status};
use crate::lag::event::{
    Commit as Committed, Connection, Event, GroupChange, MemberChange, PartitionLog,
    ReaderProgress, TopicsAsked,
};
use crate::lag::ids::{ClusterName, Order};
use crate::lag::settings::{Limits, Rules, Settings};

/// The workload acts half a second after a poll.
const START: Timestamp = Timestamp::from_ms(1_800_000_000_500);
/// What the story promises holds from this second on.
const SHOWN_AFTER: i64 = 30;

/// What lagline can find out, and how well it keeps time.
#[derive(Clone, Copy, Debug)]
enum Weather {
    /// As the driver and the settings of the demo mean it: a poll every second, commits in between.
    /// The simulated Kafka answers each question about the past with the log end.
    Fair,
    /// The past stays unknown.
    NoPast,
    /// Polled at the beats only.
    RarePolls,
    /// A commit meets the poll before or the one after it, as it happens.
    Jitter(u64),
}

/// lagline, watching.
struct Watcher {
    weather: Weather,
    random: fastrand::Rng,
    cluster: Cluster,
    late: Vec<Commit>,
    order: i64,
}

impl Watcher {
    /// Has seen the end offsets and then the past, as at any start.
    fn start(weather: Weather, workload: &Workload, past: &Happened) -> Watcher {
        let seed = match weather {
            Weather::Jitter(seed) => seed,
            Weather::Fair | Weather::NoPast | Weather::RarePolls => 0,
        };
        let rules = Rules {
            intervals: INTERVALS,
            offset_refresh: OFFSET_REFRESH,
            ..Rules::default()
        };
        let settings = Settings {
            rules,
            limits: Limits::default(),
            wanted: Box::new(|_| true),
        };
        let mut watcher = Watcher {
            weather,
            random: fastrand::Rng::with_seed(seed),
            cluster: Cluster::new(ClusterName::new("demo"), settings),
            late: Vec::new(),
            order: 0,
        };
        let at = START.minus(Duration::from_millis(400));
        watcher.poll(workload, at);
        watcher.read_members(at);
        for commit in &past.commits {
            watcher.take(commit, at);
        }
        watcher.read_to_end(at);
        watcher.ask(workload, at);
        watcher
    }

    fn read_members(&mut self, now: Timestamp) {
        for plan in GROUPS.iter().filter(|plan| plan.members != Members::Nobody) {
            self.order += 1;
            let topic = TOPICS.iter().find(|topic| topic.name == plan.topic);
            let all = topic.map_or(0, |topic| topic.partitions);
            let member = MemberChange {
                assignment: vec![(plan.topic.to_owned(), (0..all).collect())],
                ..MemberChange::default()
            };
            let change = GroupChange::Classic {
                protocol_type: "consumer".to_owned(),
                generation: 1,
                members: vec![member],
            };
            let event = Event::GroupChanged {
                group: plan.name,
                order: self.order(),
                change: &change,
            };
            self.cluster.apply(event, now);
        }
    }

    fn order(&self) -> Order {
        Order {
            epoch: 0,
            offset: self.order,
        }
    }

    fn read_to_end(&mut self, at: Timestamp) {
        for partition in 0..OFFSETS_PARTITIONS {
            let progress = ReaderProgress {
                partition,
                partitions: OFFSETS_PARTITIONS,
                from: 0,
                position: self.order,
                end: self.order,
                complete_from: 0,
                caught_up: true,
                at,
            };
            self.cluster.apply(Event::ReaderProgress(progress), at);
        }
    }

    fn poll(&mut self, workload: &Workload, at: Timestamp) {
        let up = Connection {
            up: true,
            ..Connection::default()
        };
        self.cluster.apply(Event::Connection(&up), at);
        for topic in &workload.topics {
            let name = topic.plan.name;
            let partitions: Vec<PartitionLog> = (0..)
                .zip(&topic.ends)
                .map(|(partition, end)| {
                    let is_told = topic.plan.without_leader != Some(partition);
                    PartitionLog {
                        partition,
                        start: is_told.then_some(0),
                        end: is_told.then_some(*end),
                    }
                })
                .collect();
            let exists = Event::TopicChanged {
                topic: name,
                id: None,
                partitions: topic.plan.partitions,
                until: TopicsAsked::default(),
            };
            self.cluster.apply(exists, at);
            let answer = Event::LogOffsets {
                topic: name,
                partitions: &partitions,
                at,
                poll: true,
            };
            self.cluster.apply(answer, at);
        }
    }

    /// Lets the core ask about the past.
    fn ask(&mut self, workload: &Workload, now: Timestamp) {
        for question in self.cluster.questions(now) {
            let topic = question.topic.as_str();
            let end = workload.end(topic, question.partition);
            let points: Vec<(Timestamp, i64)> = match self.weather {
                Weather::NoPast => Vec::new(),
                Weather::Fair | Weather::RarePolls | Weather::Jitter(_) => {
                    question.at.iter().map(|at| (*at, end)).collect()
                }
            };
            let answer = Event::LogHistory {
                topic,
                partition: question.partition,
                points: &points,
            };
            self.cluster.apply(answer, now);
        }
    }

    fn take(&mut self, commit: &Commit, now: Timestamp) {
        self.order += 1;
        let event = Event::Committed(Committed {
            group: commit.group,
            topic: commit.topic,
            partition: commit.partition,
            order: self.order(),
            offset: commit.offset,
            timestamp: commit.at,
            topic_id: None,
        });
        self.cluster.apply(event, now);
    }

    /// One second: what happens, and half a second later a poll, and a beat if one is due.
    fn second(&mut self, workload: &mut Workload, now: Timestamp) -> Option<Evaluation> {
        for commit in workload.step(now).commits {
            if matches!(self.weather, Weather::Jitter(_)) && self.random.bool() {
                self.late.push(commit);
            } else {
                self.take(&commit, now);
            }
        }
        let then = now.plus(Duration::from_millis(500));
        let is_beat = then.as_secs() % 2 == 0;
        if is_beat || !matches!(self.weather, Weather::RarePolls) {
            self.poll(workload, then);
        }
        for commit in std::mem::take(&mut self.late) {
            self.take(&commit, then);
        }
        self.read_to_end(then);
        let evaluation = is_beat.then(|| self.cluster.evaluate(then));
        self.ask(workload, then);
        evaluation
    }
}

impl Workload {
    fn end(&self, topic: &str, partition: i32) -> i64 {
        let topic = self.topics.iter().find(|t| t.plan.name == topic).unwrap();
        topic.ends[usize::try_from(partition).unwrap()]
    }
}

/// How often a partition showed what it should.
#[derive(Default)]
struct Seen {
    right: u32,
    wrong: u32,
}

/// Watches for some minutes. Panics where a status is not as promised, but for the moments in which
/// a reader is moved to the end of the log.
fn watch(seed: u64, weather: Weather, minutes: i64) -> BTreeMap<(&'static str, i32), Seen> {
    let (mut workload, past) = Workload::start(seed, START);
    let mut watcher = Watcher::start(weather, &workload, &past);
    let mut all: BTreeMap<(&'static str, i32), Seen> = BTreeMap::new();
    for second in 0..minutes * 60 {
        let now = START.plus(Duration::from_secs(second.unsigned_abs()));
        let Some(evaluation) = watcher.second(&mut workload, now) else {
            continue;
        };
        if second < SHOWN_AFTER {
            continue;
        }
        assert_eq!(evaluation.groups.len(), GROUPS.len());
        for plan in &GROUPS {
            let when = format!("after {second} s, {weather:?}, seed {seed}");
            let group = evaluation.group(plan.name).unwrap();
            check_group(plan, group, &when);
            for (at, pace) in plan.paces.iter().enumerate() {
                let status = group.topics[0].partitions[at].status();
                let partition = i32::try_from(at).unwrap();
                let seen = all.entry((plan.name, partition)).or_default();
                let is_right = status == pace.status();
                seen.right += u32::from(is_right);
                seen.wrong += u32::from(!is_right);
                let may_be_moved = matches!(pace, Pace::Slow { .. } | Pace::Rounds);
                assert!(
                    is_right || may_be_moved,
                    "{} {partition} is {status} {when}",
                    plan.name
                );
            }
        }
    }
    all
}

fn check_group(plan: &GroupPlan, group: &GroupEvaluation, when: &str) {
    let name = plan.name;
    let promised = plan.paces.iter().map(|pace| pace.status());
    let worst = promised.max().unwrap_or(Status::Ok);
    assert_eq!(group.status, worst.for_group(), "{name} {when}");
    assert!(!group.stale && !group.warming, "{name} {when}");
    let mut shown = group.topics[0].partitions.iter().map(|p| p.status());
    assert!(shown.any(|status| status == worst), "{name} {when}");
    let topic = TOPICS.iter().find(|topic| topic.name == plan.topic);
    let unknown = topic.and_then(|topic| topic.without_leader).is_some();
    assert_eq!(
        group.totals.partitions_unknown,
        u32::from(unknown),
        "{name} {when}"
    );
    assert_eq!(
        group.totals.partitions_no_commit > 0,
        plan.paces.is_empty(),
        "{name} {when}"
    );
    let is_worked_off = |pace: &Pace| matches!(pace, Pace::WorkOff { .. });
    if plan.paces.iter().any(is_worked_off) {
        // On one partition at least: the other may just have got its import.
        let mut etas = group.topics[0].partitions.iter().map(|p| p.eta_s.get());
        assert!(etas.any(|eta| eta > Some(60.0)), "{name} has no ETA {when}");
    }
}

#[test]
fn every_group_shows_what_it_promises_for_hours() {
    for (seed, weather, minutes) in [
        // Long enough for each reader that is moved to the end of the log to be moved once.
        (1, Weather::Fair, 120),
        (2, Weather::NoPast, 10),
        (3, Weather::RarePolls, 10),
        (1, Weather::Jitter(1), 10),
        (4, Weather::Jitter(2), 10),
        (5, Weather::Fair, 10),
    ] {
        for (place, seen) in watch(seed, weather, minutes) {
            assert!(
                seen.right > 60 * seen.wrong,
                "{place:?} was wrong {} times and right {} times, {weather:?}, seed {seed}",
                seen.wrong,
                seen.right
            );
        }
    }
}

#[test]
fn every_status_is_shown() {
    let promised: BTreeSet<Status> = GROUPS
        .iter()
        .flat_map(|group| group.paces)
        .map(|pace| pace.status())
        .collect();
    for status in [
        Status::Ok,
        Status::Warn,
        Status::Stop,
        Status::Stall,
        Status::Rewind,
    ] {
        assert!(promised.contains(&status), "nobody shows {status}");
    }
    for group in &GROUPS {
        let worst = group.paces.iter().map(|pace| pace.status()).max();
        let word = worst.unwrap_or(Status::Ok).as_str();
        let is_named = group.shows.contains(word) || group.shows.contains(&word.to_lowercase());
        assert!(is_named || group.paces.is_empty(), "{}", group.name);
    }
}

#[test]
fn the_tables_fit_each_other() {
    let names: BTreeSet<&str> = GROUPS.iter().map(|group| group.name).collect();
    assert_eq!(names.len(), GROUPS.len(), "a group twice");
    for group in &GROUPS {
        let topic = TOPICS.iter().find(|topic| topic.name == group.topic);
        let topic = topic.unwrap_or_else(|| panic!("{} reads no topic", group.name));
        let partitions = usize::try_from(topic.partitions).unwrap();
        assert!(
            group.paces.is_empty() || group.paces.len() == partitions,
            "{}",
            group.name
        );
    }
}

/// No offset is committed that is not there (yet, or any more, where somebody takes care of it).
#[test]
fn offsets_are_between_the_ends_of_the_log() {
    // What the simulated Kafka keeps, and what a batch of one second takes beside its records.
    const KEPT: i64 = 5 << 20;
    const BATCH: i64 = 61;
    const RECORD: i64 = 8;
    let (mut workload, past) = Workload::start(7, START);
    let mut ends: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for written in &past.written {
        ends.insert((written.topic.name, written.partition), written.records);
    }
    for second in 0..12 * 3_600_u64 {
        let happened = workload.step(START.plus(Duration::from_secs(second)));
        for written in &happened.written {
            assert!(written.records > 0);
            *ends
                .get_mut(&(written.topic.name, written.partition))
                .unwrap() += written.records;
        }
        for commit in &happened.commits {
            let end = ends[&(commit.topic, commit.partition)];
            let group = GROUPS.iter().find(|g| g.name == commit.group).unwrap();
            let pace = group.paces[usize::try_from(commit.partition).unwrap()];
            let plan = TOPICS.iter().find(|t| t.name == commit.topic).unwrap();
            let size = RECORD + i64::try_from(plan.record_bytes).unwrap();
            let bytes_a_second = BATCH + plan.rate * size;
            let kept = KEPT / bytes_a_second * plan.rate;
            let lag = end - commit.offset;
            let is_cared_for = pace != Pace::Stuck;
            assert!(
                lag >= 0 && commit.offset >= 0 && (lag <= kept || !is_cared_for),
                "{commit:?} with {end} records, {kept} kept"
            );
        }
    }
}

#[test]
fn the_past_is_a_window_of_each_group() {
    let (workload, past) = Workload::start(1, START);
    assert_eq!(workload.age(), 0);
    let mut counts: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for pair in past.commits.windows(2) {
        assert!(pair[0].at <= pair[1].at, "in order");
    }
    for commit in &past.commits {
        *counts.entry((commit.group, commit.partition)).or_default() += 1;
        assert!(commit.at < START);
    }
    let places: usize = GROUPS.iter().map(|group| group.paces.len()).sum();
    assert_eq!(counts.len(), places);
    assert!(counts.values().all(|count| *count == PAST_COMMITS));
    let age = |commit: &Commit| START.ms_since(commit.at);
    for commit in past.commits.iter().filter(|c| c.group == "fraud-detector") {
        assert!(age(commit) >= 240_000, "STOP needs its silence");
    }
}

#[test]
fn a_seed_is_a_story() {
    let story = |seed| {
        let (mut workload, past) = Workload::start(seed, START);
        (past, workload.step(START))
    };
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}

/// The import is always being worked off somewhere, so that there is always an ETA to be seen.
#[test]
fn somebody_is_catching_up_at_any_time() {
    let (mut workload, _) = Workload::start(1, START);
    for second in 0..2 * 3_600_u64 {
        workload.step(START.plus(Duration::from_secs(second)));
        let group = workload
            .groups
            .iter()
            .find(|group| group.plan.name == "warehouse-import")
            .unwrap();
        let ends = &workload.topics[group.topic].ends;
        let lags = group
            .readers
            .iter()
            .zip(ends)
            .map(|(r, end)| end - r.committed);
        assert!(lags.max() > Some(1_000), "after {second} s");
    }
}

/// What a second of the demo costs: it may run for days beside somebody's work.
#[test]
fn little_happens_in_a_second() {
    let (mut workload, _) = Workload::start(1, START);
    let (mut commits, mut records) = (0, 0);
    for second in 0..3_600_u64 {
        let happened = workload.step(START.plus(Duration::from_secs(second)));
        commits += happened.commits.len();
        records += happened.written.iter().map(|w| w.records).sum::<i64>();
    }
    assert!(commits < 30 * 3_600, "{commits} commits in an hour");
    assert!(records < 200 * 3_600, "{records} records in an hour");
}

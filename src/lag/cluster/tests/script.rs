//! The language of the scripts: words `what@when:details`, done in their order.
//!
//! Times are seconds, one partition (0) of one topic (`t`) and one group (`g`) unless a word says
//! otherwise with `,p=` `,t=` `,g=`. Commit orders count up unless `,order=` (and `,epoch=`) says so.
//!
//! | word | meaning |
//! |---|---|
//! | `load@5s` | the offsets topic is read to its end; `load@5s:90` has gaps before 90 |
//! | `read@5s:10/20` | its reader is at 10, its end at 20; `!` at the end: not caught up |
//! | `end@10s:100` `fetch@10s:100` | a poll, a fetch between polls; `start=` |
//! | `ends@0s-90s:100` | a poll every 10 s |
//! | `noend@10s` | Kafka gave an error for the partition |
//! | `commit@3s:70` | a commit, seen at once; `id=` |
//! | `arrive@9s:70,ts=3s` | a commit, seen late |
//! | `gone@9s` | the commit's tombstone |
//! | `topics@1s` | Kafka is asked for its topics, question 1 and so on |
//! | `topic@1s:4` `nottopic@1s` | partitions of a topic (`id=`), its deletion; `until=1`: question |
//! | `history@9s:0=10,10=20` | an answer about the past; `history@9s:` could not say |
//! | `members@1s:consumer,a=t/0;1` | a classic group of that protocol type: `a` reads 0 and 1 of `t` |
//! | `kind@1s:consumer` `join@1s:a` `assign@1s:a=A/0;1` `leave@1s:a` | KIP-848 records; topic id `A` |
//! | `nogroup@1s:classic` | a group's tombstone |
//! | `ask@9s` | questions are collected |
//! | `status@1s:ERR` | a remembered status |
//! | `interpolated` `allowed:5` `intervals:3` `wanted:a` | settings |
//! | `forget` | deleted by hand |
//! | `eval@10s` | a beat, and what is seen of partition 0; `,lags`: the commits' lags |

use crate::clock::Timestamp;
use crate::lag::cluster::Cluster;
use crate::lag::cluster::snapshot::Restoring;
use crate::lag::evaluation::{Evaluation, Phase, Status};
use crate::lag::event::{
    Applied, Commit, Event, GroupChange, GroupKind, LogQuestion, MemberChange, PartitionLog,
    ReaderProgress, TopicsAsked,
};
use crate::lag::ids::{ClusterName, Order, TopicId};
use crate::lag::settings::{CommitLag, Limits, Rules, Settings};

/// Plays a script and compares what its last `eval` saw.
#[track_caller]
pub(super) fn check(why: &str, script: &str, expected: &str) {
    let mut player = Player::default();
    player.play(script);
    assert_eq!(player.seen, expected, "{why}: {script}");
}

/// A cluster with a script's words for events.
pub(super) struct Player {
    pub(super) cluster: Cluster,
    pub(super) seen: String,
    pub(super) outcomes: Vec<Applied>,
    pub(super) questions: Vec<LogQuestion>,
    order: i64,
    /// The script tells how far the reader is.
    tells_progress: bool,
}

impl Default for Player {
    fn default() -> Self {
        Player::new(Rules::default(), Limits::default())
    }
}

/// The details of a word: its value and its `key=value` pairs.
struct Details<'a> {
    value: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Details<'a> {
    fn parse(text: &'a str) -> Details<'a> {
        let mut parts = text.split(',');
        let value = parts.next().unwrap_or("");
        let pairs = parts
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .collect();
        Details { value, pairs }
    }

    fn of(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.of(key).map(|v| v.parse().unwrap())
    }

    fn partition(&self) -> i32 {
        i32::try_from(self.number("p").unwrap_or(0)).unwrap()
    }

    fn until(&self) -> TopicsAsked {
        let until = self.number("until").unwrap_or(0);
        TopicsAsked(u64::try_from(until).unwrap())
    }

    fn id(&self) -> Option<TopicId> {
        self.of("id").map(|id| TopicId([id.as_bytes()[0]; 16]))
    }
}

pub(super) fn secs(text: &str) -> Timestamp {
    let seconds: f64 = text.trim_end_matches('s').parse().unwrap();
    #[allow(clippy::cast_possible_truncation, reason = "written in a test")]
    Timestamp::from_ms((seconds * 1000.0) as i64)
}

impl Player {
    pub(super) fn new(rules: Rules, limits: Limits) -> Player {
        let settings = Settings {
            rules,
            limits,
            wanted: Box::new(|group| !group.starts_with("denied")),
        };
        Player {
            cluster: Cluster::new(ClusterName::new("c"), settings),
            seen: String::new(),
            outcomes: Vec::new(),
            questions: Vec::new(),
            order: 0,
            tells_progress: false,
        }
    }

    /// Goes on in another process, from what this one remembers.
    pub(super) fn restart(&mut self) {
        let settings = Settings {
            rules: self.cluster.settings.rules.clone(),
            limits: self.cluster.settings.limits,
            wanted: Box::new(|_| true),
        };
        let snapshot = self.cluster.snapshot();
        let mut restoring = Restoring::new(ClusterName::new("c"), settings, None);
        for topic in snapshot.topics() {
            restoring.topic(&topic).unwrap();
        }
        for group in snapshot.groups() {
            restoring.group(group).unwrap();
        }
        self.cluster = restoring.finish();
    }

    pub(super) fn play(&mut self, script: &str) {
        for word in script.split_whitespace() {
            self.word(word);
        }
    }

    pub(super) fn apply(&mut self, event: Event<'_>, now: Timestamp) {
        self.outcomes.push(self.cluster.apply(event, now));
    }

    fn word(&mut self, word: &str) {
        let Some((what, rest)) = word.split_once('@') else {
            return self.setting(word);
        };
        let (when, rest) = match rest.split_once(':') {
            Some((when, rest)) => (when, rest),
            None => rest
                .split_once(',')
                .map_or((rest, ""), |(when, _)| (when, &rest[when.len()..])),
        };
        let details = Details::parse(rest);
        if what == "ends" {
            let (from, to) = when.split_once('-').unwrap();
            let (from, to) = (secs(from).as_secs(), secs(to).as_secs());
            for at in (from..=to).step_by(10) {
                self.log_offsets(&details, Timestamp::from_secs(at), true);
            }
            return;
        }
        let at = secs(when);
        match what {
            "load" => self.progress(&details, at, true),
            "read" => {
                self.tells_progress = true;
                self.progress(&details, at, false);
            }
            "end" => self.log_offsets(&details, at, true),
            "fetch" => self.log_offsets(&details, at, false),
            "noend" => self.log_offsets(
                &Details {
                    value: "",
                    ..details
                },
                at,
                true,
            ),
            "commit" | "arrive" => self.commit(&details, at),
            "topic" => {
                let event = Event::TopicChanged {
                    topic: details.of("t").unwrap_or("t"),
                    id: details.id(),
                    partitions: details.value.parse().unwrap(),
                    until: details.until(),
                };
                self.apply(event, at);
            }
            "nottopic" => {
                let topic = details.of("t").unwrap_or("t");
                let until = details.until();
                self.apply(Event::TopicDeleted { topic, until }, at);
            }
            "topics" => {
                self.cluster.ask_topics();
            }
            "history" => self.history(rest, at),
            "ask" => {
                let questions = self.cluster.questions(at);
                self.questions.extend(questions);
            }
            "status" => {
                let status = (0..7).filter_map(Status::from_code);
                let status = status.into_iter().find(|s| s.as_str() == details.value);
                self.cluster.remember_status("g", status.unwrap(), at);
            }
            "eval" => self.eval(&details, at),
            other => self.group_word(other, &details, at),
        }
    }

    /// Words about a group's members, and about what is gone.
    fn group_word(&mut self, what: &str, details: &Details<'_>, at: Timestamp) {
        match what {
            "gone" => {
                let order = self.next_order(details);
                let event = Event::CommitDeleted {
                    group: details.of("g").unwrap_or("g"),
                    topic: details.of("t").unwrap_or("t"),
                    partition: details.partition(),
                    order,
                };
                self.apply(event, at);
            }
            "members" | "kind" | "join" | "assign" | "leave" => {
                let change = change(what, details);
                let order = self.next_order(details);
                let group = details.of("g").unwrap_or("g");
                let change = &change;
                self.apply(
                    Event::GroupChanged {
                        group,
                        order,
                        change,
                    },
                    at,
                );
            }
            "nogroup" => {
                let order = self.next_order(details);
                let group = details.of("g").unwrap_or("g");
                let kind = kind(details.value);
                self.apply(Event::GroupDeleted { group, order, kind }, at);
            }
            other => panic!("no such word: {other}"),
        }
    }

    fn setting(&mut self, word: &str) {
        let rules = &mut self.cluster.settings.rules;
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match name {
            "interpolated" => rules.commit_lag = CommitLag::Interpolated,
            "allowed" => rules.allowed_lag = value.parse().unwrap(),
            "intervals" => rules.intervals = value.parse().unwrap(),
            "expire" => {
                rules.expire_group = std::time::Duration::from_secs(value.parse().unwrap());
            }
            "forget" => {
                let topic = Some(value).filter(|v| !v.is_empty());
                self.cluster.forget("g", topic);
            }
            other => panic!("no such setting: {other}"),
        }
    }

    fn next_order(&mut self, details: &Details<'_>) -> Order {
        self.order = details.number("order").unwrap_or(self.order + 1);
        Order {
            epoch: u32::try_from(details.number("epoch").unwrap_or(0)).unwrap(),
            offset: self.order,
        }
    }

    fn progress(&mut self, details: &Details<'_>, at: Timestamp, is_load: bool) {
        let mut progress = ReaderProgress {
            partition: details.partition(),
            partitions: i32::try_from(details.number("of").unwrap_or(1)).unwrap(),
            from: 0,
            position: 0,
            end: 0,
            complete_from: 0,
            caught_up: true,
            at,
        };
        if is_load {
            progress.complete_from = details.value.parse().unwrap_or(0);
        } else {
            progress.caught_up = !details.value.ends_with('!');
            let value = details.value.trim_end_matches('!');
            let (position, end) = value.split_once('/').unwrap();
            progress.position = position.parse().unwrap();
            progress.end = end.parse().unwrap();
        }
        self.apply(Event::ReaderProgress(progress), at);
    }

    fn log_offsets(&mut self, details: &Details<'_>, at: Timestamp, poll: bool) {
        let end = details.value.parse().ok();
        let told = PartitionLog {
            partition: details.partition(),
            start: end.map(|_| details.number("start").unwrap_or(0)),
            end,
        };
        let event = Event::LogOffsets {
            topic: details.of("t").unwrap_or("t"),
            partitions: &[told],
            at,
            poll,
        };
        self.apply(event, at);
    }

    fn commit(&mut self, details: &Details<'_>, now: Timestamp) {
        let commit = Commit {
            group: details.of("g").unwrap_or("g"),
            topic: details.of("t").unwrap_or("t"),
            partition: details.partition(),
            order: self.next_order(details),
            offset: details.value.parse().unwrap(),
            timestamp: details.of("ts").map_or(now, secs),
            topic_id: details.id(),
        };
        self.apply(Event::Committed(commit), now);
    }

    fn history(&mut self, points: &str, at: Timestamp) {
        let points: Vec<_> = points
            .split(',')
            .filter_map(|point| point.split_once('='))
            .map(|(at, end)| (secs(at), end.parse().unwrap()))
            .collect();
        let event = Event::LogHistory {
            topic: "t",
            partition: 0,
            points: &points,
        };
        self.apply(event, at);
    }

    /// A beat, with the offsets topic read to its end unless the script tells otherwise.
    pub(super) fn evaluate(&mut self, at: Timestamp) -> Evaluation {
        if !self.tells_progress && self.cluster.phase() == Phase::Running {
            self.progress(&Details::parse("0/0"), at, false);
        }
        self.cluster.evaluate(at)
    }

    fn eval(&mut self, details: &Details<'_>, at: Timestamp) {
        let evaluation = self.evaluate(at);
        let name = details.of("g").unwrap_or("g");
        if evaluation.phase != Phase::Running {
            self.seen = format!("{:?}", evaluation.phase);
            return;
        }
        let Some(group) = evaluation.group(name) else {
            self.seen = String::from("none");
            return;
        };
        let wanted = details.of("t").unwrap_or("t");
        let topic = group.topics.iter().find(|t| t.topic.as_str() == wanted);
        let partition = usize::try_from(details.partition()).unwrap();
        let Some(partition) = topic.and_then(|t| t.partitions.get(partition)) else {
            self.seen = format!("{} no such partition", group.status);
            return;
        };
        if details.of("lags").is_some() {
            let windows = self.cluster.windows(name).unwrap();
            let (_, windows) = windows
                .topics
                .iter()
                .find(|t| t.0.as_str() == wanted)
                .unwrap();
            let at = usize::try_from(details.partition()).unwrap();
            let lags: Vec<String> = windows[at]
                .commits
                .iter()
                .map(|c| shown(c.lag.get()))
                .collect();
            self.seen = lags.join(" ");
            return;
        }
        self.seen = format!("{} lag={}", partition.status(), shown(partition.lag.get()));
        if group.status != partition.status().for_group() {
            self.seen += &format!(" group={}", group.status);
        }
        for (is_so, word) in [(group.stale, " stale"), (group.warming, " warming")] {
            if is_so {
                self.seen += word;
            }
        }
        if details.of("owner").is_some() {
            let owner = partition.owner(&group.members);
            self.seen += &format!(" owner={}", owner.map_or("-", |m| &m.client_id));
        }
        if details.of("time").is_some() {
            self.seen += &match partition.time_lag {
                Some(t) => format!(
                    " {} {:.1} s ± {:?}",
                    t.method.as_str(),
                    t.seconds,
                    t.error_s
                ),
                None => String::from(" ?"),
            };
        }
    }
}

fn kind(word: &str) -> GroupKind {
    match word {
        "classic" => GroupKind::Classic,
        "consumer" => GroupKind::Consumer,
        "share" => GroupKind::Share,
        other => panic!("no such kind: {other}"),
    }
}

/// `t/0;1`: a topic and partitions.
fn places(text: &str) -> (&str, Vec<i32>) {
    let (topic, partitions) = text.split_once('/').unwrap();
    (
        topic,
        partitions.split(';').map(|p| p.parse().unwrap()).collect(),
    )
}

fn member(id: &str, assignment: Vec<(String, Vec<i32>)>) -> MemberChange {
    MemberChange {
        member_id: String::from(id),
        instance_id: None,
        client_id: String::from(id),
        client_host: format!("/{id}"),
        assignment,
    }
}

fn change(what: &str, details: &Details<'_>) -> GroupChange {
    let pairs = || {
        details
            .pairs
            .iter()
            .filter(|(key, _)| !["g", "order"].contains(key))
    };
    match what {
        "members" => GroupChange::Classic {
            protocol_type: String::from(details.value),
            generation: 1,
            members: pairs()
                .map(|(id, assigned)| {
                    let (topic, partitions) = places(assigned);
                    member(id, vec![(String::from(topic), partitions)])
                })
                .collect(),
        },
        "kind" => GroupChange::Kind(kind(details.value)),
        "join" => GroupChange::MemberJoined(member(details.value, Vec::new())),
        "assign" => {
            let (id, assigned) = details.value.split_once('=').unwrap();
            let (topic, partitions) = places(assigned);
            let id_of = |topic: &str| TopicId([topic.as_bytes()[0]; 16]);
            GroupChange::MemberAssigned {
                member_id: String::from(id),
                partitions: partitions.into_iter().map(|p| (id_of(topic), p)).collect(),
            }
        }
        "leave" => GroupChange::MemberLeft {
            member_id: String::from(details.value),
        },
        other => panic!("no such change: {other}"),
    }
}

fn shown(lag: Option<i64>) -> String {
    lag.map_or(String::from("?"), |lag| lag.to_string())
}

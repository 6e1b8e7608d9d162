use std::time::Duration;

use super::*;
use crate::kafka::log_offsets::TopicLog;
use crate::lag::event::{Commit, PartitionLog, PartitionPosition, ReaderProgress, TopicsAsked};
use crate::lag::ids::{ClusterName, Order, TopicName};
use crate::lag::settings::{Limits, Rules, Settings};
use crate::store::{Store, StoreSettings};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A monitor's surroundings, played by the test.
struct Stage {
    clock: Clock,
    events: mpsc::Sender<EventBatch>,
    log: mpsc::Receiver<LogRequest>,
    commands: mpsc::Sender<Command>,
    latest: watch::Receiver<Option<Arc<Evaluation>>>,
    health: watch::Receiver<ClusterHealth>,
    gate: oneshot::Receiver<()>,
}

fn stage(timing: Timing) -> (Monitor, Stage) {
    let clock = Clock::manual(START);
    let settings = Settings {
        rules: Rules::default(),
        limits: Limits::default(),
        wanted: Box::new(|_| true),
    };
    let (events, event_inbox) = mpsc::channel(EVENT_QUEUE);
    let (log_outbox, log) = mpsc::channel(LOG_QUEUE);
    let (commands, command_inbox) = mpsc::channel(COMMAND_QUEUE);
    let (latest, latest_watch) = watch::channel(None);
    let (health, health_watch) = watch::channel(ClusterHealth::starting(START));
    let (opens, gate) = oneshot::channel();
    let monitor = Monitor::new(
        Cluster::new(ClusterName::new("c"), settings),
        timing,
        clock.clone(),
        Inputs {
            events: event_inbox,
            log: log_outbox,
        },
        Channels {
            commands: Arc::new(Mutex::new(command_inbox)),
            latest,
            health,
        },
        opens,
    );
    let stage = Stage {
        clock,
        events,
        log,
        commands,
        latest: latest_watch,
        health: health_watch,
        gate,
    };
    (monitor, stage)
}

const TEN: Timing = Timing {
    interval: Duration::from_secs(10),
    offset_refresh: Duration::from_secs(10),
};

/// Plays `script` against a running monitor.
async fn play(monitor: Monitor, script: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    tokio::select! {
        () = monitor.run(stop.clone()) => panic!("the monitor ended"),
        () = script => {}
    }
}

impl Stage {
    /// Waits for a fetch, answering questions about the past with nothing.
    async fn fetch(&mut self) -> oneshot::Sender<LogAnswer> {
        loop {
            match self.log.recv().await.unwrap() {
                LogRequest::Fetch { reply, .. } => return reply,
                LogRequest::History { reply, .. } => reply.send(Vec::new()).unwrap(),
            }
        }
    }

    /// One topic with one partition that ends at `end`.
    fn answer(&self, end: i64) -> LogAnswer {
        let now = self.clock.now();
        let topic = TopicName::new("t");
        let log = PartitionLog {
            partition: 0,
            start: Some(0),
            end: Some(end),
        };
        LogAnswer {
            started_at: now,
            answered_at: now,
            topics: vec![TopicLog {
                topic: topic.clone(),
                partitions: vec![log],
            }],
            changes: vec![TopicChange::Changed {
                topic,
                id: None,
                partitions: 1,
                until: TopicsAsked::default(),
            }],
            connection: Connection {
                up: true,
                brokers: Some(1),
                ..Connection::default()
            },
            unreadable_names: 0,
        }
    }

    async fn commit(&self, offset: i64, order: i64) {
        let mut batch = EventBatch::default();
        let now = self.clock.now();
        batch.push_commit(&Commit {
            group: "g",
            topic: "t",
            partition: 0,
            order: Order {
                epoch: 0,
                offset: order,
            },
            offset,
            timestamp: now,
            topic_id: None,
        });
        batch.push_progress(ReaderProgress {
            partition: 0,
            partitions: 1,
            from: 0,
            position: order + 1,
            end: order + 1,
            caught_up: true,
            at: now,
            complete_from: 0,
        });
        batch.set_position(Some(ReaderPosition {
            sizes: vec![1],
            partitions: vec![PartitionPosition {
                position: order + 1,
                ..PartitionPosition::default()
            }],
            ..ReaderPosition::default()
        }));
        self.events.send(batch).await.unwrap();
    }

    async fn beat(&self) -> oneshot::Receiver<Arc<Evaluation>> {
        let (reply, answer) = oneshot::channel();
        let at = self.clock.now();
        self.commands
            .send(Command::Beat { at, reply })
            .await
            .unwrap();
        answer
    }
}

fn lag(evaluation: &Evaluation) -> Option<i64> {
    evaluation.group("g").unwrap().totals.lag.get()
}

/// End offsets are known first, then commits are read, and the first evaluation comes at once.
#[tokio::test(start_paused = true)]
async fn reading_begins_after_the_first_answer_and_is_evaluated_at_once() {
    let (monitor, mut stage) = stage(TEN);
    play(monitor, async {
        stage.commit(50, 1).await;
        let first = stage.fetch().await;
        assert!(stage.gate.try_recv().is_err(), "nothing is known yet");
        assert!(stage.latest.borrow().is_none());
        first.send(stage.answer(100)).unwrap();
        let at_once = stage.fetch().await;
        assert!(stage.gate.try_recv().is_ok());
        at_once.send(stage.answer(100)).unwrap();
        stage.latest.changed().await.unwrap();
        let evaluation = stage.latest.borrow().clone().unwrap();
        assert_eq!(evaluation.phase, Phase::Running);
        assert_eq!(lag(&evaluation), Some(50));
    })
    .await;
}

/// What arrives while the end offsets of a beat are fetched belongs to the next beat: otherwise a
/// newer commit would be held against an older end, and lag would be understated.
#[tokio::test(start_paused = true)]
async fn a_commit_that_arrives_during_the_fetch_waits_for_the_next_beat() {
    let (monitor, mut stage) = stage(TEN);
    play(monitor, async {
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.commit(50, 1).await;
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.latest.changed().await.unwrap();
        stage.clock.set(START.plus(TEN.interval));
        let beat = stage.beat().await;
        let fetch = stage.fetch().await;
        stage.commit(90, 2).await;
        fetch.send(stage.answer(100)).unwrap();
        assert_eq!(lag(&beat.await.unwrap()), Some(50));
        stage.clock.set(START.plus(2 * TEN.interval));
        let beat = stage.beat().await;
        stage.fetch().await.send(stage.answer(100)).unwrap();
        assert_eq!(lag(&beat.await.unwrap()), Some(10));
    })
    .await;
}

/// Without an answer the beat is evaluated all the same: not up, and lag is absent.
#[tokio::test(start_paused = true)]
async fn a_beat_without_an_answer_has_no_lag() {
    let (monitor, mut stage) = stage(TEN);
    play(monitor, async {
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.commit(50, 1).await;
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.latest.changed().await.unwrap();
        stage.clock.set(START.plus(TEN.interval));
        let beat = stage.beat().await;
        let _never_answered = stage.fetch().await;
        let evaluation = beat.await.unwrap();
        assert!(!evaluation.summary.up);
        assert_eq!(lag(&evaluation), None);
        let health = stage.health.borrow().clone();
        assert_eq!(health.unreachable_since, Some(stage.clock.now()));
        assert!(health.reason.unwrap().contains("no answer within 5000 ms"));
    })
    .await;
}

/// Polls between beats go on by the new time when the clock is stepped back by an hour.
#[tokio::test(start_paused = true)]
async fn polls_go_on_after_the_clock_was_stepped_back() {
    let timing = Timing {
        interval: Duration::from_secs(60),
        offset_refresh: Duration::from_secs(10),
    };
    let (monitor, mut stage) = stage(timing);
    play(monitor, async {
        stage.fetch().await.send(stage.answer(100)).unwrap();
        for step in [10, -3590, -3580] {
            let at = Timestamp::from_secs(START.as_secs() + step);
            stage.clock.set(at);
            let poll = tokio::time::timeout(Duration::from_secs(30), stage.fetch()).await;
            poll.expect("a poll within 30 s")
                .send(stage.answer(100))
                .unwrap();
        }
    })
    .await;
}

/// What is saved belongs to the position that is saved with it; the next process goes on behind it.
#[tokio::test(start_paused = true)]
async fn a_snapshot_and_its_position_are_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lagline.db");
    let opened = Store::open(Some(&path), StoreSettings::default()).unwrap();
    let (writer, loader) = (opened.writer, opened.loader);
    let threads = [
        std::thread::spawn(move || writer.run()),
        std::thread::spawn(move || loader.run()),
    ];
    let store = opened.store;
    let (monitor, mut stage) = stage(TEN);
    let name = ClusterName::new("c");
    let every = Duration::from_secs(300);
    let keeper = Keeper::new(name.clone(), store.clone(), every, Vec::new());
    let health = stage.health.clone();
    let saved = || {
        let found = store.snapshot(&name).unwrap()?;
        let settings = Settings {
            rules: Rules::default(),
            limits: Limits::default(),
            wanted: Box::new(|_| true),
        };
        let mut cluster = found.restore(name.clone(), settings).unwrap();
        let snapshot = cluster.snapshot();
        let group = snapshot.groups().next().unwrap();
        let offset = group.topics[0].slots[0].commits.last().unwrap().offset;
        Some((found.head.position.partitions[0].position, offset))
    };
    let stop = CancellationToken::new();
    let script = async {
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.commit(50, 1).await;
        stage.fetch().await.send(stage.answer(100)).unwrap();
        stage.latest.changed().await.unwrap();
        assert_eq!(saved(), None, "not before a beat");
        stage.clock.set(START.plus(TEN.interval));
        let beat = stage.beat().await;
        let fetch = stage.fetch().await;
        // It arrives too late for the beat, and for what is saved right after it.
        stage.commit(60, 2).await;
        fetch.send(stage.answer(100)).unwrap();
        beat.await.unwrap();
        while health.borrow().snapshot.saved_at.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(saved(), Some((2, 50)));
        assert!(health.borrow().snapshot.bytes > 0);
        stage.clock.set(START.plus(2 * TEN.interval));
        stage.commit(70, 3).await;
        let beat = stage.beat().await;
        stage.fetch().await.send(stage.answer(100)).unwrap();
        beat.await.unwrap();
        assert_eq!(saved(), Some((2, 50)), "five minutes are not over");
        stage.commit(80, 4).await;
        stop.cancel();
    };
    tokio::join!(monitor.kept_by(Some(keeper)).run(stop.clone()), script);
    // The writer lives in real time, where this clock does not wait for it: it ends behind the snapshot.
    store.close().await;
    assert_eq!(saved(), Some((5, 80)), "all that has arrived when it stops");
    drop(store);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

//! When lagline is ready.

use super::*;
use crate::store::StoreSettings;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A server with one cluster for each name, and what sets their health.
struct Stage {
    clock: Clock,
    state: State,
    health: BTreeMap<&'static str, watch::Sender<ClusterHealth>>,
    readers: BTreeMap<&'static str, Arc<ReaderStats>>,
}

fn stage(names: &[&'static str]) -> Stage {
    let clock = Clock::manual(START);
    let (mut health, mut readers) = (BTreeMap::new(), BTreeMap::new());
    let clusters = names.iter().map(|name| {
        let (sender, receiver) = watch::channel(ClusterHealth::starting(START));
        let reader = Arc::new(ReaderStats::default());
        health.insert(*name, sender);
        readers.insert(*name, Arc::clone(&reader));
        ClusterHandle {
            name: ClusterName::new(*name),
            latest: watch::channel(None).1,
            commands: mpsc::channel(1).0,
            health: receiver,
            reader,
            settings: Arc::new(ClusterSettings::new(vec!["k:9092".to_owned()])),
        }
    });
    let clusters = clusters.collect();
    let store = Store::open(None, StoreSettings::default()).unwrap().store;
    let state = State::new(
        clusters,
        Vec::new(),
        store,
        ServerSettings::default(),
        Duration::from_secs(10),
        clock.clone(),
        LogLevel::new("info", |_| {}),
    );
    Stage {
        clock,
        state,
        health,
        readers,
    }
}

impl Stage {
    fn set(&self, cluster: &str, change: impl FnOnce(&mut ClusterHealth)) {
        self.health[cluster].send_modify(change);
    }

    fn answers(&self, cluster: &str, phase: Phase) {
        self.set(cluster, |health| {
            *health = ClusterHealth {
                phase,
                up: true,
                reason: None,
                unreachable_since: None,
                ..ClusterHealth::starting(Timestamp::default())
            };
        });
    }

    /// What keeps it from being ready: "cluster: why", or "ready".
    fn seen(&self) -> String {
        let not_ready = self.state.not_ready();
        not_ready.map_or("ready".to_owned(), |(name, why)| format!("{name}: {why}"))
    }
}

#[test]
fn an_unreachable_cluster_is_waited_for_a_minute() {
    let stage = stage(&["away", "here"]);
    stage.answers("here", Phase::Running);
    let why = "away: not connected yet";
    assert_eq!(stage.seen(), why);
    stage.clock.set(START.plus(Duration::from_secs(59)));
    assert_eq!(stage.seen(), why);
    stage.clock.set(START.plus(Duration::from_secs(60)));
    assert_eq!(stage.seen(), "ready");

    // Now it answers, and is read first.
    let phase = Phase::Loading { read: 3, total: 9 };
    stage.answers("away", phase);
    assert_eq!(stage.seen(), "away: 3 of 9 records read");
    stage.answers("away", Phase::Running);
    assert_eq!(stage.seen(), "ready");

    // Once read it keeps nobody waiting, whatever happens to Kafka.
    stage.set("away", |health| {
        health.up = false;
        health.unreachable_since = Some(stage.clock.now());
    });
    assert_eq!(stage.seen(), "ready");
}

#[test]
fn a_cluster_that_answers_is_not_ready_before_it_is_known_what_there_is_to_read() {
    let stage = stage(&["c"]);
    stage.answers("c", Phase::Waiting);
    assert_eq!(stage.seen(), "c: reading has not begun");
    stage.readers["c"].set_nothing_to_read(true);
    assert_eq!(stage.seen(), "ready");
}

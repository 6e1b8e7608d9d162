use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::lag::cluster::Cluster;
use crate::lag::settings::{Limits, Rules, Settings};

const INTERVAL: Duration = Duration::from_secs(10);
const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// What was journaled: at which beat, which clusters, first of its beat or not, when.
type Entry = (Timestamp, Vec<String>, bool, Duration);

struct Notes {
    begin: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Journal for Notes {
    async fn append(&self, beat: Timestamp, evaluations: Vec<Arc<Evaluation>>, is_first: bool) {
        let names = evaluations.iter().map(|e| e.cluster.to_string()).collect();
        let entry = (beat, names, is_first, self.begin.elapsed());
        self.entries.lock().unwrap().push(entry);
    }
}

fn evaluation(cluster: &str, at: Timestamp) -> Arc<Evaluation> {
    let settings = Settings {
        rules: Rules::default(),
        limits: Limits::default(),
        wanted: Box::new(|_| true),
    };
    Arc::new(Cluster::new(ClusterName::new(cluster), settings).evaluate(at))
}

/// Answers each beat after `delay`; never without one.
async fn cluster(name: &str, mut commands: mpsc::Receiver<Command>, delay: Option<Duration>) {
    let mut kept = Vec::new();
    while let Some(command) = commands.recv().await {
        let Command::Beat { at, reply } = command else {
            continue;
        };
        match delay {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                reply.send(evaluation(name, at)).ok();
            }
            None => kept.push(reply),
        }
    }
}

/// Runs one beat of clusters with these delays and gives what was journaled.
async fn one_beat(delays: &[(&str, Option<Duration>)]) -> Vec<Entry> {
    beats(delays, &[START.plus(INTERVAL)]).await
}

/// The same while the clock is set to these times, one interval after the other.
async fn beats(delays: &[(&str, Option<Duration>)], times: &[Timestamp]) -> Vec<Entry> {
    let clock = Clock::manual(START);
    let entries = Arc::new(Mutex::new(Vec::new()));
    let mut clusters = Vec::new();
    let mut tasks = JoinSet::new();
    for (name, delay) in delays {
        let (sender, inbox) = mpsc::channel(4);
        clusters.push((ClusterName::new(*name), sender));
        let (name, delay) = ((*name).to_owned(), *delay);
        tasks.spawn(async move { cluster(&name, inbox, delay).await });
    }
    let scheduler = Scheduler {
        interval: INTERVAL,
        clock: clock.clone(),
        clusters,
        journal: Notes {
            begin: Instant::now(),
            entries: Arc::clone(&entries),
        },
    };
    let stop = CancellationToken::new();
    let ends = stop.clone();
    let script = async {
        for time in times {
            clock.set(*time);
            tokio::time::sleep(INTERVAL).await;
        }
        ends.cancel();
    };
    tokio::join!(scheduler.run(stop), script);
    Arc::try_unwrap(entries).unwrap().into_inner().unwrap()
}

fn names(entry: &Entry) -> Vec<&str> {
    entry.1.iter().map(String::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn clusters_that_answer_soon_share_one_transaction() {
    let soon = Some(Duration::from_millis(100));
    let entries = one_beat(&[("a", soon), ("b", soon)]).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let (beat, mut clusters, is_first, _) = entries[0].clone();
    clusters.sort();
    assert_eq!((beat, is_first), (START.plus(INTERVAL), true));
    assert_eq!(clusters, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_cluster_delays_no_other_and_is_journaled_when_it_answers() {
    let soon = Some(Duration::from_millis(100));
    let late = Some(Duration::from_secs(6));
    let entries = one_beat(&[("a", soon), ("late", late), ("never", None)]).await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert_eq!((names(&entries[0]), entries[0].2), (vec!["a"], true));
    assert!(entries[0].3 < Duration::from_secs(4), "{entries:?}");
    assert_eq!((names(&entries[1]), entries[1].2), (vec!["late"], false));
    assert_eq!(entries[1].0, START.plus(INTERVAL), "still this beat's");
}

/// The sinks' own state is journaled once a beat, whatever the clusters do.
#[tokio::test(start_paused = true)]
async fn a_beat_without_any_answer_is_journaled_without_clusters() {
    let entries = one_beat(&[("never", None)]).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((names(&entries[0]), entries[0].2), (vec![], true));
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_clock_is_followed_within_a_second_and_makes_up_no_beat() {
    let hour = Duration::from_secs(3_600);
    let times = [
        START.plus(INTERVAL),
        START.plus(hour),
        START.plus(hour).plus(INTERVAL / 2),
        START.minus(hour),
    ];
    let entries = beats(&[("a", Some(Duration::ZERO))], &times).await;
    let seen: Vec<Timestamp> = entries.iter().map(|entry| entry.0).collect();
    assert_eq!(seen, [times[0], times[1], times[3]]);
    for (entry, set_after) in entries.iter().zip([0, 1, 3]) {
        let late = entry.3 - INTERVAL * set_after;
        assert!(late <= Duration::from_secs(1), "{entries:?}");
    }
}

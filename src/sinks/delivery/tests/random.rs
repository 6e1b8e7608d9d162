//! Thousands of virtual minutes of a server that fails in every way it can, and of a process that
//! is killed and stopped at any moment. `DELIVERY_SEED` replays one run.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::super::*;
use super::world::*;
use crate::sinks::WriteError;

const MINUTES: u64 = 240;

/// What the server does at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Hangs,
    Loses,
    Overloaded { retry_after: Option<u64> },
    Small { points: usize },
    Misconfigured,
    Choosy,
}

/// How it says that points are bad.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Names,
    Hints,
}

fn is_bad(id: Id) -> bool {
    (id.0 * 31 + i64::try_from(id.1).unwrap() * 17) % 101 == 0
}

fn mood(rng: &mut fastrand::Rng) -> Mood {
    match rng.u32(0..10) {
        0..4 => Mood::Well,
        4 => Mood::Hangs,
        5 => Mood::Loses,
        6 => Mood::Overloaded {
            retry_after: rng.bool().then(|| rng.u64(1..100)),
        },
        7 => Mood::Small {
            points: rng.usize(1..60),
        },
        8 => Mood::Misconfigured,
        _ => Mood::Choosy,
    }
}

fn answer(mood: Mood, refusal: Refusal, call: &Call, rng: &mut fastrand::Rng) -> Answer {
    let bad: Vec<_> = (0..call.ids.len())
        .filter(|at| is_bad(call.ids[*at]))
        .collect();
    let reason = || "in words".to_owned();
    match mood {
        Mood::Hangs => Answer::Hang,
        Mood::Overloaded { retry_after: None } => transient("503"),
        Mood::Overloaded {
            retry_after: Some(wait),
        } => retry_after(wait),
        Mood::Misconfigured => Answer::Err(misconfigured("401")),
        Mood::Small { points } if call.ids.len() > points => {
            Answer::Err(WriteError::TooLarge { reason: reason() })
        }
        Mood::Choosy => {
            let is_picked = |at: &usize| !bad.contains(at);
            let retry = (0..call.ids.len())
                .filter(is_picked)
                .filter(|_| rng.bool())
                .collect();
            Answer::Partial {
                rejected: bad,
                retry,
                retry_after: None,
            }
        }
        Mood::Well | Mood::Loses | Mood::Small { .. } if !bad.is_empty() => match refusal {
            Refusal::Names => Answer::Partial {
                rejected: bad,
                retry: Vec::new(),
                retry_after: None,
            },
            Refusal::Hints if call.ids.len() == 1 => {
                Answer::Err(WriteError::Rejected { reason: reason() })
            }
            Refusal::Hints => Answer::Err(WriteError::Bisect { reason: reason() }),
        },
        Mood::Loses if rng.bool() => Answer::Lost,
        Mood::Well | Mood::Loses | Mood::Small { .. } => Answer::Ok,
    }
}

struct Expected {
    rows: u64,
    bad: u64,
    holes: u64,
}

async fn live(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let now = Arc::new(Mutex::new(Mood::Well));
    let (script_now, prepare_now) = (Arc::clone(&now), Arc::clone(&now));
    let mut script_rng = rng.fork();
    let refusal = if rng.bool() {
        Refusal::Names
    } else {
        Refusal::Hints
    };
    let is_ordered = rng.bool();
    let mut world = World::with(
        move |call| answer(*script_now.lock().unwrap(), refusal, call, &mut script_rng),
        move |_| {
            if *prepare_now.lock().unwrap() == Mood::Misconfigured {
                return Err(misconfigured("401"));
            }
            Ok(())
        },
        is_ordered,
    );
    world.seed = seed;
    world.tick = seconds(1);
    world.keeps_letters = seed.is_multiple_of(8);
    world.settings.max_points = rng.usize(1..200);
    world.settings.in_flight = rng.usize(1..4);
    let mut expected = Expected {
        rows: 0,
        bad: 0,
        holes: 0,
    };
    let end = seconds(MINUTES * 60);
    while world.start.elapsed() < end {
        run_once(&world, &mut rng, &now, &mut expected, end).await;
        // A kill in the middle of a frame leaves nothing behind in the counts.
        world.counts();
    }
    *now.lock().unwrap() = Mood::Well;
    world.run(seconds(1_200)).await;
    check(seed, &world, &expected, is_ordered);
}

/// One life of a process, with beats and moods, ended by a kill or a stop.
async fn run_once(
    world: &World,
    rng: &mut fastrand::Rng,
    now: &Arc<Mutex<Mood>>,
    expected: &mut Expected,
    end: Duration,
) {
    let stop = CancellationToken::new();
    let (worker, _health) = world.worker(&stop);
    let life = Duration::from_millis(rng.u64(1..3_600_000));
    let is_stopped = rng.bool();
    let driver = async {
        let dies = (world.start.elapsed() + life).min(end);
        while world.start.elapsed() < dies {
            let rows = if rng.u32(0..20) == 0 {
                rng.u64(0..900)
            } else {
                rng.u64(0..30)
            };
            if rng.u32(0..200) == 0 {
                world.append_hole(rng.i64(1..5), rows);
                expected.holes += rows;
            } else {
                let seq = world.next_seq();
                expected.bad += (0..rows).filter(|row| is_bad((seq, *row))).count() as u64;
                world.append(rows);
            }
            expected.rows += rows;
            if rng.u32(0..6) == 0 {
                *now.lock().unwrap() = mood(rng);
            }
            let until_beat = BEAT.min(dies.saturating_sub(world.start.elapsed()));
            world.pass(until_beat).await;
        }
        if is_stopped {
            stop.cancel();
            world.pass(seconds(11)).await;
        }
    };
    tokio::select! {
        biased;
        () = driver => {}
        () = async { worker.run().await; std::future::pending::<()>().await } => {}
    }
}

fn check(seed: u64, world: &World, expected: &Expected, is_ordered: bool) {
    let [offered, delivered, filtered, rejected, expired] = world.counts();
    let Expected { rows, bad, holes } = *expected;
    assert_eq!(
        offered, rows,
        "seed {seed}: everything journaled is settled"
    );
    assert_eq!((filtered, expired), (0, holes), "seed {seed}");
    assert_eq!(rejected, bad, "seed {seed}: only what is bad is refused");
    assert_eq!(delivered, rows - bad - holes, "seed {seed}");
    let written = world.server.written.lock().unwrap();
    assert_eq!(
        written.len() as u64,
        delivered,
        "seed {seed}: what counts as written is there"
    );
    assert!(
        !world.keeps_letters || world.letters_kept() >= bad,
        "seed {seed}: every refused point has a letter"
    );
    drop(written);
    let busiest = world.server.busy.lock().unwrap().1;
    let allowed = if is_ordered {
        1
    } else {
        world.settings.in_flight
    };
    assert!(busiest <= allowed, "seed {seed}: {busiest} under way");
    world.assert_order();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_whatever_the_server_and_the_process_do() {
    let seeds = match std::env::var("DELIVERY_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..16,
    };
    for seed in seeds {
        live(seed).await;
    }
}

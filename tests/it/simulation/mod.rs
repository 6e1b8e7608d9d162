//! The core as a whole, against a world that knows the truth.
//!
//! A seeded world of producers and groups runs for half an hour of its own time, watched by several
//! processes: one that runs all along, one that starts at a random moment from the replayed and
//! compacted offsets topic, one that is cut off for minutes, one whose questions are never answered.
//! `SIM_SEED=7` plays one seed alone.
//!
//! What must hold at every beat of every process:
//!
//! - Every event has exactly one outcome; lag is exact; time lag is right within the error it names.
//! - No process shows WARN or ERR that the one running all along does not show.
//! - A group that is really stopped, stalled or falling behind is shown within two beats of a start.
//! - A group that is caught up at each commit is always OK.

#![allow(
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "the numbers of a made-up world are small, and most habits and statuses are the rest"
)]

mod process;
mod world;

use self::process::{BEAT_MS, Plan, Process, Seen};
use self::world::{BEGIN_MS, Habit, TICK_MS, World};
use lagline::lag::evaluation::Status;

const SEEDS: u64 = 100;
const LASTS_MS: i64 = 30 * 60 * 1000;

#[test]
fn every_start_and_every_blindness_is_honest() {
    let only = std::env::var("SIM_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let failed: Vec<String> = seeds.filter_map(|seed| play(seed).err()).collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Plays one seed; what went wrong, with the seed.
fn play(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut all_along = Process::start(&world, Plan::default(), seed + 1);
    let blind_from = BEGIN_MS + world.rng.i64(300_000..1_200_000);
    let blind_for = world.rng.i64(5_000..300_000);
    let cut_off = Plan {
        blind: vec![(blind_from, blind_from + blind_for)],
        duplicates: true,
        ..Plan::default()
    };
    let mut cut_off = Process::start(&world, cut_off, seed + 2);
    let starts_at = BEGIN_MS + world.rng.i64(60_000..1_500_000);
    let dirty = world.rng.i64(0..1_200_000) * i64::from(world.rng.bool());
    let mut late: Vec<Process> = Vec::new();
    while world.now < BEGIN_MS + LASTS_MS {
        world.tick();
        if late.is_empty() && world.now >= starts_at {
            let compacted_to = (0..world.offsets.len()).map(|partition| {
                let records = &world.offsets[partition];
                let boundary = records.partition_point(|r| r.at < world.now - dirty);
                if dirty == 0 { 0 } else { boundary as i64 }
            });
            let compacted_to: Vec<i64> = compacted_to.collect();
            for never_answered in [false, true] {
                let plan = Plan {
                    never_answered,
                    compacted_to: compacted_to.clone(),
                    ..Plan::default()
                };
                late.push(Process::start(&world, plan, seed + 3));
            }
        }
        all_along.tick(&world);
        cut_off.tick(&world);
        late.iter_mut().for_each(|process| process.tick(&world));
    }
    let context = |who: &str| format!("seed {seed}, dirty {} s, {who}", dirty / 1000);
    let late_names = ["late", "late, never answered"];
    honest(&world, &all_along, &cut_off).map_err(|e| format!("{}: {e}", context("cut off")))?;
    for (process, name) in late.iter().zip(late_names) {
        honest(&world, &all_along, process).map_err(|e| format!("{}: {e}", context(name)))?;
    }
    caught_up_is_ok(&world, &all_along)
        .and_then(|()| caught_up_is_ok(&world, &late[0]))
        .map_err(|e| format!("{}: {e}", context("caught up")))?;
    shown_within_two_beats(&world, &all_along, &late[0], dirty)
        .map_err(|e| format!("{}: {e}", context("shown")))
}

/// No WARN or ERR that the process running all along does not show, a beat earlier or later aside.
/// What is stale is an old status, and says so: it must be the one shown before.
fn honest(world: &World, all_along: &Process, other: &Process) -> Result<(), String> {
    for (key, beats) in &other.seen {
        let reference = &all_along.seen[key];
        let mut last = Status::Ok;
        for (&beat, seen) in beats {
            let error = |why: &str| {
                let reference: Vec<_> = reference.range(beat - 9_999..=beat).collect();
                let habit = world.groups[key.0].habit;
                let at = (beat - BEGIN_MS) / 1000;
                Err(format!(
                    "partition {key:?} {habit:?} at {at} s {why}: {seen:?} {reference:?}"
                ))
            };
            if seen.stale && seen.status != last {
                return error("is not the last status");
            }
            last = seen.status;
            if seen.stale || seen.status == Status::Ok {
                continue;
            }
            if is_excused(world, key.0, seen) {
                continue;
            }
            // Without an end offset of this beat it is judged by what was seen up to three polls ago.
            let earlier = if seen.lag.is_some() {
                BEAT_MS
            } else {
                4 * BEAT_MS
            };
            let mut around = reference.range(beat - earlier - 1..=beat + BEAT_MS);
            if around.all(|(_, other)| other.status == Status::Ok) {
                return error("is made up");
            }
        }
    }
    Ok(())
}

/// What is no fault. Between two beats a window may show WARN for a moment, and lagline may be cut off
/// right then. And where compaction has left one commit of a group that commits less than once a
/// minute, nothing tells it from one that has stopped ten minutes ago.
fn is_excused(world: &World, group: usize, seen: &Seen) -> bool {
    match seen.status {
        Status::Warn => seen.lag.is_none(),
        Status::Stop => world.groups[group].every_ms > 60_000,
        _ => false,
    }
}

/// Slower ones stop between two commits, as Burrow's rules have it.
fn caught_up_is_ok(world: &World, process: &Process) -> Result<(), String> {
    for (index, beats) in &process.groups {
        let group = &world.groups[*index];
        if group.habit != Habit::CaughtUp || group.every_ms > 90_000 {
            continue;
        }
        if let Some((beat, said)) = beats.iter().find(|(_, said)| said.0 != Status::Ok) {
            return Err(format!(
                "group {index} at {} s: {said:?}",
                (beat - BEGIN_MS) / 1000
            ));
        }
    }
    Ok(())
}

/// A partition that the process running all along has shown as bad for a minute before the start,
/// and goes on to, is shown within two beats after it, or three of the first evaluation's.
fn shown_within_two_beats(
    world: &World,
    all_along: &Process,
    late: &Process,
    dirty: i64,
) -> Result<(), String> {
    let Some(loaded_at) = late.loaded_at else {
        return Err("never loaded".to_owned());
    };
    for (key, beats) in &all_along.seen {
        let around = loaded_at - 60_000..loaded_at + 3 * BEAT_MS;
        if around.end > world.now {
            continue;
        }
        let log = &world.topics[world.groups[key.0].topic][key.1];
        let written = log.end_at(loaded_at) - log.end_at(loaded_at - 100_000);
        let clear = |seen: &Seen| match seen.status {
            Status::Ok => false,
            Status::Warn => seen.growth() > 10 + written / 5,
            _ => true,
        };
        let beats: Vec<_> = beats.range(around).map(|(_, seen)| seen).collect();
        if beats.len() < 8 || !beats.iter().all(|seen| clear(seen)) {
            continue;
        }
        if dirty > 0 {
            // What compaction has cut short may be shown later.
            continue;
        }
        let seen = late.seen.get(key);
        let soon = loaded_at..loaded_at + 2 * BEAT_MS + TICK_MS;
        let shown =
            seen.is_some_and(|seen| seen.range(soon).any(|(_, seen)| seen.status != Status::Ok));
        if !shown {
            return Err(format!(
                "partition {key:?} {:?} loaded at {} s: {:?}",
                world.groups[key.0].habit,
                (loaded_at - BEGIN_MS) / 1000,
                seen.map(|seen| seen.range(loaded_at..).take(4).collect::<Vec<_>>())
            ));
        }
    }
    Ok(())
}

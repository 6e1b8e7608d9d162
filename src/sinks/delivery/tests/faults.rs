use super::super::*;
use super::world::*;
use crate::points::sample;
use crate::sinks::WriteError;

#[tokio::test(start_paused = true)]
async fn a_backlog_goes_out_in_full_batches_two_at_a_time() {
    let world = World::new(|_| Answer::Ok);
    (0..10).for_each(|_| world.append(25));
    let health = world.run(seconds(1)).await;
    assert_eq!(world.counts(), [250, 250, 0, 0, 0]);
    assert_eq!(world.server.sizes(), [100, 100, 50]);
    assert_eq!(world.server.busy.lock().unwrap().1, 2, "two under way");
    assert_eq!(health.state, State::Delivering);
    assert_eq!(
        (
            health.traffic.attempts,
            health.traffic.retries,
            health.traffic.batches
        ),
        (3, 0, 3)
    );
    assert_eq!(health.traffic.bytes, 25_000);
    world.assert_order();
}

#[tokio::test(start_paused = true)]
async fn a_beat_is_not_kept_waiting_for_a_full_batch() {
    let world = World::new(|_| Answer::Ok);
    let beats = async {
        for _ in 0..3 {
            world.append(1);
            world.append(2);
            world.pass(BEAT).await;
        }
    };
    let (worker, _) = world.worker(&Default::default());
    tokio::select! { () = worker.run() => {}, () = beats => {} }
    assert_eq!(world.server.seconds(), [0, 10, 20]);
    assert_eq!(
        world.server.sizes(),
        [3, 3, 3],
        "frames of one moment go together"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_needs_order_has_one_request_under_way() {
    let world = World::ordered(|call| {
        if call.nth == 1 {
            transient("503")
        } else {
            Answer::Ok
        }
    });
    (0..5).for_each(|_| world.append(100));
    world.run(seconds(5)).await;
    assert_eq!(world.server.busy.lock().unwrap().1, 1);
    let calls = world.server.calls.lock().unwrap();
    let firsts: Vec<_> = calls.iter().map(|call| call.ids[0].0).collect();
    assert_eq!(
        firsts,
        [1, 2, 2, 3, 4, 5],
        "the second again before the third"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hang_is_ended_by_the_time_out_and_tried_again() {
    let world = World::first(|| Answer::Hang);
    world.append(7);
    world.run(seconds(9)).await;
    assert_eq!(
        world.counts(),
        [0, 0, 0, 0, 0],
        "nothing is settled while it hangs"
    );
    let health = world.run(seconds(20)).await;
    assert_eq!(world.counts(), [7, 7, 0, 0, 0]);
    assert_eq!(health.state, State::Delivering);

    let world = World::first(|| Answer::Hang);
    world.append(7);
    world.run(seconds(20)).await;
    assert_eq!(
        world.server.seconds(),
        [0, 10],
        "after 10 s and at most 0.25 s"
    );
    assert_eq!((world.counts(), world.doubles()), ([7, 7, 0, 0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_arrives_doubles_at_most_its_own_batch() {
    let world = World::first(|| Answer::Lost);
    (0..3).for_each(|_| world.append(100));
    world.run(seconds(20)).await;
    assert_eq!(
        (world.counts(), world.doubles()),
        ([300, 300, 0, 0, 0], 100)
    );
}

#[tokio::test(start_paused = true)]
async fn while_failing_one_request_at_a_time_asks_whether_it_is_over() {
    let world = World::new(|call| {
        if call.at < seconds(300) {
            transient("503 overloaded")
        } else {
            Answer::Ok
        }
    });
    (0..20).for_each(|_| world.append(100));
    let health = world.run(seconds(250)).await;
    let State::Retrying { reason, since, .. } = health.state else {
        panic!("{health:?}")
    };
    assert_eq!((reason.as_str(), since), ("503 overloaded", sample::BEAT));
    let before = world.server.calls.lock().unwrap().clone();
    assert!(
        before[2..].iter().all(|call| call.ids[0].0 == 1),
        "the oldest is the probe"
    );
    assert!(
        (8..40).contains(&before.len()),
        "{} tries in 250 s",
        before.len()
    );
    world.run(seconds(200)).await;
    assert_eq!(
        (world.counts(), world.doubles()),
        ([2000, 2000, 0, 0, 0], 0)
    );
    world.assert_order();
    let calls = world.server.calls.lock().unwrap();
    let first_good = calls
        .iter()
        .position(|call| call.at >= seconds(300))
        .unwrap();
    let last_good = calls.last().unwrap().at;
    assert!(
        last_good - calls[first_good].at < seconds(1),
        "then at full speed"
    );
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_server_asks_but_no_longer_than_ten_minutes() {
    for (asked, waits) in [(30, 30), (90, 90), (3_600, 600)] {
        let world = World::first(move || retry_after(asked));
        world.append(1);
        let health = world.run(seconds(10)).await;
        let State::Retrying { next_try, .. } = health.state else {
            panic!("{health:?}")
        };
        assert_eq!(next_try.as_secs() - sample::BEAT.as_secs(), waits);

        let world = World::first(move || retry_after(asked));
        world.append(1);
        world.run(seconds(waits.unsigned_abs() + 5)).await;
        assert_eq!(
            world.server.seconds(),
            [0, waits.unsigned_abs()],
            "asked for {asked} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_under_way_does_not_shorten_the_wait() {
    // Two go out together: the first is told to wait 60 s, the second fails and then knows no wait.
    let world = World::new(|call| match call.nth {
        0 => retry_after(60),
        1 => transient("503"),
        _ => Answer::Ok,
    });
    (0..2).for_each(|_| world.append(100));
    world.run(seconds(70)).await;
    assert_eq!(world.server.seconds(), [0, 0, 60, 60]);
    assert_eq!(world.counts(), [200, 200, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn halves_what_is_too_large_and_remembers_the_size() {
    let world = World::new(|call| {
        if call.ids.len() > 30 {
            Answer::Err(WriteError::TooLarge {
                reason: "413".to_owned(),
            })
        } else {
            Answer::Ok
        }
    });
    (0..4).for_each(|_| world.append(100));
    let health = world.run(seconds(1)).await;
    assert_eq!((world.counts(), world.doubles()), ([400, 400, 0, 0, 0], 0));
    let sizes = world.server.sizes();
    assert!(
        sizes.iter().filter(|size| **size > 30).count() <= 4,
        "learns: {sizes:?}"
    );
    assert!(health.max_points <= 31, "{}", health.max_points);
    assert_eq!(health.traffic.letters_lost, 0);
    world.assert_order();
}

#[tokio::test(start_paused = true)]
async fn the_learned_size_grows_back_slowly() {
    let world = World::first(|| {
        Answer::Err(WriteError::TooLarge {
            reason: "413".to_owned(),
        })
    });
    (0..200).for_each(|_| world.append(100));
    let health = world.run(seconds(10)).await;
    assert_eq!(world.counts(), [20_000, 20_000, 0, 0, 0]);
    assert!(
        (70..100).contains(&health.max_points),
        "{}",
        health.max_points
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_point_that_is_too_large_is_a_dead_letter() {
    let world = World::new(|call| {
        if call.ids.contains(&(1, 3)) {
            Answer::Err(WriteError::TooLarge {
                reason: "413".to_owned(),
            })
        } else {
            Answer::Ok
        }
    });
    world.append(8);
    let health = world.run(seconds(1)).await;
    assert_eq!((world.counts(), world.letters_kept()), ([8, 7, 0, 1, 0], 1));
    assert_eq!(health.last_rejection.as_deref(), Some("413"));
}

#[tokio::test(start_paused = true)]
async fn of_a_partial_answer_only_what_is_left_is_sent_again() {
    let world = World::new(|call| match call.nth {
        0 => Answer::Partial {
            rejected: vec![1, 7],
            retry: vec![2, 7, 99],
            retry_after: None,
        },
        _ => Answer::Ok,
    });
    world.append(10);
    let health = world.run(seconds(2)).await;
    // 7 is refused and to be sent again: refused wins. 99 is not in the batch.
    assert_eq!(world.counts(), [10, 8, 0, 2, 0]);
    assert_eq!(
        (world.server.sizes(), world.letters_kept()),
        (vec![10, 1], 2)
    );
    assert_eq!((health.traffic.retries, world.doubles()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_partial_answer_waits_as_long_as_it_says() {
    let world = World::new(|call| match call.nth {
        0 => Answer::Partial {
            rejected: vec![],
            retry: vec![0],
            retry_after: Some(seconds(20)),
        },
        _ => Answer::Ok,
    });
    world.append(2);
    world.run(seconds(25)).await;
    assert_eq!(
        (world.server.seconds(), world.counts()),
        (vec![0, 20], [2, 2, 0, 0, 0])
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_as_a_whole_becomes_dead_letters_and_it_goes_on() {
    let world = World::first(|| {
        Answer::Err(WriteError::Rejected {
            reason: "no".to_owned(),
        })
    });
    (0..2).for_each(|_| world.append(100));
    world.run(seconds(1)).await;
    assert_eq!(
        (world.counts(), world.letters_kept()),
        ([200, 100, 0, 100, 0], 100)
    );
}

#[tokio::test(start_paused = true)]
async fn bisects_to_the_bad_points() {
    let bad = [(1, 0), (1, 57), (2, 99)];
    let world = World::new(move |call| {
        if call.ids.iter().any(|id| bad.contains(id)) {
            Answer::Err(WriteError::Bisect {
                reason: "one is bad".to_owned(),
            })
        } else {
            Answer::Ok
        }
    });
    (0..2).for_each(|_| world.append(100));
    world.run(seconds(2)).await;
    assert_eq!(
        (world.counts(), world.letters_kept()),
        ([200, 197, 0, 3, 0], 3)
    );
    assert_eq!(world.doubles(), 0);
    assert!(world.server.sizes().len() < 50, "halves, not one by one");
}

#[tokio::test(start_paused = true)]
async fn a_misconfigured_sink_keeps_its_data_and_is_prepared_again_until_it_is_mended() {
    // The database is dropped after the first write, and somebody makes it again after 200 s.
    let world = World::with(
        |call| {
            if (1..=3).contains(&call.nth) {
                Answer::Err(misconfigured("404 database not found"))
            } else {
                Answer::Ok
            }
        },
        |nth| {
            if (1..=2).contains(&nth) {
                Err(misconfigured("cannot make it"))
            } else {
                Ok(())
            }
        },
        false,
    );
    world.append(3);
    world.run(seconds(1)).await;
    world.server.prepared.lock().unwrap().clear();
    world.append(4);
    let world_at = world.start.elapsed();
    let health = world.run(seconds(40)).await;
    let State::Misconfigured { reason, .. } = health.state else {
        panic!("{health:?}")
    };
    assert!(
        reason == "404 database not found" || reason == "cannot make it",
        "{reason}"
    );
    assert_eq!(world.counts(), [3, 3, 0, 0, 0]);
    world.run(seconds(400)).await;
    assert_eq!((world.counts(), world.doubles()), ([7, 7, 0, 0, 0], 0));
    let prepared = world.server.prepared.lock().unwrap();
    // Of the two workers: the first prepares at once, then each 30 to 60 s.
    let gaps: Vec<_> = prepared
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert!(
        prepared[0] - world_at < seconds(1) && prepared.len() >= 4,
        "{prepared:?}"
    );
    assert!(gaps.iter().all(|gap| (9..=60).contains(gap)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_sink_is_prepared() {
    let world = World::with(
        |_| Answer::Ok,
        |nth| {
            if nth < 3 {
                Err(misconfigured("401 wrong token"))
            } else {
                Ok(())
            }
        },
        false,
    );
    let health = world.run(seconds(20)).await;
    assert!(
        matches!(health.state, State::Misconfigured { .. }),
        "said without a beat: {health:?}"
    );
    world.append(5);
    world.run(seconds(20)).await;
    assert_eq!(world.server.sizes().len(), 0);
    let health = world.run(seconds(100)).await;
    assert_eq!(
        (world.counts(), health.state),
        ([5, 5, 0, 0, 0], State::Delivering)
    );
}

#[tokio::test(start_paused = true)]
async fn memory_does_not_grow_with_the_outage() {
    let world = World::new(|call| {
        if call.at < seconds(3_000) {
            transient("503")
        } else {
            Answer::Ok
        }
    });
    (0..1_000).for_each(|_| world.append(1_000));
    world.run(seconds(2_900)).await;
    assert!(
        world.read() <= 4,
        "{} of 1000 frames are in memory",
        world.read()
    );
    world.run(seconds(400)).await;
    assert_eq!(
        (world.counts(), world.doubles()),
        ([1_000_000, 1_000_000, 0, 0, 0], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_which_little_is_wanted_still_counts_as_memory() {
    let mut world = World::new(|_| transient("503"));
    world.settings = DeliverySettings {
        detail: Detail::Group,
        ..DeliverySettings::default()
    };
    let rows = sample::wide(1, 10, 5_000).rows;
    (1..=10).for_each(|seq| world.append_frame(sample::wide(seq, 10, 5_000)));
    world.run(seconds(100)).await;
    assert_eq!(
        world.read() as u64,
        200_000 / rows + 1,
        "11 points a frame, but {rows} rows"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_delivered_any_more() {
    let mut world = World::new(|call| {
        if call.at < seconds(100) {
            transient("503")
        } else {
            Answer::Ok
        }
    });
    world.settings.max_age = Some(seconds(60));
    world.settings.in_flight = 1;
    // One every 10 s, 40 points each.
    let beats = async {
        for _ in 0..20 {
            world.append(40);
            world.pass(BEAT).await;
        }
    };
    let (worker, _) = world.worker(&Default::default());
    tokio::select! { () = worker.run() => {}, () = beats => {} }
    let [offered, delivered, 0, 0, expired] = world.counts() else {
        panic!()
    };
    assert_eq!((offered, delivered + expired), (800, 800));
    assert!(
        (160..=640).contains(&expired),
        "{expired}: those of the first 40 to 160 s"
    );
    let written = world.server.written.lock().unwrap();
    assert_eq!(written.len() as u64, delivered);
    assert!(
        written.keys().all(|(seq, _)| *seq > 4),
        "none older than 60 s at 100 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_journal_counts_as_expired() {
    let world = World::new(|_| Answer::Ok);
    world.append(5);
    world.append_hole(3, 70);
    world.append(6);
    world.run(seconds(1)).await;
    assert_eq!(world.counts(), [81, 11, 0, 0, 70]);
    assert_eq!(world.cursor().seq.0, 5);
    let holes = world.holes.lock().unwrap();
    let holes: Vec<_> = holes
        .iter()
        .map(|it| (it.first.0, it.last.0, it.rows))
        .collect();
    assert_eq!(holes, [(2, 4, 70)]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_journal_is_read_once_and_small_frames_share_a_request() {
    let mut world = World::new(|_| Answer::Ok);
    // A request takes 5 ms, fetching a frame 1 ms.
    world.fetch = Duration::from_millis(1);
    (0..60).for_each(|_| world.append(4));
    world.run(seconds(1)).await;
    assert_eq!(world.counts(), [240, 240, 0, 0, 0]);
    assert_eq!(
        *world.fetches.lock().unwrap(),
        60,
        "no fetch is begun twice"
    );
    let requests = world.server.sizes().len();
    assert!(requests <= 30, "{requests} requests for 60 frames");
}

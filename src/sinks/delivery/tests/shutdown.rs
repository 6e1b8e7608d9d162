use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::*;
use super::world::*;

/// Runs a worker, tells it to stop at `stop_at`; how long it took to end after that.
async fn stopped(world: &World, stop_at: Duration) -> Duration {
    let stop = CancellationToken::new();
    let (worker, health) = world.worker(&stop);
    let mut ended = None;
    let run = async {
        worker.run().await;
        ended = Some(Instant::now());
    };
    let mut told = Instant::now();
    let driver = async {
        world.pass(stop_at).await;
        stop.cancel();
        told = Instant::now();
        world.pass(seconds(30)).await;
    };
    tokio::join!(run, driver);
    assert_eq!(health.borrow().state, State::Stopped);
    ended.unwrap() - told
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_ends_at_once() {
    let world = World::new(|_| Answer::Ok);
    world.append(3);
    assert_eq!(stopped(&world, seconds(1)).await, Duration::ZERO);
    assert_eq!(world.counts(), [3, 3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_journaled_is_flushed_before_the_end() {
    let world = World::new(|_| Answer::Ok);
    (0..100).for_each(|_| world.append(100));
    let took = stopped(&world, Duration::from_millis(7)).await;
    assert!(took < seconds(1), "{took:?}");
    assert_eq!(world.counts(), [10_000, 10_000, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_delays_the_end_by_ten_seconds_and_keeps_its_data() {
    let world = World::new(|call| {
        if call.nth < 3 {
            Answer::Hang
        } else {
            Answer::Ok
        }
    });
    (0..3).for_each(|_| world.append(100));
    let took = stopped(&world, seconds(3)).await;
    assert_eq!(took.as_secs(), 10);
    assert_eq!(world.counts(), [0; 5]);
    world.run(seconds(20)).await;
    assert_eq!((world.counts(), world.doubles()), ([300, 300, 0, 0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_end_is_not_waited_for() {
    let world = World::new(|_| retry_after(300));
    world.append(3);
    assert_eq!(stopped(&world, seconds(1)).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_while_flushing_gets_what_is_left() {
    let world = World::new(|call| {
        if call.at < seconds(4) {
            retry_after(2)
        } else {
            Answer::Ok
        }
    });
    world.append(3);
    assert!(stopped(&world, seconds(1)).await < seconds(5));
    assert_eq!(world.counts(), [3, 3, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_behind_the_last_whole_frame() {
    // The first frame fits into one request and a half; the second request of it hangs.
    let world = World::ordered(|call| {
        if call.nth == 2 {
            Answer::Hang
        } else {
            Answer::Ok
        }
    });
    world.append(50);
    world.append(200);
    world.run(seconds(5)).await;
    assert_eq!(
        (world.cursor().seq.0, world.counts()),
        (1, [50, 50, 0, 0, 0])
    );
    world.run(seconds(5)).await;
    assert_eq!(
        (world.cursor().seq.0, world.counts()),
        (2, [250, 250, 0, 0, 0])
    );
    let written = world.server.written.lock().unwrap();
    assert_eq!(written.len(), 250);
    assert!(
        written
            .iter()
            .all(|((seq, _), times)| *seq == 2 || *times == 1),
        "frame 1 only once"
    );
}

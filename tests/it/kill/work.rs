//! Groups that commit to many partitions all the time.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kafka_client::{At, Client};
use crate::services::unique;

const TICK: Duration = Duration::from_millis(250);
/// Enough for dozens of requests a beat.
const PARTITIONS: i32 = 100;
/// The partitions that get records.
const BUSY: i32 = 4;
const PER_TICK: i64 = 5;

/// The groups at work. Dropping it ends them.
pub struct Work {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Work {
    /// Starts three groups with this beginning of a name: one keeps up, one commits the same
    /// offsets all the time, one pauses now and then, so that statuses change.
    pub fn begin(client: &Client, groups: &str) -> Self {
        let (client, topic) = (client.clone(), unique("topic"));
        client.create_topic(&topic, PARTITIONS);
        let names = ["steady", "stalled", "pausing"].map(|kind| format!("{groups}-{kind}"));
        let (stop, inbox) = sync_channel(0);
        let work = move || {
            let mut tick = 0;
            while inbox.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                tick += 1;
                act(&client, &topic, &names, tick);
            }
        };
        Self {
            stop: Some(stop),
            thread: Some(std::thread::spawn(work)),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("the groups worked to the end");
        }
    }
}

fn act(client: &Client, topic: &str, [steady, stalled, pausing]: &[String; 3], tick: i64) {
    for partition in 0..BUSY {
        client.produce(topic, partition, usize::try_from(PER_TICK).unwrap());
    }
    let at = |offset: i64| -> Vec<At<'_>> {
        let offset = |partition| if partition < BUSY { offset } else { 0 };
        (0..PARTITIONS)
            .map(|partition| (topic, partition, offset(partition)))
            .collect()
    };
    client.commit(steady, &at(PER_TICK * tick));
    client.commit(stalled, &at(1));
    if tick % 40 < 20 {
        client.commit(pausing, &at(PER_TICK * tick - 1));
    }
}

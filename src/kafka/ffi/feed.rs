//! Records of one topic in batches, all partitions through one queue.
//!
//! Uses librdkafka's plain consumer calls (start and stop of a partition): without a group id no
//! coordinator is looked up, nothing can be committed, and no permission on a group is needed.
//! Batches cost half of what polling single messages does. The client must be polled as well: log
//! lines and errors of its connections arrive there.

use std::ffi::{CString, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

use super::{Code, code_at, timeout_ms};

/// Records handed over at once, at most.
const BATCH: usize = 1024;

/// What arrives from a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'b> {
    Record {
        partition: i32,
        offset: i64,
        key: Option<&'b [u8]>,
        /// Absent in a tombstone.
        value: Option<&'b [u8]>,
    },
    /// The end of the partition; `offset` is the next one that will be written. Comes each time the
    /// end is reached, also past control records.
    End { partition: i32, offset: i64 },
    /// Fetching the partition failed.
    Failed { partition: i32, code: Code },
}

/// Reads those partitions of one topic that were started. Stays on its thread.
pub struct Feed<'client> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    topic: NonNull<sys::rd_kafka_topic_t>,
    started: Vec<i32>,
    slots: Box<[*mut sys::rd_kafka_message_t; BATCH]>,
    lifetime: PhantomData<&'client ()>,
}

impl<'client> Feed<'client> {
    /// A feed with no partition started; `None` when librdkafka refuses the topic's name.
    pub fn new<C: ClientContext>(client: &'client Client<C>, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: client and name are alive; a null configuration means the client's own. A queue is
        // always made: librdkafka ends the process when there is no memory.
        let (topic, queue) = unsafe {
            let client = client.native_ptr();
            let topic = sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut());
            (NonNull::new(topic)?, sys::rd_kafka_queue_new(client))
        };
        Some(Self {
            queue: NonNull::new(queue).expect("librdkafka always makes a queue"),
            topic,
            started: Vec::new(),
            slots: Box::new([ptr::null_mut(); BATCH]),
            lifetime: PhantomData,
        })
    }

    /// Begins (or begins anew) to fetch a partition at `offset`.
    ///
    /// # Errors
    /// When `partition` or `offset` is negative.
    pub fn start(&mut self, partition: i32, offset: i64) -> Result<(), Code> {
        if offset < 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        self.stop(partition);
        // SAFETY: topic and queue are alive; librdkafka keeps its own reference to the queue.
        let result = unsafe {
            sys::rd_kafka_consume_start_queue(
                self.topic.as_ptr(),
                partition,
                offset,
                self.queue.as_ptr(),
            )
        };
        if result != 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        self.started.push(partition);
        Ok(())
    }

    /// Stops fetching a partition; what was fetched and not handed over is dropped.
    pub fn stop(&mut self, partition: i32) {
        if let Some(index) = self.started.iter().position(|known| *known == partition) {
            self.started.swap_remove(index);
            // SAFETY: the topic is alive. It fails only for a partition that is unknown, which is
            // stopped then.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
        }
    }

    /// What has arrived, waiting until a batch is full or `timeout` is over.
    pub fn next(&mut self, timeout: Duration) -> Batch<'_> {
        // SAFETY: the slots have room for BATCH pointers; librdkafka fills the first `count`.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                timeout_ms(timeout),
                self.slots.as_mut_ptr(),
                BATCH,
            )
        };
        Batch(&mut self.slots[..usize::try_from(count).unwrap_or(0)])
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        while let Some(partition) = self.started.last() {
            self.stop(*partition);
        }
        // SAFETY: both were made by this feed and are destroyed once, while the client lives.
        unsafe {
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

impl fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

/// Messages taken out of the queue; they live until this is dropped.
#[derive(Debug)]
pub struct Batch<'feed>(&'feed mut [*mut sys::rd_kafka_message_t]);

impl Batch<'_> {
    /// How many things arrived.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing arrived in time.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What arrived; in order within a partition.
    pub fn iter(&self) -> impl Iterator<Item = Arrival<'_>> {
        // SAFETY: each slot holds a message until Drop, which cannot run while `self` is borrowed.
        self.0.iter().map(|message| unsafe { arrival(*message) })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.0.iter_mut() {
            // SAFETY: the message is ours since it was taken out of the queue; destroyed once.
            unsafe { sys::rd_kafka_message_destroy(*message) };
            *message = ptr::null_mut();
        }
    }
}

/// # Safety
/// `message` points to a message that lives and stays unchanged for `'b`.
unsafe fn arrival<'b>(message: *const sys::rd_kafka_message_t) -> Arrival<'b> {
    // SAFETY: plain fields of a live message; the error is read as a number.
    let (partition, offset, code) = unsafe {
        (
            (*message).partition,
            (*message).offset,
            code_at(&raw const (*message).err),
        )
    };
    match code {
        // SAFETY: key and payload are null or point to that many bytes inside the message.
        None => unsafe {
            Arrival::Record {
                partition,
                offset,
                key: bytes((*message).key, (*message).key_len),
                value: bytes((*message).payload, (*message).len),
            }
        },
        Some(Code::PARTITION_EOF) => Arrival::End { partition, offset },
        Some(code) => Arrival::Failed { partition, code },
    }
}

/// # Safety
/// `first` is null or points to `length` bytes that live and stay unchanged for `'b`.
unsafe fn bytes<'b>(first: *const c_void, length: usize) -> Option<&'b [u8]> {
    let first = NonNull::new(first.cast_mut())?.cast::<u8>();
    // SAFETY: the caller promises the bytes.
    Some(unsafe { slice::from_raw_parts(first.as_ptr(), length) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::Consumer;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use super::*;
    use crate::kafka::client::{KafkaClient, KafkaSettings, Role};
    use crate::lag::ids::ClusterName;

    const WAIT: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(50);

    fn reader(servers: &str) -> KafkaClient {
        let mut settings = KafkaSettings::new(vec![servers.to_owned()]);
        // An empty fetch of the mock cluster waits that long.
        for (name, value) in [("fetch.wait.max.ms", "10"), ("fetch.min.bytes", "1")] {
            settings
                .properties
                .insert(name.to_owned(), value.to_owned());
        }
        settings
            .client(Role::Reader, &ClusterName::new("mock"))
            .unwrap()
    }

    /// Partition 0 gets "a", and "b" without value; partition 1 nothing.
    fn fill(servers: &str) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .unwrap();
        let records: [BaseRecord<'_, str, str>; 2] = [
            BaseRecord::to("t").partition(0).key("a").payload("1"),
            BaseRecord::to("t").partition(0).key("b"),
        ];
        for record in records {
            producer.send(record).unwrap();
        }
        producer.flush(WAIT).unwrap();
    }

    #[test]
    fn hands_over_records_tombstones_and_ends() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 2, 1).unwrap();
        fill(&mock.bootstrap_servers());
        let client = reader(&mock.bootstrap_servers());
        let mut feed = Feed::new(client.client(), "t").unwrap();
        assert_eq!(feed.start(0, -2), Err(Code::INVALID_ARGUMENT));
        feed.start(0, 0).unwrap();
        feed.start(1, 0).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let batch = feed.next(MOMENT);
            seen.extend(batch.iter().map(|arrival| format!("{arrival:?}")));
        }
        seen.sort();
        assert_eq!(
            seen,
            [
                "End { partition: 0, offset: 2 }",
                "End { partition: 1, offset: 0 }",
                "Record { partition: 0, offset: 0, key: Some([97]), value: Some([49]) }",
                "Record { partition: 0, offset: 1, key: Some([98]), value: None }",
            ]
        );
    }

    #[test]
    fn a_partition_can_be_started_again_elsewhere() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        fill(&mock.bootstrap_servers());
        let client = reader(&mock.bootstrap_servers());
        let mut feed = Feed::new(client.client(), "t").unwrap();
        for from in [1, 0, 1] {
            feed.start(0, from).unwrap();
            let first = loop {
                let batch = feed.next(MOMENT);
                let mut offsets = batch.iter().filter_map(|arrival| match arrival {
                    Arrival::Record { offset, .. } => Some(offset),
                    Arrival::End { .. } | Arrival::Failed { .. } => None,
                });
                if let Some(offset) = offsets.next() {
                    break offset;
                }
            };
            assert_eq!(first, from);
        }
    }

    #[test]
    fn a_position_behind_the_end_is_reported_not_moved() {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        fill(&mock.bootstrap_servers());
        let client = reader(&mock.bootstrap_servers());
        let mut feed = Feed::new(client.client(), "t").unwrap();
        feed.start(0, 7).unwrap();
        let arrival = loop {
            let batch = feed.next(MOMENT);
            if let Some(arrival) = batch.iter().next() {
                break format!("{arrival:?}");
            }
        };
        let code = Code::AUTO_OFFSET_RESET;
        assert_eq!(
            arrival,
            format!("{:?}", Arrival::Failed { partition: 0, code })
        );
        // It can go on from where the log really is.
        feed.start(0, 1).unwrap();
        let record = loop {
            let batch = feed.next(MOMENT);
            if let Some(arrival) = batch.iter().next() {
                break format!("{arrival:?}");
            }
        };
        assert!(
            record.starts_with("Record { partition: 0, offset: 1"),
            "{record}"
        );
    }
}

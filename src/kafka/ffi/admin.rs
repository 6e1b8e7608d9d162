//! ListOffsets, DescribeTopics and DescribeCluster: many questions in flight, answers in the order
//! they arrive.
//!
//! Each question carries a tag that comes back with its answer. A question has a timeout of its own,
//! so that nothing piles up in librdkafka when the asker goes away; dropping [`Questions`] drops the
//! answers that are still on their way.

mod configs;

use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys::types::RDKafka;
use rdkafka_sys::{self as sys, rd_kafka_admin_op_t as Op};

use super::{Code, code_at, elements, failed, text_at, timeout_ms};
use crate::kafka::client::Isolation;
use crate::lag::ids::TopicId;

/// How much longer than the asker librdkafka waits for an answer.
///
/// It gives a question up on another thread, also while the asking thread is still writing to it (see
/// [`Questions::list_offsets`]): a time-out of a millisecond would end the process. And an asker that
/// is always the first to lose patience can tell a slow broker from one that answered nothing.
const GRACE: Duration = Duration::from_secs(1);

/// The log end offset, as ListOffsets writes it in place of a timestamp.
pub const LOG_END: i64 = -1;
/// The log start offset, as ListOffsets writes it in place of a timestamp.
pub const LOG_START: i64 = -2;

/// Asks questions on one client. Stays on its thread.
#[derive(Debug)]
pub struct Questions<'client> {
    client: NonNull<RDKafka>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    isolation: Isolation,
    lifetime: PhantomData<&'client ()>,
}

/// One partition in a ListOffsets question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedOffset<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// [`LOG_END`], [`LOG_START`], or a timestamp in ms: the offset of the first record that is not
    /// older.
    pub at: i64,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    Offsets(Offsets),
    Topics(Vec<DescribedTopic>),
    Cluster(DescribedCluster),
    /// The question as a whole failed.
    Failed(Code),
}

/// One partition in an answer to ListOffsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredOffset<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// -1: no record is that new. `None`: the leader did not answer.
    pub offset: Option<Result<i64, Code>>,
}

/// What a topic is, as DescribeTopics tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    pub name: String,
    pub outcome: Result<TopicFacts, Code>,
}

/// The parts of a topic's description that plain metadata lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Absent before Kafka 2.8.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partitions: i32,
    /// Those that have a leader.
    pub led: Vec<i32>,
    pub operations: Option<Operations>,
}

/// What DescribeCluster tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedCluster {
    pub cluster_id: Option<String>,
    pub brokers: usize,
    pub operations: Option<Operations>,
}

/// What the asking user may do, when the broker tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(u32);

impl Operations {
    /// Operation numbers of Kafka's `AclOperation`.
    const READ: u32 = 3;
    const DESCRIBE: u32 = 8;

    /// May read records.
    pub fn may_read(self) -> bool {
        self.0 & (1 << Self::READ) != 0
    }

    /// May see that it exists, its partitions and offsets.
    pub fn may_describe(self) -> bool {
        self.0 & (1 << Self::DESCRIBE) != 0
    }
}

impl<'client> Questions<'client> {
    /// A place for questions on `client`.
    pub fn new<C: ClientContext>(client: &'client Client<C>) -> Self {
        // SAFETY: the client is alive. A queue is always made: librdkafka ends the process when
        // there is no memory.
        let (client, queue) = unsafe {
            let client = client.native_ptr();
            (client, sys::rd_kafka_queue_new(client))
        };
        Self {
            client: NonNull::new(client).expect("a client has a handle"),
            queue: NonNull::new(queue).expect("librdkafka always makes a queue"),
            isolation: Isolation::ReadUncommitted,
            lifetime: PhantomData,
        }
    }

    /// Takes the log end offset as a reader of that isolation sees it: with
    /// [`Isolation::ReadCommitted`] it is in front of the first open transaction.
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Asks for one offset of each of these partitions, each named once.
    /// False when a name holds a zero byte, which no topic's name does: nothing is asked then.
    ///
    /// Ask only about partitions whose leader librdkafka knows: when it does not (no metadata answer
    /// named one, or an answer to ListOffsets said [`Code::is_about_leaders`], at which it forgets
    /// the topic), the question waits for metadata, and librdkafka 2.12 ends the process when that
    /// arrives while this function is still busy with it
    /// (`rd_kafka_topic_partition_list_query_leaders_async`: the operation is freed twice).
    pub fn list_offsets<'a>(
        &self,
        tag: usize,
        asked: impl ExactSizeIterator<Item = AskedOffset<'a>>,
        timeout: Duration,
    ) -> bool {
        let Some(list) = PartitionList::new(asked) else {
            return false;
        };
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS, tag, timeout, false);
        // SAFETY: client, list, options and queue are alive; librdkafka copies list and options.
        unsafe {
            sys::rd_kafka_ListOffsets(
                self.client.as_ptr(),
                list.0.as_ptr(),
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
        }
        true
    }

    /// Asks broker `via` (absent: the controller) for ids (and, with `operations`, the own permissions)
    /// of these topics, each named once. Never creates a topic. False when a name holds a zero byte: nothing is asked then.
    pub fn describe_topics<'a>(
        &self,
        tag: usize,
        names: impl Iterator<Item = &'a str>,
        via: Option<i32>,
        operations: bool,
        timeout: Duration,
    ) -> bool {
        let Ok(names) = names.map(CString::new).collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options = self.options(
            Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            tag,
            timeout,
            operations,
        );
        if let Some(broker) = via.filter(|broker| *broker >= 0) {
            // SAFETY: the options are alive, a broker id is in range, so that no error needs a buffer.
            unsafe {
                sys::rd_kafka_AdminOptions_set_broker(
                    options.0.as_ptr(),
                    broker,
                    std::ptr::null_mut(),
                    0,
                );
            }
        }
        // SAFETY: the pointers are NUL-terminated strings that live until the end of this function;
        // librdkafka copies them into the collection, and the collection and options into the
        // question; the collection is destroyed once.
        unsafe {
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(
                self.client.as_ptr(),
                topics,
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
        true
    }

    /// Asks for the cluster's id, brokers and the own permissions on it.
    pub fn describe_cluster(&self, tag: usize, timeout: Duration) {
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, tag, timeout, true);
        // SAFETY: client, options and queue are alive; librdkafka copies the options.
        unsafe {
            sys::rd_kafka_DescribeCluster(
                self.client.as_ptr(),
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
        }
    }

    /// Waits at most `timeout` for the next answer: its question's tag, and what was said.
    pub fn next(&self, timeout: Duration) -> Option<(usize, Answer)> {
        // SAFETY: the queue is alive; the event is ours, and `Event` destroys it once.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms(timeout)) };
        let event = Event(NonNull::new(event)?);
        // SAFETY: the event is alive; the opaque is the tag as `options` put it in, never followed.
        let tag = unsafe { sys::rd_kafka_event_opaque(event.0.as_ptr()) }.addr();
        Some((tag, event.answer()))
    }

    fn options(&self, op: Op, tag: usize, timeout: Duration, operations: bool) -> Options {
        // SAFETY: the client is alive, `op` is one librdkafka knows, the options are alive during the
        // calls. The timeout is within librdkafka's range, so that no error needs a buffer. A
        // returned error object is ours to destroy; destroying null does nothing.
        unsafe {
            let options = NonNull::new(sys::rd_kafka_AdminOptions_new(self.client.as_ptr(), op))
                .expect("librdkafka knows the operation");
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options.as_ptr(),
                timeout_ms(timeout + GRACE),
                std::ptr::null_mut(),
                0,
            );
            sys::rd_kafka_AdminOptions_set_opaque(
                options.as_ptr(),
                std::ptr::without_provenance_mut(tag),
            );
            if op == Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS {
                use sys::rd_kafka_IsolationLevel_t as Level;
                let level = match self.isolation {
                    Isolation::ReadUncommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
                    Isolation::ReadCommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
                };
                sys::rd_kafka_error_destroy(sys::rd_kafka_AdminOptions_set_isolation_level(
                    options.as_ptr(),
                    level,
                ));
            }
            if operations {
                sys::rd_kafka_error_destroy(
                    sys::rd_kafka_AdminOptions_set_include_authorized_operations(
                        options.as_ptr(),
                        1,
                    ),
                );
            }
            Options(options)
        }
    }
}

impl Drop for Questions<'_> {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_queue_new, destroyed once, while the client lives. Answers that
        // come later are dropped by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Owns the options of one question.
struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_AdminOptions_new, destroyed once.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) };
    }
}

/// Owns a list of partitions.
struct PartitionList(NonNull<sys::rd_kafka_topic_partition_list_t>);

impl PartitionList {
    fn new<'a>(asked: impl ExactSizeIterator<Item = AskedOffset<'a>>) -> Option<Self> {
        let size = std::ffi::c_int::try_from(asked.len()).ok()?;
        // SAFETY: makes a list that is ours.
        let list = unsafe { sys::rd_kafka_topic_partition_list_new(size) };
        let list = Self(NonNull::new(list).expect("librdkafka always makes a list"));
        let mut topic = ("", CString::default());
        for ask in asked {
            if topic.0 != ask.topic {
                topic = (ask.topic, CString::new(ask.topic).ok()?);
            }
            // SAFETY: the list is alive, the name NUL-terminated and copied by librdkafka; the
            // returned element lives in the list until the next one is added.
            unsafe {
                let element = sys::rd_kafka_topic_partition_list_add(
                    list.0.as_ptr(),
                    topic.1.as_ptr(),
                    ask.partition,
                );
                (*element).offset = ask.at;
            }
        }
        Some(list)
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_topic_partition_list_new, destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) };
    }
}

/// Owns one event of the queue.
#[derive(Debug)]
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn answer(self) -> Answer {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive.
        if let Some(code) = failed(unsafe { super::rd_kafka_event_error(event) }) {
            return Answer::Failed(code);
        }
        // SAFETY: the event is alive; each of these gives null unless the event is of its type, and
        // what it gives lives as long as the event, which outlives the copies made here.
        unsafe {
            if !sys::rd_kafka_event_ListOffsets_result(event).is_null() {
                return Answer::Offsets(Offsets(self));
            }
            let topics = sys::rd_kafka_event_DescribeTopics_result(event);
            if !topics.is_null() {
                return Answer::Topics(described_topics(topics));
            }
            let cluster = sys::rd_kafka_event_DescribeCluster_result(event);
            if !cluster.is_null() {
                return Answer::Cluster(described_cluster(cluster));
            }
        }
        // Nothing else is asked on this queue.
        Answer::Failed(Code::TRANSPORT)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours since rd_kafka_queue_poll, destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// An answer to ListOffsets.
#[derive(Debug)]
pub struct Offsets(Event);

impl Offsets {
    /// The partitions in the order they were asked. Names that are not UTF-8 are left out; none was
    /// asked.
    pub fn iter(&self) -> impl Iterator<Item = AnsweredOffset<'_>> {
        let mut count = 0;
        // SAFETY: the event is alive as long as `self`, and it is of this type: `Event::answer`
        // looked. The array lives in the event.
        let infos = unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(self.0.0.as_ptr());
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            elements(infos.cast_const(), count)
        };
        infos.filter_map(|info| {
            // SAFETY: an element of the array is a pointer to a result, which holds a partition;
            // both live in the event. Its error is read as a number.
            unsafe {
                let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
                let offset = (*partition).offset;
                Some(AnsweredOffset {
                    topic: text_at((*partition).topic)?,
                    partition: (*partition).partition,
                    offset: match code_at(&raw const (*partition).err) {
                        Some(code) => Some(Err(code)),
                        // -1001, "invalid": librdkafka drops the error of a leader that failed.
                        None => (offset >= -1).then_some(Ok(offset)),
                    },
                })
            }
        })
    }
}

/// # Safety
/// `result` is a DescribeTopics result whose event is alive.
unsafe fn described_topics(
    result: *const sys::rd_kafka_DescribeTopics_result_t,
) -> Vec<DescribedTopic> {
    let mut count = 0;
    // SAFETY: the caller promises the result; the array lives in it.
    let topics = unsafe {
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        elements(topics.cast_const(), count)
    };
    let described = |topic: *const *const sys::rd_kafka_TopicDescription_t| {
        // SAFETY: an element of the array; null where the broker left a topic out. All getters read
        // the live description; strings, id and operations live in it.
        unsafe {
            let topic = *topic;
            if topic.is_null() {
                return None;
            }
            let name = text_at(sys::rd_kafka_TopicDescription_name(topic))?.to_owned();
            let error = sys::rd_kafka_TopicDescription_error(topic);
            // No error object counts as code 0.
            if let Some(code) = failed(super::rd_kafka_error_code(error)) {
                let outcome = Err(code);
                return Some(DescribedTopic { name, outcome });
            }
            let mut count = 0;
            let first = sys::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            let mut partitions = 0;
            let infos = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
            let infos = elements(infos.cast_const(), partitions).map(|info| *info);
            // Null without a leader, and without a host when that broker is not known.
            let led = infos.filter(|info| {
                let leader = sys::rd_kafka_TopicPartitionInfo_leader(*info);
                !leader.is_null() && !sys::rd_kafka_Node_host(leader).is_null()
            });
            let facts = TopicFacts {
                id: topic_id(sys::rd_kafka_TopicDescription_topic_id(topic)),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                led: led
                    .map(|info| sys::rd_kafka_TopicPartitionInfo_partition(info))
                    .collect(),
                operations: operations(first, count),
            };
            let outcome = Ok(facts);
            Some(DescribedTopic { name, outcome })
        }
    };
    topics.filter_map(described).collect()
}

/// # Safety
/// `result` is a DescribeCluster result whose event is alive.
unsafe fn described_cluster(
    result: *const sys::rd_kafka_DescribeCluster_result_t,
) -> DescribedCluster {
    // SAFETY: the caller promises the result; the string, the array of brokers (only counted) and
    // the operations live in it.
    unsafe {
        let (mut brokers, mut count) = (0, 0);
        sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut brokers);
        let first =
            sys::rd_kafka_DescribeCluster_result_authorized_operations(result, &raw mut count);
        DescribedCluster {
            cluster_id: text_at(sys::rd_kafka_DescribeCluster_result_cluster_id(result))
                .map(str::to_owned),
            brokers,
            operations: operations(first, count),
        }
    }
}

/// # Safety
/// `id` points to a live id.
unsafe fn topic_id(id: *const sys::rd_kafka_Uuid_t) -> Option<TopicId> {
    // SAFETY: the caller promises the id.
    let (high, low) = unsafe {
        (
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        )
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    (bytes != [0; 16]).then_some(TopicId(bytes))
}

/// # Safety
/// `first` is null or points to `count` live operations.
unsafe fn operations(
    first: *const sys::rd_kafka_AclOperation_t,
    count: usize,
) -> Option<Operations> {
    if first.is_null() {
        return None;
    }
    // SAFETY: the caller promises the array. Its elements are read as the u32 they are represented
    // by: a newer broker may send an operation the enum does not have.
    let numbers = unsafe { elements(first.cast::<u32>(), count).map(|number| number.read()) };
    Some(Operations(numbers.fold(0, |all, number| {
        all | 1_u32.checked_shl(number).unwrap_or(0)
    })))
}

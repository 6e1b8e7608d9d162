//! The list of all topics, partitions and leaders.

use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys::{rd_kafka_metadata, rd_kafka_metadata_destroy, rd_kafka_metadata_topic};

use super::{Code, code_at, elements, failed, text_at, timeout_ms};

/// What one broker knows of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    /// Brokers that are up.
    pub brokers: Vec<BrokerMetadata>,
    /// Topics this user may see, in the broker's order.
    pub topics: Vec<TopicMetadata>,
    /// Topics left out because their name is not UTF-8.
    pub unreadable_names: usize,
    /// Id of the broker that said this; absent when only its bootstrap address is known.
    pub answered_by: Option<i32>,
}

/// Where one broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerMetadata {
    pub id: i32,
    /// `host:port`.
    pub address: String,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: String,
    /// The broker knows the name but cannot describe the topic; the partitions say nothing then.
    pub error: Option<Code>,
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub id: i32,
    /// Broker id; absent while the partition has no leader.
    pub leader: Option<i32>,
}

/// Asks any broker that is up for all topics. Blocks at most about `timeout`.
///
/// # Errors
/// The code of librdkafka; why no broker is up comes through the client's error callback.
pub fn cluster_metadata<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Result<ClusterMetadata, Code> {
    let mut answer: *const rd_kafka_metadata = std::ptr::null();
    // SAFETY: the client lives during the call; a null topic with all_topics = 1 is what the
    // function asks for; `answer` is a valid place for the result.
    let error = unsafe {
        super::rd_kafka_metadata(
            client.native_ptr(),
            1,
            std::ptr::null_mut(),
            &raw mut answer,
            timeout_ms(timeout),
        )
    };
    if let Some(code) = failed(error) {
        return Err(code);
    }
    if answer.is_null() {
        return Err(Code::TRANSPORT);
    }
    // SAFETY: without an error `answer` points to a metadata object that is ours until destroyed;
    // everything is copied out before.
    let copy = unsafe { copied(answer) };
    // SAFETY: obtained from rd_kafka_metadata, destroyed once, not used afterwards.
    unsafe { rd_kafka_metadata_destroy(answer) };
    Ok(copy)
}

/// # Safety
/// `metadata` comes from librdkafka and is not destroyed yet.
unsafe fn copied(metadata: *const rd_kafka_metadata) -> ClusterMetadata {
    let mut copy = ClusterMetadata::default();
    // SAFETY: librdkafka's counts belong to its arrays, here and below.
    let (brokers, topics, answered_by) = unsafe {
        (
            elements((*metadata).brokers, (*metadata).broker_cnt),
            elements((*metadata).topics, (*metadata).topic_cnt),
            (*metadata).orig_broker_id,
        )
    };
    copy.answered_by = (answered_by >= 0).then_some(answered_by);
    for broker in brokers {
        // SAFETY: points into the array; the host is a NUL-terminated string that lives as long.
        let (id, host, port) = unsafe { ((*broker).id, text_at((*broker).host), (*broker).port) };
        copy.brokers.push(BrokerMetadata {
            id,
            address: format!("{}:{port}", host.unwrap_or("?")),
        });
    }
    copy.topics.reserve(topics.len());
    for topic in topics {
        // SAFETY: points into the array of the live metadata object.
        match unsafe { copied_topic(topic) } {
            Some(topic) => copy.topics.push(topic),
            None => copy.unreadable_names += 1,
        }
    }
    copy
}

/// # Safety
/// `topic` belongs to a metadata object that is not destroyed yet.
unsafe fn copied_topic(topic: *const rd_kafka_metadata_topic) -> Option<TopicMetadata> {
    // SAFETY: the name is a NUL-terminated string within the metadata object.
    let name = unsafe { text_at((*topic).topic) }?;
    // SAFETY: librdkafka's count belongs to its array.
    let partitions = unsafe { elements((*topic).partitions, (*topic).partition_cnt) };
    let partitions = partitions
        .map(|partition| {
            // SAFETY: points into the array; both fields are plain integers.
            let (id, leader) = unsafe { ((*partition).id, (*partition).leader) };
            PartitionMetadata {
                id,
                leader: (leader >= 0).then_some(leader),
            }
        })
        .collect();
    Some(TopicMetadata {
        name: name.to_owned(),
        // SAFETY: a field of a live object.
        error: unsafe { code_at(&raw const (*topic).err) },
        partitions,
    })
}

//! Names that cannot be mixed up, shared instead of copied.
//!
//! A name from Kafka is arbitrary UTF-8: it may hold newlines, quotes, slashes and control
//! characters. Nothing here escapes; every encoder does it for its own format.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name without looking at it.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text itself.
            pub fn shared(&self) -> &Arc<str> {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

name!(
    /// The operator's name of a Kafka cluster.
    ClusterName
);
name!(
    /// The id of a consumer group.
    GroupId
);
name!(
    /// The name of a topic.
    TopicName
);

/// The number of a partition within its topic, 0 and up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub i32);

impl PartitionId {
    /// The partition as a list index; `None` for a negative number.
    pub fn index(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Kafka's topic id (a UUID, KIP-516): another id under the same name is another topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicId(pub [u8; 16]);

/// The place of a commit record in the total order of its group's commits.
///
/// Within one epoch it is the offset of the record in `__consumer_offsets`. A truncated, re-created
/// or grown offsets topic starts a new epoch, so that its smaller offsets still count as newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Order {
    /// Rises with every life of the offsets topic; meaningless but for its order. At most
    /// [`Order::EPOCH_MAX`].
    pub epoch: u32,
    /// Offset of the record in its partition of `__consumer_offsets`.
    pub offset: i64,
}

impl Order {
    /// The greatest epoch, 24 bits: windows have no room for more.
    pub const EPOCH_MAX: u32 = (1 << 24) - 1;
}

/// Keeps one copy of each name. Single-threaded; owned by whoever creates names.
#[derive(Debug, Default)]
pub struct Interner(HashSet<Arc<str>>);

impl Interner {
    /// The shared copy of `name`, made on first sight.
    pub fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(name);
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Forgets the names that nobody else holds any more.
    pub fn prune(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }

    /// How many names are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no name is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The partition of `__consumer_offsets` that holds everything about `group`:
/// `abs(javaHash(group)) % partitions`, Java's `String.hashCode` over UTF-16, Kafka's `abs`
/// (`Utils.abs`: the smallest integer becomes 0).
///
/// # Panics
/// When `partitions` is not positive.
pub fn coordinator_partition(group: &str, partitions: i32) -> PartitionId {
    assert!(partitions > 0, "a topic has at least one partition");
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    // Asked for every record of the offsets topic: the usual name takes the short way.
    let hash = if group.is_ascii() {
        group.bytes().map(u16::from).fold(0, add)
    } else {
        group.encode_utf16().fold(0, add)
    };
    let abs = if hash == i32::MIN { 0 } else { hash.abs() };
    PartitionId(abs % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_coordinator_partition_as_kafka_does() {
        for (group, expected) in [
            ("test", 48),
            ("burrow-local", 17),
            ("payments-service", 43),
            ("connect-ymc-agg-sink", 36),
            ("группа", 8),
        ] {
            assert_eq!(
                coordinator_partition(group, 50),
                PartitionId(expected),
                "{group}"
            );
        }
        // "polygenelubricants" hashes to the smallest integer.
        assert_eq!(
            coordinator_partition("polygenelubricants", 50),
            PartitionId(0)
        );
    }

    #[test]
    fn interns_each_name_once_and_forgets_unused_ones() {
        let mut interner = Interner::default();
        let a = interner.intern("a");
        assert!(Arc::ptr_eq(&a, &interner.intern("a")));
        interner.intern("b");
        interner.prune();
        assert_eq!(interner.len(), 1);
    }
}

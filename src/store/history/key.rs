//! The order of series as bytes: group, topic, partition; or topic, partition.
//!
//! SQLite compares blobs byte by byte, so that the block of a series is found by an index on the
//! blocks' first and last keys. Names are hostile: a zero byte inside one is escaped, and a shorter
//! name still comes before every name it begins.

/// A place in the order of all series of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    /// The place right before everything with this name.
    pub(super) fn name(name: &str) -> Self {
        let mut key = Self::default();
        key.push_name(name);
        key
    }

    /// The place right before the partitions of a topic of this group.
    pub(super) fn within(&self, topic: &str) -> Self {
        let mut key = self.clone();
        key.push_name(topic);
        key
    }

    /// The place of a partition of a topic.
    pub(super) fn partition(&self, partition: u32) -> Self {
        let mut key = self.clone();
        key.0.extend(partition.to_be_bytes());
        key
    }

    /// The place behind everything that begins with this key.
    pub(super) fn end(&self) -> Self {
        let mut key = self.clone();
        // No name's bytes go on like this: UTF-8 has no such byte, and 4 billion partitions less
        // one are more than there are.
        key.0.extend([0xff; 5]);
        key
    }

    fn push_name(&mut self, name: &str) {
        for byte in name.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend([0, 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_the_order_of_names_and_partitions() {
        let names = [
            "", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "é",
        ];
        let mut keys = Vec::new();
        for group in names {
            let of_group = Key::name(group);
            keys.push(of_group.clone());
            for topic in names {
                let of_topic = of_group.within(topic);
                keys.push(of_topic.clone());
                keys.extend([0, 1, 255, 256, u32::MAX - 1].map(|p| of_topic.partition(p)));
                keys.push(of_topic.end());
            }
            keys.push(of_group.end());
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
    }
}

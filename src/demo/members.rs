//! Who is in the demo's groups, as the records a broker would write about them.

use super::plan::{GroupPlan, Members, TopicPlan};
use super::records::{
    ClassicGroup, OffsetsRecord, classic_group, consumer_assignment, consumer_group,
    consumer_member,
};
use crate::clock::Timestamp;
use crate::lag::event::MemberChange;
use crate::lag::ids::TopicId;

/// Everything the offsets topic holds about the membership of a group. `number` tells the groups'
/// hosts apart; `generation` counts rebalances from 1.
pub fn records(
    group: &GroupPlan,
    number: usize,
    topic: &TopicPlan,
    topic_id: Option<TopicId>,
    generation: i32,
    since: Timestamp,
) -> Vec<OffsetsRecord> {
    let (protocol_type, members) = match group.members {
        Members::Nobody => return Vec::new(),
        Members::Kip848(count) => {
            let members = members(group, number, count);
            return kip848(group, topic, topic_id, generation, &members);
        }
        Members::Left => ("consumer", Vec::new()),
        Members::Classic(count) => ("consumer", classic(group, number, count, topic)),
        Members::Connect(count) => ("connect", members(group, number, count)),
    };
    let state = ClassicGroup {
        protocol_type,
        generation,
        since,
        members: &members,
    };
    vec![classic_group(group.name, &state)]
}

fn kip848(
    group: &GroupPlan,
    topic: &TopicPlan,
    topic_id: Option<TopicId>,
    generation: i32,
    members: &[MemberChange],
) -> Vec<OffsetsRecord> {
    let mut records = vec![consumer_group(group.name, generation)];
    for (at, member) in members.iter().enumerate() {
        records.push(consumer_member(group.name, member, &[topic.name]));
        if let Some(id) = topic_id {
            let share = share(topic, at, members.len());
            let assigned = [(id, share)];
            records.push(consumer_assignment(
                group.name,
                &member.member_id,
                generation,
                &assigned,
            ));
        }
    }
    records
}

fn classic(group: &GroupPlan, number: usize, count: usize, topic: &TopicPlan) -> Vec<MemberChange> {
    let mut members = members(group, number, count);
    for (at, member) in members.iter_mut().enumerate() {
        member.assignment = vec![(topic.name.to_owned(), share(topic, at, count))];
    }
    members
}

fn members(group: &GroupPlan, number: usize, count: usize) -> Vec<MemberChange> {
    let member = |at| MemberChange {
        member_id: format!("{}-{at}-5d1c{number:04x}", group.name),
        instance_id: None,
        client_id: format!("{}-{at}", group.name),
        client_host: format!("/10.20.{number}.{}", 10 + at),
        assignment: Vec::new(),
    };
    (0..count).map(member).collect()
}

/// The partitions of one of `count` members.
fn share(topic: &TopicPlan, at: usize, count: usize) -> Vec<i32> {
    let partitions = 0..topic.partitions;
    partitions.skip(at).step_by(count.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::plan::{GROUPS, topic_of};
    use crate::kafka::decode::{Record, decode};
    use crate::lag::event::{GroupChange, GroupKind};

    const ID: TopicId = TopicId([3; 16]);

    fn changes(group: &GroupPlan) -> Vec<GroupChange> {
        let topic = topic_of(group).unwrap();
        let records = records(group, 4, topic, Some(ID), 2, Timestamp::from_ms(0));
        let change = |record: &OffsetsRecord| {
            let Ok(Record::GroupChanged {
                group: name,
                change,
            }) = decode(Some(&record.key), record.value.as_deref())
            else {
                panic!("{record:?} is no change of a group");
            };
            assert_eq!(name, group.name);
            change
        };
        records.iter().map(change).collect()
    }

    /// How many members own each partition.
    fn owners(changes: &[GroupChange]) -> BTreeMap<i32, usize> {
        let mut owners = BTreeMap::new();
        for change in changes {
            let owned: Vec<i32> = match change {
                GroupChange::Classic { members, .. } => {
                    let assigned = members.iter().flat_map(|m| &m.assignment);
                    assigned
                        .flat_map(|(_, partitions)| partitions.clone())
                        .collect()
                }
                GroupChange::MemberAssigned { partitions, .. } => {
                    assert!(partitions.iter().all(|(id, _)| *id == ID));
                    partitions.iter().map(|(_, partition)| *partition).collect()
                }
                GroupChange::Kind(_)
                | GroupChange::MemberJoined(_)
                | GroupChange::MemberLeft { .. } => Vec::new(),
            };
            for partition in owned {
                *owners.entry(partition).or_default() += 1;
            }
        }
        owners
    }

    #[test]
    fn consumers_share_all_partitions_and_others_own_none() {
        for group in &GROUPS {
            let topic = topic_of(group).unwrap();
            let owners = owners(&changes(group));
            let expected = match group.members {
                Members::Classic(_) | Members::Kip848(_) => topic.partitions,
                Members::Nobody | Members::Left | Members::Connect(_) => 0,
            };
            let all: BTreeMap<i32, usize> = (0..expected).map(|p| (p, 1)).collect();
            assert_eq!(owners, all, "{}", group.name);
        }
    }

    #[test]
    fn each_kind_of_group_is_written_as_its_broker_would() {
        for group in &GROUPS {
            let changes = changes(group);
            let is_as_expected = match (group.members, changes.as_slice()) {
                (Members::Nobody, []) => true,
                (Members::Left, [GroupChange::Classic { members, .. }]) => members.is_empty(),
                (
                    Members::Classic(count) | Members::Connect(count),
                    [
                        GroupChange::Classic {
                            members,
                            protocol_type,
                            ..
                        },
                    ],
                ) => {
                    let is_connect = protocol_type == "connect";
                    members.len() == count
                        && is_connect == matches!(group.members, Members::Connect(_))
                }
                (Members::Kip848(count), [GroupChange::Kind(GroupKind::Consumer), rest @ ..]) => {
                    rest.len() == 2 * count
                }
                _ => false,
            };
            assert!(is_as_expected, "{}: {changes:?}", group.name);
        }
    }
}

//! Memberships of groups, and which member owns which partition.
//!
//! A classic group's record tells its whole membership; a KIP-848 group tells it member by member,
//! with topic ids instead of names. Both are noted as they come and turned into owners once, before
//! the next evaluation: a rebalance of a large group is hundreds of records.
//!
//! Only classic groups of protocol type `consumer` and KIP-848 groups have owners; the members of
//! all others are shown without partitions. Owners of the last membership are all cleared first,
//! so that a partition that moved away has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::state::GroupIndex;
use crate::clock::Timestamp;
use crate::lag::evaluation::Member;
use crate::lag::event::{Applied, GroupChange, GroupKind, MemberChange};
use crate::lag::ids::{Order, TopicId};

/// Who is in a group.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) kind: GroupKind,
    pub(super) protocol_type: Arc<str>,
    /// Sorted by member id; as of the last evaluation.
    pub(super) shown: Arc<[Member]>,
    order: Order,
    told: Told,
}

/// What was told and is not shown yet, or is needed to understand what is told next.
#[derive(Debug)]
enum Told {
    /// Nothing new.
    Shown,
    Classic(Vec<MemberChange>),
    /// KIP-848 (and streams, share): one entry a member.
    Members {
        members: BTreeMap<Box<str>, Joined>,
        is_new: bool,
    },
}

/// What is kept of a [`Membership`] between two processes.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedMembership {
    pub kind: GroupKind,
    pub protocol_type: Arc<str>,
    /// Of the last record about it.
    pub order: Order,
    /// Sorted by member id; owners of partitions are places in this list.
    pub shown: Arc<[Member]>,
    /// What each member of a group told that is not classic.
    pub joined: Option<Vec<SavedJoined>>,
}

/// What one member of a group told that is not classic.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedJoined {
    pub member_id: Box<str>,
    pub member: Option<Member>,
    pub assigned: Vec<(TopicId, i32)>,
}

#[derive(Debug, Default)]
struct Joined {
    member: Option<Member>,
    assigned: Vec<(TopicId, i32)>,
}

/// A place a member owns: the topic, as far as its name or id is known, and a partition.
enum Owned<'a> {
    Named(&'a str, i32),
    Id(TopicId, i32),
}

impl Default for Membership {
    fn default() -> Self {
        Membership {
            kind: GroupKind::Classic,
            protocol_type: Arc::from(""),
            shown: Arc::from([]),
            order: Order {
                epoch: 0,
                offset: i64::MIN,
            },
            told: Told::Shown,
        }
    }
}

impl Membership {
    /// The membership as plain data. What is not shown yet must have been settled.
    pub(super) fn save(&self) -> SavedMembership {
        let joined = match &self.told {
            Told::Shown | Told::Classic(_) => None,
            Told::Members { members, .. } => Some(
                members
                    .iter()
                    .map(|(id, joined)| SavedJoined {
                        member_id: id.clone(),
                        member: joined.member.clone(),
                        assigned: joined.assigned.clone(),
                    })
                    .collect(),
            ),
        };
        SavedMembership {
            kind: self.kind,
            protocol_type: Arc::clone(&self.protocol_type),
            order: self.order,
            shown: Arc::clone(&self.shown),
            joined,
        }
    }

    /// The membership that was saved.
    pub(super) fn restore(saved: SavedMembership) -> Membership {
        let told = match saved.joined {
            None => Told::Shown,
            Some(joined) => Told::Members {
                members: joined
                    .into_iter()
                    .map(|one| {
                        let (member, assigned) = (one.member, one.assigned);
                        (one.member_id, Joined { member, assigned })
                    })
                    .collect(),
                is_new: true,
            },
        };
        Membership {
            kind: saved.kind,
            protocol_type: saved.protocol_type,
            shown: saved.shown,
            order: saved.order,
            told,
        }
    }

    /// Whether the group has members.
    pub(super) fn is_inhabited(&self) -> bool {
        match &self.told {
            Told::Shown => !self.shown.is_empty(),
            Told::Classic(members) => !members.is_empty(),
            Told::Members { members, .. } => members.values().any(|j| j.member.is_some()),
        }
    }

    /// Whether nothing is known but that the group exists.
    pub(super) fn is_plain(&self) -> bool {
        self.kind == GroupKind::Classic && self.protocol_type.is_empty()
    }

    /// Whether something is not shown yet.
    pub(super) fn is_new(&self) -> bool {
        match &self.told {
            Told::Shown => false,
            Told::Classic(_) => true,
            Told::Members { is_new, .. } => *is_new,
        }
    }

    /// Notes that what is shown must be made anew: a topic id got its name.
    pub(super) fn renew(&mut self) {
        if let Told::Members { is_new, members } = &mut self.told {
            *is_new |= members.values().any(|j| !j.assigned.is_empty());
        }
    }

    /// Host and client id of an owner; empty without one.
    pub(super) fn owner(&self, owner: u32) -> (String, String) {
        let index = usize::try_from(owner).ok().and_then(|o| o.checked_sub(1));
        index
            .and_then(|index| self.shown.get(index))
            .map_or_else(Default::default, |member| {
                (member.client_host.to_string(), member.client_id.to_string())
            })
    }

    fn apply(&mut self, change: &GroupChange) {
        match change {
            GroupChange::Classic {
                protocol_type,
                members,
                ..
            } => {
                self.kind = GroupKind::Classic;
                self.set_protocol_type(protocol_type);
                self.told = Told::Classic(members.clone());
            }
            GroupChange::Kind(kind) => {
                self.become_kind(*kind);
            }
            GroupChange::MemberJoined(joined) => {
                let members = self.joined();
                let entry = members.entry(Box::from(joined.member_id.as_str()));
                entry.or_default().member = Some(member(joined));
            }
            GroupChange::MemberAssigned {
                member_id,
                partitions,
            } => {
                let members = self.joined();
                let entry = members.entry(Box::from(member_id.as_str()));
                entry.or_default().assigned.clone_from(partitions);
            }
            // A classic member's id lives on in the KIP-848 group: the end of the one is not the
            // end of the other.
            GroupChange::MemberLeft { .. } if self.kind == GroupKind::Classic => {}
            GroupChange::MemberLeft { member_id } => {
                self.joined().remove(member_id.as_str());
            }
        }
    }

    fn become_kind(&mut self, kind: GroupKind) {
        if kind == self.kind {
            return;
        }
        if kind == GroupKind::Classic {
            self.told = Told::Classic(Vec::new());
        } else if !matches!(self.told, Told::Members { .. }) {
            self.told = Told::Members {
                members: BTreeMap::new(),
                is_new: true,
            };
        }
        self.kind = kind;
        self.set_protocol_type(match kind {
            GroupKind::Classic => "",
            GroupKind::Consumer => "consumer",
            GroupKind::Share => "share",
            GroupKind::Streams => "streams",
        });
    }

    /// The members by id. A member record may come before the record of the group's kind: only
    /// groups that are not classic have them.
    fn joined(&mut self) -> &mut BTreeMap<Box<str>, Joined> {
        if self.kind == GroupKind::Classic {
            self.become_kind(GroupKind::Consumer);
        }
        if !matches!(self.told, Told::Members { .. }) {
            self.told = Told::Members {
                members: BTreeMap::new(),
                is_new: true,
            };
        }
        match &mut self.told {
            Told::Members { members, is_new } => {
                *is_new = true;
                members
            }
            Told::Shown | Told::Classic(_) => unreachable!("just set"),
        }
    }

    fn set_protocol_type(&mut self, protocol_type: &str) {
        if *self.protocol_type != *protocol_type {
            self.protocol_type = Arc::from(protocol_type);
        }
    }

    /// Forgets all members.
    fn clear(&mut self) {
        let order = self.order;
        *self = Membership {
            order,
            told: Told::Classic(Vec::new()),
            ..Membership::default()
        };
    }

    fn has_owners(&self) -> bool {
        match self.kind {
            GroupKind::Classic => &*self.protocol_type == "consumer",
            GroupKind::Consumer | GroupKind::Streams => true,
            GroupKind::Share => false,
        }
    }

    /// The members to show, sorted, and what each of them owns.
    fn read(&self) -> (Vec<Member>, Vec<(u32, Owned<'_>)>) {
        let mut members = Vec::new();
        let mut owned = Vec::new();
        match &self.told {
            Told::Shown => {}
            Told::Classic(told) => {
                let mut sorted: Vec<&MemberChange> = told.iter().collect();
                sorted.sort_by(|a, b| a.member_id.cmp(&b.member_id));
                for change in sorted {
                    members.push(member(change));
                    let owner = u32::try_from(members.len()).unwrap_or(0);
                    for (topic, partitions) in &change.assignment {
                        let places = partitions.iter().map(|&p| (owner, Owned::Named(topic, p)));
                        owned.extend(places);
                    }
                }
            }
            Told::Members { members: told, .. } => {
                for joined in told.values() {
                    let Some(member) = &joined.member else {
                        continue;
                    };
                    members.push(member.clone());
                    let owner = u32::try_from(members.len()).unwrap_or(0);
                    let assigned = joined.assigned.iter();
                    owned.extend(assigned.map(|&(id, p)| (owner, Owned::Id(id, p))));
                }
            }
        }
        if !self.has_owners() {
            owned.clear();
        }
        (members, owned)
    }
}

impl Cluster {
    pub(super) fn group_changed(
        &mut self,
        group: &str,
        order: Order,
        change: &GroupChange,
        now: Timestamp,
    ) -> Applied {
        let index = match self.groups.find(group) {
            Some(index) => index,
            None if !self.is_wanted(group) => return Applied::Filtered,
            None if self.groups.len() >= self.settings.limits.groups => return Applied::OverLimit,
            None => match self.make_group(group, now) {
                Some(index) => index,
                None => return Applied::OverLimit,
            },
        };
        let Some(group) = self.groups.at_mut(index) else {
            return Applied::OverLimit;
        };
        if let Err(outcome) = is_next(&mut group.membership.order, order) {
            return outcome;
        }
        group.touched_at = now;
        group.membership.apply(change);
        Applied::Noted
    }

    pub(super) fn group_deleted(
        &mut self,
        group: &str,
        order: Order,
        kind: GroupKind,
        now: Timestamp,
    ) -> Applied {
        let index = self.groups.find(group);
        let Some(group) = index.and_then(|index| self.groups.at_mut(index)) else {
            return Applied::Noted;
        };
        if let Err(outcome) = is_next(&mut group.membership.order, order) {
            return outcome;
        }
        group.touched_at = now;
        if kind != group.membership.kind {
            // The end of what the group was before it changed its protocol.
            return Applied::Noted;
        }
        group.membership.clear();
        Applied::Removed
    }

    /// Turns what was told about a group's members into what is shown.
    pub(super) fn settle_members(&mut self, index: GroupIndex) {
        let Some(group) = self.groups.at_mut(index) else {
            return;
        };
        if !group.membership.is_new() {
            return;
        }
        let mut membership = std::mem::take(&mut group.membership);
        let slots = group.topics.iter_mut().flat_map(|used| &mut used.slots);
        slots.for_each(|slot| slot.owner = 0);
        let (members, owned) = membership.read();
        for (owner, place) in owned {
            self.set_owner(index, owner, &place);
        }
        if *membership.shown != *members {
            membership.shown = Arc::from(members);
        }
        match &mut membership.told {
            Told::Members { is_new, .. } => *is_new = false,
            told @ (Told::Shown | Told::Classic(_)) => *told = Told::Shown,
        }
        if let Some(group) = self.groups.at_mut(index) {
            group.membership = membership;
        }
        self.drop_unused_topics_of(index);
    }

    /// An id whose topic is not known yet, and a place over the limit, stay without owner.
    fn set_owner(&mut self, group: GroupIndex, owner: u32, place: &Owned<'_>) {
        let (topic, partition) = match *place {
            Owned::Named(name, partition) => {
                let known = self.topics.find(name);
                let is_full = self.tracked >= self.settings.limits.partitions;
                let topic = match known {
                    None if is_full => None,
                    None => self.topics.make(name),
                    known => known,
                };
                (topic, partition)
            }
            Owned::Id(id, partition) => (self.topics.find_id(id), partition),
        };
        let (Some(topic), Some(at)) = (topic, usize::try_from(partition).ok()) else {
            return;
        };
        if partition >= super::state::PARTITIONS_MAX {
            self.topics.drop_unused(topic);
            return;
        }
        let Some(used) = self.make_slot(group, topic, at) else {
            self.topics.drop_unused(topic);
            return;
        };
        let slot = self
            .groups
            .at_mut(group)
            .and_then(|group| group.topics.get_mut(used)?.slots.get_mut(at));
        if let Some(slot) = slot {
            slot.owner = owner;
        }
    }
}

/// Whether a record of this order comes after the last one.
fn is_next(last: &mut Order, order: Order) -> Result<(), Applied> {
    match order.cmp(last) {
        std::cmp::Ordering::Less => Err(Applied::TooOld),
        std::cmp::Ordering::Equal => Err(Applied::Duplicate),
        std::cmp::Ordering::Greater => {
            *last = order;
            Ok(())
        }
    }
}

fn member(change: &MemberChange) -> Member {
    Member {
        id: Arc::from(change.member_id.as_str()),
        instance_id: change.instance_id.as_deref().map(Arc::from),
        client_id: Arc::from(change.client_id.as_str()),
        client_host: Arc::from(change.client_host.as_str()),
    }
}

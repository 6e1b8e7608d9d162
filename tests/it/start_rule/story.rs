//! Consumers of every kind, and the producer they follow or do not follow.
//!
//! One tick a second, on a thread of its own: the producer appends, then each consumer commits what
//! its kind would. Partition 0 gets records all the time, 1 never, 2 now and then, 3 once, after
//! its reader has gone.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kafka_client::{Client, Member, Protocol};

pub const TOPIC: &str = "orders";
const TICK: Duration = Duration::from_secs(1);
/// Records of partition 0 before anything happens.
const PAST: i64 = 10_000;
const PER_TICK: i64 = 20;
/// Commits that fill a window.
const WINDOW: i64 = 10;

/// A group of this kind.
pub fn group(protocol: Protocol, kind: &str) -> String {
    match protocol {
        Protocol::Classic => format!("classic/{kind}"),
        Protocol::Consumer => format!("consumer/{kind}"),
    }
}

/// The kind in a group's name.
pub fn kind(group: &str) -> &str {
    group.split_once('/').map_or(group, |(_, kind)| kind)
}

/// The consumers at work. Dropping it ends them.
pub struct Story {
    client: Client,
    protocols: Vec<Protocol>,
    /// The turn of the story; closed at its end.
    orders: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Story {
    /// Starts every consumer; all have a past of commits when it returns.
    pub fn begin(client: &Client, protocols: &[Protocol]) -> Self {
        client.produce(TOPIC, 0, usize::try_from(PAST).unwrap());
        for partition in [1, 2, 3] {
            client.produce(TOPIC, partition, 10);
        }
        let casts: Vec<Cast> = protocols
            .iter()
            .map(|protocol| Cast::enter(client, *protocol))
            .collect();
        client.produce(TOPIC, 3, 5);
        let (orders, inbox) = sync_channel(1);
        let mut world = World {
            client: client.clone(),
            casts,
            tick: 0,
            end: PAST,
            work_end: 10,
            has_turned: false,
        };
        let thread = std::thread::spawn(move || {
            loop {
                match inbox.recv_timeout(TICK) {
                    Ok(()) => world.has_turned = true,
                    Err(RecvTimeoutError::Timeout) => world.tick(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self {
            client: client.clone(),
            protocols: protocols.to_vec(),
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// The dying stop, the revived go on.
    pub fn turn(&self) {
        let orders = self.orders.as_ref().expect("the story goes on");
        orders.send(()).expect("the story goes on");
    }

    /// Deletes the groups called deleted.
    pub fn delete_the_deleted(&self) {
        for protocol in &self.protocols {
            self.client.delete_group(&group(*protocol, "deleted"));
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().expect("the consumers worked to the end");
        }
    }
}

struct World {
    client: Client,
    casts: Vec<Cast>,
    tick: i64,
    /// Log end offset of partition 0, and of partition 2.
    end: i64,
    work_end: i64,
    has_turned: bool,
}

impl World {
    fn tick(&mut self) {
        self.tick += 1;
        self.client
            .produce(TOPIC, 0, usize::try_from(PER_TICK).unwrap());
        self.end += PER_TICK;
        if self.tick % 3 == 0 {
            self.client.produce(TOPIC, 2, 5);
            self.work_end += 5;
        }
        for cast in &mut self.casts {
            cast.act(&self.client, self.tick, self.end, self.has_turned);
            if self.tick % 3 == 1 {
                cast.on_work.commit(&[(TOPIC, 2, self.work_end)]);
            }
        }
    }
}

/// One consumer of every kind that still commits.
struct Cast {
    protocol: Protocol,
    on_work: Member,
    healthy: Member,
    recovering: (Member, i64),
    slow: (Member, i64),
    stalled: Member,
    rewound: (Member, i64),
    dying: Member,
    revived: Member,
    /// Never commits again, is there all the time.
    _idle: Member,
    _stopped: Member,
}

impl Cast {
    fn enter(client: &Client, protocol: Protocol) -> Self {
        let join = |kind: &str| {
            let member = client.join_idle(&group(protocol, kind), &[TOPIC], protocol, &[]);
            member.wait_assigned(4);
            member
        };
        // A full window of commits up to `last`, one record apart.
        let past = |kind: &str, partition: i32, last: i64| {
            let member = join(kind);
            for offset in last + 1 - WINDOW..=last {
                member.commit(&[(TOPIC, partition, offset)]);
            }
            member
        };
        let cast = Self {
            protocol,
            _idle: past("idle", 1, 10),
            on_work: past("on-work", 2, 10),
            healthy: past("healthy", 0, PAST),
            recovering: (past("recovering", 0, 100), 100),
            slow: (past("slow", 0, 100), 100),
            stalled: past("stalled", 0, 500),
            rewound: (past("rewound", 0, 9_000), 9_000),
            dying: past("dying", 0, PAST),
            revived: past("revived", 0, 300),
            _stopped: past("stopped", 0, 4_000),
        };
        // These leave at once.
        drop(past("abandoned", 3, 10));
        drop(past("deleted", 0, 100));
        client.commit(&group(protocol, "memberless"), &[(TOPIC, 0, PAST)]);
        cast
    }

    /// What everyone commits at a tick.
    fn act(&mut self, client: &Client, tick: i64, end: i64, has_turned: bool) {
        self.healthy.commit(&[(TOPIC, 0, end)]);
        client.commit(&group(self.protocol, "memberless"), &[(TOPIC, 0, end)]);
        let active = if has_turned {
            &self.revived
        } else {
            &self.dying
        };
        active.commit(&[(TOPIC, 0, end)]);
        let (member, at) = &mut self.recovering;
        *at += 3 * PER_TICK;
        member.commit(&[(TOPIC, 0, *at)]);
        // Every other tick, so that end offsets are polled in between.
        if tick % 2 == 0 {
            let (member, at) = &mut self.slow;
            *at += 2;
            member.commit(&[(TOPIC, 0, *at)]);
        }
        self.stalled.commit(&[(TOPIC, 0, 500)]);
        // Back again and again, so that a step back is always in the window.
        let (member, at) = &mut self.rewound;
        *at += if tick % 5 == 0 { -100 } else { 1 };
        member.commit(&[(TOPIC, 0, *at)]);
    }
}

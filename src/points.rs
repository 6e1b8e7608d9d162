//! The catalogue of measurements and fields, and evaluations as points.
//!
//! A [`Batch`] owns frames and points into them: nothing is copied until an encoder writes bytes.

use std::sync::Arc;

use crate::store::frame::Frame;

/// Points of one request, oldest beat first.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    frames: Vec<Arc<Frame>>,
    points: Vec<PointRef>,
}

/// Where in a batch's frames a point comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointRef {
    /// Index into the batch's frames.
    frame: u32,
    at: Place,
}

/// Which part of a frame a point is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Cluster,
    Group {
        group: u32,
    },
    GroupTopic {
        group: u32,
        topic: u32,
    },
    GroupPartition {
        group: u32,
        topic: u32,
        partition: u32,
    },
    TopicOffset {
        topic: u32,
        partition: u32,
    },
    StatusChange {
        change: u32,
    },
    Sink {
        sink: u32,
    },
}

//! The newest frames in memory, as bytes, within a limit.
//!
//! The frames of the newest beat are also kept as they are, for the readers that wait at the end;
//! of older ones only a weak reference stays, so that readers who still hold one share it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::codec::Encoded;
use super::frame::{Frame, Seq};
use crate::clock::Timestamp;

/// What one frame costs beyond its bytes: the lists it stands in.
const OVERHEAD: usize = 256;

#[derive(Debug)]
struct InTail {
    seq: Seq,
    beat: Timestamp,
    encoded: Arc<Encoded>,
    bytes: usize,
    held: Option<Arc<Frame>>,
    shared: Weak<Frame>,
}

/// The newest frames.
#[derive(Debug)]
pub(super) struct Tail {
    frames: VecDeque<InTail>,
    bytes: usize,
    limit: usize,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    /// Puts a frame at the end.
    pub(super) fn push(&mut self, frame: &Arc<Frame>, encoded: Arc<Encoded>) {
        let bytes = encoded.len() + OVERHEAD + encoded.parts.len() * size_of::<Box<[u8]>>();
        self.bytes += bytes;
        self.frames.push_back(InTail {
            seq: frame.seq,
            beat: frame.beat,
            encoded,
            bytes,
            held: Some(Arc::clone(frame)),
            shared: Arc::downgrade(frame),
        });
    }

    /// Lets go of the frames (not the bytes) of all beats before the one with number `first`.
    pub(super) fn release_before(&mut self, first: Seq) {
        for frame in self.frames.iter_mut().rev() {
            if frame.seq < first && frame.held.take().is_none() {
                // What is older was let go before.
                return;
            }
        }
    }

    /// Takes the oldest frame out when the limit is exceeded. The newest always stays.
    pub(super) fn overflow(&mut self) -> Option<Seq> {
        if self.bytes <= self.limit || self.frames.len() <= 1 {
            return None;
        }
        self.pop()
    }

    /// Takes the oldest frame out when it is older than `keep_from`. The newest always stays.
    pub(super) fn expire(&mut self, keep_from: Timestamp) -> Option<Seq> {
        let oldest = self.frames.front()?;
        if oldest.beat >= keep_from || self.frames.len() <= 1 {
            return None;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Seq> {
        let oldest = self.frames.pop_front()?;
        self.bytes -= oldest.bytes;
        Some(oldest.seq)
    }

    fn find(&self, seq: Seq) -> Option<&InTail> {
        let at = self.frames.binary_search_by(|f| f.seq.cmp(&seq)).ok()?;
        self.frames.get(at)
    }

    /// The frame, when somebody still has it.
    pub(super) fn frame(&self, seq: Seq) -> Option<Arc<Frame>> {
        let found = self.find(seq)?;
        found.held.clone().or_else(|| found.shared.upgrade())
    }

    /// The frame's bytes.
    pub(super) fn encoded(&self, seq: Seq) -> Option<Arc<Encoded>> {
        self.find(seq).map(|found| Arc::clone(&found.encoded))
    }

    /// The oldest frame.
    pub(super) fn oldest(&self) -> Option<Seq> {
        self.frames.front().map(|frame| frame.seq)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }
}

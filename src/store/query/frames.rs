//! One subject in the journal's frames, from the tail's bytes or the file.
//!
//! Frames are opened piece by piece: of each only the head and the piece with the group are
//! decompressed. Only a topic's log needs the whole frame.

use std::sync::Arc;

use rusqlite::Connection;

use super::subject::{Subject, Values};
use super::{Past, QueryError};
use crate::clock::Timestamp;
use crate::lag::evaluation::GroupEvaluation;
use crate::points::Part;
use crate::store::codec::{Broken, Decoder, Encoded, Head};
use crate::store::frame::{Body, Frame, Seq};
use crate::store::journal::{find_names, read_part, read_parts};
use crate::store::names::Naming;
use crate::store::{Shared, lock};

/// A frame of the cluster, with its bytes when they are in memory.
#[derive(Clone, Debug)]
pub(super) struct InJournal {
    pub(super) seq: Seq,
    pub(super) beat: Timestamp,
    encoded: Option<Arc<Encoded>>,
}

/// What a frame says about the subject.
#[derive(Debug)]
pub(super) enum Found {
    Values(Values),
    /// It fell off the journal meanwhile.
    Gone,
    /// It cannot be decoded.
    Broken,
}

/// Why a frame says nothing.
enum Trouble {
    Broken(Broken),
    File(rusqlite::Error),
}

impl Past {
    /// The numbers of a cluster's name: there may be several.
    pub(super) fn numbers(&self, cluster: &str) -> Result<Vec<u32>, QueryError> {
        let mut numbers = match self.file() {
            Some(file) => find_names(file, cluster)?,
            None => Vec::new(),
        };
        numbers.extend(lock(&self.shared.dictionary).number(cluster));
        Ok(numbers)
    }

    /// The beats of a cluster's frames in `[from, to]`, in the order of their numbers.
    pub(super) fn beats(
        &self,
        numbers: &[u32],
        (from, to): (Timestamp, Timestamp),
    ) -> Vec<(Seq, Timestamp)> {
        let state = self.shared.state();
        let entries = state.index.iter().filter(|entry| {
            (from..=to).contains(&entry.beat)
                && entry.cluster.is_some_and(|it| numbers.contains(&it))
        });
        entries.map(|entry| (entry.seq, entry.beat)).collect()
    }

    /// The same, with the bytes that only memory may have.
    pub(super) fn journaled(
        &self,
        numbers: &[u32],
        range: (Timestamp, Timestamp),
    ) -> Vec<InJournal> {
        let beats = self.beats(numbers, range);
        let state = self.shared.state();
        let frames = beats.into_iter().map(|(seq, beat)| InJournal {
            seq,
            beat,
            encoded: state.tail.encoded(seq),
        });
        frames.collect()
    }

    /// The frame in these bytes; none when it cannot be decoded.
    pub(super) fn whole_frame(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        encoded: &Arc<Encoded>,
    ) -> Option<Frame> {
        let frame = InJournal {
            seq,
            beat,
            encoded: Some(Arc::clone(encoded)),
        };
        let mut look = Look {
            shared: &self.shared,
            file: None,
            decoder: &mut self.decoder,
            frame: &frame,
        };
        look.decoded().ok().flatten()
    }
}

/// A frame that is looked into.
pub(super) struct Look<'a> {
    pub(super) shared: &'a Shared,
    pub(super) file: Option<&'a Connection>,
    pub(super) decoder: &'a mut Decoder,
    pub(super) frame: &'a InJournal,
}

impl Look<'_> {
    /// What the frame says about the subject.
    pub(super) fn find(
        &mut self,
        subject: &Subject,
        fields: &[&'static str],
    ) -> Result<Found, QueryError> {
        match self.values(subject, fields) {
            Ok(found) => Ok(found),
            Err(Trouble::File(error)) => Err(error.into()),
            Err(Trouble::Broken(broken)) => {
                tracing::debug!(frame = self.frame.seq.0, "left out of a series: {broken}");
                Ok(Found::Broken)
            }
        }
    }

    fn values(&mut self, subject: &Subject, fields: &[&'static str]) -> Result<Found, Trouble> {
        let at = self.frame.beat;
        let Some(head) = self.part(0)? else {
            return Ok(Found::Gone);
        };
        let head = self.named(|decoder, names| decoder.decode_head(at, &head, names))?;
        Ok(Found::Values(match subject {
            Subject::Cluster => {
                Subject::values(at, Part::Cluster(head.phase, &head.summary), fields)
            }
            Subject::Log { topic, partition } => {
                let Some(frame) = self.decoded()? else {
                    return Ok(Found::Gone);
                };
                match &frame.body {
                    Body::Evaluation { evaluation, .. } => evaluation
                        .topic(topic)
                        .and_then(|topic| Subject::in_log(at, topic, *partition, fields)),
                    Body::Sinks(_) => None,
                }
            }
            Subject::Group { group }
            | Subject::Topic { group, .. }
            | Subject::Partition { group, .. } => self
                .group(&head, group)?
                .and_then(|group| subject.in_group(at, &group, fields)),
        }))
    }

    /// One piece of the frame.
    fn part(&self, place: usize) -> Result<Option<Box<[u8]>>, Trouble> {
        match (&self.frame.encoded, self.file) {
            (Some(encoded), _) => Ok(encoded.parts.get(place).cloned()),
            (None, Some(file)) => read_part(file, self.frame.seq, place).map_err(Trouble::File),
            (None, None) => Ok(None),
        }
    }

    /// Decodes with names from the dictionary. A frame whose names could not be read is not broken.
    fn named<T>(
        &mut self,
        decode: impl FnOnce(&mut Decoder, &mut Naming<'_>) -> Result<T, Broken>,
    ) -> Result<T, Trouble> {
        let mut names = Naming {
            dictionary: &self.shared.dictionary,
            file: self.file,
            error: None,
        };
        let decoded = decode(self.decoder, &mut names);
        decoded.map_err(|broken| match names.error {
            Some(error) => Trouble::File(error),
            None => Trouble::Broken(broken),
        })
    }

    /// The group at the beat; none when it was not there.
    fn group(&mut self, head: &Head, group: &str) -> Result<Option<GroupEvaluation>, Trouble> {
        let beat = self.frame.beat;
        let Some(place) = head.part_of(group) else {
            return Ok(None);
        };
        let Some(part) = self.part(place)? else {
            return Err(Trouble::Broken(Broken::missing(place)));
        };
        self.named(|decoder, names| decoder.find_group(head, (place, &part), beat, names, group))
    }

    /// The whole frame; none when it is gone.
    fn decoded(&mut self) -> Result<Option<Frame>, Trouble> {
        let InJournal { seq, beat, encoded } = self.frame;
        let parts = match (encoded, self.file) {
            (Some(encoded), _) => encoded.parts.clone(),
            (None, Some(file)) => read_parts(file, *seq).map_err(Trouble::File)?,
            (None, None) => return Ok(None),
        };
        self.named(|decoder, names| decoder.decode(*seq, *beat, &parts, names))
            .map(Some)
    }
}

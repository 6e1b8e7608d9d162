//! One group, topic or partition over time: any numeric field of the catalogue.
//!
//! Frames are opened piece by piece: of each only the head and the piece with the group are
//! decompressed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reduce::{Sample, reduce};
use super::{Past, QueryError};
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, GroupEvaluation};
use crate::points::{Batch, Measurement, Place, Value};
use crate::store::codec::{Broken, Encoded, Head};
use crate::store::frame::{Body, Frame, Seq};
use crate::store::journal::{find_names, read_part, read_parts};
use crate::store::lock;
use crate::store::names::Naming;

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Cluster,
    Group {
        group: String,
    },
    Topic {
        group: String,
        topic: String,
    },
    Partition {
        group: String,
        topic: String,
        partition: u32,
    },
    /// A topic's partition, whoever reads it.
    Log {
        topic: String,
        partition: u32,
    },
}

impl Subject {
    /// The measurement whose fields it has.
    pub fn measurement(&self) -> Measurement {
        match self {
            Subject::Cluster => Measurement::Cluster,
            Subject::Group { .. } => Measurement::Group,
            Subject::Topic { .. } => Measurement::Topic,
            Subject::Partition { .. } => Measurement::Partition,
            Subject::Log { .. } => Measurement::TopicOffset,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    pub cluster: String,
    pub subject: Subject,
    /// Names of the catalogue's numeric fields.
    pub fields: Vec<&'static str>,
    /// From this beat on, up to and including that one.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Steps of this many milliseconds; none: as many as `points` allows.
    pub step_ms: Option<i64>,
    /// Samples of each field at most.
    pub points: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    /// By field, in time order. A sample without a value is a gap.
    pub fields: BTreeMap<&'static str, Vec<Sample>>,
    /// Beats that were read.
    pub beats: usize,
    /// Frames that could not be decoded: gaps in the series.
    pub corrupt: usize,
}

/// Values of one beat by field; none when the subject was not there.
type Values = Option<Vec<(&'static str, f64)>>;

/// What a frame says about the subject.
enum Found {
    Values(Values),
    /// It fell off the journal meanwhile.
    Gone,
}

/// Why a frame says nothing.
enum Trouble {
    Broken(Broken),
    File(rusqlite::Error),
}

impl Past {
    /// The series `query` wants.
    pub(super) fn series(&mut self, query: &SeriesQuery) -> Result<Series, QueryError> {
        self.open()?;
        let mut series = Series::default();
        let mut moments: Vec<(Timestamp, Values)> = Vec::new();
        for (seq, beat) in self.frames_of(query)? {
            self.check_time()?;
            match self.look_into(seq, beat, &query.subject) {
                Ok(Found::Values(values)) => moments.push((beat, values)),
                Ok(Found::Gone) => {}
                Err(Trouble::Broken(broken)) => {
                    tracing::debug!(frame = seq.0, "left out of a series: {broken}");
                    series.corrupt += 1;
                }
                Err(Trouble::File(error)) => return Err(self.failed(&error)),
            }
        }
        // After a step of the clock times overlap.
        moments.sort_by_key(|(at, _)| *at);
        series.beats = moments.len();
        for field in &query.fields {
            let samples = samples(&moments, field);
            let samples = reduce(samples, query.points, query.step_ms);
            series.fields.insert(field, samples);
        }
        Ok(series)
    }

    /// The cluster's frames of the time.
    fn frames_of(&mut self, query: &SeriesQuery) -> Result<Vec<(Seq, Timestamp)>, QueryError> {
        // A name may have several numbers.
        let mut numbers = match &self.file {
            Some(file) => match find_names(file, &query.cluster) {
                Ok(numbers) => numbers,
                Err(error) => return Err(self.failed(&error)),
            },
            None => Vec::new(),
        };
        numbers.extend(lock(&self.shared.dictionary).number(&query.cluster));
        let state = self.shared.state();
        let entries = state.index.iter().filter(|entry| {
            (query.from..=query.to).contains(&entry.beat)
                && entry.cluster.is_some_and(|it| numbers.contains(&it))
        });
        Ok(entries.map(|entry| (entry.seq, entry.beat)).collect())
    }

    fn look_into(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        subject: &Subject,
    ) -> Result<Found, Trouble> {
        let encoded = self.shared.state().tail.encoded(seq);
        let Some(head) = self.part(seq, 0, encoded.as_deref())? else {
            return Ok(Found::Gone);
        };
        let mut names = Naming {
            dictionary: &self.shared.dictionary,
            file: self.file.as_ref(),
            error: None,
        };
        let head = self.decoder.decode_head(beat, &head, &mut names);
        let head = head.map_err(|broken| trouble(broken, names.error))?;
        let frame = match subject {
            Subject::Cluster => Some(frame_of(&head, seq, beat, None)),
            Subject::Log { .. } => self.decoded(seq, beat, encoded.as_deref())?,
            Subject::Group { group }
            | Subject::Topic { group, .. }
            | Subject::Partition { group, .. } => {
                let found = self.group(&head, seq, beat, encoded.as_deref(), group)?;
                found.map(|group| frame_of(&head, seq, beat, Some(group)))
            }
        };
        Ok(Found::Values(
            frame.and_then(|frame| values(frame, subject)),
        ))
    }

    /// One piece of a frame, from the tail's bytes or the file.
    fn part(
        &self,
        seq: Seq,
        place: usize,
        encoded: Option<&Encoded>,
    ) -> Result<Option<Box<[u8]>>, Trouble> {
        match (encoded, &self.file) {
            (Some(encoded), _) => Ok(encoded.parts.get(place).cloned()),
            (None, Some(file)) => read_part(file, seq, place).map_err(Trouble::File),
            (None, None) => Ok(None),
        }
    }

    /// The group at that beat; none when it was not there.
    fn group(
        &mut self,
        head: &Head,
        seq: Seq,
        beat: Timestamp,
        encoded: Option<&Encoded>,
        group: &str,
    ) -> Result<Option<Arc<GroupEvaluation>>, Trouble> {
        let Some(place) = head.part_of(group) else {
            return Ok(None);
        };
        let Some(part) = self.part(seq, place, encoded)? else {
            return Ok(None);
        };
        let mut names = Naming {
            dictionary: &self.shared.dictionary,
            file: self.file.as_ref(),
            error: None,
        };
        let groups = self
            .decoder
            .decode_groups(head, place, beat, &part, &mut names);
        let groups = groups.map_err(|broken| trouble(broken, names.error))?;
        Ok(groups.into_iter().find(|found| found.id.as_str() == group))
    }

    /// The whole frame; none when it is gone.
    fn decoded(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        encoded: Option<&Encoded>,
    ) -> Result<Option<Frame>, Trouble> {
        let parts = match (encoded, &self.file) {
            (Some(encoded), _) => encoded.parts.clone(),
            (None, Some(file)) => read_parts(file, seq).map_err(Trouble::File)?,
            (None, None) => return Ok(None),
        };
        let mut names = Naming {
            dictionary: &self.shared.dictionary,
            file: self.file.as_ref(),
            error: None,
        };
        let frame = self.decoder.decode(seq, beat, &parts, &mut names);
        frame
            .map(Some)
            .map_err(|broken| trouble(broken, names.error))
    }

    /// The frame in these bytes; none when it cannot be decoded.
    pub(super) fn whole_frame(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        encoded: &Encoded,
    ) -> Option<Frame> {
        self.decoded(seq, beat, Some(encoded)).ok().flatten()
    }
}

/// A frame whose names could not be read is not broken.
fn trouble(broken: Broken, file: Option<rusqlite::Error>) -> Trouble {
    file.map_or(Trouble::Broken(broken), Trouble::File)
}

/// A frame with this group only.
fn frame_of(head: &Head, seq: Seq, beat: Timestamp, group: Option<Arc<GroupEvaluation>>) -> Frame {
    let evaluation = Evaluation {
        cluster: head.cluster.clone(),
        beat,
        phase: head.phase,
        summary: head.summary.clone(),
        groups: group.into_iter().collect(),
        topics: Vec::new(),
    };
    Frame {
        seq,
        beat,
        rows: 0,
        body: Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes: Vec::new(),
        },
    }
}

/// The subject's fields, when the frame has it.
fn values(frame: Frame, subject: &Subject) -> Values {
    let Body::Evaluation { evaluation, .. } = &frame.body else {
        return None;
    };
    let place = place_of(evaluation, subject)?;
    let mut batch = Batch::new();
    batch.push(&Arc::new(frame), place);
    let mut values = Vec::new();
    batch.get(0)?.fields(&mut |name, value| {
        values.extend(number(value).map(|value| (name, value)));
    });
    Some(values)
}

fn place_of(evaluation: &Evaluation, subject: &Subject) -> Option<Place> {
    let index = |at: usize| u32::try_from(at).ok();
    let group = evaluation.groups.first();
    let topic_of = |name: &str| {
        let topics = &group?.topics;
        let at = topics
            .iter()
            .position(|topic| topic.topic.as_str() == name)?;
        Some((index(at)?, topics[at].partitions.len()))
    };
    Some(match subject {
        Subject::Cluster => Place::Cluster,
        Subject::Group { .. } => group.map(|_| Place::Group { group: 0 })?,
        Subject::Topic { topic, .. } => {
            let (topic, _) = topic_of(topic)?;
            Place::GroupTopic { group: 0, topic }
        }
        Subject::Partition {
            topic, partition, ..
        } => {
            let (topic, partitions) = topic_of(topic)?;
            let partition = *partition;
            ((partition as usize) < partitions).then_some(Place::GroupPartition {
                group: 0,
                topic,
                partition,
            })?
        }
        Subject::Log { topic, partition } => {
            let topics = &evaluation.topics;
            let at = topics.iter().position(|it| it.topic.as_str() == topic)?;
            let partition = *partition;
            ((partition as usize) < topics[at].partitions.len()).then_some(Place::TopicOffset {
                topic: index(at)?,
                partition,
            })?
        }
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "offsets above 2^53 do not occur; the value is for a chart"
)]
fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(value as f64),
        Value::Float(value) => Some(f64::from(value)),
        Value::Bool(value) => Some(f64::from(u8::from(value))),
        Value::Text(_) => None,
    }
}

/// One field over time, with a sample without value where it is unknown, where the subject was not
/// there, and where beats are missing.
fn samples(moments: &[(Timestamp, Values)], field: &str) -> Vec<Sample> {
    let beats = moments.windows(2).map(|pair| pair[1].0.ms_since(pair[0].0));
    let interval = beats.filter(|ms| *ms > 0).min();
    let mut samples = Vec::with_capacity(moments.len());
    let mut before: Option<Timestamp> = None;
    for (at, values) in moments {
        if let (Some(before), Some(interval)) = (before, interval)
            && at.ms_since(before) > interval.saturating_mul(5) / 2
        {
            samples.push(Sample {
                at: Timestamp::from_ms(before.as_ms() + interval),
                value: None,
            });
        }
        before = Some(*at);
        let values = values.iter().flatten();
        let value = values
            .filter(|(name, _)| *name == field)
            .map(|(_, value)| *value)
            .next();
        samples.push(Sample { at: *at, value });
    }
    samples
}

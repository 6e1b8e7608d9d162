//! The catalogue of measurements and fields, and evaluations as points.
//!
//! A [`Batch`] owns frames and points into them: nothing is copied until an encoder writes bytes.
//! An encoder that must be fast matches on [`Point::row`] and reads the evaluation itself; one that
//! need not be asks for [`Point::tags`] and [`Point::fields`]. Both give what the [`CATALOGUE`]
//! says, and nothing else exists: no other place names a measurement or a field.
//!
//! What is unknown is absent. There is no 0, -1 or NaN that means "unknown".

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::store::frame::Frame;

mod catalogue;
mod csv;
mod fields;
mod json;
mod metric;
mod owned;
mod place;
mod row;
#[doc(hidden)]
pub mod sample;
mod schema;

pub use catalogue::{CATALOGUE, FieldInfo, FieldKind, Measurement, MeasurementInfo, TagInfo, Unit};
pub use csv::Csv;
pub use fields::{Part, Totals, Value, fields_of, totals_of};
pub(crate) use json::write_text;
pub use json::{BadPoint, read_json, write_json};
pub use metric::{Metric, metrics};
pub use owned::{OwnedPoint, OwnedValue, UnknownName};
pub use place::{Detail, Place, places, row_count};
pub use row::Row;
pub use schema::as_json;

/// Points of one request, oldest beat first.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    frames: Vec<Arc<Frame>>,
    owned: Vec<Arc<OwnedPoint>>,
    points: Vec<PointRef>,
}

/// Where in a batch a point comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PointRef {
    /// A part of the frame with this index.
    Part { frame: u32, at: Place },
    /// The owned point with this index.
    Owned(u32),
}

impl Batch {
    /// A batch without points.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch of every point of `frame` at `detail`.
    pub fn of(frame: &Arc<Frame>, detail: Detail) -> Self {
        let mut batch = Self::new();
        for place in places(frame, detail) {
            batch.push(frame, place);
        }
        batch
    }

    /// Adds one point. Points of one frame are pushed one after the other.
    ///
    /// # Panics
    /// In a debug build, when `place` is not a place of `frame`.
    pub fn push(&mut self, frame: &Arc<Frame>, place: Place) {
        debug_assert_eq!(Row::of(frame, place).measurement(), place.measurement());
        if !self
            .frames
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, frame))
        {
            self.frames.push(Arc::clone(frame));
        }
        let frame = index(self.frames.len() - 1);
        self.points.push(PointRef::Part { frame, at: place });
    }

    /// Adds a point that stands for itself.
    pub fn push_owned(&mut self, point: Arc<OwnedPoint>) {
        self.points.push(PointRef::Owned(index(self.owned.len())));
        self.owned.push(point);
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether it has no points.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The point at `index`.
    pub fn get(&self, index: usize) -> Option<Point<'_>> {
        self.points.get(index).map(|point| self.resolve(point))
    }

    /// The points, oldest beat first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Point<'_>> + Clone {
        self.points.iter().map(|point| self.resolve(point))
    }

    /// The frame a point is a part of; none for an owned point.
    pub fn frame_of(&self, index: usize) -> Option<&Arc<Frame>> {
        match self.points.get(index)? {
            PointRef::Part { frame, .. } => self.frames.get(*frame as usize),
            PointRef::Owned(_) => None,
        }
    }

    /// The batch in two halves, the older points first.
    pub fn split(&self) -> (Batch, Batch) {
        let middle = self.points.len() / 2;
        (self.slice(0, middle), self.slice(middle, self.points.len()))
    }

    /// The points at these indexes, in their order. Indexes beyond the end are left out.
    pub fn subset(&self, indexes: &[usize]) -> Batch {
        self.with(indexes.iter().filter_map(|index| self.points.get(*index)))
    }

    /// The points from `start` up to, not including, `end`.
    pub fn slice(&self, start: usize, end: usize) -> Batch {
        let end = end.min(self.points.len());
        self.with(self.points.get(start..end).unwrap_or_default().iter())
    }

    fn with<'p>(&self, points: impl Iterator<Item = &'p PointRef>) -> Batch {
        let mut batch = Batch::new();
        for point in points {
            match point {
                PointRef::Part { frame, at } => batch.push(&self.frames[*frame as usize], *at),
                PointRef::Owned(at) => batch.push_owned(Arc::clone(&self.owned[*at as usize])),
            }
        }
        batch
    }

    fn resolve(&self, point: &PointRef) -> Point<'_> {
        match point {
            PointRef::Part { frame, at } => {
                let frame = &self.frames[*frame as usize];
                Point {
                    at: frame.beat,
                    row: Row::of(frame, *at),
                }
            }
            PointRef::Owned(at) => {
                let point = &*self.owned[*at as usize];
                Point {
                    at: point.at,
                    row: Row::Owned { point },
                }
            }
        }
    }
}

/// The index of an entry; lists of more than 2^32 entries do not exist here.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// One measurement with tags and fields at a beat.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    at: Timestamp,
    row: Row<'a>,
}

impl<'a> Point<'a> {
    /// Which measurement it belongs to.
    pub fn measurement(&self) -> Measurement {
        self.row.measurement()
    }

    /// The beat.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What it is made of, for encoders that must be fast.
    pub fn row(&self) -> Row<'a> {
        self.row
    }

    /// Calls `f` for each tag: name and value, sorted by name. Tags are identity only.
    pub fn tags(&self, f: &mut dyn FnMut(&'static str, &str)) {
        fields::tags(&self.row, f);
    }

    /// Calls `f` for each known field, in the order of the catalogue. The optional fields are not
    /// among them.
    pub fn fields(&self, f: &mut dyn FnMut(&'static str, Value<'_>)) {
        fields::fields(self.at, &self.row, f);
    }

    /// Calls `f` for each known optional field (owner and client of a partition), which a sink
    /// writes only when it is asked to.
    pub fn optional_fields(&self, f: &mut dyn FnMut(&'static str, Value<'_>)) {
        fields::optional_fields(&self.row, f);
    }

    /// About how many bytes it has as text on the wire, before compression.
    pub fn size_hint(&self) -> usize {
        let mut bytes = 0;
        self.tags(&mut |name, value| bytes += name.len() + value.len());
        bytes + 24 * self.measurement().info().fields.len()
    }
}

#[cfg(test)]
mod tests;

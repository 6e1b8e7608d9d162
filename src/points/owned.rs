//! A point that stands for itself, without a frame behind it.

use super::{FieldKind, Measurement, Point, Value};
use crate::clock::Timestamp;

/// One point with its own texts: read back from a dead letter, or made from history.
///
/// Its names are the catalogue's; what the catalogue does not know cannot be in it.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedPoint {
    pub measurement: Measurement,
    pub at: Timestamp,
    /// Sorted by name.
    pub tags: Vec<(&'static str, String)>,
    /// In the order of the catalogue.
    pub fields: Vec<(&'static str, OwnedValue)>,
}

/// The value of an owned point's field.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    Int(i64),
    Float(f32),
    Bool(bool),
    Text(String),
}

impl OwnedValue {
    /// The value, borrowed.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            OwnedValue::Int(value) => Value::Int(*value),
            OwnedValue::Float(value) => Value::Float(*value),
            OwnedValue::Bool(value) => Value::Bool(*value),
            OwnedValue::Text(value) => Value::Text(value),
        }
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Int(value) => OwnedValue::Int(value),
            Value::Float(value) => OwnedValue::Float(value),
            Value::Bool(value) => OwnedValue::Bool(value),
            Value::Text(value) => OwnedValue::Text(value.to_owned()),
        }
    }
}

impl OwnedPoint {
    /// A point without tags and fields.
    pub fn new(measurement: Measurement, at: Timestamp) -> Self {
        Self {
            measurement,
            at,
            tags: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// A copy of `point` with all its fields, the optional ones included.
    pub fn of(point: &Point<'_>) -> Self {
        let mut copy = Self::new(point.measurement(), point.at());
        point.tags(&mut |name, value| copy.tags.push((name, value.to_owned())));
        point.fields(&mut |name, value| copy.fields.push((name, value.into())));
        point.optional_fields(&mut |name, value| copy.fields.push((name, value.into())));
        copy
    }

    /// Adds a tag.
    ///
    /// # Errors
    /// When the measurement has no such tag.
    pub fn tag(&mut self, name: &str, value: impl Into<String>) -> Result<(), UnknownName> {
        let info = self.measurement.info();
        let Some(tag) = info.tag(name) else {
            return Err(UnknownName::new(self.measurement, name));
        };
        let at = self.tags.partition_point(|(known, _)| *known < tag.name);
        self.tags.insert(at, (tag.name, value.into()));
        Ok(())
    }

    /// Adds a field.
    ///
    /// # Errors
    /// When the measurement has no such field, or one of another type.
    pub fn field(&mut self, name: &str, value: OwnedValue) -> Result<(), UnknownName> {
        let info = self.measurement.info();
        let position = |name: &str| info.fields.iter().position(|field| field.name == name);
        let kind = match &value {
            OwnedValue::Int(_) => FieldKind::Int,
            OwnedValue::Float(_) => FieldKind::Float,
            OwnedValue::Bool(_) => FieldKind::Bool,
            OwnedValue::Text(_) => FieldKind::Text,
        };
        let Some(at) = position(name).filter(|at| info.fields[*at].kind == kind) else {
            return Err(UnknownName::new(self.measurement, name));
        };
        let place = self
            .fields
            .partition_point(|(known, _)| position(known) < Some(at));
        self.fields.insert(place, (info.fields[at].name, value));
        Ok(())
    }

    /// Calls `f` for the optional fields, or for the others.
    pub(super) fn fields_where(&self, optional: bool, f: &mut dyn FnMut(&'static str, Value<'_>)) {
        let info = self.measurement.info();
        for (name, value) in &self.fields {
            if info
                .field(name)
                .is_some_and(|field| field.optional == optional)
            {
                f(name, value.as_value());
            }
        }
    }
}

/// A tag or field that the catalogue does not have, or not with that type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{measurement} has no tag or field `{name}` of this type")]
pub struct UnknownName {
    pub measurement: &'static str,
    pub name: String,
}

impl UnknownName {
    fn new(measurement: Measurement, name: &str) -> Self {
        Self {
            measurement: measurement.name(),
            name: name.to_owned(),
        }
    }
}

//! Five-minute values beside the full data, for years instead of weeks: continuous queries for
//! InfluxDB 1, a task in Flux for InfluxDB 2. Both are made from the catalogue.
//!
//! Of a lag the greatest value is kept, never a mean that hides a spike. The last hour is
//! calculated again every five minutes, so what is delivered late is counted, too; what comes later
//! than that is in the full data only.

use std::fmt::Write as _;

use crate::points::{CATALOGUE, FieldInfo, FieldKind, Measurement, MeasurementInfo, Unit};

/// Of what time one value is kept.
pub(super) const STEP: &str = "5m";
/// How much is calculated again each time.
const AGAIN: &str = "1h";

/// How values of a step become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Last,
    Max,
    Mean,
    Min,
}

impl Kept {
    const ALL: [Kept; 4] = [Kept::Last, Kept::Max, Kept::Mean, Kept::Min];

    /// The name of the function, the same in InfluxQL and Flux.
    const fn as_str(self) -> &'static str {
        match self {
            Kept::Last => "last",
            Kept::Max => "max",
            Kept::Mean => "mean",
            Kept::Min => "min",
        }
    }
}

/// What is kept of a field; nothing of texts, whose numbers stand next to them.
fn kept(field: &FieldInfo) -> Option<Kept> {
    match (field.kind, field.unit) {
        (FieldKind::Text, _) => None,
        (FieldKind::Bool, _) | (_, Unit::Offset | Unit::Partition) => Some(Kept::Last),
        // A rewind, a hole in the sight: the worst counts.
        _ if matches!(field.name, "up" | "complete") => Some(Kept::Min),
        (_, Unit::RecordsPerSecond) => Some(Kept::Mean),
        (
            _,
            Unit::Records
            | Unit::Count
            | Unit::Points
            | Unit::Seconds
            | Unit::Milliseconds
            | Unit::Ratio
            | Unit::Code
            | Unit::None,
        ) => Some(Kept::Max),
    }
}

/// What is measured at every beat; status changes are events and few.
fn measured() -> impl Iterator<Item = &'static MeasurementInfo> {
    CATALOGUE
        .iter()
        .filter(|info| info.measurement != Measurement::Status)
}

/// A continuous query: its name and the statement that creates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContinuousQuery {
    pub(super) name: String,
    pub(super) statement: String,
}

/// The continuous queries of a database: from its retention policy `from` into `into`.
pub(super) fn continuous_queries(database: &str, from: &str, into: &str) -> Vec<ContinuousQuery> {
    let [database, from, into] = [database, from, into].map(identifier);
    let query = |info: &MeasurementInfo| {
        let measurement = info.measurement.name();
        let name = format!("{measurement}_{STEP}");
        let mut values = String::new();
        for field in info.fields {
            if let Some(kept) = kept(field) {
                let comma = if values.is_empty() { "" } else { ", " };
                let function = kept.as_str();
                write!(values, "{comma}{function}(\"{0}\") AS \"{0}\"", field.name).ok();
            }
        }
        ContinuousQuery {
            statement: format!(
                "CREATE CONTINUOUS QUERY \"{name}\" ON {database} RESAMPLE EVERY {STEP} FOR {AGAIN} BEGIN \
                 SELECT {values} INTO {database}.{into}.\"{measurement}\" \
                 FROM {database}.{from}.\"{measurement}\" GROUP BY time({STEP}), * END"
            ),
            name,
        }
    };
    measured().map(query).collect()
}

/// The name of the task that fills `into`.
pub(super) fn task_name(into: &str) -> String {
    format!("lagline {into}")
}

/// The task that keeps the values of a step of `bucket` in `into`.
pub(super) fn task(org: &str, bucket: &str, into: &str) -> String {
    let name = flux_text(&task_name(into));
    let [org, bucket, into] = [org, bucket, into].map(flux_text);
    let mut flux = format!(
        "import \"date\"\n\n\
         option task = {{name: {name}, every: {STEP}, offset: 30s}}\n\n\
         start = date.truncate(t: -{AGAIN}, unit: {STEP})\n\
         stop = date.truncate(t: now(), unit: {STEP})\n"
    );
    for info in measured() {
        for function in Kept::ALL {
            let fields = info.fields.iter();
            let fields = fields.filter(|field| kept(field) == Some(function));
            let fields: Vec<_> = fields
                .map(|field| format!("r._field == \"{}\"", field.name))
                .collect();
            if fields.is_empty() {
                continue;
            }
            write!(
                flux,
                "\nfrom(bucket: {bucket})\n    \
                 |> range(start: start, stop: stop)\n    \
                 |> filter(fn: (r) => r._measurement == \"{}\")\n    \
                 |> filter(fn: (r) => {})\n    \
                 |> aggregateWindow(every: {STEP}, fn: {}, createEmpty: false, timeSrc: \"_start\")\n    \
                 |> to(bucket: {into}, org: {org})\n",
                info.measurement.name(),
                fields.join(" or "),
                function.as_str(),
            )
            .ok();
        }
    }
    flux
}

/// A name in InfluxQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text in Flux; `${` would begin an expression.
fn flux_text(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace("${", "\\${"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn the_schema_files_are_what_bootstrap_makes() {
        let into = format!("kafka_lag_{STEP}");
        golden::check(
            "schemas/influxdb/task.flux",
            &task("ops", "kafka_lag", &into),
        );
        let mut all = String::new();
        for query in continuous_queries("kafka_lag", "autogen", &format!("lagline_{STEP}")) {
            all += &query.statement;
            all.push('\n');
        }
        golden::check("schemas/influxdb/continuous_queries.iql", &all);
    }

    #[test]
    fn the_worst_of_a_step_is_kept_and_of_what_only_grows_the_last() {
        for (measurement, field, expected) in [
            (Measurement::Group, "lag", Some(Kept::Max)),
            (Measurement::Group, "status_code", Some(Kept::Max)),
            (Measurement::Group, "status", None),
            (Measurement::Group, "stale", Some(Kept::Last)),
            (Measurement::Group, "consume_rate", Some(Kept::Mean)),
            (Measurement::Group, "complete", Some(Kept::Min)),
            (Measurement::Partition, "offset", Some(Kept::Last)),
            (Measurement::Topic, "max_lag_partition", Some(Kept::Last)),
            (Measurement::Cluster, "up", Some(Kept::Min)),
        ] {
            let info = measurement.info().field(field).unwrap();
            assert_eq!(kept(info), expected, "{field}");
        }
    }

    #[test]
    fn names_of_databases_and_buckets_stay_names() {
        let name = "a\"b\\c${d}";
        let query = &continuous_queries(name, name, name)[0].statement;
        assert!(query.contains(r#"ON "a\"b\\c${d}" RESAMPLE"#), "{query}");
        assert!(task(name, name, name).contains(r#"bucket: "a\"b\\c\${d}""#));
    }
}

//! Every measurement, tag and field as data: names, types, units, descriptions.
//!
//! The names are public API. Schemas, templates, dashboards and README tables are made from this
//! table, and a test holds [`super::Point::fields`] against it.
//!
//! Types: counts, offsets and codes are signed integers (every store has them), seconds, rates and
//! ratios are floats, `stale` is a boolean. `up` is an integer 0 or 1, so that it can be averaged
//! and compared everywhere like Prometheus' own `up`.

/// One of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measurement {
    Group,
    Topic,
    Partition,
    TopicOffset,
    Cluster,
    Status,
    Sink,
}

impl Measurement {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Measurement; 7] = [
        Measurement::Group,
        Measurement::Topic,
        Measurement::Partition,
        Measurement::TopicOffset,
        Measurement::Cluster,
        Measurement::Status,
        Measurement::Sink,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Measurement::Group => "kafka_lag_group",
            Measurement::Topic => "kafka_lag_topic",
            Measurement::Partition => "kafka_lag_partition",
            Measurement::TopicOffset => "kafka_topic_offset",
            Measurement::Cluster => "kafka_cluster",
            Measurement::Status => "kafka_lag_status",
            Measurement::Sink => "lagline_sink",
        }
    }

    /// The measurement with this name.
    pub fn named(name: &str) -> Option<Measurement> {
        Measurement::ALL
            .into_iter()
            .find(|measurement| measurement.name() == name)
    }

    /// What the catalogue says about it.
    pub fn info(self) -> &'static MeasurementInfo {
        &CATALOGUE[self as usize]
    }
}

/// A measurement with its tags and fields.
#[derive(Clone, Copy, Debug)]
pub struct MeasurementInfo {
    pub measurement: Measurement,
    pub description: &'static str,
    /// Sorted by name.
    pub tags: &'static [TagInfo],
    /// In the order they are written.
    pub fields: &'static [FieldInfo],
}

impl MeasurementInfo {
    /// The tag with this name.
    pub fn tag(&self, name: &str) -> Option<&'static TagInfo> {
        self.tags.iter().find(|tag| tag.name == name)
    }

    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&'static FieldInfo> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A tag: part of a point's identity.
#[derive(Clone, Copy, Debug)]
pub struct TagInfo {
    pub name: &'static str,
    pub description: &'static str,
    /// Whether some points of the measurement do not have it.
    pub optional: bool,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct FieldInfo {
    pub name: &'static str,
    pub kind: FieldKind,
    pub unit: Unit,
    pub description: &'static str,
    /// Written only when the sink is asked to.
    pub optional: bool,
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Int,
    Float,
    Bool,
    Text,
}

impl FieldKind {
    /// Its word in `schemas/points.json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            FieldKind::Int => "integer",
            FieldKind::Float => "float",
            FieldKind::Bool => "boolean",
            FieldKind::Text => "string",
        }
    }
}

/// What a field's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Records of a log (lag).
    Records,
    /// A place in a log.
    Offset,
    /// A number of things.
    Count,
    /// Points.
    Points,
    Seconds,
    Milliseconds,
    RecordsPerSecond,
    /// 0 to 1.
    Ratio,
    /// A status as Burrow's number.
    Code,
    /// A partition's number.
    Partition,
    /// None: words and truth values.
    None,
}

impl Unit {
    /// Its word in `schemas/points.json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Records => "records",
            Unit::Offset => "offset",
            Unit::Count => "count",
            Unit::Points => "points",
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::RecordsPerSecond => "records/s",
            Unit::Ratio => "ratio",
            Unit::Code => "code",
            Unit::Partition => "partition",
            Unit::None => "",
        }
    }
}

const fn tag(name: &'static str, description: &'static str) -> TagInfo {
    TagInfo {
        name,
        description,
        optional: false,
    }
}

const fn field(
    name: &'static str,
    kind: FieldKind,
    unit: Unit,
    description: &'static str,
) -> FieldInfo {
    FieldInfo {
        name,
        kind,
        unit,
        description,
        optional: false,
    }
}

const fn int(name: &'static str, unit: Unit, description: &'static str) -> FieldInfo {
    field(name, FieldKind::Int, unit, description)
}

const fn float(name: &'static str, unit: Unit, description: &'static str) -> FieldInfo {
    field(name, FieldKind::Float, unit, description)
}

const fn text(name: &'static str, description: &'static str) -> FieldInfo {
    field(name, FieldKind::Text, Unit::None, description)
}

const CLUSTER: TagInfo = tag("cluster", "The operator's name of the Kafka cluster.");
const GROUP: TagInfo = tag("group", "The consumer group's id.");
const TOPIC: TagInfo = tag("topic", "The topic's name.");
const PARTITION: TagInfo = tag("partition", "The partition's number.");

/// Every measurement, in the order of [`Measurement::ALL`].
pub const CATALOGUE: &[MeasurementInfo] = &[
    MeasurementInfo {
        measurement: Measurement::Group,
        description: "One consumer group at one beat.",
        tags: &[CLUSTER, GROUP],
        fields: GROUP_FIELDS,
    },
    MeasurementInfo {
        measurement: Measurement::Topic,
        description: "One topic of a consumer group at one beat.",
        tags: &[CLUSTER, GROUP, TOPIC],
        fields: TOPIC_FIELDS,
    },
    MeasurementInfo {
        measurement: Measurement::Partition,
        description: "One partition of a consumer group at one beat; only partitions with a committed offset.",
        tags: &[CLUSTER, GROUP, PARTITION, TOPIC],
        fields: PARTITION_FIELDS,
    },
    MeasurementInfo {
        measurement: Measurement::TopicOffset,
        description: "One partition's log at one beat, whoever reads it; only with a known end offset.",
        tags: &[CLUSTER, PARTITION, TOPIC],
        fields: &[
            int(
                "end_offset",
                Unit::Offset,
                "Log end offset: the offset the next record gets.",
            ),
            int(
                "begin_offset",
                Unit::Offset,
                "Log start offset: the oldest record still there.",
            ),
        ],
    },
    MeasurementInfo {
        measurement: Measurement::Cluster,
        description: "One Kafka cluster at one beat.",
        tags: &[CLUSTER],
        fields: CLUSTER_FIELDS,
    },
    MeasurementInfo {
        measurement: Measurement::Status,
        description: "A group, or one of its partitions, went from one status to another.",
        tags: &[
            CLUSTER,
            GROUP,
            TagInfo {
                optional: true,
                ..PARTITION
            },
            TagInfo {
                optional: true,
                ..TOPIC
            },
        ],
        fields: &[
            text("from", "The status before, as a word."),
            text("to", "The status now, as a word."),
            int(
                "from_code",
                Unit::Code,
                "The status before, as Burrow's number.",
            ),
            int("to_code", Unit::Code, "The status now, as Burrow's number."),
            text("reason", "Why, in words with the numbers."),
        ],
    },
    MeasurementInfo {
        measurement: Measurement::Sink,
        description: "How far one of lagline's sinks is. Counts are in points at full detail since the sink was added.",
        tags: &[tag("sink", "The operator's name of the sink.")],
        fields: SINK_FIELDS,
    },
];

const STATUS_CODE: FieldInfo = int(
    "status_code",
    Unit::Code,
    "The status as Burrow's number: 1 OK, 2 WARN, 3 ERR, 4 STOP, 5 STALL, 6 REWIND.",
);

const GROUP_FIELDS: &[FieldInfo] = &[
    int(
        "lag",
        Unit::Records,
        "Sum of the known lags of its partitions.",
    ),
    int(
        "max_lag",
        Unit::Records,
        "The greatest known lag of a partition.",
    ),
    int("partitions", Unit::Count, "Partitions of its topics."),
    int(
        "partitions_ok",
        Unit::Count,
        "Partitions in OK with a committed offset.",
    ),
    int(
        "partitions_warn",
        Unit::Count,
        "Partitions in WARN: the lag never shrinks.",
    ),
    int(
        "partitions_stop",
        Unit::Count,
        "Partitions in STOP: commits have ceased.",
    ),
    int(
        "partitions_stall",
        Unit::Count,
        "Partitions in STALL: the same offset is committed.",
    ),
    int(
        "partitions_rewind",
        Unit::Count,
        "Partitions in REWIND: the offset went back.",
    ),
    int(
        "partitions_no_commit",
        Unit::Count,
        "Partitions without a committed offset.",
    ),
    int(
        "topics",
        Unit::Count,
        "Topics it has committed offsets for.",
    ),
    int("members", Unit::Count, "Members of the group."),
    STATUS_CODE,
    text("status", "OK, WARN or ERR."),
    field(
        "stale",
        FieldKind::Bool,
        Unit::None,
        "The status is an older one, kept because lagline cannot see the group at the moment.",
    ),
    float(
        "complete",
        Unit::Ratio,
        "Share of its partitions with a full window of commits.",
    ),
    int(
        "partitions_unknown",
        Unit::Count,
        "Partitions whose lag is not known at this beat.",
    ),
    float(
        "time_lag_s",
        Unit::Seconds,
        "The longest time lag of its partitions.",
    ),
    float(
        "time_lag_error_s",
        Unit::Seconds,
        "The true time lag is within this; absent when it is at least time_lag_s.",
    ),
    float(
        "eta_s",
        Unit::Seconds,
        "Time until caught up at the current rates; absent when not catching up.",
    ),
    float(
        "consume_rate",
        Unit::RecordsPerSecond,
        "Records consumed a second, over the known partitions.",
    ),
    float(
        "produce_rate",
        Unit::RecordsPerSecond,
        "Records produced a second, over the known partitions.",
    ),
    int(
        "records_lost",
        Unit::Records,
        "Records that fell off the log before the group read them.",
    ),
    float(
        "retention_used",
        Unit::Ratio,
        "The greatest share of a retained log that is still to be read.",
    ),
];

const TOPIC_FIELDS: &[FieldInfo] = &[
    int(
        "lag",
        Unit::Records,
        "Sum of the known lags of its partitions.",
    ),
    int(
        "max_lag",
        Unit::Records,
        "The greatest known lag of a partition.",
    ),
    int(
        "max_lag_partition",
        Unit::Partition,
        "The partition with the greatest known lag, the first on ties.",
    ),
    int("partitions", Unit::Count, "Partitions of the topic."),
    int(
        "partitions_lagging",
        Unit::Count,
        "Partitions with a known lag above 0.",
    ),
    STATUS_CODE,
    text("status", "The worst status of its partitions."),
    float(
        "time_lag_s",
        Unit::Seconds,
        "The longest time lag of its partitions.",
    ),
    float(
        "consume_rate",
        Unit::RecordsPerSecond,
        "Records consumed a second, over the known partitions.",
    ),
    float(
        "produce_rate",
        Unit::RecordsPerSecond,
        "Records produced a second, over the known partitions.",
    ),
];

const PARTITION_FIELDS: &[FieldInfo] = &[
    int(
        "lag",
        Unit::Records,
        "Log end offset minus committed offset, at least 0.",
    ),
    int(
        "offset",
        Unit::Offset,
        "The committed offset: the next one the group will read.",
    ),
    int("end_offset", Unit::Offset, "Log end offset of this beat."),
    STATUS_CODE,
    text("status", "OK, WARN, STOP, STALL or REWIND."),
    float(
        "complete",
        Unit::Ratio,
        "Commits in the window as a share of a full one.",
    ),
    float("commit_age_s", Unit::Seconds, "Time since the last commit."),
    float(
        "time_lag_s",
        Unit::Seconds,
        "Age of the oldest record not yet committed.",
    ),
    float(
        "eta_s",
        Unit::Seconds,
        "Time until caught up at the current rates; absent when not catching up.",
    ),
    FieldInfo {
        optional: true,
        ..text(
            "owner",
            "Host of the member that reads it, with Kafka's leading slash.",
        )
    },
    FieldInfo {
        optional: true,
        ..text("client_id", "Client id of the member that reads it.")
    },
];

const CLUSTER_FIELDS: &[FieldInfo] = &[
    int(
        "up",
        Unit::Count,
        "1 when Kafka answered for this beat, else 0.",
    ),
    int(
        "groups",
        Unit::Count,
        "Consumer groups; absent while loading.",
    ),
    int(
        "groups_bad",
        Unit::Count,
        "Groups in WARN or ERR; absent while loading.",
    ),
    int("topics", Unit::Count, "Topics; absent while loading."),
    int(
        "partitions",
        Unit::Count,
        "Partitions of all topics; absent while loading.",
    ),
    int("brokers", Unit::Count, "Brokers."),
    int("lag", Unit::Records, "Sum of the known lags of all groups."),
    float(
        "evaluate_ms",
        Unit::Milliseconds,
        "How long the evaluation took, without waiting for Kafka.",
    ),
    float(
        "offsets_age_s",
        Unit::Seconds,
        "Age of the oldest end offset used.",
    ),
    int(
        "reader_lag",
        Unit::Records,
        "Records of the offsets topic that lagline has not read yet.",
    ),
    text("reason", "Why the cluster is not up; absent while it is."),
];

const SINK_FIELDS: &[FieldInfo] = &[
    int(
        "offered",
        Unit::Points,
        "Journaled for it; the sum of the five below.",
    ),
    int("delivered", Unit::Points, "Written."),
    int(
        "filtered",
        Unit::Points,
        "Left out by the sink's own options.",
    ),
    int(
        "rejected",
        Unit::Points,
        "Refused for good: in the dead letters.",
    ),
    int(
        "expired",
        Unit::Points,
        "Too old before they could be delivered.",
    ),
    int("waiting", Unit::Points, "Not settled yet."),
    float(
        "oldest_waiting_s",
        Unit::Seconds,
        "Age of the oldest beat that is not delivered yet; 0 when none waits.",
    ),
];

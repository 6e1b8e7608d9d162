//! `/metrics`: a valid exposition, and Burrow's names with Burrow's values.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::group_path;
use super::world::{CLUSTER, RESTING};
use crate::lagline::{LIMIT, Lagline};
use crate::services::wait;

type Labels = BTreeMap<String, String>;

/// A text in Prometheus' format 0.0.4.
pub struct Exposition {
    pub samples: Vec<(String, Labels, f64)>,
}

impl Exposition {
    /// # Panics
    /// When the text is not what the format asks for.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "no newline at the end");
        let mut samples = Vec::new();
        let mut begun = BTreeSet::new();
        let mut family = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, _) = help.split_once(' ').expect("a help text");
                let types = lines.next().unwrap_or_default();
                let kind = types.strip_prefix(&format!("# TYPE {name} "));
                assert!(matches!(kind, Some("gauge" | "counter")), "{line}: {types}");
                let is_total = name.ends_with("_total") && !name.starts_with("burrow_");
                assert_eq!(is_total, kind == Some("counter"), "{types}");
                assert!(begun.insert(name.to_owned()), "{name} begins twice");
                name.clone_into(&mut family);
                continue;
            }
            let sample = sample(line);
            assert_eq!(sample.0, family, "a sample outside its family");
            samples.push(sample);
        }
        let unique: BTreeSet<_> = samples.iter().map(|(n, labels, _)| (n, labels)).collect();
        assert_eq!(unique.len(), samples.len(), "a series is there twice");
        Self { samples }
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let labels: Labels = labels.collect();
        let found = self
            .samples
            .iter()
            .find(|(n, l, _)| n == name && *l == labels);
        found.map(|(_, _, value)| *value)
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
        "{line}"
    );
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let (value, after) = unescape(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after;
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the end of the labels");
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    let value: f64 = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    (name.to_owned(), labels, value)
}

/// A label's value up to its closing quote, and what follows.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().expect("an escaped character").1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("\\{c} is no escape"),
            }),
            c => value.push(c),
        }
    }
    panic!("a label's value does not end: {text}");
}

/// Burrow's names say what its API says, and only that.
pub fn check(lagline: &Lagline) {
    let answer = lagline.send("GET", "/metrics", &[], "");
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let exposition = Exposition::parse(&answer.body);
    for group in RESTING {
        check_group(lagline, &exposition, group);
    }
    assert_eq!(
        exposition.value("lagline_cluster_up", &[("cluster", CLUSTER)]),
        Some(1.0)
    );
    let topic = [
        ("cluster", CLUSTER),
        ("topic", "orders"),
        ("partition", "1"),
    ];
    let name = "burrow_kafka_topic_partition_offset";
    assert_eq!(exposition.value(name, &topic), Some(40.0));
}

/// The series of a deleted group go with it.
pub fn check_gone(lagline: &Lagline, group: &str) {
    wait::until(&format!("{group} has no series"), LIMIT, || {
        let text = lagline.send("GET", "/metrics", &[], "").body;
        !text.contains(&format!("\"{group}\""))
    });
}

fn check_group(lagline: &Lagline, exposition: &Exposition, group: &str) {
    let answer = lagline.get(&group_path(group, "/lag"));
    let status = &answer["status"];
    let labels = [("cluster", CLUSTER), ("consumer_group", group)];
    let value = |name: &str| exposition.value(&format!("burrow_kafka_consumer_{name}"), &labels);
    assert_eq!(value("lag_total"), status["totallag"].as_f64(), "{group}");
    assert_eq!(value("status"), code(&status["status"]), "{group}");
    for row in status["partitions"].as_array().unwrap() {
        let partition = row["partition"].to_string();
        let topic = row["topic"].as_str().unwrap();
        let labels = [
            labels[0],
            labels[1],
            ("topic", topic),
            ("partition", &partition),
        ];
        let value = |name: &str| exposition.value(&format!("burrow_kafka_{name}"), &labels);
        let is_complete = row["complete"] == 1;
        let lag = value("consumer_partition_lag");
        assert_eq!(lag, row["current_lag"].as_f64(), "{labels:?}");
        let offset = row["end"]["offset"].as_f64().filter(|_| is_complete);
        assert_eq!(value("consumer_current_offset"), offset, "{labels:?}");
        let code = code(&row["status"]).filter(|_| is_complete);
        assert_eq!(value("topic_partition_status"), code, "{labels:?}");
    }
    let own = [("cluster", CLUSTER), ("group", group)];
    let lag = exposition.value("lagline_group_lag", &own);
    assert_eq!(lag, status["totallag"].as_f64(), "{group}");
}

fn code(status: &serde_json::Value) -> Option<f64> {
    let words = ["NOTFOUND", "OK", "WARN", "ERR", "STOP", "STALL", "REWIND"];
    let numbers = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let at = words.iter().position(|word| *status == **word)?;
    Some(numbers[at])
}

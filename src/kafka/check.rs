//! Tries everything lagline needs of a Kafka cluster, for `lagline check --connect`.
//!
//! Writes nothing, creates nothing, joins no group. Each problem is one [`Finding`] with the next step;
//! a missing permission names the ACL to add. What can be found out with a permission missing is
//! still found out, so that one run shows everything.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio_util::sync::CancellationToken;

use super::client::{KafkaSettings, Role};
use super::ffi::Code;
use super::ffi::admin::{Answer, DescribedTopic, LOG_END, Operations, Questions};
use super::ffi::feed::{Arrival, Feed};
use super::ffi::metadata::{ClusterMetadata, cluster_metadata};
use super::log_offsets::ask::{Answered, Deadline, ask};
use super::log_offsets::layout::Layout;
use super::log_offsets::plan::Unit;

mod version;

use version::CheckContext;

/// A topic nobody has: asked by name, a user who may see every topic hears that it does not exist, and
/// one who may not hears that it may not be seen. Nothing else tells the two apart. Kafka creates no
/// topic for this question.
const NOBODYS_TOPIC: &str = "lagline-asks-whether-it-may-see-every-topic";

/// How good or bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// lagline works, but not for everything.
    Warning,
    /// lagline cannot work on this cluster.
    Error,
}

impl Level {
    /// The level in one word.
    pub const fn label(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// One thing that was tried, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// What is, and what to do next.
    pub text: String,
    /// The permission that is missing.
    pub missing: Option<Acl>,
}

/// A Kafka permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Kafka's name of the operation; `Read` includes `Describe`.
    pub operation: &'static str,
    /// Topic name; `*` for every topic.
    pub topic: String,
    /// The user lagline connects as, when the settings name it.
    pub user: Option<String>,
}

impl fmt::Display for Acl {
    /// As the options of `kafka-acls`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().unwrap_or("<lagline's user>");
        write!(
            f,
            "kafka-acls --add --allow-principal 'User:{user}' --operation {} --topic '{}'",
            self.operation, self.topic
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.label(), self.text)?;
        match &self.missing {
            Some(acl) => write!(f, "; add the acl: {acl}"),
            None => Ok(()),
        }
    }
}

/// Tries the cluster. Takes `timeout` at most for each of its few steps, and as a whole when nothing
/// answers. Blocks: not for a runtime thread.
pub fn check(settings: &KafkaSettings, timeout: Duration) -> Vec<Finding> {
    let mut findings = Findings {
        user: settings.sasl.as_ref().map(|sasl| sasl.username.clone()),
        found: Vec::new(),
    };
    for problem in settings.problems() {
        findings.add(Level::Error, problem.to_string());
    }
    if findings.found.is_empty() {
        match client(settings) {
            Ok(client) => try_everything(&client, settings, timeout, &mut findings),
            Err(reason) => findings.add(Level::Error, reason),
        }
    }
    findings.found
}

type Client = BaseConsumer<CheckContext>;

fn client(settings: &KafkaSettings) -> Result<Client, String> {
    let mut config = settings.client_config(Role::Reader);
    // Says which versions of which requests each broker speaks: the only hint at its own version.
    config.set("debug", "feature");
    Client::from_config_and_context(&config, CheckContext::default())
        .map_err(|error| format!("cannot create a kafka client: {error}"))
}

fn try_everything(
    client: &Client,
    settings: &KafkaSettings,
    timeout: Duration,
    findings: &mut Findings,
) {
    let metadata = match cluster_metadata(client.client(), timeout) {
        Ok(metadata) => metadata,
        Err(code) => {
            findings.add(Level::Error, unreachable(client, code));
            return;
        }
    };
    take_events(client);
    findings.add(Level::Ok, reached(client, &metadata, timeout));
    let topic = &settings.offsets_topic;
    let described = describe(client, &metadata, [topic.as_str(), NOBODYS_TOPIC], timeout);
    let of = |name: &str| described.iter().find(|described| described.name == name);
    let may_read = offsets_topic(topic, of(topic), findings);
    let ends = leaders(client, &metadata, topic, timeout, findings);
    if let (true, Some((partition, end))) = (may_read, ends) {
        read(client, topic, partition, end, timeout, findings);
    }
    every_topic(topic, &metadata, of(NOBODYS_TOPIC), findings);
}

struct Findings {
    user: Option<String>,
    found: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, level: Level, text: String) {
        self.found.push(Finding {
            level,
            text,
            missing: None,
        });
    }

    fn missing(&mut self, level: Level, operation: &'static str, topic: &str, text: String) {
        self.found.push(Finding {
            level,
            text,
            missing: Some(Acl {
                operation,
                topic: topic.to_owned(),
                user: self.user.clone(),
            }),
        });
    }
}

fn unreachable(client: &Client, code: Code) -> String {
    take_events(client);
    match client.context().kafka().reason() {
        Some(reason) => format!("the cluster cannot be reached: {reason}"),
        None => format!("the cluster cannot be reached: {code}; check bootstrap_servers"),
    }
}

fn reached(client: &Client, metadata: &ClusterMetadata, timeout: Duration) -> String {
    let questions = Questions::new(client.client());
    questions.describe_cluster(0, timeout);
    let id = match questions.next(timeout) {
        Some((_, Answer::Cluster(cluster))) => cluster.cluster_id,
        _ => None,
    };
    let addresses: Vec<&str> = metadata
        .brokers
        .iter()
        .map(|broker| broker.address.as_str())
        .collect();
    let mut text = match addresses.len() {
        1 => format!("reached 1 broker ({})", addresses[0]),
        count => format!("reached {count} brokers ({})", addresses.join(", ")),
    };
    if let Some(id) = id {
        text.push_str(&format!(", cluster id {id}"));
    }
    if let Some(version) = client.context().version_hint() {
        text.push_str(&format!(", {version}"));
    }
    text
}

fn describe(
    client: &Client,
    metadata: &ClusterMetadata,
    names: [&str; 2],
    timeout: Duration,
) -> Vec<DescribedTopic> {
    let questions = Questions::new(client.client());
    let via = metadata.answered_by;
    let via = via.or(metadata.brokers.first().map(|broker| broker.id));
    questions.describe_topics(0, names.into_iter(), via, true, timeout);
    match questions.next(timeout) {
        Some((_, Answer::Topics(topics))) => topics,
        _ => Vec::new(),
    }
}

/// Whether reading it is worth a try.
fn offsets_topic(name: &str, described: Option<&DescribedTopic>, found: &mut Findings) -> bool {
    let facts = match described.map(|topic| topic.outcome.as_ref()) {
        None => {
            let text = format!("topic {name}: kafka did not say whether it may be read; try again");
            found.add(Level::Warning, text);
            return true;
        }
        Some(Err(&Code::UNKNOWN_TOPIC_OR_PARTITION)) => {
            let text = format!(
                "topic {name} does not exist yet: kafka creates it when the first group commits, \
                 lagline waits for it"
            );
            found.add(Level::Warning, text);
            return false;
        }
        Some(Err(&Code::TOPIC_AUTHORIZATION_FAILED)) => {
            let text = format!("topic {name} may not be seen, so no commit can be read");
            found.missing(Level::Error, "Read", name, text);
            return false;
        }
        Some(Err(code)) => {
            found.add(Level::Error, format!("topic {name} cannot be used: {code}"));
            return false;
        }
        Some(Ok(facts)) => facts,
    };
    let may_read = facts.operations.is_none_or(Operations::may_read);
    if !may_read {
        let text = format!("topic {name} may be seen but not read");
        found.missing(Level::Error, "Read", name, text);
    }
    may_read
}

/// Asks every leader of the offsets topic for the end of its partitions; gives one that answered.
fn leaders(
    client: &Client,
    metadata: &ClusterMetadata,
    name: &str,
    timeout: Duration,
    found: &mut Findings,
) -> Option<(i32, i64)> {
    let layout = Layout::next(&Layout::default(), metadata, |_| false);
    let topic = layout
        .topics
        .iter()
        .find(|topic| topic.name.as_str() == name)?;
    let units: Vec<Unit<'_>> = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(slot, partition)| Unit {
            topic: name,
            partition: partition.id,
            leader: partition.leader,
            at: &[LOG_END],
            slot,
        })
        .collect();
    let outcome = ask(
        client.client(),
        &units,
        units.len(),
        &Deadline::within(timeout),
        &BTreeSet::new(),
        &CancellationToken::new(),
    );
    let ends: Vec<(i32, Answered)> = units
        .iter()
        .map(|unit| unit.partition)
        .zip(outcome.answers)
        .collect();
    let answered = ends.iter().filter(|(_, end)| matches!(end, Some(Ok(_))));
    let (answered, all) = (answered.count(), ends.len());
    if answered == all {
        let text = format!("the leaders of all {all} partitions of {name} answer");
        found.add(Level::Ok, text);
    } else {
        found.add(Level::Error, silent_leaders(client, name, &ends));
    }
    ends.into_iter().find_map(|(partition, end)| match end {
        Some(Ok(end)) => Some((partition, end)),
        _ => None,
    })
}

fn silent_leaders(client: &Client, name: &str, ends: &[(i32, Answered)]) -> String {
    take_events(client);
    let failed = ends.iter().filter(|(_, end)| !matches!(end, Some(Ok(_))));
    let error = failed.clone().find_map(|(_, end)| match end {
        Some(Err(code)) => Some(code.to_string()),
        _ => None,
    });
    let reason = error.or_else(|| client.context().kafka().reason());
    format!(
        "{} of {} partitions of {name} have no leader that answers: {}; check that every broker's \
         advertised address can be reached from here",
        failed.count(),
        ends.len(),
        reason.unwrap_or_else(|| "no answer in time".to_owned())
    )
}

/// Reads at the end of one partition: the permission as it really is.
fn read(
    client: &Client,
    name: &str,
    partition: i32,
    end: i64,
    timeout: Duration,
    found: &mut Findings,
) {
    let mut feed = Feed::new(client.client(), name);
    let started = feed.as_mut().map(|feed| feed.start(partition, end));
    let (Some(feed), Some(Ok(()))) = (&mut feed, started) else {
        let text = format!("topic {name} cannot be read: check the name in offsets_topic");
        found.add(Level::Error, text);
        return;
    };
    let deadline = Deadline::within(timeout);
    while !deadline.is_over() {
        take_events(client);
        let batch = feed.next(deadline.left().min(Duration::from_millis(100)));
        let Some(arrival) = batch.iter().next() else {
            continue;
        };
        match arrival {
            Arrival::Record { .. } | Arrival::End { .. } => {
                found.add(Level::Ok, format!("topic {name} can be read"));
            }
            Arrival::Failed { code, .. } if code == Code::TOPIC_AUTHORIZATION_FAILED => {
                let text = format!("topic {name} may not be read");
                found.missing(Level::Error, "Read", name, text);
            }
            Arrival::Failed { code, .. } => {
                found.add(Level::Error, format!("topic {name} cannot be read: {code}"));
            }
        }
        return;
    }
    let text = format!("reading topic {name} gave no answer within {timeout:?}; try again");
    found.add(Level::Warning, text);
}

/// Whether end offsets of every topic can be had.
fn every_topic(
    offsets_topic: &str,
    metadata: &ClusterMetadata,
    nobodys: Option<&DescribedTopic>,
    found: &mut Findings,
) {
    let others = metadata.topics.iter();
    let others = others.filter(|topic| topic.name != offsets_topic).count();
    let seen = match others {
        0 => "no topic of an application is seen".to_owned(),
        1 => "1 topic of an application is seen".to_owned(),
        count => format!("{count} topics of applications are seen"),
    };
    match nobodys.map(|topic| topic.outcome.as_ref().err()) {
        Some(Some(&Code::TOPIC_AUTHORIZATION_FAILED)) => {
            let text =
                format!("{seen}, but not every topic may be: groups on the others get no lag");
            found.missing(Level::Warning, "Describe", "*", text);
        }
        Some(_) => found.add(Level::Ok, format!("{seen}, every topic may be")),
        None => {
            let text = format!("{seen}; kafka did not say whether that is all; try again");
            found.add(Level::Warning, text);
        }
    }
}

/// Takes librdkafka's log and errors, which reach the context only so.
fn take_events(client: &Client) {
    for _ in 0..1000 {
        if client.poll(Duration::from_millis(2)).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cluster_that_is_not_there_is_one_error_with_its_address() {
        let settings = KafkaSettings::new(vec!["127.0.0.1:1".to_owned()]);
        let findings = check(&settings, Duration::from_secs(1));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].level, Level::Error);
        let text = &findings[0].text;
        assert!(text.contains("127.0.0.1:1"), "{text}");
    }

    #[test]
    fn bad_properties_are_found_without_connecting() {
        let mut settings = KafkaSettings::new(vec!["127.0.0.1:1".to_owned()]);
        settings.properties.insert("no.such".into(), "1".into());
        assert_eq!(
            shown(&check(&settings, Duration::from_secs(60))),
            ["error: kafka property \"no.such\": librdkafka has no property of this name"]
        );
    }

    #[test]
    fn a_cluster_without_the_offsets_topic_is_a_warning() {
        let mock = MockCluster::new(1).unwrap();
        let settings = KafkaSettings::new(vec![mock.bootstrap_servers()]);
        let findings = check(&settings, Duration::from_secs(10));
        let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
        assert_eq!(
            levels,
            [Level::Ok, Level::Warning, Level::Ok],
            "{findings:?}"
        );
        assert!(findings[1].text.contains("does not exist yet"));
    }

    #[test]
    fn an_acl_is_shown_as_the_command_that_adds_it() {
        let acl = |user: Option<&str>| Acl {
            operation: "Read",
            topic: "__consumer_offsets".to_owned(),
            user: user.map(str::to_owned),
        };
        for (user, expected) in [
            (
                Some("ops"),
                "kafka-acls --add --allow-principal 'User:ops' --operation Read \
                 --topic '__consumer_offsets'",
            ),
            (
                None,
                "kafka-acls --add --allow-principal 'User:<lagline's user>' --operation Read \
                 --topic '__consumer_offsets'",
            ),
        ] {
            assert_eq!(acl(user).to_string(), expected);
        }
    }
}

//! Makes what a write needs and the server lacks: the database or bucket with its retention, and
//! what keeps five-minute values of it. Only when the operator asked for it.
//!
//! Nothing that is there is changed or removed, whatever it looks like: of the same name is good
//! enough. Everything looks at the server first, so it may run again after a kill at any point.

use std::time::Duration;

use influxdb2::RequestError;
use influxdb2::api::buckets::ListBucketsRequest;
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::models::{PostBucketRequest, RetentionRule, retention_rule};
use serde::Deserialize;
use serde_json::Value as Json;

use super::downsampling::{self, STEP, identifier};
use super::{InfluxSink, Target, answers};
use crate::sinks::http::{self, Answer, Verdict};
use crate::sinks::{CheckError, Made, WriteError};

/// What to make when it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootstrap {
    /// How long points are kept; for ever when absent.
    pub retention: Option<Duration>,
    /// How long five-minute values are kept; none are made when absent.
    pub downsampled: Option<Duration>,
}

/// Makes what is missing; says what was made, as far as it came.
pub(super) async fn make(
    sink: &InfluxSink,
    wanted: &Bootstrap,
    made: &Made,
) -> Result<(), WriteError> {
    match &sink.settings.target {
        Target::V1 {
            database,
            retention_policy,
            ..
        } => {
            let database = Database {
                sink,
                name: database,
                policy: retention_policy.as_deref(),
            };
            database.make(wanted, made).await
        }
        Target::V2 { org, bucket, .. } => {
            let client = super::health::management(&sink.settings, &sink.base)
                .map_err(|CheckError(reason)| WriteError::Misconfigured { reason })?;
            let Some(client) = client else {
                let reason = "bootstrap needs an address without a path".to_owned();
                return Err(WriteError::Misconfigured { reason });
            };
            let buckets = Buckets { sink, client, org };
            buckets.make(bucket, wanted, made).await
        }
        // The first write makes the database.
        Target::V3 { .. } => Ok(()),
    }
}

/// A database of InfluxDB 1.
struct Database<'a> {
    sink: &'a InfluxSink,
    name: &'a str,
    policy: Option<&'a str>,
}

impl Database<'_> {
    async fn make(&self, wanted: &Bootstrap, made: &Made) -> Result<(), WriteError> {
        let name = identifier(self.name);
        if !has(&self.ask("SHOW DATABASES").await?, self.name) {
            let with = match (self.policy, wanted.retention) {
                (None, Some(keep)) => format!(" WITH DURATION {}", seconds(keep)),
                (_, _) => String::new(),
            };
            self.ask(&format!("CREATE DATABASE {name}{with}")).await?;
            made.push(format!("database {:?}", self.name));
        }
        let policies = self
            .ask(&format!("SHOW RETENTION POLICIES ON {name}"))
            .await?;
        if let Some(policy) = self.policy {
            self.policy(&policies, policy, wanted.retention, made)
                .await?;
        }
        let Some(keep) = wanted.downsampled else {
            return Ok(());
        };
        let into = format!("lagline_{STEP}");
        self.policy(&policies, &into, Some(keep), made).await?;
        let from = match self.policy {
            Some(policy) => policy.to_owned(),
            None => default_policy(&policies).unwrap_or("autogen").to_owned(),
        };
        let there = self.ask("SHOW CONTINUOUS QUERIES").await?;
        let there = there.iter().find(|series| series.name == self.name);
        for query in downsampling::continuous_queries(self.name, &from, &into) {
            if there.is_some_and(|series| series.has(&query.name)) {
                continue;
            }
            self.ask(&query.statement).await?;
            made.push(format!("continuous query {:?}", query.name));
        }
        Ok(())
    }

    /// Makes a retention policy that is not the default one.
    async fn policy(
        &self,
        there: &[Series],
        policy: &str,
        keep: Option<Duration>,
        made: &Made,
    ) -> Result<(), WriteError> {
        if has(there, policy) {
            return Ok(());
        }
        let keep = keep.map_or("INF".to_owned(), seconds);
        let (name, database) = (identifier(policy), identifier(self.name));
        let create = "CREATE RETENTION POLICY";
        self.ask(&format!(
            "{create} {name} ON {database} DURATION {keep} REPLICATION 1"
        ))
        .await?;
        made.push(format!("retention policy {policy:?}"));
        Ok(())
    }

    /// Has a statement executed; the series of its answer.
    async fn ask(&self, statement: &str) -> Result<Vec<Series>, WriteError> {
        let sink = self.sink;
        let mut url = sink.base.clone();
        url.set_path(&format!("{}query", sink.base.path()));
        url.query_pairs_mut().append_pair("q", statement);
        let request = sink.authorized(sink.client.post(url));
        let answer = match request.send().await {
            Ok(response) => Answer::read(response).await.0,
            Err(error) => return Err(sink.peer.unreachable(&error)),
        };
        let message = answers::message(&answer);
        match http::judge(&sink.peer, &answer, &message, &[]) {
            Verdict::Accepted => {}
            Verdict::Failed(error) => return Err(misplaced(error)),
            Verdict::Refused => return Err(self.refused(statement, &message)),
        }
        let results: Results = serde_json::from_str(&answer.body)
            .map_err(|_| self.refused(statement, "the answer is not InfluxDB's"))?;
        let mut all = Vec::new();
        for result in results.results {
            if let Some(error) = result.error {
                return Err(self.refused(statement, &error));
            }
            all.extend(result.series);
        }
        Ok(all)
    }

    fn refused(&self, statement: &str, words: &str) -> WriteError {
        let peer = &self.sink.peer;
        let words = peer.words(words);
        let statement = http::bounded(statement, 80);
        WriteError::Misconfigured {
            reason: format!("{peer}: {statement}: {words}; make it by hand, or without bootstrap"),
        }
    }
}

/// The answer to a statement.
#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<StatementResult>,
}

#[derive(Deserialize)]
struct StatementResult {
    #[serde(default)]
    series: Vec<Series>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    name: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Json>>,
}

impl Series {
    /// Whether a row begins with this name.
    fn has(&self, name: &str) -> bool {
        self.values
            .iter()
            .any(|row| row.first().is_some_and(|first| first == name))
    }
}

fn has(series: &[Series], name: &str) -> bool {
    series.iter().any(|series| series.has(name))
}

/// The policy that a write goes to when it names none.
fn default_policy(policies: &[Series]) -> Option<&str> {
    let series = policies.first()?;
    let column = series.columns.iter().position(|name| name == "default")?;
    let row = series
        .values
        .iter()
        .find(|row| row.get(column) == Some(&Json::Bool(true)))?;
    row.first()?.as_str()
}

/// A duration in InfluxQL.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// The buckets and tasks of an organisation of InfluxDB 2.
struct Buckets<'a> {
    sink: &'a InfluxSink,
    client: influxdb2::Client,
    org: &'a str,
}

impl Buckets<'_> {
    async fn make(&self, bucket: &str, wanted: &Bootstrap, made: &Made) -> Result<(), WriteError> {
        let org_id = self.org_id().await?;
        self.bucket(&org_id, bucket, wanted.retention, made).await?;
        let Some(keep) = wanted.downsampled else {
            return Ok(());
        };
        let into = format!("{bucket}_{STEP}");
        self.bucket(&org_id, &into, Some(keep), made).await?;
        self.task(&org_id, bucket, &into, made).await
    }

    async fn org_id(&self) -> Result<String, WriteError> {
        let request = ListOrganizationRequest {
            org: Some(self.org.to_owned()),
            ..ListOrganizationRequest::default()
        };
        let all = match self.client.list_organizations(request).await {
            Ok(all) => all.orgs,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(self.failed("listing organizations", &error)),
        };
        let found = all.into_iter().find(|org| org.name == self.org);
        found.and_then(|org| org.id).ok_or_else(|| {
            let peer = &self.sink.peer;
            WriteError::Misconfigured {
                reason: format!("{peer}: no organization {:?}: make it first", self.org),
            }
        })
    }

    async fn bucket(
        &self,
        org_id: &str,
        name: &str,
        keep: Option<Duration>,
        made: &Made,
    ) -> Result<(), WriteError> {
        let request = ListBucketsRequest {
            name: Some(name.to_owned()),
            org_id: Some(org_id.to_owned()),
            ..ListBucketsRequest::default()
        };
        let there = match self.client.list_buckets(Some(request)).await {
            Ok(all) => all.buckets,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(self.failed("listing buckets", &error)),
        };
        if there.iter().any(|bucket| bucket.name == name) {
            return Ok(());
        }
        let rule = |keep: Duration| {
            let seconds = i32::try_from(keep.as_secs()).unwrap_or(i32::MAX);
            RetentionRule::new(retention_rule::Type::Expire, seconds)
        };
        let request = PostBucketRequest {
            retention_rules: keep.map(rule).into_iter().collect(),
            ..PostBucketRequest::new(org_id.to_owned(), name.to_owned())
        };
        let created = self.client.create_bucket(Some(request)).await;
        created.map_err(|error| self.failed("creating the bucket", &error))?;
        made.push(format!("bucket {name:?}"));
        Ok(())
    }

    async fn task(
        &self,
        org_id: &str,
        bucket: &str,
        into: &str,
        made: &Made,
    ) -> Result<(), WriteError> {
        let name = downsampling::task_name(into);
        let request = influxdb2::api::task::ListTasksRequest {
            name: Some(name.clone()),
            org_id: Some(org_id.to_owned()),
            ..Default::default()
        };
        let there = self.client.list_tasks(request).await;
        let there = there.map_err(|error| self.failed("listing tasks", &error))?;
        if there.tasks.iter().any(|task| task.name == name) {
            return Ok(());
        }
        let flux = downsampling::task(self.org, bucket, into);
        let mut request = influxdb2::api::task::CreateTaskRequest::new(flux);
        request.org_id = Some(org_id.to_owned());
        let created = self.client.create_task(request).await;
        created.map_err(|error| self.failed("creating the task", &error))?;
        made.push(format!("task {name:?}"));
        Ok(())
    }

    /// What a failure of the management client means; it keeps the status and the text.
    fn failed(&self, what: &str, error: &RequestError) -> WriteError {
        let peer = &self.sink.peer;
        match error {
            RequestError::Http { status, text, .. } => {
                let answer = Answer {
                    status: status.as_u16(),
                    body: text.clone(),
                    ..Answer::default()
                };
                let message = format!("{what}: {}", answers::message(&answer));
                match http::judge(peer, &answer, &message, &[]) {
                    Verdict::Failed(error) => misplaced(error),
                    Verdict::Accepted | Verdict::Refused => WriteError::Misconfigured {
                        reason: format!(
                            "{peer} answered {} to {}",
                            answer.status,
                            peer.words(&message)
                        ),
                    },
                }
            }
            RequestError::ReqwestProcessing { .. }
            | RequestError::Serializing { .. }
            | RequestError::Deserializing { .. } => peer.unreachable(error),
        }
    }
}

fn is_not_found(error: &RequestError) -> bool {
    matches!(error, RequestError::Http { status, .. } if status.as_u16() == 404)
}

/// There are no points in such a request that it could be about.
fn misplaced(error: WriteError) -> WriteError {
    if let WriteError::TooLarge { reason } = error {
        return WriteError::Misconfigured { reason };
    }
    error
}

#[cfg(test)]
mod tests;

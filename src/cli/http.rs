//! Asking a running lagline.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::header;
use serde::de::DeserializeOwned;
use url::Url;

use super::Failure;

/// Where the running lagline is.
#[derive(Debug, Args)]
pub(super) struct ServerArgument {
    /// Address of the running lagline
    #[arg(
        long,
        env = "LAGLINE_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    url: Url,
    /// File with the token, when the server wants one for reading
    #[arg(long, env = "LAGLINE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerArgument {
    /// Asks for the JSON at `path`.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        Ok(runtime.block_on(self.fetch(path, query))?)
    }

    async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let mut url = self.url.join(path).context("the address takes no path")?;
        url.query_pairs_mut().extend_pairs(query);
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?;
        let mut request = client.get(url);
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            request = request.header(
                header::AUTHORIZATION,
                format!("Bearer {}", token.trim_end()),
            );
        }
        let answer = request.send().await.map_err(|error| {
            anyhow::anyhow!(
                "no lagline answers at {}: {}; is it running, and is --url right?",
                self.url,
                innermost(&error)
            )
        })?;
        let status = answer.status();
        let body = answer.bytes().await.context("the answer was cut short")?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body);
            let text: String = body.chars().filter(|c| !c.is_control()).take(300).collect();
            bail!("{} answered {status}: {text}", self.url);
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{} does not answer like lagline", self.url))
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

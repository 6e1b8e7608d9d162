//! The least HTTP that asks a local server something: one request, one connection, no TLS.
//!
//! Blocking and without a runtime, so that ready checks and plain tests can use it. What lagline
//! sends goes through lagline's own client.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than the slowest answer of a test server on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A server's answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// The first header of this (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}), status {}: {}", self.status, self.body))
    }

    /// The answer, if its status is 2xx.
    ///
    /// # Panics
    /// When it is not, with the body.
    pub fn accepted(self) -> Self {
        assert!(
            (200..300).contains(&self.status),
            "status {}: {}",
            self.status,
            self.body
        );
        self
    }
}

/// Sends one request to `127.0.0.1:port`. An empty `content_type` is not sent.
pub fn request(
    port: u16,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> io::Result<Response> {
    let content_type = [("Content-Type", content_type)];
    let headers = &content_type[..usize::from(!content_type[0].1.is_empty())];
    request_with(port, method, path, headers, body)
}

/// Sends one request with headers.
pub fn request_with(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer ends with the connection.
    let mut head = format!(
        "{method} {path} HTTP/1.0\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    let host = ("Host", &*format!("127.0.0.1:{port}"));
    let has_host = headers.iter().any(|(name, _)| *name == "Host");
    for (name, value) in headers.iter().chain((!has_host).then_some(&host)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut body = answer[end + 4..].to_vec();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = join_chunks(&body)?;
    }
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Response {
        status,
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// RFC 9112 section 7.1, without extensions and trailers. Elasticsearch chunks its answers to
/// HTTP/1.0 too.
fn join_chunks(mut chunked: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = chunked.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&chunked[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let begin = line + 2;
        body.extend_from_slice(chunked.get(begin..begin + size)?);
        chunked = chunked.get(begin + size + 2..)?;
    }
}

//! A server's address at which some writes go wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use native_tls::Identity;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_native_tls::{TlsAcceptor, native_tls};

use crate::services::{Database, certificates};

/// What happens to a write.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The proxy answers; the server hears nothing.
    Answer(&'static str),
    /// The server does it; the connection is cut before the sink hears of it.
    CutAfter,
    /// Nobody answers.
    Hang,
}

/// What to do with writes.
#[derive(Debug, Default)]
pub struct Faults {
    /// With the next ones, one after the other.
    pub next: VecDeque<Fault>,
    /// With all that come after these, as long as it stands here.
    pub lasting: Option<Fault>,
}

impl Faults {
    fn fault(&mut self) -> Option<Fault> {
        self.next.pop_front().or(self.lasting)
    }
}

/// A server's address that does with writes what it is told.
pub struct Proxy {
    pub address: String,
    pub faults: Arc<Mutex<Faults>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn before(server: &Database) -> Self {
        Self::start(server, None).await
    }

    /// With TLS, and a certificate of the test authority for 127.0.0.1.
    pub async fn with_certificate(server: &Database) -> Self {
        let key = std::fs::read(certificates().join("broker.p12")).unwrap();
        let identity = Identity::from_pkcs12(&key, "changeit").unwrap();
        let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
        Self::start(server, Some(acceptor.into())).await
    }

    async fn start(server: &Database, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let server = server.url().replace("http://", "");
        let faults = Arc::new(Mutex::new(Faults::default()));
        let told = Arc::clone(&faults);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, told, tls) = (server.clone(), Arc::clone(&told), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => connection(client, server, told).await,
                        Some(tls) => {
                            // A client that does not trust the certificate hangs up.
                            if let Ok(client) = tls.accept(client).await {
                                connection(client, server, told).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            faults,
            _tasks: tasks,
        }
    }
}

/// One connection: request by request, until a fault or the client ends it.
async fn connection<S>(mut client: S, server: String, faults: Arc<Mutex<Faults>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(request) = message(&mut client).await {
        let line = request
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let is_write = ["/write?", "/api/v1/write ", "/_bulk"]
            .iter()
            .any(|path| line.contains(path));
        let fault = is_write.then(|| faults.lock().unwrap().fault()).flatten();
        match fault {
            Some(Fault::Answer(answer)) => {
                if client.write_all(answer.as_bytes()).await.is_err() || answer.len() < 20 {
                    return;
                }
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::CutAfter) => {
                forwarded(&request, &server).await;
                return;
            }
            None => {
                let Some(answer) = forwarded(&request, &server).await else {
                    return;
                };
                if client.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The server's answer, as it is; none when it gives none.
async fn forwarded(request: &[u8], server: &str) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(server).await.ok()?;
    server.write_all(request).await.ok()?;
    message(&mut server).await
}

/// A request or an answer with its body; none at the end.
async fn message<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if is_whole(&bytes) {
            return Some(bytes);
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let header = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    if header("transfer-encoding") == Some("chunked") {
        return bytes.ends_with(b"0\r\n\r\n");
    }
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    bytes.len() >= end + 4 + length
}

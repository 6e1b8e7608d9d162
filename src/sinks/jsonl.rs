//! One JSON object a point and line, to a file or to standard output.
//!
//! ```json
//! {"measurement":"kafka_lag_group","beat_ms":1767225600000,"tags":{"cluster":"prod","group":"payments"},"fields":{"lag":101}}
//! ```
//!
//! A batch counts as written when the file is synced (`fdatasync`), so nothing that was settled is
//! lost to a power cut. After a kill the batch under way is written again: at least once. A line
//! that the kill cut in two is ended with a line break, so it spoils no other; its points come again.
//! The file may be moved or removed at any time (log rotation): the next batch opens it anew. The
//! folder must exist.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::dead_letters::ends_within_a_line;
use super::{Accepted, BoxFuture, CheckError, CheckReport, Sink, WriteError};
use crate::points::{Batch, write_json};

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonlSettings {
    /// "-" is standard output.
    pub path: PathBuf,
}

/// Writes JSON lines.
#[derive(Clone, Debug)]
pub struct Jsonl(Arc<Target>);

#[derive(Debug)]
enum Target {
    Stdout,
    File {
        path: PathBuf,
        open: Mutex<Option<File>>,
    },
}

impl Jsonl {
    /// A sink that opens its file when it is prepared.
    pub fn new(settings: JsonlSettings) -> Self {
        let JsonlSettings { path } = settings;
        Self(Arc::new(if path == Path::new("-") {
            Target::Stdout
        } else {
            Target::File {
                path,
                open: Mutex::new(None),
            }
        }))
    }

    /// Has a thread for blocking work do something with the target.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Target) -> io::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        let target = Arc::clone(&self.0);
        let name = target.name();
        match tokio::task::spawn_blocking(move || work(&target)).await {
            Ok(result) => result.map_err(|error| class_of(&name, &error)),
            Err(error) => Err(WriteError::Transient {
                reason: format!("{name}: writing was interrupted: {error}"),
                retry_after: None,
            }),
        }
    }
}

impl Sink for Jsonl {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(async move {
            let text = encode(batch);
            let bytes = text.len() as u64;
            self.work(move |target| target.append(&text)).await?;
            Ok(Accepted { bytes, known: 0 })
        })
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(self.work(|target| target.append(b"")))
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(async move {
            let line = self.work(Target::check).await;
            let line = line.map_err(|error| CheckError(error.to_string()))?;
            Ok(CheckReport { lines: vec![line] })
        })
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut text = Vec::with_capacity(batch.len() * 320);
    for point in batch.iter() {
        text.push(b'{');
        write_json(&mut text, &point);
        text.extend_from_slice(b"}\n");
    }
    text
}

impl Target {
    fn name(&self) -> String {
        match self {
            Target::Stdout => "standard output".to_owned(),
            Target::File { path, .. } => path.display().to_string(),
        }
    }

    /// Appends whole lines and syncs them. After a failure the file is opened anew.
    fn append(&self, text: &[u8]) -> io::Result<()> {
        let (path, open) = match self {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text)?;
                return out.flush();
            }
            Target::File { path, open } => (path, open),
        };
        // A poisoned lock only means that a write panicked: the file is opened anew then.
        let mut open = open.lock().unwrap_or_else(|poisoned| {
            let mut open = PoisonError::into_inner(poisoned);
            *open = None;
            open
        });
        let mut file = match open.take() {
            Some(file) if is_still_at(&file, path) => file,
            Some(_) | None => open_lines(path)?,
        };
        file.write_all(text)?;
        if file.metadata()?.is_file() {
            file.sync_data()?;
        }
        *open = Some(file);
        Ok(())
    }

    /// Says what `append` would do, without doing it.
    fn check(&self) -> io::Result<String> {
        let Target::File { path, .. } = self else {
            return Ok("writes to standard output".to_owned());
        };
        match OpenOptions::new().append(true).open(path) {
            Ok(_) => Ok(format!("{} can be appended to", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                if folder.metadata()?.is_dir() {
                    Ok(format!("{} will be made", path.display()))
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the path still names the open file.
fn is_still_at(file: &File, path: &Path) -> bool {
    let same =
        |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(named)) => same(open, named),
        (Ok(_), Err(_)) | (Err(_), _) => false,
    }
}

/// Opens the file for appending and ends a line that was not finished.
fn open_lines(path: &Path) -> io::Result<File> {
    let is_readable = path.metadata().map_or(true, |file| file.is_file());
    let mut file = OpenOptions::new()
        .append(true)
        .read(is_readable)
        .create(true)
        .open(path)?;
    if is_readable && ends_within_a_line(&mut file)? {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn class_of(name: &str, error: &io::Error) -> WriteError {
    let reason = format!("{name}: {error}");
    let needs_the_operator = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::BrokenPipe
    );
    if needs_the_operator {
        WriteError::Misconfigured { reason }
    } else {
        WriteError::Transient {
            reason,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests;

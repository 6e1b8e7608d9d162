//! What can go wrong with the file, in one sentence each that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the store cannot be opened or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error(
        "{} is used by another lagline: stop that one, or name another file in [store] path",
        path.display()
    )]
    Locked { path: PathBuf },
    /// The directory or the file cannot be written.
    #[error(
        "cannot write {}: {reason}; create the directory and make it writable, or name another \
         file in [store] path",
        path.display()
    )]
    Unwritable { path: PathBuf, reason: String },
    /// The file cannot be read, or there is none.
    #[error(
        "cannot read {}: {reason}; check [store] path, and that this user may read the file",
        path.display()
    )]
    Unreadable { path: PathBuf, reason: String },
    /// The file was written by an older lagline; reading alone does not change it.
    #[error(
        "{} was written by an older lagline (file version {found}, this one reads {known}): start \
         the new lagline with it once, or read it with the old one",
        path.display()
    )]
    Older {
        path: PathBuf,
        found: usize,
        known: usize,
    },
    /// The file was written by a newer lagline.
    #[error(
        "{} was written by a newer lagline (file version {found}, this one knows up to {known}): \
         upgrade lagline, or name another file in [store] path",
        path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: usize,
    },
    /// The file is a database of somebody else.
    #[error(
        "{} is not a file of lagline: name another file in [store] path",
        path.display()
    )]
    Foreign { path: PathBuf },
    /// SQLite cannot work with the file.
    #[error(
        "{} cannot be used: {reason}; move it away to start with an empty one, or name another \
         file in [store] path",
        path.display()
    )]
    Broken { path: PathBuf, reason: String },
    /// zstd has no memory.
    #[error("the store cannot start: {0}")]
    Codec(#[from] super::codec::EncodeError),
    /// A snapshot is given up; the one before stays.
    #[error("the snapshot is not saved: {reason}")]
    Snapshot { reason: String },
    /// The store was closed, or its writer thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// SQLite's refusal to open or set up the file.
    pub(super) fn unusable(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                StoreError::Unwritable {
                    path,
                    reason: words(error),
                }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Locked { path }
            }
            Some(ErrorCode::NotADatabase) => StoreError::Foreign { path },
            _ => StoreError::Broken {
                path,
                reason: words(error),
            },
        }
    }

    /// SQLite's refusal to open or read the file.
    pub(super) fn unreadable(path: &Path, error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreError::Foreign {
                path: path.to_owned(),
            },
            _ => StoreError::Unreadable {
                path: path.to_owned(),
                reason: words(error),
            },
        }
    }

    /// The operating system's refusal to let us write.
    pub(super) fn unwritable(path: &Path, error: &io::Error) -> Self {
        StoreError::Unwritable {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// What SQLite says.
fn words(error: &rusqlite::Error) -> String {
    if let rusqlite::Error::SqliteFailure(_, Some(words)) = error {
        return words.clone();
    }
    error.to_string()
}

/// Why writing fails at the moment, and what to do.
pub(super) fn write_trouble(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "the disk is full, or [store] max_size is too small for one beat".to_owned()
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program keeps the file locked, or reads it without end: stop it".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!(
            "the file is damaged ({}): stop lagline and move the file away",
            words(error)
        ),
        _ => format!("the file cannot be written: {}", words(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_sentence_with_the_next_step() {
        let path = PathBuf::from("/data/lagline.db");
        for (error, expected) in [
            (
                StoreError::Locked { path: path.clone() },
                "/data/lagline.db is used by another lagline: stop that one, or name another file \
                 in [store] path",
            ),
            (
                StoreError::Newer {
                    path: path.clone(),
                    found: 9,
                    known: 1,
                },
                "/data/lagline.db was written by a newer lagline (file version 9, this one knows \
                 up to 1): upgrade lagline, or name another file in [store] path",
            ),
            (
                StoreError::unwritable(&path, &io::ErrorKind::PermissionDenied.into()),
                "cannot write /data/lagline.db: permission denied; create the directory and make \
                 it writable, or name another file in [store] path",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}

//! A server that several tests use at the same time.

use std::ops::Deref;

use super::directory::Directory;

/// What a shareable server tells about itself.
pub trait Shareable: 'static {
    fn directory(&self) -> &Directory;
}

/// One test's hold on a shared server. It lives as long as the test process; a test that fails
/// while it holds one keeps the server's directory.
pub struct Shared<T: Shareable>(&'static T);

impl<T: Shareable> Shared<T> {
    pub fn new(server: &'static T) -> Self {
        Self(server)
    }
}

impl<T: Shareable> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: Shareable> Drop for Shared<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.directory().keep();
        }
    }
}

//! What must not end up in a log: secrets, and the paths that lead to them.

use std::fmt;
use std::path::{Path, PathBuf};

const HIDDEN: &str = "***";

/// A password or token. Debug prints `***`; there is no Display.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whoever authenticates with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The path of a file that holds a secret: a private key or NATS credentials. Debug prints `***`;
/// whoever fails to open the file names the path to the operator through [`SecretPath::as_path`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretPath(PathBuf);

impl SecretPath {
    /// Wraps a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Debug for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

//! What is wrong with a fleet file: every fault at once, each with its key, its place, what was
//! found and what is wanted. The reader is whoever wrote the file.

use std::fmt;
use std::sync::Arc;

/// A place in the fleet file. Line and column are counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, or 0 where the file as a whole is meant.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// A key, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The full path, such as `route.orders.subjects[1]`; empty for the file as a whole. A route or
    /// class goes by its name, a link or a nameless one by its number from 0.
    pub key: String,
    /// Where it stands.
    pub at: Location,
}

impl Place {
    /// The place of a key below this one; it stands where this one does until it is found.
    pub(crate) fn child(&self, name: &str) -> Self {
        let key = if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        };
        Self {
            key,
            at: self.at.clone(),
        }
    }
}

/// One fault of a fleet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key at fault.
    pub place: Place,
    /// What stands there.
    pub found: String,
    /// What should.
    pub wanted: String,
    /// The other key, where two contradict one another.
    pub conflicts_with: Option<Place>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place.at)?;
        if !self.place.key.is_empty() {
            write!(f, "{}: ", self.place.key)?;
        }
        write!(f, "found {}, wanted {}", self.found, self.wanted)?;
        match &self.conflicts_with {
            Some(other) => write!(f, " [see {}, line {}]", other.key, other.at.line),
            None => Ok(()),
        }
    }
}

/// All faults of a fleet file, in the order of its lines. The process that gets them exits with 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        let plural = if self.errors.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural}", self.errors.len())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The key in question.
    pub place: Place,
    /// What it leads to, and what to do if that is not meant.
    pub text: String,
    /// The other key, where it takes two.
    pub together_with: Option<Place>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: warning: {}: {}",
            self.place.at, self.place.key, self.text
        )?;
        match &self.together_with {
            Some(other) => write!(f, " [see {}, line {}]", other.key, other.at.line),
            None => Ok(()),
        }
    }
}

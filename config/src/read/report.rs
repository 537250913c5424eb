//! Where faults are gathered, so that one run names all of them.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ConfigError, Location, Place, Warning};

/// Where faults are gathered, and what is known about the file as a whole.
pub(crate) struct Report {
    file: Arc<str>,
    /// Directory that relative paths start from.
    base: PathBuf,
    text: String,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Warning>>,
    /// Where the text is no TOML. Part of the file may then be hidden, and what is missing is not
    /// missed.
    syntax_error_lines: Vec<usize>,
}

impl Report {
    pub(crate) fn new(file: &str, text: &str, base: &Path) -> Self {
        Self {
            file: file.into(),
            base: base.to_owned(),
            text: text.to_owned(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            syntax_error_lines: Vec::new(),
        }
    }

    pub(crate) fn add_syntax_errors(&mut self, syntax_errors: &[toml::de::Error]) {
        for error in syntax_errors {
            let place = Place {
                key: String::new(),
                at: self.locate(error.span().unwrap_or(0..0)),
            };
            let found = format!("a syntax error ({})", error.message().replace('\n', ", "));
            self.fault(&place, found, "TOML".to_owned());
            self.syntax_error_lines.push(place.at.line);
        }
    }

    pub(crate) fn is_partial(&self) -> bool {
        !self.syntax_error_lines.is_empty()
    }

    pub(crate) fn root(&self) -> Place {
        Place {
            key: String::new(),
            at: Location {
                file: self.file.clone(),
                line: 0,
                column: 0,
            },
        }
    }

    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    pub(crate) fn fault(&self, place: &Place, found: impl Into<String>, wanted: impl Into<String>) {
        self.push(place, found.into(), wanted.into(), None);
    }

    pub(crate) fn conflict(
        &self,
        place: &Place,
        found: impl Into<String>,
        wanted: impl Into<String>,
        other: &Place,
    ) {
        self.push(place, found.into(), wanted.into(), Some(other.clone()));
    }

    fn push(&self, place: &Place, found: String, wanted: String, conflicts_with: Option<Place>) {
        let error = ConfigError {
            place: place.clone(),
            found,
            wanted,
            conflicts_with,
        };
        self.errors.borrow_mut().push(error);
    }

    pub(crate) fn warn(&self, place: &Place, text: impl Into<String>, other: Option<&Place>) {
        let (place, together_with) = (place.clone(), other.cloned());
        self.warnings.borrow_mut().push(Warning {
            place,
            text: text.into(),
            together_with,
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// Everything found, in the order of the file's lines. Where a line is no TOML, what else was
    /// found there is a consequence and left out.
    pub(crate) fn finish(self) -> (Vec<ConfigError>, Vec<Warning>) {
        let mut errors = self.errors.into_inner();
        let lines = &self.syntax_error_lines;
        errors.retain(|error| error.place.key.is_empty() || !lines.contains(&error.place.at.line));
        let mut warnings = self.warnings.into_inner();
        errors.sort_by(|a, b| a.place.at.cmp(&b.place.at));
        warnings.sort_by(|a, b| a.place.at.cmp(&b.place.at));
        (errors, warnings)
    }

    pub(super) fn locate(&self, span: Range<usize>) -> Location {
        let end = (0..=span.start.min(self.text.len()))
            .rev()
            .find(|&at| self.text.is_char_boundary(at))
            .unwrap_or(0);
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

//! Reading a TOML document by hand: each reader reports what it cannot read and goes on, so that
//! one run names every fault. (serde stops at the first one.)
//!
//! A [`Table`] knows its keys from [`crate::keys`] and reports all others when it is opened. A
//! [`Value`] knows its path, its place and what it wants, so that a reader only says how to turn it
//! into a type.

mod report;

use std::fmt::Display;
use std::ops::{Deref, RangeInclusive};
use std::path::PathBuf;

use causeway_proto::id::RegionId;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::report::Report;
use crate::error::Place;
use crate::keys;

/// Characters of a value that a message quotes.
const QUOTED_LEN_MAX: usize = 60;

/// A value with its place, for checks across keys.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A table of the document, all of whose keys are known.
pub(crate) struct Table<'a> {
    report: &'a Report,
    pub(crate) place: Place,
    /// Its path in [`keys::KEYS`].
    schema: String,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Opens the document.
    pub(crate) fn root(report: &'a Report, table: &'a DeTable<'a>) -> Self {
        Self::open(report, report.root(), String::new(), table)
    }

    fn open(report: &'a Report, place: Place, schema: String, table: &'a DeTable<'a>) -> Self {
        let opened = Self {
            report,
            place,
            schema,
            table,
        };
        if !keys::children(&opened.schema).any(|key| key.name() == "NAME") {
            opened.report_unknown_keys();
        }
        opened
    }

    fn report_unknown_keys(&self) {
        let known = || keys::children(&self.schema).map(keys::Key::name);
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if known().any(|known| known == name) {
                continue;
            }
            let at = self.report.locate(key.span());
            let place = Place {
                at,
                ..self.place.child(name)
            };
            let all: Vec<&str> = known().collect();
            let meant = keys::nearest(name, known())
                .map_or(String::new(), |meant| format!("; did you mean {meant:?}?"));
            self.report.fault(
                &place,
                "an unknown key",
                format!("one of {}{meant}", all.join(", ")),
            );
        }
    }

    pub(crate) fn report(&self) -> &'a Report {
        self.report
    }

    /// The value of a key, if it is there.
    pub(crate) fn optional(&self, name: &str) -> Option<Value<'a>> {
        let schema = self.schema_of(name);
        let wanted = keys::find(&schema).map(|key| key.value).unwrap_or_default();
        debug_assert!(!wanted.is_empty(), "{schema} is not listed in keys.rs");
        let value = self.table.get(name)?;
        Some(Value {
            report: self.report,
            place: self.place_of(name, value),
            wanted,
            schema,
            value,
        })
    }

    /// The value of a key; its absence is a fault.
    pub(crate) fn required(&self, name: &str) -> Option<Value<'a>> {
        let value = self.optional(name);
        if value.is_none() && !self.report.is_partial() {
            let wanted = keys::find(&self.schema_of(name))
                .map(|key| key.value)
                .unwrap_or_default();
            self.report
                .fault(&self.place.child(name), "nothing", wanted);
        }
        value
    }

    /// Every name and value of a table whose keys are names.
    pub(crate) fn named(&self) -> Vec<(Placed<String>, Value<'a>)> {
        let schema = self.schema_of("NAME");
        let entry = |(key, value): (&Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let place = Place {
                at: self.report.locate(key.span()),
                ..self.place.child(name)
            };
            let named = Placed {
                value: name.to_string(),
                place: place.clone(),
            };
            let schema = schema.clone();
            (
                named,
                Value {
                    report: self.report,
                    place,
                    wanted: "a table",
                    schema,
                    value,
                },
            )
        };
        self.table.iter().map(entry).collect()
    }

    fn schema_of(&self, name: &str) -> String {
        if self.schema.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.schema)
        }
    }

    fn place_of(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Place {
        Place {
            at: self.report.locate(value.span()),
            ..self.place.child(name)
        }
    }
}

/// A value of the document, and what it should be.
pub(crate) struct Value<'a> {
    report: &'a Report,
    pub(crate) place: Place,
    wanted: &'static str,
    schema: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// Reports that the value is not what it should be. Always `None`, to be returned.
    pub(crate) fn fail<T>(&self) -> Option<T> {
        self.report.fault(&self.place, self.describe(), self.wanted);
        None
    }

    /// The same, with the reason.
    pub(crate) fn fail_because<T>(&self, why: impl Display) -> Option<T> {
        self.report.fault(
            &self.place,
            self.describe(),
            format!("{} ({why})", self.wanted),
        );
        None
    }

    pub(crate) fn place<T>(&self, value: T) -> Placed<T> {
        Placed {
            value,
            place: self.place.clone(),
        }
    }

    pub(crate) fn raw(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// A text that `parse` understands.
    pub(crate) fn parse<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Placed<T>> {
        let Some(text) = self.raw().as_str() else {
            return self.fail();
        };
        match parse(text) {
            Ok(value) => Some(self.place(value)),
            Err(why) => self.fail_because(why),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<Placed<T>> {
        let found = words
            .iter()
            .find(|(word, _)| Some(*word) == self.raw().as_str());
        match found {
            Some((_, value)) => Some(self.place(*value)),
            None => self.fail(),
        }
    }

    pub(crate) fn boolean(&self) -> Option<Placed<bool>> {
        match self.raw().as_bool() {
            Some(value) => Some(self.place(value)),
            None => self.fail(),
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<Placed<u64>> {
        let integer = self.raw().as_integer();
        let number = integer.and_then(|i| u64::from_str_radix(i.as_str(), i.radix()).ok());
        match number {
            Some(number) if range.contains(&number) => Some(self.place(number)),
            _ => self.fail(),
        }
    }

    /// A path, taken from the fleet file's directory where it is relative.
    pub(crate) fn path(&self) -> Option<Placed<PathBuf>> {
        match self.raw().as_str() {
            Some(text) if !text.is_empty() => Some(self.place(self.report.resolve(text))),
            _ => self.fail(),
        }
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        let Some(table) = self.raw().as_table() else {
            return self.fail();
        };
        let mut place = self.place.clone();
        // A table of a list goes by its name, where it has a sound one.
        let name = table.get("name").and_then(|name| name.get_ref().as_str());
        if let Some(name) = name.filter(|name| RegionId::new(name).is_ok())
            && place.key.ends_with(']')
        {
            place.key = format!("{}.{name}", self.schema);
        }
        Some(Table::open(self.report, place, self.schema.clone(), table))
    }

    /// The elements of a list, each wanted to be `wanted`.
    pub(crate) fn list(&self, wanted: &'static str) -> Option<Vec<Self>> {
        let Some(array) = self.raw().as_array() else {
            return self.fail();
        };
        let element = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| {
            let key = format!("{}[{index}]", self.place.key);
            let place = Place {
                key,
                at: self.report.locate(value.span()),
            };
            Self {
                report: self.report,
                place,
                wanted,
                schema: self.schema.clone(),
                value,
            }
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// What stands there, shortened, and without a password.
    fn describe(&self) -> String {
        match self.raw() {
            DeValue::String(text) => {
                let text = crate::address::redact(text);
                match text.char_indices().nth(QUOTED_LEN_MAX) {
                    Some((end, _)) => format!("{:?}…", &text[..end]),
                    None => format!("{text:?}"),
                }
            }
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(array) if array.is_empty() => "an empty list".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

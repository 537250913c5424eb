//! What a scenario found, as a table to read and as JSON to keep.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// Rows of a scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<R> {
    #[serde(skip)]
    name: &'static str,
    /// What was asked for: profile, paces, sizes.
    setting: String,
    rows: Vec<R>,
}

/// A row that knows its cells.
pub(crate) trait Line: Serialize {
    /// The heads of the columns.
    const HEADS: &'static [&'static str];

    /// One cell for each head.
    fn cells(&self) -> Vec<String>;
}

impl<R: Line> Outcome<R> {
    /// Nothing found yet. The name is that of its files.
    pub(crate) fn new(name: &'static str, setting: String) -> Self {
        Self {
            name,
            setting,
            rows: Vec::new(),
        }
    }

    /// Takes a row in and writes both forms anew, so that a run that is interrupted leaves what it has found.
    pub(crate) fn add(&mut self, row: R, directory: &Path) -> Result<()> {
        eprintln!("{}", row.cells().join(", "));
        self.rows.push(row);
        fs::create_dir_all(directory)?;
        let file = |ending: &str| directory.join(format!("{}.{ending}", self.name));
        fs::write(file("json"), self.to_json()?)?;
        Ok(fs::write(file("md"), self.to_markdown())?)
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let heads = R::HEADS.iter().map(|head| (*head).to_owned()).collect();
        let rule = "|---".repeat(R::HEADS.len()) + "|\n";
        let rows: String = self.rows.iter().map(|row| line(row.cells())).collect();
        format!("{}\n\n{}{rule}{rows}", self.setting, line(heads))
    }

    /// Prints one of the forms.
    pub(crate) fn print(&self, json: bool) -> Result<()> {
        let text = if json {
            self.to_json()?
        } else {
            self.to_markdown()
        };
        println!("{text}");
        Ok(())
    }
}

/// A share in whole per cent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `yes` or `no`.
pub(crate) fn yes(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

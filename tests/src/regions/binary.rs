//! The sidecar's binary, as cargo built it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

const REMEDY: &str = "run the tests with `cargo test --workspace`, which builds it";

/// The sidecar's binary, next to this test's, and built from what the sources are now.
///
/// # Errors
/// It is not there, or not of these sources: cargo builds another package's binary only when that package is tested, too.
pub fn causeway_binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test
        .ancestors()
        .nth(2)
        .context("a test lies in target/<profile>/deps")?;
    let binary = directory.join("causeway");
    let shown = binary.display();
    ensure!(binary.exists(), "{shown} is missing: {REMEDY}");
    if let Some(source) = changed_source(&binary)? {
        let source = source.display();
        bail!("{shown} was built before {source} was changed or removed: {REMEDY}");
    }
    Ok(binary)
}

/// A source that is not what the binary was built from, by the list that cargo leaves beside the binary.
fn changed_source(binary: &Path) -> Result<Option<PathBuf>> {
    let list = binary.with_extension("d");
    let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let built = fs::metadata(binary)?.modified()?;
    let is_as_built = |source: &PathBuf| {
        let modified = fs::metadata(source).and_then(|found| found.modified());
        modified.is_ok_and(|at| at <= built)
    };
    Ok(sources(&text).find(|source| !is_as_built(source)))
}

/// What stands behind the colon of a make rule; a space in a name has a backslash before it.
fn sources(rule: &str) -> impl Iterator<Item = PathBuf> {
    const SPACE: &str = "\0";
    let names = rule.split_once(": ").map_or("", |(_, names)| names);
    let names = names.trim_end().replace("\\ ", SPACE);
    let names: Vec<_> = names
        .split(' ')
        .map(|name| PathBuf::from(name.replace(SPACE, " ")))
        .collect();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_changed_or_removed_after_the_build_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let [binary, old, new] =
            ["causeway", "old.rs", "a new one.rs"].map(|name| directory.path().join(name));
        for file in [&old, &new, &binary] {
            fs::write(file, "").unwrap();
        }
        let shown = new.display().to_string().replace(' ', "\\ ");
        let rule = format!("{}: {} {shown}\n", binary.display(), old.display());
        fs::write(binary.with_extension("d"), rule).unwrap();
        let built = fs::metadata(&binary).unwrap().modified().unwrap();
        let touch = |file: &Path, at| fs::File::open(file).unwrap().set_modified(at).unwrap();
        touch(&new, built);
        assert_eq!(changed_source(&binary).unwrap(), None);
        touch(&new, built + Duration::from_secs(1));
        assert_eq!(changed_source(&binary).unwrap(), Some(new));
        fs::remove_file(&old).unwrap();
        assert_eq!(changed_source(&binary).unwrap(), Some(old));
    }
}

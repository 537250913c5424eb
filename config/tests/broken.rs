//! Broken fleet files, each with several faults: `broken/NAME.toml` and, in `broken/NAME.txt`,
//! everything that its author is told. `BLESS=1 cargo test -p causeway-config --test broken` writes
//! the texts anew; they are then to be read as their author will.

use std::path::{Path, PathBuf};

fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = std::fs::read_dir(directory).expect("the fixtures stand in the repository");
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_fault_is_named_at_once() {
    let files = fixtures();
    assert!(files.len() >= 10);
    let mut differing = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let errors = causeway_config::parse(&text, Path::new("")).expect_err("the file is broken");
        assert!(
            errors.errors.len() > 1,
            "{}: one fault shows little",
            file.display()
        );
        let told = format!("{errors}\n");
        let expected_file = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected_file, &told).unwrap();
        }
        if told != std::fs::read_to_string(&expected_file).unwrap_or_default() {
            differing.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn no_message_shows_a_password() {
    for file in fixtures() {
        let text = std::fs::read_to_string(&file).unwrap();
        let errors = causeway_config::parse(&text, Path::new("")).unwrap_err();
        assert!(
            !format!("{errors} {errors:?}").contains("hunter2"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let errors = causeway_config::load(Path::new("no/such/causeway.toml")).unwrap_err();
    let told = errors.to_string();
    assert!(
        told.starts_with("no/such/causeway.toml: found an unreadable file ("),
        "{told}"
    );
    assert!(told.ends_with("\n1 error"), "{told}");
}

//! What an operator with a broken fleet file is told by the binary itself: every fault at once, each
//! with its key and line, and exit status 64, before anything is started.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXIT_USAGE: i32 = 64;

/// The fixtures of `config/tests/broken.rs`: `NAME.toml`, and in `NAME.txt` what is told about it.
fn fixtures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/broken");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

fn causeway(command: &str, file: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args([command, "--config"])
        .arg(file)
        .args(more)
        .output()
        .unwrap()
}

/// What is told about a file, as if it were called `causeway.toml`.
fn told(output: &Output, file: &Path) -> String {
    String::from_utf8_lossy(&output.stderr).replace(&file.display().to_string(), "causeway.toml")
}

#[test]
fn check_tells_every_fault_of_a_broken_file_and_run_refuses_it_in_the_same_words() {
    let files = fixtures();
    assert!(files.len() >= 10, "{files:?}");
    for file in &files {
        let check = causeway("check", file, &[]);
        let text = told(&check, file);
        assert_eq!(check.status.code(), Some(EXIT_USAGE), "{file:?}: {text}");
        assert!(check.stdout.is_empty(), "{file:?}: a plan was shown");
        let wanted = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        for line in wanted.lines() {
            assert!(text.contains(line), "{file:?}: no {line:?} in {text}");
            let place = line.strip_prefix("causeway.toml:").unwrap_or("0");
            // An empty file has no line to point at.
            let has_line = place.starts_with(|c: char| c.is_ascii_digit());
            assert!(has_line || file.ends_with("empty.toml"), "{line}");
        }
        let run = causeway("run", file, &["--region", "us"]);
        assert_eq!(run.status.code(), Some(EXIT_USAGE), "{file:?}");
        assert_eq!(told(&run, file), text, "{file:?}");
    }
}

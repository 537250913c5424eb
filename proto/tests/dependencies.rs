//! Holds the list of what `proto` may depend on: it decides, and performs no I/O.

/// Each with its reason in ARCHITECTURE.md, "What we build on". A new one is a decision, not a detail:
/// no runtime, socket, clock, randomness, environment or file may come in by it.
const ALLOWED: [&str; 6] = [
    "bytes",
    "crc32fast",
    "memchr",
    "thiserror",
    "xxhash-rust",
    "zstd",
];

/// Keys of the tables of `Cargo.toml` whose header ends in `dependencies`, dev-dependencies apart.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let table = header.trim_end_matches(']');
            let last = table.rsplit('.').next().unwrap_or(table);
            counts = last.ends_with("dependencies") && last != "dev-dependencies";
            assert!(
                !table.contains("dependencies."),
                "one line a dependency, not [{table}]"
            );
        } else if counts && !line.is_empty() && !line.starts_with('#') {
            names.push(
                line.split(['=', '.', ' '])
                    .next()
                    .expect("split gives at least one"),
            );
        }
    }
    names
}

#[test]
fn proto_depends_on_what_is_allowed_and_nothing_else() {
    assert_eq!(dependencies(include_str!("../Cargo.toml")), ALLOWED);
}

#[test]
fn a_dependency_is_found_in_any_table() {
    let manifest = "[package]\nname = \"p\"\n[dependencies]\na.workspace = true\n# c\nb = \"1\"\n\
                    [dev-dependencies]\nd = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n\
                    [build-dependencies]\nf = \"1\"\n[lints]\nworkspace = true\n";
    assert_eq!(dependencies(manifest), ["a", "b", "e", "f"]);
}

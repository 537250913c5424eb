//! REFERENCE.md describes exactly the keys that the code reads, with the values and defaults that
//! it has.

use causeway_config::keys::KEYS;

const REFERENCE: &str = include_str!("../REFERENCE.md");

/// Key, value and default of each heading.
fn described() -> Vec<(&'static str, &'static str, &'static str)> {
    let sections = REFERENCE.split("\n### `").skip(1);
    let section = |text: &'static str| {
        let (path, rest) = text
            .split_once("`\n")
            .expect("a heading holds a key and nothing else");
        let line = |start: &str| {
            let found = rest.lines().find_map(|line| line.strip_prefix(start));
            found.unwrap_or_else(|| panic!("{path} says no {start:?}"))
        };
        (path, line("- **Value:** "), line("- **Default:** "))
    };
    sections.map(section).collect()
}

#[test]
fn the_reference_is_in_step_with_the_code() {
    let keys: Vec<_> = KEYS
        .iter()
        .map(|key| (key.path, key.value, key.default))
        .collect();
    assert_eq!(described(), keys);
}

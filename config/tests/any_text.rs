//! No text makes the reader panic, and every refusal names at least one fault in the file's lines.
//! Method: the examples with pieces cut out, doubled or replaced, so that most of each stays sound.

use std::path::Path;

use proptest::prelude::*;

const EXAMPLES: [&str; 2] = [
    include_str!("../examples/two-regions.toml"),
    include_str!("../examples/eu-residency.toml"),
];

fn piece(text: &str, from: usize, to: usize) -> std::ops::Range<usize> {
    let boundary = |at: usize| {
        (0..=at % (text.len() + 1))
            .rev()
            .find(|&i| text.is_char_boundary(i))
    };
    let (a, b) = (boundary(from).unwrap_or(0), boundary(to).unwrap_or(0));
    a.min(b)..a.max(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_refused_or_read(
        example in 0..EXAMPLES.len(),
        cuts in proptest::collection::vec((any::<usize>(), 0_usize..40, "[ -~\n]{0,6}"), 1..6),
    ) {
        let mut text = EXAMPLES[example].to_owned();
        for (at, length, replacement) in cuts {
            let at = at % text.len().max(1);
            let range = piece(&text, at, at + length);
            text.replace_range(range, &replacement);
        }
        if let Err(errors) = causeway_config::parse(&text, Path::new("")) {
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(!errors.errors.is_empty());
            for error in errors.errors {
                prop_assert!(error.place.at.line <= lines, "{}", error);
                prop_assert!(!error.wanted.is_empty() && !error.found.is_empty(), "{}", error);
            }
        }
    }

    #[test]
    fn arbitrary_text_is_read(text in "\\PC{0,200}") {
        let _ = causeway_config::parse(&text, Path::new(""));
    }
}

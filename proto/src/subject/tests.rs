//! Method: every filter over a tiny alphabet against a model that splits and compares tokens, on
//! all subjects short enough to tell any two filters apart.

use proptest::prelude::*;

use super::*;

pub(crate) fn filter(text: &str) -> SubjectFilter {
    SubjectFilter::parse(text).unwrap()
}

/// A filter of up to four tokens over `a`, `b` and the wildcards.
pub(crate) fn any_filter() -> impl Strategy<Value = SubjectFilter> {
    let token = prop_oneof![3 => Just("a"), 2 => Just("b"), 3 => Just("*")];
    (
        proptest::collection::vec(token, 0..4),
        proptest::option::of(Just(">")),
    )
        .prop_filter("a filter has a token", |(tokens, tail)| {
            !tokens.is_empty() || tail.is_some()
        })
        .prop_map(|(mut tokens, tail)| {
            tokens.extend(tail);
            filter(&tokens.join("."))
        })
}

/// All subjects of up to five tokens over `a`, `b` and one token that no filter spells out.
pub(crate) fn every_subject() -> Vec<String> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for _ in 0..5 {
        last = last
            .iter()
            .flat_map(|head| ["a", "b", "c"].map(|token| format!("{head}.{token}")))
            .collect();
        all.extend(last.iter().map(|subject| subject[1..].to_owned()));
    }
    all
}

pub(crate) fn model_matches(filter: &SubjectFilter, subject: &str) -> bool {
    fn tokens_match(filter: &[&str], subject: &[&str]) -> bool {
        match (filter, subject) {
            ([">"], [_, ..]) | ([], []) => true,
            (["*", filter @ ..], [_, subject @ ..]) => tokens_match(filter, subject),
            ([a, filter @ ..], [b, subject @ ..]) => a == b && tokens_match(filter, subject),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.as_str().split('.').collect();
    tokens_match(&filter, &subject.split('.').collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn matches_as_the_model_does(f in any_filter()) {
        for subject in every_subject() {
            let expected = model_matches(&f, &subject);
            prop_assert_eq!(f.matches(subject.as_bytes()), expected, "{}", subject);
        }
    }

    #[test]
    fn overlap_and_intersection_are_exact(a in any_filter(), b in any_filter()) {
        let common = a.intersection(&b);
        prop_assert_eq!(a.overlaps(&b), common.is_some());
        prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        for subject in every_subject() {
            let both = model_matches(&a, &subject) && model_matches(&b, &subject);
            prop_assert_eq!(common.as_ref().is_some_and(|c| model_matches(c, &subject)), both);
        }
        if let Some(common) = common {
            let witness = common.example();
            prop_assert!(a.matches(witness.as_bytes()) && b.matches(witness.as_bytes()));
        }
    }

    #[test]
    fn subset_is_exact(a in any_filter(), b in any_filter()) {
        let subset = every_subject()
            .iter()
            .all(|subject| !model_matches(&a, subject) || model_matches(&b, subject));
        prop_assert_eq!(a.is_subset_of(&b), subset);
    }

    #[test]
    fn minimal_names_the_same_subjects(filters in proptest::collection::vec(any_filter(), 0..5)) {
        let set = SubjectSet::new(filters);
        let minimal = set.minimal();
        for subject in every_subject() {
            prop_assert_eq!(set.matches(subject.as_bytes()), minimal.matches(subject.as_bytes()));
        }
        for (at, filter) in minimal.filters().iter().enumerate() {
            let others = minimal.filters().iter().enumerate().filter(|(other, _)| *other != at);
            for (_, other) in others {
                prop_assert!(!filter.is_subset_of(other));
            }
        }
    }

    #[test]
    fn index_matches_as_each_filter_does(
        sets in proptest::collection::vec(proptest::collection::vec(any_filter(), 0..4), 0..6),
    ) {
        let index = SubjectIndex::new(&sets).unwrap();
        for subject in every_subject() {
            let found: Vec<usize> = index.matching(subject.as_bytes()).iter().collect();
            prop_assert_eq!(found, model_sets(&sets, &subject), "{}", subject);
        }
    }

    #[test]
    fn combinations_are_those_of_all_subjects(
        sets in proptest::collection::vec(proptest::collection::vec(any_filter(), 0..3), 0..5),
        f in any_filter(),
    ) {
        let answer = SubjectIndex::new(&sets).unwrap().combinations(&f);
        prop_assert!(answer.complete);
        let mut found: Vec<Vec<usize>> = Vec::new();
        for combination in &answer.found {
            let numbers: Vec<usize> = combination.sets.iter().collect();
            prop_assert!(f.matches(combination.example.as_bytes()));
            prop_assert_eq!(model_sets(&sets, &combination.example), numbers.clone());
            found.push(numbers);
        }
        let mut expected: Vec<Vec<usize>> = every_subject()
            .iter()
            .filter(|subject| model_matches(&f, subject))
            .map(|subject| model_sets(&sets, subject))
            .collect();
        expected.sort_unstable();
        expected.dedup();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn arbitrary_text_and_subjects_never_panic(text in "\\PC{0,20}", subject: Vec<u8>) {
        if let Ok(f) = SubjectFilter::parse(&text) {
            let index = SubjectIndex::new([[&f]]).unwrap();
            prop_assert_eq!(f.matches(&subject), !index.matching(&subject).is_empty());
            prop_assert!(f.matches(f.example().as_bytes()));
        }
    }
}

fn model_sets(sets: &[Vec<SubjectFilter>], subject: &str) -> Vec<usize> {
    let holds = |set: &Vec<SubjectFilter>| set.iter().any(|f| model_matches(f, subject));
    sets.iter()
        .enumerate()
        .filter(|(_, set)| holds(set))
        .map(|(index, _)| index)
        .collect()
}

#[test]
fn faults_are_named() {
    let fault = |text: &str| SubjectFilter::parse(text).unwrap_err();
    assert_eq!(fault(""), InvalidFilter::Empty);
    assert_eq!(fault("a..b"), InvalidFilter::EmptyToken(2));
    assert_eq!(fault(".a"), InvalidFilter::EmptyToken(1));
    assert_eq!(fault("a."), InvalidFilter::EmptyToken(2));
    assert_eq!(fault("a.b c"), InvalidFilter::Character(' ', 2));
    assert_eq!(fault("a\u{0}"), InvalidFilter::Character('\u{0}', 1));
    assert_eq!(fault("a.b*"), InvalidFilter::WildcardInToken('*', 2));
    assert_eq!(fault("a.>>"), InvalidFilter::WildcardInToken('>', 2));
    assert_eq!(fault("a.>.b"), InvalidFilter::TailNotLast(2));
    assert_eq!(
        fault(&"a".repeat(FILTER_LEN_MAX + 1)),
        InvalidFilter::TooLong
    );
}

#[test]
fn malformed_subjects_match_no_wildcard() {
    for subject in ["", ".", "a.", "a..", ".a"] {
        assert!(!filter("a.>").matches(subject.as_bytes()), "{subject:?}");
        assert!(!filter("*.*").matches(subject.as_bytes()), "{subject:?}");
    }
    assert!(!filter(">").matches(b""));
    assert!(!filter(">").matches(b".a"));
}

#[test]
fn an_entangled_search_is_cut_short_and_says_so() {
    // Each set wants one letter at another depth: 2^17 combinations.
    let texts: Vec<String> = (0..17)
        .map(|depth| format!("{}a.>", "*.".repeat(depth)))
        .collect();
    let filters: Vec<SubjectFilter> = texts.iter().map(|text| filter(text)).collect();
    let index = SubjectIndex::new(filters.iter().map(|f| [f])).unwrap();
    let answer = index.combinations(&filter(">"));
    assert!(!answer.complete);
    assert!(!answer.found.is_empty());
}

#[test]
fn too_many_sets_are_refused() {
    let f = filter("a");
    let sets = std::iter::repeat_n([&f], FILTER_SETS_MAX + 1);
    assert_eq!(
        SubjectIndex::new(sets).unwrap_err(),
        TooManySets(FILTER_SETS_MAX + 1)
    );
}

//! NATS subject filters, and the algebra that routes, residency and `check` reason with.
//!
//! A subject is one or more non-empty tokens between dots. In a filter `*` stands for exactly one
//! token and a closing `>` for one token or more. Filters are closed under intersection, so overlap
//! and subset are decided exactly, token by token; what a *list* of filters covers needs
//! [`SubjectIndex`].
//!
//! `matches` is asked once a record: it allocates nothing and looks at each byte at most once. It
//! does not re-validate subjects, since JetStream stores none that are malformed; one with an empty
//! token where a wildcard stands matches nothing, which residency turns into "leaves nowhere".

mod index;

use std::fmt;
use std::sync::Arc;

pub use index::{Combination, Combinations, FILTER_SETS_MAX, IndexSet, SubjectIndex, TooManySets};

/// Longest filter, in bytes. The server allows about 4 KiB a protocol line; subjects are far
/// shorter, and the bound keeps every walk over tokens shallow.
pub const FILTER_LEN_MAX: usize = 1024;

/// Why a text is no subject filter. Tokens are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// The text is empty.
    #[error("empty subject")]
    Empty,
    /// The text is longer than [`FILTER_LEN_MAX`].
    #[error("longer than {FILTER_LEN_MAX} bytes")]
    TooLong,
    /// Two dots in a row, or a dot at either end.
    #[error("empty token, number {0}")]
    EmptyToken(usize),
    /// White space or a control character.
    #[error("{0:?} in token {1}: white space and control characters are not allowed")]
    Character(char, usize),
    /// A wildcard with other characters around it. The server would take it literally, never as
    /// meant.
    #[error("{0:?} in token {1}: a wildcard must be a whole token")]
    WildcardInToken(char, usize),
    /// `>` before the last token.
    #[error("'>' in token {0}: only the last token can be '>'")]
    TailNotLast(usize),
}

/// One token of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterToken<'a> {
    /// The token itself.
    Literal(&'a str),
    /// `*`: any one token.
    Any,
    /// `>`: one token or more, up to the end.
    Tail,
}

/// A validated subject filter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectFilter {
    text: Arc<str>,
    /// Bytes before the first wildcard; with its dot. All of the text where there is no wildcard.
    prefix_len: usize,
}

impl SubjectFilter {
    /// Checks and takes a filter.
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.is_empty() {
            return Err(InvalidFilter::Empty);
        }
        if text.len() > FILTER_LEN_MAX {
            return Err(InvalidFilter::TooLong);
        }
        let mut prefix_len = text.len();
        let mut start = 0;
        let mut tail = None;
        for (index, token) in text.split('.').enumerate() {
            let number = index + 1;
            if let Some(tail) = tail {
                return Err(InvalidFilter::TailNotLast(tail));
            }
            check_token(token, number)?;
            if token == ">" {
                tail = Some(number);
            }
            if matches!(token, "*" | ">") {
                prefix_len = prefix_len.min(start);
            }
            start += token.len() + 1;
        }
        Ok(Self {
            text: text.into(),
            prefix_len,
        })
    }

    /// The filter that matches every subject.
    pub fn all() -> Self {
        Self {
            text: ">".into(),
            prefix_len: 0,
        }
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches every subject.
    pub fn is_all(&self) -> bool {
        &*self.text == ">"
    }

    /// Whether it holds no wildcard and so matches one subject only.
    pub fn is_literal(&self) -> bool {
        self.prefix_len == self.text.len()
    }

    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = FilterToken<'_>> {
        self.text.split('.').map(|token| match token {
            "*" => FilterToken::Any,
            ">" => FilterToken::Tail,
            literal => FilterToken::Literal(literal),
        })
    }

    /// Whether the subject is one of those that the filter names.
    pub fn matches(&self, subject: &[u8]) -> bool {
        let (prefix, mut filter) = self.text.as_bytes().split_at(self.prefix_len);
        let Some(mut rest) = subject.strip_prefix(prefix) else {
            return false;
        };
        if filter.is_empty() {
            return rest.is_empty();
        }
        loop {
            let (wanted, wanted_rest) = split_token(filter);
            let (token, token_rest) = split_token(rest);
            match wanted {
                b">" => return !token.is_empty(),
                b"*" if token.is_empty() => return false,
                b"*" => {}
                literal if literal != token => return false,
                _ => {}
            }
            match (wanted_rest, token_rest) {
                (None, None) => return true,
                (Some(next_filter), Some(next)) => (filter, rest) = (next_filter, next),
                _ => return false,
            }
        }
    }

    /// The filter for exactly those subjects that both match, if there are any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let mut text = String::with_capacity(self.text.len().max(other.text.len()));
        walk_intersection(self, other, |token| {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(token);
        })
        .then(|| Self::parse(&text).expect("tokens of two valid filters, '>' only where both end"))
    }

    /// Whether some subject matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        walk_intersection(self, other, |_| {})
    }

    /// Whether every subject that matches `self` matches `other` too.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(_), Some(FilterToken::Tail)) => return true,
                (Some(FilterToken::Literal(_) | FilterToken::Any), Some(FilterToken::Any)) => {}
                (Some(FilterToken::Literal(a)), Some(FilterToken::Literal(b))) if a == b => {}
                _ => return false,
            }
        }
    }

    /// Some subject that matches, for people to read: wildcards become `x`.
    pub fn example(&self) -> String {
        let tokens: Vec<&str> = self
            .tokens()
            .map(|token| match token {
                FilterToken::Literal(literal) => literal,
                FilterToken::Any | FilterToken::Tail => "x",
            })
            .collect();
        tokens.join(".")
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

/// A list of filters that together name a set of subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectSet(Vec<SubjectFilter>);

impl SubjectSet {
    /// The subjects that any of the filters names. An empty list names none.
    pub fn new(filters: Vec<SubjectFilter>) -> Self {
        Self(filters)
    }

    /// The filters as given.
    pub fn filters(&self) -> &[SubjectFilter] {
        &self.0
    }

    /// Whether the set holds the subject.
    pub fn matches(&self, subject: &[u8]) -> bool {
        self.0.iter().any(|filter| filter.matches(subject))
    }

    /// Whether it holds every subject there is by one of its filters.
    pub fn is_all(&self) -> bool {
        self.0.iter().any(SubjectFilter::is_all)
    }

    /// The first two filters of the list that overlap, which JetStream refuses in one consumer.
    pub fn overlap_within(&self) -> Option<(usize, usize)> {
        (0..self.0.len()).find_map(|later| {
            let found = (0..later).find(|&earlier| self.0[earlier].overlaps(&self.0[later]));
            found.map(|earlier| (earlier, later))
        })
    }

    /// The first pair of filters, one of each set, that overlap.
    pub fn overlap<'a>(
        &'a self,
        other: &'a Self,
    ) -> Option<(&'a SubjectFilter, &'a SubjectFilter)> {
        self.0.iter().find_map(|ours| {
            let theirs = other.0.iter().find(|theirs| ours.overlaps(theirs))?;
            Some((ours, theirs))
        })
    }

    /// The least list that names the same subjects by filters of this list: those that another one
    /// contains are left out. Order is kept.
    pub fn minimal(&self) -> Self {
        let keeps = |index: usize, filter: &SubjectFilter| {
            !self.0.iter().enumerate().any(|(at, other)| {
                at != index && filter.is_subset_of(other) && (filter != other || at < index)
            })
        };
        let kept = self
            .0
            .iter()
            .enumerate()
            .filter(|(index, filter)| keeps(*index, filter));
        Self(kept.map(|(_, filter)| filter.clone()).collect())
    }
}

fn check_token(token: &str, number: usize) -> Result<(), InvalidFilter> {
    if token.is_empty() {
        return Err(InvalidFilter::EmptyToken(number));
    }
    if let Some(c) = token.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(InvalidFilter::Character(c, number));
    }
    match token.chars().find(|c| matches!(c, '*' | '>')) {
        Some(c) if token.len() > 1 => Err(InvalidFilter::WildcardInToken(c, number)),
        _ => Ok(()),
    }
}

/// The first token, and what follows its dot.
fn split_token(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], Some(&text[dot + 1..])),
        None => (text, None),
    }
}

/// Hands out the tokens of the intersection; false where it is empty (the tokens are then of no
/// use).
fn walk_intersection(a: &SubjectFilter, b: &SubjectFilter, mut token: impl FnMut(&str)) -> bool {
    use FilterToken::{Any, Literal, Tail};
    let (mut left, mut right) = (a.text.split('.'), b.text.split('.'));
    let kind = |text| match text {
        "*" => Any,
        ">" => Tail,
        literal => Literal(literal),
    };
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) => match (kind(x), kind(y)) {
                (Tail, _) => {
                    token(y);
                    right.for_each(&mut token);
                    return true;
                }
                (_, Tail) => {
                    token(x);
                    left.for_each(&mut token);
                    return true;
                }
                (Literal(p), Literal(q)) if p != q => return false,
                (Literal(p), _) | (_, Literal(p)) => token(p),
                (Any, Any) => token("*"),
            },
            _ => return false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

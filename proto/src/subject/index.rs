//! Many filters asked at once: which of up to 256 sets of filters hold a subject.
//!
//! The filters become one tree of tokens, so that a record costs one walk however many sets there
//! are (a node is reached on one path only: no subject makes the walk longer than the tree is
//! large). The same tree answers `check`'s question exactly: which combinations of sets can the
//! subjects of a filter be in, with an example of each.

use std::collections::{HashSet, VecDeque};

use super::{FilterToken, SubjectFilter, split_token};

/// Most sets in one index. A set of them is four words, copied and intersected without a branch.
pub const FILTER_SETS_MAX: usize = 256;

/// States that [`SubjectIndex::combinations`] visits at most before it answers "incomplete". Some
/// ten thousand are visited in milliseconds; fleets as people write them need a few dozen.
const ANALYSIS_STATES_MAX: usize = 20_000;

const WORDS: usize = FILTER_SETS_MAX / 64;
const ROOT: usize = 0;

/// More sets than [`FILTER_SETS_MAX`] were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} sets of filters, at most {FILTER_SETS_MAX} are supported")]
pub struct TooManySets(pub usize);

/// Some of the sets of an index, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IndexSet([u64; WORDS]);

impl IndexSet {
    /// No set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Adds the set of that number, which must be below [`FILTER_SETS_MAX`].
    pub fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Whether it names the set of that number.
    pub fn contains(&self, index: usize) -> bool {
        self.0
            .get(index / 64)
            .is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// Those named by both.
    pub fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Those named by either.
    pub fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// The lowest number.
    pub fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// All numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..FILTER_SETS_MAX).filter(|&index| self.contains(index))
    }
}

/// The tree over all filters of all sets.
#[derive(Debug, Clone)]
pub struct SubjectIndex {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted by token.
    literals: Vec<(Box<str>, usize)>,
    any: Option<usize>,
    /// Sets with a filter that ends here.
    end: IndexSet,
    /// Sets with a filter that goes on with `>` here.
    tail: IndexSet,
}

/// Sets that some subject is in together, and such a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combination {
    /// The sets; may be empty.
    pub sets: IndexSet,
    /// A subject that is in exactly these.
    pub example: String,
}

/// What [`SubjectIndex::combinations`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combinations {
    /// Each combination once, shortest examples first.
    pub found: Vec<Combination>,
    /// False where the filters were so entangled that the search was cut short: there may be more.
    pub complete: bool,
}

impl SubjectIndex {
    /// Builds the tree. Sets are numbered in the order given.
    pub fn new<'a, S>(sets: impl IntoIterator<Item = S>) -> Result<Self, TooManySets>
    where
        S: IntoIterator<Item = &'a SubjectFilter>,
    {
        let mut index = Self {
            nodes: vec![Node::default()],
        };
        let mut count = 0;
        for set in sets {
            if count < FILTER_SETS_MAX {
                set.into_iter()
                    .for_each(|filter| index.insert(filter, count));
            }
            count += 1;
        }
        if count > FILTER_SETS_MAX {
            Err(TooManySets(count))
        } else {
            Ok(index)
        }
    }

    /// The sets that hold the subject.
    pub fn matching(&self, subject: &[u8]) -> IndexSet {
        let mut sets = IndexSet::EMPTY;
        self.walk(ROOT, subject, &mut sets);
        sets
    }

    /// Every combination of sets that a subject of `filter` can be in, the empty one included.
    ///
    /// Tokens that no filter spells out are all alike, so one stand-in for them makes the search
    /// finite; below the tree's leaves nothing changes any more, so it also ends.
    pub fn combinations(&self, filter: &SubjectFilter) -> Combinations {
        Search::new(self, filter).run()
    }

    fn insert(&mut self, filter: &SubjectFilter, set: usize) {
        let mut at = ROOT;
        for token in filter.tokens() {
            at = match token {
                FilterToken::Tail => return self.nodes[at].tail.insert(set),
                FilterToken::Any => match self.nodes[at].any {
                    Some(next) => next,
                    None => {
                        let next = self.add_node();
                        self.nodes[at].any = Some(next);
                        next
                    }
                },
                FilterToken::Literal(literal) => match self.nodes[at].find(literal.as_bytes()) {
                    Ok(place) => self.nodes[at].literals[place].1,
                    Err(place) => {
                        let next = self.add_node();
                        self.nodes[at]
                            .literals
                            .insert(place, (literal.into(), next));
                        next
                    }
                },
            };
        }
        self.nodes[at].end.insert(set);
    }

    fn add_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn walk(&self, at: usize, subject: &[u8], sets: &mut IndexSet) {
        let node = &self.nodes[at];
        let (token, rest) = split_token(subject);
        if token.is_empty() {
            return;
        }
        *sets = sets.or(&node.tail);
        let literal = node.find(token).ok().map(|place| node.literals[place].1);
        for next in [literal, node.any].into_iter().flatten() {
            match rest {
                Some(rest) => self.walk(next, rest, sets),
                None => *sets = sets.or(&self.nodes[next].end),
            }
        }
    }
}

impl Node {
    fn find(&self, token: &[u8]) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(literal, _)| literal.as_bytes().cmp(token))
    }
}

/// Where the search is after some tokens: what decides everything that can follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Tokens of the filter that are used up; stays on its `>`.
    used: usize,
    /// Nodes of the tree that the tokens lead to, ascending.
    nodes: Vec<usize>,
    /// Sets that hold the subject by a `>`, whatever follows.
    settled: IndexSet,
}

struct Search<'a> {
    index: &'a SubjectIndex,
    filter: Vec<FilterToken<'a>>,
    seen: HashSet<State>,
    queue: VecDeque<(State, String)>,
    noted: HashSet<IndexSet>,
    found: Vec<Combination>,
}

impl<'a> Search<'a> {
    fn new(index: &'a SubjectIndex, filter: &'a SubjectFilter) -> Self {
        Self {
            index,
            filter: filter.tokens().collect(),
            seen: HashSet::new(),
            queue: VecDeque::new(),
            noted: HashSet::new(),
            found: Vec::new(),
        }
    }

    /// Breadth first, so that the first example of a combination is a shortest one.
    fn run(mut self) -> Combinations {
        let start = State {
            used: 0,
            nodes: vec![ROOT],
            settled: IndexSet::EMPTY,
        };
        self.queue.push_back((start, String::new()));
        while let Some((state, subject)) = self.queue.pop_front() {
            if self.seen.len() >= ANALYSIS_STATES_MAX {
                return Combinations {
                    found: self.found,
                    complete: false,
                };
            }
            match self.filter[state.used] {
                FilterToken::Literal(literal) => self.step(&state, &subject, literal),
                FilterToken::Any | FilterToken::Tail => {
                    for token in self.choices(&state) {
                        self.step(&state, &subject, &token);
                    }
                }
            }
        }
        Combinations {
            found: self.found,
            complete: true,
        }
    }

    /// Every token that the tree spells out here, and one that it does not.
    fn choices(&self, state: &State) -> Vec<String> {
        let literals = state
            .nodes
            .iter()
            .flat_map(|&node| &self.index.nodes[node].literals);
        let mut tokens: Vec<String> = literals.map(|(token, _)| token.to_string()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        let mut other = String::from("x");
        while tokens.binary_search(&other).is_ok() {
            other.push('x');
        }
        tokens.insert(0, other);
        tokens
    }

    fn step(&mut self, state: &State, subject: &str, token: &str) {
        let mut nodes = Vec::new();
        let mut settled = state.settled;
        for &at in &state.nodes {
            let node = &self.index.nodes[at];
            settled = settled.or(&node.tail);
            nodes.extend(
                node.find(token.as_bytes())
                    .ok()
                    .map(|place| node.literals[place].1),
            );
            nodes.extend(node.any);
        }
        nodes.sort_unstable();
        let mut subject = subject.to_owned();
        if !subject.is_empty() {
            subject.push('.');
        }
        subject.push_str(token);
        let in_tail = self.filter[state.used] == FilterToken::Tail;
        let used = if in_tail { state.used } else { state.used + 1 };
        if in_tail || used == self.filter.len() {
            let sets = nodes
                .iter()
                .fold(settled, |sets, &at| sets.or(&self.index.nodes[at].end));
            self.note(sets, &subject);
        }
        // Without nodes left, `settled` is final: only a filter that is not at its end yet goes on.
        let open = used < self.filter.len() && !(in_tail && nodes.is_empty());
        let next = State {
            used,
            nodes,
            settled,
        };
        if open && self.seen.insert(next.clone()) {
            self.queue.push_back((next, subject));
        }
    }

    fn note(&mut self, sets: IndexSet, example: &str) {
        if self.noted.insert(sets) {
            self.found.push(Combination {
                sets,
                example: example.to_owned(),
            });
        }
    }
}

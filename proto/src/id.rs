//! Names and positions, each a type of its own so that no signature holds two bare `u64`.

use std::fmt;
use std::sync::Arc;

/// Why a text is no valid name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error("holds {0:?}; allowed are letters, digits, '-' and '_'")]
    Character(char),
}

/// Longest region, route, class or fleet name, in bytes. Names travel in every record's provenance.
pub const NAME_LEN_MAX: usize = 64;

/// Longest stream name that JetStream accepts, in bytes.
pub const STREAM_NAME_LEN_MAX: usize = 255;

fn check_name(text: &str, len_max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.len() > len_max {
        return Err(InvalidName::TooLong(len_max));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
    {
        Some(c) => Err(InvalidName::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $len_max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks length and characters.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check_name(text, $len_max)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

name!(
    /// A region: one NATS deployment with its bridge.
    RegionId, NAME_LEN_MAX
);
name!(
    /// A route, unique in the fleet.
    RouteName, NAME_LEN_MAX
);
name!(
    /// A JetStream stream, restricted to the characters that are safe in subjects and provenance.
    StreamName, STREAM_NAME_LEN_MAX
);
name!(
    /// A residency class.
    ClassName, NAME_LEN_MAX
);
name!(
    /// A fleet: all regions that share one fleet file and one certificate authority.
    FleetName, NAME_LEN_MAX
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Sequence in a source stream. 0 stands before the first record.
    SourceSeq, u64
);
number!(
    /// Sequence in a target stream. 0 stands before the first record.
    TargetSeq, u64
);
number!(
    /// Store time in nanoseconds since the Unix epoch.
    StoredAt, u64
);
number!(
    /// Incarnation of a source stream, raised by the source's bridge (see [`crate::resume`]).
    Epoch, u32
);
impl Epoch {
    /// The epoch after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
number!(
    /// A lane: the ordered channel of one route in one session. Numbered by the source side, never reused in a session.
    LaneId, u32
);
number!(
    /// Number of a batch in its lane, from 0 without holes.
    BatchSeq, u64
);

/// A place in a source stream: the sequence, and the store time that proves which record stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Sequence in the source stream.
    pub seq: SourceSeq,
    /// Store time of the record at `seq`; 0 where the position is a gap and names no record.
    pub stored_at: StoredAt,
}

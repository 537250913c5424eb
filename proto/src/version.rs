//! The protocol's changelog: one variant a version, and the rule by which two peers pick one.

/// A version of the wire protocol. A release speaks its own version and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ProtoVersion {
    /// The first: the frames and the batch of WIRE.md.
    V1 = 1,
}

impl ProtoVersion {
    /// Oldest version that this release speaks.
    pub const OLDEST: Self = Self::V1;

    /// Newest version that this release speaks.
    pub const NEWEST: Self = Self::V1;

    /// All versions that this release speaks, oldest first.
    const SPOKEN: [Self; 1] = [Self::V1];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The newest version that this release speaks within `min..=max`, or `None` if there is none.
    pub fn negotiate(min: u16, max: u16) -> Option<Self> {
        let fits = |version: &Self| (min..=max).contains(&version.number());
        Self::SPOKEN.into_iter().rev().find(fits)
    }
}

impl std::fmt::Display for ProtoVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_newest_common_version() {
        assert_eq!(ProtoVersion::negotiate(1, 1), Some(ProtoVersion::V1));
        assert_eq!(ProtoVersion::negotiate(0, 9), Some(ProtoVersion::V1));
        assert_eq!(ProtoVersion::negotiate(2, 9), None);
        assert_eq!(ProtoVersion::negotiate(0, 0), None);
    }

    #[test]
    fn an_empty_range_has_no_version() {
        assert_eq!(ProtoVersion::negotiate(2, 1), None);
    }

    #[test]
    fn spoken_versions_rise_from_oldest_to_newest() {
        assert_eq!(ProtoVersion::SPOKEN.first(), Some(&ProtoVersion::OLDEST));
        assert_eq!(ProtoVersion::SPOKEN.last(), Some(&ProtoVersion::NEWEST));
        assert!(ProtoVersion::SPOKEN.is_sorted());
    }
}

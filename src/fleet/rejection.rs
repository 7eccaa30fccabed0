//! Why a sealed value was not opened.

/// Why a value was not opened. It is a miss, and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// It is no sealed value, or of a format that this version does not know.
    #[error("not a sealed value of a known format")]
    Format,
    /// None of the playback keys sealed it.
    #[error("sealed by a key that is not configured")]
    Key,
    /// It was changed, or belongs elsewhere, or is another version.
    #[error("does not belong here")]
    Mac,
}

impl Rejection {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Format, Self::Key, Self::Mac];

    /// The label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Key => "key",
            Self::Mac => "mac",
        }
    }
}

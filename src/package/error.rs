//! Why footage cannot be packaged.

use crate::kvs::ebml::EbmlFault;
use std::fmt;

/// What about a fragment is not understood. Nothing that is made of it is sent or stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is no Matroska document; what about it.
    Malformed(&'static str),
    /// It ends inside an element.
    Torn,
    /// It is larger than what is taken; of what it has too much.
    TooLarge(&'static str),
    /// It is Matroska that cannot be packaged; what about it.
    Unsupported(&'static str),
    /// KVS has an error in its place.
    InBand,
    /// It does not fit into the place that was promised for it.
    Overflow,
}

impl Refusal {
    /// All that [`Refusal::reason`] gives.
    pub const REASONS: [&'static str; 6] =
        ["malformed", "torn", "too_large", "unsupported", "in_band", "overflow"];

    /// The value of the label `reason` of `package_refusals_total`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Torn => "torn",
            Self::TooLarge(_) => "too_large",
            Self::Unsupported(_) => "unsupported",
            Self::InBand => "in_band",
            Self::Overflow => "overflow",
        }
    }
}

impl From<EbmlFault> for Refusal {
    fn from(fault: EbmlFault) -> Self {
        Self::Malformed(match fault {
            EbmlFault::NoId => "an element has no id",
            EbmlFault::NoSize => "an element has no size",
            EbmlFault::Torn => "an element is larger than what holds it",
            EbmlFault::NoNumber => "a number has more bytes than numbers have",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "it is no Matroska that KVS stores: {what}"),
            Self::Torn => f.write_str("it ends inside an element"),
            Self::TooLarge(what) => write!(f, "it has too many {what}"),
            Self::Unsupported(what) => write!(f, "{what}"),
            Self::InBand => f.write_str("KVS has an error in its place"),
            Self::Overflow => f.write_str("it does not fit into the place that was promised for it"),
        }
    }
}

impl std::error::Error for Refusal {}

//! Why there is no playlist, no segment and no session, and what that says about the upstream session.

use crate::cache::FillError;
use crate::net::body::Broken;
use crate::{playback, upstream};
use std::sync::Arc;
use std::time::Duration;

/// Why there is no playlist, segment or session.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// KVS refused, failed, or could not be reached.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The body of a segment broke before its first byte was passed on.
    #[error(transparent)]
    Broken(Broken),
    /// The playlist or manifest of KVS is not safe to pass on.
    #[error(transparent)]
    Rewrite(playback::Error),
    /// KVS did not answer in time.
    #[error("KVS did not answer within {0:?}")]
    Slow(Duration),
    /// KVS answered with something other than a playlist or manifest that can be kept continuous.
    #[error("{0}")]
    UnusablePlaylist(&'static str),
    /// The range is longer than one playlist may be. The text states the bound.
    #[error("{0}")]
    TooLong(&'static str),
    /// The address belongs to a session that has ended, or to no session.
    #[error("this address is no longer part of the playback session")]
    Gone,
    /// KVS ends its sessions as soon as they are opened.
    #[error("KVS ends its playback sessions as soon as they are opened")]
    EndsAtOnce,
    /// `sessions.most` upstream sessions are open.
    #[error("too many playback sessions are open; try again later")]
    Full,
    /// Too many long ranges are being joined, by this caller or by all. It holds the
    /// time after which to come again.
    #[error("too many long ranges are being prepared for playback")]
    Crowded(Duration),
    /// The caller has `sessions.most_per_caller` upstream sessions that are watched or being opened.
    #[error(
        "you have {0} playback sessions, which is all that one caller may have: close players that are \
             not needed"
    )]
    MostPerCaller(usize),
}

/// What a failure says about the upstream session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// KVS no longer accepts the session: another one must be opened.
    SessionLost,
    /// KVS has no media at the moment. A silent camera may come back.
    NoData,
    /// Throttled, slow, or broken on the way: the same request may succeed later.
    Transient,
    /// The same request will fail again: unknown stream, missing permission, unusable codec.
    Permanent,
}

/// How KVS refused a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SegmentRefusal {
    /// It does not accept the session's token (401, 403).
    TokenRefused,
    /// It knows no such resource (404): the session does not list it, or KVS has forgotten the whole session.
    NotFound,
}

impl Error {
    /// What this failure says about the upstream session.
    pub(super) fn effect(&self) -> Effect {
        use upstream::Error as E;
        match self {
            Self::Rewrite(_) => Effect::Permanent,
            Self::Upstream(error) => match &**error {
                E::SessionExpired => Effect::SessionLost,
                E::NoData(_) => Effect::NoData,
                E::Kvs(fault) if fault.is_not_found() => Effect::NoData,
                E::Kvs(fault) if fault.is_throttle() || fault.is_trouble() || fault.is_refusal() => {
                    Effect::Transient
                }
                E::Kvs(_) | E::NotServed(_) => Effect::Permanent,
                _ => Effect::Transient,
            },
            _ => Effect::Transient,
        }
    }

    /// Whether the failure concerns the caller that met it, and another caller may succeed.
    pub(super) fn is_of_caller(&self) -> bool {
        match self {
            Self::Full | Self::Crowded(_) | Self::MostPerCaller(_) => true,
            Self::Upstream(error) => matches!(**error, upstream::Error::Busy { .. }),
            _ => false,
        }
    }

    /// How KVS refused a segment; `None` if the failure is of another kind.
    pub(super) fn segment_refusal(&self) -> Option<SegmentRefusal> {
        match self {
            Self::Upstream(error) => match **error {
                upstream::Error::SessionExpired => Some(SegmentRefusal::TokenRefused),
                upstream::Error::NoData(_) => Some(SegmentRefusal::NotFound),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(Arc::new(error))
    }
}

impl From<FillError<upstream::Error>> for Error {
    fn from(error: FillError<upstream::Error>) -> Self {
        match error {
            FillError::Fetch(error) => Self::Upstream(error),
            FillError::Broken(broken) => Self::Broken(broken),
        }
    }
}

/// Why no playlist can be made of a range or of what KVS lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unplayable {
    /// It is longer than one playlist may be.
    TooLong(&'static str),
    /// KVS's playlists cannot be joined.
    UnusablePlaylist(&'static str),
}

impl From<Unplayable> for Error {
    fn from(unplayable: Unplayable) -> Self {
        match unplayable {
            Unplayable::TooLong(bound) => Self::TooLong(bound),
            Unplayable::UnusablePlaylist(why) => Self::UnusablePlaylist(why),
        }
    }
}

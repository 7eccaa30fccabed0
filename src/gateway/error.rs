//! Why a request got no answer: the failures of every step, gathered. `refusal` says how each looks.

use super::route::NoRoute;
use crate::accounting::rates::Limited;
use crate::archive::page_token::ForeignPageToken;
use crate::kvs::{Invalid, Timestamp};
use crate::net::body::Broken;
use crate::net::query;
use crate::net::request_body;
use crate::package::Refusal;
use crate::{archive, identity, playback, policy, sessions, sign_in, upstream};
use std::sync::Arc;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is there.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// There is no credential, or none that is good.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Anonymous callers have no place here.
    #[error("sign in, or send a token")]
    SignIn,
    /// A session that began by signing in here cannot be renewed.
    #[error("{0}")]
    Renewal(sign_in::Problem),
    /// Something that only our own page may ask for.
    #[error("only the console's own page may ask for this")]
    OtherPage,
    /// The playback capability does not open, or is bound to another client.
    #[error("{0}")]
    Capability(playback::Error),
    /// What a playback URL must say of the caller does not fit into it.
    #[error(
        "your token says more than a playback URL can hold (1 KB): have the issuer leave out claims, or \
         kvs-edge's operator map fewer ([[issuer]] claims)"
    )]
    LongCapability,
    /// A playback URL made now would be over at once: when it would end.
    #[error(
        "a playback URL made now would end at {0}, with the token that it is made by: send a token that is \
         valid for longer"
    )]
    DeadUrl(Timestamp),
    /// The capability is bound to an address or a cookie that this request does not show.
    #[error("this playback URL belongs to another client")]
    Unbound,
    /// The request is not one that KVS would take.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request's body is too large, too slow, or broke.
    #[error(transparent)]
    Input(#[from] request_body::Error),
    /// The query of a plain GET.
    #[error(transparent)]
    Query(#[from] query::Invalid),
    /// A parameter that the page does not take, or whose value KVS would not take.
    #[error("{0}")]
    Parameter(String),
    /// A page token that we did not give out for this stream.
    #[error(transparent)]
    PageToken(#[from] ForeignPageToken),
    /// Policy says no.
    #[error(transparent)]
    Denied(#[from] policy::Denied),
    /// KVS, or the way to it.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// KVS's playlist or manifest cannot be passed on.
    #[error("{0}")]
    Rewrite(playback::Error),
    /// The shared session has nothing for this request.
    #[error(transparent)]
    Session(sessions::Error),
    /// A body broke before its first byte was sent.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A stored fragment cannot be packaged: which one and why.
    #[error("{0}")]
    Package(String, Refusal),
    /// There is no stream of this name, and perhaps which one was meant.
    #[error("there is no stream {0}")]
    NoStream(String),
    /// Nothing is recorded in a range; what is nearest to it, in words.
    #[error("{0}")]
    NoFootage(String),
    /// There is no picture at that instant.
    #[error("there is no picture of {0}")]
    NoPicture(String),
    /// The caller has taken too much.
    #[error(transparent)]
    Rate(#[from] Limited),
    /// A step met what the step before it rules out.
    #[error("broken invariant: {0}")]
    Bug(&'static str),
    /// Other replicas may have purged this footage, and `cache.shared.purge` is `"closed"`.
    #[error(
        "footage is not served while this replica cannot learn what was purged: the shared store does not \
         answer"
    )]
    Withheld,
    /// The audit log cannot be written, and it is required.
    #[error("the audit log cannot be written")]
    Audit,
}

impl Error {
    /// KVS has no stream of this name, or nothing of it that was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Upstream(error) => matches!(&**error, upstream::Error::Kvs(fault) if fault.is_not_found()),
            _ => false,
        }
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(Arc::new(error))
    }
}

impl From<archive::Error> for Error {
    fn from(error: archive::Error) -> Self {
        match error {
            archive::Error::Upstream(error) => Self::Upstream(error),
            archive::Error::Broken(broken) => Self::Broken(broken),
            archive::Error::Crowded(retry_after) => Self::Rate(Limited::long_ranges(retry_after)),
            error @ archive::Error::Package { refusal, .. } => Self::Package(error.to_string(), refusal),
        }
    }
}

impl From<sessions::Error> for Error {
    fn from(error: sessions::Error) -> Self {
        match error {
            sessions::Error::Upstream(error) => Self::Upstream(error),
            sessions::Error::Broken(broken) => Self::Broken(broken),
            sessions::Error::Rewrite(error) => Self::Rewrite(error),
            other => Self::Session(other),
        }
    }
}

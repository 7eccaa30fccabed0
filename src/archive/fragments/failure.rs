//! Why a fragment could not be had.

use crate::archive::Error;
use crate::kvs::{Fault, FragmentNumber};
use crate::net::body::Broken;
use crate::upstream::{self, InBand};
use std::sync::Arc;

/// Why there is no such fragment. Nothing of it was kept.
#[derive(Clone, Debug)]
pub enum Failure {
    /// KVS has an error in its place: it is gone by retention, or KVS cannot decrypt it.
    InBand(InBand),
    /// KVS refused the call for it.
    Refused(Arc<upstream::Error>),
    /// Its bytes broke off.
    Broken(Broken),
    /// KVS began to answer, more than once, and did not give it.
    Missing(FragmentNumber),
}

impl Failure {
    /// Whether KVS does not have the fragment, while it may have those after it.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::InBand(error) => error.is_not_found(),
            Self::Refused(error) => matches!(&**error, upstream::Error::Kvs(fault) if fault.status == 404),
            Self::Broken(_) | Self::Missing(_) => false,
        }
    }

    /// As an answer of its own.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::InBand(error) if error.is_not_found() => {
                let number = error.number.as_ref().map_or("", FragmentNumber::as_str);
                Error::from(upstream::Error::Kvs(Fault::no_fragment(number)))
            }
            Self::InBand(error) => upstream::Error::BrokenAnswer(error.to_string()).into(),
            Self::Refused(error) => Error::Upstream(error),
            Self::Broken(broken) => Error::Broken(broken),
            Self::Missing(number) => {
                upstream::Error::BrokenAnswer(format!("fragment {number} is not in it")).into()
            }
        }
    }

    /// As the end of a body that has begun.
    #[must_use]
    pub fn into_broken(self) -> Broken {
        match self {
            Self::InBand(error) => Broken::Refused(error.to_string()),
            Self::Refused(error) => Broken::Cut(error.to_string()),
            Self::Broken(broken) => broken,
            Self::Missing(number) => Broken::Cut(format!("fragment {number} did not come")),
        }
    }
}

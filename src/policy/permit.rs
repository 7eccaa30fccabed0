//! The outcome of a decision: a permit that owns what it permits, or a denial with its reason.

use super::note::{Note, Severity};
use crate::caller::Caller;
use crate::kvs::{Operation, Request, StreamRef};
use std::fmt;
use std::sync::Arc;

/// The decision that this caller may have what this request asks for, now. Made only by [`super::Policy`].
#[derive(Debug)]
pub struct Permit {
    caller: Arc<Caller>,
    request: Box<Request>,
    decided_by: Arc<[Arc<str>]>,
    severity: Option<Severity>,
}

impl Permit {
    pub(super) fn new(
        caller: Arc<Caller>,
        request: Box<Request>,
        decided_by: Arc<[Arc<str>]>,
        severity: Option<Severity>,
    ) -> Self {
        Self { caller, request, decided_by, severity }
    }

    /// The caller.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The stream; `None` for ListStreams.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamRef> {
        self.request.stream()
    }

    /// The policies that permitted it, as `id (file:line)`, for the audit log. Empty for ListStreams, whose
    /// answer is filtered stream by stream.
    #[must_use]
    pub fn decided_by(&self) -> &Arc<[Arc<str>]> {
        &self.decided_by
    }

    /// The highest `@severity` of these policies, for the audit log.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.severity
    }

    /// Caller and request, for the step that uses the permit up.
    #[must_use]
    pub fn into_parts(self) -> (Arc<Caller>, Request) {
        (self.caller, *self.request)
    }
}

/// A denial. `Display` is for the client: it names action and stream, and the `@reason` of the policies that
/// forbid it, never a policy.
#[derive(Debug)]
pub struct Denied(Box<Denial>);

#[derive(Debug)]
struct Denial {
    caller: Arc<Caller>,
    request: Box<Request>,
    reason: Reason,
    /// `@reason` of the policies behind it.
    shown_reasons: Vec<Arc<str>>,
    severity: Option<Severity>,
}

impl Denied {
    /// `notes`: the annotations of the policies behind it.
    pub(super) fn new<'a>(
        caller: Arc<Caller>,
        request: Box<Request>,
        reason: Reason,
        notes: impl Iterator<Item = &'a Note>,
    ) -> Self {
        let (shown_reasons, severity) = Note::all(notes);
        Self(Box::new(Denial { caller, request, reason, shown_reasons, severity }))
    }

    /// The caller.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.0.caller
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// The action that was refused.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.0.request.operation()
    }

    /// The highest `@severity` of the policies behind it, for the audit log.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.0.severity
    }

    /// The message with the reason and the names of policies: never for the client.
    #[must_use]
    pub fn for_log(&self) -> String {
        format!("{self}: {}", self.0.reason)
    }

    /// The reason, for log and audit only.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }
}

/// Nothing else tells a member of very many groups why none of them counts.
const GROUPS_WITHHELD: &str = " (your token lists none of your groups, because you are in too many: ask for \
    groups or roles that are assigned to this application)";

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not authorized to perform kinesisvideo:{}", self.operation())?;
        if let Some(stream) = self.0.request.stream() {
            write!(f, " on stream {}", stream.name())?;
        }
        if !self.0.shown_reasons.is_empty() {
            write!(f, ": {}", self.0.shown_reasons.join("; "))?;
        }
        if self.0.caller.groups_withheld {
            f.write_str(GROUPS_WITHHELD)?;
        }
        Ok(())
    }
}

impl std::error::Error for Denied {}

/// Cedar's answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Judgement {
    Permitted(Arc<[Arc<str>]>),
    Refused(Reason),
}

impl Judgement {
    /// How much memory it takes, in bytes, beside the value itself.
    pub(super) fn weight(&self) -> usize {
        match self {
            // The labels of policies are shared by all decisions.
            Self::Permitted(by) | Self::Refused(Reason::Forbidden(by)) => size_of_val(&**by),
            Self::Refused(Reason::Failed(errors)) => {
                errors.iter().map(|error| error.len() + PER_ERROR).sum::<usize>()
            }
            Self::Refused(Reason::NoPermit | Reason::OtherStream | Reason::Unknown(_)) => 0,
        }
    }
}

/// The place of an error's text in its list, its counters, and what the allocator rounds up.
const PER_ERROR: usize = 48;

/// Why something was denied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No policy permits it.
    NoPermit,
    /// These policies forbid it, as `id (file:line)`.
    Forbidden(Arc<[Arc<str>]>),
    /// The facts are about another stream than the request names: another account, region or creation time.
    OtherStream,
    /// A policy reads this fact about the stream and it could not be learnt; trying again may help.
    Unknown(&'static str),
    /// Policies failed while they were evaluated, each with its place.
    Failed(Arc<[Arc<str>]>),
}

impl Reason {
    /// One word, for metrics and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoPermit => "no_permit",
            Self::Forbidden(_) => "forbidden",
            Self::OtherStream => "other_stream",
            Self::Unknown(_) => "unknown_fact",
            Self::Failed(_) => "policy_failed",
        }
    }

    /// All words of [`Reason::as_str`].
    pub const WORDS: [&'static str; 5] =
        ["no_permit", "forbidden", "other_stream", "unknown_fact", "policy_failed"];

    /// The policies behind it, as `id (file:line)`, for the audit log.
    #[must_use]
    pub fn policies(&self) -> &[Arc<str>] {
        match self {
            Self::Forbidden(policies) | Self::Failed(policies) => policies,
            Self::NoPermit | Self::OtherStream | Self::Unknown(_) => &[],
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermit => f.write_str("no policy permits it"),
            Self::Forbidden(policies) => write!(f, "forbidden by {}", policies.join(", ")),
            Self::OtherStream => f.write_str("the ARN is not that of the stream which would be used"),
            Self::Unknown(fact) => write!(f, "policies read the stream's {fact}, which could not be learnt"),
            Self::Failed(policies) => write!(f, "failed while evaluated: {}", policies.join("; ")),
        }
    }
}

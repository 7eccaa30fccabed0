//! What the author of a policy says about it: `@reason` for those whom it refuses, `@severity` for the audit
//! log.

use cedar_policy::{Effect, Policy};
use std::sync::Arc;

/// The annotations of a policy that have a meaning beside its `@id`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Note {
    /// `@reason` of a `forbid`: what the 403 says beside action and stream.
    pub reason: Option<Arc<str>>,
    /// `@severity`: what the audit log says of decisions that the policy made.
    pub severity: Option<Severity>,
}

/// `@severity`, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `critical`
    Critical,
}

impl Severity {
    const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word, as policies and the audit log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The longest `@reason`, in bytes: it is part of an error message.
const LONGEST: usize = 500;

impl Note {
    /// Reads a policy's annotations.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn of(policy: &Policy) -> Result<Self, String> {
        let reason = match policy.annotation("reason") {
            None => None,
            Some(_) if policy.effect() == Effect::Permit => {
                return Err("@reason is shown to those whom a policy refuses; a permit refuses nobody".into());
            }
            Some(text)
                if text.trim().is_empty() || text.len() > LONGEST || text.contains(char::is_control) =>
            {
                return Err(format!(
                    "@reason needs a text of one line and at most {LONGEST} bytes, such as \
                     @reason(\"the server room is closed to visitors\")"
                ));
            }
            Some(text) => Some(text.into()),
        };
        let severity = policy.annotation("severity").map(|word| {
            let known = Severity::ALL.into_iter().find(|known| known.as_str() == word);
            known.ok_or_else(|| {
                format!("@severity({word:?}): write \"low\", \"medium\", \"high\" or \"critical\"")
            })
        });
        Ok(Self { reason, severity: severity.transpose()? })
    }

    /// Several policies made one decision: every reason once, and the highest severity.
    pub fn all<'a>(notes: impl Iterator<Item = &'a Self>) -> (Vec<Arc<str>>, Option<Severity>) {
        let (mut reasons, mut severity) = (Vec::new(), None);
        for note in notes {
            severity = severity.max(note.severity);
            if let Some(reason) = note.reason.as_ref().filter(|reason| !reasons.contains(*reason)) {
                reasons.push(reason.clone());
            }
        }
        (reasons, severity)
    }
}

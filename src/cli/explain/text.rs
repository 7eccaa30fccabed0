//! An explanation in words.

use crate::identity::ClaimLine;
use crate::policy::{ExplainedOutcome, Explanation, Nearest, PolicyPart, Reason};
use std::fmt::{self, Write};

/// What to do when Entra leaves the groups out.
pub const GROUPS_WITHHELD: &str = "The token lists no groups because its owner is in too many (groups overage). \
In Entra, assign groups to the application, or use app roles (docs/IDENTITY.md).";

/// Prints what became of each claim.
pub struct ClaimsText<'a>(pub &'a [ClaimLine]);

impl fmt::Display for ClaimsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The claims, and what became of them:")?;
        let width = self.0.iter().map(|line| line.pointer.len()).max().unwrap_or_default();
        for ClaimLine { pointer, value, fate } in self.0 {
            writeln!(f, "  {pointer:width$}  {}", value.as_deref().unwrap_or("absent"))?;
            writeln!(f, "  {:width$}    {fate}", "")?;
        }
        Ok(())
    }
}

/// Prints an explanation.
pub struct ExplanationText<'a>(pub &'a Explanation);

impl fmt::Display for ExplanationText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { verdict, decided_by, nearest, facts } = self.0;
        match verdict {
            ExplainedOutcome::Permitted => writeln!(f, "PERMIT")?,
            ExplainedOutcome::Denied(reason) => writeln!(f, "DENY: {reason}")?,
        }
        if *verdict == ExplainedOutcome::Denied(Reason::Unknown("tags")) {
            writeln!(f, "(The gateway asks KVS for them; here say --tag KEY=VALUE or --untagged.)")?;
        }
        for policy in decided_by {
            writeln!(f, "\n{}:{}: {}", policy.path.display(), policy.line, policy.id)?;
            writeln!(f, "{}", indented(&policy.text))?;
        }
        if !nearest.is_empty() {
            writeln!(f, "\nThe permits that come nearest, and what they require:")?;
        }
        for near in nearest {
            self.near(near, f)?;
        }
        writeln!(f, "\nWhat the policies were given:")?;
        let width = facts.keys().map(String::len).max().unwrap_or_default();
        for (name, value) in facts {
            writeln!(f, "  {name:width$}  {value}")?;
        }
        Ok(())
    }
}

impl ExplanationText<'_> {
    fn near(&self, near: &Nearest, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}:{}: {}", near.policy.path.display(), near.policy.line, near.policy.id)?;
        for part in &near.parts {
            let word = match &part.holds {
                Ok(true) => "holds  ",
                Ok(false) => "FAILS  ",
                Err(_) => "BREAKS ",
            };
            writeln!(f, "  {word} {}", part.text.replace('\n', "\n          "))?;
            if part.holds != Ok(true) {
                write!(f, "{}", self.why(part))?;
            }
        }
        Ok(())
    }

    fn why(&self, part: &PolicyPart) -> String {
        let mut lines = String::new();
        if let Err(problem) = &part.holds {
            let _ = writeln!(lines, "            {problem}");
        }
        for name in &part.reads {
            if let Some(value) = self.0.facts.get(name) {
                let _ = writeln!(lines, "            {name} is {value}");
            }
        }
        lines
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

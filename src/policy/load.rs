//! Policy files to policies that type-check, or every mistake with file, line and column.
//!
//! Stricter than Cedar alone where leniency would hide a fault: a policy that can never apply, an identifier
//! or text with look-alike or bidirectional characters, a stream set that is not configured and a mode that
//! does not exist are mistakes, since a `forbid` which never applies gives a false sense of safety.

use super::config::{Attributes, Config};
use super::note::Note;
use super::{schema, syntax, text};
use crate::setting::{Mistake, MistakePlace};
use cedar_policy::{
    Policy, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All policies, checked.
pub(super) struct Loaded {
    pub schema: Schema,
    pub schema_text: String,
    pub files: Vec<(PathBuf, String)>,
    /// In the order of files and lines.
    pub statements: Vec<Statement>,
    /// What is suspicious and still allowed.
    pub warnings: Vec<Mistake>,
}

/// One policy.
#[derive(Clone)]
pub(super) struct Statement {
    /// Under its own id.
    pub policy: Policy,
    /// As JSON; what is evaluated.
    pub est: Value,
    pub path: Arc<Path>,
    pub line: usize,
    pub column: usize,
    /// As it is written, with its annotations.
    pub text: Arc<str>,
    /// Its `@reason` and `@severity`.
    pub note: Note,
}

impl Statement {
    pub fn id(&self) -> &PolicyId {
        self.policy.id()
    }

    /// Its id as it was written; `PolicyId` would display it escaped.
    pub fn name(&self) -> &str {
        self.id().as_ref()
    }
}

pub(super) fn load(config: &Config, attributes: &Attributes) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = config.check();
    let paths = config.find_files().unwrap_or_else(|mut found| {
        mistakes.append(&mut found);
        Vec::new()
    });
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let (schema, schema_text) = schema::build(config, attributes)?;
    let validator = Validator::new(schema.clone());
    let sets = match config.stream_sets.len() {
        0 => "none".to_owned(),
        _ => config.stream_sets.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let (mut files, mut statements, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                mistakes
                    .push(Mistake::at("policy.files", format!("cannot read {}: {error}", path.display())));
                continue;
            }
        };
        let file = File { path: &path, text: &text, sets: &sets };
        match file.read(&validator) {
            Ok((mut found, mut doubtful)) => {
                statements.append(&mut found);
                warnings.append(&mut doubtful);
            }
            Err(mut found) => mistakes.append(&mut found),
        }
        files.push((path, text));
    }
    mistakes.append(&mut duplicates(&statements));
    if mistakes.is_empty() {
        Ok(Loaded { schema, schema_text, files, statements, warnings })
    } else {
        Err(mistakes)
    }
}

fn duplicates(statements: &[Statement]) -> Vec<Mistake> {
    let mut seen: BTreeMap<&PolicyId, &Statement> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for statement in statements {
        if let Some(first) = seen.insert(statement.id(), statement) {
            mistakes.push(Mistake {
                place: MistakePlace::File {
                    path: statement.path.to_path_buf(),
                    line: statement.line,
                    column: statement.column,
                },
                problem: format!(
                    "the id `{}` is taken by the policy at {}:{}; give one of them another @id(\"…\")",
                    statement.name(),
                    first.path.display(),
                    first.line
                ),
            });
        }
    }
    mistakes
}

/// One file while it is read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    /// The configured stream sets, to be named where one is misspelt.
    sets: &'a str,
}

impl File<'_> {
    fn read(&self, validator: &Validator) -> Result<(Vec<Statement>, Vec<Mistake>), Vec<Mistake>> {
        let parsed: PolicySet = self.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            errors.iter().map(|error| self.mistake(error, None)).collect::<Vec<_>>()
        })?;
        let spans = text::spans(self.text);
        let mut mistakes: Vec<Mistake> = parsed
            .templates()
            .filter_map(|template| position(template.id()))
            .map(|index| {
                let start = spans.get(index).map(|span| span.start);
                self.at(start, "templates (`?principal`, `?resource`) cannot be used here")
            })
            .collect();
        let result = validator.validate(&parsed, ValidationMode::Strict);
        mistakes.extend(result.validation_errors().map(|error| {
            let mut mistake = self.mistake(error, None);
            if matches!(error, ValidationError::InvalidEnumEntity(_)) {
                let entity = mistake.problem.split('`').nth(1).unwrap_or_default();
                mistake.problem = format!("{entity} is not in [policy] stream_sets, which has {}", self.sets);
            }
            mistake
        }));
        let mut mistakes = once(mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut statements = Vec::new();
        for index in 0..parsed.num_of_policies() {
            let Some(policy) = parsed.policy(&PolicyId::new(format!("policy{index}"))) else { continue };
            match self.statement(policy, index, &spans) {
                Ok(statement) => statements.push(statement),
                Err(mut found) => mistakes.append(&mut found),
            }
        }
        let (mut wrong, warnings) = self.doubts(validator, &statements);
        mistakes.append(&mut wrong);
        if mistakes.is_empty() { Ok((statements, warnings)) } else { Err(mistakes) }
    }

    fn statement(
        &self,
        policy: &Policy,
        index: usize,
        spans: &[Range<usize>],
    ) -> Result<Statement, Vec<Mistake>> {
        let span = spans.get(index).cloned().unwrap_or(0..0);
        let problem = |error: String| vec![self.at(Some(span.start), &error)];
        let id = match policy.annotation("id") {
            Some("") => return Err(problem("@id needs a text: @id(\"guards see live\")".into())),
            Some(id) => id.to_owned(),
            None => {
                let stem = self.path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
                format!("{stem}#{}", index + 1)
            }
        };
        if id.chars().any(char::is_control) {
            return Err(problem("@id must hold no control characters: it is written to logs".into()));
        }
        let id = PolicyId::new(id);
        let mut est = policy.to_json().map_err(|error| problem(error.to_string()))?;
        let modes: Vec<Mistake> = syntax::impossible_modes(&est)
            .iter()
            .map(|mode| {
                let written = self.text[span.clone()].find(&format!("\"{mode}\"")).unwrap_or(0);
                self.at(
                    Some(span.start + written),
                    &format!("there is no mode `{mode}`: write \"LIVE\", \"LIVE_REPLAY\" or \"ON_DEMAND\""),
                )
            })
            .collect();
        if !modes.is_empty() {
            return Err(modes);
        }
        let policy = if syntax::ask_mode_instead(&mut est) {
            Policy::from_json(Some(id), est.clone()).map_err(|error| problem(error.to_string()))?
        } else {
            policy.new_id(id)
        };
        let note = Note::of(&policy).map_err(problem)?;
        let (line, column) = text::place(self.text, span.start);
        let text = self.text[span.clone()].into();
        Ok(Statement { policy, est, path: self.path.into(), line, column, text, note })
    }

    /// What type-checks and is still a mistake or suspicious.
    fn doubts(&self, validator: &Validator, statements: &[Statement]) -> (Vec<Mistake>, Vec<Mistake>) {
        let Ok(set) = PolicySet::from_policies(statements.iter().map(|s| s.policy.clone())) else {
            return (duplicates(statements), Vec::new());
        };
        let result = validator.validate(&set, ValidationMode::Strict);
        let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
        for warning in result.validation_warnings() {
            let own = statements.iter().find(|statement| statement.id() == warning.policy_id());
            let mut mistake = self.mistake(warning, own.map(|own| (own.line, own.column)));
            match warning {
                ValidationWarning::ImpossiblePolicy(_) => {
                    mistake.problem =
                        "this policy can never apply; correct its conditions, or take it out".into();
                    mistakes.push(mistake);
                }
                // Names of groups may well be written in two scripts.
                ValidationWarning::MixedScriptString(_) | ValidationWarning::MixedScriptIdentifier(_) => {
                    warnings.push(mistake);
                }
                _ => mistakes.push(mistake),
            }
        }
        (mistakes, warnings)
    }

    /// A diagnosis of Cedar, at its first label, or else at `fallback`.
    fn mistake(&self, diagnosis: &dyn Diagnostic, fallback: Option<(usize, usize)>) -> Mistake {
        let label = diagnosis.labels().and_then(|mut labels| labels.next());
        let (line, column) = match (fallback, &label) {
            (Some(place), _) => place,
            (None, Some(label)) => text::place(self.text, label.offset()),
            (None, None) => (1, 1),
        };
        let mut problem = without_id(&diagnosis.to_string());
        if let Some(text) = label.as_ref().and_then(|label| label.label()) {
            problem += &format!(": {text}");
        }
        if let Some(help) = diagnosis.help() {
            problem += &format!(" ({help})");
        }
        Mistake { place: MistakePlace::File { path: self.path.to_owned(), line, column }, problem }
    }

    fn at(&self, offset: Option<usize>, problem: &str) -> Mistake {
        let (line, column) = text::place(self.text, offset.unwrap_or(0));
        Mistake {
            place: MistakePlace::File { path: self.path.to_owned(), line, column },
            problem: problem.to_owned(),
        }
    }
}

/// Cedar's messages begin with its own number for the policy, which is of no use beside file and line.
fn without_id(message: &str) -> String {
    let rest = message.strip_prefix("for policy `").and_then(|rest| rest.split_once('`'));
    match rest.map(|(_, rest)| rest.trim_start_matches([',', ':', ' '])) {
        Some(rest) => rest.to_owned(),
        None => message.to_owned(),
    }
}

/// Cedar reports a fault once for each action that the policy may be about; it is shown once.
fn once(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let mut merged: Vec<Mistake> = Vec::new();
    for mistake in mistakes {
        let general = without_action(&mistake.problem);
        let same = |old: &&mut Mistake| old.place == mistake.place && without_action(&old.problem) == general;
        match merged.iter_mut().find(same) {
            Some(old) => old.problem = general,
            None => merged.push(mistake),
        }
    }
    merged
}

/// A problem without the action it was found for: ` for Action::"GetClip"`.
fn without_action(problem: &str) -> String {
    match problem.split_once(" for Action::\"") {
        Some((before, rest)) => format!("{before}{}", rest.split_once('"').map_or("", |(_, after)| after)),
        None => problem.to_owned(),
    }
}

/// `policy7` → 7: how Cedar numbers the policies of a text.
fn position(id: &PolicyId) -> Option<usize> {
    AsRef::<str>::as_ref(id).strip_prefix("policy")?.parse().ok()
}

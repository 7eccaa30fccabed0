//! The query of a URL, as names and values.

use crate::base::percent;
use std::borrow::Cow;

/// Names and values that are still encoded. `+` stays as it is, since offsets of RFC 3339 have it.
pub struct Query<'a>(Vec<(&'a str, &'a str)>);

/// What is wrong with a parameter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} {problem}")]
pub struct Invalid {
    /// Which one.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Invalid {
    /// A problem of a parameter.
    pub fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self { name, problem: problem.into() }
    }
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect())
    }
}

impl<'a> Query<'a> {
    /// The names of all parameters.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// A parameter, percent-decoded.
    ///
    /// # Errors
    /// It is there twice, or its encoding is broken.
    pub fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Invalid> {
        let mut values = self.0.iter().filter(|(key, _)| *key == name);
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Invalid::new(name, "is given twice"));
        }
        percent::decode(value).map(Some).ok_or_else(|| Invalid::new(name, "is not percent-encoded text"))
    }

    /// Whether a parameter is there whose only value is `value`.
    ///
    /// # Errors
    /// It has another value.
    pub fn only(&self, name: &'static str, value: &'static str) -> Result<bool, Invalid> {
        match self.text(name)?.as_deref() {
            None => Ok(false),
            Some(given) if given == value => Ok(true),
            Some(_) => Err(Invalid::new(name, format!("must be {value}, or left out"))),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// Something else.
    pub fn number(&self, name: &'static str, min: u16, max: u16) -> Result<Option<u16>, Invalid> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or_else(|| Invalid::new(name, format!("must be from {min} to {max}")))
    }

    /// Checks that none of these parameters is given.
    ///
    /// # Errors
    /// One is: `problem`.
    pub fn check_absent(&self, names: &[&'static str], problem: &str) -> Result<(), Invalid> {
        let given = names.iter().find(|name| self.names().any(|given| given == **name));
        given.map_or(Ok(()), |name| Err(Invalid::new(name, problem)))
    }

    /// The query with these parameters only, as they came.
    #[must_use]
    pub fn only_these(&self, names: &[&str]) -> String {
        let kept = self.0.iter().filter(|(key, _)| names.contains(key));
        kept.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    }
}

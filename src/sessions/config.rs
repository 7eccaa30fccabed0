//! The settings of `[sessions]`.

use crate::setting::{Mistake, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Section `[sessions]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A session without requests for this long is let go.
    pub idle: Span,
    /// A viewer without requests for this long counts as gone.
    pub viewer_timeout: Span,
    /// How long a request waits for a fresh playlist while an older one is available.
    pub patience: Span,
    /// Upstream sessions at most, including the several that a long range or many viewers of footage take.
    pub most: usize,
    /// Upstream sessions that one caller may have opened at a time, whoever watches them.
    pub most_per_caller: usize,
    /// Fragments fetched per track ahead of requests, 0 to 5.
    pub prefetch: u8,
    /// A file that holds how far live streams have come, so that players notice nothing of a restart even
    /// after gaps. A relative path starts at the folder of the configuration file. Each process needs a file
    /// of its own.
    pub state: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            idle: Span::seconds(60),
            viewer_timeout: Span::seconds(30),
            // hls.js gives up on a playlist after three failures in three seconds (docs/THREATS.md).
            patience: Span::seconds(2),
            most: 10_000,
            most_per_caller: 256,
            prefetch: 2,
            state: None,
        }
    }
}

impl Config {
    /// Makes a relative path start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(state) = &mut self.state {
            *state = folder.join(&state);
        }
    }

    /// What is wrong with the settings.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let bounds = |span: Span, key: &str, from: u64, to: u64| {
            let fine = (Span::seconds(from)..=Span::seconds(to)).contains(&span);
            let problem = || format!("{span} is out of bounds: write a duration from {from}s to {to}s");
            (!fine).then(|| Mistake::at(format!("sessions.{key}"), problem()))
        };
        let mut mistakes: Vec<_> = [
            bounds(self.idle, "idle", 10, 3600),
            bounds(self.viewer_timeout, "viewer_timeout", 5, 3600),
            bounds(self.patience, "patience", 1, 10),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.prefetch > 5 {
            let problem =
                format!("{} is out of bounds: write a number of fragments from 0 to 5", self.prefetch);
            mistakes.push(Mistake::at("sessions.prefetch", problem));
        }
        if let Some(problem) = self.state.as_ref().and_then(|state| unusable(state)) {
            mistakes.push(Mistake::at("sessions.state", problem));
        }
        if self.most == 0 {
            mistakes.push(Mistake::at("sessions.most", "0 allows no playback: write a number such as 10000"));
        }
        if self.most_per_caller == 0 {
            let problem = "0 allows no playback: write a number such as 256";
            mistakes.push(Mistake::at("sessions.most_per_caller", problem));
        }
        mistakes
    }
}

/// Why the state cannot be written there.
fn unusable(state: &Path) -> Option<String> {
    let folder = state.parent().filter(|folder| !folder.as_os_str().is_empty());
    if state.file_name().is_none() || state.is_dir() {
        return Some("must name a file".to_owned());
    }
    let there = folder.is_none_or(Path::is_dir);
    (!there)
        .then(|| format!("the folder of {} is not there: make it, writable for kvs-edge", state.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_say_what_to_write() {
        assert_eq!(Config::default().check(), []);
        let config: Config =
            toml::from_str("idle = '1s'\nprefetch = 9\nmost = 0\nmost_per_caller = 0").unwrap();
        let places: Vec<_> =
            config.check().into_iter().map(|mistake| format!("{:?}", mistake.place)).collect();
        assert_eq!(places.len(), 4, "{places:?}");
        assert!(toml::from_str::<Config>("window = 1").is_err());
        for (state, fine) in
            [("/", false), ("/no/such/folder/sessions.json", false), ("/tmp/sessions.json", true)]
        {
            let config = Config { state: Some(state.into()), ..Config::default() };
            assert_eq!(config.check().is_empty(), fine, "{state}");
        }
    }
}

//! The settings of the cache, section `[cache]`.

use crate::fleet;
use crate::setting::{ByteSize, Mistake, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the cache may hold, where, and for how long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Memory for bodies. Two thirds are for whole ones. A quarter is for those that are arriving and for
    /// those that have been evicted while they are still read or wait to be written to the disk. The rest
    /// is for the allocator.
    pub memory: ByteSize,
    /// Nothing is kept longer.
    pub max_age: Span,
    /// Footage younger than this may still change: uploads arrive late, listings lag behind.
    pub settle: Span,
    /// Larger bodies are not kept; they stream through.
    pub max_object: ByteSize,
    /// A fetch whose body makes no progress for so long is broken off.
    pub stall: Span,
    /// A request that waits so long for an answer to begin gives that fetch up and starts another, once.
    pub patience: Span,
    /// How long in all one reader of a body too large to be kept may hold back the others before it is cut.
    pub lag: Span,
    /// The second tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskConfig>,
    /// What all replicas share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<fleet::Config>,
}

/// The disk tier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// Its folder, for this process alone; a relative path starts at the configuration file's folder.
    pub path: PathBuf,
    /// How much it may hold.
    pub size: ByteSize,
    /// A read that takes longer is a miss.
    #[serde(default = "DiskConfig::timeout")]
    pub timeout: Span,
}

impl DiskConfig {
    /// Much longer than any healthy disk needs for a fragment, much shorter than KVS.
    fn timeout() -> Span {
        Span(Duration::from_millis(500))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: ByteSize(512 << 20),
            max_age: Span::seconds(24 * 3600),
            settle: Span::seconds(60),
            max_object: ByteSize(64 << 20),
            stall: Span::seconds(30),
            patience: Span::seconds(45),
            lag: Span::seconds(5),
            disk: None,
            shared: None,
        }
    }
}

impl Config {
    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(disk) = &mut self.disk {
            disk.path = folder.join(&disk.path);
        }
        if let Some(shared) = &mut self.shared {
            shared.resolve(folder);
        }
    }

    /// Adds what is wrong with the settings; touches nothing outside them.
    pub fn check(&self, mistakes: &mut Vec<Mistake>) {
        let mut must = |holds: bool, key: &str, problem: &str| {
            if !holds {
                mistakes.push(Mistake::at(key, problem));
            }
        };
        must(self.memory >= ByteSize(4 << 20), "cache.memory", "must be at least 4MiB");
        must(self.max_age >= Span::seconds(1), "cache.max_age", "must be at least 1s");
        must(self.max_age <= Span::seconds(3650 * 86_400), "cache.max_age", "must be at most 3650d");
        must(self.max_object >= ByteSize(64 << 10), "cache.max_object", "must be at least 64KiB");
        for (key, span) in
            [("cache.stall", self.stall), ("cache.patience", self.patience), ("cache.lag", self.lag)]
        {
            must(span >= Span(Duration::from_millis(100)), key, "must be at least 100ms");
        }
        if let Some(disk) = &self.disk {
            let fits = disk.size >= ByteSize(16 << 20) && disk.size >= self.max_object;
            must(fits, "cache.disk.size", "must be at least 16MiB and at least cache.max_object");
            must(!disk.path.as_os_str().is_empty(), "cache.disk.path", "must name a folder");
            must(
                disk.timeout >= Span(Duration::from_millis(1)),
                "cache.disk.timeout",
                "must be at least 1ms",
            );
        }
        if let Some(shared) = &self.shared {
            shared.check(mistakes);
        }
    }

    /// What bodies may take together. The rest of `memory` is what the allocator needs to hold them: pages
    /// that are not full, and those that it has not given back yet.
    pub(super) fn for_bodies(&self) -> u64 {
        self.memory.0 - self.memory.0 / 16
    }

    /// The part of that for whole bodies.
    pub(super) fn for_entries(&self) -> u64 {
        self.for_bodies() - self.for_fills()
    }

    /// The part for bodies on their way in or out.
    pub(super) fn for_fills(&self) -> u64 {
        self.memory.0 / 4
    }

    /// The largest body that is kept.
    pub(super) fn largest(&self) -> u64 {
        // An entry weighs a little more than its bytes, and a third of what whole ones may take is the most
        // it gets.
        self.max_object.0.min(self.for_fills() - self.for_fills() / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_survive_being_written_and_read() {
        let config = Config::default();
        let mut mistakes = Vec::new();
        config.check(&mut mistakes);
        assert_eq!(mistakes, []);
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(toml::from_str::<Config>("").unwrap(), config);
        assert!(toml::from_str::<Config>("memroy = '1GiB'").is_err());
    }

    #[test]
    fn mistakes_name_their_keys() {
        let text = "memory = '1MiB'\nmax_age = '0s'\ndisk = { path = '', size = '1MiB' }";
        let mut mistakes = Vec::new();
        toml::from_str::<Config>(text).unwrap().check(&mut mistakes);
        let keys: Vec<_> = mistakes.iter().map(|mistake| format!("{:?}", mistake.place)).collect();
        for key in ["cache.memory", "cache.max_age", "cache.disk.size", "cache.disk.path"] {
            assert!(keys.iter().any(|known| known.contains(key)), "{key} in {keys:?}");
        }
    }

    #[test]
    fn a_relative_folder_starts_at_the_configuration() {
        let mut config: Config = toml::from_str("disk = { path = 'd', size = '1GiB' }").unwrap();
        config.resolve(Path::new("/etc/kvs-edge"));
        assert_eq!(config.disk.unwrap().path, Path::new("/etc/kvs-edge/d"));
    }
}

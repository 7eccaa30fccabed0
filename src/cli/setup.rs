//! What commands begin with: the configuration file and the runtime.

use crate::config::{Config, ConfigSource, InvalidConfig};
use std::path::{Path, PathBuf};

/// The exit code for settings that cannot be used.
pub(super) const REFUSED: u8 = 2;

/// The argument that every command with a configuration takes.
#[derive(clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration file; every key can also be set as KVS_EDGE__SECTION__KEY
    #[arg(long, value_name = "FILE", env = "KVS_EDGE_CONFIG")]
    pub(super) config: PathBuf,
}

impl ConfigFile {
    pub(super) fn source(&self) -> Result<ConfigSource, InvalidConfig> {
        source(&self.config)
    }

    pub(super) fn load(&self) -> Result<(ConfigSource, Config), InvalidConfig> {
        let source = self.source()?;
        let config = Config::load(&source)?;
        Ok((source, config))
    }
}

/// Reads a configuration file, with the environment of this process over it.
pub(super) fn source(path: &Path) -> Result<ConfigSource, InvalidConfig> {
    ConfigSource::read(path, std::env::vars())
}

/// The program's runtime: as many workers as cores, or `KVS_EDGE_WORKERS`.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = std::env::var("KVS_EDGE_WORKERS").ok().and_then(|text| text.parse().ok()) {
        builder.worker_threads(std::cmp::max(1, workers));
    }
    Ok(builder.enable_all().thread_name("kvs-edge").build()?)
}

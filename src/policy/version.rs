//! The version of a set of policies, by which replicas and audit lines tell sets apart.

use super::config::Config;
use super::load::Loaded;
use crate::base::hex;
use aws_lc_rs::digest;
use std::path::Path;

/// Twelve characters that differ where policies, stream sets, name patterns, the time zone or claims differ.
pub(super) fn version(config: &Config, loaded: &Loaded) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut part = |text: &str| {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(&loaded.schema_text);
    for (name, patterns) in &config.stream_sets {
        part(name);
        patterns.iter().for_each(|pattern| part(pattern));
        part("");
    }
    part(config.time_zone.name());
    config.stream_names.iter().for_each(|pattern| part(pattern.as_str()));
    part("");
    for (path, text) in &loaded.files {
        // The name, not the folder: replicas may keep the same policies in different places.
        part(&Path::new(path).file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
        part(text);
    }
    hex::encode(&hash.finish().as_ref()[..6])
}

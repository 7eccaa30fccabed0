//! `[log] audit`.

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[log] audit`: `"stdout"`, `"file:PATH"`, or `{ to = "file:PATH", required = true }`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Where the lines go.
    pub to: Target,
    /// Refuse requests while lines cannot be written. Otherwise lines are lost and counted, and a later line
    /// reports how many.
    pub required: bool,
}

/// Where the lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// A file that is appended to, and opened again when it has been moved away. A relative path starts at
    /// the folder of the configuration file.
    File(PathBuf),
}

impl Config {
    /// Makes a relative path start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Target::File(path) = &mut self.to {
            *path = folder.join(&*path);
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match (text, text.strip_prefix("file:")) {
            ("stdout", _) => Ok(Self::Stdout),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("write \"stdout\" or \"file:PATH\""),
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(default = "stdout")]
            to: String,
            #[serde(default)]
            required: bool,
        }
        fn stdout() -> String {
            "stdout".to_owned()
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "write \"stdout\", \"file:PATH\" or { to = \"file:PATH\", required = true }"
        )]
        enum Form {
            Text(String),
            Table(Table),
        }
        let (to, required) = match Form::deserialize(from)? {
            Form::Text(to) => (to, false),
            Form::Table(table) => (table.to, table.required),
        };
        let to = Target::parse(&to).map_err(|how| D::Error::custom(format!("`{to}`: {how}")))?;
        Ok(Self { to, required })
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let to = match &self.to {
            Target::Stdout => "stdout".to_owned(),
            Target::File(path) => format!("file:{}", path.display()),
        };
        if !self.required {
            return serializer.serialize_str(&to);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("to", &to)?;
        map.serialize_entry("required", &true)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_a_text_or_a_table() {
        #[derive(Deserialize)]
        struct Log {
            audit: Config,
        }
        let read = |text: &str| toml::from_str::<Log>(text).map(|log| log.audit);
        let file = Target::File("audit.log".into());
        assert_eq!(read("audit = 'stdout'").unwrap(), Config::default());
        assert_eq!(read("audit = 'file:audit.log'").unwrap(), Config { to: file.clone(), required: false });
        let required = Config { to: file, required: true };
        assert_eq!(read("audit = { to = 'file:audit.log', required = true }").unwrap(), required);
        for bad in
            ["audit = 'syslog'", "audit = 'file:'", "audit = { to = 'stdout', requird = true }", "audit = 1"]
        {
            assert!(read(bad).err().unwrap().to_string().contains("file:PATH"), "{bad}");
        }
        let shown = serde_json::to_value(required).unwrap();
        assert_eq!(shown, serde_json::json!({"to": "file:audit.log", "required": true}));
    }
}

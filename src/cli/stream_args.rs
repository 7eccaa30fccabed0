//! What the command line says of a stream, for commands that do not ask KVS.

use crate::config::Config;
use crate::kvs::{StreamArn, StreamName, StreamRef};
use crate::policy::StreamFacts;
use crate::upstream::EntryConfig;
use anyhow::Context;

/// A stream, and what policies may read of it.
#[derive(clap::Args)]
pub struct StreamArgs {
    /// The stream, by name or ARN
    #[arg(long, value_parser = read_stream)]
    pub stream: StreamRef,
    /// A tag of the stream; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = read_tag)]
    tag: Vec<(String, String)>,
    /// The stream has no tags; without this and --tag, they are not known
    #[arg(long, conflicts_with = "tag")]
    untagged: bool,
    /// The stream's account
    #[arg(long)]
    account: Option<String>,
}

impl StreamArgs {
    fn named(&self) -> &str {
        self.stream.arn().map_or(self.stream.name().as_str(), StreamArn::as_str)
    }

    /// What is known of the stream without a request to KVS.
    ///
    /// # Errors
    /// No `[[aws]]` entry serves it.
    pub fn facts(&self, config: &Config) -> anyhow::Result<StreamFacts> {
        let (name, arn) = (self.stream.name(), self.stream.arn());
        let entry = EntryConfig::serving(&config.aws, &self.stream);
        let entry =
            entry.with_context(|| format!("no [[aws]] entry serves {}: it is refused", self.named()))?;
        let account = self.account.clone().or_else(|| entry.known_account().map(str::to_owned));
        let account = account.or_else(|| arn.map(|arn| arn.account().to_owned()));
        let known = self.untagged || !self.tag.is_empty();
        Ok(StreamFacts {
            name: name.clone(),
            region: entry.region.as_str().into(),
            account: account.map(Into::into),
            arn: arn.cloned(),
            tags: known.then(|| self.tag.iter().cloned().collect()),
        })
    }
}

fn read_stream(text: &str) -> Result<StreamRef, &'static str> {
    if text.starts_with("arn:") {
        StreamArn::parse(text).map(StreamRef::Arn)
    } else {
        StreamName::parse(text).map(StreamRef::Name)
    }
}

fn read_tag(text: &str) -> Result<(String, String), &'static str> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or("write KEY=VALUE")
}

//! What is allowed and probably not meant. `check` prints it, and a start logs it.

use super::Config;
use crate::identity::is_loopback;
use crate::setting::{ByteSize, Mistake, Span};
use http::Uri;
use std::time::Duration;
use toml::Value;

/// The one well-known issuer without a scheme.
const GOOGLE: &str = "accounts.google.com";
/// Longer spans are named.
const LONG: Duration = Duration::from_secs(366 * 86_400);

impl Config {
    /// What is allowed and probably not meant, each at its key. `memory` is what this machine has, if known.
    #[must_use]
    pub fn warnings(&self, memory: Option<ByteSize>) -> Vec<Mistake> {
        let mut found = Vec::new();
        self.warn_of_addresses(&mut found);
        self.warn_of_names(&mut found);
        if let Some(memory) = memory.filter(|memory| self.cache.memory > *memory) {
            let problem = format!("{} is more than the {memory} of this machine", self.cache.memory);
            found.push(Mistake::at("cache.memory", problem));
        }
        if let Ok(Value::Table(all)) = Value::try_from(self) {
            warn_of_long_spans(&Value::Table(all), "", &mut found);
        }
        found
    }

    fn warn_of_addresses(&self, found: &mut Vec<Mistake>) {
        let mut warn = |key: String, problem: String| found.push(Mistake::at(key, problem));
        let (listen, admin) = (&self.server.listen, &self.admin.listen);
        let public = listen.iter().find(|place| place.is_public());
        if let Some(public) = public {
            let url = self.server.public_url.parse::<Uri>();
            if url.as_ref().is_ok_and(is_loopback) {
                let problem = format!(
                    "`{}` is on this machine alone, and server.listen ({public}) is reached from others: playback \
                     URLs would not work there; write the address that clients use",
                    self.server.public_url
                );
                warn("server.public_url".to_owned(), problem);
            }
            if self.server.tls.is_none() && self.server.trusted_proxies.is_empty() {
                let problem = format!(
                    "{public} speaks plain HTTP to other machines, tokens included: write [server.tls], or name the \
                     proxy that ends TLS in server.trusted_proxies"
                );
                warn("server.listen".to_owned(), problem);
            }
        }
        let is_everywhere = |(host, _): &(&str, u16)| matches!(*host, "0.0.0.0" | "::" | "*");
        if admin.host_and_port().as_ref().is_some_and(is_everywhere) {
            let problem = format!(
                "{admin} is on all addresses, and whoever reaches it can purge and reload: write 127.0.0.1 or the \
                 address of a network for operators"
            );
            warn("admin.listen".to_owned(), problem);
        }
        if let Some((host, port)) = admin.host_and_port().filter(|(_, port)| *port != 0) {
            let is_same = |other: &(&str, u16)| {
                other.1 == port && (other.0 == host || is_everywhere(other) || is_everywhere(&(host, port)))
            };
            if listen.iter().filter_map(|place| place.host_and_port()).any(|other| is_same(&other)) {
                let problem =
                    format!("port {port} is that of server.listen as well: one of them cannot listen");
                warn("admin.listen".to_owned(), problem);
            }
        }
    }

    fn warn_of_names(&self, found: &mut Vec<Mistake>) {
        for (index, entry) in self.aws.iter().enumerate() {
            if !is_likely_region(&entry.region) {
                let problem = format!("`{}` does not look like a region, such as eu-west-1", entry.region);
                found.push(Mistake::at(format!("aws[{index}].region"), problem));
            }
        }
        for (index, issuer) in self.issuer.iter().enumerate() {
            let lacks_scheme = |name: &&String| !name.contains(':') && *name != GOOGLE;
            for name in issuer.issuer.as_slice().iter().filter(lacks_scheme) {
                let problem = format!(
                    "`{name}` has no scheme, and the `iss` of a token is compared letter by letter: most begin with \
                     https://"
                );
                found.push(Mistake::at(format!("issuer[{index}].issuer"), problem));
            }
        }
    }
}

/// Whether a name is built as those of regions are: `eu-west-1`, `us-gov-east-1`, `us-iso-east-1`.
fn is_likely_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_word = |part: &&str| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    match parts.split_last() {
        Some((number, words)) => {
            let is_number = matches!(number.as_bytes(), [b'1'..=b'9']);
            let begins = words.first().is_some_and(|word| matches!(word.len(), 2 | 4));
            is_number && begins && (2..=3).contains(&words.len()) && words.iter().all(is_word)
        }
        None => false,
    }
}

fn warn_of_long_spans(value: &Value, key: &str, found: &mut Vec<Mistake>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                warn_of_long_spans(value, &key, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                warn_of_long_spans(value, &format!("{key}[{index}]"), found);
            }
        }
        Value::String(text) if Span::parse(text).is_ok_and(|span| span.0 > LONG) => {
            found.push(Mistake::at(key, format!("{text} is longer than a year: is that meant?")));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the warnings of a file, and what they say.
    fn warned(text: &str) -> Vec<(String, String)> {
        let config: Config = toml::from_str(text).unwrap();
        let found = config.warnings(Some(ByteSize(1 << 30)));
        let said = |mistake: Mistake| match mistake.place {
            crate::setting::MistakePlace::Key(key) => (key, mistake.problem),
            crate::setting::MistakePlace::File { .. } => unreachable!("settings have keys"),
        };
        found.into_iter().map(said).collect()
    }

    #[test]
    fn what_is_probably_not_meant_is_named() {
        for (text, key, problem) in [
            ("aws = [{ name = 'a', region = 'eu-west' }]", "aws[0].region", "`eu-west` does not look"),
            ("aws = [{ name = 'a', region = 'ue-west-11' }]", "aws[0].region", "does not look"),
            (
                "server.listen = '0.0.0.0:8080'\nserver.trusted_proxies = ['10.0.0.0/8']",
                "server.public_url",
                "alone",
            ),
            (
                "server = { listen = '[::]:8080', public_url = 'https://kvs.example.com' }",
                "server.listen",
                "plain HTTP",
            ),
            ("admin.listen = '0.0.0.0:9090'", "admin.listen", "all addresses"),
            ("admin.listen = '127.0.0.1:8080'", "admin.listen", "port 8080"),
            ("cache.memory = '2GiB'", "cache.memory", "more than the 1GiB"),
            ("cache.max_age = '3650d'", "cache.max_age", "longer than a year"),
            ("issuer = [{ issuer = 'login.example.com' }]", "issuer[0].issuer", "no scheme"),
        ] {
            let found = warned(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].0 == key && found[0].1.contains(problem), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_meant_is_not_named() {
        for region in
            ["eu-west-1", "us-gov-east-1", "us-iso-east-1", "cn-north-1", "ap-southeast-4", "eusc-de-east-1"]
        {
            assert!(is_likely_region(region), "{region}");
        }
        for text in [
            "",
            "server = { listen = '0.0.0.0:8443', public_url = 'https://kvs.example.com', trusted_proxies = ['unix'] }",
            "server.listen = 'unix:edge.sock'\nadmin.listen = '10.0.0.5:9090'",
            "server.listen = '127.0.0.1:0'\nadmin.listen = '127.0.0.1:0'",
            "issuer = [{ issuer = 'https://login.example.com/' }]",
            "issuer = [{ issuer = 'accounts.google.com' }]",
        ] {
            assert_eq!(warned(text), Vec::new(), "{text}");
        }
    }
}

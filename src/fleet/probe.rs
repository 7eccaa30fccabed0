//! Whether the store can do what it is meant for, asked of each of its primaries.

use super::config::Config;
use super::connect::{Connector, TokenSource};
use super::health::ShardId;
use super::key::{Key, KeyPart, Keys, Unit};
use super::link::{Link, Node};
use super::script::{Arg, Reply, Script};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

/// What was found: nothing that stops the store from being used, if it is no error.
pub struct Probed {
    /// One line.
    pub summary: String,
    /// What works and is probably not meant.
    pub warnings: Vec<String>,
}

/// The kinds of commands that replicas need. Key: any. Argument: life (ms).
static TRIAL: Script = Script::new(
    r"redis.call('TIME')
redis.call('HSET', KEYS[1], 'v', 1) redis.call('PEXPIRE', KEYS[1], ARGV[1])
local v = redis.call('HGET', KEYS[1], 'v') redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], 'x', 'NX', 'PX', ARGV[1]) redis.call('DEL', KEYS[1])
return v",
);

const PATIENCE: Duration = Duration::from_secs(5);
/// The oldest version that is used: with scripts that may write after `TIME`, and ACLs.
const OLDEST: (u32, u32) = (6, 2);
/// Names that are tried to find one in each shard.
const NAMES: usize = 4096;

/// Connects and asks every primary.
///
/// # Errors
/// What stops the store from being used.
pub async fn probe(config: &Config, token: Option<TokenSource>) -> Result<Probed, Vec<String>> {
    let at = |problem: String| vec![format!("cache.shared: {problem}")];
    let connector = Connector::new(config, token)
        .map_err(|mistakes| mistakes.into_iter().map(|mistake| mistake.problem).collect::<Vec<_>>())?;
    let connecting = timeout(PATIENCE, connector.connect()).await;
    let link = connecting.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(at)?;
    let keys = Keys::new(&config.prefix);
    let mut shards: HashMap<ShardId, Key> = HashMap::new();
    for name in 0..NAMES {
        let key = keys.key(&Unit::Trial(name), &KeyPart::Data);
        shards.entry(connector.topology.shard(key.slot())).or_insert(key);
    }
    let (mut problems, mut warnings, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for key in shards.values() {
        match ask(&link, key).await {
            Ok((version, policy)) => {
                if number(&version) < OLDEST {
                    problems.push(format!(
                        "cache.shared: the store is version {version}; 6.2 is the oldest that works"
                    ));
                }
                if let Some(warning) = about_policy(&policy) {
                    warnings.push(warning);
                }
                versions.push(version);
            }
            Err(problem) => problems.push(format!("cache.shared: {problem}")),
        }
    }
    versions.sort();
    versions.dedup();
    warnings.sort();
    warnings.dedup();
    if !problems.is_empty() {
        return Err(problems);
    }
    let summary =
        format!("the shared store answers: {} primary(ies), version {}", shards.len(), versions.join(", "));
    Ok(Probed { summary, warnings })
}

/// Version and eviction policy of the primary that has this key.
async fn ask(link: &Link, key: &Key) -> Result<(String, String), String> {
    let send = async |command: redis::Cmd, what: &str| {
        let answer = timeout(PATIENCE, link.send(command, key.slot(), Node::Primary)).await;
        match answer {
            Ok(Some(Ok(value))) => Ok(Reply::from_value(value)),
            Ok(Some(Err(error))) => Err(format!("{what}: {error}")),
            Ok(None) => Err(format!("{what}: there is no primary")),
            Err(_) => Err(format!("{what}: no answer in time")),
        }
    };
    send(redis::cmd("PING"), "PING").await?;
    let life: Arg<'_> = Duration::from_secs(10).into();
    let trial = send(TRIAL.by_text(&[key.as_str()], &[life]), "a script, which every request needs").await?;
    if trial.number() != Some(1) {
        return Err("a script did not give what it wrote".to_owned());
    }
    let info = send(redis::cmd("INFO"), "INFO").await?.bytes().unwrap_or_default();
    let info = String::from_utf8_lossy(&info).into_owned();
    let value = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
    };
    let version = value("valkey_version").or_else(|| value("redis_version"));
    Ok((version.unwrap_or_default(), value("maxmemory_policy").unwrap_or_default()))
}

fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn about_policy(policy: &str) -> Option<String> {
    match policy {
        "volatile-lfu" | "allkeys-lfu" => None,
        "" => None,
        "noeviction" => Some(
            "cache.shared: the store has maxmemory-policy noeviction, so a full store refuses every write: set \
             volatile-lfu"
                .to_owned(),
        ),
        other => Some(format!(
            "cache.shared: the store has maxmemory-policy {other}, which evicts state of live streams early: set \
             volatile-lfu"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_policies_are_judged() {
        assert!(number("6.0.16") < OLDEST && number("6.2.0") >= OLDEST && number("10.1") >= OLDEST);
        assert_eq!(about_policy("volatile-lfu"), None);
        assert!(about_policy("noeviction").unwrap().contains("refuses every write"));
        assert!(about_policy("volatile-ttl").unwrap().contains("volatile-lfu"));
    }
}

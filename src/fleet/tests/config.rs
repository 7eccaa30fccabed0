//! Which settings of `[cache.shared]` are refused, and how.

use super::*;

fn mistakes(text: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    toml::from_str::<Config>(text).unwrap().check(&mut mistakes);
    mistakes.iter().map(|mistake| format!("{:?}: {}", mistake.place, mistake.problem)).collect()
}

#[test]
fn the_smallest_settings_are_sound_and_survive_being_written_and_read() {
    let text = "url = 'redis://127.0.0.1:6379'";
    assert_eq!(mistakes(text), Vec::<String>::new());
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert_eq!((config.prefix.as_str(), config.timeout.0.as_millis()), ("kvse", 100));
    assert_eq!((config.live, config.replica_reads, config.purge), Default::default());
}

#[test]
fn everything_can_be_set() {
    let text = "nodes = ['valkeys://edge@a.example:7000', 'rediss://edge@b.example']\nmode = 'cluster'\n\
        password = 'env:P'\nca = 'ca.crt'\nprefix = 'a:b'\ntimeout = '50ms'\nobject_timeout = '1s'\n\
        object_limit = '0B'\nlive = 'shared'\nreplica_reads = 'never'\npurge = 'closed'\n\
        s3 = { bucket = 'media', prefix = 'x/y', region = 'eu-west-1', min_size = '2MiB', \
        endpoint_url = 'http://127.0.0.1:9', access_key_id = 'env:A', secret_access_key = 'env:B' }";
    assert_eq!(mistakes(text), Vec::<String>::new());
    let mut config: Config = toml::from_str(text).unwrap();
    config.resolve(Path::new("/etc"));
    assert_eq!(config.ca.as_deref(), Some(Path::new("/etc/ca.crt")));
    assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn mistakes_name_the_key_and_what_to_write() {
    for (text, key, how) in [
        ("url = 'redis://store.example'", "url", "rediss://"),
        ("mode = 'cluster'", "url", "either as url"),
        ("url = 'redis://127.0.0.1'\nnodes = ['redis://127.0.0.1']", "url", "either as url"),
        ("nodes = ['redis://127.0.0.1', 'redis://127.0.0.2']", "nodes", "cluster"),
        ("nodes = ['redis://127.0.0.1', 'rediss://127.0.0.2']\nmode = 'cluster'", "nodes", "all with TLS"),
        ("url = 'redis://127.0.0.1/3'\nmode = 'cluster'", "url", "one database"),
        ("url = 'redis://127.0.0.1'\nmode = 'sentinel'", "master", "sentinel"),
        ("url = 'redis://127.0.0.1'\nmaster = 'kvs'", "master", "sentinel"),
        ("url = 'redis://127.0.0.1'\niam = { cache = 'c', user = 'u' }", "iam", "over TLS"),
        ("url = 'rediss://h'\npassword = 'env:P'\niam = { cache = 'c', user = 'u' }", "iam", "instead"),
        ("url = 'rediss://me@h'\niam = { cache = 'c', user = 'u' }", "iam.user", "leave it out"),
        ("url = 'redis://127.0.0.1'\nca = 'ca.crt'", "ca", "TLS only"),
        ("url = 'redis://127.0.0.1'\nprefix = 'a{b}'", "prefix", "letters"),
        ("url = 'redis://127.0.0.1'\ntimeout = '1ms'", "timeout", "10ms"),
        ("url = 'redis://127.0.0.1'\nobject_limit = '1GiB'", "object_limit", "8MiB"),
        ("url = 'redis://127.0.0.1'\ns3 = { bucket = '', region = '' }", "s3.bucket", "name"),
        ("url = 'redis://127.0.0.1'\ns3 = { bucket = 'abc', region = '' }", "s3.region", "region"),
    ] {
        let found = mistakes(text);
        let fits = |line: &String| line.contains(&format!("\"cache.shared.{key}\"")) && line.contains(how);
        assert!(found.iter().any(fits), "{text}: {found:?}");
    }
    assert_eq!(mistakes("url = 'redis://store.example'\ninsecure = true"), Vec::<String>::new());
}

#[test]
fn a_password_in_the_address_is_refused_and_not_repeated() {
    let error = toml::from_str::<Config>("url = 'rediss://edge:hunter2@store.example'").unwrap_err();
    assert!(error.message().contains("password = ") && !error.message().contains("hunter2"), "{error}");
}

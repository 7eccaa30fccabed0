//! Settings that only a restart can change. A reload logs a warning for those that have changed.

use crate::config::Config;

/// The keys that differ between the settings at the start and now, and need a restart.
pub fn changed(started: &Config, now: &Config) -> Vec<&'static str> {
    // Only these of `[server]` belong to the listener; a reload applies the others.
    let listens = |config: &Config| {
        let server = &config.server;
        let hsts = server.tls.as_ref().map(|tls| tls.hsts);
        (server.listen.clone(), hsts, server.trusted_proxies.clone())
    };
    let proxies = |config: &Config| (config.server.forwarded, config.server.proxy_protocol);
    let looks = |config: &Config| (config.log.format, config.log.hash_users);
    [
        (
            "server.listen, server.trusted_proxies, server.tls.hsts, or TLS turned on or off",
            listens(started) != listens(now),
        ),
        ("server.forwarded or server.proxy_protocol", proxies(started) != proxies(now)),
        ("limits", started.limits != now.limits),
        ("admin", started.admin != now.admin),
        ("cache", started.cache != now.cache),
        ("metrics", started.metrics != now.metrics),
        ("trace", started.trace != now.trace),
        ("log.format or log.hash_users", looks(started) != looks(now)),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let started = Config::default();
        assert!(changed(&started, &started).is_empty());
        let mut now = Config::default();
        now.log.level = "debug".to_owned();
        now.server.public_url = "https://other.example".to_owned();
        assert!(changed(&started, &now).is_empty(), "these are taken over");
        now.limits.header_count += 1;
        now.server.proxy_protocol = true;
        assert_eq!(changed(&started, &now), ["server.forwarded or server.proxy_protocol", "limits"]);
    }
}

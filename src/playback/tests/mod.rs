//! Tests of what leaves: playlists and manifests before and after, and secrets planted in them.

use super::*;
use crate::kvs::Timestamp;
use crate::setting::Span;
use std::time::Duration;

mod dash;
mod hls;
mod planted;

#[test]
fn a_capability_lives_no_longer_than_asked_than_the_token_and_than_the_limit() {
    let config = Config::default();
    let now = Timestamp::from_millis(1_800_000_000_000);
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    assert_eq!(lifetime(now, hour, now.plus(day), &config), now.plus(hour));
    assert_eq!(lifetime(now, day, now.plus(day), &config), now.plus(Duration::from_secs(43_200)));
    assert_eq!(lifetime(now, hour, now.plus(Duration::from_secs(9)), &config).age(now), Duration::ZERO);
    assert_eq!(
        lifetime(now, hour, now.plus(Duration::from_secs(9)), &config),
        now.plus(Duration::from_secs(9))
    );
    let outlive = Config { outlive_token: true, ..config };
    assert_eq!(lifetime(now, hour, now.plus(Duration::from_secs(9)), &outlive), now.plus(hour));
}

#[test]
fn settings_out_of_bounds_say_what_to_write() {
    assert_eq!(Config::default().check(), []);
    let config = Config { live_window: 50, max_ttl: Span::seconds(1), ..Config::default() };
    let problems: Vec<_> = config.check().into_iter().map(|m| m.problem).collect();
    assert!(problems[0].contains("3 to 10") && problems[1].contains("12h"), "{problems:?}");
    assert!(toml::from_str::<Config>("bind = 'address'\nmax_ttl = '1h'").is_ok());
    assert!(toml::from_str::<Config>("window = 5").is_err());
}

//! Compares `docs/METRICS.md` with the code: its table has every family and label of the assembled program,
//! and no other.

use super::persistent::Persistent;
use super::reload_metrics::Reloads;
use crate::config::Config;
use crate::kvs::Timestamp;
use crate::net::listener::Rejection;
use crate::net::tls::Certificates;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");

/// Families that appear with the first entry, issuer or scrape, or with the log, which tests do not set up.
const LATER: [&str; 5] = [
    "kvs_edge_quota_utilization_ratio",
    "kvs_edge_issuer_keys_available",
    "kvs_edge_jwks_age_seconds",
    "kvs_edge_jwks_refresh_total",
    "kvs_edge_credentials_expiry_timestamp_seconds",
];

/// Name and labels of each row.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `kvs_edge_"));
    rows.map(|row| {
        let mut columns = row.split('|');
        let name = columns.next().unwrap_or_default().trim().trim_end_matches('`');
        let labels = columns.next().unwrap_or_default();
        // The prefix was cut off; find the whole name again in the document.
        let at = DOCUMENT.find(&format!("`kvs_edge_{name}`")).expect("it was just read") + 1;
        (
            &DOCUMENT[at..at + "kvs_edge_".len() + name.len()],
            labels.split('`').filter(|l| !l.trim().is_empty()).collect(),
        )
    })
    .collect()
}

#[tokio::test]
async fn the_table_of_metrics_is_the_code() {
    let persistent = Persistent::new(&Config::default()).await.unwrap();
    Reloads::register(persistent.registries.own(), Timestamp::from_millis(0)).unwrap();
    Certificates::register(persistent.registries.own(), None).unwrap();
    let documented = documented();
    let mut found = BTreeSet::new();
    for family in persistent.registries.own().gather() {
        let name = family.name().to_owned();
        let Some(labels) = documented.get(name.as_str()) else { panic!("{name} is not in docs/METRICS.md") };
        for metric in family.get_metric() {
            let has: BTreeSet<_> = metric.get_label().iter().map(|label| label.name()).collect();
            assert_eq!(&has, labels, "labels of {name}");
        }
        found.insert(name);
    }
    for name in documented.keys() {
        let later = LATER.contains(name) || *name == "kvs_edge_log_lines_dropped_total";
        assert!(later || found.contains(*name), "{name} is in docs/METRICS.md only");
    }
    for reason in Rejection::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", reason.as_str())), "reason {}", reason.as_str());
    }
}

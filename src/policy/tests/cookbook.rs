//! `docs/POLICIES.md` and the policies in `config/`: each recipe is loaded as it is printed and decides as
//! promised.

use super::harness::*;
use crate::caller::{Attribute, Caller};
use crate::kvs::{Call, Operation, Request, Timestamp};
use crate::policy::{AttributeType, Attributes, Config, Policy, Question, RequestContext};
use std::sync::Arc;
use std::time::Duration;

const COOKBOOK: &str = include_str!("../../../docs/POLICIES.md");

/// The fenced blocks of a language under a heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let section = COOKBOOK
        .split("\n#")
        .find(|section| {
            section.lines().next().is_some_and(|line| line.trim_start_matches(['#', ' ']) == heading)
        })
        .unwrap_or_else(|| panic!("no section {heading}"));
    section
        .split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

fn documented_config() -> Config {
    #[derive(serde::Deserialize)]
    struct File {
        policy: Config,
    }
    toml::from_str::<File>(&blocks("Which camera: `Stream` in `StreamSet`", "toml")[0]).unwrap().policy
}

fn documented_claims() -> Attributes {
    let table: toml::Table = toml::from_str(&blocks("Who: `User` in `Group`", "toml")[0]).unwrap();
    let claims = table["issuer"][0]["claims"].as_table().unwrap().clone();
    let kind = |claim: toml::Value| match claim.get("type") {
        None => AttributeType::String,
        Some(kind) => kind.clone().try_into().unwrap(),
    };
    let named = claims.into_iter().filter(|(name, _)| name != "subject" && name != "groups");
    Attributes(named.map(|(name, claim)| (name, kind(claim))).collect())
}

fn recipe(heading: &str) -> Policy {
    let blocks = blocks(heading, "cedar");
    assert_eq!(blocks.len(), 1, "{heading}");
    load_with(&blocks[0], documented_config(), &documented_claims()).map_err(|m| format!("{m:#?}")).unwrap()
}

/// A request in the making, by default of alice of `group` from 10.20.0.1 at noon UTC.
struct Try<'a> {
    policy: &'a Policy,
    caller: Caller,
    context: RequestContext,
}

fn given<'a>(policy: &'a Policy, group: &str) -> Try<'a> {
    let caller = Caller::clone(&caller("alice", &[group]));
    let context = RequestContext { source_ip: "10.20.0.1".parse().unwrap(), ..context("any") };
    Try { policy, caller, context }.at("2026-01-01T12:00:00Z")
}

impl Try<'_> {
    fn at(mut self, time: &str) -> Self {
        self.context.now = Timestamp::parse(time).unwrap();
        self
    }
    fn from(mut self, ip: &str) -> Self {
        self.context.source_ip = ip.parse().unwrap();
        self
    }
    fn with(mut self, claim: &str, value: Attribute) -> Self {
        self.caller.attributes.insert(claim.into(), value);
        self
    }
    fn of(mut self, issuer: &str) -> Self {
        self.caller.issuer = issuer.into();
        self
    }
    fn tagged(mut self, pairs: &[(&str, &str)]) -> Self {
        let tags = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.context.stream.as_mut().unwrap().tags = Some(tags);
        self
    }
    fn asks(&self, request: Request) -> bool {
        let mut context = self.context.clone();
        context.stream.as_mut().unwrap().name = request.stream().unwrap().name().clone();
        self.policy.permit(Arc::new(self.caller.clone()), request, &context).is_ok()
    }
    fn live(&self, stream: &str) -> bool {
        self.asks(live()(stream))
    }
    fn describe(&self, stream: &str) -> bool {
        let listed = {
            let mut context = self.context.clone();
            context.stream.as_mut().unwrap().name = describe()(stream).stream().unwrap().name().clone();
            self.policy.allows(
                &Arc::new(self.caller.clone()),
                &Question::about(Operation::ListStreams),
                &context,
            )
        };
        assert_eq!(self.asks(describe()(stream)), listed, "what may be described is listed");
        listed
    }
    /// Footage from `start` to `end` seconds ago.
    fn hls(&self, stream: &str, start: u64, end: u64) -> bool {
        self.range(Operation::GetHlsStreamingSessionUrl, "HLSFragmentSelector", stream, start, end)
    }
    fn clip(&self, stream: &str, start: u64, end: u64) -> bool {
        self.range(Operation::GetClip, "ClipFragmentSelector", stream, start, end)
    }
    fn range(&self, operation: Operation, selector: &str, stream: &str, start: u64, end: u64) -> bool {
        let ago = |seconds| self.context.now.minus(Duration::from_secs(seconds)).millis() / 1000;
        let mode = if selector.starts_with("HLS") { r#""PlaybackMode":"ON_DEMAND","# } else { "" };
        let body = format!(
            r#"{{"StreamName":"{stream}",{mode}"{selector}":{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{{"StartTimestamp":{},"EndTimestamp":{}}}}}}}"#,
            ago(start),
            ago(end)
        );
        self.asks(Request::Call(Call::read(operation, body.as_bytes(), self.context.now).unwrap()))
    }
}

const DAY: u64 = 86_400;

#[test]
fn the_policy_that_is_taken_apart() {
    let policy = recipe("A policy");
    assert!(given(&policy, "guards").live("lobby-1"));
    assert!(given(&policy, "guards").hls("lobby-1", DAY, 3600));
    assert!(!given(&policy, "guards").hls("lobby-1", DAY + 1, 3600));
}

#[test]
fn guards_see_live_only() {
    let policy = recipe("Guards see live only");
    let guard = given(&policy, "guards");
    assert!(guard.describe("lobby-1") && guard.live("lobby-1"));
    assert!(guard.hls("lobby-1", 60, 0));
    assert!(!guard.hls("lobby-1", 61, 0));
    assert!(!guard.clip("lobby-1", 30, 0));
    assert!(!guard.live("berlin-1") && !guard.describe("berlin-1"));
    assert!(!given(&policy, "others").live("lobby-1"));
}

#[test]
fn night_shift_by_hour() {
    let policy = recipe("Night shift by hour");
    for (time, expected) in [
        ("2026-01-01T20:59:59Z", false),
        ("2026-01-01T21:00:00Z", true),
        ("2026-01-01T23:30:00Z", true),
        ("2026-01-02T04:59:59.999Z", true),
        ("2026-01-02T05:00:00Z", false),
        ("2026-01-02T12:00:00Z", false),
    ] {
        let shift = given(&policy, "night-shift").at(time);
        assert_eq!((shift.live("lobby-1"), shift.describe("lobby-1")), (expected, expected), "{time}");
        assert!(!shift.clip("lobby-1", 60, 0));
        assert!(!given(&policy, "guards").at(time).live("lobby-1"));
    }
}

#[test]
fn investigators_download_30_days_of_two_sites() {
    let policy = recipe("Investigators download 30 days of two sites");
    let investigator = given(&policy, "investigators");
    for site in ["berlin-1", "hamburg-1"] {
        assert!(investigator.describe(site) && investigator.live(site));
        assert!(investigator.clip(site, 30 * DAY, 30 * DAY - 60));
        assert!(!investigator.clip(site, 30 * DAY + 1, 30 * DAY - 60));
        assert!(!given(&policy, "guards").clip(site, 60, 0));
    }
    assert!(!investigator.clip("lobby-1", 60, 0) && !investigator.describe("lobby-1"));
}

#[test]
fn contractors_until_a_date() {
    let policy = recipe("Contractors until a date");
    let contractor = |time: &str, ip: &str| given(&policy, "contractors").at(time).from(ip).live("lobby-1");
    assert!(contractor("2026-06-30T23:59:59.999Z", "10.20.255.255"));
    assert!(contractor("2026-01-01T00:00:00Z", "::ffff:10.20.0.1"));
    assert!(!contractor("2026-07-01T00:00:00Z", "10.20.0.1"));
    assert!(!contractor("2026-01-01T00:00:00Z", "10.21.0.1"));
    assert!(!contractor("2026-01-01T00:00:00Z", "2001:db8::1"));
}

#[test]
fn forbid_one_camera_for_all_but_one_group() {
    let policy = recipe("Forbid one camera for all but one group");
    assert!(given(&policy, "staff").live("berlin-1"));
    assert!(!given(&policy, "staff").live("berlin-server-room"));
    assert!(!given(&policy, "staff").describe("berlin-server-room"));
    assert!(given(&policy, "server-room-admins").live("berlin-server-room"));
    assert!(!given(&policy, "others").live("berlin-1"));
}

#[test]
fn clips_of_ten_minutes_at_most() {
    let policy = recipe("Clips of ten minutes at most");
    let clerk = given(&policy, "clerks");
    assert!(clerk.clip("lobby-1", 700, 100));
    assert!(!clerk.clip("lobby-1", 701, 100));
    assert!(!clerk.live("lobby-1") && !clerk.clip("berlin-1", 60, 0));
}

#[test]
fn nothing_younger_than_an_hour() {
    let policy = recipe("Nothing younger than an hour");
    let council = given(&policy, "works-council");
    assert!(council.describe("lobby-1"));
    assert!(council.hls("lobby-1", 7200, 3600) && council.clip("lobby-1", 7200, 3600));
    assert!(!council.hls("lobby-1", 7200, 3599) && !council.clip("lobby-1", 7200, 3599));
    assert!(!council.live("lobby-1") && !council.asks(live_replay(7200)("lobby-1")));
    assert!(!council.asks(fragment_list(&["12345"])("lobby-1")), "of unknown age");
    assert!(council.asks(endpoint("GET_CLIP")("lobby-1")));
}

#[test]
fn each_site_its_own_people() {
    let policy = recipe("Each site its own people, by claim and tag");
    assert!(policy.reads().tags);
    let sites = || Attribute::Texts(["berlin", "kiel"].into());
    let of = |tags: &[(&str, &str)]| given(&policy, "any").with("sites", sites()).tagged(tags);
    assert!(of(&[("site", "berlin")]).live("x-1"));
    assert!(!of(&[("site", "hamburg")]).live("x-1"));
    assert!(!of(&[]).live("x-1"));
    assert!(!given(&policy, "any").tagged(&[("site", "berlin")]).live("x-1"), "no claim");
    assert!(!given(&policy, "any").with("sites", sites()).live("x-1"), "tags not known");
    assert!(!of(&[("site", "berlin")]).with("suspended", Attribute::Bool(true)).live("x-1"));
    assert!(of(&[("site", "berlin")]).with("suspended", Attribute::Bool(false)).live("x-1"));
    let shaped = Attribute::Text("no".into());
    assert!(!of(&[("site", "berlin")]).with("suspended", shaped).live("x-1"), "a claim of another type");
}

#[test]
fn one_issuers_people_only() {
    let policy = recipe("One issuer's people only");
    assert!(given(&policy, "viewers").of("https://partner.example.net/").live("lobby-1"));
    assert!(given(&policy, "viewers").of("https://partner.example.net/").describe("lobby-1"));
    assert!(!given(&policy, "viewers").live("lobby-1"));
    assert!(!given(&policy, "viewers").of("https://partner.example.net/").hls("lobby-1", 60, 0));
}

/// Every recipe has a test above: a new one is noticed.
#[test]
fn every_recipe_is_tested() {
    let recipes = COOKBOOK.split("\n## Recipes\n").nth(1).unwrap();
    let headings: Vec<_> = recipes.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let own = include_str!("cookbook.rs");
    for heading in &headings {
        assert!(own.contains(&format!("recipe({heading:?})")), "{heading}");
        assert_eq!(blocks(heading, "cedar").len(), 1, "{heading}");
    }
    assert_eq!(headings.len(), 9);
}

/// The policies that a configuration file in `config/` names, as it names them.
fn shipped(file: &str) -> Policy {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut config: Config = table["policy"].clone().try_into().unwrap();
    config.resolve(&folder);
    Policy::load(&config, &Attributes::default()).map_err(|m| format!("{m:#?}")).unwrap()
}

#[test]
fn the_example_policies_load_and_decide() {
    let policy = shipped("kvs-edge.toml");
    assert!(given(&policy, "guards").describe("lobby-1") && given(&policy, "guards").live("lobby-1"));
    assert!(!given(&policy, "guards").live("cam-1"));
    assert!(given(&policy, "investigators").clip("cam-1", DAY, 0));
    assert!(!given(&policy, "investigators").clip("cam-1", 31 * DAY, 31 * DAY - 60));
}

#[test]
fn the_demos_policies_load_and_decide() {
    let policy = shipped("demo.toml");
    let sees = |group: &str| ["cam-1", "cam-2", "cam-3"].map(|stream| given(&policy, group).describe(stream));
    assert_eq!(sees("guards"), [true, false, false]);
    assert_eq!(sees("viewers"), [true, true, false]);
    assert_eq!(sees("investigators"), [true; 3]);
    assert_eq!(sees("nobody"), [false; 3]);
    let guard = given(&policy, "guards");
    assert!(guard.live("cam-1") && guard.hls("cam-1", 60, 0));
    assert!(!guard.hls("cam-1", 61, 1) && !guard.clip("cam-1", 30, 0));
    let viewer = given(&policy, "viewers");
    assert!(viewer.live("cam-2") && viewer.hls("cam-2", DAY, 3600));
    assert!(viewer.clip("cam-2", 600, 0) && !viewer.clip("cam-2", 601, 0) && !viewer.clip("cam-3", 60, 0));
    assert!(given(&policy, "investigators").clip("cam-3", DAY, 0));
}

//! `docs/POLICIES.md` and the policies in `config/`: each recipe is loaded as it is printed and decides as
//! promised.

use super::harness::*;
use crate::caller::{Attribute, Caller};
use crate::kvs::{Call, Operation, Request, Timestamp};
use crate::policy::{AttributeType, Attributes, Config, Policy, Question, RequestContext, Severity, Zone};
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
    let parts = blocks("Which camera: `Stream` in `StreamSet`", "toml");
    let read = |text: &str| toml::from_str::<File>(text).unwrap().policy;
    let time_zone = Zone::named("Europe/Berlin").unwrap();
    Config { stream_names: read(&parts[1]).stream_names, time_zone, ..read(&parts[0]) }
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
        ("2026-03-29T03:59:59Z", true),
        ("2026-03-29T04:00:00Z", false),
        ("2026-07-01T19:59:59Z", false),
        ("2026-07-01T20:00:00Z", true),
        ("2026-10-25T04:59:59Z", true),
        ("2026-10-25T05:00:00Z", false),
    ] {
        let shift = given(&policy, "night-shift").at(time);
        assert_eq!((shift.live("lobby-1"), shift.describe("lobby-1")), (expected, expected), "{time}");
        assert!(!shift.clip("lobby-1", 60, 0));
        assert!(!given(&policy, "guards").at(time).live("lobby-1"));
    }
}

#[test]
fn office_hours() {
    let policy = recipe("Office hours, not on weekends and holidays");
    for (time, expected) in [
        ("2026-07-01T05:59:59Z", false),
        ("2026-07-01T06:00:00Z", true),
        ("2026-07-01T15:59:59Z", true),
        ("2026-07-01T16:00:00Z", false),
        ("2026-07-03T12:00:00Z", true),
        ("2026-07-04T12:00:00Z", false),
        ("2026-07-05T12:00:00Z", false),
        ("2026-12-23T12:00:00Z", true),
        ("2026-12-24T12:00:00Z", false),
        ("2026-12-25T12:00:00Z", false),
        ("2026-12-28T12:00:00Z", true),
    ] {
        assert_eq!(given(&policy, "reception").at(time).live("lobby-1"), expected, "{time}");
    }
    assert!(!given(&policy, "others").at("2026-07-01T12:00:00Z").live("lobby-1"));
}

#[test]
fn each_customer_its_own_streams() {
    let policy = recipe("Each customer its own streams, by name");
    let acme = given(&policy, "customers").with("department", Attribute::Text("acme".into()));
    assert!(acme.live("customer-acme-lobby-1") && acme.describe("customer-acme-x"));
    for other in ["customer-acmes-1", "customer-globex-acme-1", "customer-acme", "acme-1", "customer-Acme-1"]
    {
        assert!(!acme.live(other), "{other}");
    }
    assert!(!given(&policy, "customers").live("customer-acme-lobby-1"), "no claim");
}

#[test]
fn one_evening_for_the_police() {
    let policy = recipe("The police get one evening of one camera");
    let seconds = |at: &str| Timestamp::parse(at).unwrap().millis() / 1000;
    let asks = |at: &str, stream: &str, start: &str, end: &str| {
        let ago = |time: &str| seconds(at) - seconds(time);
        let police = given(&policy, "police").at(at);
        let both = (police.clip(stream, ago(start), ago(end)), police.hls(stream, ago(start), ago(end)));
        assert_eq!(both.0, both.1);
        both.0
    };
    let (april, from, to) = ("2026-04-02T08:00:00Z", "2026-03-28T17:00:00Z", "2026-03-28T22:00:00Z");
    assert!(asks(april, "lobby-1", from, to));
    assert!(asks("2026-04-30T21:59:59Z", "lobby-1", from, to));
    assert!(!asks("2026-04-30T22:00:00Z", "lobby-1", from, to), "May in Berlin");
    assert!(!asks(april, "lobby-1", "2026-03-28T16:59:59Z", to));
    assert!(!asks(april, "lobby-1", from, "2026-03-28T22:00:01Z"));
    assert!(!asks(april, "lobby-2", from, to));
    let inside = given(&policy, "police").at("2026-03-28T20:00:00Z");
    assert!(!inside.live("lobby-1"), "LIVE is not ON_DEMAND");
    assert!(!inside.asks(fragment_list(&["12345"])("lobby-1")), "of unknown age");
}

#[test]
fn only_footage_of_office_hours() {
    let policy = recipe("Only footage of office hours");
    let seconds = |at: &str| Timestamp::parse(at).unwrap().millis() / 1000;
    // Asked for at night and in winter: what counts is when the footage was made.
    let asked_at = "2026-12-06T02:00:00Z";
    let council = given(&policy, "works-council").at(asked_at);
    for (start, end, expected) in [
        // A Thursday in winter: Berlin is an hour ahead of UTC.
        ("2026-12-03T07:00:00Z", "2026-12-03T16:59:59Z", true),
        ("2026-12-03T06:59:59Z", "2026-12-03T16:59:59Z", false),
        ("2026-12-03T07:00:00Z", "2026-12-03T17:00:00Z", false),
        // A Thursday in summer: two hours.
        ("2026-07-02T06:00:00Z", "2026-07-02T15:59:59Z", true),
        ("2026-07-02T05:59:59Z", "2026-07-02T15:59:59Z", false),
        ("2026-07-02T06:00:00Z", "2026-07-02T16:00:00Z", false),
        // The Friday before and the Monday after clocks were put back.
        ("2026-10-23T06:00:00Z", "2026-10-23T15:59:00Z", true),
        ("2026-10-26T06:00:00Z", "2026-10-26T06:59:00Z", false),
        ("2026-10-26T07:00:00Z", "2026-10-26T16:59:00Z", true),
        // Noon to noon has a night in it; a Saturday.
        ("2026-12-02T11:00:00Z", "2026-12-03T11:00:00Z", false),
        ("2026-12-05T10:00:00Z", "2026-12-05T10:10:00Z", false),
    ] {
        let ago = |time: &str| seconds(asked_at) - seconds(time);
        let both =
            (council.clip("lobby-1", ago(start), ago(end)), council.hls("lobby-1", ago(start), ago(end)));
        assert_eq!(both, (expected, expected), "{start} {end}");
    }
    let live = |at: &str| given(&policy, "works-council").at(at).live("lobby-1");
    assert!(live("2026-12-03T16:59:59Z") && !live("2026-12-03T17:00:00Z"));
    assert!(!council.asks(fragment_list(&["12345"])("lobby-1")), "of unknown age");
}

#[test]
fn downloads_need_a_second_factor() {
    let policy = recipe("Downloads need a second factor");
    let with = |ways: &[&str]| given(&policy, "staff").with("amr", Attribute::Texts(ways.iter().collect()));
    assert!(with(&["pwd", "mfa"]).clip("berlin-1", 60, 0));
    assert!(!with(&["pwd"]).clip("berlin-1", 60, 0) && with(&["pwd"]).live("berlin-1"));
    assert!(!given(&policy, "staff").clip("berlin-1", 60, 0));
    let (staff, bare) = (given(&policy, "staff"), caller("alice", &["staff"]));
    let stream = RequestContext { stream: context("berlin-1").stream, ..staff.context };
    let refused = policy.permit(bare, clip(60, 0)("berlin-1"), &stream).unwrap_err().to_string();
    assert!(
        refused.ends_with("stream berlin-1: sign in with a second factor to download footage"),
        "{refused}"
    );
}

#[test]
fn break_glass() {
    let policy = recipe("Break glass");
    let glass = given(&policy, "break-glass");
    assert!(glass.clip("berlin-server-room", 300 * DAY, 299 * DAY) && glass.live("x-1"));
    let permit = policy.permit(caller("alice", &["break-glass"]), live()("x-1"), &context("x-1")).unwrap();
    assert_eq!(permit.severity(), Some(Severity::Critical));
    assert!(!given(&policy, "staff").live("x-1"));
}

#[test]
fn a_kiosk_from_its_own_network() {
    let policy = recipe("A kiosk shows two cameras, from its own network");
    let kiosk = |ip: &str, network: Option<&str>| {
        let mut kiosk = given(&policy, "none").from(ip);
        kiosk.caller.subject = "kiosk-lobby".into();
        match network {
            Some(network) => kiosk.with("network", Attribute::Ip(network.into())),
            None => kiosk,
        }
    };
    let at_home = kiosk("10.20.0.7", Some("10.20.0.0/24"));
    assert!(at_home.live("lobby-1") && at_home.describe("lobby-1"));
    assert!(!at_home.hls("lobby-1", 60, 0) && !at_home.clip("lobby-1", 60, 0) && !at_home.live("berlin-1"));
    assert!(!kiosk("10.20.1.7", Some("10.20.0.0/24")).live("lobby-1"));
    assert!(!kiosk("2001:db8::1", Some("10.20.0.0/24")).live("lobby-1"));
    assert!(kiosk("2001:db8::1", Some("2001:db8::/32")).live("lobby-1"));
    assert!(!kiosk("10.20.0.7", None).live("lobby-1"));
    assert!(!given(&policy, "none").live("lobby-1"));
}

#[test]
fn a_token_is_revoked_by_its_id() {
    let policy = recipe("Revoke a token by its id");
    let with = |id: &str| given(&policy, "any").with("jti", Attribute::Text(id.into()));
    assert!(with("4711-0814").live("lobby-1") && given(&policy, "any").live("lobby-1"));
    assert!(!with("4711-0815").live("lobby-1") && !with("4711-0816").describe("lobby-1"));
}

#[test]
fn auditors_without_pictures() {
    let policy = recipe("Auditors see what there is, without pictures");
    let auditor = given(&policy, "auditors");
    assert!(auditor.describe("lobby-1") && auditor.asks(endpoint("LIST_FRAGMENTS")("lobby-1")));
    let list = Operation::ListFragments;
    assert!(auditor.range(list, "FragmentSelector", "lobby-1", 300 * DAY, 0));
    assert!(!auditor.live("lobby-1") && !auditor.hls("lobby-1", 60, 0) && !auditor.clip("lobby-1", 60, 0));
    assert!(!auditor.asks(fragment_list(&[&fragment_number(60)])("lobby-1")));
    assert!(!given(&policy, "others").range(list, "FragmentSelector", "lobby-1", 60, 0));
}

#[test]
fn groups_by_tag() {
    let policy = recipe("Groups by tag");
    let member = || given(&policy, "any").with("sites", Attribute::Texts(["press", "shop"].into()));
    assert!(member().tagged(&[("group", "press")]).live("x-1"));
    assert!(!member().tagged(&[("group", "guards")]).live("x-1") && !member().tagged(&[]).live("x-1"));
    assert!(!given(&policy, "press").tagged(&[("group", "press")]).live("x-1"), "no claim");
}

#[test]
fn until_the_date_in_the_token() {
    let policy = recipe("Until the date in the token");
    let until = Attribute::Datetime(Timestamp::parse("2026-07-01T16:00:00Z").unwrap());
    let visitor = |at: &str| given(&policy, "visitors").with("until", until.clone()).at(at).live("lobby-1");
    assert!(visitor("2026-07-01T15:59:59Z") && !visitor("2026-07-01T16:00:00Z"));
    assert!(!given(&policy, "visitors").live("lobby-1"), "no claim");
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

#[test]
fn the_public_lobby() {
    let policy = recipe("Callers without a token");
    let mut nobody = given(&policy, "any");
    nobody.caller = Caller::anonymous("192.0.2.1".parse().unwrap(), NOW);
    assert!(nobody.live("lobby-1") && nobody.describe("lobby-1"));
    assert!(!nobody.hls("lobby-1", 60, 0) && !nobody.clip("lobby-1", 60, 0) && !nobody.live("berlin-1"));
    assert!(!given(&policy, "any").live("lobby-1"));
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
    assert_eq!(headings.len(), 20);
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

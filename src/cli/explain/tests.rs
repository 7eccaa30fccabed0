//! What `explain` prints, by the command line that asks for it.

use super::*;
use crate::config::ConfigSource;
use clap::Parser;

const POLICIES: &str = r#"@id("guards see the lobby")
permit (principal in Group::"guards", action in Action::"View", resource in StreamSet::"lobby")
when { context.mode == "LIVE" || context.start_age <= 86400 }
unless { principal == User::"eve" };

permit (principal in Group::"clerks", action, resource)
when { principal has clearance && principal.clearance >= 3 };

@id("not the vault")
forbid (principal, action, resource in StreamSet::"vault");

permit (principal in Group::"tagged", action == Action::"DescribeStream", resource)
when { resource.tags.contains("site=x") };
"#;

const CONFIG: &str = r#"
[[aws]]
name = "main"
region = "eu-west-1"
account = "111122223333"
streams = ["*"]
[[issuer]]
issuer = "https://login.example.com/"
audience = ["kvs-edge"]
algorithms = ["RS256"]
jwks = "https://login.example.com/jwks.json"
[issuer.claims]
clearance = { pointer = "/clearance", type = "long" }
[policy]
files = ["test.cedar"]
stream_sets = { lobby = ["lobby-*"], vault = ["vault-*"] }
[playback]
keys = ["env:KVS_EDGE_PLAYBACK_KEY"]
"#;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ExplainArgs,
}

fn explained(claims: &str, line: &str) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    write("edge.toml", CONFIG)?;
    write("test.cedar", POLICIES)?;
    write("claims.json", claims)?;
    let path = folder.path().display();
    let line = format!(
        "explain --config {path}/edge.toml --at 2026-01-10T12:00:00Z --claims {path}/claims.json {line}"
    );
    let Line { args } = Line::try_parse_from(line.split(' '))?;
    let source = ConfigSource::read(&args.file.config, std::iter::empty())?;
    let config = Config::load(&source)?;
    let policy = app::policy(&config, &source)?;
    let now = args.at.unwrap();
    let (caller, claims) = imagined(&config, args.who.claims.as_ref().unwrap(), now)?;
    let explanation = args.explain(&config, &policy, &caller, now)?;
    let text = format!("{}\n{}", ExplanationText(&explanation), ClaimsText(&claims));
    Ok(text.replace(&format!("{path}/"), ""))
}

const ALICE: &str = r#"{"sub":"alice","groups":["guards"]}"#;

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text}\nshould hold {word}");
    }
}

#[test]
fn a_permit_is_cited_with_its_text() {
    let line = "--action GetHLSStreamingSessionURL --stream lobby-1 --start 2026-01-10T11:00:00Z";
    let text = explained(ALICE, line).unwrap();
    assert!(text.starts_with("PERMIT\n"), "{text}");
    has(
        &text,
        &[
            "\ntest.cedar:1: guards see the lobby\n",
            "  when { context.mode ==",
            "context.start_age    3600\n",
        ],
    );
    assert!(!text.contains("test#2"), "{text}");
}

#[test]
fn a_forbid_is_cited() {
    let text = explained(ALICE, "--action GetHLSStreamingSessionURL --stream vault-1").unwrap();
    has(&text, &["DENY: forbidden by not the vault (test.cedar:9)\n", "\ntest.cedar:9: not the vault\n"]);
    assert!(!text.contains("nearest"), "{text}");
}

#[test]
fn for_a_denial_the_nearest_permits_show_which_part_fails() {
    let line = "--action GetImages --stream lobby-1 --start 2026-01-08T12:00:00Z --end 2026-01-08T12:01:00Z";
    has(
        &explained(ALICE, line).unwrap(),
        &[
            "DENY: no policy permits it",
            "holds   principal in Group::\"guards\"\n",
            "holds   resource in StreamSet::\"lobby\"\n",
            "FAILS   ",
            "context.mode is \"ON_DEMAND\"\n",
            "context.start_age is 172800\n",
            "holds   not (",
        ],
    );
    let bob = r#"{"sub":"bob","groups":["clerks"],"clearance":2}"#;
    let text = explained(bob, "--action GetClip --stream lobby-1").unwrap();
    let nearest = text.split("nearest").nth(1).unwrap();
    assert!(nearest.find("test#2").unwrap() < nearest.find("guards see").unwrap(), "{text}");
    has(&text, &["FAILS   principal.clearance >= 3\n            principal.clearance is 2\n"]);
    has(&text, &["action is Action::\"GetClip\" in Action::\"Download\""]);
}

#[test]
fn what_became_of_each_claim_is_shown() {
    let claims = r#"{"sub":"alice","groups":"guards","clearance":"3","amr":["pwd"],"exp":1799999999}"#;
    let text = explained(claims, "--action GetClip --stream lobby-1").unwrap();
    has(
        &text,
        &[
            "/sub        \"alice\"\n                the subject\n",
            "/clearance  \"3\"\n                LEFT OUT: principal.clearance, and not of the type long\n",
            "/amr        [\"pwd\"]\n                not mapped\n",
            "/aud        absent\n                the audience; accepted: kvs-edge\n",
        ],
    );
}

#[test]
fn tags_are_said_or_not_known() {
    let dave = r#"{"sub":"dave","groups":["tagged"]}"#;
    let asks =
        |more: &str| explained(dave, &format!("--action DescribeStream --stream cam-1{more}")).unwrap();
    has(&asks(""), &["DENY: policies read the stream's tags", "--untagged"]);
    has(&asks(" --untagged"), &["DENY: no policy permits it", "resource.tags is []"]);
    has(&asks(" --tag site=x"), &["PERMIT\n", "resource.tags        [\"site=x\"]"]);
}

#[test]
fn endpoints_are_for_those_who_may_do_anything_with_the_stream() {
    let asks = |more: &str| {
        explained(ALICE, &format!("--action GetDataEndpoint --stream lobby-1 --untagged{more}")).unwrap()
    };
    for api in ["", " --api-name GET_IMAGES", " --api-name GET_CLIP", " --api-name PUT_MEDIA"] {
        assert!(asks(api).starts_with("PERMIT"), "{api}");
    }
    let nobody = r#"{"sub":"mallory","groups":[]}"#;
    let refused = explained(nobody, "--action GetDataEndpoint --stream lobby-1 --untagged").unwrap();
    assert!(refused.starts_with("DENY"), "{refused}");
}

#[test]
fn what_cannot_be_explained_says_why() {
    let other = r#"{"sub":"alice","iss":"https://other.example.net/"}"#;
    let elsewhere = "--action GetClip --stream arn:aws:kinesisvideo:us-east-1:111122223333:stream/a/1";
    for (claims, line, words) in [
        (other, "--action GetClip --stream a", "https://other.example.net/"),
        ("[]", "--action GetClip --stream a", "no JSON object"),
        (ALICE, "--action GetClips --stream a", "GetClip, GetImages"),
        (ALICE, "--action GetClip --stream a/b", "may hold only letters"),
        (ALICE, "--action GetClip --stream a --token b", "cannot be used with"),
        (ALICE, elsewhere, "no [[aws]] entry serves a"),
    ] {
        let error = format!("{:#}", explained(claims, line).unwrap_err());
        assert!(error.contains(words), "{line}: {error}");
    }
}

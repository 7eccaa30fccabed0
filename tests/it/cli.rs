//! The command line as a person meets it: the real binary, its words and its exit codes.

use crate::harness::program::binary;
use crate::harness::{Edge, run};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tokio::process::Command;

async fn kvs_edge(arguments: &[&str]) -> Output {
    run(Command::new(binary()).args(arguments).env_remove("KVS_EDGE_CONFIG")).await
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A configuration with everything it needs, made by the program's own commands.
async fn good_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let made = kvs_edge(&["token", "--new-key", &at("dev.pem"), "--jwks", &at("jwks.json")]).await;
    assert!(made.status.success(), "{}", words(&made));
    fs::write(at("p.cedar"), "@id(\"all\")\npermit (principal, action, resource);\n").unwrap();
    fs::write(at("edge.toml"), GOOD).unwrap();
    folder
}

const GOOD: &str = r#"[server]
listen = "127.0.0.1:0"
[[aws]]
name = "main"
region = "eu-west-1"
[[issuer]]
issuer = "https://login.test/"
audience = ["kvs-edge"]
algorithms = ["ES256"]
jwks = "file:jwks.json"
[policy]
files = ["p.cedar"]
"#;

#[tokio::test]
async fn check_is_quiet_about_a_good_file_and_exact_about_a_bad_one() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    let shown = file.to_str().unwrap();
    let good = kvs_edge(&["check", "--config", shown]).await;
    assert_eq!(good.status.code(), Some(0), "{}", words(&good));
    assert_eq!(words(&good).lines().count(), 1, "{}", words(&good));
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (text, place, problem) in [
        (with("listen =", "lisen ="), "edge.toml:2:1", "did you mean `listen`?"),
        (with("\"127.0.0.1:0\"", "8080"), "edge.toml:2:1", "server.listen"),
        (with("region = \"eu-west-1\"", "region = 7"), "edge.toml:5:1", "aws[0].region"),
        (with("file:jwks.json", "file:gone.json"), "edge.toml:10:1", "gone.json"),
        (with("p.cedar", "gone.cedar"), "edge.toml:12:1", "gone.cedar"),
        (with("[server]", "[server"), "edge.toml:1:8", ""),
        (
            format!("{GOOD}[playback]\nkeys = [\"env:NOT_SET_ANYWHERE\"]\n"),
            "edge.toml:14:",
            "NOT_SET_ANYWHERE",
        ),
        (format!("{GOOD}[playback]\nkeys = [\"hunter2\"]\n"), "edge.toml:14:", "env:NAME or file:PATH"),
        (format!("{GOOD}[cache]\nmemory = \"lots\"\n"), "edge.toml:14:1", "64KiB, 512MiB"),
    ] {
        fs::write(&file, &text).unwrap();
        let bad = kvs_edge(&["check", "--config", shown]).await;
        let said = words(&bad);
        assert_eq!(bad.status.code(), Some(2), "{text}\n{said}");
        assert!(said.contains(place) && said.contains(problem), "{said}\nshould hold {place} and {problem}");
        assert!(!said.contains("hunter2"), "a secret was repeated: {said}");
        let served = kvs_edge(&["serve", "--config", shown]).await;
        assert_eq!(
            (served.status.code(), words(&served).contains(place)),
            (Some(2), true),
            "{}",
            words(&served)
        );
    }
}

#[tokio::test]
async fn check_writes_nothing() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    let text = format!(
        "{GOOD}[log]\naudit = \"file:audit.log\"\n[sessions]\nstate = \"sessions.json\"\n\
         [cache.disk]\npath = \"media\"\nsize = \"1GiB\"\n"
    );
    fs::write(&file, text).unwrap();
    let listed = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        (names, fs::metadata(folder.path()).unwrap().modified().unwrap())
    };
    let before = listed();
    let good = kvs_edge(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(good.status.code(), Some(0), "{}", words(&good));
    assert_eq!(listed(), before, "no file, no folder and no lock, not even for a moment");
}

#[tokio::test]
async fn a_level_of_the_log_that_is_no_level_is_refused() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    for (level, problem) in [
        ("inof", "`inof` is no level"),
        ("info,kvs_egde=debug", "nothing logs as `kvs_egde`"),
        ("info,access=loud", "`loud` is no level"),
    ] {
        fs::write(&file, format!("{GOOD}[log]\nlevel = \"{level}\"\n")).unwrap();
        for command in ["check", "serve"] {
            let bad = kvs_edge(&[command, "--config", file.to_str().unwrap()]).await;
            assert_eq!(bad.status.code(), Some(2), "{command} {level}");
            assert!(words(&bad).contains(problem), "{command} {level}: {}", words(&bad));
        }
    }
}

#[tokio::test]
async fn what_is_wrong_in_several_parts_is_told_at_once() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    let text = GOOD.replacen("file:jwks.json", "file:gone.json", 1).replacen("p.cedar", "gone.cedar", 1);
    fs::write(&file, format!("{text}[playback]\nkeys = [\"env:NOT_SET_ANYWHERE\"]\n")).unwrap();
    for command in ["check", "serve"] {
        let bad = kvs_edge(&[command, "--config", file.to_str().unwrap()]).await;
        assert_eq!(bad.status.code(), Some(2));
        for problem in ["gone.json", "gone.cedar", "NOT_SET_ANYWHERE"] {
            assert!(words(&bad).contains(problem), "{command} does not tell {problem}: {}", words(&bad));
        }
    }
}

#[tokio::test]
async fn a_policy_that_does_not_fit_is_refused_with_its_place() {
    let folder = good_folder().await;
    let policies = folder.path().join("p.cedar");
    let shown = folder.path().join("edge.toml");
    for (text, place, problem) in [
        ("permit (principal, action, resource)\n", "p.cedar:", "unexpected"),
        ("permit (principal, action, resource)\nwhen { resource.nmae == \"x\" };\n", "p.cedar:2:", "nmae"),
        ("permit (principal, action == Action::\"GetClipp\", resource);\n", "p.cedar:1:", "GetClip"),
    ] {
        fs::write(&policies, text).unwrap();
        let bad = kvs_edge(&["check", "--config", shown.to_str().unwrap()]).await;
        let said = words(&bad);
        assert_eq!(bad.status.code(), Some(2), "{said}");
        assert!(said.contains(place) && said.contains(problem), "{said}\nshould hold {place} and {problem}");
    }
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let bad = kvs_edge(&["check", "--config", "/nowhere/edge.toml"]).await;
    assert_eq!(bad.status.code(), Some(2));
    assert!(words(&bad).contains("/nowhere/edge.toml: cannot be read"), "{}", words(&bad));
}

#[tokio::test]
async fn print_config_shows_file_environment_and_defaults_and_can_be_read_again() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    let mut command = Command::new(binary());
    command.args(["print-config", "--config"]).arg(&file).env("KVS_EDGE__CACHE__MEMORY", "7MiB");
    let printed = run(&mut command).await;
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("memory = \"7MiB\"") && text.contains("drain_grace = \"5s\""), "{text}");
    fs::write(folder.path().join("again.toml"), &text).unwrap();
    let again = kvs_edge(&["check", "--config", folder.path().join("again.toml").to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(0), "{}", words(&again));
}

#[tokio::test]
async fn explain_says_who_decided_and_what_was_missing() {
    let folder = good_folder().await;
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let policy = "@id(\"an hour\")\npermit (principal in Group::\"guards\", action in Action::\"View\", resource)\n\
                  when { context.start_age <= 3600 };\n";
    fs::write(at("p.cedar"), policy).unwrap();
    fs::write(at("bob.json"), r#"{"sub": "bob", "groups": ["guards"]}"#).unwrap();
    let (config, claims) = (at("edge.toml"), at("bob.json"));
    let ask = |more: &'static [&'static str]| {
        let (config, claims) = (config.clone(), claims.clone());
        async move {
            let mut arguments =
                vec!["explain", "--config", &config, "--claims", &claims, "--stream", "cam-1"];
            arguments.extend(more);
            kvs_edge(&arguments).await
        }
    };
    let live = ask(&["--action", "GetHLSStreamingSessionURL"]).await;
    assert_eq!(live.status.code(), Some(0), "{}", words(&live));
    assert!(words(&live).contains("PERMIT") && words(&live).contains("p.cedar:"), "{}", words(&live));
    let old =
        ask(&["--action", "GetImages", "--start", "2020-01-01T00:00:00Z", "--end", "2020-01-01T00:01:00Z"])
            .await;
    assert_eq!(old.status.code(), Some(1), "{}", words(&old));
    assert!(words(&old).contains("DENY") && words(&old).contains("start_age"), "{}", words(&old));
}

#[tokio::test]
async fn a_token_of_our_own_making_opens_the_edge() {
    let folder = good_folder().await;
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let key = at("dev.pem");
    let arguments = [
        "token",
        "--key",
        &key,
        "--issuer",
        "https://login.test/",
        "--audience",
        "kvs-edge",
        "--subject",
        "alice",
        "--groups",
        "a,b",
    ];
    let token = kvs_edge(&arguments).await;
    assert!(token.status.success(), "{}", words(&token));
    let text = String::from_utf8(token.stdout).unwrap();
    let payload = text.trim().split('.').nth(1).unwrap();
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((claims["sub"].as_str(), claims["groups"][1].as_str()), (Some("alice"), Some("b")));
}

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    for command in [
        "serve",
        "check",
        "print-config",
        "explain",
        "who-can-see",
        "demo",
        "emulate",
        "token",
        "credentials",
    ] {
        let help = kvs_edge(&[command, "--help"]).await;
        assert!(help.status.success());
        assert!(words(&help).contains("Example"), "{command}: {}", words(&help));
    }
    let nothing = kvs_edge(&[]).await;
    assert_eq!(nothing.status.code(), Some(2), "{}", words(&nothing));
}

#[tokio::test]
async fn the_readme_s_lines_are_the_demo_s() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for command in ["make demo", "make test"] {
        assert!(readme.contains(command), "README.md does not say {command}");
    }
    let ci = fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(ci.contains("make test"));
    let edge = Edge::start().await;
    assert_eq!(edge.get("/console/me", edge.alice()).await.json()["subject"], "alice");
}

/// A look at settings needs no network: it is for a desk and a CI as well.
#[tokio::test]
async fn check_asks_nobody_unless_it_is_told_to() {
    let folder = good_folder().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let keys = format!("jwks = \"http://{}/keys\"", listener.local_addr().unwrap());
    let file = folder.path().join("edge.toml");
    fs::write(&file, GOOD.replacen("jwks = \"file:jwks.json\"", &keys, 1)).unwrap();
    let file = file.to_str().unwrap();
    let checked = kvs_edge(&["check", "--config", file]).await;
    assert_eq!(checked.status.code(), Some(0), "{}", words(&checked));
    assert_eq!(words(&checked).lines().count(), 1, "{}", words(&checked));
    assert!(listener.accept().is_err(), "nobody came");
    drop(listener);
    let online = kvs_edge(&["check", "--online", "--config", file]).await;
    assert_eq!(online.status.code(), Some(2), "{}", words(&online));
    assert!(
        words(&online).contains("the keys of issuer https://login.test/ are not available"),
        "{}",
        words(&online)
    );
}

/// A token is verified as the gateway would, and nothing else is touched: the log of a running edge may be there.
#[tokio::test]
async fn explain_verifies_a_token_and_leaves_nothing_behind() {
    let folder = good_folder().await;
    let at = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let text = fs::read_to_string(at("edge.toml")).unwrap();
    fs::write(at("edge.toml"), format!("{text}[log]\naudit = \"file:audit.log\"\n")).unwrap();
    let explain = async |audience: &str| {
        let (key, file) = (at("dev.pem"), at("edge.toml"));
        let token = [
            "token",
            "--key",
            &key,
            "--issuer",
            "https://login.test/",
            "--subject",
            "ann",
            "--audience",
            audience,
        ];
        let token = kvs_edge(&token).await;
        assert!(token.status.success(), "{}", words(&token));
        let token = String::from_utf8(token.stdout).unwrap();
        let stream = ["--action", "GetClip", "--stream", "cam-1", "--start", "0", "--end", "10"];
        let command = [&["explain", "--config", &file, "--token", token.trim()][..], &stream].concat();
        kvs_edge(&command).await
    };
    let good = explain("kvs-edge").await;
    assert_eq!(good.status.code(), Some(0), "{}", words(&good));
    assert!(words(&good).contains("p.cedar:1"), "{}", words(&good));
    let stranger = explain("somebody-else").await;
    assert_eq!(stranger.status.code(), Some(2), "{}", words(&stranger));
    assert!(words(&stranger).contains("meant for somebody else"), "{}", words(&stranger));
    assert!(!folder.path().join("audit.log").exists());
}

#[tokio::test]
async fn check_warns_of_what_is_probably_not_meant_and_strict_refuses_it() {
    let folder = good_folder().await;
    let file = folder.path().join("edge.toml");
    let shown = file.to_str().unwrap();
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for (text, place, problem) in [
        (with("eu-west-1", "eu-west"), "edge.toml:5:1: aws[0].region", "does not look like a region"),
        (with("127.0.0.1:0", "0.0.0.0:8443"), "edge.toml:", "server.public_url"),
        (with("127.0.0.1:0", "0.0.0.0:8443"), "edge.toml:2:1: server.listen", "plain HTTP"),
        (
            format!("{GOOD}[admin]\nlisten = \"0.0.0.0:9090\"\n"),
            "edge.toml:14:1: admin.listen",
            "all addresses",
        ),
        (with("127.0.0.1:0", "127.0.0.1:9090"), "admin.listen", "port 9090"),
        (format!("{GOOD}[cache]\nmemory = \"1000TiB\"\n"), "edge.toml:14:1: cache.memory", "of this machine"),
        (
            format!("{GOOD}[cache]\nmax_age = \"3650d\"\n"),
            "edge.toml:14:1: cache.max_age",
            "longer than a year",
        ),
        (with("https://login.test/", "login.test"), "edge.toml:7:1: issuer[0].issuer", "no scheme"),
    ] {
        fs::write(&file, &text).unwrap();
        let warned = kvs_edge(&["check", "--config", shown]).await;
        let said = words(&warned);
        let line = said.lines().find(|line| line.contains(place) && line.contains(problem));
        assert!(
            line.is_some_and(|line| line.starts_with("warning: ")),
            "{said}\nshould hold {place} {problem}"
        );
        assert_eq!(warned.status.code(), Some(0), "{said}");
        let strict = kvs_edge(&["check", "--config", shown, "--strict"]).await;
        assert_eq!((strict.status.code(), words(&strict)), (Some(2), said));
    }
    fs::write(&file, GOOD).unwrap();
    assert_eq!(kvs_edge(&["check", "--config", shown, "--strict"]).await.status.code(), Some(0));
    fs::write(folder.path().join("p.cedar"), "// nothing yet\n").unwrap();
    let empty = kvs_edge(&["check", "--config", shown]).await;
    assert!(words(&empty).contains("nobody may do anything"), "{}", words(&empty));
    fs::write(&file, format!("{GOOD}[sessions]\npatience = \"5\"\n")).unwrap();
    let unit = kvs_edge(&["check", "--config", shown]).await;
    assert_eq!(unit.status.code(), Some(2));
    assert!(words(&unit).contains("has no unit: write a duration such as \"5s\""), "{}", words(&unit));
}

#[tokio::test]
async fn a_health_check_says_whether_a_gateway_is_ready() {
    let edge = Edge::start().await;
    let file = edge.path("edge.toml");
    let replica = edge.start_replica(0, &[]);
    edge.until_ready(&replica).await;
    let check = async |port: u16| {
        let mut command = Command::new(binary());
        command.args(["healthcheck", "--timeout", "5", "--config", file.to_str().unwrap()]);
        run(command.env("KVS_EDGE__ADMIN__LISTEN", format!("127.0.0.1:{port}"))).await
    };
    let ready = check(replica.admin).await;
    assert_eq!(ready.status.code(), Some(0), "{}", words(&ready));
    let said: Value = serde_json::from_slice(&ready.stdout).unwrap();
    assert_eq!(said["ready"], true);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = check(nobody).await;
    assert_eq!(away.status.code(), Some(1));
    assert!(words(&away).contains("is kvs-edge running?"), "{}", words(&away));
}

#[tokio::test]
async fn completions_and_the_manual_page_know_every_command() {
    let help = words(&kvs_edge(&["--help"]).await);
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands: Vec<_> = commands.map_while(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"healthcheck") && commands.contains(&"completions"), "{commands:?}");
    let page = words(&kvs_edge(&["man"]).await);
    assert!(page.contains(".TH kvs-edge 1"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let script = words(&kvs_edge(&["completions", shell]).await);
        for command in &commands {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(page.contains(&format!(".SH \"{}\"", command.to_uppercase())), "{command}");
    }
}

#[tokio::test]
async fn the_version_names_revision_and_date_and_the_licences_name_every_part() {
    let version = words(&kvs_edge(&["--version"]).await);
    let expected = format!("kvs-edge {} (revision ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&expected) && version.trim_end().ends_with(')'), "{version}");
    let licences = kvs_edge(&["licenses"]).await;
    assert!(licences.status.success(), "{}", words(&licences));
    let text = String::from_utf8_lossy(&licences.stdout).into_owned();
    for part in ["Apache License", "hls.js ", "rustls ", "aws-lc-sys ", "cedar-policy ", "Copyright (c)"] {
        assert!(text.contains(part), "no {part:?}");
    }
    // Every crate of the lock file that is in the program.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked = run(Command::new("python3").arg(root.join("scripts/notices")).arg("--check")).await;
    assert!(checked.status.success(), "{}", words(&checked));
}

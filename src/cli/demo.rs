//! `demo`: emulator, gateway, console and a development issuer on loopback, with commands to try.
//!
//! All its files (keys, tokens, the configuration) are in one folder, which it prints.

use crate::app;
use crate::base::clock;
use crate::base::process_owner::{OTHERS_WRITE, ProcessOwner};
use crate::net::client::{Client, Limits, Options};
use anyhow::{Context, bail};
use kvs_edge_emulator::{self as emulator, issuer};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Try it: emulator, gateway, console and a development issuer on loopback, with three cameras
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvs-edge demo                                        the console is at http://127.0.0.1:8080/
  kvs-edge demo --listen 127.0.0.1:8000 --folder ./demo
  kvs-edge demo --allow-faults                         then let a clip fail:
    curl -X POST http://127.0.0.1:4567/_emulator/faults \\
      -d '{\"operation\":\"GetClip\",\"fault\":{\"kind\":\"status\",\"status\":503},\"times\":1}'")]
pub struct DemoArgs {
    /// The address of the gateway
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The address of the admin listener; another port if it is in use
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// The address of the emulator; another port if it is in use
    #[arg(long, default_value = "127.0.0.1:4567")]
    emulator: SocketAddr,
    /// The folder for keys, tokens and the configuration; without it kvs-edge-demo in $XDG_RUNTIME_DIR, or in
    /// the folder of temporary files
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Accept fault plans at the emulator, from loopback only
    #[arg(long)]
    allow_faults: bool,
}

const CONFIG: &str = include_str!("../../config/demo.toml");
const POLICIES: &str = include_str!("../../config/policies/demo.cedar");
const ISSUER: &str = "http://127.0.0.1/demo-issuer";
const AUDIENCE: &str = "kvs-edge";
/// The lifetime of the tokens.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Name, groups, and a description of what the policies permit.
const USERS: [(&str, &[&str], &str); 3] = [
    ("alice", &["investigators"], "every camera: live, archive, clips"),
    ("vera", &["viewers"], "cam-1 and cam-2, clips of up to ten minutes"),
    ("bob", &["guards"], "cam-1 live, nothing older"),
];

/// Runs the demo until it is stopped.
///
/// # Errors
/// An address is in use, or the folder cannot be written.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    super::setup::runtime()?.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    say("starting the emulator");
    let emulator = start_emulator(args).await?;
    say("making keys and tokens");
    let folder = args.folder.clone().unwrap_or_else(usual_folder);
    prepare(&folder)?;
    say("starting the gateway");
    let admin = free_or_any(args.admin);
    let environment = [
        ("KVS_EDGE__SERVER__LISTEN", format!("\"{}\"", args.listen)),
        ("KVS_EDGE__SERVER__PUBLIC_URL", format!("\"http://{}\"", args.listen)),
        ("KVS_EDGE__ADMIN__LISTEN", format!("\"{admin}\"")),
        ("KVS_EDGE__AWS__0__ENDPOINT_URL", format!("\"{}\"", emulator.url())),
    ];
    // As overrides the addresses also apply after a reload of the file.
    let overrides = environment.map(|(name, value)| (name.to_owned(), value));
    let source = crate::config::ConfigSource::read(&folder.join("demo.toml"), overrides.into_iter())?;
    let running = app::start(source, app::Logging::AsConfigured).await?;
    let (public, admin) = (first(&running.addresses)?, first(&running.admin)?);
    let play = wait_until_it_plays(public, &folder).await?;
    write_snippets(&folder, public)?;
    println!("{}", invitation(&folder, public, admin, &emulator.url(), &play, begun.elapsed()));
    app::until_stopped(running).await;
    emulator.stop();
    Ok(ExitCode::SUCCESS)
}

fn say(step: &str) {
    eprintln!("== {step}");
}

fn first(addresses: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    addresses.first().copied().context("not listening on TCP")
}

async fn start_emulator(args: &DemoArgs) -> anyhow::Result<emulator::Emulator> {
    let config = emulator::Config {
        listen: free_or_any(args.emulator),
        allow_faults: args.allow_faults,
        producers: producers(),
        ..emulator::Config::default()
    };
    emulator::start(config).await.context("the emulator cannot listen")
}

/// Cameras as in the field: AWS's Producer SDK, with real jitter but for cam-2, a whole day of which has few
/// enough fragments for one clip. Every codec plays in every browser but that of cam-3, H.265, which some do
/// not decode.
fn producers() -> BTreeMap<String, emulator::Producer> {
    let sdk = emulator::Producer::sdk();
    let h265 = emulator::Producer { video: emulator::VideoCodec::H265, ..sdk };
    let steady = emulator::Producer { timing: emulator::Timing::Regular, ..sdk };
    [("cam-1", sdk), ("cam-2", steady), ("cam-3", h265)].map(|(name, it)| (name.to_owned(), it)).into()
}

/// The address if it is free, else any free port of the same interface.
fn free_or_any(wanted: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}

/// In the folder of this user's session, where no other user may write, if there is one.
fn usual_folder() -> PathBuf {
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let session = session.filter(|folder| folder.is_absolute() && folder.is_dir());
    session.unwrap_or_else(std::env::temp_dir).join("kvs-edge-demo")
}

/// Writes the files of the demo. Existing keys are kept, so that tokens and playback URLs stay valid.
fn prepare(folder: &Path) -> anyhow::Result<()> {
    own_folder(folder)?;
    own_folder(&folder.join("policies"))?;
    plain(&folder.join("demo.toml"), CONFIG)?;
    plain(&folder.join("policies/demo.cedar"), POLICIES)?;
    let defaults = emulator::Config::default();
    secret(&folder.join("aws-access-key"), &defaults.access_key)?;
    secret(&folder.join("aws-secret-key"), &defaults.secret_key)?;
    let playback_key = folder.join("playback-key");
    if !kept(&playback_key)? {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
        use base64::Engine as _;
        secret(&playback_key, &base64::engine::general_purpose::STANDARD.encode(random))?;
    }
    // What it loads must be as safe as what is written here.
    kept(&folder.join(issuer::KEY_FILE))?;
    kept(&folder.join(issuer::JWKS_FILE))?;
    let issuer = issuer::Issuer::load_or_create(folder)?;
    plain(&folder.join(issuer::JWKS_FILE), &issuer.jwks())?;
    for (name, groups, _) in USERS {
        let claims = issuer::Claims {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            subject: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ttl: TOKEN_LIFE,
            now: clock::now(),
        };
        secret(&folder.join(format!("{name}.jwt")), &issuer.mint(&claims)?)?;
    }
    Ok(())
}

/// Makes a folder for this user alone, or accepts one that is there: in one that others may write to, or own,
/// they could have put links and keys of theirs, and read the keys and tokens that are written.
fn own_folder(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {shown}"))?;
    let about = fs::symlink_metadata(folder).with_context(|| format!("cannot look at {shown}"))?;
    if !about.is_dir() {
        bail!("{shown} is a link or no folder: name another one with --folder");
    }
    refuse_others(folder, &about)
}

fn refuse_others(path: &Path, about: &fs::Metadata) -> anyhow::Result<()> {
    let shown = path.display();
    if about.uid() != ProcessOwner::of_this_process()?.user {
        bail!("{shown} belongs to another user: name another folder with --folder");
    }
    if about.mode() & OTHERS_WRITE != 0 {
        bail!("others may write to {shown}: chmod go-w it, or name another folder with --folder");
    }
    Ok(())
}

/// Whether a file of an earlier demo is there that may be used again.
fn kept(path: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        Ok(about) if !about.is_file() => bail!("{} is a link or no file: remove it", path.display()),
        Ok(about) => refuse_others(path, &about).map(|()| true),
    }
}

/// Writes a file that only its owner can read. It ends without a line break, because SDKs send tokens as
/// read.
fn secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text, 0o600)
}

/// Writes a file that may be read by all who may enter the folder.
fn plain(path: &Path, text: &str) -> anyhow::Result<()> {
    write_new(path, text, 0o644)
}

/// Replaces a file. A link in its place is replaced, not followed, and so is the mode that it had.
fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write;
    let failed = || format!("cannot write {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)
}

/// Requests cam-1 as a player does until a playlist is there, and gives the playback URL.
async fn wait_until_it_plays(public: SocketAddr, folder: &Path) -> anyhow::Result<String> {
    let client = Client::new(Options { allow_http: true, ..Options::default() })?;
    let token = fs::read_to_string(folder.join("alice.jwt"))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let request = http::Request::get(format!("http://{public}/streams/cam-1/live.m3u8"))
            .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
            .body(bytes::Bytes::new())?;
        let answer = client.fetch(request, 1 << 20, &Limits::default()).await?;
        let location = answer.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        match location {
            Some(path) if path.starts_with('/') => return Ok(format!("http://{public}{path}")),
            Some(url) => return Ok(url.to_owned()),
            None if Instant::now() > deadline => {
                bail!("cam-1 does not play: {} {}", answer.status(), String::from_utf8_lossy(answer.body()))
            }
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Writes a script for an unmodified boto3, and the environment for it and for the AWS CLI.
fn write_snippets(folder: &Path, public: SocketAddr) -> anyhow::Result<()> {
    let environment = format!(
        "export AWS_ENDPOINT_URL_KINESIS_VIDEO=http://{public}\n\
         export AWS_ENDPOINT_URL_KINESIS_VIDEO_ARCHIVED_MEDIA=http://{public}\n\
         export AWS_ACCESS_KEY_ID=kvsedge AWS_SECRET_ACCESS_KEY=kvsedge\n\
         export AWS_SESSION_TOKEN=$(cat {}/alice.jwt)\n\
         export AWS_DEFAULT_REGION=eu-west-1\n",
        folder.display()
    );
    plain(&folder.join("env.sh"), &environment)?;
    plain(&folder.join("clip.py"), CLIP_SCRIPT)?;
    Ok(())
}

const CLIP_SCRIPT: &str = r#"# An unmodified boto3 script: GetDataEndpoint, then GetClip.
# The JWT is the session token; see env.sh.
import datetime
import boto3

now = datetime.datetime.now(datetime.timezone.utc)
control = boto3.client("kinesisvideo")
endpoint = control.get_data_endpoint(StreamName="cam-1", APIName="GET_CLIP")["DataEndpoint"]
media = boto3.client("kinesis-video-archived-media", endpoint_url=endpoint)
clip = media.get_clip(
    StreamName="cam-1",
    ClipFragmentSelector={
        "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {
            "StartTimestamp": now - datetime.timedelta(seconds=70),
            "EndTimestamp": now - datetime.timedelta(seconds=10),
        },
    },
)
with open("clip-boto3.mp4", "wb") as file:
    for chunk in clip["Payload"].iter_chunks():
        file.write(chunk)
print("clip-boto3.mp4 from", endpoint)
"#;

fn invitation(
    folder: &Path,
    public: SocketAddr,
    admin: SocketAddr,
    emulator: &str,
    play: &str,
    took: Duration,
) -> String {
    let folder_shown = folder.display();
    let users: String = USERS
        .iter()
        .map(|(name, _, may)| format!("  {name:<6} {may:<44} {folder_shown}/{name}.jwt\n"))
        .collect();
    format!(
        r#"
kvs-edge demo is ready after {seconds:.1} s. Ctrl-C ends it.

Open
  console   http://{public}/
  metrics   http://{admin}/metrics
  emulator  {emulator} (instead of AWS)
  settings  {folder_shown}/demo.toml and policies/demo.cedar (change them: they reload)

Users and their tokens, valid for 12 hours
{users}
Save the last minute of a camera as a clip
  curl -fsS -H "Authorization: Bearer $(cat {folder_shown}/alice.jwt)" -o clip.mp4 \
    "http://{public}/streams/cam-1/clip.mp4?start=$(date -d '-70 sec' +%s)&end=$(date -d '-10 sec' +%s)"

Watch live in ffplay, VLC or mpv (this URL opens cam-1 for 12 hours)
  ffplay "{play}"

An unmodified AWS SDK or CLI
  . {folder_shown}/env.sh && python3 {folder_shown}/clip.py
  . {folder_shown}/env.sh && aws kinesisvideo list-streams

See the bytes that it served
  curl -s http://{admin}/metrics | grep kvs_edge_outgoing_bytes_total | grep -v ' 0$'
"#,
        seconds = took.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_folder_is_ours_alone_and_its_keys_stay() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("demo");
        prepare(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("policies")), 0o700);
        for secret in ["playback-key", "alice.jwt", "aws-secret-key", "issuer.pem"] {
            assert_eq!(mode(&folder.join(secret)), 0o600, "{secret}");
        }
        let key = fs::read_to_string(folder.join("playback-key")).unwrap();
        prepare(&folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("playback-key")).unwrap(), key);
    }

    #[test]
    fn a_folder_that_others_write_to_and_links_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let (real, link) = (parent.path().join("real"), parent.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        let refused = prepare(&link).unwrap_err().to_string();
        assert!(refused.contains("is a link"), "{refused}");
        for open in [0o770, 0o707, 0o1777] {
            fs::set_permissions(&real, fs::Permissions::from_mode(open)).unwrap();
            let refused = prepare(&real).unwrap_err().to_string();
            assert!(refused.contains("others may write"), "{refused}");
        }
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0, "nothing was written");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(&real).unwrap();
        // Links in the folder: one in place of a file that is written is replaced, one of a key is refused.
        let elsewhere = parent.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        fs::remove_file(real.join("bob.jwt")).unwrap();
        symlink(&elsewhere, real.join("bob.jwt")).unwrap();
        prepare(&real).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        for key in ["playback-key", "issuer.pem", "jwks.json"] {
            let kept = fs::read(real.join(key)).unwrap();
            fs::remove_file(real.join(key)).unwrap();
            symlink(&elsewhere, real.join(key)).unwrap();
            let refused = prepare(&real).unwrap_err().to_string();
            assert!(refused.contains("is a link"), "{key}: {refused}");
            fs::remove_file(real.join(key)).unwrap();
            fs::write(real.join(key), kept).unwrap();
        }
    }
}

//! `kvs-edge token`: signs a token with a key of your own, for development; makes the key and its JWKS if
//! asked.
//!
//! Nothing here is needed in production, where tokens come from the company's issuer.

use crate::base::clock;
use crate::identity::Algorithm;
use crate::identity::mint::{KeyKind, SigningKey};
use crate::kvs::Timestamp;
use crate::setting::Span;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Sign a token for development.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("which-key").required(true).args(["key", "new_key"])))]
pub struct TokenArgs {
    /// Private key, PEM: RSA, EC (P-256, P-384, P-521) or Ed25519
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make a new private key there, readable by you alone; refuses to overwrite a file
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Write the public half there, as a JWKS for `jwks = "file:…"`
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// `iss`: the issuer, exactly as configured
    #[arg(long, value_name = "URL", required_unless_present = "jwks", requires_all = ["audience", "subject"])]
    issuer: Option<String>,
    /// `aud`: one of the configured audiences; may be repeated
    #[arg(long, value_name = "A", requires = "issuer")]
    audience: Vec<String>,
    /// `sub`: who it speaks for
    #[arg(long, value_name = "S", requires = "issuer")]
    subject: Option<String>,
    /// `groups`: separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "issuer")]
    groups: Vec<String>,
    /// How long it is valid, such as 15m or 1h
    #[arg(long, default_value = "1h", value_parser = Span::parse)]
    ttl: Span,
    /// A further claim; the value is JSON, or text if it is none. May be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = read_claim)]
    claim: Vec<(String, Value)>,
    /// Algorithm; by default the key's usual one, and ES256 for a new key
    #[arg(long, value_name = "ALG", value_parser = read_algorithm)]
    alg: Option<Algorithm>,
    /// Key id; by default the key's RFC 7638 thumbprint
    #[arg(long)]
    kid: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  Make a key and its JWKS, once:
    kvs-edge token --new-key dev.pem --jwks dev-jwks.json

  and tell kvs-edge.toml:
    [[issuer]]
    issuer = \"https://dev.example.com/\"
    audience = [\"kvs-edge\"]
    algorithms = [\"ES256\"]
    jwks = \"file:dev-jwks.json\"

  Then, whenever you need a token:
    kvs-edge token --key dev.pem --issuer https://dev.example.com/ --audience kvs-edge \\
      --subject ann --groups guards,night --ttl 1h
    kvs-edge token --key dev.pem --issuer https://dev.example.com/ --audience kvs-edge \\
      --subject bob --claim site=berlin --claim level=3 --claim 'roles=[\"a\",\"b\"]'";

/// Runs the command.
///
/// # Errors
/// A key that cannot be read, made or used, or a file that cannot be written.
pub fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let mut key = match (&args.key, &args.new_key) {
        (Some(path), _) => read_key(path)?,
        (None, Some(path)) => make_key(path, args.alg)?,
        (None, None) => bail!("give --key FILE or --new-key FILE"),
    };
    if let Some(kid) = &args.kid {
        key = key.with_kid(kid.clone());
    }
    if let Some(path) = &args.jwks {
        let document = serde_json::to_string_pretty(&json!({ "keys": [key.jwk()] }))?;
        std::fs::write(path, document + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(issuer) = &args.issuer {
        let algorithm = args.alg.unwrap_or(key.algorithms()[0]);
        println!("{}", key.sign(algorithm, &claims(args, issuer, Timestamp::from(clock::now()))?)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn claims(args: &TokenArgs, issuer: &str, now: Timestamp) -> anyhow::Result<Value> {
    let mut random = [0; 12];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
    let mut all = Map::new();
    let mut claim = |name: &str, value: Value| all.insert(name.to_owned(), value);
    claim("iss", issuer.into());
    claim(
        "aud",
        if let [one] = &args.audience[..] { one.as_str().into() } else { args.audience.clone().into() },
    );
    claim("sub", args.subject.clone().unwrap_or_default().into());
    if !args.groups.is_empty() {
        claim("groups", args.groups.clone().into());
    }
    claim("iat", (now.millis() / 1000).into());
    claim("exp", (now.plus(args.ttl.0).millis() / 1000).into());
    claim("jti", URL_SAFE_NO_PAD.encode(random).into());
    for (name, value) in &args.claim {
        claim(name, value.clone());
    }
    Ok(Value::Object(all))
}

fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read(path).map(zeroize::Zeroizing::new);
    let pem = pem.with_context(|| format!("cannot read {}", path.display()))?;
    SigningKey::from_pem(&pem).with_context(|| format!("cannot use {}", path.display()))
}

fn make_key(path: &Path, algorithm: Option<Algorithm>) -> anyhow::Result<SigningKey> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let kind = match algorithm {
        None | Some(Algorithm::ES256) => KeyKind::P256,
        Some(Algorithm::ES384) => KeyKind::P384,
        Some(Algorithm::ES512) => KeyKind::P521,
        Some(Algorithm::EdDSA) => KeyKind::Ed25519,
        Some(shared) if shared.is_shared_secret() => bail!("{shared} has no public half; use ES256"),
        Some(_) => KeyKind::Rsa,
    };
    let key = SigningKey::generate(kind)?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(key.to_pem().as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

fn read_claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        }
        _ => Err("write NAME=JSON, such as site=berlin or level=3".into()),
    }
}

fn read_algorithm(name: &str) -> Result<Algorithm, String> {
    let all = Algorithm::ALL.iter().filter(|a| !a.is_shared_secret()).map(|a| a.as_str());
    Algorithm::parse(name).ok_or_else(|| format!("write one of {}", all.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: TokenArgs,
    }

    fn line(text: &str) -> Result<TokenArgs, clap::Error> {
        Line::try_parse_from(["token"].into_iter().chain(text.split_whitespace())).map(|l| l.args)
    }

    #[test]
    fn a_key_is_made_once_and_its_jwks_fits_its_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (alg, algorithm) in
            [("", "ES256"), ("--alg RS256", "RS256"), ("--alg EdDSA", "EdDSA"), ("--alg ES512", "ES512")]
        {
            let (key, jwks) = (path(&format!("{algorithm}.pem")), path(&format!("{algorithm}.json")));
            let make = line(&format!("--new-key {key} --jwks {jwks} {alg}")).unwrap();
            run(&make).unwrap();
            assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(run(&make).unwrap_err().to_string().contains("cannot make"), "made twice");
            let document: Value = serde_json::from_slice(&std::fs::read(&jwks).unwrap()).unwrap();
            assert_eq!(document["keys"][0], read_key(Path::new(&key)).unwrap().jwk());
            assert!(document["keys"][0].get("d").is_none());
        }
    }

    #[test]
    fn claims_are_what_was_asked_for() {
        let args = line("--key k --issuer i --audience a --subject s --groups g,h --ttl 15m --claim level=3 --claim site=berlin --claim aud=[\"x\"]").unwrap();
        let all = claims(&args, "i", Timestamp::from_millis(1_000_500)).unwrap();
        assert_eq!(all["groups"], json!(["g", "h"]));
        assert_eq!((&all["iat"], &all["exp"]), (&json!(1000), &json!(1900)));
        assert_eq!((&all["level"], &all["site"], &all["aud"]), (&json!(3), &json!("berlin"), &json!(["x"])));
        assert!(all["jti"].is_string());
    }

    #[test]
    fn half_a_command_line_is_refused() {
        for bad in [
            "",
            "--issuer i --audience a --subject s",
            "--key k",
            "--key k --issuer i",
            "--key k --new-key n --jwks j",
            "--key k --jwks j --claim x",
            "--key k --jwks j --alg none",
        ] {
            assert!(line(bad).is_err(), "{bad}");
        }
        assert!(line("--new-key k --jwks j").is_ok());
    }
}

//! The container-credentials endpoint on loopback, with the protocol of the agents of ECS and EKS.
//!
//! SDKs send the content of a file unchanged in `Authorization`, without "Bearer". boto3 refuses a file that
//! ends in a line break, and JS then sends nothing, so it has none. Access to the file is access to the
//! token.

use super::renewal::Tokens;
use super::token::{DUMMY, TokenSource};
use crate::base::clock;
use crate::kvs::Timestamp;
use anyhow::{Context as _, bail};
use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const PATH: &str = "/credentials";
/// SDKs give up after 1 to 5 s, so no number of them needs more connections than this.
const CONNECTIONS: usize = 64;

/// Serves until it is interrupted, then removes the authorization file.
pub(super) async fn run(
    address: SocketAddr,
    file: Option<PathBuf>,
    source: TokenSource,
    ahead: Duration,
) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!("{address} is not loopback; SDKs use plain http only there");
    }
    // A first token now: a mistake should show at once.
    let now = Timestamp::from(clock::now());
    let first = source.token(now).await?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let file = file.map_or_else(|| default_file(address.port()), Ok)?;
    let authorization = new_authorization()?;
    write_authorization(&file, &authorization)?;
    println!("export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{address}{PATH}");
    println!("export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={}", quoted(&file));
    std::io::stdout().flush()?;
    eprintln!("serving tokens on {address}; the present one ends at {}. Ctrl-C ends this.", first.ends);
    eprintln!("SDKs look here only if AWS_ACCESS_KEY_ID, AWS_PROFILE and credentials in ~/.aws are not set.");
    let endpoint = Arc::new(Endpoint { authorization, tokens: Tokens::new(source, Some(first), now), ahead });
    tokio::select! {
        () = accept(listener, endpoint) => {}
        () = interrupted() => {}
    }
    let _ = std::fs::remove_file(&file);
    Ok(())
}

/// What the endpoint answers with.
struct Endpoint {
    authorization: String,
    tokens: Arc<Tokens>,
    ahead: Duration,
}

impl Endpoint {
    async fn answer<B>(&self, request: &Request<B>, now: Timestamp) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return say(StatusCode::NOT_FOUND, &failure("NotFound", "the credentials are at /credentials"));
        }
        if request.method() != Method::GET {
            return say(StatusCode::METHOD_NOT_ALLOWED, &failure("MethodNotAllowed", "use GET"));
        }
        let shown: Vec<_> = request.headers().get_all(header::AUTHORIZATION).iter().collect();
        let allowed = matches!(&shown[..], [one] if constant_time::verify_slices_are_equal(
            one.as_bytes(), self.authorization.as_bytes()).is_ok());
        if !allowed {
            let how = "send the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE as Authorization, as it is";
            return say(StatusCode::UNAUTHORIZED, &failure("Unauthorized", how));
        }
        match self.tokens.get(now).await {
            Ok(token) => {
                let end = token.reported_end(self.ahead, now);
                let mut answer = json!({ "AccessKeyId": DUMMY, "SecretAccessKey": DUMMY, "Expiration": end });
                answer["Token"] = token.text.into();
                say(StatusCode::OK, &answer)
            }
            Err(error) => {
                eprintln!("no token: {error:#}");
                say(StatusCode::SERVICE_UNAVAILABLE, &failure("NoToken", &format!("{error:#}")))
            }
        }
    }
}

fn say(status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn failure(code: &str, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

async fn accept(listener: TcpListener, endpoint: Arc<Endpoint>) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let endpoint = endpoint.clone();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
                let endpoint = endpoint.clone();
                async move {
                    let now = Timestamp::from(clock::now());
                    Ok::<_, Infallible>(endpoint.answer(&request, now).await)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), answer);
            let _ = connection.await;
            drop(place);
        });
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

fn new_authorization() -> anyhow::Result<String> {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// In the user's run-time folder, else in the cache folder of the home folder.
fn default_file(port: u16) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_RUNTIME_DIR nor HOME is set; give --authorization-file FILE")?;
    Ok(folder.join("kvs-edge").join(format!("authorization-{port}")))
}

/// Writes it for the owner alone, without a line break; a file that is there is replaced, never written
/// through.
fn write_authorization(file: &Path, authorization: &str) -> anyhow::Result<()> {
    let problem = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(problem)?;
    }
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).with_context(problem),
        _ => {}
    }
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(problem)?;
    out.write_all(authorization.as_bytes()).with_context(problem)
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::test_jwt as jwt;
    use super::*;
    use http_body_util::BodyExt as _;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000_000);

    fn endpoint(source: TokenSource) -> Endpoint {
        let tokens = Tokens::new(source, None, NOW);
        Endpoint { authorization: "secret".into(), tokens, ahead: Duration::ZERO }
    }

    async fn ask(
        endpoint: &Endpoint,
        path: &str,
        authorization: Option<&str>,
        now: Timestamp,
    ) -> (u16, Value) {
        let mut request = Request::get(path);
        if let Some(text) = authorization {
            request = request.header("authorization", text);
        }
        let answer = endpoint.answer(&request.body(()).unwrap(), now).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_token_is_given_only_for_the_authorization_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let text = jwt(1_000_003_600);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        let endpoint = endpoint(TokenSource { token_file: Some(path), token_command: None });
        let (status, answer) = ask(&endpoint, PATH, Some("secret"), NOW).await;
        assert_eq!(status, 200);
        let expected = json!({ "AccessKeyId": "kvsedge", "SecretAccessKey": "kvsedge",
            "Token": text, "Expiration": "2001-09-09T02:46:40Z" });
        assert_eq!(answer, expected);
        for wrong in [None, Some("Bearer secret"), Some("Secret"), Some("")] {
            let (status, answer) = ask(&endpoint, PATH, wrong, NOW).await;
            assert_eq!(status, 401, "{wrong:?}");
            assert!(!answer.to_string().contains(&text));
        }
        assert_eq!(ask(&endpoint, "/", Some("secret"), NOW).await.0, 404);
    }

    #[test]
    fn the_authorization_file_is_private_and_has_no_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a folder/authorization");
        for _ in 0..2 {
            let authorization = new_authorization().unwrap();
            write_authorization(&file, &authorization).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), authorization);
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(quoted(&file).starts_with('\''));
    }
}

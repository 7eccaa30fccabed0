//! The pages of the admin listener.

use super::hosts::Hosts;
use super::operations::Admin;
use crate::base::gzip::gzip;
use crate::net::gzip::{LEAST, takes_gzip};
use crate::telemetry::metrics;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use std::error::Error;

/// The pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Page {
    Health,
    Readiness,
    Metrics,
    Sessions,
    Config,
    Purge,
    Reload,
    Warm,
    Warming,
}

const PAGES: [(&str, Page, &str); 9] = [
    ("/healthz", Page::Health, "GET"),
    ("/readyz", Page::Readiness, "GET"),
    ("/metrics", Page::Metrics, "GET"),
    ("/sessions", Page::Sessions, "GET"),
    ("/config", Page::Config, "GET"),
    ("/cache/purge", Page::Purge, "POST"),
    ("/cache/warm", Page::Warm, "POST"),
    ("/cache/warm", Page::Warming, "GET"),
    ("/reload", Page::Reload, "POST"),
];

/// The longest request body.
const MOST: usize = 64 << 10;

/// `hosts`: the names that are served, if the request came to an address that names lead to.
pub(super) async fn answer<A, B>(
    admin: &A,
    hosts: Option<&Hosts>,
    request: Request<B>,
) -> Response<Full<Bytes>>
where
    A: Admin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let head_only = request.method() == Method::HEAD;
    let takes_gzip = takes_gzip(request.headers());
    let route = match hosts {
        Some(hosts) if !hosts.serves(host_of(&request)) => Err(problem(
            StatusCode::MISDIRECTED_REQUEST,
            "this name is not served here: use an address, or add the name to admin.hosts",
        )),
        _ => route(request.method(), request.uri().path(), request.headers()),
    };
    let mut response = match route {
        Ok(page) => show(admin, page, request).await,
        Err(refused) => refused,
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if takes_gzip {
        response = compressed(response).await;
    }
    if head_only {
        let length = HeaderValue::from(response.body().size_hint().lower());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = Full::default();
    }
    response
}

/// A long page as gzip: the series of a thousand cameras shrink to a twentieth.
async fn compressed(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    // A body that is at hand does not fail.
    let mut text = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if text.len() >= LEAST {
        text = gzip(&text);
        head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    head.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(head, Full::from(text))
}

/// The host that a request names. The listener has checked that its header and its URL agree.
fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let of_url = request.uri().authority().map(|authority| authority.as_str());
    // A value that is no text is no name that is served.
    of_url.or_else(|| request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default()))
}

fn route(method: &Method, path: &str, headers: &HeaderMap) -> Result<Page, Response<Full<Bytes>>> {
    let mut pages = PAGES.iter().filter(|(at, ..)| *at == path);
    let first = pages.next();
    let suits = |(_, _, wanted): &&(&str, Page, &str)| {
        method.as_str() == *wanted || (*wanted == "GET" && method == Method::HEAD)
    };
    let Some((_, page, wanted)) = first.filter(suits).or_else(|| pages.find(suits)).or(first) else {
        let list: Vec<_> = PAGES.iter().map(|(path, _, method)| format!("{method} {path}")).collect();
        return Err(reply(StatusCode::NOT_FOUND, json!({ "error": "there is no such page", "pages": list })));
    };
    if method.as_str() != *wanted && !(*wanted == "GET" && method == Method::HEAD) {
        let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("{path} takes {wanted}"));
        let allow = if *wanted == "GET" { "GET, HEAD" } else { "POST" };
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        return Err(refused);
    }
    if *wanted == "POST" && headers.contains_key(header::ORIGIN) {
        // Browsers always send `Origin` with a POST, and no web page has a reason to call this listener.
        return Err(problem(StatusCode::FORBIDDEN, "not from web pages"));
    }
    Ok(*page)
}

async fn show<A, B>(admin: &A, page: Page, request: Request<B>) -> Response<Full<Bytes>>
where
    A: Admin,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match page {
        Page::Health => match admin.stalled() {
            None => typed("text/plain; charset=utf-8", "alive\n".to_owned()),
            Some(since) => {
                let text = format!("clients have not been served for {} s", since.as_secs());
                problem(StatusCode::SERVICE_UNAVAILABLE, &text)
            }
        },
        Page::Readiness => {
            let problems = admin.readiness();
            let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            reply(
                status,
                json!({ "ready": problems.is_empty(), "problems": problems, "notes": admin.notes() }),
            )
        }
        Page::Metrics => typed(metrics::CONTENT_TYPE, metrics::text(&admin.gather())),
        Page::Sessions => reply(StatusCode::OK, admin.sessions()),
        Page::Config => typed("application/toml; charset=utf-8", admin.config()),
        Page::Purge => match stream_of(request.uri().query()) {
            Some(stream) => done(admin.purge(&stream).await, |purged| json!({ "purged": purged })),
            None => problem(StatusCode::BAD_REQUEST, "say which stream: /cache/purge?stream=ARN"),
        },
        Page::Reload => done(admin.reload().await, |()| json!({ "reloaded": true })),
        Page::Warm => match request_of(request).await {
            Ok(wanted) => done(admin.warm(wanted).await, |in_progress| in_progress),
            Err(refused) => refused,
        },
        Page::Warming => reply(StatusCode::OK, admin.warming()),
    }
}

fn done<T>(outcome: Result<T, String>, show: impl FnOnce(T) -> Value) -> Response<Full<Bytes>> {
    match outcome {
        Ok(value) => reply(StatusCode::OK, show(value)),
        Err(text) => problem(StatusCode::UNPROCESSABLE_ENTITY, &text),
    }
}

/// The `stream` of a query string.
fn stream_of(query: Option<&str>) -> Option<String> {
    let stream = plain(query?.split('&').find_map(|pair| pair.strip_prefix("stream="))?);
    (!stream.is_empty() && !stream.contains('%')).then_some(stream)
}

/// The requested prefetch: a JSON object in the body, or the same as a query.
async fn request_of<B>(request: Request<B>) -> Result<Value, Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST).collect().await else {
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body broke off or is larger than 64 KiB"));
    };
    let body = body.to_bytes();
    match parts.uri.query() {
        Some(query) if body.is_empty() => {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            Ok(pairs.map(|(name, value)| (name.to_owned(), Value::String(plain(value)))).collect())
        }
        _ => serde_json::from_slice(&body)
            .map_err(|e| problem(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {e}"))),
    }
}

/// ARNs and times need no percent signs, but some clients write `%3A` and `%2F`.
fn plain(value: &str) -> String {
    value.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/")
}

fn problem(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    reply(status, json!({ "error": text }))
}

fn reply(status: StatusCode, body: Value) -> Response<Full<Bytes>> {
    let mut response = typed("application/json", format!("{body}\n"));
    *response.status_mut() = status;
    response
}

fn typed(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Config;
    use prometheus::proto::MetricFamily;
    use std::time::Duration;

    struct Fake {
        problems: Vec<String>,
        stalled: Option<Duration>,
    }

    fn fake() -> Fake {
        Fake { problems: vec![], stalled: None }
    }

    impl Admin for Fake {
        fn readiness(&self) -> Vec<String> {
            self.problems.clone()
        }
        fn stalled(&self) -> Option<Duration> {
            self.stalled
        }
        fn notes(&self) -> Vec<String> {
            vec!["one of two".to_owned()]
        }
        fn gather(&self) -> Vec<MetricFamily> {
            metrics::Registries::new().unwrap().gather()
        }
        fn sessions(&self) -> Value {
            json!([])
        }
        fn config(&self) -> String {
            "[server]\n".to_owned()
        }
        async fn purge(&self, stream: &str) -> Result<usize, String> {
            if stream.starts_with("arn:aws:kinesisvideo:") {
                Ok(3)
            } else {
                Err(format!("`{stream}` is no ARN"))
            }
        }
        async fn reload(&self) -> Result<(), String> {
            Err("edge.toml:3:1: unknown key".to_owned())
        }
        async fn warm(&self, request: Value) -> Result<Value, String> {
            Ok(request)
        }
        fn warming(&self) -> Value {
            json!([])
        }
    }

    async fn ask(method: &str, path: &str, body: &'static str) -> (StatusCode, String, HeaderMap) {
        let request = Request::builder().method(method).uri(path).body(Full::from(body)).unwrap();
        let (parts, body) = answer(&fake(), None, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, String::from_utf8(body.to_vec()).unwrap(), parts.headers)
    }

    #[tokio::test]
    async fn every_page_answers() {
        for (path, expected) in [
            ("/healthz", "alive\n"),
            ("/readyz", "{\"ready\":true,\"problems\":[],\"notes\":[\"one of two\"]}\n"),
            ("/sessions", "[]\n"),
            ("/config", "[server]\n"),
        ] {
            let (status, body, headers) = ask("GET", path, "").await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, expected), "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-store");
            let (status, nothing, headers) = ask("HEAD", path, "").await;
            assert_eq!((status, nothing.as_str()), (StatusCode::OK, ""), "{path}");
            assert_eq!(headers[header::CONTENT_LENGTH], expected.len().to_string().as_str());
        }
        let (_, metrics, headers) = ask("GET", "/metrics", "").await;
        assert!(metrics.contains("kvs_edge_build_info{"));
        assert_eq!(headers[header::CONTENT_TYPE], "text/plain; version=0.0.4");
        let purge = "/cache/purge?stream=arn:aws:kinesisvideo:eu-west-1:1:stream%2Fcam%2F1";
        assert_eq!(ask("POST", purge, "").await.1, "{\"purged\":3}\n");
        assert_eq!(ask("POST", "/cache/warm", "{\"a\":1}").await.1, "{\"a\":1}\n");
        let by_query = ask("POST", "/cache/warm?stream=cam-1&start=2026-01-01T00%3A00:00Z", "").await.1;
        assert_eq!(by_query, "{\"stream\":\"cam-1\",\"start\":\"2026-01-01T00:00:00Z\"}\n");
    }

    #[tokio::test]
    async fn long_pages_are_compressed_and_short_ones_are_not() {
        for (length, is_compressed) in [(LEAST - 1, false), (LEAST, true)] {
            let text = "a".repeat(length);
            let (head, body) = compressed(typed("text/plain", text.clone())).await.into_parts();
            assert_eq!(head.headers.contains_key(header::CONTENT_ENCODING), is_compressed, "{length}");
            assert_eq!(head.headers[header::VARY], "Accept-Encoding");
            let body = body.collect().await.unwrap().to_bytes();
            let unpacked = if is_compressed {
                std::io::read_to_string(flate2::read::GzDecoder::new(&body[..])).unwrap()
            } else {
                String::from_utf8(body.to_vec()).unwrap()
            };
            assert_eq!(unpacked, text);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let (status, body, _) = ask("GET", "/nowhere", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("GET /readyz") && body.contains("POST /reload"), "{body}");
        let (status, _, headers) = ask("GET", "/reload", "").await;
        assert_eq!(
            (status, &headers[header::ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
        );
        let (status, _, headers) = ask("POST", "/metrics", "").await;
        assert_eq!(
            (status, &headers[header::ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
        );
        let (status, body, _) = ask("POST", "/reload", "").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(body.contains("edge.toml:3:1"), "{body}");
        assert_eq!(ask("POST", "/cache/purge", "").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ask("POST", "/cache/purge?stream=x", "").await.0, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(ask("POST", "/cache/warm", "{").await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn unready_says_why_and_pages_of_the_web_change_nothing() {
        let request = Request::get("/readyz").body(Full::<Bytes>::default()).unwrap();
        let response = answer(&Fake { problems: vec!["draining".to_owned()], ..fake() }, None, request).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let request = Request::post("/reload")
            .header("origin", "https://evil.example")
            .body(Full::<Bytes>::default())
            .unwrap();
        assert_eq!(answer(&fake(), None, request).await.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_stalled_program_is_not_alive() {
        let stalled = Fake { stalled: Some(Duration::from_secs(31)), ..fake() };
        let request = Request::get("/healthz").body(Full::<Bytes>::default()).unwrap();
        assert_eq!(answer(&stalled, None, request).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn only_known_names_are_served_and_the_refusal_says_what_to_do() {
        let hosts = Hosts::of(&Config { hosts: vec!["edge".to_owned()], ..Config::default() });
        for (uri, host, expected) in [
            ("/config", "127.0.0.1:9090", StatusCode::OK),
            ("/config", "edge:9090", StatusCode::OK),
            ("/config", "evil.example:9090", StatusCode::MISDIRECTED_REQUEST),
            ("/healthz", "evil.example", StatusCode::MISDIRECTED_REQUEST),
            ("http://evil.example/config", "evil.example", StatusCode::MISDIRECTED_REQUEST),
        ] {
            let request = Request::get(uri).header("host", host).body(Full::<Bytes>::default()).unwrap();
            let response = answer(&fake(), Some(&hosts), request).await;
            assert_eq!(response.status(), expected, "{uri} {host}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(text.contains("admin.hosts"), expected != StatusCode::OK, "{text}");
        }
    }
}

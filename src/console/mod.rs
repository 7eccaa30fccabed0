//! The console: see your cameras.
//!
//! `web/` is the page (TypeScript, hls.js, Vite); its build goes to `dist/`, and `build.rs` puts that into
//! the binary. This file maps paths to [`Asset`]s and defines the page's security headers. The gateway makes
//! responses of them, with `ETag` and caching. The files are not secret: everything that the page shows it
//! requests with the viewer's own token.

include!(concat!(env!("OUT_DIR"), "/console_files.rs"));

/// A file in each form that the build made of it.
#[derive(Clone, Copy)]
struct Bodies {
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// A file of the console, as it was built, in the smallest form that the client takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asset {
    /// The body.
    pub bytes: &'static [u8],
    /// The value of `Content-Encoding`; `None`: as it is.
    pub encoding: Option<&'static str>,
    /// Whether another client may get another form (`Vary`).
    pub varies: bool,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Whether the name changes whenever the bytes do, so that clients can cache it for ever.
    pub immutable: bool,
    /// A strong `ETag`, in its quotes: each form has its own (RFC 9110, 8.8.3.3).
    pub etag: String,
}

impl Asset {
    /// The value of `Cache-Control`: cached for ever, or revalidated each time.
    #[must_use]
    pub fn cache_control(&self) -> &'static str {
        if self.immutable { "public, max-age=31536000, immutable" } else { "no-cache" }
    }
}

/// Headers for every answer of the console, beside [`csp`]. Names are lower case.
pub const SECURITY_HEADERS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), fullscreen=(self)",
    ),
];

/// The file at a path: `/` is the page, `/console/…` its parts; `None` if there is none.
///
/// The path is the request's, without query, compared byte for byte. `takes` says whether the client takes a
/// coding.
#[must_use]
pub fn file(path: &str, takes: &dyn Fn(&str) -> bool) -> Option<Asset> {
    let wanted = match path {
        "/" => "/index.html",
        "/favicon.ico" => "/icon.svg",
        _ if path.starts_with("/console/") => path,
        _ => return None,
    };
    let (name, digest, bodies) = FILES.iter().find(|(name, ..)| *name == wanted)?;
    let forms = [(bodies.brotli, "br"), (bodies.gzip, "gzip")];
    let mut forms = forms.into_iter().filter_map(|(bytes, coding)| Some((bytes?, coding)));
    let varies = forms.clone().next().is_some();
    let (bytes, encoding) = match forms.find(|(_, coding)| takes(coding)) {
        Some((bytes, coding)) => (bytes, Some(coding)),
        None => (bodies.plain, None),
    };
    let etag = encoding.map_or_else(|| format!("\"{digest}\""), |coding| format!("\"{digest}-{coding}\""));
    let (content_type, immutable) = (content_type(name), name.starts_with("/console/"));
    Some(Asset { bytes, encoding, varies, content_type, immutable, etag })
}

/// Whether the page was built into this binary; without it `/` says how to build it.
#[must_use]
pub fn built() -> bool {
    FILES.len() > 1
}

/// The value of `Content-Security-Policy`.
///
/// Nothing inline, nothing from other origins, and no string becomes markup. `framed` are the URLs of issuers
/// with which a sign-in is renewed in a hidden frame; hence also `frame-ancestors 'self'`. Only their origins
/// are used, and what is not a plain `http` or `https` origin is left out, because a stray `;` would end the
/// directive.
#[must_use]
pub fn csp(framed: &[String]) -> String {
    let mut origins: Vec<&str> = framed.iter().filter_map(|url| origin(url)).collect();
    origins.sort_unstable();
    origins.dedup();
    let elsewhere: String = origins.iter().flat_map(|origin| [" ", origin]).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
         media-src 'self' blob:; connect-src 'self'; frame-src 'self'{elsewhere}; \
         frame-ancestors 'self'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// `https://host:port` of a URL, or nothing if that much is not plain.
fn origin(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let whole = !host.is_empty() && host.bytes().all(plain);
    whole.then(|| &url[..url.len() - authority.len() + host.len()])
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(path: &str) -> Option<Asset> {
        file(path, &|_| false)
    }

    #[test]
    fn a_client_gets_the_smallest_form_that_it_takes() {
        for (name, _, bodies) in FILES.iter().filter(|(name, ..)| name.starts_with("/console/")) {
            let [br, gz, as_is] =
                ["br", "gzip", ""].map(|taken| file(name, &|coding| coding == taken).unwrap());
            if bodies.brotli.is_none() {
                continue;
            }
            assert_eq!([br.encoding, gz.encoding, as_is.encoding], [Some("br"), Some("gzip"), None]);
            assert!(br.bytes.len() < gz.bytes.len() && gz.bytes.len() < as_is.bytes.len(), "{name}");
            assert!(br.varies && as_is.varies && br.etag != gz.etag && gz.etag != as_is.etag);
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gz.bytes), &mut unpacked).unwrap();
            assert_eq!(unpacked, as_is.bytes);
        }
    }

    #[test]
    fn the_page_is_always_there_and_asks_each_time() {
        let page = plain("/").unwrap();
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert_eq!(page.cache_control(), "no-cache");
        assert!(page.etag.starts_with('"') && page.etag.ends_with('"'));
        let text = std::str::from_utf8(page.bytes).unwrap();
        assert!(text.contains("kvs-edge"));
        assert_eq!(text.contains("npm run build"), !built());
    }

    #[test]
    fn only_named_files_are_served() {
        for path in
            ["", "/index.html", "/console/", "/console/../mod.rs", "/console/nothing.js", "/streams", "//"]
        {
            assert_eq!(plain(path), None, "{path}");
        }
        for (name, ..) in FILES.iter().filter(|(name, ..)| name.starts_with("/console/")) {
            let asset = plain(name).unwrap();
            assert!(asset.immutable && asset.cache_control().contains("immutable"));
            assert_ne!(asset.content_type, "application/octet-stream", "{name}");
        }
    }

    #[test]
    fn nothing_inline_and_nothing_from_elsewhere() {
        let strict = csp(&[]);
        assert!(strict.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(strict.contains("connect-src 'self'; "));
        assert!(!strict.contains("unsafe") && !strict.contains('*') && !strict.contains("data:"));
        let page = std::str::from_utf8(plain("/").unwrap().bytes).unwrap();
        for inline in ["<style", "style=\"", "onclick", "<script>", "//cdn"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn issuers_are_reduced_to_origins_and_cannot_bend_the_policy() {
        let urls = |list: &[&str]| list.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let policy = csp(&urls(&[
            "https://login.example.com/token",
            "https://login.example.com/authorize?x=1",
            "http://127.0.0.1:9000",
            "https://[::1]:8443/x",
            "https://evil.example; script-src *",
            "https://user@evil.example/",
            "javascript:alert(1)",
            "https://",
        ]));
        let expected = "'self' http://127.0.0.1:9000 https://[::1]:8443 https://login.example.com;";
        assert!(policy.contains("connect-src 'self'; "), "{policy}");
        assert!(policy.contains(&format!("frame-src {expected}")), "{policy}");
        assert!(!policy.contains("evil"));
    }
}

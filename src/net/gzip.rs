//! gzip for playlists and manifests, when the client asks for it: an hour's playlist shrinks to a tenth.
//! Never for media, which does not shrink.
//!
//! Two encodings of one text are two representations, each with a tag of its own (RFC 9110, 8.8.3.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// What fits in a packet anyway is sent as it is.
pub const LEAST: usize = 1200;

/// Whether a client takes gzip. One that does not say gets none.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    takes(headers, "gzip")
}

/// Whether a client takes a coding, such as `br` (RFC 9110, 12.5.3). One that does not say gets none.
pub fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let (mut named, mut any) = (None, None);
    for listed in lines.flat_map(|line| line.split(',')) {
        let mut parts = listed.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        let is_old_name = coding == "gzip" && name.eq_ignore_ascii_case("x-gzip");
        if name.eq_ignore_ascii_case(coding) || is_old_name {
            named = Some(wanted);
        } else if name == "*" {
            any = Some(wanted);
        }
    }
    named.or(any).unwrap_or(false)
}

/// The tag of the gzip form of what has this tag.
pub fn tag(etag: &str) -> String {
    format!("{}-gzip\"", etag.trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn takes(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        takes_gzip(&headers)
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for lines in [
            &["gzip"][..],
            &["gzip, deflate, br"],
            &["br", "x-gzip"],
            &["*"],
            &["GZIP;q=0.1"],
            &["br;q=1, gzip; q=0.5"],
        ] {
            assert!(takes(lines), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["gzip;q=0"],
            &["*, gzip;q=0"],
            &["*;q=0"],
            &["gzip;q=x"],
            &["notgzip"],
        ] {
            assert!(!takes(lines), "{lines:?}");
        }
        assert_eq!(tag("\"abc\""), "\"abc-gzip\"");
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br;q=0"));
        assert!(super::takes(&headers, "gzip") && !super::takes(&headers, "br"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        assert!(super::takes(&headers, "br") && !super::takes(&headers, "gzip"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(line in "[ -~]{0,40}") { let _ = takes(&[&line]); }
    }
}

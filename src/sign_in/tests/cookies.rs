//! Sessions split over cookies, and what does not open.

use super::*;
use crate::playback::Config;
use crate::setting::SecretSource;
use proptest::prelude::*;

const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TWO: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn keys(materials: &[&str]) -> Arc<Keys> {
    let folder = tempfile::tempdir().unwrap();
    let sources = materials.iter().enumerate().map(|(at, material)| {
        let path = folder.path().join(at.to_string());
        std::fs::write(&path, material).unwrap();
        SecretSource::File(path)
    });
    let config = Config { keys: sources.collect(), ..Config::default() };
    Arc::new(Keys::load(&config).unwrap_or_else(|mistakes| panic!("{mistakes:?}")))
}

fn cookies_of(materials: &[&str]) -> Cookies {
    Cookies::new(keys(materials), &Uri::from_static("https://video.example.com"))
}

fn session(bearer: usize, id_token: usize, refresh: usize) -> Session {
    let text = |length: usize| Zeroizing::new("a.".repeat(length / 2));
    Session {
        issuer: "https://login.example.com/".into(),
        subject: "ann".into(),
        bearer: text(bearer),
        id_token: text(id_token),
        refresh: text(refresh),
    }
}

/// What a browser sends back of the cookies that it was given, beside a cookie of somebody else.
fn sent(kept: &[HeaderValue]) -> HeaderMap {
    let pairs = kept.iter().map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned());
    let all: Vec<String> = pairs.chain(["other=1".to_owned()]).collect();
    HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&all.join("; ")).unwrap())])
}

fn opened(cookies: &Cookies, headers: &HeaderMap) -> &'static str {
    match cookies.carried(headers) {
        Carried::Nothing => "nothing",
        Carried::Broken => "broken",
        Carried::Session(_) => "session",
    }
}

#[test]
fn a_session_is_split_over_cookies_that_browsers_and_this_gateway_take() {
    let cookies = cookies_of(&[ONE]);
    for (bearer, count) in [(10, 1), (3_000, 2), (9_000, 4)] {
        let session = session(bearer, 1_000, 200);
        let kept = cookies.keep_session(&session, &HeaderMap::new()).unwrap();
        assert_eq!(kept.len(), count);
        for cookie in &kept {
            let text = cookie.to_str().unwrap();
            assert!(cookie.len() <= 4096 && cookie.is_sensitive(), "{}", cookie.len());
            assert!(text.starts_with("__Host-kvs-edge-session-"), "{text}");
            assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{text}");
        }
        let headers = sent(&kept);
        assert!(headers[COOKIE].len() <= 16 << 10, "{}", headers[COOKIE].len());
        assert_eq!(cookies.carried(&headers).session(), Some(&session));
        assert_eq!(cookies.carried(&headers).bearer(), Some(session.bearer()));
    }
}

#[test]
fn what_is_too_large_goes_without_its_id_token_then_without_its_refresh_token() {
    let cookies = cookies_of(&[ONE]);
    let keep = |session: &Session| {
        let kept = cookies.keep_session(session, &HeaderMap::new())?;
        assert!(kept.len() <= MOST_PARTS);
        let headers = sent(&kept);
        let Carried::Session(read) = cookies.carried(&headers) else { panic!("it does not open") };
        assert_eq!(read.bearer, session.bearer);
        Ok((!read.id_token.is_empty(), read.is_renewable()))
    };
    assert_eq!(keep(&session(5_000, 5_000, 1_000)), Ok((true, true)));
    assert_eq!(keep(&session(8_000, 8_000, 1_000)), Ok((false, true)));
    assert_eq!(keep(&session(8_000, 8_000, 8_000)), Ok((false, false)));
    assert_eq!(keep(&session(16_000, 0, 0)), Err(Problem::TooLarge));
    assert_eq!(keep(&session(90_000, 0, 0)), Err(Problem::TooLarge));
}

#[test]
fn parts_of_a_larger_session_are_taken_away_and_do_not_matter() {
    let cookies = cookies_of(&[ONE]);
    let before = cookies.keep_session(&session(9_000, 1_000, 200), &HeaderMap::new()).unwrap();
    let small = session(10, 0, 0);
    let after = cookies.keep_session(&small, &sent(&before)).unwrap();
    let text: Vec<&str> = after.iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(after.len(), 4);
    for (number, cookie) in text[1..].iter().enumerate() {
        assert!(
            cookie.starts_with(&format!("__Host-kvs-edge-session-{}=; Max-Age=0", number + 1)),
            "{cookie}"
        );
    }
    // Should a browser keep one after all.
    let mixed: Vec<HeaderValue> = [&after[..1], &before[1..]].concat();
    assert_eq!(cookies.carried(&sent(&mixed)).session(), Some(&small));
    assert_eq!(cookies.clear_session(&sent(&before)).len(), 4);
    assert!(cookies.clear_session(&HeaderMap::new()).is_empty());
}

#[test]
fn any_replica_opens_it_while_keys_rotate_and_no_other_key_does() {
    let kept = cookies_of(&[ONE]).keep_session(&session(100, 0, 0), &HeaderMap::new()).unwrap();
    for (materials, expected) in
        [(&[ONE][..], "session"), (&[TWO, ONE], "session"), (&[TWO], "broken"), (&[], "broken")]
    {
        assert_eq!(opened(&cookies_of(materials), &sent(&kept)), expected, "{materials:?}");
    }
    assert_eq!(opened(&cookies_of(&[ONE]), &HeaderMap::new()), "nothing");
}

#[test]
fn a_cookie_of_one_purpose_is_none_of_another_and_none_counts_twice() {
    let cookies = cookies_of(&[ONE]);
    let mut attempts = Attempts::default();
    let now = Timestamp::from_millis(5_000);
    attempts.add(super::super::attempt::Attempt::new("a", Default::default(), false, now));
    let kept = cookies.keep_attempts(&attempts).unwrap();
    assert_eq!(cookies.attempts(&sent(std::slice::from_ref(&kept)), now), attempts);
    assert!(cookies.attempts(&sent(&[kept.clone(), kept.clone()]), now).is_empty(), "which of them is it?");
    let value = kept.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    let forged = HeaderValue::from_str(&format!("__Host-kvs-edge-session-0=1.{value}")).unwrap();
    assert_eq!(opened(&cookies, &sent(&[forged])), "broken");

    let session = cookies.keep_session(&session(100, 0, 0), &HeaderMap::new()).unwrap();
    assert_eq!(opened(&cookies, &sent(&[session[0].clone(), session[0].clone()])), "broken");
    let sealed = session[0].to_str().unwrap().split(['.', ';']).nth(1).unwrap().to_owned();
    let forged = HeaderValue::from_str(&format!("__Host-kvs-edge-sign-in={sealed}")).unwrap();
    assert!(cookies.attempts(&sent(&[forged]), now).is_empty());
}

#[test]
fn without_tls_the_name_has_the_port_instead() {
    let url = Uri::from_static("http://127.0.0.1:8081");
    let cookies = Cookies::new(keys(&[ONE]), &url);
    let kept = cookies.keep_session(&session(100, 0, 0), &HeaderMap::new()).unwrap();
    let text = kept[0].to_str().unwrap();
    assert!(text.starts_with("kvs-edge-session-8081-0=1."), "{text}");
    assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{text}");
    let other = Cookies::new(keys(&[ONE]), &Uri::from_static("http://127.0.0.1:8080"));
    assert_eq!(opened(&other, &sent(&kept)), "nothing");
}

proptest! {
    #[test]
    fn one_changed_character_and_it_does_not_open(at in 27_usize..300, to in "[A-Za-z0-9_-]") {
        let cookies = cookies_of(&[ONE]);
        let kept = cookies.keep_session(&session(200, 0, 0), &HeaderMap::new()).unwrap();
        let mut pair = kept[0].to_str().unwrap().split(';').next().unwrap().to_owned();
        prop_assume!(at < pair.len() && pair[at..=at] != to);
        pair.replace_range(at..=at, &to);
        let changed = HeaderValue::from_str(&pair).unwrap();
        prop_assert_eq!(opened(&cookies, &sent(&[changed])), "broken");
    }

    #[test]
    fn any_cookies_are_read_or_refused_without_panic(
        values in proptest::collection::vec(("[0-9x]{0,2}", "[!-~]{0,40}"), 0..6),
    ) {
        let pairs = values.iter().map(|(n, value)| format!("__Host-kvs-edge-session-{n}={value}"));
        let line = pairs.collect::<Vec<_>>().join("; ");
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&line).unwrap())]);
        prop_assert!(cookies_of(&[ONE]).carried(&headers).session().is_none());
    }
}

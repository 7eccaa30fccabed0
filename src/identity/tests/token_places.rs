//! Where tokens are found, what is refused, and what `identity.order` changes.

use super::*;
use crate::setting::ByteSize;
use proptest::prelude::*;

fn sources() -> TokenPlaces {
    TokenPlaces::new(&Config {
        headers: vec!["X-Amzn-Oidc-Data".into(), "Cf-Access-Jwt-Assertion".into()],
        cookie: Some("CF_Authorization".into()),
        order: Vec::new(),
        anonymous: false,
        sign_out: None,
        max_token: ByteSize(1024),
    })
}

fn ordered(order: &[PlaceKind]) -> TokenPlaces {
    TokenPlaces { order: order.to_vec(), ..sources() }
}

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(n, v)| (HeaderName::from_bytes(n.as_bytes()).unwrap(), HeaderValue::from_str(v).unwrap()))
        .fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
}

fn told(list: &[(&str, &str)]) -> String {
    told_by(&sources(), &Method::GET, list)
}

fn told_by(places: &TokenPlaces, method: &Method, list: &[(&str, &str)]) -> String {
    match places.token(method, &headers(list)) {
        Ok(token) => match token.text() {
            Ok(text) => format!("{text} from {}", token.place()),
            Err(e) => e.as_str().into(),
        },
        Err(Error::Several { found, .. }) => format!("several: {}", found.join(", ")),
        Err(Error::Missing { hint }) => format!("missing: {hint}"),
        Err(e) => e.as_str().into(),
    }
}

const AWS: (&str, &str) =
    ("authorization", "AWS4-HMAC-SHA256 Credential=kvsedge/20260101/eu-west-1/x/aws4_request");

#[test]
fn each_place_gives_its_token() {
    for (list, expected) in [
        (vec![("authorization", "Bearer a.b.c")], "a.b.c from Authorization: Bearer"),
        (vec![("authorization", "bEARER   a.b.c ")], "a.b.c from Authorization: Bearer"),
        (vec![AWS, ("x-amz-security-token", "a.b.c")], "a.b.c from X-Amz-Security-Token"),
        (vec![("x-amzn-oidc-data", "a==.b=.c")], "a==.b=.c from X-Amzn-Oidc-Data"),
        (
            vec![("cf-access-jwt-assertion", ""), AWS, ("x-amz-security-token", "a.b.c")],
            "a.b.c from X-Amz-Security-Token",
        ),
        (vec![AWS, ("cf-access-jwt-assertion", "a.b.c")], "a.b.c from Cf-Access-Jwt-Assertion"),
        (
            vec![("authorization", "Basic eDp5"), ("cf-access-jwt-assertion", "a.b.c")],
            "a.b.c from Cf-Access-Jwt-Assertion",
        ),
        (vec![("cookie", "x=1; CF_Authorization=a.b.c;y=2")], "a.b.c from cookie CF_Authorization"),
    ] {
        assert_eq!(told(&list), expected);
    }
}

#[test]
fn two_credentials_are_refused_and_named_even_if_equal() {
    let bearer = ("authorization", "Bearer a.b.c");
    for (list, expected) in [
        (vec![bearer, bearer], "several: Authorization: Bearer, Authorization: Bearer"),
        (
            vec![bearer, ("x-amz-security-token", "a.b.c")],
            "several: Authorization: Bearer, X-Amz-Security-Token",
        ),
        (
            vec![bearer, AWS, ("x-amz-security-token", "d.e.f")],
            "several: Authorization: Bearer, X-Amz-Security-Token",
        ),
        (
            vec![AWS, ("x-amz-security-token", "a.b.c"), ("x-amz-security-token", "a.b.c")],
            "several: X-Amz-Security-Token, X-Amz-Security-Token",
        ),
        (vec![bearer, ("x-amzn-oidc-data", "a.b.c")], "several: Authorization: Bearer, X-Amzn-Oidc-Data"),
        (
            vec![("cookie", "CF_Authorization=a.b.c; CF_Authorization=a.b.c")],
            "several: cookie CF_Authorization, cookie CF_Authorization",
        ),
        (
            vec![("cookie", "CF_Authorization=a.b.c"), ("cf-access-jwt-assertion", "a.b.c")],
            "several: Cf-Access-Jwt-Assertion, cookie CF_Authorization",
        ),
    ] {
        assert_eq!(told(&list), expected);
    }
}

#[test]
fn the_refusal_of_two_names_both_and_the_setting() {
    let both = headers(&[("authorization", "Bearer a.b.c"), ("cf-access-jwt-assertion", "d.e.f")]);
    let words = sources().token(&Method::GET, &both).map(drop).unwrap_err().to_string();
    for word in ["Authorization: Bearer", "Cf-Access-Jwt-Assertion", "identity.order"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn the_first_present_of_the_order_decides_and_no_other_is_tried() {
    use PlaceKind::{Bearer, Cookie, Headers, SecurityToken};
    let places = ordered(&[SecurityToken, Bearer, Headers, Cookie]);
    let get = |list: &[(&str, &str)]| told_by(&places, &Method::GET, list);
    let (bearer, token) = (("authorization", "Bearer a.b.c"), ("x-amz-security-token", "s.s.s"));
    let (proxy, albs) = (("cf-access-jwt-assertion", "p.p.p"), ("x-amzn-oidc-data", "o.o.o"));
    let cookie = ("cookie", "CF_Authorization=k.k.k");
    for (list, expected) in [
        (vec![AWS, token, proxy, cookie], "s.s.s from X-Amz-Security-Token"),
        (vec![bearer, proxy, cookie], "a.b.c from Authorization: Bearer"),
        (vec![proxy, albs, cookie], "o.o.o from X-Amzn-Oidc-Data"),
        (vec![proxy, cookie], "p.p.p from Cf-Access-Jwt-Assertion"),
        (vec![cookie], "k.k.k from cookie CF_Authorization"),
        // What does not count alone does not decide: a proxy has replaced the signature.
        (vec![bearer, token], "a.b.c from Authorization: Bearer"),
        // A bad token in the place that decides does not let the next one decide.
        (vec![("authorization", "Bearer"), proxy], "malformed"),
        (vec![("authorization", "Bearer a b"), proxy], "malformed"),
        (vec![AWS, ("x-amz-security-token", "s s"), proxy], "malformed"),
        // An empty header of a proxy is no credential.
        (vec![("x-amzn-oidc-data", " "), proxy, cookie], "p.p.p from Cf-Access-Jwt-Assertion"),
    ] {
        assert_eq!(get(&list), expected, "{list:?}");
    }
    for list in [
        vec![bearer, bearer],
        vec![bearer, ("authorization", "Bearer d.e.f"), proxy],
        vec![AWS, bearer, token],
        vec![AWS, token, token, proxy],
        vec![proxy, proxy, cookie],
        vec![("cookie", "CF_Authorization=a.b.c; CF_Authorization=a.b.c")],
    ] {
        assert!(get(&list).starts_with("several: "), "{list:?}: {}", get(&list));
    }
    // Two in a place that does not decide are not looked at.
    assert_eq!(get(&[bearer, proxy, proxy]), "a.b.c from Authorization: Bearer");
    let reverse = ordered(&[Cookie, Headers, Bearer, SecurityToken]);
    let list = [bearer, proxy, cookie];
    assert_eq!(told_by(&reverse, &Method::GET, &list), "k.k.k from cookie CF_Authorization");
    // A cookie that another site's page may have sent does not count, so it does not decide either.
    assert_eq!(told_by(&reverse, &Method::POST, &list), "p.p.p from Cf-Access-Jwt-Assertion");
    assert!(told_by(&reverse, &Method::POST, &[cookie]).starts_with("missing: a cookie counts only"));
    assert_eq!(told_by(&reverse, &Method::GET, &[bearer, token]), "a.b.c from Authorization: Bearer");
    assert!(told_by(&reverse, &Method::GET, &[token]).contains("AWS4-HMAC-SHA256"));
}

#[test]
fn a_cookie_is_believed_where_a_stranger_s_page_gains_nothing() {
    let (cookie, site) = (("cookie", "CF_Authorization=a.b.c"), "sec-fetch-site");
    let believed = "a.b.c from cookie CF_Authorization";
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(told_by(&sources(), &method, &[cookie]), believed);
        assert_eq!(told_by(&sources(), &method, &[cookie, (site, "cross-site")]), believed);
    }
    let post = |list: &[(&str, &str)]| told_by(&sources(), &Method::POST, list);
    assert_eq!(post(&[cookie, (site, "same-origin")]), believed);
    for list in [
        vec![cookie],
        vec![cookie, (site, "same-site")],
        vec![cookie, (site, "cross-site")],
        vec![cookie, (site, "none")],
        vec![cookie, (site, "same-origin"), (site, "cross-site")],
    ] {
        assert!(post(&list).starts_with("missing: a cookie counts only"), "{list:?}");
    }
    assert_eq!(
        post(&[cookie, ("authorization", "Bearer a.b.c")]),
        "several: Authorization: Bearer, cookie CF_Authorization"
    );
    assert_eq!(post(&[("x-amzn-oidc-data", "a.b.c")]), "a.b.c from X-Amzn-Oidc-Data");
}

#[test]
fn only_a_request_without_any_credential_is_anonymous() {
    let places = TokenPlaces::new(&Config { anonymous: true, cookie: Some("c".into()), ..Config::default() });
    let found = |method: Method, list: &[(&str, &str)]| match places.credential(&method, &headers(list), None)
    {
        Ok(Credential::Anonymous) => "anonymous",
        Ok(Credential::Token(_)) => "token",
        Err(_) => "refused",
    };
    assert_eq!(found(Method::GET, &[("cookie", "d=1")]), "anonymous");
    assert_eq!(found(Method::POST, &[]), "anonymous");
    assert_eq!(found(Method::GET, &[("authorization", "Bearer x")]), "token");
    assert_eq!(found(Method::GET, &[("authorization", "Bearer ")]), "token");
    assert_eq!(found(Method::POST, &[("cookie", "c=1")]), "refused");
    assert_eq!(found(Method::GET, &[("x-amz-security-token", "x")]), "refused");
    assert_eq!(found(Method::GET, &[("authorization", "Bearer x"), ("cookie", "c=1")]), "refused");
}

#[test]
fn what_is_missing_is_explained() {
    assert!(told(&[]).contains("Authorization: Bearer"));
    assert!(told(&[AWS]).contains("AWS_SESSION_TOKEN"));
    assert!(told(&[("x-amz-security-token", "a.b.c")]).contains("AWS4-HMAC-SHA256"));
    assert!(told(&[("authorization", "Basic eDp5")]).starts_with("missing"));
    assert!(told(&[("cookie", "cf_authorization=a.b.c; xCF_Authorization=a.b.c")]).starts_with("missing"));
    assert!(sources().explain().contains("cookie CF_Authorization"));
}

#[test]
fn what_cannot_be_a_token_is_malformed_and_what_is_long_is_too_large() {
    let long = format!("Bearer {}", "a".repeat(1025));
    assert_eq!(told(&[("authorization", &long)]), "too_large");
    for list in [
        [("authorization", "Bearer")],
        [("authorization", "Bearer a.b.c, Bearer d.e.f")],
        [("authorization", "Bearer a.b.c=")],
        [("authorization", "Bearer \"a.b.c\"")],
        [("cookie", "CF_Authorization=\"a.b.c\"")],
    ] {
        assert_eq!(told(&list), "malformed", "{list:?}");
    }
}

#[test]
fn a_token_does_not_show() {
    let (sources, headers) = (sources(), headers(&[("authorization", "Bearer a.b.c")]));
    let token = sources.token(&Method::GET, &headers).unwrap();
    assert_eq!(format!("{token:?}"), "Token(*** from Authorization: Bearer)");
}

proptest! {
    #[test]
    fn any_headers_are_judged_without_panic(values in prop::collection::vec((0..5usize, "[ -~\u{e9}]{0,40}"), 0..5), order: bool) {
        let names = ["authorization", "x-amz-security-token", "cookie", "x-amzn-oidc-data", "cf-access-jwt-assertion"];
        let mut all = HeaderMap::new();
        for (which, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                all.append(names[which], value);
            }
        }
        let places = if order { ordered(&PlaceKind::ALL) } else { sources() };
        if let Ok(token) = places.token(&Method::POST, &all) {
            let _ = token.text();
        }
    }
}

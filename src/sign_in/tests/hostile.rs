//! What an attacker, or a provider that is not the one, can change; and nobody is signed in by it.

use super::*;
use crate::base::percent;
use serde_json::{Value, json};

/// Signs in with an answer that `change` has changed; gives the problem.
async fn problem(world: &World, change: impl Fn(&str) -> String) -> String {
    let mut browser = Browser::default();
    let back = world.provider.answer(&browser.begin(world, "").await);
    let location = browser.arrive(world, &change(&back)).await;
    assert!(!browser.is_signed_in(world), "{location}");
    parameter(&location, "sign_in_problem")
}

/// Signs in with a provider that says something else; gives the problem.
async fn problem_of(id: Value, access: Value, answer: Value) -> String {
    let provider = FakeProvider { claims: (id, access), answer, ..FakeProvider::new() };
    problem(&World::with(provider, "").await, str::to_owned).await
}

#[tokio::test]
async fn an_answer_without_this_browsers_state_signs_nobody_in_and_asks_the_provider_nothing() {
    let world = World::new().await;
    let mut attacker = Browser::default();
    let theirs = world.provider.answer(&attacker.begin(&world, "").await);
    // The attacker's answer, in the browser of somebody who begins a sign-in, and of somebody who does not.
    let asked = world.provider.asked("/token");
    assert_eq!(problem(&world, |_| theirs.clone()).await, "state");
    let mut victim = Browser::default();
    let location = victim.arrive(&world, &theirs).await;
    assert_eq!(parameter(&location, "sign_in_problem"), "state");
    for changed in ["", "state=", "code=a", "state=a&state=a&code=b", "state=%f&code=a"] {
        assert_eq!(problem(&world, |_| changed.to_owned()).await, "state", "{changed}");
    }
    assert_eq!(problem(&world, |back| format!("{back}&code=b")).await, "state");
    assert_eq!(world.provider.asked("/token"), asked);
}

#[tokio::test]
async fn an_answer_counts_once_even_for_who_keeps_the_cookie() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let back = world.provider.answer(&browser.begin(&world, "").await);
    let mut again = browser.clone();
    assert_eq!(browser.arrive(&world, &back).await, format!("{HOME}/"));
    let asked = world.provider.asked("/token");
    assert_eq!(parameter(&browser.arrive(&world, &back).await, "sign_in_problem"), "state");
    assert_eq!(parameter(&again.arrive(&world, &back).await, "sign_in_problem"), "state");
    assert_eq!(world.provider.asked("/token"), asked);
    assert!(browser.is_signed_in(&world) && !again.is_signed_in(&world));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_counts_no_more() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let back = world.provider.answer(&browser.begin(&world, "").await);
    let parts = browser.parts(&format!("{CALLBACK}?{back}"));
    let redirect = world.sign_in.arrive(&parts, NOW.plus(attempt::LASTS)).await;
    assert_eq!(parameter(redirect.to.to_str().unwrap(), "sign_in_problem"), "state");
}

#[tokio::test]
async fn a_code_of_another_sign_in_is_of_no_use() {
    let world = World::new().await;
    let mut other = Browser::default();
    let theirs = world.provider.answer(&other.begin(&world, "").await);
    let code = form::value(&theirs, "code").unwrap().unwrap();
    // The provider has another challenge for it than the verifier of this browser.
    let stolen = |back: &str| {
        let state = form::value(back, "state").unwrap().unwrap();
        form::pairs([("code", code.as_str()), ("state", &state)])
    };
    assert_eq!(problem(&world, stolen).await, "invalid_grant");
}

#[tokio::test]
async fn an_id_token_that_is_not_this_sign_ins_signs_nobody_in() {
    let none = || json!({});
    for id in [
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "aud": "another" }),
        json!({ "aud": ["web app", "another"] }),
        json!({ "aud": ["web app", "another"], "azp": "another" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": 1_799_990_000 }),
        json!({ "exp": null }),
        json!({ "iat": 1_800_009_000 }),
    ] {
        assert_eq!(problem_of(id.clone(), none(), none()).await, "token", "{id}");
    }
    for answer in [
        json!({ "id_token": null }),
        json!({ "id_token": "e30.e30.e30" }),
        json!({ "token_type": "DPoP" }),
        json!({ "access_token": null }),
    ] {
        assert_eq!(problem_of(none(), none(), answer.clone()).await, "token", "{answer}");
    }
    let refused = json!({ "error": "access_denied" });
    assert_eq!(problem_of(none(), none(), refused).await, "access_denied");
}

#[tokio::test]
async fn an_id_token_of_another_key_signs_nobody_in() {
    let other = FakeProvider::new();
    let forged = json!({ "id_token": other.key.sign(identity::Algorithm::ES256, &json!({
        "iss": ISSUER, "aud": "web app", "sub": "ann", "exp": 1_800_003_600 })).unwrap() });
    assert_eq!(problem_of(json!({}), json!({}), forged).await, "token");
}

#[tokio::test]
async fn an_access_token_that_is_not_for_the_gateway_signs_nobody_in() {
    for access in [
        json!({ "aud": "another" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": 1_799_990_000 }),
        json!({ "sub": null }),
    ] {
        assert_eq!(problem_of(json!({}), access.clone(), json!({})).await, "token", "{access}");
    }
}

/// RFC 9207: what one provider says is not taken to another.
#[tokio::test]
async fn an_answer_of_another_issuer_is_not_taken_to_this_one() {
    let names_itself = json!({ "authorization_response_iss_parameter_supported": true });
    let honest = World::with(FakeProvider { document: names_itself, ..FakeProvider::new() }, "").await;
    let silent = World::new().await;
    let with = |iss: &'static str| move |back: &str| format!("{back}&iss={}", percent::encode(iss));
    for (world, iss, expected) in [
        (&honest, "https://evil.example", "mix_up"),
        (&honest, "https://login.example.com/tenant/", "mix_up"),
        (&silent, "https://evil.example", "mix_up"),
    ] {
        let asked = world.provider.asked("/token");
        assert_eq!(problem(world, with(iss)).await, expected);
        let refused = move |back: &str| with(iss)(&back.replace("code=", "error=access_denied&x="));
        assert_eq!(problem(world, refused).await, expected, "an error is an answer too");
        assert_eq!(world.provider.asked("/token"), asked, "no code went to the wrong place");
    }
    assert_eq!(problem(&honest, str::to_owned).await, "mix_up", "it says that it would name itself");
    let mut browser = Browser::default();
    let back = honest.provider.answer(&browser.begin(&honest, "").await);
    assert_eq!(browser.arrive(&honest, &with(ISSUER)(&back)).await, format!("{HOME}/"));
}

#[tokio::test]
async fn an_error_that_comes_back_is_a_word_and_nothing_else() {
    let world = World::new().await;
    let with = |error: &str| {
        let error = percent::encode(error);
        move |back: &str| {
            format!("error={error}&error_description=%3Cscript%3E&{}", back.replace("code=", "x="))
        }
    };
    assert_eq!(problem(&world, with("access_denied")).await, "access_denied");
    assert_eq!(
        problem(&world, with("<script>alert(1)</script>\r\nSet-Cookie: a=b")).await,
        "scriptalert1scriptetookieab"
    );
    assert_eq!(problem(&world, with("&#/")).await, "refused");
}

#[tokio::test]
async fn no_parameter_leads_anywhere_else() {
    let world = World::new().await;
    for back in
        ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2Fstreams", "%23%0d%0aSet-Cookie%3Aa%3Db"]
    {
        let mut browser = Browser::default();
        let answer = world.provider.answer(&browser.begin(&world, &format!("return={back}")).await);
        assert_eq!(browser.arrive(&world, &answer).await, format!("{HOME}/"), "{back}");
    }
    let address = Browser::default().begin(&world, "issuer=https%3A%2F%2Fevil.example").await;
    assert_eq!(address, format!("{HOME}/?sign_in_problem=issuer"));
}

#[tokio::test]
async fn a_refresh_token_that_gives_somebody_elses_tokens_renews_nothing() {
    let provider = FakeProvider::new();
    let world = World::with(provider, "").await;
    let mut browser = world.signed_in().await;
    let other = json!({ "access_token": world.provider.key.sign(identity::Algorithm::ES256, &json!({
        "iss": ISSUER, "aud": "kvs-edge", "sub": "eve", "exp": 1_800_003_600 })).unwrap() });
    let evil = FakeProvider { answer: other, key: clone_of(&world.provider.key), ..FakeProvider::new() };
    let evil = World::with(evil, "").await;
    *evil.provider.state.lock().unwrap() = std::mem::take(&mut *world.provider.state.lock().unwrap());
    assert_eq!(browser.renew(&evil).await, Err(Problem::Token));
    assert_eq!(&*browser.session(&evil).unwrap().subject, "ann");
}

fn clone_of(key: &identity::mint::SigningKey) -> identity::mint::SigningKey {
    let copy = identity::mint::SigningKey::from_pem(key.to_pem().as_bytes()).unwrap();
    copy.with_kid(key.kid().to_owned())
}

#[tokio::test]
async fn what_is_too_large_for_cookies_signs_nobody_in() {
    let padding = "x".repeat(15_000);
    assert_eq!(
        problem_of(json!({}), json!({ "padding": padding }), json!({})).await,
        "token",
        "beyond max_token"
    );
    let padding = "x".repeat(11_700);
    assert_eq!(problem_of(json!({}), json!({ "padding": padding }), json!({})).await, "too_large");
}

#[tokio::test]
async fn only_our_own_page_renews_and_signs_out() {
    let world = World::new().await;
    for (headers, ours) in [
        (vec![("sec-fetch-site", "same-origin")], true),
        (vec![("sec-fetch-site", "same-origin"), ("origin", HOME)], true),
        (vec![("origin", HOME)], true),
        (vec![], false),
        (vec![("origin", "https://evil.example")], false),
        (vec![("origin", "null")], false),
        (vec![("origin", "https://video.example.com.evil.example")], false),
        (vec![("sec-fetch-site", "same-site"), ("origin", HOME)], false),
        (vec![("sec-fetch-site", "cross-site")], false),
        (vec![("sec-fetch-site", "none")], false),
        (vec![("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
        (vec![("origin", HOME), ("origin", HOME)], false),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in &headers {
            map.append(http::HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(world.sign_in.is_own(&map), ours, "{headers:?}");
    }
}

#[test]
fn people_sign_in_over_tls_or_on_this_machine() {
    let issuer = |more: &str| -> Vec<IssuerConfig> {
        vec![toml::from_str(&format!("issuer = '{ISSUER}'\n{more}")).unwrap()]
    };
    let count = |more: &str, url: &str| {
        let mut mistakes = Vec::new();
        check(&issuer(more), url, &mut mistakes);
        mistakes.len()
    };
    assert_eq!(count("client_id = 'web'", "http://video.example.com"), 1);
    for (more, url) in [
        ("client_id = 'web'", HOME),
        ("client_id = 'web'", "http://127.0.0.1:8080"),
        ("client_id = 'web'", "http://localhost:8080"),
        ("", "http://video.example.com"),
    ] {
        assert_eq!(count(more, url), 0, "{more} {url}");
    }
}

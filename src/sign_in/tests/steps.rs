//! The four steps, in the ways that providers differ.

use super::provider::Secret;
use super::*;
use crate::base::percent;
use serde_json::json;

#[tokio::test]
async fn somebody_signs_in_comes_back_to_the_same_place_renews_and_signs_out() {
    let world = World::with(
        FakeProvider::new(),
        "scopes = ['openid', 'offline_access']\nextra = { audience = 'kvs-edge', prompt = 'consent' }",
    )
    .await;
    let mut browser = Browser::default();
    let address = browser
        .begin(&world, "issuer=https%3A%2F%2Flogin.example.com%2Ftenant&return=%23%2Fcamera%2Fcam-1")
        .await;
    assert_eq!(parameter(&address, "client_id"), "web app");
    assert_eq!(parameter(&address, "scope"), "openid offline_access");
    assert_eq!(parameter(&address, "audience"), "kvs-edge");
    assert_eq!(parameter(&address, "prompt"), "consent");
    assert_eq!(parameter(&address, "redirect_uri"), format!("{HOME}/console/sign-in/callback"));
    let back = world.provider.answer(&address);
    assert_eq!(browser.arrive(&world, &back).await, format!("{HOME}/#/camera/cam-1"));
    let first = browser.session(&world).unwrap();
    assert_eq!((&*first.subject, first.issuer(), first.is_renewable()), ("ann", ISSUER, true));
    assert_eq!(browser.0.len(), 1, "the sign-in's own cookie is gone: {:?}", browser.0.keys());

    browser.renew(&world).await.unwrap();
    let second = browser.session(&world).unwrap();
    assert_ne!((first.bearer(), &first.refresh), (second.bearer(), &second.refresh));

    let (location, cookies) = world.sign_in.end(&browser.parts("/").headers).await;
    let location = location.unwrap();
    assert!(location.starts_with("https://auth.example.net/logout?"), "{location}");
    assert_eq!(parameter(&location, "post_logout_redirect_uri"), format!("{HOME}/"));
    assert_eq!(parameter(&location, "id_token_hint"), *second.id_token);
    let kept = browser.clone();
    browser.keep(&cookies);
    assert!(browser.0.is_empty(), "{:?}", browser.0.keys());
    let mut stolen = kept;
    assert!(stolen.renew(&world).await.is_err(), "the provider has taken the refresh token back");
}

#[tokio::test]
async fn a_clients_secret_is_shown_as_the_provider_wants_it() {
    let both =
        json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"] });
    let post = json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    for (secret, document, asked) in [
        (Secret::Basic, json!({}), 2),
        (Secret::Basic, both.clone(), 2),
        (Secret::Post, post, 2),
        // It names both and takes one: found out once.
        (Secret::Post, both, 3),
        (Secret::Post, json!({}), 3),
    ] {
        let provider = FakeProvider { secret, document, ..FakeProvider::new() };
        let world = World::with(provider, "client_secret = 'SECRET'").await;
        let mut browser = world.signed_in().await;
        browser.renew(&world).await.unwrap();
        assert_eq!(world.provider.asked("/token"), asked);
    }
    let provider = FakeProvider { secret: Secret::Basic, ..FakeProvider::new() };
    let world = World::with(provider, "").await;
    let mut browser = Browser::default();
    let back = world.provider.answer(&browser.begin(&world, "").await);
    assert_eq!(browser.arrive(&world, &back).await, format!("{HOME}/?sign_in_problem=invalid_client"));
}

#[tokio::test]
async fn the_token_that_the_gateway_accepts_is_kept_whichever_it_is() {
    // Google, and Auth0 without an audience: the access token is opaque.
    let provider = FakeProvider { has_jwt: false, claims: (json!({}), json!({})), ..FakeProvider::new() };
    let world = World::with(provider, "").await;
    let mut browser = Browser::default();
    let back = world.provider.answer(&browser.begin(&world, "").await);
    assert_eq!(
        browser.arrive(&world, &back).await,
        format!("{HOME}/?sign_in_problem=token"),
        "no audience fits"
    );

    let provider = FakeProvider {
        has_jwt: false,
        claims: (json!({ "aud": ["web app", "kvs-edge"], "azp": "web app" }), json!({})),
        ..FakeProvider::new()
    };
    let world = World::with(provider, "").await;
    let browser = world.signed_in().await;
    let session = browser.session(&world).unwrap();
    assert_eq!((session.bearer().split('.').count(), session.id_token.len()), (3, 0));
    assert_eq!(session.id_token_hint(), session.bearer());
}

#[tokio::test]
async fn without_a_refresh_token_nothing_is_renewed_and_without_rotation_the_same_one_is_used_again() {
    let world = World::with(FakeProvider { gives_refresh_tokens: false, ..FakeProvider::new() }, "").await;
    let mut browser = world.signed_in().await;
    assert_eq!(browser.renew(&world).await, Err(Problem::NotRenewable));
    assert_eq!(Browser::default().renew(&world).await, Err(Problem::NotRenewable));

    let world = World::with(FakeProvider { rotates: false, ..FakeProvider::new() }, "").await;
    let mut browser = world.signed_in().await;
    let first = browser.session(&world).unwrap();
    for _ in 0..3 {
        let before = browser.session(&world).unwrap();
        browser.renew(&world).await.unwrap();
        let after = browser.session(&world).unwrap();
        assert_eq!(after.refresh, first.refresh);
        assert_ne!(after.bearer(), before.bearer());
    }
}

#[tokio::test]
async fn two_tabs_that_renew_at_once_or_one_late_make_one_request_to_a_provider_that_rotates() {
    let world = World::new().await;
    let browser = world.signed_in().await;
    let asked = world.provider.asked("/token");
    let (mut one, mut two, mut late) = (browser.clone(), browser.clone(), browser.clone());
    let (first, second) = tokio::join!(one.renew(&world), two.renew(&world));
    assert_eq!((first, second), (Ok(()), Ok(())));
    late.renew(&world).await.unwrap();
    assert_eq!(world.provider.asked("/token"), asked + 1);
    let bearers = [&one, &two, &late].map(|tab| tab.session(&world).unwrap().bearer().to_owned());
    assert!(bearers.windows(2).all(|pair| pair[0] == pair[1]));
    one.renew(&world).await.unwrap();
    assert_eq!(world.provider.asked("/token"), asked + 2, "and go on from there");
}

#[tokio::test]
async fn a_provider_that_is_down_costs_a_moment_and_no_session() {
    let world = World::new().await;
    let mut browser = world.signed_in().await;
    world.provider.state.lock().unwrap().is_down = true;
    assert_eq!(browser.renew(&world).await, Err(Problem::Provider));
    assert!(Problem::Provider.passes() && browser.is_signed_in(&world));
    world.provider.state.lock().unwrap().is_down = false;
    browser.renew(&world).await.unwrap();

    let world = World::new().await;
    world.provider.state.lock().unwrap().is_down = true;
    let address = Browser::default().begin(&world, "return=%23%2Fcamera%2Fa").await;
    assert_eq!(address, format!("{HOME}/?sign_in_problem=provider#/camera/a"));
}

#[tokio::test]
async fn a_hidden_frame_asks_for_nothing_to_be_shown_and_comes_back_with_a_word() {
    let here = json!({ "authorization_endpoint": "https://login.example.com/authorize?p=1" });
    let provider = FakeProvider { document: here, ..FakeProvider::new() };
    let world = World::with(provider, "extra = { prompt = 'consent' }").await;
    let mut browser = Browser::default();
    let address = browser.begin(&world, "quiet=1&return=%23%2Fcamera%2Fa").await;
    assert_eq!(parameter(&address, "prompt"), "none");
    let back = world.provider.answer(&address);
    assert_eq!(browser.arrive(&world, &back).await, format!("{HOME}/?signed_in=quiet"));
    let mut browser = Browser::default();
    let state = parameter(&browser.begin(&world, "quiet=1").await, "state");
    let refused = browser.arrive(&world, &format!("error=login_required&state={state}")).await;
    assert_eq!(refused, format!("{HOME}/?sign_in_problem=login_required"));
    // A provider whose pages are elsewhere cannot be framed: nothing is tried.
    let refused = Browser::default().begin(&World::new().await, "quiet=1").await;
    assert_eq!(refused, format!("{HOME}/?sign_in_problem=login_required"));
}

#[tokio::test]
async fn a_sign_in_that_begins_under_another_name_goes_to_the_public_one_first_and_only_once() {
    let world = World::new().await;
    let at = |host: &str, query: &str| {
        let mut parts = Browser::default().parts(&format!("{BEGIN}?{query}"));
        parts.headers.insert(HOST, host.parse().unwrap());
        parts
    };
    let moved = world.sign_in.begin(&at("localhost", "issuer=a&return=%23b"), NOW).await;
    assert_eq!(moved.to, format!("{HOME}/console/sign-in?issuer=a&return=%23b&here=1"));
    assert!(moved.cookies.is_empty());
    let begun = world.sign_in.begin(&at("behind-a-proxy:8080", "here=1"), NOW).await;
    assert!(begun.to.to_str().unwrap().starts_with("https://auth.example.net/authorize"), "{:?}", begun.to);
}

#[tokio::test]
async fn cognito_has_its_own_words_for_signing_out() {
    let world = World::with(
        FakeProvider {
            claims: (json!({ "token_use": "id" }), json!({ "token_use": "access", "client_id": "kvs-edge" })),
            ..FakeProvider::new()
        },
        "kind = 'cognito'",
    )
    .await;
    let browser = world.signed_in().await;
    let (location, _) = world.sign_in.end(&browser.parts("/").headers).await;
    let expected = format!(
        "https://auth.example.net/logout?client_id=web%20app&logout_uri={}",
        percent::encode(&format!("{HOME}/"))
    );
    assert_eq!(location, Some(expected));
}

//! What a reload takes over of an issuer's keys, and what it does not: on the same clock and with the same
//! issuer's server as `rotation`.

use super::rotation::*;
use super::*;
use serde_json::json;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_keys_that_come_from_the_same_place_whatever_else_changes() {
    let key = key();
    let server = Server::new(&[&key]);
    let identity = server.identity("").await;
    server.answer(Err("down".into()));
    let again = identity.restart(&[config("")], &Config::default()).await.unwrap();
    drop(identity);
    assert_eq!(word(&again, &token(&key, "ann")).await, "accepted");
    let edited = [config("stale_max = '48h'\ntypes = ['at+jwt']")];
    let changed = again.restart(&edited, &Config::default()).await.unwrap();
    assert_eq!(word(&changed, &token(&key, "ann")).await, "type", "by the new rules");
    let changed = changed.restart(&[config("stale_max = '48h'")], &Config::default()).await.unwrap();
    sleep(Duration::from_secs(30 * 3600)).await;
    assert_eq!(word(&changed, &token(&key, "ann")).await, "accepted");
    let moved =
        IssuerConfig { jwks: Some(JwksSource::parse("https://b.example.com/").unwrap()), ..config("") };
    let elsewhere = changed.restart(&[moved], &Config::default()).await.unwrap();
    assert_eq!(word(&elsewhere, &token(&key, "ann")).await, "keys_unavailable", "they were read for others");
}

/// A reload is no read: it neither puts off the next one nor forgets how the last one went.
#[tokio::test(start_paused = true)]
async fn however_often_settings_are_reloaded_keys_are_read_in_time_and_the_issuer_is_spared() {
    let key = key();
    let server = Server::new(&[&key]);
    let mut identity = server.identity("refresh = '5m'").await;
    let reload = async |identity: Arc<Identity>| {
        identity.restart(&[config("refresh = '5m'")], &Config::default()).await.unwrap()
    };
    for _ in 0..20 {
        sleep(Duration::from_secs(60)).await;
        identity = reload(identity).await;
    }
    assert!((4..=5).contains(&server.count()), "in 20 minutes: {}", server.count());
    // The cooldown of forced reads goes on.
    let before = server.count();
    for _ in 0..4 {
        assert_eq!(word(&identity, &token(&self::key(), "eve")).await, "key");
        identity = reload(identity).await;
    }
    assert_eq!(server.count(), before + 1);
    // So does the reason of a failure; and what was not good is read again at once.
    server.answer(Err("connection refused".into()));
    sleep(Duration::from_secs(25 * 3600)).await;
    assert!(identity.problems()[0].contains("connection refused"), "{:?}", identity.problems());
    server.serve(&[&key]);
    identity = reload(identity).await;
    assert_eq!(identity.problems(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_shared_secret_is_in_force_after_a_reload_and_the_old_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let mut issuer = config("discovery = false");
    (issuer.jwks, issuer.algorithms) = (None, vec![Algorithm::HS256]);
    issuer.secret = Some(crate::setting::SecretSource::File(path.clone()));
    let signed = |secret: &str| {
        use aws_lc_rs::hmac;
        use base64::Engine as _;
        let claims =
            json!({ "iss": ISSUER, "aud": "kvs-edge", "sub": "ann", "exp": NOW.millis() / 1000 + 60 });
        let text = format!("{}.{}", base64_url(r#"{"alg":"HS256"}"#), base64_url(&claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
        format!("{text}.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag))
    };
    let (leaked, fresh) = ("leaked ".repeat(8), "fresh! ".repeat(8));
    std::fs::write(&path, &leaked).unwrap();
    let fetch: Fetch = Arc::new(|_| panic!("nothing is fetched"));
    let settings = Config::default();
    let before = Identity::start(&[issuer.clone()], &settings, fetch, metrics()).await.unwrap();
    assert_eq!(word(&before, &signed(&leaked)).await, "accepted");
    let unchanged = before.restart(&[issuer.clone()], &settings).await.unwrap();
    assert_eq!(unchanged.generation(), before.generation(), "the same secret is no rotation");
    std::fs::write(&path, &fresh).unwrap();
    let after = unchanged.restart(&[issuer], &settings).await.unwrap();
    assert_eq!(word(&after, &signed(&leaked)).await, "signature");
    assert_eq!(word(&after, &signed(&fresh)).await, "accepted");
}

//! What credentials do as they age, end and are refused, with a chain that answers by script.

use super::*;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gives what the script says, counts how often it was asked, and takes a moment each time.
#[derive(Clone, Debug)]
struct Scripted {
    asked: Arc<AtomicUsize>,
    gives: Arc<Mutex<Vec<Result<Credentials, ()>>>>,
}

impl ProvideCredentials for Scripted {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut gives = self.gives.lock().unwrap();
            let next = if gives.len() > 1 { gives.remove(0) } else { gives[0].clone() };
            next.map_err(|()| CredentialsError::not_loaded("the script says no"))
        })
    }
}

fn keys(id: &str, ends_in: Option<u64>) -> Credentials {
    let end = ends_in.map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
    Credentials::new(id, "secret", None, end, "test")
}

fn cached(gives: Vec<Result<Credentials, ()>>) -> (Arc<CachedCredentials>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let provider = Scripted { asked: asked.clone(), gives: Arc::new(Mutex::new(gives)) };
    (CachedCredentials::new(SharedCredentialsProvider::new(provider), Box::new(|_| {})), asked)
}

#[test]
fn credentials_age_before_they_end() {
    let now = SystemTime::now();
    assert_eq!(freshness(None, now), Freshness::Fresh);
    assert_eq!(freshness(Some(now + AHEAD * 2), now), Freshness::Fresh);
    assert_eq!(freshness(Some(now + AHEAD), now), Freshness::Ageing);
    assert_eq!(freshness(Some(now), now), Freshness::Ended);
    assert_eq!(freshness(Some(now - AHEAD), now), Freshness::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_ask_the_chain_once() {
    let (cached, asked) = cached(vec![Ok(keys("A", None))]);
    let all: Vec<_> = (0..100)
        .map(|_| (cached.clone(), 0))
        .map(|(c, _)| tokio::spawn(async move { c.get().await }))
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().unwrap().access_key_id(), "A");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(cached.problem(), None);
}

#[tokio::test(start_paused = true)]
async fn an_ageing_set_signs_while_the_next_is_fetched_and_while_fetching_fails() {
    let (cached, asked) = cached(vec![Ok(keys("A", Some(100))), Err(()), Ok(keys("B", Some(9999)))]);
    assert_eq!(cached.get().await.unwrap().access_key_id(), "A");
    for _ in 0..10 {
        assert_eq!(cached.get().await.unwrap().access_key_id(), "A", "nobody waits");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "one attempt in the background, which failed");
    assert_eq!(cached.get().await.unwrap().access_key_id(), "A");
    tokio::time::sleep(COOLING).await;
    cached.get().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cached.get().await.unwrap().access_key_id(), "B");
}

#[tokio::test(start_paused = true)]
async fn a_refused_set_is_replaced_once_for_all_who_were_refused() {
    let (cached, asked) = cached(vec![Ok(keys("A", None)), Ok(keys("B", None))]);
    let old = cached.get().await.unwrap();
    tokio::time::sleep(YOUNG).await;
    let again: Vec<_> = (0..10)
        .map(|_| {
            let (cached, old) = (cached.clone(), old.clone());
            tokio::spawn(async move { cached.renewed(&old).await })
        })
        .collect();
    for one in again {
        assert_eq!(one.await.unwrap().unwrap().access_key_id(), "B");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let new = cached.get().await.unwrap();
    cached.renewed(&new).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a brand new set that is refused is not the chain's fault");
}

#[tokio::test(start_paused = true)]
async fn a_failing_chain_is_not_hammered_and_says_why() {
    let (cached, asked) = cached(vec![Err(())]);
    assert!(cached.problem().unwrap().contains("not obtained"));
    for _ in 0..10 {
        assert!(cached.get().await.unwrap_err().0.contains("the script says no"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::sleep(COOLING).await;
    let _ = cached.get().await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(cached.problem().unwrap().contains("the script says no"));
}

//! One caller must not take what belongs to all: places for sessions, and turns under the quotas.

use super::*;
use crate::sessions::session::lock;

static BOB: LazyLock<Caller> = LazyLock::new(|| caller("bob"));

fn start(most: usize, most_per_caller: usize) -> (Arc<FakeKvs>, Sessions) {
    let kvs = FakeKvs::new(HALF_A_DAY);
    let config = Config { most, most_per_caller, ..Config::default() };
    let sessions = sessions(&kvs, config, &prometheus::Registry::new());
    (kvs, sessions)
}

/// One of many ranges, a millisecond apart.
fn range(n: u64) -> SessionKey {
    let mut key = key(PlaybackMode::OnDemand, Protocol::Hls);
    key.parameters.start = Some(Timestamp::from_millis(kvs::EPOCH + n));
    key
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_session_cannot_be_opened_takes_no_place() {
    let (kvs, sessions) = start(4, 2);
    kvs.fault(|faults| faults.silent = true);
    for n in 0..100 {
        assert_eq!(sessions.open(&range(n), kvs.visit()).await.unwrap_err().effect(), Effect::NoData);
        assert!(sessions.playlist(&range(n), &LIVE, ViewerId::of("one"), kvs.visit()).await.is_err());
    }
    assert_eq!(sessions.list(), []);
    kvs.fault(|faults| faults.silent = false);
    // What failed a moment ago is not asked for again at once.
    assert!(sessions.open(&range(99), kvs.visit()).await.is_err());
    assert!(sessions.open(&range(100), kvs.visit()).await.is_ok());
    tokio::time::sleep(SECOND).await;
    assert!(sessions.open(&range(99), kvs.visit()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_opens_without_end_keeps_to_its_own_places() {
    let (kvs, sessions) = start(8, 3);
    let bob = Visit { caller: &BOB, ..kvs.visit() };
    sessions.playlist(&range(5000), &LIVE, ViewerId::of("bob"), bob).await.unwrap();
    // Nobody watches them, so the oldest one goes each time.
    for n in 0..100 {
        sessions.open(&range(n), kvs.visit()).await.unwrap();
        assert!(sessions.list().len() <= 4);
    }
    // Those that are watched are not closed: the next one is refused, and other callers notice nothing.
    for n in 200..203 {
        sessions.playlist(&range(n), &LIVE, ViewerId::of("alice"), kvs.visit()).await.unwrap();
    }
    let refused = sessions.open(&range(300), kvs.visit()).await.unwrap_err();
    assert!(matches!(refused, Error::MostPerCaller(3)), "{refused}");
    assert!(sessions.open(&range(300), bob).await.is_ok());
    assert!(sessions.playlist(&range(200), &LIVE, ViewerId::of("bob"), bob).await.is_ok(), "it is open");
    // They are free again when their viewers have gone.
    tokio::time::sleep(31 * SECOND).await;
    assert!(sessions.open(&range(301), kvs.visit()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_sessions_without_viewers_make_room() {
    let (kvs, sessions) = start(3, 3);
    let bob = Visit { caller: &BOB, ..kvs.visit() };
    sessions.playlist(&range(0), &LIVE, ViewerId::of("alice"), kvs.visit()).await.unwrap();
    for n in 1..3 {
        sessions.open(&range(n), kvs.visit()).await.unwrap();
    }
    for n in 100..102 {
        sessions.playlist(&range(n), &LIVE, ViewerId::of("bob"), bob).await.unwrap();
    }
    // All three are watched now.
    assert!(matches!(sessions.open(&range(200), bob).await, Err(Error::Full)));
    let before = kvs.opens();
    assert!(sessions.playlist(&range(0), &LIVE, ViewerId::of("alice"), kvs.visit()).await.is_ok());
    assert_eq!(kvs.opens(), before, "the one that was watched has stayed");
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_the_turns_of_its_only_caller_and_its_own_with_several() {
    let (kvs, sessions) = start(8, 3);
    let bob = Visit { caller: &BOB, ..kvs.visit() };
    sessions.playlist(&range(0), &LIVE, ViewerId::of("alice"), kvs.visit()).await.unwrap();
    let taken = std::mem::take(&mut *lock(&kvs.principals));
    assert!(taken.len() >= 2 && taken.iter().all(|turn| *turn == ALICE.principal()), "{taken:?}");
    sessions.playlist(&range(0), &Resource::MasterPlaylist, ViewerId::of("bob"), bob).await.unwrap();
    let taken = std::mem::take(&mut *lock(&kvs.principals));
    assert!(!taken.is_empty() && taken.iter().all(|turn| turn.starts_with("shared")), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_another_callers_opening_does_not_fail_with_it() {
    let (kvs, sessions) = start(8, 1);
    let bob = Visit { caller: &BOB, ..kvs.visit() };
    sessions.playlist(&range(0), &LIVE, ViewerId::of("alice"), kvs.visit()).await.unwrap();
    let (one, other) = (range(1), range(1));
    let (alice, bob) = tokio::join!(sessions.open(&one, kvs.visit()), sessions.open(&other, bob));
    assert!(matches!(alice, Err(Error::MostPerCaller(1))) && bob.is_ok(), "{alice:?} {bob:?}");
}

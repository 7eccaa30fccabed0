//! A batch when replicas share fragments: each fragment is fetched by one of them.
//!
//! What another replica has is taken from it. What none has is fetched here, by one call, on behalf of all.
//! What another one is fetching is waited for, beside the call; what does not come is fetched here too.

use super::batch::{Batch, Batches, lock};
use super::call;
use super::source::{Claims, FragmentSource, arrived, pieces};
use crate::cache::{AtReplicas, Key, Reading};
use crate::kvs::FragmentNumber;
use crate::kvs::operations::GetMediaForFragmentList;
use crate::upstream;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How many look-ups are under way at a time.
const AT_ONCE: usize = 16;
/// How long other replicas may bring nothing, and how long it is between looks.
const PATIENCE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// What looking at the other replicas leaves to do.
#[derive(Default)]
struct Left {
    /// To be fetched here, in the order of the list, with the right to do so on behalf of all.
    fetch: Vec<FragmentNumber>,
    claims: Claims,
    /// On their way to another replica.
    elsewhere: Vec<FragmentNumber>,
}

/// Brings the fragments of a list.
///
/// # Errors
/// KVS refuses a call.
pub(super) async fn drive(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    list: &GetMediaForFragmentList,
) -> Result<(), upstream::Error> {
    let mut left = look(batch, batches, source, &list.fragments, false).await;
    while !is_left(batch) {
        let list = GetMediaForFragmentList { stream: list.stream.clone(), fragments: left.fetch };
        let fetching = async {
            if list.fragments.is_empty() {
                return Ok(());
            }
            call::fetch(batch, batches, source, &list, left.claims).await
        };
        let (fetched, next) = tokio::join!(fetching, wait(batch, batches, source, left.elsewhere));
        fetched?;
        if next.fetch.is_empty() {
            break;
        }
        left = next;
    }
    Ok(())
}

/// Waits for what other replicas fetch; gives what is to be fetched here after all, and what they have yet to
/// bring.
async fn wait(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    mut elsewhere: Vec<FragmentNumber>,
) -> Left {
    let (mut pause, mut last) = (FIRST_PAUSE, Instant::now());
    while !elsewhere.is_empty() && !is_left(batch) {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // They are read in order, so the first ones are missed first.
        let later = elsewhere.split_off(elsewhere.len().min(AT_ONCE));
        let mut left = look(batch, batches, source, &elsewhere, last.elapsed() > PATIENCE).await;
        if left.elsewhere.len() < elsewhere.len() {
            last = Instant::now();
        }
        left.elsewhere.extend(later);
        if !left.fetch.is_empty() {
            return left;
        }
        elsewhere = left.elsewhere;
    }
    Left::default()
}

/// Looks once for each fragment, and delivers what other replicas have. `alone`: what they fetch is not
/// waited for any longer.
async fn look(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    numbers: &[FragmentNumber],
    alone: bool,
) -> Left {
    let key = |number: &FragmentNumber| Key::mkv(source.stream.arn(), number);
    let (mut looks, mut next) = (JoinSet::new(), 0..numbers.len());
    // A look that ends without an answer leaves its fragment to be fetched.
    let mut answers: Vec<Option<AtReplicas>> = numbers.iter().map(|_| Some(AtReplicas::Nothing)).collect();
    loop {
        while looks.len() < AT_ONCE
            && let Some(at) = next.next()
        {
            let (cache, key) = (source.cache.clone(), key(&numbers[at]));
            looks.spawn(async move { (at, cache.look_at_replicas(key).await) });
        }
        match looks.join_next().await {
            None => break,
            Some(Err(_)) => {}
            Some(Ok((at, AtReplicas::Found(reading)))) => {
                if deliver(batch, batches, key(&numbers[at]), reading).await {
                    answers[at] = None;
                }
            }
            Some(Ok((at, answer))) => answers[at] = Some(answer),
        }
    }
    let mut left = Left::default();
    for (number, answer) in numbers.iter().zip(answers) {
        match answer {
            None => {}
            Some(AtReplicas::Busy) if !alone => left.elsewhere.push(number.clone()),
            Some(answer) => {
                left.fetch.push(number.clone());
                if let AtReplicas::Ours(ours) = answer {
                    left.claims.insert(key(number), ours);
                }
            }
        }
    }
    left
}

/// Takes in what another replica has. False: it could not be read.
async fn deliver(batch: &Batch, batches: &Batches, key: Key, reading: Reading) -> bool {
    if !batch.waits_for_room().await {
        return true;
    }
    let Ok(document) = pieces(reading).await else { return false };
    batch.begins();
    arrived(batch, batches, key, document, true);
    true
}

/// The batch has no reader left.
fn is_left(batch: &Batch) -> bool {
    lock(&batch.state).readers == 0
}

//! Released bytes that were asked for a moment ago: in a rollout thousands of nodes fetch the same few. What is
//! released is never changed and never taken back, so that nothing here grows old.

use axum::body::Bytes;
use fateh_common::catalogue::Digest;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// Bytes that are kept together.
const ROOM: u64 = 4 << 20;
/// Bytes of what is mostly asked for, for which room is made from the beginning.
const USUAL: u64 = 32 << 10;
/// Each has its part of the room, in which the longest body finds its place.
const SHARDS: usize = 2;

#[derive(Clone, Debug)]
struct Length;

impl Weighter<Digest, Bytes> for Length {
    fn weight(&self, _: &Digest, body: &Bytes) -> u64 {
        // What weighs nothing would be kept forever.
        body.len().max(1) as u64
    }
}

/// Released bytes by their digest. Those that were not asked for in a long time make room for others.
#[derive(Debug)]
pub struct ReleasedBodies(Cache<Digest, Bytes, Length>);

impl Default for ReleasedBodies {
    fn default() -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(ROOM)
            .estimated_items_capacity(usize::try_from(ROOM / USUAL).unwrap_or_default())
            .build()
            .expect("what a cache must be told is set");
        Self(Cache::with_options(options, Length, DefaultHashBuilder::default(), DefaultLifecycle::default()))
    }
}

impl ReleasedBodies {
    /// Those of this digest, by `read` unless they are known.
    ///
    /// # Errors
    /// Those of `read`, of which nothing is kept.
    pub async fn get<E>(&self, digest: &Digest, read: impl Future<Output = Result<Bytes, E>>) -> Result<Bytes, E> {
        if let Some(known) = self.0.get(digest) {
            return Ok(known);
        }
        // Who asks meanwhile reads too: when the database does not answer, nobody is to wait for another's failure.
        let body = read.await?;
        self.0.insert(*digest, body.clone());
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use fateh_common::catalogue::MAX_BODY;

    use super::*;

    /// Reads of a body that there is, or is not.
    fn read(reads: &AtomicU32, body: Option<Bytes>) -> impl Future<Output = Result<Bytes, &'static str>> {
        futures::future::lazy(|_| {
            reads.fetch_add(1, Ordering::Relaxed);
            body.ok_or("not found")
        })
    }

    #[tokio::test]
    async fn what_is_known_is_not_read_again_and_what_is_not_there_is() {
        let (bodies, reads) = (ReleasedBodies::default(), AtomicU32::new(0));
        let body = Bytes::from(vec![b'x'; MAX_BODY]);
        let digest = Digest::of(&body);
        assert_eq!(bodies.get(&digest, read(&reads, None)).await, Err("not found"));
        for _ in 0..10 {
            let answer = bodies.get(&digest, read(&reads, Some(body.clone()))).await;
            assert_eq!(answer.as_ref(), Ok(&body), "even the longest");
        }
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn no_more_is_kept_than_there_is_room_for() {
        let (bodies, reads) = (ReleasedBodies::default(), AtomicU32::new(0));
        for index in 0..200_u8 {
            let body = Bytes::from(vec![index; 100_000]);
            bodies.get(&Digest::of(&body), read(&reads, Some(body.clone()))).await.unwrap();
        }
        assert!(bodies.0.weight() <= ROOM && bodies.0.weight() > ROOM / 2, "{}", bodies.0.weight());
    }
}

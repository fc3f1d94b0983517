//! Which connections over plain HTTP this edge has, so that a request that came to any worker finds the
//! one that it belongs to. Shared by all workers; whoever knows the name of a connection may send on
//! it, so names cannot be guessed and are told to nobody else.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use sterna_core::Encoding;
use tokio::sync::{Semaphore, mpsc, watch};

use super::posts::{Post, Waiting};

/// Requests of one connection that are read or wait at a time: one, and one more that repeats it.
pub(crate) const POSTS_AT_ONCE: usize = 2;

/// Names a connection: 128 bits by chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StreamId(u128);

impl StreamId {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// As it was written.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Not in logs: it is a right.
impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamId(…)")
    }
}

/// All connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// No more than the edge has connections: each has one of its own for what it receives.
    ways: Mutex<AHashMap<StreamId, Way>>,
    count: watch::Sender<usize>,
}

/// How requests get to a connection.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) encoding: Encoding,
    posts: mpsc::Sender<Post>,
    places: Arc<Semaphore>,
}

/// Found by its name until this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    directory: Directory,
    pub(crate) id: StreamId,
}

impl Directory {
    /// A new connection, and where its requests come in.
    pub(crate) fn list(&self, encoding: Encoding) -> (Listed, mpsc::Receiver<Post>) {
        let (posts, received) = mpsc::channel(POSTS_AT_ONCE);
        let places = Arc::new(Semaphore::new(POSTS_AT_ONCE));
        let id = StreamId::random();
        let count = {
            let mut ways = self.ways();
            ways.insert(id, Way { encoding, posts, places });
            ways.len()
        };
        self.0.count.send_replace(count);
        (Listed { directory: self.clone(), id }, received)
    }

    pub(crate) fn find(&self, id: &StreamId) -> Option<Way> {
        self.ways().get(id).cloned()
    }

    /// Completes when there is no connection.
    pub(crate) async fn emptied(&self) {
        let mut count = self.0.count.subscribe();
        if count.wait_for(|count| *count == 0).await.is_err() {
            unreachable!("this holds the sender");
        }
    }

    fn ways(&self) -> MutexGuard<'_, AHashMap<StreamId, Way>> {
        // Every change is complete before anything can panic.
        self.0.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let count = {
            let mut ways = self.directory.ways();
            ways.remove(&self.id);
            ways.len()
        };
        self.directory.0.count.send_replace(count);
    }
}

impl Way {
    /// A place for one more request; to be held until the connection has it. `None`: all are taken.
    pub(crate) fn place(&self) -> Option<Waiting> {
        self.places.clone().try_acquire_owned().ok().map(Waiting::new)
    }

    /// False: the connection has ended.
    pub(crate) fn send(&self, post: Post) -> bool {
        // There is room for whoever has a place.
        self.posts.try_send(post).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::super::posts::{Turn, What};
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        let id = StreamId(0xab);
        let text = id.to_string();
        assert_eq!(text, "000000000000000000000000000000ab");
        assert_eq!(StreamId::parse(&text), Some(id));
        for bad in
            ["", "ab", "000000000000000000000000000000AB", "+00000000000000000000000000000ab"]
        {
            assert_eq!(StreamId::parse(bad), None, "{bad}");
        }
        assert!(!format!("{id:?}").contains("ab"));
        assert_ne!(StreamId::random(), StreamId::random());
    }

    #[test]
    fn a_connection_is_found_while_it_is_listed() {
        let directory = Directory::default();
        assert!(directory.emptied().now_or_never().is_some());
        let (listed, _posts) = directory.list(Encoding::Json);
        assert_eq!(directory.find(&listed.id).unwrap().encoding, Encoding::Json);
        assert!(directory.find(&StreamId::random()).is_none());
        assert!(directory.emptied().now_or_never().is_none());
        let id = listed.id;
        drop(listed);
        assert!(directory.find(&id).is_none());
        assert!(directory.emptied().now_or_never().is_some());
    }

    #[test]
    fn who_has_a_place_has_room_and_others_have_none() {
        let directory = Directory::default();
        let (listed, mut posts) = directory.list(Encoding::Protobuf);
        let way = directory.find(&listed.id).unwrap();
        for _ in 0..POSTS_AT_ONCE {
            let (answer, _) = oneshot::channel::<Turn>();
            let waiting = way.place().unwrap();
            assert!(way.send(Post { what: What::Leave, answer, waiting }));
        }
        assert!(way.place().is_none());
        drop(posts.try_recv().unwrap());
        let waiting = way.place().unwrap();
        drop(posts);
        let (answer, _) = oneshot::channel::<Turn>();
        assert!(!way.send(Post { what: What::Leave, answer, waiting }), "nobody is there");
    }
}

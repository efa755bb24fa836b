//! The work queue of a controller: names that are to be looked at, each in one pass at a time, so many at once. kube's
//! `Controller` needs a cache of its own kind, in which thousands of nodes have their names, UIDs and versions twice.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How soon a name is looked at again whose pass panicked.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// What comes after a pass: another one after so long; none: only when it is asked for.
pub type Again = Option<Duration>;

/// When passes begin and end, and how many are made at once.
pub struct Terms {
    /// Passes at once; none would be one.
    pub concurrency: usize,
    /// The first pass waits for it; what is asked for until then is not lost.
    pub begin: CancellationToken,
    /// No pass begins after it.
    pub end: CancellationToken,
}

/// Makes a pass for each name that is asked for. What is asked for while it waits is one pass; what is asked for during
/// its pass is another one afterwards. Returns when those passes are finished that had begun before the end.
pub async fn work<P>(asked: impl Stream<Item = String>, terms: Terms, mut pass: impl FnMut(Arc<str>) -> P)
where
    P: Future<Output = Again> + Send + 'static,
{
    let Terms { concurrency, begin, end } = terms;
    let mut asked = pin!(asked.fuse());
    let mut queue = Queue::default();
    let mut passes = JoinSet::new();
    loop {
        queue.wake(Instant::now());
        while begin.is_cancelled()
            && !end.is_cancelled()
            && passes.len() < concurrency.max(1)
            && let Some(name) = queue.begin()
        {
            // Boxed: a task that takes it and then awaits it would have room for it twice.
            let made = AssertUnwindSafe(pass(Arc::clone(&name))).catch_unwind().boxed();
            passes.spawn(async move {
                let again = made.await.unwrap_or_else(|_| {
                    tracing::error!(name = &*name, again_in = ?AFTER_PANIC, "a pass panicked");
                    Some(AFTER_PANIC)
                });
                (name, again)
            });
        }
        let next = queue.next();
        tokio::select! {
            () = end.cancelled() => break,
            () = begin.cancelled(), if !begin.is_cancelled() => {}
            Some(name) = asked.next() => queue.ask(&name),
            Some(Ok((name, again))) = passes.join_next() => {
                queue.end(&name, again.map(|wait| Instant::now() + wait));
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
    while passes.join_next().await.is_some() {}
}

/// Where each name is. Nothing is kept of one that nobody asks for.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<str>>,
    later: BTreeSet<(Instant, Arc<str>)>,
    states: HashMap<Arc<str>, State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Later(Instant),
    Begun { asked_again: bool },
}

impl Queue {
    /// Asks for a pass.
    fn ask(&mut self, name: &str) {
        match self.states.get_mut(name) {
            Some(State::Waiting) => {}
            Some(State::Begun { asked_again }) => *asked_again = true,
            Some(State::Later(when)) => {
                let (name, when) = (Arc::from(name), *when);
                self.later.remove(&(when, Arc::clone(&name)));
                self.wait(name);
            }
            None => self.wait(name.into()),
        }
    }

    fn wait(&mut self, name: Arc<str>) {
        self.states.insert(Arc::clone(&name), State::Waiting);
        self.waiting.push_back(name);
    }

    /// Asks for the passes whose time has come.
    fn wake(&mut self, now: Instant) {
        while self.next().is_some_and(|when| when <= now)
            && let Some((_, name)) = self.later.pop_first()
        {
            self.wait(name);
        }
    }

    /// When the first of those that are to come later is to come.
    fn next(&self) -> Option<Instant> {
        self.later.first().map(|(when, _)| *when)
    }

    /// The name that waits longest; its pass has begun.
    fn begin(&mut self) -> Option<Arc<str>> {
        let name = self.waiting.pop_front()?;
        self.states.insert(Arc::clone(&name), State::Begun { asked_again: false });
        Some(name)
    }

    /// A pass has ended, and is to come again at a time.
    fn end(&mut self, name: &Arc<str>, again: Option<Instant>) {
        let asked_again = self.states.get(name) == Some(&State::Begun { asked_again: true });
        match again {
            _ if asked_again => self.wait(Arc::clone(name)),
            Some(when) => {
                self.states.insert(Arc::clone(name), State::Later(when));
                self.later.insert((when, Arc::clone(name)));
            }
            None => drop(self.states.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ask(usize),
        Begin,
        /// The pass that began first ends, and is to come again after so many seconds.
        End(Option<u64>),
        Pass(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0..3_usize).prop_map(Event::Ask),
            Just(Event::Begin),
            prop::option::of(1..5_u64).prop_map(Event::End),
            (1..5_u64).prop_map(Event::Pass),
        ];
        prop::collection::vec(event, 0..60)
    }

    proptest! {
        /// A name that is asked for gets a pass that begins afterwards, and never two at once; nothing is kept of others.
        #[test]
        fn whatever_is_asked_for_is_done_once(events in events()) {
            let names = ["a", "b", "c"];
            let mut queue = Queue::default();
            let mut now = Instant::now();
            let mut begun: VecDeque<Arc<str>> = VecDeque::new();
            let mut owed = BTreeSet::new();
            let mut later = HashMap::new();
            let close = [Event::Pass(10)].into_iter().chain([Event::Begin, Event::End(None)].into_iter().cycle().take(20));
            for event in events.into_iter().chain(close) {
                match event {
                    Event::Ask(index) => {
                        queue.ask(names[index]);
                        owed.insert(names[index].to_owned());
                    }
                    Event::Begin => if let Some(name) = queue.begin() {
                        prop_assert!(!begun.contains(&name), "two passes at once");
                        let was_owed = owed.remove(&*name);
                        let was_due = later.remove(&*name).is_some_and(|when| when <= now);
                        prop_assert!(was_owed || was_due, "{name} was begun for nothing");
                        begun.push_back(name);
                    },
                    Event::End(again) => if let Some(name) = begun.pop_front() {
                        let again = again.map(|seconds| now + Duration::from_secs(seconds));
                        queue.end(&name, again);
                        if !owed.contains(&*name) {
                            later.extend(again.map(|when| (name.to_string(), when)));
                        }
                    },
                    Event::Pass(seconds) => {
                        now += Duration::from_secs(seconds);
                        queue.wake(now);
                    }
                }
                for name in owed.iter().filter(|name| !begun.iter().any(|begun| **begun == **name)) {
                    prop_assert!(queue.waiting.iter().any(|waiting| **waiting == **name), "{name} has to wait for a time");
                }
                prop_assert_eq!(queue.next().is_some(), queue.states.values().any(|state| matches!(state, State::Later(_))));
            }
            prop_assert!(owed.is_empty() && later.is_empty(), "{owed:?} and {later:?} are left");
            prop_assert!(queue.states.is_empty() && queue.waiting.is_empty() && queue.later.is_empty());
        }
    }

    fn terms(concurrency: usize) -> Terms {
        Terms { concurrency, begin: CancellationToken::new(), end: CancellationToken::new() }
    }

    /// A queue that works; passes tell when they begin, and end when they are told what comes after.
    struct Working {
        ask: mpsc::UnboundedSender<String>,
        begun: mpsc::UnboundedReceiver<(Arc<str>, oneshot::Sender<Again>)>,
        end: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn working(terms: Terms) -> Working {
        let (ask, asked) = mpsc::unbounded_channel();
        let (tell, begun) = mpsc::unbounded_channel();
        let asked = futures::stream::unfold(asked, |mut asked| async { Some((asked.recv().await?, asked)) });
        let end = terms.end.clone();
        let task = tokio::spawn(work(asked, terms, move |name| {
            let (told, answer) = oneshot::channel();
            tell.send((name, told)).unwrap();
            async { answer.await.expect("told to panic") }
        }));
        Working { ask, begun, end, task }
    }

    #[tokio::test]
    async fn passes_wait_for_their_beginning_and_for_room() {
        let terms = terms(1);
        let begin = terms.begin.clone();
        let mut working = working(terms);
        for name in ["a", "b", "a"] {
            working.ask.send(name.to_owned()).unwrap();
        }
        tokio::task::yield_now().await;
        assert!(working.begun.try_recv().is_err(), "nothing begins before its time");
        begin.cancel();
        let (first, told) = working.begun.recv().await.unwrap();
        tokio::task::yield_now().await;
        assert!(working.begun.try_recv().is_err(), "there is room for one");
        told.send(None).unwrap();
        let (second, _told) = working.begun.recv().await.unwrap();
        assert_eq!((&*first, &*second), ("a", "b"));
    }

    #[tokio::test]
    async fn a_pass_comes_again_when_it_said_so_and_when_it_is_asked_for_after_a_panic() {
        let terms = terms(4);
        terms.begin.cancel();
        let mut working = working(terms);
        working.ask.send("a".to_owned()).unwrap();
        let (_, told) = working.begun.recv().await.unwrap();
        let (soon, started) = (Duration::from_millis(20), Instant::now());
        told.send(Some(soon)).unwrap();
        let (_, told) = working.begun.recv().await.unwrap();
        assert!(started.elapsed() >= soon);
        drop(told);
        working.ask.send("a".to_owned()).unwrap();
        let (name, _told) = working.begun.recv().await.unwrap();
        assert_eq!(&*name, "a");
    }

    #[tokio::test]
    async fn what_has_begun_is_finished_at_the_end_and_nothing_else_begins() {
        let terms = terms(1);
        terms.begin.cancel();
        let mut working = working(terms);
        for name in ["a", "b"] {
            working.ask.send(name.to_owned()).unwrap();
        }
        let (_, told) = working.begun.recv().await.unwrap();
        working.end.cancel();
        told.send(None).unwrap();
        working.task.await.unwrap();
        assert!(working.begun.try_recv().is_err());
    }
}

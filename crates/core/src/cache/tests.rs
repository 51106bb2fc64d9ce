//! Tests the cache against a scripted cloud: each test sends the answers one by one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use vpn_cloud::{CloudError, ErrorKind, Operation};

use crate::cache::queries::MAX_GETS;
use crate::cache::*;

const KEY: &str = "owner";

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct TestResource {
    id: String,
    name: String,
    tags: Option<BTreeMap<String, String>>,
    is_partial: bool,
}

impl Remote for TestResource {
    const TAGGED: bool = true;

    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> Option<&BTreeMap<String, String>> {
        self.tags.as_ref()
    }
    fn set_tags(&mut self, tags: Option<BTreeMap<String, String>>) {
        self.tags = tags;
    }
    fn complete_from(&mut self, _: &Self) {}
    fn is_partial(&self) -> bool {
        self.is_partial
    }
}

fn thing(id: &str, name: &str) -> TestResource {
    TestResource {
        id: id.to_owned(),
        name: name.to_owned(),
        tags: Some(BTreeMap::new()),
        is_partial: false,
    }
}

fn owned(id: &str, uid: &str) -> TestResource {
    let tags = BTreeMap::from([(KEY.to_owned(), format!("{uid}:c:n:x"))]);
    TestResource {
        tags: Some(tags),
        ..thing(id, "x")
    }
}

enum ScriptedRead {
    List(oneshot::Sender<Result<Listing<TestResource>, CloudError>>),
    Get(String, oneshot::Sender<Result<TestResource, CloudError>>),
    Tags(String, oneshot::Sender<Result<BTreeMap<String, String>, CloudError>>),
    AllTags(oneshot::Sender<Result<TagsById, CloudError>>),
}

struct Script {
    calls: mpsc::UnboundedSender<ScriptedRead>,
    /// Permits of the rate limiter.
    permits: Arc<Semaphore>,
}

impl Script {
    fn ask<'a, T: Send + 'a>(
        &'a self,
        run: &'a RunningQuery,
        call: impl FnOnce(oneshot::Sender<Result<T, CloudError>>) -> ScriptedRead + Send + 'a,
    ) -> BoxFuture<'a, Result<T, CloudError>> {
        let (sender, answer) = oneshot::channel();
        Box::pin(async move {
            self.permits.acquire().await.expect("the test permits it").forget();
            run.starts(self.cloud_now());
            self.calls.send(call(sender)).expect("the test listens");
            answer.await.expect("the test answers")
        })
    }
}

impl Source<TestResource> for Script {
    fn list<'a>(
        &'a self,
        run: &'a RunningQuery,
        keep: &'a KeepItem<'a, TestResource>,
    ) -> BoxFuture<'a, Result<Listing<ListedItem<TestResource>>, CloudError>> {
        let answer = self.ask(run, ScriptedRead::List);
        Box::pin(async move {
            let listing = answer.await?;
            Ok(Listing {
                items: listing.items.into_iter().map(keep).collect(),
                complete: listing.complete,
            })
        })
    }
    fn get<'a>(&'a self, run: &'a RunningQuery, id: &'a str) -> BoxFuture<'a, Result<TestResource, CloudError>> {
        self.ask(run, |sender| ScriptedRead::Get(id.to_owned(), sender))
    }
    fn tags<'a>(
        &'a self,
        run: &'a RunningQuery,
        id: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        self.ask(run, |sender| ScriptedRead::Tags(id.to_owned(), sender))
    }
    fn all_tags<'a>(&'a self, run: &'a RunningQuery) -> BoxFuture<'a, Result<TagsById, CloudError>> {
        self.ask(run, ScriptedRead::AllTags)
    }
    fn operation(&self, _: &Query) -> Operation {
        Operation::ListCustomerGateways
    }
    fn cloud_now(&self) -> Option<Timestamp> {
        Some(Timestamp::UNIX_EPOCH)
    }
    fn listed(&self, _: Result<usize, &CloudError>) {}
}

struct ScriptedCache {
    cache: Arc<Cache<TestResource, &'static str>>,
    calls: mpsc::UnboundedReceiver<ScriptedRead>,
    enqueued: mpsc::UnboundedReceiver<&'static str>,
    permits: Arc<Semaphore>,
}

impl ScriptedCache {
    fn new() -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let (enqueue, enqueued) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let source = Arc::new(Script {
            calls: sender,
            permits: Arc::clone(&permits),
        });
        let cache = Cache::new(KEY.to_owned(), source, move |reader| {
            enqueue.send(reader).expect("the test listens");
        });
        Self {
            cache,
            calls,
            enqueued,
            permits,
        }
    }

    /// Returns a bench whose cache has listed these.
    async fn primed(things: Vec<TestResource>) -> Self {
        let mut bench = Self::new();
        bench
            .cache
            .request("primer", Query::Collection, Instant::now(), Urgency::Reader);
        bench.answer_list(things, true).await;
        assert_eq!(bench.enqueued.recv().await, Some("primer"));
        tick().await;
        bench
    }

    async fn answer_list(&mut self, items: Vec<TestResource>, complete: bool) {
        let Some(ScriptedRead::List(sender)) = self.calls.recv().await else {
            panic!("a LIST was expected")
        };
        sender
            .send(Ok(Listing { items, complete }))
            .ok()
            .expect("the cache waits");
    }

    async fn answer_get(&mut self, expected: &str, answer: Result<TestResource, CloudError>) {
        let Some(ScriptedRead::Get(id, sender)) = self.calls.recv().await else {
            panic!("a GET was expected")
        };
        assert_eq!(id, expected);
        sender.send(answer).expect("the cache waits");
    }

    async fn answer_all_tags(&mut self, answer: Result<TagsById, CloudError>) {
        let Some(ScriptedRead::AllTags(sender)) = self.calls.recv().await else {
            panic!("all tags were expected")
        };
        sender.send(answer).expect("the cache waits");
    }

    /// Answers GETs of single objects, each without tags, and returns their ids.
    async fn answer_gets(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let Some(ScriptedRead::Get(id, sender)) = self.calls.recv().await else {
                panic!("GETs were expected")
            };
            sender.send(Ok(thing(&id, "x"))).expect("the cache waits");
            ids.push(id);
        }
        ids
    }

    /// Asserts that no further call or enqueue happens.
    async fn assert_quiet(&mut self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(self.calls.try_recv().is_err(), "no call was expected");
        assert!(self.enqueued.try_recv().is_err(), "no enqueue was expected");
    }

    fn name_of(&self, id: &str) -> Option<String> {
        match self.cache.known().sighting(id, None) {
            Observed::Seen { remote, .. } => Some(remote.name),
            _ => None,
        }
    }
}

/// Advances the clock, which is otherwise paused in these tests.
async fn tick() {
    tokio::time::advance(Duration::from_millis(1)).await;
}

fn not_found() -> CloudError {
    CloudError::new(Operation::GetCustomerGateway, ErrorKind::Gone, "no such thing")
}

fn fault() -> CloudError {
    CloudError::new(Operation::ListCustomerGateways, ErrorKind::CloudFault, "down")
}

#[tokio::test(start_paused = true)]
async fn the_first_read_is_a_list() {
    let mut bench = ScriptedCache::new();
    bench
        .cache
        .request("a", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
    bench.answer_list(vec![thing("1", "one")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_reader_causes_a_get() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    let since = Instant::now();
    assert!(matches!(
        bench.cache.known().sighting("1", Some(since)),
        Observed::Seen { fresh: false, .. }
    ));
    bench
        .cache
        .request("a", Query::Object("1".to_owned()), since, Urgency::Reader);
    bench.answer_get("1", Ok(thing("1", "uno"))).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert!(matches!(
        bench.cache.known().sighting("1", Some(since)),
        Observed::Seen {
            fresh: true,
            full: true,
            ..
        }
    ));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_sufficiently_recent_response_is_not_requested_again() {
    let since = Instant::now();
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench
        .cache
        .request("a", Query::Object("1".to_owned()), since, Urgency::Reader);
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_one_list() {
    const IDS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let all: Vec<_> = IDS.iter().map(|id| thing(id, id)).collect();
    let mut bench = ScriptedCache::primed(all.clone()).await;
    for id in IDS {
        bench
            .cache
            .request(id, Query::Object(id.to_owned()), Instant::now(), Urgency::Reader);
    }
    let (mut gets, mut lists) = (0, 0);
    let mut enqueued = HashSet::new();
    while enqueued.len() < IDS.len() {
        tokio::select! {
            call = bench.calls.recv() => match call {
                Some(ScriptedRead::List(sender)) => {
                    lists += 1;
                    sender.send(Ok(Listing { items: all.clone(), complete: true })).ok().expect("the cache waits");
                }
                Some(ScriptedRead::Get(id, sender)) => {
                    gets += 1;
                    sender.send(Ok(thing(&id, &id))).expect("the cache waits");
                }
                _ => panic!("no tags were requested"),
            },
            Some(reader) = bench.enqueued.recv() => {
                enqueued.insert(reader);
            }
        }
    }
    assert_eq!(lists, 1);
    assert!(gets <= MAX_GETS, "{gets} GETs");
}

#[tokio::test(start_paused = true)]
async fn readers_of_whole_objects_cause_one_get_each() {
    const IDS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let all: Vec<_> = IDS.iter().map(|id| thing(id, id)).collect();
    let mut bench = ScriptedCache::primed(all).await;
    for id in IDS {
        bench
            .cache
            .request(id, Query::Whole(id.to_owned()), Instant::now(), Urgency::Reader);
    }
    let mut asked = HashSet::new();
    while asked.len() < IDS.len() {
        let Some(ScriptedRead::Get(id, sender)) = bench.calls.recv().await else {
            panic!("only GETs were expected")
        };
        tick().await;
        sender.send(Ok(thing(&id, &id))).expect("the cache waits");
        let reader = bench.enqueued.recv().await.expect("the reader is enqueued");
        assert_eq!(reader, id);
        let sighting = bench.cache.known().sighting(&id, None);
        assert!(matches!(sighting, Observed::Seen { full: true, .. }), "{sighting:?}");
        assert!(asked.insert(id), "each is read once");
    }
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_started_before_a_write_does_not_undo_it() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.relist();
    let Some(ScriptedRead::List(sender)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    bench.cache.wrote(thing("1", "renamed by us"));
    bench.cache.wrote(thing("2", "created by us"));
    bench.cache.known().hold(&"a", "uid", Some("2"));
    sender
        .send(Ok(Listing {
            items: vec![thing("1", "one")],
            complete: true,
        }))
        .ok()
        .expect("the cache waits");
    bench.assert_quiet().await;
    assert_eq!(bench.name_of("1").as_deref(), Some("renamed by us"));
    assert_eq!(bench.name_of("2").as_deref(), Some("created by us"));
    // The same holds for a GET that began before the write.
    tick().await;
    bench
        .cache
        .request("b", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::Get(_, sender)) = bench.calls.recv().await else {
        panic!("a GET was expected")
    };
    tick().await;
    bench.cache.wrote(thing("1", "renamed again"));
    sender.send(Ok(thing("1", "renamed by us"))).expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("b"));
    assert_eq!(bench.name_of("1").as_deref(), Some("renamed again"));
}

#[tokio::test(start_paused = true)]
async fn an_older_read_does_not_restore_a_deleted_entry() {
    let mut bench = ScriptedCache::primed(vec![owned("1", "former"), owned("2", "former")]).await;
    bench
        .cache
        .request("b", Query::Object("2".to_owned()), Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::Get(_, get)) = bench.calls.recv().await else {
        panic!("a GET was expected")
    };
    bench.cache.relist();
    let Some(ScriptedRead::List(list)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    bench.cache.known().hold(&"a", "former", Some("1"));
    bench.cache.wrote_absence(&"a", "1");
    bench.cache.wrote_absence(&"a", "2");
    bench.cache.known().forget(&"a");
    get.send(Ok(owned("2", "former"))).expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("b"));
    let items = vec![owned("1", "former"), owned("2", "former")];
    let listing = Listing { items, complete: true };
    list.send(Ok(listing)).ok().expect("the cache waits");
    bench.assert_quiet().await;
    assert_eq!(bench.cache.known().owned_by("former"), []);
    // An object in a LIST that starts now exists again.
    bench.cache.relist();
    bench.answer_list(vec![owned("1", "former")], true).await;
    bench.assert_quiet().await;
    assert_eq!(bench.cache.known().owned_by("former").len(), 1);
    assert!(bench.cache.known().tombstones.is_empty());
}

#[tokio::test(start_paused = true)]
async fn absence_from_a_list_marks_a_held_entry_as_missing_only() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.known().hold(&"a", "uid", Some("1"));
    bench.cache.relist();
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().sighting("1", None), Observed::Missing);
    bench
        .cache
        .request("a", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
    bench.answer_get("1", Err(not_found())).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().sighting("1", None), UNCONFIRMED);
    tick().await;
    bench
        .cache
        .request("a", Query::Collection, Instant::now(), Urgency::Reader);
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().sighting("1", None), Observed::Absent);
    // When it is back, its holder is enqueued.
    tick().await;
    bench.cache.relist();
    bench.answer_list(vec![thing("1", "one")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
}

const UNCONFIRMED: Observed<TestResource> = Observed::Unconfirmed { list_incomplete: false };

#[tokio::test(start_paused = true)]
async fn a_404_is_confirmed_by_a_complete_list_started_later() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one"), thing("2", "two")]).await;
    bench.cache.known().hold(&"a", "uid", Some("1"));
    // A LIST that is in progress when the GET is sent does not confirm its answer.
    bench.cache.relist();
    let Some(ScriptedRead::List(early)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    let since = Instant::now();
    bench
        .cache
        .request("a", Query::Object("1".to_owned()), since, Urgency::Reader);
    bench.answer_get("1", Err(not_found())).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    let listing = Listing {
        items: vec![thing("2", "two")],
        complete: true,
    };
    early.send(Ok(listing)).ok().expect("the cache waits");
    bench.assert_quiet().await;
    assert_eq!(bench.cache.known().sighting("1", Some(since)), UNCONFIRMED);
    tick().await;
    bench.cache.request("a", Query::Collection, since, Urgency::Reader);
    bench.answer_list(vec![thing("2", "two")], false).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    let incomplete = Observed::Unconfirmed { list_incomplete: true };
    assert_eq!(bench.cache.known().sighting("1", Some(since)), incomplete);
    tick().await;
    bench.cache.request("a", Query::Collection, since, Urgency::Reader);
    bench.answer_list(vec![thing("2", "two")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().sighting("1", Some(since)), Observed::Absent);
    // It counts for queries from before the request, not for queries from now on.
    tick().await;
    let later = bench.cache.known().sighting("1", Some(Instant::now()));
    assert!(
        !matches!(later, Observed::Absent | Observed::Unconfirmed { .. }),
        "{later:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_false_404_is_corrected_by_the_confirming_list() {
    for by_write in [false, true] {
        let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
        bench.cache.known().hold(&"a", "uid", Some("1"));
        let since = Instant::now();
        if by_write {
            bench.cache.wrote_absence(&"a", "1");
        } else {
            bench
                .cache
                .request("a", Query::Object("1".to_owned()), since, Urgency::Reader);
            bench.answer_get("1", Err(not_found())).await;
            assert_eq!(bench.enqueued.recv().await, Some("a"));
        }
        assert_eq!(bench.cache.known().sighting("1", Some(since)), UNCONFIRMED);
        tick().await;
        bench.cache.request("a", Query::Collection, since, Urgency::Reader);
        bench.answer_list(vec![thing("1", "one")], true).await;
        assert_eq!(bench.enqueued.recv().await, Some("a"));
        let sighting = bench.cache.known().sighting("1", Some(since));
        assert!(matches!(sighting, Observed::Seen { fresh: true, .. }), "{sighting:?}");
        assert_eq!(bench.cache.known().lost_at("1"), None, "there again");
    }
}

#[tokio::test(start_paused = true)]
async fn one_list_confirms_many_404s() {
    const IDS: [&str; 4] = ["0", "1", "2", "3"];
    let mut bench = ScriptedCache::primed(IDS.iter().map(|id| thing(id, id)).collect()).await;
    let since = Instant::now();
    for id in IDS {
        bench.cache.known().hold(&id, id, Some(id));
        bench
            .cache
            .request(id, Query::Object(id.to_owned()), since, Urgency::Reader);
    }
    for _ in IDS {
        let Some(ScriptedRead::Get(_, sender)) = bench.calls.recv().await else {
            panic!("a GET was expected")
        };
        sender.send(Err(not_found())).expect("the cache waits");
        assert!(bench.enqueued.recv().await.is_some());
    }
    tick().await;
    for id in IDS {
        bench.cache.request(id, Query::Collection, since, Urgency::Reader);
    }
    bench.answer_list(Vec::new(), true).await;
    for id in IDS {
        assert!(bench.enqueued.recv().await.is_some());
        assert_eq!(bench.cache.known().sighting(id, Some(since)), Observed::Absent);
    }
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_list_marks_nothing_as_missing() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.known().hold(&"a", "uid", Some("1"));
    bench.cache.relist();
    bench.answer_list(Vec::new(), false).await;
    bench.assert_quiet().await;
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
    assert_eq!(
        bench.cache.known().listed(None).map(|listed| listed.complete),
        Some(false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_enqueues_only_holders_of_changed_entries() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one"), thing("2", "two")]).await;
    bench.cache.known().hold(&"a", "uid-a", Some("1"));
    bench.cache.known().hold(&"b", "uid-b", Some("2"));
    bench.cache.relist();
    bench
        .answer_list(vec![thing("1", "one"), thing("2", "changed")], true)
        .await;
    assert_eq!(bench.enqueued.recv().await, Some("b"));
    bench.assert_quiet().await;
    // A new object with the uid of a reader, and a new object that is only watched.
    bench.cache.known().watch(&"a", Some("4"));
    tick().await;
    bench.cache.relist();
    let things = vec![
        thing("1", "one"),
        thing("2", "changed"),
        owned("3", "uid-b"),
        thing("4", "four"),
    ];
    bench.answer_list(things, true).await;
    let enqueued = HashSet::from([bench.enqueued.recv().await, bench.enqueued.recv().await]);
    assert_eq!(enqueued, HashSet::from([Some("a"), Some("b")]));
    assert_eq!(bench.cache.known().owned_by("uid-b").len(), 1);
    bench.assert_quiet().await;
}

/// A GET and a LIST are in progress for one reader; the LIST answers it, and the GET then returns something else.
#[tokio::test(start_paused = true)]
async fn a_late_read_result_enqueues_the_holder_of_its_entry() {
    for answer in [Ok(thing("1", "changed")), Err(not_found())] {
        let is_absent = answer.is_err();
        let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
        bench.cache.known().hold(&"a", "uid-a", Some("1"));
        bench
            .cache
            .request("a", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
        let Some(ScriptedRead::Get(_, get)) = bench.calls.recv().await else {
            panic!("a GET was expected")
        };
        bench.cache.relist();
        bench.answer_list(vec![thing("1", "one")], true).await;
        assert_eq!(bench.enqueued.recv().await, Some("a"), "the LIST answers the query");
        bench.assert_quiet().await;
        tick().await;
        // The GET began before the LIST, so its answer is not newer.
        get.send(answer).expect("the cache waits");
        bench.assert_quiet().await;

        tick().await;
        bench
            .cache
            .request("b", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
        let news = if is_absent {
            Err(not_found())
        } else {
            Ok(thing("1", "changed"))
        };
        bench.answer_get("1", news).await;
        let enqueued = HashSet::from([bench.enqueued.recv().await, bench.enqueued.recv().await]);
        assert_eq!(
            enqueued,
            HashSet::from([Some("a"), Some("b")]),
            "the object that has it did not request it"
        );
        bench.assert_quiet().await;
        // A later LIST finds nothing new.
        tick().await;
        bench.cache.relist();
        let listed = if is_absent { vec![] } else { vec![thing("1", "changed")] };
        bench.answer_list(listed, true).await;
        bench.assert_quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn lists_without_tags_keep_known_tags_or_make_them_unknown() {
    let silent = |id: &str| TestResource {
        tags: None,
        ..thing(id, "x")
    };
    let mut bench = ScriptedCache::primed(vec![silent("1"), owned("2", "uid-b")]).await;
    assert_eq!(bench.cache.known().tags_unknown(|_| true), ["1"]);
    bench
        .cache
        .request("a", Query::Tags("1".to_owned()), Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::Tags(id, sender)) = bench.calls.recv().await else {
        panic!("tags were expected")
    };
    assert_eq!(id, "1");
    sender
        .send(Ok(owned("1", "uid-a").tags.unwrap_or_default()))
        .expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().owned_by("uid-a").len(), 1);
    tick().await;
    bench.cache.relist();
    bench.answer_list(vec![silent("1"), silent("2")], true).await;
    bench.assert_quiet().await;
    assert_eq!(bench.cache.known().owned_by("uid-a").len(), 1);
    assert_eq!(bench.cache.known().owned_by("uid-b").len(), 0);
    assert_eq!(bench.cache.known().tags_unknown(|_| true), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_failure_is_returned_once_to_each_requester() {
    let mut bench = ScriptedCache::primed(Vec::new()).await;
    bench
        .cache
        .request("a", Query::Collection, Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::List(sender)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    sender.send(Err(fault())).ok().expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert!(bench.cache.take_failure(&"a").is_some());
    assert!(bench.cache.take_failure(&"a").is_none());
    assert!(bench.cache.take_failure(&"b").is_none());
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_started_before_the_request_does_not_answer_it() {
    let mut bench = ScriptedCache::primed(Vec::new()).await;
    bench
        .cache
        .request("a", Query::Collection, Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::List(early)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    let since = Instant::now();
    bench.cache.request("b", Query::Collection, since, Urgency::Reader);
    early
        .send(Ok(Listing::<TestResource> {
            items: Vec::new(),
            complete: true,
        }))
        .ok()
        .expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(
        bench.cache.known().listed(Some(since)).map(|listed| listed.fresh),
        Some(false)
    );
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.enqueued.recv().await, Some("b"));
    assert_eq!(
        bench.cache.known().listed(Some(since)).map(|listed| listed.fresh),
        Some(true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_replaced_holder_can_hold_the_entry_again() {
    let bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    let holder = || bench.cache.known().holders.get("1").copied();
    bench.cache.known().hold(&"a", "uid-a", Some("1"));
    assert_eq!(holder(), Some("a"));
    // Another reader claims it, and then does not.
    bench.cache.known().hold(&"b", "uid-b", Some("1"));
    bench.cache.known().hold(&"b", "uid-b", None);
    bench.cache.known().hold(&"a", "uid-a", Some("1"));
    assert_eq!(holder(), Some("a"));
    bench.cache.known().forget(&"a");
    assert_eq!(holder(), None);
}

#[tokio::test(start_paused = true)]
async fn more_than_ten_and_a_fifth_missing_is_a_mass_deletion() {
    const READERS: [&str; 60] = {
        let mut readers = [""; 60];
        let digits = "000102030405060708091011121314151617181920212223242526272829\
                      303132333435363738394041424344454647484950515253545556575859";
        let mut number = 0;
        while number < 60 {
            let (_, rest) = digits.split_at(2 * number);
            readers[number] = rest.split_at(2).0;
            number += 1;
        }
        readers
    };
    for (held, missing, suspected) in [(12, 10, false), (12, 11, true), (60, 12, false), (60, 13, true)] {
        let all: Vec<_> = READERS[..held].iter().map(|id| thing(id, id)).collect();
        let mut bench = ScriptedCache::primed(all.clone()).await;
        for id in &READERS[..held] {
            bench.cache.known().hold(id, id, Some(id));
        }
        bench.cache.relist();
        bench.answer_list(all[missing..].to_vec(), true).await;
        for _ in 0..missing {
            assert!(bench.enqueued.recv().await.is_some());
        }
        let expected = suspected.then_some(MassDeletion { missing, of: held });
        let known = bench.cache.known();
        let lost_at = known.lost_at(READERS[0]).expect("lost");
        let losses = known.losses(lost_at, Duration::ZERO);
        assert_eq!(
            MassDeletion::suspected(losses.0, losses.1),
            expected,
            "{missing} of {held}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_recreated_loss_counts_once_with_later_losses() {
    const READERS: [&str; 4] = ["a", "b", "c", "d"];
    const WINDOW: Duration = Duration::from_secs(60);
    let mut bench = ScriptedCache::primed(READERS.iter().map(|id| thing(id, id)).collect()).await;
    for id in READERS {
        bench.cache.known().hold(&id, id, Some(id));
    }
    let losses = |bench: &ScriptedCache, id: &str| {
        let known = bench.cache.known();
        known.losses(known.lost_at(id).expect("lost"), WINDOW)
    };
    let rest: Vec<_> = READERS[2..].iter().map(|id| thing(id, id)).collect();
    bench.cache.relist();
    bench.answer_list(rest, true).await;
    for _ in 0..2 {
        assert!(bench.enqueued.recv().await.is_some());
    }
    assert_eq!(losses(&bench, "a"), (2, 4));
    // One is recreated, the other one is about to be.
    bench.cache.known().hold(&"a", "a", None);
    assert_eq!(losses(&bench, "b"), (2, 4));
    bench.cache.wrote(thing("a2", "a"));
    bench.cache.known().hold(&"a", "a", Some("a2"));
    bench.cache.known().hold(&"b", "b", None);
    tick().await;
    bench.cache.relist();
    bench.answer_list(vec![thing("a2", "a"), thing("d", "d")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("c"));
    assert_eq!(losses(&bench, "c"), (3, 4));
    // The replacement is deleted as well: its reader still counts once.
    tick().await;
    bench.cache.relist();
    bench.answer_list(vec![thing("b", "b"), thing("d", "d")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(losses(&bench, "c"), (2, 3), "b is back, and not held yet");
    bench.cache.known().forget(&"a");
    assert_eq!(losses(&bench, "c"), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_entry_without_holder_leaves_no_state() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.known().hold(&"a", "uid", Some("1"));
    bench.cache.wrote_absence(&"a", "1");
    bench.cache.known().forget(&"a");
    bench.cache.wrote_absence(&"a", "2");
    tick().await;
    bench.cache.relist();
    bench.answer_list(Vec::new(), true).await;
    bench.assert_quiet().await;
    let state = bench.cache.known();
    assert!(
        state.absences.is_empty()
            && state.losses.is_empty()
            && state.missing.is_empty()
            && state.entries.is_empty()
            && state.pending.is_empty()
    );
    assert!(state.uids.is_empty() && state.holders.is_empty() && state.ids.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_read_is_a_failure_and_the_read_is_repeated() {
    let mut bench = ScriptedCache::new();
    bench
        .cache
        .request("reader", Query::Collection, Instant::now(), Urgency::Reader);
    // The scripted cloud panics if the test does not answer.
    drop(bench.calls.recv().await);
    let enqueued = tokio::time::timeout(Duration::from_secs(60), bench.enqueued.recv());
    assert_eq!(enqueued.await.expect("the read ends"), Some("reader"));
    let failure = bench
        .cache
        .take_failure(&"reader")
        .expect("the reader gets the failure");
    assert!(failure.text().contains("panicked"), "{failure}");
    bench
        .cache
        .request("reader", Query::Collection, Instant::now(), Urgency::Reader);
    bench.answer_list(vec![thing("a", "x")], true).await;
    assert_eq!(bench.enqueued.recv().await, Some("reader"));
    assert!(bench.cache.take_failure(&"reader").is_none());
}

#[tokio::test(start_paused = true)]
async fn readers_of_unlisted_ids_are_answered_after_one_list() {
    const IDS: [&str; 5] = ["0", "1", "2", "3", "4"];
    let mut bench = ScriptedCache::new();
    let since = Instant::now();
    for id in IDS {
        bench
            .cache
            .request(id, Query::Object(id.to_owned()), since, Urgency::Reader);
    }
    bench.answer_list(Vec::new(), true).await;
    let mut asked = HashSet::new();
    for _ in IDS {
        let Some(ScriptedRead::Get(id, sender)) = bench.calls.recv().await else {
            panic!("only GETs were expected")
        };
        asked.insert(id);
        sender.send(Err(not_found())).expect("the cache waits");
    }
    let mut enqueued = HashSet::new();
    for _ in IDS {
        enqueued.extend(bench.enqueued.recv().await);
    }
    assert_eq!((asked, enqueued), (IDS.map(str::to_owned).into(), IDS.into()));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn two_404s_around_an_incomplete_list_confirm_a_deletion() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.known().hold(&"a", "uid", Some("1"));
    let observe = |bench: &ScriptedCache| bench.cache.known().sighting("1", None);
    for confirmed in [false, true] {
        tick().await;
        bench
            .cache
            .request("a", Query::Object("1".to_owned()), Instant::now(), Urgency::Reader);
        bench.answer_get("1", Err(not_found())).await;
        assert_eq!(bench.enqueued.recv().await, Some("a"));
        assert_eq!(observe(&bench) == Observed::Absent, confirmed);
        if !confirmed {
            tick().await;
            bench
                .cache
                .request("a", Query::Collection, Instant::now(), Urgency::Reader);
            bench.answer_list(vec![thing("2", "two")], false).await;
            assert_eq!(bench.enqueued.recv().await, Some("a"));
            let unconfirmed = Observed::Unconfirmed { list_incomplete: true };
            assert_eq!(observe(&bench), unconfirmed, "one answer can be wrong");
        }
    }
    // A LIST that contains the object overrules both answers.
    tick().await;
    bench.cache.relist();
    bench.answer_list(vec![thing("1", "one")], false).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert!(matches!(observe(&bench), Observed::Seen { .. }));
}

/// An item of a LIST that omits tags.
fn without_tags(id: &str) -> TestResource {
    TestResource {
        tags: None,
        ..thing(id, "x")
    }
}

#[tokio::test(start_paused = true)]
async fn tags_omitted_by_lists_are_read_in_bulk_after_each_list() {
    let mut bench = ScriptedCache::primed(vec![owned("1", "uid-a"), owned("2", "uid-b")]).await;
    for (reader, uid, id) in [("a", "uid-a", "1"), ("b", "uid-b", "2")] {
        bench.cache.known().hold(&reader, uid, Some(id));
    }
    let tags = |id: &str, uid: &str| (id.to_owned(), owned(id, uid).tags.unwrap_or_default());
    let same = TagsById::from([tags("1", "uid-a"), tags("2", "uid-b")]);
    // The first LIST makes the tags unknown: until then, lists contained them.
    for is_first in [true, false] {
        tick().await;
        bench.cache.relist();
        bench
            .answer_list(vec![without_tags("1"), without_tags("2")], true)
            .await;
        bench.answer_all_tags(Ok(same.clone())).await;
        let enqueued = if is_first { 4 } else { 0 };
        for _ in 0..enqueued {
            assert!(bench.enqueued.recv().await.is_some());
        }
        bench.assert_quiet().await;
    }
    // Another client removes the tags from one of them.
    tick().await;
    bench.cache.relist();
    bench
        .answer_list(vec![without_tags("1"), without_tags("2")], true)
        .await;
    let mut changed = same.clone();
    changed.insert("1".to_owned(), BTreeMap::new());
    bench.answer_all_tags(Ok(changed)).await;
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    bench.assert_quiet().await;
    assert_eq!(bench.cache.known().owned_by("uid-a").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_bulk_reads_a_few_tags_are_read_after_each_list() {
    const COUNT: usize = 10;
    let ids: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    let names: [&'static str; COUNT] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut bench = ScriptedCache::primed(ids.iter().map(|id| thing(id, "x")).collect()).await;
    for (reader, id) in names.into_iter().zip(&ids) {
        bench.cache.known().hold(&reader, reader, Some(id));
    }
    let refused = || CloudError::new(Operation::FilterCustomerGateways, ErrorKind::Forbidden, "no");
    let mut read = Vec::new();
    for _ in 0..3 {
        tick().await;
        bench.cache.relist();
        bench
            .answer_list(ids.iter().map(|id| without_tags(id)).collect(), true)
            .await;
        tick().await;
        bench.answer_all_tags(Err(refused())).await;
        read.extend(bench.answer_gets(MAX_GETS).await);
        while bench.enqueued.try_recv().is_ok() {}
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        while bench.enqueued.try_recv().is_ok() {}
        bench.assert_quiet().await;
    }
    // The tags that were read longest ago come first.
    let distinct: HashSet<&String> = read.iter().collect();
    assert_eq!((read.len(), distinct.len()), (3 * MAX_GETS, COUNT));
}

#[tokio::test(start_paused = true)]
async fn tags_read_before_a_write_do_not_undo_it() {
    let mut bench = ScriptedCache::primed(vec![without_tags("1")]).await;
    bench
        .cache
        .request("a", Query::Tags("1".to_owned()), Instant::now(), Urgency::Reader);
    let Some(ScriptedRead::Tags(_, sender)) = bench.calls.recv().await else {
        panic!("tags were expected")
    };
    tick().await;
    bench.cache.wrote(owned("1", "uid-a"));
    sender.send(Ok(BTreeMap::new())).expect("the cache waits");
    assert_eq!(bench.enqueued.recv().await, Some("a"));
    assert_eq!(bench.cache.known().owned_by("uid-a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_partially_readable_item_is_present_and_read_by_a_get() {
    let partial = |id: &str| TestResource {
        is_partial: true,
        tags: None,
        ..thing(id, "")
    };
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    for (reader, id) in [("a", "1"), ("b", "2")] {
        bench.cache.known().hold(&reader, reader, Some(id));
    }
    tick().await;
    let since = Instant::now();
    bench.cache.relist();
    bench
        .answer_list(vec![partial("1"), partial("2"), partial("3")], true)
        .await;
    // A known object keeps its content and its age. An unknown one exists, but none of its fields count.
    let mut answered = HashSet::new();
    for _ in 0..2 {
        let Some(ScriptedRead::Get(id, sender)) = bench.calls.recv().await else {
            panic!("only GETs were expected")
        };
        let sighting = bench.cache.known().sighting(&id, Some(since));
        assert!(matches!(sighting, Observed::Seen { fresh: false, .. }), "{sighting:?}");
        if id == "1" {
            assert_eq!(bench.name_of("1").as_deref(), Some("one"));
        }
        sender.send(Ok(thing(&id, "read"))).expect("the cache waits");
        answered.insert(id);
    }
    assert_eq!(
        answered,
        HashSet::from(["1".to_owned(), "2".to_owned()]),
        "3 is unmanaged"
    );
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    for id in ["1", "2"] {
        assert_eq!(bench.name_of(id).as_deref(), Some("read"));
    }
    assert_eq!(bench.cache.known().tags_unknown(|_| true), ["3"]);
    assert_eq!(bench.cache.known().lost_at("2"), None);
}

#[tokio::test(start_paused = true)]
async fn all_readers_from_before_the_first_request_share_a_list() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.permits.forget_permits(usize::MAX);
    for reader in ["a", "b", "c"] {
        bench
            .cache
            .request(reader, Query::Collection, Instant::now(), Urgency::Reader);
        tick().await;
    }
    bench.assert_quiet().await;
    bench.permits.add_permits(1);
    bench.answer_list(vec![thing("1", "one")], true).await;
    let mut enqueued = Vec::new();
    while enqueued.len() < 3 {
        enqueued.extend(bench.enqueued.recv().await);
    }
    enqueued.sort_unstable();
    assert_eq!(enqueued, ["a", "b", "c"]);
    bench.assert_quiet().await;
}

#[test]
fn reads_for_an_edit_go_first_and_do_not_wait_for_reads_that_are_less_urgent() {
    let mut known = CacheContents::<TestResource, &str>::new(KEY.to_owned());
    let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
    let listing = Listing::<TestResource> {
        items: Vec::new(),
        complete: true,
    };
    known.ended_list(Ok(listing), start, Timestamp::UNIX_EPOCH);
    let ids = ["0", "1", "2", "3", "4", "5"];
    for id in ids {
        assert!(!known.request(&id, Query::Whole(id.to_owned()), later, Urgency::Reader));
    }
    let object = |id: &str| Query::Object(id.to_owned());
    assert_eq!(known.next_queries(), ["0", "1", "2", "3"].map(object));
    assert_eq!(known.next_queries(), []);
    known.request(&"edited", Query::Whole("9".to_owned()), later, Urgency::Edit);
    assert_eq!(known.next_queries(), [object("9")]);
    assert_eq!(known.urgency(&object("9")), Urgency::Edit);
    // A reader that waits already may become urgent.
    known.request(&"5", Query::Whole("5".to_owned()), later, Urgency::Edit);
    assert_eq!(known.next_queries(), [object("5")]);
    known.forget(&"edited");
    for id in ids {
        known.ended_get(&object(id), id, Ok(thing(id, id)), later);
    }
    known.ended_get(&object("9"), "9", Ok(thing("9", "9")), later);
    assert!(known.pending.is_empty() && known.in_progress.is_empty());
}

#[test]
fn a_list_is_as_urgent_as_the_readers_that_wait_for_it() {
    let mut known = CacheContents::<TestResource, &str>::new(KEY.to_owned());
    let since = Instant::now();
    known.request(&"a", Query::Object("1".to_owned()), since, Urgency::Reader);
    known.request(&"b", Query::Object("2".to_owned()), since, Urgency::Edit);
    assert_eq!(known.next_queries(), [Query::Collection]);
    assert_eq!(known.urgency(&Query::Collection), Urgency::Edit);
}

#[test]
fn a_list_that_own_deletions_disturb_is_read_again_for_many_readers() {
    let mut known = CacheContents::<TestResource, usize>::new(KEY.to_owned());
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let listing = |complete| {
        let items = vec![thing("kept", "kept")];
        Ok(Listing { items, complete })
    };
    known.ended_list(listing(true), start, Timestamp::UNIX_EPOCH);
    let readers = 0..10;
    for reader in readers.clone() {
        let id = reader.to_string();
        known.wrote(thing(&id, &id), at(1));
        known.hold(&reader, &id, Some(&id));
        known.wrote_absence(&id, at(2));
        assert!(!known.request(&reader, Query::Collection, at(2), Urgency::Reader));
    }
    assert_eq!(known.next_queries(), [Query::Collection]);
    // While its pages were read, another object was deleted.
    known.wrote_absence("another", at(4));
    assert!(
        known
            .ended_list(listing(false), at(3), Timestamp::UNIX_EPOCH)
            .is_empty()
    );
    assert_eq!(known.next_queries(), [Query::Collection]);
    let enqueued = known.ended_list(listing(true), at(5), Timestamp::UNIX_EPOCH);
    assert_eq!(enqueued, readers.clone().collect());
    for reader in readers {
        assert_eq!(known.sighting(&reader.to_string(), Some(at(2))), Observed::Absent);
    }
}

#[test]
fn a_list_waits_for_the_end_of_own_writes_or_a_few_seconds() {
    let mut known = CacheContents::<TestResource, usize>::new(KEY.to_owned());
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    for reader in 0..20 {
        known.request(&reader, Query::Collection, start, Urgency::Reader);
    }
    assert_eq!(known.pause_before_list(start), None);
    known.wrote_absence("another", at(1));
    let listing = Listing::<TestResource> {
        items: Vec::new(),
        complete: false,
    };
    known.ended_list(Ok(listing), start, Timestamp::UNIX_EPOCH);
    assert_eq!(known.pause_before_list(at(101)), Some(Duration::from_millis(150)));
    assert_eq!(known.pause_before_list(at(251)), None);
    known.wrote_absence("another", at(3900));
    assert_eq!(known.pause_before_list(at(3900)), Some(Duration::from_millis(100)));
    known.wrote_absence("another", at(4000));
    assert_eq!(known.pause_before_list(at(4000)), None);
}

#[test]
fn few_readers_and_endless_disturbance_do_not_wait_for_a_complete_list() {
    let mut known = CacheContents::<TestResource, usize>::new(KEY.to_owned());
    let start = Instant::now();
    let listing = || {
        Ok(Listing::<TestResource> {
            items: Vec::new(),
            complete: false,
        })
    };
    for readers in [1, 20] {
        for reader in 0..readers {
            known.request(&reader, Query::Collection, start, Urgency::Reader);
        }
        let mut lists = 0;
        let mut enqueued = HashSet::new();
        while enqueued.is_empty() {
            assert_eq!(known.next_queries(), [Query::Collection]);
            lists += 1;
            known.wrote_absence("another", start + Duration::from_secs(lists));
            enqueued = known.ended_list(listing(), start, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(enqueued.len(), readers);
        assert_eq!(lists, if readers == 1 { 1 } else { 11 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_deletion_enqueues_other_readers_of_the_object() {
    let mut bench = ScriptedCache::primed(vec![thing("1", "one")]).await;
    bench.cache.known().hold(&"writer", "uid", Some("1"));
    bench.cache.known().watch(&"observer", Some("1"));
    bench.cache.wrote_deletion(&"writer", "1");
    assert_eq!(bench.enqueued.recv().await, Some("observer"));
    bench.assert_quiet().await;
}

#[test]
fn a_list_alone_does_not_confirm_the_deletion_of_an_object_that_no_list_has_shown() {
    let mut known = CacheContents::<TestResource, &str>::new(KEY.to_owned());
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let listing = |items| Ok(Listing { items, complete: true });
    known.ended_list(listing(Vec::new()), start, Timestamp::UNIX_EPOCH);
    known.wrote(thing("1", "one"), at(1));
    known.hold(&"a", "uid", Some("1"));
    known.wrote_deletion("1", at(2));
    // A replica may answer that has neither seen the creation nor the deletion.
    known.ended_list(listing(Vec::new()), at(3), Timestamp::UNIX_EPOCH);
    assert_eq!(known.sighting("1", Some(at(2))), Observed::Missing);
    known.ended_list(listing(vec![thing("1", "one")]), at(4), Timestamp::UNIX_EPOCH);
    known.wrote_deletion("1", at(5));
    known.ended_list(listing(Vec::new()), at(6), Timestamp::UNIX_EPOCH);
    assert_eq!(known.sighting("1", Some(at(5))), Observed::Absent);
}

#[test]
fn reads_of_all_tags_are_as_urgent_as_the_reads_of_tags_that_wait_for_them() {
    let mut known = CacheContents::<TestResource, &str>::new(KEY.to_owned());
    let start = Instant::now();
    let untagged = TestResource {
        tags: None,
        ..thing("1", "one")
    };
    known.hold(&"a", "uid", Some("1"));
    known.request(&"a", Query::Tags("1".to_owned()), start, Urgency::Edit);
    assert_eq!(known.next_queries(), [Query::Collection]);
    let listing = Listing {
        items: vec![untagged],
        complete: true,
    };
    known.ended_list(Ok(listing), start, Timestamp::UNIX_EPOCH);
    assert_eq!(known.next_queries(), [Query::AllTags]);
    assert_eq!(known.urgency(&Query::AllTags), Urgency::Edit);
}

#[test]
fn an_object_that_an_incomplete_list_lacks_is_read_by_itself() {
    let mut known = CacheContents::<TestResource, usize>::new(KEY.to_owned());
    let start = Instant::now();
    let at = |second| start + Duration::from_secs(second);
    let listing = || {
        Ok(Listing::<TestResource> {
            items: Vec::new(),
            complete: false,
        })
    };
    known.ended_list(listing(), start, Timestamp::UNIX_EPOCH);
    for reader in 0..10 {
        let id = reader.to_string();
        known.wrote(thing(&id, &id), at(1));
        known.hold(&reader, &id, Some(&id));
        known.wrote_deletion(&id, at(2));
        assert!(!known.request(&reader, Query::Object(id), at(2), Urgency::Reader));
    }
    assert_eq!(known.next_queries(), [Query::Collection]);
    known.ended_list(listing(), at(3), Timestamp::UNIX_EPOCH);
    let object = |id: usize| Query::Object(id.to_string());
    assert_eq!(known.next_queries(), [0, 1, 2, 3].map(object));
}

#[test]
fn items_of_a_list_that_are_as_known_share_the_memory_of_what_is_known() {
    let mut known = CacheContents::<TestResource, &str>::new(KEY.to_owned()).in_little_memory();
    let second = |second| Instant::now() + Duration::from_secs(second);
    let (start, later, last) = (second(0), second(1), second(2));
    known.wrote(thing("same", "x"), start);
    known.wrote(thing("changed", "x"), start);
    known.wrote(thing("written", "x"), start);
    known.wrote(thing("unreadable", "x"), start);
    let partial = TestResource {
        is_partial: true,
        ..thing("unreadable", "x")
    };
    let listed = [
        thing("same", "x"),
        thing("changed", "y"),
        thing("written", "x"),
        partial,
    ];
    let items: Vec<ListedItem<TestResource>> = listed.into_iter().map(|item| known.keep(item)).collect();
    let shares = |known: &CacheContents<TestResource, &str>, item: &ListedItem<TestResource>| {
        let entry = known.entries.get(&item.id).expect("an entry");
        entry.remote.is_same_as(&item.remote)
    };
    let shared: Vec<bool> = items.iter().map(|item| shares(&known, item)).collect();
    assert_eq!(
        shared,
        [true, false, true, false],
        "an unreadable field could have changed"
    );
    known.wrote(thing("written", "z"), last);
    let listing = Listing { items, complete: true };
    known.ended_list(Ok(listing), later, Timestamp::UNIX_EPOCH);
    let name = |id: &str| match known.sighting(id, Some(later)) {
        Observed::Seen { remote, fresh, .. } => Some((remote.name, fresh)),
        _ => None,
    };
    assert_eq!(name("same"), Some(("x".to_owned(), true)));
    assert_eq!(name("changed"), Some(("y".to_owned(), true)));
    assert_eq!(
        name("written"),
        Some(("z".to_owned(), true)),
        "written after the list was started"
    );
    assert_eq!(name("unreadable"), Some(("x".to_owned(), false)));
}

/// What happens while a list is read.
#[derive(Clone, Debug)]
enum Meanwhile {
    Wrote(usize, &'static str),
    WroteDeletion(usize),
    Got(usize, &'static str, bool),
    GotNothing(usize),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    let names = || prop::sample::select(vec!["x", "y", "z"]);
    prop_oneof![
        (0..IDS.len(), names()).prop_map(|(id, name)| Meanwhile::Wrote(id, name)),
        (0..IDS.len()).prop_map(Meanwhile::WroteDeletion),
        (0..IDS.len(), names(), any::<bool>()).prop_map(|(id, name, has_tags)| Meanwhile::Got(id, name, has_tags)),
        (0..IDS.len()).prop_map(Meanwhile::GotNothing),
    ]
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn happens(known: &mut CacheContents<TestResource, &'static str>, change: &Meanwhile, now: Instant) {
    let gone = || CloudError::new(Operation::GetCustomerGateway, ErrorKind::Gone, "no such object");
    match change {
        Meanwhile::Wrote(id, name) => known.wrote(thing(IDS[*id], name), now),
        Meanwhile::WroteDeletion(id) => drop(known.wrote_deletion(IDS[*id], now)),
        Meanwhile::Got(id, name, has_tags) => {
            let query = Query::Object(IDS[*id].to_owned());
            let mut found = thing(IDS[*id], name);
            found.tags = found.tags.filter(|_| *has_tags);
            known.ended_get(&query, IDS[*id], Ok(found), now);
        }
        Meanwhile::GotNothing(id) => {
            let query = Query::Object(IDS[*id].to_owned());
            known.ended_get(&query, IDS[*id], Err(gone()), now);
        }
    }
}

/// An item of a list: its name, whether it is read completely, and whether it shows tags.
type ItemShape = Option<(&'static str, bool, bool)>;

fn item_shape() -> impl Strategy<Value = ItemShape> {
    let names = prop::sample::select(vec!["x", "y"]);
    prop::option::weighted(0.8, (names, prop::bool::weighted(0.2), prop::bool::weighted(0.8)))
}

proptest! {
    #[test]
    fn a_list_that_shares_memory_changes_as_much_as_one_that_does_not(
        before in prop::collection::vec(meanwhile(), 0..6),
        shapes in prop::collection::vec(item_shape(), IDS.len()),
        between in prop::collection::vec(meanwhile(), 0..4),
        complete in any::<bool>(),
    ) {
        let begin = Instant::now();
        let second = |number: usize| begin + Duration::from_secs(u64::try_from(number).unwrap_or_default());
        let mut known = CacheContents::<TestResource, &'static str>::new(KEY.to_owned()).in_little_memory();
        for reader in ["a", "b"] {
            known.hold(&reader, &format!("uid-{reader}"), Some(reader));
        }
        for (number, change) in before.iter().enumerate() {
            happens(&mut known, change, second(number));
        }
        known.begin(Query::Collection, Urgency::Background);
        let started = second(10);
        let items: Vec<TestResource> = IDS
            .iter()
            .zip(&shapes)
            .filter_map(|(id, shape)| {
                let (name, is_partial, has_tags) = (*shape)?;
                let item = thing(id, name);
                Some(TestResource { is_partial, tags: item.tags.filter(|_| has_tags), ..thing(id, name) })
            })
            .collect();
        let kept: Vec<ListedItem<TestResource>> = items.iter().cloned().map(|item| known.keep(item)).collect();
        for (number, change) in between.iter().enumerate() {
            happens(&mut known, change, second(11 + number));
        }
        let mut plain = known.clone();
        let end = |known: &mut CacheContents<TestResource, &'static str>, items: Vec<ListedItem<TestResource>>| {
            known.ended_list(Ok(Listing { items, complete }), started, Timestamp::UNIX_EPOCH)
        };
        let plain_items = items.into_iter().map(ListedItem::from).collect();
        prop_assert_eq!(end(&mut known, kept), end(&mut plain, plain_items));
        let entries = |known: &CacheContents<TestResource, &'static str>| {
            let entries = known.entries.iter().map(|(id, entry)| {
                let flags = (entry.is_partial, entry.full, entry.was_listed, entry.tags_listed, entry.tags_read_at);
                (id.to_string(), (entry.remote.get(), entry.as_of, flags))
            });
            entries.collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(entries(&known), entries(&plain));
        prop_assert_eq!((&known.missing, &known.unread, known.tags_omitted), (&plain.missing, &plain.unread, plain.tags_omitted));
        prop_assert_eq!((&known.absences, &known.tombstones), (&plain.absences, &plain.tombstones));
    }
}

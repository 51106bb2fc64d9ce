//! The mirror against a cloud whose answers the test hands out one by one.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::known::MAX_GETS;
use super::*;
use crate::cloud::{Meaning, Operation};

const KEY: &str = "owner";

#[derive(Clone, Debug, Default, PartialEq)]
struct Thing {
    id: String,
    name: String,
    tags: Option<BTreeMap<String, String>>,
}

impl Remote for Thing {
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
}

fn thing(id: &str, name: &str) -> Thing {
    Thing {
        id: id.to_owned(),
        name: name.to_owned(),
        tags: Some(BTreeMap::new()),
    }
}

fn owned(id: &str, uid: &str) -> Thing {
    let tags = BTreeMap::from([(KEY.to_owned(), format!("{uid}:c:n:x"))]);
    Thing {
        tags: Some(tags),
        ..thing(id, "x")
    }
}

enum Call {
    List(oneshot::Sender<Result<Listing<Thing>, CloudError>>),
    Get(String, oneshot::Sender<Result<Thing, CloudError>>),
    Tags(String, oneshot::Sender<Result<BTreeMap<String, String>, CloudError>>),
}

struct Script(mpsc::UnboundedSender<Call>);

impl Script {
    fn ask<'a, T: Send + 'a>(
        &self,
        call: impl FnOnce(oneshot::Sender<Result<T, CloudError>>) -> Call,
    ) -> BoxFuture<'a, Result<T, CloudError>> {
        let (sender, answer) = oneshot::channel();
        self.0.send(call(sender)).expect("the test listens");
        Box::pin(async move { answer.await.expect("the test answers") })
    }
}

impl Source<Thing> for Script {
    fn list(&self) -> BoxFuture<'_, Result<Listing<Thing>, CloudError>> {
        self.ask(Call::List)
    }
    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Thing, CloudError>> {
        self.ask(|sender| Call::Get(id.to_owned(), sender))
    }
    fn tags<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, String>, CloudError>> {
        self.ask(|sender| Call::Tags(id.to_owned(), sender))
    }
    fn operation(&self, _: &Look) -> Operation {
        Operation::ListCustomerGateways
    }
    fn cloud_now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn listed(&self, _: Result<usize, &CloudError>) {}
}

struct Bench {
    mirror: Arc<Mirror<Thing, &'static str>>,
    calls: mpsc::UnboundedReceiver<Call>,
    woken: mpsc::UnboundedReceiver<&'static str>,
}

impl Bench {
    fn new() -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let (wake, woken) = mpsc::unbounded_channel();
        let source = Arc::new(Script(sender));
        let mirror = Mirror::new(KEY.to_owned(), source, move |reader| {
            wake.send(reader).expect("the test listens");
        });
        Self { mirror, calls, woken }
    }

    /// A mirror that has listed these.
    async fn primed(things: Vec<Thing>) -> Self {
        let mut bench = Self::new();
        bench.mirror.want("primer", Look::Collection, Instant::now());
        bench.answer_list(things, true).await;
        assert_eq!(bench.woken.recv().await, Some("primer"));
        tick().await;
        bench
    }

    async fn answer_list(&mut self, items: Vec<Thing>, complete: bool) {
        let Some(Call::List(sender)) = self.calls.recv().await else {
            panic!("a LIST was expected")
        };
        sender
            .send(Ok(Listing { items, complete }))
            .ok()
            .expect("the mirror waits");
    }

    async fn answer_get(&mut self, expected: &str, answer: Result<Thing, CloudError>) {
        let Some(Call::Get(id, sender)) = self.calls.recv().await else {
            panic!("a GET was expected")
        };
        assert_eq!(id, expected);
        sender.send(answer).expect("the mirror waits");
    }

    /// Everything that could be asked or told by now has been.
    async fn assert_quiet(&mut self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(self.calls.try_recv().is_err(), "no call was expected");
        assert!(self.woken.try_recv().is_err(), "no wake was expected");
    }

    fn name_of(&self, id: &str) -> Option<String> {
        match self.mirror.known().sighting(id, None) {
            Sighting::Seen { remote, .. } => Some(remote.name),
            _ => None,
        }
    }
}

/// Time stands still in these tests but for this.
async fn tick() {
    tokio::time::advance(Duration::from_millis(1)).await;
}

fn gone() -> CloudError {
    CloudError::new(Operation::GetCustomerGateway, Meaning::Gone, "no such thing")
}

fn fault() -> CloudError {
    CloudError::new(Operation::ListCustomerGateways, Meaning::CloudFault, "down")
}

#[tokio::test(start_paused = true)]
async fn it_begins_with_a_list_even_for_one_object() {
    let mut bench = Bench::new();
    bench.mirror.want("a", Look::Object("1".to_owned()), Instant::now());
    bench.answer_list(vec![thing("1", "one")], true).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_lone_reader_gets_a_get() {
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    let since = Instant::now();
    assert!(matches!(
        bench.mirror.known().sighting("1", Some(since)),
        Sighting::Seen { fresh: false, .. }
    ));
    bench.mirror.want("a", Look::Object("1".to_owned()), since);
    bench.answer_get("1", Ok(thing("1", "uno"))).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert!(matches!(
        bench.mirror.known().sighting("1", Some(since)),
        Sighting::Seen {
            fresh: true,
            full: true,
            ..
        }
    ));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_come_meanwhile_is_not_asked_for_again() {
    let since = Instant::now();
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    bench.mirror.want("a", Look::Object("1".to_owned()), since);
    assert_eq!(bench.woken.recv().await, Some("a"));
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_one_list() {
    const IDS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let all: Vec<_> = IDS.iter().map(|id| thing(id, id)).collect();
    let mut bench = Bench::primed(all.clone()).await;
    for id in IDS {
        bench.mirror.want(id, Look::Object(id.to_owned()), Instant::now());
    }
    let (mut gets, mut lists) = (0, 0);
    let mut woken = HashSet::new();
    while woken.len() < IDS.len() {
        tokio::select! {
            call = bench.calls.recv() => match call {
                Some(Call::List(sender)) => {
                    lists += 1;
                    sender.send(Ok(Listing { items: all.clone(), complete: true })).ok().expect("the mirror waits");
                }
                Some(Call::Get(id, sender)) => {
                    gets += 1;
                    sender.send(Ok(thing(&id, &id))).expect("the mirror waits");
                }
                _ => panic!("nobody asked for tags"),
            },
            Some(reader) = bench.woken.recv() => {
                woken.insert(reader);
            }
        }
    }
    assert_eq!(lists, 1);
    assert!(gets <= MAX_GETS, "{gets} GETs");
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_whole_object_gets_it_however_many_wait() {
    const IDS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let all: Vec<_> = IDS.iter().map(|id| thing(id, id)).collect();
    let mut bench = Bench::primed(all).await;
    for id in IDS {
        bench.mirror.want(id, Look::Whole(id.to_owned()), Instant::now());
    }
    let mut asked = HashSet::new();
    while asked.len() < IDS.len() {
        let Some(Call::Get(id, sender)) = bench.calls.recv().await else {
            panic!("only GETs were expected")
        };
        tick().await;
        sender.send(Ok(thing(&id, &id))).expect("the mirror waits");
        let reader = bench.woken.recv().await.expect("who asked is woken");
        assert_eq!(reader, id);
        let sighting = bench.mirror.known().sighting(&id, None);
        assert!(matches!(sighting, Sighting::Seen { full: true, .. }), "{sighting:?}");
        assert!(asked.insert(id), "asked once");
    }
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_began_before_our_write_neither_overwrites_nor_removes_it() {
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    bench.mirror.relist();
    let Some(Call::List(sender)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    bench.mirror.wrote(thing("1", "renamed by us"));
    bench.mirror.wrote(thing("2", "made by us"));
    bench.mirror.known().hold(&"a", "uid", Some("2"));
    sender
        .send(Ok(Listing {
            items: vec![thing("1", "one")],
            complete: true,
        }))
        .ok()
        .expect("the mirror waits");
    bench.assert_quiet().await;
    assert_eq!(bench.name_of("1").as_deref(), Some("renamed by us"));
    assert_eq!(bench.name_of("2").as_deref(), Some("made by us"));
    // And a GET that began before it neither.
    tick().await;
    bench.mirror.want("b", Look::Object("1".to_owned()), Instant::now());
    let Some(Call::Get(_, sender)) = bench.calls.recv().await else {
        panic!("a GET was expected")
    };
    tick().await;
    bench.mirror.wrote(thing("1", "renamed again"));
    sender.send(Ok(thing("1", "renamed by us"))).expect("the mirror waits");
    assert_eq!(bench.woken.recv().await, Some("b"));
    assert_eq!(bench.name_of("1").as_deref(), Some("renamed again"));
}

#[tokio::test(start_paused = true)]
async fn what_was_proved_gone_does_not_come_back_with_a_look_that_began_before() {
    let mut bench = Bench::primed(vec![owned("1", "former"), owned("2", "former")]).await;
    bench.mirror.want("b", Look::Object("2".to_owned()), Instant::now());
    let Some(Call::Get(_, get)) = bench.calls.recv().await else {
        panic!("a GET was expected")
    };
    bench.mirror.relist();
    let Some(Call::List(list)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    bench.mirror.known().hold(&"a", "former", Some("1"));
    bench.mirror.wrote_absence("1");
    bench.mirror.wrote_absence("2");
    bench.mirror.known().forget(&"a");
    get.send(Ok(owned("2", "former"))).expect("the mirror waits");
    assert_eq!(bench.woken.recv().await, Some("b"));
    let items = vec![owned("1", "former"), owned("2", "former")];
    let listing = Listing { items, complete: true };
    list.send(Ok(listing)).ok().expect("the mirror waits");
    bench.assert_quiet().await;
    assert_eq!(bench.mirror.known().owned_by("former"), []);
    // What a look of now shows is there again.
    bench.mirror.relist();
    bench.answer_list(vec![owned("1", "former")], true).await;
    bench.assert_quiet().await;
    assert_eq!(bench.mirror.known().owned_by("former").len(), 1);
    assert!(bench.mirror.known().buried.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_only_raises_the_suspicion_that_a_held_object_is_gone() {
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    bench.mirror.known().hold(&"a", "uid", Some("1"));
    bench.mirror.relist();
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.mirror.known().sighting("1", None), Sighting::Missing);
    bench.mirror.want("a", Look::Object("1".to_owned()), Instant::now());
    bench.answer_get("1", Err(gone())).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.mirror.known().sighting("1", None), UNCONFIRMED);
    tick().await;
    bench.mirror.want("a", Look::Collection, Instant::now());
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.mirror.known().sighting("1", None), Sighting::Gone);
    // Back again, it wakes its holder.
    tick().await;
    bench.mirror.relist();
    bench.answer_list(vec![thing("1", "one")], true).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
}

const UNCONFIRMED: Sighting<Thing> = Sighting::Unconfirmed { list_incomplete: false };

#[tokio::test(start_paused = true)]
async fn an_absence_counts_once_a_complete_list_that_was_started_later_confirms_it() {
    let mut bench = Bench::primed(vec![thing("1", "one"), thing("2", "two")]).await;
    bench.mirror.known().hold(&"a", "uid", Some("1"));
    // A LIST that is under way when the GET is sent says nothing of its answer.
    bench.mirror.relist();
    let Some(Call::List(early)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    let since = Instant::now();
    bench.mirror.want("a", Look::Object("1".to_owned()), since);
    bench.answer_get("1", Err(gone())).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    let listing = Listing {
        items: vec![thing("2", "two")],
        complete: true,
    };
    early.send(Ok(listing)).ok().expect("the mirror waits");
    bench.assert_quiet().await;
    assert_eq!(bench.mirror.known().sighting("1", Some(since)), UNCONFIRMED);
    tick().await;
    bench.mirror.want("a", Look::Collection, since);
    bench.answer_list(vec![thing("2", "two")], false).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    let incomplete = Sighting::Unconfirmed { list_incomplete: true };
    assert_eq!(bench.mirror.known().sighting("1", Some(since)), incomplete);
    tick().await;
    bench.mirror.want("a", Look::Collection, since);
    bench.answer_list(vec![thing("2", "two")], true).await;
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.mirror.known().sighting("1", Some(since)), Sighting::Gone);
    // It counts for whoever asked before the request, not for who asks from now on.
    tick().await;
    let later = bench.mirror.known().sighting("1", Some(Instant::now()));
    assert!(
        !matches!(later, Sighting::Gone | Sighting::Unconfirmed { .. }),
        "{later:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_wrong_404_is_corrected_by_the_list_that_should_confirm_it() {
    for by_write in [false, true] {
        let mut bench = Bench::primed(vec![thing("1", "one")]).await;
        bench.mirror.known().hold(&"a", "uid", Some("1"));
        let since = Instant::now();
        if by_write {
            bench.mirror.wrote_absence("1");
        } else {
            bench.mirror.want("a", Look::Object("1".to_owned()), since);
            bench.answer_get("1", Err(gone())).await;
            assert_eq!(bench.woken.recv().await, Some("a"));
        }
        assert_eq!(bench.mirror.known().sighting("1", Some(since)), UNCONFIRMED);
        tick().await;
        bench.mirror.want("a", Look::Collection, since);
        bench.answer_list(vec![thing("1", "one")], true).await;
        assert_eq!(bench.woken.recv().await, Some("a"));
        let sighting = bench.mirror.known().sighting("1", Some(since));
        assert!(matches!(sighting, Sighting::Seen { fresh: true, .. }), "{sighting:?}");
        assert_eq!(bench.mirror.known().lost_at("1"), None, "there again");
    }
}

#[tokio::test(start_paused = true)]
async fn many_absences_are_confirmed_by_one_list() {
    const IDS: [&str; 4] = ["0", "1", "2", "3"];
    let mut bench = Bench::primed(IDS.iter().map(|id| thing(id, id)).collect()).await;
    let since = Instant::now();
    for id in IDS {
        bench.mirror.known().hold(&id, id, Some(id));
        bench.mirror.want(id, Look::Object(id.to_owned()), since);
    }
    for _ in IDS {
        let Some(Call::Get(_, sender)) = bench.calls.recv().await else {
            panic!("a GET was expected")
        };
        sender.send(Err(gone())).expect("the mirror waits");
        assert!(bench.woken.recv().await.is_some());
    }
    tick().await;
    for id in IDS {
        bench.mirror.want(id, Look::Collection, since);
    }
    bench.answer_list(Vec::new(), true).await;
    for id in IDS {
        assert!(bench.woken.recv().await.is_some());
        assert_eq!(bench.mirror.known().sighting(id, Some(since)), Sighting::Gone);
    }
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_list_makes_nothing_missing() {
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    bench.mirror.known().hold(&"a", "uid", Some("1"));
    bench.mirror.relist();
    bench.answer_list(Vec::new(), false).await;
    bench.assert_quiet().await;
    assert_eq!(bench.name_of("1").as_deref(), Some("one"));
    assert_eq!(
        bench.mirror.known().listed(None).map(|listed| listed.complete),
        Some(false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_wakes_only_whose_object_differs() {
    let mut bench = Bench::primed(vec![thing("1", "one"), thing("2", "two")]).await;
    bench.mirror.known().hold(&"a", "uid-a", Some("1"));
    bench.mirror.known().hold(&"b", "uid-b", Some("2"));
    bench.mirror.relist();
    bench
        .answer_list(vec![thing("1", "one"), thing("2", "changed")], true)
        .await;
    assert_eq!(bench.woken.recv().await, Some("b"));
    bench.assert_quiet().await;
    // An object with one's uid that was not there before, and one that is only named.
    bench.mirror.known().watch(&"a", Some("4"));
    tick().await;
    bench.mirror.relist();
    let things = vec![
        thing("1", "one"),
        thing("2", "changed"),
        owned("3", "uid-b"),
        thing("4", "four"),
    ];
    bench.answer_list(things, true).await;
    let woken = HashSet::from([bench.woken.recv().await, bench.woken.recv().await]);
    assert_eq!(woken, HashSet::from([Some("a"), Some("b")]));
    assert_eq!(bench.mirror.known().owned_by("uid-b").len(), 1);
    bench.assert_quiet().await;
}

/// A GET and a LIST are under way for one reader; the LIST answers it, and the GET comes with other news.
#[tokio::test(start_paused = true)]
async fn what_a_look_tells_that_nobody_waits_for_any_more_is_heard_by_whom_it_concerns() {
    for answer in [Ok(thing("1", "changed")), Err(gone())] {
        let is_gone = answer.is_err();
        let mut bench = Bench::primed(vec![thing("1", "one")]).await;
        bench.mirror.known().hold(&"a", "uid-a", Some("1"));
        bench.mirror.want("a", Look::Object("1".to_owned()), Instant::now());
        let Some(Call::Get(_, get)) = bench.calls.recv().await else {
            panic!("a GET was expected")
        };
        bench.mirror.relist();
        bench.answer_list(vec![thing("1", "one")], true).await;
        assert_eq!(bench.woken.recv().await, Some("a"), "the LIST is answer enough");
        bench.assert_quiet().await;
        tick().await;
        // The GET began before the LIST, so what it says is not newer.
        get.send(answer).expect("the mirror waits");
        bench.assert_quiet().await;

        tick().await;
        bench.mirror.want("b", Look::Object("1".to_owned()), Instant::now());
        let news = if is_gone {
            Err(gone())
        } else {
            Ok(thing("1", "changed"))
        };
        bench.answer_get("1", news).await;
        let woken = HashSet::from([bench.woken.recv().await, bench.woken.recv().await]);
        assert_eq!(woken, HashSet::from([Some("a"), Some("b")]), "who holds it did not ask");
        bench.assert_quiet().await;
        // By then it is no news to a LIST.
        tick().await;
        bench.mirror.relist();
        let listed = if is_gone { vec![] } else { vec![thing("1", "changed")] };
        bench.answer_list(listed, true).await;
        bench.assert_quiet().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_speaks_of_tags_leaves_them_and_one_that_stops_makes_them_unknown() {
    let silent = |id: &str| Thing {
        tags: None,
        ..thing(id, "x")
    };
    let mut bench = Bench::primed(vec![silent("1"), owned("2", "uid-b")]).await;
    assert_eq!(bench.mirror.known().untold(|_| true), ["1"]);
    bench.mirror.want("a", Look::Tags("1".to_owned()), Instant::now());
    let Some(Call::Tags(id, sender)) = bench.calls.recv().await else {
        panic!("tags were expected")
    };
    assert_eq!(id, "1");
    sender
        .send(Ok(owned("1", "uid-a").tags.unwrap_or_default()))
        .expect("the mirror waits");
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(bench.mirror.known().owned_by("uid-a").len(), 1);
    tick().await;
    bench.mirror.relist();
    bench.answer_list(vec![silent("1"), silent("2")], true).await;
    bench.assert_quiet().await;
    assert_eq!(bench.mirror.known().owned_by("uid-a").len(), 1);
    assert_eq!(bench.mirror.known().owned_by("uid-b").len(), 0);
    assert_eq!(bench.mirror.known().untold(|_| true), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_to_those_who_asked() {
    let mut bench = Bench::primed(Vec::new()).await;
    bench.mirror.want("a", Look::Collection, Instant::now());
    let Some(Call::List(sender)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    sender.send(Err(fault())).ok().expect("the mirror waits");
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert!(bench.mirror.take_failure(&"a").is_some());
    assert!(bench.mirror.take_failure(&"a").is_none());
    assert!(bench.mirror.take_failure(&"b").is_none());
    bench.assert_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_look_that_began_too_early_does_not_count() {
    let mut bench = Bench::primed(Vec::new()).await;
    bench.mirror.want("a", Look::Collection, Instant::now());
    let Some(Call::List(early)) = bench.calls.recv().await else {
        panic!("a LIST was expected")
    };
    tick().await;
    let since = Instant::now();
    bench.mirror.want("b", Look::Collection, since);
    early
        .send(Ok(Listing {
            items: Vec::new(),
            complete: true,
        }))
        .ok()
        .expect("the mirror waits");
    assert_eq!(bench.woken.recv().await, Some("a"));
    assert_eq!(
        bench.mirror.known().listed(Some(since)).map(|listed| listed.fresh),
        Some(false)
    );
    bench.answer_list(Vec::new(), true).await;
    assert_eq!(bench.woken.recv().await, Some("b"));
    assert_eq!(
        bench.mirror.known().listed(Some(since)).map(|listed| listed.fresh),
        Some(true)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_not_unowned_and_a_holder_that_was_replaced_comes_back() {
    let bench = Bench::primed(vec![thing("1", "one")]).await;
    assert_eq!(bench.mirror.known().unowned(|_| true).len(), 1);
    bench.mirror.known().hold(&"a", "uid-a", Some("1"));
    assert_eq!(bench.mirror.known().unowned(|_| true).len(), 0);
    // Another one takes it for its own, and learns better.
    bench.mirror.known().hold(&"b", "uid-b", Some("1"));
    bench.mirror.known().hold(&"b", "uid-b", None);
    bench.mirror.known().hold(&"a", "uid-a", Some("1"));
    assert_eq!(bench.mirror.known().unowned(|_| true).len(), 0, "held again");
    bench.mirror.known().forget(&"a");
    assert_eq!(bench.mirror.known().unowned(|_| true).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_ten_and_a_fifth_missing_at_once_is_a_mass_deletion() {
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
        let mut bench = Bench::primed(all.clone()).await;
        for id in &READERS[..held] {
            bench.mirror.known().hold(id, id, Some(id));
        }
        bench.mirror.relist();
        bench.answer_list(all[missing..].to_vec(), true).await;
        for _ in 0..missing {
            assert!(bench.woken.recv().await.is_some());
        }
        let expected = suspected.then_some(MassDeletion { missing, of: held });
        let known = bench.mirror.known();
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
async fn what_nobody_holds_leaves_no_trace() {
    let mut bench = Bench::primed(vec![thing("1", "one")]).await;
    bench.mirror.known().hold(&"a", "uid", Some("1"));
    bench.mirror.wrote_absence("1");
    bench.mirror.known().forget(&"a");
    bench.mirror.wrote_absence("2");
    tick().await;
    bench.mirror.relist();
    bench.answer_list(Vec::new(), true).await;
    bench.assert_quiet().await;
    let state = bench.mirror.known();
    assert!(
        state.absences.is_empty()
            && state.losses.is_empty()
            && state.missing.is_empty()
            && state.entries.is_empty()
            && state.wants.is_empty()
    );
    assert!(state.uids.is_empty() && state.holders.is_empty() && state.ids.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_is_a_failed_read_and_the_collection_is_read_again() {
    let mut bench = Bench::new();
    bench.mirror.want("reader", Look::Collection, Instant::now());
    // The scripted cloud panics if nobody answers it.
    drop(bench.calls.recv().await);
    let woken = tokio::time::timeout(Duration::from_secs(60), bench.woken.recv());
    assert_eq!(woken.await.expect("the read ends"), Some("reader"));
    let failure = bench.mirror.take_failure(&"reader").expect("the reader is told");
    assert!(failure.text.contains("panicked"), "{failure}");
    bench.mirror.want("reader", Look::Collection, Instant::now());
    bench.answer_list(vec![thing("a", "x")], true).await;
    assert_eq!(bench.woken.recv().await, Some("reader"));
    assert!(bench.mirror.take_failure(&"reader").is_none());
}

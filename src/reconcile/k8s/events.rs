//! Writes Events: one for each thing that happens, and a count on it when the same happens again. kube's own recorder makes
//! names that the apiserver refuses for objects with long names, and keeps patching an Event that no longer exists.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};

pub(crate) use kube::runtime::events::{Event, EventType};
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use vpn_cloud::text::cut_to_bytes;

/// The apiserver's limit for names.
const MAX_NAME: usize = 253;

/// The apiserver's limit for the reporting instance; names of pods can be longer.
const MAX_INSTANCE: usize = 128;

/// A time in nanoseconds: 64 bits in hex.
const SUFFIX: usize = 16;

/// A repetition after this time, or twice this time at most, is an Event of its own.
const SERIES_LIFETIME: Duration = Duration::from_secs(6 * 60);

const CONTROLLER: &str = "vpn-operator";

/// Where Events about cluster-wide objects are.
const DEFAULT_NAMESPACE: &str = "default";

/// Publishes Events in the name of this process. One is shared by all, so that repetitions are counted.
pub(crate) struct Recorder {
    client: Client,
    instance: String,
    series: Mutex<Series>,
}

impl Recorder {
    /// `pod`: the name of the pod that runs, if it is known.
    pub(crate) fn new(client: Client, pod: Option<String>) -> Self {
        let instance = pod.filter(|pod| !pod.is_empty());
        let instance = instance.as_deref().unwrap_or(CONTROLLER);
        Self {
            client,
            instance: cut_to_bytes(instance, MAX_INSTANCE).to_owned(),
            series: Mutex::new(Series::new(Instant::now())),
        }
    }

    /// Creates an Event, or counts a repetition on the one that exists.
    ///
    /// # Errors
    /// If the apiserver refuses it or cannot be reached.
    pub(crate) async fn publish(&self, event: &Event, regarding: &ObjectReference) -> Result<(), kube::Error> {
        let namespace = regarding.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let api = Api::<v1::Event>::namespaced(self.client.clone(), namespace);
        let key = EventKey::new(event, regarding);
        if let Some(repeated) = self.series(|series| series.repeat(&key)) {
            let series = json!({"series": {
                "count": repeated.count,
                "lastObservedTime": MicroTime(Timestamp::now()),
            }});
            match api
                .patch(&repeated.name, &PatchParams::default(), &Patch::Merge(&series))
                .await
            {
                Ok(_) => return Ok(()),
                // It was deleted, or has expired.
                Err(kube::Error::Api(status)) if status.is_not_found() => self.series(|series| series.forget(&key)),
                Err(error) => return Err(error),
            }
        }
        // By the time, as other controllers name theirs: lists come in the order of names.
        let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let name = event_name(regarding.name.as_deref().unwrap_or(CONTROLLER), now);
        let created = self.first(event, regarding, namespace, &name);
        api.create(&PostParams::default(), &created).await?;
        self.series(|series| series.begin(key, name));
        Ok(())
    }

    fn first(&self, event: &Event, regarding: &ObjectReference, namespace: &str, name: &str) -> v1::Event {
        let type_ = match event.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        v1::Event {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(event.action.clone()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: event.note.clone(),
            reason: Some(event.reason.clone()),
            regarding: Some(regarding.clone()),
            related: event.secondary.clone(),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..v1::Event::default()
        }
    }

    fn series<T>(&self, ask: impl FnOnce(&mut Series) -> T) -> T {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.age(Instant::now());
        ask(&mut series)
    }
}

/// What makes two Events the same: a digest of it, since there are as many of them as objects in the first minutes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct EventKey([u8; 32]);

impl EventKey {
    fn new(event: &Event, regarding: &ObjectReference) -> Self {
        let type_ = match event.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let about = [
            &regarding.api_version,
            &regarding.kind,
            &regarding.namespace,
            &regarding.name,
            &regarding.uid,
        ];
        let about = about.map(|part| part.as_deref().unwrap_or_default());
        let what = [type_, event.reason.as_str(), event.action.as_str()];
        let mut digest = Sha256::new();
        for part in about.into_iter().chain(what) {
            // None of these parts has such a byte in it.
            digest.update(part);
            digest.update([0]);
        }
        Self(digest.finalize().into())
    }
}

/// An Event that exists, as far as is known, and how often it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KnownEvent {
    name: String,
    count: i32,
}

/// Events of the last minutes. Two generations, so that no Event costs a walk through all of them.
struct Series {
    young: HashMap<EventKey, KnownEvent>,
    old: HashMap<EventKey, KnownEvent>,
    turned: Instant,
}

impl Series {
    fn new(now: Instant) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            turned: now,
        }
    }

    /// Drops what was not repeated for long enough.
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age < SERIES_LIFETIME {
            return;
        }
        let young = std::mem::take(&mut self.young);
        self.old = if age < 2 * SERIES_LIFETIME {
            young
        } else {
            HashMap::new()
        };
        self.turned = now;
    }

    fn begin(&mut self, key: EventKey, name: String) {
        self.young.insert(key, KnownEvent { name, count: 1 });
    }

    /// The Event with one repetition more, if there is one.
    fn repeat(&mut self, key: &EventKey) -> Option<KnownEvent> {
        if let Some(seen) = self.old.remove(key) {
            self.young.insert(*key, seen);
        }
        let seen = self.young.get_mut(key)?;
        seen.count = seen.count.saturating_add(1);
        Some(seen.clone())
    }

    fn forget(&mut self, key: &EventKey) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// The object's name, as much of it as fits, and what makes the Event's name unique.
fn event_name(object: &str, unique: u64) -> String {
    // Each label of a name ends with a letter or a digit.
    let stem = cut_to_bytes(object, MAX_NAME - SUFFIX - 1).trim_end_matches(['.', '-']);
    format!("{stem}.{unique:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

    /// As the apiserver answers: with what was sent.
    struct Echo(u16);

    impl Respond for Echo {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            ResponseTemplate::new(self.0).set_body_raw(request.body.clone(), "application/json")
        }
    }

    fn status(code: u16, reason: &str) -> ResponseTemplate {
        let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason});
        ResponseTemplate::new(code).set_body_json(body)
    }

    async fn apiserver() -> (MockServer, Client) {
        let server = MockServer::start().await;
        let client = Client::try_from(kube::Config::new(server.uri().parse().expect("a URI"))).expect("a client");
        (server, client)
    }

    fn drift(note: &str) -> Event {
        Event {
            type_: EventType::Warning,
            reason: "Drifted".to_owned(),
            note: Some(note.to_owned()),
            action: format!("Drifted-{note}"),
            secondary: None,
        }
    }

    fn office() -> ObjectReference {
        ObjectReference {
            kind: Some("CustomerGateway".to_owned()),
            namespace: Some("team-a".to_owned()),
            name: Some("office".to_owned()),
            uid: Some("1".to_owned()),
            ..ObjectReference::default()
        }
    }

    /// Method, last part of the path and body of each request.
    async fn requests(server: &MockServer) -> Vec<(String, String, Value)> {
        let requests = server.received_requests().await.expect("recorded");
        let parts = requests.iter().map(|request| {
            let path = request.url.path();
            let last = path.rsplit('/').next().unwrap_or_default().to_owned();
            let body = serde_json::from_slice(&request.body).expect("JSON");
            (request.method.to_string(), last, body)
        });
        parts.collect()
    }

    #[test]
    fn event_names_are_valid_for_any_object_name() {
        let pattern = regex::Regex::new(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$").unwrap();
        let dashes = format!("{}{}", "a".repeat(230), "-".repeat(22)) + "b";
        let dots = "a.".repeat(126) + "a";
        let cases = ["a".repeat(253), dashes, dots, "office".to_owned()];
        for object in cases {
            assert!(object.len() <= MAX_NAME);
            for unique in [0, u64::MAX] {
                let name = event_name(&object, unique);
                assert!(name.len() <= MAX_NAME, "{name}");
                assert!(pattern.is_match(&name), "{name}");
            }
        }
        assert_eq!(event_name("office", 255), "office.00000000000000ff");
    }

    #[tokio::test]
    async fn a_repetition_is_counted_on_the_first_event() {
        let (server, client) = apiserver().await;
        Mock::given(method("POST")).respond_with(Echo(201)).mount(&server).await;
        Mock::given(method("PATCH"))
            .respond_with(Echo(200))
            .mount(&server)
            .await;
        let recorder = Recorder::new(client, Some("pod-0".to_owned()));
        for note in ["name", "name", "asn", "name"] {
            recorder.publish(&drift(note), &office()).await.expect("published");
        }
        let [first, second, other, third] = requests(&server).await.try_into().expect("four requests");
        let name = first.2["metadata"]["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("office."), "{name}");
        assert_eq!(first.2["reportingInstance"], "pod-0");
        assert_eq!(first.2["regarding"]["name"], "office");
        for (request, count) in [(&second, 2), (&third, 3)] {
            assert_eq!((request.0.as_str(), &request.1), ("PATCH", &name));
            assert_eq!(request.2["series"]["count"], count);
        }
        assert_eq!((other.0.as_str(), &other.2["note"]), ("POST", &json!("asn")));
    }

    #[tokio::test]
    async fn a_repetition_of_a_deleted_event_creates_a_new_event() {
        let (server, client) = apiserver().await;
        Mock::given(method("POST")).respond_with(Echo(201)).mount(&server).await;
        let deleted = Mock::given(method("PATCH")).respond_with(status(404, "NotFound"));
        deleted.up_to_n_times(1).mount(&server).await;
        Mock::given(method("PATCH"))
            .respond_with(Echo(200))
            .mount(&server)
            .await;
        let recorder = Recorder::new(client, None);
        for _ in 0..3 {
            recorder.publish(&drift("name"), &office()).await.expect("published");
        }
        let [first, lost, again, counted] = requests(&server).await.try_into().expect("four requests");
        assert_eq!(lost.0, "PATCH");
        assert_eq!(again.0, "POST");
        assert_eq!(again.2["note"], "name");
        let name = |event: &(String, String, Value)| event.2["metadata"]["name"].as_str().map(str::to_owned);
        assert!(name(&again) > name(&first), "in the order of time");
        assert_eq!(
            (counted.0.as_str(), json!(counted.1)),
            ("PATCH", again.2["metadata"]["name"].clone())
        );
        assert_eq!(counted.2["series"]["count"], 2);
    }

    #[tokio::test]
    async fn a_failed_event_creation_is_repeated_next_time() {
        let (server, client) = apiserver().await;
        let refused = Mock::given(method("POST")).respond_with(status(403, "Forbidden"));
        refused.up_to_n_times(1).mount(&server).await;
        Mock::given(method("POST")).respond_with(Echo(201)).mount(&server).await;
        let recorder = Recorder::new(client, None);
        recorder.publish(&drift("name"), &office()).await.expect_err("refused");
        recorder.publish(&drift("name"), &office()).await.expect("published");
        let methods: Vec<String> = requests(&server).await.into_iter().map(|request| request.0).collect();
        assert_eq!(methods, ["POST", "POST"]);
    }

    #[tokio::test]
    async fn the_reporting_instance_is_valid_for_any_pod_name() {
        let (_server, client) = apiserver().await;
        assert_eq!(
            Recorder::new(client.clone(), Some("p".repeat(253))).instance.len(),
            MAX_INSTANCE
        );
        assert_eq!(Recorder::new(client, Some(String::new())).instance, CONTROLLER);
    }

    #[test]
    fn a_series_ends_some_minutes_after_its_last_repetition() {
        let start = Instant::now();
        let mut series = Series::new(start);
        let key = EventKey::new(&drift("name"), &office());
        series.begin(key, "office.1".to_owned());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        for (minutes, count) in [(5, 2), (11, 3), (17, 4), (28, 5)] {
            series.age(at(minutes));
            let seen = series.repeat(&key).map(|seen| seen.count);
            assert_eq!(seen, Some(count), "after {minutes} minutes");
        }
        series.age(at(41));
        assert_eq!(series.repeat(&key), None);
        assert!(series.young.is_empty() && series.old.is_empty());
    }
}

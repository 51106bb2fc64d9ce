//! The output of `kubectl get`, `-o wide` and `describe` for every reason that `Ready` can have, compared with reviewed
//! goldens. The objects themselves are stored as well: the health scripts for Argo CD are tested on them.
//! `INSTA_UPDATE=always cargo test --test cluster goldens` accepts new output.

mod cloud_errors;
mod life;
mod normalize;
mod samples;
mod unseen;
mod user_actions;
mod users;
mod waits;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vpn_core::api::conditions::{Progress, Reason};
use vpn_operator_testbed::eventually;

use crate::operator::objects::Objects;
use crate::operator::world::{DEADLINE, Options, World, condition, repository};
use normalize::Normalizer;

/// A kind, as kubectl knows it.
#[derive(Clone, Copy)]
enum Shown {
    Gateways,
    Users,
}

impl Shown {
    fn short_name(self) -> &'static str {
        match self {
            Self::Gateways => "cgw",
            Self::Users => "vpnu",
        }
    }

    fn objects(self, world: &World) -> Objects<'_> {
        match self {
            Self::Gateways => world.gateway_objects(),
            Self::Users => world.users(),
        }
    }

    fn goldens_of(self, reason: Reason) -> &'static [&'static str] {
        match self {
            Self::Gateways => goldens_of(reason),
            Self::Users => users::goldens_of(reason),
        }
    }
}

/// Every golden of a gateway, by the reason that it shows. A new reason does not compile until it is here.
fn goldens_of(reason: Reason) -> &'static [&'static str] {
    match reason {
        Reason::Available => &[
            "available",
            "available-adopted",
            "available-certificate",
            "available-drift-corrected",
            "available-fqdn",
            "available-observed",
            "available-paused",
            "available-readopted",
            "available-recreated",
            "available-report-drift",
            "available-tags-and-asn",
            "available-updated",
        ],
        Reason::Creating => &["creating", "creating-read-only"],
        Reason::Updating => &["updating", "updating-read-only"],
        Reason::Deleting => &["deleting", "deleting-slowly"],
        Reason::SecretNotFound => &[
            "secret-not-found-certificate",
            "secret-not-found-credentials",
            "secret-not-found-key",
        ],
        Reason::DependencyNotReady => &["dependency-not-ready"],
        Reason::Throttled => &["throttled", "throttled-queue-full"],
        Reason::CloudError => &[
            "cloud-error",
            "cloud-error-html",
            "cloud-error-no-connection",
            "cloud-error-unknown-outcome",
        ],
        Reason::InvalidSpec => &[
            "invalid-spec-bgp-asn",
            "invalid-spec-certificate",
            "invalid-spec-adopted",
        ],
        Reason::NameConflict => &["name-conflict"],
        Reason::AlreadyManaged => &[
            "already-managed-by-another-cluster",
            "already-managed-by-another-object",
            "already-managed-by-former-self",
        ],
        Reason::NotFound => &["not-found-adopted", "not-found-external-id", "not-found-report-drift"],
        Reason::ScopeChanged => &["scope-changed"],
        Reason::MassDeletionSuspected => &["mass-deletion-suspected"],
        Reason::CrdDeleting => &["crd-deleting"],
        Reason::Unauthorized => &["unauthorized", "unauthorized-no-credentials"],
        Reason::Forbidden => &["forbidden-create", "forbidden-list", "forbidden-own-credentials"],
        Reason::NotAvailable => &["not-available"],
        Reason::QuotaExceeded => &["quota-exceeded"],
        Reason::Rejected => &["rejected-certificate", "rejected-fqdn"],
        // Gateways have no password, and no external cause leads to an internal error.
        Reason::InvalidPassword | Reason::InternalError => &[],
    }
}

/// Goldens of what remains of a deleted object: its Events.
const FAREWELLS: [&str; 5] = [
    "deleted",
    "deleted-left-alone",
    "deleted-retained",
    "user-deleted",
    "user-deleted-retained",
];

fn folder() -> PathBuf {
    repository().join("tests/cluster/operator/goldens")
}

#[test]
fn every_gateway_reason_has_a_golden_file() {
    for reason in Reason::ALL {
        let names = goldens_of(reason);
        let has_none = [Reason::InvalidPassword, Reason::InternalError].contains(&reason);
        assert_eq!(names.is_empty(), has_none, "{reason:?}");
        for name in names {
            let golden = std::fs::read_to_string(folder().join(format!("{name}.snap"))).unwrap();
            assert!(golden.contains(&format!(" {} ", reason.as_str())), "{name}");
        }
    }
}

#[test]
fn every_user_reason_has_a_golden_file() {
    for reason in Reason::ALL {
        let names = users::goldens_of(reason);
        assert_eq!(names.is_empty(), reason == Reason::InternalError, "{reason:?}");
        for name in names {
            let golden = std::fs::read_to_string(folder().join(format!("{name}.snap"))).unwrap();
            assert!(golden.contains(&format!(" {} ", reason.as_str())), "{name}");
        }
    }
}

#[test]
fn every_golden_file_is_used_by_a_test() {
    let of_users = Reason::ALL.into_iter().flat_map(users::goldens_of);
    let listed = Reason::ALL
        .into_iter()
        .flat_map(goldens_of)
        .chain(of_users)
        .chain(&FAREWELLS);
    let listed: BTreeSet<String> = listed.map(|name| format!("{name}.snap")).collect();
    let kept = std::fs::read_dir(folder()).unwrap();
    let kept: BTreeSet<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "snap"))
        .collect();
    assert_eq!(kept, listed);
}

#[test]
fn every_reason_is_documented() {
    let page = std::fs::read_to_string(repository().join("docs/conditions.md")).unwrap();
    // The first two cells of a row: the reason, and the condition that is set with it.
    let is_row = |line: &&str| line.starts_with("| `") && line.matches('|').count() == 5;
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(is_row)
        .map(|row| row.split('|').skip(1).take(2).map(str::trim).collect())
        .collect();
    for reason in Reason::ALL {
        let condition = match reason.progress() {
            Progress::Done => "–",
            Progress::Reconciling => "`Reconciling`",
            Progress::Stalled => "`Stalled`",
        };
        let name = format!("`{}`", reason.as_str());
        let documented: Vec<&str> = rows.iter().filter(|row| row[0] == name).map(|row| row[1]).collect();
        assert_eq!(documented, [condition], "{name}");
    }
}

/// Flags that keep a state unchanged while kubectl reads it: requests may be held for long.
fn still<const N: usize>(more: [&str; N]) -> Options {
    let flags = [
        "--log-level=info",
        "--resync-period=0",
        "--request-timeout=20s",
        "--leader-elect-lease-duration=60s",
    ];
    Options {
        arguments: flags.into_iter().chain(more).map(str::to_owned).collect(),
        ..Options::default()
    }
}

/// Waits until the gateway has this reason and these Events, in this order; then compares the output of kubectl.
async fn show(world: &World, golden: &str, name: &str, reason: Reason, events: &[&str]) -> Value {
    show_of(Shown::Gateways, world, golden, name, reason, events).await
}

async fn show_of(kind: Shown, world: &World, golden: &str, name: &str, reason: Reason, events: &[&str]) -> Value {
    assert!(kind.goldens_of(reason).contains(&golden), "{golden} is not listed");
    let objects = kind.objects(world);
    objects.wait_for_reason(name, reason.as_str()).await;
    wait_for_events(kind, world, name, events).await;
    let (object, text) = still_shown(kind, world, name, reason).await;
    check_conditions(&object, reason);
    compare(golden, &text);
    if samples::is_sample(kind, golden) {
        samples::check(kind, world, golden, &object);
    }
    object
}

/// Returns an object and what kubectl shows of it. Reads again if the object has changed meanwhile: while the operator
/// retries a request, status contains its intent.
async fn still_shown(kind: Shown, world: &World, name: &str, reason: Reason) -> (Value, String) {
    let (objects, short) = (kind.objects(world), kind.short_name());
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let awaited = format!("{name} does not change while it is read");
    let shown = eventually(&awaited, DEADLINE, async || {
        let object = objects.wait_for_reason(name, reason.as_str()).await;
        let normalizer = Normalizer::new(world, &object);
        let get = normalizer.table(&world.kubectl(["get", short, name]).await);
        let wide = normalizer.table(&world.kubectl(["get", short, name, "--output=wide"]).await);
        let description = normalizer.description(&world.kubectl(["describe", short, name]).await);
        let text = format!(
            "$ kubectl get {short}\n{get}\n$ kubectl get {short} -o wide\n{wide}\n$ kubectl describe {short}\n{description}"
        );
        let after = objects.get(name).await;
        if version(&after) == version(&object) {
            Ok((object, text))
        } else {
            Err(format!("{} after {}", version(&after), version(&object)))
        }
    });
    shown
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()))
}

/// Compares the Events of a deleted gateway.
async fn show_farewell(world: &World, golden: &str, name: &str, object: &Value, events: &[&str]) {
    show_farewell_of(Shown::Gateways, world, golden, name, object, events).await;
}

async fn show_farewell_of(kind: Shown, world: &World, golden: &str, name: &str, object: &Value, events: &[&str]) {
    assert!(FAREWELLS.contains(&golden), "{golden} is not listed");
    kind.objects(world).wait_until_deleted(name).await;
    wait_for_events(kind, world, name, events).await;
    let selector = format!("--field-selector=involvedObject.name={name}");
    let columns = "--output=custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message";
    let table = world.kubectl(["get", "events", &selector, columns]).await;
    let table = Normalizer::new(world, object).table(&table);
    compare(golden, &format!("$ kubectl get events\n{table}"));
}

async fn wait_for_events(kind: Shown, world: &World, name: &str, expected: &[&str]) {
    let result = eventually(&format!("Events of {name}: {expected:?}"), DEADLINE, async || {
        let events = kind.objects(world).events(name).await;
        let reasons: Vec<&str> = events
            .iter()
            .map(|event| event["reason"].as_str().unwrap_or_default())
            .collect();
        if reasons == expected {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    result.unwrap_or_else(|error| panic!("{error}\n{}", world.log_tail()));
}

/// Ready, Reconciling and Stalled match the reason, and all of them have the current generation.
fn check_conditions(object: &Value, reason: Reason) {
    let progress = reason.progress();
    let status = |type_: &str| condition(object, type_)["status"].clone();
    let name = reason.as_str();
    assert_eq!(
        status("Ready"),
        if progress == Progress::Done { "True" } else { "False" },
        "{name}"
    );
    for (type_, holds) in [
        ("Reconciling", progress == Progress::Reconciling),
        ("Stalled", progress == Progress::Stalled),
    ] {
        let expected = if holds { Value::from("True") } else { Value::Null };
        assert_eq!(status(type_), expected, "{name}: {type_}");
    }
    let generation = &object["metadata"]["generation"];
    assert_eq!(object["status"]["observedGeneration"], *generation, "{name}");
    for condition in object["status"]["conditions"].as_array().unwrap() {
        assert_eq!(condition["observedGeneration"], *generation, "{name}: {condition}");
        assert_ne!(condition["message"], "", "{name}: {condition}");
    }
}

fn compare(golden: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("goldens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(golden, text));
}

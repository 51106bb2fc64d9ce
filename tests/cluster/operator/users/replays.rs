//! The answer to a creation was lost, and a user of its name exists with other fields. The operator replays the
//! creation with the same client token, and the cloud's answer decides. Whatever it is, the operator creates no
//! duplicate and does not change an unmanaged user.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vpn_operator_testbed::{Effort, effort, figures};

use super::steps::{
    add_server, apply_pw, available, cloud_user, cloud_users_on, creation_fault, on, request, requests, server_id,
    the_only_one, unmanaged_user, wait_for_requests,
};
use crate::operator::console::message;
use crate::operator::world::{Options, World, user};

/// What the lost request did, and what happened before the next read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    /// Our user was created, and another client changed it before the operator read it.
    Changed,
    /// Our user was never created, and another client created one of the same name.
    Unmanaged,
    /// As the first, and the spec was edited meanwhile: the recorded creation is replayed, not the edited one.
    ChangedAndEdited,
    /// As the first, and the Secret contains another password: the recorded creation is no longer known.
    ChangedAndAnotherPassword,
    /// The spec was edited meanwhile, and the user was not changed.
    Edited,
}

const CASES: [Case; 5] = [
    Case::Changed,
    Case::Unmanaged,
    Case::ChangedAndEdited,
    Case::ChangedAndAnotherPassword,
    Case::Edited,
];

/// A cloud's answer to a repeated token.
struct Answer {
    switches: Value,
    /// Whether it shows that the first request took effect.
    reports_user: bool,
}

fn answers() -> Vec<Answer> {
    let answer = |switches, reports_user| Answer { switches, reports_user };
    let plain = [answer(json!({"client-token-replay": "ignored"}), false)];
    let plain = plain.into_iter().filter(|_| effort() == Effort::Full);
    let all = [
        answer(json!({"client-token-replay": "same-id"}), true),
        answer(json!({"client-token-replay": "VPN.0031"}), false),
        answer(
            json!({
                "client-token-replay": "ignored", "duplicate-user-name": "409", "p2c-codes": "VPN.93xx",
                "client-token-other-body": "new-user",
            }),
            false,
        ),
    ];
    all.into_iter().chain(plain).collect()
}

fn tokens(posts: &[Value]) -> BTreeSet<String> {
    posts.iter().map(|post| post["client_token"].to_string()).collect()
}

#[tokio::test]
async fn every_response_to_a_replay_results_in_one_user() {
    let flags = [
        "--resync-period=0",
        "--creation-confirmation-period=1s",
        "--request-timeout=7s",
    ];
    let mut world = World::with(Options::with(flags)).await;
    apply_pw(&mut world).await;
    let (mut replays, mut reported, mut duplicates, mut touched) = (0, 0, 0, 0);
    for (round, answer) in answers().iter().enumerate() {
        world.simulator.set_switches(&answer.switches).await.unwrap();
        let place = |case: usize| round * CASES.len() + case;
        let name = |case: usize| format!("user-{}", place(case));
        let mut manifests = Vec::new();
        for (number, case) in CASES.iter().enumerate() {
            let server = add_server(&world, place(number)).await;
            let hold = creation_fault(&server, json!({"fault": "hold", "commit": *case != Case::Unmanaged}));
            world.simulator.add_fault(&hold).await.unwrap();
            if *case == Case::ChangedAndAnotherPassword {
                let name = name(number);
                world.apply_password(&name, &format!("Sentinel First-{round}")).await;
                let spec = format!("{{vpnServerID: {server}, passwordSecretRef: {{name: {name}}}, description: ours}}");
                manifests.push(user(&name, &spec));
            } else {
                manifests.push(on(&server, &name(number), "description: ours"));
            }
        }
        world.apply(&manifests.join("---\n")).await;
        let held: Vec<Value> = world.simulator.wait_for_held(CASES.len()).await.unwrap();
        assert_eq!(held.len(), CASES.len());
        let mut before = Vec::new();
        for (number, case) in CASES.iter().enumerate() {
            let server = server_id(place(number));
            let user = match case {
                Case::Unmanaged => unmanaged_user(&world, &server, &name(number), json!({})).await,
                Case::Changed | Case::ChangedAndEdited | Case::ChangedAndAnotherPassword => {
                    let id = cloud_users_on(&world, &server).await[0]["id"].clone();
                    let id = id.as_str().expect("an id");
                    let edit = json!({"description": "by hand"});
                    world.simulator.edit_user(id, &edit).await.unwrap();
                    cloud_user(&world, id).await
                }
                Case::Edited => cloud_users_on(&world, &server).await[0].clone(),
            };
            before.push(user);
            if matches!(case, Case::ChangedAndEdited | Case::Edited) {
                let edit = json!({"spec": {"description": "edited"}});
                world.users().patch(&name(number), edit).await;
            }
            if *case == Case::ChangedAndAnotherPassword {
                let password = format!("Sentinel Second-{round}");
                world.apply_password(&name(number), &password).await;
            }
        }
        world.simulator.release(&json!({"drop": true})).await.unwrap();
        for (number, case) in CASES.iter().enumerate() {
            let (name, server) = (name(number), server_id(place(number)));
            let label = format!("{case:?} with {}", answer.switches);
            let is_repeated = matches!(case, Case::Changed | Case::Unmanaged | Case::ChangedAndEdited);
            let is_reported = matches!(case, Case::Changed | Case::ChangedAndEdited) && answer.reports_user;
            let is_ours = *case == Case::Edited || is_reported;
            let id = before[number]["id"].as_str().expect("an id").to_owned();
            if is_ours {
                assert_eq!(the_only_one(&world, &server, &name).await, id, "{label}");
                let is_edited = matches!(case, Case::Edited | Case::ChangedAndEdited);
                let wanted = if is_edited { "edited" } else { "ours" };
                assert_eq!(cloud_user(&world, &id).await["description"], wanted, "{label}");
                let event = world.users().wait_for_event(&name, "Created").await;
                assert_eq!(
                    event.contains("replayed with its client token"),
                    is_reported,
                    "{label}: {event}"
                );
            } else {
                let object = world.users().wait_for_reason(&name, "NameConflict").await;
                assert!(message(&object).contains(&id), "{label}: {}", message(&object));
                for way_out in ["an earlier creation of this object", "spec.externalID to"] {
                    assert!(message(&object).contains(way_out), "{label}: {}", message(&object));
                }
                // A requested reconciliation sends nothing and keeps the reason.
                request(&world, &name).await;
                world.users().wait_for_reason(&name, "NameConflict").await;
                touched += u64::from(cloud_user(&world, &id).await != before[number]);
            }
            let posts = requests(&world, &server, "CreateVpnUser").await;
            assert_eq!(posts.len(), 1 + usize::from(is_repeated), "{label}: {posts:#?}");
            assert_eq!(
                tokens(&posts).len(),
                1,
                "{label}: a token of its own would be another attempt"
            );
            replays += posts.len() as u64 - 1;
            reported += u64::from(is_reported);
            duplicates += cloud_users_on(&world, &server).await.len() as u64 - 1;
            if !is_ours {
                // `externalID` adopts it.
                let adopt = json!({"spec": {"externalID": id}});
                world.users().patch(&name, adopt).await;
                assert_eq!(available(&world, &name).await, id, "{label}");
            }
        }
    }
    figures::report(
        "unknown outcomes",
        &[
            ("create requests replayed with the same client token", replays),
            ("replays answered with the user of the first request", reported),
            ("users created twice by replays", duplicates),
            ("unmanaged users changed by replays", touched),
        ],
    );
    assert_eq!(replays, 3 * answers().len() as u64);
    for (outcome, count) in [("resolved", reported), ("unresolved", replays - reported)] {
        let labels = format!("kind=\"VpnUser\",outcome=\"{outcome}\"");
        world
            .wait_for_metric(&format!("vpn_operator_creations_sent_again_total{{{labels}}} {count}"))
            .await;
    }
    assert_eq!((duplicates, touched), (0, 0));
    world.finish().await;
}

/// Created in time, but visible only after the creation was given up: the next one is refused, since the name is taken.
#[tokio::test]
async fn a_user_visible_after_its_creation_window_is_owned() {
    let mut world = World::with(Options::with([
        "--resync-period=0",
        "--creation-confirmation-period=1s",
    ]))
    .await;
    apply_pw(&mut world).await;
    let switches = json!({"user-settling": "held", "unsettled-users": "invisible"});
    world.simulator.set_switches(&switches).await.unwrap();
    let server = add_server(&world, 0).await;
    let lost = creation_fault(&server, json!({"fault": "lost-answer", "commit": true}));
    world.simulator.add_fault(&lost).await.unwrap();
    world.apply(&on(&server, "alice", "description: ours")).await;
    wait_for_requests(&world, &server, "CreateVpnUser", 2).await;
    world.users().wait_for_reason("alice", "NameConflict").await;
    let _: Value = world.simulator.admin_post("settle", &json!({})).await.unwrap();
    the_only_one(&world, &server, "alice").await;
    let posts = requests(&world, &server, "CreateVpnUser").await;
    let committed: Vec<bool> = posts.iter().map(|post| post["committed"] == true).collect();
    assert!(
        committed[0] && committed[1..].iter().all(|committed| !committed),
        "{posts:#?}"
    );
    assert_eq!(
        tokens(&posts).len(),
        posts.len(),
        "each attempt has a token of its own: {posts:#?}"
    );
    world.finish().await;
}

/// Later than any assumed bound of a request: the creation was given up, and another one is in progress.
#[tokio::test]
async fn a_creation_effective_after_its_window_results_in_one_user() {
    // Held requests must not time out before their release.
    let flags = ["--resync-period=0", "--request-timeout=7s"];
    let mut world = World::with(Options::with(flags)).await;
    apply_pw(&mut world).await;
    for number in 0..2 {
        let server = add_server(&world, number).await;
        let late = creation_fault(&server, json!({"fault": "late-commit"}));
        world.simulator.add_fault(&late).await.unwrap();
    }
    // On one server the second creation is refused because of the first one's user; on the other its outcome is
    // unknown.
    let hold = creation_fault(&server_id(0), json!({"fault": "hold"}));
    world.simulator.add_fault(&hold).await.unwrap();
    let lost = creation_fault(&server_id(1), json!({"fault": "lost-answer"}));
    world.simulator.add_fault(&lost).await.unwrap();
    let manifests: Vec<String> = (0..2)
        .map(|number| on(&server_id(number), &format!("user-{number}"), "description: ours"))
        .collect();
    world.apply(&manifests.join("---\n")).await;
    for number in 0..2 {
        wait_for_requests(&world, &server_id(number), "CreateVpnUser", 2).await;
    }
    let held: Vec<Value> = world.simulator.wait_for_held(3).await.unwrap();
    let mut held: Vec<&Value> = held.iter().collect();
    held.sort_by_key(|held| held["sequence"].as_u64());
    // After the creation window of the first creations, and within that of the second ones.
    world
        .simulator
        .put::<Value>("clock", &json!({"skew_ms": 8_000}))
        .await
        .unwrap();
    for held in held {
        world.simulator.release(&json!({"id": held["id"]})).await.unwrap();
    }
    // It cannot be distinguished from an unmanaged user, so it stays unchanged until `externalID` names it.
    world.users().wait_for_reason("user-0", "NameConflict").await;
    let user = cloud_users_on(&world, &server_id(0)).await.remove(0);
    let id = user["id"].as_str().expect("an id");
    let is_named = |object: &Value| message(object).contains(id);
    world
        .users()
        .wait_for("user-0", "the one that is there is named", is_named)
        .await;
    assert_eq!(user["updated_at"], user["created_at"], "{user}");
    world.users().patch("user-0", json!({"spec": {"externalID": id}})).await;
    for number in 0..2 {
        let server = server_id(number);
        the_only_one(&world, &server, &format!("user-{number}")).await;
        let posts = requests(&world, &server, "CreateVpnUser").await;
        let committed: Vec<bool> = posts.iter().map(|post| post["committed"] == true).collect();
        assert_eq!(committed, [true, false], "{posts:#?}");
        assert_eq!(tokens(&posts).len(), 2, "{posts:#?}");
    }
    world.finish().await;
}

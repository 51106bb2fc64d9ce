//! Every switch that users, groups and VPN servers have, in each of its positions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    p2c::{PASSWORD, SERVER, names, on_server, user_named},
};

/// Clock skew at which an operation of a few seconds is certainly in progress, however slow the test is …
const BEFORE: i64 = -60_000;
/// … and certainly over.
const OVER: i64 = 3_001;

async fn set_clock(cloud: &Cloud, skew_ms: i64) {
    let clock = json!({"skew_ms": skew_ms});
    cloud.admin(Method::PUT, "clock", clock).await.expect(200);
}

/// Creates a user in a group; returns the ids of both.
async fn member(cloud: &Cloud, group: &str) -> (String, String) {
    let (user, group) = (cloud.created_user("alice").await, cloud.created_group(group).await);
    cloud.members("add-users", &group, &[&user]).await.expect(201);
    (user, group)
}

/// `user_group_id` of a user, if it is shown.
async fn group_of(cloud: &Cloud, user: &str) -> Option<Value> {
    cloud.shown_user(user).await.get("user_group_id").cloned()
}

pub(crate) async fn check(cloud: &Cloud, name: &str, value: &str) {
    match (name, value) {
        ("p2c-request-id-format", what) => {
            let reply = cloud.create_user(user_named("alice")).await;
            let id = reply.expect(201)["request_id"].as_str().unwrap().to_owned();
            assert_eq!(id.len(), if what == "dashed" { 36 } else { 32 });
            assert_eq!(id.contains('-'), what == "dashed");
            assert_eq!(reply.header("x-request-id"), Some(id.as_str()));
        }
        ("p2c", what) => {
            let user = on_server(&format!("users/{UNKNOWN_ID}"));
            for reply in [
                cloud.get(&on_server("users")).await,
                cloud.get(&on_server("groups")).await,
                cloud.get("vpn-servers").await,
                cloud.call(Method::DELETE, &user, None).await,
            ] {
                match what {
                    "published" => assert_ne!(reply.header("x-request-id"), None),
                    "404" => reply.assert_error(404, "APIGW.0101"),
                    _ => reply.assert_error(403, "APIGW.0302"),
                }
            }
            let listed = cloud.get(&on_server("users")).await;
            assert_eq!(listed.status == 200, what == "published");
            cloud.get("customer-gateways").await.expect(200);
            let counts = cloud.admin_get("counts").await;
            assert_eq!(counts["by_operation"]["ListVpnUsers"], 2);
        }
        ("p2c-page-limit", what) => {
            for path in [on_server("users"), on_server("groups"), "vpn-servers".to_owned()] {
                let long = cloud.get(&format!("{path}?limit=200")).await;
                match what {
                    "200" => drop(long.expect(200)),
                    _ => long.assert_error(400, "VPN.0001"),
                }
                cloud.get(&format!("{path}?limit=50")).await.expect(200);
            }
            cloud.get("customer-gateways?limit=200").await.expect(200);
        }
        ("p2c-last-page-marker", what) => {
            cloud.created_user("alice").await;
            let group = cloud.default_group().await;
            let lists = [
                ("users", on_server("users")),
                ("user_groups", on_server("groups")),
                ("vpn_servers", "vpn-servers".to_owned()),
            ];
            for (key, path) in lists {
                let listed = cloud.get(&path).await.expect(200);
                let marker = listed["page_info"].get("next_marker");
                match what {
                    "null" => assert_eq!(marker, Some(&Value::Null)),
                    "absent" => assert_eq!(marker, None),
                    "present" => assert_eq!(marker, Some(&listed[key][0]["created_at"])),
                    _ => assert_eq!(marker, Some(&json!(""))),
                }
            }
            let empty = cloud
                .get(&on_server(&format!("groups/{group}/users")))
                .await
                .expect(200);
            assert_eq!(empty["page_info"].get("next_marker").is_none(), what == "absent");
            cloud.created_user("bobby").await;
            let first = cloud.list_users("limit=1").await;
            assert!(
                first["page_info"]["next_marker"].is_string(),
                "on a page that is not the last: always"
            );
        }
        ("p2c-codes", what) => {
            cloud.created_user("alice").await;
            let code = match what {
                "VPN.13xx" => "VPN.1301",
                "VPN.0001" => "VPN.0001",
                _ => "VPN.9301",
            };
            cloud.create_user(user_named("alice")).await.assert_error(400, code);
            // These two are documented.
            let path = on_server("users/batch-delete");
            cloud
                .post(&path, json!({"users": []}))
                .await
                .assert_error(400, "VPN.1318");
            let group = cloud.created_group("ops").await;
            cloud.edit("vpn-groups", &group, json!({"access_policy": true})).await;
            cloud.delete_group(&group).await.assert_error(400, "VPN.1313");
        }
        ("unknown-server", what) => {
            for path in ["users", "groups"] {
                let path = format!("p2c-vpn-gateways/vpn-servers/{UNKNOWN_ID}/{path}");
                let (status, code, text) = cloud.get(&path).await.error();
                let expected = if what == "404" {
                    (404, "VPN.0004")
                } else {
                    (400, "VPN.0001")
                };
                assert_eq!((status, code.as_str()), expected);
                let words = if what == "400-not-exist" {
                    "does not exist"
                } else {
                    "not found"
                };
                assert!(text.contains(words), "{text}");
            }
        }
        ("server-not-ready", what) => {
            let (status, code) = match what {
                "400" => (400, "VPN.1311"),
                "409" => (409, "VPN.0016"),
                _ => (403, "VPN.0003"),
            };
            let (user, group) = member(cloud, "ops").await;
            for unusable in [json!({"status": "PENDING_UPDATE"}), json!({"client_auth_type": "CERT"})] {
                cloud.edit("vpn-servers", SERVER, unusable).await;
                for reply in [
                    cloud.create_user(user_named("bobby")).await,
                    cloud.update_user(&user, json!({})).await,
                    cloud.delete_user(&user).await,
                    cloud.reset_password(&user, "Fresh pass 1").await,
                    cloud.members("remove-users", &group, &[&user]).await,
                    cloud.delete_group(&group).await,
                ] {
                    reply.assert_error(status, code);
                    assert!(reply.error().2.contains("is not ready"), "{}", reply.text);
                }
                cloud.shown_user(&user).await;
                let usable = json!({"status": "ACTIVE", "client_auth_type": "LOCAL_PASSWORD"});
                cloud.edit("vpn-servers", SERVER, usable).await;
            }
            cloud.delete_user(&user).await.expect(204);
        }
        ("server-pages", what) => {
            let listed = cloud.get("vpn-servers?limit=0").await.expect(200);
            assert_eq!(listed.get("total_count").is_some(), what == "present");
            assert_eq!(listed.get("page_info").is_some(), what == "present");
            let expected = usize::from(what != "present");
            assert_eq!(listed["vpn_servers"].as_array().unwrap().len(), expected);
        }
        ("user-settling", what) => {
            cloud.fault(json!({"fault": "vanish-when-settled"})).await;
            let doomed = cloud.created_user("doomed").await;
            let user = cloud.created_user("alice").await;
            let group = cloud.created_group("ops").await;
            set_clock(cloud, BEFORE).await;
            let shown = cloud.admin_get(&format!("vpn-users/{user}")).await;
            assert_eq!(shown["settled"], what == "immediate");
            match what {
                "slow" => {
                    cloud.shown_user(&doomed).await;
                    set_clock(cloud, OVER).await;
                }
                "held" => {
                    set_clock(cloud, 600_000).await;
                    cloud.shown_user(&doomed).await;
                    assert_eq!(cloud.settle().await, json!({"settled": 3}));
                }
                _ => {}
            }
            cloud.user(&doomed).await.assert_error(404, "VPN.0004");
            cloud.shown_user(&user).await;
            cloud.group(&group).await.expect(200);
            assert_eq!(cloud.admin_get(&format!("vpn-users/{user}")).await["settled"], true);
            assert_eq!(cloud.settle().await, json!({"settled": 0}));
            cloud.created_user("doomed").await;
        }
        ("unsettled-users", what) => {
            cloud.switch("user-settling", "held").await;
            let user = cloud.created_user("alice").await;
            let group = cloud.created_group("ops").await;
            let visible = what == "visible";
            let (found, listed) = (cloud.user(&user).await, cloud.list_users("").await);
            assert_eq!(found.status, if visible { 200 } else { 404 });
            assert_eq!(listed["total_count"], u64::from(visible));
            assert_eq!(names(&listed["users"]).len(), usize::from(visible));
            assert_eq!(cloud.group(&group).await.status, if visible { 200 } else { 404 });
            let added = cloud.members("add-users", &cloud.default_group().await, &[&user]).await;
            assert_eq!(added.status, if visible { 201 } else { 400 });
            if !visible {
                cloud.delete_user(&user).await.assert_error(404, "VPN.0004");
                cloud
                    .reset_password(&user, "Fresh pass 1")
                    .await
                    .assert_error(404, "VPN.0004");
            }
            cloud
                .create_user(user_named("alice"))
                .await
                .assert_error(400, "VPN.1301");
            cloud.settle().await;
            cloud.shown_user(&user).await;
            cloud.group(&group).await.expect(200);
        }
        ("client-token-replay", what) => {
            let body = json!({"user": user_named("alice")}).to_string();
            let made = cloud.post_with_token(UNKNOWN_ID, "users", &body).await.expect(201);
            let again = cloud.post_with_token(UNKNOWN_ID, "users", &format!(" {body}\n")).await;
            match what {
                "same-id" => assert_eq!(again.expect(201)["user"], made["user"]),
                "VPN.0031" => again.assert_error(400, "VPN.0031"),
                _ => again.assert_error(400, "VPN.1301"),
            }
            assert_eq!(cloud.true_users().await, 1);
        }
        ("client-token-other-body", what) => {
            let body = |name: &str| json!({"user": user_named(name)}).to_string();
            cloud
                .post_with_token(UNKNOWN_ID, "users", &body("alice"))
                .await
                .expect(201);
            let other = cloud.post_with_token(UNKNOWN_ID, "users", &body("bobby")).await;
            match what {
                "VPN.0031" => other.assert_error(400, "VPN.0031"),
                _ => {
                    other.expect(201);
                }
            }
            assert_eq!(cloud.true_users().await, if what == "VPN.0031" { 1 } else { 2 });
        }
        ("duplicate-user-name", status) => {
            cloud.created_user("alice").await;
            let reply = cloud.create_user(user_named("alice")).await;
            reply.assert_error(status.parse().unwrap(), "VPN.1301");
            assert_eq!(reply.error().2, "Duplicate user name.");
        }
        ("user-name-case", what) => {
            cloud.created_user("alice").await;
            let other = cloud.create_user(user_named("ALICE")).await;
            assert_eq!(other.status, if what == "insensitive" { 400 } else { 201 });
            cloud
                .create_user(user_named("alice"))
                .await
                .assert_error(400, "VPN.1301");
        }
        ("user-without-group", what) => {
            let user = cloud.created_user("alice").await;
            let default = cloud.default_group().await;
            let expected = (what == "default-group").then(|| json!(default));
            assert_eq!(group_of(cloud, &user).await, expected);
            let members = cloud.member_names(&default).await;
            assert_eq!(members.len(), usize::from(what == "default-group"));
        }
        ("unset-group", what) => {
            let user = cloud.created_user("alice").await;
            let expected = match what {
                "absent" => None,
                "empty" => Some(json!("")),
                _ => Some(Value::Null),
            };
            for shown in [
                cloud.shown_user(&user).await,
                cloud.list_users("").await["users"][0].clone(),
            ] {
                for field in ["user_group_id", "user_group_name"] {
                    assert_eq!(shown.get(field), expected.as_ref());
                }
            }
        }
        ("unset-description", what) => {
            let (user, group) = (cloud.created_user("alice").await, cloud.created_group("ops").await);
            let expected = match what {
                "empty" => Some(json!("")),
                "null" => Some(Value::Null),
                _ => None,
            };
            let group = cloud.group(&group).await.expect(200)["user_group"].clone();
            assert_eq!(group.get("description"), expected.as_ref());
            assert_eq!(cloud.shown_user(&user).await.get("description"), expected.as_ref());
            let described = json!({"description": "d"});
            let updated = cloud.update_user(&user, described).await.expect(200);
            assert_eq!(updated["user"]["description"], "d");
        }
        ("unset-static-ip", what) => {
            let user = cloud.created_user("alice").await;
            let expected = match what {
                "disable" => Some(json!("disable")),
                "empty" => Some(json!("")),
                _ => None,
            };
            assert_eq!(cloud.shown_user(&user).await.get("static_ip"), expected.as_ref());
            let fixed = json!({"static_ip": "192.168.10.5"});
            let updated = cloud.update_user(&user, fixed).await.expect(200);
            assert_eq!(updated["user"]["static_ip"], "192.168.10.5");
        }
        ("update-omitted-fields", what) => {
            let (user, group) = member(cloud, "ops").await;
            let fields = json!({"description": "d", "static_ip": "192.168.10.5", "user_group_id": group});
            cloud.update_user(&user, fields).await.expect(200);
            let shown = cloud.update_user(&user, json!({})).await.expect(200)["user"].clone();
            let (description, ip) = if what == "kept" {
                ("d", "192.168.10.5")
            } else {
                ("", "disable")
            };
            assert_eq!(
                (&shown["description"], &shown["static_ip"]),
                (&json!(description), &json!(ip))
            );
            assert_eq!(shown.get("user_group_id").is_some(), what != "all-cleared");
        }
        ("update-empty-group", what) => {
            let (user, _) = member(cloud, "ops").await;
            let reply = cloud.update_user(&user, json!({"user_group_id": ""})).await;
            match what {
                "refused" => reply.assert_error(400, "VPN.0001"),
                _ => assert_eq!(reply.expect(200)["user"].get("user_group_id"), None),
            }
            assert_eq!(group_of(cloud, &user).await.is_some(), what == "refused");
        }
        ("add-users-of-other-group", what) => {
            let (user, group) = member(cloud, "ops").await;
            let other = cloud.created_group("other").await;
            let reply = cloud.members("add-users", &other, &[&user]).await;
            match what {
                "moves" => assert!(reply.expect(201)["request_id"].is_string()),
                _ => reply.assert_error(400, "VPN.1316"),
            }
            let expected = if what == "moves" { other } else { group.clone() };
            assert_eq!(group_of(cloud, &user).await, Some(json!(expected)));
            cloud.members("add-users", &expected, &[&user]).await.expect(201);
        }
        ("remove-users-not-in-group", what) => {
            let (user, group) = member(cloud, "ops").await;
            let other = cloud.created_group("other").await;
            let reply = cloud.members("remove-users", &other, &[&user]).await;
            assert_eq!(reply.status, if what == "ignored" { 201 } else { 400 });
            assert_eq!(group_of(cloud, &user).await, Some(json!(group)));
        }
        ("delete-group-with-members", what) => {
            let (user, group) = member(cloud, "ops").await;
            let reply = cloud.delete_group(&group).await;
            if what == "members-leave" {
                reply.expect(204);
                assert_eq!(group_of(cloud, &user).await, None);
            } else {
                reply.assert_error(400, "VPN.1315");
                cloud.members("remove-users", &group, &[&user]).await.expect(201);
                cloud.delete_group(&group).await.expect(204);
            }
        }
        ("recent-password", what) => {
            let user = cloud.created_user("alice").await;
            for reply in [
                cloud.reset_password(&user, PASSWORD).await,
                cloud.change_password(&user, PASSWORD, PASSWORD).await,
            ] {
                match what {
                    "refused" => reply.assert_error(400, "VPN.1308"),
                    _ => assert!(reply.expect(200)["request_id"].is_string()),
                }
            }
        }
        ("user-deletion", what) => {
            let (user, group) = member(cloud, "ops").await;
            cloud.delete_group(&group).await.expect(204);
            cloud.delete_user(&user).await.expect(204);
            if what != "immediate" {
                set_clock(cloud, BEFORE).await;
                cloud.shown_user(&user).await;
                cloud.group(&group).await.expect(200);
                cloud.delete_user(&user).await.expect(204);
                let (status, _, text) = cloud.create_user(user_named("alice")).await.error();
                assert!(status == 400 && text.contains("is being deleted"), "{text}");
                cloud
                    .create_group(json!({"name": "ops"}))
                    .await
                    .assert_error(400, "VPN.1304");
            }
            match what {
                "slow" => set_clock(cloud, OVER).await,
                "held" => {
                    set_clock(cloud, 600_000).await;
                    cloud.shown_user(&user).await;
                    let finished = cloud.admin(Method::POST, "finish-deletions", Value::Null).await;
                    assert_eq!(finished.expect(200), json!({"finished": 2}));
                }
                _ => {}
            }
            cloud.user(&user).await.assert_error(404, "VPN.0004");
            cloud.group(&group).await.assert_error(404, "VPN.0004");
            member(cloud, "ops").await;
        }
        ("name-being-deleted", what) => {
            cloud.switch("user-deletion", "held").await;
            let user = cloud.created_user("alice").await;
            cloud.delete_user(&user).await.expect(204);
            let reply = cloud.create_user(user_named("alice")).await;
            reply.assert_error(400, if what == "message" { "VPN.0001" } else { "VPN.1301" });
            assert_eq!(reply.error().2.contains("is being deleted"), what == "message");
        }
        ("batch-delete-unknown", what) => {
            let user = cloud.created_user("alice").await;
            let users = json!({"users": [{"id": user}, {"id": UNKNOWN_ID}]});
            let reply = cloud.post(&on_server("users/batch-delete"), users).await;
            match what {
                "ignored" => assert!(reply.expect(200)["request_id"].is_string()),
                _ => reply.assert_error(400, "VPN.1302"),
            }
            assert_eq!(cloud.true_users().await, usize::from(what == "refused"));
        }
        ("batch-limit", what) => {
            let users: Vec<_> = (0..101).map(|n| user_named(&format!("user{n:03}"))).collect();
            let path = on_server("users/batch-create");
            let reply = cloud.post(&path, json!({"users": users})).await;
            assert_eq!(reply.status, if what == "100" { 400 } else { 201 });
            assert_eq!(cloud.true_users().await, if what == "100" { 0 } else { 101 });
            cloud.post(&path, json!({"users": users[..1]})).await.expect(201);
        }
        ("write-queue", what) => {
            let hold = json!({"fault": "hold", "operation": "CreateVpnUser"});
            cloud.fault(hold).await;
            let (held, ()) = tokio::join!(cloud.create_user(user_named("alice")), async {
                cloud.admin_get("held?count=1").await;
                let second = cloud.create_user(user_named("bobby")).await;
                match what {
                    "1" => second.assert_error(400, "VPN.0030"),
                    _ => {
                        second.expect(201);
                    }
                }
                // Reads do not queue.
                cloud.list_users("").await;
                cloud.release(json!({})).await;
            });
            held.expect(201);
            cloud.created_user("carol").await;
            let server = cloud.admin_get(&format!("vpn-servers/{SERVER}")).await;
            let seen = (
                &server["writes"],
                &server["writes_at_once"],
                &server["most_writes_at_once"],
            );
            assert_eq!(seen, (&json!(3), &json!(0), &json!(2)));
        }
        ("write-queue-pace", what) => {
            cloud.switch("write-queue", "1").await;
            cloud.created_user("alice").await;
            set_clock(cloud, BEFORE).await;
            let at_once = cloud.create_user(user_named("bobby")).await;
            if what == "at-once" {
                assert_eq!(at_once.status, 201);
            } else {
                at_once.assert_error(400, "VPN.0030");
                set_clock(cloud, OVER).await;
                cloud.created_user("bobby").await;
            }
        }
        (name, value) => panic!("no test checks the switch {name} = {value}"),
    }
}

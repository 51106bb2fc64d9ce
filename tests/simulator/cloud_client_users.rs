//! The operator's own client against the simulator's users, groups and servers, in every position of their switches.

use reqwest::Method;
use serde_json::json;
use vpn_cloud::lists::paging::LIMIT;
use vpn_cloud::resources::users::{NO_STATIC_IP, NewUser, UserUpdate};
use vpn_cloud::values::password::Password;
use vpn_cloud::{Client, CloudError, ErrorKind};

use crate::{
    client::{Cloud, UNKNOWN_ID},
    cloud_client::client,
    p2c::{PASSWORD, SERVER},
};

const TOKEN: &str = "0b2e9d0c-5a1f-4c67-9d53-1c1f0e7c2a11";
const OTHER_TOKEN: &str = "0b2e9d0c-5a1f-4c67-9d53-1c1f0e7c2a12";

fn user(name: &str) -> NewUser {
    NewUser {
        name: name.to_owned(),
        password: Password::new(PASSWORD),
        description: None,
        user_group_id: None,
        static_ip: None,
    }
}

async fn refused(client: &Client, user: &NewUser, token: &str) -> CloudError {
    let error = client.create_user(SERVER, user, token).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
    error
}

#[tokio::test]
async fn the_client_creates_reads_updates_and_deletes_a_user() {
    let cloud = Cloud::start().await;
    let client = client(&cloud);
    let servers = client.list_vpn_servers_page(LIMIT, None).await.unwrap().value;
    let server = &servers.items[0];
    assert_eq!(
        (
            server.id.as_str(),
            server.status.as_deref(),
            server.client_auth_type.as_deref()
        ),
        (SERVER, Some("ACTIVE"), Some("LOCAL_PASSWORD"))
    );
    let (first, second) = (cloud.created_group("ops").await, cloud.created_group("dev").await);
    let groups = client.list_user_groups_page(SERVER, LIMIT, None).await.unwrap().value;
    assert_eq!(
        (groups.items.len(), groups.total_count),
        (3, Some(3)),
        "with the default"
    );

    let new = NewUser {
        user_group_id: Some(first.clone()),
        description: Some("on call".to_owned()),
        ..user("alice.dev")
    };
    let made = client.create_user(SERVER, &new, TOKEN).await.unwrap();
    assert!(made.request_id.is_some() && made.date.is_some());
    let id = made.value.id;
    let again = client.create_user(SERVER, &new, TOKEN).await.unwrap();
    assert_eq!(again.value.id, id, "the token is known");

    let seen = client.get_user(SERVER, &id).await.unwrap().value;
    assert_eq!(seen.user_group_name.as_deref(), Some("ops"));
    assert_eq!(seen.static_ip.as_deref(), Some(NO_STATIC_IP));
    let page = client.list_users_page(SERVER, LIMIT, None).await.unwrap().value;
    assert_eq!(
        (page.items.as_slice(), page.total_count),
        (&[seen.clone()][..], Some(1))
    );

    let change = UserUpdate {
        static_ip: Some("192.168.10.5".to_owned()),
        ..UserUpdate::keeping(&seen)
    };
    let changed = client.update_user(SERVER, &id, &change).await.unwrap().value;
    assert_eq!(
        (changed.static_ip.as_deref(), changed.description.as_deref()),
        (Some("192.168.10.5"), Some("on call"))
    );
    assert_eq!(changed.user_group_id, seen.user_group_id);

    client.remove_users_from_group(SERVER, &first, &[&id]).await.unwrap();
    client.add_users_to_group(SERVER, &second, &[&id]).await.unwrap();
    let members = client
        .list_group_members_page(SERVER, &second, LIMIT, None)
        .await
        .unwrap()
        .value;
    assert_eq!(members.items[0].id, id);

    let next = Password::new("An0ther pass");
    client.reset_user_password(SERVER, &id, &next).await.unwrap();
    assert!(cloud.password(&id, next.expose()).await.0, "it is in force");
    for recent in [next, Password::new(PASSWORD)] {
        let error = client.reset_user_password(SERVER, &id, &recent).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RecentPassword, "{error}");
    }

    client.delete_user(SERVER, &id).await.unwrap();
    for error in [
        client.get_user(SERVER, &id).await.unwrap_err(),
        client.delete_user(SERVER, &id).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Gone, "{error}");
    }
}

#[tokio::test]
async fn every_user_error_is_classified_with_every_code() {
    for (codes, status) in [("VPN.13xx", "400"), ("VPN.0001", "400"), ("VPN.93xx", "409")] {
        let cloud = Cloud::start().await;
        cloud.switch("p2c-codes", codes).await;
        cloud.switch("duplicate-user-name", status).await;
        let client = client(&cloud);
        let id = cloud.created_user("alice").await;
        let taken = refused(&client, &user("alice"), TOKEN).await;
        assert_eq!(taken.kind, ErrorKind::Duplicate, "{taken}");

        let with_address = |address: &str| NewUser {
            static_ip: Some(address.to_owned()),
            ..user("carol")
        };
        let holder = NewUser {
            name: "dave".to_owned(),
            ..with_address("192.168.10.5")
        };
        client.create_user(SERVER, &holder, TOKEN).await.unwrap();
        for address in ["192.168.10.5", "192.168.10.6", "10.0.0.1"] {
            let error = refused(&client, &with_address(address), OTHER_TOKEN).await;
            assert_eq!(error.kind, ErrorKind::Rejected, "{error}");
        }
        let lost = NewUser {
            user_group_id: Some(UNKNOWN_ID.to_owned()),
            ..user("carol")
        };
        let error = refused(&client, &lost, OTHER_TOKEN).await;
        assert_eq!(error.kind, ErrorKind::Dependency, "{error}");
        let seen = client.get_user(SERVER, &id).await.unwrap().value;
        let move_away = UserUpdate {
            user_group_id: Some(UNKNOWN_ID.to_owned()),
            ..UserUpdate::keeping(&seen)
        };
        let error = client.update_user(SERVER, &id, &move_away).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Dependency, "{error}");
        for weak in ["short1", "onlyletters", "alicealice", "carol.carol"] {
            let weak = NewUser {
                name: "carol.carol".to_owned(),
                password: Password::new(weak),
                ..user("")
            };
            let error = client.create_user(SERVER, &weak, OTHER_TOKEN).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::BadPassword, "{error}");
        }
        let error = client.reset_user_password(SERVER, &id, &Password::new("short1")).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::BadPassword);
        let error = refused(&client, &user("link"), OTHER_TOKEN).await;
        assert_eq!(error.kind, ErrorKind::Rejected, "{error}");

        cloud.edit("vpn-servers", SERVER, json!({"user_quota": 2})).await;
        let error = refused(&client, &user("carol"), OTHER_TOKEN).await;
        assert_eq!(error.kind, ErrorKind::QuotaExceeded, "{error}");
    }
}

#[tokio::test]
async fn a_missing_or_unready_server_is_a_dependency_error() {
    for value in ["404", "400-not-found", "400-not-exist"] {
        let cloud = Cloud::start().await;
        cloud.switch("unknown-server", value).await;
        let client = client(&cloud);
        let group = cloud.created_group("ops").await;
        for error in [
            client.create_user(UNKNOWN_ID, &user("alice"), TOKEN).await.unwrap_err(),
            client.list_users_page(UNKNOWN_ID, LIMIT, None).await.unwrap_err(),
            client.list_user_groups_page(UNKNOWN_ID, LIMIT, None).await.unwrap_err(),
            client.add_users_to_group(SERVER, UNKNOWN_ID, &["u"]).await.unwrap_err(),
            client
                .add_users_to_group(SERVER, &group, &[UNKNOWN_ID])
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::Dependency, "{value}: {error}");
        }
        let error = client.get_user(UNKNOWN_ID, UNKNOWN_ID).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Gone, "{error}");
    }
    for value in ["400", "409", "403"] {
        for edit in [json!({"status": "PENDING_UPDATE"}), json!({"client_auth_type": "CERT"})] {
            let cloud = Cloud::start().await;
            cloud.switch("server-not-ready", value).await;
            cloud.edit("vpn-servers", SERVER, edit).await;
            let error = refused(&client(&cloud), &user("alice"), TOKEN).await;
            assert_eq!(error.kind, ErrorKind::Dependency, "{value}: {error}");
        }
    }
}

#[tokio::test]
async fn lists_are_read_completely_with_every_end_marker() {
    for marker in ["null", "absent", "present", "empty"] {
        for pages in ["present", "absent"] {
            let cloud = Cloud::start().await;
            cloud.switch("p2c-last-page-marker", marker).await;
            cloud.switch("server-pages", pages).await;
            cloud.created_user("alice").await;
            let client = client(&cloud);
            let mut walked = vpn_cloud::lists::paging::Pages::default();
            let page = client.list_users_page(SERVER, LIMIT, None).await.unwrap().value;
            assert_eq!(walked.add(page), vpn_cloud::lists::paging::NextPage::Done);
            assert!(walked.finish().complete, "{marker}");
            let mut walked = vpn_cloud::lists::paging::Pages::default();
            let page = client.list_vpn_servers_page(LIMIT, None).await.unwrap().value;
            assert_eq!(walked.add(page), vpn_cloud::lists::paging::NextPage::Done);
            assert!(walked.finish().complete, "{marker} {pages}");
        }
    }
}

#[tokio::test]
async fn repeated_duplicate_and_unavailable_errors_are_distinguished() {
    let cloud = Cloud::start().await;
    cloud.switch("client-token-replay", "VPN.0031").await;
    let client = client(&cloud);
    let id = client
        .create_user(SERVER, &user("alice"), TOKEN)
        .await
        .unwrap()
        .value
        .id;
    let error = refused(&client, &user("alice"), TOKEN).await;
    assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Repeated, true));
    cloud.switch("client-token-replay", "ignored").await;
    let error = refused(&client, &user("alice"), TOKEN).await;
    assert_eq!(error.kind, ErrorKind::Duplicate);

    cloud.switch("user-deletion", "held").await;
    client.delete_user(SERVER, &id).await.unwrap();
    let error = refused(&client, &user("alice"), OTHER_TOKEN).await;
    assert_eq!(error.kind, ErrorKind::Dependency, "{error}");
    cloud.admin(Method::POST, "finish-deletions", json!({})).await;
    client.create_user(SERVER, &user("alice"), OTHER_TOKEN).await.unwrap();

    for (value, expected) in [("404", ErrorKind::NotAvailable), ("403", ErrorKind::Forbidden)] {
        cloud.switch("p2c", value).await;
        for error in [
            client.get_user(SERVER, &id).await.unwrap_err(),
            client.list_users_page(SERVER, LIMIT, None).await.unwrap_err(),
            refused(&client, &user("bob1"), TOKEN).await,
        ] {
            assert_eq!(error.kind, expected, "{error}");
        }
    }
}

//! Which VPN users the apiserver admits.

use kube::api::{ApiResource, Patch, PatchParams};
use serde_json::{Value, json};
use vpn_core::api::VpnUser;

use super::{Bench, EditRefusal, ID, OTHER_ID, Refusal, SECRET_KEY, SECRET_NAME, UUID, Verdicts, titles, with};

const SERVER: &str = "55555555-2222-3333-4444-555555555555";
const OTHER_SERVER: &str = "66666666-2222-3333-4444-555555555555";
/// The cloud's group ids are not always hexadecimal.
const GROUP: &str = "yWYnJt0R-Q0a7-XbLm-9kPz-Tr2vNc8WqE5h";

/// The allowed values that messages name, for the rows below.
const NAME: &[&str] = &["4 to 32 letters, digits, '.', '_' and '-'"];
const RESERVED: &[&str] = &[
    "name is reserved by the cloud",
    "L3SW_",
    "link, Cascade, SecureNAT, localbridge and administrator",
];
const SERVER_ID: &[&str] = &["the id of a VPN server: 36 letters, digits and '-'"];
const DEFAULT_NAME: &[&str] = &["Required", "metadata.name cannot be the user's name", "set spec.name"];
const PASSWORD: &[&str] = &[
    "Required",
    "name of a Secret in this namespace",
    "optional only with externalID or adoptionPolicy: Required",
];
const GROUP_ID: &[&str] = &[
    "36 letters, digits and '-'",
    "None for a user in no group",
    "remove it to leave the group unmanaged",
];
const ONE_GROUP: &[&str] = &["keep one of the two"];
const STATIC_IP: &[&str] = &[
    "dotted IPv4 address",
    "one more than a multiple of four",
    "192.168.10.5",
    "Disabled for a random address",
];
const INSTEAD: &[&str] = &[
    "Forbidden",
    "create another VpnUser",
    "beside this one",
    "give its name and password",
    "then delete this one",
];

async fn bench() -> Bench {
    Bench::new(ApiResource::erase::<VpnUser>(&())).await
}

/// A valid user, changed by `more`.
fn user(more: Value) -> Value {
    with(
        json!({"vpnServerID": SERVER, "passwordSecretRef": {"name": "passwords"}}),
        more,
    )
}

fn named(name: &str) -> Value {
    user(json!({"name": name}))
}

/// A user without a field.
fn without(field: &str) -> Value {
    user(json!({field: null}))
}

#[tokio::test]
async fn invalid_users_are_refused_with_field_and_allowed_values() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let long = |length| "x".repeat(length);
    let password = |reference| user(json!({"passwordSecretRef": reference}));
    let credentials = |reference| user(json!({"credentialsRef": reference}));
    let rows: Vec<Refusal> = vec![
        (
            "server: missing",
            without("vpnServerID"),
            "spec.vpnServerID",
            &["Required"],
        ),
        (
            "server: empty",
            user(json!({"vpnServerID": ""})),
            "spec.vpnServerID",
            UUID,
        ),
        (
            "server: 35",
            user(json!({"vpnServerID": &SERVER[1..]})),
            "spec.vpnServerID",
            UUID,
        ),
        (
            "server: 37",
            user(json!({"vpnServerID": format!("{SERVER}5")})),
            "spec.vpnServerID",
            UUID,
        ),
        (
            "server: a path",
            user(json!({"vpnServerID": SERVER.replace('-', "/")})),
            "spec.vpnServerID",
            SERVER_ID,
        ),
        (
            "server: not ASCII",
            user(json!({"vpnServerID": "é".repeat(36)})),
            "spec.vpnServerID",
            SERVER_ID,
        ),
        (
            "server: newline",
            user(json!({"vpnServerID": format!("{}\n", &SERVER[1..])})),
            "spec.vpnServerID",
            SERVER_ID,
        ),
        (
            "server: number",
            user(json!({"vpnServerID": 7})),
            "spec.vpnServerID",
            &["string"],
        ),
        ("name: empty", named(""), "spec.name", &["at least 4"]),
        ("name: 3", named("bob"), "spec.name", &["at least 4"]),
        ("name: 33", named(&long(33)), "spec.name", &["32"]),
        ("name: space", named("alice dev"), "spec.name", NAME),
        ("name: slash", named("alice/dev"), "spec.name", NAME),
        ("name: at", named("alice@example"), "spec.name", NAME),
        ("name: plus", named("alice+dev"), "spec.name", NAME),
        ("name: umlaut", named("jürgen"), "spec.name", NAME),
        ("name: Chinese", named("用户名称"), "spec.name", NAME),
        ("name: newline", named("alice\n"), "spec.name", NAME),
        ("name: number", user(json!({"name": 12345})), "spec.name", &["string"]),
        ("name: router", named("L3SW_1"), "spec.name", RESERVED),
        ("name: router's prefix alone", named("L3SW_"), "spec.name", RESERVED),
        ("name: router in lower case", named("l3sw_alice"), "spec.name", RESERVED),
        ("name: link", named("link"), "spec.name", RESERVED),
        ("name: LINK", named("LINK"), "spec.name", RESERVED),
        ("name: Cascade", named("Cascade"), "spec.name", RESERVED),
        ("name: cascade", named("cascade"), "spec.name", RESERVED),
        ("name: SecureNAT", named("SecureNAT"), "spec.name", RESERVED),
        ("name: securenat", named("securenat"), "spec.name", RESERVED),
        ("name: localbridge", named("localbridge"), "spec.name", RESERVED),
        ("name: LocalBridge", named("LocalBridge"), "spec.name", RESERVED),
        ("name: administrator", named("administrator"), "spec.name", RESERVED),
        ("name: Administrator", named("Administrator"), "spec.name", RESERVED),
        (
            "name: reserved, adopted",
            user(json!({"externalID": ID, "name": "link"})),
            "spec.name",
            RESERVED,
        ),
        (
            "password: missing",
            without("passwordSecretRef"),
            "spec.passwordSecretRef",
            PASSWORD,
        ),
        (
            "password: missing under ReportDrift",
            user(json!({"passwordSecretRef": null, "managementPolicy": "ReportDrift"})),
            "spec.passwordSecretRef",
            PASSWORD,
        ),
        (
            "password: missing with adoptionPolicy",
            user(json!({"passwordSecretRef": null, "adoptionPolicy": "IfExists"})),
            "spec.passwordSecretRef",
            PASSWORD,
        ),
        (
            "password: written down",
            password(json!("S3cret pass")),
            "spec.passwordSecretRef",
            &["object"],
        ),
        (
            "password: no name",
            password(json!({"key": "password"})),
            "spec.passwordSecretRef.name",
            &["Required"],
        ),
        (
            "password: empty name",
            password(json!({"name": ""})),
            "spec.passwordSecretRef.name",
            &["at least 1"],
        ),
        (
            "password: bad name",
            password(json!({"name": "My_Passwords"})),
            "spec.passwordSecretRef.name",
            SECRET_NAME,
        ),
        (
            "password: name with a namespace",
            password(json!({"name": "other/passwords"})),
            "spec.passwordSecretRef.name",
            SECRET_NAME,
        ),
        (
            "password: name of 254",
            password(json!({"name": long(254)})),
            "spec.passwordSecretRef.name",
            &["253"],
        ),
        (
            "password: empty key",
            password(json!({"name": "passwords", "key": ""})),
            "spec.passwordSecretRef.key",
            &["at least 1"],
        ),
        (
            "password: bad key",
            password(json!({"name": "passwords", "key": "alice dev"})),
            "spec.passwordSecretRef.key",
            SECRET_KEY,
        ),
        (
            "password: key that no Secret can have",
            password(json!({"name": "passwords", "key": "..alice"})),
            "spec.passwordSecretRef.key",
            SECRET_KEY,
        ),
        (
            "description: 65",
            user(json!({"description": long(65)})),
            "spec.description",
            &["64"],
        ),
        (
            "description: 65 of three bytes",
            user(json!({"description": "网".repeat(65)})),
            "spec.description",
            &["64"],
        ),
        (
            "description: list",
            user(json!({"description": ["ops"]})),
            "spec.description",
            &["string"],
        ),
        (
            "groups: both",
            user(json!({"userGroupID": GROUP, "userGroupName": "ops"})),
            "spec.userGroupName",
            ONE_GROUP,
        ),
        (
            "groups: none, and a name",
            user(json!({"userGroupID": "None", "userGroupName": "ops"})),
            "spec.userGroupName",
            ONE_GROUP,
        ),
        (
            "group id: empty",
            user(json!({"userGroupID": ""})),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group id: a name",
            user(json!({"userGroupID": "ops"})),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group id: lower case",
            user(json!({"userGroupID": "none"})),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group id: 35",
            user(json!({"userGroupID": &GROUP[1..]})),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group id: 37",
            user(json!({"userGroupID": format!("{GROUP}x")})),
            "spec.userGroupID",
            UUID,
        ),
        (
            "group id: underscores",
            user(json!({"userGroupID": GROUP.replace('-', "_")})),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group name: empty",
            user(json!({"userGroupName": ""})),
            "spec.userGroupName",
            &["1 to 64 characters", "set userGroupID: None instead"],
        ),
        (
            "group name: 65",
            user(json!({"userGroupName": long(65)})),
            "spec.userGroupName",
            &["64"],
        ),
        (
            "group name: list",
            user(json!({"userGroupName": ["ops"]})),
            "spec.userGroupName",
            &["string"],
        ),
        (
            "externalID: 35",
            user(json!({"externalID": &ID[1..]})),
            "spec.externalID",
            UUID,
        ),
        (
            "externalID: 37",
            user(json!({"externalID": format!("{ID}1")})),
            "spec.externalID",
            UUID,
        ),
        (
            "externalID: a name",
            user(json!({"externalID": "a".repeat(35) + "_"})),
            "spec.externalID",
            &["36 letters, digits and '-'"],
        ),
        (
            "Observe without externalID",
            user(json!({"managementPolicy": "Observe"})),
            "spec.externalID",
            &["Required", "managementPolicy: Observe needs externalID"],
        ),
        (
            "managementPolicy: unknown",
            user(json!({"managementPolicy": "Ignore"})),
            "spec.managementPolicy",
            &["\"Manage\", \"ReportDrift\", \"Observe\""],
        ),
        (
            "adoptionPolicy: unknown",
            user(json!({"adoptionPolicy": "Always"})),
            "spec.adoptionPolicy",
            &["\"Never\", \"IfExists\""],
        ),
        (
            "deletionPolicy: unknown",
            user(json!({"deletionPolicy": "Orphan"})),
            "spec.deletionPolicy",
            &["\"Delete\", \"Retain\""],
        ),
        (
            "credentials: no name",
            credentials(json!({})),
            "spec.credentialsRef.name",
            &["Required"],
        ),
        (
            "credentials: bad name",
            credentials(json!({"name": "Cloud"})),
            "spec.credentialsRef.name",
            SECRET_NAME,
        ),
    ];
    bench.refuses(&mut verdicts, rows).await;
    verdicts.finish(60);
}

#[tokio::test]
async fn invalid_static_ips_are_refused() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let values = [
        ("empty", ""),
        ("network of a /30", "192.168.10.4"),
        ("second host of a /30", "192.168.10.6"),
        ("broadcast of a /30", "192.168.10.7"),
        ("0", "192.168.10.0"),
        ("255", "192.168.10.255"),
        ("257", "192.168.10.257"),
        ("leading zero", "192.168.10.05"),
        ("leading zero in front", "192.168.010.5"),
        ("three octets", "192.168.5"),
        ("five octets", "192.168.10.5.5"),
        ("CIDR", "192.168.10.5/30"),
        ("CIDR, longer than an address", "192.168.100.5/30"),
        ("IPv6", "2001:db8::5"),
        ("IPv6 that holds an IPv4", "::ffff:192.168.10.5"),
        ("space", " 192.168.10.5"),
        ("newline", "192.168.10.5\n"),
        ("hexadecimal", "0xc0.168.10.5"),
        ("a name", "vpn.example.com"),
        ("Disable", "Disable"),
        ("none", "none"),
        ("DHCP", "dhcp"),
    ];
    let rows = values.map(|(what, value)| {
        let spec = user(json!({"staticIP": value}));
        let refusal: Refusal = (what, spec, "spec.staticIP", STATIC_IP);
        refusal
    });
    bench.refuses(&mut verdicts, rows).await;
    let number: Refusal = ("number", user(json!({"staticIP": 5})), "spec.staticIP", &["string"]);
    bench.refuses(&mut verdicts, [number]).await;
    verdicts.finish(23);
}

#[tokio::test]
async fn a_metadata_name_invalid_as_user_name_requires_spec_name() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let too_long = "x".repeat(33);
    let names = [
        "bob",
        too_long.as_str(),
        "link",
        "cascade",
        "securenat",
        "localbridge",
        "administrator",
    ];
    for name in names {
        let refused = bench.create(name, &user(json!({})), true).await;
        verdicts.refused(name, "spec.name", DEFAULT_NAME, refused);
        let called = bench.create(name, &named("alice"), true).await;
        verdicts.accepted(name, called);
        let adopted = bench.create(name, &user(json!({"externalID": ID})), true).await;
        verdicts.accepted(name, adopted);
    }
    let longest = "x".repeat(32);
    for name in ["anna", "links", "l3sw", "a.b-c", "administrator-2", longest.as_str()] {
        verdicts.accepted(name, bench.create(name, &user(json!({})), true).await);
    }
    verdicts.finish(27);
}

#[tokio::test]
async fn valid_boundary_values_of_users_are_accepted() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let long = |length| "x".repeat(length);
    let address = |address: &str| user(json!({"staticIP": address}));
    let rows = [
        ("no more than needed", user(json!({}))),
        ("name of 4", named("anna")),
        ("name of 32", named(&format!("A.b_c-0{}", long(25)))),
        ("name of specials", named("._-.")),
        ("name of digits", named("0123")),
        ("name that begins like a reserved one", named("linker")),
        ("name that ends like a reserved one", named("my-administrator")),
        ("name that holds a reserved prefix", named("my_L3SW_1")),
        ("name like the reserved prefix", named("L3SW-1")),
        ("server id in upper case", user(json!({"vpnServerID": GROUP}))),
        (
            "password's key",
            user(json!({"passwordSecretRef": {"name": "my.passwords-1", "key": "Alice_1.dev"}})),
        ),
        ("description: empty", user(json!({"description": ""}))),
        ("description of 64", user(json!({"description": long(64)}))),
        (
            "description of 64 letters of four bytes",
            user(json!({"description": "😀".repeat(64)})),
        ),
        (
            "description with specials",
            user(json!({"description": "Alice's laptop - on call, 2nd line"})),
        ),
        ("group id", user(json!({"userGroupID": GROUP}))),
        ("in no group", user(json!({"userGroupID": "None"}))),
        ("group name of 1", user(json!({"userGroupName": "a"}))),
        ("group name of 64", user(json!({"userGroupName": long(64)}))),
        (
            "group name of 64 letters of three bytes",
            user(json!({"userGroupName": "网".repeat(64)})),
        ),
        ("group name with specials", user(json!({"userGroupName": "R&D (all)"}))),
        ("random address", address("Disabled")),
        ("first address", address("10.0.0.1")),
        ("5", address("192.168.10.5")),
        ("9", address("192.168.10.9")),
        ("13", address("192.168.10.13")),
        ("101", address("192.168.10.101")),
        ("253", address("192.168.10.253")),
        ("longest address", address("192.168.100.253")),
        (
            "policies",
            user(json!({"managementPolicy": "ReportDrift", "adoptionPolicy": "IfExists", "deletionPolicy": "Retain"})),
        ),
        ("credentials", user(json!({"credentialsRef": {"name": "cloud"}}))),
        ("adopted", user(json!({"externalID": ID}))),
        (
            "adopted, password left alone",
            json!({"vpnServerID": SERVER, "externalID": ID}),
        ),
        (
            "observed",
            json!({"vpnServerID": SERVER, "externalID": ID, "managementPolicy": "Observe"}),
        ),
        (
            "observed, and compared",
            user(json!({
                "externalID": ID, "managementPolicy": "Observe", "name": "alice", "staticIP": "Disabled",
                "userGroupName": "ops",
            })),
        ),
        (
            "adopted by its name, password left alone",
            json!({"vpnServerID": SERVER, "adoptionPolicy": "Required"}),
        ),
        (
            "observed by its name",
            json!({"vpnServerID": SERVER, "adoptionPolicy": "Required", "managementPolicy": "Observe"}),
        ),
        (
            "null is equivalent to omitted",
            user(json!({
                "name": null, "description": null, "userGroupID": null, "userGroupName": null, "staticIP": null,
                "externalID": null,
            })),
        ),
    ];
    bench.accepts(&mut verdicts, rows).await;
    verdicts.finish(38);
}

/// Users in every initial state of the edits below. Each name describes its state.
async fn bench_with_users() -> Bench {
    let bench = bench().await;
    let made = json!({"id": ID, "name": "made"});
    bench.existing("made", &user(json!({})), None).await;
    bench.set_status("made", made).await;
    bench.existing("unmade", &user(json!({})), None).await;
    bench.existing("named", &named("alice"), Some(ID)).await;
    bench.existing("pinned", &named("pinned"), Some(ID)).await;
    let grouped = user(json!({"userGroupID": GROUP, "staticIP": "192.168.10.5", "description": "ops"}));
    bench.existing("grouped", &grouped, Some(ID)).await;
    bench
        .existing("group-name", &user(json!({"userGroupName": "ops"})), Some(ID))
        .await;
    let adopted = json!({"vpnServerID": SERVER, "externalID": ID});
    bench.existing("adopted", &adopted, Some(ID)).await;
    bench.set_status("adopted", json!({"name": "alice.dev"})).await;
    bench.existing("unread", &adopted, None).await;
    let observed = with(adopted.clone(), json!({"managementPolicy": "Observe"}));
    bench.existing("observed", &observed, Some(ID)).await;
    bench
        .existing("bob", &with(adopted, json!({"name": "bob.dev"})), Some(ID))
        .await;
    bench
}

#[tokio::test]
async fn edits_of_immutable_user_fields_are_refused_with_instructions() {
    let bench = bench_with_users().await;
    let mut verdicts = Verdicts::default();
    let fixed_id: &[&str] = &["Forbidden", "externalID is immutable", "deletionPolicy: Retain"];
    let rows: Vec<EditRefusal> = vec![
        (
            "server changed",
            "made",
            json!({"vpnServerID": OTHER_SERVER}),
            "spec.vpnServerID",
            INSTEAD,
        ),
        (
            "server changed before anything was made",
            "unmade",
            json!({"vpnServerID": OTHER_SERVER}),
            "spec.vpnServerID",
            INSTEAD,
        ),
        (
            "server removed",
            "made",
            json!({"vpnServerID": null}),
            "spec.vpnServerID",
            &["Required"],
        ),
        ("name changed", "named", json!({"name": "carol"}), "spec.name", INSTEAD),
        (
            "name changed to metadata.name",
            "named",
            json!({"name": "named"}),
            "spec.name",
            INSTEAD,
        ),
        (
            "name's case changed",
            "named",
            json!({"name": "Alice"}),
            "spec.name",
            INSTEAD,
        ),
        ("name removed", "named", json!({"name": null}), "spec.name", INSTEAD),
        (
            "another name than the default written out",
            "made",
            json!({"name": "alice"}),
            "spec.name",
            INSTEAD,
        ),
        (
            "another name than the default written out early",
            "unmade",
            json!({"name": "alice"}),
            "spec.name",
            INSTEAD,
        ),
        (
            "the default's case changed",
            "made",
            json!({"name": "Made"}),
            "spec.name",
            INSTEAD,
        ),
        (
            "another name than the adopted one's written out",
            "adopted",
            json!({"name": "adopted"}),
            "spec.name",
            INSTEAD,
        ),
        (
            "another name than the adopted one's, externalID removed",
            "adopted",
            json!({"name": "other.dev", "externalID": null, "passwordSecretRef": {"name": "passwords"}}),
            "spec.name",
            INSTEAD,
        ),
        (
            "name of an adopted user removed",
            "bob",
            json!({"name": null}),
            "spec.name",
            INSTEAD,
        ),
        (
            "name and externalID removed where metadata.name does not do",
            "bob",
            json!({"name": null, "externalID": null, "passwordSecretRef": {"name": "passwords"}}),
            "spec.name",
            DEFAULT_NAME,
        ),
        (
            "name spoilt",
            "named",
            json!({"name": "a b"}),
            "spec.name",
            &["at least 4"],
        ),
        (
            "password removed",
            "made",
            json!({"passwordSecretRef": null}),
            "spec.passwordSecretRef",
            PASSWORD,
        ),
        (
            "externalID removed without a password",
            "adopted",
            json!({"externalID": null}),
            "spec.passwordSecretRef",
            PASSWORD,
        ),
        (
            "password's Secret spoilt",
            "made",
            json!({"passwordSecretRef": {"name": "No"}}),
            "spec.passwordSecretRef.name",
            SECRET_NAME,
        ),
        (
            "description too long",
            "made",
            json!({"description": "x".repeat(65)}),
            "spec.description",
            &["64"],
        ),
        (
            "group id emptied",
            "grouped",
            json!({"userGroupID": ""}),
            "spec.userGroupID",
            GROUP_ID,
        ),
        (
            "group name emptied",
            "group-name",
            json!({"userGroupName": ""}),
            "spec.userGroupName",
            &["userGroupID: None"],
        ),
        (
            "group name beside the id",
            "grouped",
            json!({"userGroupName": "ops"}),
            "spec.userGroupName",
            ONE_GROUP,
        ),
        (
            "group id beside the name",
            "group-name",
            json!({"userGroupID": GROUP}),
            "spec.userGroupName",
            ONE_GROUP,
        ),
        (
            "address emptied",
            "grouped",
            json!({"staticIP": ""}),
            "spec.staticIP",
            STATIC_IP,
        ),
        (
            "address spoilt",
            "grouped",
            json!({"staticIP": "192.168.10.6"}),
            "spec.staticIP",
            STATIC_IP,
        ),
        (
            "externalID changed",
            "adopted",
            json!({"externalID": OTHER_ID}),
            "spec.externalID",
            fixed_id,
        ),
        (
            "externalID changed early",
            "unread",
            json!({"externalID": OTHER_ID}),
            "spec.externalID",
            fixed_id,
        ),
        (
            "externalID of another user",
            "made",
            json!({"externalID": OTHER_ID}),
            "spec.externalID: Forbidden",
            &["only while status.id is empty or equal", "deletionPolicy: Retain"],
        ),
        (
            "Observe begun without externalID",
            "made",
            json!({"managementPolicy": "Observe"}),
            "spec.externalID",
            &["managementPolicy: Observe needs externalID"],
        ),
        (
            "policy spoilt",
            "made",
            json!({"deletionPolicy": "Keep"}),
            "spec.deletionPolicy",
            &["\"Delete\", \"Retain\""],
        ),
    ];
    bench.refuses_edits(&mut verdicts, rows).await;
    verdicts.finish(30);
}

#[tokio::test]
async fn edits_of_mutable_user_fields_are_accepted() {
    let bench = bench_with_users().await;
    let mut verdicts = Verdicts::default();
    let rows = [
        ("the default name written out", "made", json!({"name": "made"})),
        (
            "the default name written out early",
            "unmade",
            json!({"name": "unmade"}),
        ),
        ("the written default omitted", "pinned", json!({"name": null})),
        (
            "the adopted one's name written out",
            "adopted",
            json!({"name": "alice.dev"}),
        ),
        (
            "the name of one that is not read yet written out",
            "unread",
            json!({"name": "alice.dev"}),
        ),
        (
            "the adopted one's name written out, externalID removed",
            "adopted",
            json!({"name": "alice.dev", "externalID": null, "passwordSecretRef": {"name": "passwords"}}),
        ),
        (
            "externalID removed, the name omitted",
            "adopted",
            json!({"externalID": null, "passwordSecretRef": {"name": "passwords"}}),
        ),
        (
            "externalID removed, the name stays",
            "bob",
            json!({"externalID": null, "passwordSecretRef": {"name": "passwords"}}),
        ),
        (
            "another password's Secret",
            "made",
            json!({"passwordSecretRef": {"name": "others", "key": "alice"}}),
        ),
        (
            "password added",
            "adopted",
            json!({"passwordSecretRef": {"name": "passwords"}}),
        ),
        (
            "password left alone from now on",
            "made",
            json!({"passwordSecretRef": null, "externalID": ID}),
        ),
        ("description changed", "grouped", json!({"description": "on call"})),
        ("description cleared", "grouped", json!({"description": ""})),
        ("description omitted", "grouped", json!({"description": null})),
        (
            "group by name instead of id",
            "grouped",
            json!({"userGroupID": null, "userGroupName": "ops"}),
        ),
        (
            "group by id instead of name",
            "group-name",
            json!({"userGroupID": GROUP, "userGroupName": null}),
        ),
        ("another group", "group-name", json!({"userGroupName": "dev"})),
        ("group left", "grouped", json!({"userGroupID": "None"})),
        (
            "group left that was named",
            "group-name",
            json!({"userGroupID": "None", "userGroupName": null}),
        ),
        ("group omitted", "grouped", json!({"userGroupID": null})),
        ("another address", "grouped", json!({"staticIP": "192.168.10.9"})),
        ("a random address", "grouped", json!({"staticIP": "Disabled"})),
        ("address omitted", "grouped", json!({"staticIP": null})),
        ("the present id pinned", "made", json!({"externalID": ID})),
        (
            "adoption asked for before anything was made",
            "unmade",
            json!({"externalID": OTHER_ID}),
        ),
        (
            "adoption of one that is called otherwise",
            "unmade",
            json!({"externalID": OTHER_ID, "name": "alice.dev"}),
        ),
        (
            "from Manage to Observe",
            "adopted",
            json!({"managementPolicy": "Observe"}),
        ),
        (
            "from Observe to Manage",
            "observed",
            json!({"managementPolicy": null, "passwordSecretRef": {"name": "passwords"}}),
        ),
        (
            "credentials named",
            "made",
            json!({"credentialsRef": {"name": "cloud"}}),
        ),
        (
            "policies",
            "made",
            json!({"managementPolicy": "ReportDrift", "deletionPolicy": "Retain", "adoptionPolicy": "IfExists"}),
        ),
    ];
    bench.accepts_edits(&mut verdicts, rows).await;
    verdicts.finish(30);
}

/// The rules about names read status, so they also run when status is written: they must not block the operator.
#[tokio::test]
async fn status_accepts_a_user_name_that_differs_from_the_spec() {
    let bench = bench_with_users().await;
    for name in ["made", "unmade", "named", "adopted", "observed", "bob"] {
        bench.set_status(name, json!({"name": "renamed.by-hand"})).await;
    }
    let params = PatchParams::default();
    for name in ["made", "named", "adopted"] {
        let labels = Patch::Merge(json!({"metadata": {"labels": {"team": "net"}}}));
        bench.objects.patch(name, &params, &labels).await.unwrap();
    }
    // The omitted name is still metadata.name.
    bench.edit("made", &json!({"name": "made"})).await.unwrap();
}

#[tokio::test]
async fn kubectl_refuses_unknown_user_fields() {
    let bench = bench().await;
    let rows = [
        ("password: 'S3cret pass'", "unknown field \"spec.password\""),
        ("staticIp: 192.168.10.5", "unknown field \"spec.staticIp\""),
        ("userGroup: ops", "unknown field \"spec.userGroup\""),
        ("tags: {team: net}", "unknown field \"spec.tags\""),
        (
            "credentialsRef: {name: a, namespace: b}",
            "unknown field \"spec.credentialsRef.namespace\"",
        ),
    ];
    for (more, expected_words) in rows {
        let manifest = format!(
            "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: VpnUser\nmetadata: {{name: unknown}}\n\
             spec: {{vpnServerID: {SERVER}, passwordSecretRef: {{name: passwords}}, {more}}}\n"
        );
        bench.kubectl_refuses(&manifest, expected_words).await;
    }
}

#[tokio::test]
async fn kubectl_explains_and_lists_users() {
    let bench = bench().await;
    // This refreshes kubectl's discovery cache, which keeps results from before the CRD for hours.
    let resources = bench.kubectl(["api-resources", "--categories=vpn"]).await;
    assert!(resources.contains("VpnUser"), "{resources}");
    let texts = [
        ("vpnu", "remote-access user"),
        ("vpnu.spec.vpnServerID", "LOCAL_PASSWORD"),
        ("vpnu.spec.passwordSecretRef", "once per change"),
        ("vpnu.spec.passwordSecretRef.key", "`password`"),
        ("vpnu.spec.userGroupID", "`None`"),
        ("vpnu.spec.staticIP", "`Disabled`"),
        ("vpnu.spec.externalID", "existing cloud resource"),
        ("vpnu.status.passwordSetAt", "last set"),
    ];
    bench.explains(texts).await;

    let spec = user(json!({"name": "in.spec"}));
    bench.existing("alice", &spec, Some(ID)).await;
    let status = json!({"name": "in.the.cloud", "userGroupName": "ops"});
    bench.set_status("alice", status).await;
    let listed = bench.kubectl(["get", "vpnu"]).await;
    let narrow = ["NAME", "READY", "REASON", "USER", "GROUP", "AGE"];
    assert_eq!(titles(&listed), narrow, "{listed}");
    assert!(listed.contains("in.the.cloud") && listed.contains("ops"), "{listed}");
    let wide = bench.kubectl(["get", "vpnu", "--output=wide"]).await;
    let all = [narrow.as_slice(), &["SERVER", "ID", "CREATED", "UPDATED", "MESSAGE"]].concat();
    assert_eq!(titles(&wide), all, "{wide}");
    assert!(wide.contains(SERVER) && wide.contains(ID), "{wide}");
    let by_category = bench.kubectl(["get", "vpn"]).await;
    assert!(
        by_category.contains("vpnuser.vpn.huaweicloud.com/alice"),
        "{by_category}"
    );
}

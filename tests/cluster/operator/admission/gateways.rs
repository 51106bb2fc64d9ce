//! Which gateways the apiserver accepts.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Bench, EditRefusal, ID, OTHER_ID, Refusal, SECRET_KEY, SECRET_NAME, UUID, Verdicts, titles, with};
use crate::operator::world::gateway_resource;

/// Texts of messages about allowed values, for the rows below.
const NAME: &[&str] = &["1 to 64 letters, digits, '_', '-' and '.'"];
const ADDRESS: &[&str] = &[
    "dotted IPv4 address such as 203.0.113.7",
    "1.0.0.0 to 223.255.255.255",
    "loopback",
    "for a name, set idType: FQDN",
];
const FQDN: &[&str] = &["letters, digits and special characters", "& < > [ ] \\ ?"];
const TAG_KEY: &[&str] = &[
    "a key may contain letters (also Spanish, Portuguese and Chinese), digits, '_', '.', ':', '=', '+', '-', '@' and \
     spaces",
];
const TAG_VALUE: &[&str] = &[
    "a value may contain letters (also Spanish, Portuguese and Chinese), digits, '_', '.', ':', '=', '+', '-', '@', \
     '/'",
];

async fn bench() -> Bench {
    Bench::new(gateway_resource()).await
}

fn ip(more: Value) -> Value {
    with(json!({"idValue": "203.0.113.7"}), more)
}

fn fqdn(value: &str) -> Value {
    json!({"idType": "FQDN", "idValue": value})
}

fn tagged(tags: Value) -> Value {
    let mut spec = json!({});
    spec["tags"] = tags;
    ip(spec)
}

fn tags(count: usize) -> Value {
    let tags = (0..count).map(|number| (format!("key-{number}"), Value::from("value")));
    tagged(Value::Object(tags.collect()))
}

#[tokio::test]
async fn invalid_gateways_are_refused_with_field_and_allowed_values() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let long = |length| "x".repeat(length);
    let certificate = |reference| ip(json!({"caCertificateSecretRef": reference}));
    let credentials = |reference| ip(json!({"credentialsRef": reference}));
    let rows: Vec<Refusal> = vec![
        ("name: space", ip(json!({"name": "an office"})), "spec.name", NAME),
        ("name: umlaut", ip(json!({"name": "büro"})), "spec.name", NAME),
        ("name: slash", ip(json!({"name": "a/b"})), "spec.name", NAME),
        ("name: empty", ip(json!({"name": ""})), "spec.name", &["at least 1"]),
        ("name: 65", ip(json!({"name": long(65)})), "spec.name", &["64"]),
        ("name: newline", ip(json!({"name": "office\n"})), "spec.name", NAME),
        ("name: number", ip(json!({"name": 7})), "spec.name", &["string"]),
        (
            "idType: unknown",
            ip(json!({"idType": "DNS"})),
            "spec.idType",
            &["supported values: \"IP\", \"FQDN\""],
        ),
        (
            "idType: lower case",
            ip(json!({"idType": "ip"})),
            "spec.idType",
            &["\"IP\", \"FQDN\""],
        ),
        (
            "idType: list",
            ip(json!({"idType": ["IP"]})),
            "spec.idType",
            &["string"],
        ),
        (
            "idValue: missing",
            json!({}),
            "spec.idValue",
            &["Required", "IPv4 address or FQDN"],
        ),
        (
            "idValue: null",
            json!({"idValue": null}),
            "spec.idValue",
            &["Required", "IPv4 address or FQDN"],
        ),
        (
            "idValue: missing under ReportDrift",
            json!({"managementPolicy": "ReportDrift"}),
            "spec.idValue",
            &["Required", "optional only with managementPolicy: Observe"],
        ),
        (
            "idValue: missing with externalID",
            json!({"externalID": ID}),
            "spec.idValue",
            &["Required"],
        ),
        (
            "idValue: empty",
            json!({"idValue": ""}),
            "spec.idValue",
            &["at least 1"],
        ),
        ("idValue: 129", json!({"idValue": long(129)}), "spec.idValue", &["128"]),
        ("idValue: number", json!({"idValue": 203}), "spec.idValue", &["string"]),
        ("FQDN: space", fqdn("vpn example.com"), "spec.idValue", FQDN),
        ("FQDN: ampersand", fqdn("vpn&example.com"), "spec.idValue", FQDN),
        ("FQDN: less", fqdn("vpn<example.com"), "spec.idValue", FQDN),
        ("FQDN: greater", fqdn("vpn>example.com"), "spec.idValue", FQDN),
        ("FQDN: bracket", fqdn("vpn[example.com"), "spec.idValue", FQDN),
        ("FQDN: closing bracket", fqdn("vpn]example.com"), "spec.idValue", FQDN),
        ("FQDN: backslash", fqdn("vpn\\example.com"), "spec.idValue", FQDN),
        ("FQDN: question mark", fqdn("vpn?example.com"), "spec.idValue", FQDN),
        ("FQDN: not ASCII", fqdn("vpn.exämple.com"), "spec.idValue", FQDN),
        ("FQDN: newline", fqdn("vpn.example.com\n"), "spec.idValue", FQDN),
        ("FQDN: tab", fqdn("vpn\texample.com"), "spec.idValue", FQDN),
        ("FQDN: empty", fqdn(""), "spec.idValue", &["at least 1"]),
        ("FQDN: 129", fqdn(&long(129)), "spec.idValue", &["128"]),
        (
            "bgpASN: 0",
            ip(json!({"bgpASN": 0})),
            "spec.bgpASN",
            &["greater than or equal to 1"],
        ),
        (
            "bgpASN: negative",
            ip(json!({"bgpASN": -1})),
            "spec.bgpASN",
            &["greater than or equal to 1"],
        ),
        (
            "bgpASN: 33 bits",
            ip(json!({"bgpASN": 4_294_967_296_i64})),
            "spec.bgpASN",
            &["less than or equal to 4294967295"],
        ),
        (
            "bgpASN: text",
            ip(json!({"bgpASN": "65000"})),
            "spec.bgpASN",
            &["integer"],
        ),
        (
            "bgpASN: fraction",
            ip(json!({"bgpASN": 65000.5})),
            "spec.bgpASN",
            &["integer"],
        ),
        (
            "bgpASN: with FQDN",
            with(fqdn("vpn.example.com"), json!({"bgpASN": 65000})),
            "spec.bgpASN",
            &["only with idType: IP", "remove it"],
        ),
        ("tags: 20", tags(20), "spec.tags", &["19"]),
        (
            "tags: empty key",
            tagged(json!({"": "x"})),
            "spec.tags",
            &["a key must have 1 to 128 characters"],
        ),
        (
            "tags: key of 129",
            tagged(json!({long(129): "x"})),
            "spec.tags",
            &["a key must have 1 to 128 characters", "tags: 'xxx"],
        ),
        (
            "tags: system key",
            tagged(json!({"team": "net", "_sys_x": "y"})),
            "spec.tags",
            &["tags: '_sys_x'", "must not start with _sys_"],
        ),
        (
            "tags: the operator's key",
            tagged(json!({"vpn-operator-owner": "me"})),
            "spec.tags",
            &["tags: 'vpn-operator-owner'", "belongs to the operator"],
        ),
        (
            "tags: key begins with a space",
            tagged(json!({" a": "x"})),
            "tags: ' a'",
            TAG_KEY,
        ),
        (
            "tags: key ends with a space",
            tagged(json!({"a ": "x"})),
            "tags: 'a '",
            TAG_KEY,
        ),
        (
            "tags: emoji in a key",
            tagged(json!({"a😀": "x"})),
            "tags: 'a😀'",
            TAG_KEY,
        ),
        (
            "tags: slash in a key",
            tagged(json!({"a/b": "x"})),
            "tags: 'a/b'",
            TAG_KEY,
        ),
        (
            "tags: newline in a key",
            tagged(json!({"a\nb": "x"})),
            "spec.tags",
            TAG_KEY,
        ),
        (
            "tags: value of 256",
            tagged(json!({"team": long(256)})),
            "spec.tags.team",
            &["255"],
        ),
        (
            "tags: value begins with a space",
            tagged(json!({"team": " net"})),
            "tags: 'team'",
            TAG_VALUE,
        ),
        (
            "tags: value ends with a space",
            tagged(json!({"ok": "ok", "team": "net "})),
            "tags: 'team'",
            TAG_VALUE,
        ),
        (
            "tags: emoji in a value",
            tagged(json!({"team": "😀"})),
            "tags: 'team'",
            TAG_VALUE,
        ),
        (
            "tags: newline in a value",
            tagged(json!({"team": "a\n"})),
            "tags: 'team'",
            TAG_VALUE,
        ),
        (
            "tags: number as value",
            tagged(json!({"floor": 2})),
            "spec.tags.floor",
            &["string"],
        ),
        ("tags: list", tagged(json!(["team"])), "spec.tags", &["object"]),
        (
            "certificate: no name",
            certificate(json!({"key": "ca.crt"})),
            "spec.caCertificateSecretRef.name",
            &["Required"],
        ),
        (
            "certificate: bad name",
            certificate(json!({"name": "My_Secret"})),
            "spec.caCertificateSecretRef.name",
            SECRET_NAME,
        ),
        (
            "certificate: bad key",
            certificate(json!({"name": "ca", "key": "ca/crt"})),
            "spec.caCertificateSecretRef.key",
            SECRET_KEY,
        ),
        (
            "certificate: key that no Secret can have",
            certificate(json!({"name": "ca", "key": ".."})),
            "spec.caCertificateSecretRef.key",
            SECRET_KEY,
        ),
        (
            "certificate: text",
            certificate(json!("ca")),
            "spec.caCertificateSecretRef",
            &["object"],
        ),
        (
            "credentials: no name",
            credentials(json!({})),
            "spec.credentialsRef.name",
            &["Required"],
        ),
        (
            "credentials: empty name",
            credentials(json!({"name": ""})),
            "spec.credentialsRef.name",
            &["at least 1"],
        ),
        (
            "credentials: bad name",
            credentials(json!({"name": "-cloud"})),
            "spec.credentialsRef.name",
            SECRET_NAME,
        ),
        (
            "credentials: name with a path",
            credentials(json!({"name": "other/cloud"})),
            "spec.credentialsRef.name",
            SECRET_NAME,
        ),
        (
            "credentials: 254",
            credentials(json!({"name": long(254)})),
            "spec.credentialsRef.name",
            &["253"],
        ),
        (
            "externalID: 35",
            ip(json!({"externalID": &ID[1..]})),
            "spec.externalID",
            UUID,
        ),
        (
            "externalID: 37",
            ip(json!({"externalID": format!("{ID}1")})),
            "spec.externalID",
            UUID,
        ),
        (
            "externalID: bad characters",
            ip(json!({"externalID": ID.replace('-', "_")})),
            "spec.externalID",
            &["36 letters, digits and '-'"],
        ),
        (
            "managementPolicy: unknown",
            ip(json!({"managementPolicy": "Ignore"})),
            "spec.managementPolicy",
            &["\"Manage\", \"ReportDrift\", \"Observe\""],
        ),
        (
            "adoptionPolicy: unknown",
            ip(json!({"adoptionPolicy": "Always"})),
            "spec.adoptionPolicy",
            &["\"Never\", \"IfExists\""],
        ),
        (
            "deletionPolicy: unknown",
            ip(json!({"deletionPolicy": "Orphan"})),
            "spec.deletionPolicy",
            &["\"Delete\", \"Retain\""],
        ),
        (
            "deletionPolicy: empty",
            ip(json!({"deletionPolicy": ""})),
            "spec.deletionPolicy",
            &["\"Delete\", \"Retain\""],
        ),
        (
            "Observe without externalID",
            ip(json!({"managementPolicy": "Observe"})),
            "spec.externalID",
            &["Required", "managementPolicy: Observe needs externalID"],
        ),
    ];
    bench.refuses(&mut verdicts, rows).await;
    let not_addresses = [
        ("IPv6", "2001:db8::1"),
        ("IPv6 that holds an IPv4", "::ffff:203.0.113.7"),
        ("leading zeros", "01.2.3.4"),
        ("leading zero at the end", "1.2.3.04"),
        ("newline", "203.0.113.7\n"),
        ("space", " 203.0.113.7"),
        ("loopback", "127.0.0.1"),
        ("end of loopback", "127.255.255.255"),
        ("zero", "0.0.0.0"),
        ("0/8", "0.1.2.3"),
        ("class D", "224.0.0.1"),
        ("class E", "240.0.0.1"),
        ("broadcast", "255.255.255.255"),
        ("256", "203.0.113.256"),
        ("three octets", "203.0.113"),
        ("hexadecimal", "0xcb.0.113.7"),
        ("a name", "vpn.example.com"),
        ("CIDR", "203.0.113.0/24"),
        ("port", "203.0.113.7:500"),
    ];
    for (what, value) in not_addresses {
        for spec in [json!({"idValue": value}), json!({"idType": "IP", "idValue": value})] {
            let answer = bench.create("row", &spec, true).await;
            verdicts.refused(what, "spec.idValue", ADDRESS, answer);
        }
    }
    let answer = bench.create(&long(65), &ip(json!({})), true).await;
    verdicts.refused(
        "metadata.name of 65",
        "spec.name",
        &[
            "Required",
            "metadata.name is longer than 64 characters",
            "set spec.name",
        ],
        answer,
    );
    verdicts.finish(100);
}

#[tokio::test]
async fn valid_boundary_values_are_accepted() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let long = |length| "x".repeat(length);
    let specials = "!\"#$%'()*+,-./0123456789:;=@^_`{|}~";
    let rows = [
        ("name of 1", ip(json!({"name": "a"}))),
        ("name of 64", ip(json!({"name": format!("A_b-c.{}", long(58))}))),
        ("first address", json!({"idValue": "1.0.0.0"})),
        ("last address", json!({"idValue": "223.255.255.254"})),
        ("private address", json!({"idType": "IP", "idValue": "10.1.2.10"})),
        ("class A", json!({"idValue": "126.255.255.255"})),
        ("after loopback", json!({"idValue": "128.0.0.1"})),
        ("199", json!({"idValue": "199.99.9.0"})),
        ("FQDN", fqdn("vpn.example.com")),
        ("FQDN with specials", fqdn(specials)),
        ("FQDN of 128", fqdn(&long(128))),
        ("FQDN of 1", fqdn("x")),
        ("FQDN like an address", fqdn("300.1.2.3")),
        ("ASN 1", ip(json!({"bgpASN": 1}))),
        ("ASN 4294967295", ip(json!({"bgpASN": 4_294_967_295_i64}))),
        ("19 tags", tags(19)),
        ("no tags", tagged(json!({}))),
        ("tag key of 128", tagged(json!({long(128): "x"}))),
        (
            "tag key of 128 letters of two bytes",
            tagged(json!({"ñ".repeat(128): "x"})),
        ),
        ("tag value of 255", tagged(json!({"team": long(255)}))),
        (
            "tag value of 255 letters of three bytes",
            tagged(json!({"team": "网".repeat(255)})),
        ),
        ("empty tag value", tagged(json!({"team": ""}))),
        (
            "letters of three languages",
            tagged(json!({"Región": "Cañón", "São Paulo": "Conexão", "网关": "北京 1"})),
        ),
        ("specials in tags", tagged(json!({"a b_.:=+-@": "c d_.:=+-@/"}))),
        ("_sys alone", tagged(json!({"_sys": "x", "sys_a": "y"}))),
        (
            "certificate",
            ip(json!({"caCertificateSecretRef": {"name": "my.ca-1"}})),
        ),
        (
            "certificate's key",
            ip(json!({"caCertificateSecretRef": {"name": "ca", "key": "Ca_1.crt"}})),
        ),
        ("credentials", ip(json!({"credentialsRef": {"name": "cloud"}}))),
        (
            "policies",
            ip(json!({"managementPolicy": "ReportDrift", "adoptionPolicy": "IfExists", "deletionPolicy": "Retain"})),
        ),
        ("adopted", ip(json!({"externalID": ID}))),
        (
            "adopted by a name, idType omitted",
            json!({"externalID": ID, "idValue": "vpn.example.com"}),
        ),
        ("observed", json!({"externalID": ID, "managementPolicy": "Observe"})),
        (
            "observed, and compared",
            ip(json!({"externalID": ID, "managementPolicy": "Observe", "name": "a"})),
        ),
        (
            "adopted if it exists, never created",
            ip(json!({"adoptionPolicy": "Required"})),
        ),
        (
            "observed by name",
            json!({"name": "a", "adoptionPolicy": "Required", "managementPolicy": "Observe"}),
        ),
        (
            "null is equivalent to omitted",
            ip(json!({"name": null, "idType": null, "bgpASN": null, "tags": null})),
        ),
    ];
    bench.accepts(&mut verdicts, rows).await;
    let too_long = "n".repeat(65);
    let named = ip(json!({"name": "short"}));
    verdicts.accepted("long metadata.name, name", bench.create(&too_long, &named, true).await);
    let adopted = ip(json!({"externalID": ID}));
    verdicts.accepted(
        "long metadata.name, externalID",
        bench.create(&too_long, &adopted, true).await,
    );
    let fitting = "n".repeat(64);
    verdicts.accepted(
        "metadata.name of 64",
        bench.create(&fitting, &ip(json!({})), true).await,
    );
    verdicts.finish(39);
}

#[tokio::test]
async fn edits_of_immutable_fields_are_refused_with_instructions() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    let instead: &[&str] = &[
        "create another CustomerGateway",
        "beside this one",
        "move the VPN connection",
        "then delete this one",
    ];
    bench.existing("plain", &ip(json!({})), Some(ID)).await;
    bench
        .existing("asn", &ip(json!({"idType": "IP", "bgpASN": 65000})), Some(ID))
        .await;
    bench.existing("fqdn", &fqdn("vpn.example.com"), None).await;
    bench
        .existing("adopted", &ip(json!({"externalID": ID})), Some(ID))
        .await;
    bench
        .existing(
            "observed",
            &json!({"externalID": ID, "managementPolicy": "Observe"}),
            None,
        )
        .await;
    bench
        .existing(
            "by-name",
            &json!({"externalID": ID, "idValue": "vpn.example.com"}),
            Some(ID),
        )
        .await;
    let too_long = "n".repeat(65);
    bench.existing(&too_long, &ip(json!({"name": "short"})), Some(ID)).await;
    let pinned: &[&str] = &["Forbidden", "externalID is immutable", "deletionPolicy: Retain"];
    let rows: Vec<EditRefusal> = vec![
        (
            "idValue changed",
            "plain",
            json!({"idValue": "203.0.113.8"}),
            "spec.idValue: Forbidden",
            instead,
        ),
        (
            "idValue removed",
            "plain",
            json!({"idValue": null}),
            "spec.idValue",
            instead,
        ),
        (
            "FQDN changed",
            "fqdn",
            json!({"idValue": "vpn2.example.com"}),
            "spec.idValue: Forbidden",
            instead,
        ),
        (
            "FQDN added",
            "plain",
            json!({"idType": "FQDN"}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "idType changed",
            "asn",
            json!({"idType": "FQDN"}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "idType removed",
            "asn",
            json!({"idType": null}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "FQDN to IP",
            "fqdn",
            json!({"idType": "IP"}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "FQDN removed",
            "fqdn",
            json!({"idType": null}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "a name becomes an address",
            "fqdn",
            json!({"idType": "IP", "idValue": "203.0.113.7"}),
            "spec.idType: Forbidden",
            instead,
        ),
        (
            "bgpASN changed",
            "asn",
            json!({"bgpASN": 65001}),
            "spec.bgpASN: Forbidden",
            instead,
        ),
        (
            "bgpASN of an FQDN",
            "fqdn",
            json!({"bgpASN": 65001}),
            "spec.bgpASN",
            &["only with idType: IP"],
        ),
        (
            "externalID changed",
            "adopted",
            json!({"externalID": OTHER_ID}),
            "spec.externalID",
            pinned,
        ),
        (
            "externalID changed early",
            "observed",
            json!({"externalID": OTHER_ID}),
            "spec.externalID",
            pinned,
        ),
        (
            "externalID of another object",
            "plain",
            json!({"externalID": OTHER_ID}),
            "spec.externalID: Forbidden",
            &["only while status.id is empty or equal", "deletionPolicy: Retain"],
        ),
        (
            "externalID malformed",
            "plain",
            json!({"externalID": "x"}),
            "spec.externalID",
            UUID,
        ),
        (
            "Observe begun without externalID",
            "plain",
            json!({"managementPolicy": "Observe"}),
            "spec.externalID",
            &["managementPolicy: Observe needs externalID"],
        ),
        (
            "Observe left without externalID",
            "observed",
            json!({"externalID": null}),
            "spec.externalID",
            &["managementPolicy: Observe needs externalID"],
        ),
        (
            "Observe ended without idValue",
            "observed",
            json!({"managementPolicy": "Manage"}),
            "spec.idValue",
            &["idValue is required"],
        ),
        (
            "an adopted name is said to be an address",
            "by-name",
            json!({"idType": "IP"}),
            "spec.idValue",
            &["set idType: FQDN"],
        ),
        (
            "a long metadata.name loses its name",
            too_long.as_str(),
            json!({"name": null}),
            "spec.name",
            &["metadata.name is longer than 64 characters"],
        ),
        ("name spoilt", "plain", json!({"name": "no good"}), "spec.name", NAME),
        (
            "tags spoilt",
            "plain",
            json!({"tags": {"a/b": "c"}}),
            "tags: 'a/b'",
            TAG_KEY,
        ),
        (
            "credentials spoilt",
            "plain",
            json!({"credentialsRef": {"name": "No"}}),
            "spec.credentialsRef.name",
            SECRET_NAME,
        ),
        (
            "policy spoilt",
            "plain",
            json!({"managementPolicy": "None"}),
            "spec.managementPolicy",
            &["\"Manage\", \"ReportDrift\", \"Observe\""],
        ),
    ];
    bench.refuses_edits(&mut verdicts, rows).await;
    verdicts.finish(24);
}

#[tokio::test]
async fn edits_of_mutable_fields_are_accepted() {
    let bench = bench().await;
    let mut verdicts = Verdicts::default();
    bench.existing("plain", &ip(json!({})), Some(ID)).await;
    bench
        .existing(
            "full",
            &ip(json!({"name": "a", "bgpASN": 65000, "tags": {"team": "net"}})),
            Some(ID),
        )
        .await;
    bench.existing("new", &ip(json!({})), None).await;
    bench
        .existing("adopted", &ip(json!({"externalID": ID})), Some(ID))
        .await;
    bench
        .existing(
            "observed",
            &json!({"externalID": ID, "managementPolicy": "Observe"}),
            Some(ID),
        )
        .await;
    bench
        .existing(
            "by-name",
            &json!({"externalID": ID, "idValue": "vpn.example.com"}),
            Some(ID),
        )
        .await;
    let adopted_name = json!({"externalID": ID, "idValue": "vpn.example.com"});
    bench.existing("was-by-name", &adopted_name, Some(ID)).await;
    let without = Patch::Merge(json!({"spec": {"externalID": null}}));
    let params = PatchParams::default();
    bench.objects.patch("was-by-name", &params, &without).await.unwrap();
    let rows = [
        ("name added", "plain", json!({"name": "office"})),
        ("name changed", "full", json!({"name": "b"})),
        ("name removed", "full", json!({"name": null})),
        ("bgpASN added", "plain", json!({"bgpASN": 65000})),
        ("bgpASN omitted", "full", json!({"bgpASN": null})),
        ("idType: IP written out", "plain", json!({"idType": "IP"})),
        ("tags added", "plain", json!({"tags": {"team": "net"}})),
        ("tags changed", "full", json!({"tags": {"team": "core", "floor": "2"}})),
        ("tags omitted", "full", json!({"tags": null})),
        ("the present id pinned", "plain", json!({"externalID": ID})),
        (
            "adoption asked for before anything was made",
            "new",
            json!({"externalID": OTHER_ID}),
        ),
        ("externalID removed", "adopted", json!({"externalID": null})),
        (
            "externalID of an adopted name removed",
            "by-name",
            json!({"externalID": null}),
        ),
        (
            "an orphaned name says what it is",
            "was-by-name",
            json!({"idType": "FQDN"}),
        ),
        (
            "an orphaned name is adopted again",
            "was-by-name",
            json!({"externalID": ID}),
        ),
        ("an adopted name says what it is", "by-name", json!({"idType": "FQDN"})),
        (
            "an adopted name says what it is and loses externalID",
            "by-name",
            json!({"idType": "FQDN", "externalID": null}),
        ),
        ("an adopted name is renamed", "by-name", json!({"name": "x"})),
        ("observed, idValue added", "observed", json!({"idValue": "203.0.113.7"})),
        (
            "from Observe to Manage",
            "observed",
            json!({"managementPolicy": "Manage", "idValue": "203.0.113.7", "bgpASN": 65000}),
        ),
        (
            "from Observe to Manage, an FQDN",
            "observed",
            json!({"managementPolicy": null, "idType": "FQDN", "idValue": "vpn.example.com"}),
        ),
        (
            "from Observe to Manage without externalID, an FQDN",
            "observed",
            json!({"managementPolicy": null, "externalID": null, "idType": "FQDN", "idValue": "vpn.example.com"}),
        ),
        (
            "from Manage to Observe",
            "adopted",
            json!({"managementPolicy": "Observe", "idValue": "203.0.113.7"}),
        ),
        (
            "credentials named",
            "plain",
            json!({"credentialsRef": {"name": "cloud"}}),
        ),
        (
            "certificate named",
            "plain",
            json!({"caCertificateSecretRef": {"name": "ca"}}),
        ),
        (
            "policies",
            "plain",
            json!({"managementPolicy": "ReportDrift", "deletionPolicy": "Retain", "adoptionPolicy": "IfExists"}),
        ),
    ];
    bench.accepts_edits(&mut verdicts, rows).await;
    verdicts.finish(26);
}

#[tokio::test]
async fn kubectl_refuses_unknown_gateway_fields() {
    let bench = bench().await;
    let rows = [
        (
            "idvalue: 203.0.113.7, idValue: 203.0.113.7",
            "unknown field \"spec.idvalue\"",
        ),
        ("idValue: 203.0.113.7, asn: 65000", "unknown field \"spec.asn\""),
        (
            "idValue: 203.0.113.7, credentialsRef: {name: a, namespace: b}",
            "unknown field \"spec.credentialsRef.namespace\"",
        ),
        (
            "idValue: 203.0.113.7, caCertificateSecretRef: {name: a, Key: b}",
            "unknown field \"spec.caCertificateSecretRef.Key\"",
        ),
    ];
    for (spec, expected_words) in rows {
        let manifest = crate::operator::world::gateway("unknown", &format!("{{{spec}}}"));
        bench.kubectl_refuses(&manifest, expected_words).await;
    }
}

#[tokio::test]
async fn kubectl_explains_and_lists_gateways() {
    let bench = bench().await;
    // `api-resources` reads the API again; kubectl keeps older discovery results, from before the CRD, for hours.
    let resources = bench.kubectl(["api-resources", "--categories=vpn"]).await;
    assert!(resources.contains("CustomerGateway"), "{resources}");
    let texts = [
        ("cgw", "remote end of a site-to-site VPN"),
        ("cgw.spec.idValue", "IPv4 address"),
        ("cgw.spec.tags", "at most 19"),
        ("cgw.spec.caCertificateSecretRef.key", "ca.crt"),
        ("cgw.spec.externalID", "existing cloud resource"),
        ("cgw.status.intent.deadline", "whether or not it succeeded"),
    ];
    bench.explains(texts).await;
    bench.existing("office", &ip(json!({"bgpASN": 65000})), Some(ID)).await;
    let listed = bench.kubectl(["get", "cgw"]).await;
    assert_eq!(
        titles(&listed),
        ["NAME", "READY", "REASON", "IDENTIFIER", "ID", "AGE"],
        "{listed}"
    );
    assert!(listed.contains("203.0.113.7") && listed.contains(ID), "{listed}");
    let wide = bench.kubectl(["get", "cgw", "--output=wide"]).await;
    assert_eq!(
        titles(&wide),
        [
            "NAME",
            "READY",
            "REASON",
            "IDENTIFIER",
            "ID",
            "AGE",
            "ASN",
            "CREATED",
            "UPDATED",
            "MESSAGE"
        ],
        "{wide}"
    );
    assert!(wide.contains("65000"), "{wide}");
    let by_category = bench.kubectl(["get", "vpn"]).await;
    assert!(by_category.contains("office"), "{by_category}");
}

/// `kubectl apply --server-side` as the owner of the whole manifest.
async fn applies(bench: &Bench, verdicts: &mut Verdicts, what: &str, spec: &str) {
    let manifest = format!(
        "apiVersion: vpn.huaweicloud.com/v1alpha1\nkind: CustomerGateway\nmetadata: {{name: applied}}\nspec: {spec}\n"
    );
    let arguments = [
        "--namespace",
        &bench.namespace,
        "apply",
        "--server-side",
        "--filename",
        "-",
    ];
    let output = bench.plane.kubectl_with_input(arguments, &manifest).await.unwrap();
    let answer = if output.status.success() {
        Ok(())
    } else {
        Err(output.stderr)
    };
    verdicts.accepted(what, answer);
}

#[tokio::test]
async fn server_side_apply_removes_omitted_or_empty_fields() {
    let bench = Bench::new(gateway_resource()).await;
    let mut verdicts = Verdicts::default();
    let full = "{idValue: 203.0.113.7, tags: {team: net, floor: '2'}, caCertificateSecretRef: {name: ca}, \
                credentialsRef: {name: keys}}";
    let bare = "{idValue: 203.0.113.7}";
    for (what, tags, spec) in [
        ("emptied", json!({}), "{idValue: 203.0.113.7, tags: {}}"),
        ("omitted", Value::Null, bare),
        (
            "one of two",
            json!({"floor": "2"}),
            "{idValue: 203.0.113.7, tags: {floor: '2'}}",
        ),
        (
            "others",
            json!({"room": "3"}),
            "{idValue: 203.0.113.7, tags: {room: '3'}}",
        ),
    ] {
        applies(&bench, &mut verdicts, "full", full).await;
        let object = serde_json::to_value(bench.objects.get("applied").await.unwrap()).unwrap();
        assert_eq!(object["spec"]["tags"], json!({"team": "net", "floor": "2"}), "{what}");
        applies(&bench, &mut verdicts, what, spec).await;
        let object = serde_json::to_value(bench.objects.get("applied").await.unwrap()).unwrap();
        assert_eq!(object["spec"]["tags"], tags, "{what}: {}", verdicts.wrong.join("; "));
        for reference in ["caCertificateSecretRef", "credentialsRef"] {
            assert_eq!(object["spec"][reference], Value::Null, "{what}");
        }
    }
    verdicts.finish(8);
}

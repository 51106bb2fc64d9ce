//! Tests of what is particular to customer gateways.

use jiff::Timestamp;
use proptest::prelude::*;
use vpn_cloud::resources::customer_gateways::{CaCertificate, CertificateContent};

use super::compare::certificate_differs;
use super::ledger::remember_certificate;
use super::*;
use crate::api::customer_gateway::TagValue;
use crate::kind::compare::{Correction, DesiredState, Difference, Immutable};
use crate::kind::{Compare, Ledger, Ownership};

const OWNER: &str = "vpn-operator-owner";

#[test]
fn a_replaced_certificate_differs_until_it_is_corrected() {
    let content = "-----BEGIN CERTIFICATE-----";
    let with_certificate = |id: &str| CustomerGateway {
        ca_certificate: Some(CaCertificate {
            id: Some(id.to_owned()),
            ..CaCertificate::default()
        }),
        ..CustomerGateway::default()
    };
    let certificate = CertificateContent {
        content: content.to_owned(),
    };
    let mut status = CustomerGatewayStatus::default();
    remember_certificate(&mut status, &certificate, Some(&with_certificate("ours")));
    Gateways::confirm(&mut status, None, None, &with_certificate("ours"));
    assert!(!certificate_differs(&status, content, &with_certificate("ours")));
    for _ in 0..2 {
        assert!(certificate_differs(&status, content, &with_certificate("theirs")));
        // With managementPolicy: ReportDrift this is confirmed all the same.
        Gateways::confirm(&mut status, None, None, &with_certificate("theirs"));
        let shown = status.ca_certificate.as_ref().and_then(|shown| shown.id.as_deref());
        assert_eq!(shown, Some("theirs"), "status shows what the cloud has");
    }
}

#[test]
fn domain_names_are_compared_case_insensitively() {
    let spec = CustomerGatewaySpec {
        id_value: Some("Branch.Example.com".to_owned()),
        id_type: Some(IdType::Fqdn),
        ..CustomerGatewaySpec::default()
    };
    let remote = CustomerGateway {
        name: Some("branch".to_owned()),
        id_type: Some("fqdn".to_owned()),
        id_value: Some("branch.example.COM".to_owned()),
        ..CustomerGateway::default()
    };
    assert!(Gateways::is_candidate(&spec, "branch", &remote));
    assert!(Gateways::is_same_peer(&spec, &remote));
    assert_eq!(Gateways::immutable_difference(&spec, &remote, true), Immutable::Same);
    let other = CustomerGateway {
        id_value: Some("BRANCH.example.com".to_owned()),
        ..remote.clone()
    };
    assert!(Gateways::is_duplicate(&remote, &other));
    assert_eq!(Gateways::claimed_name_of(&remote), Gateways::claimed_name_of(&other));
}

#[test]
fn unknown_tags_stay_unknown_after_any_change() {
    let changes = [
        GatewayChange::Update(CustomerGatewayUpdate::default()),
        GatewayChange::AddTags(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        GatewayChange::RemoveTags(BTreeMap::new()),
    ];
    for change in changes {
        let mut remote = CustomerGateway::default();
        Gateways::apply_change(&change, &mut remote);
        assert_eq!(remote.tags, None, "{change:?}");
    }
}

fn tags(keys: &'static str) -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map(keys, "[xyz]", 0..6)
}

fn spec(name: Option<String>, tags: Option<BTreeMap<String, String>>) -> CustomerGatewaySpec {
    let tags = tags.map(|tags| tags.into_iter().map(|(key, value)| (key, TagValue(value))).collect());
    CustomerGatewaySpec {
        name,
        tags,
        ..CustomerGatewaySpec::default()
    }
}

fn apply(remote: &mut CustomerGateway, call: &GatewayChange) {
    if let GatewayChange::Update(CustomerGatewayUpdate { name: Some(name), .. }) = call {
        remote.name = Some(name.clone());
    }
    Gateways::apply_change(call, remote);
}

#[test]
fn a_name_omitted_in_the_response_is_no_difference() {
    let spec = spec(Some("office".to_owned()), None);
    let policy = crate::terms::policy::Policy::of_tests(OWNER);
    let compared = DesiredState {
        spec: &spec,
        status: &CustomerGatewayStatus::default(),
        dereferenced: &GatewayDereferenced::default(),
        policy: &policy,
        overwrites_tags: true,
        cloud_now: Timestamp::UNIX_EPOCH,
    };
    let differs = |name: Option<&str>| {
        let remote = CustomerGateway {
            name: name.map(str::to_owned),
            tags: Some(BTreeMap::from([(OWNER.to_owned(), "us".to_owned())])),
            ..CustomerGateway::default()
        };
        Gateways::difference(&compared, &remote).is_some()
    };
    assert_eq!([None, Some("office"), Some("moved")].map(differs), [false, false, true]);
}

proptest! {
    #[test]
    fn a_correction_takes_at_most_one_call_of_each_kind(
        name in proptest::option::of("[ab]"),
        wanted in proptest::option::of(tags("[a-e]")),
        has in tags("[a-e]|_sys_[ab]"),
        formerly_managed in proptest::collection::vec("[a-e]", 0..3),
        overwrites in any::<bool>(),
    ) {
        let spec = spec(name.clone(), wanted.clone());
        let status = CustomerGatewayStatus { managed_tags: formerly_managed.clone(), ..Default::default() };
        let mut remote = CustomerGateway { name: Some("b".to_owned()), ..CustomerGateway::default() };
        let mut present = has.clone();
        present.insert(OWNER.to_owned(), "us".to_owned());
        remote.tags = Some(present);
        let mut kinds = Vec::new();
        let policy = crate::terms::policy::Policy::of_tests(OWNER);
        let compared = DesiredState {
            spec: &spec,
            status: &status,
            dereferenced: &GatewayDereferenced::default(),
            policy: &policy,
            overwrites_tags: overwrites,
            cloud_now: Timestamp::UNIX_EPOCH,
        };
        while let Some(Difference { fields, correction: Correction::Call(call) }) = Gateways::difference(&compared, &remote) {
            prop_assert!(!fields.is_empty());
            if let (GatewayChange::AddTags(added), false) = (&call, overwrites) {
                let present = remote.tags.clone().unwrap_or_default();
                prop_assert!(added.keys().all(|key| !present.contains_key(key)), "nothing is overwritten");
            }
            kinds.push(std::mem::discriminant(&call));
            apply(&mut remote, &call);
            prop_assert!(kinds.len() <= 3);
        }
        let mut distinct = kinds.clone();
        distinct.dedup();
        prop_assert_eq!(kinds.len(), distinct.len());
        prop_assert_eq!(remote.name, name.or(Some("b".to_owned())));
        let left = remote.tags.unwrap_or_default();
        prop_assert_eq!(left.get(OWNER).map(String::as_str), Some("us"));
        for (key, value) in &has {
            if key.starts_with("_sys_") {
                prop_assert_eq!(left.get(key), Some(value), "the cloud's own tags stay");
            }
        }
        let visible: BTreeMap<_, _> =
            left.into_iter().filter(|(key, _)| key != OWNER && !key.starts_with("_sys_")).collect();
        // Tags of others stay as they are.
        let mut expected = wanted.clone().unwrap_or_default();
        for (key, value) in has {
            if !key.starts_with("_sys_") && !expected.contains_key(&key) && !formerly_managed.contains(&key) {
                expected.insert(key, value);
            }
        }
        prop_assert_eq!(visible, expected);
    }
}

#[test]
fn a_certificate_is_resent_only_when_its_text_or_id_changed() {
    let reported = vpn_cloud::resources::customer_gateways::CaCertificate {
        id: Some("c1".to_owned()),
        ..Default::default()
    };
    let remote = CustomerGateway {
        ca_certificate: Some(reported),
        ..CustomerGateway::default()
    };
    let mut status = CustomerGatewayStatus::default();
    assert!(certificate_differs(&status, "pem", &remote), "never sent");
    remember_certificate(
        &mut status,
        &CertificateContent {
            content: "pem".to_owned(),
        },
        Some(&remote),
    );
    assert!(!certificate_differs(&status, "pem", &remote));
    assert!(certificate_differs(&status, "another", &remote));
    let mut replaced = remote.clone();
    if let Some(reported) = &mut replaced.ca_certificate {
        reported.id = Some("c2".to_owned());
    }
    assert!(certificate_differs(&status, "pem", &replaced));
    let removed = CustomerGateway {
        ca_certificate: None,
        ..remote
    };
    assert!(certificate_differs(&status, "pem", &removed));
}

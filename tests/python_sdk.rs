//! The official Python SDK, as its makers ship it, against the simulator.

use std::{net::Ipv4Addr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd};
use vpn_operator_testbed::{Guardian, Python};
use vpn_simulator::{RunningSimulator, Settings, tryout};

const PACKAGE: &str = "huaweicloudsdkvpn";
const VERSION: &str = "3.1.219";

fn certificate() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Office CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Runs a script with the SDK against a simulator of its own.
async fn run(script: &str) {
    let guardian = Guardian::start().unwrap();
    let python = Python::with(PACKAGE, VERSION, "huaweicloudsdkvpn.v5", &guardian)
        .await
        .unwrap();
    let simulator = RunningSimulator::start(Settings::default(), (Ipv4Addr::LOCALHOST, 0).into())
        .await
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python_sdk")
        .join(script);
    let variables = [
        ("ENDPOINT", simulator.base_url()),
        ("ACCESS_KEY", tryout::ACCESS_KEY.to_owned()),
        ("SECRET_KEY", tryout::SECRET_KEY.to_owned()),
        ("PROJECT_ID", tryout::PROJECT_ID.to_owned()),
        ("REGION", tryout::REGION.to_owned()),
        ("VPN_SERVER_ID", tryout::VPN_SERVER_ID.to_owned()),
        ("P2C_GATEWAY_ID", tryout::P2C_GATEWAY_ID.to_owned()),
        ("CA_CERTIFICATE", certificate()),
    ];
    let variables = variables.map(|(name, value)| (name, value.into())).to_vec();
    let output = python.run(&script, variables, None).await.unwrap();
    assert!(output.status.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(output.stdout.trim(), r#"{"done": true}"#);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_sdk_manages_gateways() {
    run("gateway_life.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_sdk_manages_users() {
    run("user_life.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_python_sdk_finds_the_domain() {
    run("domain.py").await;
}

//! What `cargo run --example install` does, to its end.

use std::path::Path;

use serde_json::Value;
use vpn_operator_testbed::Installation;

use crate::release::binaries;

#[tokio::test]
async fn one_command_installs_the_chart_with_the_simulator_and_gets_the_samples_ready() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut installation = Installation::default();
    if let Err(error) = installation.run(project, &binaries()).await {
        installation.print_logs();
        panic!("{error}");
    }
    let plane = installation.control_plane().unwrap();
    let objects = plane.kubectl(["get", "cgw,vpnu", "--all-namespaces", "--output=json"]);
    let objects: Value = serde_json::from_str(&objects.await.unwrap().success().unwrap()).unwrap();
    let objects = objects["items"].as_array().unwrap();
    assert_eq!(objects.len(), 6);
    for object in objects {
        let conditions = object["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        assert_eq!(ready.unwrap()["reason"], "Available", "{object}");
    }
    installation.stop().await.unwrap();
}

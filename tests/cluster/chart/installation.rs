//! Runs what `cargo run --example install` does.

use serde_json::Value;
use vpn_operator_testbed::Installation;

use crate::chart::documented::{commands, project};
use crate::chart::release::binaries;

#[tokio::test]
async fn one_command_installs_chart_and_simulator_with_ready_samples() {
    let mut installation = Installation::default();
    if let Err(error) = installation.run(project(), &binaries()).await {
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
    // The page's commands for another terminal, which needs KUBECONFIG and PATH.
    let page = commands("getting-started.md", "With the chart");
    let is_typed = |command: &&String| ["kubectl ", "helm "].iter().any(|tool| command.starts_with(tool));
    let typed: Vec<&String> = page.iter().filter(is_typed).collect();
    assert_eq!(typed.len(), 2, "{page:?}");
    for command in typed {
        let output = plane.shell(project(), &binaries(), command).await.unwrap();
        output.success().unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    installation.stop().await.unwrap();
}

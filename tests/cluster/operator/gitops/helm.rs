//! A user's chart that contains a gateway: Helm waits for it by kstatus.

use std::path::Path;

use vpn_operator_testbed::eventually;

use crate::operator::world::{DEADLINE, Options, World, condition, gateway};

fn write_chart(folder: &Path) {
    std::fs::create_dir(folder.join("templates")).unwrap();
    let chart = "apiVersion: v2\nname: office\nversion: 0.1.0\n";
    std::fs::write(folder.join("Chart.yaml"), chart).unwrap();
    let manifest = gateway("office", "{idValue: 203.0.113.1}");
    std::fs::write(folder.join("templates/gateway.yaml"), manifest).unwrap();
}

#[tokio::test]
async fn helm_waits_for_an_object_not_yet_reconciled() {
    let options = Options {
        stopped: true,
        ..Options::with(["--resync-period=0"])
    };
    let mut world = World::with(options).await;
    let folder = tempfile::tempdir().unwrap();
    write_chart(folder.path());
    let chart = folder.path().display().to_string();
    let plane = world.plane;
    let namespace = world.namespace.clone();
    let objects = world.gateways();
    let install = async {
        let arguments = [
            "install",
            "office",
            &chart,
            "--namespace",
            &namespace,
            "--wait",
            "--timeout=120s",
        ];
        plane.helm(arguments).await.unwrap().success().unwrap();
        // The object at the moment when Helm stops waiting.
        serde_json::to_value(objects.get("office").await.unwrap()).unwrap()
    };
    let operate = async {
        eventually("Helm has created the object", DEADLINE, async || {
            objects.get("office").await
        })
        .await
        .unwrap();
        world.start_operator().await;
    };
    let (object, ()) = tokio::join!(install, operate);
    assert_eq!(condition(&object, "Ready")["status"], "True", "{object:#}");
    world.finish().await;
}

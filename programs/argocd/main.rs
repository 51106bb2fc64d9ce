//! `cargo run --example argocd` runs the scenarios of docs/argocd.md and exits with status 0 if they hold. Argo CD's application
//! controller and repository server, built from source, sync the chart and objects from Git into a real kube-apiserver. The
//! operator runs as its pods specify, with the simulated cloud.

mod application;
mod documentation;
mod nodes;
mod repositories;
mod story;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use vpn_operator_testbed::{ArgoCd, Binaries, ControlPlane, Kubelet, Simulator, interrupted};

use story::Story;

/// An error of any type, to be printed.
type Failure = Box<dyn std::error::Error>;

/// The namespace of the Application's destination.
const NAMESPACE: &str = "vpn";

/// Controllers for Deployments and for garbage collection.
const CONTROLLERS: [&str; 5] = [
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "replicaset-controller",
    "serviceaccount-controller",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = tokio::select! {
        outcome = run() => outcome,
        outcome = interrupted() => outcome.map_err(Failure::from).and(Err("it was interrupted".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nargocd: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binaries = Binaries::build(project).await?;
    step("Starting etcd, kube-apiserver, its controllers, the simulator and Argo CD");
    let plane = ControlPlane::start().await?;
    let _controllers = plane.start_controllers(&CONTROLLERS).await?;
    let cloud = [
        "--credential",
        "ARGOCDACCESSKEY=argocd-secret-key",
        "--region",
        "eu-west-101",
    ];
    let simulator = Simulator::start(plane.guardian(), &binaries.simulator, cloud).await?;
    let argo_cd = ArgoCd::start(&plane).await?;
    let kubelet = Kubelet {
        plane: &plane,
        namespace: NAMESPACE,
        binaries: &binaries,
    };
    let started = Instant::now();
    let story = Story::prepare(project, &plane, &binaries, &simulator)?;
    let outcome = tokio::select! {
        outcome = story.run() => outcome,
        outcome = nodes::play(kubelet, simulator.url()) => outcome,
    };
    if outcome.is_err() {
        for process in argo_cd.processes() {
            eprintln!("\n--- end of the log of {} ---\n{}", process.name(), process.log_tail());
        }
    } else {
        step(&format!("It holds ({} s)", started.elapsed().as_secs()));
    }
    outcome
}

fn step(what: &str) {
    println!("\n==> {what}");
}

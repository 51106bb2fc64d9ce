//! What the demo does, step by step.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vpn_operator_testbed::{Binaries, ControlPlane, Operator, Simulator, Tool};

use crate::Failure;
use crate::objects::{self, Objects};
use crate::scenes::{Rotation, Scenes, Tampering};

/// For every wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Valid only for the simulator of the demo.
const ACCESS_KEY: &str = "DEMOACCESSKEY0000000";
const SECRET_KEY: &str = "DemoSecretKeyOfTheSimulator0000000000000";
const REGION: &str = "eu-west-101";

/// The interval between drift checks and the confirmation period, much shorter than the defaults.
const RESYNC_PERIOD: &str = "2s";
const CONFIRMATION_PERIOD: &str = "3s";

/// Out-of-band changes.
const RENAMED_GATEWAY: Tampering = Tampering {
    noun: "gateway",
    resource: "cgw",
    object: "office-ip",
    collection: "gateways",
    field: "name",
    value: "renamed-by-hand",
};
const CHANGED_USER: Tampering = Tampering {
    noun: "user",
    resource: "vpnu",
    object: "user-static-ip",
    collection: "vpn-users",
    field: "description",
    value: "changed by hand",
};

/// The password to change, in the Secret of the same name. The user is none of the samples: applied again, they would
/// restore a former password, which the cloud refuses.
const ROTATED: Rotation = Rotation {
    user: "demo-user",
    key: "password",
    value: "Demo-Rotated-Pass-2",
};
const ROTATED_USER: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: demo-user
stringData:
  password: Demo-First-Pass-1
---
apiVersion: vpn.huaweicloud.com/v1alpha1
kind: VpnUser
metadata:
  name: demo-user
spec:
  vpnServerID: 5e5e5e5e-0000-4000-8000-000000000001
  passwordSecretRef:
    name: demo-user
";

/// The processes, in the order in which they are stopped.
#[derive(Default)]
pub(crate) struct Demo {
    operator: Option<Operator>,
    simulator: Option<Simulator>,
    control_plane: Option<ControlPlane>,
    has_shown_everything: bool,
}

impl Demo {
    /// Runs all steps, and then waits for Ctrl-C unless `exit_when_ready`.
    pub(crate) async fn run(&mut self, exit_when_ready: bool) -> Result<(), Failure> {
        step("Building the operator and the simulator");
        let binaries = Binaries::build(&project("")).await?;

        step("Starting etcd and kube-apiserver");
        let control_plane = &*self.control_plane.insert(ControlPlane::start().await?);
        control_plane.apply_crds(&project("crds")).await?;

        step("Starting the simulated cloud and the operator");
        let keys = [
            "--access-key",
            ACCESS_KEY,
            "--secret-key",
            SECRET_KEY,
            "--region",
            REGION,
        ];
        let simulator = Simulator::start(control_plane.guardian(), &binaries.simulator, keys).await?;
        let simulator = &*self.simulator.insert(simulator);
        let operator = start_operator(control_plane, simulator, &binaries.operator)?;
        let operator = &*self.operator.insert(operator);
        operator.wait_until_ready(DEADLINE).await?;

        println!(
            "It checks for drift every {RESYNC_PERIOD} (default: 5m) and confirms a new user after {CONFIRMATION_PERIOD} \
             (default: 30s)."
        );

        step("kubectl apply -f examples, and one more user");
        let samples = project("examples");
        let mut applied = control_plane
            .kubectl(["apply".as_ref(), "-f".as_ref(), samples.as_os_str()])
            .await?
            .success()?;
        let apply = ["apply", "-f", "-"];
        applied += &control_plane.kubectl_with_input(apply, ROTATED_USER).await?.success()?;
        let objects = Objects::new(&control_plane.client().await?);
        objects.show_until_ready(objects::ours(&applied), operator).await?;

        let scenes = Scenes {
            simulator,
            control_plane,
            objects: &objects,
        };
        step("Renaming a gateway in the cloud, as in its console");
        scenes.show_correction(&RENAMED_GATEWAY).await?;
        step("Changing a user's description in the cloud");
        scenes.show_correction(&CHANGED_USER).await?;
        step("Changing a user's password: kubectl patch secret");
        scenes.show_rotation(&ROTATED).await?;
        step("Labeling the Secret: a new version with the same password");
        scenes.show_no_rotation(&ROTATED).await?;

        print_what_next(control_plane, simulator, operator).await?;
        self.has_shown_everything = true;
        if exit_when_ready {
            let status = operator.terminate(STOP_DEADLINE).await?;
            return if status.success() {
                Ok(())
            } else {
                Err(format!("the operator ended with {status}").into())
            };
        }
        println!("Ctrl-C stops and removes everything.");
        let status = operator.wait(Duration::MAX).await?;
        Err(format!("the operator ended ({status})").into())
    }

    /// Whether all steps are done.
    pub(crate) fn has_shown_everything(&self) -> bool {
        self.has_shown_everything
    }

    /// Prints the end of each log, after a failure.
    pub(crate) fn print_logs(&self) {
        let processes = [self.simulator.as_deref(), self.operator.as_deref()];
        for process in processes.into_iter().flatten() {
            eprintln!("\n--- end of the log of {} ---\n{}", process.name(), process.log_tail());
        }
    }
}

fn start_operator(control_plane: &ControlPlane, simulator: &Simulator, binary: &Path) -> Result<Operator, Failure> {
    let arguments = [
        "run",
        "--vpn-endpoint",
        simulator.url(),
        "--iam-endpoint",
        simulator.url(),
        "--allow-insecure-endpoints",
        "--region",
        REGION,
        "--cluster-name",
        "demo",
        "--leader-elect-resource-namespace",
        "default",
        "--bind-address",
        "127.0.0.1:0",
        "--resync-period",
        RESYNC_PERIOD,
        "--creation-confirmation-period",
        CONFIRMATION_PERIOD,
    ];
    let keys = [("HUAWEICLOUD_SDK_AK", ACCESS_KEY), ("HUAWEICLOUD_SDK_SK", SECRET_KEY)];
    Ok(Operator::start(
        control_plane.guardian(),
        binary,
        control_plane.kubeconfig(),
        arguments,
        keys,
    )?)
}

async fn print_what_next(
    control_plane: &ControlPlane,
    simulator: &Simulator,
    operator: &Operator,
) -> Result<(), Failure> {
    let kubectl = control_plane.tool(Tool::Kubectl).await?;
    step("Your turn, in another terminal");
    println!("export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("alias kubectl={}", kubectl.display());
    println!("CLOUD={}", simulator.url());
    println!("kubectl get cgw,vpnu -o wide");
    println!("kubectl describe vpnu {}", ROTATED.user);
    println!(
        "kubectl delete -f {}/{}.yaml",
        project("examples").display(),
        RENAMED_GATEWAY.object
    );
    println!("The simulated cloud: {} (see docs/simulator.md)", simulator.url());
    println!(
        "The operator:        http://{}/metrics",
        operator.address(DEADLINE).await?
    );
    println!("Its log:             {}", operator.log_path().display());
    Ok(())
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn step(what: &str) {
    println!("\n==> {what}");
}

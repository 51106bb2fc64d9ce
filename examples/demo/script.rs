//! What the demo does, step by step.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vpn_operator_testbed::{ControlPlane, Operator, Simulator, Tool, eventually};

use crate::Failure;
use crate::binaries::Binaries;
use crate::table::{Row, Table};

const DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// They open nothing but the simulator that the demo starts.
const ACCESS_KEY: &str = "DEMOACCESSKEY0000000";
const SECRET_KEY: &str = "DemoSecretKeyOfTheSimulator0000000000000";
const REGION: &str = "eu-west-101";

/// Group, kind and plural of what the samples hold.
const KINDS: [(&str, &str); 1] = [("CustomerGateway", "customergateways")];
const GROUP: &str = "vpn.huaweicloud.com";
const VERSION: &str = "v1alpha1";

/// The gateway that is renamed behind the operator's back, and how.
const RENAMED: &str = "office-ip";
const NEW_NAME: &str = "renamed-by-hand";

/// What runs, in the order in which it ends.
#[derive(Default)]
pub struct Demo {
    operator: Option<Operator>,
    simulator: Option<Simulator>,
    control_plane: Option<ControlPlane>,
    has_shown_everything: bool,
}

impl Demo {
    /// Shows everything, and then waits for ever unless it shall end.
    pub async fn run(&mut self, exit_when_ready: bool) -> Result<(), Failure> {
        step("Building the operator and the simulator");
        let binaries = Binaries::build().await?;

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

        step("kubectl apply -f docs/samples");
        let samples = project("docs/samples");
        let applied = control_plane
            .kubectl(["apply".as_ref(), "-f".as_ref(), samples.as_os_str()])
            .await?
            .success()?;
        let objects = Objects::new(&control_plane.client().await?);
        let rows = objects.show_until_ready(applied.lines().count(), operator).await?;

        step("Renaming a gateway in the cloud, as somebody at its console would");
        let renamed = rows
            .iter()
            .find(|row| row.name == RENAMED)
            .ok_or("the samples have no office-ip")?;
        show_mending(simulator, control_plane, &renamed.id).await?;

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
        println!("Ctrl-C ends it all and removes it.");
        let status = operator.wait(Duration::MAX).await?;
        Err(format!("the operator ended ({status})").into())
    }

    /// Whether nothing is left to show.
    pub fn has_shown_everything(&self) -> bool {
        self.has_shown_everything
    }

    /// The end of each log, for a failure.
    pub fn print_logs(&self) {
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
        "--leader-elect-namespace",
        "default",
        "--listen",
        "127.0.0.1:0",
        "--resync-period",
        "2s",
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

/// All objects of our kinds.
struct Objects {
    kinds: Vec<(&'static str, Api<DynamicObject>)>,
}

impl Objects {
    fn new(client: &Client) -> Self {
        let api = |(kind, plural): (&'static str, &str)| {
            let kind_of_group = GroupVersionKind::gvk(GROUP, VERSION, kind);
            let resource = ApiResource::from_gvk_with_plural(&kind_of_group, plural);
            (kind, Api::all_with(client.clone(), &resource))
        };
        Self {
            kinds: KINDS.map(api).into(),
        }
    }

    async fn rows(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for (kind, objects) in &self.kinds {
            let objects = objects.list(&ListParams::default()).await?;
            rows.extend(objects.iter().map(|object| Row::of(kind, object)));
        }
        Ok(rows)
    }

    /// Draws the table until as many objects as were applied are Ready.
    async fn show_until_ready(&self, applied: usize, operator: &Operator) -> Result<Vec<Row>, Failure> {
        let started = Instant::now();
        let mut table = Table::default();
        loop {
            let rows = self.rows().await?;
            table.draw(rows.clone())?;
            if rows.len() >= applied && rows.iter().all(Row::is_ready) {
                return Ok(rows);
            }
            if let Some(status) = operator.exit_status()? {
                return Err(format!("the operator ended ({status})").into());
            }
            if started.elapsed() > DEADLINE {
                return Err(format!("not all objects are Ready after {DEADLINE:?}").into());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// Changes a gateway through the simulator's admin API and waits until the operator has put it right
/// and has told so in an Event.
async fn show_mending(simulator: &Simulator, control_plane: &ControlPlane, id: &str) -> Result<(), Failure> {
    simulator.edit_gateway(id, &json!({ "name": NEW_NAME })).await?;
    let changed = Instant::now();
    println!("in the cloud, {id} is now called {NEW_NAME}");
    eventually("the operator mends the name", DEADLINE, async || {
        let gateways: Vec<Value> = simulator.gateways().await.map_err(|error| error.to_string())?;
        let gateway = gateways
            .iter()
            .find(|gateway| gateway["id"] == id)
            .ok_or("the gateway is gone")?;
        if gateway["name"] == RENAMED {
            Ok(())
        } else {
            Err(gateway["name"].to_string())
        }
    })
    .await?;
    println!(
        "in the cloud, {id} is called {RENAMED} again, after {:.1} s",
        changed.elapsed().as_secs_f32()
    );

    let arguments = [
        "get",
        "events",
        "--field-selector=reason=DriftCorrected",
        "--no-headers",
    ];
    let events = eventually("an Event tells of it", DEADLINE, async || {
        let output = control_plane
            .kubectl(arguments)
            .await
            .and_then(|output| output.success());
        let events = output.map_err(|error| error.to_string())?;
        if events.is_empty() {
            Err("no Event with the reason DriftCorrected".to_owned())
        } else {
            Ok(events)
        }
    })
    .await?;
    print!("kubectl get events: {events}");
    Ok(())
}

async fn print_what_next(
    control_plane: &ControlPlane,
    simulator: &Simulator,
    operator: &Operator,
) -> Result<(), Failure> {
    let kubectl = control_plane.tool(Tool::Kubectl).await?;
    let kubectl = kubectl.display();
    step("Your turn, in another terminal");
    println!("export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("{kubectl} get cgw --output wide");
    println!("{kubectl} describe cgw {RENAMED}");
    println!(
        "{kubectl} delete --filename {}/{RENAMED}.yaml",
        project("docs/samples").display()
    );
    println!(
        "The simulated cloud: {} (what it can do: docs/simulator.md)",
        simulator.url()
    );
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

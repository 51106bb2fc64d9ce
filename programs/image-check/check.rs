//! The check of the image, step by step.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vpn_operator_testbed::{Operator, Simulator};

use crate::cluster::{Cluster, OPERATOR, SIMULATOR};
use crate::container::Container;
use crate::pod::Pod;
use crate::{Arguments, Failure, names};

const DEADLINE: Duration = Duration::from_secs(120);

/// Runs all steps.
///
/// # Errors
/// If a step fails.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    step("Starting a control plane and installing the chart with its simulator");
    names::serve()?;
    let values = [
        "simulator.enabled=true".to_owned(),
        "clusterName=image-check".to_owned(),
        format!("port={}", free_port()?),
    ];
    let cluster = Cluster::start(&values).await?;

    step("Starting the simulator in a container of the image");
    let pod = Pod::of(&cluster, SIMULATOR).await?;
    let container = Container::new(arguments, cluster.folder(), SIMULATOR, &pod, None, &[])?;
    let simulator = Simulator::launch(cluster.plane().guardian(), container.launch()).await?;
    container.expect_confined(&pod)?;
    allow(&simulator, arguments.gateways + 1).await?;
    let simulated = Simulated { simulator, container };

    step("Starting the operator in a container of the image");
    let operator = Contained::start(arguments, &cluster, "first").await?;
    println!("user, capabilities, seccomp, read-only root and limit are as the Deployment says");

    step(&format!("Making {} gateways", arguments.gateways));
    let began = Instant::now();
    cluster.make_gateways(0, arguments.gateways).await?;
    operator.unless_it_ends(cluster.wait_until_all_are_ready()).await?;
    println!(
        "all are Ready, {:.0} s after the first was created",
        began.elapsed().as_secs_f32()
    );
    expect_as_many_in_the_cloud(&cluster, &simulated.simulator, arguments.gateways).await?;
    println!("memory of the operator: {}", operator.container.peaks()?);
    operator.stop().await?;

    step("Restarting it with all gateways");
    let operator = Contained::start(arguments, &cluster, "second").await?;
    cluster.make_gateways(arguments.gateways, 1).await?;
    operator.unless_it_ends(cluster.wait_until_all_are_ready()).await?;
    expect_as_many_in_the_cloud(&cluster, &simulated.simulator, arguments.gateways + 1).await?;
    println!("memory of the operator: {}", operator.container.peaks()?);
    operator.stop().await?;
    println!("memory of the simulator: {}", simulated.container.peaks()?);
    Ok(())
}

/// The simulator and its environment, in the order in which they are stopped.
struct Simulated {
    simulator: Simulator,
    container: Container,
}

/// The operator and its environment, in the order in which they are stopped.
struct Contained {
    operator: Operator,
    container: Container,
}

impl Contained {
    async fn start(arguments: &Arguments, cluster: &Cluster, name: &str) -> Result<Self, Failure> {
        let pod = Pod::of(cluster, OPERATOR).await?;
        let account = match &pod.account {
            Some(account) => Some(cluster.account_folder(account).await?),
            None => None,
        };
        let name = format!("{OPERATOR}-{name}");
        let variables = cluster.variables()?;
        let container = Container::new(arguments, cluster.folder(), &name, &pod, account.as_deref(), &variables)?;
        let operator = Operator::launch(cluster.plane().guardian(), container.launch())?;
        operator.wait_until_ready(DEADLINE).await?;
        container.expect_confined(&pod)?;
        Ok(Self { operator, container })
    }

    /// The outcome of a future, or an error if the operator exits first.
    async fn unless_it_ends(&self, outcome: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        tokio::select! {
            outcome = outcome => outcome,
            status = self.operator.wait(Duration::MAX) => {
                Err(format!("the operator ended ({}):\n{}", status?, self.operator.log_tail()).into())
            }
        }
    }

    async fn stop(self) -> Result<(), Failure> {
        let status = self.operator.terminate(DEADLINE).await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the operator ended with {status}").into())
        }
    }
}

/// Sets the gateway quota of the simulated project.
async fn allow(simulator: &Simulator, gateways: usize) -> Result<(), Failure> {
    let projects: Value = simulator.get("projects").await?;
    for (id, project) in projects.as_object().ok_or("no projects")? {
        let change = json!({"name": project["name"], "gateway_quota": gateways});
        simulator.put::<Value>(&format!("projects/{id}"), &change).await?;
    }
    Ok(())
}

/// Checks that each object has its own gateway, and that there is no other.
async fn expect_as_many_in_the_cloud(cluster: &Cluster, simulator: &Simulator, count: usize) -> Result<(), Failure> {
    let in_cluster: BTreeSet<String> = cluster.ready_ids().await?.into_iter().collect();
    let gateways: Vec<Value> = simulator.gateways().await?;
    let in_cloud: BTreeSet<String> = gateways
        .iter()
        .filter_map(|gateway| gateway["id"].as_str().map(str::to_owned))
        .collect();
    if in_cluster.len() == count && in_cluster == in_cloud {
        println!("the cloud has {count} gateways, one for each object");
        Ok(())
    } else {
        Err(format!("{} in the cluster, {} in the cloud", in_cluster.len(), in_cloud.len()).into())
    }
}

/// Another process may take the port before it is used; the operator then reports it.
fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("[::]:0")?.local_addr()?.port())
}

fn step(what: &str) {
    println!("\n==> {what}");
}

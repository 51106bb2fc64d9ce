//! For `cargo run --example install` and a test: installs the chart and its simulator with the real Helm, until the
//! samples are Ready.

use std::path::Path;
use std::time::Duration;

use crate::assets::Tool;
use crate::binaries::Binaries;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::kubelet::Kubelet;
use crate::operator::Operator;
use crate::simulator::Simulator;

const DEADLINE: Duration = Duration::from_secs(120);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

const NAMESPACE: &str = "vpn-operator";
const OPERATOR: &str = "vpn-operator";
const SIMULATOR: &str = "vpn-operator-simulator";

/// A short confirmation period; the default is 30 s.
const INSTALL: &str = "helm install vpn-operator charts/vpn-operator -n vpn-operator --create-namespace \
                       --set simulator.enabled=true --set clusterName=try-out --set creationConfirmationPeriod=3s";
const APPLY: &str = "kubectl apply -f examples";
const WAIT: &str = "kubectl wait --for=condition=Ready --timeout=120s cgw,vpnu --all";
const SHOW: &str = "kubectl get cgw,vpnu";

/// The running processes, in the order in which they end.
#[derive(Debug, Default)]
pub struct Installation {
    operator: Option<Operator>,
    simulator: Option<Simulator>,
    control_plane: Option<ControlPlane>,
}

impl Installation {
    /// Installs everything from the project's folder, and prints each step on standard output.
    pub async fn run(&mut self, project: &Path, binaries: &Binaries) -> Result<()> {
        step("Starting etcd and kube-apiserver");
        let plane = &*self.control_plane.insert(ControlPlane::start().await?);

        step(&format!("$ {INSTALL}"));
        print!("{}", plane.shell(project, binaries, INSTALL).await?.success()?);

        step("Acting as the kubelet, since no node runs here");
        let kubelet = Kubelet {
            plane,
            namespace: NAMESPACE,
            binaries,
        };
        let simulator = &*self.simulator.insert(kubelet.start_simulator(SIMULATOR).await?);
        println!(
            "Deployment {SIMULATOR}: its command, arguments and Secret, at {}",
            simulator.url()
        );
        let service = format!("http://{SIMULATOR}.{NAMESPACE}.svc:8180");
        let services = [(service, simulator.url().to_owned())];
        let operator = kubelet.start_operator(OPERATOR, &services).await?;
        let operator = &*self.operator.insert(operator);
        operator.wait_until_ready(DEADLINE).await?;
        println!(
            "Deployment {OPERATOR}: its arguments, variables and ServiceAccount token, with the RBAC of the chart"
        );

        for line in [APPLY, WAIT, SHOW] {
            step(&format!("$ {line}"));
            print!("{}", plane.shell(project, binaries, line).await?.success()?);
        }
        Ok(())
    }

    /// Prints what another terminal needs.
    pub async fn print_what_next(&self) -> Result<()> {
        let (Some(plane), Some(simulator), Some(operator)) = (&self.control_plane, &self.simulator, &self.operator)
        else {
            return Ok(());
        };
        step("Your turn, in another terminal");
        println!("export KUBECONFIG={}", plane.kubeconfig().display());
        for (name, tool) in [("kubectl", Tool::Kubectl), ("helm", Tool::Helm)] {
            println!("alias {name}={}", plane.tool(tool).await?.display());
        }
        println!("kubectl describe vpnu user-in-group");
        println!("helm get values vpn-operator -n {NAMESPACE} --all");
        println!("The simulated cloud: {} (see docs/simulator.md)", simulator.url());
        println!("The operator's log:  {}", operator.log_path().display());
        Ok(())
    }

    /// Returns when the operator ends by itself, which it should not.
    pub async fn watch(&self) -> Result<()> {
        match &self.operator {
            Some(operator) => Err(operator.ended(operator.wait(Duration::MAX).await?, "Ctrl-C")),
            None => Ok(()),
        }
    }

    /// Ends the operator as Kubernetes does, with SIGTERM.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(operator) = self.operator.take() else {
            return Ok(());
        };
        let status = operator.terminate(STOP_DEADLINE).await?;
        if status.success() {
            Ok(())
        } else {
            Err(operator.ended(status, "a good end"))
        }
    }

    /// The control plane, if it was started.
    pub fn control_plane(&self) -> Option<&ControlPlane> {
        self.control_plane.as_ref()
    }

    /// Prints the end of each log, for a failure.
    pub fn print_logs(&self) {
        let processes = [self.simulator.as_deref(), self.operator.as_deref()];
        for process in processes.into_iter().flatten() {
            eprintln!("\n--- end of the log of {} ---\n{}", process.name(), process.log_tail());
        }
    }
}

fn step(what: &str) {
    println!("\n==> {what}");
}

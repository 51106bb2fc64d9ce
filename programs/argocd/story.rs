//! The scenarios of docs/argocd.md, step by step.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vpn_operator_testbed::{Binaries, ControlPlane, Simulator, eventually};

use crate::application::{Application, DEADLINE, health, is_well, summary, syncs};
use crate::documentation::{Documentation, replaced};
use crate::repositories::Repository;
use crate::{Failure, NAMESPACE, step};

/// The page, and the resources that it names.
pub(crate) struct Story<'a> {
    project: &'a Path,
    plane: &'a ControlPlane,
    binaries: &'a Binaries,
    simulator: &'a Simulator,
    application: Application<'a>,
    documentation: Documentation,
    charts: Repository,
    objects: Repository,
}

impl<'a> Story<'a> {
    /// Creates the repositories: one with this project's chart, one with the page's gateway.
    pub(crate) fn prepare(
        project: &'a Path,
        plane: &'a ControlPlane,
        binaries: &'a Binaries,
        simulator: &'a Simulator,
    ) -> Result<Self, Failure> {
        let documentation = Documentation::read(project)?;
        let folder = plane.guardian().folder();
        let charts = Repository::create(folder, "vpn-operator")?;
        let copied = Command::new("cp")
            .arg("-R")
            .args([project.join("charts"), charts.folder().join("charts")])
            .status()?;
        if !copied.success() {
            return Err("the chart cannot be copied".into());
        }
        charts.push("The chart")?;
        let objects = Repository::create(folder, "vpn")?;
        objects.write("prod/berlin.yaml", documentation.manifest("CustomerGateway")?)?;
        objects.push("A gateway")?;
        Ok(Self {
            project,
            plane,
            binaries,
            simulator,
            application: Application { plane },
            documentation,
            charts,
            objects,
        })
    }

    /// Runs everything from the first sync to the deletion of the application.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        self.install().await?;
        self.nothing_is_left_to_do().await?;
        self.git_changes().await?;
        self.health_is_passed_on().await?;
        self.a_field_that_cannot_change().await?;
        self.the_chart_is_upgraded().await?;
        self.delete().await
    }

    async fn install(&self) -> Result<(), Failure> {
        let patch = self.documentation.command("kubectl patch configmap argocd-cm")?;
        step(&format!("$ {patch}"));
        self.shell(patch).await?;

        step("The Application of docs/argocd.md, before its credentials exist");
        let mut manifest = self.documentation.manifest("Application")?.to_owned();
        for (name, repository) in [("vpn-operator", &self.charts), ("vpn", &self.objects)] {
            let yours = format!("https://git.example.com/network/{name}.git");
            manifest = replaced(&manifest, &yours, &repository.url())?;
        }
        let apply = ["apply", "--filename", "-"];
        self.plane.kubectl_with_input(apply, &manifest).await?.success()?;
        let waiting = self
            .application
            .until("the sync waits for the operator", |application| {
                let message = application["status"]["operationState"]["message"].as_str();
                message == Some("waiting for healthy state of apps/Deployment/vpn-operator")
            });
        let waiting = waiting.await?;
        expect(
            "no gateway before there is an operator",
            health(&waiting, "office-berlin")["status"] == "Missing",
            &waiting,
        )?;

        step("With the credentials everything becomes Healthy");
        let from = [
            "--from-literal=accessKey=ARGOCDACCESSKEY",
            "--from-literal=secretKey=argocd-secret-key",
        ];
        let create = [
            "create",
            "secret",
            "generic",
            "vpn-operator-credentials",
            "--namespace",
            NAMESPACE,
        ];
        self.plane.kubectl(create.into_iter().chain(from)).await?.success()?;
        self.well().await?;
        self.cloud_has(&["office-berlin"]).await
    }

    async fn nothing_is_left_to_do(&self) -> Result<(), Failure> {
        step("Argo CD refreshes repeatedly, and has nothing to sync");
        let before = syncs(&self.application.get().await?);
        for _ in 0..5 {
            let application = self.application.refresh("hard").await?;
            expect("it stays Synced and Healthy", is_well(&application), &application)?;
        }
        let after = self.application.get().await?;
        expect("no further sync", syncs(&after) == before, &after)
    }

    async fn git_changes(&self) -> Result<(), Failure> {
        step("Git changes a gateway, and removes a field");
        let berlin = self.documentation.manifest("CustomerGateway")?;
        self.objects
            .write("prod/berlin.yaml", &format!("{berlin}  tags:\n    floor: third\n"))?;
        self.objects.push("A tag")?;
        self.well().await?;
        self.gateways_until("the tag is in the cloud", |gateways| {
            gateways[0]["tags"]["floor"] == "third"
        })
        .await?;
        self.objects.write("prod/berlin.yaml", berlin)?;
        self.objects.push("No tag")?;
        self.well().await?;
        self.gateways_until("the tag is removed", |gateways| gateways[0]["tags"]["floor"].is_null())
            .await?;
        Ok(())
    }

    async fn health_is_passed_on(&self) -> Result<(), Failure> {
        step("A user without its Secret is Progressing, with a bad password Degraded, while paused Suspended");
        self.objects
            .write("prod/alice.yaml", self.documentation.manifest("VpnUser")?)?;
        self.objects.push("A user")?;
        self.alice_is("Progressing", "does not exist").await?;
        let set = |password: &str| {
            format!(
                "kubectl create secret generic alice --namespace {NAMESPACE} --from-literal=password={password} \
                 --dry-run=client --output yaml | kubectl apply --filename -"
            )
        };
        self.shell(&set("short")).await?;
        self.alice_is("Degraded", "too short").await?;
        let annotate = format!("kubectl annotate vpnu alice --namespace {NAMESPACE} vpn.huaweicloud.com/paused");
        self.shell(&format!("{annotate}=true")).await?;
        self.alice_is("Suspended", "paused").await?;
        self.shell(&format!("{annotate}-")).await?;
        self.shell(&set("Good-Pass-one-1")).await?;
        self.well().await?;
        Ok(())
    }

    async fn a_field_that_cannot_change(&self) -> Result<(), Failure> {
        step("Another idValue: the sync fails with the rule's message, and everything else is synced");
        let berlin = self.documentation.manifest("CustomerGateway")?;
        let moved = replaced(berlin, "203.0.113.10", "203.0.113.11")?;
        let paris = replaced(
            &replaced(berlin, "office-berlin", "office-paris")?,
            "203.0.113.10",
            "203.0.113.20",
        )?;
        self.objects.write("prod/berlin.yaml", &moved)?;
        self.objects.write("prod/paris.yaml", &paris)?;
        self.objects.push("Another address, and another gateway")?;
        let refused = self.application.until("the sync fails", |application| {
            let message = application["status"]["operationState"]["message"]
                .as_str()
                .unwrap_or_default();
            message.contains("idValue")
        });
        refused.await?;
        self.cloud_has(&["office-berlin", "office-paris"]).await?;

        step("Three steps: add the new gateway beside the old one, then remove the old one");
        self.objects.write("prod/berlin.yaml", berlin)?;
        self.objects.write(
            "prod/berlin-new.yaml",
            &replaced(&moved, "office-berlin", "office-berlin-new")?,
        )?;
        self.objects.push("The new one beside the old one")?;
        self.well().await?;
        self.cloud_has(&["office-berlin", "office-berlin-new", "office-paris"])
            .await?;
        std::fs::remove_file(self.objects.folder().join("prod/berlin.yaml"))?;
        self.objects.push("The old one goes")?;
        self.well().await?;
        self.cloud_has(&["office-berlin-new", "office-paris"]).await
    }

    async fn the_chart_is_upgraded(&self) -> Result<(), Failure> {
        step("A newer chart: its CRD has a new field, and an object uses it in the same sync");
        let path = "charts/vpn-operator/files/crds/customergateways.vpn.huaweicloud.com.yaml";
        let crd = std::fs::read_to_string(self.charts.folder().join(path))?;
        let field = "\n              idValue:";
        let newer = replaced(
            &crd,
            field,
            &format!("\n              newField: {{type: string}}{field}"),
        )?;
        self.charts.write(path, &newer)?;
        let values = "charts/vpn-operator/values.yaml";
        let text = std::fs::read_to_string(self.charts.folder().join(values))?;
        // Changes its Deployment too.
        self.charts.write(
            values,
            &replaced(&text, "\nrequestTimeout: 10s", "\nrequestTimeout: 9s")?,
        )?;
        self.charts.push("A newer chart")?;
        let paris = std::fs::read_to_string(self.objects.folder().join("prod/paris.yaml"))?;
        self.objects
            .write("prod/paris.yaml", &format!("{paris}  newField: used\n"))?;
        self.objects.push("The new field")?;
        self.well().await?;
        let get = [
            "get",
            "customergateway",
            "office-paris",
            "--namespace",
            NAMESPACE,
            "--output",
        ];
        let used = self
            .plane
            .kubectl(get.into_iter().chain(["jsonpath={.spec.newField}"]))
            .await?
            .success()?;
        if used == "used" {
            Ok(())
        } else {
            Err(format!("the new field is {used:?}").into())
        }
    }

    async fn delete(&self) -> Result<(), Failure> {
        step("The application is deleted: first the objects with their cloud resources, then the operator");
        let delete = [
            "delete",
            "application",
            "vpn-operator",
            "--namespace",
            "argocd",
            "--timeout=120s",
        ];
        self.plane.kubectl(delete).await?.success()?;
        self.cloud_has(&[]).await?;
        let left = "kubectl get cgw,vpnu,deployments,services,roles --all-namespaces --output name";
        let left = self.shell(left).await?;
        let ours: Vec<&str> = left.lines().filter(|line| line.contains("vpn")).collect();
        if !ours.is_empty() {
            return Err(format!("left behind: {ours:?}").into());
        }
        let crds = "kubectl get crd customergateways.vpn.huaweicloud.com vpnusers.vpn.huaweicloud.com";
        print!("{}", self.shell(crds).await?);
        Ok(())
    }

    async fn well(&self) -> Result<Value, Failure> {
        let application = self.application.until("it is Synced and Healthy", is_well).await?;
        println!("Synced and Healthy after {} syncs", syncs(&application));
        Ok(application)
    }

    async fn alice_is(&self, status: &str, words: &str) -> Result<(), Failure> {
        let awaited = format!("alice is {status}");
        let application = self.application.until(&awaited, |application| {
            let health = health(application, "alice");
            let message = health["message"].as_str().unwrap_or_default();
            health["status"] == status && message.contains(words)
        });
        println!("{}", health(&application.await?, "alice"));
        Ok(())
    }

    async fn cloud_has(&self, names: &[&str]) -> Result<(), Failure> {
        let awaited = format!("the cloud has {names:?}");
        let gateways = self.gateways_until(&awaited, |gateways| {
            let found = gateways.iter().filter_map(|gateway| gateway["name"].as_str());
            let mut found: Vec<&str> = found.collect();
            found.sort_unstable();
            found == names
        });
        println!("in the cloud: {} gateways", gateways.await?.len());
        Ok(())
    }

    async fn gateways_until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, Failure> {
        let seen = eventually(what, DEADLINE, async || {
            let gateways: Vec<Value> = self.simulator.gateways().await.map_err(|error| error.to_string())?;
            if holds(&gateways) {
                Ok(gateways)
            } else {
                Err(Value::from(gateways).to_string())
            }
        });
        Ok(seen.await?)
    }

    async fn shell(&self, lines: &str) -> Result<String, Failure> {
        Ok(self.plane.shell(self.project, self.binaries, lines).await?.success()?)
    }
}

fn expect(what: &str, holds: bool, application: &Value) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(format!("not so: {what}: {}", summary(application)).into())
    }
}

//! What Flux and Argo CD report about objects through their lives, for every state that a watch delivered: kstatus as
//! Flux has it, and the health scripts in Argo CD's Lua.

mod helm;
mod life;

use serde_json::{Value, json};
use vpn_operator_testbed::GoProgram;

use crate::operator::world::{World, condition, repository};

/// Both checks, as one program.
struct Judge(GoProgram);

impl Judge {
    async fn build(world: &World) -> Self {
        let folder = repository().join("tests/gitops-judge");
        Self(GoProgram::build(&folder, world.plane.guardian()).await.unwrap())
    }

    /// Returns the kstatus results for the states of an object, in order and without repetitions. Checks each state
    /// against the expected results of both.
    async fn judge(&self, states: &[Value]) -> Vec<String> {
        let folder = repository().join("deploy/argocd/resource_customizations");
        let arguments = ["objects".into(), folder.into_os_string()];
        let input = json!(states).to_string();
        let answer = self.0.run(arguments, Some(&input)).await.unwrap().success().unwrap();
        let verdicts: Vec<Value> = serde_json::from_str(&answer).unwrap();
        assert_eq!(verdicts.len(), states.len());
        let mut course: Vec<String> = Vec::new();
        for (state, verdict) in states.iter().zip(verdicts) {
            let (kstatus, health) = expected(state);
            let verdicts = (&verdict["kstatus"]["status"], &verdict["argocd"]["status"]);
            assert_eq!(verdicts, (&json!(kstatus), &json!(health)), "{verdict}\n{state:#}");
            if course.last().is_none_or(|last| last != kstatus) {
                course.push(kstatus.to_owned());
            }
        }
        course
    }
}

/// What Flux and Argo CD must report about an object.
fn expected(object: &Value) -> (&'static str, &'static str) {
    let holds = |type_: &str| condition(object, type_)["status"] == "True";
    let generation = &object["metadata"]["generation"];
    let is_seen = object["status"]["observedGeneration"] == *generation;
    let (kstatus, health) = match () {
        () if is_seen && holds("Stalled") => ("Failed", "Degraded"),
        () if is_seen && holds("Ready") => ("Current", "Healthy"),
        () => ("InProgress", "Progressing"),
    };
    let kstatus = if object["metadata"]["deletionTimestamp"].is_null() {
        kstatus
    } else {
        "Terminating"
    };
    (kstatus, if holds("Paused") { "Suspended" } else { health })
}

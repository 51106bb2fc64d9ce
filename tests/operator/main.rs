//! The operator's real binary against a real kube-apiserver and the simulator, driven with a kube client and kubectl.
//! Each test has a namespace, a simulator and an operator of its own; all share one control plane.

mod admission;
mod adoption;
mod adversaries;
mod annotations;
mod breaker;
mod calls;
mod certificates;
mod console;
mod crash;
mod deletion;
mod disaster;
mod errors;
mod follow;
mod gitops;
mod goldens;
mod iam;
mod leadership;
mod leaks;
mod mass_deletion;
mod objects;
mod outcomes;
mod permissions;
mod policies;
mod random_specs;
mod read_only;
mod running;
mod secrets;
mod seen;
mod sweep;
mod tally;
mod troubles;
mod upgrade;
mod users;
mod world;
mod world_fails;

//! The operator's real binary against a real kube-apiserver and the simulator, driven with a kube client and kubectl.
//! Each test has a namespace, a simulator and an operator of its own; all share one control plane.

mod calls;
mod crash;
mod leaks;
mod troubles;
mod world;

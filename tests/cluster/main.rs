//! The real binaries against a real kube-apiserver and the cloud's simulator. One program, since cargo runs programs of
//! tests one after the other: the last tests of the chart, which mostly wait, run beside the first ones of the operator,
//! and one control plane serves both.

mod chart;
mod operator;

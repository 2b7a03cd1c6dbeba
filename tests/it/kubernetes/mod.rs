//! Against a real API server of Kubernetes with its etcd, without a node: discovery by
//! `EndpointSlices`, and the Helm chart.

mod chart;
mod discovery;
mod server;

//! A drill for `lab`: every node restarts, one after the other, as in an upgrade. A prober must
//! page no one because of it.

use std::time::Duration;

use tokio::time::sleep;

use super::config_file::duration;
use super::print;
use crate::lab::{Cluster, Fault, FaultOrder};

/// Until the first node goes away, at most, so that the prober has seen all of them well.
const BEFORE: Duration = Duration::from_secs(10);

/// Whether and how nodes restart.
#[derive(Debug, clap::Args)]
pub(super) struct Drill {
    /// Restart every node in turn, each away for this long, for instance 45s; the first one after
    /// 10 s
    #[arg(long, value_name = "AWAY", value_parser = duration)]
    rolling_restart: Option<Duration>,
    /// During that restart the load balancer still sends users to the node that is away
    #[arg(long, requires = "rolling_restart")]
    not_drained: bool,
}

impl Drill {
    /// Restarts the nodes, if that was asked for, and then waits for ever. The faults of the
    /// scenario stay.
    pub(super) async fn run(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let Some(away) = self.rolling_restart else { return std::future::pending().await };
        let faults: Vec<FaultOrder> =
            cluster.faults().into_iter().map(|active| active.order).collect();
        // The balancer sees a port that is closed, and not a core that is gone behind its nginx.
        let gone = if self.not_drained { Fault::CoreDown } else { Fault::Unreachable };
        sleep(BEFORE.min(away)).await;
        for node in cluster.nodes() {
            let order = FaultOrder::at(&node.name, gone.clone());
            cluster.set_faults(faults.iter().cloned().chain([order]).collect())?;
            print::result(&format!("Drill     {} is away\n", node.name))?;
            sleep(away).await;
            cluster.set_faults(faults.clone())?;
        }
        print::result("Drill     every node is back\n")?;
        std::future::pending().await
    }
}

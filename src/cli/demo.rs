//! `demo`: the lab with a fault and a daemon for it, for those who try the program first.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::ask::USUAL_ADDRESS;
use super::config_file::load;
use super::exit::Exit;
use super::lab::{Directory, How, description, named, write_config};
use super::print;
use super::service::{Service, ServiceSettings, listen, url};
use crate::config::Shard;
use crate::model::Snapshot;
use crate::report::{self, Form, Output};
use crate::schedule::told_to_stop;

/// Starts a simulated registry with a fault and a prober for it, and shows what it finds
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Name of a scenario; registry-prober lab --list prints all
    #[arg(default_value = "token-key-mismatch")]
    scenario: String,
    /// End after the first round
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    how: How,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let stop = told_to_stop().context("SIGTERM")?;
    let mut stop = std::pin::pin!(stop);
    let scenario = named(&arguments.scenario)?;
    let cluster = arguments.how.start(&scenario)?;
    let directory = Directory::new("demo")?;
    let path = write_config(&cluster, directory.path())?;
    let loaded = load(&path).await??;
    let listener = match listen(USUAL_ADDRESS).await {
        Ok(listener) => listener,
        Err(_) => listen("127.0.0.1:0").await?,
    };
    let page = url(listener.local_addr()?);
    let settings = ServiceSettings {
        listeners: vec![listener],
        auto_reload: Duration::ZERO,
        journal: None,
        shard: Shard::default(),
        access: None,
        reload_token: None,
        external: Vec::new(),
    };
    print::result(&format!(
        "{}\nThe first round takes a few seconds.\n\n",
        description(&scenario, &cluster)
    ))?;

    let mut service = Service::start(&path, loaded, settings).await?;
    let mut snapshots = service.snapshots();
    let first = snapshots.wait_for(|s| s.registries.values().all(|state| state.latest.is_some()));
    let found = tokio::select! {
        snapshot = first => snapshot.map(|snapshot| shown(&snapshot)).ok(),
        _ = &mut stop => None,
        () = service.failed() => None,
    };
    if let Some(found) = found.as_ref().filter(|_| arguments.once) {
        // Page and configuration end with the demo.
        print::result(&format!("{found}\n"))?;
    } else if let Some(found) = &found {
        print::result(&format!(
            "{found}\nStatus page       {page}/\nMetrics           {page}/metrics\n\
             Diagnose again    registry-prober check --config.file={}\n",
            path.display()
        ))?;
    }
    if found.is_some() && !arguments.once {
        print::result("Stop with         Ctrl-C\n")?;
        tokio::select! {
            _ = &mut stop => {}
            () = service.failed() => bail!("the web server ended"),
        }
    }
    service.end().await;
    Ok(Exit::Ok)
}

fn shown(snapshot: &Snapshot) -> String {
    report::render(
        Output::Text,
        snapshot,
        Form { trace: false, verbose: false, width: print::width() },
    )
}

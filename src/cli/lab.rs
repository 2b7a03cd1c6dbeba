//! `lab`: only the simulated registry, for drills and for trying the prober out.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::drill::Drill;
use super::exit::Exit;
use super::explain::did_you_mean;
use super::print;
use crate::findings::nearest;
use crate::lab::{Cluster, Family, Options, Scenario};
use crate::schedule::told_to_stop;

/// Starts a simulated registry with a fault, and prints its addresses and a ready configuration
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Name of a scenario; without it, all scenarios are listed
    scenario: Option<String>,
    /// List all scenarios
    #[arg(long, conflicts_with = "scenario")]
    list: bool,
    /// Write the configuration to this folder and leave it there. Without it, a temporary folder is
    /// used
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    drill: Drill,
}

/// How a scenario is played.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// Family of servers, if not the one of the scenario, for instance harbor-2.10
    #[arg(long, value_parser = family)]
    family: Option<Family>,
    /// Number of nodes, if not the one of the scenario
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    nodes: Option<u32>,
    /// Seed: the same number gives the same answers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl How {
    /// Starts a scenario.
    pub(super) fn start(&self, scenario: &Scenario) -> anyhow::Result<Cluster> {
        let (family, nodes, seed) = (self.family, self.nodes, self.seed);
        let options = Options { family, nodes, seed, ..Options::default() };
        Ok(Cluster::start(scenario, &options)?)
    }
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(name) = arguments.scenario else {
        print::result(&list(&Scenario::all()?))?;
        return Ok(Exit::Ok);
    };
    let stop = told_to_stop().context("SIGTERM")?;
    let scenario = named(&name)?;
    let cluster = arguments.how.start(&scenario)?;
    let own = if arguments.folder.is_none() { Some(Directory::new("lab")?) } else { None };
    if let Some(folder) = &arguments.folder {
        // The password of the lab's account is kept in it.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        created.with_context(|| folder.display().to_string())?;
    }
    let folder = own.as_ref().map(Directory::path).or(arguments.folder.as_deref());
    let config = write_config(&cluster, folder.unwrap_or(Path::new("")))?;
    let text = std::fs::read_to_string(&config).context("the configuration")?;
    let until = if own.is_some() { " until the end" } else { "" };
    print::result(&format!(
        "{}\nConfiguration, kept in {}{until}:\n\n{text}\n\
         To diagnose it:  registry-prober check --config.file={}\n\
         To stop it:      Ctrl-C\n",
        description(&scenario, &cluster),
        config.display(),
        config.display()
    ))?;
    tokio::select! {
        _ = stop => Ok(Exit::Ok),
        failed = arguments.drill.run(&cluster) => failed.map(|()| Exit::Ok),
    }
}

/// A scenario, or the name that was meant.
pub(super) fn named(name: &str) -> anyhow::Result<Scenario> {
    let all = Scenario::all()?;
    let names = || all.iter().map(|scenario| scenario.name.as_str());
    if !names().any(|known| known == name) {
        let meant = did_you_mean(nearest(name, names()));
        bail!("there is no scenario {name:?}{meant}; registry-prober lab --list shows all");
    }
    Ok(Scenario::named(name)?)
}

fn list(all: &[Scenario]) -> String {
    let width = all.iter().map(|scenario| scenario.name.len()).max().unwrap_or_default();
    all.iter().fold(String::new(), |mut text, one| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:width$}  {}", one.name, one.title);
        text
    })
}

/// What is wrong, and where everything listens.
pub(super) fn description(scenario: &Scenario, cluster: &Cluster) -> String {
    let mut text = format!("Scenario  {}: {}\n", scenario.name, scenario.title);
    // Writing to a String does not fail.
    let _ = writeln!(text, "Users     {}", scenario.effect);
    let nodes = cluster.nodes().len();
    if u32::try_from(nodes) != Ok(scenario.nodes) {
        let _ = writeln!(text, "Nodes     {nodes} instead of {}", scenario.nodes);
    }
    let url = cluster.public_url();
    let _ = writeln!(text, "Registry  {url} (no resolver knows it; connect to these addresses)");
    for node in cluster.nodes() {
        let _ = writeln!(text, "          {}: {}", node.name, node.address);
    }
    let _ = writeln!(text, "          lb: {}", cluster.balancer());
    if let Some(address) = cluster.token_server() {
        let _ = writeln!(text, "          token server: {address}");
    }
    let _ = writeln!(
        text,
        "Control   http://{}/ shows the faults; POST /faults changes them",
        cluster.control()
    );
    text
}

/// Writes the configuration of a lab into a folder and says where it is.
pub(super) fn write_config(cluster: &Cluster, folder: &Path) -> anyhow::Result<PathBuf> {
    // Paths in a configuration are relative to its own folder.
    let folder = std::path::absolute(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join("prober.yml");
    let text = cluster.config_yaml(&folder)?;
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A directory of its own for the configuration of a lab; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Creates one that no other user may read.
    pub(super) fn new(purpose: &str) -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        for _ in 0..16 {
            let name = format!("registry-prober-{purpose}-{:08x}", rand::random::<u32>());
            let path = base.join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
        bail!("cannot create a directory in {}", base.display())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left behind is a few files for a lab that is gone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn family(text: &str) -> Result<Family, String> {
    let known = || Family::ALL.map(Family::as_str).join(", ");
    Family::named(text).ok_or_else(|| format!("there are {}", known()))
}

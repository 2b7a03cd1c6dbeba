//! Programs that a test starts: on a free port, ready when they answer, ended with their guard,
//! and with their last words shown if the test fails.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How long anything may take to start.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at something that is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often another port is tried, if another process took it first.
const PORTS: usize = 5;

/// Why what was awaited did not come.
#[derive(Debug)]
pub(crate) enum Vain {
    /// The program ended before.
    Ended(ExitStatus),
    /// It took too long.
    Late,
}

/// A running program. Dropping it kills it by its process id.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes its output to `folder/name.log`.
    pub(crate) fn start(command: Command, folder: &Path, name: &str) -> Self {
        Self::start_with(command, Stdio::null(), folder, name)
    }

    /// Starts a program that reads from `input`.
    pub(crate) fn start_with(
        mut command: Command,
        input: impl Into<Stdio>,
        folder: &Path,
        name: &str,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("a log file");
        command.stdin(input).stderr(out.try_clone().expect("its handle")).stdout(out);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}", missing(&command, &error)));
        Self { child, log }
    }

    /// Starts a program at a free port of loopback and waits until it listens there.
    pub(crate) async fn listening(
        folder: &Path,
        name: &str,
        command: impl Fn(SocketAddr) -> Command,
    ) -> (Self, SocketAddr) {
        for _ in 0..PORTS {
            let address = free_address();
            let mut process = Self::start(command(address), folder, name);
            let reached = async || TcpStream::connect(address).await.is_ok();
            match process.until(reached).await {
                // Another program may answer there while this one has just failed to.
                Ok(()) if process.ended().is_none() => return (process, address),
                _ if process.said().contains("in use") => {}
                other => panic!("{name} does not listen ({other:?}):\n{}", process.said()),
            }
        }
        panic!("{name}: {PORTS} ports in a row were taken by others");
    }

    /// Looks again and again until something holds.
    pub(crate) async fn until(&mut self, holds: impl AsyncFn() -> bool) -> Result<(), Vain> {
        let limit = Instant::now() + PATIENCE;
        while !holds().await {
            if let Some(status) = self.ended() {
                return Err(Vain::Ended(status));
            }
            if Instant::now() >= limit {
                return Err(Vain::Late);
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Waits until it ends, which it must do well, and returns what it has written.
    pub(crate) async fn finished(mut self) -> String {
        match self.until(async || false).await {
            Err(Vain::Ended(status)) if status.success() => self.said(),
            other => panic!("it did not end well ({other:?}):\n{}", self.said()),
        }
    }

    /// Everything that it has written.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.len().saturating_sub(6);
            eprintln!("--- {}\n{}", self.log.display(), lines[last..].join("\n"));
        }
    }
}

/// A command that is also looked for where Debian keeps servers.
pub(crate) fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Why a command cannot be run, and which Debian package has it.
fn missing(command: &Command, error: &std::io::Error) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let package = match program.as_str() {
        "nginx" => "nginx-light",
        "promtool" => "prometheus",
        "amtool" => "prometheus-alertmanager",
        other => other,
    };
    if error.kind() == ErrorKind::NotFound {
        format!("{program} is not installed: apt-get install --no-install-recommends {package}")
    } else {
        format!("{program}: {error}")
    }
}

/// An address at which nothing listens; never the same twice in this process.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = bound.local_addr().expect("its address");
        if GIVEN.lock().expect("no test panics here").insert(address.port()) {
            return address;
        }
    }
}

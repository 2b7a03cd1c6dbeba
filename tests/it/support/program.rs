//! The program itself as a process: run to its end, or watched while it runs.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A test that waits longer than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(180);

/// The program with these arguments, nothing of the caller's environment that it reads, and no
/// terminal.
pub(crate) fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-prober"));
    command.args(arguments).env_remove("REGISTRY_PROBER_CONFIG").env_remove("NO_COLOR");
    // Texts are as wide as in a pipe, whatever the terminal of the tests.
    command.env_remove("COLUMNS");
    // Whoever runs the tests may be logged in somewhere.
    command.env("DOCKER_CONFIG", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Ended {
    ended(&mut program(arguments))
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A program that runs until it is stopped; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Every line so far, standard output and error.
    pub(crate) seen: Vec<String>,
}

impl Running {
    /// Starts the program.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        Self::of(program(arguments))
    }

    /// Starts a command whose outputs are pipes.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        thread::spawn(forward(out, sender.clone()));
        thread::spawn(forward(err, sender));
        Self { child, lines, seen: Vec::new() }
    }

    /// Starts `run` with this configuration on a free port, and says where it listens.
    pub(crate) fn daemon(config: &std::path::Path, more: &[&str]) -> (Self, String) {
        let file = format!("--config.file={}", config.display());
        let mut arguments =
            vec!["run", &file, "--web.listen-address=127.0.0.1:0", "--log.format=json"];
        arguments.extend(more);
        let mut running = Self::start(&arguments);
        let line = running.log("listening");
        let address = line["address"].as_str().expect("an address").to_owned();
        (running, address)
    }

    /// Waits for a line of which this holds.
    pub(crate) fn line(&mut self, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no such line in\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if holds(&line) {
                return line;
            }
        }
    }

    /// Waits for a JSON log line with this message.
    pub(crate) fn log(&mut self, message: &str) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        let line = self.line(|line| parse(line).is_some_and(|json| json["message"] == message));
        parse(&line).unwrap()
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end and reads what was still said.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        };
        let took = began.elapsed();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        (status, took)
    }
}

/// Hands on a stream line by line.
fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) -> impl FnOnce() + Send {
    move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: status and body.
pub(crate) fn http(method: &str, address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a complete answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header block");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// The body of a `GET` that is answered 200.
pub(crate) fn get(address: &str, path: &str) -> String {
    let (status, body) = http("GET", address, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

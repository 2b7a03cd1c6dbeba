//! The journal of `run` on a disk that is full for a while, and under two daemons.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use registry_prober::lab::{Options, Scenario};
use serde_json::Value;

use crate::support::Bench;
use crate::support::program::{Running, get, program, run};

/// Two nodes with keys of their own, in quick rounds.
fn bench() -> Bench {
    let scenario = Scenario::named("token-key-mismatch").unwrap();
    let bench = Bench::start(&scenario, &Options::default());
    let text = fs::read_to_string(&bench.path).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&bench.path, format!("global: {{interval: 2s, timeout: 1s}}\n{rest}")).unwrap();
    bench
}

fn arguments(bench: &Bench) -> Vec<String> {
    let journal = bench.path.with_file_name("journal.jsonl");
    vec![
        "run".to_owned(),
        format!("--config.file={}", bench.path.display()),
        format!("--history.file={}", journal.display()),
        "--web.listen-address=127.0.0.1:0".to_owned(),
        "--log.format=json".to_owned(),
    ]
}

/// The program, which may write no file beyond this number of bytes: a disk that is full.
fn cramped(arguments: &[String], bytes: usize) -> Command {
    let program = program(arguments);
    let mut command = Command::new("sh");
    // Without the trap the signal of the limit would end it, which no full disk does.
    command.args(["-c", "trap '' XFSZ; exec prlimit \"--fsize=$0:\" \"$@\""]);
    command.arg(bytes.to_string()).arg(program.get_program()).args(program.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn rounds(address: &str) -> u32 {
    let page = get(address, "/metrics");
    let line = page.lines().find(|line| line.starts_with("registry_prober_rounds_total{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// How often the journal says each thing, and how many lines say nothing.
fn said(text: &str) -> (BTreeMap<String, u32>, u32) {
    let (mut said, mut nothing) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            nothing += 1;
            continue;
        };
        let what = [&event["event"], &event["finding"], &event["backend"], &event["confidence"]];
        *said.entry(what.map(|it| it.as_str().unwrap_or_default()).join(" ")).or_default() += 1;
    }
    (said, nothing)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_for_a_while_costs_the_journal_nothing_and_is_said_once() {
    let bench = bench();
    let arguments = arguments(&bench);
    let path = bench.path.with_file_name("journal.jsonl");
    let mut daemon = Running::of(cramped(&arguments, 300));
    let address = daemon.log("listening")["address"].as_str().unwrap().to_owned();
    let warning = daemon.log("the journal cannot be written; changes wait in memory");
    assert!(warning["error"].as_str().unwrap().contains(path.to_str().unwrap()), "{warning}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 300, "a line was cut off");
    let before = rounds(&address);
    while rounds(&address) < before + 2 {
        std::thread::yield_now();
    }

    let unlimited = ["--fsize=unlimited", "--pid", &daemon.id().to_string()].map(str::to_owned);
    assert!(Command::new("prlimit").args(unlimited).status().unwrap().success());
    let over = daemon.log("the journal can be written again");
    assert_eq!(over["lost"], 0);
    bench.cluster.set_faults(Vec::new()).unwrap();
    // On a busy machine another finding may come and go.
    while daemon.log("a finding cleared")["finding"] != "token-key-mismatch" {}
    // The round that cleared it may be counted before its lines are written; the next one is not.
    let before = rounds(&address);
    while rounds(&address) < before + 2 {
        std::thread::yield_now();
    }
    daemon.signal("KILL");
    daemon.ended();
    let times = |word: &str| daemon.seen.iter().filter(|line| line.contains(word)).count();
    assert_eq!(times("the journal cannot be written"), 1);
    assert_eq!(times("the journal can be written again"), 1);

    let (said, nothing) = said(&fs::read_to_string(&path).unwrap());
    assert_eq!(nothing, 1, "the line that was cut off, and no other");
    // On a busy machine a round may see less than the one before, which is another line.
    assert!(said.contains_key("finding_opened token-key-mismatch  proved"), "{said:?}");
    assert_eq!(said.get("finding_closed token-key-mismatch  "), Some(&1), "{said:?}");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let different: std::collections::BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(different.len(), lines.len(), "nothing is written twice: {text}");
    for backend in ["a", "b"] {
        assert!(said.contains_key(&format!("key_seen  {backend} ")), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_one_journal_is_told_so_until_the_first_is_gone() {
    let bench = bench();
    let arguments = arguments(&bench);
    let path = bench.path.with_file_name("journal.jsonl");
    let mut first = Running::start(&arguments);
    first.log("listening");

    let second = run(&arguments);
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains(path.to_str().unwrap()), "{second:?}");
    assert!(second.stderr.contains("another registry-prober writes to it"), "{second:?}");

    first.signal("KILL");
    first.ended();
    let mut third = Running::start(&arguments);
    third.log("listening");
}

//! Clocks that are known to be wrong: nginx under faketime, near and far, drifting and stepped.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use registry_prober::clock::Clock;
use registry_prober::config::{Backend, BackendSource, HostPort, PublicUrl, Registry, Scheme};
use registry_prober::model::{BackendName, ClockReading, ClockSource, RegistryName, Round};
use registry_prober::probe::Prober;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::process::{Process, command};
use crate::support::prober;

/// The library that fakes the time, where Debian puts it; `None` with a word about it if it is
/// not there and not required.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").expect("libraries").filter_map(Result::ok);
    let place = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    let found = folders.map(|folder| place(folder.path())).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "apt-get install faketime nginx-light");
        println!("skipped: libfaketime is not installed (apt-get install faketime)");
    }
    found
}

/// An nginx whose clock is as `FAKETIME` says, or as a file says that may change.
async fn node(folder: &Path, name: &str, library: &Path, time: Time<'_>) -> (Process, SocketAddr) {
    let own = folder.join(name);
    fs::create_dir_all(&own).unwrap();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    Process::listening(folder, name, |address| {
        let text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\n\
             env FAKETIME;\nenv FAKETIME_TIMESTAMP_FILE;\nenv FAKETIME_NO_CACHE;\n\
             env LD_PRELOAD;\nenv FAKETIME_DONT_FAKE_MONOTONIC;\nenv DONT_FAKE_MONOTONIC;\n\
             events {{ worker_connections 512; }}\n\
             http {{\naccess_log off;\n{temporary}\n\
             server {{ listen {address}; location / {{ return 404; }} }}\n}}\n"
        );
        fs::write(own.join("nginx.conf"), text).unwrap();
        let mut command = command("nginx");
        command.arg("-p").arg(&own).args(["-e", "stderr", "-c", "nginx.conf"]);
        command.env("LD_PRELOAD", library).env("DONT_FAKE_MONOTONIC", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        match time {
            Time::Fixed(text) => command.env("FAKETIME", text),
            Time::File(file) => {
                command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1")
            }
        };
        command
    })
    .await
}

#[derive(Clone, Copy)]
enum Time<'a> {
    Fixed(&'a str),
    File(&'a Path),
}

/// A relay that delays each way.
async fn relay(to: SocketAddr, there: Duration, back: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(to).await else { continue };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(delayed(from_client, to_server, there));
            tokio::spawn(delayed(from_server, to_client, back));
        }
    });
    address
}

async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    by: Duration,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 || sender.send((Instant::now() + by, buffer[..read].to_vec())).is_err() {
            return Ok(());
        }
    }
}

/// A registry of these backends, which tell nothing but their time.
struct Site {
    backends: Vec<Backend>,
    prober: Prober,
}

impl Site {
    fn new(nodes: &[(String, SocketAddr)]) -> Self {
        registry_prober::transport::install_crypto_provider();
        let backend = |(name, address): &(String, SocketAddr)| Backend {
            name: BackendName::parse(name).unwrap(),
            scheme: Scheme::Http,
            address: HostPort::parse(&address.to_string(), 80).unwrap(),
            ready: true,
        };
        let backends: Vec<Backend> = nodes.iter().map(backend).collect();
        let name = RegistryName::parse("clocks").unwrap();
        let url = PublicUrl::parse("http://hub.invalid").unwrap();
        let mut registry = Registry::new(name, url, BackendSource::Static(backends.clone()));
        registry.balancer.address = backends.first().map(|backend| backend.address.clone());
        registry.balancer.samples = 0;
        Self { backends, prober: prober(&Arc::new(registry)) }
    }

    async fn round(&mut self) -> Round {
        let deadline = Instant::now() + Duration::from_secs(13);
        self.prober.round(&self.backends, Clock::read(), deadline, &|_| {}).await
    }
}

fn reading<'a>(round: &'a Round, name: &str) -> &'a ClockReading {
    let mut clocks = round.clocks.iter();
    let found = clocks.find(|it| it.backend.as_str() == name && it.source == ClockSource::Date);
    found.unwrap_or_else(|| panic!("no clock of {name}: {round:?}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const OFFSETS: [f64; 9] = [0.0, 0.05, -0.05, 0.3, -0.3, 3.0, -3.0, 90.0, -90.0];
const LATER_ROUNDS: usize = 6;
const TRIES: u32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn known_offsets_of_real_servers_lie_inside_and_near_the_middle() {
    let Some(library) = faketime() else { return };
    let folder = TempDir::new().unwrap();
    let (mut processes, mut nodes, mut truths) = (Vec::new(), Vec::new(), Vec::new());
    let far = Duration::from_millis(20);
    for (index, offset) in OFFSETS.iter().enumerate() {
        let time = format!("{offset:+}");
        let node = node(folder.path(), &format!("n{index}"), &library, Time::Fixed(&time)).await;
        nodes.push((format!("near{index}"), node.1));
        nodes.push((format!("far{index}"), relay(node.1, far, far).await));
        truths.extend([(*offset, 0.0), (*offset, 0.0)]);
        processes.push(node.0);
    }
    let before = Instant::now();
    let drifting = node(folder.path(), "drift", &library, Time::Fixed("+0.2 x1.0001")).await;
    let began = before + before.elapsed() / 2;
    nodes.push(("drifting".to_owned(), drifting.1));
    truths.push((0.2, 1e-4));
    processes.push(drifting.0);
    let ms = Duration::from_millis;
    nodes.push(("askew".to_owned(), relay(nodes[0].1, ms(12), ms(28)).await));
    truths.push((0.0, 0.0));

    // A busy machine sends late, which makes intervals wide and never wrong: it is asked again, and
    // how exact it gets is printed and not demanded. That the truth lies inside is, every time.
    let tries = 1..=TRIES;
    for number in tries {
        match measure(&nodes, &truths, began).await {
            Ok(()) => break,
            Err(why) => println!("try {number}: {why}"),
        }
    }
}

/// Whether the clocks are known as exactly as is promised; that the truth lies inside is demanded.
async fn measure(
    nodes: &[(String, SocketAddr)],
    truths: &[(f64, f64)],
    began: Instant,
) -> Result<(), String> {
    let mut site = Site::new(nodes);
    let (mut first_widths, mut later_widths) = (Vec::new(), Vec::new());
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); nodes.len()];
    let mut rows: Vec<String> = Vec::new();
    for number in 0..=LATER_ROUNDS {
        let round = site.round().await;
        for (index, ((name, _), (offset, drift))) in nodes.iter().zip(truths).enumerate() {
            let reading = reading(&round, name);
            let truth = offset + drift * began.elapsed().as_secs_f64();
            let (interval, error) = (reading.interval, reading.interval.middle() - truth);
            let round_trip = reading.round_trip_seconds.expect("kept connections");
            // The start of the drifting clock is known to some hundredths of a millisecond.
            let slack = drift * 0.5;
            let inside = interval.lower() - slack <= truth && truth <= interval.upper() + slack;
            assert!(inside, "{name} in round {number}: {truth} {reading:?}");
            assert!(!reading.contradiction, "{name}: {reading:?}");
            if number == 0 {
                first_widths.push(interval.width() - 2.0 * round_trip);
                rows.push(format!(
                    "| {name} | {offset:+} | {:+.5} | {:+.2} | {:.2} | {:.2} | {} |",
                    interval.middle(),
                    error * 1e3,
                    interval.width() * 1e3,
                    round_trip * 1e3,
                    reading.samples
                ));
            } else {
                errors[index].push(error.abs() * 1e3);
                if name.starts_with("near") {
                    later_widths.push(interval.width() * 1e3);
                }
            }
            if number == LATER_ROUNDS {
                let (width, samples) = (interval.width() * 1e3, reading.samples);
                let middle = median(errors[index].clone());
                let _ = write!(rows[index], " {middle:.3} | {width:.2} | {samples} |");
            }
        }
    }
    println!(
        "| node | offset s | first round | error ms | width ms | least round trip ms | samples | \
         later: median error ms | width ms | samples |\n{}",
        rows.join("\n")
    );
    let of = |kind: &str| -> Vec<f64> {
        let them = nodes.iter().zip(&errors).filter(|((name, _), _)| name.starts_with(kind));
        them.flat_map(|(_, errors)| errors.iter().copied()).collect()
    };
    // On a busy machine answers are late, and the intervals wide by as much.
    let slow = median(later_widths) / 5.0;
    for (what, value, most) in [
        ("median error nearby, ms", median(of("near")), slow.max(0.2)),
        ("median error 40 ms away, ms", median(of("far")), 4.0),
        ("error where the ways differ by 16 ms, ms", (median(of("askew")) - 8.0).abs(), 4.0),
        ("first width beyond two round trips, s", median(first_widths), 0.010),
    ] {
        println!("{what}: {value:.4}");
        if value > most {
            return Err(format!("{what}: {value}, at most {most} is promised"));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_between_or_within_rounds_is_found_with_its_step() {
    let Some(library) = faketime() else { return };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("time");
    let set = |offset: f64| {
        // Renamed into place, so that nginx never reads half of it.
        let new = folder.path().join("new");
        fs::write(&new, format!("{offset:+.4}\n")).unwrap();
        fs::rename(&new, &file).unwrap();
    };
    set(0.37);
    let (_process, address) = node(folder.path(), "a", &library, Time::File(&file)).await;
    let mut site = Site::new(&[("a".to_owned(), address)]);
    site.round().await;
    site.round().await;
    let mut offset = 0.37;
    for step in [0.005, -0.010, 0.050, 0.3, -1.0, 3.0] {
        offset += step;
        set(offset);
        let round = site.round().await;
        let stepped = reading(&round, "a");
        println!(
            "step of {step:+} s: {:?} {:?} {:?}",
            stepped.status, stepped.step, stepped.interval
        );
        assert!(stepped.interval.contains(offset), "{offset}: {stepped:?}");
        if let Some(found) = stepped.step {
            assert!(found.contains(step) && !found.contains(0.0), "{step}: {stepped:?}");
        } else {
            // A step smaller than the intervals on a busy machine cannot be seen.
            let wide = stepped.interval.width() > step.abs() / 2.0;
            assert!(step.abs() < 0.05 || wide, "{step}: {stepped:?}");
        }
        let round = site.round().await;
        let after = reading(&round, "a");
        assert!(after.interval.contains(offset), "{after:?}");
    }
    for step in [1.0, -1.0] {
        let turn = async {
            sleep(Duration::from_millis(1_300)).await;
            set(offset + step);
        };
        let (round, ()) = tokio::join!(site.round(), turn);
        let torn = reading(&round, "a");
        println!(
            "step of {step:+} s in mid-round: {:?} {:?} {:?}",
            torn.status, torn.step, torn.interval
        );
        let both = torn.interval.contains(offset) && torn.interval.contains(offset + step);
        // The round may have had its last answer before, or its first after.
        // Set within a round, the clock may leave an interval that misses both truths a little.
        let near = |truth: f64| {
            torn.interval.lower() - 0.003 <= truth && truth <= torn.interval.upper() + 0.003
        };
        let one = near(offset) || near(offset + step);
        assert!(torn.contradiction && both || one, "{torn:?}");
        offset += step;
        let round = site.round().await;
        let after = reading(&round, "a");
        assert!(after.interval.contains(offset), "{after:?}");
    }
}

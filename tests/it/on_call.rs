//! `check` for who was just paged: what to know first, watching the repair, an account that is there
//! already.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry_prober::lab::{Options, Scenario};
use tempfile::TempDir;

use crate::support::Bench;
use crate::support::program::{Running, ended, program, run};

fn bench(scenario: &str) -> Bench {
    Bench::start(&Scenario::named(scenario).unwrap(), &Options::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn verdict_users_cause_and_first_step_stand_in_the_first_ten_lines_and_the_rest_needs_v() {
    let bench = bench("token-key-mismatch-odd-one");
    let file = format!("--config.file={}", bench.path.display());
    let brief = run(&["check", &file]).stdout;
    let first: Vec<&str> = brief.lines().take(10).collect();
    let first = first.join("\n");
    for word in ["CRITICAL", "token-key-mismatch", "Users ", "Cause ", "Do first"] {
        assert!(first.contains(word), "{word}: {brief}");
    }
    let c = bench.cluster.nodes()[2].address.port();
    assert!(brief.contains(&format!("$19==\"{c}\"")), "the node's own address: {brief}");
    let prose = brief.lines().filter(|line| !line.contains("sudo") && !line.contains("kubectl"));
    for line in prose {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!brief.contains("To confirm") && brief.contains("-v prints"), "{brief}");
    let all = run(&["check", &file, "-v"]).stdout;
    assert!(all.contains("To confirm") && all.contains("Clocks"), "{all}");
    assert!(all.lines().count() > brief.lines().count() + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_registry_that_is_well_v_shows_what_was_measured_and_trace_what_was_considered() {
    let bench = bench("healthy");
    let file = format!("--config.file={}", bench.path.display());
    let said = run(&["check", &file, "--trace"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for word in ["Routes  ", "Matrix  ", "Clocks  ", "Keys  ", "Load balancer", "Checks  "] {
        assert!(said.stdout.contains(word), "{word}: {}", said.stdout);
    }
    for words in ["found only what a healthy registry", "Signing keys: token-key-mismatch"] {
        let text = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{words}: {}", said.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_until_ok_says_what_changes_and_ends_when_the_registry_is_well() {
    let bench = bench("authorization-header-dropped");
    let file = format!("--config.file={}", bench.path.display());
    let mut check = program(&["check", &file, "--until-ok", "--watch=100ms"]);
    check.env("COLUMNS", "300");
    let mut watching = Running::of(check);
    watching.line(|line| line.contains("  CRITICAL  lab: authorization-header-dropped"));
    bench.cluster.set_faults(Vec::new()).unwrap();
    watching.line(|line| line.contains("gone: authorization-header-dropped"));
    let (status, _) = watching.ended();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_docker_login_is_used_where_none_is_named_and_said_to_be() {
    let bench = bench("healthy");
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, bench.cluster.ca_pem()).unwrap();
    let login = bench.cluster.login();
    let url = bench.cluster.public_url();
    let host = url.strip_prefix("https://").unwrap();
    let auth = STANDARD.encode(format!("{}:{}", login.username, login.password));
    let config = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}");
    fs::write(folder.path().join("config.json"), config).unwrap();
    let check = |target: &str, more: &[&str]| {
        let mut command = program(&["check", target, "--samples=2"]);
        command.arg(format!("--ca-file={}", ca.display()));
        command.arg(format!("--balancer-address={}", bench.cluster.balancer()));
        for node in bench.cluster.nodes() {
            command.arg(format!("--backend={}={}", node.name, node.address));
        }
        ended(command.args(more).env("DOCKER_CONFIG", folder.path()))
    };
    let with = check(&url, &[]);
    assert_eq!(with.code, Some(0), "{with:?}");
    let said = format!("Using the account {} from ", login.username);
    assert!(with.stderr.contains(&said), "{with:?}");
    assert!(!format!("{with:?}").contains(&login.password), "{with:?}");

    let without = check(&url, &["--anonymous"]);
    assert_eq!((without.code, without.stderr.as_str()), (Some(3), ""), "{without:?}");
    assert!(without.stdout.contains("no credentials"), "{without:?}");

    let plain = check(host, &[]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert!(plain.stderr.contains(&format!("{host} is taken as https://{host}")), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_for_https_and_a_wrong_port_are_said_first() {
    let bench = bench("healthy");
    let at = bench.cluster.nodes()[0].address.to_string();
    let check = |url: &str, at: &str| {
        let arguments = [
            "check",
            url,
            &format!("--backend=a={at}"),
            &format!("--balancer-address={at}"),
            "--samples=2",
            "--anonymous",
        ];
        let said = run(&arguments).stdout;
        let first = said.lines().take(3).collect::<Vec<_>>().join(" ");
        first.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let plain = check("http://hub.lab.invalid", &at);
    assert!(plain.contains("a different protocol than the URL says"), "{plain}");
    // A port that was free a moment ago.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = socket.local_addr().unwrap().to_string();
    drop(socket);
    let wrong = check("https://hub.lab.invalid:444", &free);
    assert!(wrong.contains("nothing listens at the port of any route"), "{wrong}");
}

#[test]
fn shells_and_man_have_their_files() {
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef registry-prober")] {
        let text = run(&["completions", shell]).stdout;
        assert!(text.contains(word) && text.contains("until-ok"), "{shell}");
    }
    let page = run(&["man", "check"]);
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(
        page.stdout.contains(".TH registry\\-prober\\-check 1")
            || page.stdout.contains(".TH registry-prober-check 1"),
        "{}",
        page.stdout
    );
    assert!(page.stdout.contains("until"), "{}", page.stdout);
    let unknown = run(&["man", "chek"]);
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
}

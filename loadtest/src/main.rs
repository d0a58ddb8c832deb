//! `tollgate-loadtest`: the command line of the load test. What its other commands do is in `also`.

mod also;

use std::{
    env,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use also::Also;
use clap::{Args, Parser};
use tollgate_loadtest::{
    generator::Target,
    run::{Against, Options, run},
    scenario::Scenario,
    screen::{Screen, result},
};

/// The promises held and the objectives were met.
const PASSED: u8 = 0;
/// They did not, or were not.
const FAILED: u8 = 1;
/// It could not be run.
const NOT_RUN: u8 = 2;

/// Plays Stripe to Tollgate nodes, measures them, and audits every answer.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "With --target, STRIPE_WEBHOOK_SECRET has the signing secret (of requests, and after a comma \
    that of other events), and TOLLGATE_ADMIN_TOKEN the token of the admin API."
)]
struct Arguments {
    #[command(subcommand)]
    also: Option<Also>,
    #[command(flatten)]
    run: RunArguments,
}

/// A load test.
#[derive(Args)]
struct RunArguments {
    /// smoke, steady, spike, ramp, saturation, hot-card, cold-cards, duplicates, bad-signatures, lifecycle,
    /// over-the-api, node-kill, rolling-restart, database-failover, database-silent, database-behind, database-split,
    /// database-failovers, patroni, slow-disk, overload, soak, half-load, or the path of a .toml file
    #[arg(default_value = "smoke")]
    scenario: String,
    /// Webhook URLs of the nodes; the path is /webhook if none is given
    #[arg(long, value_name = "URL", num_args = 1.., conflicts_with = "local")]
    target: Vec<String>,
    /// Admin URLs of the nodes, to compare the ledger at the end
    #[arg(long, value_name = "URL", num_args = 1.., requires = "target")]
    admin: Vec<String>,
    /// Start this many nodes on this machine, up to 64 [default: 1]
    #[arg(long, value_name = "NODES", value_parser = counted)]
    local: Option<usize>,
    /// Requests per second at rate 1 of the scenario
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Seconds of load
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Number of cards
    #[arg(long)]
    cards: Option<usize>,
    /// The random seed
    #[arg(long)]
    seed: Option<u64>,
    /// Number of runs, up to 64
    #[arg(long, default_value_t = 1, value_parser = counted)]
    repeats: usize,
    /// Directory for record.json, report.html, latency.hlog, and the files of local nodes
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// The program of local nodes [default: the tollgate beside this program]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The program that local nodes start with, to rehearse an upgrade: each node that the scenario stops is restarted
    /// with the program above
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    upgrade_from: Option<PathBuf>,
    /// Confirm sending load to other machines
    #[arg(long)]
    i_own_this_target: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(also) = &arguments.also {
        return also::run(also).map_or_else(|cause| refuse(&cause), |()| ExitCode::from(PASSED));
    }
    let options = match options(arguments.run) {
        Ok(options) => options,
        Err(cause) => return refuse(&cause),
    };
    let screen = Screen::default();
    let ran = run(&options, |progress| screen.show(progress));
    screen.done();
    match ran {
        Ok(record) => {
            let [record_at, report_at] =
                ["record.json", "report.html"].map(|name| options.directory.join(name));
            let (record_at, report_at) = (record_at.display(), report_at.display());
            let _ = writeln!(io::stdout(), "{}record: {record_at}\nreport: {report_at}", result(&record));
            ExitCode::from(if record.verdict.passed { PASSED } else { FAILED })
        }
        Err(cause) => refuse(&cause.to_string()),
    }
}

fn refuse(cause: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "tollgate-loadtest: {cause}");
    ExitCode::from(NOT_RUN)
}

/// What the command line asks for, or what is wrong with it.
fn options(arguments: RunArguments) -> Result<Options, String> {
    let command: Vec<String> = env::args().skip(1).collect();
    let mut scenario = Scenario::load(&arguments.scenario).map_err(|cause| cause.to_string())?;
    scenario.rate = arguments.rate.unwrap_or(scenario.rate);
    scenario.duration_s = arguments.duration.unwrap_or(scenario.duration_s);
    scenario.cards = arguments.cards.unwrap_or(scenario.cards);
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    scenario.check()?;
    let directory = arguments.out.unwrap_or_else(|| PathBuf::from("target/loadtest").join(&scenario.name));
    let against = if arguments.target.is_empty() {
        Against::Local {
            count: arguments.local.unwrap_or(1),
            binary: arguments.binary.unwrap_or_else(beside),
            upgrade_from: arguments.upgrade_from,
        }
    } else {
        let places = |urls: &[String]| -> Result<Vec<Target>, String> {
            urls.iter().map(|url| target(url, arguments.i_own_this_target)).collect()
        };
        let secret = setting("STRIPE_WEBHOOK_SECRET");
        Against::There {
            targets: places(&arguments.target)?,
            admins: places(&arguments.admin)?.iter().map(|place| place.address).collect(),
            token: setting("TOLLGATE_ADMIN_TOKEN"),
            secrets: secret
                .ok_or("expected the signing secret of --target in STRIPE_WEBHOOK_SECRET, found nothing")?,
        }
    };
    let command = format!("./loadtest/run.sh {}", command.join(" "));
    Ok(Options { scenario, against, repeats: arguments.repeats, directory, command })
}

/// Nodes, or repeats.
fn counted(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(|| "expected 1 to 64".to_owned())
}

/// The program of a node that was built with this one.
fn beside() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join("tollgate")));
    beside.unwrap_or_else(|| PathBuf::from("tollgate"))
}

#[allow(clippy::disallowed_methods, reason = "this is the edge where the environment is read")]
fn setting(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads a URL. A machine that is not this one needs a word that it may be loaded.
fn target(url: &str, is_owned: bool) -> Result<Target, String> {
    const HTTP_PORT: u16 = 80;
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        format!("expected a URL that begins with http://, found {url}: TLS is not supported here; go to the node itself, \
            or to what is behind the proxy that speaks it")
    })?;
    let (host, path) = rest.find('/').map_or((rest, "/webhook"), |at| rest.split_at(at));
    let path = if path == "/" { "/webhook" } else { path };
    let unknown = |cause: String| format!("expected a host and perhaps a port in {url}: {cause}");
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let named = if has_port { host.to_owned() } else { format!("{host}:{HTTP_PORT}") };
    let mut addresses = named.to_socket_addrs().map_err(|cause| unknown(cause.to_string()))?;
    let address: SocketAddr = addresses.next().ok_or_else(|| unknown("no address".to_owned()))?;
    if !is_loopback(address.ip()) && !is_owned {
        return Err(format!(
            "{url} is not on this machine: a load test is an attack unless its target is yours; say --i-own-this-target if it is"
        ));
    }
    Ok(Target { address, host: host.to_owned(), path: path.to_owned() })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_test_has_a_node_and_a_run() {
        let check = |argument: &str, is_right: bool| {
            let read = Arguments::try_parse_from(["tollgate-loadtest", "smoke", argument]);
            let cause = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_eq!((read.is_ok(), cause.contains("expected 1 to 64")), (is_right, !is_right), "{cause}");
        };
        for name in ["local", "repeats"] {
            for (count, is_right) in [("1", true), ("64", true), ("0", false), ("65", false), ("many", false)]
            {
                check(&format!("--{name}={count}"), is_right);
            }
        }
    }

    #[test]
    fn only_this_machine_is_loaded_unasked() {
        let here = target("http://127.0.0.1:4242", false).unwrap();
        assert_eq!((here.host.as_str(), here.path.as_str()), ("127.0.0.1:4242", "/webhook"));
        assert_eq!(target("http://[::1]:4242/other", false).unwrap().path, "/other");
        let cause = target("http://192.0.2.1:4242", false).unwrap_err();
        assert!(cause.contains("--i-own-this-target"), "{cause}");
        assert_eq!(target("http://192.0.2.1", true).unwrap().address.port(), 80);
        let cause = target("https://127.0.0.1", false).unwrap_err();
        assert!(cause.starts_with("expected a URL that begins with http://"), "{cause}");
    }
}

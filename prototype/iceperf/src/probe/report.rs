//! Verdicts of the prober for people, and as one JSON document.

use super::Run;
use ice::behaviour::{Found, Lifetime, PortAssignment, Report};
use serde::Serialize;
use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

#[derive(Serialize)]
struct Document<'a> {
    probe: &'static str,
    version: &'static str,
    interfaces: Vec<One<'a>>,
}

/// One interface and family.
#[derive(Serialize)]
struct One<'a> {
    interface: &'a str,
    family: &'static str,
    address: IpAddr,
    server: Option<SocketAddr>,
    rtt_ms: Option<f64>,
    local: Option<SocketAddr>,
    mapped: Option<SocketAddr>,
    nat: Finding<bool>,
    mapping: Finding<String>,
    filtering: Finding<String>,
    ports: Finding<String>,
    port_samples: Vec<[u16; 2]>,
    hairpinning: Finding<String>,
    lifetime: Finding<LifetimeMs>,
}

#[derive(Serialize)]
struct Finding<T> {
    status: &'static str,
    verdict: Option<T>,
    why: Option<String>,
}

#[derive(Serialize)]
struct LifetimeMs {
    at_least_ms: f64,
    below_ms: Option<f64>,
}

pub(super) fn print(runs: &[Run], json: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if json {
        let interfaces = runs.iter().map(one).collect();
        let document = Document { probe: "nat", version: env!("CARGO_PKG_VERSION"), interfaces };
        serde_json::to_writer_pretty(&mut output, &document)?;
        output.write_all(b"\n")?;
    } else {
        for run in runs {
            output.write_all(text(&run.interface, run.address, run.prober.report()).as_bytes())?;
        }
    }
    output.flush()
}

fn one(run: &Run) -> One<'_> {
    let report = run.prober.report();
    One {
        interface: &run.interface,
        family: family(run.address),
        address: run.address,
        server: report.server,
        rtt_ms: report.rtt.map(ms),
        local: report.local,
        mapped: report.mapped,
        nat: finding(report.nat, |is| is),
        mapping: finding(report.mapping, |is| is.to_string()),
        filtering: finding(report.filtering, |is| is.to_string()),
        ports: finding(report.ports, |is| is.to_string()),
        port_samples: report.samples.iter().map(|one| [one.inside.port(), one.outside.port()]).collect(),
        hairpinning: finding(report.hairpinning, |is| is.to_string()),
        lifetime: finding(report.lifetime, |Lifetime { at_least, below }| LifetimeMs {
            at_least_ms: ms(at_least),
            below_ms: below.map(ms),
        }),
    }
}

fn finding<T: Copy, U>(found: Found<T>, tell: impl FnOnce(T) -> U) -> Finding<U> {
    let status = match found {
        Found::Is(_) => "found",
        Found::DoesNotApply(_) => "not-applicable",
        Found::Pending | Found::Inconclusive(_) => "inconclusive",
    };
    Finding { status, verdict: found.verdict().map(tell), why: found.why().map(|why| why.to_string()) }
}

fn text(interface: &str, address: IpAddr, report: &Report) -> String {
    let mut text = format!("{interface}, {} {address}", family(address));
    if let (Some(server), Some(rtt)) = (report.server, report.rtt) {
        let _ = write!(text, ", asked {server} (RTT {:.1} ms)", ms(rtt));
    }
    let mut line = |name: &str, what: String| {
        let _ = write!(text, "\n  {name:<12} {what}");
    };
    let outside = match (report.local, report.mapped) {
        (Some(local), Some(mapped)) => format!(": {local} is {mapped} outside"),
        _ => String::new(),
    };
    line("NAT", tell(report.nat, |is| if is { format!("yes{outside}") } else { "no".to_owned() }));
    line("mapping", tell(report.mapping, |is| is.to_string()));
    line("filtering", tell(report.filtering, |is| is.to_string()));
    let kept = report.samples.iter().filter(|one| one.inside.port() == one.outside.port()).count();
    line(
        "ports",
        tell(report.ports, |is| match is {
            PortAssignment::Preserved => format!("{is}: {kept} of {}", report.samples.len()),
            PortAssignment::Sequential { step } => format!("{is}: {step:+} each time"),
            PortAssignment::Random => is.to_string(),
        }),
    );
    line("hairpinning", tell(report.hairpinning, |is| is.to_string()));
    line("lifetime", tell(report.lifetime, lifetime));
    text.push('\n');
    text
}

fn tell<T: Copy>(found: Found<T>, words: impl FnOnce(T) -> String) -> String {
    let because = |word: &str, why: &dyn Display| format!("{word}: {why}");
    match found {
        Found::Is(is) => words(is),
        Found::DoesNotApply(why) => because("does not apply", &why),
        Found::Inconclusive(why) => because("inconclusive", &why),
        Found::Pending => "not looked for".to_owned(),
    }
}

fn lifetime(Lifetime { at_least, below }: Lifetime) -> String {
    match below {
        Some(below) => {
            format!("{:.0} to {:.0} s", at_least.as_secs_f64().floor(), below.as_secs_f64().ceil())
        }
        None => format!("{:.0} s at least", at_least.as_secs_f64().floor()),
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice::behaviour::{Dependence, Filtering, Sample, Why};

    #[test]
    fn people_read_verdicts_and_reasons() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let report = Report {
            server: Some(at("198.51.100.1:3478")),
            local: Some(at("192.168.1.2:40000")),
            mapped: Some(at("203.0.113.1:40000")),
            rtt: Some(Duration::from_micros(40_120)),
            nat: Found::Is(true),
            mapping: Found::Is(Dependence::EndpointIndependent),
            filtering: Found::Is(Filtering::Tied(Dependence::AddressAndPortDependent)),
            ports: Found::Is(PortAssignment::Preserved),
            samples: vec![Sample { inside: at("192.168.1.2:7"), outside: at("203.0.113.1:7") }],
            hairpinning: Found::Inconclusive(Why::PathFailed),
            lifetime: Found::Is(Lifetime {
                at_least: Duration::from_millis(28_900),
                below: Some(Duration::from_secs(31)),
            }),
        };
        let expected = "\
wlan0, IPv4 192.168.1.2, asked 198.51.100.1:3478 (RTT 40.1 ms)
  NAT          yes: 192.168.1.2:40000 is 203.0.113.1:40000 outside
  mapping      endpoint-independent
  filtering    address-and-port-dependent
  ports        preserved: 1 of 1
  hairpinning  inconclusive: the path failed while it was being looked at
  lifetime     28 to 31 s
";
        assert_eq!(text("wlan0", "192.168.1.2".parse().unwrap(), &report), expected);
    }
}

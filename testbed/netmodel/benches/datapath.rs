//! What the model costs: packets a second on one core in virtual time, and bytes of bookkeeping for each packet that
//! waits. Fails when a bound is broken. `cargo bench -p netmodel`
#![expect(unsafe_code, reason = "an allocator that counts can only be written so")]
#![expect(clippy::disallowed_methods, reason = "a bench is measured by the clock")]

use netmodel::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::SocketAddr,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Packets a second through a link and a NAT.
const LEAST_RATE: f64 = 200_000.0;
/// Bytes besides the packet's own.
const MOST_BOOKKEEPING: f64 = 100.0;

const SIZE: usize = 1200;
/// Virtual time between two packets: 200 Mbit/s.
const GAP: Duration = Duration::from_micros(48);

fn main() -> ExitCode {
    let mut ok = true;
    println!("packets a second on one core, {SIZE} bytes, virtual time");
    for (name, network, bound) in cases() {
        let rate = throughput(network);
        println!("  {name:<34} {rate:>10.0}{}", verdict(rate >= bound, &mut ok));
    }
    println!("bytes of bookkeeping for a packet that waits (at most {MOST_BOOKKEEPING})");
    for (name, link) in [("in flight", in_flight()), ("in a queue", queued())] {
        for count in [1_000, 9_000, 20_000, 32_000] {
            let bytes = bookkeeping(link.clone(), count);
            println!(
                "  {name:<18} {count:>6} packets {bytes:>9.1}{}",
                verdict(bytes <= MOST_BOOKKEEPING, &mut ok)
            );
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn verdict(holds: bool, all: &mut bool) -> &'static str {
    *all &= holds;
    if holds { "" } else { "  BOUND BROKEN" }
}

fn cases() -> [(&'static str, NetworkSpec, f64); 5] {
    let delay = LinkSpec::with_delay(Duration::from_millis(20));
    let rate = LinkSpec { rate: BitRate::per_second(300_000_000), ..delay.clone() };
    let chance = |percent| Probability::percent(percent).expect("a percentage");
    let everything = LinkSpec {
        jitter: Duration::from_millis(3),
        jitter_distribution: JitterDistribution::Normal,
        discipline: QueueDiscipline::CoDel(CoDelSpec::default()),
        loss: Loss::Independent(chance(0.1)),
        duplicate: chance(0.1),
        reorder: Some(Reorder { probability: chance(0.1), by: Duration::from_millis(2) }),
        ..rate.clone()
    };
    let trace =
        Channel::steady(BitRate::per_second(300_000_000).expect("a rate")).trace(1, Duration::from_secs(9));
    let traced = LinkSpec { trace: Some(trace.expect("a trace")), ..delay.clone() };
    let nat = |link: LinkSpec| NetworkSpec {
        nat: Some(NatSpec::new(NatKind::Home)),
        ..NetworkSpec::new("home", link)
    };
    [
        ("a link", NetworkSpec::new("home", delay.clone()), 0.0),
        ("a link and a NAT", nat(delay), LEAST_RATE),
        ("a link with a rate and a NAT", nat(rate), LEAST_RATE),
        ("a link with a trace and a NAT", nat(traced), 0.0),
        ("all impairments and a NAT", nat(everything), 0.0),
    ]
}

/// Packets a second of real time from a host to a server, in the best of five runs of a quarter of a million.
fn throughput(network: NetworkSpec) -> f64 {
    const PACKETS: u32 = 250_000;
    let plan = plan(network);
    let packet = packet(&plan);
    let run = || {
        let mut network = Network::new(&plan, 1);
        let (start, host) = (Instant::now(), plan.ports()[0].id);
        let mut arrived = 0;
        for number in 0..PACKETS {
            let now = start + GAP * number;
            network.inject(now, host, packet.clone());
            arrived += deliveries(&mut network, now);
        }
        arrived += deliveries(&mut network, start + Duration::from_secs(60));
        assert!(arrived > PACKETS / 10 * 9, "{arrived} arrived");
        f64::from(PACKETS) / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}

fn deliveries(network: &mut Network, now: Instant) -> u32 {
    let mut count = 0;
    while let Some(output) = network.poll(now) {
        count += u32::from(matches!(output, Output::Deliver { .. }));
    }
    count
}

fn in_flight() -> LinkSpec {
    LinkSpec::with_delay(Duration::from_secs(60))
}

fn queued() -> LinkSpec {
    LinkSpec { rate: BitRate::per_second(8_000), queue: ByteSize::UNBOUNDED, ..LinkSpec::default() }
}

/// What is allocated for each of so many packets that wait, besides the packet.
fn bookkeeping(link: LinkSpec, count: usize) -> f64 {
    let plan = plan(NetworkSpec::new("home", link));
    let packet = packet(&plan);
    let mut network = Network::new(&plan, 1);
    let (start, host) = (Instant::now(), plan.ports()[0].id);
    network.inject(start, host, packet.clone());
    let before = ALLOCATED.load(Ordering::Relaxed);
    for _ in 0..count {
        network.inject(start, host, packet.clone());
    }
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    assert!(network.poll(start).is_none(), "nothing is lost");
    allocated as f64 / count as f64 - packet.len() as f64
}

fn plan(network: NetworkSpec) -> Plan {
    let interface = InterfaceSpec { name: "eth0".into(), network: "home".into() };
    let host = HostSpec { name: "host".into(), interfaces: vec![interface] };
    let server = ServerSpec::new("server", Duration::ZERO);
    let topology = Topology { networks: vec![network], hosts: vec![host], servers: vec![server] };
    Plan::new(topology).expect("a sound topology")
}

fn packet(plan: &Plan) -> Vec<u8> {
    let address =
        |index: usize, port| SocketAddr::new(plan.ports()[index].ipv4.expect("IPv4").0.into(), port);
    build_udp(address(0, 4000), address(1, 3478), &[0; SIZE - 28]).expect("a datagram")
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by the system's allocator, with what was given; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

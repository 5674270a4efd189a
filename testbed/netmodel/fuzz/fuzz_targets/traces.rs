//! Whatever bytes a trace file holds, it is a trace or an error with a line; a trace survives the way to text and back,
//! and a link that it paces delivers everything.
#![cfg_attr(fuzzing, no_main)]

use libfuzzer_sys::fuzz_target;
use netmodel::{
    HostSpec, InterfaceSpec, LinkSpec, Network, NetworkSpec, Output, Plan, Topology, Trace, build_udp,
};
use std::time::{Duration, Instant};

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n').count();
    let trace = match Trace::parse(data) {
        Ok(trace) => trace,
        Err(error) => return assert!((1..=lines).contains(&error.line)),
    };
    assert_eq!(Trace::parse(trace.to_text().as_bytes()).as_ref(), Ok(&trace));
    deliver(trace);
});

fn deliver(trace: Trace) {
    const PACKETS: usize = 5;
    let round = trace.duration();
    let link = LinkSpec { trace: Some(trace), ..LinkSpec::default() };
    let interface = |name: &str| InterfaceSpec { name: name.into(), network: "n".into() };
    let host = |name: &str| HostSpec { name: name.into(), interfaces: vec![interface("eth0")] };
    let network = NetworkSpec { down: LinkSpec::default(), ..NetworkSpec::new("n", link) };
    let topology =
        Topology { networks: vec![network], hosts: vec![host("a"), host("b")], servers: Vec::new() };
    let plan = Plan::new(topology).unwrap();
    let mut network = Network::new(&plan, 1);
    let start = Instant::now();
    let address = |index: usize| (plan.ports()[index].ipv4.unwrap().0, 1).into();
    for _ in 0..PACKETS {
        network.inject(start, plan.ports()[0].id, build_udp(address(0), address(1), &[0; 900]).unwrap());
    }
    let mut arrived = 0;
    while let Some(due) = network.deadline() {
        while let Some(output) = network.poll(due) {
            let Output::Deliver { due, .. } = output else { panic!("a drop") };
            arrived += 1;
            // Each round has an opportunity, and no packet needs more than one and a beginning.
            assert!(due - start <= round * (PACKETS as u32 + 1) + Duration::from_millis(1));
        }
    }
    assert_eq!(arrived, PACKETS);
}

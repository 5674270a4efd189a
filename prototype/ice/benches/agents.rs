//! What agents cost: `cargo bench -p ice`. Ends with 1 where a bound does not hold.
//!
//! * 1,000 agents, each with 10 living pairs that are checked at the cadence of RFC 7675 (every 5 s, times 0.8 to 1.2):
//!   their share of one core. Virtual time goes by as fast as they let it; what they take for a minute of it is
//!   measured, and what carries their datagrams from one to the other is in it.
//! * Memory of one agent with 100 pairs, all of them alive.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]
#![expect(clippy::disallowed_methods, reason = "a driver: it owns time, and measures it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ice::policy::Keeping;
use ice::{Agent, Config, Credentials, LocalCandidate, Policy, RemoteCandidate, Role, SocketId, SocketInfo};

const PAIRS_OF_AGENTS: usize = 500;
const MINUTE: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_millis(20);
const MOST_SHARE: f64 = 0.10;
const MOST_BYTES: usize = 100_000;

fn main() -> ExitCode {
    let (share, checks) = share_of_a_core();
    let kept = [(Policy::multipath(), "100 ms"), (at_rfc_7675(), "5 s")]
        .map(|(policy, every)| (memory(policy), every));
    println!("| 1,000 agents with 10 pairs each, RFC 7675 | measured | bound |\n|---|---|---|");
    println!("| share of one core | {:.1} % | {:.0} % |", share * 100.0, MOST_SHARE * 100.0);
    println!("| checks answered a second | {checks:.0} | |");
    for (bytes, every) in kept {
        println!(
            "| memory of an agent with 100 pairs, checked every {every} | {} KB | {} KB |",
            bytes / 1000,
            MOST_BYTES / 1000
        );
    }
    ExitCode::from(u8::from(share > MOST_SHARE || kept.iter().any(|(bytes, _)| *bytes > MOST_BYTES)))
}

/// As RFC 7675 has it, on every pair that works.
fn at_rfc_7675() -> Policy {
    let every = Keeping::every(Duration::from_secs(5));
    Policy { active: every, idle: every, ..Policy::multipath() }
}

fn share_of_a_core() -> (f64, f64) {
    let mut couples: Vec<Couple> =
        (0..PAIRS_OF_AGENTS).map(|seed| Couple::new(seed, [2, 5], at_rfc_7675())).collect();
    couples.iter_mut().for_each(|couple| couple.run_for(MINUTE));
    let before: u64 = couples.iter().map(Couple::answered).sum();
    let begun = cpu_time();
    couples.iter_mut().for_each(|couple| couple.run_for(MINUTE));
    let share = (cpu_time() - begun).as_secs_f64() / MINUTE.as_secs_f64();
    assert!(couples.iter().all(|couple| couple.living() == [10, 10]), "every pair lives");
    let answered = couples.iter().map(Couple::answered).sum::<u64>() - before;
    (share, answered as f64 / MINUTE.as_secs_f64())
}

/// Of this thread: the machine may have other things to do.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("Linux with its scheduler's statistics");
    let nanoseconds = told.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// What one agent holds when 100 pairs have come up and have been kept for a minute.
fn memory(policy: Policy) -> usize {
    let before = HELD.load(Ordering::Relaxed);
    let mut couple = Couple::new(1, [10, 10], policy);
    couple.run_for(MINUTE);
    assert_eq!(couple.living(), [100, 100]);
    couple.flying.clear();
    couple.flying.shrink_to_fit();
    // Both are alike.
    (HELD.load(Ordering::Relaxed) - before) / 2
}

/// Two agents, and the datagrams between them.
struct Couple {
    now: Instant,
    agents: [Agent; 2],
    flying: BinaryHeap<Reverse<Datagram>>,
    number: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    receiver: usize,
    socket: SocketId,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// The last byte of an address is the socket, the one before the agent.
fn address(agent: usize, socket: usize) -> SocketAddr {
    ([10, 0, agent as u8, 1 + socket as u8], 4000).into()
}

impl Couple {
    fn new(seed: usize, sockets: [usize; 2], policy: Policy) -> Couple {
        let now = Instant::now();
        let credentials = [0, 1].map(|me| Credentials::from_entropy(&[me as u8 * 7 + 3; 32]));
        let agents = [(0, Role::Controlling), (1, Role::Controlled)].map(|(me, role)| {
            let mut config = Config::new(role, credentials[me].clone(), (2 * seed + me) as u64);
            config.policy = policy.clone();
            let mut agent = Agent::new(config);
            for socket in 0..sockets[me] {
                let local = address(me, socket);
                let info = SocketInfo {
                    interface: format!("eth{socket}"),
                    local,
                    preference: 65_535 - socket as u16,
                };
                agent.add_socket(now, SocketId(socket as u32), info);
            }
            agent
        });
        let mut couple = Couple { now, agents, flying: BinaryHeap::new(), number: 0 };
        for me in [0, 1] {
            let theirs: Vec<_> = couple.agents[1 - me].told_candidates().map(told).collect();
            theirs.into_iter().for_each(|candidate| couple.agents[me].add_remote_candidate(now, candidate));
            couple.agents[me].set_remote_credentials(now, credentials[1 - me].clone());
            couple.agents[me].start(now);
        }
        couple
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            (0..2).for_each(|me| self.drain(me));
            let packet = self.flying.peek().map(|Reverse(datagram)| datagram.due);
            let timers = self.agents.iter().filter_map(Agent::poll_timeout);
            let next = timers.chain(packet).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while self.flying.peek().is_some_and(|Reverse(first)| first.due <= self.now) {
                let Some(Reverse(datagram)) = self.flying.pop() else { break };
                let Datagram { receiver, socket, from, bytes, .. } = datagram;
                self.agents[receiver]
                    .handle_datagram(self.now, socket, from, &bytes)
                    .expect("what the other one says");
            }
            for agent in &mut self.agents {
                if agent.poll_timeout().is_some_and(|at| at <= self.now) {
                    agent.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn drain(&mut self, me: usize) {
        while let Some(transmit) = self.agents[me].poll_transmit() {
            let SocketAddr::V4(to) = transmit.to else { unreachable!("IPv4 alone") };
            let socket = SocketId(u32::from(to.ip().octets()[3]) - 1);
            self.number += 1;
            self.flying.push(Reverse(Datagram {
                due: self.now + DELAY,
                number: self.number,
                receiver: 1 - me,
                socket,
                from: address(me, transmit.socket.0 as usize),
                bytes: transmit.bytes,
            }));
        }
        while self.agents[me].poll_event().is_some() {}
    }

    fn living(&self) -> [usize; 2] {
        [0, 1].map(|me| self.agents[me].pairs().filter(|pair| pair.state.is_usable()).count())
    }

    fn answered(&self) -> u64 {
        self.agents.iter().flat_map(Agent::pairs).map(|pair| u64::from(pair.checks_answered)).sum()
    }
}

fn told(local: &LocalCandidate) -> RemoteCandidate {
    RemoteCandidate {
        kind: local.kind,
        address: local.address,
        priority: local.priority,
        foundation: local.foundation.clone(),
        interface: Some(local.interface.clone()),
    }
}

/// Bytes that are allocated now.
static HELD: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

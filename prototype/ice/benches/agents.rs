//! What agents cost: `cargo bench -p ice`. Ends with 1 where a bound does not hold.
//!
//! * 1,000 agents, each with 10 living pairs that are checked at the cadence of RFC 7675 (every 5 s, times 0.8 to 1.2):
//!   their share of one core. Virtual time goes by as fast as they let it; what they take for a minute of it is
//!   measured, and what carries their datagrams from one to the other is in it.
//! * Memory of one agent with 100 pairs, all of them alive.

#[path = "../tests/memory/counting.rs"]
mod counting;
#[path = "../tests/memory/couple.rs"]
mod couple;

use std::process::ExitCode;
use std::time::Duration;

use couple::{Couple, at_rfc_7675};
use ice::{Agent, Policy};

const PAIRS_OF_AGENTS: usize = 500;
const MINUTE: Duration = Duration::from_secs(60);
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

fn share_of_a_core() -> (f64, f64) {
    let mut couples: Vec<Couple> =
        (0..PAIRS_OF_AGENTS).map(|seed| Couple::new(seed, [2, 5], at_rfc_7675())).collect();
    couples.iter_mut().for_each(|couple| couple.run_for(MINUTE));
    let before: u64 = couples.iter().map(answered).sum();
    let begun = cpu_time();
    couples.iter_mut().for_each(|couple| couple.run_for(MINUTE));
    let share = (cpu_time() - begun).as_secs_f64() / MINUTE.as_secs_f64();
    assert!(couples.iter().all(|couple| couple.living() == [10, 10]), "every pair lives");
    let answered = couples.iter().map(answered).sum::<u64>() - before;
    (share, answered as f64 / MINUTE.as_secs_f64())
}

fn answered(couple: &Couple) -> u64 {
    couple.agents.iter().flat_map(Agent::pairs).map(|pair| u64::from(pair.checks_answered)).sum()
}

/// Of this thread: the machine may have other things to do.
fn cpu_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("Linux with its scheduler's statistics");
    let nanoseconds = told.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// What one agent holds when 100 pairs have come up and have been kept for a minute. Both are alike.
fn memory(policy: Policy) -> usize {
    let mut couple = Couple::new(1, [10, 10], policy);
    couple.run_for(MINUTE);
    assert_eq!(couple.living(), [100, 100]);
    let [agent, _] = couple.agents;
    counting::weight(agent)
}

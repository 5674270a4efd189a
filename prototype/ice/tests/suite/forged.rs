//! What strangers forge: random bytes, and the parties' own messages with something changed.

use ice::stun::{Class, Key, Message};
use ice::{Agent, Event, PairView, Rung, SocketId};
use proptest::prelude::*;

use crate::cases;
use crate::hostile::{CALL_RELAY, RELAY, STRANGER, snapshot, wild_world};
use crate::net::{A, B, address, credentials, ms};

/// Random bytes, or a message that was valid until it was changed.
#[derive(Debug, Clone)]
enum Forged {
    Bytes(Vec<u8>),
    Mutated { kind: u8, changes: Vec<(prop::sample::Index, u8)>, repair: bool },
}

fn forged() -> impl Strategy<Value = Forged> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..120).prop_map(Forged::Bytes),
        (0..4_u8, changes, any::<bool>()).prop_map(|(kind, changes, repair)| Forged::Mutated {
            kind,
            changes,
            repair
        }),
    ]
}

impl Forged {
    /// None when the changes happen to leave it as it was.
    fn datagram(&self, captured: &[Vec<u8>]) -> Option<Vec<u8>> {
        let (kind, changes, repair) = match self {
            Forged::Bytes(bytes) => return Some(bytes.clone()),
            Forged::Mutated { kind, changes, repair } => (*kind, changes, *repair),
        };
        let original = captured.get(usize::from(kind) % captured.len().max(1))?;
        let mut datagram = original.clone();
        // Not the fingerprint, which is recomputed or else catches every change at once.
        let reach = datagram.len() - 8;
        for (place, value) in changes {
            let place = place.index(reach);
            datagram[place] = *value;
        }
        let changed = datagram != *original;
        if repair {
            let fingerprint = crc32(&datagram[..reach]) ^ 0x5354_554e;
            datagram[reach + 4..].copy_from_slice(&fingerprint.to_be_bytes());
        }
        changed.then_some(datagram)
    }
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// All that an agent holds, taken apart.
struct Everything {
    pairs: Vec<PairView>,
    /// Why open requests may have been refused.
    reasons: Vec<String>,
    last_refusal: Vec<String>,
    rest: String,
}

impl Everything {
    fn of(agent: &Agent) -> Everything {
        let (reasons, rest) = taken_out(&snapshot(agent), " refused: ");
        let (last_refusal, rest) = taken_out(&rest, " last_refusal: ");
        assert_eq!(last_refusal.len(), 1, "the field is called so");
        Everything { pairs: agent.pairs().collect(), reasons, last_refusal, rest }
    }
}

/// The values of a field in a debugging output, and that without them.
fn taken_out(text: &str, field: &str) -> (Vec<String>, String) {
    let (mut values, mut rest) = (Vec::new(), String::new());
    let mut parts = text.split(field);
    rest.extend(parts.next());
    for part in parts {
        let mut depth = 0;
        let end = part.find(|c: char| {
            depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
            depth < 0 || depth == 0 && c == ','
        });
        let (value, more) = part.split_at(end.unwrap_or(part.len()));
        values.push(value.to_owned());
        rest.push_str(more);
    }
    (values, rest)
}

#[test]
fn fields_are_taken_out_of_a_debugging_output() {
    let text = "A { x: 1, refused: Some(B { c: 2, d: [3] }), y: 4, z: C { x: 5, refused: None } }";
    let (values, rest) = taken_out(text, " refused: ");
    assert_eq!(values, ["Some(B { c: 2, d: [3] })", "None "]);
    assert_eq!(rest, "A { x: 1,, y: 4, z: C { x: 5,} }");
}

proptest! {
    #![proptest_config(cases(256))]

    /// Whoever lacks the passwords can send what he likes, from where he likes, even the parties' own
    /// messages with something changed: the whole state stays as it was, to the last bit, but for what a refusal is:
    /// a request's sender may be told that it was refused, and when that was is remembered; an error in place of
    /// an answer is remembered as a possible reason, and told.
    #[test]
    fn unauthenticated_datagrams_change_nothing(silent: bool, warm_up in 0_u64..400, from in 0_usize..5,
                                                rung in prop::sample::select(Rung::ALL.to_vec()),
                                                attempts in prop::collection::vec(forged(), 1..20)) {
        let mut world = wild_world(!silent);
        let captured = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let tap = captured.clone();
        world.lose = Box::new(move |number, sender, bytes| {
            if sender == B {
                tap.borrow_mut().push(bytes.to_vec());
            }
            // Some requests of A stay unanswered, so that there is something to answer.
            number % 3 == 0
        });
        world.introduce();
        world.run_for(ms(warm_up));
        let captured = captured.borrow().clone();
        let from = address(["192.0.2.20:2000", STRANGER, RELAY, CALL_RELAY, "198.51.100.1:3478"][from]);
        let usable = world.usable(A).count() > 0;
        let mut refusals = 0;
        for attempt in &attempts {
            let Some(datagram) = attempt.datagram(&captured) else { continue };
            let authentic = Message::parse(&datagram).is_ok_and(|message| {
                [A, B].iter().any(|who| message.is_authentic(&Key::short_term(credentials(*who).pwd())))
            });
            // Changes of the padding or after the integrity leave it authentic.
            prop_assume!(!authentic);
            let mut worn = datagram.clone();
            rung.apply(&mut worn);
            let before = Everything::of(&world.agents[A]);
            let result = world.agents[A].handle_datagram(world.now, SocketId(0), from, &worn);
            let class = Message::parse(&datagram).ok().map(|message| message.class());
            prop_assert!(result.is_err() || class == Some(Class::Indication));
            let agent = &mut world.agents[A];
            let sent: Vec<_> = std::iter::from_fn(|| agent.poll_transmit()).collect();
            let told: Vec<_> = std::iter::from_fn(|| agent.poll_event()).collect();
            let after = Everything::of(agent);
            prop_assert_eq!(&after.pairs, &before.pairs);
            prop_assert_eq!(&after.rest, &before.rest);
            prop_assert!(after.reasons == before.reasons || class == Some(Class::Error));
            prop_assert!(told.is_empty() || class == Some(Class::Error) && after.reasons != before.reasons);
            let is_refusal = |event: &Event| matches!(event, Event::RemoteRefused { .. });
            prop_assert!(told.len() <= 1 && told.iter().all(is_refusal));
            prop_assert_eq!(sent.is_empty(), after.last_refusal == before.last_refusal);
            for refusal in sent {
                refusals += 1;
                prop_assert_eq!((refusal.to, class), (from, Some(Class::Request)));
                // The first socket is in disguise.
                let bytes = Rung::FirstByte.undo(&refusal.bytes).unwrap_or(refusal.bytes);
                let refusal = Message::parse(&bytes).unwrap();
                prop_assert!([Some(400), Some(401)].contains(&refusal.error_code()) && !refusal.has_integrity());
            }
        }
        // All of it came in one moment.
        prop_assert!(refusals <= usize::from(!silent && !usable));
    }
}

//! A sender and a receiver over a wire that delivers, delays and forgets as it likes.

use super::{BulkFigures, Message, Receiver, Sender, Streams, Violation, wire::Sending};
use crate::engine::Stream;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const CONGESTION_WINDOW: u64 = 20_000;
const STEP: Duration = Duration::from_millis(3);

/// An engine that never sends anything again: what was in flight when a path was lost holds its stream up for ever.
#[derive(Default)]
struct Wire {
    streams: BTreeMap<Stream, Pipe>,
    opened: u64,
}

#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    delivered: usize,
    stuck: bool,
    finished: bool,
    reset: bool,
}

impl Streams for Wire {
    fn open(&mut self) -> Option<Stream> {
        self.opened += 1;
        let stream = Stream(self.opened);
        (self.streams.len() < 30).then(|| _ = self.streams.insert(stream, Pipe::default()))?;
        Some(stream)
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        let pipe = self.streams.get_mut(&stream).expect("the sender writes to open streams");
        assert!(!pipe.finished && !pipe.reset);
        let taken = bytes.len().min(10_000_usize.saturating_sub(pipe.bytes.len() - pipe.delivered));
        pipe.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn finish(&mut self, stream: Stream) {
        self.streams.get_mut(&stream).unwrap().finished = true;
    }

    fn reset(&mut self, stream: Stream) {
        // A stream that was delivered may be forgotten here before the sender knows.
        if let Some(pipe) = self.streams.get_mut(&stream) {
            pipe.reset = true;
        }
    }
}

struct World {
    now: Instant,
    sender: Sender,
    receiver: Receiver,
    wire: Wire,
    to_receiver: Vec<Message>,
    to_sender: Vec<Message>,
    told_lost: u64,
}

impl World {
    fn new(size: Option<u64>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an epoch; nothing depends on which")]
        let now = Instant::now();
        let (sender, receiver) = (Sender::new(3, 9, size), Receiver::new(3, size, now));
        let wire = Wire::default();
        Self { now, sender, receiver, wire, to_receiver: vec![], to_sender: vec![], told_lost: 0 }
    }

    fn step(&mut self) {
        self.now += STEP;
        self.sender.fill(self.now, &mut self.wire, CONGESTION_WINDOW);
        self.to_receiver.extend(self.sender.poll_message(self.now));
        self.to_sender.extend(self.receiver.poll_message(self.now));
    }

    fn deliver(&mut self, place: usize, amount: usize) {
        let Some(stream) = self.wire.streams.keys().nth(place % self.wire.streams.len().max(1)).copied()
        else {
            return;
        };
        let pipe = self.wire.streams.get_mut(&stream).unwrap();
        if pipe.reset {
            self.receiver.on_chunk_over(stream);
            self.wire.streams.remove(&stream);
        } else if !pipe.stuck {
            let end = pipe.bytes.len().min(pipe.delivered + amount);
            // The engine's reader has taken the first byte.
            let from = pipe.delivered.max(1);
            if end > from {
                self.receiver.on_chunk(self.now, stream, &pipe.bytes[from..end]).unwrap();
            }
            pipe.delivered = end;
            if pipe.finished && end == pipe.bytes.len() {
                self.receiver.on_chunk_over(stream);
                self.wire.streams.remove(&stream);
            }
        }
    }

    fn deliver_message(&mut self, to_receiver: bool, place: usize, keep: bool) {
        let messages = if to_receiver { &mut self.to_receiver } else { &mut self.to_sender };
        if messages.is_empty() {
            return;
        }
        let place = place % messages.len();
        let message = if keep { messages[place].clone() } else { messages.remove(place) };
        match message {
            Message::Sending(sending) => self.receiver.on_sending(self.now, &sending).unwrap(),
            Message::Having(having) => {
                let resent = self.sender.on_having(self.now, &having).unwrap();
                self.told_lost += resent.map_or(0, |resent| resent.bytes);
            }
            Message::Ask(_) => unreachable!("neither of them asks"),
        }
    }

    fn lose_path(&mut self) {
        self.wire.streams.values_mut().for_each(|pipe| pipe.stuck = true);
        self.sender.path_lost("lost".into());
    }

    fn reconnect(&mut self) {
        self.wire.streams.clear();
        self.to_receiver.clear();
        self.to_sender.clear();
        self.sender.reconnected();
        self.receiver.reconnected(self.now);
    }

    /// Everything works from now on.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            self.step();
            for place in (0..self.wire.streams.len()).rev() {
                self.deliver(place, usize::MAX / 2);
            }
            while !self.to_receiver.is_empty() {
                self.deliver_message(true, 0, false);
            }
            while !self.to_sender.is_empty() {
                self.deliver_message(false, 0, false);
            }
            if self.receiver.is_heard() {
                return;
            }
        }
        panic!("not settled: {:?}, {:?}", self.sender, self.receiver);
    }
}

#[derive(Debug, Clone)]
enum Action {
    Step,
    Deliver(usize, usize),
    DropMessage { to_receiver: bool, place: usize },
    DeliverMessage { to_receiver: bool, place: usize, keep: bool },
    LosePath,
    Reconnect,
    FinishSender,
    FinishReceiver,
}

fn action() -> impl Strategy<Value = Action> {
    let message = || (any::<bool>(), any::<usize>());
    prop_oneof![
        20 => Just(Action::Step),
        40 => (any::<usize>(), 1_usize..20_000).prop_map(|(place, amount)| Action::Deliver(place, amount)),
        4 => message().prop_map(|(to_receiver, place)| Action::DropMessage { to_receiver, place }),
        30 => (message(), any::<bool>())
            .prop_map(|((to_receiver, place), keep)| Action::DeliverMessage { to_receiver, place, keep }),
        3 => Just(Action::LosePath),
        1 => Just(Action::Reconnect),
        1 => Just(Action::FinishSender),
        1 => Just(Action::FinishReceiver),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_whole_arrives_once(
        size in prop_oneof![Just(None), (0_u64..600_000).prop_map(Some)],
        actions in proptest::collection::vec(action(), 0..400),
    ) {
        let mut world = World::new(size);
        for action in actions {
            match action {
                Action::Step => world.step(),
                Action::Deliver(place, amount) => world.deliver(place, amount),
                Action::DropMessage { to_receiver, place } => {
                    let messages =
                        if to_receiver { &mut world.to_receiver } else { &mut world.to_sender };
                    if !messages.is_empty() {
                        messages.remove(place % messages.len());
                    }
                }
                Action::DeliverMessage { to_receiver, place, keep } => {
                    world.deliver_message(to_receiver, place, keep);
                }
                Action::LosePath => world.lose_path(),
                Action::Reconnect => world.reconnect(),
                Action::FinishSender => world.sender.finish(world.now),
                Action::FinishReceiver => world.receiver.finish(world.now),
            }
        }
        if size.is_none() {
            world.receiver.finish(world.now);
        }
        world.settle();
        prop_assert_eq!(world.sender.verdict(), Some(true));
        prop_assert_eq!(world.receiver.verdict(), Some(true));
        prop_assert_eq!(world.receiver.bytes(), world.sender.sent());
        prop_assert_eq!(world.receiver.sha256(), world.sender.sha256());
        let figures = world.receiver.final_figures(world.now);
        prop_assert_eq!(world.sender.figures(), Some(figures), "both ends report the same");
        prop_assert_eq!(figures.bytes, world.receiver.bytes());
        prop_assert!(size.is_none_or(|size| world.receiver.bytes() <= size));
    }

    #[test]
    fn no_stranger_s_bytes_panic(input: Vec<Vec<u8>>) {
        super::fuzz(input.iter().map(Vec::as_slice));
    }
}

#[test]
fn a_loss_costs_what_was_lost_and_what_was_not_known_to_have_arrived() {
    let mut world = World::new(None);
    for _ in 0..50 {
        world.step();
        world.deliver(0, 9_000);
        world.deliver_message(false, 0, false);
    }
    // The sender knows what arrived until then.
    world.now += Duration::from_millis(20);
    world.to_sender.extend(world.receiver.poll_message(world.now));
    while !world.to_sender.is_empty() {
        world.deliver_message(false, 0, false);
    }
    world.lose_path();
    let lacking = world.sender.sent() - world.receiver.bytes();
    for _ in 0..200 {
        world.step();
        (0..30).for_each(|place| world.deliver(place, 5_000));
        world.deliver_message(false, 0, false);
        world.deliver_message(true, 0, false);
    }
    assert!(lacking > 0);
    assert_eq!(world.told_lost, lacking);
    assert_eq!(world.sender.resent(), lacking, "nothing is sent again without need");
    assert_eq!(world.receiver.duplicate(), 0);
}

#[test]
fn stalls_are_measured_where_the_bytes_arrive() {
    let World { now, .. } = World::new(None);
    let ms = Duration::from_millis;
    let mut receiver = Receiver::new(3, Some(30), now);
    chunk(&mut receiver, now + ms(40), 1, 0, 10).unwrap();
    chunk(&mut receiver, now + ms(45), 2, 10, 10).unwrap();
    chunk(&mut receiver, now + ms(245), 3, 0, 10).unwrap();
    let figures = |longest_stall| BulkFigures { bytes: 20, duration: ms(45), longest_stall };
    assert_eq!(receiver.final_figures(now + ms(50)), figures(ms(40)), "from the beginning to the first byte");
    assert_eq!(receiver.figures(), figures(ms(40)));
    assert_eq!(
        receiver.final_figures(now + ms(300)),
        figures(ms(255)),
        "it lasts: the same bytes again are no new ones"
    );
    chunk(&mut receiver, now + ms(345), 4, 20, 10).unwrap();
    let end = super::wire::End { bytes: 30, sha256: [0; 32] };
    let sending = Sending { object: 3, round: 0, end: Some(end), heard: false };
    receiver.on_sending(now + ms(400), &sending).unwrap();
    let whole = BulkFigures { bytes: 30, duration: ms(345), longest_stall: ms(300) };
    assert_eq!(receiver.final_figures(now + ms(9_000)), whole, "nothing is awaited any more");
}

#[test]
fn an_engine_that_forgets_without_a_word_is_noticed() {
    let mut world = World::new(Some(100_000));
    (0..3).for_each(|_| world.step());
    world.deliver_message(false, 0, false);
    world.step();
    world.wire.streams.values_mut().for_each(|pipe| pipe.stuck = true);
    world.settle();
    assert_eq!(world.sender.verdict(), Some(true));
}

fn chunk(
    receiver: &mut Receiver,
    now: Instant,
    stream: u64,
    offset: u64,
    length: usize,
) -> Result<(), Violation> {
    let start = super::wire::chunk_start(3, offset);
    receiver.on_chunk(now, Stream(stream), &start[1..])?;
    receiver.on_chunk(now, Stream(stream), &vec![0; length])
}

#[test]
fn what_breaks_the_protocol_is_told_apart() {
    let World { now, .. } = World::new(None);
    let end = |bytes| {
        let end = super::wire::End { bytes, sha256: [0; 32] };
        Sending { object: 3, round: 0, end: Some(end), heard: false }
    };
    let receiver = || Receiver::new(3, Some(100_000_000), now);
    assert_eq!(chunk(&mut Receiver::new(3, Some(9), now), now, 1, 8, 2), Err(Violation::BeyondEnd));
    assert_eq!(chunk(&mut receiver(), now, 1, u64::MAX, 2), Err(Violation::BeyondEnd));
    assert_eq!(chunk(&mut receiver(), now, 1, 50_000_000, 1), Err(Violation::TooFarAhead));
    let mut pieces = receiver();
    let result = (1..=5_000).try_for_each(|piece| chunk(&mut pieces, now, piece, 2 * piece, 1));
    assert_eq!(result, Err(Violation::TooManyPieces));
    let mut descending = receiver();
    let result = (1..=5_000).try_for_each(|piece| chunk(&mut descending, now, piece, 5_001 - piece, 1));
    assert_eq!(result, Err(Violation::TooManyPieces), "bytes that touch are pieces, too");
    let mut ended = receiver();
    assert_eq!(chunk(&mut ended, now, 1, 0, 10), Ok(()));
    assert_eq!(ended.on_sending(now, &end(9)), Err(Violation::EndMoved));
    assert_eq!(ended.on_sending(now, &end(20)), Ok(()));
    assert_eq!(ended.on_sending(now, &end(21)), Err(Violation::EndMoved));
    assert_eq!(chunk(&mut ended, now, 2, 20, 1), Err(Violation::BeyondEnd));
    assert_eq!(chunk(&mut ended, now, 3, 10, 10), Ok(()));
    assert_eq!(ended.verdict(), Some(false), "zeros are not what the sender hashed");

    let mut sender = Sender::new(3, 9, None);
    let mut arrived = super::ranges::Ranges::default();
    arrived.insert(0..1);
    let having = |round| super::wire::Having::new(3, round, &arrived);
    assert_eq!(sender.on_having(now, &having(0)), Err(Violation::NotSent));
    let mut boast = super::wire::Having::new(3, 0, &super::ranges::Ranges::default());
    boast.figures.bytes = 1;
    assert_eq!(sender.on_having(now, &boast), Err(Violation::NotSent));
    arrived = super::ranges::Ranges::default();
    let having = |round| super::wire::Having::new(3, round, &arrived);
    assert_eq!(sender.on_having(now, &having(1)), Err(Violation::NotAsked));
    let mut verdict = having(0);
    verdict.matches = Some(true);
    assert_eq!(sender.on_having(now, &verdict), Err(Violation::NotAsked));
}

//! The engine quiche, over the same network model. It reads the clock itself, so these run in real time: they wait for
//! what is to happen, with long limits, and assert no durations.

#[cfg(feature = "quiche")]
pub(crate) mod with_the_feature {
    use crate::world::{Signal, World, host};
    use netmodel::{BitRate, LinkSpec, NetworkSpec, Topology};
    use peer::{
        BulkDirection, BulkSpec, CallSpec, EngineKind, Event, Evidence, Fingerprint, Outcome, PathState,
        PeerConfig, Role, Secret,
    };
    use std::{collections::BTreeSet, time::Duration};

    /// Long enough for the busiest machine; nothing takes as long where nothing is wrong.
    const LIMIT: Duration = Duration::from_secs(20);

    fn two_links() -> Topology {
        let network =
            |name: &str, delay| NetworkSpec::new(name, LinkSpec::with_delay(Duration::from_millis(delay)));
        Topology {
            networks: vec![network("wifi", 1), network("cell", 2), network("far", 1)],
            hosts: vec![
                host("laptop", &[("wlan0", "wifi"), ("wwan0", "cell")]),
                host("desktop", &[("eth0", "far")]),
            ],
            servers: vec![],
        }
    }

    fn two_links_each() -> Topology {
        let hosts = vec![
            host("laptop", &[("wlan0", "wifi"), ("wwan0", "cell")]),
            host("desktop", &[("wlan0", "wifi"), ("wwan0", "far")]),
        ];
        Topology { hosts, ..two_links() }
    }

    fn world(topology: Topology, client: EngineKind, server: EngineKind) -> World {
        world_with(topology, |_| {}, with_engines(client, server))
    }

    fn with_engines(client: EngineKind, server: EngineKind) -> impl Fn(&mut PeerConfig) {
        move |config| config.engine = if matches!(config.role, Role::Client { .. }) { client } else { server }
    }

    fn world_with(
        topology: Topology,
        change: impl Fn(&mut peer::Ticket),
        configure: impl Fn(&mut PeerConfig),
    ) -> World {
        started(topology, Signal::InBand, change, configure)
    }

    pub(crate) fn started(
        topology: Topology,
        signal: Signal,
        change: impl Fn(&mut peer::Ticket),
        configure: impl Fn(&mut PeerConfig),
    ) -> World {
        let mut world = World::with(topology, signal, 1, change, |config| {
            config.call = Some(CallSpec::new(200, 58).unwrap());
            config.evidence = Evidence { key_log: true, qlog: true };
            configure(config);
        });
        world.paced = true;
        world.start();
        world
    }

    fn quiche(topology: Topology) -> World {
        world(topology, EngineKind::Quiche, EngineKind::Quiche)
    }

    /// The path that carries a host's payload now.
    fn active(world: &World, host: &str) -> Option<String> {
        let paths = world.paths(host);
        let state =
            |number| paths.iter().rev().find(|(_, view)| view.path == number).map(|(_, view)| view.state);
        let active = paths.iter().rev().find(|(_, view)| state(view.path) == Some(PathState::Active))?;
        Some(active.1.interface.clone())
    }

    fn has_standby(world: &World) -> bool {
        let paths = world.paths("laptop");
        let last =
            |number| paths.iter().rev().find(|(_, view)| view.path == number).map(|(_, view)| view.state);
        let numbers: BTreeSet<u64> = paths.iter().map(|(_, view)| view.path).collect();
        numbers.into_iter().any(|number| last(number) == Some(PathState::Backup))
    }

    /// Payload of both ends arrives that was sent after now.
    pub(crate) fn expect_payload(world: &mut World, what: &str) {
        let newest = |world: &World, at: &str| world.arrivals(at).iter().map(|(_, number)| *number).max();
        let sent = |world: &World, by: &str| {
            let sent = |(_, host, event): &(Duration, String, Event)| match event {
                Event::CallSent { sequence, .. } if host == by => Some(*sequence),
                _ => None,
            };
            world.events.iter().filter_map(sent).max()
        };
        let (up, down) = (sent(world, "laptop"), sent(world, "desktop"));
        let arrived = world.run_until_done(world.now - world.epoch + LIMIT, |world| {
            newest(world, "desktop") > up && newest(world, "laptop") > down
        });
        assert!(arrived, "{what}: payload both ways; at {:?}: {:#?}", world.now - world.epoch, tail(world));
    }

    pub(crate) fn tail(world: &World) -> Vec<&(Duration, String, Event)> {
        let loud = |event: &Event| {
            !matches!(
                event,
                Event::CallSent { .. }
                    | Event::CallReceived { .. }
                    | Event::CheckSent { .. }
                    | Event::CheckAnswered { .. }
                    | Event::PathSample { .. }
            )
        };
        let all: Vec<_> = world.events.iter().filter(|(_, _, event)| loud(event)).collect();
        all[all.len().saturating_sub(60)..].to_vec()
    }

    pub(crate) fn expect(world: &mut World, what: &str, done: impl Fn(&World) -> bool) {
        let limit = world.now - world.epoch + LIMIT;
        assert!(world.run_until_done(limit, done), "{what}: {:#?}", tail(world));
    }

    pub(crate) fn expect_one_connection(world: &World) {
        let names: BTreeSet<_> = world.connections().into_iter().map(|(_, name)| name).collect();
        assert_eq!((world.connections().len(), names.len()), (2, 1), "one connection, two ends, one name");
    }

    #[test]
    fn a_standby_is_validated_in_advance_and_carries_the_call_after_a_loss() {
        let mut world = quiche(two_links());
        expect(&mut world, "a standby", has_standby);
        expect_payload(&mut world, "before");
        assert_eq!(active(&world, "laptop").as_deref(), Some("wlan0"));
        world.down("laptop", "wlan0");
        assert_eq!(active(&world, "laptop").as_deref(), Some("wwan0"), "in the same instant");
        expect_payload(&mut world, "after the loss");
        expect_one_connection(&world);
        world.up("laptop", "wlan0");
        expect(&mut world, "back on WiFi", |world| active(world, "laptop").as_deref() == Some("wlan0"));
        expect_payload(&mut world, "after the return");
        world.stop("laptop");
        expect(&mut world, "the server ends, too", |world| world.hosts["desktop"].outcome.is_some());
        for host in ["laptop", "desktop"] {
            assert_eq!(world.hosts[host].outcome, Some(Outcome::Finished), "{host}");
            let engines = world.events.iter().filter_map(|(_, at, event)| match event {
                Event::Connected { engine, multipath, .. } if at == host => Some((*engine, *multipath)),
                _ => None,
            });
            assert_eq!(engines.collect::<Vec<_>>(), [("quiche 0.30", false)]);
        }
    }

    #[test]
    fn the_server_takes_the_client_s_word_for_a_path_that_is_over() {
        let mut world = quiche(two_links());
        expect(&mut world, "a standby", has_standby);
        world.down("laptop", "wlan0");
        let closed = |world: &World| {
            world.events.iter().any(|(_, host, event)| {
                host == "desktop" && matches!(event, Event::Detected { by: peer::DetectedBy::Peer, .. })
            })
        };
        expect(&mut world, "the server knows", closed);
        expect_payload(&mut world, "after it");
    }

    #[test]
    fn a_loss_that_nothing_tells_and_one_at_the_server() {
        let mut world = quiche(two_links_each());
        expect(&mut world, "a standby", has_standby);
        world.reach("laptop", "wlan0", false);
        expect_payload(&mut world, "lost in silence");
        world.reach("laptop", "wlan0", true);
        expect(&mut world, "back on WiFi", |world| active(world, "laptop").as_deref() == Some("wlan0"));
        expect(&mut world, "a standby again", has_standby);
        world.down("desktop", "wlan0");
        expect_payload(&mut world, "lost at the server");
        expect_one_connection(&world);
    }

    #[test]
    fn more_losses_than_quiche_has_paths() {
        let mut world = quiche(two_links());
        for turn in 0..12 {
            expect(&mut world, "a standby", has_standby);
            let interface = active(&world, "laptop").unwrap();
            world.down("laptop", &interface);
            expect_payload(&mut world, &format!("turn {turn}"));
            world.up("laptop", &interface);
        }
        expect_one_connection(&world);
    }

    #[test]
    fn everything_lost_and_back() {
        let mut world = quiche(two_links());
        expect(&mut world, "a standby", has_standby);
        world.down("laptop", "wlan0");
        world.down("laptop", "wwan0");
        world.run_until(world.now - world.epoch + Duration::from_millis(300));
        world.up("laptop", "wwan0");
        expect_payload(&mut world, "back");
        expect_one_connection(&world);
    }

    /// What quiche 0.30 had in flight on a path that it leaves is never sent again by it; the object must not notice.
    #[test]
    fn an_object_survives_the_loss_of_its_path_in_both_directions() {
        for direction in [BulkDirection::Up, BulkDirection::Down] {
            let mut world = bulk(rated(20_000_000, two_links()), direction, Some(2_000_000));
            for part in [500_000, 1_200_000] {
                expect(&mut world, "a standby", has_standby);
                expect(&mut world, "a part of it", |world| arrived(world) > part);
                let interface = active(&world, "laptop").unwrap();
                world.down("laptop", &interface);
                world.up("laptop", &interface);
            }
            expect(&mut world, "an end", |world| world.hosts.values().all(|host| host.outcome.is_some()));
            let verdicts = world.events.iter().filter_map(|(_, _, event)| match event {
                Event::BulkEnded { bytes, sha256_ok, .. } => Some((*bytes, *sha256_ok)),
                _ => None,
            });
            assert_eq!(verdicts.collect::<Vec<_>>(), [(2_000_000, Some(true)); 2], "{direction:?}");
            expect_one_connection(&world);
        }
    }

    fn bulk(topology: Topology, direction: BulkDirection, bytes: Option<u64>) -> World {
        world_with(
            topology,
            |_| {},
            |config| {
                config.engine = EngineKind::Quiche;
                config.call = None;
                config.bulk = Some(BulkSpec { direction, bytes });
            },
        )
    }

    fn rated(rate: u64, topology: Topology) -> Topology {
        let mut topology = topology;
        for network in &mut topology.networks {
            for link in [&mut network.up, &mut network.down] {
                *link = LinkSpec { rate: BitRate::per_second(rate), ..link.clone() };
            }
        }
        topology
    }

    /// More than 128 packets overtake the answer to a path challenge here, which quiche then takes for a duplicate.
    #[test]
    fn a_path_that_cannot_be_validated_beside_a_transfer_carries_on_after_a_loss() {
        let mut topology = rated(40_000_000, two_links());
        let cellular = &mut topology.networks[1];
        for link in [&mut cellular.up, &mut cellular.down] {
            link.delay = Duration::from_millis(80);
        }
        let mut world = bulk(topology, BulkDirection::Down, None);
        world.down("laptop", "wwan0");
        expect(&mut world, "a beginning", |world| arrived(world) > 500_000);
        world.up("laptop", "wwan0");
        let is_opening = |world: &World| {
            world.paths("laptop").iter().any(|(_, view)| view.path > 0 && view.state == PathState::Opening)
        };
        expect(&mut world, "a second path", is_opening);
        world.run_until(world.now - world.epoch + Duration::from_millis(400));
        let before = arrived(&world);
        world.down("laptop", "wlan0");
        expect(&mut world, "more of it", |world| arrived(world) > before + 500_000);
        expect_one_connection(&world);
    }

    fn arrived(world: &World) -> u64 {
        let bytes = |(_, _, event): &(Duration, String, Event)| match event {
            Event::BulkArrived { bytes, .. } => Some(*bytes),
            _ => None,
        };
        world.events.iter().rev().find_map(bytes).unwrap_or(0)
    }

    #[test]
    fn the_wrong_fingerprint_is_refused() {
        for server in EngineKind::ALL {
            let mut world = world_with(
                two_links(),
                |ticket| ticket.fingerprint = Fingerprint([0; 32]),
                with_engines(EngineKind::Quiche, *server),
            );
            expect(&mut world, "an end", |world| world.hosts["laptop"].outcome.is_some());
            let Some(Outcome::Refused { why }) = &world.hosts["laptop"].outcome else {
                panic!("refused by a client of {server}: {:?}", world.hosts["laptop"].outcome)
            };
            assert!(why.contains("certificate is not the one that the ticket names"), "{why}");
        }
    }

    #[test]
    fn the_wrong_secret_is_refused() {
        let mut world = world_with(
            two_links(),
            |ticket| ticket.secret = Secret([9; 16]),
            with_engines(EngineKind::Quiche, EngineKind::Quiche),
        );
        expect(&mut world, "an end", |world| world.hosts["laptop"].outcome.is_some());
        let Some(Outcome::Refused { why }) = &world.hosts["laptop"].outcome else { panic!("refused") };
        assert!(why.contains("secret"), "{why}");
    }

    #[test]
    fn quiche_and_noq_understand_each_other() {
        let mut world = world(two_links(), EngineKind::Quiche, EngineKind::Noq);
        expect(&mut world, "a standby", has_standby);
        expect_payload(&mut world, "quiche to noq");
        world.down("laptop", "wlan0");
        expect_payload(&mut world, "migrated");
        expect_one_connection(&world);
        world.stop("laptop");
        expect(&mut world, "the server ends, too", |world| world.hosts["desktop"].outcome.is_some());
        assert_eq!(world.hosts["desktop"].outcome, Some(Outcome::Finished));
    }

    #[test]
    fn noq_and_quiche_understand_each_other() {
        let mut world = world(two_links(), EngineKind::Noq, EngineKind::Quiche);
        expect_payload(&mut world, "noq to quiche");
        expect_one_connection(&world);
        world.stop("desktop");
        expect(&mut world, "the client ends, too", |world| world.hosts["laptop"].outcome.is_some());
        assert_eq!(world.hosts["laptop"].outcome, Some(Outcome::Finished));
    }

    #[test]
    fn both_ends_log_the_same_secrets_and_every_packet() {
        let mut world = quiche(two_links());
        expect(&mut world, "a call", |world| world.arrivals("laptop").len() > 20);
        world.stop("laptop");
        let secrets = ["laptop", "desktop"]
            .map(|host| world.hosts[host].key_log.iter().cloned().collect::<BTreeSet<_>>());
        assert_eq!(secrets[0], secrets[1]);
        let labels: BTreeSet<_> = secrets[0].iter().filter_map(|line| line.split(' ').next()).collect();
        assert!(labels.contains("CLIENT_TRAFFIC_SECRET_0"), "{labels:?}");
        for host in ["laptop", "desktop"] {
            let text = std::str::from_utf8(&world.hosts[host].qlog[&0]).unwrap();
            let records = text.split('\u{1e}').filter(|record| !record.is_empty());
            let records: Vec<serde_json::Value> =
                records.map(|record| serde_json::from_str(record).unwrap()).collect();
            let sent = records.iter().filter(|record| record["name"] == "quic:packet_sent").count();
            assert!(sent > 20, "{sent} of {}", records.len());
        }
    }

    #[test]
    fn a_server_that_begins_again_takes_a_client_that_does() {
        let mut world = quiche(two_links());
        expect_payload(&mut world, "before");
        world.restart("desktop");
        // The client goes on sending to the connection that is gone, which nobody knows.
        world.run_until(world.now - world.epoch + Duration::from_millis(100));
        assert_eq!(world.connections().len(), 2, "still the ones of before");
        world.restart("laptop");
        expect(&mut world, "another connection", |world| world.connections().len() == 4);
        expect_payload(&mut world, "after");
    }

    #[test]
    fn garbage_changes_nothing() {
        let mut world = quiche(two_links());
        expect(&mut world, "a standby", has_standby);
        let (laptop, desktop) = (world.sockets("laptop"), world.sockets("desktop"));
        let v4 = |socket: &&std::net::SocketAddr| socket.is_ipv4();
        let to = **desktop.iter().filter(v4).collect::<Vec<_>>().first().unwrap();
        for from in laptop.iter().filter(v4) {
            for first in [0x40, 0x5f, 0xc0, 0xcf, 0xd1, 0xe2, 0xff] {
                for length in [1, 8, 9, 20, 21, 60, 1199, 1200, 1500] {
                    let mut bytes: Vec<u8> = (0..length).map(|i| (i * 7 + first) as u8).collect();
                    bytes[0] = first as u8;
                    world.throw("desktop", *from, to, &bytes);
                    world.throw("laptop", to, *from, &bytes);
                    if let Some(version) = bytes.get_mut(1..5) {
                        version.copy_from_slice(&1_u32.to_be_bytes());
                        world.throw("desktop", *from, to, &bytes);
                        world.throw("laptop", to, *from, &bytes);
                    }
                }
            }
        }
        expect_payload(&mut world, "after the garbage");
        expect_one_connection(&world);
    }
}

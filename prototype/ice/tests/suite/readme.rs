//! The tables of the README name tests that exist.

const README: &str = include_str!("../../README.md");

/// Source of the test modules that the tables name.
const MODULES: [(&str, &str); 29] = [
    ("behaviour", include_str!("behaviour.rs")),
    ("aioice", include_str!("../interop/aioice.rs")),
    ("blocking", include_str!("blocking.rs")),
    ("blocking::judging", include_str!("blocking/judging.rs")),
    ("blocking::wire", include_str!("blocking/wire.rs")),
    ("calls", include_str!("calls.rs")),
    ("candidates", include_str!("candidates.rs")),
    ("captures", include_str!("captures.rs")),
    ("codec", include_str!("codec.rs")),
    ("coturn", include_str!("../interop/coturn.rs")),
    ("disguises", include_str!("disguises.rs")),
    ("events", include_str!("events.rs")),
    ("example", include_str!("example.rs")),
    ("forged", include_str!("forged.rs")),
    ("grid", include_str!("grid.rs")),
    ("hostile", include_str!("hostile.rs")),
    ("libnice", include_str!("../interop/libnice.rs")),
    ("liveness", include_str!("liveness.rs")),
    ("model", include_str!("model.rs")),
    ("relayed", include_str!("model/relayed.rs")),
    ("memory", include_str!("../memory/main.rs")),
    ("oracles", include_str!("../interop/oracles.rs")),
    ("paths", include_str!("paths.rs")),
    ("policies", include_str!("policies.rs")),
    ("quic", include_str!("../../src/blocking/quic.rs")),
    ("refusals", include_str!("refusals.rs")),
    ("relays", include_str!("relays.rs")),
    ("servers", include_str!("servers.rs")),
    ("sessions", include_str!("sessions.rs")),
];

#[test]
fn every_test_that_the_tables_name_exists() {
    let named: Vec<(&str, &str)> =
        README.split('`').skip(1).step_by(2).filter_map(|code| code.rsplit_once("::")).collect();
    assert!(named.len() > 60, "the tables name {} tests", named.len());
    let exists = |(module, name): &(&str, &str)| {
        let source = MODULES.iter().find(|(known, _)| known == module);
        source.is_some_and(|(_, source)| is_test(source, name))
    };
    let missing: Vec<_> = named.iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether it is one that is run, rather than any function.
fn is_test(source: &str, name: &str) -> bool {
    let place = source.find(&format!("fn {name}("));
    // Attributes and comments may lie between the mark and the name.
    place.is_some_and(|place| {
        let before = source[..place].rsplit("\n\n").next().unwrap_or_default();
        before.contains("#[test]") || before.contains("#[tokio::test")
    })
}

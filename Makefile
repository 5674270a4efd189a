# make demo   WiFi goes off in a call: the timeline, the interruption, and how it compares with WhatsApp
# make build  both programs with every engine, in target/release: some ten minutes, half of them for BoringSSL
# make test   everything that is checked: format, lints, documentation, tests (namespaces as root and as a user)
# make fuzz   SECONDS=30 for each parser of foreign bytes; `make test` replays what was learnt so
# make test-long   hours of jitter and of fading radio links in virtual time, without a false alarm; TESTBED_TRACES=DIR
#             adds Mahimahi traces, pairs of NAME.down and NAME.up. Then CASES=300 of every property of the ICE agent
# make bench  the figures of the README and of the lab's documents, measured on this machine
# make bench-interruption   REPEAT=20 runs for each engine and each way to lose WiFi: a table, in about REPEAT minutes
# make bench-ice   ours beside an ordinary ICE agent: a table, in some 7 minutes for each of REPEAT (3) runs
# make fresh  both commands as on a machine that was set up a minute ago, in minimal Debian roots: some hour, as root
# make deny   licences, bans and sources of the dependencies (part of `make test`), and known weaknesses where the
#             database of them can be fetched
# make man    the manual pages of both programs, in target/man
#
# make ends with its own code 2 whatever went wrong; the message says what `testbed` would end with (3: this machine).
#
# Each installs what it lacks (see testbed/setup) and builds first.

SCENARIO ?= scenarios/whatsapp/wifi-off-in-call.yaml
DURATION ?= 25s
REPEAT ?= 20
SECONDS ?= 30
CASES ?= 300

# rustup puts cargo here, and a shell opened before it was installed does not know. Before the system's cargo, which may
# be too old.
HOME ?= $(shell getent passwd "$$(id -u)" | cut -d: -f6)
export HOME
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(CARGO_HOME)/bin:$(PATH):/usr/sbin:/sbin
# The demo's programs are started by path.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

.PHONY: demo test fuzz test-long bench bench-ice bench-interruption build deny fresh man

# Without quiche and webrtc-ice, which are most of a build, and in target/demo, where nothing else is built.
demo:
	@testbed/setup demo
	cargo build --profile demo --locked --no-default-features --package iceperf --package runner
	@"$(CARGO_TARGET_DIR)/demo/testbed" run $(SCENARIO) --set duration=$(DURATION)

build:
	@testbed/setup build
	cargo build --release --locked --package iceperf --package runner

# Documentation without default features: with them, but without what tests depend on, BoringSSL would be built twice.
test:
	@testbed/setup test
	cargo fmt --all --check
	@testbed/check-dependencies
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --no-default-features --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-default-features --no-deps --locked --quiet
	@testbed/run-tests

fuzz:
	@testbed/setup build
	@testbed/fuzz --seconds $(SECONDS)

test-long:
	@testbed/setup test
	cargo test --release --locked --package peer --test virtual_time -- --ignored an_hour_of
	PROPTEST_CASES=$(CASES) cargo test --release --locked --package ice --test suite

bench: build
	cargo bench --locked --package runner --bench first_light
	cargo bench --locked --package ice --bench agents
	cargo bench --locked --package lab --bench real_time
	cargo bench --locked --package dissect --bench against_tshark

bench-interruption: build
	cargo bench --locked --package runner --bench interruption -- --repeat $(REPEAT)

bench-ice: REPEAT = 3
bench-ice: build
	cargo bench --locked --package runner --bench ice -- --repeat $(REPEAT)

deny:
	@testbed/setup test
	@testbed/check-dependencies

fresh:
	@testbed/fresh

man: build
	cargo run --quiet --release --locked --package iceperf -- man target/man
	cargo run --quiet --release --locked --package runner --bin testbed -- man target/man
	@echo "man -l target/man/testbed.1, man -l target/man/iceperf.1"

# make demo   WiFi goes off in a call: the timeline, the interruption, and how it compares with WhatsApp
# make test   everything that is checked: format, lints, documentation, tests (namespaces as root and as a user)
# make bench  the figures of the README, measured on this machine
#
# Each installs what it lacks (see testbed/setup) and builds first.

SCENARIO ?= scenarios/whatsapp/wifi-off-in-call.yaml
DURATION ?= 25s

.PHONY: demo test bench build

demo: build
	@cargo run --quiet --release --package runner --bin testbed -- run $(SCENARIO) --set duration=$(DURATION)

build:
	@testbed/setup build
	cargo build --release --package iceperf --package runner

test:
	@testbed/setup test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	cargo build --workspace --locked
	cargo test --workspace --locked

bench: build
	cargo bench --package runner --bench first_light

# make demo   WiFi goes off in a call: the timeline, the interruption, and how it compares with WhatsApp
# make test   everything that is checked: format, lints, documentation, tests (namespaces as root and as a user)
# make man    the manual pages of iceperf, in target/man
# make bench  the figures of the README, measured on this machine
#
# make ends with its own code 2 whatever went wrong; the message says what `testbed` would end with (3: this machine).
#
# Each installs what it lacks (see testbed/setup) and builds first.

SCENARIO ?= scenarios/whatsapp/wifi-off-in-call.yaml
DURATION ?= 25s

# rustup puts cargo here, and a shell opened before it was installed does not know.
export PATH := $(PATH):/usr/sbin:/sbin:$(HOME)/.cargo/bin

.PHONY: demo test bench build man

demo: build
	@cargo run --quiet --release --locked --package runner --bin testbed -- run $(SCENARIO) --set duration=$(DURATION)

build:
	@testbed/setup build
	cargo build --release --locked --package iceperf --package runner

test:
	@testbed/setup test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	cargo build --workspace --locked
	cargo test --workspace --locked

bench: build
	cargo bench --locked --package runner --bench first_light

man:
	@testbed/setup build
	cargo run --quiet --locked --package iceperf -- man target/man
	@echo "man -l target/man/iceperf.1"

# Every target installs what it needs: a fresh clone needs only Rust.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
PROFILE ?= release
.PHONY: demo check test chart attack e2e build install image release deny advisories bench fmt lint setup setup-tests setup-image clean-cache

# The environment of all cargo commands: compiled RocksDB, target folder outside the clone. The first is to develop and test, the second to measure and ship.
env := source scripts/env dev
optimised := source scripts/env
# The build of the demo, and of what may take it over.
quick := --config scripts/quick.toml

# The Bodea case on the embedded log, then the verdict. Needs no Kafka.
demo: setup
	@$(env); cargo run --quiet $(quick) -p millrace -- demo

# All that continuous integration runs: lints, and every test of the workspace; then the executable under attack, the whole system with real Kafka, judged from
# outside, and the chart. One call of cargo compiles everything once; its tests start the executable that it has built.
test: setup-tests lint deny
	@$(env); scripts/kafka; scripts/registry; scripts/debezium; scripts/python-env singer; scripts/python-env airbyte; python="$$(scripts/python-env)"; chart="$$(scripts/python-env cluster)"; ulimit -Sn 4096; \
	MILLRACE_BIN="$$CARGO_TARGET_DIR/debug/millrace" MILLRACE_PYTHON="$$python/bin/python" MILLRACE_CHART_PYTHON="$$chart/bin/python" \
	cargo test --workspace --no-fail-fast

# Test levels 0 to 4: rules of the project, pure crates, the pipeline in memory, the simulation. Compiles no C++ and starts no Java.
pure := model pql segment identity wire events shard log runtime config telemetry test-tidy examples oracle test-recipes test-scenarios test-simulation test-seeds
check: setup
	@cargo fmt --all --check
	@$(env); cargo test $(pure:%=-p millrace-%)

# The Helm chart, its alerts and dashboards: rendered, validated against the schemas of two Kubernetes versions, fired by promtool, asked in a real Prometheus.
chart: setup-tests
	@$(env); cargo build -p millrace -p millrace-simulators; python="$$(scripts/python-env cluster)"; \
	MILLRACE_BIN="$$CARGO_TARGET_DIR/debug/millrace" MILLRACE_CHART_PYTHON="$$python/bin/python" cargo test -p millrace-test-cluster --no-fail-fast

# Licences and sources of third-party crates, against deny.toml; takes seconds.
deny: setup-tests
	@scripts/deny licenses bans sources

# Known vulnerabilities and yanked versions. Needs github.com, where the database is, so `make test` leaves it out: run it before a release.
advisories: setup-tests
	@scripts/deny advisories

# Hostile input, clients and circumstances against the built executable: bounded, seeded, without Kafka.
attack: setup
	@$(env); cargo build -p millrace; ulimit -Sn 4096; MILLRACE_BIN="$$CARGO_TARGET_DIR/debug/millrace" cargo test -p millrace-test-attack --no-fail-fast

# The whole-system tests with real Kafka, alone.
e2e: setup-tests
	@$(env); cargo build -p millrace -p millrace-simulators; scripts/kafka; scripts/registry; scripts/debezium; scripts/python-env singer; scripts/python-env airbyte; python="$$(scripts/python-env)"; \
	MILLRACE_BIN="$$CARGO_TARGET_DIR/debug/millrace" MILLRACE_PYTHON="$$python/bin/python" cargo test -p millrace-test-e2e

# The binary that may leave this machine: RocksDB from source inside, about 20 minutes the first time.
build: setup
	@export MILLRACE_ROCKSDB=source; $(optimised); cargo build --release -p millrace

compiled = $(if $(filter dev,$(PROFILE)),$(env); cargo build $(quick),$(optimised); cargo build --profile $(PROFILE)) -p millrace

# The command for this user, in PREFIX/bin. It brings the shared RocksDB along, in PREFIX/lib/millrace, so it takes a few minutes and not twenty.
# `make install PROFILE=dev` takes what `make demo` has compiled already: it starts at once, and runs several times slower.
PREFIX ?= $(HOME)/.local
install: setup
	@$(compiled); \
	scripts/install "$$CARGO_TARGET_DIR/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/millrace" "$(PREFIX)"

# The image, in DIST, made without a container engine and tried in a container; about 20 minutes the first time, as `make build` takes.
# `make image PROFILE=dev` puts in what `make demo` has compiled, with the shared RocksDB: it starts at once, and serves to try the image, not to ship it.
DIST ?= dist
shipped = $(if $(filter dev,$(PROFILE)),,export MILLRACE_ROCKSDB=source;) $(compiled); \
	built="$$CARGO_TARGET_DIR/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/millrace"
image: setup-image
	@$(shipped); deploy/image "$$built" "$(DIST)"

# All artefacts of a release, in DIST: binary, image, chart, symbols, bill of materials, checksums.
release: setup-image
	@$(shipped); deploy/release "$$built" "$(DIST)"

bench: setup
	@$(optimised); cargo bench --workspace

fmt:
	cargo fmt --all

lint: setup
	@$(env); cargo fmt --all --check; cargo clippy --workspace --all-targets -- --deny warnings

setup:
	@scripts/setup

setup-tests:
	@scripts/setup tests

setup-image:
	@scripts/setup image

# A RocksDB built from source takes about 20 minutes to build again.
clean-cache:
	rm -rf -- "$${MILLRACE_CACHE:-$$HOME/.cache/millrace}"

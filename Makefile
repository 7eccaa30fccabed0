# `make demo` and `make test` install what they need and are quick the second time.
SHELL := /bin/bash
.PHONY: demo test lint fmt check attack fleet

# Everything runs from this checkout; nothing is installed outside target/ but Debian packages.
VENV := target/venv

demo: ## emulator, gateway and a development issuer on loopback, with three cameras
	@scripts/tools demo
	@echo "== building kvs-edge (the first time takes some minutes)"
	@cargo build --bin kvs-edge
	@exec target/debug/kvs-edge demo

fmt: ## formats all code
	cargo fmt --all

lint: ## formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test: ## formatting, lints, all tests
	@scripts/tools test
	@$(MAKE) --no-print-directory lint
	cargo test --workspace --doc --quiet
	PATH="$(CURDIR)/$(VENV)/bin:$(CURDIR)/target/node/bin:$$PATH" cargo nextest run --workspace

check: test ## the same, plus fuzz targets, the cache's shared state under a model checker, instructions of a request, and licences and sources of dependencies
	@scripts/tools check
	cargo run --quiet --target-dir target/model --manifest-path tests/model/Cargo.toml
	cargo test --profile perf --test instructions -- --ignored --nocapture
	scripts/fuzz 60
	cargo deny --all-features check bans licenses sources

# Each attack for so many seconds alone, then all together beside 50 players and 10 downloads.
ATTACK_SECONDS ?= 20
ATTACK_TOGETHER ?= 600

attack: ## hostile clients of every kind beside ordinary users; prints a table and fails on a breach
	@scripts/tools test
	ATTACK_SECONDS=$(ATTACK_SECONDS) ATTACK_TOGETHER=$(ATTACK_TOGETHER) \
	  cargo test --test attack -- --nocapture

# How long each row of the table takes.
FLEET_SECONDS ?= 12

fleet: ## three replicas behind HAProxy while one thing after another fails; prints a table and fails on a breach
	@scripts/tools test
	@cargo build --bin kvs-edge
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" FLEET_SECONDS=$(FLEET_SECONDS) \
	  cargo test --test fleet -- --ignored --nocapture

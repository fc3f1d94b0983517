# The ways to use this repository. `make help` lists them. Nothing here asks a question.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# RocksDB is compiled once, outside target/, and every cargo call links that archive.
ROCKSDB := eval "$$(tools/rocksdb.sh --env)"

.PHONY: run test check build bench clean setup help

run: ## Install what is missing, build, and start a node on this machine (ARGS="...")
	@tools/setup.sh build
	@$(ROCKSDB); cargo build --release --locked -p sterna
	@exec target/release/sterna dev $(ARGS)

test: ## Install what tests need and run every check and test; the last line counts them
	@tools/setup.sh test
	@$(ROCKSDB); python3 tools/run_tests.py

check: ## Format, lints, and licences of dependencies
	@tools/setup.sh build
	@cargo fmt --all --check
	@$(ROCKSDB); cargo clippy --workspace --all-targets --locked -- -D warnings
	@tools/deny.sh

build: ## Build the release binary, target/release/sterna
	@tools/setup.sh build
	@$(ROCKSDB); cargo build --release --locked -p sterna
	@echo "built target/release/sterna"

bench: ## Size and speed of the wire format (the node itself: sterna bench)
	@tools/setup.sh build
	@$(ROCKSDB); cargo run --release --locked -q -p sterna-bench --bin proto -- $(ARGS)

clean: ## Remove what was built (the RocksDB archive outside the clone stays)
	@cargo clean
	@rm -rf tests/.venv

setup: ## Install what building and testing need
	@tools/setup.sh test

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

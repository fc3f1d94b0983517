# The ways to use this repository. `make help` lists them. Nothing here asks a question.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# RocksDB is compiled once, outside target/, and every cargo call links that archive.
ROCKSDB := eval "$$(tools/rocksdb.sh --env)"

.PHONY: run cluster cluster-stop cluster-status test test-cql test-planted test-faults test-layout test-skew test-typescript test-pages simulate interop check fuzz instructions autobahn build bench clean setup help

run: ## Install what is missing, build, and start a node on this machine (ARGS="...")
	@tools/setup.sh build
	@$(ROCKSDB); cargo build --release --locked -p sterna
	@exec target/release/sterna dev $(ARGS)

cluster: ## A whole cluster on this machine: 3 cores, 4 edges, MariaDB, Redis (STERNA=binary)
	@tools/setup.sh cluster
	@[ -n "$(STERNA)" ] || { $(ROCKSDB); cargo build --release --locked -p sterna; }
	@exec deploy/local/cluster.py start

cluster-stop: ## End that cluster; what was published stays in .sterna-cluster
	@exec deploy/local/cluster.py stop

cluster-status: ## What runs of that cluster, and whether it is ready
	@exec deploy/local/cluster.py status

test: ## Install what tests need and run every check and test; the last line counts them
	@tools/setup.sh test
	@$(ROCKSDB); python3 tools/run_tests.py

test-typescript: ## The TypeScript client: types, lint, size, and its tests with a real node
	@tools/setup.sh test
	@$(ROCKSDB); cargo build --locked -p sterna
	@tools/typescript.sh

test-pages: ## The pages that a node serves: types, lint, size, and a real browser on them
	@tools/setup.sh test
	@$(ROCKSDB); cargo build --locked -p sterna
	@STERNA_BIN=$(CURDIR)/target/debug/sterna tools/console.sh

test-cql: ## The log on Cassandra, which is installed first (needs Maven and Java 17; ARGS=TEST)
	@tools/setup.sh test
	@tests/engines/cql.sh >/dev/null
	@$(ROCKSDB); cargo build --locked -p sterna
	@$(ROCKSDB); STERNA_BIN=$(CURDIR)/target/debug/sterna cargo test --locked -p sterna-storage-scylla -p sterna-system-tests --features sterna-storage-scylla/cql-server,sterna-system-tests/cql-server --test commit --test conformance --test outages --test schema --test tls --test cql -- --test-threads 4 $(ARGS)

test-faults: ## Break real nodes on purpose for up to 20 min (SEED=, ROUNDS=, SCENARIO=, MINUTES=)
	@tools/setup.sh test
	@$(ROCKSDB); tools/test_faults.sh $(SCENARIO)

interop: ## The clients of other makers, with quiche, which is built first (needs cmake)
	@tools/setup.sh test
	@tests/interop/quiche.sh >/dev/null
	@$(ROCKSDB); cargo build --locked -p sterna
	@tests/interop/run.sh

test-planted: ## Prove that the simulation finds planted bugs of a node and of clusters
	@$(ROCKSDB); cargo test --locked -p sterna-simulation --features planted --test planted --test planted_clusters -- --nocapture

test-layout: ## The promises of the SQL store in its largest layout, which takes a while (LAYOUT=64x32)
	@tools/setup.sh cluster
	@$(ROCKSDB); cargo test --locked -p sterna-storage-sql --test conformance --no-run; \
	here=$$(mktemp -d); trap 'sleep 1; rm -rf "$$here"' EXIT; \
	TMPDIR=$$here STERNA_LAYOUT=$(or $(LAYOUT),64x32) cargo test --locked -p sterna-storage-sql --test conformance -- --nocapture sharded

test-skew: ## Nodes of an earlier release beside this one, also as a rolling upgrade (REF=COMMIT)
	@tools/setup.sh cluster
	@$(ROCKSDB); tools/test_skew.sh $(ARGS)

simulate: ## Thousands of schedules of clusters in virtual time (SEEDS=3000)
	@STERNA_SEEDS=$(or $(SEEDS),3000) cargo test --locked --profile simulate -p sterna-simulation --test clusters -- --nocapture i2

fuzz: ## Drive every fuzz target by coverage (ARGS="--seconds 60 --keep TARGET...")
	@tools/setup.sh build
	@$(ROCKSDB); tools/fuzz.py $(ARGS)

instructions: ## Count the instructions of the hot paths and compare (ARGS=--accept)
	@tools/setup.sh build
	@$(ROCKSDB); tools/instructions.py $(ARGS)

autobahn: ## The Autobahn suite against the wss listener; it fetches Python 2.7
	@tools/setup.sh build
	@$(ROCKSDB); tests/autobahn/run.sh

check: ## Format, lints, and licences of dependencies
	@tools/setup.sh build
	@cargo fmt --all --check
	@$(ROCKSDB); cargo clippy --workspace --all-targets --features sterna-storage-scylla/cql-server,sterna-system-tests/cql-server,sterna-system-tests/skew --locked -- -D warnings
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
	@rm -rf tests/.venv sdk/typescript/node_modules sdk/typescript/dist sdk/typescript/docs console/node_modules

setup: ## Install what building and testing need
	@tools/setup.sh test

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

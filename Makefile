# The front door. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := bash
export CARGO_PROFILE_DEV_DEBUG = line-tables-only
# The project brings its own cluster; a kubeconfig of the user's is touched only where it is asked to be.
ifneq ($(CLUSTER),current)
unexport KUBECONFIG
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Cluster, platform, three nodes, a first admin and a user; leaves it all running
	@e2e/demo.sh

.PHONY: cluster
cluster: ## Bring the local cluster up
	@e2e/cluster/up.sh
	@echo "export KUBECONFIG=$$PWD/.dev/kubeconfig"

.PHONY: deploy
deploy: ## Build the programs and install them on the local cluster
	@e2e/cluster/deploy.sh

.PHONY: down
down: ## Take the local cluster and everything in it away
	@e2e/cluster/down.sh

.PHONY: test
test: free lint unit integration e2e ## Everything: format, lint, deny, unit, integration, e2e; leaves nothing running

.PHONY: free
free:
	@e2e/run.sh --check

.PHONY: lint
lint: ## Formatting, clippy, cargo deny, rules of alerts, workflows, shell scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	cargo clippy --locked -p fateh-tests -p fateh-e2e --test bench -- -D warnings # no test, and so no target of "all"
	tests/deny.sh
	tests/monitoring.sh
	"$$(e2e/cluster/tools.sh actionlint)" -shellcheck= -pyflakes=
	files=$$(git ls-files '*.sh') && [ -n "$$files" ] && for file in $$files; do bash -n "$$file" || exit 1; done

.PHONY: unit
unit: ## Unit tests: builders by snapshot, pure parts by table and property
	INSTA_UPDATE=no cargo test --locked --workspace --all-features --exclude fateh-tests --exclude fateh-e2e

.PHONY: integration
integration: ## Against a real API server, etcd and PostgreSQL 15 and 18; then the operator under faults
	tests/run.sh

.PHONY: e2e
e2e: ## Stories on the local cluster; it is taken down afterwards
	e2e/run.sh

.PHONY: soak
soak: free ## What takes long, in full: a million ledger operations, a kill at every write, outages of a minute, rotations to their end, ten minutes at rest; two builds alike
	tests/reproducible.sh
	FATEH_SOAK=1 tests/run.sh ledger
	FATEH_SOAK=1 tests/run.sh faults
	FATEH_SOAK=1 e2e/run.sh rotation outages rest_has_no_write

.PHONY: upgrade-story
upgrade-story: free ## From the last release (or FROM=<revision>) to this tree, with nodes live and people at work
	e2e/upgrade.sh $(FROM)

.PHONY: bench
bench: free ## Figures, beside what the same work costs bare: a table, and JSON in .dev/bench/
	tests/run.sh bench
	e2e/run.sh bench

.PHONY: generate
generate: ## Write the CRDs, manifests and reference that are made from the code
	cargo run --quiet --locked -p fateh-crds --features generate --bin crdgen -- crds charts/fateh-crds/templates docs/reference.md
	charts/render.sh "$$(e2e/cluster/tools.sh helm)" > manifests/install.yaml
	cargo fmt --all

.PHONY: fixtures
fixtures: ## Write what the next release is to upgrade: dumps of the databases as this one makes them
	tests/run.sh fixtures

.PHONY: layout
layout: ## Record which functions the programs use, so that only those are in memory; needs valgrind, perf and 40 minutes
	layout/record.sh

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

# The few commands that a reader needs. The work is done by cargo, xtask and scripts/install.sh;
# this file only puts them in order.

TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help build demo test seeds fmt tidy bench bench-endpoint bench-front bench-scale matrix clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

build: ## build the release binary, target/release/tanist
	cargo build --release --package tanist

demo: ## install redis-server if it is missing, build, and watch a failover
	./scripts/install.sh demo
	cargo build --release --package tanist
	$(TARGET)/release/tanist demo

test: ## install what the tests need if it is missing, and run all that CI runs
	./scripts/install.sh test
	cargo xtask ci

seeds: ## replay the mission documents and show what works, line by line
	cargo build --package tanist
	cargo test --package tanist-tests --test seeds -- --nocapture --test-threads=1 seed_ summary

fmt: ## format all code
	cargo fmt --all

tidy: ## check the rules of the architecture
	cargo xtask tidy

bench: ## measure failover beside Sentinel on this machine; PARTS="kill freeze" for some of it
	cargo build --release --package tanist
	cargo bench --package tanist-bench --bench failover -- $(PARTS)

bench-endpoint: ## measure the way through an endpoint beside other proxies; PARTS="hop sync memory tls" for some of it
	./scripts/install.sh bench
	cargo build --release --package tanist
	cargo bench --package tanist-bench --bench endpoint -- $(PARTS)

bench-front: ## measure the AWS endpoint on this machine; PARTS="describe mutate" for some of it
	cargo build --release --package tanist
	cargo bench --package tanist-bench --bench front -- $(PARTS)

bench-scale: ## measure one server with thousands of groups on simulated hosts; ARGS="--groups N --hosts N --quiet SECONDS --failures N"
	cargo build --release --package tanist
	cargo bench --package tanist-bench --bench scale -- $(ARGS)

matrix: ## break a fleet and Sentinel in every way and judge what was lost; ARGS="--cell NAME --runs N --short" (needs root)
	./scripts/install.sh test
	cargo build --release --package tanist
	cargo bench --package tanist-bench --bench matrix -- $(ARGS)

clean: ## remove what was built and the tests' clients
	cargo clean
	rm -rf .venv tests/clients/node_modules

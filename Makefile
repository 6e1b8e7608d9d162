# Two commands do everything on a fresh machine:
#
#   make demo    builds lagline and starts its demo: no service, no configuration
#   make test    every check and every test, against real servers that it fetches itself
#
# The others are parts of these. Everything is built in one profile, dev.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help demo build test web check deny services fmt golden bench

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## The program, in the dev profile: target/debug/lagline
	@.ci/prepare build
	$(CARGO) build --locked

demo: build ## Build, start the demo and say what to look at (ARGS="..." goes to `lagline demo`)
	@exec $(TARGET)/debug/lagline demo $(ARGS)

# Tests wait for servers more than they compute: a third thread for two processors.
test: export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc) * 3 / 2)))
test: check deny services ## Formatting, lints, licences, and all tests against the real servers
	$(CARGO) test --locked
	$(MAKE) web

web: ## The page's own checks: types, drift of what is committed, and its tests in a browser
	npm --prefix web ci --no-audit --no-fund --loglevel=error
	npm --prefix web run --silent check
	npm --prefix web run --silent drift
	LAGLINE_PROGRAM=$(abspath $(TARGET))/debug/lagline npm --prefix web run --silent test

check: ## Formatting and lints
	@.ci/prepare test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

deny: ## Licences, sources and doubles of the dependencies
	.ci/deny

services: ## Fetch the test servers into target/services (or LAGLINE_SERVICES)
	tests/services/fetch.sh all

fmt: ## Format the sources
	$(CARGO) fmt

golden: ## Rewrite the golden files after a wanted change; look at the diff
	UPDATE_GOLDEN=1 $(CARGO) test --locked

bench: ## The benchmarks, in the release profile
	$(CARGO) bench --locked
